#!/usr/bin/env node
// Emulates Supabase Storage (supabase/storage 1.70.6) for tests and the demo:
// one listener like the server itself, one like the API gateway in front of it.
// --help lists the options. The control API is under /_ctl of the first listener
// (lib/storage-control.mjs).

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { choice, count, endOnRequest, exitWithStdin, flag, host, listenPort, matching, readCommandLine, text } from './lib/command-line.mjs'
import { mintRoleKeys, translateKeys } from './lib/storage-auth.mjs'
import { Ledger, control } from './lib/storage-control.mjs'
import { FaultPlan, applyFault } from './lib/storage-faults.mjs'
import { errors, makeContext, refuseMalformed, reply, replyError, replyJson, replyText, unexpected } from './lib/storage-http.mjs'
import { addBucket, routeRest } from './lib/storage-objects.mjs'
import { routeS3 } from './lib/storage-s3.mjs'
import { Store } from './lib/storage-store.mjs'
import { TusUploads, routeTus } from './lib/storage-tus.mjs'

const PREFIX = '/storage/v1'
const word = (name, about, fallback) => text(name, about, undefined, { default: fallback })
const many = (name, about, read) => text(name, about, read, { multiple: true, default: [] })

const PROGRAM = {
  about: 'Plays Supabase Storage, and the API gateway in front of it: buckets, files, uploads in parts (TUS), S3. Prints one line of JSON '
    + 'when it is ready, with its URL, the URL at the gateway, and keys. POST /_ctl/fault makes it fail, POST /_ctl/reset undoes that, '
    + 'GET /_ctl/ledger tells what it holds and was asked.',
  options: {
    port: listenPort('port to listen on'),
    'gateway-port': listenPort('port of the gateway, where its paths begin with /storage/v1'),
    host: host(),
    bucket: many('SPEC', 'bucket to begin with: name, name:public or name:private, then perhaps :largest file in bytes, and :content types with commas',
      matching(/^[^:]+(:(public|private)(:\d*(:[^:]*)?)?)?$/, 'name:public|private:bytes:type,type')),
    limit: count('BYTES', 'largest file', 52428800),
    dir: text('DIR', 'where the files are kept; without it in a directory that goes with it'),
    discard: flag('keeps only the beginning of each file'),
    'jwt-secret': word('SECRET', 'what JWTs are signed with', 'super-secret-jwt-token-with-at-least-32-characters-long'),
    'service-key': word('KEY', "a key for the gateway, as service_role's", 'sb_secret_emulatoremulatoremulat_00000000'),
    'publishable-key': word('KEY', "a key for the gateway, as anon's", 'sb_publishable_emulatoremulatoremulat_00000000'),
    'rls-allow': many('ROLE', 'role that may do everything, as if policies allowed it'),
    's3-key': text('ID:SECRET', 'key of the S3 protocol', matching(/^[^:]+:.+$/, 'id:secret'), { default: 'emulatorkeyid:emulatorsecret' }),
    's3-region': word('REGION', 'region that S3 requests are signed for', 'local'),
    'tenant-id': word('ID', "the key's id where S3 requests bring a JWT", 'stub'),
    'public-url': text('URL', 'where clients of S3 think it is; without it where their requests go', matching(/^(https?:\/\/.+)?$/, 'http://host'), { default: '' }),
    'tus-location': choice(['own', 'https', 'wrong'], 'URL that it gives for an upload in parts: its own, with another scheme, or one that leads nowhere'),
    'tus-expiry-ms': count('MS', 'how old an upload in parts may get; 0: any age', 0),
    'tus-lock-ms': count('MS', 'how long a request waits for another of the same upload', 3000),
    'tus-chunk-rule': flag('wants parts of exactly 6 MiB, as with S3 behind it'),
    'known-host': many('NAME', 'name of its own, besides the usual ones: a key that arrives at another is counted as lost'),
    seed: count('N', 'where its random numbers begin', 1),
    'exit-with-stdin': exitWithStdin(),
  },
  example: 'node test/emulator/storage.mjs --port 4002 --gateway-port 4003 --bucket videos:public',
}

function parseBucket(spec) {
  const [name, access = 'private', limit, types] = spec.split(':')
  return { name, public: access === 'public', file_size_limit: limit ? Number(limit) : null,
    allowed_mime_types: types ? types.split(',') : null }
}

