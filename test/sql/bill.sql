-- fal.ai's bill: which item is which job's, what a job costs then, and whether a day
-- closes.  Nobody is asked: the pages are handed over.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;
SET timezone = 'UTC';

CREATE TABLE films (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), prompt text);
-- noon of some day before this one, which may end meanwhile
CREATE TABLE clock AS SELECT date_trunc('day', now()) AS today;
CREATE FUNCTION noon(days int DEFAULT 10) RETURNS timestamptz LANGUAGE sql STABLE AS $$
	SELECT today - days * interval '1 day' + interval '12 hours' FROM clock;
$$;
CREATE FUNCTION make_job(request text, usd numeric, made timestamptz DEFAULT noon(), state text DEFAULT 'completed', rendered boolean DEFAULT true,
						 who text DEFAULT 'ann', model text DEFAULT 'acme/video', orphan boolean DEFAULT false)
RETURNS bigint LANGUAGE sql AS $$
	INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, requested_by, orphan, request_id, cost_usd, media_url, created_at, sent_at,
							   submitted_at, generated_at, completed_at, next_at)
	SELECT 'films'::regclass, gen_random_uuid(), state, model, '{}', who, orphan, request, usd, CASE WHEN rendered THEN 'https://v3.fal.media/x.mp4' END,
		   made - interval '10 minutes', made - interval '10 minutes', made - interval '10 minutes', CASE WHEN rendered THEN made END,
		   CASE WHEN state IN ('completed', 'failed', 'cancelled') THEN made + interval '1 minute' END,
		   CASE WHEN state NOT IN ('completed', 'failed', 'cancelled') THEN now() + interval '1 day' END
	RETURNING job_id;
