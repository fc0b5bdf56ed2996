-- vibevideo.error_class: fal.ai's and Storage's own codes.  test/t/232_rollup.pl
-- compares those of the manual.
\pset format unaligned
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
RESET client_min_messages;
CREATE EXTENSION vibevideo;
CREATE FUNCTION codes(of text) RETURNS TABLE (class text, codes text) LANGUAGE sql
	BEGIN ATOMIC
		SELECT vibevideo.error_class(c.code), string_agg(c.code, ' ' ORDER BY c.n)
		FROM regexp_split_to_table(codes.of, '\s+') WITH ORDINALITY AS c(code, n) GROUP BY 1 ORDER BY min(c.n);
	END;

-- fal.ai: of a request
SELECT * FROM codes('request_timeout startup_timeout runner_scheduling_failure runner_connection_timeout runner_disconnected
runner_connection_refused runner_connection_error runner_incomplete_response runner_server_error internal_error
client_disconnected client_cancelled bad_request concurrent_requests_limit');
-- fal.ai: of a model
SELECT * FROM codes('internal_server_error generation_timeout downstream_service_error downstream_service_unavailable
content_policy_violation no_media_generated image_too_small image_too_large image_load_error file_download_error
face_detection_error file_too_large greater_than greater_than_equal less_than less_than_equal multiple_of
sequence_too_short sequence_too_long one_of feature_not_supported invalid_archive archive_file_count_below_minimum
archive_file_count_exceeds_maximum audio_duration_too_long audio_duration_too_short video_duration_too_long
video_duration_too_short unsupported_audio_format unsupported_image_format unsupported_video_format');
-- Pydantic's, which fal.ai passes on: of version 1 and 2
SELECT * FROM codes('missing value_error value_error.missing value_error.any_str.max_length type_error.integer string_type string_too_long
string_too_short string_pattern_mismatch int_parsing float_type bool_parsing literal_error enum extra_forbidden list_type url_parsing
json_invalid');
-- Storage and S3
SELECT * FROM codes('KeyAlreadyExists EntityTooLarge NoSuchBucket AccessDenied InvalidJWT InvalidMimeType DatabaseTimeout SlowDown InternalError
SignatureDoesNotMatch RequestTimeout Unauthorized NotFound');
-- without a name, in a word of ours, and none that anybody knows
SELECT * FROM codes('http_400 http_402 http_429 http_500 remote_limit remote_paused something_new');
SELECT vibevideo.error_class(NULL) IS NULL AS none;

DROP FUNCTION codes;
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
