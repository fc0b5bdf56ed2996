-- What a model says of its input: JSON Schema, as far as models use it.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;

CREATE FUNCTION says(schema jsonb, value jsonb, budget int DEFAULT 10000) RETURNS text LANGUAGE sql
RETURN coalesce((SELECT x.objection FROM vibevideo_internal.objection_to(value, schema, schema, '', 0, budget) x), 'fits');
CREATE FUNCTION table_of(VARIADIC pairs text[]) RETURNS TABLE (schema text, value text, says text) LANGUAGE sql
BEGIN ATOMIC
	SELECT pairs[i], pairs[i + 1], says(pairs[i]::jsonb, pairs[i + 1]::jsonb) FROM generate_series(1, cardinality(pairs), 2) i;
END;

-- a value by itself
SELECT * FROM table_of(
	'{"type": "string"}', '"6"', '{"type": "string"}', '6', '{"type": "integer"}', '6', '{"type": "integer"}', '6.0', '{"type": "integer"}', '6.5',
	'{"type": "number"}', '6.5', '{"type": "boolean"}', '"true"', '{"type": "array"}', '{}', '{"type": "object"}', '[]', '{"type": "null"}', 'null',
	'{"type": ["string", "null"]}', 'null', '{"type": ["string", "null"]}', '6', '{"type": "something new"}', '6',
	'{"const": "7s"}', '"7s"', '{"const": "7s"}', '"8s"', '{"enum": ["6", "10"]}', '"6"', '{"enum": ["6", "10"]}', '6', '{"enum": [6, 10]}', '6.0',
	'{"minimum": 1, "maximum": 3}', '0.9', '{"minimum": 1, "maximum": 3}', '3', '{"minimum": 1, "maximum": 3}', '3.1',
	'{"exclusiveMinimum": 1}', '1', '{"exclusiveMinimum": 1}', '1.01', '{"minimum": 1, "exclusiveMinimum": true}', '1',
	'{"maximum": 1, "exclusiveMaximum": true}', '1', '{"exclusiveMaximum": 1}', '2', '{"multipleOf": 8}', '24', '{"multipleOf": 8}', '25',
	'{"multipleOf": 0}', '25', '{"minimum": "1"}', '0',
	'{"minLength": 1, "maxLength": 3}', '""', '{"minLength": 1, "maxLength": 3}', '"äöü"', '{"minLength": 1, "maxLength": 3}', '"abcd"',
	'{"minLength": 1}', '5', '{"pattern": "^https?://"}', '"https://x"', '{"pattern": "^https?://"}', '"ftp://x"', '{"pattern": "b"}', '"abc"',
	'{"minItems": 1, "maxItems": 2}', '[]', '{"minItems": 1, "maxItems": 2}', '[1, 2]', '{"minItems": 1, "maxItems": 2}', '[1, 2, 3]',
	'{"type": "string", "nullable": true}', 'null', '{"type": "string"}', 'null', 'true', '6', 'false', '6', '{}', '6', '{"x-fal-order": 7}', '6');

-- what is in it, and where
SELECT * FROM table_of(
	'{"type": "object", "required": ["prompt", "image_url"], "properties": {"prompt": {"maxLength": 5}}}', '{"prompt": "a"}',
	'{"type": "object", "required": ["prompt"], "properties": {"prompt": {"maxLength": 5}}}', '{"prompt": "a long one"}',
	'{"type": "object", "properties": {"duration": {"enum": ["6", "10"]}}}', '{"duration": 6}',
	'{"type": "object", "properties": {"duration": {"enum": ["6", "10"]}}}', '{"durration": 6}',
	'{"properties": {"camera": {"properties": {"zoom": {"type": "number"}}}}}', '{"camera": {"zoom": "in"}}',
	'{"properties": {"camera": {"required": ["zoom"]}}}', '{"camera": {}}',
	'{"properties": {"urls": {"items": {"pattern": "^https:"}}}}', '{"urls": ["https://a", "http://b"]}',
	'{"items": {"type": "string"}}', '["a", 1]',
	'{"required": "prompt", "properties": ["prompt"]}', '{}');

