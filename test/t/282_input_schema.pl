# What a model's input must be, asked of fal.ai, and submits that are held to it.

use strict;
use warnings FATAL => 'all';

use Test::More;
use VibeTest;

my $fal = start_fal();
my $node = vibe_node('main', fal => $fal, storage => start_storage(), conf => {
	'vibevideo.fal_api_url' => $fal->url . '/v1' });
my $KLING = 'fal-ai/kling-video/v3/pro/text-to-video';

sub schema
{
	return sql($node, "SELECT m.input_schema ->> '\$ref', m.check_input FROM vibevideo.sync_schema('$_[0]') m");
}

# what a submit says that is held to the schema
sub submit_error
{
	my ($input) = @_;
	my $id = new_row($node, $input);
	my (undef, $error) = sql_error($node, "SELECT vibevideo_submit('$id')");

	return $error =~ /ERROR:  22023: ([^\n]*)/ ? $1 : $error || 'sent';
}

sub sent
{
	return scalar @{ $fal->ledger->{jobs} };
}

like(schema($KLING), qr{^#/components/schemas/\w+Input\|warn$}, 'the schema of a model');
is(sql($node, "SELECT count(*) FROM vibevideo.audit WHERE action = 'insert model'"), '1', 'the audit has it');
sql($node, <<"SQL");
UPDATE vibevideo.model SET check_input = 'refuse' WHERE endpoint = '$KLING';
CREATE FUNCTION input_of(v vibelogs) RETURNS jsonb LANGUAGE sql STABLE RETURN v.prompt::jsonb;
SELECT vibevideo.attach('vibelogs', model => '$KLING', input_function => 'input_of');
SQL
like(submit_error('{"prompt": "a cat", "duration": "99"}'), qr/^the model cannot use this input: duration must be one of "3", /, 'what does not fit is refused');
like(submit_error('{"prompt": "a cat", "duration": 5}'), qr/duration must be/, 'a number is no text');
like(submit_error('{"prompt": "a cat", "generate_audio": "yes"}'), qr/generate_audio must be of type boolean/, 'and a text no truth value');
is(sent(), 0, 'nothing was sent');
is(submit_error('{"prompt": "a cat", "duration": "5", "generate_audio": false}'), 'sent', 'what fits is sent');
is(sent(), 1, 'once');

# again: what somebody has decided stays
like(schema($KLING), qr/\|refuse$/, 'how strict it is stays when it is asked again');

# what fal.ai says otherwise
sub sync_error
{
	my ($code, $error) = sql_error($node, "SELECT vibevideo.sync_schema('$_[0]')");
	my ($message) = $error =~ /ERROR:  \w+: ([^\n]*)/;
	my ($detail) = $error =~ /DETAIL:  ([^\n]*)/;

	return join(' | ', $code, grep { defined } $message, $detail);
}

$fal->delist('acme/nowhere');
is(sync_error('acme/nowhere'), 'PT404 | fal.ai does not list this model | Model acme/nowhere.', 'a model that is not listed');
$fal->delist($KLING);
like(sync_error($KLING), qr/^PT404 \| fal\.ai does not list this model/, 'one that has been taken off the list');
$fal->delist($KLING, undef);
is(sync_error($_), '22023 | endpoint must be fal.ai\'s id of a model', "no id: $_") for 'x', 'a/b?c', 'a/b&endpoint_id=c';
for my $case (
	[ 'an error', { kind => 'http', status => 500, body => { detail => 'no' } }, qr/^08000 \| fal\.ai does not say anything of \S+ \| .*HTTP 500/ ],
	[ 'a page', { kind => 'http', status => 200, body => '<html>', headers => { 'content-type' => 'text/html' } }, qr/\| the answer is not JSON$/ ],
	[ 'a NUL', { kind => 'http', status => 200, body => '{"models": [{"endpoint_id": "\\u0000"}]}' }, qr/\| the answer cannot be read: / ],
	[ 'no list', { kind => 'http', status => 200, body => { models => 7 } }, qr/^PT404/ ],
	[ 'no document', { kind => 'http', status => 200, body => { models => [ { endpoint_id => $KLING } ] } }, qr/^PT404 \| fal\.ai does not say what the input of this model must be/ ],
	[ 'another document', { kind => 'http', status => 200, body => { models => [ { endpoint_id => $KLING, openapi => { paths => [], components => 7 } } ] } }, qr/^PT404/ ],
	[ 'nothing', { kind => 'reset_after' }, qr/^08000/ ])
{
	my ($name, $fault, $wanted) = @$case;

	$fal->fault('models', $fault);
	like(sync_error($KLING), $wanted, "fal.ai answers with $name");
	$fal->clear_faults;
}
like(sql($node, "SELECT input_schema ->> '\$ref' FROM vibevideo.model WHERE endpoint = '$KLING'"), qr/Input$/, 'none of that has changed what was known');

# who may
sql($node, 'CREATE ROLE viewer LOGIN; SELECT vibevideo.grant_access($$viewer$$, $$viewer$$)');
is((sql_error($node, "SET ROLE viewer; SELECT vibevideo.sync_schema('$KLING')"))[0], '42501', 'a viewer may not');

done_testing();
