
=pod

=head1 NAME

VibeUpgrade - databases of an older version, and what the catalogs say

=head1 SYNOPSIS

  use VibeTest;
  use VibeUpgrade;

  install_version('0.1.0');
  become_older($node, '0.1.0');
  cli($node, 'ALTER EXTENSION vibevideo UPDATE');
  is_deeply(catalog($node, 'postgres'), catalog($node, 'fresh'), 'nothing differs');

=head1 DESCRIPTION

The library is of one version only, so an older database is made out of a new
one: its jobs are really at fal.ai and half copied, its extension is the older
install script, and its tables hold what they held.

=cut

package VibeUpgrade;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Basename qw(dirname);
use File::Copy qw(copy);
use PostgreSQL::Test::Utils;
use VibeTest;

our @EXPORT = qw(install_version become_older catalog);

my $owner = $$;
my @installed;

END
{
	unlink @installed if $$ == $owner;
}

# install_version(version) - installs the frozen script beside the newest one.
sub install_version
{
	my ($version) = @_;
	my $sharedir = `pg_config --sharedir`;

	chomp $sharedir;
	my $script = "$sharedir/extension/vibevideo--$version.sql";
	copy(dirname(__FILE__) . "/../upgrade/vibevideo--$version.sql", $script) or die "could not write $script: $!\n";
	push @installed, $script;
	return;
}

# ---------------------------------------------------------------------------
# Going back
# ---------------------------------------------------------------------------

my @TABLES = qw(binding model job event past_costs fal_account limit slot);
my @SEQUENCES = qw(job_id_seq lease_seq refund_seq event_event_id_seq);

# What is not in schema vibevideo any more.
my %MOVED = map { $_ => 1 } qw(fal_account slot refund_seq);

# What had another name: table, name today, name then.
my %RENAMED = ('0.1.0' => [ [ 'job', 'orphan', 'ghost' ], [ 'binding', 'paused', 'resting' ] ]);

# What was elsewhere: a model had one price.
my %MISSED = ('0.1.0' => [
	'ALTER TABLE saved.model ADD price_usd numeric(10, 4)',
	q{UPDATE saved.model m SET price_usd = (SELECT r.unit_price_usd FROM vibevideo.price_rule r WHERE r.endpoint = m.endpoint AND r.applies = '{}'
											ORDER BY r.source = 'operator' DESC, r.valid_from DESC LIMIT 1)}
]);

# What meant something else then: past_costs had jobs that were deleted only.
my %REDONE = ('0.1.0' => [
	'TRUNCATE vibevideo.past_costs',
	q{INSERT INTO vibevideo.past_costs (user_id, day, model, submits, videos, settled_usd)
	  SELECT c.user_id, c.day, c.model, sum(c.submits), sum(c.videos), sum(c.settled_usd)
	  FROM (SELECT user_id, day, model, submits, videos, settled_usd FROM saved.past_costs
			UNION ALL SELECT user_id, day, model, submits, videos, settled_usd FROM saved.new_costs
			UNION ALL SELECT coalesce(requested_by, ''), (created_at AT TIME ZONE 'UTC')::date, model,
							 -(NOT ghost)::int, -billed::int, CASE WHEN billed THEN -cost_usd ELSE 0 END
					  FROM saved.job WHERE unsettled IS NULL) c
	  GROUP BY 1, 2, 3 HAVING sum(c.submits) > 0}
]);

# become_older(node, version) - in one transaction, so that the worker sees
# one or the other.  Triggers do not run, except those that a
# restore fires too; the copy is the database itself, so it is not paused.
sub become_older
{
	my ($node, $version) = @_;
	my @sql = ('BEGIN', 'SET LOCAL session_replication_role = replica',
		'LOCK TABLE vibevideo.binding, vibevideo.job IN ACCESS EXCLUSIVE MODE', 'CREATE SCHEMA saved');

	push @sql, "CREATE TABLE saved.\"$_\" AS TABLE " . today($_) for @TABLES;
	push @sql, 'CREATE TABLE saved.new_costs AS TABLE vibevideo_internal.new_costs';
	push @sql, @{ $MISSED{$version} };
	push @sql, "CREATE TABLE saved.$_ AS SELECT last_value FROM " . today($_) for @SEQUENCES;
	push @sql, "ALTER TABLE saved.$_->[0] RENAME $_->[1] TO $_->[2]" for @{ $RENAMED{$version} };
	push @sql, 'DROP EXTENSION vibevideo', "CREATE EXTENSION vibevideo VERSION '$version'",
	  'DELETE FROM vibevideo.model WHERE builtin';
	push @sql, put_back($_) for @TABLES;
	push @sql, @{ $REDONE{$version} };
	push @sql, "SELECT setval('vibevideo.$_', last_value) FROM saved.$_" for @SEQUENCES;
	push @sql, 'UPDATE vibevideo.binding b SET resting = s.resting FROM saved.binding s', 'DROP SCHEMA saved CASCADE', 'COMMIT';
	$node->safe_psql('postgres', join(";\n", @sql));
	return;
}

