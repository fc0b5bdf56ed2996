# The functions of the dashboard, called as it calls them, through PostgREST: each
# of them is for whom it is meant, and for nobody else; whatever somebody types is a
# value, never SQL; nobody sees an input without see_input; and what they say and do
# is right.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeRest;
use VibeTest;

my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $fal = start_fal(default => { hold => 'queue', list_in_flight => $true });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0, conf => { 'vibevideo.unknown_after' => '1h', 'vibevideo.poll_interval' => '1h' });
sql($node, 'CREATE EXTENSION vibevideo');
supabase_roles($node);
sql($node, <<'SQL');
CREATE TABLE vibelogs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), prompt text, user_id text);
SELECT vibevideo.attach('vibelogs', user_column => 'user_id');
INSERT INTO vibevideo.operator (user_id, level, see_input, note) VALUES
	('ann', 'operator', false, 'Ann'), ('olga', 'operator', true, NULL), ('vic', 'viewer', false, NULL), ('sue', 'viewer', true, NULL);
CREATE ROLE grafana LOGIN;
CREATE ROLE support LOGIN;
CREATE ROLE customer LOGIN IN ROLE authenticated;
CREATE ROLE mallory LOGIN;
GRANT support, grafana TO authenticator;
SELECT vibevideo.grant_access('grafana', 'viewer'), vibevideo.grant_access('support', 'operator');
NOTIFY pgrst, 'reload schema';
SQL
my $rest = VibeRest->new($node);
my $wish = 'a wish that nobody is to see';
my $secrets = qr/key-secret|\Q$storage->{ready}{service_jwt}\E/;

# admin(who, name, argument => value, ...) - the answer to a function, called with somebody's JWT
sub admin
{
	my ($who, $name, %arguments) = @_;

	return $rest->call('authenticated', $who, POST => "/rest/v1/rpc/vibevideo_admin_$name", \%arguments);
}

# what it returns, if all is well
sub got
{
	my ($who, $name, %arguments) = @_;
	my $answer = admin($who, $name, %arguments);

	die "$who, $name: " . answer_text($answer) . "\n" unless $answer->{status} == 200;
	return $answer->{data};
}

sub error_of
{
	my ($answer) = @_;

	return "$answer->{status} " . (ref $answer->{data} eq 'HASH' && $answer->{data}{code} ? $answer->{data}{code} : 'none');
}

# ---------------------------------------------------------------------------
# Who may call what: whatever functions there are
# ---------------------------------------------------------------------------
my @looks = qw(errors estimate find health inbox job ledger limit_use limits list_jobs lost me overview prices retry_cost series settings users worker);
my @acts = qw(act audit cancel delete_limit delete_price explain_usage pause plan probe_now resolve resume retry set_limit set_price);
my %level = ((map { $_ => 'a viewer' } @looks), (map { $_ => 'an operator' } @acts));
my @functions = map { [ split /\|/ ] } split /\n/, sql($node, q{
	SELECT substr(p.proname, length('vibevideo_admin_') + 1), p.oid::regprocedure,
		   (SELECT coalesce(json_object_agg(n, NULL), '{}') FROM unnest(p.proargnames[1:p.pronargs]) n),
		   (SELECT string_agg('NULL::' || format_type(t, NULL), ', ') FROM unnest(p.proargtypes) t)
	FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'vibevideo\_admin\_%' ORDER BY p.proname COLLATE "C"});

