// Keeps the demo's project up, to be looked at: PostgREST, Auth and a gateway before
// its server, the dashboard, and an app's page with the component.
//   PGHOST=… PGPORT=… PGDATABASE=… node keep.mjs LOG_FOLDER STORAGE_GATEWAY
// Says where all is, and ends with SIGTERM.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Processes } from '../browser/lib/processes.mjs';
import { Database, literal } from '../browser/lib/sql.mjs';

const [folder, storage] = process.argv.slice(2);
const { PGHOST: host, PGPORT: port = '5432', PGDATABASE: database } = process.env;
const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const ELEMENT = path('../../web/element/dist/');
const CLIENT = path('../../web/node_modules/@supabase/supabase-js/dist/umd/');
const KEY = 'demo'; // the publishable one, as it is in addresses

const PEOPLE = ['Ana', 'Ben', 'Olga'].map((name, n) => ({
  id: `0d000000-0000-4000-8000-00000000000${n + 1}`, name, email: `${name.toLowerCase()}@example.com`, password: name.toLowerCase(),
}));
const OPERATOR = PEOPLE.find(({ name }) => name === 'Olga');

// What Supabase has, who is who, and that each sees what is theirs.
const PROJECT = `
  CREATE ROLE anon NOLOGIN;
  CREATE ROLE authenticated NOLOGIN;
  CREATE ROLE service_role NOLOGIN BYPASSRLS;
  CREATE ROLE authenticator LOGIN NOINHERIT;
  GRANT anon, authenticated, service_role TO authenticator;
  ALTER ROLE authenticator SET statement_timeout = '8s';

  CREATE TABLE public.people (id uuid PRIMARY KEY, name text NOT NULL UNIQUE);
  ALTER TABLE public.people ENABLE ROW LEVEL SECURITY;
  INSERT INTO public.people VALUES ${PEOPLE.map(({ id, name }) => `(${literal(id)}, ${literal(name)})`).join(', ')};
  CREATE FUNCTION public.my_name() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS
    $$ SELECT p.name FROM public.people p WHERE p.id = nullif(current_setting('request.jwt.claims', true)::jsonb ->> 'sub', '')::uuid $$;

  ALTER TABLE public.vibelogs ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON public.vibelogs USING (author = public.my_name()) WITH CHECK (author = public.my_name());
  GRANT SELECT, UPDATE ON public.vibelogs TO authenticated;
  GRANT INSERT (written_on, author, content) ON public.vibelogs TO authenticated;
  CREATE FUNCTION public.write_vibelog(content text) RETURNS uuid LANGUAGE sql SET search_path = '' AS
    $$ INSERT INTO public.vibelogs (written_on, author, content) VALUES (current_date, public.my_name(), content) RETURNING id $$;

  SELECT vibevideo.grant_api_roles();
  INSERT INTO vibevideo.operator (user_id, see_input, note) VALUES (${literal(OPERATOR.id)}, true, ${literal(OPERATOR.name)});
  UPDATE vibevideo.limit SET submits_per_day = 20 WHERE scope = 'default'`;

async function setUp() {
  const db = await Database.open({ host, port: Number(port), database, applicationName: 'demo' });
  await db.run(PROJECT);
  await db.run('ALTER SYSTEM SET vibevideo.dashboard = on');
  await db.run('SELECT pg_reload_conf()');
  await db.until("SELECT current_setting('vibevideo.dashboard') = 'on'");
  db.close();
}

function files() {
  const folders = { '/element/': ELEMENT, '/client/': CLIENT, '/': path('app/') };
  return Object.entries(folders).flatMap(([prefix, dir]) => ['--files', `${prefix}=${dir}`]);
}

async function start(processes) {
  const users = PEOPLE.flatMap((person) => ['--user', JSON.stringify(person)]);
  const rest = await processes.emulator('postgrest', ['--db-host', host, '--db-port', port, '--db-name', database, '--publishable-key', KEY]);
  const auth = await processes.emulator('auth', users);
  const { url } = await processes.emulator('gateway', ['--rest', rest.gateway_url, '--storage', storage, '--auth', auth.url, '--publishable-key', KEY,
    '--anon-jwt', rest.anon_jwt, '--service-jwt', rest.service_jwt, ...files()]);
  await auth.control('POST', 'settings', { siteUrl: url, externalUrl: `${url}/auth/v1` });
  return url;
}

function tell(url) {
  const login = ({ email, password }) => `${email}, password ${password}`;
  const [ana, ben] = PEOPLE;
  console.log('  the dashboard, for the operator');
  console.log(`    ${url}/rest/v1/rpc/vibevideo_dashboard?apikey=${KEY}`);
  console.log(`    as ${login(OPERATOR)}`);
  if (existsSync(ELEMENT) && existsSync(CLIENT)) {
    console.log('  the app, with the component <vibe-video>; the limit is now 20 a day');
    console.log(`    ${url}/?apikey=${KEY}`);
    console.log(`    as ${login(ana)}, or ${login(ben)}`);
  } else {
    console.log('  no app, since npm could not install what its page is made of');
  }
}

const ended = new Promise((resolve) => { for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, resolve); });
const processes = new Processes(folder);
try {
  await setUp();
  tell(await start(processes));
  await ended;
} finally {
  await processes.stop();
}