function makeEmulator(options) {
  const [s3KeyId, s3Secret] = options['s3-key'].split(':')
  const keys = mintRoleKeys(options['jwt-secret'])
  const emu = {
    config: {
      jwtSecret: options['jwt-secret'], serviceKey: options['service-key'], publishableKey: options['publishable-key'],
      serviceJwt: keys.service_jwt, anonJwt: keys.anon_jwt, tenantId: options['tenant-id'], s3KeyId, s3Secret,
      s3Region: options['s3-region'], publicUrl: options['public-url'],
      limit: options.limit, rlsAllow: options['rls-allow'], tusLocation: options['tus-location'],
      tusExpiryMs: options['tus-expiry-ms'], tusLockMs: options['tus-lock-ms'], tusChunkRule: options['tus-chunk-rule'],
    },
    keys,
    knownHosts: new Set([options.host, '127.0.0.1', 'localhost', '[::1]', 'storage', 'kong', ...options['known-host']]),
    store: new Store(options.dir, options.discard),
    faults: new FaultPlan(options.seed),
    ledger: new Ledger(),
    tus: new TusUploads(),
    multiparts: new Map(),
    ports: {},
    resetObjects() {
      emu.tus.clear()
      emu.multiparts.clear()
      emu.store.clear()
      options.bucket.forEach((spec) => addBucket(emu.store, parseBucket(spec)))
    },
  }
  emu.resetObjects()
  return emu
}

// Liveness routes answer without a key (http/routes/health, http/app.ts).
function routeStatus(ctx) {
  if (ctx.method !== 'GET') return undefined
  const fail = replyError
  if (ctx.path === '/status') return { op: 'status', fail, run: () => reply(ctx, 200, { 'content-length': 0 }) }
  if (ctx.path === '/health') return { op: 'health', fail, run: () => replyJson(ctx, 200, { healthy: true }) }
  if (ctx.path === '/version') return { op: 'version', fail, run: () => replyText(ctx, 200, 'text/plain; charset=utf-8', '1.70.6') }
  return undefined
}

function findRoute(ctx) {
  try {
    return routeStatus(ctx) ?? routeTus(ctx) ?? routeS3(ctx) ?? routeRest(ctx)
  } catch (e) {
    // A path that cannot be decoded has no route to render its error.
    const error = e instanceof URIError ? errors.badBody(`'${ctx.path}' is not a valid url component`) : e
    return { op: 'malformed', fail: replyError, run: () => { throw error } }
  }
}

function routeMissing(ctx) {
  return replyJson(ctx, 404, { message: `Route ${ctx.method}:${ctx.req.url} not found`, error: 'Not Found', statusCode: 404 })
}

async function handle(ctx) {
  const { emu } = ctx
  if (ctx.via === 'direct' && ctx.path.startsWith('/_ctl')) return control(ctx)
  emu.ledger.noteHost(ctx)
  if (ctx.via === 'gateway' && !passGateway(ctx)) return replyJson(ctx, 404, { message: 'no Route matched with those values' })
  const route = findRoute(ctx)
  if (!route) return routeMissing(ctx)
  emu.ledger.countRequest(route.op, ctx.sentHeaders ?? ctx.headers)
  const fault = emu.faults.take(route.op, route.target, ctx.via)
  try {
    if (fault && await applyFault(ctx, fault)) return undefined
    return await route.run(ctx)
  } catch (e) {
    return route.fail(ctx, e)
  }
}

// Strips the prefix and exchanges keys; the S3 signature keeps the full path.
function passGateway(ctx) {
  if (!ctx.path.startsWith(`${PREFIX}/`)) return false
  ctx.sentHeaders = { ...ctx.headers }
  ctx.path = ctx.path.slice(PREFIX.length)
  ctx.prefix = PREFIX
  translateKeys(ctx.headers, ctx.emu.config)
  return true
}

function makeServer(emu, via) {
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 61_000 }, (req, res) => {
    handle(makeContext(emu, req, res, via)).catch((e) => {
      unexpected(e)
      req.socket.destroy()
    })
  })
  server.on('connection', () => { emu.ledger.connections += 1 })
  server.on('clientError', refuseMalformed)
  return server
}

function listen(server, port, host) {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => resolve(server.address().port))
  })
}

function announce(emu, options, { direct, gateway }) {
  const host = options.host === '0.0.0.0' ? '127.0.0.1' : options.host
  const line = {
    ready: true, port: direct, gateway_port: gateway,
    url: `http://${host}:${direct}`, gateway_url: `http://${host}:${gateway}${PREFIX}`,
    ...emu.keys, service_key: emu.config.serviceKey, publishable_key: emu.config.publishableKey,
    s3_key: `${emu.config.s3KeyId}:${emu.config.s3Secret}`, tenant_id: emu.config.tenantId,
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

async function main() {
  const options = readCommandLine(PROGRAM)
  const ownDir = options.dir === undefined
  if (ownDir) options.dir = mkdtempSync(join(tmpdir(), 'storage-emulator-'))
  else mkdirSync(options.dir, { recursive: true })
  process.on('exit', () => { if (ownDir) rmSync(options.dir, { recursive: true, force: true }) })
  endOnRequest(options)

  const emu = makeEmulator(options)
  emu.ports.direct = await listen(makeServer(emu, 'direct'), options.port, options.host)
  emu.ports.gateway = await listen(makeServer(emu, 'gateway'), options['gateway-port'], options.host)
  announce(emu, options, emu.ports)
}

await main()