$$;
CREATE FUNCTION item(request text, usd numeric, at timestamptz DEFAULT noon(), more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql STABLE AS $$
	SELECT jsonb_build_object('request_id', request, 'endpoint_id', 'acme/video', 'timestamp', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
							  'output_units', 1, 'unit_price', usd, 'percent_discount', NULL, 'cost_subtotal', usd, 'cost_discount', 0, 'cost_total', usd,
							  'cost_estimate_nano_usd', round(usd * 1000000000), 'auth_method', 'Production Key', 'something_new', '{}'::jsonb) || more;
$$;
CREATE FUNCTION take(VARIADIC items jsonb[] DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT format('%s items, %s new, %s corrected', t.items, t.added, t.corrected)
	FROM vibevideo_internal.take_usage(jsonb_build_object('billing_events', to_jsonb(items), 'has_more', false)) t;
$$;
CREATE FUNCTION read(back int DEFAULT 20) RETURNS void LANGUAGE sql AS $$
	SELECT vibevideo_internal.bill_was_read(now() - back * interval '1 day', now());
$$;
CREATE VIEW shown AS
	SELECT (SELECT today::date FROM clock) - day AS ago, ours_usd AS ours, fal_usd AS fal, difference_usd AS diff, explained_usd AS explained, jobs, items,
		   corrected AS corr, jobs_without_item AS j_alone, items_without_job AS i_alone, closed
	FROM vibevideo.ledger ORDER BY day, model;
CREATE VIEW books AS
	SELECT coalesce(user_id, '-') AS who, model, submits, videos, settled_usd FROM vibevideo.costs ORDER BY user_id, day, model;
CREATE FUNCTION job_of(request text) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT format('%s %s', cost_usd, coalesce(cost_source, '-')) FROM vibevideo.job WHERE request_id = request;
$$;
-- the sums are those of the rows
CREATE FUNCTION sums_differ() RETURNS bigint LANGUAGE sql STABLE AS $$
	WITH wanted AS (
		SELECT (s).day, (s).model, sum((s).items) AS items, sum((s).jobs) AS jobs, sum((s).fal_usd) AS fal_usd, sum((s).ours_usd) AS ours_usd, sum((s).explained_usd), sum((s).corrected),
			   sum((s).without_job) AS without_job, sum((s).open), sum((s).open_usd), sum((s).due)
		FROM (SELECT vibevideo_internal.sums_of(u) AS s FROM vibevideo.fal_usage u OFFSET 0) x GROUP BY 1, 2)
	SELECT count(*) FROM ((TABLE wanted EXCEPT TABLE vibevideo_internal.usage_by_day) UNION ALL (TABLE vibevideo_internal.usage_by_day EXCEPT TABLE wanted)) d
	WHERE (d.items, d.jobs, d.without_job, d.fal_usd, d.ours_usd) <> (0, 0, 0, 0, 0);
$$;

-- what the dashboard shows is what the views have
CREATE FUNCTION dashboard() RETURNS text LANGUAGE sql AS $$
	WITH page AS MATERIALIZED (SELECT s.* FROM vibevideo_internal.shown_ledger(30) s),
	shown AS (SELECT d::text AS r FROM page p, unnest(p.days) d UNION ALL SELECT u::text FROM page p, unnest(p.unmatched) u),
	wanted AS (SELECT l::text AS r FROM vibevideo.ledger l UNION ALL SELECT u::text FROM vibevideo.unmatched u)
	SELECT format('%s days, %s unmatched, %s more, %s differ', cardinality(p.days), cardinality(p.unmatched), p.more_days OR p.more_unmatched,
				  (SELECT count(*) FROM ((TABLE shown EXCEPT ALL TABLE wanted) UNION ALL (TABLE wanted EXCEPT ALL TABLE shown)) d))
	FROM page p;
$$;

CREATE FUNCTION about(a timestamptz, b timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
	SELECT abs(extract(epoch FROM a - b)) < 3600;
$$;

-- nothing was read
SELECT count(*) FROM vibevideo.ledger;
SELECT status, detail FROM vibevideo_internal.check_ledger();
SELECT dashboard();

-- by request id; the bill agrees, and corrects; an unknown price becomes known
SELECT make_job('r-same', 0.5), make_job('r-more', 0.5, who => 'bob'), make_job('r-unknown', NULL), make_job('r-late', 0.25);
SELECT take(item('r-same', 0.5), item('r-more', 0.75), item('r-unknown', 1.125));
SELECT job_of('r-same'), job_of('r-more'), job_of('r-unknown'), job_of('r-late');
SELECT request_id, nth, cost_usd, ours_usd, is_first, booked_usd, due, user_id, requested_on = noon()::date AS that_day FROM vibevideo.fal_usage ORDER BY event_id;
SELECT read();
TABLE shown;
SELECT kind, usd, request_id, reason FROM vibevideo.unmatched;
SELECT dashboard();
TABLE books;
-- the same page again, and the late one in another
SELECT take(item('r-same', 0.5), item('r-more', 0.75), item('r-unknown', 1.125));
SELECT take(item('r-late', 0.25), item('r-same', 0.5));
SELECT job_of('r-late');
TABLE shown;
SELECT sums_differ();

-- several items of one job, at one time too, that come one after the other; fal.ai changes its mind about one
SELECT make_job('r-two', 0.5, noon(9));
SELECT take(item('r-two', 0.5, noon(9)));
SELECT take(item('r-two', 0.25, noon(9)), item('r-two', 0.5, noon(9)), item('r-two', 0.1, noon(9) - interval '1 second'));
SELECT job_of('r-two');
SELECT take(item('r-two', 0.25, noon(9)), item('r-two', 0.4, noon(9)), item('r-two', 0.1, noon(9) - interval '1 second'));
SELECT job_of('r-two');
SELECT nth, cost_usd, ours_usd, is_first, booked_usd FROM vibevideo.fal_usage WHERE request_id = 'r-two' ORDER BY event_id;
-- pages that part what shares a time
WITH one AS (
	SELECT t.carry FROM vibevideo_internal.take_usage(jsonb_build_object('billing_events', jsonb_build_array(item('r-two', 0.25, noon(9))))) t)
SELECT t.items, t.added, t.corrected FROM one, vibevideo_internal.take_usage(
	jsonb_build_object('billing_events', jsonb_build_array(item('r-two', 0.4, noon(9)), item('r-two', 0.1, noon(9) - interval '1 second'))), one.carry) t;
SELECT job_of('r-two');

-- a discount; what is computed where the exact cost is missing
SELECT make_job('r-discount', 0.28, noon(8)), make_job('r-total', 0.28, noon(8)), make_job('r-units', 0.28, noon(8));
SELECT take(item('r-discount', 0.28, noon(8), '{"percent_discount": 10, "cost_total": 0.252, "cost_estimate_nano_usd": 252000000}'),
			item('r-total', 0.28, noon(8), '{"cost_estimate_nano_usd": null, "cost_total": 0.07}'),
			item('r-units', 0.28, noon(8), '{"cost_estimate_nano_usd": null, "cost_total": null, "output_units": 6, "unit_price": 0.0475, "percent_discount": 50}'));
SELECT job_of('r-discount'), job_of('r-total'), job_of('r-units');

-- what our books had no cost for: cancelled, failed; an orphan
SELECT make_job('r-cancelled', 0.5, noon(7), 'cancelled', false), make_job('r-orphan', 0.5, noon(7), 'failed', true, who => 'bob', orphan => true);
SELECT take(item('r-cancelled', 0.5, noon(7)), item('r-orphan', 0.5, noon(7)));
SELECT job_of('r-cancelled'), job_of('r-orphan');

-- one that is not over yet waits, and so does one that somebody holds
SELECT make_job('r-active', 0.5, noon(6), 'processing');
SELECT take(item('r-active', 0.7, noon(6)));
SELECT job_of('r-active');
TABLE shown;
UPDATE vibevideo.job SET state = 'completed', next_at = NULL, completed_at = now() WHERE request_id = 'r-active';
SELECT take();
SELECT job_of('r-active');

-- a job that becomes known after its item
SELECT take(item('r-early', 0.5, noon(5)));
SELECT kind, request_id, reason FROM vibevideo.unmatched;
SELECT make_job('r-early', 0.5, noon(5));
SELECT take();
SELECT count(*) FROM vibevideo.unmatched;

-- jobs that retention has taken: before their items, and before another of theirs
SELECT make_job('r-pruned', 0.5, noon(4), who => 'eve'), make_job('r-gone', 0.5, noon(4), 'cancelled', false, who => 'eve'),
	   make_job('r-forgotten', 0.5, noon(4), who => 'eve');
SELECT take(item('r-forgotten', 0.5, noon(4)));
DELETE FROM vibevideo.job WHERE request_id IN ('r-pruned', 'r-gone', 'r-forgotten');
SELECT request_id, billed, cost_usd FROM vibevideo_internal.past_unbilled ORDER BY 1;
SELECT who, videos, settled_usd FROM books WHERE who = 'eve';
SELECT kind, usd, request_id, reason FROM vibevideo.unmatched;
SELECT dashboard();
SELECT take(item('r-pruned', 0.6, noon(4)), item('r-gone', 0.5, noon(4)), item('r-forgotten', 0.05, noon(4) + interval '1 second'));
SELECT sum(videos), sum(settled_usd) FROM books WHERE who = 'eve';
SELECT count(*) FROM vibevideo_internal.past_unbilled;
SELECT sums_differ();

-- items without a request: the only job of that minute and price
SELECT make_job('r-nameless', 0.5, noon(3) + interval '20 seconds'), make_job('r-other', 0.6, noon(3)), make_job('r-twin-1', 0.1, noon(3) + interval '1 hour'),
	   make_job('r-twin-2', 0.1, noon(3) + interval '1 hour');
SELECT take(item(NULL, 0.5, noon(3)), item(NULL, 0.1, noon(3) + interval '1 hour'), item(NULL, 0.6, now() - interval '1 hour'));
SELECT request_id, cost_usd, (SELECT j.request_id FROM vibevideo.job j WHERE j.job_id = u.job_id) AS of FROM vibevideo.fal_usage u WHERE request_id IS NULL ORDER BY event_id;
SELECT read();
SELECT kind, usd, request_id, reason FROM vibevideo.unmatched ORDER BY at, kind, request_id;
SELECT dashboard();
DELETE FROM vibevideo.fal_usage WHERE request_id IS NULL;
DELETE FROM vibevideo.job WHERE model = 'acme/video' AND generated_at::date = noon(3)::date;
-- an item that follows its job to another number locks no sum of its day
BEGIN;
SELECT string_agg(d.xmin::text, ',' ORDER BY d.day, d.model) AS before FROM vibevideo_internal.usage_by_day d \gset
UPDATE vibevideo.fal_usage SET job_id = job_id + 100000 WHERE job_id IS NOT NULL;
SELECT count(*) > 0 AS some, string_agg(d.xmin::text, ',' ORDER BY d.day, d.model) = :'before' AS same FROM vibevideo_internal.usage_by_day d;
ROLLBACK;
DELETE FROM vibevideo_internal.past_unbilled WHERE true;

-- another program on the account; the tolerance; an explanation closes the day
SELECT take(item('r-foreign', 0.9, noon(2), '{"auth_method": "Other Key"}'));
SELECT read();
SELECT kind, usd, auth_method, reason FROM vibevideo.unmatched;
SELECT * FROM shown WHERE ago = 2;
SELECT count(*) FROM vibevideo_internal.needs_of_ledger();
SET vibevideo.ledger_tolerance_usd = 0.5;
SELECT replace(subject, noon(2)::date::text, 'DAY') AS subject, sentence, replace(action, noon(2)::date::text, 'DAY') AS action FROM vibevideo_internal.needs_of_ledger();
\set VERBOSITY verbose
SELECT vibevideo.explain_usage('r-nothing', 'what?');
SELECT vibevideo.explain_usage('r-foreign', ' ');
SELECT vibevideo.explain_usage(NULL, 'x');
\set VERBOSITY default
SELECT vibevideo.explain_usage('r-foreign', 'the batch of marketing');
SELECT count(*) FROM vibevideo_internal.needs_of_ledger();
SELECT * FROM shown WHERE ago = 2;
SELECT action, arguments, outcome FROM vibevideo.audit ORDER BY audit_id DESC LIMIT 1;
SELECT take(item('r-foreign', 0.9, noon(2), '{"auth_method": "Other Key"}'));
SELECT explained_by IS NOT NULL, note FROM vibevideo.fal_usage WHERE request_id = 'r-foreign';

-- a job that fal.ai does not bill
SELECT make_job('r-free', 3, noon(2) + interval '1 hour');
SELECT read();
SELECT kind, usd, request_id, reason FROM vibevideo.unmatched;
SELECT sentence FROM vibevideo_internal.needs_of_ledger();
SELECT vibevideo.explain_usage('r-free', 'a gift, says their support');
SELECT job_of('r-free');
SELECT * FROM shown WHERE ago = 2;
-- and then it does
SELECT take(item('r-free', 2, noon(2) + interval '1 hour'));
SELECT job_of('r-free');
SELECT sums_differ();

-- closed: not today, not what was never read
SELECT make_job('r-today', 0.5, today) FROM clock;
SELECT take(item('r-today', 0.5, today)) FROM clock;
SELECT read();
SELECT ago, closed FROM shown;
UPDATE vibevideo_internal.bill_state SET covered_from = noon(8) WHERE true;
SELECT ago, closed FROM shown WHERE ago >= 7;
SELECT dashboard();
-- of many the last ones; a day that was not read to its end is left out, unless it is this one
BEGIN;
SELECT count(make_job('r-many-' || n, 0.1, CASE WHEN n <= 20 THEN noon(1) ELSE noon(2) END)) FROM generate_series(1, 5020) n;
SELECT count(take(item('r-others-' || n, 0.1, noon(3) + n * interval '1 s', '{"auth_method": "Other Key"}'))) FROM generate_series(1, 120) n;
SELECT (SELECT array_agg((SELECT today::date FROM clock) - d.day) FROM unnest(s.days) d) AS days_ago, s.more_days, cardinality(s.unmatched) AS unmatched, (s.unmatched[1]).at = noon(1) AS last,
	   s.more_unmatched
FROM vibevideo_internal.shown_ledger(30) s;
ROLLBACK;
SELECT vibevideo_internal.shown_ledger(0);
SELECT vibevideo_internal.shown_ledger(NULL);
-- a look at the last hour is no reading, and one after a long time begins anew
UPDATE vibevideo_internal.bill_state SET read_at = now() - interval '3 hours', covered_from = noon(8) WHERE true;
SELECT vibevideo_internal.bill_was_read(now() - interval '1 hour', now());
SELECT about(read_at, now() - interval '3 hours') AS same, covered_from = noon(8) AS same FROM vibevideo_internal.bill_state;
SELECT vibevideo_internal.bill_was_read(now() - interval '9 days', now());
SELECT about(read_at, now()) AS new, about(covered_from, now() - interval '9 days') AS longer FROM vibevideo_internal.bill_state;
UPDATE vibevideo_internal.bill_state SET read_at = now() - interval '100 days', covered_from = now() - interval '200 days' WHERE true;
SELECT vibevideo_internal.bill_was_read(now() - interval '88 days', now());
SELECT about(read_at, now()) AS new, about(covered_from, now() - interval '88 days') AS anew FROM vibevideo_internal.bill_state;

-- nonsense is refused as a whole
CREATE FUNCTION refused(page text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM vibevideo_internal.take_usage(page::jsonb);
	RETURN 'taken';
EXCEPTION WHEN invalid_parameter_value THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLERRM, left(detail, 60));
END
$$;
SELECT refused(p.page) FROM (VALUES (1, '[]'), (2, '{}'), (3, '{"billing_events": {}}'), (4, '{"billing_events": [1]}'),
	(5, jsonb_build_object('billing_events', jsonb_build_array(item('r', 1), item('r x', 1)))::text),
	(6, jsonb_build_object('billing_events', jsonb_build_array(item('r', 1, more => '{"endpoint_id": "../x y"}')))::text),
	(7, jsonb_build_object('billing_events', jsonb_build_array(item('r', 1, more => '{"timestamp": "yesterday"}')))::text),
	(8, jsonb_build_object('billing_events', jsonb_build_array(item('r', 1, more => '{"timestamp": "2026-13-01T00:00:00Z"}')))::text),
	(9, jsonb_build_object('billing_events', jsonb_build_array(item('r', 1, more => '{"output_units": "1"}')))::text),
	(10, jsonb_build_object('billing_events', jsonb_build_array(item('r', 1, more => '{"cost_estimate_nano_usd": 1e30}')))::text),
	(11, jsonb_build_object('billing_events', jsonb_build_array(item('r', 1, more => '{"cost_estimate_nano_usd": null, "cost_total": null, "unit_price": null}')))::text)
	) AS p(nth, page) ORDER BY p.nth;
SELECT count(*) FROM vibevideo.fal_usage WHERE request_id = 'r';

-- the worker's errand: what it asks, and what it makes of the answers
DELETE FROM vibevideo_internal.bill_state WHERE true;
SELECT a.what, a.admin, a.query[1:5] FROM vibevideo_internal.usage_asks('{}') a;
CREATE TEMPORARY TABLE state AS
	SELECT vibevideo_internal.usage_hears(a.state, 200, jsonb_build_object('billing_events', jsonb_build_array(item('r-page-1', 0.1, noon(1))), 'has_more', true, 'next_cursor', 'c+1'), NULL) AS s
	FROM vibevideo_internal.usage_asks('{}') a;
SELECT s ->> 'cursor' AS cursor, a.query[7:8], a.state = s AS same FROM state, vibevideo_internal.usage_asks(s) a;
SELECT vibevideo_internal.usage_hears(s, 200, jsonb_build_object('billing_events', jsonb_build_array(item('r-page-2', 0.1, noon(1))), 'has_more', false, 'next_cursor', NULL), NULL) FROM state;
SELECT count(*) FROM vibevideo.fal_usage WHERE request_id LIKE 'r-page-%';
SELECT about(covered_from, now() - interval '3 days') AS covered, about(read_at, now()) AS read FROM vibevideo_internal.bill_state;
SELECT vibevideo_internal.usage_hears('{}', 403, NULL, 'HTTP 403: This endpoint requires an API key of scope ADMIN');
SELECT vibevideo_internal.usage_hears('{}', 200, '{"billing_events": [{}]}', NULL);
SELECT about(failing_since, now()) AS since, status, why FROM vibevideo_internal.bill_state;
SELECT status, detail FROM vibevideo_internal.check_ledger();
SET vibevideo.fal_admin_key = 'id:admin';
SELECT vibevideo_internal.usage_hears('{}', 403, NULL, 'HTTP 403: This endpoint requires an API key of scope ADMIN');
SELECT status, regexp_replace(detail, 'for .*?:', 'for SOME TIME:') AS detail, hint FROM vibevideo_internal.check_ledger();
SELECT vibevideo_internal.usage_hears(a.state, 200, '{"billing_events": []}', NULL) FROM vibevideo_internal.usage_asks('{}') a;
SELECT status, regexp_replace(detail, '[0-9].*', 'A TIME AGO') AS detail FROM vibevideo_internal.check_ledger();

-- retention
UPDATE vibevideo_internal.bill_state SET read_at = now() WHERE true;
-- between the noons of eight and of nine days ago, at any time of day
SET vibevideo.rollup_retention = '207h';
SELECT take();
SELECT count(*), min(at) >= now() - interval '207 hours' AS kept FROM vibevideo.fal_usage;
SELECT count(*) FROM shown WHERE ago > 8;
RESET vibevideo.rollup_retention;
SELECT sums_differ();
-- the sums can be made anew
SELECT vibevideo_internal.sum_usage();
SELECT sums_differ();

DROP FUNCTION sums_differ(), dashboard();
DROP VIEW shown, books;
DROP EXTENSION vibevideo CASCADE;
DROP TABLE films, clock;
DROP FUNCTION noon, make_job, item, take, read, job_of, about, refused;
