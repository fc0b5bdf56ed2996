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
sub nested
{
	my ($depth) = @_;
	my $value = 1;

	$value = { inner => $value } for 1 .. $depth;
	return $value;
}

my $file = { url => '{{media_url}}', content_type => 'video/mp4' };
my $image = { url => 'https://v3.fal.media/x.png', content_type => 'image/png' };
my @outputs = (
	# name, output, error code or undef, words in the error
	[ 'output: a workflow', { output => { video => $file }, images => [$image] } ],
	[ 'output: a Comfy graph', { outputs => { 9 => { images => [$image] }, 14 => { gifs => [ { filename => 'x.mp4', url => '{{media_url}}' } ] } } } ],
	[ 'output: a bare URL', { result => [ '{{media_url}}' ] } ],
	[ 'output: white space around it', { video => { url => " {{media_url}}\n" } } ],
	[ 'output: a blank in it', { video => { url => '{{media_url}}?name=a b' } } ],
	[ 'output: beside its source', { source_video => { url => 'https://v3.fal.media/in.mp4' }, result => { url => '{{media_url}}' } } ],
	[ 'output: beside a temporary file', { outputs => { 9 => { gifs => [ { filename => 'y.mp4', type => 'temp', url => 'https://v3.fal.media/y.mp4' } ] },
		14 => { gifs => [ { filename => 'x.mp4', type => 'output', url => '{{media_url}}' } ] } } } ],
	[ 'output: called something else', { result => { url => '{{media_url}}', content_type => 'application/force-download' } } ],
	[ 'output: its size is 0', { video => { url => '{{media_url}}', content_type => undef, file_size => 0 } } ],
	[ 'output: something deep', { video => $file, graph => nested(200) } ],
	[ 'output: a data URI in it', { result => { video => { url => 'data:video/mp4;base64,AAAA' } } }, 'unsupported_output', qr/sync_mode/ ],
	[ 'output: a GIF', { images => [ { url => '{{media_url}}', content_type => 'image/gif' } ] } ],
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
	like(words_of($node, $id, 'failed'), $words, "$prompt: its words") if $words;
}

# -- outputs that are hard to read -------------------------------------------------------------
sub answer_with
{
	my ($prompt, $body) = @_;

	$fal->fault('result', { kind => 'http', status => 200, headers => { 'content-type' => 'application/json' }, body => $body }, prompt => "^$prompt\$", times => -1);
	return;
}

