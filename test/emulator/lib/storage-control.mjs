// What tests observe and control: the ledger, and the control API under /_ctl.

import { addBucket, alterBucket, sendBytes } from './storage-objects.mjs'
import { StorageError, errors, readJson, replyError, replyJson } from './storage-http.mjs'

export class Ledger {
  constructor() {
    this.reset()
  }

  reset() {
    this.uploads = { started: 0, finished: 0, aborted: 0, bytes: 0 }
    this.requests = {}
    this.signedFor = {}
    this.connections = 0
    this.inFlight = this.inFlight ?? 0
    this.maxInFlight = this.inFlight
    this.auth = { authorization: 0, apikey: 0 }
    this.elsewhere = { requests: 0, with_credentials: 0 }
    this.foreignHosts = 0
  }

  countRequest(op, headers) {
    this.requests[op] = (this.requests[op] ?? 0) + 1
    if (headers.authorization !== undefined) this.auth.authorization += 1
    if (headers.apikey !== undefined) this.auth.apikey += 1
  }

  startUpload() {
    this.uploads.started += 1
    this.inFlight += 1
    this.maxInFlight = Math.max(this.maxInFlight, this.inFlight)
  }

  endUpload(result) {
    this.inFlight -= 1
    this.uploads.bytes += result?.received ?? 0
    this.uploads[result?.outcome === 'complete' ? 'finished' : 'aborted'] += 1
  }

  // A redirect must not carry a key to another host: requests that reached the
  // elsewhere route, or this port by a host name that is not its own.
  noteHost(ctx) {
    const { headers, emu } = ctx
    const credentials = headers.authorization !== undefined || headers.apikey !== undefined
    if (credentials && !emu.knownHosts.has((headers.host ?? '').replace(/:\d+$/, ''))) this.foreignHosts += 1
    return credentials
  }

  noteElsewhere(credentials) {
    this.elsewhere.requests += 1
    if (credentials) this.elsewhere.with_credentials += 1
  }
}

function describeLedger(emu) {
  const { ledger, store } = emu
  return {
    objects: store.describe(),
    uploads: ledger.uploads,
    requests: ledger.requests,
    signed_for: ledger.signedFor,
    connections: ledger.connections,
    in_flight_uploads: ledger.inFlight,
    max_in_flight_uploads: ledger.maxInFlight,
    auth: ledger.auth,
    saw_other_host_credentials: ledger.elsewhere.with_credentials + ledger.foreignHosts,
    elsewhere: ledger.elsewhere,
    tus: emu.tus.describe(),
  }
}

const CONFIG_NAMES = { limit: 'limit', rls_allow: 'rlsAllow', tus_location: 'tusLocation', tus_expiry_ms: 'tusExpiryMs',
  tus_chunk_rule: 'tusChunkRule', tus_lock_ms: 'tusLockMs', s3_region: 's3Region', public_url: 'publicUrl' }

async function configure(ctx) {
  for (const [name, value] of Object.entries(await readJson(ctx))) {
    if (!CONFIG_NAMES[name]) throw errors.badBody(`unknown setting ${name}`)
    ctx.emu.config[CONFIG_NAMES[name]] = value
  }
  return replyJson(ctx, 200, {})
}

async function armFaults(ctx) {
  const body = await readJson(ctx)
  for (const spec of [body].flat()) ctx.emu.faults.arm(spec)
  return replyJson(ctx, 200, { faults: ctx.emu.faults.describe() })
}

async function reset(ctx) {
  const { only } = await readJson(ctx)
  const { emu } = ctx
  if (!only || only === 'faults') emu.faults.clear()
  if (!only || only === 'ledger') emu.ledger.reset()
  if (!only || only === 'objects') emu.resetObjects()
  return replyJson(ctx, 200, {})
}

async function putBucket(ctx) {
  const body = await readJson(ctx)
  const existing = ctx.emu.store.buckets.get(body.id ?? body.name)
  if (existing) alterBucket(existing, body)
  else addBucket(ctx.emu.store, body)
  const { objects, ...row } = ctx.emu.store.bucket(body.id ?? body.name)
  return replyJson(ctx, 200, row)
}

async function sendObject(ctx) {
  const object = ctx.emu.store.get(ctx.query.get('bucket'), ctx.query.get('key'))
  const headers = { 'content-type': 'application/octet-stream', 'content-length': object.size, 'x-sha256': object.sha256 }
  return sendBytes(ctx, 200, headers, object, 0, object.size - 1)
}

const ROUTES = {
  'POST /_ctl/fault': armFaults,
  'GET /_ctl/fault': (ctx) => replyJson(ctx, 200, { faults: ctx.emu.faults.describe() }),
  'POST /_ctl/reset': reset,
  'POST /_ctl/bucket': putBucket,
  'POST /_ctl/config': configure,
  'GET /_ctl/ledger': (ctx) => replyJson(ctx, 200, describeLedger(ctx.emu)),
  'GET /_ctl/object': sendObject,
}

export async function control(ctx) {
  if (ctx.path.startsWith('/_ctl/elsewhere')) {
    ctx.emu.ledger.noteElsewhere(ctx.emu.ledger.noteHost(ctx))
    return replyJson(ctx, 200, { elsewhere: true })
  }
  const run = ROUTES[`${ctx.method} ${ctx.path}`]
  try {
    if (!run) throw new StorageError(404, 'Not Found', 'NotFound', `no control ${ctx.method} ${ctx.path}`, 404)
    return await run(ctx)
  } catch (e) {
    return replyError(ctx, e)
  }
}
