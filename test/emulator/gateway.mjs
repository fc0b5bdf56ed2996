#!/usr/bin/env node
// The one address of a Supabase project before the stand-ins, for browsers: passes
// on what begins with the prefix of a service, and serves files below others. What
// Kong does about CORS and keys, Auth's open routes included, as in kong.yml of
// supabase/supabase (September 2026).
// --help lists the options.
//
// --rest and --storage name the gateway listeners of those two, which take their
// prefixes off themselves. POST /_ctl/fault {"path",
// "times", "status", "delay_ms", "drop", "body"} makes requests whose path matches
// fail or wait; GET /_ctl/ledger lists what was asked; POST /_ctl/reset forgets both.

import http from 'node:http'
import { createReadStream, statSync } from 'node:fs'
import { extname, join, normalize } from 'node:path'
import { endOnRequest, exitWithStdin, listenPort, matching, readCommandLine, text } from './lib/command-line.mjs'
import { translateKeys } from './lib/storage-auth.mjs'

const service = (name) => text('URL', `where ${name} is`, matching(/^http:\/\/[^/]+(\/.*)?$/, 'http://host:port'), { required: true })
const key = (about, fallback) => text('KEY', about, undefined, { default: fallback })

const options = readCommandLine({
  about: 'Plays the API gateway of a Supabase project before the stand-ins, for browsers: one address, CORS, keys, and files. Prints one '
    + 'line of JSON with its URL when it is ready. POST /_ctl/fault makes requests fail or wait, GET /_ctl/ledger tells what was asked.',
  options: {
    rest: service("PostgREST's gateway listener"),
    storage: service("Storage's gateway listener"),
    auth: service('Auth'),
    port: listenPort('port to listen on'),
    'publishable-key': key('the publishable key', 'sb_publishable_emulatoremulatoremulat_00000000'),
    'anon-jwt': key("anon's JWT, which is a key as well", ''),
    'service-jwt': key("service_role's JWT, which is a key as well", ''),
    files: text('PREFIX=DIR', 'serves the files of a folder below a path', matching(/^\/[^=]*=.+$/, '/path=folder'), { multiple: true, default: [] }),
    'exit-with-stdin': exitWithStdin(),
  },
  example: 'node test/emulator/gateway.mjs --rest http://127.0.0.1:4003 --storage http://127.0.0.1:4002 --auth http://127.0.0.1:4005',
})
endOnRequest(options)
const keys = { publishableKey: options['publishable-key'], anonJwt: options['anon-jwt'], serviceJwt: options['service-jwt'] }
const folders = options.files.map((spec) => /^([^=]*)=(.*)$/s.exec(spec).slice(1))
const agent = new http.Agent({ keepAlive: true, maxSockets: 200 })
const MOST_SEEN = 5000
let faults = []
let seen = []

// -- Kong's plugins

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8', '.json': 'application/json', '.map': 'application/json', '.svg': 'image/svg+xml', '.mp4': 'video/mp4',
  '.jpg': 'image/jpeg', '.png': 'image/png', '.woff2': 'font/woff2' }

function sendJson(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(value))
}

function isPreflight({ method, headers }) {
  return method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined
}

/** Kong answers a preflight itself, before anybody asks for a key. */
function answerPreflight(request, response) {
  const asked = request.headers['access-control-request-headers']
  response.writeHead(200, { 'access-control-allow-origin': '*', 'access-control-allow-methods': 'GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT',
    ...(asked ? { 'access-control-allow-headers': asked } : {}), 'content-length': '0' }).end()
}

/** Auth's routes want a key, but for those that links of mails lead to. */
function refusesKey(request, response, url) {
  if (/^\/auth\/v1\/(verify|callback|authorize|\.well-known\/jwks\.json)/.test(url.pathname)) return false
  const key = request.headers.apikey ?? url.searchParams.get('apikey')
  if ([keys.publishableKey, keys.anonJwt, keys.serviceJwt].includes(key)) return false
  sendJson(response, 401, { message: key ? 'Invalid authentication credentials' : 'No API key found in request' })
  return true
}

// -- passing on

