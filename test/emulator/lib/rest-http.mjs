// HTTP/1.1 by hand: an answer goes out byte by byte as the stand-in means it,
// bad reason phrases and line breaks in headers included, which node:http would
// refuse to send. The limits are those of Warp, PostgREST's server.

import net from 'node:net'

const MAX_HEAD = 50 * 1024
const END_OF_HEAD = Buffer.from('\r\n\r\n')
const CRLF = Buffer.from('\r\n')
// bytes stand for themselves until they are known to be UTF-8
const latin1 = (text) => Buffer.from(text, 'latin1')
const utf8 = (text) => Buffer.from(text, 'utf8')

class Closed extends Error {}
class BadRequest extends Error {}

/** Reads a socket in pieces of a known end. */
class Reader {
  constructor(socket) {
    this.socket = socket
    this.input = Buffer.alloc(0)
    this.chunks = socket[Symbol.asyncIterator]()
  }

  async #more() {
    const { value, done } = await this.chunks.next().catch(() => ({ done: true }))
    if (done) throw new Closed()
    this.input = Buffer.concat([this.input, value])
  }

  async until(mark, most) {
    for (let from = 0; ;) {
      const at = this.input.indexOf(mark, from)
      if (at > most || (at < 0 && this.input.length > most)) throw new BadRequest()
      if (at >= 0) return this.#cut(at, at + mark.length)
      from = Math.max(0, this.input.length - mark.length + 1)
      await this.#more()
    }
  }

  async exactly(length) {
    while (this.input.length < length) await this.#more()
    return this.#cut(length, length)
  }

  #cut(end, next) {
    const piece = this.input.subarray(0, end)
    this.input = this.input.subarray(next)
    return piece
  }
}

function parseHead(bytes) {
  const [line, ...lines] = bytes.toString('latin1').split('\r\n')
  const [, method, target, minor] = /^([!-~]+) ([!-~\x80-\xff]+) HTTP\/1\.([01])$/.exec(line) ?? []
  if (!method) throw new BadRequest()
  const headers = lines.map((text) => {
    const [, name, value] = /^([^:\s]+):[ \t]*(.*?)[ \t]*$/s.exec(text) ?? []
    if (!name) throw new BadRequest()
    return [name.toLowerCase(), value]
  })
  return { method, target, minor: Number(minor), headers, header: (name) => headers.find(([n]) => n === name)?.[1] }
}

async function readChunked(reader) {
  const chunks = []
  for (;;) {
    const size = parseInt((await reader.until(CRLF, 1024)).toString('latin1'), 16)
    if (Number.isNaN(size)) throw new BadRequest()
    if (size === 0) break
    chunks.push(await reader.exactly(size))
    await reader.exactly(2)
  }
  while ((await reader.until(CRLF, MAX_HEAD)).length) { /* trailers */ }
  return Buffer.concat(chunks)
}

/** Null if there is none. */
async function readBody(reader, request, socket) {
  const chunked = /chunked/i.test(request.header('transfer-encoding') ?? '')
  const length = request.header('content-length')
  if (!chunked && length === undefined) return null
  if (/100-continue/i.test(request.header('expect') ?? '')) socket.write('HTTP/1.1 100 Continue\r\n\r\n')
  return chunked ? readChunked(reader) : reader.exactly(Number(length))
}

/** One that says when it was written, as the server does; names and values are UTF-8. */
function encodeAnswer(answer, { method }, server) {
  const { status, reason = '', headers, body, chunked = false } = answer
  const own = (name) => headers.some(([n]) => n.toLowerCase() === name)
  const all = [
    ...(chunked ? [['Transfer-Encoding', 'chunked']] : []),
    ['Date', new Date().toUTCString()],
    ...(own('server') ? [] : [['Server', server]]),
    ...headers,
  ]
  const head = utf8(`HTTP/1.1 ${status} ${reason}\r\n${all.map(([n, v]) => `${n}: ${v}\r\n`).join('')}\r\n`)
  if (method === 'HEAD' || !body) return chunked && method !== 'HEAD' ? Buffer.concat([head, utf8('0\r\n\r\n')]) : head
  if (!chunked) return Buffer.concat([head, body])
  return Buffer.concat([head, utf8(`${body.length.toString(16)}\r\n`), body, utf8('\r\n0\r\n\r\n')])
}

function wantsToClose(request) {
  const connection = request.header('connection') ?? ''
  return request.minor === 0 ? !/keep-alive/i.test(connection) : /close/i.test(connection)
}

async function serveConnection(socket, handle, server) {
  const reader = new Reader(socket)
  for (;;) {
    const request = parseHead(await reader.until(END_OF_HEAD, MAX_HEAD))
    request.body = await readBody(reader, request, socket)
    const answer = await handle(request)
    socket.write(encodeAnswer(answer, request, server))
    if (wantsToClose(request)) return
  }
}

const REFUSAL = latin1('HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nBad Request')

/** handle(request) gives { status, reason, headers: [[name, value]…], body: Buffer, chunked }. */
export function createServer(handle, server) {
  return net.createServer({ noDelay: true }, async (socket) => {
    socket.on('error', () => {})
    try {
      await serveConnection(socket, handle, server)
    } catch (e) {
      if (e instanceof BadRequest) socket.write(REFUSAL)
      else if (!(e instanceof Closed)) console.error(e)
    }
    socket.end()
  })
}