is(join(' ', map { $_->[0] } @functions), join(' ', sort keys %level), 'each function has a level here');
{
	my %session = map { $_ => VibeTest::Session->start($node, $_) } qw(grafana support customer mallory authenticator);
	my $forged = q{SET request.jwt.claims = '{"sub": "ann", "role": "service_role"}'};

	for my $function (@functions)
	{
		my ($name, $signature, $nulls, $sql_nulls) = @$function;
		my $arguments = decode_json($nulls);
		my $path = "/rest/v1/rpc/vibevideo_admin_$name";
		my $as = sub { my ($role, $sub, %claims) = @_; return $rest->request(POST => $path, { 'content-type' => 'application/json', accept => 'application/json', authorization => bearer($role, $sub, %claims) }, $nulls) };
		my $must = qr/"message":"must be \Q$level{$name}\E of vibevideo"/;
		my $refused = sub { my ($answer) = @_; return $answer->{status} == 403 && $answer->{code} eq '42501' && $answer->{body} =~ $must };
		my $taken = sub { my ($answer) = @_; return $answer->{status} !~ /^40[13]$/ };
		my $try = sub { my ($who, $before) = @_; my ($well, $out) = $session{$who}->ask("ROLLBACK; BEGIN; " . ($before // 'SELECT 1') . '; SELECT ' . $signature =~ s/\(.*//r . '(' . ($sql_nulls // '') . ')'); $session{$who}->ask('ROLLBACK'); return $well ? 'well' : $out };
		my $anonymous = $rest->request(POST => $path, { 'content-type' => 'application/json' }, $nulls);

		is("$anonymous->{status} $anonymous->{code}", '401 42501', "$name: nothing for anon");
		like($anonymous->{body}, qr/permission denied for function vibevideo_admin_$name/, "$name: who may not even call it");
		like($try->('mallory'), qr/permission denied for function/, "$name: nor may a stranger with SQL");
		if ($name eq 'me')
		{
			like($_->{body}, qr/"level":null/, 'me: says that there is no access') for $as->('authenticated', 'user-1'), $as->('authenticated');
			next;
		}
		ok($refused->($as->('authenticated', 'user-1')), "$name: refused to a user");
		ok($refused->($as->('authenticated', undef)), "$name: and to a JWT without sub");
		ok($refused->($as->('authenticated', 'user-1', app_metadata => { role => 'service_role' }, user_role => 'operator')), "$name: and to one with other claims");
		like($try->('customer', $forged), qr/must be \Q$level{$name}\E of vibevideo/, "$name: and to SQL with forged claims");
		ok($level{$name} eq 'a viewer' ? $taken->($as->('authenticated', 'vic')) : $refused->($as->('authenticated', 'vic')), "$name: " . ($level{$name} eq 'a viewer' ? 'taken from' : 'refused to') . ' a viewer');
		ok($taken->($as->('authenticated', 'ann')), "$name: taken from an operator");
		ok($taken->($as->('service_role', undef)), "$name: and from service_role");
		ok($taken->($as->('support', undef)), "$name: and from a role that has been given access");
		$level{$name} eq 'a viewer' ? unlike($try->('grafana'), qr/permission denied|must be a viewer/, "$name: a viewer with SQL may call it")
		  : like($try->('grafana'), qr/permission denied for function|must be an operator/, "$name: a viewer with SQL may not");
	}
	is(sql($node, q{SELECT count(*) FROM pg_proc p, aclexplode(p.proacl) a WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'vibevideo\_admin\_%' AND (a.grantee = 0 OR a.grantee = 'anon'::regrole)}), '0', 'none is granted to PUBLIC or anon');
	is(sql($node, q{SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'vibevideo\_admin\_%' AND (p.prosecdef OR p.proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp'])}), '0', 'all run with the rights of whoever calls, along our path');

	sql($node, q{GRANT EXECUTE ON FUNCTION public.vibevideo_admin_pause(text, text) TO anon, PUBLIC});
	is($rest->request(POST => '/rest/v1/rpc/vibevideo_admin_pause', { 'content-type' => 'application/json' }, '{}')->{code}, '42501', 'who is given one by mistake is refused all the same');
	sql($node, 'SELECT vibevideo.grant_api_roles()');
	is(sql($node, q{SELECT has_function_privilege('anon', 'public.vibevideo_admin_pause(text, text)', 'EXECUTE')}), 'f', 'and grant_api_roles takes it back');

	sql($node, q{DELETE FROM vibevideo.operator WHERE user_id = 'olga'});
	is(error_of(admin('olga', 'overview')), '403 42501', 'who is taken out of the table is refused at once');
	sql($node, q{INSERT INTO vibevideo.operator (user_id, see_input) VALUES ('olga', true)});
	sql($node, q{DELETE FROM vibevideo.limit WHERE who IS NOT NULL; SELECT vibevideo.resume()});
}

# -- who somebody is -----------------------------------------------------------------------------
{
	my %me = map { $_ => got($_, 'me') } qw(ann vic sue stranger);

	is_deeply([ map { $me{$_}{level} } qw(ann vic sue stranger) ], [ 'operator', 'viewer', 'viewer', undef ], 'me: levels');
	is_deeply([ map { $me{$_}{see_input} ? 1 : 0 } qw(ann vic sue stranger) ], [ 0, 0, 1, 0 ], 'me: who sees inputs');
	is_deeply([ @{ $me{ann} }{qw(user_id name note hint)} ], [ 'ann', 'ann (authenticated)', 'Ann', undef ], 'me: names');
	is($me{ann}{version}, sql($node, q{SELECT extversion FROM pg_extension WHERE extname = 'vibevideo'}), 'me: the version');
	is($me{ann}{storage_public_url}, $storage->url, 'me: where the videos are');
	is_deeply([ grep { defined $me{stranger}{$_} } sort keys %{ $me{stranger} } ], [qw(hint name see_input server_time user_id)], 'me: a stranger learns nothing but that');
	like($me{stranger}{hint}, qr/vibevideo\.operator/, 'me: and what to do about it');
	is($rest->call('support', undef, POST => '/rest/v1/rpc/vibevideo_admin_me', {})->{data}{level}, 'operator', 'me: a role of the database');
}

# ---------------------------------------------------------------------------
# What they show
# ---------------------------------------------------------------------------
sub new_job
{
	my ($prompt, $user) = @_;
	my $id = sql($node, "INSERT INTO vibelogs (prompt, user_id) VALUES ('$prompt', '" . ($user // 'user-1') . "') RETURNING id");

	sql($node, "SELECT vibevideo_submit('$id')");
	return ($id, job_of($node, $id));
}

# A row, and a job of it that has ended, or not: columns as SQL.
sub made_job
{
	my (%columns) = @_;
	my %all = (relation => "'vibelogs'", vibelog_id => "gen_random_uuid()::text", model => "'fal-ai/minimax/video-01'", input => q{'{"prompt": "made"}'},
		requested_by => "'user-2'", cost_usd => '0.5', row_dirty => 'false', created_at => "now() - interval '1 h'", %columns);
	my @names = sort keys %all;

	return sql($node, 'INSERT INTO vibevideo.job (' . join(', ', @names) . ') VALUES (' . join(', ', @all{@names}) . ') RETURNING job_id');
}
my %ended = (next_at => 'NULL', completed_at => 'now()');

my ($key, $job) = new_job($wish);
my $failed = made_job(%ended, state => "'failed'", error_code => "'internal_error'");
{
	my %arguments = (find => { q => $key }, job => { job_id => $job->{job_id} }, retry_cost => { job_id => $job->{job_id} }, series => { metric => 'submitted' }, errors => {}, users => {},
		plan => { action => 'cancel', filter => {} });
	my $all = sub { my ($who) = @_; return join "\n", map { $rest->request(POST => "/rest/v1/rpc/vibevideo_admin_$_", { 'content-type' => 'application/json', authorization => bearer('authenticated', $who) }, encode_json($arguments{$_} // {}))->{body} } @looks, 'plan', 'audit' };

	for my $who (qw(ann vic))
	{
		my $said = $all->($who);
		unlike($said, qr/$wish/, "$who: sees no prompt anywhere");
		unlike($said, $secrets, "$who: and no key");
		like($said, qr/$job->{request_id}/, "$who: but the job");
	}
	like($all->('sue'), qr/$wish.*$wish/s, 'a viewer with see_input sees them');
	like($all->('olga'), qr/"examples": ?\[\{[^]]*$wish/, 'and an operator in a plan');
}

# -- one search box -----------------------------------------------------------------------------------
{
	my $found = sub { my ($who, $q) = @_; my $page = got($who, 'find', q => $q); return join(' ', (map { $_->{job_id} } @{ $page->{jobs} }), encode_json($page->{filter}) =~ s/"//gr) };
	my $id = $job->{job_id};

	is($found->('vic', $id), "$id {job_id:[$id]}", 'find: a number');
	is($found->('vic', "  #$id\n"), "$id {job_id:[$id]}", 'find: with blanks');
	is($found->('vic', $job->{request_id}), "$id {request_id:$job->{request_id}}", 'find: a request id');
	like($found->('vic', uc $key), qr/^$id \{key:\[.*\Q$key\E\]\}$/, 'find: a key, in capitals, too');
	is($found->('vic', 'user-2'), "$failed {user:user-2}", 'find: a user');
	is($found->('vic', 'internal_error'), "$failed {error_code:internal_error}", 'find: an error code');
	is($found->('sue', 'WISH that'), "$id {prompt:WISH that}", 'find: words of a prompt');
	is($found->('vic', 'WISH that'), '{error_code:WISH that}', 'find: not for who may not see them');
	is($found->('sue', 'there is none'), '{prompt:there is none}', 'find: nothing');
	my $numbered = made_job(%ended, state => "'cancelled'", vibelog_id => "'$id'");
	is_deeply([ sort map { $_->{job_id} } @{ got('vic', 'find', q => "$id")->{jobs} } ], [ sort $id, $numbered ], 'find: a number that is a key of another');
	is_deeply([ map { $_->{job_id} } @{ got('vic', 'list_jobs', filter => got('vic', 'find', q => 'user-2', max_jobs => 1)->{filter})->{jobs} } ],
		[ map { $_->{job_id} } @{ got('vic', 'list_jobs', filter => { user => 'user-2' })->{jobs} } ], 'find: its filter is one of list_jobs');
	is(error_of(admin('vic', 'find', q => $_)), '400 22023', 'find: ' . (defined $_ ? length($_) > 9 ? 'too much' : "'$_'" : 'null')) for undef, '', "  \n", 'x' x 1001;
	is(error_of(admin('vic', 'find', q => 'x', max_jobs => 0)), '400 22023', 'find: no jobs at all');
}

# -- whatever somebody types is a value ----------------------------------------------------------------
{
	my @evil = (q{'; DROP TABLE vibevideo.job; --}, q{' OR true --}, q{$1}, q{%s}, q{\\'}, "a\tb", q{{"a": 1}}, '1); SELECT pg_sleep(100); --', q{$$x$$}, "\x{1f4a9}", '"', q{job_id}, '-1', '9' x 18, '9' x 19);
	my $jobs = sql($node, 'SELECT count(*), max(job_id) FROM vibevideo.job');
	my @wrong;
	my $check = sub {
		my ($what, $answer) = @_;
		my $code = ref $answer->{data} eq 'HASH' ? $answer->{data}{code} // '' : '';

		push @wrong, "$what: " . answer_text($answer) unless $answer->{status} == 200 || $answer->{status} =~ /^40[04]$/ && $code =~ /^(?:22\w\w\w|PT404|PGRST\d+)$/;
		push @wrong, "$what finds something" if $what !~ /^filter (?:since|until)/ && $answer->{status} == 200 && ref $answer->{data} eq 'HASH' && ref $answer->{data}{jobs} && @{ $answer->{data}{jobs} };
	};

	for my $evil (@evil)
	{
		$check->("find $evil", admin('sue', 'find', q => $evil));
		$check->("filter $_ $evil", admin('sue', 'list_jobs', filter => { $_ => $evil })) for qw(job_id request_id key state status error_code class model user since until prompt), $evil;
		$check->("filter $_ [$evil]", admin('sue', 'list_jobs', filter => { $_ => [$evil] })) for qw(job_id request_id key state status error_code model user attempts cost orphan);
		$check->("after $evil", admin('sue', 'list_jobs', filter => { user => 'nobody' }, after => $_)) for $evil, { job_id => $evil }, { ended => $evil, job_id => 1 };
		$check->("plan $evil", admin('olga', 'plan', action => $evil, filter => {}));
		$check->("plan of $evil", admin('olga', 'plan', action => 'cancel', filter => { prompt => $evil, user => $evil }));
		$check->("resolve $evil", admin('ann', 'resolve', job_id => 0, verdict => $evil));
		$check->("job $evil", admin('vic', 'job', job_id => $evil));
		$check->("series $evil", admin('vic', 'series', metric => $evil));
		$check->("errors $evil", admin('vic', 'errors', since => $evil));
		$check->("act $evil", admin('ann', 'act', token => $evil));
		$check->("pause $evil", admin('ann', 'pause', scope => $evil));
		$check->("set_price $evil", admin('ann', 'set_price', endpoint => $evil, unit_price_usd => 1));
		$check->("set_price of $evil", admin('ann', 'set_price', endpoint => 'acme/evil', unit_price_usd => 1, @$_))
		  for [ unit => $evil ], [ valid_from => $evil ];
		is(error_of(admin('ann', 'set_price', endpoint => 'acme/evil', unit_price_usd => 1, applies => $evil)), '400 23514', "set_price applies $evil");
		like(error_of(admin('ann', 'set_price', endpoint => 'acme/evil', unit_price_usd => 1, quantity => $evil)), qr/^(?:400 (?:23514|42601|22\w{3})|200 none)$/, "set_price quantity $evil");
		got('ann', 'delete_price', endpoint => 'acme/evil');
		got('ann', 'set_price', endpoint => 'acme/evil', unit_price_usd => 1, applies => { $evil => $evil }, note => $evil);
		is(got('ann', 'estimate', endpoint => 'acme/evil', input => { $evil => $evil })->{cost_usd}, 1, "estimate $evil");
		is(got('ann', 'delete_price', endpoint => 'acme/evil', applies => { $evil => $evil }), 1, "delete_price $evil");
		$check->("set_limit $evil", admin('ann', 'set_limit', scope => $evil, user_id => undef, max_active => 1, submits_per_day => 1, spend_per_day_usd => 1));
		$check->("audit $evil", admin('ann', 'audit', after => { at => $evil, audit_id => $evil }));
	}
	is(join("\n", @wrong), '', 'nothing that is typed is more than a value');
	is(sql($node, 'SELECT count(*), max(job_id) FROM vibevideo.job'), $jobs, 'all jobs are there');
	is(sql($node, q{SELECT count(*) FROM vibevideo.price_rule WHERE source <> 'built-in'}), '0', 'no price is new');
	is(sql($node, 'SELECT count(*) FROM vibevideo.limit'), '0', 'nor a limit');
	my $user = q{o'brien"; --};
	is(got('ann', 'set_limit', scope => 'user', user_id => $user, max_active => 1, submits_per_day => undef, spend_per_day_usd => undef)->{user_id}, $user, 'a user may have any name');
	is(got('ann', 'delete_limit', scope => 'user', user_id => $user), $true, 'and be told from others by it');
}

# -- settings, as a viewer sees them -------------------------------------------------------------------
{
	my %shown = map { $_->{name} => $_ } @{ got('vic', 'settings') };
	my %own = map { my $line = decode_json($_); $line->{name} => $line } split /\n/, sql($node, q{SET ROLE grafana; SELECT to_jsonb(s) - 'meaning' FROM vibevideo.settings s; RESET ROLE});

	is_deeply([ sort keys %shown ], [ sort keys %own ], 'settings: those that a viewer with SQL reads');
	is_deeply([ grep { ($shown{$_}{value} // 'NULL') ne ($own{$_}{value} // 'NULL') || ($shown{$_}{advice} // '') ne ($own{$_}{advice} // '') } sort keys %own ], [], 'and as he does');
	is_deeply([ grep { defined $shown{$_}{file} } sort keys %shown ], [], 'nobody learns where they stand');
	is(error_of(admin('vic', $_)), '200 none', "$_: read") for qw(limit_use limits prices worker);
	is(got('vic', 'worker')->{pid}, worker_pid($node), 'worker: its process');
	is_deeply([ sort map { $_->{endpoint} } @{ got('vic', 'prices') } ], [ split /\n/, sql($node, 'SELECT endpoint FROM vibevideo.price_rule ORDER BY endpoint') ], 'prices: all rules');
}

# ---------------------------------------------------------------------------
# Health
# ---------------------------------------------------------------------------
{
	my $canonical = JSON::PP->new->canonical;
	my $asked = sub { return join ' ', map { $canonical->encode($_->ledger('?jobs=0')->{requests}) } $fal, $storage };
	my $before = $asked->();
	my $checks = got('vic', 'health');
	my %line = map { $_->{check_name} => $_ } @$checks;

	is(join(' ', grep { !$line{$_} } qw(preload version worker table grants fal_key fal_admin_key storage_key pg_cron limits sequences)), '', 'health: lines about this side of the network');
	is(join(' ', grep { $line{$_} } qw(queue bucket bucket_public bucket_size public_url webhook broadcasts)), '', 'and none about the other');
	is(join(' ', map { "$_->{check_name}: $_->{detail}" } grep { $_->{status} ne 'ok' } @$checks), '', 'all is well');
	is($asked->(), $before, 'nobody was asked');
	$storage->stop;
	$fal->default(keys => ['another:key']);
	is_deeply([ map { $_->{status} } @{ got('vic', 'health') } ], [ map { $_->{status} } @$checks ], 'nor could anybody have been');
	$fal->default(keys => ['key-id:key-secret']);
	$storage = $storage->restart;

	is(error_of(admin('vic', 'health', network => $true)), '403 42501', 'over the network it takes an operator');
	my %all = map { $_->{check_name} => $_ } @{ got('ann', 'health', network => $true) };
	is(join(' ', grep { !$all{$_} } qw(preload queue bucket overdue submit_unknown)), '', 'who gets all of check_config');

	# whoever holds a table keeps nobody waiting
	my $holder = VibeTest::Session->start($node);
	$holder->ask('BEGIN; LOCK TABLE vibevideo.limit, vibevideo.price_rule, vibevideo.model IN ACCESS EXCLUSIVE MODE');
	my %held = map { $_->{check_name} => $_ } @{ got('vic', 'health') };
	is("$held{limits}{status}: $held{limits}{detail}", 'warn: somebody holds a lock on what this looks at', 'health does not wait for a lock');
	is($held{sequences}{status}, 'ok', 'and looks at the rest');
	# and who does wait is cut off
	sql($node, q{ALTER ROLE authenticated SET statement_timeout = '300ms'});
	$rest->reload;
	is(error_of(admin('vic', 'limits')), '500 57014', 'a call that takes too long is ended');
	$holder->ask('ROLLBACK');
	is(error_of(admin('vic', 'limits')), '200 none', 'the next one is answered');
	sql($node, q{ALTER ROLE authenticated SET statement_timeout = '8s'});
	$rest->reload;
}

# ---------------------------------------------------------------------------
# What a retry would do is what it does
# ---------------------------------------------------------------------------
sql($node, 'SELECT vibevideo.pause()');
{
	my $superseded = made_job(%ended, state => "'failed'", vibelog_id => "'00000000-0000-4000-8000-000000000001'", error_code => "'internal_error'");
	my $newer = made_job(state => "'queued'", vibelog_id => "'00000000-0000-4000-8000-000000000001'", attempt => 2, request_id => "'r-1'", next_at => "now() + interval '1 h'");
	my %case = (
		'a failed one' => [ made_job(%ended, state => "'failed'", error_code => "'internal_error'"), 'f', '0.5', 't', 'a new attempt is paid for' ],
		'a cancelled one' => [ made_job(%ended, state => "'cancelled'"), 'f', '0.5', 't', 'a new attempt is paid for' ],
		'a video that was made' => [ made_job(%ended, state => "'failed'", media_url => "'https://example.org/v.mp4'", error_code => "'upload_failed'"), 't', '0', 't', 'its video was rendered, and is only copied again' ],
		'one that waits' => [ made_job(state => "'pending'"), 'f', '0', 't', 'it is sent now, at the price it has already' ],
		'one at fal.ai' => [ $newer, 'f', '0', 'f', 'it is active' ],
		'one that is done' => [ made_job(%ended, state => "'completed'", media_url => "'https://example.org/v.mp4'"), 'f', '0', 'f', 'its video is stored' ],
		'an old one' => [ $superseded, 'f', '0', 'f', "job $newer of the same row is active" ],
		'a lost one' => [ made_job(state => "'submit_unknown'", sent_at => 'now()', next_at => "now() + interval '1 h'"), 'f', '0.5', 't', 'it is given up as lost, and a new attempt is paid for; if fal.ai has it after all, so is that' ],
		'one without a price' => [ made_job(%ended, state => "'failed'", model => "'acme/no-price'", cost_usd => 'NULL', error_code => "'x'"), 'f', '', 't', 'a new attempt is paid for, but its price is not known' ]);

	for my $what (sort keys %case)
	{
		my ($id, @says) = @{ $case{$what} };
		my $says = got('vic', 'retry_cost', job_id => $id);
		my $number = sub { return defined $_[0] ? 0 + $_[0] : '' };

		is_deeply([ ($says->{copies} ? 't' : 'f'), $number->($says->{cost_usd}), ($says->{allowed} ? 't' : 'f'), $says->{reason} ], [ @says ], "retry_cost of $what") or diag(explain($says));
		got('ann', 'retry', job_id => $id);
		my ($jobs, $spent, $outcome) = split /\|/, sql($node, q{SELECT jobs, cost_usd, outcome ->> 'state' FROM vibevideo.audit ORDER BY at DESC, audit_id DESC LIMIT 1});
		is($jobs, $says->{allowed} ? 1 : 0, "which " . ($says->{allowed} ? 'is done' : 'does nothing'));
		is($number->($spent eq '' ? undef : $spent) || 0, $number->($says->{cost_usd}) || 0, 'at that price');
		is($outcome eq 'processing' ? 't' : 'f', $says[0], 'and copies, or not');
	}
	is(error_of(admin('vic', 'retry_cost', job_id => 0)), '404 PT404', 'there is no such job');

	my $limited = made_job(%ended, state => "'failed'", error_code => "'x'", requested_by => "'user-9'", created_at => "now() - interval '2 s'");
	my %limit = (scope => 'user', user_id => 'user-9', max_active => undef, submits_per_day => undef, spend_per_day_usd => undef);
	for my $case ([ max_active => 0, 'limit max_active of its user is reached' ], [ submits_per_day => 0, 'limit submits_per_day of its user is reached' ], [ spend_per_day_usd => 0.4, "it is over today's budget of its user" ])
	{
		my ($name, $value, $reason) = @$case;

		got('ann', 'set_limit', %limit, $name => $value);
		my $says = got('vic', 'retry_cost', job_id => $limited);
		is(($says->{allowed} ? 't' : 'f') . " $says->{reason}", "f a new attempt is paid for, but $reason", "over $name it would not be taken");
		like(error_of(admin('ann', 'retry', job_id => $limited)), qr/^4(?:29 PT429|02 PT402)$/, 'and is not');
	}
	got('ann', 'set_limit', %limit, max_active => 1, submits_per_day => 1, spend_per_day_usd => 0.5);
	is(got('vic', 'retry_cost', job_id => $limited)->{allowed}, $true, 'at the limit it is');
	got('ann', 'retry', job_id => $limited);
	is(got('vic', 'retry_cost', job_id => made_job(%ended, state => "'failed'", error_code => "'x'", requested_by => "'user-9'"))->{reason}, 'a new attempt is paid for, but limit max_active of its user is reached', 'and counts');
	got('ann', 'delete_limit', scope => 'user', user_id => 'user-9');
}

# ---------------------------------------------------------------------------
# Limits and prices: an operator sets them, and the audit has what was
# ---------------------------------------------------------------------------
{
	my $last = sub { my $entry = got('ann', 'audit', max_rows => 1)->{rows}[0]; return ($entry->{who}, $entry->{action}, map { $entry->{arguments}{$_}[0] } qw(was is)) };
	my %limit = (scope => 'default', user_id => undef, max_active => 3, submits_per_day => 20, spend_per_day_usd => 5);

	is(got('ann', 'set_limit', %limit)->{max_active}, 3, 'a limit is set');
	my ($who, $action, $was, $is) = $last->();
	is("$who: $action", 'ann (authenticated): insert limit', 'the audit knows by whom');
	is_deeply([ $was, $is->{max_active} ], [ undef, 3 ], 'and to what');
	got('ann', 'set_limit', %limit, max_active => 4, spend_per_day_usd => undef);
	($who, $action, $was, $is) = $last->();
	is($action, 'update limit', 'it is changed');
	is_deeply([ map { ($_->{max_active}, $_->{spend_per_day_usd}) } $was, $is ], [ 3, $was->{spend_per_day_usd}, 4, undef ], 'before and after');
	my $entries = sql($node, 'SELECT count(*) FROM vibevideo.audit');
	got('ann', 'set_limit', %limit, max_active => 4, spend_per_day_usd => undef);
	is(sql($node, 'SELECT count(*) FROM vibevideo.audit'), $entries, 'what changes nothing is no act');
	is_deeply([ map { "$_->{scope} $_->{max_active}" } @{ got('vic', 'limits') } ], ['default 4'], 'a viewer reads it');
	is_deeply([ grep { $_->{most} != 4 || $_->{remaining} != ($_->{used} > 4 ? 0 : 4 - $_->{used}) } grep { $_->{limit_name} eq 'max_active' } @{ got('vic', 'limit_use') } ], [], 'and how much of it is used');

	got('ann', 'set_limit', scope => 'user', user_id => 'user-5', max_active => 0, submits_per_day => undef, spend_per_day_usd => undef);
	my $row = sql($node, "INSERT INTO vibelogs (prompt, user_id) VALUES ('x', 'user-5') RETURNING id");
	is((sql_error($node, "SELECT vibevideo_submit_batch('{$row}')"))[0], 'PT429', 'a limit counts at once');
	is(got('ann', 'delete_limit', scope => 'user', user_id => 'user-5'), $true, 'one is taken away');
	is(got('ann', 'delete_limit', scope => 'user', user_id => 'user-5'), $false, 'which is not there any more');
	is((sql_error($node, "SELECT vibevideo_submit_batch('{$row}')"))[0], '', 'and counts no more');
	for my $bad (
		[ scope => 'everybody' ], [ scope => undef ], [ user_id => 'user-1' ], [ scope => 'user' ], [ scope => 'user', user_id => '' ], [ max_active => -2 ], [ max_active => 10001 ],
		[ submits_per_day => 100001 ], [ spend_per_day_usd => -0.5 ], [ spend_per_day_usd => 'NaN' ], [ spend_per_day_usd => 1e9 ], [ spend_per_day_usd => 'Infinity' ])
	{
		is(error_of(admin('ann', 'set_limit', %limit, @$bad)), '400 22023', 'no limit: ' . join(' ', map { $_ // 'null' } @$bad));
	}
	got('ann', 'delete_limit', scope => 'default', user_id => undef);

	is(got('ann', 'set_price', endpoint => 'acme/new', unit_price_usd => 0.28)->{unit_price_usd}, 0.28, 'a price of a new model');
	my $known = got('ann', 'set_price', endpoint => 'fal-ai/minimax/video-01', unit_price_usd => 0.75);
	is($known->{source}, 'operator', 'one that is known');
	($who, $action, $was, $is) = $last->();
	is_deeply([ $action, $was, $is->{unit_price_usd} ], [ 'insert price_rule', undef, 0.75 ], 'gets another rule, and the audit has it');
	is((new_job('dearer', 'user-6'))[1]{cost_usd}, 0.75, 'which the next job costs');
	my %rule = (endpoint => 'acme/new', unit_price_usd => 0.1, unit => 'second', applies => { size => '4k' }, quantity => '$.duration', quantity_default => 5, allowance => 0.5,
		note => 'their list');
	my $made = got('ann', 'set_price', %rule);
	is_deeply({ map { $_ => $made->{$_} } keys %rule }, { %rule, quantity => '$."duration"' }, 'a rule with all that it can say');
	is_deeply([ map { got('vic', 'estimate', endpoint => 'acme/new', input => $_)->{cost_usd} } { duration => '8s' }, { duration => '8s', size => '4k' }, { size => '4k' } ],
		[ 0.28, 0.85, 0.55 ], 'and what videos cost by it');
	is(got('ann', 'delete_price', endpoint => 'acme/new', applies => { size => '4k' }), 1, 'it is taken away');
	($who, $action, $was, $is) = $last->();
	is_deeply([ $action, $was->{unit_price_usd}, $is ], [ 'delete price_rule', 0.1, undef ], 'which the audit has, too');
	is(got('ann', 'set_price', endpoint => 'acme/new', unit_price_usd => undef)->{unit_price_usd}, undef, 'a price may be forgotten');
	is(error_of(admin('ann', 'set_price', endpoint => $_->[0], unit_price_usd => $_->[1])), '400 22023', "no price: $_->[0] $_->[1]")
	  for [ '', 1 ], [ 'acme', 1 ], [ '../x/y z', 1 ], [ 'acme/' . 'x' x 200, 1 ], [ 'acme/x', -1 ], [ 'acme/x', 1e6 ], [ 'acme/x', 'NaN' ];
	is(got('ann', 'delete_price', endpoint => 'fal-ai/minimax/video-01'), 1, 'the price that was known');
	is((new_job('as before', 'user-6'))[1]{cost_usd}, 0.5, 'counts again');
}

# ---------------------------------------------------------------------------
# The ledger: a viewer reads it, and an operator explains what is unmatched
# ---------------------------------------------------------------------------
{
	my $unread = got('vic', 'ledger');

	is_deeply([ @$unread{qw(read_at days unmatched more_days more_unmatched)} ], [ undef, [], [], $false, $false ], 'ledger: nothing was read');
	is($unread->{detail}, "fal.ai's bill is not read: there is no API key of scope ADMIN", 'which is said');
	like($unread->{hint}, qr/^Create a new key of scope ADMIN .* fal_admin_key/, 'and what to do');
	is(error_of(admin('vic', 'ledger', days => $_ // undef)), '400 22023', 'no number of days: ' . ($_ // 'null')) for undef, 0, 367;

	# the worker does not read it
	sql($node, q{UPDATE vibevideo_internal.errand SET next_at = 'infinity' WHERE name = 'usage'});
	configure($node, fal_admin_key => 'key-id:key-secret');
	sql($node, q{SELECT vibevideo_internal.usage_hears('{}', 403, NULL, 'HTTP 403: no <b>')});
	my $failing = got('vic', 'ledger');
	like("$failing->{failing_since} $failing->{detail} $failing->{hint}", qr/^\d{4}-.*fal\.ai does not show its bill, .*HTTP 403: no <b>.*The key must be one of scope ADMIN/, 'why it is not read');
	my $free = made_job(%ended, state => "'completed'", request_id => "'r-free'", media_url => "'https://example.org/v.mp4'", generated_at => "now() - interval '8 h'");
	sql($node, q{INSERT INTO vibevideo.fal_usage (at, endpoint, request_id, nth, cost_usd) VALUES (now() - interval '7 h', 'acme/theirs', 'r-theirs', 1, 0.9);
		SELECT vibevideo_internal.bill_was_read(now() - interval '3 days', now())});
	my $page = got('vic', 'ledger');
	is($page->{failing_since}, undef, 'it is read again');
	like($page->{detail}, qr/^fal\.ai's bill was last read /, 'as it says');
	is($page->{hint}, undef, 'and there is nothing to do');
	is_deeply([ map { [ @$_{qw(model ours_usd fal_usd difference_usd explained_usd jobs_without_item items_without_job closed)} ] } grep { $_->{model} eq 'acme/theirs' } @{ $page->{days} } ],
		[ [ 'acme/theirs', 0, 0.9, 0.9, 0, 0, 1, $false ] ], 'a line of the ledger');
	my ($item, $job) = map { my $kind = $_; grep { $_->{kind} eq $kind && ($_->{request_id} // '') =~ /^r-/ } @{ $page->{unmatched} } } qw(item job);
	is_deeply([ @$item{qw(usd request_id job_id)} ], [ 0.9, 'r-theirs', undef ], 'an item without a job');
	is_deeply([ @$job{qw(usd request_id job_id event_id)} ], [ 0.5, 'r-free', $free, undef ], 'a job without an item');
	is(error_of(admin($_, 'explain_usage', what => 'r-theirs', note => 'x')), '403 42501', "$_ may not explain it") for qw(vic user-1);
	is(error_of(admin('ann', 'explain_usage', what => 'r-theirs', note => ' ')), '400 22023', 'nor anybody without a word');
	is(error_of(admin('ann', 'explain_usage', what => "' OR true --", note => 'x')), '404 PT404', 'nor what is none');
	is(got('ann', 'explain_usage', what => $item->{event_id}, note => 'the shop'), 1, 'an operator explains an item');
	is(got('ann', 'explain_usage', what => 'r-free', note => 'a gift'), 1, 'and a job');
	is(join(' ', grep { /^r-/ } map { $_->{request_id} // '' } @{ got('vic', 'ledger')->{unmatched} }), '', 'which are unmatched no more');
	is(got('ann', 'audit', max_rows => 1)->{rows}[0]{arguments}{note}, 'a gift', 'the audit has it');
	configure($node, fal_admin_key => '');
}

# -- the audit, part by part ------------------------------------------------------------------------
{
	is(error_of(admin('ann', 'audit', after => $_)), '400 22023', 'what was never its next is refused')
	  for 5, [], {}, { at => 'now' }, { at => 'x', audit_id => 1 }, { at => 'now', audit_id => 'x' }, { at => undef, audit_id => 1 };
	my (@seen, $after);

	for my $part (1 .. 1000)
	{
		my $page = got('ann', 'audit', max_rows => 7, after => $after);
		push @seen, map { $_->{audit_id} } @{ $page->{rows} };
		$after = $page->{next} // last;
	}
	is(join(' ', @seen), join(' ', split /\n/, sql($node, 'SELECT audit_id FROM vibevideo.audit ORDER BY at DESC, audit_id DESC')), 'all of the audit, each row once');
	is(error_of(admin('vic', 'audit')), '403 42501', 'not for viewers');
}

# ---------------------------------------------------------------------------
# Lost submits
# ---------------------------------------------------------------------------
sql($node, q{SELECT vibevideo.resume(); DELETE FROM vibevideo.job WHERE state = 'submit_unknown'});
my $stranger = http_client(keep_alive => 1);

# what another program on the same account has rendered, so many seconds ago by fal's clock
sub stranger_submits
{
	my ($input, $seconds) = @_;

	$fal->default(clock_ms => -1000 * ($seconds // 0));
	my $answer = $stranger->post($fal->url . '/fal-ai/minimax/video-01', { content => encode_json($input), headers => { authorization => 'Key key-id:key-secret', 'content-type' => 'application/json' } });
	$fal->default(clock_ms => 0);
	return decode_json($answer->{content})->{request_id} // die $answer->{content};
}

# a submit that fal never got; its job
sub lose
{
	my ($prompt) = @_;

	$fal->fault('submit', 'reset_before', prompt => "^$prompt\$");
	my ($id, $job) = new_job($prompt);
	is($job->{state}, 'submit_unknown', "$prompt: is lost");
	return ($id, $job->{job_id});
}

# its line once fal's list has been read
sub looked_at
{
	my ($job) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql($node, "DELETE FROM vibevideo_internal.lost_look WHERE job_id = $job");
	wait_for($node, "SELECT count(*) FROM vibevideo_internal.lost_look WHERE job_id = $job", '1', 'fal.ai\'s list is read', hurry => 1);
	return (grep { $_->{job}{job_id} == $job } @{ got('vic', 'lost') })[0];
}

# (Requests of strangers come first: while fal's clock is turned back, a list would mislead.)
{
	my $request = stranger_submits({ prompt => 'lost: before' }, 30);
	$fal->fault('list', { kind => 'http', status => 500, body => 'oops' }, times => -1);
	my ($row, $lost) = lose('lost: before');
	wait_for($node, "SELECT error LIKE '%answered HTTP 500%' FROM vibevideo.job WHERE job_id = $lost", 't', 'the list cannot be read', hurry => 1);
	my ($line) = @{ got('vic', 'lost') };
	is_deeply([ @$line{qw(looked_at candidates complete policy)} ], [ undef, undef, undef, 'fail_when_absent' ], 'lost: nobody has looked yet');
	is(sql($node, "SELECT '$line->{acts_at}'::timestamptz = sent_at + interval '1 h' FROM vibevideo.job WHERE job_id = $lost"), 't', 'lost: when it is given up, at the earliest');
	like($line->{fal_url}, qr{^\Q${\ $fal->url }\E/v1/models/requests/by-endpoint\?.*endpoint_id=fal-ai%2Fminimax%2Fvideo-01&start=20}, 'lost: where to look');
	is($line->{job}{prompt}, undef, 'lost: no prompt for a viewer');
	$fal->clear_faults;

	$line = looked_at($lost);
	is_deeply([ map { ($_->{request_id}, $_->{input}, $_->{why}) } @{ $line->{candidates} } ], [ $request, 'same', 'fal.ai accepted it before this was sent' ], 'lost: what fal.ai had before, and why it is not it');
	like($line->{candidates}[0]{seconds}, qr/^-3\d/, 'lost: how long before');
	like($line->{candidates}[0]{fal_url}, qr{/requests/\Q$request\E}, 'lost: where it is');
	is($line->{complete}, $true, 'lost: the list was complete');
	is(sql($node, "SELECT '$line->{candidates}[0]{at}'::timestamptz < sent_at FROM vibevideo.job WHERE job_id = $lost"), 't', 'lost: when it was');

	# another lost submit has the same candidate, until somebody decides
	my (undef, $twin) = lose('lost: before');
	is_deeply([ map { $_->{request_id} } @{ looked_at($twin)->{candidates} } ], [$request], 'another lost submit has the same');
	is(got('ann', 'resolve', job_id => $lost, verdict => $request)->{request_id}, $request, 'an operator says that it is it after all');
	is_deeply([ map { ($_->{job}{job_id}, scalar @{ $_->{candidates} }) } @{ got('vic', 'lost') } ], [ $twin, 0 ], 'it is not lost any more, and no candidate of another');
	got('ann', 'resolve', job_id => $twin, verdict => 'not_sent');
	is_deeply(got('vic', 'lost'), [], 'and then none is');
}
{
	$fal->fault('list', { kind => 'http', status => 500, body => 'oops' }, times => -1);
	my ($row, $lost) = lose('lost: cancelled');
	# who is looking for it already does not know of the cancel
	wait_for($node, "SELECT error LIKE '%answered HTTP 500%' FROM vibevideo.job WHERE job_id = $lost", 't', 'it was looked for in vain');
	sql($node, "SELECT vibevideo_cancel('$row')");
	my $request = stranger_submits({ prompt => 'lost: cancelled', seed => 7 });
	$fal->clear_faults;
	my $line = looked_at($lost);
	is("$line->{policy}: $line->{outcome}", "cancel: it ends as cancelled if fal.ai's list shows no trace of it", 'lost: one that is to be cancelled');
	is_deeply([ map { ($_->{request_id}, $_->{input}, $_->{why}) } @{ $line->{candidates} } ], [ $request, 'contains', 'it would be cancelled, and its input is not exactly the same' ], 'lost: what it may not be taken for');

	my $other = made_job(state => "'submit_unknown'", sent_at => 'now()', created_at => 'now()', input => q{'{"prompt": "lost: other", "seed": 7}'});
	$request = stranger_submits({ prompt => 'lost: other', seed => 8 });
	is_deeply([ map { ($_->{request_id}, $_->{input}, $_->{why}) } @{ looked_at($other)->{candidates} } ], [ $request, 'differs', 'its input is another' ], 'lost: another input');

	my @requests = map { stranger_submits({ prompt => 'lost: crowd' }, 20 + $_) } 1 .. 23;
	my (undef, $crowd) = lose('lost: crowd');
	is_deeply([ map { $_->{request_id} } @{ looked_at($crowd)->{candidates} } ], [ @requests[ 0 .. 19 ] ], 'lost: the twenty nearest in time');
	is_deeply([ map { $_->{more} ? 1 : 0 } @{ got('vic', 'lost', max_jobs => 2) } ], [ 1, 1 ], 'lost: there are more than two');
	sql($node, q{UPDATE vibevideo_internal.lost_look SET looked_at = now() - interval '2 h'; INSERT INTO vibevideo_internal.lost_look VALUES (0, now() - interval '2 h', true, '[]')});
	looked_at($crowd);
	is(sql($node, 'SELECT string_agg(job_id::text, \' \' ORDER BY job_id) FROM vibevideo_internal.lost_look WHERE job_id IN (0, ' . join(', ', $lost, $other, $crowd) . ')'), join(' ', sort { $a <=> $b } $lost, $other, $crowd), 'what is known of jobs that are not lost is forgotten');
	for my $case ([ manual => undef, 'nothing happens until somebody decides' ], [ resubmit_when_absent => 1, "a new attempt is sent if fal.ai's list shows no trace of this one" ])
	{
		my ($policy, $acts, $outcome) = @$case;

		configure($node, unknown_policy => $policy);
		wait_until(sub { my ($line) = grep { $_->{job}{job_id} == $crowd } @{ got('vic', 'lost') }; return $line->{policy} eq $policy && $line->{outcome} eq $outcome && !defined $line->{acts_at} == !defined $acts }, "lost: with $policy");
	}
}

undef $rest;
done_testing();
