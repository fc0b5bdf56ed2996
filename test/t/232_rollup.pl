# What is counted as jobs begin and end: by class of error.

use strict;
use utf8;
use warnings FATAL => 'all';

use Test::More;
use VibeDocs;
use VibeTest;

my $node = vibe_node('main', app => 0);
sql($node, 'CREATE EXTENSION vibevideo');

# -- the manual's error codes ------------------------------------------------------------------
{
	my @rows = manual_section('error_codes') =~ /^\| (`.*?) \| ([a-z]+) \|/mg;
	my (%manual, %class);

	while (my ($codes, $class) = splice(@rows, 0, 2))
	{
		$manual{$_} = $class for $codes =~ /`(\w+)`/g;
	}
	cmp_ok(scalar(keys %manual), '>', 50, 'the manual says the classes of its error codes');
	$class{$_} = sql($node, "SELECT vibevideo.error_class('$_')") for keys %manual;
	is_deeply(\%class, \%manual, 'and vibevideo.error_class has the same');
}

done_testing();
