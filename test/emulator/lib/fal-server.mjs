// Ties the parts together: one context, one request handler, one listener.
import http from 'node:http';
import http2 from 'node:http2';
import { Rules } from './fal-behaviour.mjs';
import { Billing } from './fal-billing.mjs';
import { serveControl } from './fal-control.mjs';
import { Faults } from './fal-faults.mjs';
import { Connections, originOf, sendJson } from './fal-http.mjs';
import { Jobs } from './fal-jobs.mjs';
import { idFromPath, serveMedia } from './fal-media.mjs';
import { Models, PRICES } from './fal-models.mjs';
import { isPayloads, servePayloads } from './fal-payloads.mjs';
import { serveJwks, serveList } from './fal-platform.mjs';
import { PLATFORM_ROUTES, serveBilling } from './fal-platform-billing.mjs';
import { Prices } from './fal-prices.mjs';
import { operationOf, parsePath, serveQueue } from './fal-queue.mjs';
import { Renderer } from './fal-render.mjs';
import { SigningKeys, Webhooks } from './fal-webhook.mjs';

const OPERATIONS = ['submit', 'status', 'stream', 'result', 'cancel', 'media', 'jwks', 'list', 'erase', 'other',
  ...Object.values(PLATFORM_ROUTES).map(({ op }) => op)];
const NO_QUERY = new URLSearchParams();

class Traffic {
  constructor() {
    this.reset();
  }

  reset() {
    this.requests = Object.fromEntries(OPERATIONS.map((op) => [op, 0]));
    this.inFlight = { ...this.requests, all: 0 };
    this.maxInFlight = { ...this.inFlight };
    this.mediaWithAuthorization = 0;
  }

  /** Counts a request, and as in flight until its response is closed. */
  enter(op, res) {
    const { inFlight, maxInFlight } = this;
    this.requests[op] += 1;
    for (const name of [op, 'all']) {
      inFlight[name] += 1;
      if (inFlight[name] > maxInFlight[name]) maxInFlight[name] = inFlight[name];
      res.on('close', () => { inFlight[name] -= 1; });
    }
  }
}

export function createContext({ keys = [], adminKeys = [], balance = null, userId = 'user-1', render = 'pattern', seed = 1, behaviour = {} }) {
  const rules = new Rules(behaviour);
  const signing = new SigningKeys(seed);
  const webhooks = new Webhooks({ keys: signing, userId });
  const prices = new Prices(PRICES);
  const models = new Models();
  const billing = new Billing({ prices, balance });
  const renderer = render === 'ffmpeg' ? new Renderer() : null;
  const jobs = new Jobs({
    rules,
    render: (job) => renderer?.start(job) ?? null,
    bill: (job) => billing.bill(job),
    onComplete: (job) => { webhooks.deliver(job).catch((error) => console.error('webhook:', error.message)); },
  });
  const context = {
    rules, signing, webhooks, jobs, keys, adminKeys, prices, models, billing, faults: new Faults(seed), connections: new Connections(), traffic: new Traffic(), erasures: new Map(),
  };
  context.reset = () => {
    rules.reset();
    jobs.clear();
    context.erasures.clear();
    webhooks.clear();
    signing.reset();
    context.keys = keys;
    context.adminKeys = adminKeys;
    prices.reset();
    models.reset();
    billing.reset();
    context.faults.seed(seed);
    context.faults.clear();
    context.traffic.reset();
    context.connections.count = 0;
  };
  return context;
}

export function createServer(context, tls) {
  const handle = (req, res) => {
    dispatch(context, req, res).catch((error) => {
      if (!res.headersSent && !res.destroyed) sendJson(res, 500, { detail: `emulator: ${error.message}` });
      else res.destroy();
    });
  };
  const server = tls
    ? http2.createSecureServer({ ...tls, allowHTTP1: true }, handle)
    : http.createServer({ noDelay: true }, handle);
  // Slowness in tests is deliberate; the server must never end a connection itself.
  server.keepAliveTimeout = 75000;
  server.headersTimeout = 0;
  server.requestTimeout = 0;
  server.setTimeout?.(0);
  server.on('connection', (socket) => context.connections.add(socket));
  server.on('sessionError', () => {});
  server.on('tlsClientError', () => {});
  return server;
}

async function dispatch(context, req, res) {
  const at = req.url.indexOf('?');
  const path = at < 0 ? req.url : req.url.slice(0, at);
  const query = at < 0 ? NO_QUERY : new URLSearchParams(req.url.slice(at + 1));
  const exchange = { req, res, path, query, origin: originOf(req) };
  res.on('error', () => {});
  if (path.startsWith('/_ctl')) return serveControl(context, exchange);
  if (path.startsWith('/files/')) return media(context, exchange);
  if (path === '/.well-known/jwks.json') return counted(context, exchange, 'jwks', serveJwks);
  if (path === '/v1/models/requests/by-endpoint') return counted(context, exchange, 'list', serveList);
  if (isPayloads(path)) return counted(context, exchange, 'erase', servePayloads);
  if (Object.hasOwn(PLATFORM_ROUTES, path)) return counted(context, exchange, PLATFORM_ROUTES[path].op, serveBilling);
  const target = parsePath(path, req.method);
  return counted(context, { ...exchange, target }, operationOf(target, req.method), serveQueue);
}

function counted(context, exchange, op, serve) {
  context.traffic.enter(op, exchange.res);
  return serve(context, { ...exchange, op });
}

/** Media is public: a key sent here has leaked, and the ledger says so. */
async function media(context, exchange) {
  const { req, res, path } = exchange;
  context.traffic.enter('media', res);
  if (req.headers.authorization) context.traffic.mediaWithAuthorization += 1;
  req.resume();
  const job = context.jobs.byId.get(idFromPath(path)) ?? null;
  if (job) job.counts.media += 1;
  const about = { requestId: job?.id, endpoint: job?.endpoint, prompt: job?.input?.prompt };
  const fault = context.faults.take('media', about);
  await serveMedia(context, { ...exchange, job, gone: job && context.jobs.isMediaGone(job), fault });
}
