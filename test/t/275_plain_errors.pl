# What goes wrong with a call is said in vibevideo's words, with what to do, and
# without the statements that it was found by: for every function that people
# call, as pg_proc lists them, and for what transactions, rights, policies,
# timeouts and locks do to them.  What the app's own code raises stays as it is.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Socket;
use Test::More;
use VibeRest;
use VibeTest;

my $fal = start_fal(front => 'plain', default => { hold => 'queue' });
my $storage = start_storage(front => 'plain');
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'deadlock_timeout' => '60s',
	'vibevideo.fal_api_url' => 'http://127.0.0.1:9/v1',
	'vibevideo.poll_interval' => '1h',
	'vibevideo.submit_timeout' => '60s' });
my %ours = map { m{([^/]+)$} => 1 } glob('src/*.c');

supabase_roles($node);
sql($node, 'CREATE ROLE looker; CREATE ROLE actor; CREATE ROLE app_user;
	GRANT EXECUTE ON FUNCTION vibevideo_submit, vibevideo_submit_batch, vibevideo_cancel, vibevideo_retry, vibevideo_status TO app_user');
sql($node, q{SELECT vibevideo.grant_access('looker', 'viewer'), vibevideo.grant_access('actor', 'operator')});

# What psql, with VERBOSITY verbose, has printed of one error, as a hash.
sub parse_error
{
	my ($text) = @_;
	my %error;

	return {} unless $text =~ /^(?:psql:\S+ )?ERROR:  (\w{5}): (.*)/m;
	@error{qw(state message)} = ($1, $2);
	for my $part (qw(DETAIL HINT QUERY CONTEXT LOCATION))
	{
		($error{ lc $part }) = $text =~ /^$part:  (.*?)\n?(?=^(?:DETAIL|HINT|QUERY|CONTEXT|LOCATION|\w+ NAME):  |\z)/ms;
	}
	return { %error, text => $text };
}

# The errors of statements, each in a transaction of its own that is rolled back;
# {} for one that does well.
sub errors_of
{
	my ($begin, @statements) = @_;
	my $script = "\\set VERBOSITY verbose\n\\set SHOW_CONTEXT errors\nSET client_min_messages = error;\n";

	$script .= "\\warn statement $_\nBEGIN;\n$begin\n$statements[$_];\nROLLBACK;\n" for 0 .. $#statements;
	my ($rc, $out, $err) = $node->psql('postgres', $script, on_error_stop => 0);
	my (undef, %texts) = split /^statement (\d+)$/m, $err, -1;

	is(scalar(keys %texts), scalar(@statements), 'each statement was tried') or diag($err);
	return map { parse_error($texts{$_}) } 0 .. $#statements;
}

sub error_of
{
	my ($statement, %options) = @_;

	return (errors_of(join('', map { "SET LOCAL $_;\n" } @{ $options{set} || [] }), $statement))[0];
}

# What is not as it should be about an error of ours; nothing if all is well.
sub flaws
{
	my ($error) = @_;
	my ($file) = ($error->{location} || '') =~ /, (\S+):\d+/;

	return () unless $error->{state};
	return map { $_->[1] } grep { $_->[0] } (
		[ scalar($error->{state} =~ /^XX/), 'an internal error' ],
		[ !$ours{ $file || '' }, 'not thrown by vibevideo' ],
		[ defined $error->{context}, 'with a CONTEXT' ],
		[ defined $error->{query}, 'with a QUERY' ],
		[ scalar($error->{text} =~ /vibevideo_internal|PL\/pgSQL function|SQL (?:statement|function|expression)/), 'with inner names' ]);
}

sub plain
{
	my ($name, $error, $state, %parts) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($error->{state}, $state, "$name: SQLSTATE") or diag($error->{text} || 'no error');
	for my $part (sort keys %parts)
	{
		ref $parts{$part} ? like($error->{$part} // '', $parts{$part}, "$name: $part") : is($error->{$part}, $parts{$part}, "$name: $part");
	}
	is(join(', ', flaws($error)), '', "$name: nothing of ours shows") or diag($error->{text});
	return;
}

# -- every function, with whatever anybody may pass ------------------------------------------
# What each type can be at its worst.  A type that is new here has to be thought of.
my %bad = (
	bigint => [qw(NULL -1 0 9223372036854775807 -9223372036854775808)],
	integer => [qw(NULL -1 0 2147483647 -2147483648)],
	boolean => [qw(NULL true)],
	numeric => [ 'NULL', '-1', '-2', '0', q{'NaN'}, q{'Infinity'}, '1e20' ],
	'double precision' => [ 'NULL', '-1', '2', q{'NaN'}, q{'Infinity'} ],
	text => [ 'NULL', q{''}, q{'x'}, q{repeat('x', 100000)}, q{E'a\n''"; \\\\ %s %'}, q{'ünïcödé'} ],
	name => [ q{''}, q{'nonesuch'}, q{'prompt'}, q{'ID'}, q{'video_url'}, q{'"; DROP'} ],
	uuid => [ 'NULL', q{'00000000-0000-0000-0000-000000000000'} ],
	'uuid[]' => [ 'NULL', q{'{NULL}'}, q{'{00000000-0000-0000-0000-000000000000}'}, q{'{{00000000-0000-0000-0000-000000000000}}'} ],
	'bigint[]' => [ 'NULL', q{'{}'}, q{'{1}'}, q{'{NULL}'}, q{array_fill(NULL::bigint, ARRAY[24])}, q{array_fill(9223372036854775807, ARRAY[24])}, q{array_fill(1, ARRAY[4, 6])} ],
	interval => [ 'NULL', q{'-1 day'}, q{'0'}, q{'1 microsecond'}, q{'178000000 years'}, q{'-178000000 years'} ],
	'timestamp with time zone' => [ 'NULL', q{'infinity'}, q{'-infinity'}, q{'4713-01-01 BC'}, q{'294276-12-31'} ],
	regclass => [ 'NULL', '0', '1', q{'pg_class'}, q{'vibevideo.job'}, q{'vibevideo.jobs'}, q{'vibevideo.job_id_seq'}, q{'vibelogs_pkey'}, q{'odd'} ],
	regrole => [ 'NULL', '0', '1', q{'anon'}, q{'pg_monitor'}, q{'postgres'} ],
	regtype => [ 'NULL', '0', '1', q{'json'}, q{'vibevideo.video'} ],
	json => [ 'NULL', q{'null'}, q{'{}'}, q{'[1]'} ],
	jsonb => [ 'NULL', q{'null'}, q{'[]'}, q{'1'}, q{'{"": 1}'}, map { my $key = $_; map { qq{'{"$key": $_}'} } ('null', '1', '-1e400', 'true', '""', '"x"', '[]', '[[]]', '[1, "x"]', '{}') }
		  qw(job_id request_id key state status error_code class model user since until attempts cost orphan paid_not_stored prompt) ],
	jsonpath => [ 'NULL', q{'$'}, q{'$.duration'}, q{'strict $.a.b'}, q{'$.a[*]'}, q{'$.a ? (@ > $x)'}, q{'$x'}, q{'$.a / 0'}, q{'$.**'} ],
	'vibevideo.job' => [ 'NULL', q{jsonb_populate_record(NULL::vibevideo.job, '{}')}, '(SELECT j FROM vibevideo.job j WHERE false)' ]);
# what does well, by the argument's name
my %fair = (action => q{'retry'}, filter => q{'{}'}, metric => q{'submitted'}, level => q{'viewer'}, who => q{'app_user'}, relation => q{'vibelogs'},
	verdict => q{'not_sent'}, job => '1', token => q{'00000000-0000-0000-0000-000000000000'}, fraction => '0.5', histogram => 'array_fill(0, ARRAY[24])',
	job_id => '1', id_type => q{'uuid'}, error_code => q{'timeout'}, state => q{'queued'}, j => 'NULL',
	endpoint => q{'acme/video'}, unit_price_usd => '1', input => q{'{}'});

# The functions that people call: name, arguments as [name, type, has a default], and whether they say that they write.
sub functions
{
	return map {
		my ($oid, $name, $volatile, $arguments) = split /\|/, $_, 4;
		{ oid => $oid, name => $name, writes => $volatile eq 'v', arguments => [ map { [ split /:/ ] } split /,/, $arguments ] }
	} split /\n/, sql($node, <<'SQL');
SELECT p.oid, CASE n.nspname WHEN 'public' THEN p.proname ELSE format('%s.%s', n.nspname, p.proname) END, p.provolatile,
	(SELECT string_agg(format('%s:%s:%s', p.proargnames[a.nth], format_type(a.type, NULL), (a.nth > p.pronargs - p.pronargdefaults)::int), ',' ORDER BY a.nth)
	 FROM unnest(p.proargtypes) WITH ORDINALITY AS a(type, nth))
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'vibevideo'
WHERE p.prokind = 'f' AND n.nspname <> 'vibevideo_internal' ORDER BY 2
SQL
}

# A call with these values, by the argument's number; the others do well, or are left out.
sub call_of
{
	my ($function, %values) = @_;
	my @list;

	for my $nth (0 .. $#{ $function->{arguments} })
	{
		my ($name, $type, $has_default) = @{ $function->{arguments}[$nth] };
		next if !exists $values{$nth} && $has_default;
		my $value = $values{$nth} // $fair{$name} // $bad{$type}[-1];
		# an argument without a name is alone
		push @list, ($name ? "$name => " : '') . "($value)::$type";
	}
	return "SELECT * FROM $function->{name}(" . join(', ', @list) . ')';
}

sub bad_calls
{
	my ($function) = @_;
	my @calls;

	for my $nth (0 .. $#{ $function->{arguments} })
	{
		my $type = $function->{arguments}[$nth][1];
		push @calls, map { call_of($function, $nth => $_) } @{ $bad{$type} || die "no bad values of type $type\n" };
	}
	# and all of them at once
	push @calls, call_of($function, map { $_ => 'NULL' } 0 .. $#{ $function->{arguments} }) if @{ $function->{arguments} } > 1;
	return @calls;
}

my @functions = functions();
{
	my $before = sql($node, 'SELECT count(*) FROM vibevideo.job');

	sql($node, 'CREATE TABLE odd (a int, b int, PRIMARY KEY (a, b))');
	cmp_ok(scalar(@functions), '>=', 35, 'functions that people call are found');
	for my $function (@functions)
	{
		my @calls = bad_calls($function) or next;
		my @errors = errors_of('', @calls);
		my @wrong = map { my $flaws = join(', ', flaws($errors[$_])); $flaws ? "$calls[$_]: $flaws:\n$errors[$_]{text}" : () } 0 .. $#calls;

		is(scalar(@wrong), 0, "$function->{name}: " . scalar(@calls) . ' calls, ' . scalar(grep { $_->{state} } @errors) . ' errors, all ours') or diag(join("\n", @wrong));
	}
	is(sql($node, 'SELECT count(*) FROM vibevideo.job'), $before, 'none of it made a job');
}

# A listening socket whose queue is full: connecting to it hangs.
sub black_hole
{
	socket(my $server, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
	bind($server, sockaddr_in(0, INADDR_LOOPBACK)) or die "bind: $!";
	listen($server, 0) or die "listen: $!";
	my $address = getsockname($server);
	my @fill = map {
		socket(my $client, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
		$client->blocking(0);
		connect($client, $address);
		$client;
	} 1 .. 4;
	return ((sockaddr_in($address))[0], $server, @fill);
}

# Those that a role may call at all: of the others PostgreSQL says what is to be
# said, and so it does of what has become a part of the caller's own statement.
sub functions_for
{
	my ($role) = @_;
	my %may = map { $_ => 1 } split /\n/, sql($node, <<"SQL");
SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE has_function_privilege('$role', p.oid, 'EXECUTE') AND NOT (l.lanname = 'sql' AND p.proconfig IS NULL AND '$role' = 'stranger')
SQL

	return grep { $may{ $_->{oid} } } @functions;
}

# A call that should do well, of the app's functions for that row.
sub fair_call
{
	my ($function, $id) = @_;
	my ($name, $type) = @{ $function->{arguments}[0] || ['', ''] };

	return call_of($function, $name =~ /^vibelog_id/ ? (0 => $type =~ /\[\]$/ ? "'{$id}'" : "'$id'") : ());
}

# -- every function, by every role, whatever has become of the table ----------------------------
sql($node, 'GRANT SELECT, UPDATE ON vibelogs TO authenticated, service_role; CREATE ROLE stranger; GRANT USAGE ON SCHEMA vibevideo TO stranger; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA vibevideo TO stranger');
for my $world (
	[ 'a role of the API', 'authenticated', '' ],
	[ 'a viewer', 'looker', '' ],
	[ 'an operator', 'actor', '' ],
	[ 'somebody with EXECUTE', 'stranger', '' ],
	[ 'somebody with USAGE besides', 'stranger', 'GRANT USAGE ON SCHEMA vibevideo_internal TO stranger; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA vibevideo_internal TO stranger' ],
	[ 'no table', 'postgres', 'SELECT vibevideo.detach()' ],
	[ 'no table, for the API', 'service_role', 'SELECT vibevideo.detach()' ],
	[ 'another table of the name', 'postgres', 'DROP TABLE vibelogs; CREATE TABLE vibelogs (id uuid PRIMARY KEY, prompt text)' ],
	[ 'key renamed', 'postgres', 'ALTER TABLE vibelogs RENAME id TO key' ],
	[ 'a column dropped', 'postgres', 'ALTER TABLE vibelogs DROP video_url' ],
	[ 'prompt dropped', 'postgres', 'ALTER TABLE vibelogs DROP prompt' ],
	[ 'a generated column', 'postgres', 'ALTER TABLE vibelogs DROP video_url, ADD video_url text GENERATED ALWAYS AS (prompt) STORED' ],
	[ 'a copy', 'postgres', 'UPDATE vibevideo.binding SET paused = true, pause_scope = NULL WHERE only_one' ],
	[ 'another version', 'postgres', q{UPDATE pg_extension SET extversion = '9.9' WHERE extname = 'vibevideo'} ])
{
	my ($name, $role, $begin) = @$world;
	my $id = new_row($node, 'a row that nothing is sent for');
	# the one that would send is tried where it cannot
	my @calls = map { fair_call($_, $id) } grep { $begin ne '' || $_->{name} ne 'vibevideo_submit' } functions_for($role);
	my @errors = errors_of("$begin;\nSET LOCAL ROLE $role;", @calls);
	my @wrong = map { my $flaws = join(', ', flaws($errors[$_])); $flaws ? "$calls[$_]: $flaws:\n$errors[$_]{text}" : () } 0 .. $#calls;

	is(scalar(@wrong), 0, "$name: " . scalar(@calls) . ' calls, ' . scalar(grep { $_->{state} } @errors) . ' errors, all ours') or diag(join("\n", @wrong));
}

# -- the app's own code calls us: CONTEXT is the app's ------------------------------------------
{
	my @calls = ('vibevideo.attach(\'pg_class\')', 'vibevideo.plan(\'retry\', \'[]\')', 'vibevideo.redrive(max_jobs => -1)', 'vibevideo.series(\'submitted\', NULL)',
		'vibevideo_submit(NULL)', 'vibevideo_status(\'00000000-0000-0000-0000-000000000000\')', 'vibevideo.cancel(NULL)');

	sql($node, "CREATE FUNCTION of_the_app_$_() RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN PERFORM $calls[$_]; END \$\$") for 0 .. $#calls;
	for my $nth (0 .. $#calls)
	{
		my $error = error_of("SELECT of_the_app_$nth()");

		is($error->{context}, qq{SQL statement "SELECT $calls[$nth]"\nPL/pgSQL function of_the_app_$nth() line 1 at PERFORM}, "$calls[$nth]: the caller's own CONTEXT is there, and no more");
	}
	my ($state, $text) = sql_error($node, q{DO $$ BEGIN PERFORM vibevideo.plan('retry', '[]'); EXCEPTION WHEN invalid_parameter_value THEN RAISE 'caught %', SQLERRM; END $$});
	like($text, qr/caught a filter must be a JSON object/, 'it can be caught by its condition');
}

# -- a refusal that is found out in a trigger's function ------------------------------------------
{
	my $id = new_row($node, 'over a limit');

	sql($node, q{INSERT INTO vibevideo.limit (scope, max_active) VALUES ('global', 0)});
	plain("limit: $_", error_of("SELECT $_"), 'PT429', message => 'too many videos are active') for "vibevideo_submit('$id')", "vibevideo_submit_batch('{$id}')";
	sql($node, 'DELETE FROM vibevideo.limit WHERE true');
	plain('the guard of vibevideo.job', error_of(q{INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input) VALUES ('vibelogs', 'x', 'completed', 'a/b', '{}'); UPDATE vibevideo.job SET state = 'pending' WHERE vibelog_id = 'x'}), '22000');
	plain('the audit', error_of(q{SELECT vibevideo.pause(); UPDATE vibevideo.audit SET who = 'x' WHERE true}), '42501', message => qr/cannot be changed/);
}

# -- read-only transactions -------------------------------------------------------------------------
# What a function says that would write; those that find nothing to write do well.
{
	my $id = new_row($node, 'read-only');
	my $before = $fal->ledger('?jobs=0')->{requests};
	my @calls = map { fair_call($_, $id) } @functions;
	my @errors = errors_of('SET TRANSACTION READ ONLY;', @calls);
	my %quiet = map { $_ => 1 } qw(vibevideo.check_config vibevideo.create_api vibevideo.schedule vibevideo.unschedule vibevideo.wake vibevideo.worker_info vibevideo_webhook),
		map { ($_ => 1) } qw(vibevideo.health vibevideo.inbox vibevideo.overview vibevideo.show_check vibevideo_admin_health vibevideo_admin_inbox vibevideo_admin_ledger vibevideo_admin_overview vibevideo_admin_worker);

	for my $nth (0 .. $#functions)
	{
		my $name = $functions[$nth]{name};

		is($functions[$nth]{writes} && !$quiet{$name} ? '25006' : '', ($errors[$nth]{state} || '') eq '25006' ? '25006' : '', "read-only: $name");
		plain("read-only: $name", $errors[$nth], '25006', message => "cannot execute $name in a read-only transaction",
			detail => 'It writes. Nothing was sent or changed.', hint => qr/PostgREST.*POST.*READ WRITE.*default_transaction_read_only/)
		  if ($errors[$nth]{state} || '') eq '25006';
		is(join(', ', flaws($errors[$nth])), '', "read-only: $name: nothing of ours shows") or diag($errors[$nth]{text});
	}
	is(sql($node, "BEGIN READ ONLY; SELECT message FROM vibevideo_status('$id'); COMMIT"), 'No video has been requested', 'read-only: the status can be asked for');
	is_deeply($fal->ledger('?jobs=0')->{requests}{submit}, $before->{submit}, 'read-only: nothing is sent');
	plain('default_transaction_read_only', error_of("ROLLBACK; SET default_transaction_read_only = on; SELECT vibevideo_submit('$id')"), '25006', message => qr/read-only transaction/);

	my $rest = VibeRest->new($node);
	my $answer = $rest->call('service_role', undef, GET => "/rpc/vibevideo_submit?vibelog_id=$id");
	is($answer->{status}, 405, 'by GET: HTTP 405');
	like($answer->{data}{hint}, qr/by POST/, 'by GET: and the hint says how to call it');
	is($rest->call('service_role', undef, GET => "/rpc/vibevideo_status?vibelog_id=$id")->{status}, 200, 'by GET: the status can be asked for');
}

# -- rights on the app's table ------------------------------------------------------------------------------
for my $case (
	[ 'no right at all', '', 'SELECT (id)', 'UPDATE (prompt)' ],
	[ 'SELECT only', 'SELECT ON vibelogs', undef, 'UPDATE (prompt)' ],
	[ 'SELECT of the key only', 'SELECT (id) ON vibelogs', undef, 'UPDATE (prompt)' ],
	[ 'SELECT of another column', 'SELECT (prompt) ON vibelogs', 'SELECT (id)', 'UPDATE (prompt)' ],
	[ 'UPDATE only', 'UPDATE ON vibelogs', 'SELECT (id)', undef ])
{
	my ($name, $grant, $select, $update) = @$case;
	my $id = new_row($node, 'rights');
	my @calls = ("vibevideo_status('$id')", "vibevideo_cancel('$id')", "vibevideo_retry('$id')", "vibevideo_submit_batch('{$id}')", "vibevideo_submit('$id')");
	my @lacking = map { join(', ', grep { defined } $select, /status/ ? () : $update) } @calls;

	sql($node, 'REVOKE ALL ON vibelogs FROM app_user' . ($grant ? "; GRANT $grant TO app_user" : ''));
	my @errors = errors_of('SET LOCAL ROLE app_user;', map { "SELECT $_" } @calls);
	# what the hint says is enough; the last one would send
	my @granted = errors_of('', map { ($lacking[$_] ? "GRANT $lacking[$_] ON vibelogs TO app_user; " : '') . "SET LOCAL ROLE app_user; SELECT $calls[$_]" } 0 .. 3);
	for my $nth (0 .. $#calls)
	{
		my $what = "$name: " . ($calls[$nth] =~ s/\(.*//r);

		next if !$lacking[$nth] && is($errors[$nth]{state}, undef, "$what can be called");
		plain($what, $errors[$nth], '42501', message => 'permission denied for table public.vibelogs', detail => qr/^Role app_user lacks /,
			hint => "GRANT $lacking[$nth] ON public.vibelogs TO app_user; that is for all rows, since no row-level security of the table applies to this role.");
		is($errors[$nth]{detail} =~ /SELECT on column id/ || 0, $lacking[$nth] =~ /SELECT/ || 0, "$what: detail names the column");
		is($errors[$nth]{detail} =~ /UPDATE on the table, or on any column/ || 0, $lacking[$nth] =~ /UPDATE/ || 0, "$what: detail names UPDATE");
		is($granted[$nth]{state}, $calls[$nth] =~ /retry/ ? 'PT404' : undef, "$what: with what the hint grants it can be called") if $nth < 4;
	}
}
{
	my $id = new_row($node, 'rights: schema');

	sql($node, 'GRANT SELECT, UPDATE (prompt) ON vibelogs TO app_user; CREATE SCHEMA hidden; ALTER TABLE vibelogs SET SCHEMA hidden');
	plain('no USAGE on the schema', error_of("SELECT vibevideo_status('$id')", set => ['ROLE app_user']), '42501',
		message => 'permission denied for schema hidden', hint => 'GRANT USAGE ON SCHEMA hidden TO app_user;');
	sql($node, 'ALTER TABLE hidden.vibelogs SET SCHEMA public');
}

# -- row-level security ------------------------------------------------------------------------------------------
{
	my $id = new_row($node, 'hidden');
	my $nobody = '00000000-0000-0000-0000-000000000000';
	my $as_user = [ 'ROLE app_user' ];
	# errors of all four, by the superuser or the app's user, checked for the same parts
	my $each = sub {
		my ($name, $begin, $key, $state, %parts) = @_;
		my @calls = map { "$_('$key')" } qw(vibevideo_submit vibevideo_cancel vibevideo_retry vibevideo_status);
		my @errors = errors_of($begin, map { "SELECT $_" } @calls);

		plain("$name: $calls[$_]", $errors[$_], $state, %parts) for 0 .. $#calls;
	};
	my $as = 'SET LOCAL ROLE app_user;';
	my %unknown = (message => 'there is no row with this key', detail => qq{Table public.vibelogs has no row with key "$nobody".}, hint => 'The row must have been committed, or inserted by this transaction.');

	$each->('no row, no policies', $as, $nobody, 'PT404', %unknown);
	sql($node, q{ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY; CREATE POLICY see ON vibelogs FOR SELECT USING (prompt <> 'hidden')});
	$each->('policies, but not for a superuser', '', $nobody, 'PT404', %unknown);
	$each->('hidden', $as, $_, 'PT404', message => 'there is no row with this key', detail => qq{Table public.vibelogs has no row with key "$_" that role app_user may see.},
		hint => qr/row-level security hides it: no policy for SELECT/)
	  for $nobody, $id;
	is(error_of("SELECT vibevideo_status('$id')", set => $as_user)->{text} =~ s/\Q$id\E/key/gr =~ s/stdin>:\d+/stdin>/r,
		error_of("SELECT vibevideo_status('$nobody')", set => $as_user)->{text} =~ s/\Q$nobody\E/key/gr =~ s/stdin>:\d+/stdin>/r, 'hidden: a row that is there looks like one that is not');

	# it can be seen, and not updated
	sql($node, q{UPDATE vibelogs SET prompt = 'seen'; CREATE POLICY change ON vibelogs FOR UPDATE USING (prompt = 'mine') WITH CHECK (false)});
	plain("not to be updated: $_", error_of("SELECT $_", set => $as_user), '42501', message => 'row-level security of table public.vibelogs does not let this row be updated',
		detail => qr/Role app_user may see the row with key "\Q$id\E", but not update it/, hint => qr/policy FOR UPDATE whose USING expression is true/)
	  for map { "$_('$id')" } qw(vibevideo_submit vibevideo_cancel vibevideo_retry);
	plain('not to be updated: a batch', error_of("SELECT vibevideo_submit_batch('{$id}')", set => $as_user), '42501', message => qr/row-level security/);
	is(sql($node, "SET ROLE app_user; SELECT message FROM vibevideo_status('$id'); RESET ROLE"), 'No video has been requested', 'not to be updated: the status can be asked for');
	is(sql($node, "SET ROLE app_user; SELECT count(*) FROM vibevideo_submit('" . new_row($node, 'mine') . "'); RESET ROLE"), '1', 'WITH CHECK is for what the user writes, not vibevideo');

	# it is written, and can then not be seen any more
	sql($node, q{DROP POLICY see ON vibelogs; CREATE POLICY see ON vibelogs FOR SELECT USING (video_generation_status IS NULL)});
	my $mine = new_row($node, 'mine');
	sql($node, "SET ROLE app_user; SELECT vibevideo_submit('$mine'); RESET ROLE");
	plain("hidden when it was written: $_", error_of("SELECT $_('$mine')", set => $as_user), 'PT404', hint => qr/policy that depends on a video_ column/) for qw(vibevideo_submit vibevideo_status);

	plain('row_security = off', error_of("SELECT vibevideo_status('$id')", set => [ 'row_security = off', 'ROLE app_user' ]), '42501',
		message => 'row_security is off, and row-level security of table public.vibelogs applies to role app_user', hint => 'SET row_security = on;');
	sql($node, 'REVOKE UPDATE ON vibelogs FROM authenticated');
	plain('rights, with policies', error_of("SELECT vibevideo_submit('$id')", set => ['ROLE authenticated']), '42501',
		hint => 'GRANT UPDATE (prompt) ON public.vibelogs TO authenticated; its policies decide for which rows.');

	# forced on the owner
	sql($node, q{CREATE ROLE app; GRANT ALL ON SCHEMA public TO app; ALTER TABLE vibelogs OWNER TO app; ALTER TABLE vibelogs FORCE ROW LEVEL SECURITY; DROP POLICY see ON vibelogs});
	plain('hidden from the owner', error_of("SELECT vibevideo_submit('$id')"), '42501', message => qr/^owner of table public\.vibelogs cannot see row/, detail => 'Row-level security is forced on the owner.');
	sql($node, q{ALTER TABLE vibelogs NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY; DROP POLICY change ON vibelogs; ALTER TABLE vibelogs OWNER TO postgres});
}

# -- a submit that is cancelled while fal.ai is asked -------------------------------------------------------------
# The journal knows whether anything was sent; the worker makes an orphan of it.
$fal->fault('submit', 'hang_after', prompt => '^hangs: ', times => -1);
{
	my $id = new_row($node, 'hangs: statement_timeout');
	my $error = error_of("SELECT vibevideo_submit('$id')", set => [q{statement_timeout = '700ms'}]);

	plain('sent, statement_timeout', $error, '57014', message => 'canceling vibevideo_submit due to statement timeout',
		detail => 'fal.ai had not answered yet: whether it has the request, the worker finds out. This transaction has sent 1 video to fal.ai already. '
		  . 'If it is rolled back, that is cancelled there, which may come too late to be free.',
		hint => 'Set statement_timeout, which is 700ms, to more than vibevideo.submit_timeout, which is 1min. '
		  . 'vibevideo_submit_batch sends nothing before the transaction has committed.');
	wait_for($node, "SELECT state, orphan, cancel_requested_at IS NOT NULL, error_code FROM vibevideo.job WHERE vibelog_id = '$id'", 'submit_unknown|t|t|rolled_back',
		'sent, statement_timeout: the worker looks for it, to cancel it');
	is(status_of($node, $id)->{message}, 'No video has been requested', 'sent, statement_timeout: the row has no video');
	is(scalar($fal->renders('hangs: statement_timeout')), 1, 'sent, statement_timeout: it was sent once');

	$error = error_of(q{DO $$ BEGIN PERFORM vibevideo_submit('} . new_row($node, 'hangs: in a function') . q{'); EXCEPTION WHEN query_canceled THEN RAISE 'caught: %', SQLERRM; END $$},
		set => [q{statement_timeout = '700ms'}]);
	is($error->{message}, 'caught: canceling vibevideo_submit due to statement timeout', 'sent, statement_timeout: a function can catch it as before');
}
{
	my $id = new_row($node, 'hangs: cancelled');
	my $session = background_sql($node);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');

	$session->query_safe("\\set VERBOSITY verbose");
	$session->query_until(qr/begun/, "\\echo begun\nSELECT status FROM vibevideo_submit('$id');\n");
	wait_until(sub { return scalar($fal->renders('hangs: cancelled')) == 1 }, 'cancelled: fal has it');
	sql($node, "SELECT pg_cancel_backend($pid)");
	wait_for($node, "SELECT state FROM pg_stat_activity WHERE pid = $pid", qr/^idle/, 'cancelled: the call ends');
	$session->query('SELECT 1');
	my $error = parse_error($session->{stderr});
	plain('sent, cancelled by a person', $error, '57014', message => 'canceling vibevideo_submit due to user request', detail => qr/the worker finds out\. This transaction has sent 1 video/);
	is($error->{hint}, undef, 'sent, cancelled by a person: without a hint about settings');
	$session->{stderr} = '';
	$session->quit;
	wait_for($node, "SELECT state, orphan FROM vibevideo.job WHERE vibelog_id = '$id'", 'submit_unknown|t', 'cancelled: the worker looks for it');
}
$fal->clear_faults;
{
	# a name server that does not answer: nothing can have been sent
	my $id = new_row($node, 'hangs: before it is sent');
	my ($port, @sockets) = black_hole();
	my @set = ("vibevideo.fal_queue_url = 'http://127.0.0.1:$port'", q{statement_timeout = '400ms'}, q{vibevideo.connect_timeout = '20s'});
	my $orphans = sql($node, 'SELECT count(*) FROM vibevideo.job');

	plain('not sent, statement_timeout', error_of("SELECT vibevideo_submit('$id')", set => \@set), '57014', message => 'canceling vibevideo_submit due to statement timeout',
		detail => 'Nothing was sent to fal.ai.', hint => 'Set statement_timeout, which is 400ms, to more than vibevideo.submit_timeout, which is 1min.');
	plain('not sent, after another that was', error_of("SELECT vibevideo_submit('" . new_row($node, 'sent before') . "'); SET LOCAL vibevideo.fal_queue_url = 'http://127.0.0.1:$port'; SELECT vibevideo_submit('$id')",
			set => [q{statement_timeout = '700ms'}, q{vibevideo.connect_timeout = '20s'}]), '57014',
		detail => qr/^Nothing was sent to fal\.ai\. This transaction has sent 1 video to fal\.ai already\. /, hint => qr/statement_timeout.*vibevideo_submit_batch/);

	my $sent = new_row($node, 'polled');
	submit($node, $sent);
	plain('a poll, statement_timeout', error_of("UPDATE vibevideo.job SET next_at = now() - interval '2 days' WHERE vibelog_id = '$sent'; SELECT * FROM vibevideo_poll()", set => \@set), '57014',
		message => 'canceling vibevideo_poll due to statement timeout', detail => 'Nothing was recorded, and the jobs are still due.',
		hint => 'Set statement_timeout, which is 400ms, to more than vibevideo.poll_timeout, which is 8s.');
}

# -- locks of others, and transactions that must be repeated ---------------------------------------------------------
{
	my ($id, $other) = map { new_row($node, "locked $_") } 1, 2;
	my $holder = background_sql($node);
	my $set = [q{lock_timeout = '200ms'}];
	my %waited = (detail => 'It was waited for as long as lock_timeout allows, which is 200ms.', hint => 'Try again when that transaction has ended; pg_stat_activity shows it.');

	$holder->query_safe("BEGIN; SELECT FROM vibevideo_submit_batch('{$id}')");
	plain("a job that is being made: $_", error_of("SELECT $_", set => $set), '55P03', message => 'another transaction holds a lock that vibevideo needs', %waited)
	  for "vibevideo_submit('$id')", "vibevideo_submit_batch('{$id}')";
	plain('a job that is being made: statement_timeout', error_of("SELECT vibevideo_submit('$id')", set => [q{statement_timeout = '200ms'}]), '57014',
		message => 'canceling statement due to statement timeout', detail => 'Nothing was sent to fal.ai.', hint => qr/^$/);
	$holder->query_safe('COMMIT');
	$holder->query_safe("BEGIN; SELECT FROM vibelogs WHERE id = '$id' FOR UPDATE");
	plain("a row of the app: $_", error_of("SELECT $_", set => $set), '55P03', message => qq{row "$id" of table public.vibelogs is locked by another transaction}, %waited)
	  for "vibevideo_submit('$id')", "vibevideo_submit_batch('{$id}')", "vibevideo_cancel('$id')", "vibevideo_retry('$id')";
	$holder->query_safe('ROLLBACK');
	my $job = job_of($node, $id)->{job_id};
	$holder->query_safe("BEGIN; UPDATE vibevideo.job SET priority = priority WHERE job_id = $job; UPDATE vibevideo.binding SET paused = paused WHERE only_one");
	plain("a job: $_", error_of("SELECT $_", set => $set), '55P03', message => 'another transaction holds a lock that vibevideo needs', %waited)
	  for "vibevideo_cancel('$id')", "vibevideo.cancel($job)", "vibevideo.resolve($job, 'not_sent')", "vibevideo.pause()", 'vibevideo.resume()';
	$holder->query_safe('ROLLBACK');

	# the snapshot is older than what the other has committed
	my $late = background_sql($node);
	$late->query_safe("\\set VERBOSITY verbose");
	for my $call ("vibevideo_cancel('$id')", "vibevideo.cancel($job)", 'vibevideo.pause()')
	{
		$late->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
		sql($node, "UPDATE vibevideo.job SET priority = priority WHERE job_id = $job; UPDATE vibevideo.binding SET paused = paused WHERE only_one");
		$late->query("SELECT $call");
		plain("repeatable read: $call", parse_error($late->{stderr}), '40001', message => 'could not serialize access due to concurrent update',
			detail => qr/sees as it was before/, hint => 'Run the whole transaction again.');
		$late->{stderr} = '';
		$late->query_safe('ROLLBACK');
	}

	sql($node, "SELECT FROM vibevideo_submit_batch('{$other}')");
	$holder->query_safe("BEGIN; SELECT vibevideo_cancel('$id')");
	$late->query_safe(q{SET deadlock_timeout = '10ms'});
	$late->query_safe("BEGIN; SELECT vibevideo_cancel('$other')");
	my $pid = $holder->query_safe('SELECT pg_backend_pid()');
	$holder->query_until(qr/begun/, "\\echo begun\nSELECT vibevideo_cancel('$other');\n");
	wait_for($node, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid", 'Lock', 'deadlock: one waits for the other');
	$late->query("SELECT vibevideo_cancel('$id')");
	plain('deadlock', parse_error($late->{stderr}), '40P01', message => 'deadlock detected', detail => qr/^Process \d+ waits for ShareLock/, hint => 'Run the whole transaction again.');
	$late->{stderr} = '';
	$late->query_safe('ROLLBACK');
	$holder->query_safe('ROLLBACK');
	$_->quit for $holder, $late;
}

# -- what the app's own code raises is the app's, and named ------------------------------------------------------------
{
	my $id = new_row($node, 'of the app');

	sql($node, q{CREATE FUNCTION of_the_app_input(v vibelogs) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'no input today' USING CONSTRAINT = 'mine'; END $$;
		SELECT vibevideo.attach('vibelogs', input_function => 'of_the_app_input')});
	my $error = error_of("SELECT vibevideo_submit('$id')");
	is("$error->{state} $error->{message}", 'P0001 no input today', 'input function: its own error');
	like($error->{context}, qr/^PL\/pgSQL function of_the_app_input\(vibelogs\) line 1 at RAISE\n/, 'input function: and where it comes from');
	like($error->{text}, qr/^CONSTRAINT NAME:  mine$/m, 'input function: with what it says besides');
	sql($node, q{SELECT vibevideo.attach('vibelogs', input_function => '')});

	sql($node, q{CREATE FUNCTION of_the_app_policy(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN 1 / length($1 || 'x') > 1 / 0; END $$;
		ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY; CREATE POLICY of_the_app ON vibelogs USING (of_the_app_policy(prompt));
		GRANT SELECT, UPDATE ON vibelogs TO app_user});
	for my $call ("vibevideo_submit('$id')", "vibevideo_status('$id')")
	{
		$error = error_of("SELECT $call", set => ['ROLE app_user']);
		is("$error->{state} $error->{message}", '22012 division by zero', "policy: $call: its own error");
		like($error->{context}, qr/^PL\/pgSQL function of_the_app_policy\(text\) line 1 at RETURN$/m, "policy: $call: and where it comes from");
	}
	sql($node, 'DROP POLICY of_the_app ON vibelogs; ALTER TABLE vibelogs DISABLE ROW LEVEL SECURITY');

	# what keeps a row from being written does not keep a video from being made: operators read what it is
	sql($node, q{CREATE DOMAIN short AS text CHECK (length(VALUE) < 5); CREATE FUNCTION of_the_app_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this row'; END $$});
	for my $case (
		[ 'CHECK', 'ALTER TABLE vibelogs ADD CONSTRAINT of_the_app CHECK (video_request_id IS NULL) NOT VALID', 'ALTER TABLE vibelogs DROP CONSTRAINT of_the_app', qr/check constraint "of_the_app" \(SQLSTATE 23514\)/ ],
		[ 'domain', 'ALTER TABLE vibelogs ALTER video_request_id TYPE short USING NULL', 'ALTER TABLE vibelogs ALTER video_request_id TYPE text', qr/domain short.*"short_check" \(SQLSTATE 23514\)/ ],
		[ 'trigger', 'CREATE TRIGGER of_the_app BEFORE UPDATE ON vibelogs FOR EACH ROW EXECUTE FUNCTION of_the_app_trigger()', 'DROP TRIGGER of_the_app ON vibelogs', qr/^not this row \(SQLSTATE P0001\)/ ])
	{
		my ($name, $make, $drop, $row_error) = @$case;
		my $row = new_row($node, "of the app: $name");

		sql($node, $make);
		is(submit($node, $row)->{status}, 'queued', "$name: the video is made all the same");
		like(job_of($node, $row)->{row_error}, $row_error, "$name: why the row is not written yet");
		sql($node, $drop);
	}
}

# -- a key of the wrong type is PostgreSQL's to refuse, in words that name it ---------------------------------------------
{
	my $rest = VibeRest->new($node);
	my $answer = $rest->call('service_role', undef, POST => '/rpc/vibevideo_submit', { vibelog_id => 'not a uuid' });

	is("$answer->{status} $answer->{data}{code} $answer->{data}{message}", '400 22P02 invalid input syntax for type uuid: "not a uuid"', 'a key that is none');
	is((sql_error($node, q{SELECT vibevideo_submit('x')}))[0], '22P02', 'in SQL, too');
	plain('temporary table', error_of(q{CREATE TEMP TABLE temporary (id uuid PRIMARY KEY, prompt text); SELECT vibevideo.attach('temporary')}), '0A000', message => qr/./);
}

done_testing();
