# A ledger that closes: whatever becomes of jobs, and whenever fal.ai shows the items of
# its bill, each user's costs are in the end what fal.ai bills for his jobs.

use strict;
use warnings FATAL => 'all';

use Test::More;
use VibeChaos;
use VibeTest;

my $MODEL = 'fal-ai/minimax/video-01';
my $fal = start_fal(default => { queue_ms => 1, run_ms => 1 });
my $node = vibe_node('main', fal => $fal, storage => start_storage(), conf => { 'vibevideo.fal_admin_key' => $fal->admin_key });

sql($node, q{ALTER TABLE vibelogs ADD COLUMN owner text; SELECT vibevideo.attach('vibelogs', user_column => 'owner')});
# our books believe in another price
$fal->set_prices({ endpoint => $MODEL, unit => 'videos', unit_price => '0.5625' });

sub row_of
{
	my ($owner, $prompt) = @_;
	my $id = new_row($node, $prompt);

	sql($node, "UPDATE vibelogs SET owner = '$owner' WHERE id = '$id'");
	return $id;
}

# The worker reads the bill, to its end.
sub read_bill
{
	my ($name) = @_;
	my $before = sql($node, q{SELECT coalesce(done_at, '-infinity') FROM vibevideo_internal.errand WHERE name = 'usage'});
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	sql($node, q{UPDATE vibevideo_internal.errand SET next_at = now() WHERE name = 'usage'});
	# a worker looks for errands once a minute, and when settings are read again
	$node->reload;
	return wait_for($node, "SELECT done_at > '$before' FROM vibevideo_internal.errand WHERE name = 'usage'", 't', $name);
}

sub ledger
{
	return sql($node, q{SELECT sum(jobs), sum(items), sum(corrected), sum(jobs_without_item), sum(items_without_job), sum(fal_usd) * 1000000000 = } . $fal->bill('?events=0')->{total_nano_usd} . ' FROM vibevideo.ledger');
}

# in billionths of a dollar, by user
sub ours
{
	return { map { split /\|/ } split /\n/, sql($node, q{SELECT user_id, (sum(settled_usd) * 1000000000)::bigint FROM vibevideo.costs WHERE user_id IS NOT NULL GROUP BY 1}) };
}

sub theirs
{
	return billed_by($fal, { requests_of($node) }, sub { my ($whose) = @_; return $whose->{user} ne '' ? $whose->{user} : () });
}

# -- what can become of jobs -----------------------------------------------------------------------
my @owners = qw(ann bob eve);

$fal->account(event_delay_ms => 86400000);
for my $owner (@owners)
{
	my @ids = map { row_of($owner, "$owner $_") } 1 .. 3;

	submit($node, $_) for @ids;
	wait_for_status($node, $_, 'completed') for @ids;
}

# cancelled while it was rendered: fal.ai bills what has begun
$fal->rule('^too late$', hold => 'run');
my $cancelled = row_of('bob', 'too late');
submit($node, $cancelled);
wait_for_status($node, $cancelled, 'generating');
sql($node, "SELECT vibevideo_cancel('$cancelled')");
wait_for_status($node, $cancelled, 'cancelled');

# but not what was in its queue
$fal->rule('^in time$', hold => 'queue');
my $in_time = row_of('bob', 'in time');
submit($node, $in_time);
sql($node, "SELECT vibevideo_cancel('$in_time')");
wait_for_status($node, $in_time, 'cancelled');
is(sql($node, q{SELECT string_agg(v.prompt || ' ' || coalesce(j.held_usd::text, '-'), ', ' ORDER BY v.prompt) FROM vibevideo.job j JOIN vibelogs v ON v.id::text = j.vibelog_id WHERE v.prompt LIKE '% time' OR v.prompt LIKE 'too %'}),
	'in time -, too late 0.5', 'budgets hold what fal.ai may bill');
is(sql($node, q{SELECT reserved_usd FROM vibevideo.costs WHERE user_id = 'bob'}), '0.5', 'which costs say');

# an orphan whose video is made before the cancel arrives
my $orphan = row_of('eve', 'rolled back');
sql($node, "BEGIN; SELECT vibevideo_submit('$orphan'); ROLLBACK");
wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE orphan AND NOT vibevideo.is_active(state)}, '1', 'an orphan ends', hurry => 1);

