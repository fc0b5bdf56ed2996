
=pod

=head1 NAME

VibeStatus - which HTTP status PostgREST makes of a SQLSTATE

=head1 SYNOPSIS

  use VibeStatus;

  my $status = http_status_of('42501', 'anon');    # 401
  my $phrase = standard_phrase($status);           # Unauthorized

=head1 DESCRIPTION

PostgREST's rules, for the stand-in that plays it and for the check of the
manual.  C<%observed> is what a real PostgREST 17 (PostgreSQL 15.20, role anon)
answered to errors that differ in nothing but the SQLSTATE: rules and manual
are held to it, not to each other.

=cut

package VibeStatus;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';

our @EXPORT = qw(http_status_of standard_phrase %observed);

our %observed = (
	'0A000' => 400, '21000' => 500, '22004' => 400, '22023' => 400, '22P02' => 400, '23505' => 409, '23514' => 400,
	'25006' => 405, '28000' => 403, '2BP01' => 400, '38000' => 500, '40001' => 500, '40P01' => 500, '42501' => 401,
	'42704' => 400, '42883' => 404, '42P01' => 404, '53100' => 503, '53200' => 503, '53400' => 500, '54000' => 500,
	'55000' => 500, '55006' => 500, '55P03' => 500, '57014' => 500, '57P01' => 503, '57P03' => 500, '58P01' => 500,
	'F0000' => 500, 'HV000' => 500, 'P0001' => 400, 'P0002' => 500, 'P0004' => 500, 'PT204' => 204, 'PT2XX' => 500,
	'PT401' => 401, 'PT402' => 402, 'PT404' => 404, 'PT409' => 409, 'PT413' => 413, 'PT429' => 429, 'PT503' => 503,
	'PT999' => 999, 'XX000' => 500);

my %exact = (
	'23503' => 409, '23505' => 409, '25006' => 405, '42883' => 404, '42P01' => 404, '42P17' => 500, '53400' => 500,
	'57P01' => 503, 'P0001' => 400);

my %phrase = (
	200 => 'OK', 202 => 'Accepted', 204 => 'No Content', 300 => 'Multiple Choices', 400 => 'Bad Request',
	401 => 'Unauthorized', 402 => 'Payment Required', 403 => 'Forbidden', 404 => 'Not Found',
	405 => 'Method Not Allowed', 409 => 'Conflict', 413 => 'Request Entity Too Large', 429 => 'Too Many Requests',
	500 => 'Internal Server Error', 502 => 'Bad Gateway', 503 => 'Service Unavailable');

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
	return $exact{$state} if $exact{$state};
	return 503 if $state =~ /^(?:08|53)/;
	return 403 if $state =~ /^(?:28|0L|0P)/;
	return 500 if $state =~ /^(?:09|25|2D|38|39|3B|40|54|55|57|58|F0|HV|P0|XX)/;
	return 400;
}

# standard_phrase(status) - '' for one that has none.
sub standard_phrase
{
	my ($status) = @_;

	return $phrase{$status} // '';
}

1;
