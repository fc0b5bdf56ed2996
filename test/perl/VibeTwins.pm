
=pod

=head1 NAME

VibeTwins - a schema in which everything of PostgreSQL has a twin

=head1 SYNOPSIS

  use VibeTest;
  use VibeTwins;

  make_witness($node);
  my %made = make_twins($session, 'evil');
  my $from = log_end($node);
  ...
  is_deeply([ seen($node, $from) ], [], 'no twin ran');

=head1 DESCRIPTION

Whoever leaves out the schema of a function, an operator, a type or a table
leaves it to search_path what is meant.  A schema before pg_catalog takes any
of them; and one behind it takes those calls for which pg_catalog has only
something polymorphic, or something that needs a cast, when it has what fits
exactly.  So the twins are made from the catalogs, for all that is there:

=over

=item * each function and aggregate with the types it has;

=item * each polymorphic one, and each with an argument "any", with all common types;

=item * each operator with all pairs of common types that it accepts, as they are or by a cast;

=item * each base type, as a domain whose CHECK runs on each cast to it;

=item * each catalog, as a view.

=back

A twin says in the server's log as whom it ran, in whose session and by which
process, and does what the original does.

=cut

package VibeTwins;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Utils;
use VibeTest;

our @EXPORT = qw(make_witness make_twins make_temporary_twins log_end seen);

# Element types for polymorphic arguments, operands of operators.
my $COMMON = q{ARRAY['text', 'varchar', 'name', 'bool', 'int4', 'int8', 'float8', 'numeric', 'uuid', 'json', 'jsonb', 'bytea', 'timestamptz', 'date',
		'interval', 'oid', 'regclass', 'text[]', 'int8[]', 'uuid[]']::pg_catalog.regtype[]};

my %MAKE;

# The types of a polymorphic function's arguments for one element type, or NULL
# if there are none; its result's type is last.
my $INSTANCE = <<'SQL';
CREATE FUNCTION pg_temp.instance(kind regtype, element regtype) RETURNS regtype LANGUAGE sql AS $$
	SELECT CASE
		WHEN kind IN ('anyelement'::regtype, 'anycompatible'::regtype, '"any"'::regtype) THEN element
		WHEN kind IN ('anynonarray'::regtype, 'anycompatiblenonarray'::regtype) THEN CASE WHEN t.typcategory <> 'A' THEN element END
		WHEN kind IN ('anyarray'::regtype, 'anycompatiblearray'::regtype) THEN CASE WHEN t.typcategory <> 'A' THEN t.typarray::regtype END
		WHEN k.typtype <> 'p' OR kind = 'void'::regtype THEN kind END
	FROM pg_type t, pg_type k WHERE t.oid = element AND k.oid = kind
$$;
SQL

$MAKE{functions} = <<'SQL';
DECLARE
	p record;
BEGIN
	FOR p IN
		SELECT f.oid, f.proname, f.prokind, pg_get_function_arguments(f.oid) AS arguments, pg_get_function_result(f.oid) AS result,
			   (SELECT string_agg(CASE WHEN f.provariadic <> 0 AND n = f.pronargs THEN 'VARIADIC ' ELSE '' END || '$' || n, ', ' ORDER BY n)
				FROM generate_series(1, f.pronargs) n) AS call, f.proargmodes && '{o,t,b}' AS fields
		FROM pg_proc f JOIN pg_type r ON r.oid = f.prorettype
		WHERE f.pronamespace = 'pg_catalog'::regnamespace AND f.prokind IN ('f', 'a')
		  AND (f.prokind = 'f' OR f.pronargs > 0)
		  AND (r.typtype <> 'p' OR r.typname = 'void' OR r.typname = 'record' AND f.proargmodes && '{o,t,b}')
		  AND NOT EXISTS (SELECT FROM unnest(coalesce(f.proallargtypes, f.proargtypes::oid[])) a JOIN pg_type t ON t.oid = a WHERE t.typtype = 'p')
	LOOP
		made = made + pg_temp.create(format('CREATE FUNCTION @schema@.%I(%s) RETURNS %s LANGUAGE sql AS %L', p.proname, p.arguments, p.result,
			format('SELECT witness.saw(%L); SELECT %s pg_catalog.%I(%s)', format('@schema@.%s(%s)', p.proname, p.arguments),
				CASE WHEN p.fields THEN '* FROM' ELSE '' END, p.proname, p.call)));
	END LOOP;
END
SQL

$MAKE{polymorphic} = <<'SQL';
DECLARE
	pseudo constant oid[] = ARRAY(SELECT t.oid FROM pg_type t WHERE t.typtype = 'p');
	element regtype;
	p record;
