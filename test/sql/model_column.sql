-- Rows that name their model: which may be named, what follows from it, what apps are told.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
CREATE EXTENSION vibevideo;
RESET client_min_messages;
\pset format unaligned

-- what a statement says instead of raising it
CREATE FUNCTION try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE command;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n', SQLSTATE || ' ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END
$$;
-- without a trace
CREATE FUNCTION would(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	BEGIN
		said = try(command);
		RAISE SQLSTATE 'XY000';
	EXCEPTION WHEN SQLSTATE 'XY000' THEN
		RETURN said;
	END;
END
$$;
CREATE TABLE vibelogs (id int PRIMARY KEY, prompt text, image text, video_model text);
INSERT INTO vibelogs SELECT i, 'a cat' FROM generate_series(1, 40) i;

-------------------------------------------------------------------------------
-- The column
-------------------------------------------------------------------------------
SELECT try('SELECT vibevideo_models()');
SELECT try($$SELECT vibevideo.attach('vibelogs', model_column => 'no_such')$$);
SELECT try($$SELECT vibevideo.attach('vibelogs', model_column => 'id')$$);
SELECT vibevideo.attach('vibelogs', model => 'acme/first', image_column => 'image', model_column => 'video_model');
SELECT vibevideo.attach('vibelogs');
SELECT vibevideo.attach('vibelogs', model_column => '');
-- it is read no more
UPDATE vibelogs SET video_model = 'acme/second' WHERE id = 1;
SELECT would('SELECT vibevideo_submit_batch(ARRAY[1])');
SELECT vibevideo.attach('vibelogs', model_column => 'video_model');
SELECT status, detail, hint FROM vibevideo_internal.check_table() WHERE check_name IN ('table', 'models');
ALTER TABLE vibelogs RENAME video_model TO m;
SELECT would('SELECT vibevideo_submit_batch(ARRAY[1])');
SELECT would('SELECT vibevideo_estimate(1)');
SELECT status, detail FROM vibevideo_internal.check_table() WHERE check_name = 'columns';
SELECT try($$SELECT vibevideo.attach('vibelogs')$$);
ALTER TABLE vibelogs RENAME m TO video_model;
ALTER TABLE vibelogs ALTER video_model TYPE jsonb USING to_jsonb(video_model);
SELECT would('SELECT vibevideo_submit_batch(ARRAY[1])');
SELECT status, detail FROM vibevideo_internal.check_table() WHERE check_name = 'columns';
ALTER TABLE vibelogs ALTER video_model TYPE text USING video_model #>> '{}';

-------------------------------------------------------------------------------
-- Which may be named
-------------------------------------------------------------------------------
SELECT endpoint, allowed, label, max_prompt, needs_image, usual_seconds, check_input FROM vibevideo.set_model('acme/second', true, 'The second');
SELECT endpoint, allowed, label FROM vibevideo.set_model('acme/forbidden');
SELECT count(*) FROM vibevideo.audit WHERE action = 'insert model';
SELECT status, detail, hint FROM vibevideo_internal.check_table() WHERE check_name = 'models';
-- as the row names it, would('...')
CREATE FUNCTION named(VARIADIC names text[]) RETURNS TABLE (named text, says text) LANGUAGE plpgsql AS $$
BEGIN
	FOREACH named IN ARRAY names LOOP
		UPDATE vibelogs SET video_model = named.named WHERE id = 2;
		says = would('SELECT vibevideo_submit_batch(ARRAY[2])');
		named = left(named, 60);
		RETURN NEXT;
	END LOOP;
END
$$;
SELECT * FROM named(NULL, '', 'acme/second', 'acme/first', 'acme/forbidden', 'acme/unheard', 'ACME/second', ' acme/second', 'acme/second ', E'acme/second\n', '   ',
	'acme/second/', 'acme//second', '/acme/second', 'acme/first/../second', 'acme/../acme/second', 'acme/second?x=1', 'acme/second#', 'acme/second%2f..', 'second',
	'https://evil.example/acme/second', E'acme/\x1b[31msecond', 'аcme/second', '%', 'acme/%', 'acme/_econd', $$' OR true --$$);
-- a name of any length is none
SELECT named, split_part(says, E'\n', 1) AS says, length(says) < 500 AS is_short FROM named(repeat('x', 1000000), 'acme/second' || repeat('x', 300), 'acme/second' || repeat(' ', 300));
-- even if somebody has allowed what fal.ai would not take
INSERT INTO vibevideo.model (endpoint, allowed) VALUES ('acme/../second', true), (' ', true);
SELECT * FROM named('acme/../second', ' ');
DELETE FROM vibevideo.model WHERE endpoint IN ('acme/../second', ' ');
SELECT count(*) FROM vibevideo.job;

-- other types of column
CREATE DOMAIN model_name AS varchar(60);
ALTER TABLE vibelogs ALTER video_model TYPE model_name;
SELECT named, split_part(says, E'\n', 1) AS says FROM named('acme/second', 'acme/forbidden', '');
ALTER TABLE vibelogs ALTER video_model TYPE char(40);
SELECT named, split_part(says, E'\n', 1) AS says FROM named('acme/second', 'acme/forbidden', '');
UPDATE vibelogs SET video_model = NULL WHERE id < 3;
CREATE TYPE choice AS ENUM ('acme/second', 'acme/forbidden');
ALTER TABLE vibelogs ALTER video_model TYPE choice USING video_model::text::choice;
SELECT vibevideo.attach('vibelogs');
UPDATE vibelogs SET video_model = 'acme/second' WHERE id = 3;
UPDATE vibelogs SET video_model = 'acme/forbidden' WHERE id = 4;
SELECT would('SELECT vibevideo_submit_batch(ARRAY[2, 3])');
SELECT would('SELECT vibevideo_submit_batch(ARRAY[3, 4])');
CREATE DOMAIN chosen AS choice CHECK (VALUE <> 'acme/forbidden');
UPDATE vibelogs SET video_model = NULL WHERE id < 5;
ALTER TABLE vibelogs ALTER video_model TYPE chosen;
SELECT vibevideo.attach('vibelogs');
UPDATE vibelogs SET video_model = 'acme/second' WHERE id = 3;
SELECT would('SELECT vibevideo_submit_batch(ARRAY[3])');
ALTER TABLE vibelogs ALTER video_model TYPE text;

-------------------------------------------------------------------------------
-- What follows from it
-------------------------------------------------------------------------------
SELECT endpoint, max_prompt, needs_image, usual_seconds, check_input FROM vibevideo.set_model('acme/second', max_prompt => 10, check_input => 'refuse');
SELECT endpoint, label, needs_image FROM vibevideo.set_model('acme/third', true, 'a third', needs_image => true, usual_seconds => 90);
UPDATE vibevideo.model SET input_schema = '{"properties": {"prompt": {"pattern": "cat"}}}' WHERE endpoint = 'acme/second';
SELECT unit_price_usd FROM vibevideo.set_price('acme/first', 1);
SELECT unit_price_usd FROM vibevideo.set_price('acme/second', 2);
SELECT unit_price_usd FROM vibevideo.set_price('acme/third', 0.25, 'second', quantity_default => 4);
UPDATE vibelogs SET video_model = 'acme/second' WHERE id IN (6, 7, 8);
UPDATE vibelogs SET video_model = 'acme/third' WHERE id IN (9, 10);
UPDATE vibelogs SET prompt = 'a cat in a hat' WHERE id IN (5, 7);
UPDATE vibelogs SET prompt = 'a dog' WHERE id IN (8, 10);
UPDATE vibelogs SET image = 'https://example.org/i.png' WHERE id = 10;
SELECT i AS row, (SELECT video_model FROM vibelogs WHERE id = i), would(format('SELECT vibevideo_submit_batch(ARRAY[%s])', i)) AS submit,
	   would(format('SELECT vibevideo_estimate(%s)', i)) AS estimate FROM generate_series(5, 10) i;
SELECT i AS row, e.cost_usd, e.why FROM unnest(ARRAY[5, 6, 10]) i CROSS JOIN LATERAL vibevideo_estimate(i) e;
-- one that does not fit, and the batch does nothing
SELECT try('SELECT vibevideo_submit_batch(ARRAY[5, 6, 7, 10])');
SELECT count(*) FROM vibevideo.job;
SELECT count(*) FROM vibevideo_submit_batch(ARRAY[5, 6, 10]);
SELECT vibelog_id, model, cost_usd, input FROM vibevideo.job ORDER BY vibelog_id::int;
-- the same for the operator
SELECT vibelog_id, model FROM vibevideo.jobs ORDER BY vibelog_id::int;
SELECT (vibevideo.job_detail(job_id)).job.model FROM vibevideo.job WHERE vibelog_id = '6';
-- an image for a model that takes one, and no column for it
SELECT vibevideo.attach('vibelogs', image_column => '');
SELECT status, detail, hint FROM vibevideo_internal.check_table() WHERE check_name IN ('models', 'image_column');
SELECT would('SELECT vibevideo_submit_batch(ARRAY[9])');
CREATE FUNCTION input_of(v vibelogs) RETURNS jsonb LANGUAGE sql STABLE RETURN jsonb_build_object('prompt', v.prompt, 'of', v.video_model);
SELECT vibevideo.attach('vibelogs', input_function => 'input_of');
SELECT would('SELECT vibevideo_submit_batch(ARRAY[9])');
UPDATE vibelogs SET video_model = 'acme/unheard' WHERE id = 9;
SELECT would('SELECT vibevideo_submit_batch(ARRAY[9])');
SELECT vibevideo.attach('vibelogs', input_function => '', image_column => 'image');
-- budgets: which prices are not known
SELECT count(*) FROM vibevideo.set_limit('global', NULL, NULL, NULL, 100);
SELECT vibevideo.delete_price('acme/second'), vibevideo.delete_price('acme/third');
SELECT status, detail FROM vibevideo_internal.check_limits() WHERE check_name = 'price';
SELECT vibevideo.delete_limit('global', NULL);

-------------------------------------------------------------------------------
-- Accepted, then withdrawn; retries
-------------------------------------------------------------------------------
SELECT allowed FROM vibevideo.set_model('acme/second', false);
-- the job that is there is returned, with the model that it has
SELECT vibelog_id, status FROM vibevideo_submit_batch(ARRAY[6]);
SELECT would('SELECT vibevideo_submit_batch(ARRAY[8])');
SELECT status FROM vibevideo_cancel(6);
SELECT try('SELECT vibevideo_retry(6)');
SELECT try('SELECT vibevideo_submit_batch(ARRAY[6])');
-- an operator repeats the job
SELECT status FROM vibevideo.retry((SELECT max(job_id) FROM vibevideo.job WHERE vibelog_id = '6'));
SELECT status FROM vibevideo_cancel(6);
-- a user what the row says now
UPDATE vibelogs SET video_model = NULL WHERE id = 6;
SELECT status, attempt FROM vibevideo_retry(6);
SELECT attempt, model, state FROM vibevideo.job WHERE vibelog_id = '6' ORDER BY job_id;
-- the attached one may be changed under rows that name none, and stays allowed where it is named
SELECT vibevideo.attach('vibelogs', model => 'acme/second');
UPDATE vibelogs SET video_model = 'acme/second' WHERE id = 11;
UPDATE vibelogs SET video_model = 'acme/first' WHERE id = 12;
SELECT count(*) FROM vibevideo_submit_batch(ARRAY[11, 13]);
SELECT would('SELECT vibevideo_submit_batch(ARRAY[12])');
SELECT vibelog_id, model FROM vibevideo.job WHERE vibelog_id IN ('11', '13') ORDER BY 1;
SELECT vibevideo.attach('vibelogs', model => 'acme/first');

-------------------------------------------------------------------------------
-- The list
-------------------------------------------------------------------------------
SELECT * FROM vibevideo_models();
SELECT allowed FROM vibevideo.set_model('acme/second', true);
SELECT label FROM vibevideo.set_model('acme/first', label => 'the usual', usual_seconds => 60);
INSERT INTO vibevideo.typical (model, n, total_p50, updated_at) VALUES ('acme/third', 7, '75.2 seconds', now());
SELECT unit_price_usd FROM vibevideo.set_price('acme/third', 0.25, 'second', quantity_default => 4);
SELECT allowed FROM unnest(ARRAY['fal-ai/veo3.1', 'fal-ai/minimax/hailuo-2.3/standard/text-to-video', 'fal-ai/minimax/hailuo-2.3/pro/text-to-video',
	'fal-ai/kling-video/v3/standard/text-to-video']) e CROSS JOIN LATERAL vibevideo.set_model(e, true);
SELECT * FROM vibevideo_models();
-- prices in words
CREATE FUNCTION words(VARIADIC rules text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r text[];
BEGIN
	DELETE FROM vibevideo.price_rule WHERE endpoint = 'acme/words';
	FOR i IN 1 .. cardinality(rules) LOOP
		r = string_to_array(rules[i], '|');
		INSERT INTO vibevideo.price_rule (endpoint, source, applies, unit, unit_price_usd, quantity_default, valid_from)
		VALUES ('acme/words', r[1], r[2]::jsonb, r[3], nullif(r[4], '')::numeric, 1, now() + coalesce(r[5], '-1 day')::interval);
	END LOOP;
	RETURN vibevideo_internal.price_words('acme/words');
END
$$;
SELECT words('operator|{}|video|0.50'), words('operator|{}|video|'), words(VARIADIC '{}'), words('fal|{}|image|0.04'), words('fal|{}|megapixel|0.1'), words('fal|{}|custom|3'),
	   words('fal|{}|video|0');
-- one goes before the other: an operator's before all, fal.ai's before a built-in one, a newer before an older, none before its time
SELECT words('fal|{}|second|0.1', 'fal|{"a": 1}|second|0.2', 'operator|{}|second|0.3'), words('fal|{}|second|0.1', 'operator|{"a": 1}|second|0.05'),
	   words('fal|{}|second|0.1|-2 days', 'fal|{}|second|0.2'), words('fal|{}|second|0.1', 'fal|{}|second|0.05|1 day'),
	   words('fal|{}|second|', 'fal|{"a": 1}|second|0.2'), words('fal|{}|second|0.2', 'fal|{"a": 1}|second|'),
	   words('fal|{}|second|0.1', 'fal|{"a": 1}|video|0.05');
-- only the attached one without a choice
SELECT vibevideo.attach('vibelogs', model_column => '');
SELECT endpoint, label, is_default FROM vibevideo_models();
SELECT vibevideo.attach('vibelogs', model_column => 'video_model', model => '');
SELECT endpoint, label, price, is_default FROM vibevideo_models() LIMIT 1;
-- and who may
CREATE ROLE models_user;
SET ROLE models_user;
SELECT count(*) FROM vibevideo_models();
RESET ROLE;
GRANT EXECUTE ON FUNCTION public.vibevideo_models() TO models_user;
SET ROLE models_user;
SELECT count(*) FROM vibevideo_models();
SELECT vibevideo.set_model('acme/forbidden', true);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION public.vibevideo_models() FROM models_user;
DROP ROLE models_user;

-------------------------------------------------------------------------------
-- The operator's function
-------------------------------------------------------------------------------
SELECT try($$SELECT vibevideo.set_model(NULL)$$), try($$SELECT vibevideo.set_model('x')$$), try($$SELECT vibevideo.set_model('a/b', max_prompt => -1)$$),
	   try($$SELECT vibevideo.set_model('a/b', check_input => 'maybe')$$), try($$SELECT vibevideo.set_model('a/b', label => repeat('x', 201))$$);
SELECT endpoint, allowed, label, max_prompt, needs_image, usual_seconds, check_input, builtin, input_schema IS NOT NULL AS has_schema
FROM vibevideo.set_model('acme/second', label => '', max_prompt => 0, usual_seconds => 0);
SELECT allowed, max_prompt, builtin FROM vibevideo.set_model('fal-ai/minimax/video-01', true);

SELECT count(*) FROM vibevideo.job j CROSS JOIN LATERAL vibevideo.cancel(j.job_id) WHERE vibevideo.is_active(j.state);
SELECT vibevideo.detach();
SELECT try('SELECT vibevideo_models()');
SET client_min_messages = error;
DROP FUNCTION try, would, words, named;
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP TABLE vibelogs CASCADE;
DROP DOMAIN chosen, model_name;
DROP TYPE choice;
