-- Prices: which rule counts, what an input asks for, what is refused, and what is not known
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
CREATE EXTENSION vibevideo;
RESET client_min_messages;
\pset format unaligned

CREATE FUNCTION price(endpoint text, input jsonb) RETURNS text LANGUAGE sql
RETURN (SELECT concat_ws(' | ', coalesce(e.cost_usd::text, 'not known'), e.source, e.why) FROM vibevideo.estimate(endpoint, input) e);
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

-------------------------------------------------------------------------------
-- Built-in rules
-------------------------------------------------------------------------------
SELECT endpoint, input, price('fal-ai/' || endpoint, input) FROM (VALUES
	('minimax/video-01', '{}'::jsonb),
	('minimax/video-01-live/image-to-video', '{"duration": "10"}'),
	('minimax/hailuo-2.3/standard/text-to-video', '{}'),
	('minimax/hailuo-2.3/standard/text-to-video', '{"duration": "6"}'),
	('minimax/hailuo-2.3/standard/image-to-video', '{"duration": "10"}'),
	('minimax/hailuo-2.3/standard/image-to-video', '{"duration": 10}'),
	('minimax/hailuo-2.3/pro/text-to-video', '{"duration": "10"}'),
	('kling-video/v3/pro/text-to-video', '{}'),
	('kling-video/v3/pro/text-to-video', '{"duration": "10", "generate_audio": true}'),
	('kling-video/v3/pro/image-to-video', '{"duration": "10", "generate_audio": false}'),
	('kling-video/v3/pro/image-to-video', '{"duration": "10", "voice_ids": ["a"]}'),
	('kling-video/v3/pro/image-to-video', '{"duration": "10", "voice_ids": ["a"], "generate_audio": false}'),
	('kling-video/v3/standard/text-to-video', '{"duration": "15"}'),
	('veo3.1', '{}'),
	('veo3.1', '{"duration": "4s"}'),
	('veo3.1/image-to-video', '{"duration": "8s", "generate_audio": false}'),
	('veo3.1', '{"duration": "8s", "resolution": "4k"}'),
	('veo3.1', '{"duration": "8s", "resolution": "4k", "generate_audio": false}'),
	('ltx-2/text-to-video/fast', '{"duration": 6}'),
	('ltx-2/text-to-video/fast', '{"duration": 6, "resolution": "1440p"}'),
	('ltx-2/image-to-video/fast', '{"duration": 6, "resolution": "2160p"}'),
	('ltx-2/text-to-video', '{"duration": 6, "resolution": "2160p"}'),
	('minimax/video-02', '{}')) AS x(endpoint, input);
SELECT DISTINCT endpoint FROM vibevideo.price_rule ORDER BY 1;
-- none of which leaves open what an input costs
SELECT a.endpoint, a.applies, b.applies FROM vibevideo.price_rule a JOIN vibevideo.price_rule b USING (endpoint, keys)
WHERE a.applies < b.applies AND NOT EXISTS (SELECT FROM jsonb_each(a.applies) x JOIN jsonb_each(b.applies) y USING (key) WHERE x.value <> y.value)
  AND NOT EXISTS (SELECT FROM vibevideo.price_rule c WHERE c.endpoint = a.endpoint AND c.applies = a.applies || b.applies);
-- nobody changes them
\set VERBOSITY terse
UPDATE vibevideo.price_rule SET unit_price_usd = 0 WHERE endpoint = 'fal-ai/veo3.1';
UPDATE vibevideo.price_rule SET source = 'operator' WHERE endpoint = 'fal-ai/veo3.1';
DELETE FROM vibevideo.price_rule WHERE endpoint = 'fal-ai/veo3.1';
INSERT INTO vibevideo.price_rule (endpoint, source, unit_price_usd) VALUES ('acme/x', 'built-in', 1);
\set VERBOSITY default
SELECT vibevideo.delete_price('fal-ai/veo3.1');

-------------------------------------------------------------------------------
-- Which rule counts
-------------------------------------------------------------------------------
BEGIN;
INSERT INTO vibevideo.price_rule (endpoint, source, applies, valid_from, unit_price_usd) VALUES
	('fal-ai/veo3.1', 'fal', '{}', '2001-01-01', 1),
	('fal-ai/veo3.1', 'fal', '{"resolution": "4k"}', '2001-01-01', 2);
