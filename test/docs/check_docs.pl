#!/usr/bin/env perl
# Compares the manual (README.md, CONTRIBUTING.md, doc/) and src/README.md with
# the code, so that they do not drift.
#
#   perl test/docs/check_docs.pl [psql option ...]
#
# Reads the sources; with options (as -h /tmp -p 5432 -d app) it also asks a
# running server that has the extension. Prints TAP. The tables and lists it
# reads stand behind a comment <!-- docs:NAME -->.
use strict;
use utf8;
use warnings FATAL => 'all';

use File::Basename qw(basename dirname);
use File::Find;
use File::Spec;
use Test::More;

use lib dirname(__FILE__) . '/../perl';
use VibeDocs;
use VibeStatus;

binmode($_, ':encoding(UTF-8)') for Test::More->builder->output, Test::More->builder->failure_output;

my $top = dirname(__FILE__) . '/../..';
my @psql = @ARGV;

sub slurp
{
	my ($path) = @_;
	open(my $file, '<:encoding(UTF-8)', "$top/$path") or die "$path: $!\n";
	local $/;
	return scalar <$file>;
}

my %manual = manual_files();
my $manual = manual_text();
my $design = slurp('src/README.md');
my %c = map { basename($_) => slurp('src/' . basename($_)) } glob("$top/src/*.c");
my %h = map { basename($_) => slurp('src/' . basename($_)) } glob("$top/src/*.h");
my ($parts) = slurp('Makefile') =~ /^SQL_PARTS\s*=\s*(.*)$/m or die "no SQL_PARTS in Makefile\n";
my $sql = join("\n", map { slurp($_) } split ' ', $parts);
my $all_c = join("\n", map { $c{$_} } sort keys %c);
my $all_h = join("\n", map { $h{$_} } sort keys %h);
my $code = "$all_c\n$all_h\n$sql";

# ---------------------------------------------------------------------------
# Reading the documents
# ---------------------------------------------------------------------------

# section(TEXT, NAME): what stands behind the mark, up to the next empty line
# after it began
sub section
{
	my ($text, $name) = @_;
	my ($found) = $text =~ /<!-- docs:\Q$name\E -->\n(.*?)(?:\n\s*\n|\z)/s;
	return defined $found ? $found : die "there is no docs:$name\n";
}