sub today
{
	my ($relation) = @_;

	return ($MOVED{$relation} ? 'vibevideo_internal' : 'vibevideo') . ".\"$relation\"";
}

sub put_back
{
	my ($table) = @_;

	return <<"SQL";
DO \$\$
DECLARE
	columns constant text = (SELECT string_agg(quote_ident(a.attname), ', ') FROM pg_attribute a
							 WHERE a.attrelid = 'vibevideo.$table'::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '');
BEGIN
	EXECUTE format('INSERT INTO vibevideo.%1\$I (%2\$s) OVERRIDING SYSTEM VALUE SELECT %2\$s FROM saved.%1\$I', '$table', columns);
END
\$\$
SQL
}

# ---------------------------------------------------------------------------
# What the catalogs say
# ---------------------------------------------------------------------------

# Objects of the extension, and what depends on them: classid, objid, their name.
my $OBJECTS = <<'SQL';
WITH RECURSIVE member AS (
	SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'vibevideo'
	UNION
	SELECT 'pg_extension'::regclass, e.oid FROM pg_extension e WHERE e.extname = 'vibevideo'
	UNION
	SELECT d.classid, d.objid FROM member m JOIN pg_depend d ON d.refclassid = m.classid AND d.refobjid = m.objid
	WHERE d.deptype IN ('i', 'a')
), object AS (
	SELECT m.*, i.type || ' ' || i.identity AS name FROM member m, pg_identify_object(m.classid, m.objid, 0) i
	-- TOAST tables are numbered by their table
	WHERE i.identity NOT LIKE 'pg_toast.%'
)
SQL