-- fal.ai's before a built-in one that asks for as much
SELECT input, price('fal-ai/veo3.1', input) FROM (VALUES ('{}'::jsonb), ('{"resolution": "4k"}'), ('{"generate_audio": false}'),
	('{"resolution": "4k", "generate_audio": false}')) x(input);
-- an operator's before all, whatever the others ask for
SELECT source, unit, unit_price_usd, applies, quantity, quantity_default, allowance, note, keys FROM vibevideo.set_price('fal-ai/veo3.1', 3);
SELECT input, price('fal-ai/veo3.1', input) FROM (VALUES ('{}'::jsonb), ('{"resolution": "4k", "generate_audio": false}')) x(input);
SELECT try($$SELECT vibevideo.set_price('fal-ai/veo3.1', 4, applies => '{"resolution": "4k"}')$$);
SELECT input, price('fal-ai/veo3.1', input) FROM (VALUES ('{}'::jsonb), ('{"resolution": "4k", "generate_audio": false}'), ('{"resolution": "4K"}'),
	('{"resolution": ["4k"]}'), ('["resolution", "4k"]'), ('"4k"'), ('null')) x(input);
-- a price that is not known is one as well
SELECT unit_price_usd FROM vibevideo.set_price('fal-ai/veo3.1', NULL, applies => '{"resolution": "4k"}');
SELECT price('fal-ai/veo3.1', '{"resolution": "4k"}');
-- what an operator takes away
SELECT vibevideo.delete_price('fal-ai/veo3.1', '{"resolution": "4k"}'), vibevideo.delete_price('fal-ai/veo3.1'), vibevideo.delete_price('fal-ai/veo3.1');
SELECT price('fal-ai/veo3.1', '{"resolution": "4k"}');
ROLLBACK;
-- lists and objects of any content
SELECT FROM vibevideo.set_price('acme/any', 1);
SELECT FROM vibevideo.set_price('acme/any', 2, applies => '{"voices": []}');
SELECT FROM vibevideo.set_price('acme/any', 3, applies => '{"camera": {}, "voices": []}');
SELECT try($$SELECT vibevideo.set_price('acme/any', 4, applies => '{"camera": {}}')$$);
SELECT input, price('acme/any', input) FROM (VALUES ('{}'::jsonb), ('{"voices": []}'), ('{"voices": ["a"]}'), ('{"voices": "a"}'), ('{"camera": {"zoom": 2}}'),
	('{"camera": {"zoom": 2}, "voices": ["a"]}'), ('{"camera": ["zoom"]}')) x(input);
-- since when: the newest that is valid already, also for what was requested before
SELECT FROM vibevideo.set_price('acme/then', 1, valid_from => '2001-01-01 00:00+00');
SELECT FROM vibevideo.set_price('acme/then', 2, valid_from => '2002-01-01 00:00+00');
SELECT FROM vibevideo.set_price('acme/then', 9, valid_from => '2999-01-01 00:00+00');
SELECT price('acme/then', '{}');
SELECT at, vibevideo_internal.most_cost('acme/then', '{}', at) FROM (VALUES ('2000-12-31 23:59+00'::timestamptz), ('2001-01-01 00:00+00'), ('2001-12-31 23:59+00'),
	('2002-01-01 00:00+00'), ('2998-12-31 23:59+00'), ('2999-01-01 00:00+00')) x(at);
SELECT vibevideo.delete_price('acme/then'), price('acme/then', '{}');
-- twice in one transaction is a correction
BEGIN;
SELECT FROM vibevideo.set_price('acme/twice', 1);
SELECT FROM vibevideo.set_price('acme/twice', 2, 'second', quantity => '$.duration', note => 'as they say');
SELECT unit, unit_price_usd, quantity, note FROM vibevideo.price_rule WHERE endpoint = 'acme/twice';
ROLLBACK;

-------------------------------------------------------------------------------
-- Rules that say nothing clear
-------------------------------------------------------------------------------
SELECT FROM vibevideo.set_price('acme/tie', 1);
SELECT FROM vibevideo.set_price('acme/tie', 2, applies => '{"audio": true}');
SELECT try($$SELECT vibevideo.set_price('acme/tie', 3, applies => '{"size": "4k"}')$$);
-- the way out
SELECT try($$SELECT vibevideo.set_price('acme/tie', 4, applies => '{"audio": true, "size": "4k"}')$$);
SELECT try($$SELECT vibevideo.set_price('acme/tie', 3, applies => '{"size": "4k"}')$$);
SELECT input, price('acme/tie', input) FROM (VALUES ('{}'::jsonb), ('{"audio": true}'), ('{"size": "4k"}'), ('{"size": "4k", "audio": true}'),
	('{"size": "4k", "audio": false}')) x(input);
