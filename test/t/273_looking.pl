# What people see: overview, inbox, lists, details, errors and users are right,
# show nothing to whom it is not meant for, whatever stands in the jobs; psql's views
# fit 80 columns; and none of it reads the history.

use strict;
use utf8;
use warnings FATAL => 'all';

use IPC::Run ();
use JSON::PP;
use List::Util qw(max sum);
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $json = JSON::PP->new->allow_nonref->canonical;
my %keys = ('vibevideo.fal_key' => 'id:secret', 'vibevideo.storage_key' => 'sb_secret_key');
my $node = vibe_node('main', app => 0, conf => \%keys);

# Everything here is about jobs that stand still.
sub create_looked_at
{
	my ($database) = @_;

	sql($node, <<'SQL', $database);
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (id text PRIMARY KEY, prompt text);
SELECT vibevideo.attach('vibelogs');
SELECT vibevideo.pause('all', 'a test');
SQL
	return;
}

sub literal
{
	my ($text) = @_;

	return 'NULL' unless defined $text;
	$text =~ s/'/''/g;
	utf8::encode($text);
	return "'$text'";
}

# add_job(column => value, ...) - returns its number.  It is made as any job, and then
# becomes what the values say.
sub add_job
{
	my (%job) = @_;
	my $database = delete $job{database};
	my $state = delete $job{state} || 'pending';
	my %first = (vibelog_id => 'row', model => 'fal-ai/minimax/video-01', input => '{"prompt": "a secret wish"}', row_dirty => 'false',
		map { ($_ => delete $job{$_}) } grep { exists $job{$_} } qw(vibelog_id model input relation requested_by orphan created_at));
	my $raw = delete $job{raw} || {};

	if ($state =~ /^(?:completed|failed|cancelled)$/)
	{
		$raw = { next_at => 'NULL', completed_at => 'now()', %$raw };
	}
	$raw->{relation} = "'vibelogs'::regclass" unless exists $raw->{relation};
	my %relation = (relation => delete $raw->{relation});
	my $id = sql($node, 'INSERT INTO vibevideo.job (state, ' . join(', ', keys %relation, keys %first) . q{) VALUES ('pending', }
		  . join(', ', values %relation, map { literal($_) } values %first) . ') RETURNING job_id', $database);
	my @set = ((map { "$_ = " . literal($job{$_}) } keys %job), map { "$_ = $raw->{$_}" } keys %$raw);
	my @steps = $job{media_url} && $state =~ /^(?:completed|failed)$/ ? ('processing', $state) : ($state);
	sql($node, "UPDATE vibevideo.job SET state = 'processing', media_url = " . literal($job{media_url}) . ", generated_at = now() WHERE job_id = $id", $database)
	  if @steps == 2;
	sql($node, 'UPDATE vibevideo.job SET ' . join(', ', "state = '$state'", @set, 'row_dirty = false', "row_next_at = 'infinity'") . " WHERE job_id = $id", $database);
	return $id;
}

sub rows
{
	my ($sql, $database) = @_;
	my $text = sql($node, "SELECT coalesce(json_agg(x), '[]') FROM ($sql) x", $database);

	utf8::decode($text);
	return $json->decode($text);
}

sub row
{
	return rows(@_)->[0];
}

# -- who may look ----------------------------------------------------------------------------------
my @CALLS = ('vibevideo.overview()', 'vibevideo.inbox()', 'vibevideo.list_jobs()', 'vibevideo.job_detail(1)', 'vibevideo.error_groups()',
	'vibevideo.users()', 'vibevideo.now', 'vibevideo.today', 'vibevideo.inbox', 'vibevideo.overview', 'vibevideo.errors', 'vibevideo.users',
	'vibevideo.show_job(1)', 'vibevideo.show_jobs()', 'vibevideo.show_check()');