BEGIN
	FOREACH element IN ARRAY @common@ LOOP
		FOR p IN
			SELECT f.proname, f.prokind, f.proretset, f.provariadic, f.pronargs, x.types, pg_temp.instance(f.prorettype, element) AS result,
				   (SELECT string_agg(CASE WHEN f.provariadic <> 0 AND n = f.pronargs THEN 'VARIADIC ' ELSE '' END || '$' || n, ', ' ORDER BY n)
					FROM generate_series(1, f.pronargs) n) AS call
			FROM (SELECT q.* FROM pg_proc q
				  WHERE q.pronamespace = 'pg_catalog'::regnamespace AND q.proargtypes::oid[] && pseudo
					AND NOT coalesce(q.proargmodes && '{o,t,b}', false) OFFSET 0) f, LATERAL (
				SELECT array_agg(CASE WHEN f.provariadic = '"any"'::regtype AND n = f.pronargs THEN (SELECT t.typarray FROM pg_type t WHERE t.oid = element AND t.typcategory <> 'A')::regtype
									  ELSE pg_temp.instance(a, element) END ORDER BY n) AS types
				FROM unnest(f.proargtypes) WITH ORDINALITY AS u(a, n)) x
			WHERE array_position(x.types, NULL) IS NULL AND pg_temp.instance(f.prorettype, element) IS NOT NULL
		LOOP
			made = made + pg_temp.create(format('CREATE FUNCTION @schema@.%I(%s) RETURNS %s LANGUAGE sql AS %L', p.proname,
				(SELECT string_agg(CASE WHEN p.provariadic <> 0 AND n = p.pronargs THEN 'VARIADIC ' ELSE '' END || t, ', ' ORDER BY n)
				 FROM unnest(p.types) WITH ORDINALITY AS u(t, n)),
				CASE WHEN p.proretset THEN 'SETOF ' ELSE '' END || p.result,
				format('SELECT witness.saw(%L); SELECT %s', format('@schema@.%s(%s)', p.proname, array_to_string(p.types, ', ')),
					CASE p.prokind WHEN 'w' THEN format('NULL::%s', p.result) ELSE format('pg_catalog.%I(%s)', p.proname, p.call) END)));
		END LOOP;
	END LOOP;
END
SQL

# "any" takes arguments of different types: two, for those that take any number
$MAKE{variadic} = <<'SQL';
DECLARE
	p record;
BEGIN
	FOR p IN
		SELECT f.proname, array_to_string(f.proargtypes[0:f.pronargs - 2]::regtype[] || ARRAY[l, r], ', ') AS arguments,
			   (SELECT string_agg('$' || n, ', ' ORDER BY n) FROM generate_series(1, f.pronargs + 1) n) AS call, f.prorettype::regtype AS result
		FROM pg_proc f, unnest(@common@) l, unnest(@common@) r
		WHERE f.pronamespace = 'pg_catalog'::regnamespace AND f.provariadic = '"any"'::regtype AND f.prokind = 'f'
	LOOP
		made = made + pg_temp.create(format('CREATE FUNCTION @schema@.%I(%s) RETURNS %s LANGUAGE sql AS %L', p.proname, p.arguments, p.result,
			format('SELECT witness.saw(%L); SELECT pg_catalog.%I(%s)', format('@schema@.%s(%s)', p.proname, p.arguments), p.proname, p.call)));
	END LOOP;
END
SQL

$MAKE{operators} = <<'SQL';
DECLARE
	o record;
	result regtype;
BEGIN
	CREATE TEMPORARY TABLE IF NOT EXISTS accepted (name text, l regtype, r regtype, result regtype);
	IF NOT EXISTS (SELECT FROM accepted) THEN
		FOR o IN
			SELECT n.oprname, l, r FROM unnest(@common@) l, unnest(@common@) r,
				(SELECT DISTINCT p.oprname FROM pg_operator p
				 WHERE p.oprnamespace = 'pg_catalog'::regnamespace AND p.oprkind = 'b'
				   AND (p.oprleft = ANY (@common@) OR (SELECT t.typtype FROM pg_type t WHERE t.oid = p.oprleft) = 'p')) n
			UNION ALL
			SELECT p.oprname, NULL, p.oprright FROM pg_operator p
			WHERE p.oprnamespace = 'pg_catalog'::regnamespace AND p.oprkind = 'l' AND p.oprright = ANY (@common@)
		LOOP
			BEGIN
				EXECUTE format('SELECT pg_typeof(%s OPERATOR(pg_catalog.%s) NULL::%s)', 'NULL::' || o.l, o.oprname, o.r) INTO result;
				INSERT INTO accepted VALUES (o.oprname, o.l, o.r, result);
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
		END LOOP;
	END IF;
	FOR o IN SELECT a.*, row_number() OVER () AS n FROM accepted a LOOP
		made = made + pg_temp.create(format('CREATE FUNCTION @schema@.%I(%s) RETURNS %s LANGUAGE sql AS %L', 'operator_' || o.n, concat_ws(', ', o.l, o.r), o.result,
				format('SELECT witness.saw(%L); SELECT %s', format('@schema@.%s(%s)', o.name, concat_ws(', ', o.l, o.r)),
					CASE WHEN o.l IS NULL THEN format('OPERATOR(pg_catalog.%s) $1', o.name) ELSE format('$1 OPERATOR(pg_catalog.%s) $2', o.name) END)));
		PERFORM pg_temp.create(format('CREATE OPERATOR @schema@.%s (%s RIGHTARG = %s, FUNCTION = @schema@.%I)', o.name,
				'LEFTARG = ' || o.l || ',', o.r, 'operator_' || o.n));
	END LOOP;