# one that fal.ai refuses, and bills all the same
$fal->rule('^refused$', outcome => 'validation', billing => { failed_units => '0.5' });
my $refused = row_of('ann', 'refused');
submit($node, $refused);
wait_for_status($node, $refused, 'failed');

$fal->foreign_event($MODEL, units => 2, delay_ms => 0);
is(scalar @{ $fal->bill->{events} }, 13, 'fal.ai bills it all');

# -- the items come late, and not all at once -----------------------------------------------------
$fal->foreign_event('fal-ai/veo3.1', units => 8, delay_ms => 0);
read_bill('the bill is read');
like(ledger(), qr/^\d+\|2\|0\|\d+\|2\|f$/, 'nothing but what is not ours is on it yet');
is(sql($node, 'SELECT * FROM vibevideo.sync_usage()'), '2|0|0', 'an operator reads the same');
is(sql($node, q{SELECT string_agg(DISTINCT reason, ', ') FROM vibevideo.unmatched WHERE kind = 'job'}), 'new: fal.ai may take hours to show its item', 'our jobs wait for their items');
isnt(join(' ', map { ours()->{$_} } @owners), join(' ', map { theirs()->{$_} } @owners), 'the books are not right');

# in small pages, while the server crashes between them
$fal->account(event_delay_ms => 0, max_page => 4);
$fal->fault('billing_events', { kind => 'http', status => 503 }, times => 2);
sql($node, q{UPDATE vibevideo_internal.errand SET next_at = now() WHERE name = 'usage'});
$node->reload;
wait_until(sub { $fal->hits > 0 }, 'fal.ai does not answer');
$node->stop('immediate');
$node->start;
sql($node, 'SELECT vibevideo.wake()');
wait_for($node, 'SELECT pid IS NOT NULL FROM vibevideo.worker_info()', 't', 'the worker is there again', patience => 60);
$fal->clear_faults;
read_bill('the bill is read again');
read_bill('and again') for 1 .. 2;
is_deeply(ours(), theirs(), 'the costs of each user are what fal.ai bills');
is(ledger(), '12|14|12|0|2|t', 'each item has its job, but those of others');
is(sql($node, q{SELECT count(*), count(DISTINCT event_id), bool_and(cost_source = 'bill') FROM vibevideo.job j LEFT JOIN vibevideo.fal_usage u USING (job_id) WHERE j.billed}), '12|12|t', 'once');
is(sql($node, q{SELECT count(*) FROM vibevideo.job WHERE held_usd IS NOT NULL}), '0', 'nothing more is held');
is(sql($node, q{SELECT string_agg(DISTINCT reason, ', ') FROM vibevideo.unmatched}),
	'of another program on the account: none of our jobs was billed to this key', 'and of those it is said');

# -- an operator reads, and explains ----------------------------------------------------------------
my $last = row_of('ann', 'the last one');
submit($node, $last);
wait_for_status($node, $last, 'completed');
is(sql($node, q{SELECT * FROM vibevideo.sync_usage('1 hour')}), '15|1|1', 'one item is new, and corrects a job');
is_deeply(ours(), theirs(), 'the costs are right again');
is(sql($node, q{SELECT vibevideo.explain_usage(event_id::text, 'the other app') FROM vibevideo.unmatched}), "1\n1", 'what is of others is explained');
is(sql($node, 'SELECT count(*) FROM vibevideo.unmatched'), '0', 'and nothing is left');

# -- an orphan's video that is given to its row has another number, and its item goes with it --------
my $given = row_of('ann', 'given to its row');
sql($node, "BEGIN; SELECT FROM vibevideo_submit('$given'); ROLLBACK");
wait_for($node, "SELECT error_code FROM vibevideo.job WHERE vibelog_id = '$given'", 'orphaned', 'it was rendered before it could be cancelled');
is(sql($node, q{SELECT * FROM vibevideo.sync_usage('1 hour')}), '16|1|1', 'it is billed');
# a newer attempt fails
$fal->fault('submit', { kind => 'http', status => 422, body => { detail => 'no' } }, prompt => '^given to its row$', times => 1);
submit($node, $given);
wait_for_status($node, $given, 'failed');
my $number = sql($node, "SELECT job_id FROM vibevideo.job WHERE vibelog_id = '$given' AND orphan");
sql($node, "SELECT vibevideo_retry('$given')");
wait_for_status($node, $given, 'completed');
is(sql($node, "SELECT j.job_id > $number, count(u) FROM vibevideo.job j LEFT JOIN vibevideo.fal_usage u USING (job_id) WHERE j.vibelog_id = '$given' AND j.state = 'completed' GROUP BY 1"),
	't|1', 'the new number has the item');
