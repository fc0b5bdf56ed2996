
-------------------------------------------------------------------------------
-- Attaching the app's table
-------------------------------------------------------------------------------

-- Keeps the public functions in step with the attached key.  pg_restore copies
-- rows into vibevideo.binding, so this is also how they get their type back.
CREATE FUNCTION vibevideo_internal.binding_changed()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM vibevideo.create_api(NEW.id_type);
	PERFORM vibevideo.grant_api_roles();
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.binding_changed() IS
	'trigger: gives the public functions the attached key''s type and the API roles their rights';
CREATE TRIGGER binding_changed AFTER INSERT OR UPDATE ON vibevideo.binding
	FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.binding_changed();
ALTER TABLE vibevideo.binding ENABLE ALWAYS TRIGGER binding_changed;

-- A row that attach has not just made comes from a dump.  Into another database
-- or not: what was done since then is not in it, and would be done again.
CREATE FUNCTION vibevideo_internal.binding_copied()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NEW.attached_at <> now() THEN
		NEW.paused = true;
		NEW.pause_scope = NULL;
		NEW.paused_by = NULL;
		NEW.paused_at = now();
		NEW.pause_reason = NULL;
		RAISE WARNING USING
			MESSAGE = 'vibevideo is paused: this database is a copy of the one its jobs belong to',
			HINT = 'To continue with them here, SELECT vibevideo.resume().';
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.binding_copied() IS 'trigger: jobs that come from a dump are paused until vibevideo.resume()';
CREATE TRIGGER binding_copied BEFORE INSERT ON vibevideo.binding
	FOR EACH ROW EXECUTE FUNCTION vibevideo_internal.binding_copied();
ALTER TABLE vibevideo.binding ENABLE ALWAYS TRIGGER binding_copied;

-- The statuses an app can see, in the order a row goes through them.
CREATE FUNCTION vibevideo_internal.statuses()
RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
RETURN ARRAY['queued', 'generating', 'processing', 'completed', 'failed', 'cancelled'];
COMMENT ON FUNCTION vibevideo_internal.statuses() IS 'the values of video_generation_status; owner only';

-- The columns vibevideo writes, with their types.
CREATE FUNCTION vibevideo_internal.row_columns(OUT name name, OUT type regtype)
RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 5 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT c.name::name, c.type::regtype
	FROM (VALUES ('video_generation_status', 'text'), ('video_request_id', 'text'), ('video_url', 'text'),
				 ('video_generated_at', 'timestamp with time zone'), ('video_generation_error', 'text')) AS c(name, type);
END;
COMMENT ON FUNCTION vibevideo_internal.row_columns() IS 'the columns of the app''s table that vibevideo writes; owner only';

-- A name made from a table's, cut to what PostgreSQL allows without losing its
-- ends.
CREATE FUNCTION vibevideo_internal.derived_name(relation regclass, prefix text, suffix text)
RETURNS name LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	base text = (SELECT c.relname FROM pg_class c WHERE c.oid = derived_name.relation);
BEGIN
	WHILE octet_length(base) > 63 - octet_length(prefix || suffix) LOOP
		base = left(base, -1);
	END LOOP;
	RETURN prefix || base || suffix;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.derived_name(regclass, text, text) IS
	'prefix, table name and suffix as one name of at most 63 bytes; owner only';

-- Size in bytes of a table's rows, its partitions and children included.
CREATE FUNCTION vibevideo_internal.relation_bytes(relation regclass)
RETURNS bigint LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH RECURSIVE tree(oid) AS (
		SELECT relation_bytes.relation::oid
		UNION ALL
		SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
	)
	SELECT coalesce(sum(pg_relation_size(t.oid)), 0)::bigint FROM tree t;
END;
COMMENT ON FUNCTION vibevideo_internal.relation_bytes(regclass) IS 'bytes of a table with its partitions; owner only';

-- The valid index that finds a row by its request id, or NULL.
CREATE FUNCTION vibevideo_internal.request_index(relation regclass)
RETURNS regclass LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
BEGIN ATOMIC
	SELECT i.indexrelid::regclass
	FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
	WHERE i.indrelid = request_index.relation AND a.attname = 'video_request_id' AND i.indisvalid AND i.indisready
	  AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = '(video_request_id IS NOT NULL)')
	ORDER BY i.indexrelid LIMIT 1;
END;
COMMENT ON FUNCTION vibevideo_internal.request_index(regclass) IS 'the valid index on video_request_id, or NULL; owner only';

-- The command that makes that index: attach runs it on small tables, the worker
-- on big ones, without blocking writes.
CREATE FUNCTION vibevideo_internal.index_command(relation regclass, online boolean DEFAULT false)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN format('CREATE INDEX %s%I ON %s (video_request_id) WHERE video_request_id IS NOT NULL',
			  CASE WHEN online THEN 'CONCURRENTLY ' END,
			  vibevideo_internal.derived_name(relation, 'idx_', '_video_request_id'), relation);
COMMENT ON FUNCTION vibevideo_internal.index_command(regclass, boolean) IS
	'the command that makes the index on video_request_id; owner only';

-- Refuses what cannot be the app's table.
CREATE FUNCTION vibevideo_internal.check_attachable(relation regclass)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
	kind text;
BEGIN
	SELECT c.relkind, c.relpersistence, c.relispartition, c.relrowsecurity, c.relforcerowsecurity, c.relowner,
		   n.nspname, o.rolname AS owner, o.rolsuper OR o.rolbypassrls AS owner_bypasses,
		   (SELECT i.inhparent::regclass FROM pg_inherits i WHERE i.inhrelid = c.oid LIMIT 1) AS parent
	INTO t
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
	WHERE c.oid = check_attachable.relation;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_table',
			MESSAGE = format('there is no table %s', coalesce(relation::text, 'NULL')),
			HINT = 'Name the app''s table, as in SELECT vibevideo.attach(''public.vibelogs'').';
	END IF;
	IF t.nspname IN ('pg_catalog', 'information_schema', 'pg_toast') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = format('%s belongs to PostgreSQL and cannot be attached', relation),
			HINT = 'Attach a table of the app.';
	ELSIF t.nspname IN ('vibevideo', 'vibevideo_internal') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_parameter_value',
			MESSAGE = format('%s belongs to vibevideo itself and cannot be attached', relation),
			HINT = 'Attach a table of the app.';
	END IF;
	IF t.relkind NOT IN ('r', 'p') THEN
		kind = CASE t.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
			   WHEN 'S' THEN 'a sequence' WHEN 'c' THEN 'a composite type' ELSE 'an index' END;
		RAISE EXCEPTION USING
			ERRCODE = 'wrong_object_type',
			MESSAGE = format('%s is %s, not a table', relation, kind),
			DETAIL = 'vibevideo adds columns and writes a video''s status into the row itself.',
			HINT = CASE WHEN t.relkind IN ('v', 'm') THEN 'Attach the table the view reads.'
				   WHEN t.relkind = 'f' THEN 'Attach the table on the server that holds it.'
				   ELSE 'Attach a table of the app.' END;
	END IF;
	IF t.relpersistence = 't' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'feature_not_supported',
			MESSAGE = format('%s is a temporary table', relation),
			DETAIL = 'The background worker could not see its rows.',
			HINT = 'Attach a permanent table.';
	END IF;
	IF t.relispartition THEN
		RAISE EXCEPTION USING
			ERRCODE = 'wrong_object_type',
			MESSAGE = format('%s is a partition of %s', relation, t.parent),
			HINT = format('Attach the parent: SELECT vibevideo.attach(%L).', t.parent);
	END IF;
	IF NOT pg_has_role(current_user, t.relowner, 'USAGE') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = format('must be owner of table %s to attach it', relation),
			HINT = format('Call vibevideo.attach as %I or as a superuser.', t.owner);
	END IF;
	IF t.relrowsecurity AND t.relforcerowsecurity AND NOT t.owner_bypasses THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('row-level security of %s is forced on its owner %I', relation, t.owner),
			DETAIL = 'The background worker writes rows as the table''s owner, and the policies could hide them from it.',
			HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY; or ALTER ROLE %I BYPASSRLS.', relation, t.owner);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_attachable(regclass) IS 'refuses what cannot be the app''s table; owner only';

-- Finds the column that identifies a row, and its type.
CREATE FUNCTION vibevideo_internal.key_column(relation regclass, wanted name, OUT id_column name, OUT id_type regtype)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	keys name[];
	column_number smallint;
	column_not_null boolean;
