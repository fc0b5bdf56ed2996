
# The app's code runs inside our writes of its rows: it can ask for videos, be
# slow, be put off to the commit, or see to it that nothing is written.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0);

sql($node, <<'SQL');
CREATE EXTENSION vibevideo;
CREATE TABLE vibelogs (id int PRIMARY KEY, content text);
SELECT vibevideo.attach('vibelogs');
CREATE TABLE seen (at serial, id int, status text, answer text);
SQL

my $key = 0;

# a row with that text; its key
sub row
{
	my ($content) = @_;

	sql($node, 'INSERT INTO vibelogs (id, content) VALUES (' . ++$key . ", '$content')");
	return $key;
}

# as a trigger of vibelogs: at (BEFORE, AFTER), for each, when, and what it does
sub trigger
{
	my ($name, $when, $body) = @_;

	sql($node, <<"SQL");
CREATE FUNCTION $name() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS \$\$ BEGIN $body END \$\$;
CREATE TRIGGER $name $when EXECUTE FUNCTION $name();
SQL
	return;
}

sub drop_triggers
{
	sql($node, 'DROP FUNCTION ' . join(', ', map { "$_()" } @_) . ' CASCADE');
	return;
}

# every job has ended and every row shows it
sub all_done
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_for($node, 'SELECT count(*) FROM vibevideo.job j WHERE vibevideo.is_active(j.state) OR j.row_dirty', '0', $name, hurry => 1);
	return;
}

# -- a trigger that asks for the video of the row that is being written ------------------------
{
	my $rerender = 'PERFORM public.vibevideo_submit_batch(ARRAY(SELECT f.id FROM fresh f)); RETURN NULL;';
	my %body = (
		batch => [ 'AFTER UPDATE ON vibelogs REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT', $rerender ],
		submit => [ 'AFTER UPDATE ON vibelogs FOR EACH ROW', 'PERFORM public.vibevideo_submit(NEW.id); RETURN NULL;' ],
		retry => [ 'AFTER UPDATE ON vibelogs FOR EACH ROW WHEN (NEW.video_generation_status IS NOT NULL)',
			'PERFORM public.vibevideo_retry(NEW.id); RETURN NULL;' ]);

	for my $how (sort keys %body)
	{
		my $id = row("loop: $how");

		sql($node, "SELECT FROM vibevideo_submit($id)") if $how eq 'retry';
		trigger('rerender', @{ $body{$how} });
		sql($node, "UPDATE vibelogs SET content = content || ', new' WHERE id = $id");
		wait_for($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id' AND state = 'completed' AND NOT row_dirty", '1',
			"$how: the video is made", hurry => 1);
		is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id'"), '1', "$how: writing it asks for no other");
		drop_triggers('rerender');
	}

	$fal->fault('submit', { kind => 'http', status => 422, body => { detail => 'no' } }, prompt => '^failed, failed$', times => -1);
	my $again = sub { trigger('again', 'AFTER UPDATE ON vibelogs FOR EACH ROW WHEN (NEW.video_generation_status = \'failed\')',
			"INSERT INTO seen (id, answer) SELECT NEW.id, v.status FROM $_[0] v; RETURN NULL;") };

	my $id = row('failed, failed');
	$again->('public.vibevideo_retry(NEW.id)');
	sql($node, "SELECT FROM vibevideo_submit_batch('{$id}')");
	wait_for_status($node, $id, 'failed');
	is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id'"), '1', 'what failed is not tried again by the write that says so');
	is(sql($node, "SELECT answer FROM seen WHERE id = $id"), 'failed', 'the trigger is told what became of it');
	drop_triggers('again');

	# what is for operators is for nobody there
	$id = row('failed, failed');
	$again->('(SELECT max(j.job_id) AS newest FROM vibevideo.job j WHERE j.vibelog_id = NEW.id::text) n, vibevideo.retry(n.newest)');
	sql($node, "SELECT FROM vibevideo_submit_batch('{$id}')");
	wait_for($node, "SELECT state, row_dirty, row_error FROM vibevideo.job WHERE vibelog_id = '$id'", qr/^failed\|t\|must be an operator/, 'vibevideo.retry: the write is refused', hurry => 1);
	drop_triggers('again');
	sql($node, "UPDATE vibevideo.job SET row_next_at = now() WHERE vibelog_id = '$id'; SELECT vibevideo.wake()");
	wait_for_status($node, $id, 'failed', name => 'and comes about without the trigger');
	is(sql($node, "SELECT count(*) FROM vibevideo.job WHERE vibelog_id = '$id'"), '1', 'vibevideo.retry: there is no other job');
	$fal->clear_faults;
}

