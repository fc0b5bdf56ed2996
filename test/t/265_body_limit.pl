# A real nginx in front of Storage that limits the size of a request: a video that
# does not pass in one piece goes in parts.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $SIZE = 9_000_000;
my $fal = start_fal(default => { queue_ms => 0, run_ms => 0, media => { bytes => $SIZE } });
my $json = q[error_page 413 @large; location @large { default_type application/json; return 413 '{"message":"Request size limit exceeded"}'; }];
my $node;

# copy(front, directives, prompt, fault) - a copy through such an nginx, to its end: (job, object, uploads in parts, render)
sub copy
{
	my ($front, $directives, $name, $fault) = @_;
	my $storage = start_storage(front => $front, nginx => $directives);

	$node ||= vibe_node('main', fal => $fal, storage => $storage, conf => { 'vibevideo.max_tries' => 20 });
	configure($node, storage_url => $storage->url);
	my $id = new_row($node, $name);
	$fal->fault('media', $fault, prompt => "^$name\$", times => -1) if $fault;
	submit($node, $id);
	wait_for($node, "SELECT state FROM vibevideo.job WHERE vibelog_id = '$id'", qr/^(completed|failed)$/, "$name: comes to an end", hurry => 1);
	return (job_of($node, $id), $storage->object($id), $storage->ledger->{tus}, ($fal->renders($name))[0]);
}

for my $front (qw(http1 http2))
{
	# parts of 6 MiB pass
	for my $case ([ 'a page', '', undef, 2 ], [ 'JSON', $json, undef, 2 ], [ 'nothing', q[error_page 413 @large; location @large { return 413 ''; }], undef, 2 ],
		[ 'a page, of unknown length', '', 'no_length', 1 ])
	{
		my ($what, $directives, $fault, $downloads) = @$case;
		my $name = "$front, $what";
		my ($job, $object, $uploads, $render) = copy($front, "client_max_body_size 7m; $directives", $name, $fault);

		is($job->{state}, 'completed', "$name: stored") or diag("$job->{error_code}: $job->{error}");
		is($object->{sha256}, $render->{media_sha256}, "$name: the object is fal's file");
		is_deeply([ map { $_->{patches} } @$uploads ], [2], "$name: in two parts");
		# an answer that comes early may be lost with its connection, which is one more try
		cmp_ok($render->{counts}{media}, '>=', $downloads, "$name: downloaded so often");
	}

	my $name = "$front, and no part passes";
	my ($job, $object, $uploads) = copy($front, 'client_max_body_size 1m;', $name);
	is($job->{state}, 'failed', "$name: it fails");
	is($job->{error_code}, 'EntityTooLarge', "$name: for its size");
	like($job->{error}, qr/HTTP 413 from a gateway \(HTML, nginx\), not from Storage/, "$name: and says whose limit it is");
	cmp_ok($job->{tries}, '>=', 3, "$name: after three tries");
	is(scalar(grep { $_->{received} > 0 } @$uploads), 0, "$name: no byte has passed");
}

done_testing();
