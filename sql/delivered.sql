
-------------------------------------------------------------------------------
-- Whether a video is what was asked for
-------------------------------------------------------------------------------

-- A number in an input, which may be a text with a unit: "8s"; NULL if it is none, or not a sensible one.
CREATE FUNCTION vibevideo_internal.said_number(value jsonb)
RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT v.n FROM (SELECT CASE jsonb_typeof(value)
							WHEN 'number' THEN (value #>> '{}')::numeric
							WHEN 'string' THEN substring(value #>> '{}' FROM '^\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*[A-Za-z]*\s*$')::numeric END AS n) v
	WHERE v.n > 0 AND v.n <= 1000000;
END;
COMMENT ON FUNCTION vibevideo_internal.said_number(jsonb) IS 'a number that an input says, NULL if it says none; owner only';

-- How many seconds an input asks for: where its price is by the second, the rule knows
-- the place, else models agree on a few names.  What a model does without being asked
-- is not known here.
CREATE FUNCTION vibevideo_internal.asked_seconds(endpoint text, input jsonb, at timestamptz)
RETURNS numeric LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r vibevideo.price_rule = vibevideo_internal.rule_for(endpoint, input, at);
BEGIN
	r.quantity_default = NULL;
	RETURN coalesce(CASE WHEN r.unit = 'second' THEN vibevideo_internal.quantity_in(r, input) END,
					vibevideo_internal.said_number(input->'duration'), vibevideo_internal.said_number(input->'seconds'),
					vibevideo_internal.said_number(input->'num_frames')
					/ coalesce(vibevideo_internal.said_number(input->'frames_per_second'), vibevideo_internal.said_number(input->'fps')));
END
$$;
COMMENT ON FUNCTION vibevideo_internal.asked_seconds(text, jsonb, timestamptz) IS 'how long a video an input asks for, NULL if it does not say; owner only';

-- The same of its picture: the lengths of its short and its long side, the latter NULL
-- if the input names lines, as 1080p.
CREATE FUNCTION vibevideo_internal.asked_sides(input jsonb, OUT short numeric, OUT long numeric)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	said constant text = lower(left(coalesce(input->>'resolution', input->>'size'), 100));
	sides constant text[] = regexp_match(said, '^\s*([0-9]{2,5})\s*[x*]\s*([0-9]{2,5})\s*$');
	width numeric = coalesce(sides[1]::numeric, vibevideo_internal.said_number(input->'width'));
	height numeric = coalesce(sides[2]::numeric, vibevideo_internal.said_number(input->'height'));
BEGIN
	short = coalesce(substring(said FROM '^\s*([0-9]{3,4})p\s*$')::numeric, CASE WHEN said = '4k' THEN 2160 END);
	IF short IS NULL AND width IS NOT NULL AND height IS NOT NULL THEN
		short = least(width, height);
		long = greatest(width, height);
	END IF;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.asked_sides(jsonb) IS 'how large a picture an input asks for, NULL if it does not say; owner only';

/*
 * vibevideo_internal.delivered_less(endpoint, input, at, duration_ms, width, height, fps, has_audio) -
 * in which the video is less than its input asked for, as {"duration_ms": {"asked": 10000,
 * "got": 6040}}; null if in nothing, or nothing that is known.  Models round: to whole
 * pictures, to multiples of 16 or 32 points.  So it is less only from some 5 % on.  It
 * raises no errors, since the end of a job depends on it.
 */
CREATE FUNCTION vibevideo_internal.delivered_less(endpoint text, input jsonb, at timestamptz, duration_ms bigint, width int, height int,
												  fps numeric, has_audio boolean)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	enough constant numeric = 0.95;
	seconds constant numeric = vibevideo_internal.asked_seconds(endpoint, input, at);
	asked_fps constant numeric = coalesce(vibevideo_internal.said_number(input->'fps'), vibevideo_internal.said_number(input->'frames_per_second'));
	aspect constant numeric[] = regexp_match(left(input->>'aspect_ratio', 20), '^\s*([0-9]{1,4})\s*[:/]\s*([0-9]{1,4})\s*$');
	sides record;
	less jsonb = '{}';
BEGIN
	IF duration_ms < seconds * 1000 * enough - 100 THEN
		less = less || jsonb_build_object('duration_ms', jsonb_build_object('asked', round(seconds * 1000), 'got', duration_ms));
	END IF;
	SELECT s.short, s.long INTO sides FROM vibevideo_internal.asked_sides(input) s;
	IF least(width, height) < sides.short * enough OR greatest(width, height) < sides.long * enough THEN
		less = less || jsonb_build_object('resolution', jsonb_build_object(
			'asked', CASE WHEN sides.long IS NULL THEN sides.short || 'p' ELSE format('%sx%s', sides.long, sides.short) END, 'got', format('%sx%s', width, height)));
	END IF;
	IF aspect[1] > 0 AND aspect[2] > 0 AND width > 0 AND height > 0
	   AND abs(width * aspect[2] / (height * aspect[1]) - 1) > 1 - enough
	THEN
		less = less || jsonb_build_object('aspect_ratio', jsonb_build_object('asked', format('%s:%s', aspect[1], aspect[2]), 'got', format('%s:%s', width, height)));
	END IF;
	IF fps < asked_fps * enough THEN
		less = less || jsonb_build_object('fps', jsonb_build_object('asked', asked_fps, 'got', fps));
	END IF;
	IF NOT has_audio AND 'true' IN (input->'generate_audio', input->'enable_audio', input->'with_audio', input->'audio') THEN
		less = less || jsonb_build_object('has_audio', jsonb_build_object('asked', true, 'got', false));
	END IF;
	RETURN nullif(less, '{}');
END
$$;
COMMENT ON FUNCTION vibevideo_internal.delivered_less(text, jsonb, timestamptz, bigint, int, int, numeric, boolean) IS
	'in which a video is less than was asked for, NULL if in nothing; owner only';
