# What errors say, and to whom: PostgREST takes the message of a PT error for
# the reason phrase of its answer, line breaks included, so nothing from outside
# may stand in it; and keys, which any caller may make up, are cut and escaped
# wherever else a text names one.
#
# First the sources are searched for messages that break the rule, then every
# error that the public functions can raise is brought about with bad keys.

use strict;
use utf8;
use warnings FATAL => 'all';

use File::Basename qw(basename dirname);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VibeRest;
use VibeTest;

my $top = dirname(__FILE__) . '/../..';
my $json = JSON::PP->new->utf8->allow_nonref;

# control characters, those that end lines for some reader, those that turn the direction of writing
my $CONTROL = qr/[\x00-\x1f\x7f-\x9f\x{2028}-\x{202e}\x{2066}-\x{2069}]/;

# ---------------------------------------------------------------------------
# The sources
# ---------------------------------------------------------------------------

sub source
{
	my ($path) = @_;
	my $text = slurp_file($path);

	utf8::decode($text);
	# comments may say what they like
	$text =~ s{/\*.*?\*/}{ }sg;
	$text =~ s{^\s*--.*$}{}mg if $path =~ /\.sql$/;
	return $text;
}

my %source = map { basename($_) => source($_) } glob("$top/src/*.[ch] $top/sql/*.sql");
delete $source{$_} for grep { /^vibevideo--/ } keys %source;


