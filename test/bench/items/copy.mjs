// Copies: one large file, many small ones, and what they take of memory.
import { fileURLToPath } from 'node:url';
import { RUNS, scaled } from '../lib/config.mjs';
import { addJobs, addRows, forgetPeak, memory, until, withDatabase, workerPid } from '../lib/postgres.mjs';
import { makeMedia, output, seconds } from '../lib/servers.mjs';
import { median, percent, show, times } from '../lib/stats.mjs';

export const about = 'copies from media host to Storage';

const MB = 1 << 20;
const STORAGE_JS = fileURLToPath(new URL('../storage-js.mjs', import.meta.url));

/** Jobs that want copying; gives seconds until all are completed, and the most private memory seen. */
async function copies(session, count, media) {
  await session.query('TRUNCATE vibevideo.job, vibevideo.event, vibelogs');
  await addRows(session, 1, count);
  const pid = await workerPid(session);
  const before = memory(pid).anonymous;
  let most = before;
  const watch = setInterval(() => { most = Math.max(most, memory(pid).anonymous); }, 20);
  const time = await seconds(async () => {
    await addJobs(session, 1, count, { state: "'processing'", media_url: `'${media}'`, media_type: "'video/mp4'", generated_at: 'now()' });
    await session.query('SELECT vibevideo.wake()');
    await until(session, "SELECT NOT EXISTS (SELECT FROM vibevideo.job WHERE state = 'processing')", { every: 5 });
  });
  clearInterval(watch);
  const [good, wrong] = (await session.value(`SELECT count(*) FILTER (WHERE state = 'completed'), max(error) FROM vibevideo.job`)).split('\t');
  if (wrong) throw new Error(wrong);
  return { time, grew: most - before, good: Number(good), pid };
}

const pipe = (world, media) => `curl -sf ${media} | curl -sf -o /dev/null -T - ${world.sink.url}/object/videos/x.mp4`;

async function large(report, world, session) {
  const bytes = scaled(1024 * MB, 20 * MB);
  const media = `${world.nginx.url}/media/large.mp4`;
  makeMedia('large.mp4', bytes);
  const runs = [];
  await output('sh', ['-c', pipe(world, media)]);	// the file is in the page cache
  for (let n = 0; n < RUNS; n += 1) {
    runs.push({
      ours: await copies(session, 1, media),
      pipe: await seconds(() => output('sh', ['-c', pipe(world, media)])),
      node: world.npm && await seconds(() => output('node', [STORAGE_JS, media, world.sink.url])),
    });
  }
  const speed = (of) => runs.map((r) => bytes / MB / of(r));
  const ours = speed((r) => r.ours.time);
  const compare = (name, theirs) => report.row({
    what: `copy of ${(bytes / MB).toLocaleString('en-US')} MiB (SHA-256 taken), against ${name}`,
    ours: `${show(ours, 'MiB/s')}, ${percent(runs.reduce((sum, r) => sum + r.ours.good, 0), RUNS)}`, peer: show(theirs, 'MiB/s'),
    ratio: times(median(ours) / median(theirs)), target: '≥ 0.9 ×', met: median(ours) >= 0.9 * median(theirs),
  });
  compare('`curl src \\| curl -T - dst` (no hash)', speed((r) => r.pipe));
  if (world.npm) compare('node\'s fetch to storage-js (no hash)', speed((r) => r.node));
  else report.absent('node\'s fetch to storage-js', 'npm could not install it');
  const grew = runs.map((r) => r.ours.grew / 1024);
  report.row({ what: 'the worker\'s growth meanwhile (private memory)', ours: show(grew, 'MiB'), target: '≤ 32 MiB', met: Math.max(...grew) <= 32 });
}

async function many(report, world, session) {
  const count = scaled(100, 8);
  const media = `${world.nginx.url}/media/small.mp4`;
  makeMedia('small.mp4', 5 * MB);
  const pipes = `seq ${count} | xargs -P 8 -I NTH sh -c '${pipe(world, media)}'`;
  const runs = [];
  for (let n = 0; n < RUNS; n += 1) runs.push({ ours: await copies(session, count, media), pipe: await seconds(() => output('sh', ['-c', pipes])) });
  const rate = (of) => runs.map((r) => count / of(r));
  const [ours, theirs] = [rate((r) => r.ours.time), rate((r) => r.pipe)];
  report.row({
    what: `${count} copies of 5 MiB at once, against curl pipes, 8 at a time`,
    ours: `${show(ours, '/s')}, ${percent(runs.reduce((sum, r) => sum + r.ours.good, 0), count * RUNS)}`, peer: show(theirs, '/s'),
    ratio: times(median(ours) / median(theirs)), target: '≥ 1.5 ×', met: median(ours) >= 1.5 * median(theirs),
  });
}

/** Resident memory counts the shared buffers a process has touched; a new worker has touched few. */
async function peak(report, world, session) {
  const bytes = scaled(300 * MB, 10 * MB);
  makeMedia('medium.mp4', bytes);
  const peaks = [];
  const anonymous = [];
  for (let n = 0; n < RUNS; n += 1) {
    const old = await workerPid(session);
    await session.query(`SELECT pg_terminate_backend(${old}, 5000)`);
    const pid = await workerPid(session);
    forgetPeak(pid);
    await copies(session, 1, `${world.nginx.url}/media/medium.mp4`);
    peaks.push(memory(pid).peak / 1024);
    anonymous.push(memory(pid).anonymous / 1024);
  }
  report.row({ what: `the worker's peak memory (VmHWM) while it copies ${Math.round(bytes / MB)} MiB`, ours: show(peaks, 'MiB'), target: 'bounded', met: null });
  report.note(`Of the worker's peak, ${show(anonymous, 'MiB')} are private; the rest are shared buffers and program text.`);
}

export async function run(report, world) {
  const settings = {
    'vibevideo.storage_url': world.sink.url, 'vibevideo.media_hosts': world.nginx.url,
    'vibevideo.max_video_size': '2GB', 'vibevideo.fal_queue_url': world.nginx.url,
  };
  await withDatabase('copy', settings, async (session) => {
    await copies(session, 8, `${world.nginx.url}/media/${(makeMedia('tiny.mp4', 100000), 'tiny.mp4')}`);	// worker and plans are there
    await large(report, world, session);
    await many(report, world, session);
    await peak(report, world, session);
  });
}
