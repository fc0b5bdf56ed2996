#!/usr/bin/env node
// Emulates PostgREST (17 pre-release) for tests, in front of a real PostgreSQL:
// functions of schema public, and GET and PATCH of its tables. Not played: other
// methods of tables, embedding, full-text filters, estimated counts, the root's
// OpenAPI. One listener like the server itself, one like the API gateway in front
// of it. --help lists the options.
//
// POST /_ctl/reload reads the schema again, POST /_ctl/database {"host", "port",
// "database", "user"} goes over to another one.

import { choice, count, endOnRequest, exitWithStdin, flag, host, listenPort, matching, port, readCommandLine, text } from './lib/command-line.mjs'
import { passGateway } from './lib/rest-gateway.mjs'
import { createServer } from './lib/rest-http.mjs'
import { RestServer } from './lib/rest-server.mjs'
import { mintRoleKeys } from './lib/storage-auth.mjs'

const SERVER = 'postgrest/17 (pre-release)'
const word = (name, about, fallback) => text(name, about, undefined, { default: fallback })

const PROGRAM = {
  about: 'Plays PostgREST in front of a PostgreSQL server, and the API gateway in front of that: functions of schema public, GET and PATCH '
    + 'of its tables. Prints one line of JSON when it is ready, with its URL, the URL at the gateway, and keys. POST /_ctl/reload reads '
    + 'the schema again.',
  options: {
    'db-host': text('DIR|HOST', "the server's host, or the directory of its socket", undefined, { required: true }),
    'db-port': port("the server's port", { required: true }),
    'db-name': word('NAME', 'the database', 'postgres'),
    'db-user': word('ROLE', 'the role it logs in as, which may become the others', 'authenticator'),
    port: listenPort('port to listen on'),
    'gateway-port': listenPort('port of the gateway, which wants a key'),
    host: host(),
    gateway: choice(['kong', 'envoy'], 'which gateway to be'),
    'open-route': text('PATH=PATH', 'a path at the gateway that wants no key, and where it leads', matching(/^\/[^=]*=\//, '/path=/path'),
      { multiple: true, default: [] }),
    'jwt-secret': word('SECRET', 'what JWTs are signed with', 'super-secret-jwt-token-with-at-least-32-characters-long'),
    'publishable-key': word('KEY', "a key for the gateway, as anon's", 'sb_publishable_emulatoremulatoremulat_00000000'),
    'anon-role': word('ROLE', 'the role of a call without a JWT', 'anon'),
    'no-anon': flag('refuses calls without a JWT'),
    'jwt-role-claim-key': word('PATH', 'where a JWT names the role', '.role'),
    'jwt-aud': text('NAME', 'the audience that a JWT must be for, if it names one'),
    'pre-request': text('FUNCTION', 'function to call before each request, as public.f'),
    'max-rows': count('N', 'most rows of an answer; 0: no limit', 1000),
    'tx-override': flag('lets a call roll back its transaction: Prefer: tx=rollback'),
    pool: count('N', 'most connections to the server', 10),
    'pool-timeout-ms': count('MS', 'how long a call waits for a connection', 10000),
    'exit-with-stdin': exitWithStdin(),
  },
  example: 'node test/emulator/postgrest.mjs --db-host /var/run/postgresql --db-port 5432 --db-name app --gateway-port 4004',
}

function makeServer(options) {
  return new RestServer({
    database: { host: options['db-host'], port: options['db-port'], database: options['db-name'], user: options['db-user'] },
    jwtSecret: options['jwt-secret'], anonRole: options['no-anon'] ? null : options['anon-role'],
    roleClaimKey: options['jwt-role-claim-key'], audience: options['jwt-aud'], preRequest: options['pre-request'],
    maxRows: options['max-rows'], txOverride: options['tx-override'],
    pool: options.pool, poolTimeoutMs: options['pool-timeout-ms'],
  })
}

const plain = (status, body) => ({ status, reason: '', headers: [['Content-Length', body.length]], body: Buffer.from(body) })

async function control(server, { method, target, body }) {
  try {
    if (method === 'POST' && target === '/_ctl/reload') await server.refresh(true)
    else if (method === 'POST' && target === '/_ctl/database') server.moveTo(JSON.parse(body.toString('utf8')))
    else return plain(404, '')
    return plain(200, '{}')
  } catch (e) {
    return plain(500, e.message)
  }
}

function listen(listener, port, host) {
  return new Promise((resolve, reject) => {
    listener.once('error', reject)
    listener.listen(port, host, () => resolve(listener.address().port))
  })
}

async function main() {
  const options = readCommandLine(PROGRAM)
  endOnRequest(options)

  const server = makeServer(options)
  const keys = mintRoleKeys(options['jwt-secret'])
  const gateway = { kind: options.gateway, keys, publishableKey: options['publishable-key'],
    open: Object.fromEntries(options['open-route'].map((route) => route.split('='))) }
  const direct = createServer((request) => (request.target.startsWith('/_ctl/') ? control(server, request) : server.handle(request)), SERVER)
  const front = createServer((request) => passGateway(request, gateway, (passed) => server.handle(passed)), SERVER)
  const port = await listen(direct, options.port, options.host)
  const gatewayPort = await listen(front, options['gateway-port'], options.host)
  const host = options.host === '0.0.0.0' ? '127.0.0.1' : options.host
  process.stdout.write(`${JSON.stringify({ ready: true, port, gateway_port: gatewayPort, url: `http://${host}:${port}`,
    gateway_url: `http://${host}:${gatewayPort}/rest/v1`, ...keys, publishable_key: options['publishable-key'] })}\n`)
}

await main()
