-- Prices of fal.ai: what is noted, and which rules follow.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;
CREATE SCHEMA fal_prices;
SET search_path = fal_prices, public;
\set kling fal-ai/kling-video/v3/pro/text-to-video
\set hailuo fal-ai/minimax/hailuo-2.3/standard/text-to-video
\set flat fal-ai/minimax/video-01

-- what fal.ai says, as one transaction that is older each time
CREATE FUNCTION says(endpoint text, price numeric, unit text, currency text DEFAULT 'USD')
RETURNS TABLE (old numeric, new numeric, unit text, outcome text) LANGUAGE sql AS $$
	UPDATE vibevideo.fal_price p SET valid_from = valid_from - interval '1 day' WHERE p.endpoint = says.endpoint;
	UPDATE vibevideo.price_rule r SET valid_from = valid_from - interval '1 day' WHERE r.endpoint = says.endpoint AND r.source = 'fal';
	SELECT n.old_price_usd, n.new_price_usd, n.unit, n.outcome FROM vibevideo_internal.note_prices(jsonb_build_array(endpoint),
		CASE WHEN price IS NULL THEN '[]' ELSE jsonb_build_array(jsonb_build_object('endpoint_id', endpoint, 'unit_price', price, 'unit', unit, 'currency', currency)) END) n