function passOn(request, response, target, path, headers) {
  const to = new URL(target)
  const upstream = http.request({ agent, host: to.hostname, port: to.port, method: request.method, path, headers }, (answer) => {
    const all = { ...answer.headers, 'access-control-allow-origin': '*' }
    response.writeHead(answer.statusCode, answer.statusMessage, all)
    answer.pipe(response)
  })
  upstream.on('error', () => {
    if (response.headersSent) response.destroy()
    else sendJson(response, 502, { message: 'An invalid response was received from the upstream server' })
  })
  response.on('close', () => upstream.destroy())
  request.pipe(upstream)
}

function route(request, response, url) {
  const { pathname } = url
  if (isPreflight(request)) return answerPreflight(request, response)
  if (pathname.startsWith('/rest/v1/')) return passOn(request, response, options.rest, request.url, request.headers)
  if (pathname.startsWith('/storage/v1/')) return passOn(request, response, options.storage, request.url, request.headers)
  if (!pathname.startsWith('/auth/v1/')) return sendFile(request, response, pathname)
  if (refusesKey(request, response, url)) return undefined
  const headers = { ...request.headers }
  translateKeys(headers, keys)
  return passOn(request, response, options.auth, request.url.slice('/auth/v1'.length), headers)
}

// -- files

function findFile(pathname) {
  for (const [prefix, folder] of folders) {
    if (!pathname.startsWith(prefix)) continue
    const inside = normalize(decodeURIComponent(pathname.slice(prefix.length)))
    if (inside.startsWith('..')) continue
    for (const file of [join(folder, inside), join(folder, inside, 'index.html')]) {
      const found = statSync(file, { throwIfNoEntry: false })
      if (found?.isFile()) return { file, size: found.size }
    }
  }
  return undefined
}

function sendFile(request, response, pathname) {
  if (pathname === '/favicon.ico') return response.writeHead(204).end()
  const found = findFile(pathname)
  if (!found) return sendJson(response, 404, { message: 'no Route matched with those values' })
  response.writeHead(200, { 'content-type': TYPES[extname(found.file)] ?? 'application/octet-stream', 'content-length': found.size, 'cache-control': 'no-store' })
  if (request.method === 'HEAD') return response.end()
  return createReadStream(found.file).pipe(response)
}

// -- faults and ledger

function takeFault(path) {
  const fault = faults.find((f) => f.times !== 0 && new RegExp(f.path).test(path))
  if (fault?.times > 0) fault.times -= 1
  return fault
}

async function applyFault(fault, request, response) {
  if (fault.delay_ms) await new Promise((resolve) => { setTimeout(resolve, fault.delay_ms) })
  if (fault.drop) request.socket.destroy()
  else if (fault.status) sendJson(response, fault.status, fault.body ?? { message: 'a fault of a test' })
  else return false
  return true
}

async function control(request, response, path) {
  const body = request.method === 'POST' ? Buffer.concat(await request.toArray()).toString('utf8') : ''
  const given = body ? JSON.parse(body) : {}
  if (path === '/_ctl/fault') faults.push({ times: 1, ...given })
  else if (path === '/_ctl/reset') [faults, seen] = [[], []]
  else if (path !== '/_ctl/ledger') return sendJson(response, 404, { message: 'no such control' })
  return sendJson(response, 200, path === '/_ctl/ledger' ? seen : {})
}

const server = http.createServer(async (request, response) => {
  const url = new URL(request.url, 'http://gateway')
  try {
    if (url.pathname.startsWith('/_ctl/')) return await control(request, response, url.pathname)
    if (seen.length < MOST_SEEN) seen.push({ at: Date.now(), method: request.method, path: url.pathname })
    const fault = takeFault(`${request.method} ${request.url}`)
    if (fault && await applyFault(fault, request, response)) return undefined
    return route(request, response, url)
  } catch (e) {
    console.error(e)
    return response.destroy()
  }
})

server.listen(options.port, '127.0.0.1', () => {
  const { port } = server.address()
  console.log(JSON.stringify({ ready: true, port, url: `http://127.0.0.1:${port}` }))
})
