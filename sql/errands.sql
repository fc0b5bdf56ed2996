
-------------------------------------------------------------------------------
-- Errands
-------------------------------------------------------------------------------

/*
 * vibevideo_internal.platform(what, query, admin) - asks fal.ai's platform API, which says more than
 * what becomes of jobs.
 * what: pricing, models, usage, billing-events or billing; src/fal.c has the paths.
 * query: names and values in turn.
 * admin: with the key of scope ADMIN.
 * Returns HTTP's status, NULL if there was no answer, and the answer as text or why there
 * is none.
 */
CREATE FUNCTION vibevideo_internal.platform(what text, query text[], admin boolean DEFAULT false, OUT status int, OUT body text, OUT why text)
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'vibevideo_platform';
COMMENT ON FUNCTION vibevideo_internal.platform(text, text[], boolean) IS 'asks fal.ai''s platform API, over the network; why there is no answer; owner only';

-- The same as jsonb, or an error; about: of what.
CREATE FUNCTION vibevideo_internal.ask_platform(what text, query text[], about text, admin boolean DEFAULT false)
RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	said record;
BEGIN
	SELECT p.body, p.why INTO said FROM vibevideo_internal.platform(what, query, admin) p;
	IF said.why IS NULL THEN
		BEGIN
			RETURN said.body::jsonb;
		EXCEPTION WHEN data_exception OR statement_too_complex OR program_limit_exceeded THEN
			said.why = 'the answer cannot be read: ' || SQLERRM;
		END;
	END IF;
	RAISE EXCEPTION USING
		ERRCODE = 'connection_exception',
		MESSAGE = format('fal.ai does not say anything of %s', vibevideo_internal.shown(about)),
		DETAIL = said.why;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.ask_platform(text, text[], text, boolean) IS 'what fal.ai''s platform API says of something: 08000; owner only';

/*
 * What the worker asks the platform API by itself, now and then.  An errand NAME is a row
 * here and two functions in vibevideo_internal:
 *
 *	NAME_asks(INOUT state jsonb, OUT what text, OUT query text[], OUT admin boolean)
 *		the next question, as platform takes it, and the state that its answer needs, which
 *		may be left out; what is NULL if there is nothing to ask, and then it is called
 *		again a minute later
 *	NAME_hears(state jsonb, status int, said jsonb, why text) RETURNS jsonb
 *		the answer, or why there is none: does something about it, and returns the state
 *		for the next question of the same errand, which follows at once, or NULL, the
 *		end.  An error undoes what it did, and the question is asked again later.
 *
 * state is {} at first.  After three failures in a row it is {} again, so that what has
 * gone wrong half-way, like a page that is not there any more, is begun anew.
 */
CREATE TABLE vibevideo_internal.errand (
	name text COLLATE pg_catalog."C" PRIMARY KEY,
	every interval NOT NULL,
	next_at timestamptz NOT NULL DEFAULT pg_catalog.now() OPERATOR(pg_catalog.+) '1 hour',
	tries int NOT NULL DEFAULT 0,
	error text,
	done_at timestamptz,
	state jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE vibevideo_internal.errand IS 'what the worker asks fal.ai''s platform API now and then: every, next_at; tries that failed in a row and the last error; when it was last done to its end; state between its questions';

-- When an errand is tried again that has failed so often: after a minute, two, four...
CREATE FUNCTION vibevideo_internal.errand_patience(e vibevideo_internal.errand)
RETURNS interval LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN least(e.every, interval '1 minute' * (1 << least(e.tries, 9)));
COMMENT ON FUNCTION vibevideo_internal.errand_patience(vibevideo_internal.errand) IS 'when an errand is tried again; owner only';

-- Its time is put off before it is asked: an answer that never comes delays it, too.
CREATE FUNCTION vibevideo_internal.next_errand(with_admin boolean, OUT name text, OUT what text, OUT query text[], OUT admin boolean)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	e vibevideo_internal.errand;
	asked jsonb;
BEGIN
	FOR e IN SELECT x.* FROM vibevideo_internal.errand x WHERE x.next_at <= now() ORDER BY x.next_at LOOP
		e.state = CASE WHEN e.tries > 0 AND e.tries % 3 = 0 THEN '{}' ELSE e.state END;
		BEGIN
			EXECUTE format('SELECT to_jsonb(a) -> ''state'', a.what, a.query, coalesce(a.admin, false) FROM vibevideo_internal.%I($1) a', e.name || '_asks')
			INTO asked, what, query, admin USING e.state;
			CONTINUE WHEN what IS NULL OR admin AND NOT with_admin;
			name = e.name;
			e.state = coalesce(asked, e.state);
		EXCEPTION WHEN OTHERS THEN
			what = NULL;
			UPDATE vibevideo_internal.errand x SET error = SQLERRM WHERE x.name = e.name;
		END;
		UPDATE vibevideo_internal.errand x
		SET tries = e.tries + 1, next_at = now() + vibevideo_internal.errand_patience(e), state = e.state
		WHERE x.name = e.name;
		EXIT WHEN next_errand.name IS NOT NULL;
	END LOOP;
	IF name IS NULL THEN
		what = NULL;
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.next_errand(boolean) IS 'the errand that is due, which is not due any more then, and what it asks; owner only';

CREATE FUNCTION vibevideo_internal.errand_done(name text, status int, body text, why text)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	e vibevideo_internal.errand;
	next jsonb;
BEGIN
	SELECT x.* INTO e FROM vibevideo_internal.errand x WHERE x.name = errand_done.name FOR UPDATE;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	EXECUTE format('SELECT vibevideo_internal.%I($1, $2, $3, $4)', e.name || '_hears') INTO next USING e.state, status, body::jsonb, why;
	UPDATE vibevideo_internal.errand x
	SET tries = 0, error = NULL, state = coalesce(next, '{}'), done_at = CASE WHEN next IS NULL THEN now() ELSE e.done_at END,
		next_at = CASE WHEN next IS NULL THEN now() + e.every ELSE now() END
	WHERE x.name = e.name;
EXCEPTION WHEN OTHERS THEN
	UPDATE vibevideo_internal.errand x SET error = left(SQLERRM, 1000) WHERE x.name = errand_done.name;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.errand_done(text, int, text, text) IS 'hands the answer to an errand on, or why there is none; owner only';
