# What "make demo KEEP=1" keeps up: each address it prints leads somewhere, and its
# logins work.  What the browser makes of the pages is tested where they are.

use strict;
use warnings FATAL => 'all';

use HTTP::Tiny;
use IPC::Run qw(start finish pump timeout);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal(default => { queue_ms => 50, run_ms => 100 });
my $storage = start_storage();
my $node = vibe_node('main', fal => $fal, storage => $storage, app => 0);
sql($node, 'CREATE EXTENSION vibevideo');
sql($node, slurp_file('test/demo/vibelogs.sql'));
sql($node, "SELECT vibevideo.attach('vibelogs', user_column => 'author')");
sql($node, "INSERT INTO vibevideo.limit (scope, submits_per_day) VALUES ('default', 0)");

my $text = '';
my $keeper = do
{
	local @ENV{qw(PGHOST PGPORT PGDATABASE)} = ($node->host, $node->port, 'postgres');
	start([ 'node', 'test/demo/keep.mjs', PostgreSQL::Test::Utils::tempdir(), $storage->direct ], '<', \undef, '>&', \$text, timeout(120));
};
pump($keeper) until $text =~ /^  (?:the app|no app).*\n(?:    .*\n)*\z/m && $text =~ /no app|ben\@/;
is(join("\n", grep { length > 80 } split /\n/, $text), '', 'no line has more than 80 columns');

END
{
	local $?;
	$keeper->kill_kill if $keeper && $keeper->pumpable;
}

my $http = HTTP::Tiny->new(timeout => 30);
my ($url) = $text =~ m{^    (http://127\.0\.0\.1:\d+)/rest/v1/rpc/vibevideo_dashboard\?apikey=demo$}m or BAIL_OUT($text);
# without the app only the operator's login is printed
my %password = ('ana@example.com' => 'ana', 'ben@example.com' => 'ben', $text =~ /(\w+\@example\.com), password (\w+)/g);

sub call
{
	my ($token, $path, $body) = @_;
	my %headers = (apikey => 'demo', 'content-type' => 'application/json', $token ? (authorization => "Bearer $token") : ());
	my $answer = $http->request(defined $body ? 'POST' : 'GET', "$url$path", { headers => \%headers, defined $body ? (content => encode_json($body)) : () });

	return ($answer->{status}, $answer->{content} =~ /^\s*[[{"]/ ? JSON::PP->new->utf8->allow_nonref->decode($answer->{content}) : $answer->{content});
}

sub log_in
{
	my ($mail) = @_;
	my ($status, $session) = call(undef, '/auth/v1/token?grant_type=password', { email => $mail, password => $password{$mail} });

	is($status, 200, "$mail can log in") or diag(explain($session));
	return $session->{access_token};
}

# -- the dashboard -----------------------------------------------------------------------------
my $page = $http->get("$url/rest/v1/rpc/vibevideo_dashboard?apikey=demo");
is("$page->{status} $page->{headers}{'content-type'}", '200 text/html; charset=utf-8', 'the dashboard is there');
my $olga = log_in('olga@example.com');
my ($status, $me) = call($olga, '/rest/v1/rpc/vibevideo_admin_me', {});
is($me->{level}, 'operator', 'and has its operator') or diag(explain($me));

# -- the app -----------------------------------------------------------------------------------
my $ana = log_in('ana@example.com');
($status, my $rows) = call($ana, '/rest/v1/vibelogs?select=author,id');
is_deeply([ map { $_->{author} } @$rows ], [ ('Ana') x 4 ], 'somebody sees the own entries');
($status, my $id) = call($ana, '/rest/v1/rpc/write_vibelog', { content => 'Something new' });
is($status, 200, 'writes another') or diag(explain($id));
($status, my $video) = call($ana, '/rest/v1/rpc/vibevideo_submit', { vibelog_id => $id });
is($status, 202, 'and can have a film made of it') or diag(explain($video));
wait_for($node, "SELECT video_generation_status FROM vibelogs WHERE id = '$id'", 'completed', 'which is made');
is(sql($node, "SELECT requested_by FROM vibevideo.jobs WHERE vibelog_id = '$id'"), 'Ana', 'for her');
($status) = call(log_in('ben@example.com'), '/rest/v1/rpc/vibevideo_status', { vibelog_id => $id });
is($status, 404, 'others do not see it');

# the page is there in any case, what it is made of if npm could be asked
my $app = $http->get("$url/?apikey=demo");
is($app->{status}, 200, 'the page of the app is there');
my @parts = $app->{content} =~ /(?:src|href)="(?!data:)([^"]*)"/g;
push @parts, $http->get("$url/app.js")->{content} =~ m{from '\./([^']+)'}g;
is_deeply([ sort @parts ], [qw(app.css app.js client/supabase.js element/index.js)], 'and names its parts');
my %has = map { $_ => $http->get("$url/$_")->{status} } @parts;
is_deeply([ @has{qw(app.css app.js)} ], [ 200, 200 ], 'of which its own are there');
my $built = -e 'web/element/dist/index.js' && -e 'web/node_modules/@supabase/supabase-js/dist/umd/supabase.js';
is(join(' ', @has{qw(client/supabase.js element/index.js)}) eq '200 200' ? 1 : 0, $built ? 1 : 0, 'and the others as far as they were made');
ok($text =~ ($built ? qr/^  the app, with/m : qr/^  no app, since npm/m), 'which it says');

$keeper->signal('TERM');
finish($keeper);
is($keeper->result(0), 0, 'it ends when it is told to');

done_testing();
