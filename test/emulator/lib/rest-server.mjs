// One request from its bytes to its answer, and the sessions it runs in.

import { PgSession, Disconnected, SqlError } from './pg-session.mjs'
import { allowAnswer, goodAnswer, isPreflight, preflightAnswer, withCors } from './rest-answer.mjs'
import { authenticate } from './rest-auth.mjs'
import { ApiError, Unreadable, apiErrorAnswer, disconnectedAnswer, silentAnswer, sqlErrorAnswer, unreadable } from './rest-errors.mjs'
import { negotiate } from './rest-media.mjs'
import { applyRange, identifier, parsePairs, parseQuery } from './rest-query.mjs'
import { cookiesText, headersText, parsePath, parsePreferences, parseProfile, readBody } from './rest-request.mjs'
import { findFunction, loadSchema } from './rest-schema.mjs'
import { functionStatement, tableStatement } from './rest-statement.mjs'

const APPLICATION = 'PostgREST 17 (pre-release)'
const ISOLATION = 'default_transaction_isolation'

/** A connection of the pool was dead, and nobody had said why. */
class Silent extends Error {}

/** Keeps sessions, dead ones too: only their next use finds that out. */
class Pool {
  constructor(connect, { size, timeoutMs }) {
    Object.assign(this, { connect, size, timeoutMs, idle: [], used: 0, queue: [] })
  }

  async take() {
    if (this.used >= this.size) await this.#wait()
    this.used += 1
    try {
      return this.idle.pop() ?? await this.connect()
    } catch (e) {
      this.#free()
      throw new Disconnected('no connection to the server\n', { cause: e })
    }
  }

  #wait() {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.queue = this.queue.filter((next) => next !== go)
        reject(new ApiError(504, 'PGRST003', 'Timed out acquiring connection from connection pool.'))
      }, this.timeoutMs)
      const go = () => { clearTimeout(timer); resolve() }
      this.queue.push(go)
    })
  }

  #free() {
    this.used -= 1
    this.queue.shift()?.()
  }

  give(session, broken) {
    if (!broken) this.idle.push(session)
    this.#free()
  }

  clear() {
    for (const session of this.idle.splice(0)) session.end()
  }
}

export class RestServer {
  constructor(config) {
    this.config = config
    this.schema = null
    this.stale = true
    this.pool = new Pool(() => this.#connect(), { size: config.pool, timeoutMs: config.poolTimeoutMs })
  }

  #connect(onNotify) {
    return PgSession.connect({ ...this.config.database, applicationName: APPLICATION, onNotify })
  }

  /** Another database, or the same one elsewhere. */
  moveTo(database) {
    Object.assign(this.config.database, database)
    this.listener?.end()
    this.listener = null
    this.stale = true
    this.pool.clear()
  }

  // -- the schema cache

