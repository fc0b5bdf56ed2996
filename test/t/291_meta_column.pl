# What becomes of what a video says of itself: attach(meta_column => ...) gives it to the
# row, in the write that gives it the URL, and it is compared with what was asked for.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal(default => { queue_ms => 0, run_ms => 0 });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, conf => {
	'vibevideo.poll_interval' => '100ms', 'vibevideo.max_tries' => 2, 'vibevideo.max_renders' => 1,
	'vibevideo.backoff_base' => '50ms' });
my $films = PostgreSQL::Test::Utils::tempdir();

sub film
{
	my ($name, @options) = @_;

	run_log([ qw(ffmpeg -hide_banner -loglevel error -nostdin -y -f lavfi -i), 'testsrc2=size=64x48:rate=25:duration=2',
		qw(-f lavfi -i sine=duration=2), @options, "$films/$name" ]) or BAIL_OUT("ffmpeg could not make $name");
	return "$films/$name";
}

# made(prompt, film) - the row of a video that is done.
sub made
{
	my ($prompt, $film) = @_;
	my $id = new_row($node, $prompt);

	$fal->rule("^$prompt\$", media => { file => $film, content_type => 'video/mp4' });
	submit($node, $id);
	wait_for_status($node, $id, 'completed');
	return $id;
}

sub meta
{
	my ($id) = @_;
	my $text = sql($node, "SELECT \"the meta\" FROM vibelogs WHERE id = '$id'");

	return $text eq '' ? undef : decode_json($text);
}

# -- attaching -----------------------------------------------------------------------------
sub refused
{
	my ($call) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT vibevideo.attach('vibelogs', $call)");

	return $err =~ s/^psql:<stdin>:\d+: //mgr;
}

sql($node, q{ALTER TABLE vibelogs ADD COLUMN words text, ADD COLUMN made_of jsonb GENERATED ALWAYS AS ('[]'::jsonb) STORED, ADD COLUMN "the meta" jsonb});
like(refused("meta_column => 'none'"), qr/ERROR:  table public\.vibelogs has no column "none"\nHINT:  Check meta_column\./, 'a column that is not there');
like(refused("meta_column => 'words'"), qr/ERROR:  column "words" of public\.vibelogs has type text\nHINT:  meta_column must be an ordinary column of type jsonb/, 'one of another type');
like(refused("meta_column => 'made_of'"), qr/ERROR:  column "made_of" of public\.vibelogs has type jsonb, generated\n/, 'one that is generated');
my $before = made('before', film('before.mp4', qw(-c:v libx264 -pix_fmt yuv420p -an)));
like(sql($node, q{SELECT vibevideo.attach('vibelogs', meta_column => 'the meta')}), qr/, what is known of a video to "the meta"/, 'it is attached');
is(meta($before), undef, 'a row that was written before is left alone');

# -- what the row gets ---------------------------------------------------------------------
sql($node, <<'SQL');
CREATE TABLE seen (id text, at int GENERATED ALWAYS AS IDENTITY, status text, url boolean, meta boolean);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen (id, status, url, meta) VALUES (NEW.id::text, NEW.video_generation_status, NEW.video_url IS NOT NULL, NEW."the meta" IS NOT NULL);
	RETURN NULL;
END
$$;
CREATE TRIGGER note AFTER UPDATE ON vibelogs FOR EACH ROW EXECUTE FUNCTION note();
SQL
my $film = film('plain.mp4', qw(-c:v libx264 -profile:v high -pix_fmt yuv420p -c:a aac -movflags +faststart));
my $id = made('plain', $film);
my $meta = meta($id);
my $object = $storage->object($id);
is_deeply({ map { $_ => $meta->{$_} } qw(width height fps duration_ms audio_codec content_type bytes sha256) },
	{ width => 64, height => 48, fps => 25, duration_ms => 2000, audio_codec => 'mp4a.40.2', content_type => 'video/mp4', bytes => -s $film, sha256 => $object->{sha256} },
	'what is known');
like($meta->{video_codec}, qr/^avc1\.64[0-9a-f]{4}$/, 'and how it is coded');
is($meta->{bit_rate}, int(8 * (-s $film) / 2), 'its bit rate');
ok($meta->{has_audio} && $meta->{faststart} && !$meta->{has_c2pa} && $meta->{ai_generated}, 'it has sound, plays at once, and is made');
is(sql($node, "SELECT string_agg(status, ' ' ORDER BY at) FILTER (WHERE meta), bool_and(url = meta) FROM seen WHERE id = '$id'"), 'completed|t', 'it comes with the URL, in one write');

