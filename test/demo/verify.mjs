// Takes every finished video from its public URL, as a browser would, and says
// what it is. Wrong is: not completed, other bytes than vibevideo copied, not
// playable, or (with the emulators, which keep a ledger) not paid exactly once
// and not stored exactly once.
//   psql … | node verify.mjs OUTPUT_FOLDER [FAL_EMULATOR STORAGE_EMULATOR]
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder, fal, storage] = process.argv.slice(2);
const rows = JSON.parse(readFileSync(0, 'utf8'));
const problems = [];

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const getJson = async (url) => (await fetch(url)).json();

/** Codec, frame size and duration; ffprobe fetches the URL itself. */
function probe(url) {
  const fields = ['-show_entries', 'stream=codec_name,width,height:format=duration', '-select_streams', 'v:0'];
  const { streams, format } = JSON.parse(execFileSync('ffprobe', ['-v', 'error', ...fields, '-of', 'json', url], { encoding: 'utf8' }));
  if (!streams?.length || !(Number(format.duration) > 0)) throw new Error('no video stream');
  return `${streams[0].codec_name}, ${streams[0].width}x${streams[0].height}, ${Number(format.duration).toFixed(1)} s`;
}

async function verifyRow(row) {
  if (row.status !== 'completed' || !row.url) throw new Error(`${row.status}: ${row.error ?? 'no video_url'}`);
  const response = await fetch(row.url);
  if (!response.ok) throw new Error(`the public URL answers ${response.status}`);
  const bytes = Buffer.from(await response.arrayBuffer());
  const hash = sha256(bytes);
  if (hash !== row.sha256) throw new Error('the stored file is not the one that was copied');
  const file = join(folder, `${row.day}.mp4`);
  writeFileSync(file, bytes);
  console.log(`  ${row.day}  ${String(bytes.length).padStart(9)} bytes  sha256 ${hash.slice(0, 16)}…  ${probe(row.url)}`);
  return hash;
}

/** What left fal must be what is in Storage, all of it, each once. */
async function verifyLedgers(hashes) {
  const [{ accepted, jobs }, { objects }] = await Promise.all([getJson(`${fal}/_ctl/ledger`), getJson(`${storage}/_ctl/ledger`)]);
  const list = (values) => [...values].sort().join();
  if (accepted !== rows.length) problems.push(`fal accepted ${accepted} jobs for ${rows.length} rows`);
  if (!jobs.every((job) => job.billed)) problems.push('a job was not billed');
  if (list(jobs.map((job) => job.media_sha256)) !== list(hashes)) problems.push('fal made other files than the rows show');
  if (list(objects.map((object) => object.sha256)) !== list(hashes)) problems.push('Storage holds other files than the rows show');
  console.log(`\n  fal: ${accepted} jobs accepted, ${jobs.filter((job) => job.billed).length} billed. Storage: ${objects.length} objects.`);
}

mkdirSync(folder, { recursive: true });
const hashes = [];
for (const row of rows) {
  try {
    hashes.push(await verifyRow(row));
  } catch (error) {
    problems.push(`${row.day}: ${error.message}`);
  }
}
if (rows.length === 0) problems.push('there are no rows');
if (fal) await verifyLedgers(hashes);

for (const problem of problems) console.log(`  WRONG  ${problem}`);
process.exitCode = problems.length ? 1 : 0;
