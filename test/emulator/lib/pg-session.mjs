// A session with PostgreSQL, as far as the PostgREST stand-in needs one: the
// wire protocol (PostgreSQL's documentation, chapter 55) without passwords or
// TLS. Results are bytes, errors have their parts, and a session that has died
// shows what it said last.

import net from 'node:net'

const PROTOCOL = 196608 // 3.0
const BY_LETTER = { C: 'code', M: 'message', D: 'detail', H: 'hint' }

/** What the server said of a statement. */
export class SqlError extends Error {
  constructor({ code, message, detail = null, hint = null }) {
    super(message)
    Object.assign(this, { code, detail, hint })
  }
}

/** There is no session, or none any more. */
export class Disconnected extends Error {}

const int32 = (n) => { const b = Buffer.alloc(4); b.writeInt32BE(n); return b }
const int16 = (n) => { const b = Buffer.alloc(2); b.writeInt16BE(n); return b }
const cstring = (text) => Buffer.concat([Buffer.from(text), Buffer.alloc(1)])

function message(letter, ...parts) {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from(letter), int32(body.length + 4), body])
}

// A Buffer goes as it is, in binary, the rest as text; null is null.
function bind(name, values) {
  const format = (v) => int16(Buffer.isBuffer(v) ? 1 : 0)
  const value = (v) => {
    if (v === null || v === undefined) return int32(-1)
    const bytes = Buffer.isBuffer(v) ? v : Buffer.from(v)
    return Buffer.concat([int32(bytes.length), bytes])
  }
  return message('B', cstring(''), cstring(name), int16(values.length), ...values.map(format),
    int16(values.length), ...values.map(value), int16(1), int16(1))
}

function readFields(body) {
  const fields = {}
  for (let at = 0; body[at] !== 0;) {
    const end = body.indexOf(0, at + 1)
    const name = BY_LETTER[String.fromCharCode(body[at])]
    if (name) fields[name] = body.toString('utf8', at + 1, end)
    at = end + 1
  }
  return fields
}

function readRow(body) {
  const row = []
  for (let at = 2; at < body.length;) {
    const length = body.readInt32BE(at)
    at += 4
    row.push(length < 0 ? null : body.subarray(at, at + length))
    if (length > 0) at += length
  }
  return row
}

export class PgSession {
  constructor(socket, onNotify) {
    this.socket = socket
    this.onNotify = onNotify
    this.input = Buffer.alloc(0)
    this.prepared = new Map()
    this.statements = 0
    this.parsed = false // the statement under way
    this.dead = false
    this.error = null // since the last ReadyForQuery
    this.rows = []
    this.waiting = null
    socket.on('data', (bytes) => this.#receive(bytes))
    socket.on('error', () => {})
    socket.on('close', () => this.#die())
  }

  /** host may be the directory of a socket. */
  static async connect({ host, port, user, database, applicationName, onNotify }) {
    const where = host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port }
    const session = new PgSession(net.connect(where), onNotify)
    const options = { user, database, application_name: applicationName, client_encoding: 'UTF8' }
    const body = Buffer.concat([int32(PROTOCOL), ...Object.entries(options).flatMap(([k, v]) => [cstring(k), cstring(v)]), Buffer.alloc(1)])
    await session.#exchange([int32(body.length + 4), body])
    return session
  }

  #receive(bytes) {
    this.input = this.input.length ? Buffer.concat([this.input, bytes]) : bytes
    let at = 0
    while (this.input.length - at >= 5) {
      const length = this.input.readInt32BE(at + 1)
      if (this.input.length - at < length + 1) break
      this.#take(String.fromCharCode(this.input[at]), this.input.subarray(at + 5, at + 1 + length))
      at += length + 1
    }
    this.input = this.input.subarray(at)
  }

  #take(letter, body) {
    switch (letter) {
      case '1': this.parsed = true; break
      case 'D': this.rows.push(readRow(body)); break
      case 'E': this.error ??= new SqlError(readFields(body)); break
      case 'Z': this.#finish(); break
      case 'A': this.onNotify?.(body.toString('utf8', body.indexOf(0, 4) + 1, body.length - 1)); break
      default: // parameters, notices, tags, descriptions
    }
  }

  #finish() {
    const { waiting, error, rows } = this
    Object.assign(this, { waiting: null, error: null, rows: [] })
    if (!waiting) return
    if (error) waiting.reject(error)
    else waiting.resolve(rows)
  }

  #die() {
    this.dead = true
    const { waiting } = this
    this.waiting = null
    waiting?.reject(this.#lastWords())
  }

  // a session that was ended said so; one whose server was killed said nothing
  #lastWords() {
    const { error } = this
    this.error = null
    return error ?? new Disconnected('no connection to the server\n')
  }

  #exchange(parts) {
    if (this.dead) return Promise.reject(this.#lastWords())
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject }
      this.socket.write(Buffer.concat(parts))
    })
  }

  /** One statement or several, without values. */
  simple(sql) {
    return this.#exchange([message('Q', cstring(sql))])
  }

  /** One statement with values $1 …, prepared at its first use; rows of Buffers. */
  async query(sql, values = []) {
    const known = this.prepared.get(sql)
    const name = known ?? `s${this.statements++}`
    const parse = known ? [] : [message('P', cstring(name), cstring(sql), int16(0))]
    this.parsed = false
    try {
      return await this.#exchange([...parse, bind(name, values), message('E', cstring(''), int32(0)), message('S')])
    } finally {
      // it may have been parsed well and still have failed
      if (this.parsed) this.prepared.set(sql, name)
    }
  }

  end() {
    if (!this.dead) this.socket.end(message('X'))
  }
}
