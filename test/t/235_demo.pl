# "make demo", as people see it: it tells what it promises, in 80 columns, without a
# line that looks like a fault; and its bill is what the stand-in for fal.ai has noted.

use strict;
use utf8;
use warnings FATAL => 'all';

BEGIN { $ENV{VIBETEST_TIMEOUT} ||= 400; }

use Cwd qw(getcwd);
use Digest::SHA qw(sha256_hex sha256_base64);
use IPC::Run qw(run timeout);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $dir = getcwd() . '/demo';
my $text = '';

# it is a make of its own, not a part of the one that runs the tests
delete @ENV{qw(MAKEFLAGS MAKELEVEL MFLAGS DEMO_ROWS FAL_KEY)};
my $ended = run([ 'make', 'demo' ], '<', \undef, '>&', \$text, timeout(360));
utf8::decode($text);
ok($ended, 'the demo succeeds') or diag($text);

sub tells
{
	my ($pattern, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($text =~ $pattern, $name) or diag("not told: $pattern");
	return;
}

# ---------------------------------------------------------------------------
# How it looks
# ---------------------------------------------------------------------------
is(join("\n", grep { length > 80 } split /\n/, $text), '', 'no line has more than 80 columns');
is(join("\n", grep { /ERROR|WARNING|FATAL|PANIC|NOTICE|WRONG|DETAIL|HINT|[Ww]arning:|\*\*\*/ } split /\n/, $text), '', 'no line looks like a fault');

# ---------------------------------------------------------------------------
# What it tells
# ---------------------------------------------------------------------------
like($text, qr/^  \Q$_\E  \w/m, "the entry of $_") for ('Mon  Ana', 'Tue  Ana', 'Wed  Ben', 'Thu  Ana', 'Fri  Ben', 'Sat  Ben', 'Sun  Ana');
tells(qr/^  Tue  Ana  queued  The provider's answer was lost/m, 'an answer is lost');
tells(qr/^  Wed  Ben  processing  █.*Copying \d+ %/m, 'there is progress');
tells(qr/the worker is killed, on purpose\n  PostgreSQL restarts itself .*^  \$ kill -9 \d+\n  PostgreSQL was back after [\d.]+ s, with a new worker: process \d+\./ms,
	'the worker is killed, and what that does is said before');
tells(qr/new worker: .*^  Wed  Ben  completed .*^  Wednesday's copy went on where it was: the new worker fetched the film from\n  byte [\d,]+ on/ms, 'and the copy goes on');
tells(qr/^  Tuesday's request was found in fal\.ai's list\. fal\.ai has had it once\.$/m, 'the request whose answer was lost is found');
tells(qr/^  Ben reads: Failed: the provider rejects this content \(prompt: The content\n/m, 'one is rejected, in a sentence');
tells(qr/^  Sun  Ana  refused  No more videos can be requested today\. Come back after/m, 'one is over the limit of its user');
tells(qr/^  user:Ana  submits_per_day  3  3$/m, 'which the view of what is used shows');
tells(qr/^  global  spend_per_day_usd  2\.5  25$/m, 'with the budget of all');
tells(qr/\n\nSuccess\. To see the films, open demo\/index\.html\.\n\z/, 'it ends with where the films are');

# ---------------------------------------------------------------------------
# The bill
# ---------------------------------------------------------------------------
my $ledger = decode_json(slurp_file("$dir/ledger.json"));
my @jobs = @{ $ledger->{jobs} };
my @paid = grep { $_->{billed} } @jobs;
my @rendered = grep { $_->{outcome} eq 'ok' } @jobs;
my ($lost) = map { $_->{hits} } grep { $_->{fault}{kind} eq 'reset_after' } @{ $ledger->{faults} };
my @again = grep { $_->{counts}{media} > 1 } @jobs;
my $careless = @paid + $lost + @again;
my $line = sprintf("%d videos requested, %d rendered, %d paid: \$%.2f\n  Without vibevideo's care %d would have been paid: \$%.2f",
	$ledger->{accepted}, scalar(@rendered), scalar(@paid), @paid / 2, $careless, $careless / 2);
is_deeply([ ($text =~ /^  (\d+ videos requested, .*\n.*)$/mg) ], [$line], 'the bill is what the ledger has');
tells(qr/^  \(\Q$careless\E = /m, 'and it says how it comes to what others would pay');
tells(qr/^  vibevideo\.costs says the same\.$/m, 'vibevideo has the same costs');
is($line, "6 videos requested, 5 rendered, 5 paid: \$2.50\n  Without vibevideo's care 7 would have been paid: \$3.50", 'which are those of the story');
tells(qr/FROM vibevideo\.ledger;\n  2\.5\d*  2\.5\d*  0[.0]*$/m, 'and so does the bill that it reads from fal.ai');
my %prompts = map { $_->{input}{prompt} => 1 } @jobs;
is(scalar(keys %prompts), scalar(@jobs), 'no prompt was sent twice');
is_deeply([ map { $_->{range_starts}[0] } @again ], [ $text =~ /^  byte ([\d,]+) on/m ? $1 =~ tr/,//dr : undef ], 'the copy went on where it says');

# ---------------------------------------------------------------------------
# What it leaves
# ---------------------------------------------------------------------------
my %made = map { sha256_hex(slurp_file($_)) => 1 } glob("$dir/*.mp4");
is_deeply([ sort keys %made ], [ sort map { $_->{media_sha256} } @paid ], 'the films are those that were paid');
my $page = slurp_file("$dir/index.html");
is_deeply([ sort $page =~ /\s(?:src|poster)="([^"]*)"/g ], [ sort map { s{.*/}{}r } glob("$dir/*.mp4"), glob("$dir/*.jpg") ], 'the page shows each, with a poster');
ok(-s "$dir/$_", "$_ is there") for $page =~ /\s(?:src|poster|href)="([^"]*)"/g;
is(scalar(() = $page =~ /<li class="card">/g), 7, 'and has the whole week');
my ($style) = $page =~ m{<style>(.*)</style>}s;
my $hash = sha256_base64($style);
$hash .= '=' while length($hash) % 4;
my ($policy) = $page =~ /<meta http-equiv="Content-Security-Policy" content="([^"]*)">/;
is($policy, "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'sha256-$hash'; base-uri 'none'; form-action 'none'",
	'nothing but what lies beside it may be loaded');
unlike($page, qr/<script|\son\w+=|\sstyle=|javascript:/i, 'and there is no script');

done_testing();