# -- a trigger that asks for another row's video ----------------------------------------------------
{
	my ($first, $next) = (row('first of two'), row('second of two'));

	$fal->rule('^second of two$', submit_ms => 3000);
	trigger('chain', "AFTER UPDATE ON vibelogs FOR EACH ROW WHEN (NEW.id = $first AND NEW.video_generation_status = 'completed')",
		"INSERT INTO seen (id, answer) SELECT $next, v.status || ' ' || (v.request_id IS NULL) FROM public.vibevideo_submit($next) v; RETURN NULL;");
	sql($node, "SELECT FROM vibevideo_submit($first)");
	wait_for_status($node, $first, 'completed');
	is(sql($node, "SELECT answer FROM seen WHERE id = $next"), 'queued true', 'it is only noted');
	wait_for_status($node, $next, 'completed');
	is(scalar($fal->renders('second of two')), 1, 'and sent once, though fal takes longer than a row may');
	is(sql($node, "SELECT count(*), bool_and(error IS NULL) FROM vibevideo.job WHERE vibelog_id = '$next'"), '1|t', 'its job has had no trouble');
	drop_triggers('chain');
}

# -- nothing that a trigger can call uses the network ---------------------------------------------
{
	my $id = row('asks for everything');
	my $waits = row('waits to be polled');
	my $other = row('asked for inside');

	$fal->rule('^waits to be polled$', hold => 'queue');
	sql($node, "SELECT FROM vibevideo_submit($waits)");
	trigger('curious', "AFTER UPDATE ON vibelogs FOR EACH ROW WHEN (NEW.id = $id)", <<"BODY");
		BEGIN
			UPDATE vibevideo.job SET next_at = now() - interval '1 day' WHERE vibelog_id = '$waits';
			INSERT INTO seen (id, answer) SELECT $id, 'poll ' || p.checked FROM public.vibevideo_poll() p;
			INSERT INTO seen (id, answer) SELECT $id, 'probe ' || p.status FROM vibevideo_internal.probe('queue') p;
			INSERT INTO seen (id, answer) SELECT $id, 'submit ' || v.status || ' ' || (v.request_id IS NULL) FROM public.vibevideo_submit($other) v;
		EXCEPTION WHEN others THEN
			INSERT INTO seen (id, answer) VALUES ($id, SQLERRM);
		END;
		RETURN NULL;
BODY
	# in the caller's own process, where nobody else asks fal meanwhile
	sql($node, "SELECT FROM vibevideo_submit_batch('{$id}')");
	is(sql($node, "SELECT answer FROM seen WHERE id = $id ORDER BY at LIMIT 3"), "poll 0\nprobe warn\nsubmit queued true", 'they say so');
	drop_triggers('curious');
	$fal->command(sql($node, "SELECT request_id FROM vibevideo.job WHERE vibelog_id = '$waits'"), 'finish');
	all_done('all of them are made in the end');
}

# -- how long the app's code may take, whatever it does ---------------------------------------------
{
	for my $how ('an inner write', 'a caught cancel', 'a slow inner trigger')
	{
		my ($id, $other) = (row("slow: $how"), row("beside: $how"));
		my $inner = "PERFORM FROM public.vibevideo_submit_batch(ARRAY[$other]);";
		my $sleep = 'PERFORM pg_sleep(600);';
		my $again = "EXCEPTION WHEN query_canceled THEN $sleep END;";
		my %body = (
			'an inner write' => "$inner $sleep",
			'a caught cancel' => "BEGIN $sleep $again",
			'a slow inner trigger' => "IF NEW.id = $id THEN BEGIN $inner $again ELSE $sleep END IF;");

		$fal->rule("^slow: $how", hold => 'queue');
		sql($node, "SELECT FROM vibevideo_submit($id)");
		trigger('slow', "BEFORE UPDATE ON vibelogs FOR EACH ROW WHEN (NEW.id = $id AND NEW.video_generation_status = 'completed' OR NEW.id = $other)",
			"$body{$how} RETURN NEW;");
		$fal->command(sql($node, "SELECT request_id FROM vibevideo.job WHERE vibelog_id = '$id'"), 'finish');
		wait_for($node, "SELECT row_error FROM vibevideo.job WHERE vibelog_id = '$id' AND state = 'completed' AND row_dirty", qr/57014/,
			"$how does not lengthen the time that a row may take", hurry => 1);
		drop_triggers('slow');
		sql($node, 'UPDATE vibevideo.job SET row_next_at = now() WHERE row_dirty; SELECT vibevideo.wake()');
		wait_for_status($node, $id, 'completed');
	}
	all_done('and all is made');
}

