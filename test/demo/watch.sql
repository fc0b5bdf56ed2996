-- The live table, one line per row that was submitted, since :since: its day, a mark by which a
-- program sees that it has got further, and what is shown, 80 columns at most.
SELECT v.written_on, concat_ws(' ', j.status, CASE WHEN j.status = 'processing' THEN floor(j.progress * 2) END),
	   format('  %s  %s  %s  %s  %s', to_char(v.written_on, 'Dy'), rpad(v.author, 3), rpad(j.status, 10),
			  CASE WHEN j.status IN ('processing', 'completed') THEN repeat('█', done) || repeat('░', 12 - done)
				   ELSE repeat(' ', 12) END,
			  CASE WHEN length(j.message) > 42 THEN left(j.message, 41) || '…' ELSE j.message END)
FROM vibelogs v
JOIN vibevideo.jobs j ON j.vibelog_id = v.id::text
CROSS JOIN LATERAL (SELECT coalesce(round(j.progress * 12), 0)::int) b(done)
WHERE v.written_on >= :'since'
ORDER BY v.written_on;
