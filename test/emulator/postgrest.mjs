#!/usr/bin/env node
// Emulates PostgREST (17 pre-release) for tests, in front of a real PostgreSQL:
// functions of schema public, and GET and PATCH of its tables. Not played: other
// methods of tables, embedding, full-text filters, estimated counts, the root's
// OpenAPI. One listener like the server itself, one like the API gateway in front
// of it.
//
//   node postgrest.mjs --db-host DIR|HOST --db-port N [--db-name postgres] [--db-user authenticator]
//     [--port 0] [--gateway-port 0] [--host 127.0.0.1] [--gateway kong|envoy] [--open-route PATH=PATH]…
//     [--jwt-secret S] [--anon-role anon | --no-anon] [--jwt-role-claim-key .role] [--jwt-aud A]
//     [--pre-request public.f] [--max-rows N] [--tx-override] [--pool 10] [--pool-timeout-ms 10000]
//     [--exit-with-stdin]
//
// Prints one JSON line when ready. POST /_ctl/reload reads the schema again,
// POST /_ctl/database {"host", "port", "database", "user"} goes over to another one.

import { parseArgs } from 'node:util'
import { passGateway } from './lib/rest-gateway.mjs'
import { createServer } from './lib/rest-http.mjs'
import { RestServer } from './lib/rest-server.mjs'
import { mintRoleKeys } from './lib/storage-auth.mjs'

const SERVER = 'postgrest/17 (pre-release)'
const text = (value) => ({ type: 'string', default: value })
const flag = { type: 'boolean', default: false }

function readOptions() {
  return parseArgs({ options: {
    'db-host': { type: 'string' }, 'db-port': { type: 'string' }, 'db-name': text('postgres'), 'db-user': text('authenticator'),
    port: text('0'), 'gateway-port': text('0'), host: text('127.0.0.1'), gateway: text('kong'),
    'open-route': { type: 'string', multiple: true, default: [] },
    'jwt-secret': text('super-secret-jwt-token-with-at-least-32-characters-long'),
    'publishable-key': text('sb_publishable_emulatoremulatoremulat_00000000'),
    'anon-role': text('anon'), 'no-anon': flag, 'jwt-role-claim-key': text('.role'), 'jwt-aud': { type: 'string' },
    'pre-request': { type: 'string' }, 'max-rows': text('1000'), 'tx-override': flag, pool: text('10'), 'pool-timeout-ms': text('10000'),
    'exit-with-stdin': flag,
  } }).values
}

function makeServer(options) {
  return new RestServer({
    database: { host: options['db-host'], port: Number(options['db-port']), database: options['db-name'], user: options['db-user'] },
    jwtSecret: options['jwt-secret'], anonRole: options['no-anon'] ? null : options['anon-role'],
    roleClaimKey: options['jwt-role-claim-key'], audience: options['jwt-aud'], preRequest: options['pre-request'],
    maxRows: Number(options['max-rows']), txOverride: options['tx-override'],
    pool: Number(options.pool), poolTimeoutMs: Number(options['pool-timeout-ms']),
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
    listener.listen(Number(port), host, () => resolve(listener.address().port))
  })
}

async function main() {
  const options = readOptions()
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0))
  if (options['exit-with-stdin']) process.stdin.on('end', () => process.exit(0)).on('error', () => process.exit(0)).resume()

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