BEGIN
	IF wanted IS NULL THEN
		SELECT array_agg(a.attname ORDER BY k.position) INTO keys
		FROM pg_index i
		CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(attnum, position)
		JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
		WHERE i.indrelid = key_column.relation AND i.indisprimary AND k.position <= i.indnkeyatts;
		IF keys IS NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_table_definition',
				MESSAGE = format('table %s has no primary key', relation),
				HINT = 'Add one, or name a column that is unique and not null with id_column => ''...''.';
		ELSIF cardinality(keys) > 1 THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_table_definition',
				MESSAGE = format('the primary key of %s has %s columns', relation, cardinality(keys)),
				DETAIL = format('It consists of %s.', array_to_string(keys, ', ')),
				HINT = 'Name a single column that is unique and not null with id_column => ''...''.';
		END IF;
		id_column = keys[1];
	ELSE
		id_column = wanted;
	END IF;

	SELECT a.atttypid, a.attnum, a.attnotnull INTO id_type, column_number, column_not_null
	FROM pg_attribute a
	WHERE a.attrelid = key_column.relation AND a.attname = key_column.id_column AND a.attnum > 0 AND NOT a.attisdropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('table %s has no column "%s"', relation, id_column),
			HINT = 'Check id_column; without it the primary key''s column is taken. Names are case-sensitive here.';
	END IF;
	IF NOT column_not_null
	   OR NOT EXISTS (SELECT FROM pg_index i
					  WHERE i.indrelid = key_column.relation AND i.indisunique AND i.indisvalid AND i.indimmediate
						AND i.indnkeyatts = 1 AND i.indkey[0] = column_number AND i.indpred IS NULL)
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_table_definition',
			MESSAGE = format('column "%s" does not identify a row of %s', id_column, relation),
			DETAIL = CASE WHEN column_not_null
						  THEN 'No valid, non-deferrable, non-partial unique index has it as its only column.'
						  ELSE 'It may be null.' END,
			HINT = 'Take the primary key, or make the column UNIQUE and NOT NULL.';
	END IF;
	IF id_type NOT IN ('uuid'::regtype, 'bigint'::regtype, 'integer'::regtype, 'text'::regtype) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datatype_mismatch',
			MESSAGE = format('column "%s" of %s has type %s', id_column, relation, id_type),
			HINT = 'The key may be uuid, bigint, integer or text; domains cannot be used.';
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.key_column(regclass, name) IS 'the column that identifies a row, and its type; owner only';

