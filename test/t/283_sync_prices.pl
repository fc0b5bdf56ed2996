# Prices as fal.ai has them: read on demand and daily, and models that it does not
# list any more.

use strict;
use warnings FATAL => 'all';

use Test::More;
use VibeTest;

my $fal = start_fal();
my $node = vibe_node('main', fal => $fal, storage => start_storage());
my $KLING = 'fal-ai/kling-video/v3/pro/text-to-video';
my $HAILUO = 'fal-ai/minimax/hailuo-2.3/standard/text-to-video';

sub sync
{
	return sql($node, q{SELECT string_agg(concat_ws(' ', regexp_replace(s.endpoint, '.*/', ''), s.old_price_usd, s.new_price_usd, s.unit, s.outcome), ', ' ORDER BY s.endpoint) FROM vibevideo.sync_prices() s WHERE s.endpoint !~ '-(live|director)'});
}

sub costs
{
	return sql($node, "SELECT trim_scale(e.unit_price_usd * e.quantity), e.source FROM vibevideo.estimate('$_[0]', '$_[1]') e");
}

sub inbox
{
	return sql($node, q{SELECT string_agg(concat_ws(' ', i.kind, i.subject, i.sentence), E'\n' ORDER BY i.kind, i.subject) FROM vibevideo.inbox() i WHERE i.kind IN ('price_changed', 'model_gone', 'balance')});
}

sub pricings
{
	return $fal->ledger->{requests}{pricing};
}

# lets the worker do an errand now
sub run_errand
{
	my ($errand, $name, $ended) = @_;

	sql($node, "UPDATE vibevideo_internal.errand SET next_at = now(), tries = 0, error = NULL, done_at = NULL WHERE name = '$errand'");
	$node->reload;
	wait_for($node, "SELECT " . ($ended || 'done_at IS NOT NULL') . " FROM vibevideo_internal.errand WHERE name = '$errand'", 't', $name);
	return;
}

# -- on demand ---------------------------------------------------------------------------
sql($node, "SELECT vibevideo.attach('vibelogs', model => '$KLING')");
is(sync(), 'text-to-video 0.14 seconds new, image-to-video 0.5 0.5 videos the same, video-01 0.5 0.5 videos the same'
	=~ s/(.*new), (.*), (.*)/$1, $3, $2/r, 'the attached model, and the built-in ones');
