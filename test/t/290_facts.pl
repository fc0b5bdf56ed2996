# What is read off a video as it passes, against ffprobe's word for it: a file of
# each form and codec that ffmpeg makes, whole and cut, in pieces of any size.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(basename);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $program = "$dir/facts";
my ($cc, $include) = map { my $out = `pg_config --$_`; chomp $out; $out } qw(cc includedir-server);

run_log([ split(' ', $cc), split(' ', '-std=gnu11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -Isrc -I'), $include, '-o', $program,
	qw(test/modules/facts.c src/kind.c src/track.c src/container.c src/media.c -lcrypto) ]) or BAIL_OUT('could not compile the program');

# make(name, option, ...) - a film of ffmpeg's.
sub make
{
	my ($name, @options) = @_;
	my $file = "$dir/$name";

	run_log([ qw(ffmpeg -hide_banner -loglevel error -nostdin -y), @options, $file ]) or BAIL_OUT("ffmpeg could not make $name");
	return $file;
}

sub write_file
{
	my ($name, $bytes) = @_;

	open my $out, '>:raw', "$dir/$name" or die $!;
	print $out $bytes;
	close $out;
	return "$dir/$name";
}

sub facts
{
	my ($file, $piece) = @_;
	my $out = `'$program' '$file' $piece`;

	is($?, 0, basename($file) . ", in pieces of $piece: read") or return {};
	return decode_json($out);
}

# -- what ffprobe says ---------------------------------------------------------------------
my %profiles = (
	h264 => { 'Constrained Baseline' => 66, Baseline => 66, Main => 77, High => 100, 'High 10' => 110, 'High 4:4:4 Predictive' => 244 },
	hevc => { Main => 1, 'Main 10' => 2, Rext => 4 },
	av1 => { Main => 0, High => 1, Professional => 2 },
	vp9 => { 'Profile 0' => 0, 'Profile 1' => 1, 'Profile 2' => 2, 'Profile 3' => 3 });
my %plain = (vp8 => 'vp8', gif => 'gif', opus => 'opus', vorbis => 'vorbis', flac => 'flac', pcm_s16le => 'sowt', prores => 'apcn',
	mjpeg => 'jpeg', theora => 'theora', ac3 => 'ac-3', eac3 => 'ec-3');