create_looked_at();
{
	add_job(state => 'failed', error_code => 'http_500', error => 'broken', input => '{"prompt": "a secret wish"}');
	sql($node, q{CREATE ROLE nobody_special; CREATE ROLE watcher; CREATE ROLE reader; CREATE ROLE authenticated; CREATE ROLE service_role BYPASSRLS;
		SELECT vibevideo.grant_api_roles(); SELECT vibevideo.grant_access('watcher', 'viewer'); SELECT vibevideo.grant_access('reader', 'viewer', true);
		GRANT USAGE ON SCHEMA vibevideo TO nobody_special; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA vibevideo TO nobody_special;
		GRANT SELECT ON ALL TABLES IN SCHEMA vibevideo TO nobody_special;
		INSERT INTO vibevideo.operator (user_id, level) VALUES ('viola', 'viewer')});
	for my $call (@CALLS)
	{
		my ($state) = sql_error($node, "SET ROLE nobody_special; SELECT * FROM $call");
		is($state, '42501', "$call: who has every right on it, but no level, is refused");
		is((sql_error($node, "SET ROLE watcher; SELECT * FROM $call"))[0], '', "$call: a viewer may");
		my $shown = sql($node, "SET ROLE watcher; SELECT to_jsonb(x) FROM $call x; RESET ROLE");
		unlike($shown, qr/secret/, "$call: and sees no prompt");
		is((sql_error($node, "SET ROLE service_role; SELECT * FROM $call"))[0], '', "$call: so may service_role");
		next if $call !~ /\(/;
		my $jwt = q{SET SESSION AUTHORIZATION service_role; SET ROLE authenticated; SET request.jwt.claims = '{"sub": "%s"}'; SELECT * FROM %s};
		is((sql_error($node, sprintf($jwt, 'viola', $call)))[0], '42501', "$call: a JWT is not believed in any session");
	}
	is((sql_error($node, "SET ROLE service_role; SELECT * FROM vibevideo.$_"))[0], '', "$_: service_role may read it, as operators may")
	  for qw(jobs costs costs_by_month costs_by_day settings model limit rollup backlog typical audit worker_info());
	sql($node, 'CREATE ROLE authenticator LOGIN NOINHERIT; GRANT authenticated, service_role TO authenticator');
	for my $call (grep { /\(/ } @CALLS)
	{
		my $jwt = q{SET SESSION AUTHORIZATION authenticator; SET ROLE authenticated; SET request.jwt.claims = '{"sub": "%s"}'; SELECT * FROM %s};
		is((sql_error($node, sprintf($jwt, 'viola', $call)))[0], '', "$call: a person with a JWT may");
		is((sql_error($node, sprintf($jwt, 'violet', $call)))[0], '42501', "$call: and no other");
	}
	my $wish = q{SELECT (SELECT prompt FROM unnest(l.jobs)), d.input ->> 'prompt', (SELECT prompt FROM unnest(d.attempts)), (d.job).prompt
		FROM vibevideo.list_jobs() l, vibevideo.job_detail(1) d};
	is(sql($node, "SET ROLE reader; $wish; RESET ROLE"), 'a secret wish|a secret wish|a secret wish|a secret wish', 'who may see inputs sees them');
	is(sql($node, "SET ROLE watcher; $wish; RESET ROLE"), '|||', 'others see none');
	is((sql_error($node, q{SET ROLE watcher; SELECT * FROM vibevideo.list_jobs('{"prompt": "secret"}')}))[0], '42501', 'nor can they find it');
	is((sql_error($node, 'SELECT vibevideo.job_detail(123456)'))[0], 'PT404', 'no such job');
	is((sql_error($node, "SELECT $_"))[0], '22023', "$_ is refused") for 'vibevideo.list_jobs(max_jobs => 0)', 'vibevideo.list_jobs(max_jobs => 1001)',
	  'vibevideo.list_jobs(max_jobs => NULL)', q{vibevideo.list_jobs('{"nonsense": 1}')},
	  (map { "vibevideo.list_jobs(after => '$_')" } '26', '"x"', '[]', '{}', '{"after": 3}', '{"job_id": -1}', '{"job_id": 1, "ended": "no"}', '{"job_id": 1, "more": 2}'),
	  'vibevideo.error_groups(NULL)',
	  q{vibevideo.error_groups('-infinity')}, 'vibevideo.users(NULL)', 'vibevideo.users(most => 0)';
	sql($node, 'DELETE FROM vibevideo.job WHERE true');
}

# -- what needs a person ----------------------------------------------------------------------------
sub kinds
{
	my ($database) = @_;

	return join(' ', map { $_->{jobs} && $_->{jobs} > 1 ? "$_->{kind}*$_->{jobs}" : $_->{kind} } @{ rows('SELECT * FROM vibevideo.inbox()', $database) });
}

# Its statement does something about it: the kind is gone after it, or a plan would.
sub acted
{
	my ($kind) = @_;
	my $line = row(q{SELECT * FROM vibevideo.inbox() WHERE kind = } . literal($kind));
	my ($state, $error) = sql_error($node, "BEGIN; $line->{action} ROLLBACK");

	diag("$line->{action}\n$error") if $state;
	return $state;
}

{
	is(kinds(), 'paused', 'a paused database');
	is(acted('paused'), '', 'and its statement');
	like(row('SELECT * FROM vibevideo.inbox()')->{sentence}, qr/^Nothing is sent, asked, copied or written: paused by \w+ .*: a test/, 'which says what is, who and why');
	like(sql($node, q{BEGIN; SELECT vibevideo.resume(); SELECT vibevideo.pause(); SELECT sentence FROM vibevideo.inbox(); ROLLBACK}), qr/^New videos wait: /m, 'or is not');

	my %looked = (state => 'submit_unknown', raw => { sent_at => "now() - interval '4 minutes'", tries => 3, next_at => "now() + interval '9 s'" });
	my $lost = add_job(vibelog_id => 'lost', %looked, error => 'no trace');
	is(kinds(), 'paused', 'a lost submit: the worker looks for it');
	for my $policy ("vibevideo.unknown_policy = 'manual'", "request.nothing = ''")
	{
		sql($node, "UPDATE vibevideo.job SET sent_at = now() - interval '6 minutes' WHERE job_id = $lost") if $policy !~ /manual/;
		my $sentence = sql($node, "SET $policy; SELECT sentence FROM vibevideo.inbox() WHERE kind = 'lost_submit'; RESET vibevideo.unknown_policy");
		my $end = $policy =~ /manual/ ? 'it waits for a decision' : 'if it is not found, unknown_policy fail_when_absent acts at \d';
		like($sentence, qr/It: looked up 3 times, next at \S+; $end.*vibevideo\.resolve\($lost,/, 'until somebody must decide, or it takes long');
	}
	unlike(row(q{SELECT * FROM vibevideo.inbox() WHERE kind = 'lost_submit'})->{action}, qr/plan|resolve/, 'its statement pays for nothing');
	is(acted('lost_submit'), '', 'and works');
	sql($node, "UPDATE vibevideo.job SET cancel_requested_at = now() WHERE job_id = $lost");
	is(kinds(), 'paused', 'not one that is to be cancelled');
	sql($node, "UPDATE vibevideo.job SET cancel_requested_at = NULL WHERE job_id = $lost");
	add_job(vibelog_id => "lost $_", state => 'submit_unknown', raw => { sent_at => "now() - interval '1 hour'" }) for 1 .. 2;
	is(kinds(), 'paused lost_submit*3', 'several are one line');
	my $lines = join(' ', split /\n/, sql($node, q{SET timezone = 'Asia/Kolkata'; TABLE vibevideo.inbox; RESET timezone}));
	like($lines, qr/^Database: Nothing /, 'in psql a pause has one time');
	like($lines, qr/3 jobs, since \d{4}-\d\d-\d\d \d\d:\d\d\+05:30: /, 'and others have their time zone');
	like(row(q{SELECT * FROM vibevideo.inbox() WHERE kind = 'lost_submit'})->{sentence}, qr/The first, job $lost: looked up 3 times/, 'about the first');
	sql($node, q{DELETE FROM vibevideo.job WHERE state = 'submit_unknown'});

	my $dead = add_job(vibelog_id => 'dead', state => 'failed', media_url => 'http://x/v.mp4', error_code => 'EntityTooLarge', error => 'too large');
	is(kinds(), 'paused dead_letter', 'a video that was paid for and not stored');
	is(row(q{SELECT * FROM vibevideo.inbox() WHERE kind = 'dead_letter'})->{action}, "SELECT vibevideo.retry($dead);", 'is copied again');
	is(acted('dead_letter'), '', 'by its statement');
	is(sql($node, "BEGIN; SELECT vibevideo.retry($dead); SELECT count(*) FROM vibevideo.inbox() WHERE kind = 'dead_letter'; ROLLBACK") =~ s/.*\n//sr, '0', 'and is off the list then');
	add_job(vibelog_id => "dead $_", state => 'failed', media_url => 'http://x/v.mp4', error_code => 'EntityTooLarge', error => 'too large') for 1 .. 2;
	add_job(vibelog_id => 'other', state => 'failed', media_url => 'http://x/v.mp4', error_code => 'stalled', error => 'no bytes');
	is(kinds(), 'paused dead_letter*3 dead_letter', 'one line for each error');
	like(sql($node, row(q{SELECT * FROM vibevideo.inbox() WHERE jobs = 3})->{action}), qr/^[0-9a-f-]{36}\|3\|1\|0\|/, 'whose plan has those three, and costs nothing');
	my $newer = add_job(vibelog_id => 'other', state => 'completed', media_url => 'http://x/v.mp4');
	is(kinds(), 'paused dead_letter*3', 'not if the row has a newer job');
	sql($node, q{UPDATE vibevideo.job SET forgotten_at = now() WHERE state = 'failed'});
	is(kinds(), 'paused', 'nor what an operator has forgotten');
	sql($node, 'DELETE FROM vibevideo.job WHERE true');

	my $orphan = add_job(vibelog_id => 'orphan', orphan => 'true', state => 'failed', media_url => 'http://x/v.mp4', error_code => 'rolled_back', error => 'too late');
	is(kinds(), 'paused orphan_video', "an orphan's video");
	is(acted('orphan_video'), '', 'and its statement');
	add_job(vibelog_id => 'orphan 2', orphan => 'true', state => 'failed', media_url => 'http://x/v.mp4', error_code => 'rolled_back', error => 'too late');
	is(acted('orphan_video'), '', 'and that for several');
	sql($node, 'DELETE FROM vibevideo.job WHERE true');

	# many: those that need nobody hide no others, and what was not looked at is said
	my $many = sub {
		my ($name, $from, $to, $more) = @_;
		return sql($node, qq{INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, completed_at, media_url, row_dirty, created_at, orphan, error_code)
			SELECT 'vibelogs', '$name ' || n, v.*, now() - interval '9 h', $more FROM generate_series($from, $to) n, (VALUES ('failed', 'm', '{}'::jsonb, NULL::timestamptz, now() - interval '1 h', 'http://x', false)) v});
	};
	my $kinds = sub { return join(' ', map { "$_->{kind}" . ($_->{jobs} ? "*$_->{jobs}" : '') . ($_->{more} ? '+' : '') } grep { $_->{kind} ne 'paused' } @{ rows('SELECT * FROM vibevideo.inbox()') }) };
	$many->('old', 1, 100, "false, 'AccessDenied'");
	$many->('new', 1, 500, "false, 'AccessDenied'");
	$many->('new', 1, 500, "false, 'x'");
	sql($node, q{UPDATE vibevideo.job SET forgotten_at = now() WHERE error_code = 'x'; UPDATE vibevideo.job SET completed_at = now() WHERE vibelog_id LIKE 'new%'});
	is($kinds->(), 'dead_letter*100', 'not the last 500, whose rows have newer jobs, but those before them');
	$many->('orphan', 1, 450, "true, 'orphaned'");
	is($kinds->(), 'dead_letter*100 orphan_video*450', 'nor do many orphans hide them');
	$many->('more', 1, 2000, "false, 'stalled'");
	is($kinds->(), 'dead_letter*1500+', 'of very many those among the last, and that there are more');
	$many->('more', 1, 2000, "false, 'x'");
	sql($node, q{UPDATE vibevideo.job SET forgotten_at = now() WHERE error_code = 'x'; UPDATE vibevideo.job SET completed_at = now() WHERE error_code = 'stalled'});
	is($kinds->(), 'unread+', 'and if all of these have newer jobs, too');
	is(acted('unread'), '', 'with a statement');
	sql($node, 'DELETE FROM vibevideo.job WHERE true');
	$many->('row', 1, 30, "false, 'x'");
	sql($node, q{UPDATE vibevideo.job SET forgotten_at = now(), row_error = 'no ' || job_id, row_dirty = true, row_next_at = 'infinity' WHERE true});
	is($kinds->(), join(' ', ('unwritten_row*1+') x 20), 'twenty kinds of rows that cannot be written, and that there are more');
	sql($node, 'DELETE FROM vibevideo.job WHERE true');

	add_job(vibelog_id => 'given', state => 'failed', error_code => 'submit_lost', error => 'no trace');
	add_job(vibelog_id => 'quarantined', state => 'failed', error_code => 'quarantined', error => 'crashed twice');
	is(kinds(), 'paused given_up quarantined', 'a lost submit that was given up, a job that the worker crashed with');
	is(acted($_), '', "$_: its statement") for qw(given_up quarantined);
	add_job(vibelog_id => "given $_", state => 'failed', error_code => 'submit_lost', error => 'no trace') for 1 .. 2;
	like(sql($node, row(q{SELECT * FROM vibevideo.inbox() WHERE kind = 'given_up'})->{action}), qr/^[0-9a-f-]{36}\|3\|1\|1\.5/, 'whose plan says what it costs');
	sql($node, q{UPDATE vibevideo.job SET completed_at = now() - interval '8 days' WHERE true});
	is(kinds(), 'paused', 'for a week');
	sql($node, 'DELETE FROM vibevideo.job WHERE true');

	add_job(vibelog_id => 'dirty', state => 'completed', media_url => 'http://x/v.mp4');
	sql($node, q{UPDATE vibevideo.job SET row_dirty = true, row_error = E'trigger "no"\nsays \e[31mno', row_next_at = 'infinity' WHERE true});
	is(kinds(), 'paused unwritten_row', 'a row that cannot be written');
	is(acted('unwritten_row'), '', 'and its statement');
	sql($node, q{UPDATE vibevideo.job SET row_dirty = false WHERE true});
	is(kinds(), 'paused unwritten_row', 'also if it is not tried any more');
	is(acted('unwritten_row'), '', 'and its statement');
	sql($node, q{UPDATE vibevideo.job SET row_error = 'the row no longer exists' WHERE true});
	is(kinds(), 'paused', 'but not a row that was deleted');
	sql($node, 'DELETE FROM vibevideo.job WHERE true');

	sql($node, 'CREATE TABLE "an older table, its name is long" (LIKE vibelogs INCLUDING ALL)');
	my $other = add_job(vibelog_id => 'stray', raw => { relation => q{'"an older table, its name is long"'::regclass} });
	my $gone = add_job(vibelog_id => 'gone', raw => { relation => '999999::regclass' });
	is(kinds(), 'paused no_table no_table', 'jobs of a table that is not attached, and of one that was dropped');
	is(acted('no_table'), '', 'and the statement');
	sql($node, 'DELETE FROM vibevideo.job WHERE true');
	add_job(vibelog_id => 'rowless', raw => { relation => 'NULL' });
	is(kinds(), 'paused no_row', 'a job whose row is gone');
	is(acted('no_row'), '', 'and its statement');
	sql($node, 'DELETE FROM vibevideo.job WHERE true');

	add_job(vibelog_id => 'refused', state => 'failed', error_code => 'http_402', error => 'Exhausted balance');
	is(kinds(), 'paused account', "fal.ai's refusal");
	is(acted('account'), '', 'and its statement');
	my $again = add_job(vibelog_id => 'refused', state => 'completed', media_url => 'http://x/v.mp4');
	is(kinds(), 'paused', 'not if it was tried again');
	sql($node, "DELETE FROM vibevideo.job WHERE job_id = $again");
	is(kinds(), 'paused account', 'which nothing else has hidden');
	sql($node, q{UPDATE vibevideo.job SET completed_at = now() - interval '2 hours' WHERE true});
	is(kinds(), 'paused', 'for an hour');
	sql($node, 'DELETE FROM vibevideo.job WHERE true; DELETE FROM vibevideo_internal.new_costs WHERE true; DELETE FROM vibevideo.past_costs WHERE true');

	sql($node, q{INSERT INTO vibevideo.limit (scope, spend_per_day_usd) VALUES ('global', 5)});
	add_job(vibelog_id => "spent $_", state => 'completed', media_url => 'http://x/v.mp4') for 1 .. 7;
	is(kinds(), 'paused', 'a budget that is half used up');
	add_job(vibelog_id => 'reserved');
	is(kinds(), 'paused budget', 'nearly used up, with what is reserved');
	like(row(q{SELECT * FROM vibevideo.inbox() WHERE kind = 'budget'})->{sentence}, qr/^4 of 5 USD are used up: 3\.5 spent, 0\.5 reserved/, 'with its figures');
	is(acted('budget'), '', 'and its statement');
	my $o = row('SELECT * FROM vibevideo.overview()');
	is(join('|', map { $_ + 0 } @$o{qw(spent_today_usd reserved_today_usd budget_usd left_usd)}), '3.5|0.5|5|1', 'as overview says it');
	sql($node, 'DELETE FROM vibevideo.limit WHERE true; DELETE FROM vibevideo.job WHERE true');

	sql($node, q{ALTER TABLE vibelogs RENAME prompt TO words});
	is(kinds(), 'paused check', 'a check that fails');
	like(row(q{SELECT * FROM vibevideo.inbox() WHERE kind = 'check'})->{sentence}, qr/prompt/, 'with its words');
	is(acted('check'), '', 'and its statement');
	sql($node, q{ALTER TABLE vibelogs RENAME words TO prompt});

	for my $key (qw(fal_key storage_key))
	{
		configure($node, $key => '');
		is(row(q{SELECT subject FROM vibevideo.inbox() WHERE kind = 'check'})->{subject}, $key, "a missing $key");
		is(acted('check'), '', 'and its statement');
		my $action = row(q{SELECT action FROM vibevideo.inbox() WHERE kind = 'check'})->{action};
		like(sql($node, "SET ROLE watcher; $action RESET ROLE"), qr/^$key\|fail\|/, 'which viewers may call, too');
		configure($node, $key => $keys{"vibevideo.$key"});
	}
	configure($node, storage_key => '', storage_kind => 'none');
	is(kinds(), 'paused', 'but none that is not needed');
	configure($node, storage_key => $keys{'vibevideo.storage_key'}, storage_kind => 'supabase');
	sql($node, 'ALTER SYSTEM RESET vibevideo.retention');
	sql($node, 'SELECT pg_reload_conf()');

	# what it has no time for, it says
	sql($node, q{BEGIN; CREATE OR REPLACE FUNCTION vibevideo_internal.needs_of_database() RETURNS SETOF vibevideo.inbox_row LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.1); END'});
	is(kinds(), join(' ', ('unread') x 9), 'what was not looked at');
	sql($node, 'ROLLBACK');
	sql($node, 'SELECT vibevideo.resume()');
	# a service that has been down for so long, as shared memory would have it
	my $down = sub {
		my ($service, $minutes, $state) = @_;
		my %column = (fal_down_since => 'NULL::timestamptz', storage_down_since => 'NULL::timestamptz', "${service}_down_since" => "clock_timestamp() - interval '$minutes minutes'");
		my $sentence = sql($node, q{BEGIN; CREATE OR REPLACE FUNCTION vibevideo.worker_info(OUT pid int, OUT started_at timestamptz, OUT heartbeat_at timestamptz,
				OUT last_poll_at timestamptz, OUT starts bigint, OUT failures bigint, OUT fal_down_until timestamptz, OUT storage_down_until timestamptz,
				OUT fal_down_since timestamptz, OUT storage_down_since timestamptz, OUT fal_is_probed boolean, OUT storage_is_probed boolean,
				OUT has_fal_key boolean, OUT has_storage_key boolean, OUT copies int, OUT absence text, OUT restart_at timestamptz, OUT cannot_start boolean)
			LANGUAGE sql VOLATILE AS $$ SELECT 1, now(), now(), now(), 1::bigint, 0::bigint, now() + interval '20 s', now() + interval '20 s',}
			  . " $column{fal_down_since}, $column{storage_down_since}, false, false, true, true, 0, NULL, NULL::timestamptz, false \$\$; "
			  . ($state ? "INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input) SELECT 'vibelogs', n, 'pending', 'm', '{}' FROM generate_series(1, 12) n;
				UPDATE vibevideo.job SET state = '$state', request_id = job_id, media_url = CASE WHEN '$state' = 'processing' THEN 'http://x' END WHERE '$state' <> 'pending'; " : '')
			  . q{SELECT concat_ws('|', subject, jobs, sentence, action) FROM vibevideo.inbox() WHERE kind = 'outage'; ROLLBACK});
		return $sentence;
	};
	is($down->('storage', 5, 'processing') =~ s/in \d+ s\./in 20 s./r, 'connection to Storage|12|Storage has not answered for 5 min: 12 jobs wait, without using up tries; the next probe is in 20 s. '
		  . 'This asks at once, and lets them go if it answers.|SELECT * FROM vibevideo.probe_now();', 'an outage of Storage');
	like($down->('fal', 4, $_), qr/^connection to fal\.ai\|12\|/, "of fal.ai: $_") for qw(pending queued generating);
	is($down->('fal', 4, 'processing'), '', 'whose jobs do not wait for the other');
	is($down->('storage', 2, 'processing'), '', 'not for two minutes');
	is($down->('storage', 9), '', 'nor if nobody waits');
	is(sql($node, 'TABLE vibevideo.inbox'), 'Nothing needs you.', 'nothing');
	is(kinds(), '', 'is an empty inbox');

	# a migration of the app's table holds up nobody
	my $migration = background_sql($node);
	$migration->query_safe('BEGIN; LOCK TABLE vibelogs IN ACCESS EXCLUSIVE MODE');
	is(sql($node, q{SET statement_timeout = '10s'; SELECT string_agg(kind, ' ') FROM vibevideo.inbox()}), 'unread', 'somebody has locked the table');
	is(sql($node, 'SELECT needs_you FROM vibevideo.overview(); RESET statement_timeout'), '1', 'and overview() does not wait for that');
	$migration->query_safe('ROLLBACK');
	$migration->quit;
	sql($node, q{SELECT vibevideo.pause('all', 'a test')});
}

# -- overview ----------------------------------------------------------------------------------------
{
	# and what they have cost
	sql($node, 'DELETE FROM vibevideo.job WHERE true; DELETE FROM vibevideo_internal.new_costs WHERE true; TRUNCATE vibevideo.past_costs');
	my $o = row('SELECT * FROM vibevideo.overview()');
	is(join('|', @$o{qw(waiting at_fal copying)}), '0|0|0', 'nothing is in work');
	is($o->{idle_since}, row('SELECT attached_at FROM vibevideo.binding')->{attached_at}, 'since the table was attached');
	is($o->{left_usd}, undef, 'no budget, nothing left of it');
	like(sql($node, q{SELECT "is" FROM vibevideo.overview WHERE what = 'USD today'}), qr/^[\d.]+ spent, [\d.]+ reserved$/, 'the view does not speak of it');
	my $done = add_job(vibelog_id => 'done', state => 'completed', media_url => 'http://x/v.mp4', raw => { completed_at => "'2026-01-02 03:04:05+00'" });
	$o = row('SELECT * FROM vibevideo.overview()');
	is($o->{idle_since}, row("SELECT completed_at FROM vibevideo.job WHERE job_id = $done")->{completed_at}, 'since the last one ended');
	is($o->{last_completed_at}, $o->{idle_since}, 'which was stored then');
	my $failed = add_job(vibelog_id => 'failed', state => 'failed', error_code => 'http_500', error => 'no', raw => { completed_at => "'2026-01-02 04:00:00+00'" });
	$o = row('SELECT * FROM vibevideo.overview()');
	isnt($o->{idle_since}, $o->{last_completed_at}, 'the last to end need not be the last stored');
	my $first = add_job(vibelog_id => 'first');
	add_job(vibelog_id => "w$_") for 1 .. 2;
	add_job(vibelog_id => "f$_", state => 'generating') for 1 .. 3;
	add_job(vibelog_id => "c$_", state => 'processing') for 1 .. 4;
	$o = row('SELECT * FROM vibevideo.overview()');
	is(join('|', @$o{qw(waiting at_fal copying oldest_waiting_job_id)}), "3|3|4|$first", 'what is in work');
	is($o->{idle_since}, undef, 'it is not idle');
	like($o->{oldest_waiting_why}, qr/paused/, 'why the oldest waits');
	like($o->{paused}, qr/a test/, 'it is paused');
	is($json->encode($o->{needs_you_by_kind}), '{"paused":1}', 'and needs somebody');
	my $true = sql($node, q{SELECT sum(n) FILTER (WHERE outcome = 'completed'), sum(n) FILTER (WHERE outcome = 'failed') FROM vibevideo.rollup
		WHERE seconds = 86400 AND NOT orphan AND at = (now() AT TIME ZONE 'UTC')::date::timestamp AT TIME ZONE 'UTC'});
	is(join('|', @$o{qw(done_today failed_today)}), $true, 'what became of the others today');
	sql($node, q{BEGIN; CREATE OR REPLACE FUNCTION vibevideo_internal.most() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 4});
	$o = row('SELECT * FROM vibevideo.overview()');
	is($json->encode($o->{more}), 'true', 'what is not counted to its end says so');
	sql($node, 'ROLLBACK; DELETE FROM vibevideo.job WHERE true');
}

# -- lists -----------------------------------------------------------------------------------------------
{
	my @active = map { add_job(vibelog_id => "active $_", requested_by => $_ % 2 ? 'ann' : 'bob') } 1 .. 9;
	my @ended = map {
		add_job(vibelog_id => "ended $_", requested_by => $_ % 2 ? 'ann' : 'bob', state => $_ % 5 ? 'completed' : 'failed',
			($_ % 5 ? (media_url => 'http://x/v.mp4') : (error_code => 'http_500', error => 'no')),
			raw => { completed_at => "now() - interval '1 hour' - $_ * interval '1 minute'" })
	} 1 .. 23;
	my $list = sub {
		my ($filter, $max) = @_;
		my ($after, @ids, $pages);

		do
		{
			my $page = row("SELECT * FROM vibevideo.list_jobs(" . literal($filter) . ', ' . literal($after) . ", $max)");
			push @ids, map { $_->{job_id} } @{ $page->{jobs} };
			$after = defined $page->{next} ? $json->encode($page->{next}) : undef;
			$pages++;
		} while (defined $after && $pages < 100);
		return join(' ', @ids);
	};
	my $all = join(' ', reverse(@active), @ended);
	is(row(q{SELECT cardinality(jobs) AS n FROM vibevideo.list_jobs(after => '{"ended": "infinity", "job_id": 9223372036854776000}')})->{n}, scalar(@ended),
		'the largest number, as JavaScript has it');
	is($list->('{}', $_), $all, "all of them, $_ a page: unfinished ones first, then the last to end") for 1, 7, 1000;
	is($list->('{"user": "ann", "state": "failed"}', 2), join(' ', map { $ended[ $_ - 1 ] } 5, 15), 'with a filter');
	is($list->('{"user": ["ann", "bob"], "state": "failed"}', 3), join(' ', map { $ended[ $_ - 1 ] } 5, 10, 15, 20), 'of several users, merged');
	is($list->('{"class": "provider"}', 3), join(' ', map { $ended[ $_ - 1 ] } 5, 10, 15, 20), 'by class of error');
	is($list->('{"error_code": "http_500"}', 3), join(' ', map { $ended[ $_ - 1 ] } 5, 10, 15, 20), 'by error');
	is($list->('{"error_code": "nothing"}', 3), '', 'none');
	is($list->('{"key": "ended 7"}', 3), $ended[6], 'by key');
	# one ends between two pages: it may be seen twice, but is not missed
	my $page = row(q{SELECT * FROM vibevideo.list_jobs('{}', NULL, 5)});
	my %seen = map { $_->{job_id} => 1 } @{ $page->{jobs} };
	sql($node, "UPDATE vibevideo.job SET state = 'cancelled', next_at = NULL, completed_at = now() WHERE job_id = $_") for @active[ 0, 8 ];
	while (defined $page->{next})
	{
		$page = row("SELECT * FROM vibevideo.list_jobs('{}', " . literal($json->encode($page->{next})) . ', 5)');
		$seen{ $_->{job_id} } = 1 for @{ $page->{jobs} };
	}
	is(join(' ', sort { $a <=> $b } keys %seen), join(' ', @active, @ended), 'paging misses none that ends meanwhile');
	my $job = row("SELECT (j).* FROM vibevideo.list_jobs('{\"job_id\": $ended[0]}') l, unnest(l.jobs) j");
	is(join('|', @$job{qw(status state user_id)}), 'completed|completed|ann', 'a line of it');
	$job = row("SELECT (j).* FROM vibevideo.list_jobs('{\"job_id\": $active[1]}') l, unnest(l.jobs) j");
	is($job->{waits_for}, 'paused', 'with what holds a job');
	is(row(q{SELECT bound FROM vibevideo.list_jobs('{"prompt": "secret"}', NULL, 3)})->{bound}, 'max_jobs', 'why it ends');
	is($list->('{"prompt": "secret"}', 3), $list->('{}', 1000), 'by words of the prompt');

	# more unfinished jobs than are read for a page: none is left out, whatever order they are due in
	sql($node, q{INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, row_dirty, created_at)
		SELECT 'vibelogs', 'many ' || n, CASE WHEN n % 3 = 0 THEN 'queued' ELSE 'pending' END, 'm', '{}', now() + (n * 7919 % 500) * interval '1 s', false, now() - interval '1 h' FROM generate_series(1, 700) n});
	for my $newest (1, 0)
	{
		my $f = q{vibevideo_internal.read_filter('{"status": ["queued", "completed"]}')};
		my ($after, @ids, %bounds);

		for (1 .. 200)
		{
			# without time: each call does no more than it has to
			my $page = row("SELECT * FROM vibevideo_internal.filter_jobs($f, $newest = 1, 50, 0, " . literal($after) . ')');
			push @ids, @{ $page->{job_ids} };
			$bounds{ $page->{bound} // 'end' }++;
			last unless defined $page->{next};
			$after = $json->encode($page->{next});
		}
		my @true = map { $_->{job_id} } @{ rows(q{SELECT job_id FROM vibevideo.job WHERE vibevideo_internal.shown_status(state) IN ('queued', 'completed') ORDER BY completed_at IS NOT NULL DESC, completed_at, job_id}) };
		is(join(' ', @ids), join(' ', $newest ? reverse(@true) : @true), ($newest ? 'newest' : 'oldest') . ' first: all of many');
		is($bounds{end}, 1, 'which it says');
	}
	sql($node, 'DELETE FROM vibevideo.job WHERE true; DELETE FROM vibevideo_internal.new_costs WHERE true; DELETE FROM vibevideo.past_costs WHERE true');
}

# -- details ---------------------------------------------------------------------------------------------
{
	my %at = (created_at => "'2026-01-01 10:00:00+00'", sent_at => "'2026-01-01 10:00:01+00'", submitted_at => "'2026-01-01 10:00:03+00'",
		generated_at => "'2026-01-01 10:02:03+00'", completed_at => "'2026-01-01 10:02:13+00'");
	my $first = add_job(vibelog_id => 'detail', state => 'failed', error_code => 'http_500', error => 'x' x 600, raw => { created_at => $at{created_at} });
	my $id = add_job(vibelog_id => 'detail', state => 'completed', media_url => 'http://x/v.mp4', request_id => 'abc-1',
		model => 'fal-ai/minimax/video-01/image-to-video', object_key => 'detail/1.mp4', raw => \%at);
	my $d = row("SELECT * FROM vibevideo.job_detail($id)");
	is(join(' ', map { "$_->{step}:" . ($_->{took} // '') } @{ $d->{timeline} }), 'requested: sent:00:00:01 accepted:00:00:02 rendered:00:02:00 completed:00:00:10',
		'its steps, with how long they took');
	is(join(' ', map { $_->{state} } @{ $d->{events} }), 'processing completed', 'its history');
	is(join(' ', map { $_->{job_id} } @{ $d->{attempts} }), "$id $first", 'all attempts of its row');
	like($d->{fal_url}, qr{^https://queue\.fal\.run/fal-ai/minimax/requests/abc-1$}, "fal.ai's address of it");
	is(join('|', @$d{qw(bucket object_key media_url relation)}), 'videos|detail/1.mp4|http://x/v.mp4|public.vibelogs', 'and where its video is');
	is(join('|', map { $d->{job}{$_} } qw(waited rendered copied)), '00:00:03|00:02:00|00:00:10', 'the durations in its line');
	$d = row("SELECT * FROM vibevideo.job_detail($first)");
	is(join('|', length $d->{error}, length $d->{job}{error}), '600|500', 'errors are whole here, and cut in lists');
	my $now = row('SELECT (SELECT array_agg(s.step) FROM unnest(d.timeline) s) AS steps FROM vibevideo.job_detail(' . add_job(vibelog_id => 'waits') . ') d');
	is(join(' ', @{ $now->{steps} }), 'requested now', 'the steps of one that waits');
	sql($node, "INSERT INTO vibevideo.event (job_id, state) SELECT $id, 'queued' FROM generate_series(1, 300)");
	$d = row("SELECT cardinality(events) AS n, more FROM vibevideo.job_detail($id)");
	is($json->encode($d), '{"more":true,"n":200}', 'of a long history the end, and it says so');
	sql($node, 'DELETE FROM vibevideo.job WHERE true; DELETE FROM vibevideo.event WHERE true; DELETE FROM vibevideo_internal.new_costs WHERE true; DELETE FROM vibevideo.past_costs WHERE true');
}

# -- decisions that do nothing say so -----------------------------------------------------------------------
{
	my $failed = add_job(vibelog_id => 'decided', state => 'failed', error_code => 'http_500', error => 'no');
	my $told = sub {
		my (undef, undef, $err) = $node->psql('postgres', "SELECT $_[0]");
		return $err =~ s/^psql:<stdin>:\d+: //mgr;
	};
	is($told->("vibevideo.retry($failed)"), '', 'a retry that makes a job says nothing');
	my $next = sql($node, 'SELECT max(job_id) FROM vibevideo.job');
	for my $call ('cancel', 'retry')
	{
		is($told->("vibevideo.$call($failed)"), "NOTICE:  $call has done nothing: job $failed is in state failed\nHINT:  Its row has job $next, which has not ended.",
			"$call: nothing is done to a job that another has followed, and its number is told");
	}
	is($told->("vibevideo.cancel($next)"), '', 'a cancel that does something says nothing');
	is($told->("vibevideo.cancel($next)"), "NOTICE:  cancel has done nothing: job $next is in state cancelled", 'once');
	sql($node, 'DELETE FROM vibevideo.job WHERE true; DELETE FROM vibevideo_internal.new_costs WHERE true; DELETE FROM vibevideo.past_costs WHERE true');
}

# -- errors and users ---------------------------------------------------------------------------------------
{
	my $n = 0;
	for my $error ([ 'http_500', 'fal-ai/minimax/video-01', 3 ], [ 'http_500', 'acme/other', 1 ], [ 'content_policy_violation', 'acme/other', 5 ])
	{
		my ($code, $model, $times) = @$error;

		add_job(vibelog_id => 'e' . $n++, model => $model, requested_by => $code eq 'http_500' ? 'ann' : 'bob', state => 'failed', error_code => $code, error => "words of $code",
			raw => { completed_at => "now() - $_ * interval '2 hours'" }) for 1 .. $times;
	}
	add_job(vibelog_id => 'old', state => 'failed', error_code => 'http_500', error => 'no', raw => { completed_at => "now() - interval '9 days'" });
	add_job(vibelog_id => 'cancelled', state => 'cancelled', error_code => 'row_gone', error => 'its row was gone before it was sent');
	my $groups = rows('SELECT * FROM vibevideo.error_groups()');
	is(join("\n", map { join('|', @$_{qw(error_class error_code model jobs)}) } @$groups),
		"policy|content_policy_violation|acme/other|5\nprovider|http_500|fal-ai/minimax/video-01|3\nprovider|http_500|acme/other|1", 'errors by class, code and model');
	is($groups->[1]{first_at}, row(q{SELECT min(completed_at) AS at FROM vibevideo.job WHERE error_code = 'http_500'})->{at}, 'when it was first seen, before that time, too');
	is(sum(@{ $_->{trend} }), $_->{jobs}, 'its trend adds up') for @$groups;
	is(scalar(@{ $groups->[0]{trend} }), 12, 'in twelve parts');
	is($groups->[2]{trend}[10] + $groups->[2]{trend}[11], 1, 'the last is now');
	is($groups->[0]{example}, 'words of content_policy_violation', 'with an example');
	is(scalar(@{ rows(q{SELECT * FROM vibevideo.error_groups(now() - interval '10 days')}) }), 3, 'since another time');
	sql($node, q{UPDATE vibevideo.job SET forgotten_at = now() WHERE error_code = 'content_policy_violation' OR model = 'fal-ai/minimax/video-01' AND completed_at > now() - interval '3 hours'});
	is(join(' ', map { "$_->{error_code}:$_->{jobs}:" . sum(@{ $_->{trend} }) } @{ rows('SELECT * FROM vibevideo.error_groups()') }), 'http_500:2:2 http_500:1:1', 'what is forgotten is left out');
	is(row(q{SELECT count(*) FILTER (WHERE j.forgotten_at IS NOT NULL) AS n FROM vibevideo.list_jobs('{"state": "failed", "since": "1 day"}') l, unnest(l.jobs) j})->{n}, 6,
		'and lists say so');
	sql($node, 'UPDATE vibevideo.job SET forgotten_at = NULL WHERE forgotten_at IS NOT NULL');

	# of very many codes those of the last failures are there, and all lines say that others are not
	sql($node, q{BEGIN; INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, next_at, completed_at, error_code, row_dirty, created_at)
		SELECT 'vibelogs', 'code ' || n, 'failed', 'm', '{}', NULL, now() - CASE WHEN n > 300 THEN interval '1 minute' ELSE n * interval '1 h' END, CASE WHEN n > 300 THEN 'upper' ELSE 'a' || n END, false, now() - interval '20 days'
		FROM generate_series(1, 1310) n});
	$groups = rows('SELECT * FROM vibevideo.error_groups()');
	is(join(' ', map { $_->{jobs} } grep { $_->{error_code} eq 'upper' } @$groups), '1010', 'the last failures are counted, whatever other codes there are');
	is(scalar(grep { !$_->{more} } @$groups), 0, 'and each line says that there are more');
	sql($node, 'ROLLBACK');

	add_job(vibelog_id => "made $_", requested_by => 'cat', state => 'completed', media_url => 'http://x/v.mp4') for 1 .. 3;
	add_job(vibelog_id => "before $_", requested_by => 'dan', state => 'completed', media_url => 'http://x/v.mp4', raw => { created_at => "now() - $_ * interval '20 days'" }) for 1 .. 2;
	add_job(vibelog_id => "active $_", requested_by => 'ann') for 1 .. 2;
	add_job(vibelog_id => 'unknown', state => 'completed', media_url => 'http://x/v.mp4');
	sql($node, q{INSERT INTO vibevideo.limit (scope, max_active) VALUES ('default', 9); INSERT INTO vibevideo.limit (user_id, submits_per_day) VALUES ('cat', 3)});
	my $users = sub {
		return join("\n", map { join('|', map { $_ // '' } @$_{qw(user_id active submits_today videos_today reserved_usd submits videos spent_usd max_active submits_per_day)}) } @{ rows('SELECT * FROM vibevideo.users(' . ($_[0] // '') . ')') });
	};
	is($users->(), <<'END' =~ s/\n$//r, 'users: those with something in work first, then those who have spent most');
ann|2|6|0|1|6|0|0|9|
cat|0|3|3|0|3|3|1.5|9|3
|0|3|1|0|3|1|0.5||
dan|0|0|0|0|1|1|0.5|9|
bob|0|5|0|0|5|0|0|9|
END
	is(sum(map { $_->{share} } @{ rows('SELECT * FROM vibevideo.users()') }), 1, 'their shares add up');
	unlike($users->('now()'), qr/dan/, 'since another day');
	like($users->(q{now() - interval '50 days'}), qr/^dan\|0\|0\|0\|0\|2\|2\|1\|/m, 'or a longer time');
	sql($node, q{SELECT vibevideo_internal.add_costs(1000)});
	like($users->(q{now() - interval '50 days'}), qr/^dan\|0\|0\|0\|0\|2\|2\|1\|/m, 'the same when costs were added up');
	is(join(' ', map { $_->{user_id} . ($_->{more} ? '+' : '') } @{ rows('SELECT * FROM vibevideo.users(most => 2)') }), 'ann cat', 'not more than asked for');
	is(join(' ', map { $_->{bound} // 'all' } map { @{ rows("SELECT DISTINCT bound FROM vibevideo.users(now() - interval '1 day', $_)") } } 2, 4, 5, 1000), 'most all all all',
		'and it is said that there are more');
	# of many users the right ones are found, or it is said that they may not be
	sql($node, q{INSERT INTO vibevideo.past_costs SELECT 'u' || u, vibevideo_internal.today() - d, 'm', 1, 1, (u * 7919 % 101) * (1 + d % 2) FROM generate_series(1, 300) u, generate_series(0, 45) d});
	for my $since (0, 5, 29, 40)
	{
		my $found = rows("SELECT * FROM vibevideo.users(now() - interval '$since days', 10) WHERE active = 0");
		my $true = rows("SELECT user_id, sum(settled_usd) AS usd FROM vibevideo.costs WHERE day >= vibevideo_internal.today() - $since AND user_id IS NOT NULL AND user_id <> 'ann' GROUP BY 1 ORDER BY 2 DESC, sum(submits) DESC, 1 LIMIT 9");
		my $wrong = grep { $found->[$_]{user_id} ne $true->[$_]{user_id} && !$found->[$_]{more} } 0 .. $#$found;

		is(scalar(@$found), 9, "$since days: there are enough");
		is($wrong, 0, 'and who is in the wrong place says so');
		is(join('|', map { $_->{spent_usd} + 0 } @$found[ 0 .. 2 ]), join('|', map { $_->{usd} + 0 } @$true[ 0 .. 2 ]), 'the first are right');
	}
	sql($node, 'DELETE FROM vibevideo.limit WHERE true; DELETE FROM vibevideo.job WHERE true; DELETE FROM vibevideo_internal.new_costs WHERE true; DELETE FROM vibevideo.past_costs WHERE true');
}

# -- psql, and whatever may stand in a job ------------------------------------------------------------------
# What psql shows, in columns of a terminal: it pads its cells by the same count.
sub psql_lines
{
	my ($script, @more) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'psql', '-X', '-d', $node->connstr('postgres'), @more, '-f', '-' ], '<', \$script, '>', \$out, '2>', \$err);
	is($err, '', 'psql has nothing to complain about');
	utf8::decode($out);
	return split /\n/, $out;
}

sub width
{
	my ($line) = @_;
	my $wide = () = $line =~ /[\x{1100}-\x{115f}\x{2e80}-\x{303e}\x{3041}-\x{a4cf}\x{ac00}-\x{d7a3}\x{f900}-\x{faff}\x{fe30}-\x{fe6f}\x{ff00}-\x{ff60}\x{ffe0}-\x{ffe6}\x{1f300}-\x{1f64f}\x{1f900}-\x{1f9ff}\x{20000}-\x{3fffd}]/g;

	$line =~ s/[\p{Mn}\p{Me}\p{Cf}]//g;
	return length($line) + $wide;
}

my $WORST = join('', '\'"\\', "\n\t\r\e[31m", "\x{85}\x{9b}", "\x{202e}", 'ｗｉｄｅ漢字', "e\x{301}" x 40, '</script><b>', '%s $1 {{x}} ', 'x' x 200);
{
	my @states = qw(pending submitting submit_unknown queued generating processing);
	my $e = sub { return ref $_[0] ? $_[0] : substr($_[0] . $WORST, 0, 150) };

	sql($node, "SET standard_conforming_strings = on; UPDATE vibevideo.binding SET pause_reason = " . literal($WORST));
	sql($node, q{SELECT setval('vibevideo.job_id_seq', 99999999990)});
	add_job(vibelog_id => $e->("k$_"), requested_by => $e->("u$_"), model => $e->("m/$_"), state => $states[ $_ % 6 ], error_code => $_ % 2 ? $e->('c') : undef,
		error => $_ % 2 ? $WORST : undef) for 1 .. 24;
	add_job(vibelog_id => $e->("d$_"), requested_by => $e->("u$_"), model => $e->('m'), state => 'failed', media_url => "http://x/$_", error_code => $e->($_ % 2 ? 'c' : 'd'), error => $WORST) for 1 .. 6;
	add_job(vibelog_id => $e->('l'), state => 'failed', error_code => 'submit_lost', error => $WORST);
	add_job(vibelog_id => $e->('o'), orphan => 'true', state => 'failed', media_url => 'http://x', error_code => $e->('o'), error => $WORST);
	my $dirty = add_job(vibelog_id => $e->('w'), state => 'completed', media_url => 'http://x');
	sql($node, "UPDATE vibevideo.job SET row_dirty = true, row_error = " . literal($WORST) . ", row_next_at = 'infinity' WHERE job_id = $dirty");
	my $name = '"' . (substr('the worst name' . "\n\e '\"漢字 " x 9, 0, 30) =~ s/"/""/gr) . '"';
	my $relation = 'to_regclass(' . literal($name) . ')';
	utf8::encode($name);
	sql($node, "CREATE TABLE $name (LIKE vibelogs INCLUDING ALL)");
	add_job(vibelog_id => $e->('t'), raw => { relation => $relation });
	sql($node, q{INSERT INTO vibevideo.limit (scope, spend_per_day_usd) SELECT 'global', sum(settled_usd + reserved_usd) + 0.6 FROM vibevideo.costs_by_day});

	for my $settings ('', "\\i sql/console.sql\n")
	{
		my $with = $settings ? 'with console.sql' : 'as it comes';
		my @lines = psql_lines($settings . "TABLE vibevideo.now;\nTABLE vibevideo.today;\nTABLE vibevideo.inbox;\n"
			  . "TABLE vibevideo.overview;\nTABLE vibevideo.errors;\nTABLE vibevideo.users;\nSELECT * FROM vibevideo.show_check();\nSELECT * FROM vibevideo.show_audit();\n"
			  . join('', map { "SELECT * FROM vibevideo.show_job($_);\n" } $dirty, $dirty - 3, $dirty - 12) . "SELECT * FROM vibevideo.show_jobs('{}', 40);\n"
			  . "SELECT * FROM vibevideo.show_plan('retry', '{\"state\": \"failed\"}');\nSELECT * FROM vibevideo.show_plan('cancel', '{\"user\": \"nobody\"}');\n"
			  . ($settings ? ":now\n:today\n:inbox\n:overview\n:errors\n:users\n:check\n:audit\n:job ($dirty);\n:jobs ('{\"state\": \"failed\"}');\n:plan ('retry', '{\"state\": \"failed\"}');\n" : ''));
		my @wide = grep { width($_) > 80 } @lines;

		cmp_ok(scalar(@lines), '>', 80, "$with: psql shows much");
		is(join("\n", map { my $line = $_; utf8::encode($line); $line } @wide), '', 'and nothing wider than 80 columns');
		is(scalar(grep { /[\x00-\x08\x0b-\x1f\x7f-\x9f]/ } @lines), 0, 'nor anything that a terminal acts on');
	}
	cmp_ok(max(map { width($_) } psql_lines('TABLE vibevideo.now')), '>=', 76, 'the width is used');

	# each statement of the inbox can be pasted, out of several lines as well
	my $inbox = rows('SELECT * FROM vibevideo.inbox()');
	cmp_ok(scalar(@$inbox), '>=', 7, 'the inbox is full');
	for my $line (@$inbox)
	{
		my ($state, $error) = sql_error($node, "BEGIN; $line->{action} ROLLBACK");

		is($state, '', "$line->{kind}: its statement is one") or diag("$line->{action}\n$error");
		unlike($line->{action}, qr/[\x00-\x1f\x7f-\x9f\x{202e}]/, 'of plain characters');
	}
	my $shown = join("\n", psql_lines("\\pset tuples_only\nTABLE vibevideo.inbox;"));
	my @pasted = $shown =~ /^ ((?:SELECT|UPDATE) (?:.*\n)*?.*;)$/mg;
	is(scalar(@pasted), scalar(@$inbox), 'all are in the view');
	for my $statement (@pasted)
	{
		is((sql_error($node, "BEGIN; $statement ROLLBACK"))[0], '', 'and work from there: ' . ($statement =~ s/\s+/ /gr));
	}

	sql($node, 'DELETE FROM vibevideo.limit WHERE true');
	# a plan's last line, or two, carries it out
	my $plan = join("\n", psql_lines(q{\pset tuples_only} . "\n" . q{SELECT * FROM vibevideo.show_plan('retry', '{"paid_not_stored": true}');}));
	like($plan, qr/^ retry: 6 jobs of 6 users, for 0 USD at most\.$/m, 'a plan says what it would do');
	my ($act) = $plan =~ /^ (SELECT \* FROM vibevideo\.act\(.*;)$/m;
	is(sql($node, "BEGIN; $act ROLLBACK"), '6|6|0|0|{}', 'and how to do it');
	sql($node, q{SET vibevideo.confirm_over_usd = 0; SELECT vibevideo.set_price('acme/dear', 0.55)});
	add_job(vibelog_id => 'dear', state => 'failed', model => 'acme/dear', error_code => 'http_500');
	$plan = join("\n", psql_lines(q{SET vibevideo.confirm_over_usd = 0; \pset tuples_only} . "\n" . q{SELECT * FROM vibevideo.show_plan('retry', '{"key": "dear"}');}));
	($act) = $plan =~ /^ (SELECT \* FROM vibevideo\.act\((?:.*\n)*?.*;)$/m;
	is(sql($node, "SET vibevideo.confirm_over_usd = 0; BEGIN; $act ROLLBACK"), '1|1|0.55|0|{}', 'with the words that confirm it, in two lines');
	like(join("\n", psql_lines(q{SELECT * FROM vibevideo.show_job((SELECT max(job_id) FROM vibevideo.job WHERE vibelog_id = 'dear'))})),
		qr/^ Job \d+, row dear of public\.vibelogs, attempt 1: failed.*why +it has ended: failed at \S+: http_500\n.*input +\{"prompt": "a secret wish"\}.*requested +\d{4}-.*\n History:/ms, 'a job in lines');
	sql($node, q{RESET vibevideo.confirm_over_usd; SELECT vibevideo.delete_price('acme/dear'); DELETE FROM vibevideo.job WHERE vibelog_id = 'dear'});

	# a key, or an error, that is made to stand on a line of its own is seen to be part of the text
	my $words = sub { return join(' ', 'y' x 75, "SELECT evil('$_[0]');", 'z' x 74) };
	add_job(vibelog_id => $words->('k'), state => 'failed', media_url => 'http://x', error_code => 'a', error => 'a');
	add_job(vibelog_id => 'y' . ' ' x 66 . "SELECT evil('s');", state => 'failed', media_url => 'http://x', error_code => 'b', error => 'a');
	add_job(vibelog_id => 'y', state => 'failed', media_url => 'http://x', error_code => 'e', error => $words->('e'));
	my @lines = psql_lines("\\pset tuples_only\nTABLE vibevideo.inbox;");
	is(scalar(grep { /^   +SELECT evil\('/ } @lines), 3, 'lines that are made to look like statements are indented');
	# as the view shows them
	my %statement = map { (" $_->{line}" => 1) } @{ rows(q{SELECT l AS line FROM vibevideo.inbox() i,
		unnest(vibevideo_internal.wrap(regexp_replace(regexp_replace(i.action, 'vibevideo[.]plan', 'vibevideo.show_plan'), 'vibevideo[.]job_detail', 'vibevideo.show_job'), 78)) l}) };
	is_deeply([ grep { /^ \S/ && !/^ (?:Database|Dropped table|Table|Job|\d+ jobs)\b/ && !$statement{ s/ +$//r } } @lines ], [], 'what is not is a statement of ours, or begins with our words');
	is(scalar(grep { /[\x{202a}-\x{202e}\x{2066}-\x{2069}\x{2028}\x{2029}]/ } @lines), 0, 'nor does anything turn the direction of writing');

	# and it arrives as it is where it is data
	my $listed = row("SELECT (j).* FROM vibevideo.list_jobs('{\"state\": \"completed\"}') l, unnest(l.jobs) j");
	is($listed->{vibelog_id}, $e->('w'), 'a key is what it is');
	is($listed->{row_error}, substr($WORST, 0, 500), 'so are errors');
	ok(row("SELECT * FROM $_"), "$_ has an answer") for grep { !/detail|show_job\(/ } @CALLS;
	is(row("SELECT (d.job).vibelog_id AS key FROM vibevideo.job_detail($dirty) d")->{key}, $e->('w'), 'in details, too');
	sql($node, "DELETE FROM vibevideo.limit WHERE true; DELETE FROM vibevideo.job WHERE true; DROP TABLE $name; SELECT setval('vibevideo.job_id_seq', 1000)");
	sql($node, 'DELETE FROM vibevideo_internal.new_costs WHERE true; DELETE FROM vibevideo.past_costs WHERE true');
	chomp(my $sharedir = `pg_config --sharedir`);
	is(slurp_file("$sharedir/vibevideo/console.sql"), slurp_file('sql/console.sql'), 'make install brings console.sql');
}

# -- none of it reads the history -----------------------------------------------------------------------------
{
	my $history = 60000;
	my $database = 'history';

	cli_sql("CREATE DATABASE $database", 'postgres');
	create_looked_at($database);
	cli_sql(<<"SQL", $database);
ALTER TABLE vibevideo.job DISABLE TRIGGER ALL;
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, request_id, media_url, error_code, error, next_at, created_at, submitted_at, generated_at, completed_at, row_dirty, cost_usd, unsettled)
SELECT 'vibelogs'::regclass, 'k' || n, CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'completed' END, 'm/' || n % 3, '{"prompt": "x"}', 'u' || n % 500, 'r' || n, CASE WHEN n % 20 > 0 OR n % 2000 = 0 THEN 'http://x' END,
	CASE WHEN n % 20 = 0 THEN 'code_' || n % 7 END, CASE WHEN n % 20 = 0 THEN 'words' END, NULL, now() - n * interval '20 s', now() - n * interval '20 s', now() - n * interval '20 s', now() - n * interval '20 s', false, 0.5, NULL
FROM generate_series(1, $history) n;
ALTER TABLE vibevideo.job ENABLE ALWAYS TRIGGER job_changing, ENABLE ALWAYS TRIGGER job_changed, ENABLE ALWAYS TRIGGER jobs_deleted;
SELECT setval('vibevideo.job_id_seq', $history);
INSERT INTO vibevideo.past_costs SELECT 'u' || u, vibevideo_internal.today() - d, 'm/0', 1, 1, 0.5 FROM generate_series(1, 500) u, generate_series(0, 13) d;
SQL
	add_job(database => $database, vibelog_id => "a$_", state => (qw(pending queued generating processing submit_unknown))[ $_ % 5 ]) for 1 .. 20;

	# of each node of each plan that reads jobs: which index it uses, and how many rows it had in its hands
	my $reads = sub {
		my ($call) = @_;
		my ($rc, $out, $err) = $node->psql($database, <<"SQL");
LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; SET auto_explain.log_analyze = on;
SET auto_explain.log_timing = off; SET auto_explain.log_level = notice; SET auto_explain.log_format = json; SET client_min_messages = notice;
SELECT * FROM $call;
SQL
		my (@scans, $rows, $notes, $items);
		my $visit;

		$visit = sub {
			my ($node) = @_;

			if (($node->{'Relation Name'} // '') eq 'job')
			{
				push @scans, $node if $node->{'Node Type'} eq 'Seq Scan';
				$rows += ($node->{'Actual Rows'} + ($node->{'Rows Removed by Filter'} // 0)) * $node->{'Actual Loops'};
			}
			$notes += ($node->{'Actual Rows'} + ($node->{'Rows Removed by Filter'} // 0)) * $node->{'Actual Loops'} if ($node->{'Relation Name'} // '') eq 'new_costs';
			$items += ($node->{'Actual Rows'} + ($node->{'Rows Removed by Filter'} // 0)) * $node->{'Actual Loops'} if ($node->{'Relation Name'} // '') eq 'fal_usage';
			$visit->($_) for @{ $node->{Plans} || [] };
		};
		while ($err =~ /plan:\n(\{.*?^\})/msg)
		{
			$visit->($json->decode($1)->{Plan});
		}
		return { seq => scalar(@scans), rows => $rows // 0, notes => $notes // 0, items => $items // 0, well => $rc == 0 };
	};
	my %most = (
		'vibevideo.overview()' => 5000,
		'vibevideo.inbox()' => 5000,
		'vibevideo.list_jobs()' => 1500,
		q{vibevideo.list_jobs('{"status": "completed"}')} => 1500,
		q{vibevideo.list_jobs('{"state": "failed"}')} => 1500,
		q{vibevideo.list_jobs('{"error_code": "code_6"}')} => 1500,
		q{vibevideo.list_jobs('{"class": "other"}')} => 5000,
		q{vibevideo.list_jobs('{"paid_not_stored": true}')} => 1500,
		q{vibevideo.list_jobs('{"orphan": true}')} => 1500,
		q{vibevideo.list_jobs('{"user": "u77"}')} => 1500,
		q{vibevideo.list_jobs('{"user": "nobody"}')} => 1500,
		q{vibevideo.list_jobs('{"key": "k5000"}')} => 1500,
		q{vibevideo.list_jobs('{"request_id": "r5000"}')} => 1500,
		q{vibevideo.list_jobs('{"since": "1 hour"}')} => 2500,
		'vibevideo.job_detail(5000)' => 100,
		'vibevideo.error_groups()' => 10000,
		'vibevideo.users()' => 500,
		'vibevideo.now' => 5000,
		'vibevideo.today' => 500,
		'vibevideo.costs WHERE day = vibevideo_internal.today()' => 100,
		'vibevideo.costs_by_month' => 100,
		'vibevideo.costs_by_day' => 100,
		'vibevideo.limit_use' => 2500,
		'vibevideo.ledger' => 100,
		'vibevideo.unmatched' => 100,
		'vibevideo_internal.needs_of_ledger()' => 100,
		'vibevideo_internal.shown_ledger(30)' => 100,
		'vibevideo_internal.check_jobs()' => 1500,
		'vibevideo_internal.check_overdue()' => 100,
		'vibevideo_internal.check_worker()' => 100);

	# so that all that can be limited is looked for
	sql($node, q{INSERT INTO vibevideo.limit (scope, max_active, submits_per_hour, submits_per_day, submits_per_month, spend_per_hour_usd, spend_per_day_usd, spend_per_month_usd)
		SELECT s, 100, 1000, 1000, 1000, 1000, 1000, 1000 FROM unnest(ARRAY['global', 'default', 'default_tenant']) s}, $database);
	# of fal.ai's bill, which has spoken of none of the history
	sql($node, q{INSERT INTO vibevideo_internal.bill_state (covered_from, read_at) VALUES (now() - interval '1 minute', now())}, $database);
	for my $analyzed (0, 1)
	{
		sql($node, 'VACUUM ANALYZE', $database) if $analyzed;
		for my $call (sort keys %most)
		{
			# of views the planner decides by itself, and an hour's jobs are found by summaries of the index
			next if !$analyzed && $call =~ /costs|ledger$|unmatched|limit_use/;
			my $read = $reads->($call);

			ok($read->{well}, ($analyzed ? 'analyzed' : 'not analyzed') . ": $call");
			is($read->{seq}, 0, 'it does not read the table of jobs from end to end');
			cmp_ok($read->{rows}, '<=', $most{$call}, "$call: nor more than so many of them");
		}
	}
	cmp_ok($reads->(q{vibevideo.job j WHERE j.error = 'no index has that'})->{rows}, '>=', $history, 'which would be seen');

	# nor does the dashboard where the bill has spoken of none of them for weeks, and of many that are not ours
	sql($node, q{UPDATE vibevideo_internal.bill_state SET covered_from = now() - interval '60 days' WHERE true;
		INSERT INTO vibevideo.fal_usage (at, endpoint, request_id, nth, cost_usd) SELECT now() - n * interval '1 minute', 'm/0', 'x' || n, 1, 0.1 FROM generate_series(1, 20000) n}, $database);
	my $billed = $reads->('vibevideo_internal.shown_ledger(30)');
	ok($billed->{well}, 'vibevideo_internal.shown_ledger(30)');
	is($billed->{seq}, 0, 'it does not read the table of jobs from end to end');
	cmp_ok($billed->{rows}, '<=', 6000, 'nor more than the last of them');
	cmp_ok($billed->{items}, '<=', 6000, 'or of the items');

	# while the worker does not add up costs their notes are read a few times, not once for each user
	sql($node, q{INSERT INTO vibevideo_internal.new_costs (user_id, day, model, submits, videos, settled_usd) SELECT 'u' || u, vibevideo_internal.today(), 'm/0', 1, 1, 0.5 FROM generate_series(1, 500) u}, $database);
	my $noted = $reads->('vibevideo.users()');
	cmp_ok($noted->{notes}, '>=', 500, 'vibevideo.users() reads notes of costs');
	cmp_ok($noted->{notes}, '<=', 2000, 'but not again and again');

	# nor does the end of a pause
	my $resumed = $reads->(q{vibevideo.resume(); SELECT vibevideo.pause('all', 'a test')});
	ok($resumed->{well}, 'vibevideo.resume()');
	is($resumed->{seq}, 0, 'it does not read the table of jobs from end to end');
	cmp_ok($resumed->{rows}, '<=', 100, 'nor many of them');

	# what no index has is looked for in steps
	my ($after, $pages, @found) = (undef, 0);
	do
	{
		my $page = row(q{SELECT * FROM vibevideo.list_jobs('{"model": "m/1", "attempts": 2}', } . literal($after) . ')', $database);
		is($page->{bound}, 'time', 'it stops when the time is over') if defined $page->{next} && !$pages;
		push @found, @{ $page->{jobs} };
		$after = defined $page->{next} ? $json->encode($page->{next}) : undef;
	} while (defined $after && $pages++ < 200);
	is(scalar(@found), 0, 'and goes on where it stopped, to the end');
	is($after, undef, 'which it finds');
}

# A session of its own.
sub cli_sql
{
	my ($statements, $database) = @_;

	return $node->safe_psql($database, $statements);
}

done_testing();
