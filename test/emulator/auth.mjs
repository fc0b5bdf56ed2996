#!/usr/bin/env node
// Emulates Supabase Auth (GoTrue, supabase/auth of August 2026) for tests: what
// auth-js calls to log in by password, magic link or code, to refresh, and to log
// out. Played are confirmed users with an email address; not played are signing up,
// other providers, phones, factors, and rate limits but the one on mails.
//
//   node auth.mjs [--port 0] [--host 127.0.0.1] [--user JSON]…
//     [--jwt-secret S] [--jwt-exp 3600] [--site-url URL] [--external-url URL]
//     [--mail-interval-ms 60000] [--reuse-interval-ms 10000] [--exit-with-stdin]
//
// A user is {"email", "password", "id", "name"}. Prints one JSON line when ready.
// The control API, /_ctl: GET /mails (what was sent, with link and code), GET
// /ledger, POST /user, POST /settings, POST /end-sessions {"email"}.

import { createServer } from 'node:http'
import { parseArgs } from 'node:util'
import { AuthServer } from './lib/auth-server.mjs'
import { AuthError, sendError } from './lib/auth-errors.mjs'

const text = (value) => ({ type: 'string', default: value })

function readOptions() {
  return parseArgs({ options: {
    port: text('0'), host: text('127.0.0.1'), user: { type: 'string', multiple: true, default: [] },
    'jwt-secret': text('super-secret-jwt-token-with-at-least-32-characters-long'), 'jwt-exp': text('3600'),
    'site-url': text('http://localhost:3000'), 'external-url': text(''),
    'mail-interval-ms': text('60000'), 'reuse-interval-ms': text('10000'), 'exit-with-stdin': { type: 'boolean', default: false },
  } }).values
}

async function readJson(request) {
  const bytes = Buffer.concat(await request.toArray())
  if (bytes.length === 0) return {}
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (e) {
    throw new AuthError(400, 'bad_json', `Could not parse request body as JSON: ${e.message}`)
  }
}

function send(response, status, body, headers = {}) {
  if (body === undefined) response.writeHead(status, headers).end()
  else response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}

async function control(server, request, response, path) {
  const body = request.method === 'POST' ? await readJson(request) : {}
  const routes = {
    'GET /mails': () => server.mails,
    'GET /ledger': () => server.ledger,
    'POST /user': () => server.addUser(body).id,
    'POST /settings': () => Object.assign(server.settings, body),
    'POST /end-sessions': () => server.endSessions(body.email),
  }
  const run = routes[`${request.method} ${path}`]
  if (!run) return send(response, 404, { error: 'no such control' })
  return send(response, 200, run() ?? {})
}

function serve(server) {
  return createServer(async (request, response) => {
    const url = new URL(request.url, 'http://auth')
    try {
      if (url.pathname.startsWith('/_ctl/')) return await control(server, request, response, url.pathname.slice('/_ctl'.length))
      const body = ['POST', 'PUT'].includes(request.method) ? await readJson(request) : {}
      const { status, body: answer, headers } = server.handle({ method: request.method, url, body, headers: request.headers })
      return send(response, status, answer, headers)
    } catch (e) {
      return sendError(request, response, e)
    }
  })
}

const options = readOptions()
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0))
if (options['exit-with-stdin']) process.stdin.on('end', () => process.exit(0)).on('error', () => process.exit(0)).resume()

const auth = new AuthServer({
  jwtSecret: options['jwt-secret'], jwtExp: Number(options['jwt-exp']), siteUrl: options['site-url'], externalUrl: options['external-url'],
  mailIntervalMs: Number(options['mail-interval-ms']), reuseIntervalMs: Number(options['reuse-interval-ms']),
})
options.user.forEach((user) => auth.addUser(JSON.parse(user)))
const listener = serve(auth)
listener.listen(Number(options.port), options.host, () => {
  const { port } = listener.address()
  auth.settings.externalUrl ||= `http://${options.host}:${port}`
  console.log(JSON.stringify({ ready: true, port, url: `http://${options.host}:${port}` }))
})
