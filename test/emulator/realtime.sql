-- What Supabase Realtime has in a database, as far as broadcasts go, with the
-- owners, rights and faults of the real one (supabase/realtime 2.129.8,
-- priv/repo/tenant_schema): the table has row-level security and no policy, and
-- an error in sending is a warning.  As a superuser.
DO $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'supabase_realtime_admin') THEN
		CREATE ROLE supabase_realtime_admin NOLOGIN NOINHERIT;
	END IF;
END
$$;
CREATE SCHEMA realtime;
GRANT USAGE, CREATE ON SCHEMA realtime TO supabase_realtime_admin;

CREATE TABLE realtime.messages (
	topic text NOT NULL,
	extension text NOT NULL,
	payload jsonb,
	event text,
	private boolean DEFAULT false,
	updated_at timestamp NOT NULL DEFAULT now(),
	inserted_at timestamp NOT NULL DEFAULT now(),
	id uuid NOT NULL DEFAULT gen_random_uuid(),
	binary_payload bytea,
	PRIMARY KEY (id, inserted_at)
) PARTITION BY RANGE (inserted_at);
ALTER TABLE realtime.messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE realtime.messages OWNER TO supabase_realtime_admin;

-- The service makes one a day; this one lasts as long as a test that begins before midnight.
DO $$
BEGIN
	EXECUTE format('CREATE TABLE realtime.messages_now PARTITION OF realtime.messages FOR VALUES FROM (%L) TO (%L)',
				   current_date - 1, current_date + 2);
END
$$;

CREATE FUNCTION realtime.topic() RETURNS text LANGUAGE sql STABLE
	RETURN nullif(current_setting('realtime.topic', true), '');
ALTER FUNCTION realtime.topic() OWNER TO supabase_realtime_admin;

CREATE FUNCTION realtime.send(payload jsonb, event text, topic text, private boolean DEFAULT true) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	message_id constant uuid = gen_random_uuid();
BEGIN
	PERFORM set_config('realtime.topic', topic, true);
	INSERT INTO realtime.messages (id, payload, event, topic, private, extension)
	VALUES (message_id, CASE WHEN payload ? 'id' THEN payload ELSE payload || jsonb_build_object('id', message_id) END,
			event, topic, private, 'broadcast');
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING 'WarnSendingBroadcastMessage: %', SQLERRM;
END
$$;
ALTER FUNCTION realtime.send(jsonb, text, text, boolean) OWNER TO supabase_realtime_admin;

-- to the roles of the API, where there are any
DO $$
DECLARE
	name text;
BEGIN
	FOR name IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role') LOOP
		EXECUTE format('GRANT USAGE ON SCHEMA realtime TO %I', name);
		EXECUTE format('GRANT SELECT, INSERT, UPDATE ON realtime.messages TO %I', name);
	END LOOP;
END
$$;