$$;
CREATE VIEW fal_rules AS
SELECT applies, unit, unit_price_usd AS usd, quantity, quantity_default AS usual, allowance, note FROM vibevideo.price_rule
WHERE source = 'fal' AND valid_from = (SELECT max(valid_from) FROM vibevideo.price_rule WHERE source = 'fal') ORDER BY endpoint, applies;
CREATE FUNCTION costs(endpoint text, input jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', e.cost_usd, e.source, e.why) FROM vibevideo.estimate(endpoint, input) e $$;

-- a model whose price depends on its input: the first price that is seen changes nothing
SELECT costs(:'kling', '{"duration": "5"}'), costs(:'kling', '{"duration": "5", "generate_audio": false}');
SELECT * FROM says(:'kling', 0.14, 'seconds');
SELECT * FROM fal_rules;
SELECT costs(:'kling', '{"duration": "5"}'), costs(:'kling', '{"duration": "5", "generate_audio": false}');
-- nor does the same once more
SELECT * FROM says(:'kling', 0.140, 'seconds');
SELECT count(*) FROM vibevideo.fal_price;
-- a change changes all in proportion
SELECT * FROM says(:'kling', 0.21, 'seconds');
SELECT * FROM fal_rules;
SELECT costs(:'kling', '{"duration": "5"}'), costs(:'kling', '{"duration": "5", "generate_audio": false}'),
	   costs(:'kling', '{"duration": "5", "voice_ids": ["x"]}');
SELECT * FROM says(:'kling', 0.21, 'seconds');
SELECT count(*) FROM vibevideo.price_rule WHERE source = 'fal';
-- and back again
SELECT * FROM says(:'kling', 0.14, 'seconds');
SELECT costs(:'kling', '{"duration": "5"}'), costs(:'kling', '{"duration": "5", "generate_audio": false}');
-- each by the clock
SELECT d, vibevideo_internal.base_price(:'kling', now() - d * interval '1 day') FROM generate_series(0, 6) d;
-- another unit says nothing of the old rules
SELECT * FROM says(:'kling', 0.9, 'videos');
SELECT costs(:'kling', '{"duration": "5"}');

-- an operator's rule goes before
SELECT source FROM vibevideo.set_price(:'hailuo', 0.3);
SELECT * FROM says(:'hailuo', 0.28, 'videos');
SELECT * FROM says(:'hailuo', 0.56, 'videos');
SELECT costs(:'hailuo', '{}'), costs(:'hailuo', '{"duration": "10"}');
SELECT vibevideo.delete_price(:'hailuo');
SELECT costs(:'hailuo', '{}'), costs(:'hailuo', '{"duration": "10"}');

-- a model with one price: that was the base price
SELECT * FROM says(:'flat', 0.6, 'videos');
SELECT costs(:'flat', '{}');
SELECT * FROM says('fal-ai/minimax/video-01-live', 0.5, 'video');
SELECT costs('fal-ai/minimax/video-01-live', '{}');

-- models without a rule
SELECT * FROM says('acme/film', 0.25, 'videos');
SELECT * FROM says('acme/clock', 0.01, 'Seconds');
SELECT * FROM says('acme/gpu', 0.0011, 'compute seconds');
SELECT costs('acme/film', '{"duration": 7}'), costs('acme/clock', '{"duration": "8s"}'), costs('acme/clock', '{}'), costs('acme/gpu', '{"duration": 7}');
SELECT * FROM says('acme/film', 0.24, 'videos');
SELECT costs('acme/film', '{}');
SELECT * FROM says('acme/film', 0.03, 'seconds');
SELECT costs('acme/film', '{"duration": 7}');
SELECT source FROM vibevideo.set_price('acme/clock', 1);
SELECT * FROM says('acme/clock', 0.02, 'seconds');
SELECT costs('acme/clock', '{"duration": 7}');

-- a rule that was made before there were built-in ones is no better than they are
BEGIN;
INSERT INTO vibevideo.price_rule (endpoint, source, unit, unit_price_usd) VALUES ('fal-ai/veo3.1', 'fal', 'video', 0.01);
SELECT * FROM says('fal-ai/veo3.1', 0.2, 'seconds');
SELECT costs('fal-ai/veo3.1', '{"duration": "8s"}');
ROLLBACK;

-- what cannot be used
SELECT s.* FROM (VALUES (NULL, 'videos', 'USD'), (1, 'videos', 'EUR'), (-1, 'videos', 'USD'), (1000000, 'videos', 'USD'), (1, E' \n', 'USD')) AS v(price, unit, currency)
CROSS JOIN LATERAL says(:'flat', v.price, v.unit, v.currency) s;
SELECT r.* FROM (VALUES ('{"unit_price": "1", "unit": "x"}'::jsonb), ('{"unit": "x"}'), ('[]'), ('{"unit_price": 0.10, "unit": "a\u0007b"}')) AS v(item)
CROSS JOIN LATERAL vibevideo_internal.read_price(v.item) r;
SELECT vibevideo_internal.base_price('acme/none', now());

-- fifty at a time, and one by one if one of them is not known
CREATE FUNCTION asked(n int, unknown text, failing boolean DEFAULT false) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	state jsonb = jsonb_build_object('todo', (SELECT jsonb_agg('acme/m' || i) FROM generate_series(1, n) i), 'said', '[]'::jsonb);
	q record;
BEGIN
	LOOP
		SELECT a.* INTO q FROM vibevideo_internal.prices_asks(state) a;
		EXIT WHEN q.what IS NULL;
		RETURN NEXT concat_ws(' ', q.what, cardinality(q.query) / 2, q.query[1], q.query[2]);
		state = vibevideo_internal.prices_said(q.state, CASE WHEN unknown = ANY (q.query) THEN 404 ELSE 200 END, '{"prices": [1]}',
											   CASE WHEN unknown = ANY (q.query) THEN 'not found' END);
	END LOOP;
	RETURN NEXT jsonb_array_length(state -> 'said');
END
$$;
SELECT * FROM asked(60, 'none');
SELECT count(*), (array_agg(a))[51:53] FROM asked(60, 'acme/m7') a;
SELECT * FROM asked(1, 'acme/m1');
SELECT count(*) FROM vibevideo_internal.next_endpoints((SELECT jsonb_build_object('todo', jsonb_agg('acme/' || repeat('x', 190))) FROM generate_series(1, 50)));
SELECT vibevideo_internal.prices_said('{"todo": ["a/b"], "said": []}', 500, NULL, 'HTTP 500');
SELECT vibevideo_internal.prices_said('{"todo": ["a/b"], "said": []}', 200, '{"prices": 7}', NULL);
SELECT what FROM vibevideo_internal.prices_asks('{}');
SET vibevideo.sync_prices = on;
SELECT what, query FROM vibevideo_internal.prices_asks('{}');
RESET vibevideo.sync_prices;
SET client_min_messages = warning;
DROP SCHEMA fal_prices CASCADE;