# -- a write that does not stay -----------------------------------------------------------------------
{
	my %quiet = (
		'a trigger that drops it' => [ 'BEFORE UPDATE ON vibelogs FOR EACH ROW', 'RETURN NULL;', 'trigger quiet' ],
		'a trigger that keeps the old values' => [ 'BEFORE UPDATE ON vibelogs FOR EACH ROW',
			'NEW.video_generation_status = OLD.video_generation_status; NEW.video_url = OLD.video_url; RETURN NEW;', 'trigger quiet' ],
		'a trigger that keeps the old URL' => [ 'BEFORE UPDATE ON vibelogs FOR EACH ROW', 'NEW.video_url = OLD.video_url; RETURN NEW;', 'trigger quiet' ],
		'a trigger that hides the request' => [ 'BEFORE UPDATE ON vibelogs FOR EACH ROW', 'NEW.video_request_id = NULL; RETURN NEW;', 'trigger quiet' ],
		'a trigger that puts them back afterwards' => [ 'AFTER UPDATE ON vibelogs FOR EACH ROW WHEN (pg_trigger_depth() = 0)',
			'UPDATE vibelogs SET video_generation_status = OLD.video_generation_status WHERE id = NEW.id; RETURN NULL;', 'trigger quiet' ],
		'a rule' => [ undef, 'CREATE RULE frozen AS ON UPDATE TO vibelogs DO INSTEAD NOTHING', 'rule frozen' ],
		'a rule for some' => [ undef, q{CREATE RULE frozen AS ON UPDATE TO vibelogs WHERE OLD.content LIKE 'frozen%' DO INSTEAD NOTHING}, 'rule frozen' ]);

	for my $how (sort keys %quiet)
	{
		my ($when, $body, $named) = @{ $quiet{$how} };
		my $id = row("frozen: $how");

		$when ? trigger('quiet', $when, $body) : sql($node, $body);
		is(sql($node, "SELECT status FROM vibevideo_submit_batch(ARRAY[$id])"), 'queued', "$how: a video is made");
		wait_for($node, "SELECT state, row_dirty, row_error LIKE '%$named' FROM vibevideo.job WHERE vibelog_id = '$id'", 'completed|t|t',
			"$how: the row is not taken for written, and what does it is named", hurry => 1);
		like(sql($node, q{SELECT status, detail FROM vibevideo.check_config() WHERE check_name = 'unwritten_rows'}), qr/^warn\|.*$named/, "$how: check_config reports it");
		is(sql($node, "SELECT status, video_url IS NOT NULL FROM vibevideo_status($id)"), 'completed|t', "$how: status tells the truth");
		$when ? drop_triggers('quiet') : sql($node, 'DROP RULE frozen ON vibelogs');
		sql($node, 'UPDATE vibevideo.job SET row_next_at = now() WHERE row_dirty; SELECT vibevideo.wake()');
		wait_for($node, "SELECT v.video_generation_status, v.video_url = j.video_url, v.video_request_id = j.request_id, j.row_dirty, j.attempt"
			  . " FROM vibelogs v JOIN vibevideo.job j ON j.vibelog_id = v.id::text WHERE v.id = $id", 'completed|t|t|f|1', "$how: without it the row is written");
	}

	my $id = row('a URL of its own');
	trigger('cdn', 'BEFORE UPDATE ON vibelogs FOR EACH ROW WHEN (NEW.video_url IS NOT NULL)',
		q{NEW.video_url = 'https://cdn.example/' || NEW.video_request_id; RETURN NEW;});
	sql($node, "SELECT FROM vibevideo_submit($id)");
	wait_for_status($node, $id, 'completed');
	wait_for($node, "SELECT row_dirty, row_error IS NULL FROM vibevideo.job WHERE vibelog_id = '$id'", 'f|t', 'a trigger may have a URL of its own');
	drop_triggers('cdn');
}

# -- row-level security that shows the owner his rows, and lets him update none ----------------------------
{
	my $id = row('forced');

	sql($node, <<'SQL');
CREATE ROLE forced;
GRANT ALL ON SCHEMA public TO forced;
ALTER TABLE vibelogs OWNER TO forced;
ALTER TABLE vibelogs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY look ON vibelogs FOR SELECT USING (true);
SQL
	is(sql($node, "SELECT status FROM vibevideo_submit_batch(ARRAY[$id])"), 'queued', 'no policy for the owner: a video is made');
	wait_for($node, "SELECT state, row_dirty, row_error FROM vibevideo.job WHERE vibelog_id = '$id'", qr/^completed\|t\|.*row-level security keeps/,
		'no policy for the owner: the row is not taken for written, and why is said', hurry => 1);
	sql($node, 'ALTER TABLE vibelogs DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY; DROP POLICY look ON vibelogs; ALTER TABLE vibelogs OWNER TO CURRENT_USER;'
		  . ' REVOKE ALL ON SCHEMA public FROM forced; DROP ROLE forced');
	wait_for($node, "SELECT row_dirty, row_error IS NULL FROM vibevideo.job WHERE vibelog_id = '$id'", 'f|t', 'no policy for the owner: without it the row is written', hurry => 1);
}

