
=pod

=head1 NAME

VibeDocs - the manual: README.md, CONTRIBUTING.md and doc/, for tests that read it

=head1 SYNOPSIS

  use VibeDocs;

  my %recipe = recipes('sql');
  my $errors = manual_section('errors');

=head1 DESCRIPTION

A block of code with a name stands behind C<< <!-- recipe: NAME --> >>, a table
or list that is compared with the code behind C<< <!-- docs:NAME --> >>.  Each
name is there once in all of the manual.

=cut

package VibeDocs;

use strict;
use utf8;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);

our @EXPORT = qw(manual_files manual_text manual_section blocks recipes);

my $top = dirname(__FILE__) . '/../..';

sub read_utf8
{
	my ($path) = @_;

	open(my $file, '<:encoding(UTF-8)', $path) or die "$path: $!\n";
	local $/;
	return scalar <$file>;
}

# path from the top => text
sub manual_files
{
	return map { s/^\Q$top\E\///r => read_utf8($_) } map { glob("$top/$_") } 'README.md', 'CONTRIBUTING.md', 'doc/*.md';
}

# All of it, one file after the other.
sub manual_text
{
	my %files = manual_files();

	return join("\n", map { $files{$_} } sort keys %files);
}

# manual_section(name) - the text after the mark, up to the next empty line
# after it began.
sub manual_section
{
	my ($name) = @_;
	my @found = manual_text() =~ /<!-- docs:\Q$name\E -->\n(.*?)(?:\n\s*\n|\z)/sg;

	die "docs:$name is in the manual " . scalar(@found) . " times\n" unless @found == 1;
	return $found[0];
}

# blocks(language) - the code blocks in that language, in order.
sub blocks
{
	my ($language) = @_;

	return manual_text() =~ /^```\Q$language\E\n(.*?)^```$/msg;
}

# recipes(language) - name => code, of those that have a name.
sub recipes
{
	my ($language) = @_;
	my @found = manual_text() =~ /^<!-- recipe: ([\w-]+) -->\n```\Q$language\E\n(.*?)^```$/msg;
	my %recipe = @found;

	die "two recipes have one name\n" unless keys(%recipe) * 2 == @found;
	return %recipe;
}

1;
