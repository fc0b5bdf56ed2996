# What is left at fal.ai: said while there is time, and if nothing is left jobs wait.

use strict;
use warnings FATAL => 'all';

use Test::More;
use VibeTest;

my $fal = start_fal();
my $node = vibe_node('main', fal => $fal, storage => start_storage(), conf => { 'vibevideo.max_tries' => 3 });

sub line
{
	return sql($node, q{SELECT status, detail FROM vibevideo.check_config() WHERE check_name = 'balance'});
}

sub inbox
{
	return sql($node, q{SELECT string_agg(concat_ws(' ', i.jobs, i.sentence), E'\n') FROM vibevideo.inbox() i WHERE i.kind = 'balance'});
}

sub states
{
	return sql($node, q{SELECT string_agg(concat_ws(' ', s.n, s.state, s.tries, s.code), ', ' ORDER BY s.state) FROM (SELECT count(*) AS n, state, max(tries) AS tries, max(error_code) AS code FROM vibevideo.job GROUP BY state) s});
}

# -- what is left -----------------------------------------------------------------------------
like(line(), qr/^ok\|not known: that takes a key of scope ADMIN/, 'without a key of scope ADMIN nobody knows');
$fal->set_balance('1000');
configure($node, fal_admin_key => $fal->admin_key);
is(line(), 'ok|1000 USD are left at fal.ai', 'with one it is said');
my $id = new_row($node, 'costs half a dollar');
submit($node, $id);
wait_for_status($node, $id, 'completed');
like(line(), qr/^ok\|999\.5 USD are left at fal\.ai, which last for \d+ d as it was spent in the last 7 days$/, 'and how long it lasts');
$fal->set_balance('0.05');
like(line(), qr/^warn\|0\.05 USD are left at fal\.ai, which last for \d+ h/, 'less than a day');
is(inbox(), '', 'the inbox asks nobody');

sub read_balance
{
	sql($node, q{UPDATE vibevideo_internal.errand SET next_at = now(), tries = 0, error = NULL, done_at = NULL WHERE name = 'balance'});
	$node->reload;
	wait_for($node, q{SELECT done_at IS NOT NULL FROM vibevideo_internal.errand WHERE name = 'balance'}, 't', 'the worker asks for the balance');
	return;
}

read_balance();
like(inbox(), qr/^0\.05 USD are left at fal\.ai, which last for \d+ h .*Top up/, 'but knows from the worker');
is(sql($node, q{SELECT next_at <= now() + interval '1 hour' AND next_at > now() + interval '50 minutes' FROM vibevideo_internal.errand WHERE name = 'balance'}), 't', 'who asks each hour');
$fal->fault('account', { kind => 'http', status => 200, body => { username => 'x' } });
like(line(), qr/^warn\|fal\.ai does not say what is left: the answer has no balance in USD/, 'an answer without a balance');
$fal->clear_faults;
configure($node, fal_admin_key => 'key-id:key-secret');
like(line(), qr/^warn\|fal\.ai does not say what is left: .*403/, 'a key that may not ask');
configure($node, fal_admin_key => $fal->admin_key);

# -- nothing is left -------------------------------------------------------------------------------
$fal->set_balance('0');
like(line(), qr/^fail\|0 USD are left at fal\.ai: it takes no new jobs/, 'nothing');
my $accepted = $fal->ledger->{accepted};
my @ids = map { new_row($node, "waits for money $_") } 1 .. 12;
my $asked = $fal->ledger->{requests}{submit};
# the first is refused within its call, the others are not even sent
submit($node, $_) for @ids[ 0 .. 2 ];
submit($node, $_) for @ids[ 3 .. 11 ];
wait_for($node, q{SELECT count(*) FROM vibevideo.job WHERE state = 'pending' AND error_code = 'balance'}, '12', 'all wait');
is(states(), '1 completed 0, 12 pending 0 balance', 'without using up a try');
my $video = sql($node, "SELECT (vibevideo_status('$ids[1]')).message");
is($video, 'Waiting to be sent: this service has a problem at the moment', 'their users read that');
like(sql($node, "SELECT w.code, w.sentence FROM vibevideo.job j, vibevideo.why(j.job_id) w WHERE j.vibelog_id = '$ids[1]'"),
	qr/^balance\|the balance at fal\.ai is used up, since \S+; (?:the next submit tries|one submit tries)/, 'operators why');
like(inbox(), qr/^12 The balance at fal\.ai is used up: 12 jobs wait, without using up tries\. Top up/, 'and so does the inbox');
is(sql($node, q{SELECT vibevideo.error_class('balance'), fal_down_since IS NULL FROM vibevideo.worker_info()}), 'balance|t', 'fal.ai is not down for that');

sql($node, q{UPDATE vibevideo.job SET next_at = now() - interval '5 minutes', updated_at = now() - interval '5 minutes' WHERE state = 'pending' AND leased_by IS NULL});
is(sql($node, q{SELECT status FROM vibevideo.check_config() WHERE check_name = 'overdue'}), 'ok', 'check_config finds nobody overdue');

# each probe is one submit, more and more seldom; a retry of all has one more, at most every two seconds
hurry($node) for 1 .. 5;
ok($fal->ledger->{requests}{submit} - $asked <= 6, 'few are sent to try') or diag($fal->ledger->{requests}{submit} - $asked);
is(states(), '1 completed 0, 12 pending 0 balance', 'and no try is used up by them');
is($fal->ledger->{accepted}, $accepted, 'none is accepted');

# what is at fal.ai is followed meanwhile, and cancels work
is(sql($node, "SELECT (vibevideo_cancel('$ids[11]')).status"), 'cancelled', 'one that waits can be cancelled');

# -- topped up ---------------------------------------------------------------------------------------
$fal->account(top_up => 100);
sql($node, 'SELECT FROM vibevideo.probe_now()');
wait_for_status($node, $_, 'completed') for @ids[ 0 .. 10 ];
is($fal->ledger->{accepted} - $accepted, 11, 'each is sent once');
is(scalar($fal->renders("waits for money $_")), 1, "paid once: $_") for 1 .. 11;
is($fal->bill('?events=0')->{total_nano_usd}, 12 * 500_000_000, 'the bill has each once');
read_balance();
is(inbox(), '', 'nobody is needed');
is(line() =~ s/\|.*//r, 'ok', 'check_config is content');

# without a person: the worker finds out by itself, from the balance
$fal->set_balance('0');
submit($node, $id = new_row($node, 'again'));
wait_for($node, "SELECT state, error_code FROM vibevideo.job WHERE vibelog_id = '$id'", 'pending|balance', 'it waits again');
$fal->set_balance('10');
read_balance();
wait_for_status($node, $id, 'completed', name => 'and is sent when the balance is read');

# an account that is locked for another reason is no matter of money
$fal->fault('submit', { kind => 'http', status => 403, body => { detail => 'User is locked. Reason: Terms of service.' } });
submit($node, $id = new_row($node, 'locked'));
wait_for($node, "SELECT state, error_code FROM vibevideo.job WHERE vibelog_id = '$id'", 'failed|forbidden', 'another lock is refused for good');

done_testing();