is(pricings(), 1, 'are asked for at once');
is(costs($KLING, '{"duration": "5"}'), '0.84|built-in', 'an estimate is no worse for it');
is(inbox(), '', 'nothing has changed');
$fal->set_prices({ endpoint => $KLING, unit => 'seconds', unit_price => '0.168', base_price => '0.21' });
like(sync(), qr/^text-to-video 0\.14 0\.21 seconds changed, /, 'a price that has changed');
is(costs($KLING, '{"duration": "5"}'), '1.26|fal', 'changes the estimate of a video with sound');
is(costs($KLING, '{"duration": "5", "generate_audio": false}'), '0.84|fal', 'and of one without, in proportion');
is(inbox(), "price_changed price of $KLING fal.ai's price has changed from 0.14 to 0.21 USD (unit: seconds). Estimates follow it. This takes the line away.", 'the inbox says it');
ok(sql($node, q{SELECT count(*) FROM vibevideo.audit WHERE action = 'insert price_rule'}) > 0, 'the audit has the rules');
sql($node, sql($node, q{SELECT action FROM vibevideo.inbox() WHERE kind = 'price_changed'}));
is(inbox(), '', 'until somebody takes the line away');
sql($node, "SELECT vibevideo.set_price('$KLING', 0.5)");
$fal->set_prices({ endpoint => $KLING, unit => 'seconds', unit_price => '0.1' });
like(sync(), qr/^text-to-video 0\.21 0\.1 seconds changed; an operator's rule counts, /, 'an operator\'s rule');
is(costs($KLING, '{"duration": "5"}'), '0.5|operator', 'goes before it');
like(inbox(), qr/An operator's rule goes before it/, 'which the inbox says');

# what a job has used of late is asked for; one that fal.ai does not know keeps nobody else from an answer
sql($node, "INSERT INTO vibevideo.job (vibelog_id, state, model, input, next_at, created_at) VALUES ('used', 'failed', '$HAILUO', '{}', NULL, now()), ('gone', 'failed', 'acme/gone', '{}', NULL, now() - interval '5 days')");
my $before = pricings();
like(sync(), qr/^gone fal\.ai has no price, text-to-video 0\.1 0\.1 seconds the same; an operator's rule counts, text-to-video 0\.28 videos new, /, 'models of jobs');
is(pricings() - $before, 10, 'one by one, since one is not known');

# what fal.ai says otherwise changes nothing
sub sync_error
{
	my ($code, $error) = sql_error($node, 'SELECT FROM vibevideo.sync_prices()');
	my ($detail) = $error =~ /DETAIL:  ([^\n]*)/;

	return join(' | ', $code, $detail // '');
}

for my $case (
	[ 'an error', { kind => 'http', status => 500, body => { detail => 'no' } }, qr/^08000 \| .*HTTP 500/ ],
	[ 'a page', { kind => 'http', status => 200, body => '<html>' }, qr/^08000 \| the answer is not JSON/ ],
	[ 'a NUL', { kind => 'http', status => 200, body => '{"prices": [{"endpoint_id": "\\u0000"}]}' }, qr/^08000 \| the answer cannot be read: / ],
	[ 'no list', { kind => 'http', status => 200, body => { prices => 7 } }, qr/^08000 \| The answer has no list of prices\./ ],
	[ 'nothing', { kind => 'reset_after' }, qr/^08000/ ])
{
	my ($name, $fault, $wanted) = @$case;

	$fal->fault('pricing', $fault);
	like(sync_error(), $wanted, "fal.ai answers with $name");
	$fal->clear_faults;
}
is(sql($node, 'SELECT count(*) FROM vibevideo.fal_price'), '10', 'nothing of that is noted');
sql($node, 'CREATE ROLE viewer LOGIN; SELECT vibevideo.grant_access($$viewer$$, $$viewer$$)');
is((sql_error($node, 'SET ROLE viewer; SELECT FROM vibevideo.sync_prices()'))[0], '42501', 'a viewer may not');
sql($node, 'RESET ROLE');
is(sql($node, 'SET ROLE viewer; SELECT count(*) > 0 FROM vibevideo.fal_price; RESET ROLE'), 't', 'but may look at them');

# -- daily -------------------------------------------------------------------------------
$before = pricings();
run_errand('models', 'the worker looks for errands');
is(pricings(), $before, 'it reads no prices unless it is told to');
$fal->set_prices({ endpoint => $HAILUO, unit => 'videos', unit_price => '0.56' });
sql($node, 'ALTER SYSTEM SET vibevideo.sync_prices = on');
run_errand('prices', 'when it is told to, it reads them');
is(costs($HAILUO, '{"duration": "10"}'), '1.12|fal', 'and they count');
like(inbox(), qr/^price_changed price of \Q$HAILUO\E fal\.ai's price has changed from 0\.28 to 0\.56/m, 'the inbox says so');
is(sql($node, q{SELECT next_at > now() + interval '23 hours' FROM vibevideo_internal.errand WHERE name = 'prices'}), 't', 'the next time is tomorrow');
$fal->fault('pricing', { kind => 'http', status => 500, body => { detail => 'no' } }, times => 1);
run_errand('prices', 'what fails', 'error IS NOT NULL');
like(sql($node, q{SELECT tries, error, next_at < now() + interval '2 minutes' FROM vibevideo_internal.errand WHERE name = 'prices'}), qr/^1\|fal\.ai does not say its prices\|t$/,
	'is tried again soon');
$fal->clear_faults;

# -- models that are gone ------------------------------------------------------------------
sub models_line
{
	return sql($node, q{SELECT status, detail FROM vibevideo.check_config() WHERE check_name = 'fal_models'});
}

sql($node, 'UPDATE vibevideo.fal_price SET seen_at = now()');
is(models_line(), "ok|fal.ai lists $KLING", 'check_config: the attached model is listed');
run_errand('models', 'the worker asks for them');
is(inbox(), '', 'and nobody is needed');
for my $as ('absent', 'bare')
{
	$fal->delist($KLING, $as);
	is(models_line(), "fail|fal.ai does not list $KLING (any more)", "a model that is gone ($as)");
	run_errand('models', 'the worker finds out');
	like(inbox(), qr/^model_gone model \Q$KLING\E fal\.ai does not list it any more/, 'and the inbox says it');
	$fal->delist($KLING, undef);
	run_errand('models', 'when it is there again');
	is(inbox(), '', 'nobody is needed');
}
$fal->delist($KLING, 'deprecated');
is(models_line(), "warn|fal.ai calls $KLING deprecated", 'one that will be gone');
$fal->delist($KLING, undef);
$fal->fault('models', { kind => 'http', status => 500, body => { detail => 'no' } });
like(models_line(), qr/^warn\|fal\.ai does not say which models it lists: .*500/, 'fal.ai does not say');
$fal->clear_faults;
is(sql($node, q{SET vibevideo.fal_key = 'wrong:key'; SELECT string_agg(check_name || ' ' || status, ', ' ORDER BY check_name) FROM vibevideo.check_config() WHERE check_name IN ('fal_models', 'queue')}),
	'fal_models ok, queue fail', 'a wrong key is one line that is not ok');

done_testing();