my $string = qr/"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.|'')*+'/s;
my $balanced = qr/(\((?:[^()"']++|$string|(?-1))*+\))/s;

# split_arguments(text) - what stands between the commas, outside of parentheses and quotes.
sub split_arguments
{
	my ($text) = @_;
	my ($depth, $from, @parts) = (0, 0);

	while ($text =~ /($string|[(),])/g)
	{
		$depth += $1 eq '(' ? 1 : $1 eq ')' ? -1 : 0;
		next if $1 ne ',' || $depth;
		push @parts, substr($text, $from, pos($text) - 1 - $from);
		$from = pos($text);
	}
	return map { s/^\s+|\s+$//gr } @parts, substr($text, $from);
}

# calls(text, pattern) - [arguments of a call, what stands before it] of each call of a function.
sub calls
{
	my ($text, $name) = @_;
	my @found;

	push @found, [ substr($1, 1, -1), substr($text, 0, $-[0]) ] while $text =~ /(?<![\w.])(?:$name)\s*$balanced/g;
	return @found;
}

sub is_literal
{
	return $_[0] =~ /\A(?:$string\s*)+\z/;
}

# -- C
my %pt_macro = map { $_ => 1 } join("\n", values %source) =~ /#define (\w+) MAKE_SQLSTATE\('P', 'T', /g;
my (@sites, @bad, @unshown);

# A call that hands code and message on: then whatever calls its function is a site.
sub sites_of_wrapper
{
	my ($file, $before) = @_;
	my ($function) = $before =~ /.*^(\w+)\([^;{]*\)\n\{/ms or die "$file: no function around an ereport\n";

	for my $call (calls($source{$file}, $function))
	{
		my (undef, @rest) = split_arguments($call->[0]);
		next if $call->[0] =~ /\bconst char \*/;
		push @sites, "$file: $function($call->[0])";
		push @bad, $sites[-1] if grep { !is_literal($_) } @rest;
	}
	return;
}

for my $file (sort grep { /\.c$/ } keys %source)
{
	for my $call (calls($source{$file}, 'ereport'))
	{
		my ($report, $before) = @$call;
		my ($code) = map { $_->[0] } calls($report, 'errcode');
		my ($message) = map { $_->[0] } calls($report, 'errmsg\w*');

		next unless defined $code;
		sites_of_wrapper($file, $before) if $code =~ /^[a-z]\w*$/;
		next unless $pt_macro{$code} || $code =~ /^MAKE_SQLSTATE\('P', 'T'/;
		my ($format, @arguments) = split_arguments($message);
		push @sites, "$file: errmsg($message)";
		push @bad, $sites[-1] unless is_literal($format) && $format !~ /%(?!l*[du])/;
	}
	for my $call (calls($source{$file}, 'ereport|elog'))
	{
		my $rest = $call->[0] =~ s/WireShown$balanced//gr =~ s/$string//gr;
		push @unshown, "$file: $call->[0]" if $rest =~ /\b(?:vibelog_ids?|key|keys|user|requested_by)\b/;
	}
}

# -- SQL
# A number that this function has: an argument or a variable.
sub is_number
{
	my ($expression, $function) = @_;

	return 1 if $expression =~ /^(?:trim_scale|ceil|count|cardinality)\(/;
	return $expression =~ /^\w+$/ && $function =~ /\b\Q$expression\E (?:constant )?(?:bigint|int|integer|smallint|numeric)\b/;
}

sub is_plain_message
{
	my ($message, $function) = @_;
	return 1 if is_literal($message);
	my ($call) = calls($message, 'format') or return 0;
	my ($format, @arguments) = split_arguments($call->[0]);

	return is_literal($format) && !grep { !is_number($_, $function) } @arguments;
}

for my $file (sort grep { /\.sql$/ } keys %source)
{
	for my $function (split /^(?=CREATE (?:OR REPLACE )?FUNCTION )/m, $source{$file})
	{
		my ($name, $signature) = $function =~ /^CREATE (?:OR REPLACE )?FUNCTION vibevideo(?:_internal)?\.(\w+)\s*$balanced/;

		# of check_config's lines as well
		for my $call (map { calls($_->[0], 'format') } calls($function, 'vibevideo_internal\.line'), map { [$_] } $function =~ /\bRAISE\b((?:[^;']++|$string)*);/g)
		{
			my $rest = $call->[0] =~ s/vibevideo_internal\.shown$balanced//gr =~ s/$string//gr;
			push @unshown, "$file: $name: $call->[0]" if $rest =~ /\b(?:vibelog_id|who|requested_by|user_id)\b/;
		}
		push @unshown, "$file: $name: $1" if $function =~ s/vibevideo_internal\.shown$balanced//gr =~ /(max\(j\.vibelog_id\))/;
		while ($function =~ /\bRAISE\b((?:[^;']++|$string)*);/g)
		{
			my $raise = $1;
			my ($code) = $raise =~ /\bERRCODE\s*=\s*($string|\w+)/ or next;
			my ($message) = $raise =~ /\bMESSAGE\s*=\s*((?:[^,()']++|$string|$balanced)+)/;
			if ($code =~ /^'PT/)
			{
				push @sites, "$file: $name: " . ($message // $raise);
				push @bad, $sites[-1] unless defined $message && is_plain_message($message =~ s/\s+\z//r, $function);
			}
			elsif ($code !~ /^'/ && is_literal($message =~ s/\s+\z//r))
			{
				# the code may be any, the message is always the same
				push @sites, "$file: $name: $message";
			}
			elsif ($code !~ /^'/)
			{
				# it hands code and message on
				my @names = map { /^(\w+)/ ? $1 : '' } split_arguments(substr($signature, 1, -1));
				my ($at) = grep { $names[$_] eq $message =~ s/\s+\z//r } 0 .. $#names;

				die "$file: $name: MESSAGE is none of its arguments\n" unless defined $at;
				for my $caller (map { split /^(?=CREATE (?:OR REPLACE )?FUNCTION )/m, $_ } map { $source{$_} } grep { /\.sql$/ } keys %source)
				{
					for my $call (grep { $_->[1] =~ /(?:PERFORM|SELECT) \z/ } map { [ $_->[0], $_->[1] ] } calls($caller, 'vibevideo(?:_internal)?\.' . $name))
					{
						push @sites, "$file: $name: " . (split_arguments($call->[0]))[$at];
						push @bad, $sites[-1] unless is_plain_message((split_arguments($call->[0]))[$at], $caller);
					}
				}
			}
		}
	}
}
note(join("\n", sort @sites));
cmp_ok(scalar(@sites), '>=', 12, 'the sources raise PT errors');
ok(!@bad, 'no text from outside is in the message of one: at most numbers') or diag(join("\n", sort @bad));
ok(!@unshown, 'no text names a key or a user but cut and escaped') or diag(join("\n", sort @unshown));

# ---------------------------------------------------------------------------
# The answers
# ---------------------------------------------------------------------------
my $fal = start_fal(default => { hold => 'queue' });
my $node = vibe_node('main', fal => $fal, app => 0, conf => {
	'vibevideo.poll_interval' => '10s', 'log_statement' => 'none', 'logging_collector' => 'on', 'log_destination' => 'jsonlog',
	'log_filename' => 'all.log', 'log_min_messages' => 'info' });

sql($node, 'CREATE EXTENSION vibevideo');
supabase_roles($node);
sql($node, <<'SQL');
CREATE ROLE app;
GRANT CREATE, USAGE ON SCHEMA public TO app;
SET ROLE app;
CREATE TABLE notes (id text PRIMARY KEY, user_id text, prompt text);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes TO authenticated USING (user_id = 'everybody' OR user_id = current_setting('request.jwt.claims', true)::json->>'sub');
GRANT ALL ON notes TO authenticated;
CREATE FUNCTION video_input(n notes) RETURNS jsonb LANGUAGE sql STABLE AS
	$$ SELECT CASE n.prompt WHEN 'null' THEN NULL WHEN 'list' THEN '[]' ELSE jsonb_build_object('prompt', n.prompt) END $$;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN IF OLD.prompt = 'unwritable' THEN RAISE 'row % is mine', OLD.id; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION refuse();
RESET ROLE;
SELECT vibevideo.attach('notes', prompt_column => 'prompt', input_function => 'public.video_input');
SQL
# the real one is not read from a file
sub add
{
	my ($key, $prompt, $user) = @_;
	my $row = $json->encode({ id => $key, user_id => $user // 'everybody', prompt => $prompt });

	sql($node, "INSERT INTO notes SELECT * FROM json_populate_record(NULL::notes, \$row\$$row\$row\$)"
		  . ' ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, prompt = excluded.prompt');
	return;
}

my $rest = VibeRest->new($node);

sub rpc
{
	my ($name, $arguments, $user) = @_;

	return $rest->call('authenticated', $user // 'user-1', POST => "/rpc/$name", $arguments);
}

# What is wrong with an answer's bytes, as a client reads them: nothing may stand behind the body.
sub wire_faults
{
	my ($answer) = @_;
	my ($head, $rest) = split /\r\n\r\n/, answer_wire($answer), 2;
	my ($line, @headers) = split /\r\n/, $head, -1;
	my %header = map { /^([\w-]+): [\x20-\x7e]*\z/ ? (lc $1 => 1) : ("[$_]" => 1) } @headers;
	my ($length) = $head =~ /^content-length: (\d+)/mi;

	return (
		$line =~ /\AHTTP\/1\.1 \d{3} [\x20-\x7e]{1,120}\z/ ? () : "status line: $line",
		map({ "header $_" } grep { !/^(?:date|server|content-type|content-length|proxy-status|www-authenticate|retry-after)\z/ } sort keys %header),
		($length // -1) == length $rest ? () : 'something behind the body');
}

# What is wrong with its texts.
sub text_faults
{
	my ($answer) = @_;

	return map { my $text = $answer->{data}{$_} // ''; $text =~ $CONTROL || length $text > 400 ? "$_: $text" : () } qw(message details hint);
}

my $split = "x\r\nContent-Length: 0\r\nX-Injected: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nowned";
my %keys = (
	'a second answer' => $split,
	'CR' => "c\rd",
	'LF' => "c\nd",
	'control characters' => join('', map { chr } 1 .. 31, 127 .. 159),
	'escapes of a terminal' => "\e[31mred\e]0;title\a",
	'quotes' => q{a"b'c\\d\\n$1%s%n {}},
	'multibyte' => "\x{e4}" x 60 . "\x{1f3ac}" x 60,
	'reversed' => "\x{202e}\x{2028}\x{2066}exe.mp4",
	'10 kB' => 'k' x 10240,
	'10 kB of line breaks' => "\n" x 10240);
my %wrong = (
	'submit' => sub { rpc('vibevideo_submit', { vibelog_id => $_[0] }) },
	'submit_batch' => sub { rpc('vibevideo_submit_batch', { vibelog_ids => [ $_[0] ] }) },
	'status' => sub { rpc('vibevideo_status', { vibelog_id => $_[0] }) },
	'status by GET' => sub {
		utf8::encode(my $bytes = $_[0]);
		return $rest->call('authenticated', 'user-1', GET => '/rpc/vibevideo_status?vibelog_id=' . $bytes =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ger);
	},
	'cancel' => sub { rpc('vibevideo_cancel', { vibelog_id => $_[0] }) },
	'retry' => sub { rpc('vibevideo_retry', { vibelog_id => $_[0] }) });
my %said;

sub ok_error
{
	my ($answer, $state, $name, $way) = @_;

	$answer->{data} //= $answer->{body} eq '' ? {} : $json->decode($answer->{body});
	is_deeply([ $answer->{code}, wire_faults($answer), text_faults($answer) ], [$state], "$name: $state") or diag(explain($answer->{data}));
	# a way of failing has one message, whatever the key
	$said{"$way $state"}{ $answer->{data}{message} // '' }++ if $state =~ /^PT/;
	return;
}

for my $kind (sort keys %keys)
{
	my $key = $keys{$kind};
	my $fits = length $key < 10000;

	# no row, and one of somebody else
	for my $way (sort keys %wrong)
	{
		ok_error($wrong{$way}->($key), $fits ? 'PT404' : '22023', "$kind, $way: no such row", $way);
	}
	next unless $fits;
	add($key, 'hers', 'user-2');
	ok_error($wrong{$_}->($key), 'PT404', "$kind, $_: not to be seen", $_) for sort keys %wrong;

	# a row, and something wrong with it
	add($key, 'never submitted');
	ok_error($wrong{retry}->($key), 'PT404', "$kind, retry: never submitted", 'nothing to retry');
	for my $prompt ('', 'p' x 3000, 'null', 'list')
	{
		add($key, $prompt);
		ok_error($wrong{$_}->($key), '22023', "$kind, $_: a bad input", "$_ $prompt") for qw(submit submit_batch);
	}
	sql($node, 'ALTER TABLE notes FORCE ROW LEVEL SECURITY');
	add($key, 'unseen');
	ok_error($wrong{$_}->($key), '42501', "$kind, $_: not to be seen by the owner", $_) for qw(submit submit_batch);
	sql($node, 'ALTER TABLE notes NO FORCE ROW LEVEL SECURITY');

	# whose name is as bad
	add('of a user', 'over a limit');
	for my $limit (qw(max_active submits_per_day spend_per_day_usd))
	{
		sql($node, "INSERT INTO vibevideo.limit (scope, $limit) VALUES ('default', 0)");
		for my $way (qw(submit submit_batch))
		{
			my $answer = rpc("vibevideo_$way", $way eq 'submit' ? { vibelog_id => 'of a user' } : { vibelog_ids => ['of a user'] }, $key);
			ok_error($answer, $limit =~ /usd/ ? 'PT402' : 'PT429', "$kind as a user, $way: $limit", "$way $limit");
		}
		sql($node, q{DELETE FROM vibevideo.limit});
	}

	# fal.ai's call, forged; line breaks cannot be sent in a header
	utf8::encode(my $sent = $key =~ tr/\r\n/  /r);
	ok_error($rest->request(POST => '/rpc/vibevideo_webhook', {
			'x-fal-webhook-request-id' => $sent, 'x-fal-webhook-user-id' => $sent, 'x-fal-webhook-timestamp' => $sent, 'x-fal-webhook-signature' => $sent }, '{"a": 1}'),
		'PT401', "$kind, webhook", 'webhook');

	# it cannot be written
	add($key, 'unwritable');
	my $answer = rpc('vibevideo_submit_batch', { vibelog_ids => [$key] });
	is($answer->{status}, 202, "$kind: a row that cannot be written is no error");
}
is_deeply([ map { "$_: " . join(' | ', sort keys %{ $said{$_} }) } grep { keys %{ $said{$_} } > 1 } sort keys %said ], [], 'each error has one message');

# what the key was stays to be recognised
{
	my $answer = $wrong{submit}->(q{my 'own' "key"});
	like("$answer->{data}{message} " . ($answer->{data}{details} // ''), qr/my 'own' "key"/, 'a harmless key stands in the details as it is');
	$answer = $wrong{submit}->($split =~ s/owned/absent/r);
	like("$answer->{data}{message} " . ($answer->{data}{details} // ''), qr/x\\r\\nContent-Length/, 'others do escaped');
}

# rows that cannot be written stay so
wait_for($node, q{SELECT count(*) > 0 FROM vibevideo.job WHERE row_error IS NOT NULL}, 't', 'the worker could not write rows either');
is(sql($node, q{SELECT count(*) FROM vibevideo.check_config() c WHERE c::text ~ '[\x01-\x1f]'}), '0', 'check_config shows no control characters');

# somebody else's job, committed between our first statement and the call
{
	my $key = $split =~ s/owned/raced/r;
	add($key, 'the very moment');
	sql($node, "DELETE FROM vibevideo.job; ALTER FUNCTION vibevideo_submit_batch SET default_transaction_isolation = 'repeatable read'");
	my $file = PostgreSQL::Test::Utils::tempdir() . '/meanwhile.sql';
	append_to_file($file, q{SELECT vibevideo_submit_batch(ARRAY(SELECT id FROM notes WHERE prompt = 'the very moment'))});
	sql($node, 'CREATE FUNCTION public.meanwhile() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN'
		  . " COPY (SELECT 1) TO PROGRAM 'psql -X -h " . $node->host . ' -p ' . $node->port . " -d postgres -f $file >/dev/null'; END \$\$");
	my $other = VibeRest->new($node, pre_request => 'public.meanwhile');
	my $answer = $other->call('authenticated', 'user-1', POST => '/rpc/vibevideo_submit_batch', { vibelog_ids => [$key] });
	ok_error($answer, '40001', 'a job that another call has just made', 'race');
}

# ---------------------------------------------------------------------------
# The log
# ---------------------------------------------------------------------------
{
	my @entries = map { eval { $json->decode($_) } // { message => "no JSON: $_" } } split /\n/, slurp_file($node->data_dir . '/log/all.json');
	my @bad;

	cmp_ok(scalar(grep { ($_->{message} // '') =~ /could not write row/ } @entries), '>', 5, 'the log says which rows could not be written');
	for my $entry (@entries)
	{
		# what PostgreSQL itself says of a statement, and the app of its rows, is theirs
		next if ($entry->{message} // '') =~ /^(?:duration|statement|execute|row .* is mine)/s;
		push @bad, map { "$_: $entry->{$_}" } grep { ($entry->{$_} // '') =~ $CONTROL || length($entry->{$_} // '') > 600 } qw(message detail hint);
	}
	is_deeply([ @bad > 20 ? @bad[ 0 .. 19 ] : @bad ], [], 'no line of the log has control characters, or all of a long key');
}

done_testing();
