
=pod

=head1 NAME

VibeStatus - which HTTP status PostgREST makes of a SQLSTATE

=head1 SYNOPSIS

  use VibeStatus;

  my $status = http_status_of('42501', 'anon');    # 401

=head1 DESCRIPTION

PostgREST's rules, for the check of the manual; the table in them is the
stand-in's.  C<%observed> is what a real PostgREST answered to errors of the role
anon that differ in nothing but the SQLSTATE: rules and manual are held to it,
not to each other.

=cut

package VibeStatus;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use JSON::PP qw(decode_json);

our @EXPORT = qw(http_status_of %observed);

sub read_json
{
	my ($path) = @_;

	open(my $file, '<', dirname(__FILE__) . "/../$path") or die "$path: $!";
	local $/;
	return decode_json(<$file>);
}

our %observed = map { decode_json($_->{request}{body})->{code} => $_->{response}{status} }
  grep { $_->{request}{path} eq '/rpc/fail' && !$_->{request}{headers}{Authorization} } @{ read_json('clients/fixtures/postgrest-recorded.json')->{cases} };

# what the stand-in goes by, too
my $prefixes = read_json('emulator/lib/rest-status.json')->{prefixes};

# http_status_of(SQLSTATE, role, message) - anon is whoever sent no token.
sub http_status_of
{
	my ($state, $role, $message) = @_;

	return $1 + 0 if $state =~ /^PT(\d{3})$/;
	return 500 if $state =~ /^PT/;
	return ($role // '') eq 'anon' ? 401 : 403 if $state eq '42501';
	# the words of pg_safeupdate, and of a JWT's role that is not there
	return ($message // '') =~ /requires a WHERE clause\z/ ? 400 : 500 if $state eq '21000';
	return ($message // '') =~ /\Arole .*does not exist\z/s ? 401 : 400 if $state eq '22023';
	return $prefixes->{$state} // $prefixes->{ substr($state, 0, 2) } // 400;
}

1;