my $webm = made('webm', film('film.webm', qw(-c:v libvpx -an)));
$meta = meta($webm);
is_deeply([ @$meta{qw(content_type video_codec audio_codec)}, $meta->{has_audio} ? 1 : 0 ], [ 'video/webm', 'vp8', undef, 0 ], 'of a WebM file, with its own type');

# another attempt that fails leaves what the first has left
sql($node, "UPDATE vibelogs SET prompt = 'refused' WHERE id = '$id'");
$fal->rule('^refused$', outcome => 'policy');
submit($node, $id);
wait_for_status($node, $id, 'failed');
is(meta($id)->{width}, 64, 'a failure leaves it');

# many together
my @ids = map { my $n = new_row($node, "many $_"); $n } 1 .. 5;
$fal->rule('^many', media => { file => $film, content_type => 'video/mp4' });
sql($node, "SELECT count(*) FROM vibevideo_submit_batch(ARRAY['" . join("','", @ids) . "']::uuid[])");
wait_for_status($node, $_, 'completed') for @ids;
is(sql($node, q{SELECT count(*) FROM vibelogs WHERE prompt LIKE 'many%' AND "the meta"->>'video_codec' LIKE 'avc1.%'}), '5', 'many rows');

# -- less than was asked for ---------------------------------------------------------------
sql($node, q{CREATE FUNCTION model_input(v vibelogs) RETURNS jsonb LANGUAGE sql STABLE
	RETURN jsonb_build_object('prompt', v.prompt) || CASE WHEN v.prompt LIKE 'more:%' THEN '{"duration": "10s", "resolution": "1080p", "generate_audio": true, "aspect_ratio": "4:3"}'::jsonb ELSE '{"duration": 2}' END});
sql($node, q{SELECT vibevideo.attach('vibelogs', input_function => 'model_input')});
my $less = q{SELECT delivered_less FROM vibevideo.jobs WHERE vibelog_id = '%s'};
is(sql($node, sprintf($less, made('as asked', $film))), '', 'as it was asked for');
my $more = made('more: silent', "$films/before.mp4");
is_deeply(decode_json(sql($node, sprintf($less, $more))), {
	duration_ms => { asked => 10000, got => 2000 }, resolution => { asked => '1080p', got => '64x48' }, has_audio => { asked => JSON::PP::true, got => JSON::PP::false } },
	'less than was asked for');
is(sql($node, "SELECT (d).delivered_less = j.delivered_less, (d.job).status FROM vibevideo.jobs j CROSS JOIN vibevideo.job_detail(j.job_id) d WHERE j.vibelog_id = '$more'"), 't|completed', 'which is no failure');
is(sql($node, q{SELECT sum(n) FROM vibevideo.rollup WHERE seconds = 0 AND outcome = 'delivered_less'}), '1', 'and is counted');
is(sql($node, q{SELECT sum(value) FROM vibevideo.series('delivered_less')}), '1', 'by model and time');
sql($node, q{SELECT vibevideo.attach('vibelogs', input_function => '')});

# -- a table that changes ------------------------------------------------------------------
my $late = new_row($node, 'late');
$fal->rule('^late$', media => { file => $film, content_type => 'video/mp4' }, run_ms => 1500);
submit($node, $late);
sql($node, 'DROP TRIGGER note ON vibelogs; ALTER TABLE vibelogs RENAME "the meta" TO meta');
like(sql($node, q{SELECT detail FROM vibevideo.check_config() WHERE check_name = 'columns'}), qr/"the meta" is missing/, 'check_config misses the column');
wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$late'", 'completed', 'its video is made all the same');
my ($rc, $out, $err) = $node->psql('postgres', "SELECT vibevideo_submit('$before')");
like($err, qr/has no column "the meta" any more\nDETAIL:  It is the meta_column/, 'a submit says so, before anything is sent');
like(refused(q{image_column => ''}), qr/It is meta_column from when a table was attached before/, 'and so does attach');
like(sql($node, q{SELECT vibevideo.attach('vibelogs', meta_column => 'meta')}), qr/what is known of a video to meta$/, 'until it is named anew');
wait_for_status($node, $late, 'completed');
is(sql($node, "SELECT meta->>'width' FROM vibelogs WHERE id = '$late'"), '64', 'then the row is written');
unlike(sql($node, q{SELECT vibevideo.attach('vibelogs', meta_column => '')}), qr/what is known/, 'an empty name is none');
is(sql($node, "SELECT meta IS NULL FROM vibelogs WHERE id = '" . made('none', $film) . "'"), 't', 'and nothing is written');

done_testing();