-- Refuses a column that is not there or holds no text; option is the argument
-- of attach that named it.
CREATE FUNCTION vibevideo_internal.check_text_column(relation regclass, column_name name, option text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	category "char";
	found_type text;
BEGIN
	SELECT t.typcategory, format_type(a.atttypid, a.atttypmod) INTO category, found_type
	FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
	WHERE a.attrelid = check_text_column.relation AND a.attname = check_text_column.column_name
	  AND a.attnum > 0 AND NOT a.attisdropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('table %s has no column "%s"', relation, column_name),
			HINT = format('Check %s. Names are case-sensitive here.', option);
	END IF;
	IF category <> 'S' THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datatype_mismatch',
			MESSAGE = format('column "%s" of %s has type %s', column_name, relation, found_type),
			HINT = format('%s must name a text column; input_function can make the input out of anything.', option);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_text_column(regclass, name, text) IS
	'refuses a column that is not there or holds no text; owner only';

-- The column that looks like a prompt.
CREATE FUNCTION vibevideo_internal.guess_prompt(relation regclass, id_column name)
RETURNS name LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	prompt_names constant name[] = '{prompt,text,content,body,caption,description}';
	prompt name;
BEGIN
	SELECT a.attname INTO prompt
	FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
	WHERE a.attrelid = guess_prompt.relation AND a.attnum > 0 AND NOT a.attisdropped
	  AND a.attname = ANY (prompt_names) AND t.typcategory = 'S' AND a.attname <> guess_prompt.id_column
	ORDER BY array_position(prompt_names, a.attname) LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('table %s has no text column that looks like a prompt', relation),
			DETAIL = format('Looked for %s.', array_to_string(prompt_names, ', ')),
			HINT = 'Name the column with prompt_column => ''...''.';
	END IF;
	RETURN prompt;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.guess_prompt(regclass, name) IS 'the text column that looks like a prompt; owner only';

-- Resolves input_function to its qualified name.  Without a schema it is
-- looked for beside the table: the caller's search_path plays no part.
CREATE FUNCTION vibevideo_internal.resolve_input_function(relation regclass, wanted text)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	parts text[];
	candidate record;
BEGIN
	BEGIN
		parts = parse_ident(wanted);
	EXCEPTION WHEN invalid_parameter_value THEN
		parts = '{}';
	END;
	IF cardinality(parts) = 1 THEN
		parts = (SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
				 WHERE c.oid = resolve_input_function.relation) || parts;
	ELSIF cardinality(parts) <> 2 THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_name',
			MESSAGE = format('"%s" is not the name of a function', wanted),
			HINT = 'Write input_function as schema.name or name, without parentheses.';
	END IF;

	-- the best candidate, to say what is wrong with it
	SELECT format('%I.%I', n.nspname, p.proname) AS name, pg_get_function_identity_arguments(p.oid) AS arguments,
		   coalesce(pg_get_function_result(p.oid), 'nothing') AS result,
		   p.prokind = 'f' AND NOT p.proretset AND p.pronargs = 1 AND p.proargtypes[0] = c.reltype
		   AND p.prorettype = 'jsonb'::regtype AS fits
	INTO candidate
	FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
	JOIN pg_class c ON c.oid = resolve_input_function.relation
	WHERE n.nspname = parts[1] AND p.proname = parts[2]
	ORDER BY fits DESC, p.oid LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_function',
			MESSAGE = format('there is no function %I.%I', parts[1], parts[2]),
			HINT = format('CREATE FUNCTION %I.%I(%s) RETURNS jsonb first; if it is in another schema write schema.name.',
						  parts[1], parts[2], relation);
	END IF;
	IF NOT candidate.fits THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_function_definition',
			MESSAGE = format('function %s cannot make a model''s input', candidate.name),
			DETAIL = format('Wanted %s(%s) returning jsonb, found %s(%s) returning %s.',
							candidate.name, relation, candidate.name, candidate.arguments, candidate.result),
			HINT = 'It must take one argument of the table''s row type and return one jsonb.';
	END IF;
	RETURN candidate.name;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.resolve_input_function(regclass, text) IS
	'the qualified name of a function of the row that returns jsonb; owner only';

/*
 * vibevideo_internal.status_check(relation, OUT present, OUT refusing, OUT refused) -
 * looks at the CHECK constraints on video_generation_status alone.  present:
 * one of them takes our statuses and nothing else.  refusing, refused: the
 * first one that refuses a status of ours, and which.  A constraint that calls
 * functions of the app is not judged: they would run with the caller's rights.
 * Nor is one that calls PostgreSQL's own, unless they are immutable: others can
 * run a text as a statement.
 */
CREATE FUNCTION vibevideo_internal.status_check(relation regclass, OUT present boolean, OUT refusing name, OUT refused text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	nonsense constant text = 'no status of vibevideo';
	constr record;
	rejected text[];
BEGIN
	present = false;
	FOR constr IN
		SELECT c.conname, pg_get_expr(c.conbin, c.conrelid) AS expression
		FROM pg_constraint c
		JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attname = 'video_generation_status' AND NOT a.attisdropped
		WHERE c.conrelid = status_check.relation AND c.contype = 'c' AND c.conkey = ARRAY[a.attnum]
		  -- what PostgreSQL itself provides leaves no trace here
		  AND NOT EXISTS (SELECT FROM pg_depend d
						  WHERE d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
							AND d.refclassid NOT IN ('pg_class'::regclass, 'pg_collation'::regclass))
		  AND NOT EXISTS (SELECT FROM regexp_matches(c.conbin::text, ':(?:funcid|opfuncid) ([0-9]+)', 'g') AS called(id)
						  LEFT JOIN pg_proc p ON p.oid = called.id[1]::oid
						  WHERE p.provolatile IS DISTINCT FROM 'i')
		ORDER BY c.conname
	LOOP
		EXECUTE format('SELECT array_agg(s.video_generation_status ORDER BY s.position) '
					   'FROM unnest($1) WITH ORDINALITY AS s(video_generation_status, position) WHERE NOT (%s)',
					   constr.expression)
		INTO rejected USING vibevideo_internal.statuses() || nonsense;
		IF rejected = ARRAY[nonsense] THEN
			present = true;
		ELSIF rejected && vibevideo_internal.statuses() THEN
			refusing = constr.conname;
			refused = array_to_string(array_remove(rejected, nonsense), ', ');
			RETURN;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.status_check(regclass) IS 'what the table''s CHECK constraints say to our statuses; owner only';

-- Adds the columns and the CHECK constraint that are missing, in one ALTER
-- TABLE that reads no row of a big table; no ALTER TABLE if nothing is missing.
CREATE FUNCTION vibevideo_internal.add_columns(relation regclass, big boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	statuses constant text = (SELECT string_agg(quote_literal(s), ', ') FROM unnest(vibevideo_internal.statuses()) s);
	actions text[] = '{}';
	wanted record;
	has record;
	checks record;
	foreign_values text;
BEGIN
	FOR wanted IN SELECT c.name, c.type FROM vibevideo_internal.row_columns() c LOOP
		SELECT format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, a.attgenerated <> '' AS generated,
			   a.atttypid = wanted.type
			   OR wanted.type = 'text'::regtype AND a.atttypid = 'varchar'::regtype AND a.atttypmod = -1 AS fits
		INTO has
		FROM pg_attribute a
		WHERE a.attrelid = add_columns.relation AND a.attname = wanted.name AND NOT a.attisdropped;
		IF NOT FOUND THEN
			actions = actions || format('ADD COLUMN %I %s', wanted.name, wanted.type);
		ELSIF NOT has.fits THEN
			RAISE EXCEPTION USING
				ERRCODE = 'datatype_mismatch',
				MESSAGE = format('column "%s" of %s has type %s, vibevideo needs %s', wanted.name, relation, has.type, wanted.type),
				HINT = format('ALTER TABLE %s ALTER COLUMN %I TYPE %s, or rename the column so that attach adds its own.',
							  relation, wanted.name, wanted.type);
		ELSIF has.attnotnull THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_table_definition',
				MESSAGE = format('column "%s" of %s is NOT NULL', wanted.name, relation),
				DETAIL = 'It is null while there is nothing to report.',
				HINT = format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL.', relation, wanted.name);
		ELSIF has.generated THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_table_definition',
				MESSAGE = format('column "%s" of %s is a generated column', wanted.name, relation),
				DETAIL = 'vibevideo has to write it.',
				HINT = 'Rename the column so that attach adds its own.';
		END IF;
	END LOOP;

	SELECT s.present, s.refusing, s.refused INTO checks FROM vibevideo_internal.status_check(relation) s;
	IF checks.refusing IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = format('CHECK constraint %I of %s refuses video_generation_status %s',
							 checks.refusing, relation, checks.refused),
			HINT = format('ALTER TABLE %s DROP CONSTRAINT %I; attach adds one that takes %s.',
						  relation, checks.refusing, array_to_string(vibevideo_internal.statuses(), ', '));
	END IF;
	IF NOT checks.present
	   -- one that could not be judged may have the name
	   AND NOT EXISTS (SELECT FROM pg_constraint c
					   WHERE c.conrelid = add_columns.relation
						 AND c.conname = vibevideo_internal.derived_name(relation, '', '_video_generation_status_check'))
	THEN
		IF EXISTS (SELECT FROM pg_attribute a
				   WHERE a.attrelid = add_columns.relation AND a.attname = 'video_generation_status' AND NOT a.attisdropped)
		THEN
			-- Even a NOT VALID constraint would refuse later updates of such
			-- rows.  This reads the table, but only under ACCESS SHARE.
			EXECUTE format('SELECT string_agg(quote_literal(s), '', '' ORDER BY s) FROM ('
						   'SELECT DISTINCT video_generation_status::text AS s FROM %s '
						   'WHERE video_generation_status <> ALL ($1) LIMIT 5) d', relation)
			INTO foreign_values USING vibevideo_internal.statuses();
			IF foreign_values IS NOT NULL THEN
				RAISE EXCEPTION USING
					ERRCODE = 'check_violation',
					MESSAGE = format('rows of %s have a video_generation_status vibevideo does not know', relation),
					DETAIL = format('Found %s.', foreign_values),
					HINT = format('UPDATE these rows to NULL or to one of %s.', array_to_string(vibevideo_internal.statuses(), ', '));
			END IF;
		END IF;
		actions = actions || format('ADD CONSTRAINT %I CHECK (video_generation_status IN (%s))%s',
									vibevideo_internal.derived_name(relation, '', '_video_generation_status_check'), statuses,
									CASE WHEN big THEN ' NOT VALID' END);
	END IF;

	IF cardinality(actions) > 0 THEN
		EXECUTE format('ALTER TABLE %s %s', relation, array_to_string(actions, ', '));
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.add_columns(regclass, boolean) IS 'adds the missing columns and the status CHECK; owner only';

-- Makes the index on video_request_id unless it is there; true if that is left
-- to the worker.
CREATE FUNCTION vibevideo_internal.add_index(relation regclass, big boolean)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	index_name constant name = vibevideo_internal.derived_name(relation, 'idx_', '_video_request_id');
	namesake record;
BEGIN
	IF vibevideo_internal.request_index(relation) IS NOT NULL THEN
		RETURN false;
	END IF;

	SELECT c.oid::regclass AS relation, i.indrelid = add_index.relation AND NOT i.indisvalid AS leftover INTO namesake
	FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
	WHERE c.relname = index_name
	  AND c.relnamespace = (SELECT t.relnamespace FROM pg_class t WHERE t.oid = add_index.relation);
	IF FOUND AND namesake.leftover IS NOT TRUE THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_table',
			MESSAGE = format('relation %s is in the way of an index', namesake.relation),
			DETAIL = format('vibevideo wants to run: %s', vibevideo_internal.index_command(relation)),
			HINT = 'Rename that relation, then attach again.';
	END IF;

	IF NOT big THEN
		IF namesake.leftover THEN
			EXECUTE format('DROP INDEX %s', namesake.relation);
		END IF;
		EXECUTE vibevideo_internal.index_command(relation);
		RETURN false;
	ELSIF EXISTS (SELECT FROM pg_class c WHERE c.oid = add_index.relation AND c.relkind = 'p') THEN
		RAISE NOTICE USING
			MESSAGE = format('the index on video_request_id of %s has to be made by hand', relation),
			DETAIL = 'PostgreSQL cannot build the index of a partitioned table without blocking writes, and this one is big. '
					 'vibevideo itself works without it.',
			HINT = format('CREATE INDEX %I ON ONLY %s (video_request_id) WHERE video_request_id IS NOT NULL; then CREATE INDEX '
						  'CONCURRENTLY on each partition and ALTER INDEX ... ATTACH PARTITION.', index_name, relation);
		RETURN false;
	END IF;
	RAISE NOTICE USING
		MESSAGE = format('the background worker builds index %I, without blocking', index_name),
		DETAIL = format('Table %s is too big to index it here, under a lock.', relation),
		HINT = 'SELECT * FROM vibevideo.check_config() shows when it is there.';
	RETURN true;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.add_index(regclass, boolean) IS
	'makes the index on video_request_id; true if the worker has to; owner only';

-- Limits and costs go by the text of a user's column.
CREATE FUNCTION vibevideo_internal.names_user(type oid)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT t.typcategory NOT IN ('A', 'C')
		   AND coalesce(nullif(t.typbasetype, 0), t.oid) NOT IN ('json'::regtype, 'jsonb'::regtype, 'bytea'::regtype)
	FROM pg_type t WHERE t.oid = names_user.type;
END;
COMMENT ON FUNCTION vibevideo_internal.names_user(oid) IS 'whether a column of this type can say whose video it is; owner only';

-- A model is named by a text, or one of a list of them.
CREATE FUNCTION vibevideo_internal.names_model(type oid)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT t.typcategory IN ('S', 'E') FROM pg_type t WHERE t.oid = names_model.type;
END;
COMMENT ON FUNCTION vibevideo_internal.names_model(oid) IS 'whether a column of this type can name a model; owner only';

-- Refuses a column that an option names and that is not there, or of a type that cannot
-- name a user or a tenant, or a model, or hold what is known of a video; NULL is none.
CREATE FUNCTION vibevideo_internal.check_naming_column(relation regclass, name name, option text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	fits boolean;
	found_type text;
BEGIN
	IF name IS NULL THEN
		RETURN;
	END IF;
	SELECT CASE option WHEN 'model_column' THEN vibevideo_internal.names_model(a.atttypid)
					   WHEN 'meta_column' THEN coalesce(nullif(t.typbasetype, 0), t.oid) = 'jsonb'::regtype AND a.attgenerated = ''
					   ELSE vibevideo_internal.names_user(a.atttypid) END,
		   format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attgenerated <> '' THEN ', generated' ELSE '' END INTO fits, found_type
	FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
	WHERE a.attrelid = check_naming_column.relation AND a.attname = check_naming_column.name
	  AND a.attnum > 0 AND NOT a.attisdropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('table %s has no column "%s"', relation, name),
			HINT = format('Check %s. Names are case-sensitive here.', option);
	ELSIF NOT fits THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datatype_mismatch',
			MESSAGE = format('column "%s" of %s has type %s', name, relation, found_type),
			HINT = CASE option WHEN 'model_column' THEN 'model_column must be a text or an enum; a row names its model there, or leaves it null.'
				   WHEN 'meta_column' THEN 'meta_column must be an ordinary column of type jsonb, which vibevideo writes.'
				   ELSE format('%s must hold a single value, as a uuid, a text or a number.', option) END;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_naming_column(regclass, name, text) IS 'refuses a column that is not there, or cannot hold what its option says; owner only';

-- What of the attached table no longer fits, NULL if all does: the columns that
-- are read and written, and their types.
CREATE FUNCTION vibevideo_internal.column_faults(b vibevideo.binding)
RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT string_agg(CASE WHEN a.attname IS NULL THEN format('%I is missing', wanted.name)
						   ELSE format('%I has type %s', wanted.name, format_type(a.atttypid, a.atttypmod)) END, ', ' ORDER BY wanted.name)
	FROM (SELECT c.name, c.type, NULL::"char" AS category FROM vibevideo_internal.row_columns() c
		  UNION ALL VALUES ((b).id_column, (b).id_type, NULL::"char"),
						   -- a function takes what it wants out of the row
						   (CASE WHEN (b).input_function IS NULL THEN (b).prompt_column END, NULL::regtype, 'S'::"char"),
						   (CASE WHEN (b).input_function IS NULL THEN (b).image_column END, NULL::regtype, 'S'::"char"),
						   ((b).user_column, NULL::regtype, NULL::"char"),
						   ((b).tenant_column, NULL::regtype, NULL::"char"),
						   ((b).model_column, NULL::regtype, NULL::"char"),
						   ((b).meta_column, 'jsonb'::regtype, NULL::"char")) AS wanted(name, type, category)
	LEFT JOIN pg_attribute a ON a.attrelid = (b).relation AND a.attname = wanted.name AND NOT a.attisdropped
	LEFT JOIN pg_type t ON t.oid = a.atttypid
	WHERE wanted.name IS NOT NULL
	  AND (a.attname IS NULL OR t.typcategory <> wanted.category
		   OR wanted.name IN ((b).user_column, (b).tenant_column) AND NOT vibevideo_internal.names_user(a.atttypid)
		   OR wanted.name = (b).model_column AND NOT vibevideo_internal.names_model(a.atttypid)
		   -- a domain may refuse a value: that is the row's own trouble
		   OR coalesce(nullif(CASE WHEN wanted.name <> (b).id_column THEN t.typbasetype END, 0), a.atttypid) <> wanted.type
			  AND NOT (wanted.type = 'text'::regtype AND a.atttypid = 'varchar'::regtype));
END;
COMMENT ON FUNCTION vibevideo_internal.column_faults(vibevideo.binding) IS
	'columns of the attached table that are missing or have another type, NULL if none; owner only';

-- Rows are read and written as the table's owner, who may have given up or never
-- had the rights to do so.  lacking: what the owner may not; remedy: the GRANTs.
CREATE FUNCTION vibevideo_internal.owner_lacks(b vibevideo.binding, OUT owner name, OUT lacking text, OUT remedy text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT o.rolname, string_agg(format('%s on %s', missing.what, missing.place), ', '),
		   string_agg(format('GRANT %s ON %s TO %I;', missing.what, missing.place, o.rolname), ' ')
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
	CROSS JOIN (SELECT array_agg(r.name) || (b).meta_column AS names FROM vibevideo_internal.row_columns() r) written
	LEFT JOIN pg_proc p ON p.oid = to_regprocedure((b).input_function || format('(%s)', c.oid::regclass))
	LEFT JOIN pg_namespace f ON f.oid = p.pronamespace
	LEFT JOIN LATERAL (
		SELECT 'USAGE' AS what, format('SCHEMA %I', n.nspname) AS place WHERE NOT has_schema_privilege(o.oid, n.oid, 'USAGE')
		UNION ALL
		SELECT 'SELECT', c.oid::regclass::text
		WHERE NOT has_table_privilege(o.oid, c.oid, 'SELECT')
		  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
					  AND ((b).input_function IS NOT NULL
						   OR a.attname = ANY (written.names || ARRAY[(b).id_column, (b).prompt_column, (b).image_column, (b).user_column, (b).tenant_column,
																	   (b).model_column]))
					  AND NOT has_column_privilege(o.oid, c.oid, a.attnum, 'SELECT'))
		UNION ALL
		SELECT 'UPDATE', c.oid::regclass::text
		WHERE NOT has_table_privilege(o.oid, c.oid, 'UPDATE')
		  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
					  AND a.attname = ANY (written.names) AND NOT has_column_privilege(o.oid, c.oid, a.attnum, 'UPDATE'))
		UNION ALL
		SELECT 'USAGE', format('SCHEMA %I', f.nspname)
		WHERE f.oid <> n.oid AND NOT has_schema_privilege(o.oid, f.oid, 'USAGE')
		UNION ALL
		SELECT 'EXECUTE', format('FUNCTION %s', p.oid::regprocedure)
		WHERE p.oid IS NOT NULL AND NOT has_function_privilege(o.oid, p.oid, 'EXECUTE')
	) missing ON true
	WHERE c.oid = (b).relation AND missing.what IS NOT NULL
	GROUP BY o.rolname;
END;
COMMENT ON FUNCTION vibevideo_internal.owner_lacks(vibevideo.binding) IS
	'rights on the attached table that its owner lacks, and the GRANTs that give them; owner only';

-- The options in force, for people.
CREATE FUNCTION vibevideo_internal.options(b vibevideo.binding)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN format('key %I (%s), prompt from %I%s%s%s%s%s%s%s%s%s%s', (b).id_column, (b).id_type, (b).prompt_column,
			  ', image from ' || quote_ident((b).image_column), ', model ' || (b).model,
			  ', a row''s model from ' || quote_ident((b).model_column), ', input from ' || (b).input_function,
			  ', user from ' || quote_ident((b).user_column), ', tenant from ' || quote_ident((b).tenant_column),
			  ', what is known of a video to ' || quote_ident((b).meta_column), CASE WHEN (b).realtime THEN ', reported to Realtime' END,
			  CASE WHEN (b).on_delete = 'erase' THEN ', videos of deleted rows are erased' END,
			  ', at most ' || (b).keep_versions || ' kept of each row');
COMMENT ON FUNCTION vibevideo_internal.options(vibevideo.binding) IS 'what the table was attached with, for people; owner only';

-- What a new attach has changed, NULL if nothing.
CREATE FUNCTION vibevideo_internal.option_changes(before vibevideo.binding, after vibevideo.binding)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT string_agg(format('%s: %s -> %s', o.name, coalesce(o.before, 'none'), coalesce(o.after, 'none')), ', ' ORDER BY o.nth)
	FROM (VALUES (1, 'id_column', (before).id_column::text, (after).id_column::text),
				 (2, 'prompt_column', (before).prompt_column::text, (after).prompt_column::text),
				 (3, 'image_column', (before).image_column::text, (after).image_column::text),
				 (4, 'model', (before).model, (after).model),
				 (5, 'input_function', (before).input_function, (after).input_function),
				 (6, 'user_column', (before).user_column::text, (after).user_column::text),
				 (7, 'realtime', (before).realtime::text, (after).realtime::text),
				 (8, 'model_column', (before).model_column::text, (after).model_column::text),
				 (9, 'tenant_column', (before).tenant_column::text, (after).tenant_column::text),
				 (10, 'meta_column', (before).meta_column::text, (after).meta_column::text),
				 (11, 'on_delete', (before).on_delete, (after).on_delete),
				 (12, 'keep_versions', (before).keep_versions::text, (after).keep_versions::text)) AS o(nth, name, before, after)
	WHERE o.before IS DISTINCT FROM o.after;
END;
COMMENT ON FUNCTION vibevideo_internal.option_changes(vibevideo.binding, vibevideo.binding) IS
	'which options differ, for people, NULL if none; owner only';

-- What an option is to be: as named, '' for none, and otherwise as it was.
CREATE FUNCTION vibevideo_internal.option(named text, before text)
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN named IS NULL THEN before ELSE nullif(named, '') END;
COMMENT ON FUNCTION vibevideo_internal.option(text, text) IS 'an option of attach: as named, none if empty, else as before; owner only';

-- Refuses a column that was kept from an earlier attach and is gone.
CREATE FUNCTION vibevideo_internal.check_kept_column(relation regclass, column_name name, option text)
RETURNS void LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF column_name IS NOT NULL
	   AND NOT EXISTS (SELECT FROM pg_attribute a
					   WHERE a.attrelid = check_kept_column.relation AND a.attname = check_kept_column.column_name
						 AND a.attnum > 0 AND NOT a.attisdropped)
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_column',
			MESSAGE = format('table %s has no column "%s"', relation, column_name),
			DETAIL = format('It is %s from when a table was attached before.', option),
			HINT = format('Name the column that takes its place with %s => ''...'', or %s => '''' to do without.', option, option);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.check_kept_column(regclass, name, text) IS
	'refuses a column that an earlier attach named and that is gone; owner only';

-- A column that an option names, or named before: checked.
CREATE FUNCTION vibevideo_internal.column_option(relation regclass, named name, before name, option text)
RETURNS name LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	chosen constant name = vibevideo_internal.option(named, before);
BEGIN
	IF named IS NULL THEN
		PERFORM vibevideo_internal.check_kept_column(relation, chosen, option);
	END IF;
	PERFORM vibevideo_internal.check_naming_column(relation, chosen, option);
	RETURN chosen;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.column_option(regclass, name, name, text) IS 'a column that an option of attach names, or named before, checked; owner only';

-- Unfinished jobs of tables that are not attached, a row a table.  gone: there is
-- no such table any more, and name is its number.
CREATE FUNCTION vibevideo_internal.other_tables(OUT name text, OUT gone boolean, OUT active bigint, OUT unwritten bigint, OUT examples text)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
BEGIN ATOMIC
	-- tables with active jobs are found by hopping through their index: most have one
	WITH RECURSIVE tables (relation) AS (
		(SELECT j.relation FROM vibevideo.job j WHERE NOT j.orphan AND vibevideo.is_active(j.state) ORDER BY j.relation LIMIT 1)
		UNION ALL
		SELECT (SELECT j.relation FROM vibevideo.job j
				WHERE NOT j.orphan AND vibevideo.is_active(j.state) AND j.relation > t.relation ORDER BY j.relation LIMIT 1)
		FROM tables t WHERE t.relation IS NOT NULL
	), other AS (
		SELECT t.relation, j.job_id, true AS active
		FROM tables t JOIN vibevideo.job j ON j.relation = t.relation
		WHERE NOT j.orphan AND vibevideo.is_active(j.state)
		  AND NOT EXISTS (SELECT FROM vibevideo.binding b JOIN pg_class c ON c.oid = b.relation WHERE b.relation = t.relation)
		UNION ALL
		SELECT j.relation, j.job_id, false
		FROM vibevideo.job j
		WHERE j.row_dirty AND NOT vibevideo.is_active(j.state) AND NOT j.orphan AND j.relation IS NOT NULL
		  AND NOT EXISTS (SELECT FROM vibevideo.binding b JOIN pg_class c ON c.oid = b.relation WHERE b.relation = j.relation)
	)
	SELECT o.relation::text, c.oid IS NULL, count(*) FILTER (WHERE o.active), count(*) FILTER (WHERE NOT o.active),
		   array_to_string((array_agg(o.job_id ORDER BY o.active DESC, o.job_id))[1:5], ', ')
	FROM other o LEFT JOIN pg_class c ON c.oid = o.relation
	GROUP BY o.relation, c.oid ORDER BY c.oid IS NULL, o.relation;
END;
COMMENT ON FUNCTION vibevideo_internal.other_tables() IS
	'unfinished jobs of tables that are not attached, or gone; owner only';

-- Makes the jobs of a table those of another one, which has its rows.  A job
-- whose row has an active one there already stays, or there would be two.
CREATE FUNCTION vibevideo_internal.adopt_jobs(former regclass, relation regclass)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	moved bigint;
	active bigint;
	left_behind bigint;
	id_type constant regtype = (SELECT b.id_type FROM vibevideo.binding b);
	like_a_key constant text = CASE id_type WHEN 'uuid'::regtype THEN '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
									WHEN 'text'::regtype THEN '' ELSE '^-?[0-9]+$' END;
BEGIN
	IF EXISTS (SELECT FROM vibevideo.job j WHERE j.relation = former AND j.vibelog_id !~ like_a_key) THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datatype_mismatch',
			MESSAGE = format('jobs of %s have keys that are not of type %s', former, id_type),
			HINT = 'A table takes over the jobs of one whose rows it has, under the same keys.';
	END IF;
	WITH adopted AS (
		UPDATE vibevideo.job j SET relation = adopt_jobs.relation
		WHERE j.relation = former AND former <> adopt_jobs.relation
		  AND NOT (vibevideo.is_active(j.state) AND NOT j.orphan
				   AND EXISTS (SELECT FROM vibevideo.job k
							   WHERE k.relation = adopt_jobs.relation AND k.vibelog_id = j.vibelog_id AND NOT k.orphan
								 AND vibevideo.is_active(k.state)))
		RETURNING j.state, j.orphan)
	SELECT count(*), count(*) FILTER (WHERE vibevideo.is_active(a.state) AND NOT a.orphan) INTO moved, active FROM adopted a;
	UPDATE vibevideo.past_video p SET relation = adopt_jobs.relation WHERE p.relation = former AND former <> adopt_jobs.relation;
	-- what was written since the rows were copied is not in these: they are taken as they are
	UPDATE vibevideo.job j SET row_dirty = true, row_tries = 0, row_error = NULL, row_next_at = now(), row_bears = '?'
	WHERE j.job_id IN (SELECT max(k.job_id) FROM vibevideo.job k
					   WHERE k.relation = adopt_jobs.relation AND NOT k.orphan GROUP BY k.vibelog_id);
	RAISE NOTICE USING
		MESSAGE = format('%s takes over the jobs of %s', relation, former),
		DETAIL = format('Jobs: %s, active ones among them: %s. Its rows are brought up to date by the worker.', moved, active);
	SELECT count(*) INTO left_behind FROM vibevideo.job j WHERE j.relation = former AND former <> adopt_jobs.relation;
	IF left_behind > 0 THEN
		RAISE WARNING USING
			MESSAGE = format('some jobs of %s are not taken over', former),
			DETAIL = format('Jobs whose row has another active one: %s.', left_behind),
			HINT = 'Attach with the same arguments again when these have ended.';
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.adopt_jobs(regclass, regclass) IS
	'part of attach: makes the jobs of a table those of the one that takes its place; owner only';

-- Rows were deleted whose videos are to be erased: notes their jobs, in the same
-- transaction.  A key alone names no row's jobs: see src/whose.c, whose rule this is.  Whether
-- another row shows what this one bore, the worker sees: here others' rows are not to be read.
-- Nothing here may keep anybody from deleting rows, nor wait.  In a copy nothing is noted.  Another
-- timeline alone makes none: a standby that was promoted takes deletes at once, and the
-- worker tells a copy from it.
CREATE FUNCTION vibevideo_internal.rows_deleted()
RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	b vibevideo.binding;
	n bigint = 0;
BEGIN
	SELECT x.* INTO b FROM vibevideo.binding x WHERE x.relation = TG_RELID AND x.on_delete = 'erase';
	IF NOT FOUND OR b.paused AND b.pause_scope IS NULL
	   OR EXISTS (SELECT FROM vibevideo_internal.identity() i
				  WHERE (i.system_identifier, i.database_oid) IS DISTINCT FROM (b.system_identifier, b.database_oid))
	THEN
		RETURN NULL;
	END IF;
	-- this runs as the extension's owner, so nothing may be cast by what others have made
	IF (SELECT count(*) FROM pg_attribute a
		WHERE a.attrelid = TG_RELID AND a.attnum > 0 AND NOT a.attisdropped
		  AND (a.attname = b.id_column AND a.atttypid = b.id_type
			   OR a.attname IN ('video_request_id', 'video_generation_status') AND a.atttypid IN ('text'::regtype, 'varchar'::regtype))) < 3
	THEN
		RAISE EXCEPTION USING
			ERRCODE = 'datatype_mismatch',
			MESSAGE = format('columns of %s are gone, or have other types than when it was attached', TG_RELID::regclass);
	END IF;
	IF TG_OP = 'TRUNCATE' THEN
		INSERT INTO vibevideo.erasure (what, job_id, reason, asked_by)
		SELECT 'row', j.job_id, 'row', c.name
		FROM vibevideo.job j CROSS JOIN vibevideo_internal.caller() c
		WHERE j.relation = TG_RELID AND j.erased_at IS NULL
		UNION ALL
		SELECT DISTINCT 'row', p.job_id, 'row', c.name
		FROM vibevideo.past_video p CROSS JOIN vibevideo_internal.caller() c
		WHERE p.relation = TG_RELID;
	ELSE
		EXECUTE format('INSERT INTO vibevideo.erasure (what, job_id, request_id, reason, asked_by) '
					   'SELECT DISTINCT ''row'', j.job_id, CASE WHEN r.bears NOT IN ('''', ''-'') THEN r.bears END, ''row'', c.name '
					   'FROM (SELECT d.%I::text COLLATE "C" AS key, '
					   'coalesce(d.video_request_id::text, CASE WHEN d.video_generation_status IS NULL THEN '''' ELSE ''-'' END) COLLATE "C" AS bears '
					   'FROM vibevideo_deleted d) r CROSS JOIN vibevideo_internal.caller() c '
					   'LEFT JOIN LATERAL (SELECT n.job_id, n.row_bears = ''?'' OR r.bears = coalesce(n.request_id, ''-'') OR n.row_dirty AND n.row_bears = r.bears '
					   'OR EXISTS (SELECT FROM vibevideo.job p WHERE p.request_id = r.bears AND p.relation = $1 AND p.vibelog_id = r.key AND NOT p.orphan) '
					   'OR EXISTS (SELECT FROM vibevideo.past_video p WHERE p.request_id = r.bears AND p.relation = $1 AND p.vibelog_id = r.key) AS is_theirs '
					   'FROM vibevideo.job n WHERE n.relation = $1 AND n.vibelog_id = r.key AND NOT n.orphan ORDER BY n.job_id DESC LIMIT 1) newest ON true '
					   -- those under its key, if they are its own
					   'CROSS JOIN LATERAL (SELECT x.job_id FROM vibevideo.job x '
					   'WHERE x.relation = $1 AND x.vibelog_id = r.key AND x.erased_at IS NULL AND (newest.is_theirs OR newest.job_id IS NULL) '
					   'UNION ALL SELECT p.job_id FROM vibevideo.past_video p WHERE p.relation = $1 AND p.vibelog_id = r.key '
					   'AND (newest.is_theirs OR newest.job_id IS NULL AND r.bears IN (SELECT q.request_id FROM vibevideo.past_video q '
					   'WHERE q.relation = $1 AND q.vibelog_id = r.key)) '
					   -- what it bears, under another key: its own once, or a row's that it is a copy of.  Only the newest there: that
					   -- one's own row shows it, and an older one's shows the newest
					   'UNION ALL SELECT x.job_id FROM vibevideo.job s JOIN vibevideo.job x ON x.relation = s.relation AND x.vibelog_id = s.vibelog_id AND x.job_id <= s.job_id '
					   'WHERE s.request_id = r.bears AND newest.is_theirs IS NOT TRUE AND NOT s.orphan AND NOT s.row_dirty AND s.relation = $1 AND s.vibelog_id <> r.key '
					   'AND x.erased_at IS NULL AND NOT EXISTS (SELECT FROM vibevideo.job w WHERE w.relation = $1 AND w.vibelog_id = s.vibelog_id AND NOT w.orphan AND w.job_id > s.job_id) '
					   'UNION ALL SELECT s.job_id FROM vibevideo.job s '
					   'WHERE s.request_id = r.bears AND newest.is_theirs IS NOT TRUE AND NOT s.orphan AND s.relation IS NULL '
					   'AND s.erased_at IS NULL AND NOT EXISTS (SELECT FROM vibevideo.job w WHERE w.relation IS NULL AND w.vibelog_id = s.vibelog_id AND NOT w.orphan AND w.job_id > s.job_id) '
					   'UNION ALL SELECT p.job_id FROM vibevideo.past_video s JOIN vibevideo.past_video p ON p.relation = s.relation AND p.vibelog_id = s.vibelog_id AND p.job_id <= s.job_id '
					   'WHERE s.request_id = r.bears AND newest.is_theirs IS NOT TRUE AND s.relation = $1 AND s.vibelog_id <> r.key '
					   'AND NOT EXISTS (SELECT FROM vibevideo.past_video w WHERE w.relation = $1 AND w.vibelog_id = s.vibelog_id AND w.job_id > s.job_id) '
					   'AND NOT EXISTS (SELECT FROM vibevideo.job w WHERE w.relation = $1 AND w.vibelog_id = s.vibelog_id AND NOT w.orphan)) j',
					   b.id_column)
		USING TG_RELID::regclass;
	END IF;
	GET DIAGNOSTICS n = ROW_COUNT;
	IF n > 0 THEN
		PERFORM vibevideo.wake();
	END IF;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING USING
		MESSAGE = 'the videos of these rows are not erased: vibevideo could not note them',
		DETAIL = SQLERRM;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.rows_deleted() IS
	'trigger of the app''s table: notes what is to be erased of rows that were deleted';

-- The triggers that see a table's rows go, by name; fires: they are there, and do so.
CREATE FUNCTION vibevideo_internal.delete_triggers(relation regclass, OUT name name, OUT definition text, OUT is_there boolean, OUT fires boolean)
RETURNS SETOF record LANGUAGE sql STABLE ROWS 2 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT w.name, w.definition, g.tgfoid IS NOT NULL, coalesce(g.tgfoid = 'vibevideo_internal.rows_deleted'::regproc AND g.tgenabled IN ('O', 'A'), false)
	FROM (VALUES ('vibevideo_row_deleted'::name, 'AFTER DELETE ON %s REFERENCING OLD TABLE AS vibevideo_deleted'),
				 ('vibevideo_truncated', 'AFTER TRUNCATE ON %s')) AS w(name, definition)
	LEFT JOIN pg_trigger g ON g.tgrelid = delete_triggers.relation AND g.tgname = w.name;
END;
COMMENT ON FUNCTION vibevideo_internal.delete_triggers(regclass) IS 'the triggers of the app''s table that on_delete => erase takes; owner only';

-- Makes or drops them.  What a publisher has deleted was noted there, so they do not fire
-- for what replication brings.  They go with the extension.
CREATE FUNCTION vibevideo_internal.watch_deletes(relation regclass, wanted boolean)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	g record;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = watch_deletes.relation) THEN
		RETURN;
	END IF;
	FOR g IN SELECT t.* FROM vibevideo_internal.delete_triggers(relation) t WHERE t.fires IS DISTINCT FROM wanted OR t.is_there IS DISTINCT FROM wanted LOOP
		IF g.is_there THEN
			EXECUTE format('DROP TRIGGER %I ON %s', g.name, relation);
		END IF;
		IF wanted THEN
			EXECUTE format('CREATE TRIGGER %I ' || g.definition || ' FOR EACH STATEMENT EXECUTE FUNCTION vibevideo_internal.rows_deleted()', g.name, relation);
			EXECUTE format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION vibevideo', g.name, relation);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.watch_deletes(regclass, boolean) IS 'makes or drops the triggers that on_delete => erase takes; owner only';

/*
 * No row is rewritten; on a table over 64 MB none is even read under a lock that
 * blocks: the CHECK of video_generation_status stays NOT VALID, and the worker
 * validates it and builds the index on video_request_id.
 */
CREATE FUNCTION vibevideo.attach(relation regclass, id_column name DEFAULT NULL, prompt_column name DEFAULT NULL,
								 image_column name DEFAULT NULL, model text DEFAULT NULL,
								 input_function text DEFAULT NULL, user_column name DEFAULT NULL,
								 realtime boolean DEFAULT NULL, adopt regclass DEFAULT NULL, model_column name DEFAULT NULL,
								 tenant_column name DEFAULT NULL, meta_column name DEFAULT NULL, on_delete text DEFAULT NULL, keep_versions int DEFAULT NULL)
RETURNS text LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	small_enough constant bigint = 64 * 1024 * 1024;
	lock_timeout_before constant text = current_setting('lock_timeout');
	locking text = 'vibevideo.binding';
	before vibevideo.binding;
	after vibevideo.binding;
	same boolean;
	lacks record;
	changes text;
	big boolean;
	build boolean;
	unfinished record;
BEGIN
	IF lock_timeout_before = '0' THEN
		PERFORM set_config('lock_timeout', '5s', true);
	END IF;

	BEGIN
		-- one attach or detach at a time
		LOCK TABLE vibevideo.binding IN SHARE ROW EXCLUSIVE MODE;
		PERFORM vibevideo_internal.check_attachable(relation);
		locking = relation::text;
		EXECUTE format('LOCK TABLE %s IN ACCESS SHARE MODE', relation);

		SELECT b.* INTO before FROM vibevideo.binding b;
		IF before.relation <> relation AND before.relation IS DISTINCT FROM adopt
		   AND EXISTS (SELECT FROM pg_class c WHERE c.oid = before.relation)
		THEN
			RAISE EXCEPTION USING
				ERRCODE = 'object_not_in_prerequisite_state',
				MESSAGE = format('table %s is attached already', before.relation),
				DETAIL = 'One table of a database can be attached at a time.',
				HINT = format('If %s takes its place, with its rows: attach it with adopt => %L. Otherwise SELECT vibevideo.detach() '
							  'first; it keeps columns, rows and jobs.', relation, before.relation);
		END IF;
		same = coalesce(before.relation = relation OR before.relation = adopt, false);

		after.id_column = vibevideo_internal.option(id_column, before.id_column);
		IF id_column IS NULL
		   AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = attach.relation AND a.attname = before.id_column
						   AND a.attnum > 0 AND NOT a.attisdropped)
		THEN
			after.id_column = NULL;
		END IF;
		SELECT k.id_column, k.id_type INTO after.id_column, after.id_type FROM vibevideo_internal.key_column(relation, after.id_column) k;
		after.input_function = vibevideo_internal.option(input_function, before.input_function);
		IF after.input_function IS NOT NULL THEN
			after.input_function = vibevideo_internal.resolve_input_function(relation, after.input_function);
		END IF;
		after.prompt_column = vibevideo_internal.option(prompt_column, before.prompt_column);
		IF prompt_column IS NULL AND same AND after.input_function IS NULL THEN
			PERFORM vibevideo_internal.check_kept_column(relation, after.prompt_column, 'prompt_column');
		ELSIF prompt_column IS NULL AND NOT same
		   AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = attach.relation AND a.attname = before.prompt_column
						   AND a.attnum > 0 AND NOT a.attisdropped)
		THEN
			after.prompt_column = NULL;
		END IF;
		IF after.prompt_column IS NULL THEN
			after.prompt_column = vibevideo_internal.guess_prompt(relation, after.id_column);
		END IF;
		after.image_column = vibevideo_internal.option(image_column, before.image_column);
		IF image_column IS NULL AND after.input_function IS NULL THEN
			PERFORM vibevideo_internal.check_kept_column(relation, after.image_column, 'image_column');
		END IF;
		after.user_column = vibevideo_internal.option(user_column, before.user_column);
		IF user_column IS NULL THEN
			PERFORM vibevideo_internal.check_kept_column(relation, after.user_column, 'user_column');
		END IF;
		-- a function takes what it wants out of the row
		IF after.input_function IS NULL OR prompt_column IS NOT NULL THEN
			PERFORM vibevideo_internal.check_text_column(relation, after.prompt_column, 'prompt_column');
		END IF;
		IF after.image_column IS NOT NULL AND (after.input_function IS NULL OR image_column IS NOT NULL) THEN
			PERFORM vibevideo_internal.check_text_column(relation, after.image_column, 'image_column');
		END IF;
		PERFORM vibevideo_internal.check_naming_column(relation, after.user_column, 'user_column');
		after.tenant_column = vibevideo_internal.column_option(relation, tenant_column, before.tenant_column, 'tenant_column');
		after.model_column = vibevideo_internal.column_option(relation, model_column, before.model_column, 'model_column');
		after.meta_column = vibevideo_internal.column_option(relation, meta_column, before.meta_column, 'meta_column');
		after.model = vibevideo_internal.option(model, before.model);
		IF after.model !~ '^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$' OR octet_length(after.model) > 256 THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = format('"%s" is not a model of fal', left(after.model, 100)),
				HINT = 'A model is named by its endpoint id, as fal-ai/minimax/video-01.';
		END IF;
		after.realtime = coalesce(realtime, before.realtime, false);
		after.on_delete = nullif(vibevideo_internal.option(on_delete, before.on_delete), 'keep');
		IF after.on_delete <> 'erase' THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = 'on_delete must be keep or erase';
		END IF;
		after.keep_versions = CASE WHEN keep_versions IS NULL THEN before.keep_versions ELSE nullif(keep_versions, 0) END;
		IF after.keep_versions < 0 THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_parameter_value',
				MESSAGE = 'keep_versions must be a number, or 0 for all';
		END IF;

		big = vibevideo_internal.relation_bytes(relation) > small_enough;
		PERFORM vibevideo_internal.add_columns(relation, big);
		build = vibevideo_internal.add_index(relation, big);
		PERFORM vibevideo_internal.watch_deletes(relation, after.on_delete IS NOT NULL);
		IF before.relation <> relation THEN
			PERFORM vibevideo_internal.watch_deletes(before.relation, false);
		END IF;

		INSERT INTO vibevideo.binding AS b (relation, id_column, id_type, prompt_column, image_column, model,
											input_function, user_column, tenant_column, model_column, meta_column, on_delete, keep_versions, realtime, build_index,
											system_identifier, database_oid, timeline)
		SELECT attach.relation, after.id_column, after.id_type, after.prompt_column, after.image_column, after.model,
			   after.input_function, after.user_column, after.tenant_column, after.model_column, after.meta_column, after.on_delete, after.keep_versions, after.realtime, build, i.system_identifier, i.database_oid, i.timeline
		FROM vibevideo_internal.identity() i
		ON CONFLICT (only_one) DO UPDATE SET
			relation = EXCLUDED.relation, id_column = EXCLUDED.id_column, id_type = EXCLUDED.id_type,
			prompt_column = EXCLUDED.prompt_column, image_column = EXCLUDED.image_column, model = EXCLUDED.model,
			input_function = EXCLUDED.input_function, user_column = EXCLUDED.user_column, tenant_column = EXCLUDED.tenant_column,
			model_column = EXCLUDED.model_column, meta_column = EXCLUDED.meta_column, on_delete = EXCLUDED.on_delete, keep_versions = EXCLUDED.keep_versions, realtime = EXCLUDED.realtime, build_index = EXCLUDED.build_index
		WHERE b.only_one
		RETURNING b.* INTO after;
		SELECT l.* INTO lacks FROM vibevideo_internal.owner_lacks(after) l;
		IF lacks.lacking IS NOT NULL THEN
			RAISE EXCEPTION USING
				ERRCODE = 'object_not_in_prerequisite_state',
				MESSAGE = format('the owner of %s, %I, lacks rights', relation, lacks.owner),
				DETAIL = format('Rows are read and written as the table''s owner, who lacks %s.', lacks.lacking),
				HINT = lacks.remedy;
		END IF;
		IF adopt IS NOT NULL THEN
			PERFORM vibevideo_internal.adopt_jobs(adopt, relation);
		END IF;
	EXCEPTION WHEN lock_not_available THEN
		RAISE EXCEPTION USING
			ERRCODE = 'lock_not_available',
			MESSAGE = format('could not lock %s within %s', locking,
							 CASE lock_timeout_before WHEN '0' THEN '5s' ELSE lock_timeout_before END),
			DETAIL = 'Another transaction is using it. Nothing was changed.',
			HINT = 'Try again when long transactions have ended (see pg_stat_activity), or with a longer lock_timeout.';
	END;
	PERFORM set_config('lock_timeout', lock_timeout_before, true);
	IF after.realtime THEN
		PERFORM vibevideo_internal.publish(relation);
	END IF;

	changes = vibevideo_internal.option_changes(before, after);
	IF before.only_one AND changes IS NOT NULL THEN
		RAISE NOTICE USING
			MESSAGE = 'options have changed',
			DETAIL = changes;
	END IF;
	IF before.relation IS DISTINCT FROM relation THEN
		SELECT count(*) AS own INTO unfinished FROM vibevideo.job j
		WHERE j.relation = attach.relation AND (vibevideo.is_active(j.state) OR j.row_dirty);
		IF unfinished.own > 0 THEN
			RAISE NOTICE USING
				MESSAGE = format('unfinished jobs of %s continue', relation),
				DETAIL = format('Unfinished jobs: %s.', unfinished.own);
		END IF;
		FOR unfinished IN SELECT o.* FROM vibevideo_internal.other_tables() o LOOP
			RAISE WARNING USING
				MESSAGE = CASE WHEN unfinished.gone THEN 'a table that was dropped has unfinished jobs'
							   ELSE format('table %s, which is not attached, has unfinished jobs', unfinished.name) END,
				DETAIL = format('Active: %s, and ended but not shown in their rows: %s. No row of theirs is written any more.',
								unfinished.active, unfinished.unwritten),
				HINT = format('If %s takes its place, with its rows: SELECT vibevideo.attach(%L, adopt => %L). To cancel one: '
							  'SELECT vibevideo.cancel(job_id).', relation, relation, unfinished.name);
		END LOOP;
	END IF;
	PERFORM vibevideo_internal.note_act('attach', jsonb_build_object('relation', relation, 'options', vibevideo_internal.options(after), 'adopt', adopt),
										outcome => jsonb_build_object('changes', CASE WHEN before.only_one THEN changes END));
	PERFORM vibevideo.wake();
	NOTIFY pgrst, 'reload schema';
	RETURN format('%s is attached: %s', relation, vibevideo_internal.options(after));
END
$$;
COMMENT ON FUNCTION vibevideo.attach(regclass, name, name, name, text, text, name, boolean, regclass, name, name, name, text, int) IS
'Makes a table of the app the one whose rows become videos, and adds the columns about them where they are
  missing.
Call it again at any time to change options: one that is not named, or is NULL, stays as it is; an empty
  string resets it to its default.
relation: the table, which may be partitioned.
id_column: the column that identifies a row, unique and not null, of type uuid, bigint, integer or text;
  default: the primary key, if it has one column.
prompt_column: the text column with the prompt; default: the first of prompt, text, content, body, caption and
  description.
image_column: the text column with an image''s URL, for models that take one; default: none.
model: fal.ai''s endpoint id, as fal-ai/minimax/video-01, of rows that name none; default: the setting
  vibevideo.model.
input_function: name of a function of the row that returns the model''s whole input as jsonb, looked for in the
  table''s schema unless it is qualified; default: none.
user_column: the column that says whose video it is, for the limits; default: the sub of the caller''s JWT.
realtime: true adds the table to publication supabase_realtime and sends changes through realtime.send, where
  these exist; default: false.
adopt: another table that this one takes the place of, with the same rows: its jobs become this one''s. A
  dropped table is given by its number, as check_config shows it; default: none.
model_column: the text or enum column in which a row may name its model: the attached one, or one that is allowed in
  vibevideo.model; default: none, all rows have the attached one.
tenant_column: the column that says which tenant''s video it is, for the limits; default: none.
meta_column: the jsonb column that gets what is known of a video, in the same write as its URL: width, height,
  fps, duration_ms, video_codec, has_audio, audio_codec, faststart, has_c2pa, bytes, bit_rate, sha256,
  content_type, ai_generated; default: none.
on_delete: erase erases the videos of rows that are deleted, in Storage and at fal.ai, after the commit; keep
  leaves them; default: keep.
keep_versions: when a video is stored, so many of its row stay, that one included, and older ones are erased; 0
  for all; default: all.
Returns a sentence that says what is attached, with which options. Waits for locks as long as lock_timeout
  says, 5 seconds if that is 0.
Errors: 42P01, 42809, 42501, 0A000 this cannot be attached; 42P16 no single key, or a column of ours is NOT
  NULL or generated; 42703 no such column; 42804 a column has the wrong type; 42602, 42883, 42P13 the input
  function cannot be used; 22023 not a model''s name, or not what on_delete or keep_versions may be; 23514 rows have a status that vibevideo does not know;
  55000 another table is attached, a constraint forbids our statuses, row-level security is forced, or the
  table''s owner lacks rights; 42P07, 42723 a name is taken; 2BP01 something depends on the functions for the
  app; 55P03 a lock could not be had.
For the extension''s owner, who must also own the table.';

CREATE FUNCTION vibevideo.detach(force boolean DEFAULT false)
RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	lock_timeout_before constant text = current_setting('lock_timeout');
	b vibevideo.binding;
	cause text;
	active bigint;
BEGIN
	LOCK TABLE vibevideo.binding IN SHARE ROW EXCLUSIVE MODE;
	SELECT x.* INTO b FROM vibevideo.binding x;
	IF NOT FOUND THEN
		RAISE NOTICE 'no table is attached';
		RETURN false;
	END IF;
	cause = vibevideo_internal.pause_cause(b);

	SELECT count(*) INTO active FROM vibevideo.job j
	WHERE vibevideo.is_active(j.state);
	IF active > 0 AND force IS NOT TRUE THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_in_use',
			MESSAGE = format('%s has active jobs', b.relation),
			DETAIL = format('Active jobs: %s.', active),
			HINT = 'Wait for them, cancel them with SELECT vibevideo.cancel(job_id), or SELECT vibevideo.detach(force => true). A '
				   'table that takes this one''s place needs no detach: attach it with adopt => ''...''.';
	END IF;
	IF active > 0 AND cause IS NOT NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = 'vibevideo is paused, and its jobs would continue when a table is attached again',
			DETAIL = format('Active jobs: %s; %s.', active, cause),
			HINT = 'To drop them, DELETE FROM vibevideo.job; to continue with them here, SELECT vibevideo.resume().';
	END IF;
	IF lock_timeout_before = '0' THEN
		PERFORM set_config('lock_timeout', '5s', true);
	END IF;
	BEGIN
		PERFORM vibevideo_internal.watch_deletes(b.relation, false);
	EXCEPTION WHEN lock_not_available THEN
		RAISE EXCEPTION USING
			ERRCODE = 'lock_not_available',
			MESSAGE = format('could not lock %s within %s', b.relation, CASE lock_timeout_before WHEN '0' THEN '5s' ELSE lock_timeout_before END),
			DETAIL = 'Another transaction is using it. Nothing was changed.',
			HINT = 'Try again when long transactions have ended (see pg_stat_activity), or with a longer lock_timeout.';
	END;
	PERFORM set_config('lock_timeout', lock_timeout_before, true);
	DELETE FROM vibevideo.binding x WHERE x.only_one;
	PERFORM vibevideo_internal.note_act('detach', jsonb_build_object('relation', b.relation, 'options', vibevideo_internal.options(b), 'force', force),
										outcome => jsonb_build_object('active', active));
	IF active > 0 THEN
		RAISE WARNING USING
			MESSAGE = 'active jobs are paused until a table is attached',
			DETAIL = format('Active jobs: %s. Their rows are written only if that is %s again, or a table that adopts its jobs.',
							active, b.relation),
			HINT = format('SELECT vibevideo.attach(%L), or attach the table that takes its place with adopt => %L.', b.relation, b.relation);
	END IF;
	IF (b.image_column, b.model, b.input_function, b.user_column, b.tenant_column, b.model_column, b.meta_column)
	   IS DISTINCT FROM (NULL::name, NULL::text, NULL::text, NULL::name, NULL::name, NULL::name, NULL::name)
	   OR b.realtime OR b.on_delete IS NOT NULL OR b.keep_versions IS NOT NULL
	THEN
		RAISE NOTICE USING
			MESSAGE = 'the options of the table are forgotten',
			DETAIL = format('They were: %s.', vibevideo_internal.options(b));
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION vibevideo.detach(boolean) IS
'Forgets the app''s table and the options it was attached with. Its columns and rows stay, and so do all jobs.
force: true detaches although jobs are active. They are paused until the table is attached again, or one that
  adopts its jobs; default: false.
Returns whether a table was attached.
Errors: 55006 jobs are active; 55000 they are, and force is true, but this database is paused; 55P03 the table,
  attached with on_delete => erase, could not be locked, for which it waits as attach does.
For the extension''s owner.';