# A pattern for the codec's name, from what ffprobe says of the stream.
sub name_of
{
	my ($stream, $form) = @_;
	my ($codec, $profile) = @$stream{qw(codec_name profile)};
	my $number = $profiles{$codec} && $profiles{$codec}{ $profile // '' };
	my $bits = ($stream->{pix_fmt} // '') =~ /10/ ? 10 : ($stream->{pix_fmt} // '') =~ /12/ ? 12 : 8;
	my $tag = $stream->{codec_tag_string} // '';

	return sprintf '^avc1\.%02x[0-9a-f]{2}%02x$', $number, $stream->{level} if $codec eq 'h264';
	return sprintf '^%s\.%d\.[0-9A-F]+\.[LH]%d(\.[0-9A-F]{1,2})*$', ($tag eq 'hev1' ? 'hev1' : 'hvc1'), $number, $stream->{level} if $codec eq 'hevc';
	return sprintf '^av01\.%d\.%02d[MH]\.%02d$', $number, $stream->{level}, $bits if $codec eq 'av1';
	return $form eq 'mp4' ? sprintf('^vp09\.%02d\.\d\d\.%02d$', $number, $bits) : '^vp9$|^' . sprintf('vp09\.%02d\.\d\d\.%02d$', $number, $bits) if $codec eq 'vp9';
	return '^mp4a\.40\.2$' if $codec eq 'aac';
	return $form eq 'mkv' ? '^mp3$' : '^mp4a\.6[9b]$' if $codec eq 'mp3';
	return '^mp4v\.20$' if $codec eq 'mpeg4';
	return '^vp08\.\d\d\.\d\d\.08$' if $codec eq 'vp8' && $form eq 'mp4';
	return "^\Q$plain{$codec}\E\$";
}

sub ratio
{
	my ($text) = @_;
	my ($above, $below) = ($text // '') =~ m{^(\d+)[:/](\d+)$};

	return $above && $below ? $above / $below : undef;
}

# The picture as it is shown: points made square, then turned.
sub size_of
{
	my ($stream) = @_;
	my ($width, $height, $shape) = (@$stream{qw(width height)}, ratio($stream->{sample_aspect_ratio}) // 1);
	my ($turn) = grep { defined } ((map { $_->{rotation} } @{ $stream->{side_data_list} || [] }), $stream->{tags}{rotate}, 0);

	$width = int($width * $shape + 0.5) if $shape > 1;
	$height = int($height / $shape + 0.5) if $shape < 1;
	return $turn % 180 ? "${height}x$width" : "${width}x$height";
}

sub probe
{
	my ($file) = @_;
	my $text = `ffprobe -v error -show_streams -show_format -of json '$file'`;
	my $out = decode_json($text);
	my ($video) = grep { $_->{codec_type} eq 'video' } @{ $out->{streams} };
	my ($audio) = grep { $_->{codec_type} eq 'audio' } @{ $out->{streams} };

	return ($video, $audio, $out->{format});
}

# -- the zoo -------------------------------------------------------------------------------
my @film = (qw(-f lavfi -i), 'testsrc2=size=128x96:rate=25:duration=2');
my @odd = (qw(-f lavfi -i), 'testsrc2=size=98x62:rate=30000/1001:duration=2');
my @sound = (qw(-f lavfi -i), 'sine=duration=2');
my @h264 = qw(-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 10);
my @hevc = qw(-c:v libx265 -preset ultrafast -x265-params log-level=error);
my @aom = qw(-c:v libaom-av1 -cpu-used 8 -pix_fmt yuv420p);
my @vp9 = qw(-c:v libvpx-vp9 -deadline realtime -cpu-used 8);
my @both = (@film, @sound, @h264, qw(-c:a aac));
my $plain = make('plain.mp4', @both);
my $first = make('first.mp4', @both, qw(-movflags +faststart));
my $fragments = make('fragments.mp4', @both, qw(-movflags frag_keyframe+empty_moov+default_base_moof));

# name, file, { form, faststart, rate: undef if it is not known, duration, size: likewise }
my @zoo = (
	[ 'H.264 and AAC', $plain, { faststart => 0 } ],
	[ 'moov first', $first ],
	[ 'no sound', make('silent.mp4', @odd, @h264) , { faststart => 0 } ],
	[ 'H.264 main, B frames', make('main.mp4', @odd, qw(-c:v libx264 -profile:v main -pix_fmt yuv420p -bf 3)), { faststart => 0 } ],
	[ 'H.264 high 10', make('high10.mp4', @film, qw(-c:v libx264 -pix_fmt yuv420p10le)), { faststart => 0 } ],
	[ 'H.264 high 4:4:4', make('444.mp4', @film, qw(-c:v libx264 -pix_fmt yuv444p)), { faststart => 0 } ],
	[ 'fragments', $fragments ],
	[ 'fragments, some of it in moov', make('some.mp4', @both, qw(-movflags frag_keyframe)) ],
	[ 'fragments, short', make('short.mp4', @both, qw(-movflags empty_moov -frag_duration 200000)) ],
	[ 'fragments, omitting offsets', make('omit.mp4', @both, qw(-movflags frag_keyframe+empty_moov+omit_tfhd_offset+separate_moof)) ],
	[ 'fragments, DASH', make('dash.mp4', @odd, @h264, qw(-movflags dash+frag_keyframe+delay_moov)) ],
	[ 'fragments, a rate that varies', make('varies.mp4', @film, qw(-vf), 'setpts=N*N/250/TB', qw(-vsync vfr), @h264, qw(-movflags frag_keyframe+empty_moov)), { about => 1 } ],
	[ 'a rate that varies', make('varies2.mp4', @film, qw(-vf), 'setpts=N*N/250/TB', qw(-vsync vfr), @h264), { faststart => 0, about => 1 } ],
	[ 'turned', make('turned.mp4', '-i', $plain, qw(-c copy -metadata:s:v:0 rotate=90)), { faststart => 0 } ],
	[ 'turned back', make('back.mp4', '-i', $plain, qw(-c copy -metadata:s:v:0 rotate=270 -movflags +faststart)) ],
	[ 'upside down', make('down.mp4', '-i', $plain, qw(-c copy -metadata:s:v:0 rotate=180)), { faststart => 0 } ],
	[ 'points that are wide', make('wide.mp4', @film, qw(-vf setsar=4/3), @h264), { faststart => 0 } ],
	[ 'points that are high, turned', make('high.mp4', '-i', make('high0.mp4', @film, qw(-vf setsar=3/4), @h264), qw(-c copy -metadata:s:v:0 rotate=90)), { faststart => 0 } ],
	[ 'an edit list', make('edit.mp4', qw(-ss 0.55 -i), $plain, qw(-c copy)), { faststart => 0, about => 1 } ],
	[ 'times of 64 bits', make('long.mp4', @both, qw(-movie_timescale 1500000000 -video_track_timescale 1500000000)), { faststart => 0 } ],
	[ 'a time code, and data', make('code.mov', @both, qw(-timecode 00:00:00:00)), { faststart => 0 } ],
	[ 'HEVC as hvc1', make('hvc1.mp4', @film, @hevc, qw(-tag:v hvc1)), { faststart => 0 } ],
	[ 'HEVC as hev1', make('hev1.mp4', @odd, @hevc, qw(-tag:v hev1)), { faststart => 0 } ],
	[ 'HEVC main 10, fragments', make('main10.mp4', @film, @sound, @hevc, qw(-pix_fmt yuv420p10le -tag:v hvc1 -c:a ac3 -movflags frag_keyframe+delay_moov)) ],
	[ 'AV1', make('aom.mp4', @film, @sound, @aom, qw(-c:a libopus)), { faststart => 0 } ],
	[ 'AV1, 10 bits', make('aom10.mp4', @film, qw(-c:v libaom-av1 -cpu-used 8 -pix_fmt yuv420p10le -movflags +faststart)) ],
	[ 'AV1 of SVT', make('svt.mp4', @film, qw(-c:v libsvtav1 -preset 12 -pix_fmt yuv420p)), { faststart => 0 } ],
	[ 'VP9 in MP4', make('vp9.mp4', @odd, @vp9, qw(-pix_fmt yuv420p)), { faststart => 0 } ],
	[ 'MPEG-4 and MP3', make('mpeg4.mp4', @film, @sound, qw(-c:v mpeg4 -c:a libmp3lame)), { faststart => 0 } ],
	[ 'H.264 and FLAC', make('flac.mp4', @film, @sound, @h264, qw(-c:a flac -strict -2)), { faststart => 0 } ],
	[ 'ProRes and PCM', make('prores.mov', @film, @sound, qw(-c:v prores -c:a pcm_s16le)), { faststart => 0 } ],
	[ 'JPEG and AAC in QuickTime', make('jpeg.mov', @film, @sound, qw(-c:v mjpeg -pix_fmt yuvj420p -c:a aac -movflags +faststart)) ],
	[ 'WebM, VP8 and Vorbis', make('vp8.webm', @film, @sound, qw(-c:v libvpx -c:a libvorbis)), { form => 'mkv' } ],
	[ 'WebM, VP9 and Opus', make('vp9.webm', @odd, @sound, @vp9, qw(-pix_fmt yuv420p -c:a libopus)), { form => 'mkv' } ],
	[ 'WebM, VP9, 10 bits', make('vp9p2.webm', @film, @vp9, qw(-pix_fmt yuv420p10le)), { form => 'mkv' } ],
	[ 'WebM, AV1', make('av1.webm', @film, @aom), { form => 'mkv' } ],
	[ 'WebM, points that are wide', make('wide.webm', @film, qw(-vf setsar=4/3 -c:v libvpx)), { form => 'mkv' } ],
	[ 'WebM, a stream', make('live.webm', @film, qw(-c:v libvpx -f webm -live 1)), { form => 'mkv', duration => undef } ],
	[ 'Matroska, H.264 and AAC', make('h264.mkv', @both), { form => 'mkv' } ],
	[ 'Matroska, HEVC and FLAC', make('hevc.mkv', @film, @sound, @hevc, qw(-c:a flac)), { form => 'mkv' } ],
	[ 'Matroska, MP3', make('mp3.mkv', @film, @sound, @h264, qw(-c:a libmp3lame)), { form => 'mkv' } ],
	[ 'GIF', make('film.gif', @film), { form => 'gif', about => 1 } ],
);

sub is_about
{
	my ($got, $wanted, $by, $name) = @_;

	ok(defined $got && abs($got - $wanted) <= $by, $name) or diag('got ' . ($got // 'nothing') . ", not $wanted");
	return;
}

sub check
{
	my ($name, $file, $wanted) = @_;
	my ($video, $audio, $format) = probe($file);
	my $form = $wanted->{form} // 'mp4';
	my $facts = facts($file, 0);

	is_deeply(facts($file, $_), $facts, "$name: the same in pieces of $_") for 977, 65536;
	is("$facts->{width}x$facts->{height}", size_of($video), "$name: size");
	is_about($facts->{milli_rate} // -1, 1000 * ratio($video->{avg_frame_rate}), $wanted->{about} ? 300 : 1, "$name: rate");
	if (exists $wanted->{duration})
	{
		is($facts->{duration_ms}, undef, "$name: no duration");
	}
	else
	{
		is_about($facts->{duration_ms}, 1000 * $format->{duration}, $wanted->{about} ? 60 : 1, "$name: duration");
	}
	like($facts->{video_codec}, qr/${\name_of($video, $form)}/, "$name: $facts->{video_codec}");
	is($facts->{has_audio}, $audio ? 1 : 0, "$name: whether it has sound");
	like($facts->{audio_codec}, $audio ? qr/${\name_of($audio, $form)}/ : qr/^$/, "$name: sound: $facts->{audio_codec}");
	is($facts->{faststart}, $wanted->{faststart} // 1, "$name: whether it can be played as it arrives");
	is($facts->{has_c2pa}, $form eq 'mp4' ? 0 : undef, "$name: no Content Credentials");
	return;
}

check($_->[0], $_->[1], $_->[2] || {}) for @zoo;

# -- by hand -------------------------------------------------------------------------------
sub box
{
	my ($type, $body) = @_;

	return pack('N a4', 8 + length $body, $type) . $body;
}

# A list of [type, whole box].
sub boxes
{
	my ($bytes) = @_;
	my @boxes;

	for (my $at = 0; $at < length $bytes; $at += unpack('N', substr($bytes, $at, 4)))
	{
		push @boxes, [ substr($bytes, $at + 4, 4), substr($bytes, $at, unpack('N', substr($bytes, $at, 4))) ];
	}
	return @boxes;
}

sub changed
{
	my ($file, $change) = @_;

	return join('', map { $change->(@$_) } boxes(slurp_file($file)));
}

my $of_plain = facts($plain, 0);
my $large = write_file('large.mp4', changed($plain, sub {
	my ($type, $box) = @_;
	return $box if $type ne 'mdat' && $type ne 'moov';
	return pack('N a4 Q>', 1, $type, 8 + length $box) . substr($box, 8);
}));
is_deeply(facts($large, 1), $of_plain, 'boxes with sizes of 64 bits');

my $credentials = pack('H*', 'd8fec3d61b0e483c92975828877ec481');
my $signed = write_file('signed.mp4', changed($first, sub { my ($type, $box) = @_; return $type eq 'ftyp' ? $box . box('uuid', $credentials . 'x' x 99) : $box; }));
is_deeply(facts($signed, 1), { %{ facts($first, 0) }, has_c2pa => 1 }, 'Content Credentials');
my $other = write_file('other.mp4', changed($first, sub { my ($type, $box) = @_; return $type eq 'ftyp' ? $box . box('uuid', 'x' x 99) : $box; }));
is_deeply(facts($other, 7), facts($first, 0), 'a box of somebody else');

# -- cut -----------------------------------------------------------------------------------
sub cut
{
	my ($file, $part) = @_;
	my $bytes = slurp_file($file);

	return write_file("cut$part", substr($bytes, 0, int($part * length $bytes)));
}

my $cut = facts(cut($plain, 0.8), 0);
is_deeply([ @$cut{qw(width milli_rate video_codec has_audio faststart)} ], [ undef, undef, '', undef, undef ], 'cut before moov: nothing is known');
$cut = facts(cut($first, 0.8), 0);
is_deeply([ @$cut{qw(width height milli_rate duration_ms has_audio faststart)} ], [ 128, 96, 25000, 2000, 1, 1 ], 'cut after moov: it is');
$cut = facts(cut($fragments, 0.6), 0);
cmp_ok($cut->{duration_ms}, '<', 2000, 'fragments, cut: as long as those that are there');
is("$cut->{width}x$cut->{height}", '128x96', 'and their size is known');
$cut = facts(cut("$dir/vp9.webm", 0.5), 0);
is_deeply([ @$cut{qw(width height has_audio)} ], [ 98, 62, 1 ], 'WebM, cut');

# with a byte of its head wrong, and cut behind that: it says something, and does not crash
my $head = slurp_file($first);
my @crashed;
for my $at (map { $_ * 29 } 0 .. 100)
{
	my $wrong = substr($head, 0, $at + 500);

	substr($wrong, $at, 1) = chr(ord(substr($wrong, $at, 1)) ^ 0x81);
	system("'$program' '${\ write_file('wrong.mp4', $wrong)}' 0 > /dev/null") == 0 or push @crashed, $at;
}
is_deeply(\@crashed, [], 'a wrong byte');

done_testing();