is(sql($node, q{SELECT * FROM vibevideo.sync_usage('1 hour')}), '16|0|0', 'the bill is read on');
is(sql($node, 'SELECT count(*) FROM vibevideo.unmatched'), '0', 'and nothing is left');
is_deeply(ours(), theirs(), 'nor is it paid for twice');

# -- a worker that has nothing else to do reads it for a budget that holds something ----------------
configure($node, worker_idle_timeout => '1s');
wait_for($node, 'SELECT pid IS NULL FROM vibevideo.worker_info()', 't', 'a worker without work rests', patience => 60);
# the next reading lets go of it
sql($node, q{UPDATE vibevideo.job SET held_usd = 0.5, completed_at = (SELECT b.read_at FROM vibevideo_internal.bill_state b) - interval '6 hours' WHERE job_id = (SELECT min(job_id) FROM vibevideo.job WHERE NOT billed AND request_id IS NOT NULL);
	UPDATE vibevideo_internal.errand SET next_at = now() WHERE name = 'usage'});
$fal->fault('billing_events', { kind => 'delay', ms => 2500 }, times => 1);
sql($node, 'SELECT vibevideo.wake()');
wait_for($node, 'SELECT count(*) FROM vibevideo.job WHERE held_usd IS NOT NULL', '0', 'but not while one waits for the bill', patience => 30);
wait_for($node, 'SELECT pid IS NULL FROM vibevideo.worker_info()', 't', 'and then it does', patience => 60);
configure($node, worker_idle_timeout => '10min');
sql($node, 'SELECT vibevideo.wake()');
wait_for($node, 'SELECT pid IS NOT NULL FROM vibevideo.worker_info()', 't', 'which a call ends', patience => 60);

# -- what fal.ai says otherwise --------------------------------------------------------------------
sub sync_error
{
	my ($code, $error) = sql_error($node, $_[0] || 'SELECT vibevideo.sync_usage()');
	my ($message) = $error =~ /ERROR:  \w+: ([^\n]*)/;
	my ($detail) = $error =~ /DETAIL:  ([^\n]*)/;

	return join(' | ', $code, grep { defined } $message, $detail);
}
sub check
{
	return sql($node, q{SELECT status, detail FROM vibevideo.check_config() WHERE check_name = 'ledger'});
}
like(check(), qr/^ok\|fal\.ai's bill was last read /, 'check_config says when it was read');
is(sync_error(q{SELECT vibevideo.sync_usage('90 days')}), '22023 | since must be an interval of up to 89 days', 'no longer than fal.ai shows it');
$fal->fault('billing_events', { kind => 'http', status => 200, body => { billing_events => [ { endpoint_id => $MODEL } ] } }, times => 1);
like(sync_error(), qr/^22023 \| fal\.ai's bill cannot be read \| timestamp is no time/, 'what is no bill');
$fal->fault('billing_events', { kind => 'http', status => 500 }, times => 1);
like(sync_error(), qr/^08000 \| fal\.ai does not show its bill \| .*500/, 'what is no answer');
configure($node, fal_admin_key => 'key-id:key-secret');
like(sync_error(), qr/^08000 \| fal\.ai does not show its bill \| HTTP 403/, 'a key of another scope');
read_bill('nor does the worker read it');
like(check(), qr/^fail\|fal\.ai does not show its bill, for .*HTTP 403/, 'which check_config says');
like(sql($node, q{SELECT sentence FROM vibevideo.inbox() WHERE subject = 'ledger'}), qr/The key must be one of scope ADMIN/, 'as the inbox does');
configure($node, fal_admin_key => '');
like(sync_error(), qr/^08000 \| fal\.ai does not show its bill \| there is no key/, 'without a key');
like(check(), qr/^ok\|fal\.ai's bill is not read: see line fal_admin_key/, 'nobody reads it, as it should be');

# the key of scope ADMIN is for nothing else
configure($node, fal_key => '', fal_admin_key => $fal->admin_key);
my $keyless = row_of('ann', 'without a key');
is((sql_error($node, "SELECT vibevideo_submit('$keyless')"))[0], '55000', 'with the other key alone nothing is sent');
is(sql($node, q{SELECT has_fal_key FROM vibevideo.worker_info()}), 'f', 'nor by the worker');

done_testing();