END
SQL

$MAKE{types} = <<'SQL';
DECLARE
	t record;
BEGIN
	FOR t IN
		SELECT y.oid, y.typname FROM pg_type y WHERE y.typnamespace = 'pg_catalog'::regnamespace AND y.typtype = 'b' AND y.typcategory <> 'A'
	LOOP
		made = made + pg_temp.create(format('CREATE DOMAIN @schema@.%I AS pg_catalog.%I CHECK (witness.saw(%L))', t.typname, t.typname, '@schema@.' || t.typname));
	END LOOP;
END
SQL

$MAKE{catalogs} = <<'SQL';
DECLARE
	c record;
BEGIN
	FOR c IN
		SELECT x.relname FROM pg_class x WHERE x.relnamespace = 'pg_catalog'::regnamespace AND x.relkind IN ('r', 'v')
	LOOP
		made = made + pg_temp.create(format('CREATE VIEW @schema@.%I AS SELECT x.* FROM pg_catalog.%I x WHERE (SELECT witness.saw(%L))', c.relname, c.relname, '@schema@.' || c.relname));
	END LOOP;
END
SQL

# make_witness(node) - where the twins record that they ran.
sub make_witness
{
	my ($node) = @_;

	sql($node, <<'SQL');
CREATE SCHEMA witness;
GRANT USAGE ON SCHEMA witness TO PUBLIC;
CREATE FUNCTION witness.saw(twin text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RAISE LOG 'SAW % as % of %', twin, current_user, session_user;
	RETURN true;
END
$$;
SQL
	return;
}

sub make
{
	my ($session, $schema, @kinds) = @_;
	my ($well, $out) = $session->ask(<<"SQL");
SET search_path = pg_catalog, pg_temp;
SET check_function_bodies = off;
DROP FUNCTION IF EXISTS pg_temp.instance, pg_temp.create;
$INSTANCE
CREATE FUNCTION pg_temp.create(command text) RETURNS int LANGUAGE plpgsql AS \$\$
BEGIN
	EXECUTE command;
	RETURN 1;
EXCEPTION WHEN OTHERS THEN
	-- exists already, or not for everybody
	RETURN 0;
END
\$\$;
SQL

	die $out unless $well;
	my %made;
	for my $kind (@kinds)
	{
		my $code = $MAKE{$kind} =~ s/\@schema\@/$schema/gr =~ s/\@common\@/$COMMON/gr;
		$code =~ s/^DECLARE\n/DECLARE\n\tmade int = 0;\n/;
		$code =~ s/END\n\z/\tRETURN made;\nEND\n/;
		($well, $made{$kind}) = $session->ask("CREATE OR REPLACE FUNCTION pg_temp.make() RETURNS int LANGUAGE plpgsql AS \$make\$\n$code\$make\$; SELECT pg_temp.make()");
		die "$kind: $made{$kind}\n" unless $well;
	}
	$session->ask('DROP FUNCTION pg_temp.make(); RESET search_path; RESET check_function_bodies');
	return %made;
}

# make_twins(session, schema) - twins of all kinds in a schema that the session's
# user may create in; returns how many there are of each.
sub make_twins
{
	my ($session, $schema) = @_;

	return make($session, $schema, qw(functions polymorphic variadic operators types catalogs));
}

# make_temporary_twins(session) - of what can be found among temporary objects;
# there it comes first unless the path says otherwise.
sub make_temporary_twins
{
	my ($session) = @_;

	return make($session, 'pg_temp', qw(types catalogs));
}

sub log_end
{
	my ($node) = @_;

	return -s $node->logfile;
}

# seen(node, from) - what ran since: hashes of process, twin, as (whose rights),
# of (whose session).
sub seen
{
	my ($node, $from) = @_;
	my $log = slurp_file($node->logfile, $from);
	my @seen;

	push @seen, { pid => $1, twin => $2, as => $3, of => $4 } while $log =~ /\[(\d+)\][^\n]* LOG:  SAW (.*) as (\S+) of (\S+)$/mg;
	return @seen;
}

1;
