# What the worker asks fal.ai's platform API by itself: one question after another,
# whatever the answers are, without holding up a job.

use strict;
use warnings FATAL => 'all';

use Test::More;
use VibeTest;

my $fal = start_fal();
my $node = vibe_node('main', fal => $fal, storage => start_storage());

# An errand of the test's: it asks for a price, then for a model, and notes what it hears.
sql($node, <<'SQL');
CREATE TABLE heard (n int GENERATED ALWAYS AS IDENTITY, step text, status int, said jsonb, why text);
CREATE FUNCTION vibevideo_internal.test_asks(INOUT state jsonb, OUT what text, OUT query text[], OUT admin boolean) LANGUAGE sql AS $$
	SELECT state, CASE state ->> 'step' WHEN 'second' THEN 'models' ELSE 'pricing' END,
		   ARRAY['endpoint_id', 'fal-ai/minimax/video-01', 'endpoint_id', 'fal-ai/veo3.1'], false $$;
CREATE FUNCTION vibevideo_internal.test_hears(state jsonb, status int, said jsonb, why text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.heard (step, status, said, why) VALUES (coalesce(state ->> 'step', 'first'), status, said, why);
	IF said -> 'models' -> 0 ->> 'endpoint_id' = 'fal-ai/none' THEN
		RAISE EXCEPTION 'there must be one';
	ELSIF why IS NOT NULL AND why !~ '^fal' THEN
		RAISE EXCEPTION '%', why;
	END IF;
	RETURN CASE WHEN state ->> 'step' IS NULL THEN '{"step": "second"}'::jsonb END;
END $$;
INSERT INTO vibevideo_internal.errand (name, every) VALUES ('test', '1 day');
SQL

sub errand
{
	return sql($node, "SELECT $_[0] FROM vibevideo_internal.errand WHERE name = 'test'");
}

# makes it due, and waits until it has been tried
sub run_errand
{
	my ($name, $wanted) = @_;

	sql($node, q{TRUNCATE heard RESTART IDENTITY; UPDATE vibevideo_internal.errand SET next_at = now(), tries = 0, error = NULL, state = '{}', done_at = NULL WHERE name = 'test';});
	# a worker looks for errands once a minute, and when settings are read again
	$node->reload;
	wait_for($node, "SELECT done_at IS NOT NULL OR error IS NOT NULL FROM vibevideo_internal.errand WHERE name = 'test'", 't', $name);
	my $heard = sql($node, q{SELECT string_agg(concat_ws(' ', h.step, h.status, h.said -> 'prices' -> 1 ->> 'endpoint_id', h.said -> 'models' -> 0 ->> 'endpoint_id', h.why), ', ' ORDER BY h.n) FROM heard h}) . sql($node, q{SELECT coalesce('! ' || error, '') FROM vibevideo_internal.errand WHERE name = 'test'});
	like($heard, ref $wanted ? $wanted : qr/^\Q$wanted\E$/, $name);
	return;
}

my $id = new_row($node, 'a cat');
submit($node, $id);
wait_for_status($node, $id, 'completed');
run_errand('both questions are asked and answered', 'first 200 fal-ai/veo3.1, second 200 fal-ai/minimax/video-01');
is(errand(q{tries = 0 AND error IS NULL AND next_at > now() + interval '23 hours', state}), 't|{}', 'and again after a day');
is($fal->ledger->{requests}{pricing}, 1, 'once');

# what goes wrong is noted, and tried again later
sub again
{
	return errand(q{tries, next_at > now() + interval '40 seconds' AND next_at <= now() + interval '1 minute', state});
}

for my $case (
	[ 'an error', 'pricing', { kind => 'http', status => 500, body => { detail => 'no' } }, qr/^! .*500/ ],
	[ 'a page', 'pricing', { kind => 'http', status => 200, body => '<html>' }, qr/^! the answer is not JSON$/ ],
	[ 'nothing', 'pricing', { kind => 'reset_after' }, qr/^! \S/ ],
	[ 'what cannot be used', 'models', { kind => 'http', status => 200, body => { models => [ { endpoint_id => 'fal-ai/none' } ] } }, qr/^first 200 fal-ai\/veo3.1! there must be one$/ ])
{
	my ($name, $on, $fault, $wanted) = @$case;

	$fal->fault($on, $fault);
	run_errand("fal.ai answers with $name", $wanted);
	is(again(), $on eq 'models' ? '1|t|{"step": "second"}' : '1|t|{}', 'it is tried again a minute later');
	$fal->clear_faults;
}
sql($node, q{UPDATE vibevideo_internal.errand SET next_at = now(), tries = 3 WHERE name = 'test'; TRUNCATE heard RESTART IDENTITY});
$node->reload;
wait_for($node, "SELECT done_at IS NOT NULL FROM vibevideo_internal.errand WHERE name = 'test'", 't', 'what has failed three times');
is(sql($node, q{SELECT string_agg(h.step, ',' ORDER BY h.n) FROM heard h}), 'first,second', 'is begun anew');

# a body that is text of another encoding, or no question: nothing is asked twice at once
$fal->fault('pricing', { kind => 'http', status => 200, body => '{"prices": [{"endpoint_id": "\u0000"}]}' });
run_errand('a NUL is no answer', qr/^! .*Unicode/);
$fal->clear_faults;
sql($node, q{CREATE OR REPLACE FUNCTION vibevideo_internal.test_asks(INOUT state jsonb, OUT what text, OUT query text[], OUT admin boolean) LANGUAGE sql AS $$ SELECT state, 'pricing', ARRAY['endpoint_id', 'a/b&c=d'], false $$});
run_errand('a question that cannot be asked', '! could not build the request: see check_config');
sql($node, q{CREATE OR REPLACE FUNCTION vibevideo_internal.test_asks(INOUT state jsonb, OUT what text, OUT query text[], OUT admin boolean) LANGUAGE sql AS $$ SELECT state, 'pricing', ARRAY['endpoint_id', (1 / (random() * 0)::int)::text], false $$});
run_errand('a question that fails', '! division by zero');

# without an answer for long no job waits, and the breaker knows nothing of it
sql($node, q{CREATE OR REPLACE FUNCTION vibevideo_internal.test_asks(INOUT state jsonb, OUT what text, OUT query text[], OUT admin boolean) LANGUAGE sql AS $$ SELECT state, 'pricing', ARRAY['endpoint_id', 'fal-ai/veo3.1'], false $$});
$fal->fault('pricing', 'hang');
sql($node, q{TRUNCATE heard; UPDATE vibevideo_internal.errand SET next_at = now(), tries = 0, error = NULL, done_at = NULL, state = '{}' WHERE name = 'test'});
$node->reload;
wait_until(sub { $fal->hits == 1 }, 'a question without an answer');
submit($node, $id = new_row($node, 'another cat'));
wait_for_status($node, $id, 'completed', name => 'jobs go on');
is(errand('tries, error IS NULL, done_at IS NULL'), '1|t|t', 'while it waits');
is(sql($node, 'SELECT fal_down_since IS NULL FROM vibevideo.worker_info()'), 't', 'the queue is not down');
configure($node, poll_timeout => '500ms');
$fal->clear_faults;

# while it is paused nothing is asked
sql($node, q{SELECT vibevideo.pause('all', 'test'); TRUNCATE heard; UPDATE vibevideo_internal.errand SET next_at = now(), tries = 0, error = NULL, done_at = NULL WHERE name = 'test'});
my $asked = $fal->ledger->{requests}{pricing};
$node->reload;
hurry($node) for 1 .. 3;
is($fal->ledger->{requests}{pricing}, $asked, 'nothing is asked while the database is paused');
sql($node, 'SELECT vibevideo.resume()');
$node->reload;
wait_for($node, "SELECT count(*) > 0 FROM heard", 't', 'but afterwards');

done_testing();
