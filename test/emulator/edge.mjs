#!/usr/bin/env node
// Runs one Edge Function under Node.js, as Supabase's edge runtime would, as far
// as fetch, Request, Response, Deno.serve and Deno.env go.
//
//   node edge.mjs FILE [--port 0] [--env NAME=VALUE]… [--exit-with-stdin]
//
// Prints one JSON line when ready. The function answers under /functions/v1/ too.

import { createServer } from 'node:http'
import { parseArgs } from 'node:util'
import { pathToFileURL } from 'node:url'

const { values: options, positionals: [file] } = parseArgs({ allowPositionals: true, options: {
  port: { type: 'string', default: '0' }, env: { type: 'string', multiple: true, default: [] }, 'exit-with-stdin': { type: 'boolean', default: false } } })
if (options['exit-with-stdin']) process.stdin.on('end', () => process.exit(0)).on('error', () => process.exit(0)).resume()

const env = new Map(options.env.map((text) => /^([^=]*)=(.*)$/s.exec(text).slice(1)))
let handler
globalThis.Deno = { env: { get: (name) => env.get(name) }, serve: (given) => { handler = given } }
await import(pathToFileURL(file))

async function toRequest(incoming) {
  const headers = new Headers()
  for (const [name, value] of Object.entries(incoming.headers)) headers.set(name, String(value))
  const hasBody = incoming.method !== 'GET' && incoming.method !== 'HEAD'
  const body = hasBody ? Buffer.concat(await incoming.toArray()) : undefined
  return new Request(`http://${incoming.headers.host}${incoming.url}`, { method: incoming.method, headers, body })
}

const server = createServer(async (incoming, outgoing) => {
  try {
    const answer = await handler(await toRequest(incoming))
    outgoing.writeHead(answer.status, Object.fromEntries(answer.headers))
    outgoing.end(Buffer.from(await answer.arrayBuffer()))
  } catch (e) {
    console.error(e)
    outgoing.writeHead(500, { 'content-type': 'application/json' }).end('{"code":"WORKER_ERROR","message":"Function exited due to an error"}')
  }
})
server.listen(Number(options.port), '127.0.0.1', () => {
  const { port } = server.address()
  console.log(JSON.stringify({ ready: true, port, url: `http://127.0.0.1:${port}/functions/v1/vibevideo-webhook` }))
})