-- alternatives and references
SELECT * FROM table_of(
	'{"anyOf": [{"type": "string", "maxLength": 2}, {"type": "null"}]}', '"abc"', '{"anyOf": [{"type": "string"}, {"type": "null"}]}', 'null',
	'{"anyOf": [{"type": "string"}, {"type": "integer"}]}', '1.5', '{"oneOf": [{"enum": ["a"]}, {"enum": ["a", "b"]}]}', '"a"',
	'{"oneOf": [{"enum": ["a"]}, {"enum": ["b"]}]}', '"c"', '{"allOf": [{"minimum": 1}, {"maximum": 2}]}', '3', '{"anyOf": []}', '3',
	'{"properties": {"size": {"anyOf": [{"$ref": "#/$defs/Size"}, {"enum": ["square", "wide"]}]}}, "$defs": {"Size": {"type": "object", "required": ["width"]}}}',
	'{"size": "round"}',
	'{"properties": {"size": {"anyOf": [{"$ref": "#/$defs/Size"}, {"enum": ["square", "wide"]}]}}, "$defs": {"Size": {"type": "object", "required": ["width"]}}}',
	'{"size": {"width": 7}}',
	'{"$ref": "#/components/schemas/a~1b~0c", "components": {"schemas": {"a/b~c": {"required": ["prompt"]}}}}', '{}',
	'{"$ref": "#/nowhere"}', '{}', '{"$ref": "https://example.org/schema"}', '{}', '{"$ref": "#"}', '{}');

-- what would take long is given up, and passes
SELECT says('{"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}', '1');
SELECT says('{"items": {"$ref": "#"}, "type": "array"}', (repeat('[', 500) || repeat(']', 500))::jsonb);
SELECT says('{"items": {"type": "string"}}', (SELECT jsonb_agg(i) FROM generate_series(1, 20000) i));
SELECT says('{"items": {"type": "integer"}}', (SELECT jsonb_agg(i) FROM generate_series(1, 20000) i));
SELECT says('{"properties": {"a": {"type": "string"}}}', '{"a": 1}', 1);
SELECT left(p, 30) AS pattern, vibevideo_internal.fits_pattern(repeat('a', 30000), p) FROM unnest(ARRAY[
	'^(a+)+$', '^(a|a)*b', '(a*)\1', '(?=a)b', '***=b', '(', repeat('b', 501), '^(?:a?){20}$']) p;
SELECT vibevideo_internal.shown_value(to_jsonb(repeat('a', 200)));

-- on the way to a model
CREATE TABLE vibelogs (id int PRIMARY KEY, prompt text, more jsonb);
INSERT INTO vibelogs SELECT i, 'a cat', CASE WHEN i > 2 THEN '{"duration": 7}'::jsonb ELSE '{"duration": "6"}' END FROM generate_series(1, 9) i;
CREATE FUNCTION input_of(v vibelogs) RETURNS jsonb LANGUAGE sql STABLE RETURN coalesce(v.more, '{}') || jsonb_build_object('prompt', v.prompt);
SELECT vibevideo.attach('vibelogs', input_function => 'input_of', model => 'acme/strict');
SELECT count(*) FROM vibevideo_submit_batch(ARRAY[3]);
INSERT INTO vibevideo.model (endpoint, input_schema) VALUES ('acme/strict', '{"properties": {"duration": {"enum": ["6", "10"]}}}');
SELECT count(*) FROM vibevideo_submit_batch(ARRAY[1, 4, 5]);
UPDATE vibevideo.model SET check_input = 'refuse' WHERE endpoint = 'acme/strict';
SELECT count(*) FROM vibevideo_submit_batch(ARRAY[2]);
SELECT count(*) FROM vibevideo_submit_batch(ARRAY[6, 7]);
UPDATE vibevideo.model SET input_schema = '{"properties": {"duration": {"enum": ["\u001b[31m\n"]}}}' WHERE endpoint = 'acme/strict';
SELECT count(*) FROM vibevideo_submit_batch(ARRAY[6]);
UPDATE vibevideo.model SET check_input = 'off' WHERE endpoint = 'acme/strict';
SELECT count(*) FROM vibevideo_submit_batch(ARRAY[6]);
SELECT vibelog_id, input -> 'duration' AS duration FROM vibevideo.job ORDER BY job_id;
-- what is none
\set VERBOSITY terse
UPDATE vibevideo.model SET input_schema = '[]' WHERE endpoint = 'acme/strict';
UPDATE vibevideo.model SET check_input = 'perhaps' WHERE endpoint = 'acme/strict';
DROP FUNCTION table_of, says;
SET client_min_messages = error;
DROP TABLE vibelogs CASCADE;
DROP EXTENSION vibevideo;