# -- a trigger that is put off to the commit ------------------------------------------------------------
{
	my ($called, $noted, $inside) = (row('deferred, called'), row('deferred, noted'), row('deferred, inside'));

	sql($node, <<'SQL');
CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen (id, status) VALUES (NEW.id, NEW.video_generation_status); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON vibelogs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION later();
SQL
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT status FROM vibevideo_submit($called)");
	is("$rc $out $err", '0 queued ', 'a deferred constraint trigger: nothing is wrong');
	sql($node, "SELECT FROM vibevideo_submit_batch(ARRAY[$noted]); BEGIN; SET CONSTRAINTS ALL DEFERRED; SELECT FROM vibevideo_submit($inside); COMMIT");
	for my $id ($called, $noted, $inside)
	{
		wait_for_status($node, $id, 'completed');
	}
	is(sql($node, "SELECT count(DISTINCT id) FROM seen WHERE id IN ($called, $noted, $inside) AND status = 'completed'"), '3', 'it has fired');
	is(sql($node, q{SELECT count(*) FROM vibevideo.job WHERE row_error IS NOT NULL}), '0', 'and nobody was bothered');
	drop_triggers('later');
}

# -- what fal said is recorded before any code of the app's runs -----------------------------------------
# Wherever that is: what is slow is called for each row that has its request's id.
{
	my %place = (
		'trigger of a partition' => ['CREATE TRIGGER slow BEFORE UPDATE ON parts_a FOR EACH ROW EXECUTE FUNCTION slow_row()'],
		'trigger of the table' => ['CREATE TRIGGER slow BEFORE UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION slow_row()'],
		'check constraint' => ['ALTER TABLE parts ADD CHECK (slow(video_request_id))'],
		'domain' => [ 'CREATE DOMAIN slow_text AS text CHECK (slow(VALUE))', 'ALTER TABLE parts ADD also slow_text GENERATED ALWAYS AS (video_request_id) STORED' ],
		'generated column' => ['ALTER TABLE parts ADD also boolean GENERATED ALWAYS AS (slow(video_request_id)) STORED'],
		'index expression' => ['CREATE INDEX ON parts ((slow(video_request_id)))'],
		'index predicate' => ['CREATE INDEX ON parts (id) WHERE slow(video_request_id)'],
		'policy' => [ 'ALTER TABLE parts ENABLE ROW LEVEL SECURITY', 'ALTER TABLE parts FORCE ROW LEVEL SECURITY',
			'CREATE POLICY p ON parts USING (true) WITH CHECK (slow(video_request_id))' ],
		'rule' => ['CREATE RULE also AS ON UPDATE TO parts DO ALSO SELECT slow(NEW.video_request_id)'],
		'audit by foreign key' => [
			'CREATE TABLE audit (id int PRIMARY KEY, n int REFERENCES parts)', 'INSERT INTO audit SELECT id, id FROM parts',
			'CREATE TRIGGER slow BEFORE UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION slow_row()' ]);

	sql($node, <<'SQL');
SELECT vibevideo.detach();
CREATE FUNCTION slow(request text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN IF request IS NOT NULL THEN PERFORM pg_advisory_xact_lock(1); END IF; RETURN true; END';
CREATE FUNCTION slow_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM slow(NEW.video_request_id); RETURN NEW; END';
CREATE ROLE parts_owner;
GRANT CREATE, USAGE ON SCHEMA public TO parts_owner;
SQL
	for my $where (sort keys %place)
	{
		sql($node, <<'SQL');
CREATE TABLE parts (id int PRIMARY KEY, content text) PARTITION BY RANGE (id);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM (0) TO (100);
INSERT INTO parts VALUES (1, 'a row with slow code');
ALTER TABLE parts OWNER TO parts_owner;
ALTER TABLE parts_a OWNER TO parts_owner;
SELECT vibevideo.attach('parts');
SQL
		sql($node, $_) for @{ $place{$where} };
		sql($node, 'SELECT FROM pg_advisory_lock(1); SELECT FROM vibevideo_submit_batch(ARRAY[1])');
		wait_for($node, q{SELECT state, request_id IS NOT NULL, row_dirty, row_error IS NULL FROM vibevideo.job WHERE relation = 'parts'::regclass}, 'queued|t|t|t',
			"$where: the answer is there while the row is still being written");
		sql($node, q{SELECT FROM pg_advisory_unlock(1)});
		wait_for($node, q{SELECT video_request_id IS NOT NULL FROM parts}, 't', "$where: then it is", hurry => 1);
		sql($node, q{UPDATE vibevideo.job SET row_dirty = false WHERE relation = 'parts'::regclass;
			SELECT vibevideo.detach(force => true); DROP TABLE parts CASCADE; DROP TABLE IF EXISTS audit; DROP DOMAIN IF EXISTS slow_text});
	}
}

done_testing();
