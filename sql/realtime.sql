
-------------------------------------------------------------------------------
-- Reporting to others
-------------------------------------------------------------------------------

/*
 * vibevideo_internal.publish(relation) - adds the app's table to the publication that
 * Supabase Realtime reads.  Says why if it does not; never fails for that.
 */
CREATE FUNCTION vibevideo_internal.publish(relation regclass)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	command constant text = format('ALTER PUBLICATION supabase_realtime ADD TABLE %s', relation);
BEGIN
	IF NOT EXISTS (SELECT FROM pg_publication p WHERE p.pubname = 'supabase_realtime') THEN
		RAISE NOTICE USING
			MESSAGE = 'there is no publication supabase_realtime in this database',
			DETAIL = 'Only Supabase has it. Changes are reported through NOTIFY vibevideo in any case.',
			HINT = format('Once there is one: %s.', command);
		RETURN;
	ELSIF EXISTS (SELECT FROM pg_publication p JOIN pg_class c ON c.oid = publish.relation
				  WHERE p.pubname = 'supabase_realtime'
					AND (p.puballtables
						 OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid)
						 OR EXISTS (SELECT FROM pg_publication_namespace n WHERE n.pnpubid = p.oid AND n.pnnspid = c.relnamespace)))
	THEN
		RETURN;
	ELSIF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = publish.relation AND c.relreplident = 'f')
		  AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
						  WHERE i.indrelid = publish.relation AND i.indisvalid
							AND (i.indisprimary AND c.relreplident = 'd' OR i.indisreplident AND c.relreplident = 'i'))
	THEN
		-- every update of it would fail
		RAISE NOTICE USING
			MESSAGE = format('%s was not added to publication supabase_realtime: it has no replica identity', relation),
			HINT = format('Give it a primary key, or ALTER TABLE %s REPLICA IDENTITY USING INDEX ..., then: %s.', relation, command);
		RETURN;
	END IF;
	BEGIN
		EXECUTE command;
	EXCEPTION WHEN insufficient_privilege THEN
		RAISE NOTICE USING
			MESSAGE = format('%s was not added to publication supabase_realtime: %s', relation, SQLERRM),
			HINT = format('As the publication''s owner: %s.', command);
	END;
END
$$;
COMMENT ON FUNCTION vibevideo_internal.publish(regclass) IS 'adds the app''s table to publication supabase_realtime, or says why not; owner only';
