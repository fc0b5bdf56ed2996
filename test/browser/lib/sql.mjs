// Statements on a world's server, as its owner.

import { PgSession } from '../../emulator/lib/pg-session.mjs'
import { until } from './wait.mjs'

/** A value in a statement; an object of raw() is SQL itself. */
export function literal(value) {
  if (value === null || value === undefined) return 'NULL'
  if (value instanceof Raw) return value.sql
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value === 'object') return literal(JSON.stringify(value))
  return `'${value.replaceAll("'", "''")}'`
}

class Raw {
  constructor(sql) { this.sql = sql }
}
export const raw = (sql) => new Raw(sql)

export class Database {
  static async open(where) {
    const database = new Database()
    database.session = await PgSession.connect({ user: 'postgres', applicationName: 'browser tests', ...where })
    database.turn = Promise.resolve()
    return database
  }

  /** Rows of texts; one after the other, as a session has it. */
  run(sql) {
    const rows = this.turn.then(() => this.session.simple(sql)).catch((e) => {
      e.message = `${e.message}${e.detail ? ` (${e.detail})` : ''}\n${sql.slice(0, 2000)}`
      throw e
    })
    this.turn = rows.catch(() => {})
    return rows.then((all) => all.map((row) => row.map((value) => value?.toString('utf8') ?? null)))
  }

  async value(sql) {
    return (await this.run(sql))[0]?.[0] ?? null
  }

  /** Rows as objects. */
  async rows(sql) {
    return JSON.parse(await this.value(`SELECT coalesce(json_agg(x), '[]') FROM (${sql}) x`))
  }

  /** Until a query gives t. */
  async until(sql, patienceMs) {
    await until(async () => `${sql}\n${JSON.stringify(await this.rows(NEWEST), null, 1)}`, async () => await this.value(sql) === 't', patienceMs)
  }

  close() {
    this.session.end()
  }
}

const NEWEST = `SELECT job_id, vibelog_id, state, error_code, left(error, 200) AS error, tries, next_at, leased_by, row_error
  FROM vibevideo.job ORDER BY updated_at DESC LIMIT 8`