-- values that exclude each other need none
SELECT try($$SELECT vibevideo.set_price('acme/tie', 5, applies => '{"audio": false}')$$);
SELECT try($$SELECT vibevideo.set_price('acme/tie', 5, applies => '{"audio": null, "size": "4k"}')$$);
-- what settles it is not taken away first, nor later than the others
SELECT try($$SELECT vibevideo.delete_price('acme/tie', '{"audio": true, "size": "4k"}')$$);
SELECT try($$SELECT vibevideo.delete_price('acme/tie', '{"size": "4k"}')$$), try($$SELECT vibevideo.delete_price('acme/tie', '{"audio": true, "size": "4k"}')$$);
SELECT FROM vibevideo.set_price('acme/late', 1, applies => '{"a": 1, "b": 1}', valid_from => '2999-01-01');
SELECT FROM vibevideo.set_price('acme/late', 1, applies => '{"a": 1}');
SELECT try($$SELECT vibevideo.set_price('acme/late', 1, applies => '{"b": 1}')$$);
SELECT try($$SELECT vibevideo.set_price('acme/late', 1, applies => '{"b": 1}', valid_from => '2999-01-01')$$);
-- a statement, as one that restores a dump, may have them in any order
SELECT try($$INSERT INTO vibevideo.price_rule (endpoint, applies, unit_price_usd) VALUES ('acme/any-order', '{"a": 1}', 1), ('acme/any-order', '{"b": 1}', 1), ('acme/any-order', '{"a": 1, "b": 1}', 1)$$);
-- by another source there is no tie
SELECT try($$INSERT INTO vibevideo.price_rule (endpoint, source, applies, unit_price_usd) VALUES ('acme/tie', 'fal', '{"seed": 1}', 1)$$);

SELECT command, try(command) FROM (VALUES
	($$SELECT vibevideo.set_price('acme', 1)$$),
	($$SELECT vibevideo.set_price(NULL, 1)$$),
	($$SELECT vibevideo.set_price('acme/x y', 1)$$),
	($$SELECT vibevideo.set_price('acme/x', -0.01)$$),
	($$SELECT vibevideo.set_price('acme/x', 100001)$$),
	($$SELECT vibevideo.set_price('acme/x', 'NaN')$$),
	($$SELECT vibevideo.set_price('acme/x', 'Infinity')$$),
	($$SELECT vibevideo.set_price('acme/x', 1, 'minute')$$),
	($$SELECT vibevideo.set_price('acme/x', 1, NULL)$$),
	($$SELECT vibevideo.set_price('acme/x', 1, 'second')$$),
	($$SELECT vibevideo.set_price('acme/x', 1, 'second', quantity_default => 0)$$),
	($$SELECT vibevideo.set_price('acme/x', 1, 'second', quantity_default => 'NaN')$$),
	($$SELECT vibevideo.set_price('acme/x', 1, 'second', quantity_default => 'Infinity')$$),
	($$SELECT vibevideo.set_price('acme/x', 1, allowance => -1)$$),
	($$SELECT vibevideo.set_price('acme/x', 1, allowance => 'NaN')$$),
	($$SELECT vibevideo.set_price('acme/x', 1, allowance => NULL)$$),
	($$SELECT vibevideo.set_price('acme/x', 1, applies => NULL)$$),
	($$SELECT vibevideo.set_price('acme/x', 1, valid_from => NULL)$$),
	($$SELECT vibevideo.set_price('acme/x', 1, valid_from => 'infinity')$$),
	($$SELECT vibevideo.set_price('acme/x', 1, applies => '["4k"]')$$),
	($$SELECT vibevideo.set_price('acme/x', 1, applies => '"4k"')$$),
	($$SELECT vibevideo.set_price('acme/x', 1, applies => '{"size": {"width": 1}}')$$),
	($$SELECT vibevideo.set_price('acme/x', 1, applies => '{"size": ["4k"]}')$$),
	($$SELECT vibevideo.set_price('acme/x', 1, applies => jsonb_build_object('prompt', repeat('x', 1000)))$$),
	($$SELECT vibevideo.set_price('acme/x', 1, 'second', quantity => 'duration')$$),
	($$SELECT vibevideo.delete_price(NULL)$$),
	($$SELECT vibevideo.estimate(NULL, '{}')$$),
	($$SELECT vibevideo.estimate('acme/x', NULL)$$),
	($$INSERT INTO vibevideo.price_rule (endpoint, unit_price_usd) VALUES ('acme', 1)$$)) x(command);