# The file is another job's, which fal keeps.
my $other = sql($node, q{SELECT media_url FROM vibevideo.job WHERE state = 'completed' ORDER BY job_id LIMIT 1});
my @bodies = (
	# name, body, error code or undef, words in the error
	[ 'body: a large field', qq[{"mask": "] . 'A' x 1_500_000 . qq[", "video": {"url": "$other"}}] ],
	[ 'body: too large a field', qq[{"video": {"url": "$other", "preview": "] . 'A' x 4_500_000 . '"}}' ],
	[ 'body: a data URI', '{"video": {"url": "data:video/mp4;base64,' . 'A' x 1_500_000 . '"}}', 'unsupported_output', qr/sync_mode/ ],
	[ 'body: a large data URI', '{"video": {"url": "data:video/mp4;base64,' . 'A' x 4_500_000 . '"}}', 'unsupported_output', qr/sync_mode/ ],
	[ 'body: a byte order mark', qq[\x{feff}{"video": {"url": "$other"}}] ],
	[ 'body: NaN', qq[{"video": {"url": "$other"}, "score": NaN}], 'bad_response', qr/unrecognized/ ]);
for my $case (@bodies)
{
	my ($prompt, $body, $code, $words) = @$case;
	my $id = new_row($node, $prompt);

	answer_with($prompt, $body);
	submit($node, $id);
	wait_for_status($node, $id, $code ? 'failed' : 'completed', hurry => 1);
	is(status_of($node, $id)->{error_code}, $code, "$prompt: its code");
	like(words_of($node, $id, 'failed'), $words, "$prompt: its words") if $words;
	is(scalar($fal->renders($prompt)), 1, "$prompt: one render");
}
$fal->clear_faults;

# -- redirects ---------------------------------------------------------------------------------
# The letters have to arrive as they were meant, and none may be missing.
my $long = 'x' x 3500;
my @redirects = (
	# name, what is added to the address, error code or undef
	[ 'redirect: blanks', '&encoded=a%20b&letters=a b' ],
	[ 'redirect: letters beyond ASCII', "&encoded=%C3%A4%20%C3%A4&letters=\x{c3}\x{a4}%20\x{c3}\x{a4}" ],
	[ 'redirect: long', "&encoded=$long&letters=$long" ],
	[ 'redirect: too long', '&letters=' . 'x' x 8200, 'bad_redirect' ]);
for my $case (@redirects)
{
	my ($prompt, $more, $code) = @$case;
	my $id = new_row($node, $prompt);

	$fal->rule("^$prompt\$", media => { redirect => "{{media_url}}$more" });
	submit($node, $id);
	wait_for_status($node, $id, $code ? 'failed' : 'completed');
	is(status_of($node, $id)->{error_code}, $code, "$prompt: its code");
}

# -- half a video ---------------------------------------------------------------------------
# The media host ends it early with nothing wrong in HTTP: without a length, or
# with one that is too short, since it has no more itself.
my @cuts = (
	[ 'cut: no length', { kind => 'no_length', bytes => 60000 }, {} ],
	[ 'cut: no length, nothing from fal', { kind => 'no_length', bytes => 60000 }, { file_size => JSON::PP::false } ],
	[ 'cut: a large one', { kind => 'no_length', bytes => 3000000 }, { bytes => 5000000 } ],
	[ 'cut: moov missing', { kind => 'no_length', bytes => 99884 }, { movie_last => JSON::PP::true, file_size => JSON::PP::false }, qr/ends after 99884 bytes/ ],
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
	like(words_of($node, $id, 'failed'), $words, "$prompt: its words");
	is($storage->object($id), undef, "$prompt: Storage has no object");

	$fal->clear_faults;
	sql($node, "SELECT vibevideo_retry('$id')");
	wait_for_status($node, $id, 'completed');
	is(sql($node, "SELECT bytes_total, sha256 IS NOT NULL FROM vibevideo.job WHERE vibelog_id = '$id'"), "$bytes|t", "$prompt: then the whole");
	is(scalar($fal->renders($prompt)), 1, "$prompt: of one render");
}

# -- real files ----------------------------------------------------------------------------
my $files = PostgreSQL::Test::Utils::tempdir();

sub real_file
{
	my ($name, @options) = @_;
	my $file = "$files/$name";

	run_log([ qw(ffmpeg -hide_banner -loglevel error -nostdin -y -f lavfi -i),
		'testsrc2=size=64x48:rate=10:duration=2', @options, $file ]) or BAIL_OUT("ffmpeg could not make $name");
	return $file;
}

sub write_file
{
	my ($name, $bytes) = @_;

	open my $out, '>:raw', "$files/$name" or die $!;
	print $out $bytes;
	close $out;
	return "$files/$name";
}

sub box
{
	my ($type, $body) = @_;

	return pack('N a4', 8 + length $body, $type) . $body;
}

sub boxes
{
	my ($bytes) = @_;
	my %boxes;

	for (my $at = 0; $at < length $bytes; $at += unpack('N', substr($bytes, $at, 4)))
	{
		$boxes{ substr($bytes, $at + 4, 4) } = substr($bytes, $at, unpack('N', substr($bytes, $at, 4)));
	}
	return %boxes;
}

# A recorder that is stopped: clusters of unknown size, as in a browser's.
sub unknown_clusters
{
	my ($bytes) = @_;

	$bytes =~ s/(\x1f\x43\xb6\x75)(?:\x01.{7}|\x08.{4}|\x10.{3}|\x20.{2}|\x40.|[\x80-\xfe])/$1\x01\xff\xff\xff\xff\xff\xff\xff/sg;
	return $bytes;
}

my @h264 = qw(-c:v libx264 -pix_fmt yuv420p -g 5);
my $mp4 = real_file('plain.mp4', @h264);
my $plain = slurp_file($mp4);
my %plain = boxes($plain);
my $live = real_file('live.webm', qw(-c:v libvpx -f webm -live 1));
my $recorded = unknown_clusters(slurp_file($live));
my $gif = real_file('plain.gif');
my $sound = "$files/sound.mp4";
run_log([ qw(ffmpeg -hide_banner -loglevel error -nostdin -y -f lavfi -i sine=duration=2 -c:a aac), $sound ]) or BAIL_OUT('ffmpeg could not make sound');
my @files = (
	# name, file, content type of the media host, ending or code, type or words, duration
	[ 'file: mp4', $mp4, 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4, moov first', real_file('first.mp4', @h264, qw(-movflags +faststart)), 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4 as text', $mp4, 'text/plain', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4 as a download', $mp4, 'application/force-download', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4, free first', write_file('free.mp4', box('free', 'x' x 40) . $plain), 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4, uuid first', write_file('uuid.mp4', box('uuid', 'x' x 40) . $plain), 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4, mdat up to the end', write_file('last.mp4', $plain{ftyp} . $plain{moov} . pack('N', 0) . substr($plain{mdat}, 4)), 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4, moov up to the end', write_file('open.mp4', $plain{ftyp} . $plain{mdat} . pack('N', 0) . substr($plain{moov}, 4)), 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4, zeros in moov', write_file('zeros.mp4', $plain{ftyp} . box('moov', substr($plain{moov}, 8) . "\0" x 4) . $plain{mdat}), 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4, a text behind it', write_file('text.mp4', "${plain}made by a camera"), 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4, AV1', real_file('av1.mp4', qw(-c:v libaom-av1 -cpu-used 8)), 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4, HEVC', real_file('hevc.mp4', qw(-c:v libx265 -x265-params log-level=error -tag:v hvc1)), 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4, CMAF', real_file('cmaf.mp4', @h264, qw(-movflags cmaf+frag_keyframe)), 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4, the first part not fragmented', real_file('first_part.mp4', @h264, qw(-movflags frag_keyframe)), 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mp4, fragmented', real_file('fragments.mp4', @h264, qw(-movflags frag_keyframe+empty_moov)), 'video/mp4', 'mp4', 'video/mp4', 2000 ],
	[ 'file: mov', real_file('plain.mov', @h264), 'video/quicktime', 'mov', 'video/quicktime', 2000 ],
	[ 'file: mov without ftyp', write_file('old.mov', $plain{mdat} . $plain{moov}), 'video/mp4', 'mov', 'video/quicktime', 2000 ],
	[ 'file: webm', real_file('plain.webm', qw(-c:v libvpx)), 'video/mp4', 'webm', 'video/webm', 2000 ],
	[ 'file: webm, live', $live, 'video/webm', 'webm', 'video/webm', '' ],
	[ 'file: webm, recorded', write_file('recorded.webm', $recorded), 'video/webm', 'webm', 'video/webm', '' ],
	[ 'file: mkv', real_file('plain.mkv', @h264), 'application/x-matroska', 'mkv', 'video/x-matroska', 2000 ],
	[ 'file: half an mp4', write_file('half.mp4', substr(slurp_file("$files/first.mp4"), 0, 2000)), 'video/mp4', 'download_failed', qr/2000 of \d+ bytes/, 2 ],
	[ 'file: half a webm', write_file('half.webm', substr(slurp_file("$files/plain.webm"), 0, 2000)), 'video/webm', 'download_failed', qr/2000 of \d+ bytes/, 2 ],
	[ 'file: half a live webm', write_file('half_live.webm', substr(slurp_file($live), 0, 2000)), 'video/webm', 'download_failed', qr/2000 bytes/, 2 ],
	[ 'file: half a recorded webm', write_file('half_recorded.webm', substr($recorded, 0, -9)), 'video/webm', 'download_failed', qr/ends after \d+ bytes/, 2 ],
	[ 'file: sound', $sound, 'video/mp4', 'not_a_video', qr/sound without a picture/, 1 ],
	[ 'file: avi', real_file('plain.avi', qw(-c:v mpeg4)), 'video/mp4', 'not_a_video', qr/not accepted: AVI video/, 1 ],
	[ 'file: gif', $gif, 'video/mp4', 'not_a_video', qr/GIF image \(content type "video\/mp4"\); vibevideo\.accept/, 1 ],
	[ 'file: png', real_file('plain.png', qw(-frames:v 1)), 'video/mp4', 'not_a_video', qr/PNG image/, 1 ],
	[ 'file: avif', write_file('plain.avif', box('ftyp', 'avif' . pack('N', 0) . 'avifmif1') . 'x' x 99), 'video/mp4', 'not_a_video', qr/AVIF image/, 1 ],
	[ 'file: m4a', write_file('plain.m4a', box('ftyp', 'M4A ' . pack('N', 0) . 'M4A mp42') . 'x' x 99), 'video/mp4', 'not_a_video', qr/M4A audio/, 1 ],
	[ 'file: a page', write_file('page.mp4', '<html><body>Try again</body></html>'), 'video/mp4', 'not_a_video', qr/text/, 2 ]);
configure($node, max_tries => 2);
for my $case (@files)
{
	my ($prompt, $file, $host_type, $what, $words, $number) = @$case;
	my $id = new_row($node, $prompt);
	my $bytes = -s $file;

	$fal->rule("^$prompt\$", media => { file => $file, content_type => $host_type });
	submit($node, $id);
	if (ref $words)
	{
		wait_for_status($node, $id, 'failed');
		is(status_of($node, $id)->{error_code}, $what, "$prompt: its code");
		like(words_of($node, $id, 'failed'), $words, "$prompt: its words");
		is($storage->object($id), undef, "$prompt: Storage has no object");
		is(sql($node, "SELECT tries FROM vibevideo.job WHERE vibelog_id = '$id'"), $number, "$prompt: after so many tries");
		next;
	}
	wait_for_status($node, $id, 'completed');
	my $object = $storage->object($id);
	like($object->{key}, qr/\.$what$/, "$prompt: its ending");
	is($object->{content_type}, $words, "$prompt: its type");
	is($object->{size}, $bytes, "$prompt: all of it");
	is(sql($node, "SELECT duration_ms, video_url LIKE '%.$what', object_key = '$object->{key}' FROM vibevideo.job WHERE vibelog_id = '$id'"),
		"$number|t|t", "$prompt: the job says so");
	is(sql($node, "SELECT width, height, has_audio, video_codec IS NOT NULL, bit_rate IS NOT DISTINCT FROM bytes_total * 8000 / duration_ms FROM vibevideo.jobs WHERE vibelog_id = '$id'"),
		'64|48|f|t|t', "$prompt: and what is in it");
}
is(sql($node, q{SELECT fps, video_codec ~ '^avc1[.][0-9a-f]{6}$', audio_codec, faststart, has_c2pa FROM vibevideo.jobs j JOIN vibelogs v ON v.id::text = j.vibelog_id
	WHERE v.prompt LIKE 'file: mp4, moov first'}), '10|t||t|f', 'the job says how it is coded');

# -- GIFs, where they are accepted ----------------------------------------------------------
for my $case ([ 'gif', qr/must contain "video"/ ], [ 'video, webp', qr/are "video" and "gif"/ ])
{
	my ($list, $words) = @$case;
	my ($state, $message) = sql_error($node, "ALTER SYSTEM SET vibevideo.accept = '$list'");

	is($state, '22023', "accept '$list' is refused");
	like($message, $words, "accept '$list': why");
}
configure($node, accept => 'video, gif');

my @gifs = (
	# name, file, code or undef, words
	[ 'gif: plain', $gif ],
	[ 'gif: something behind it', write_file('trail.gif', slurp_file($gif) . 'more') ],
	[ 'gif: half', write_file('half.gif', substr(slurp_file($gif), 0, 2000)), 'download_failed', qr/ends after 2000 bytes/ ],
	[ 'gif: no end', write_file('no_end.gif', substr(slurp_file($gif), 0, -1)), 'download_failed', qr/ends after \d+ bytes/ ],
	[ 'gif: one image', real_file('still.gif', qw(-frames:v 1)), 'not_a_video', qr/GIF image that does not move/ ]);
for my $case (@gifs)
{
	my ($prompt, $file, $code, $words) = @$case;
	my $id = new_row($node, $prompt);

	$fal->rule("^$prompt\$", output => 'custom', result => { images => [ { url => '{{media_url}}', content_type => 'image/gif' } ] },
		media => { file => $file, content_type => 'image/gif' });
	submit($node, $id);
	wait_for_status($node, $id, $code ? 'failed' : 'completed');
	is(status_of($node, $id)->{error_code}, $code, "$prompt: its code");
	if ($code)
	{
		like(words_of($node, $id, 'failed'), $words, "$prompt: its words");
		is($storage->object($id), undef, "$prompt: Storage has no object");
		next;
	}
	my $object = $storage->object($id);
	like($object->{key}, qr/\.gif$/, "$prompt: its ending");
	is($object->{content_type}, 'image/gif', "$prompt: its type");
	is($object->{size}, -s $file, "$prompt: all of it");
	is(sql($node, "SELECT duration_ms, video_url LIKE '%.gif' FROM vibevideo.job WHERE vibelog_id = '$id'"), '2000|t', "$prompt: the job says so");
}

# One that was not accepted before is copied by a retry, without another render.
{
	my $id = sql($node, q{SELECT id FROM vibelogs WHERE prompt = 'file: gif'});

	sql($node, "SELECT vibevideo_retry('$id')");
	wait_for_status($node, $id, 'completed');
	like($storage->object($id)->{key}, qr/\.gif$/, 'retry: the GIF is stored');
	is(scalar($fal->renders('file: gif')), 1, 'retry: of one render');
}

# A bucket that takes no images.
{
	my $bucket = q{SELECT status, detail, hint FROM vibevideo.check_config() WHERE check_name = 'bucket'};

	$storage->call('POST', '/bucket', { name => 'videos', public => JSON::PP::true, allowed_mime_types => ['video/*'] });
	like(sql($node, $bucket), qr/^fail\|.*image\/gif.*vibevideo\.accept/, 'bucket: no images');
	$storage->call('POST', '/bucket', { name => 'videos', public => JSON::PP::true, allowed_mime_types => [ 'video/*', 'image/gif' ] });
	like(sql($node, $bucket), qr/^ok\|/, 'bucket: GIFs, too');
	configure($node, accept => 'video');
	$storage->call('POST', '/bucket', { name => 'videos', public => JSON::PP::true, allowed_mime_types => ['video/*'] });
	like(sql($node, $bucket), qr/^ok\|/, 'bucket: no images are needed');
	$storage->call('POST', '/bucket', { name => 'videos', public => JSON::PP::true, allowed_mime_types => undef });
}

# Where fal.ai's URL is kept nobody looks at the bytes: what it is called decides.
configure($node, storage_kind => 'none');
my @kept = (
	[ 'kept: video', { video => { url => '{{media_url}}' } } ],
	[ 'kept: gif', { gif => { url => '{{media_url}}', content_type => 'image/gif' } }, qr/vibevideo\.accept/ ],
	[ 'kept: picture', { video => { url => '{{media_url}}', content_type => 'image/png' } }, qr/a kind that is not accepted/ ]);
for my $case (@kept)
{
	my ($prompt, $result, $words) = @$case;
	my $id = new_row($node, $prompt);

	$fal->rule("^$prompt\$", output => 'custom', result => $result);
	submit($node, $id);
	wait_for_status($node, $id, $words ? 'failed' : 'completed');
	is(status_of($node, $id)->{error_code}, $words ? 'not_a_video' : undef, "$prompt: its code");
	like(words_of($node, $id, 'failed'), $words, "$prompt: its words") if $words;
}
configure($node, storage_kind => 'supabase');

# A file's size of 0, as of a job of 0.1.0, does not break its message.
is(sql($node, <<'SQL'), 'Copying, 5 bytes so far', 'message: of a file whose size is 0');
SELECT vibevideo_internal.job_message(jsonb_populate_record(NULL::vibevideo.job,
	'{"state": "processing", "tries": 0, "leased_by": 7, "bytes_done": 5, "bytes_total": 0, "bytes_per_second": 100}'))
SQL

# An upload that is resumed keeps its name.
configure($node, resumable_threshold => '1MB', max_tries => 5, accept => 'video, gif');
for my $case ([ 'webm', slurp_file("$files/plain.webm") . box('void', 'x' x 8_000_000) ], [ 'gif', slurp_file($gif) . 'x' x 8_000_000 ])
{
	my ($ending, $bytes) = @$case;
	my $file = write_file("large.$ending", $bytes);
	my $id = new_row($node, "resumed: $ending");

	$fal->rule("^resumed: $ending\$", media => { file => $file, content_type => 'video/mp4' });
	$fal->fault('media', { kind => 'truncate', bytes => 7_500_000 }, prompt => "^resumed: $ending\$", times => 1);
	submit($node, $id);
	wait_for_status($node, $id, 'completed');
	like($storage->object($id)->{key}, qr/\.$ending$/, "resumed: $ending: it has its ending");
	is(sql($node, "SELECT video_url LIKE '%.$ending', duration_ms, width, height, has_audio, faststart FROM vibevideo.job WHERE vibelog_id = '$id'"), 't|2000|64|48|f|t', "resumed: $ending: the address, too, and what was read before");
	is($storage->object($id)->{size}, length $bytes, "resumed: $ending: all of it");
	is(($fal->renders("resumed: $ending"))[0]{counts}{media_ranges}, 1, "resumed: $ending: with the rest alone");
}

$node->stop;
done_testing();
