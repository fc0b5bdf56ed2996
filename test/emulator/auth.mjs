#!/usr/bin/env node
// Emulates Supabase Auth (GoTrue, supabase/auth of August 2026) for tests: what
// auth-js calls to log in by password, magic link or code, to refresh, and to log
// out. Played are confirmed users with an email address; not played are signing up,
// other providers, phones, factors, and rate limits but the one on mails.
// --help lists the options.
//
// The control API, /_ctl: GET /mails (what was sent, with link and code), GET
// /ledger, POST /user, POST /settings, POST /end-sessions {"email"}.

import { createServer } from 'node:http'
import { AuthServer } from './lib/auth-server.mjs'
import { AuthError, sendError } from './lib/auth-errors.mjs'
import { count, endOnRequest, exitWithStdin, host, jsonObject, listenPort, matching, readCommandLine, text } from './lib/command-line.mjs'

const USER_FIELDS = ['email', 'password', 'id', 'name']

function checkUser(user) {
  const unknown = Object.keys(user).find((name) => !USER_FIELDS.includes(name))
  if (unknown !== undefined) throw new Error(`a user has no ${unknown}`)
  if (typeof user.email !== 'string' || user.email === '') throw new Error('a user needs an email')
}

const PROGRAM = {
  about: 'Plays Supabase Auth: what auth-js calls to log in by password, magic link or code, to refresh and to log out. Prints one line of '
    + 'JSON with its URL when it is ready. GET /_ctl/mails shows what it would have sent, with links and codes.',
  options: {
    port: listenPort('port to listen on'),
    host: host(),
    user: text('JSON', 'a user to begin with: an object with email, and perhaps password, id and name', jsonObject(checkUser), { multiple: true, default: [] }),
    'jwt-secret': text('SECRET', 'what JWTs are signed with', undefined, { default: 'super-secret-jwt-token-with-at-least-32-characters-long' }),
    'jwt-exp': count('SECONDS', 'how long a JWT is good', 3600),
    'site-url': text('URL', 'where links in mails lead in the end', matching(/^https?:\/\/.+$/, 'http://host'), { default: 'http://localhost:3000' }),
    'external-url': text('URL', 'where browsers find it; without it where it listens', matching(/^(https?:\/\/.+)?$/, 'http://host'), { default: '' }),
    'mail-interval-ms': count('MS', 'how long it sends no further mail to a user', 60000),
    'reuse-interval-ms': count('MS', 'how long a refresh token may be used once more', 10000),
    'exit-with-stdin': exitWithStdin(),
  },
  example: `node test/emulator/auth.mjs --port 4005 --user '{"email":"ana@example.com","password":"ana"}'`,
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

const options = readCommandLine(PROGRAM)
endOnRequest(options)

const auth = new AuthServer({
  jwtSecret: options['jwt-secret'], jwtExp: options['jwt-exp'], siteUrl: options['site-url'], externalUrl: options['external-url'],
  mailIntervalMs: options['mail-interval-ms'], reuseIntervalMs: options['reuse-interval-ms'],
})
options.user.forEach((user) => auth.addUser(user))
const listener = serve(auth)
listener.listen(options.port, options.host, () => {
  const { port } = listener.address()
  auth.settings.externalUrl ||= `http://${options.host}:${port}`
  console.log(JSON.stringify({ ready: true, port, url: `http://${options.host}:${port}` }))
})