SELECT command, split_part(try(command), E'\n', 1) AS try FROM (VALUES
	($$INSERT INTO vibevideo.price_rule (endpoint, unit_price_usd) VALUES ('acme/x', 'NaN')$$),
	($$INSERT INTO vibevideo.price_rule (endpoint, unit_price_usd) VALUES ('acme/x', 'Infinity')$$),
	($$INSERT INTO vibevideo.price_rule (endpoint, unit_price_usd) VALUES ('acme/x', -1)$$),
	($$INSERT INTO vibevideo.price_rule (endpoint, unit_price_usd, quantity_default) VALUES ('acme/x', 1, 'NaN')$$),
	($$INSERT INTO vibevideo.price_rule (endpoint, unit_price_usd, allowance) VALUES ('acme/x', 1, 'NaN')$$),
	($$INSERT INTO vibevideo.price_rule (endpoint, source, unit_price_usd) VALUES ('acme/x', 'somebody', 1)$$)) x(command);
-- a path that could run long
SELECT path, left(try(format('SELECT vibevideo.set_price(%L, 1, %L, quantity => %L)', 'acme/path', 'custom', path)), 40) FROM (VALUES
	('$.**.duration'), ('$.*'), ('$.list[*].n'), ('$.shots ? (@.n > 1).n'), ('$.prompt like_regex "(a*)*b"'), ('exists($.a)'), ('$.keyvalue().value'),
	('$.prompt.datetime()'), ('$x'), ('$.a + $x'), ('$.a == 1'), ('"8s"'), ('null'), ('$.prompt.type()'), ('@.a'), ('$' || repeat('."x"', 60)), ('strict $.a'), ('$.a.b[0]."?**"'), ('$.a[last]."x y"'), ('-$.a.double().floor() % 2.5'), ('$.num_frames / $.fps'), ('$.images.size()'), ('$.width * $.height / 1000000')) x(path);
SELECT vibevideo.delete_price('acme/path');

-------------------------------------------------------------------------------
-- How much an input asks for
-------------------------------------------------------------------------------
SELECT FROM vibevideo.set_price('acme/second', 0.1, 'second', quantity => '$.duration', allowance => 0.1);
SELECT input, price('acme/second', input) FROM (VALUES
	('{"duration": "8s"}'::jsonb), ('{"duration": "8 s"}'), ('{"duration": " 8 seconds "}'), ('{"duration": "10"}'), ('{"duration": 10}'), ('{"duration": 2.5}'), ('{"duration": "2.5s"}'),
	('{"duration": 1}'), ('{"duration": [4]}'), ('{"duration": 0}'), ('{"duration": -1}'), ('{"duration": "-1"}'), ('{"duration": "auto"}'), ('{"duration": ""}'), ('{"duration": "8s 9s"}'),
	('{"duration": "1e3"}'), ('{"duration": "٨"}'), ('{"duration": null}'), ('{"duration": true}'), ('{"duration": {}}'), ('{}'), ('[]'), ('null'),
	('{"duration": 1e6}'), ('{"duration": 1e30}'), ('{"duration": "9999999999"}'), ('{"duration": "999999999"}')) x(input);
-- what there is if the input says nothing
SELECT FROM vibevideo.set_price('acme/second', 0.1, 'second', quantity => '$.duration', quantity_default => 5);
SELECT input, price('acme/second', input) FROM (VALUES ('{}'::jsonb), ('{"duration": "auto"}'), ('{"duration": 0}'), ('{"duration": 7}')) x(input);
-- of what is paid for
SELECT FROM vibevideo.set_price('acme/unit', 0.5, quantity => '$.num_videos');
SELECT price('acme/unit', '{}'), price('acme/unit', '{"num_videos": 3}');
SELECT FROM vibevideo.set_price('acme/unit', 0.02, 'image', quantity => '$.images.size()');
SELECT price('acme/unit', '{"images": [1, 2]}'), price('acme/unit', '{"images": [1]}');
SELECT FROM vibevideo.set_price('acme/unit', 0.001, 'megapixel', quantity => '$.width * $.height / 1000000');
SELECT price('acme/unit', '{"width": 1920, "height": 1080}'), price('acme/unit', '{"width": "wide", "height": 1080}');
SELECT FROM vibevideo.set_price('acme/unit', 0.25, 'custom', quantity_default => 4);
SELECT price('acme/unit', '{}');
SELECT FROM vibevideo.set_price('acme/unit', 0, 'second', quantity => '$.n / $.zero');
SELECT price('acme/unit', '{"n": 1, "zero": 0}'), price('acme/unit', '{"n": 1, "zero": 1}');

