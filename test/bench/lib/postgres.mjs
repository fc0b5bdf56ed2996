// The throw-away server, its databases and sessions.
import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { BIN, FAL_KEY, SETTINGS, SHARE, STATEMENTS, WORK } from './config.mjs';

const DATA = `${WORK}/data`;

export const peers = {
  pg_net: existsSync(`${SHARE}/extension/pg_net.control`),
  http: existsSync(`${SHARE}/extension/http.control`),
};

export function peerVersion(name) {
  return /default_version = '(.*)'/.exec(readFileSync(`${SHARE}/extension/${name}.control`, 'utf8'))[1];
}

/** What is the same for everybody who is measured: a server that keeps its promises. */
function settings() {
  const libraries = ['vibevideo', ...(peers.pg_net ? ['pg_net'] : []), ...(STATEMENTS ? ['pg_stat_statements'] : [])];
  return `
listen_addresses = ''
unix_socket_directories = '${WORK}'
shared_preload_libraries = '${libraries.join(',')}'
fsync = on
synchronous_commit = on
full_page_writes = on
shared_buffers = '512MB'
max_wal_size = '8GB'
checkpoint_timeout = '30min'
max_connections = 50
max_worker_processes = 16
${STATEMENTS ? "pg_stat_statements.track = 'all'" : ''}
`;
}

