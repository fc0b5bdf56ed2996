// One vibevideo_poll() over ten thousand jobs in progress, all rows written,
// against curl asking the same URLs and writing nothing.
import { writeFileSync } from 'node:fs';
import { FAL_KEY, MODEL, RUNS, WORK, scaled } from '../lib/config.mjs';
import { AS_REPLICATION, addJobs, addRows, settle, withDatabase } from '../lib/postgres.mjs';
import { output, seconds } from '../lib/servers.mjs';
import { median, percent, show, times } from '../lib/stats.mjs';

export const about = 'one poll pass over jobs in progress';

/**
 * Back to state, and due: fal says that all are in progress, so a pass moves them and their rows if it is queued.
 * What replication brings passes the guard of vibevideo.job.
 */
const reset = (state) => `${AS_REPLICATION.begin};
  UPDATE vibevideo.job SET state = '${state}', next_at = now() - interval '1 min', row_dirty = false;
  UPDATE vibelogs SET video_generation_status = '${state}';
  ${AS_REPLICATION.end}`;

async function curl(urls, ca) {
  const file = `${WORK}/tmp/urls`;
  writeFileSync(file, urls.map((url) => `url = "${url}"\noutput = /dev/null\n`).join(''));
  let answers = '';
  const time = await seconds(async () => {
    answers = await output('curl', ['-s', ...(ca ? ['--cacert', ca, '--http2'] : []), '--parallel', '--parallel-max', '64', '-H', `Authorization: Key ${FAL_KEY}`,
      '-w', '%{http_code}\n', '--config', file]);
  });
  return { time, good: answers.split('\n').filter((code) => code === '202').length };
}

async function wrk(url) {
  const text = await output('wrk', ['-t', '1', '-c', '64', '-d', '3s', url]);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(text)[1]);
}

async function pass(session, state) {
  const result = {};
  await session.query(reset(state));
  await settle(session);
  result.seconds = await seconds(async () => { result.counts = (await session.value('SELECT * FROM vibevideo_poll()')).split('\t').map(Number); });
  result.written = Number(await session.value("SELECT count(*) FROM vibelogs WHERE video_generation_status = 'generating'"));
  return result;
}

async function measure(session, urls, ca) {
  return {
    same: await pass(session, 'generating'), moved: await pass(session, 'queued'), curl: await curl(urls, ca), wrk: await wrk(urls[0]),
  };
}

async function against(report, target, how) {
  const count = scaled(10000, 100);
  const settings = {
    ...(target.ca ? { 'vibevideo.ca_file': target.ca } : {}),
    'vibevideo.fal_queue_url': target.url, 'vibevideo.poll_interval': '1h',
    'vibevideo.poll_batch_size': count, 'vibevideo.poll_timeout': '120s',
  };
  await withDatabase('poll', settings, async (session) => {
    await session.query('SELECT * FROM vibevideo_poll()');	// from now on the worker leaves the polling to us
    await addRows(session, 1, count);
    await addJobs(session, 1, count, { state: "'queued'", next_at: "now() + interval '1 h'" });
    await session.query("UPDATE vibelogs v SET video_request_id = j.request_id FROM vibevideo.job j WHERE j.vibelog_id = v.id::text");
    const ids = await session.query('SELECT request_id FROM vibevideo.job');
    const urls = ids.map((id) => `${target.url}/${MODEL.split('/').slice(0, 2).join('/')}/requests/${id}/status`);
    const runs = [];
    for (let n = 0; n < RUNS; n += 1) runs.push(await measure(session, urls, target.ca));
    const theirs = runs.map((r) => count / r.curl.time);
    const limit = runs.map((r) => r.wrk);
    const sum = (of) => runs.reduce((all, r) => all + of(r), 0);
    const compare = (what, of) => {
      const ours = runs.map((r) => count / of(r).seconds);
      report.row({
        what: `one poll pass over ${count.toLocaleString('en-US')} jobs in progress, ${what}${how}, against \`curl --parallel --parallel-max 64\``,
        ours: `${show(ours, '/s')}, ${percent(sum((r) => of(r).counts[0]), count * RUNS)}`,
        peer: `${show(theirs, '/s')}, ${percent(sum((r) => r.curl.good), count * RUNS)}`,
        ratio: times(median(ours) / median(theirs)), target: '> 1 ×, rows written', met: median(ours) > median(theirs),
      });
      return median(ours);
    };
    const ours = compare('none of which has moved (each job is written)', (r) => r.same);
    compare('each of which has moved (each job, an event and the row are written)', (r) => r.moved);
    report.note(`The poll pass${how} wrote ${percent(sum((r) => r.moved.written), count * RUNS)} of the app's rows. The limit on this machine, `
      + `wrk with 64 connections (HTTP/1.1), is ${show(limit, '/s')}: the first pass has ${percent(ours, median(limit))} of it.`);
  });
}

export async function run(report, world) {
  await against(report, world.nginx, '');
  await against(report, world.nginx.tls, ', over TLS and HTTP/2');
}
