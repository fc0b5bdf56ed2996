// The measurements of "make bench" (run.sh calls it): a server and what it
// talks to, one item after the other, a table in the end.
//   BENCH="submit poll"   these items only      BENCH_SCALE=0.1   a tenth of the work
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { BIN, RUNS, SCALE, STATEMENTS, WORK } from './lib/config.mjs';
import { peerVersion, peers, startServer, stopServer } from './lib/postgres.mjs';
import { startFal, startNginx, startSink, stopServers } from './lib/servers.mjs';

const ITEMS = ['submit', 'queue', 'slow', 'poll', 'history', 'look', 'copy', 'webhook', 'wire', 'soak'];

class Report {
  rows = [];

  notes = [];

  plans = [];

  row({ what, ours, peer = '', ratio = '', target, met }) {
    const row = [what, ours, peer, ratio, target, met === null ? '' : met ? 'yes' : '**no**'];
    this.rows.push(row);
    console.log(`  ${row.join(' | ')}`);
  }

  absent(what, why) {
    this.rows.push([what, 'not measured', why, '', '', '']);
    console.log(`  ${what}: not measured, ${why}`);
  }

  note(text) {
    this.notes.push(text);
    console.log(`  ${text}`);
  }

  plan(title, text) {
    this.plans.push({ title, text });
    console.log(`  ${title}:\n${text}`);
  }
}

const first = (command, ...args) => {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).split('\n')[0];
  } catch {
    return 'unknown';
  }
};

function machine() {
  const memory = Number(/MemTotal:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))[1]) / (1 << 20);
  const nginx = execFileSync('sh', ['-c', 'nginx -v 2>&1'], { encoding: 'utf8' }).trim().replace(/^.*: /, '');
  return [
    `${cpus().length} × ${cpus()[0].model.trim()}, ${memory.toFixed(0)} GiB, Linux ${release()}`,
    first(`${BIN}/postgres`, '--version'), first('curl', '--version').split(' (')[0], nginx, `node ${process.version}`,
    `vibevideo ${peerVersion('vibevideo')} at ${process.env.BENCH_COMMIT || 'unknown'}`,
    ...Object.keys(peers).filter((name) => peers[name]).map((name) => `${name === 'http' ? 'pgsql-http' : name} ${peerVersion(name)}`),
  ].join('; ');
}

function load() {
  return readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' ');
}

function markdown(report, before, selected) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [
    '<!-- written by "make bench" -->',
    `Medians (least–most) of ${RUNS} runs, ours and theirs in turns${SCALE === 1 ? '' : `; **short run, BENCH_SCALE=${SCALE}**`}. fsync and synchronous_commit on, all on loopback.`,
    '',
    `Machine: ${machine()}. Load before: ${before}.`,
    `Command: \`make bench${selected.length === ITEMS.length ? '' : ` BENCH="${selected.join(' ')}"`}\`.`,
    '',
    line(['what', 'ours', 'peer', 'ratio', 'target', 'met?']), line(Array(6).fill('---')),
    ...report.rows.map(line), '',
    ...report.notes.map((note) => `- ${note}`), '',
    ...report.plans.flatMap(({ title, text }) => [`${title}:`, '', '```', text, '```', '']),
  ].join('\n');
}

function choose() {
  const wanted = (process.env.BENCH || '').split(/[\s,]+/).filter(Boolean);
  const unknown = wanted.filter((name) => !ITEMS.includes(name));
  if (unknown.length) throw new Error(`no such item: ${unknown.join(', ')}; there are ${ITEMS.join(', ')}`);
  return wanted.length ? ITEMS.filter((name) => wanted.includes(name)) : ITEMS;
}

async function measureAll(selected, report) {
  let failures = 0;
  startServer();
  const fal = await startFal({});
  const world = {
    fal, sink: await startSink(), nginx: await startNginx(fal.port),
    npm: existsSync(fileURLToPath(new URL('node_modules/graphile-worker', import.meta.url))),
  };
  for (const name of selected) {
    const { run, about } = await import(`./items/${name}.mjs`);
    console.log(`\n== ${name}: ${about}`);
    try {
      await run(report, world);
    } catch (error) {
      failures += 1;
      console.log(error.stack);
      report.rows.push([about, `failed: ${error.message.split('\n')[0].replaceAll('|', '/')}`, '', '', '', '**no**']);
    }
  }
  return failures;
}

function stop() {
  stopServers();
  stopServer();
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    stop();
    process.exit(130);
  });
}

const selected = choose();
const report = new Report();
const before = load();
let failures = 1;
try {
  failures = await measureAll(selected, report);
} finally {
  stop();
}
const text = markdown(report, before, selected);
writeFileSync(`${WORK}/results.md`, text);
console.log(`\n${text}`);
if (STATEMENTS) console.log('pg_stat_statements was loaded: these are not the numbers to publish.');
process.exit(failures ? 1 : 0);