export function startServer() {
  execFileSync(`${BIN}/initdb`, ['-D', DATA, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8'], { stdio: 'ignore' });
  appendFileSync(`${DATA}/postgresql.conf`, settings());
  // no database or role may be given keys
  appendFileSync(`${DATA}/postgresql.conf`, `vibevideo.fal_key = '${FAL_KEY}'\nvibevideo.storage_key = 'bench'\n`);
  execFileSync(`${BIN}/pg_ctl`, ['-D', DATA, '-l', `${WORK}/server.log`, '-w', 'start'], { stdio: 'ignore' });
  Object.assign(process.env, { PGHOST: WORK, PGUSER: 'postgres' });
}

export function stopServer() {
  if (existsSync(`${DATA}/postmaster.pid`)) execFileSync(`${BIN}/pg_ctl`, ['-D', DATA, '-m', 'fast', '-w', 'stop'], { stdio: 'ignore' });
}

const literal = (value) => `'${String(value).replaceAll("'", "''")}'`;

/** A psql that stays. query() gives the rows as lines; what was raised below an error is in notices. */
export class Session {
  constructor(database) {
    this.database = database;
    this.psql = spawn(`${BIN}/psql`, ['-XAtq', '-F', '\t', '-d', database], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.out = '';
    this.err = '';
    this.waiting = null;
    this.psql.stdout.setEncoding('utf8').on('data', (text) => { this.out += text; this.#check(); });
    this.psql.stderr.setEncoding('utf8').on('data', (text) => { this.err += text; this.#check(); });
    this.psql.on('exit', () => this.waiting?.reject(new Error(`psql ended: ${this.err}`)));
  }

  #check() {
    if (!this.waiting || !this.out.endsWith('=over=\n') || !this.err.endsWith('=over=\n')) return;
    const { resolve, reject } = this.waiting;
    this.waiting = null;
    this.notices = this.err.slice(0, -7);
    const rows = this.out.slice(0, -7);
    if (/^(psql:.*)?(ERROR|FATAL):/m.test(this.notices)) reject(new Error(this.notices));
    else resolve(rows === '' ? [] : rows.trimEnd().split('\n'));
  }

  query(sql) {
    this.out = '';
    this.err = '';
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      this.psql.stdin.write(`${sql}\n;\n\\echo =over=\n\\warn =over=\n`);
    });
  }

  async value(sql) {
    return (await this.query(sql))[0];
  }

  close() {
    return new Promise((resolve) => {
      this.psql.on('exit', resolve);
      this.psql.stdin.end();
    });
  }
}

export const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Asks until the query says t; each time in a transaction of its own. Throws after so many seconds. */
export async function until(session, sql, { every = 10, seconds = 600 } = {}) {
  const end = Date.now() + seconds * 1000;
  while ((await session.value(sql)) !== 't') {
    if (Date.now() > end) throw new Error(`not so after ${seconds} s: ${sql}`);
    await sleep(every);
  }
}

let root = null;

/** A database with the extension and an app's table of its own; both go when done. */
export async function withDatabase(name, options, use) {
  root ??= new Session('postgres');
  const all = { ...options, ...SETTINGS };
  await root.query(`CREATE DATABASE ${name}`);
  for (const [key, value] of Object.entries(all)) await root.query(`ALTER DATABASE ${name} SET ${key} = ${literal(value)}`);
  const session = new Session(name);
  try {
    await session.query(`
      CREATE EXTENSION vibevideo;
      CREATE TABLE vibelogs (id bigint PRIMARY KEY, prompt text NOT NULL);
      SELECT vibevideo.attach('vibelogs');`);
    if (peers.http) await session.query('CREATE EXTENSION http');
    if (STATEMENTS) await session.query('CREATE EXTENSION pg_stat_statements; SELECT pg_stat_statements_reset();');
    return await use(session);
  } finally {
    if (STATEMENTS) await reportStatements(session, name);
    await session.close();
    await root.query(`DROP DATABASE ${name} WITH (FORCE)`);
  }
}

async function reportStatements(session, name) {
  const rows = await session.query(`
    SELECT calls, round(total_exec_time) AS ms, round((mean_exec_time * 1000)::numeric, 1) AS us, rows,
           shared_blks_hit AS hit, wal_records AS wal, left(regexp_replace(query, '\\s+', ' ', 'g'), 150)
    FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY total_exec_time DESC LIMIT 15`);
  console.log(`statements of ${name}: calls, total ms, mean us, rows, blocks hit, WAL records`);
  rows.forEach((row) => console.log(`  ${row}`));
}

/** Rows of the app, numbered. */
export function addRows(session, from, count) {
  return session.query(`INSERT INTO vibelogs (id, prompt) SELECT n, 'video ' || n FROM generate_series(${from}, ${from + count - 1}) n`);
}

/** Around statements that are to pass the triggers of vibevideo.job, as what replication brings does: not checked, not counted. */
export const AS_REPLICATION = {
  begin: `SET session_replication_role = replica;
    SELECT pg_replication_origin_create('bench') WHERE NOT EXISTS (SELECT FROM pg_replication_origin WHERE roname = 'bench');
    SELECT pg_replication_origin_session_setup('bench')`,
  end: `SELECT pg_replication_origin_session_reset();
    SET session_replication_role = DEFAULT`,
};

/** Jobs in some state as if they had come there by themselves; columns: SQL by name, of n. */
export function addJobs(session, from, count, columns) {
  const all = {
    relation: "'vibelogs'::regclass", vibelog_id: 'n::text', model: "'fal-ai/minimax/video-01'", input: "'{\"prompt\": \"x\"}'",
    request_id: "format('%s-0000-4000-8000-%s', lpad(to_hex(n % 2000000000), 8, '0'), lpad(to_hex(n), 12, '0'))",
    row_dirty: 'false', submitted_at: 'now()', ...columns,
  };
  return session.query(`${AS_REPLICATION.begin};
    INSERT INTO vibevideo.job (${Object.keys(all).join(', ')})
    SELECT ${Object.values(all).join(', ')} FROM generate_series(${from}, ${from + count - 1}) n;
    ${AS_REPLICATION.end}`);
}

/** Between runs: nobody pays for what another left. */
export async function settle(session) {
  await session.query('VACUUM (ANALYZE) vibevideo.job, vibevideo.event, vibelogs');
  await session.query('CHECKPOINT');
}

/** One that was ended comes back later each time. */
export async function workerPid(session) {
  for (let tries = 0; tries < 3000; tries += 1) {
    const pid = await session.value(`SELECT pid FROM pg_stat_activity
      WHERE backend_type = 'vibevideo worker' AND datname = current_database()`);
    if (pid) return Number(pid);
    await session.query('SELECT vibevideo.wake()');
    await sleep(20);
  }
  throw new Error('no worker came');
}

/** Kilobytes of a process: private (anonymous) now, resident now, most resident ever. */
export function memory(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)[1]);
  return { anonymous: field('RssAnon'), resident: field('VmRSS'), peak: field('VmHWM') };
}

export function forgetPeak(pid) {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

/** The latencies, in milliseconds, of a script that pgbench runs n times in one session, each a transaction. */
export function pgbench(database, script, n) {
  const file = `${WORK}/tmp/script.sql`;
  const log = `${WORK}/tmp/pgbench`;
  writeFileSync(file, script);
  return new Promise((resolve, reject) => {
    const child = spawn(`${BIN}/pgbench`, ['-n', '-M', 'prepared', '-c', '1', '-t', String(n), '-f', file, '-l', `--log-prefix=${log}`, database],
      { stdio: ['ignore', 'ignore', 'pipe'] });
    let err = '';
    child.stderr.on('data', (text) => { err += text; });
    child.on('exit', (status) => {
      if (status !== 0) return reject(new Error(`pgbench: ${err}`));
      const name = `${log}.${child.pid}`;
      return resolve(readFileSync(name, 'utf8').trim().split('\n').map((line) => Number(line.split(' ')[2]) / 1000));
    });
  });
}
