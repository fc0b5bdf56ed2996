// Takes every finished video from its public URL, as a browser would, says what it
// is, and makes a poster of it. Wrong is: a row that has neither a video nor, with
// the stand-ins, a reason why nothing was to be paid; other bytes than vibevideo
// copied; not playable; or (with the stand-ins, which keep a ledger) not paid exactly
// once and not stored exactly once.
//   node verify.mjs OUTPUT_FOLDER ROWS [LEDGER STORAGE_EMULATOR]
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder, rowsFile, ledgerFile, storage] = process.argv.slice(2);
const rows = JSON.parse(readFileSync(rowsFile, 'utf8'));
const problems = [];

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** Codec, frame size and duration; ffprobe fetches the URL itself. */
function probe(url) {
  const fields = ['-show_entries', 'stream=codec_name,width,height:format=duration', '-select_streams', 'v:0'];
  const { streams, format } = JSON.parse(execFileSync('ffprobe', ['-v', 'error', ...fields, '-of', 'json', url], { encoding: 'utf8' }));
  if (!streams?.length || !(Number(format.duration) > 0)) throw new Error('no video stream');
  return `${streams[0].codec_name}, ${streams[0].width}x${streams[0].height}, ${Number(format.duration).toFixed(1)} s`;
}

/** A picture from its middle. */
function makePoster(file, poster) {
  execFileSync('ffmpeg', ['-v', 'error', '-nostdin', '-y', '-ss', '1', '-i', file, '-frames:v', '1', '-vf', 'scale=640:-2', poster]);
}

async function verifyRow(row) {
  const response = await fetch(row.url);
  if (!response.ok) throw new Error(`the public URL answers ${response.status}`);
  const bytes = Buffer.from(await response.arrayBuffer());
  const hash = sha256(bytes);
  if (hash !== row.sha256) throw new Error('the stored file is not the one that was copied');
  const file = join(folder, `${row.day}.mp4`);
  writeFileSync(file, bytes);
  makePoster(file, join(folder, `${row.day}.jpg`));
  console.log(`  ${row.day}.mp4  ${String(bytes.length).padStart(8)} bytes, sha256 ${hash.slice(0, 12)}…, ${probe(row.url)}`);
  return hash;
}

/** What left fal must be what is in Storage, all of it, each once. */
async function verifyLedgers(hashes, ledger) {
  const { objects } = await (await fetch(`${storage}/_ctl/ledger`)).json();
  const asked = rows.filter(({ request_id: id }) => id);
  const billed = ledger.jobs.filter((job) => job.billed);
  const list = (values) => [...values].sort().join();
  if (list(ledger.jobs.map((job) => job.request_id)) !== list(asked.map((row) => row.request_id))) problems.push('fal has other requests than the rows show');
  if (list(billed.map((job) => job.media_sha256)) !== list(hashes)) problems.push('other files were paid than the rows show');
  if (list(objects.map((object) => object.sha256)) !== list(hashes)) problems.push('Storage holds other files than the rows show');
}

mkdirSync(folder, { recursive: true });
const ledger = ledgerFile && JSON.parse(readFileSync(ledgerFile, 'utf8'));
const hashes = [];
for (const row of rows) {
  try {
    if (row.status === 'completed' && row.url) hashes.push(await verifyRow(row));
    else if (!ledger || !['failed', 'refused'].includes(row.status)) throw new Error(`${row.status}: ${row.error ?? 'no video_url'}`);
  } catch (error) {
    problems.push(`${row.day}: ${error.message}`);
  }
}
if (hashes.length === 0) problems.push('there are no videos');
if (ledger) await verifyLedgers(hashes, ledger);

for (const problem of problems) console.log(`  WRONG  ${problem}`);
process.exitCode = problems.length ? 1 : 0;