-------------------------------------------------------------------------------
-- Jobs and budgets
-------------------------------------------------------------------------------
CREATE TABLE vibelogs (id int PRIMARY KEY, prompt text, model_input jsonb DEFAULT '{}', owner text DEFAULT 'ann');
INSERT INTO vibelogs SELECT i, 'a cat' FROM generate_series(1, 60) i;
CREATE FUNCTION input_of(v vibelogs) RETURNS jsonb LANGUAGE sql IMMUTABLE RETURN v.model_input || jsonb_build_object('prompt', v.prompt);
SET client_min_messages = warning;
SELECT vibevideo.attach('vibelogs', user_column => 'owner', input_function => 'input_of', model => 'fal-ai/kling-video/v3/pro/text-to-video');
RESET client_min_messages;
UPDATE vibelogs SET model_input = '{"duration": "10"}' WHERE id = 2;
UPDATE vibelogs SET model_input = '{"duration": "10", "generate_audio": false}' WHERE id = 3;
-- as the app asks for it, and what the job costs then
SELECT i, e.cost_usd, e.unit, e.unit_price_usd, e.quantity, e.allowance, e.applies, e.source, e.why FROM generate_series(1, 3) i CROSS JOIN LATERAL vibevideo_estimate(i) e;
SELECT try('SELECT vibevideo_estimate(99)'), try('SELECT vibevideo_estimate(NULL)');
SELECT vibelog_id, status FROM vibevideo_submit_batch('{1,2,3}') WITH ORDINALITY AS v(request_id, status, video_url, message) CROSS JOIN LATERAL (SELECT ordinality AS vibelog_id) o ORDER BY 1;
SELECT vibelog_id, cost_usd FROM vibevideo.job ORDER BY vibelog_id::int;
SELECT vibelog_id, cost_usd FROM vibevideo.jobs ORDER BY vibelog_id::int;
SELECT reserved_usd FROM vibevideo.costs;
-- a job is priced as of when it was made, whatever has changed since
SELECT FROM vibevideo.set_price('fal-ai/kling-video/v3/pro/text-to-video', 9);
INSERT INTO vibevideo.job (relation, vibelog_id, state, model, input, orphan, created_at)
SELECT 'vibelogs', 50 + n, 'queued', 'fal-ai/kling-video/v3/pro/text-to-video', '{"duration": "10"}', true, now() - n * interval '1 second' FROM generate_series(0, 1) n;
SELECT vibelog_id, cost_usd FROM vibevideo.job WHERE orphan ORDER BY vibelog_id;
SELECT vibevideo.delete_price('fal-ai/kling-video/v3/pro/text-to-video');
DELETE FROM vibevideo.job WHERE true;
DELETE FROM vibevideo_internal.new_costs WHERE true;
-- a budget by the second: 10 s are 1.6968, 5 s are 0.8568, and 5 s without sound 0.5712
INSERT INTO vibevideo.limit (scope, spend_per_day_usd) VALUES ('default', 4);
SELECT try('SELECT vibevideo_submit_batch(''{1,2}'')'), split_part(try('SELECT vibevideo_submit_batch(''{5,6}'')'), E'\nCome back', 1) AS try;
UPDATE vibelogs SET model_input = '{"generate_audio": false}' WHERE id = 5;
SELECT try('SELECT vibevideo_submit_batch(''{5}'')'), try('SELECT vibevideo_submit_batch(''{6}'')'),
	   split_part(try('SELECT vibevideo_submit_batch(''{7}'')'), E'\nCome back', 1) AS try;
SELECT sum(cost_usd) FROM vibevideo.job;
SELECT sum(t.used) FROM vibevideo_internal.till t WHERE t.who = 'user:ann' AND t.kind = 'spend_day' AND t.begins >= date_trunc('day', now(), 'UTC');
DELETE FROM vibevideo.limit WHERE true;
DELETE FROM vibevideo.job WHERE true;
DELETE FROM vibevideo_internal.new_costs WHERE true;

SET client_min_messages = error;
DROP FUNCTION price(text, jsonb);
DROP FUNCTION try(text);
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
DROP TABLE vibelogs CASCADE;
