// Ten thousand rows at once: from the statement that asks for them until all
// are accepted and that is committed.
import { RUNS, scaled } from '../lib/config.mjs';
import { Session, addRows, peers, settle, sleep, until, withDatabase } from '../lib/postgres.mjs';
import { rawPosts, seconds } from '../lib/servers.mjs';
import { median, percent, show, times } from '../lib/stats.mjs';

export const about = 'queued submits until all are accepted';

const OPEN = `SELECT NOT EXISTS (SELECT FROM vibevideo.job WHERE state = 'pending')
  AND NOT EXISTS (SELECT FROM vibevideo.job WHERE state = 'submitting')`;

/** One backlog; gives seconds in all, of them in the caller's statement, and how many were accepted. */
export async function ours(session, count, over = OPEN, every = 10) {
  const result = {};
  await session.query('TRUNCATE vibevideo.job, vibevideo.event, vibelogs');
  await addRows(session, 1, count);
  await settle(session);
  result.seconds = await seconds(async () => {
    result.asking = await seconds(() => session.query(`SELECT count(*) FROM vibevideo_submit_batch(ARRAY(SELECT id FROM vibelogs ORDER BY id))`));
    await until(session, over, { every });
  });
  // the rows of the app follow at once, but they are no part of the promise
  result.good = Number(await session.value("SELECT count(DISTINCT request_id) FROM vibevideo.job WHERE state = 'queued'"));
  return result;
}

async function pgNet(session, url, count) {
  const posted = `SELECT count(net.http_post(url := '${url}', body := '{"prompt": "video"}'::jsonb,
    headers := '{"Content-Type": "application/json", "Authorization": "Key bench:secret"}'::jsonb)) FROM generate_series(1, ${count})`;
  await session.query('TRUNCATE net._http_response');
  const time = await seconds(async () => {
    await session.query(posted);
    await until(session, `SELECT (SELECT count(*) FROM net._http_response) >= ${count}`, { every: 50, seconds: 900 });
  });
  const good = Number(await session.value('SELECT count(*) FROM net._http_response WHERE status_code = 200'));
  return { seconds: time, good };
}

function httpLoop(session, url, count) {
  return seconds(() => session.query(`DO $$ BEGIN FOR i IN 1..${count} LOOP
    PERFORM http_post('${url}', '{"prompt": "video"}', 'application/json'); END LOOP; END $$`));
}

async function rawLoop(target, count) {
  let failed = 0;
  const time = await seconds(async () => { failed = (await rawPosts(target.submitUrl, count, target.ca)).failed; });
  return { time, failed };
}

async function measure(session, net, target, count) {
  const result = { ours: await ours(session, count) };
  if (net) result.net = await pgNet(net, target.submitUrl, count);
  if (peers.http && !target.ca) result.http = await httpLoop(session, target.submitUrl, count);
  result.raw = await rawLoop(target, count);
  return result;
}

function tell(report, runs, count, suffix, net, tls) {
  const rate = (of) => runs.map((r) => count / of(r));
  const mine = rate((r) => r.ours.seconds);
  const success = (of) => percent(runs.reduce((sum, r) => sum + of(r), 0), count * RUNS);
  const left = {
    what: `${count.toLocaleString('en-US')} queued submits until all are accepted, intent and result durable${suffix}`,
    ours: `${show(mine, '/s')}, ${success((r) => r.ours.good)}`,
  };
  const compare = (what, theirs, shown, least, exact) => report.row({
    ...left, what: `${left.what}, against ${what}`, peer: shown, ratio: times(median(mine) / median(theirs)),
    target: `≥ ${least} ×${exact ? ' at 100 %' : ''}`,
    met: median(mine) >= least * median(theirs) && (!exact || runs.every((r) => r.ours.good === count)),
  });
  if (net) {
    const theirs = rate((r) => r.net.seconds);
    compare('pg_net', theirs, `${show(theirs, '/s')}, ${success((r) => r.net.good)}`, 20, true);
  } else if (!tls) report.absent('10,000 posts by pg_net', 'PG_NET_SRC is not set');
  if (peers.http && !tls) {
    const theirs = rate((r) => r.http);
    compare('a loop of pgsql-http (nothing durable)', theirs, show(theirs, '/s'), 1);
  } else if (!tls) report.absent('a loop of pgsql-http', 'PGSQL_HTTP_SRC is not set');
  const theirs = rate((r) => r.raw.time);
  compare(`raw libcurl in a loop over one connection (nothing durable, no database${peers.http ? '' : '; stands for pgsql-http, whose lower bound in time it is'})`,
    theirs, show(theirs, '/s'), 1);
  report.note(`Of the queued submits' time${suffix}, the statement that asks takes ${show(runs.map((r) => r.ours.asking), 's')}, `
    + `from its commit on it is ${show(runs.map((r) => count / (r.ours.seconds - r.ours.asking)), '/s')}.`);
}

async function against(report, target, suffix, net) {
  const count = scaled(10000, 200);
  const settings = { 'vibevideo.fal_queue_url': target.url, 'vibevideo.poll_interval': '1h', ...(target.ca ? { 'vibevideo.ca_file': target.ca } : {}) };
  await withDatabase('queue', settings, async (session) => {
    const runs = [];
    await ours(session, 200);	// the worker is there, and has its plans
    for (let n = 0; n < RUNS; n += 1) runs.push(await measure(session, net, target, count));
    tell(report, runs, count, suffix, net, Boolean(target.ca));
  });
}

export async function run(report, world) {
  const net = peers.pg_net ? new Session('postgres') : null;
  if (net) await net.query('CREATE EXTENSION pg_net');
  await against(report, world.nginx, '', net);
  if (net) {
    await net.query('DROP EXTENSION pg_net CASCADE');
    await net.close();
  }
  // pg_net has no setting for the authority
  await against(report, world.nginx.tls, ', over TLS (a connection each)', null);
  await sleep(100);
}
