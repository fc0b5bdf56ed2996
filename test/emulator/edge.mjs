#!/usr/bin/env node
// Runs one Edge Function under Node.js, as Supabase's edge runtime would, as far
// as fetch, Request, Response, Deno.serve and Deno.env go. --help lists the options.

import { createServer } from 'node:http'
import { pathToFileURL } from 'node:url'
import { endOnRequest, exitWithStdin, file, listenPort, matching, readCommandLine, text } from './lib/command-line.mjs'

const options = readCommandLine({
  about: "Runs one Edge Function, as Supabase's edge runtime would, as far as fetch, Request, Response, Deno.serve and Deno.env go. "
    + 'Prints one line of JSON with its URL, which is under /functions/v1/, when it is ready.',
  takes: file('the function, as JavaScript'),
  options: {
    port: listenPort('port to listen on'),
    env: text('NAME=VALUE', 'what Deno.env.get(NAME) returns', matching(/^[^=]+=/, 'NAME=VALUE'), { multiple: true, default: [] }),
    'exit-with-stdin': exitWithStdin(),
  },
  example: 'node test/emulator/edge.mjs function.mjs --env SUPABASE_URL=http://127.0.0.1:4003',
})
endOnRequest(options)

const env = new Map(options.env.map((text) => /^([^=]*)=(.*)$/s.exec(text).slice(1)))
let handler
globalThis.Deno = { env: { get: (name) => env.get(name) }, serve: (given) => { handler = given } }
await import(pathToFileURL(options.operand))

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
server.listen(options.port, '127.0.0.1', () => {
  const { port } = server.address()
  console.log(JSON.stringify({ ready: true, port, url: `http://127.0.0.1:${port}/functions/v1/vibevideo-webhook` }))
})
