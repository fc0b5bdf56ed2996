// Faults the control API arms: which request they hit, and what happens to it.

import { setTimeout as wait } from 'node:timers/promises'
import { errors, receive, reply, replyText, resetConnection } from './storage-http.mjs'

// Same seed, same faults: a failing chaos run can be repeated (mulberry32).
function makeRandom(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

export class FaultPlan {
  constructor(seed) {
    this.random = makeRandom(seed)
    this.armed = []
    this.held = new Set()
  }

  // A connection a fault keeps silent; clearing the faults breaks it.
  hold(socket) {
    this.held.add(socket)
    socket.once('close', () => this.held.delete(socket))
  }

  arm({ on = 'any', times = 1, skip = 0, key, probability, via, fault, ...strangers }) {
    const [stranger] = Object.keys(strangers)
    if (stranger) throw errors.badBody(`unknown field ${stranger}; known are: on, times, skip, key, probability, via, fault`)
    const wanted = typeof fault === 'string' ? { kind: fault } : fault
    if (!KINDS.has(wanted?.kind)) throw errors.badBody(`unknown fault kind ${wanted?.kind}; known are: ${[...KINDS].join(', ')}`)
    this.armed.push({
      on: on.split('|'), left: times < 0 ? Infinity : times, skip, hits: 0,
      key: key && new RegExp(key), probability, via, fault: wanted,
    })
  }

  // The first armed fault that fits takes the request.
  take(op, target, via) {
    const hit = this.armed.find((a) => this.fits(a, op, target, via))
    if (!hit) return undefined
    hit.left -= 1
    hit.hits += 1
    return hit.fault
  }

  fits(a, op, target, via) {
    if (a.left <= 0 || (a.via && a.via !== via)) return false
    if (!a.on.some((name) => name === 'any' || name === op || op.startsWith(`${name}_`))) return false
    if (a.key && !a.key.test(target ?? '')) return false
    if (a.skip > 0) { a.skip -= 1; return false }
    return a.probability === undefined || this.random() < a.probability
  }

  clear() {
    this.armed = []
    for (const socket of this.held) socket.destroy()
  }

  describe() {
    return this.armed.map(({ on, left, hits, skip, fault }) => (
      { on: on.join('|'), left: left === Infinity ? -1 : left, hits, skip, fault }))
  }
}

const nginxPage = (title) => `<html>\r\n<head><title>${title}</title></head>\r\n<body>\r\n` +
  `<center><h1>${title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n`

const PHRASES = { 401: '401 Authorization Required', 413: '413 Request Entity Too Large', 502: '502 Bad Gateway',
  503: '503 Service Temporarily Unavailable', 504: '504 Gateway Time-out' }

function answerAsGateway(ctx, status) {
  return replyText(ctx, status, 'text/html', nginxPage(PHRASES[status] ?? String(status)),
    { server: 'nginx', ...(status === 413 ? { connection: 'close' } : {}) })
}

function answerHttp(ctx, { status, body, headers = {} }) {
  const isText = typeof body === 'string'
  const text = body === undefined ? '' : isText ? body : JSON.stringify(body)
  return replyText(ctx, status, isText ? 'text/plain' : 'application/json; charset=utf-8', text, headers)
}

function answerRedirect(ctx, { location, status = 307 }) {
  // Without a location: the same port by another host name, whose visitors the
  // ledger counts together with the credentials they brought.
  const elsewhere = `http://localhost:${ctx.emu.ports.direct}/_ctl/elsewhere${ctx.path}`
  return reply(ctx, status, { location: location ?? elsewhere, 'content-length': 0 })
}

function answerGarbage(ctx, { body = '<<<not json>>>', status = 200, raw }) {
  if (raw) return ctx.req.socket.end(body)
  return replyText(ctx, status, 'application/json; charset=utf-8', body)
}

// Takes the body and never answers; only the client's patience ends it.
async function hang(ctx) {
  ctx.emu.faults.hold(ctx.req.socket)
  await receive(ctx, () => {})
}

const answers = {
  http: answerHttp,
  gateway: (ctx, { status = 502 }) => answerAsGateway(ctx, status),
  html413: (ctx) => answerAsGateway(ctx, 413),
  ua401: (ctx) => replyText(ctx, 401, 'text/plain; charset=utf-8', 'Unauthorized'),
  redirect: answerRedirect,
  garbage: answerGarbage,
  hang,
}

// Thrown, so that REST, TUS and S3 each render it in their own way.
const failures = {
  slow_down: errors.slowDown,
  db_timeout: errors.dbTimeout,
  internal: errors.internal,
  jwt_expired: () => errors.accessDenied('"exp" claim timestamp check failed'),
}

const adjustments = {
  slow_read: (ctx, { bytes_per_s }) => { ctx.policy.bytesPerSecond = bytes_per_s },
  stall: (ctx, { after_bytes = 0 }) => { ctx.policy.stallAfter = after_bytes },
  reset: (ctx, { after_bytes = 0 }) => { ctx.policy.resetAfter = after_bytes },
  commit_then_drop: (ctx) => { ctx.policy.dropReply = true },
}

const KINDS = new Set([answers, failures, adjustments].flatMap(Object.keys).concat('delay'))

const carriesBody = (req) => Number(req.headers['content-length']) > 0 || req.headers['transfer-encoding'] !== undefined

// True when the fault has dealt with the request; false lets the handler run,
// perhaps under a changed policy.
export async function applyFault(ctx, fault) {
  const { kind } = fault
  if (kind === 'delay') return delay(ctx, fault)
  if (adjustments[kind]) {
    adjustments[kind](ctx, fault)
    return endBodyless(ctx, kind)
  }
  if (fault.when === 'after_body') await receive(ctx, () => {})
  // Token errors of TUS are JSON, others plain text.
  ctx.insideTus = kind !== 'jwt_expired'
  if (failures[kind]) throw failures[kind]()
  await answers[kind](ctx, fault)
  return true
}

async function delay(ctx, { ms, when }) {
  if (when === 'response') ctx.policy.replyDelay = ms
  else await wait(ms)
  return ctx.req.socket.destroyed
}

// A reset or stall "in the body" of a request without one happens at once.
async function endBodyless(ctx, kind) {
  if (carriesBody(ctx.req) || (kind !== 'reset' && kind !== 'stall')) return false
  if (kind === 'reset') resetConnection(ctx)
  else ctx.emu.faults.hold(ctx.req.socket)
  return true
}