# rows of a table as lists of cells, without its head; of the manual if no text is given
sub table
{
	my ($text, $name) = @_ == 2 ? @_ : (undef, @_);
	my @rows;
	for my $line (split /\n/, defined $text ? section($text, $name) : manual_section($name))
	{
		next unless $line =~ s/^\|\s*// and $line =~ s/\s*\|\s*$//;
		push @rows, [ map { s/^\s+|\s+$//gr } split /\|/, $line, -1 ];
	}
	splice(@rows, 0, 2);
	return @rows;
}

sub ticked
{
	my ($text) = @_;
	return $text =~ /`([^`]+)`/g;
}

sub squeeze
{
	my ($text) = @_;
	$text =~ s/\s+/ /g;
	$text =~ s/^ | $//g;
	return $text;
}

sub unquote
{
	my ($text) = @_;
	$text =~ s/^`|`$//g;
	return $text eq "''" ? '' : $text;
}

# same_set(NAME, DOCUMENTED, FOUND): both ways, with what is wrong
sub same_set
{
	my ($name, $documented, $found) = @_;
	my %documented = map { $_ => 1 } @$documented;
	my %found = map { $_ => 1 } @$found;
	my @missing = grep { !$documented{$_} } sort keys %found;
	my @extra = grep { !$found{$_} } sort keys %documented;

	ok(%found && !@missing && !@extra, $name)
	  or diag((@missing ? "not documented: @missing\n" : ''), (@extra ? "not in the code: @extra\n" : ''),
		(%found ? '' : "nothing found in the code\n"));
	is(scalar(@$documented), scalar(keys %documented), "$name: each once");
	return;
}

# ---------------------------------------------------------------------------
# Settings
# ---------------------------------------------------------------------------
my %limits = (INT_MAX => 2147483647);

# 1024 * 1024, 30 * 86400, INT_MAX
sub number
{
	my ($text) = @_;
	my $product = 1;
	$product *= exists $limits{$_} ? $limits{$_} : $_ for split /\s*\*\s*/, $text;
	return $product;
}

sub settings_in_code
{
	my $guc = $c{'guc.c'};
	my %units = (GUC_UNIT_MS => 'ms', GUC_UNIT_S => 's', GUC_UNIT_KB => 'kB');
	my %settings;
	my ($strings) = $guc =~ /StringSetting strings\[\] = \{(.*?)^\};/ms;
	my ($ints) = $guc =~ /IntSetting ints\[\] = \{(.*?)^\};/ms;
	my $text = qr/"((?:[^"\\]|\\.)*)"/;

	while ($strings =~ /\{"([a-z._]+)",\s*$text,\s*&\w+,\s*$text,\s*(\w+),/g)
	{
		$settings{$1} = { default => $3, unit => '', range => '', secret => $4 eq 'SECRET' };
	}
	while ($ints =~ /\{"([a-z._]+)",\s*$text,\s*&\w+,\s*([^,]+),\s*([^,]+),\s*([^,]+),\s*(\w+)\}/g)
	{
		$settings{$1} = { default => number($3), unit => $units{$6} // '', range => number($4) . '–' . number($5) };
	}
	while ($guc =~ /DefineCustomBoolVariable\("([a-z._]+)",\s*$text,\s*NULL,\s*&\w+,\s*(\w+)/g)
	{
		$settings{$1} = { default => $3 eq 'true' ? 'on' : 'off', unit => '', range => '' };
	}
	while ($guc =~ /DefineCustomRealVariable\("([a-z._]+)",\s*$text,\s*NULL,\s*&\w+,\s*([\d.]+),\s*([\d.]+),\s*([\d.]+)/g)
	{
		$settings{$1} = { default => $3, unit => '', range => "$4–$5" };
	}
	while ($guc =~ /DefineCustomIntVariable\("([a-z._]+)",\s*$text,\s*NULL,\s*&\w+,\s*(\d+),\s*(\d+),\s*(\d+)/g)
	{
		$settings{$1} = { default => $3, unit => '', range => "$4–$5" };
	}
	while ($guc =~ /DefineCustomEnumVariable\("([a-z._]+)",\s*$text,\s*NULL,\s*&\w+,\s*(\w+),\s*(\w+),/g)
	{
		my ($name, $default, $options) = ($1, $3, $4);
		my ($list) = $guc =~ /config_enum_entry $options\[\] = \{(.*?)^\};/ms;
		my @values = $list =~ /\{"(\w+)"/g;
		my ($first) = $list =~ /\{"(\w+)", $default,/;
		$settings{$name} = { default => $first, unit => '', range => join(', ', map { "`$_`" } @values) };
	}
	return %settings;
}

sub settings_in_manual
{
	my %settings;
	for my $row (table('settings'))
	{
		my ($name, $default, $unit, $range, $meaning) = @$row;
		$settings{ unquote($name) } =
		  { default => unquote($default), unit => $unit, range => $range, secret => scalar($meaning =~ /Secret/) };
	}
	return %settings;
}

my %documented = settings_in_manual();
{
	my %code = settings_in_code();
	same_set('settings', [ keys %documented ], [ keys %code ]);
	my $defined = () = $all_c =~ /\{"vibevideo\.|Define\w+Variable\("vibevideo\./g;
	is(scalar(keys %code), $defined, 'settings: none was overlooked in guc.c');
	for my $name (sort grep { $documented{$_} } keys %code)
	{
		for my $what (qw(default unit range))
		{
			is($documented{$name}{$what}, $code{$name}{$what}, "$name: $what");
		}
		is(!!$documented{$name}{secret}, !!$code{$name}{secret}, "$name: secret or not");
	}
	my @named = "$manual$design" =~ /`(vibevideo(?:_internal)?\.\w+)(?: = \w+)?`/g;
	my %known = map { $_ => 1 } keys %code, $sql =~ /\b(?:FUNCTION|TABLE|TYPE|VIEW|SEQUENCE) (vibevideo(?:_internal)?\.\w+)/g;
	is_deeply([ grep { !$known{$_} && !/^vibevideo\.(so|jobs|c|conf)$/ } @named ], [], 'every vibevideo.x that is named exists');
}

# ---------------------------------------------------------------------------
# Functions
# ---------------------------------------------------------------------------

# The public functions of a row's key, as create_api makes them.
sub api_in_code
{
	my ($rows) = $sql =~ /FROM \(VALUES\s*(\('vibevideo_submit'.*?)\) AS f\(name/s;
	my %api;

	while ($rows =~ /\('(vibevideo_\w+)', '(\w+)', (?:true|false), '([^']+)',/g)
	{
		$api{"$1($2)"} = $3;
	}
	while ($sql =~ /^CREATE FUNCTION public\.(vibevideo_\w+)\(([^)]*)\)\s*(?:RETURNS (\w+(?: \([^)]*\))?)\s+)?LANGUAGE c/mg)
	{
		my ($name, $arguments, $result) = ($1, $2, $3);
		my @out = $arguments =~ /OUT (\w+ \w+)/g;
		$api{"$name(" . (@out ? '' : $arguments) . ')'} = @out ? join(', ', @out) : $result;
	}
	return %api;
}

# name => {signature, result} of what the scripts create in schemas vibevideo and vibevideo_internal
sub functions_in_code
{
	my %functions;

	while ($sql =~ /^CREATE FUNCTION (vibevideo(?:_internal)?\.\w+)(\((?:[^()']|'[^']*'|\([^()]*\))*\))\s*(RETURNS\s+(.*?)\s*(?=\bLANGUAGE\b))?/msg)
	{
		my ($name, $arguments, $result) = ($1, $2, $4);
		my @out = defined $result ? () : $arguments =~ /OUT (\w+ \w+)/g;

		$arguments =~ s/(?:,\s*)?\bOUT \w+ \w+//g if @out;
		$functions{$name} = { signature => squeeze("$name$arguments"), result => @out ? join(', ', @out) : squeeze($result // '') };
	}
	return %functions;
}

# guarded_in_code(SCHEMA): name => level of its functions that vibevideo_internal.rights() calls guarded
sub guarded_in_code
{
	my ($schema) = @_;
	my ($rights) = $sql =~ /FUNCTION vibevideo_internal\.rights\(\).*?\n\tVALUES (.*?)\nEND;/s or die "no vibevideo_internal.rights()\n";
	my %level;

	while ($rights =~ /\('(viewer|operator)', '(\w+)', (.*?), (true|false)\)/gs)
	{
		my ($level, $objects, $guarded) = ($1, $3, $4);
		next unless $guarded eq 'true';
		$level{$_} = $level for $objects =~ /\b(\Q$schema\E\.\w+)\(/g;
	}
	return %level;
}

# name => {signature, result, calls} of the dashboard's functions in schema public
sub wrappers_in_code
{
	my %wrappers;

	while ($sql =~ /^CREATE FUNCTION public\.(vibevideo_admin_\w+)(\((?:[^()']|'[^']*'|\([^()]*\))*\))\s*(?:RETURNS\s+(.*?)\s*)?LANGUAGE sql .*?\n(?:RETURN|BEGIN ATOMIC\n\tSELECT x\.\* FROM) (vibevideo(?:_internal)?\.\w+)\(/msg)
	{
		my ($name, $arguments, $result, $calls) = ($1, $2, $3, $4);
		my @out = defined $result ? () : $arguments =~ /OUT (\w+ \w+)/g;

		$arguments =~ s/(?:,\s*)?\bOUT \w+ \w+//g if @out;
		$wrappers{$name} = { signature => squeeze("$name$arguments"), result => @out ? join(', ', @out) : squeeze($result), calls => $calls };
	}
	return %wrappers;
}

my @api = table('api');
my @operator = table('operator');

# What the manual names of vibevideo_internal: who moves the database publishes it.
my @named = qw(new_costs rollup_level tally);
{
	my %code = api_in_code();
	my %functions = functions_in_code();
	my %public = map { unquote($_->[0]) => unquote($_->[1]) } @api;

	same_set('functions for the app', [ keys %public ], [ keys %code ]);
	is($public{$_}, $code{$_}, "$_: result") for sort grep { $public{$_} } keys %code;

	my @operator_names = map { unquote($_->[0]) =~ s/\(.*//r } @operator;
	same_set('functions in schema vibevideo', \@operator_names, [ grep { /^vibevideo\./ } keys %functions ]);
	my $created = () = $sql =~ /^CREATE (?:OR REPLACE )?FUNCTION vibevideo(?:_internal)?\./mg;
	is(scalar(keys %functions), $created, 'functions: none was overlooked in sql/');
	is_deeply([ sort keys %{ { map { $_ => 1 } $manual =~ /\bvibevideo_internal\.(\w+)/g } } ], \@named,
		'of vibevideo_internal the manual names what a publication needs');
	my %relations = map { unquote($_->[0]) => $_->[1] } table('relations');
	my %created = reverse map { lc } $sql =~ /^CREATE (?:UNLOGGED )?(TABLE|VIEW|TYPE) (vibevideo\.\w+)/mg;
	is_deeply(\%relations, \%created, 'tables, views and types in schema vibevideo');
	# what people see: a table for each type, and the kinds of trouble
	while ($sql =~ /^CREATE TYPE vibevideo\.(overview_row|inbox_row|job_page|job_row|job_details|job_step|job_event|error_group|user_row) AS \(\n(.*?)\n\);/msg)
	{
		my ($type, $fields) = ($1, $2);
		same_set("fields of vibevideo.$type", [ map { ticked($_->[0]) } table($type) ], [ $fields =~ /^\t"?(\w+)/mg ]);
	}
	same_set('kinds of lines of the inbox', [ map { ticked($_->[0]) } table('inbox') ],
		[ $sql =~ /COMMENT ON COLUMN vibevideo\.inbox_row\.kind IS\s+'([^']*)'/ ? split(/, (?:or )?/, $1) : () ]);
	my %guarded = guarded_in_code('vibevideo');
	my @unguarded = grep { $sql !~ /^CREATE FUNCTION \Q$_\E\((?:(?!\n\$\$;).)*?(?:\bvibevideo_internal\.require(?:_to_read)?\('$guarded{$_}'\)|AS 'MODULE_PATHNAME')/ms } sort keys %guarded;
	is_deeply(\@unguarded, ['vibevideo.me'], 'each function that is granted to a level requires it, but for the one that tells who has none');
	same_set('functions for operators', [ ticked(manual_section('guarded')) ], [ keys %guarded ]);
	for my $row (@operator)
	{
		my ($signature, $result) = map { unquote($_) } @$row[ 0, 1 ];
		my ($name) = $signature =~ /^([\w.]+)/;
		is($signature, $functions{$name}{signature}, "$name: signature");
		is($result, $functions{$name}{result}, "$name: result");
	}
}

# The dashboard's: each has the arguments and the result of what it calls, for the same level.
my @admin = table('admin');
{
	my %wrappers = wrappers_in_code();
	my %functions = functions_in_code();
	my %guarded = (guarded_in_code('vibevideo'), guarded_in_code('vibevideo_internal'));
	my %granted = guarded_in_code('public');
	my %documented = map { unquote($_->[0]) =~ s/\(.*//r => $_ } @admin;
	my $created = () = $sql =~ /^CREATE FUNCTION public\.vibevideo_admin_/mg;

	is(scalar(keys %wrappers), $created, 'functions of the dashboard: none was overlooked in sql/');
	same_set('functions of the dashboard', [ keys %documented ], [ keys %wrappers ]);
	same_set('those that are granted', [ map { s/^public\.//r } keys %granted ], [ keys %wrappers ]);
	for my $name (sort grep { $documented{$_} } keys %wrappers)
	{
		my ($signature, $calls, $for) = @{ $documented{$name} };
		my $called = $functions{ $wrappers{$name}{calls} };

		is(unquote($signature), $wrappers{$name}{signature}, "$name: signature");
		is($wrappers{$name}{signature} =~ s/^\w+//r, $called->{signature} =~ s/^[\w.]+//r =~ s/^\(job bigint/(job_id bigint/r, "$name: arguments of what it calls");
		is($wrappers{$name}{result}, $called->{result}, "$name: result of what it calls");
		is((ticked($calls))[0], $wrappers{$name}{calls}, "$name: what it calls") unless $wrappers{$name}{calls} =~ /^vibevideo_internal\.shown_/;
		is($granted{"public.$name"}, $guarded{ $wrappers{$name}{calls} }, "$name: granted as what it calls");
		is($for, $name eq 'vibevideo_admin_me' ? 'all who are logged in' : $granted{"public.$name"} eq 'viewer' ? 'viewers, operators' : 'operators', "$name: for whom");
	}
}

# Who may call them, as grant_api_roles says.
for my $row (@api)
{
	my ($name) = unquote($row->[0]) =~ /^(\w+)/;
	my ($rule) = $sql =~ /WHEN '$name' THEN (\w+)/;
	my %callers = (service => 'service_role', anonymous => 'anon');
	is($row->[2], $rule ? $callers{$rule} : 'authenticated, service_role', "$name: who may call it");
}

# ---------------------------------------------------------------------------
# Errors
# ---------------------------------------------------------------------------

# condition name => SQLSTATE, as PostgreSQL spells them
sub conditions
{
	my $sharedir = qx{\${PG_CONFIG:-pg_config} --sharedir};
	chomp $sharedir;
	open(my $file, '<', "$sharedir/errcodes.txt") or return;
	my (%by_name, %by_macro);
	while (<$file>)
	{
		next unless /^([0-9A-Z]{5})\s+[EWS]\s+(ERRCODE_\w+)(?:\s+(\w+))?/;
		$by_macro{$2} = $1;
		$by_name{$3} = $1 if $3 && !exists $by_name{$3};
	}
	return (\%by_name, \%by_macro);
}

is(http_status_of($_, 'anon', ''), $observed{$_}, "$_: the rule says what PostgREST was seen to do") for sort keys %observed;

# in the table of errors
sub http_status
{
	my ($state) = @_;
	return join(', ', http_status_of($state), http_status_of($state, 'anon') . ' for anon') if $state eq '42501';
	return http_status_of($state);
}

SKIP:
{
	my ($by_name, $by_macro) = conditions();
	skip 'no errcodes.txt beside this pg_config', 1 unless $by_name && %$by_name;

	my %found;
	$found{ $by_macro->{$1} // die "unknown macro $1\n" } = 1 while $all_c =~ /errcode\((ERRCODE_(?!VIBEVIDEO|REFUSED|TOO_LARGE)\w+)/g;
	$found{"$1$2$3$4$5"} = 1 while $code =~ /MAKE_SQLSTATE\('(.)', '(.)', '(.)', '(.)', '(.)'\)/g;
	# limits.sql hands them on as arguments
	$found{$1} = 1 while $sql =~ /'(PT\d{3})', /g;
	while ($sql =~ /ERRCODE = '(\w+)'/g)
	{
		my $condition = $1;
		$found{ $condition =~ /^PT\d{3}$/ ? $condition : $by_name->{$condition} // die "unknown condition $condition\n" } = 1;
	}
	my @rows = table('errors');
	same_set('SQLSTATEs', [ map { unquote($_->[0]) } @rows ], [ keys %found ]);
	for my $row (@rows)
	{
		my ($state, $condition, $http) = @$row;
		$state = unquote($state);
		is($by_name->{$condition}, $state, "$state: is $condition") unless $state =~ /^PT/;
		is($http, http_status($state), "$state: HTTP status");
	}
}

# error_code: what our own code puts there
{
	my %found;
	$found{$1} = 1
	  while $all_c =~ /\b(?:TaskFail|TaskRetry|RetryOnReply|NoteReason|SetErrorType)\((?:[^;"()]|\([^()"]*\))*"([a-z0-9_]+)"/g;
	$found{$1} = 1 while $all_c =~ /(?:error_code = |THEN )"?'?"([a-z_]+)";/g;
	$found{$1} = 1 while $code =~ /error_code = '([a-z_]+)'/g;
	$found{$1} = 1 while $all_c =~ /'(rolled_back|quarantined)'/g;
	$found{$1} = 1 while $all_c =~ /\(Hindrance\)\{"([a-z_]+)"/g;
	for my $function (qw(TypeByStatus TypeByDefault WireFailureType))
	{
		my ($body) = $all_c =~ /^$function\(.*?\)\n\{(.*?)^\}/ms or die "no $function\n";
		$found{$1} = 1 while $body =~ /(?:return|\?|:) "([a-z_0-9]+)"/g;
	}
	for my $code (qw(media_gone download_failed video_too_large hash_failed submit_lost))
	{
		$found{$code} = 1 if $all_c =~ /"$code"/;
	}
	# tests of ours compare with these; they are fal.ai's words
	is_deeply([ map { $_->[0] } grep { $_->[1] !~ /^(?:policy|input|balance|provider|storage|time|limit|other)$/ } table('error_codes') ], [],
		'each error code has a class');
	same_set('error codes', [ map { ticked($_->[0]) } table('error_codes') ], [ keys %found ]);
}

# ---------------------------------------------------------------------------
# Status, columns, checks, log lines
# ---------------------------------------------------------------------------
{
	my ($statuses) = $sql =~ /FUNCTION vibevideo_internal\.statuses\(\).*?ARRAY\[(.*?)\]/s;
	same_set('statuses', [ map { unquote($_->[0]) } table('statuses') ], [ $statuses =~ /'(\w+)'/g ]);

	my ($columns) = $sql =~ /FUNCTION vibevideo_internal\.row_columns.*?VALUES (.*?)\) AS c\(/s;
	$columns =~ s/timestamp with time zone/timestamptz/g;
	same_set('columns of the app', [ map { unquote($_->[0]) . " $_->[1]" } table('columns') ],
		[ map { s/[(')]//gr =~ s/,//r } $columns =~ /\('\w+', '\w+'\)/g ]);

	my ($fields) = $sql =~ /CREATE TYPE vibevideo\.video AS \((.*?)\);/s;
	is(join(', ', map { unquote($_->[0]) . " $_->[1]" } table('video')), squeeze($fields), 'fields of vibevideo.video');
	my ($ts) = $manual =~ /export type Video = \{(.*?)\n\}/s;
	is(join(' ', $ts =~ /^\s+(\w+):/mg), join(' ', $fields =~ /(\w+) \w+/g), 'fields of the TypeScript type');

	my ($view) = $sql =~ /CREATE VIEW vibevideo\.jobs.*?SELECT (.*?)\nFROM/s;
	1 while $view =~ s/\([^()]*\)//g;
	is(join(' ', ticked(manual_section('jobs'))), join(' ', map { /(\w+)\s*$/ } split /,/, $view), 'columns of vibevideo.jobs');

	my %why = map { $_ => 1 } $sql =~ /vibevideo_internal\.because\('(\w+)'/g, map { /'(\w+)'/g } $sql =~ /vibevideo_internal\.because\(CASE WHEN [^']* THEN ('\w+' ELSE '\w+') END/g;
	$why{$_} = 1 for $all_c =~ /vibevideo_internal\.because\('(\w+)'/g;
	same_set('codes of vibevideo.why', [ map { unquote($_->[0]) } table('why') ], [ keys %why ]);

	my ($counts, $percentiles) = $sql =~ /counts constant text\[\] = ARRAY\[(.*?)\];\s*percentiles constant text\[\] = ARRAY\[(.*?)\]/s;
	same_set('metrics', [ map { ticked($_->[0]) } table('metrics') ], [ "$counts$percentiles" =~ /'(\w+)'/g, 'backlog' ]);
	my ($rollup) = $sql =~ /CREATE TABLE vibevideo_internal\.rollup_level \((.*?)\tPRIMARY KEY/s;
	is(join(' ', map { ticked($_->[0]) } table('rollup')), join(' ', map { /^\t(\w+) (?:int|bigint|text|timestamptz|numeric|boolean)/ ? $1 : () } split /\n/, $rollup),
		'columns of vibevideo.rollup');

	my %lines = map { $_ => 1 } $sql =~ /vibevideo_internal\.line\('(\w+)'/g;
	my ($probes) = $sql =~ /FOREACH what IN ARRAY ARRAY\[(.*?)\]/s;
	$lines{$_} = 1 for $probes =~ /'(\w+)'/g;
	same_set('lines of check_config', [ map { unquote($_->[0]) } table('checks') ], [ keys %lines ]);

	for my $row (table('log'))
	{
		my $line = unquote($row->[0]);
		# the longest piece without a number, a name or an ellipsis
		my ($piece) = sort { length $b <=> length $a } split /…|"…"|\d+|: |CREATE|submitting -> queued, request/, $line;
		$piece =~ s/^\W+|\W+$//g;
		ok($all_c =~ /\Q$piece\E/, "log line: $piece");
	}
}

# ---------------------------------------------------------------------------
# Plans: what a filter may name, and why a job is skipped
# ---------------------------------------------------------------------------
{
	my ($keys) = $sql =~ /FUNCTION vibevideo_internal\.read_filter.*?known constant text\[\] = ARRAY\[(.*?)\]/s or die "no keys of filters\n";
	same_set('keys of a filter', [ map { ticked($_->[0]) } table('filter') ], [ $keys =~ /'(\w+)'/g ]);

	my ($judged) = $sql =~ /FUNCTION vibevideo_internal\.why_not_sql(.*?)\nEND;/s or die "no vibevideo_internal.why_not_sql\n";
	my ($changed) = $sql =~ /FUNCTION vibevideo\.act\((.*?)\n\$\$;/s or die "no vibevideo.act\n";
	my %reasons = map { $_ => 1 } $judged =~ /THEN '(\w+)'/g, $changed =~ /(?:THEN|ELSE) ''(\w+)''/g;
	same_set('reasons to skip a job', [ map { ticked($_->[0]) } table('reasons') ], [ keys %reasons ]);
}

# ---------------------------------------------------------------------------
# The design
# ---------------------------------------------------------------------------
{
	same_set('files', [ map { unquote($_->[0]) } table($design, 'files') ], [ keys %c ]);
	my %text = $all_c =~ /^static Statement (\w+) = \{(.*?)\};$/msg;
	my $declared = () = $all_c =~ /^static Statement \w+ =/mg;
	is(scalar(keys %text), $declared, 'statements: none was overlooked, and no two have one name');
	my @changing = grep { $text{$_} =~ /(?<![.\w])state = |INSERT INTO vibevideo\.job |DELETE FROM vibevideo\.job / } sort keys %text;
	my $transitions = section($design, 'transitions');
	is_deeply([ grep { $transitions !~ /`$_`/ } @changing ], [], 'every statement that changes a state is in the table of transitions');
	my @by = map { ticked($_->[3]) } table($design, 'transitions');
	is_deeply([ grep { !$text{$_} && !/^vibevideo(?:_internal)?\./ } @by ], [], 'every statement in the table of transitions exists');
	my @unused = grep { my $name = $_; my $uses = () = $all_c =~ /&\Q$name\E\b/g; $uses != 1 } sort keys %text;
	is_deeply(\@unused, [], 'every statement is run by one function');
	my ($states) = $sql =~ /state text NOT NULL CHECK.*?ARRAY\[(.*?)\]/s;
	my %states = map { $_ => 1 } $states =~ /'(\w+)'/g;
	my @named = map { s/^\s+|\s+$//gr } map { split /,/, "$_->[0],$_->[1]" } table($design, 'transitions');
	is_deeply([ grep { !$states{$_} && !/^(–|same|final|gone|any sent state before processing)$/ } @named ], [],
		'every state in the table of transitions exists');
	is_deeply([ grep { my $state = $_; !grep { $_ eq $state } @named } sort keys %states ], [], 'and every state is in it');

	# the unit tests and test/sql/states.sql compare what these two say
	my @spelled = grep { $c{$_} // $h{$_} } map { my $file = $_; ($file) x (() = ($c{$file} // $h{$file}) =~ /'submitting'[^\]\n]*'processing'/g) } sort keys %c, sort keys %h;
	is_deeply(\@spelled, ['state.h'], 'C spells the active states once');
	my @in_sql = $sql =~ /((?:CREATE TABLE|CREATE UNIQUE INDEX|CREATE INDEX|CREATE FUNCTION|CREATE VIEW) [\w.]+)(?:(?!\nCREATE ).)*?'submitting',[^\]]*?'processing'/gs;
	is_deeply(\@in_sql, [ 'CREATE TABLE vibevideo.job', 'CREATE UNIQUE INDEX job_active', 'CREATE FUNCTION vibevideo.is_active', 'CREATE FUNCTION vibevideo_internal.states' ],
		'SQL where it has to');
}

# ---------------------------------------------------------------------------
# The direction of dependency: x.c and x.h are one room, and knows those whose headers they include
# ---------------------------------------------------------------------------

# room => [rooms it knows]; poll.c's header is polling.h
sub include_graph
{
	my %knows;
	my %text = (%c, %h);

	for my $file (sort keys %text)
	{
		my $room = $file =~ s/\.[ch]$//r =~ s/^polling$/poll/r;
		my @headers = map { s/^polling$/poll/r } grep { $h{"$_.h"} } $text{$file} =~ /^#include "(\w+)\.h"$/mg;
		$knows{$room}{$_} = 1 for grep { $_ ne $room } @headers;
		$knows{$room} //= {};
	}
	return map { $_ => [ sort keys %{ $knows{$_} } ] } keys %knows;
}

# all that a room knows, by way of others too
sub reach
{
	my ($room, %knows) = @_;
	my %seen;
	my @todo = @{ $knows{$room} };

	while (defined(my $next = shift @todo))
	{
		push @todo, @{ $knows{$next} } unless $seen{$next}++;
	}
	return %seen;
}

{
	my %knows = include_graph();
	my %reach = map { my %seen = reach($_, %knows); $_ => \%seen } keys %knows;
	is_deeply([ grep { $reach{$_}{$_} } sort keys %knows ], [], 'no file reaches itself through the headers of others');

	# by its header an error is known as ours
	is_deeply([ grep { $c{$_} =~ /\b(?:ereport|elog)\(/ && $c{$_} !~ /^#include "ownerror\.h"$/m } sort keys %c ], [], 'what throws includes ownerror.h');

	my @protocol = map { s/\.c$//r } ticked(section($design, 'protocol'));
	my @pure = grep { $c{"$_.c"} } qw(fal objection output storage hosts hook json wire signature kind track container media state breaker backoff ring flow);
	is_deeply([ sort @protocol ], [ sort @pure ], 'the protocol files');
	my %protocol = map { $_ => 1 } @pure;
	# what PostgreSQL has for programs, too: json.c is built on its parser
	my %allowed = map { $_ => 1 } qw(postgres.h postgres_fe.h common/jsonapi.h mb/pg_wchar.h);
	for my $room (@pure)
	{
		is_deeply([ grep { !$protocol{$_} && $_ ne 'reply' } sort keys %{ $reach{$room} } ], [], "$room knows protocol files only");
		my @others = grep { !$h{$_} } join("\n", $c{"$room.c"}, $h{"$room.h"}) =~ /^#include "(.*?)"/mg;
		is_deeply([ grep { $room ne 'json' || !$allowed{$_} } @others ], [], "$room knows nothing of the server");
	}
	my @engine = qw(http hostqueue exchange multi poller);
	my %inside = map { $_ => 1 } @engine;
	for my $room (@engine)
	{
		is_deeply([ grep { $protocol{$_} } @{ $knows{$room} } ], [], "$room includes no protocol file");
	}
	for my $part (grep { $_ ne 'http' } @engine)
	{
		is_deeply([ grep { !$inside{$_} } grep { grep { $_ eq $part } @{ $knows{$_} } } sort keys %knows ], [], "only the engine includes $part.h");
	}

	# each arrow of the design is there, and none goes back
	my ($lines) = $design =~ /<!-- docs:direction -->\n\n((?: {4}.*\n)+)/ or die "there is no docs:direction\n";
	for my $line (split /\n/, $lines)
	{
		my @floors = map { [ grep { $knows{$_} or die "direction: there is no $_\n" } /(\w+)/g ] } split /->/, $line;
		my @wrong;

		for my $low (1 .. $#floors)
		{
			for my $room (@{ $floors[$low] })
			{
				push @wrong, map { "$room -> $_" } grep { $reach{$room}{$_} } map { @$_ } @floors[ 0 .. $low - 1 ];
				push @wrong, "nothing -> $room" unless grep { $reach{$_}{$room} } @{ $floors[ $low - 1 ] };
			}
		}
		is_deeply(\@wrong, [], squeeze($line));
	}
}

# ---------------------------------------------------------------------------
# What must hold: where it is enforced, and where it is tested
# ---------------------------------------------------------------------------
for my $row (table($design, 'rules'))
{
	my ($number, $rule, $enforced, $tested) = @$row;
	my @wrong;

	for my $place (ticked($enforced))
	{
		my ($file, @functions) = split /[: ,]+/, $place;
		my $text = $c{$file} // (-e "$top/sql/$file" ? slurp("sql/$file") : '');
		push @wrong, $text eq '' ? $file : map { "$file:$_" } grep { $text !~ /^(?:CREATE FUNCTION vibevideo(?:_internal)?\.)?\Q$_\E\(/m } @functions;
	}
	push @wrong, grep { !-e "$top/$_" && !-e "$top/test/t/$_" } ticked($tested);
	is_deeply(\@wrong, [], "rule $number: what it names exists");
	ok(ticked($enforced) && ticked($tested), "rule $number: enforced and tested somewhere");
}

# ---------------------------------------------------------------------------
# What the manual names besides: targets, files, places
# ---------------------------------------------------------------------------

# a text without its blocks of code, where # begins no heading and ` no name
sub prose
{
	my ($text) = @_;
	return $text =~ s/^```.*?^```$//msgr;
}

# the anchors that GitHub gives the headings of a text
sub anchors
{
	my ($text) = @_;
	my (%seen, @anchors);

	for my $heading ($text =~ /^#+ (.*)$/mg)
	{
		my $anchor = lc($heading =~ s/[^\w\- ]//gr =~ s/ /-/gr);
		push @anchors, $anchor . ($seen{$anchor}++ ? "-$seen{$anchor}" : '');
	}
	return @anchors;
}

# links of a file that lead nowhere within the repository
sub broken_links
{
	my ($path, $text, %anchors) = @_;
	my @broken;

	for my $link ($text =~ /\]\((?!https?:)([^)\s]+)\)/g)
	{
		my ($file, $anchor) = $link =~ /^([^#]*)(?:#(.*))?$/;
		my $target = $file eq '' ? $path : File::Spec->canonpath(dirname($path) . "/$file");
		1 while $target =~ s{[^/]+/\.\./}{};
		push @broken, $link unless -e "$top/$target" && (!defined $anchor || grep { $_ eq $anchor } @{ $anchors{$target} || [] });
	}
	return @broken;
}

{
	my %linking = (%manual, map { $_ => slurp($_) } 'src/README.md', 'web/element/README.md');
	my %anchors = map { $_ => [ anchors(prose($linking{$_})) ] } keys %linking;
	my $makefiles = join("\n", map { slurp(s/^\Q$top\E\///r) } "$top/Makefile", glob("$top/test/*/*.mk"));
	my %targets = map { $_ => 1 } $makefiles =~ /^([a-z]+):/mg;
	my $prose = prose($manual);
	my @files = "$prose\n$design" =~ /`((?:src|sql|test|doc)\/[\w\/.-]+|[a-z]+\.(?:[ch]|sql|mk))`/g;

	is_deeply([ grep { !$targets{$_} } map { /^make ([a-z]+)/ ? $1 : () } ticked($prose), $prose =~ /^ {4}(make \w+)$/mg ], [],
		'every make target that is named exists');
	# "make bench" writes this one
	@files = grep { $_ ne 'test/bench/results.md' } @files;
	is_deeply([ grep { my $file = $_; !grep { -e "$top/$_$file" } '', 'src/', 'sql/' } @files ], [], 'every file that is named exists');
	is_deeply([ grep { !-d "$top/test/$_" } map { ticked($_->[0]) } table('folders') ], [], 'every folder of test/ that is named exists');
	is_deeply([ broken_links($_, $linking{$_}, %anchors) ], [], "every link in $_ leads somewhere") for sort keys %linking;
}

# ---------------------------------------------------------------------------
# Supabase: its images have one tag each, wherever one is named
# ---------------------------------------------------------------------------

# path from the top => text of what people and programs read, but for history
sub texts
{
	my %texts;
	my $read = sub {
		return $File::Find::prune = 1 if -d && m{/(?:\.git|node_modules|build|results|tmp_[^/]*|output_iso)$};
		return unless -f && m{\.(?:md|sql|pl|pm|mjs|c|h|sh|mk|json|ya?ml)$|/(?:Makefile|run)$} && !m{/CHANGELOG\.md$};
		$texts{$_} = slurp(s{^\Q$top\E/}{}r);
	};

	File::Find::find({ wanted => $read, no_chdir => 1 }, $top);
	return %texts;
}

{
	my %pin = map { unquote($_->[0]) => unquote($_->[1]) } table('pins');
	my $image = join '|', map { quotemeta } sort keys %pin;
	my %texts = texts();
	my (@other, $named);

	for my $path (sort keys %texts)
	{
		while ($texts{$path} =~ /\b($image):v?(\d[\w.-]*\w)/g)
		{
			my ($name, $tag) = ($1, $2);
			$named++;
			push @other, "$path: $name:$tag" if $tag ne $pin{$name} =~ s/^v//r;
		}
	}
	ok($named, 'images of Supabase are named');
	is_deeply(\@other, [], 'and all with the tags that the manual is written for');

	my ($major) = $pin{'supabase/postgres'} =~ /^(\d+)\./;
	my ($dockerfile) = blocks('dockerfile');
	my @majors = $dockerfile =~ /(?:postgres:|postgresql-server-dev-|PostgreSQL )(\d+)\b(?!\.)/g;
	is_deeply([ grep { $_ ne $major } @majors ], [], 'the Dockerfile builds for that major') or diag("@majors");
	like($dockerfile, qr/^FROM \$\{SUPABASE_POSTGRES\}\nUSER root\n/m, 'its last stage may write where the server\'s files are');

	my ($limit) = $manual =~ /^\s+FILE_SIZE_LIMIT: (\d+)$/m;
	is($limit, $documented{'vibevideo.max_video_size'}{default} * 1024, 'the override raises FILE_SIZE_LIMIT to max_video_size');
}

# ---------------------------------------------------------------------------
# A running server
# ---------------------------------------------------------------------------
sub ask
{
	my ($query) = @_;
	open(my $out, '-|', 'psql', '-XAtq', '-F', "\t", '-v', 'ON_ERROR_STOP=1', @psql, '-c', $query) or die "psql: $!\n";
	binmode($out, ':encoding(UTF-8)');
	my @rows = map { chomp; [ split /\t/, $_, -1 ] } <$out>;
	close($out) or die "psql failed\n";
	return @rows;
}

if (@psql)
{
	my @settings = ask(q{SELECT name, boot_val, unit, CASE WHEN vartype IN ('integer', 'real') THEN min_val || '–' || max_val
		WHEN vartype = 'enum' THEN '`' || array_to_string(enumvals, '`, `') || '`' END, context
		FROM pg_settings WHERE name LIKE 'vibevideo.%'});
	same_set('settings of the server (those that it shows)',
		[ grep { !$documented{$_}{secret} } keys %documented ], [ map { $_->[0] } @settings ]);
	for my $row (@settings)
	{
		my ($name, @server) = @$row;
		my $context = pop @server;
		is_deeply([ @{ $documented{$name} }{qw(default unit range)} ], \@server, "$name on the server");
		is($context, $name eq 'vibevideo.max_databases' ? 'postmaster' : 'superuser', "$name: who may set it");
	}

	my %server = map { $_->[0] => $_->[1] } ask(q{SELECT p.proname || '(' || coalesce(array_to_string(p.proargnames[1:p.pronargs], ', '), '') || ')',
		replace(pg_get_function_result(p.oid), 'integer', 'int')
		FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'vibevideo'
		WHERE p.pronamespace = 'public'::regnamespace});
	my @admin_names = map { unquote($_->[0]) =~ s/ DEFAULT [^,]*?(?=,|\)$)//gr =~ s/(\w+) (?!DEFAULT)[\w ]+?(?=,|\)$)/$1/gr } @admin;
	same_set('public functions of the server', [ (map { unquote($_->[0]) =~ s/\(json\)/()/r } @api), 'vibevideo_dashboard(apikey)', @admin_names ], [ keys %server ]);
	for my $row (@operator)
	{
		my ($name) = unquote($row->[0]) =~ /^([\w.]+)/;
		my @found = ask("SELECT count(*), min(d.refobjid::text) IS NOT NULL FROM pg_proc p LEFT JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'"
			  . " WHERE p.oid = '$name'::regproc");
		is($found[0][0], 1, "$name is on the server");
	}
}

done_testing();
