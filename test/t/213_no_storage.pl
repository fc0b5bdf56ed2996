# vibevideo.storage_kind = none: nothing is copied, the row gets fal.ai's own
# address, if media_hosts allows it.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal();
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => { 'vibevideo.storage_kind' => 'none' });

sub facts
{
	my ($id) = @_;

	return sql($node, "SELECT j.state, j.video_url = j.media_url, v.video_url = j.media_url, j.sha256 IS NULL, j.object_key IS NULL"
		  . " FROM vibevideo.job j JOIN vibelogs v ON v.id::text = j.vibelog_id WHERE j.vibelog_id = '$id'");
}

sub nothing_was_copied
{
	my ($name) = @_;

	is_deeply($storage->ledger->{objects}, [], "$name: Storage has no object");
	is(scalar(grep { $_->{counts}{media} } @{ $fal->ledger->{jobs} }), 0, "$name: nobody asked for the file");
	return;
}

{
	my $id = new_row($node, 'left at fal');

	is(submit($node, $id)->{status}, 'queued', 'a submit');
	wait_for_status($node, $id, 'completed');
	is(facts($id), 'completed|t|t|t|t', 'the row has the address at fal.ai, and no hash of what was not read');
	nothing_was_copied('none');
}
{
	my $id = new_row($node, 'from elsewhere');

	configure($node, media_hosts => 'media.example');
	submit($node, $id);
	wait_for_status($node, $id, 'failed');
	like(words_of($node, $id, 'failed'), qr/not allowed by vibevideo\.media_hosts/, 'an address that is not allowed does not get into the row');
	is(status_of($node, $id)->{error_code}, 'media_host_denied', 'and there is a code for it');
	is(status_of($node, $id)->{error}, 'The video was made, but could not be saved', 'and words for its user');

	configure($node, media_hosts => $fal->url);
	sql($node, "SELECT vibevideo_retry('$id')");
	wait_for_status($node, $id, 'completed');
	is(facts($id), 'completed|t|t|t|t', 'a retry costs nothing and gives the address');
	is(scalar($fal->renders('from elsewhere')), 1, 'of the one render');
	nothing_was_copied('after a retry');
}

$node->stop;
done_testing();
