#!/usr/bin/env node
// A project as a browser sees it: a real server with vibevideo and an app's table,
// and stand-ins for fal.ai, Storage, PostgREST, Auth and the gateway before them, all
// on 127.0.0.1. By hand, in a workspace (test/browser/run.sh makes one):
//
//   node test/browser/world.mjs --serve [--port 0] [--empty] [--history 12000]
//
// keeps it up until Ctrl-C, prints its addresses and logins, and reads pages and the
// component from $BROWSER_WEB (web/ of the tree).

import { mkdirSync, mkdtempSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { signJwt } from '../emulator/lib/storage-auth.mjs'
import { Processes } from './lib/processes.mjs'
import { Server } from './lib/server.mjs'
import { literal } from './lib/sql.mjs'
import { seed } from './seed.mjs'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const TREE = fileURLToPath(new URL('../../', import.meta.url))
const SECRET = 'super-secret-jwt-token-with-at-least-32-characters-long'
const FAL_KEY = 'key-id:key-secret'
export const WEB = resolve(process.env.BROWSER_WEB || `${TREE}/web`)

/** Who can log in; level: in vibevideo.operator. */
export const PEOPLE = {
  operator: { id: '0d000000-0000-4000-8000-000000000001', email: 'olga@example.com', password: 'operator-password', name: 'Olga', level: 'operator',
    see_input: true },
  viewer: { id: '0d000000-0000-4000-8000-000000000002', email: 'viktor@example.com', password: 'viewer-password', name: 'Viktor', level: 'viewer',
    see_input: false },
  customer: { id: '0d000000-0000-4000-8000-000000000003', email: 'clara@example.com', password: 'customer-password', name: 'Clara' },
  other: { id: '0d000000-0000-4000-8000-000000000004', email: 'otto@example.com', password: 'other-password', name: 'Otto' },
}

const ROLES = `
  CREATE ROLE anon NOLOGIN;
  CREATE ROLE authenticated NOLOGIN;
  CREATE ROLE service_role NOLOGIN BYPASSRLS;
  CREATE ROLE authenticator LOGIN NOINHERIT;
  GRANT anon, authenticated, service_role TO authenticator;
  ALTER ROLE anon SET statement_timeout = '3s';
  ALTER ROLE authenticated SET statement_timeout = '8s';
  ALTER ROLE authenticator SET statement_timeout = '8s';
  ALTER ROLE authenticator SET lock_timeout = '8s'`

// owner is a text: anything may stand in it, as anything may stand in a JWT
const APP = `
  CREATE SCHEMA auth;
  CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS
    $$ SELECT nullif(current_setting('request.jwt.claims', true)::jsonb ->> 'sub', '')::uuid $$;
  GRANT USAGE ON SCHEMA auth TO anon, authenticated, service_role;
  CREATE TABLE public.vibelogs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner text NOT NULL DEFAULT auth.uid()::text,
    content text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
  );
  ALTER TABLE public.vibelogs ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON public.vibelogs USING (owner = auth.uid()::text) WITH CHECK (owner = auth.uid()::text);
  GRANT SELECT, INSERT, UPDATE, DELETE ON public.vibelogs TO authenticated, service_role;
  CREATE FUNCTION public.write_vibelog(content text) RETURNS uuid LANGUAGE sql AS
    'INSERT INTO public.vibelogs (content) VALUES (content) RETURNING id';
  CREATE EXTENSION vibevideo;
  SELECT vibevideo.attach('public.vibelogs', prompt_column => 'content', user_column => 'owner')`

const OPERATORS = Object.values(PEOPLE).filter(({ level }) => level)
  .map(({ id, level, see_input: see, name }) => `(${[id, level, see, name].map(literal).join(', ')})`).join(', ')

export class World {
  constructor(folder) {
    this.folder = folder
    this.processes = new Processes(folder)
    this.server = new Server(folder)
    this.people = PEOPLE
    this.falKey = FAL_KEY
  }

  /**
   * fal: behaviour of the stand-in; settings: of vibevideo and the server; port: of
   * the gateway; webhook intervals and the like are those of production unless set.
   */
  static async start({ fal = {}, settings = {}, port = 0 } = {}) {
    mkdirSync(`${process.env.WORK}/worlds`, { recursive: true })
    const world = new World(mkdtempSync(`${process.env.WORK}/worlds/world-`))
    try {
      await world.#start(fal, settings, port)
      return world
    } catch (e) {
      await world.stop()
      throw e
    }
  }

  async #start(behaviour, settings, port) {
    const { processes } = this
    const rest = processes.emulator('postgrest', ['--db-host', this.folder, '--db-port', '5432', '--pool', '20'])
    const fal = processes.emulator('fal', ['--key', FAL_KEY, '--render', 'ffmpeg', '--default', JSON.stringify(behaviour)])
    const storage = processes.emulator('storage', ['--bucket', 'videos:public', '--limit', '1073741824'])
    const users = Object.values(PEOPLE).flatMap(({ id, email, password, name }) => ['--user', JSON.stringify({ id, email, password, name })])
    const auth = processes.emulator('auth', ['--mail-interval-ms', '1000', ...users])
    Object.assign(this, { fal: await fal, storage: await storage, auth: await auth, rest: await rest })
    this.gateway = await processes.emulator('gateway', ['--port', String(port), '--rest', this.rest.gateway_url, '--storage', this.storage.gateway_url,
      '--auth', this.auth.url, '--anon-jwt', this.rest.anon_jwt, '--service-jwt', this.rest.service_jwt, ...this.#files()])
    this.url = this.gateway.url
    this.apikey = this.rest.publishable_key
    await this.auth.control('POST', 'settings', { siteUrl: this.url, externalUrl: `${this.url}/auth/v1` })
    this.db = await this.server.start({ ...this.#settings(), ...settings })
    await this.db.run(ROLES)
    await this.db.run(APP)
    await this.db.run(`INSERT INTO vibevideo.operator (user_id, level, see_input, note) VALUES ${OPERATORS}`)
  }

  /** The page from disk, the component, an app with it, and whatever else is in web/. */
  #files() {
    const folders = { '/dist/': `${WEB}/dist/`, '/web/': `${WEB}/`, '/element/': `${WEB}/element/dist/`, '/node/': `${HERE}/node_modules/`,
      '/pages/': `${HERE}/pages/`, '/': `${HERE}/pages/` }
    return Object.entries(folders).flatMap(([prefix, folder]) => ['--files', `${prefix}=${folder}`])
  }

  #settings() {
    const { fal, storage } = this
    return {
      'vibevideo.fal_queue_url': fal.url, 'vibevideo.fal_api_url': `${fal.url}/v1`, 'vibevideo.fal_key': FAL_KEY, 'vibevideo.media_hosts': fal.url,
      'vibevideo.storage_url': storage.gateway_url, 'vibevideo.storage_key': storage.service_jwt,
      'vibevideo.storage_public_url': `${this.url}/storage/v1`, 'vibevideo.dashboard': 'on', 'vibevideo.poll_interval': '1s',
        'vibevideo.backoff_base': '20ms', 'vibevideo.backoff_max': '1s',
    }
  }

  /** Sets vibevideo.NAME of the whole server, and waits until it is so; null: the file's value. */
  async configure(settings) {
    for (const [name, value] of Object.entries(settings)) {
      await this.db.run(`ALTER SYSTEM ${value === null ? `RESET vibevideo.${name}` : `SET vibevideo.${name} = ${literal(String(value))}`}`)
    }
    await this.db.run('SELECT pg_reload_conf()')
    for (const [name, value] of Object.entries(settings)) {
      if (value !== null) await this.db.until(`SELECT current_setting('vibevideo.${name}') = ${literal(String(value))}`)
    }
    await this.workerTurn()
  }

  /** Until the worker, if there is one, has begun another turn: it reads settings then. */
  async workerTurn() {
    const now = await this.db.value('SELECT clock_timestamp() FROM vibevideo.worker_info() w WHERE w.pid IS NOT NULL')
    if (!now) return
    await this.db.run('SELECT vibevideo.wake()')
    await this.db.until(`SELECT NOT EXISTS (SELECT FROM vibevideo.worker_info() w WHERE w.pid IS NOT NULL AND w.heartbeat_at <= '${now}')`)
  }

  seed(options) {
    return seed(this, options)
  }

  /** A token that Auth has not given, of somebody; claims: other ones. */
  token(person, claims = {}) {
    const iat = Math.floor(Date.now() / 1000)
    return signJwt({ aud: 'authenticated', role: 'authenticated', sub: person.id, email: person.email, iat, exp: iat + 3600, ...claims }, SECRET)
  }

  /** The app's page; asked: what its query says. */
  appUrl(asked = {}) {
    return `${this.url}/?${new URLSearchParams({ apikey: this.apikey, ...asked })}`
  }

  /** Where the page is served by the database. */
  get dashboardUrl() {
    return `${this.url}/rest/v1/rpc/vibevideo_dashboard?apikey=${this.apikey}`
  }

  async stop() {
    this.db?.close()
    this.server.stop()
    await this.processes.stop()
  }
}

// ---------------------------------------------------------------------- by hand

function describe(world) {
  const { url, apikey } = world
  const logins = Object.entries(PEOPLE).map(([who, { email, password }]) => `  ${who.padEnd(9)} ${email.padEnd(20)} ${password}`).join('\n')
  return `
The page, served by the database:
  ${world.dashboardUrl}
The page from disk, as it was built last:
  ${url}/dist/dashboard.html#api=${url}/rest/v1&apikey=${apikey}
An app with the component:
  ${world.appUrl()}
The component in every state:
  ${url}/web/element/dev/
API:                  ${url}/rest/v1, key ${apikey}
Mails with magic links: ${world.auth.url}/_ctl/mails
psql:                 psql -h ${world.folder} -U postgres

Logins:
${logins}
A JWT of the operator, to paste:
  ${world.token(PEOPLE.operator, { exp: Math.floor(Date.now() / 1000) + 86400 })}

Ctrl-C ends it.`
}

async function serve({ port, empty, history }) {
  const world = await World.start({ port: Number(port) })
  const ended = new Promise((resolve_) => { for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, resolve_) })
  try {
    if (!empty) await world.seed({ history: Number(history) })
    console.log(describe(world))
    await ended
  } finally {
    await world.stop()
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({ options: { serve: { type: 'boolean' }, port: { type: 'string', default: '0' },
    empty: { type: 'boolean', default: false }, history: { type: 'string', default: '12000' } } })
  if (!values.serve) throw new Error('usage: world.mjs --serve [--port N] [--empty] [--history N]')
  await serve(values)
}
