// A PostgreSQL server of the workspace's copy, reached by a socket only.

import { execFileSync } from 'node:child_process'
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { Database } from './sql.mjs'

const bindir = () => execFileSync(process.env.PG_CONFIG, ['--bindir'], { encoding: 'utf8' }).trim()
const quoted = (value) => `'${String(value).replaceAll("'", "''")}'`

// Keys of this machine are not ours, and the server may not find them.
const FOREIGN = ['FAL_KEY', 'FAL_ADMIN_KEY', 'FAL_KEY_ID', 'FAL_KEY_SECRET', 'SUPABASE_SERVICE_ROLE_KEY', 'SUPABASE_SECRET_KEY']

export class Server {
  constructor(folder) {
    this.folder = folder
    this.data = `${folder}/data`
    this.bin = bindir()
    this.env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !FOREIGN.includes(name)))
  }

  #ctl(...args) {
    try {
      execFileSync(`${this.bin}/pg_ctl`, ['-D', this.data, '-w', ...args], { stdio: 'ignore', env: this.env })
    } catch (e) {
      throw new Error(`pg_ctl ${args.join(' ')}: ${e.message}\n${this.log()}`)
    }
  }

  async start(settings) {
    execFileSync(`${this.bin}/initdb`, ['-D', this.data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '-N'], { stdio: 'ignore' })
    const all = {
      listen_addresses: '', unix_socket_directories: this.folder, fsync: 'off', shared_preload_libraries: 'vibevideo',
      max_connections: 60, max_worker_processes: 16, timezone: 'UTC', log_timezone: 'UTC', ...settings,
    }
    appendFileSync(`${this.data}/postgresql.conf`, Object.entries(all).map(([name, value]) => `${name} = ${quoted(value)}\n`).join(''))
    this.#ctl('-l', `${this.folder}/server.log`, 'start')
    return this.connect()
  }

  connect() {
    return Database.open({ host: this.folder, port: 5432, database: 'postgres' })
  }

  log() {
    return existsSync(`${this.folder}/server.log`) ? readFileSync(`${this.folder}/server.log`, 'utf8').split('\n').slice(-40).join('\n') : ''
  }

  stop() {
    if (existsSync(`${this.data}/postmaster.pid`)) this.#ctl('-m', 'fast', 'stop')
  }
}
