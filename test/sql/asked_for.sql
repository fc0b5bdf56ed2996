-- What a video is less in than its input asked for.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS vibevideo;
CREATE EXTENSION vibevideo;
SELECT unit FROM vibevideo.set_price('acme/rule', 1, unit => 'second', quantity => '$.options.length', quantity_default => 5);
SELECT c.what, vibevideo_internal.delivered_less(c.endpoint, c.input::jsonb, now(), c.ms, c.width, c.height, c.fps, c.has_audio) AS less
FROM (VALUES
	(1, 'nothing is asked for', 'acme/a', '{"prompt": "x"}', 6040, 1366, 768, 24, false),
	(2, 'all is asked for, and not there', 'acme/a', '{"duration": 10, "resolution": "1080p", "generate_audio": true, "aspect_ratio": "1:1", "fps": 30}', 6040, 1366, 768, 24, false),
	(3, 'it is there', 'acme/a', '{"duration": 6, "resolution": "768P", "generate_audio": true, "aspect_ratio": "16:9", "fps": 24}', 6040, 1366, 768, 24, true),
	(4, 'nothing is known of it', 'acme/a', '{"duration": 10, "resolution": "1080p", "generate_audio": true, "aspect_ratio": "1:1", "fps": 30}', NULL, NULL, NULL, NULL, NULL),
	(5, 'a text', 'acme/a', '{"duration": " 8s "}', 5000, NULL, NULL, NULL, NULL),
	(6, 'a little less', 'acme/a', '{"duration": "5", "resolution": "720p"}', 4900, 1280, 704, 24, NULL),
	(7, 'seconds', 'acme/a', '{"seconds": 12}', 4000, NULL, NULL, NULL, NULL),
	(8, 'pictures', 'acme/a', '{"num_frames": 160, "frames_per_second": 16}', 5000, NULL, NULL, 16, NULL),
	(9, 'pictures at no rate', 'acme/a', '{"num_frames": 160}', 5000, NULL, NULL, 16, NULL),
	(10, 'where a rule knows', 'acme/rule', '{"options": {"length": 9}, "duration": 2}', 5000, NULL, NULL, NULL, NULL),
	(11, 'a rule''s default is not asked for', 'acme/rule', '{}', 1000, NULL, NULL, NULL, NULL),
	(12, 'a rule of a video', 'fal-ai/minimax/hailuo-2.3/standard/text-to-video', '{"duration": "10"}', 6000, NULL, NULL, NULL, NULL),
	(13, 'two sides', 'acme/a', '{"size": "1280x720"}', NULL, 720, 720, NULL, NULL),
	(14, 'two sides, turned', 'acme/a', '{"resolution": "1280*720"}', NULL, 720, 1280, NULL, NULL),
	(15, 'width and height', 'acme/a', '{"width": 1920, "height": 1080}', NULL, 1280, 720, NULL, NULL),
	(16, '4K', 'acme/a', '{"resolution": "4K"}', NULL, 1920, 1080, NULL, NULL),
	(17, 'words', 'acme/a', '{"duration": "long", "resolution": "auto", "aspect_ratio": "auto", "generate_audio": "yes", "fps": "x"}', 100, 10, 10, 1, false),
	(18, 'upright', 'acme/a', '{"aspect_ratio": "9:16"}', NULL, 1280, 720, NULL, NULL),
	(19, 'nearly wide', 'acme/a', '{"aspect_ratio": "16:9"}', NULL, 1366, 768, NULL, NULL),
	(20, 'not wanted', 'acme/a', '{"generate_audio": false}', NULL, NULL, NULL, NULL, true),
	(21, 'numbers without sense', 'acme/a', '{"duration": 1e300, "fps": -5, "aspect_ratio": "0:9", "width": 1e9, "height": 1, "resolution": "99999x1"}', 5000, 64, 48, 24, NULL),
	(22, 'other types', 'acme/a', '{"duration": {"a": 1}, "fps": [30], "aspect_ratio": ["16:9"], "resolution": null, "generate_audio": [true]}', 5000, 64, 48, 24, false),
	(23, 'no object', 'acme/a', '[{"duration": 10}]', 5000, 64, 48, 24, false),
	(24, 'no size', 'acme/a', '{"aspect_ratio": "16:9", "resolution": "720p"}', 5000, 0, 0, 24, false)) AS c(nth, what, endpoint, input, ms, width, height, fps, has_audio)
ORDER BY c.nth;
SET client_min_messages = error;
DROP EXTENSION vibevideo;
DROP SCHEMA vibevideo;