# One query each; a line is an object and one property of it.
my @QUERIES = (
	# which objects there are, their owners, and their comments
	q{SELECT o.name, 'is there' FROM object o},
	q{SELECT o.name, 'depends', d.deptype, (pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid)).identity FROM object o JOIN pg_depend d USING (classid, objid)},
	q{SELECT o.name, 'belongs to', d.deptype, d.refobjid::regrole FROM object o JOIN pg_shdepend d USING (classid, objid)
	  WHERE d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())},
	q{SELECT o.name, 'comment', a.attname, d.description FROM object o JOIN pg_description d ON d.classoid = o.classid AND d.objoid = o.objid
	  LEFT JOIN pg_attribute a ON o.classid = 'pg_class'::regclass AND a.attrelid = o.objid AND a.attnum = d.objsubid AND d.objsubid > 0},
	q{SELECT o.name, 'initial rights', p.objsubid, p.privtype, p.initprivs FROM object o JOIN pg_init_privs p ON p.classoid = o.classid AND p.objoid = o.objid},
	# the extension
	q{SELECT e.extname, e.extversion, e.extowner::regrole, e.extrelocatable, e.extnamespace::regnamespace FROM pg_extension e WHERE e.extname = 'vibevideo'},
	q{SELECT e.extname, 'dumps', c.relation::regclass, e.extcondition[c.n]
	  FROM pg_extension e, unnest(e.extconfig) WITH ORDINALITY c(relation, n) WHERE e.extname = 'vibevideo'},
	q{SELECT n.nspname, 'schema', n.nspowner::regrole, coalesce(n.nspacl::text, '-') FROM pg_namespace n WHERE n.nspname LIKE 'vibevideo%'},
	# tables, views, sequences, indexes, composite types
	q{SELECT o.name, 'relation', c.relkind, c.relpersistence, c.relowner::regrole, coalesce(c.relacl::text, '-'), c.reloptions, c.relreplident,
			 c.relrowsecurity, c.relforcerowsecurity, c.relhasrules, c.relhastriggers, c.relchecks, (SELECT a.amname FROM pg_am a WHERE a.oid = c.relam)
	  FROM object o JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid},
	q{SELECT o.name, 'column', row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum), a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
			 a.attstorage, a.attcompression, a.attstattarget, a.attcollation::regcollation, coalesce(a.attacl::text, '-'), a.atthasmissing,
			 -- 15.20 stores a number there that differs between relations
			 ARRAY(SELECT x FROM unnest(a.attoptions) x WHERE x NOT LIKE 'pg_attver=%'),
			 pg_get_expr(d.adbin, d.adrelid)
	  FROM object o JOIN pg_attribute a ON o.classid = 'pg_class'::regclass AND a.attrelid = o.objid AND a.attnum > 0 AND NOT a.attisdropped
	  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum},
	q{SELECT o.name, 'index', pg_get_indexdef(i.indexrelid), i.indisunique, i.indisprimary, i.indisvalid, i.indisready, i.indimmediate, i.indisclustered
	  FROM object o JOIN pg_index i ON o.classid = 'pg_class'::regclass AND i.indexrelid = o.objid},
	q{SELECT o.name, 'sequence', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle
	  FROM object o JOIN pg_sequence s ON o.classid = 'pg_class'::regclass AND s.seqrelid = o.objid},
	q{SELECT o.name, 'view', pg_get_viewdef(c.oid) FROM object o JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid AND c.relkind IN ('v', 'm')},
	q{SELECT o.name, 'constraint', c.conname, c.contype, c.convalidated, c.condeferrable, c.conislocal, pg_get_constraintdef(c.oid)
	  FROM object o JOIN pg_constraint c ON o.classid = 'pg_constraint'::regclass AND c.oid = o.objid},
	q{SELECT o.name, 'trigger', pg_get_triggerdef(t.oid), t.tgenabled, t.tgisinternal
	  FROM object o JOIN pg_trigger t ON o.classid = 'pg_trigger'::regclass AND t.oid = o.objid},
	q{SELECT o.name, 'type', t.typtype, t.typcategory, t.typowner::regrole, coalesce(t.typacl::text, '-'), t.typnotnull, t.typdefault
	  FROM object o JOIN pg_type t ON o.classid = 'pg_type'::regclass AND t.oid = o.objid},
	# functions: the text is in prosrc or, parsed, in the definition
	q{SELECT o.name, 'function', pg_get_functiondef(p.oid), p.proowner::regrole, coalesce(p.proacl::text, '-'), p.procost, p.prorows, p.prosecdef, p.proleakproof,
			 p.proisstrict, p.proretset, p.provolatile, p.proparallel, p.proconfig, p.probin, p.prosrc, (SELECT l.lanname FROM pg_language l WHERE l.oid = p.prolang)
	  FROM object o JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND p.oid = o.objid AND p.prokind <> 'a'},
	q{SELECT o.name, 'aggregate', p.proowner::regrole, coalesce(p.proacl::text, '-'), p.proparallel, a.aggkind, a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
			 a.aggtranstype::regtype, a.agginitval
	  FROM object o JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND p.oid = o.objid JOIN pg_aggregate a ON a.aggfnoid = p.oid},
	q{SELECT o.name, 'partition', pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid)
	  FROM object o JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid AND (c.relispartition OR c.relkind = 'p')},
	# what it ships
	q{SELECT 'model', m.endpoint, m.max_prompt, m.needs_image, m.usual_seconds, m.builtin FROM vibevideo.model m WHERE m.builtin},
	q{SELECT 'price', to_jsonb(r) - 'changed_at' FROM vibevideo.price_rule r WHERE r.source = 'built-in'});

# catalog(node, database) - everything that the catalogs say about the extension,
# as sorted lines; names replace OIDs.
sub catalog
{
	my ($node, $database) = @_;
	my @lines = map {
		my $with = /FROM object o/ ? $OBJECTS : '';
		split /\x1e/,
		  $node->safe_psql($database, "$with SELECT string_agg(q::text, E'\\x1e' ORDER BY q::text COLLATE \"C\") FROM ($_) AS q")
	} @QUERIES;

	return \@lines;
}

1;
