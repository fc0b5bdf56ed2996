# Users who mean harm to those who watch and act: what they can put into a job
# neither stops the others' jobs nor hides them.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage);

# -- a user's id --------------------------------------------------------------------------------------
# It is in indexes; what does not compress may be too long for them.  A job that is being sent
# is in none, so that it would be paid for, and never end.
{
	my $noise = sub { return join('', map { chr(ord('0') + int rand 75) } 1 .. $_[0]) =~ s/[\\\x27]/x/gr };
	my $claims = sub { return "SET request.jwt.claims = '{\"sub\": \"$_[0]\"}'" };
	my $long = $claims->($noise->(513));
	my $id = new_row($node, 'a long id');

	for my $call ("vibevideo_submit('$id')", "vibevideo_submit_batch('{$id}')", "vibevideo_retry('$id')")
	{
		my ($state, $error) = sql_error($node, "$long; SELECT $call");

		ok($state eq '22023' && $error =~ /id that is longer than 512 bytes/ || $call =~ /retry/ && $state eq 'PT404', "$call: refused to a user with a long id") or diag("$state $error");
	}
	sql($node, "ALTER TABLE vibelogs ADD COLUMN whose text; SELECT vibevideo.attach('vibelogs', user_column => 'whose'); UPDATE vibelogs SET whose = '" . $noise->(513) . "'");
	is((sql_error($node, "SELECT vibevideo_submit('$id')"))[0], '22023', 'also if a column says who it is');
	is($fal->ledger->{accepted}, 0, 'nothing was sent');

	sql($node, "UPDATE vibelogs SET whose = '" . $noise->(512) . "'");
	submit($node, $id);
	wait_for_status($node, $id, 'completed', name => 'one that is not longer gets a video');
	wait_for($node, 'SELECT sum(videos) FROM vibevideo.past_costs WHERE length(user_id) = 512', '1', 'whose costs are added up', hurry => 1);
	is(sql($node, 'SELECT count(*) FROM vibevideo.users() u WHERE length(u.user_id) = 512 AND u.videos = 1'), '1', 'and told');
}

done_testing();
