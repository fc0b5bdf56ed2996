# Outputs as models, workflows and own apps have them, and files as they come.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal(default => { queue_ms => 0, run_ms => 0 });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'vibevideo.poll_interval' => '100ms', 'vibevideo.max_tries' => 2, 'vibevideo.max_renders' => 1,
	'vibevideo.backoff_base' => '50ms' });

# -- where the video is in the output ------------------------------------------------------
my $file = { url => '{{media_url}}', content_type => 'video/mp4' };
my $image = { url => 'https://v3.fal.media/x.png', content_type => 'image/png' };
my @outputs = (
	# name, output, error code or undef, words in the error
	[ 'output: a workflow', { output => { video => $file }, images => [$image] } ],
	[ 'output: a Comfy graph', { outputs => { 9 => { images => [$image] }, 14 => { gifs => [ { filename => 'x.mp4', url => '{{media_url}}' } ] } } } ],
	[ 'output: a bare URL', { result => [ '{{media_url}}' ] } ],
	[ 'output: white space around it', { video => { url => " {{media_url}}\n" } } ],
	[ 'output: a blank in it', { video => { url => '{{media_url}}?name=a b' } } ],
	[ 'output: no video', { images => [$image], seed => 1 }, 'no_video', qr/fields: images, seed/ ],
	[ 'output: an error', { video => undef, error => 'out of memory' }, 'no_video', qr/out of memory/ ]);
for my $case (@outputs)
{
	my ($prompt, $result, $code, $words) = @$case;
	my $id = new_row($node, $prompt);

	$fal->rule("^$prompt\$", output => 'custom', result => $result);
	submit($node, $id);
	wait_for_status($node, $id, $code ? 'failed' : 'completed');
	is(status_of($node, $id)->{error_code}, $code, "$prompt: its code");
	like(status_of($node, $id)->{error}, $words, "$prompt: its words") if $words;
}

# -- half a video ---------------------------------------------------------------------------
# The media host ends it early with nothing wrong in HTTP: without a length, or
# with one that is too short, since it has no more itself.
my @cuts = (
	[ 'cut: no length', { kind => 'no_length', bytes => 60000 }, {} ],
	[ 'cut: no length, nothing from fal', { kind => 'no_length', bytes => 60000 }, { file_size => JSON::PP::false } ],
	[ 'cut: a large one', { kind => 'no_length', bytes => 3000000 }, { bytes => 5000000 } ],
	[ 'cut: moov missing', { kind => 'no_length', bytes => 99884 }, { movie_last => JSON::PP::true }, qr/99884 bytes/ ],
	[ 'cut: a length that is too short', { kind => 'lie_length', delta => -40000 }, {} ]);
for my $case (@cuts)
{
	my ($prompt, $fault, $media, $words) = @$case;
	my $bytes = $media->{bytes} || 100000;
	my $got = $fault->{bytes} || 60000;
	my $id = new_row($node, $prompt);

	$words ||= qr/\b$got of $bytes bytes/;
	$fal->rule("^$prompt\$", media => $media);
	$fal->fault('media', $fault, prompt => "^$prompt\$", times => -1);
	submit($node, $id);
	wait_for_status($node, $id, 'failed');
	is(status_of($node, $id)->{error_code}, 'download_failed', "$prompt: its code");
	like(status_of($node, $id)->{error}, $words, "$prompt: its words");
	is($storage->object($id), undef, "$prompt: Storage has no object");

	$fal->clear_faults;
	sql($node, "SELECT vibevideo_retry('$id')");
	wait_for_status($node, $id, 'completed');
	is(sql($node, "SELECT bytes_total, sha256 IS NOT NULL FROM vibevideo.job WHERE vibelog_id = '$id'"), "$bytes|t", "$prompt: then the whole");
	is(scalar($fal->renders($prompt)), 1, "$prompt: of one render");
}

$node->stop;
done_testing();
