# The rights of the table's owner, as whom rows are read and written, and the
# options of attach, which stay until somebody says otherwise.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;
use VibeTest;

my $fal = start_fal();
my $node = vibe_node('main', fal => $fal, app => 0);

sql($node, <<'SQL');
CREATE EXTENSION vibevideo;
CREATE ROLE row_owner;
CREATE ROLE row_app LOGIN;
CREATE SCHEMA private;
CREATE TABLE private.vibelogs (id int PRIMARY KEY, content text, secret text);
INSERT INTO private.vibelogs SELECT g, 'owner: ' || g FROM generate_series(1, 9) g;
ALTER TABLE private.vibelogs OWNER TO row_owner;
GRANT USAGE ON SCHEMA private, vibevideo TO row_app;
GRANT SELECT, UPDATE ON private.vibelogs TO row_app;
SQL

sub check
{
	my ($line) = @_;

	return sql($node, "SELECT status, detail, hint FROM vibevideo.check_config() WHERE check_name = '$line'");
}

sub said
{
	my ($statements) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $statements);

	is($rc, 0, 'it goes well') or diag($err);
	return ($out, $err);
}

# -- rights that the owner lacks: what, how they are given and taken --------------------------
{
	my $function = q{CREATE FUNCTION %s.input(private.vibelogs) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('prompt', $1.content) $$; REVOKE ALL ON FUNCTION %s.input FROM PUBLIC};
	my $row = 0;

	sql($node, 'GRANT USAGE ON SCHEMA private TO row_owner');
	sql($node, q{SELECT vibevideo.attach('private.vibelogs')});
	sql($node, 'GRANT EXECUTE ON FUNCTION vibevideo_submit, vibevideo_submit_batch TO row_app');
	for my $right ('USAGE ON SCHEMA private', 'SELECT ON private.vibelogs', 'UPDATE ON private.vibelogs')
	{
		my ($what, $where) = $right =~ /^(\w+) ON (.*)$/;

		sql($node, "REVOKE $right FROM row_owner");
		my ($refused, $error) = sql_error($node, q{SELECT vibevideo.attach('private.vibelogs')});
		is($refused, '55000', "$right: attach refuses");
		like($error, qr/row_owner.*DETAIL:.*lacks $what on \Q$where\E\.\nHINT:  GRANT $what ON \Q$where\E TO row_owner;/s, "$right: and names the owner, and the remedy");
		like(check('row_security'), qr/^fail\|the table's owner row_owner lacks $what on \Q$where\E\|GRANT /, "$right: check_config");
		$row++;
		for my $call ("vibevideo_submit($row)", "vibevideo_submit_batch(ARRAY[$row])")
		{
			($refused, $error) = sql_error($node, "SET ROLE row_app; SELECT $call");
			is($refused, '55000', "$right: $call is refused");
			like($error, qr/ERROR:.*owner of private\.vibelogs, row_owner, lacks rights\n.*HINT:  GRANT $what ON \Q$where\E TO row_owner;/s, "$right: $call names the owner");
		}
		is(scalar($fal->renders("owner: $row")), 0, "$right: before anything is paid");
		sql($node, "GRANT $right TO row_owner");
		sql($node, q{SELECT vibevideo.attach('private.vibelogs')});
		like(check('row_security'), qr/^ok\|/, "$right: given back, all is well");
	}

	# the caller's own right is the caller's own trouble, and no statement of ours is shown to him
	sql($node, 'REVOKE USAGE ON SCHEMA private FROM row_app');
	for my $call ('vibevideo_submit(9)', 'vibevideo_submit_batch(ARRAY[9])')
	{
		my ($refused, $error) = sql_error($node, "SET ROLE row_app; SELECT $call");
		is($refused, '42501', "caller without USAGE: $call is refused");
		like($error, qr/DETAIL:  Role row_app lacks USAGE on it, .*\nHINT:  GRANT USAGE ON SCHEMA private TO row_app;/, "caller without USAGE: $call says who lacks it");
		unlike($error, qr/QUERY|LINE 1: /, "caller without USAGE: $call shows no statement of ours");
	}
	sql($node, 'GRANT USAGE ON SCHEMA private TO row_app');

	# by columns will do
	sql($node, 'REVOKE ALL ON private.vibelogs FROM row_owner; GRANT SELECT (id, content, video_generation_status, video_request_id, video_url, video_generated_at, video_generation_error),'
		  . ' UPDATE (video_generation_status, video_request_id, video_url, video_generated_at, video_generation_error) ON private.vibelogs TO row_owner');
	like(check('row_security'), qr/^ok\|/, 'rights on the columns are enough');
	is(sql($node, 'SELECT status FROM vibevideo_submit(9)'), 'queued', 'a submit');
	is(sql($node, 'SELECT video_generation_status FROM private.vibelogs WHERE id = 9'), 'queued', 'and its row is written');
	sql($node, 'REVOKE UPDATE (video_url) ON private.vibelogs FROM row_owner');
	is((sql_error($node, 'SELECT vibevideo_submit(8)'))[0], '55000', 'one of them missing is not');
	sql($node, 'GRANT UPDATE (video_url) ON private.vibelogs TO row_owner; ALTER TABLE private.vibelogs ADD kind text; GRANT SELECT (kind) ON private.vibelogs TO row_owner');
	sql($node, q{SELECT vibevideo.attach('private.vibelogs', model_column => 'kind'); REVOKE SELECT (kind) ON private.vibelogs FROM row_owner});
	is((sql_error($node, 'SELECT vibevideo_submit(8)'))[0], '55000', 'nor is one that cannot be read');
	like(check('row_security'), qr/^fail\|.*SELECT on private/, 'check_config says it');
	is((sql_error($node, q{SELECT vibevideo.attach('private.vibelogs')}))[0], '55000', 'and so does attach');
	sql($node, q{GRANT ALL ON private.vibelogs TO row_owner; SELECT vibevideo.attach('private.vibelogs', model_column => '')});

	sql($node, sprintf($function, 'private', 'private'));
	my ($refused, $error) = sql_error($node, q{SELECT vibevideo.attach('private.vibelogs', input_function => 'input')});
	is($refused, '55000', 'input function: attach refuses');
	like($error, qr/HINT:  GRANT EXECUTE ON FUNCTION private\.input\(private\.vibelogs\) TO row_owner;/, 'input function: the remedy');
	sql($node, 'GRANT EXECUTE ON FUNCTION private.input TO row_owner');
	sql($node, q{SELECT vibevideo.attach('private.vibelogs', input_function => 'input'); REVOKE EXECUTE ON FUNCTION private.input FROM row_owner});
	like(check('row_security'), qr/^fail\|.*EXECUTE on FUNCTION/, 'input function: check_config');
	($refused, $error) = sql_error($node, 'SET ROLE row_app; SELECT vibevideo_submit(7)');
	is($refused, '55000', 'input function: submit refuses');
	like($error, qr/row_owner, lacks rights\n.*HINT:  GRANT EXECUTE ON FUNCTION private\.input\(private\.vibelogs\) TO row_owner;/s, 'input function: and names the owner');
	sql($node, q{CREATE SCHEMA hidden; ALTER FUNCTION private.input SET SCHEMA hidden; GRANT EXECUTE ON FUNCTION hidden.input TO row_owner});
	($refused, $error) = sql_error($node, q{SELECT vibevideo.attach('private.vibelogs', input_function => 'hidden.input')});
	like($error, qr/HINT:  GRANT USAGE ON SCHEMA hidden TO row_owner;/, 'input function: its schema');
	sql($node, q{SELECT vibevideo.attach('private.vibelogs', input_function => '')});
}

# -- rights on the functions, when the key gets another type --------------------------------------
{
	my $may = q{SELECT string_agg(p.proname || '(' || oidvectortypes(p.proargtypes) || ')', ' ' ORDER BY p.proname) FROM pg_proc p
		WHERE p.pronamespace = 'public'::regnamespace AND p.proname LIKE 'vibevideo%' AND has_function_privilege('row_app', p.oid, 'EXECUTE')};

	is(sql($node, $may), 'vibevideo_submit(integer) vibevideo_submit_batch(integer[])', 'a role of the app may call two functions');
	sql($node, q{ALTER TABLE private.vibelogs ALTER id TYPE bigint; SELECT vibevideo.attach('private.vibelogs')});
	is(sql($node, $may), 'vibevideo_submit(bigint) vibevideo_submit_batch(bigint[])', 'and still may when they have another key');
	is(sql($node, q{SELECT count(*) FROM pg_init_privs i JOIN pg_proc p ON p.oid = i.objoid WHERE i.classoid = 'pg_proc'::regclass AND p.proname = 'vibevideo_submit' AND i.initprivs::text LIKE '%row_app%'}), '0',
		'which pg_dump knows as no part of the extension');
}

# -- options stay ---------------------------------------------------------------------------------
{
	sql($node, q{SELECT vibevideo.detach(force => true); CREATE TABLE opts (id uuid PRIMARY KEY, content text, body text, picture text, owner_id text, kind text);
		CREATE FUNCTION opts_input(opts) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('prompt', $1.content) $$});
	my $options = 'SELECT id_column, prompt_column, image_column, model, input_function, user_column, model_column, realtime FROM vibevideo.binding';
	my $all = q{SELECT vibevideo.attach('opts', prompt_column => 'body', image_column => 'picture', model => 'acme/video', input_function => 'opts_input', user_column => 'owner_id', model_column => 'kind', realtime => true)};

	sql($node, $all);
	my $set = sql($node, $options);
	is($set, 'id|body|picture|acme/video|public.opts_input|owner_id|kind|t', 'options are set');
	is(check('table'), 'ok|public.opts, key id (uuid), prompt from body, image from picture, model acme/video, a row\'s model from kind, input from public.opts_input, user from owner_id, reported to Realtime; none: tenant_column, meta_column|',
		'check_config shows all of them');
	my ($out, $notices) = said(q{SELECT vibevideo.attach('opts')});
	is(sql($node, $options), $set, 'attached again, all stay');
	like($out, qr/user from owner_id, reported to Realtime$/, 'it shows them');
	unlike($notices, qr/options have changed/, 'nothing has changed');
	(undef, $notices) = said($all =~ s/attach\('opts'.*/attach('opts', model => 'acme\/other')/r);
	like($notices, qr/NOTICE:  options have changed\nDETAIL:  model: acme\/video -> acme\/other$/, 'one is changed, which is said');
	is(sql($node, $options), $set =~ s/acme\/video/acme\/other/r, 'the others stay');
	(undef, $notices) = said(q{SELECT vibevideo.attach('opts', image_column => '', model => '', input_function => '', user_column => '', model_column => '', realtime => false, prompt_column => '')});
	is(sql($node, $options), 'id|content||||||f', 'empty ones are as if they had never been named');
	like($notices, qr/DETAIL:  prompt_column: body -> content, image_column: picture -> none, model: acme\/other -> none, input_function: public\.opts_input -> none, user_column: owner_id -> none, realtime: true -> false, model_column: kind -> none/, 'and all is said');
	like(check('table'), qr/^ok\|public\.opts, key id \(uuid\), prompt from content; none: image_column, model, input_function, user_column, tenant_column, model_column, meta_column, realtime\|$/, 'check_config shows what is not set, too');

	# one that is dropped and made anew
	sql($node, $all =~ s/, input_function => 'opts_input'//r);
	sql($node, 'DROP TABLE opts CASCADE; CREATE TABLE opts (id int PRIMARY KEY, content text, owner_id text, kind varchar(99))');
	my ($refused, $error) = sql_error($node, q{SELECT vibevideo.attach('opts')});
	is("$refused|" . ($error =~ /HINT:.*(image_column => '')/ ? $1 : $error), "42703|image_column => ''", 'another table in its place: an option that does not fit is not dropped in silence');
	sql($node, q{SELECT vibevideo.attach('opts', image_column => '')});
	is(sql($node, $options), 'id|content||acme/video||owner_id|kind|t', 'what fits stays, the limits\' column above all');
}

done_testing();
