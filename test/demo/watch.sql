-- The live table, one line per row; :width is the length of a progress bar.
SELECT format('  %s  %s %s  %s  %s',
			  v.written_on,
			  rpad(j.status, 10),
			  lpad(coalesce(j.queue_position::text, ''), 5),
			  CASE WHEN j.status IN ('processing', 'completed') THEN repeat('█', done) || repeat('░', :width - done)
				   ELSE repeat(' ', :width) END,
			  j.message)
FROM vibelogs v
JOIN vibevideo.jobs j ON j.vibelog_id = v.id::text
CROSS JOIN LATERAL (SELECT coalesce(round(j.progress * :width), 0)::int) b(done)
ORDER BY v.written_on;