  async #listen() {
    this.listener = await this.#connect((payload) => { if (['', 'reload schema', 'reload config'].includes(payload)) this.stale = true })
    await this.listener.simple('LISTEN pgrst')
    this.stale = true
  }

  /**
   * Reads it again if that has been asked for. The real server lags a little
   * behind a NOTIFY: here no test has to wait for it.
   */
  async refresh(force = false) {
    try {
      if (!this.listener || this.listener.dead) await this.#listen()
      // what was notified before this has arrived with it
      await this.listener.simple('SELECT 1')
      if (!this.stale && !force) return
      const { schema } = this
      this.stale = false
      this.schema = await loadSchema(this.listener)
      // prepared statements may know types that are gone
      if (JSON.stringify(schema?.functions) !== JSON.stringify(this.schema.functions)) this.pool.clear()
    } catch (e) {
      this.stale = true
      if (!this.schema) throw new ApiError(503, 'PGRST002', 'Could not query the database for the schema cache. Retrying.', { details: e.message })
    }
  }

  // -- a request

  async handle(request) {
    if (isPreflight(request)) return preflightAnswer(request)
    return withCors(await this.#answer(request), request)
  }

  async #answer(request) {
    let caller
    try {
      caller = authenticate(request.header('authorization'), this.config)
      // one at a time, as notifications come in order
      this.refreshing = (this.refreshing ?? Promise.resolve()).catch(() => {}).then(() => this.refresh())
      await this.refreshing
      return await this.#run(request, caller)
    } catch (e) {
      if (e instanceof ApiError) return apiErrorAnswer(e)
      if (e instanceof SqlError) return sqlErrorAnswer(e, caller.role !== this.config.anonRole)
      if (e instanceof Silent) return silentAnswer()
      if (e instanceof Disconnected) return disconnectedAnswer(e)
      if (!(e instanceof Unreadable)) console.error(e)
      return unreadable()
    }
  }

  async #run(request, caller) {
    const [, path, search = ''] = /^([^?]*)\??(.*)$/s.exec(request.target)
    const what = parsePath(path)
    const scope = { request, caller, path, pairs: parsePairs(search), search, profile: parseProfile(request), prefer: parsePreferences(request) }
    return what.rpc === undefined ? this.#runTable(scope, what.table) : this.#runFunction(scope, what.rpc)
  }

  #runFunction(scope, name) {
    const { request: { method }, request } = scope
    if (!['GET', 'HEAD', 'POST', 'OPTIONS'].includes(method)) throw new ApiError(405, 'PGRST101', `Cannot use the ${method} method on RPC`)
    const query = parseQuery(scope.pairs, method !== 'POST')
    const payload = method === 'POST' ? readBody(request) : undefined
    if (payload && query.columns) payload.names = query.columns
    const names = payload?.names ?? [...new Set(query.arguments.map(([argument]) => argument))]
    const { fn, body: asBody } = findFunction(this.schema, name, names, payload?.kind ?? 'none')
    if (method === 'OPTIONS') return allowAnswer(fn.volatile ? 'OPTIONS,POST' : 'OPTIONS,GET,HEAD,POST')
    if (method !== 'POST') applyRange(query, request.header('range'))
    this.#limitRows(query, fn.set)
    const media = negotiate(request.header('accept'), fn.media)
    this.#checkMaxAffected(scope.prefer, fn)
    const call = { fn, asBody, payload, pairs: payload ? undefined : query.arguments }
    const statement = functionStatement(call, { query, media, count: scope.prefer.count === 'exact', head: method === 'HEAD' })
    return this.#perform(scope, statement, {
      query, media, settings: fn.settings, readOnly: method !== 'POST' || !fn.volatile,
      usual: fn.void ? 204 : 200, silent: fn.void })
  }

  #runTable(scope, table) {
    const { request: { method }, request, prefer, search } = scope
    if (!this.schema.tables.has(table)) {
      throw new ApiError(404, 'PGRST205', `Could not find the table 'public.${table}' in the schema cache`)
    }
    if (!['GET', 'HEAD', 'PATCH'].includes(method)) throw new ApiError(501, 'STANDIN', `${method} of a table is not played by this stand-in`)
    const query = parseQuery(scope.pairs, false)
    const changes = method === 'PATCH' ? readBody(request) : undefined
    if (!changes) applyRange(query, request.header('range'))
    this.#limitRows(query, !changes)
    const media = negotiate(request.header('accept'), null)
    const statement = tableStatement(table, changes, { query, media, count: prefer.count === 'exact', head: method === 'HEAD' })
    const minimal = changes !== undefined && prefer.return !== 'representation'
    return this.#perform(scope, statement, {
      query, media, settings: {}, readOnly: !changes, usual: minimal ? 204 : 200, silent: minimal,
      location: changes ? undefined : `/${table}${search ? `?${search.replaceAll(',', '%2C')}` : ''}`,
      applied: changes && prefer.return ? [`return=${prefer.return}`] : [] })
  }

  #limitRows(query, many) {
    const { maxRows } = this.config
    if (many && maxRows) query.limit = Math.min(query.limit ?? Infinity, maxRows)
  }

  #checkMaxAffected(prefer, fn) {
    if (prefer.strict && prefer['max-affected'] !== undefined && !fn.set) {
      throw new ApiError(400, 'PGRST128', 'Function must return SETOF or TABLE when max-affected preference is used with handling=strict')
    }
  }

  // -- in the database

  async #perform(scope, statement, how) {
    const { prefer, request } = scope
    const rollback = prefer.tx === 'rollback' && this.config.txOverride
    const applied = [
      ...(how.applied ?? []),
      ...(prefer.count === 'exact' ? ['count=exact'] : []),
      ...(prefer.tx && this.config.txOverride ? [`tx=${prefer.tx}`] : []),
      ...(prefer.handling ? [`handling=${prefer.handling}`] : []),
      ...(prefer.strict && prefer['max-affected'] !== undefined ? [`max-affected=${prefer['max-affected']}`] : []),
    ]
    const result = await this.#transaction(scope, how, rollback, async (session, zone) => {
      if (zone) applied.push(`timezone=${zone}`)
      const [row = [null, Buffer.from('0'), Buffer.alloc(0), null, null]] = await session.query(statement.sql, statement.values)
      const [total, rows, body, headers, status] = row.map((value, i) => (i === 2 ? value : value?.toString('utf8') ?? null))
      const found = { total: total === null ? null : Number(total), rows: Number(rows), body: body ?? Buffer.alloc(0), headers, status }
      this.#checkRows(found, how.media, prefer)
      return found
    })
    return goodAnswer(result, { ...how, type: how.media.type, applied, profile: scope.profile, head: request.method === 'HEAD' })
  }

  #checkRows({ rows }, media, prefer) {
    if (media.form === 'object' && rows !== 1) {
      throw new ApiError(406, 'PGRST116', 'Cannot coerce the result to a single JSON object', { details: `The result contains ${rows} rows` })
    }
    if (prefer.strict && rows > Number(prefer['max-affected'])) {
      throw new ApiError(400, 'PGRST124', 'Query result exceeds max-affected preference constraint', { details: `The query affects ${rows} rows` })
    }
  }

  async #transaction(scope, how, rollback, work) {
    const session = await this.pool.take()
    const role = this.schema.roleSettings.get(scope.caller.role) ?? []
    const level = how.settings[ISOLATION] ?? Object.fromEntries(role)[ISOLATION] ?? 'read committed'
    let began = false
    try {
      await session.simple(`BEGIN ISOLATION LEVEL ${level} ${how.readOnly ? 'READ ONLY' : 'READ WRITE'}`)
      began = true
      const zone = await this.#prepare(session, scope, how, role)
      const result = await work(session, zone)
      await session.simple(rollback ? 'ROLLBACK' : 'COMMIT')
      return result
    } catch (e) {
      if (!began) throw e instanceof Disconnected ? new Silent() : e
      // of a session that is gone, this says so
      await session.simple('ROLLBACK')
      throw e
    } finally {
      this.pool.give(session, session.dead)
    }
  }

  /** Sets what the function sees; returns the time zone, if one is preferred. */
  async #prepare(session, { caller, request, path, prefer }, how, roleSettings) {
    const zone = prefer.timezone && (prefer.strict || (await session.query('SELECT 1::text FROM pg_timezone_names WHERE name = $1', [prefer.timezone])).length)
      ? prefer.timezone : undefined
    const settings = [
      ['search_path', '"public", "public", "extensions"'],
      ['role', caller.role],
      ['request.jwt.claims', caller.claims],
      ['request.method', request.method],
      ['request.path', path],
      ['request.headers', headersText(request)],
      ['request.cookies', cookiesText(request)],
      ...(zone ? [['timezone', zone]] : []),
      // in this order: the function's time limit counts, not the role's
      ...[...roleSettings, ...Object.entries(how.settings)].filter(([name]) => name !== ISOLATION),
    ]
    await session.query(`SELECT ${settings.map((_, i) => `set_config($${2 * i + 1}, $${2 * i + 2}, true)`).join(', ')}`, settings.flat())
    if (this.config.preRequest) await session.query(`SELECT ${this.config.preRequest.split('.').map(identifier).join('.')}()::text`)
    return zone
  }
}
