// Real videos, rendered by ffmpeg while the job is IN_PROGRESS.
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, rmSync } from 'node:fs';
import { access, mkdtemp, stat, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { promptOf } from './fal-behaviour.mjs';
import { movieMs } from './fal-media.mjs';
import { logLine } from './fal-views.mjs';

const SECONDS = 3;
const RATE = 25;
const SIZE = '640x360';
const COMMON = `size=${SIZE}:rate=${RATE}:duration=${SECONDS}`;
const COARSE = ['-preset', 'veryfast', '-crf', '26'];
const FINE = ['-preset', 'ultrafast', '-crf', '12']; // keeps the grain, and takes no longer
const LINE_LENGTH = 34;
const MAX_LINES = 6;
const FONT_PATHS = [
  '/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf',
  '/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf',
  '/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf',
];

export class Renderer {
  constructor() {
    this.slots = availableParallelism();
    this.active = 0;
    this.pending = [];
  }

  /** Starts the render of a job: {done, stop, file, size, sha256, ms}. */
  start(job) {
    const render = { process: null, stopped: false, file: null, size: 0, sha256: null, ms: SECONDS * 1000 };
    render.stop = () => {
      render.stopped = true;
      render.process?.kill('SIGKILL');
    };
    job.logs = [];
    render.done = this.#inSlot(() => this.#produce(job, render));
    return render;
  }

  async #inSlot(work) {
    if (this.active >= this.slots) await new Promise((resolve) => this.pending.push(resolve));
    this.active += 1;
    try {
      return await work();
    } finally {
      this.active -= 1;
      this.pending.shift()?.();
    }
  }

  async #produce(job, render) {
    const folder = await this.#folder();
    const name = `${job.id}-${job.attempt}`;
    const textFile = join(folder, `${name}.txt`);
    const file = join(folder, `${name}.mp4`);
    await writeFile(textFile, wrap(promptOf(job.input)));
    this.font ??= findFont();
    const font = await this.font;
    job.logs.push(logLine('Render started'));
    try {
      await runFfmpeg(render, ffmpegArgs(job, file, font && { font, textFile }), job);
    } catch (error) {
      // A build without drawtext or with an unusable font: show the picture alone.
      if (!font || render.stopped) throw error;
      await runFfmpeg(render, ffmpegArgs(job, file, null), job);
    }
    render.size = (await stat(file)).size;
    render.sha256 = await hashFile(file);
    render.file = file;
    job.logs.push(logLine('Render finished'));
  }

  #folder() {
    this.folder ??= mkdtemp(join(tmpdir(), 'fal-emulator-')).then((folder) => {
      process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
      return folder;
    });
    return this.folder;
  }
}

/** A file of the test's own, as if it had been rendered; null if the rule names none. */
export function givenFile(job) {
  const { file } = job.behaviour.media;
  if (!file) return null;
  const bytes = readFileSync(file);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { done: Promise.resolve(), stop() {}, file, size: bytes.length, sha256, ms: movieMs(bytes) };
}

/** Single-threaded and bit-exact, so that a prompt always gives the same file. */
function ffmpegArgs(job, file, text) {
  const seed = createHash('sha256').update(promptOf(job.input)).digest();
  const source = seed[0] % 4 === 0 ? `testsrc2=${COMMON}` : gradientSource(seed);
  const { grain } = job.behaviour.media;
  const filters = [`hue=h=${seed[3]}+40*t`];
  if (grain > 0) filters.push(`noise=c0_seed=${seed[3]}:c0s=${grain}:c0f=t+u`);
  if (text) {
    filters.push(`drawtext=fontfile=${text.font}:textfile=${text.textFile}:expansion=none:fontsize=26:line_spacing=8`
      + ':fontcolor=white:box=1:boxcolor=black@0.55:boxborderw=12:x=(w-text_w)/2:y=(h-text_h)/2');
  }
  return ['-hide_banner', '-loglevel', 'error', '-nostdin', '-y', '-f', 'lavfi', '-i', source,
    '-vf', `${filters.join(',')},format=yuv420p`, '-c:v', 'libx264', ...(grain > 0 ? FINE : COARSE), '-threads', '1',
    '-fflags', '+bitexact', '-flags:v', '+bitexact', '-map_metadata', '-1', '-movflags', '+faststart',
    '-progress', 'pipe:1', file];
}

/** Every colour and point is named: left out, ffmpeg draws them at random. */
function gradientSource(seed) {
  const colours = [0, 1, 2, 3].map((n) => `c${n}=0x${seed.toString('hex', 4 + n * 3, 7 + n * 3)}`).join(':');
  return `gradients=${COMMON}:speed=0.05:seed=${seed.readUInt16BE(1)}:n=4:${colours}:x0=40:y0=30:x1=600:y1=330`;
}

function runFfmpeg(render, args, job) {
  return new Promise((resolve, reject) => {
    if (render.stopped) {
      reject(new Error('stopped'));
      return;
    }
    const child = spawn('ffmpeg', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    render.process = child;
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (text) => logProgress(job, text));
    child.stderr.setEncoding('utf8').on('data', (text) => { errors = (errors + text).slice(-500); });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve() : reject(new Error(errors.trim() || `ffmpeg ended with ${code}`))));
  });
}

function logProgress(job, text) {
  for (const [, frame] of text.matchAll(/^frame=\s*(\d+)/gm)) {
    job.logs.push(logLine(`Rendered frame ${frame} of ${SECONDS * RATE}`));
  }
}

/** Lines short enough for the frame; longer words are cut. */
export function wrap(text) {
  const lines = [''];
  for (const word of text.replace(/\s+/g, ' ').trim().split(' ')) {
    const piece = [...word].slice(0, LINE_LENGTH).join('');
    const line = lines.at(-1);
    if (line === '') lines[lines.length - 1] = piece;
    else if (line.length + piece.length < LINE_LENGTH) lines[lines.length - 1] = `${line} ${piece}`;
    else lines.push(piece);
  }
  if (lines.length > MAX_LINES) lines.splice(MAX_LINES - 1, lines.length, '…');
  return lines.join('\n');
}

async function findFont() {
  const asked = await promisify(execFile)('fc-match', ['-f', '%{file}', 'DejaVu Sans']).then(({ stdout }) => [stdout.trim()], () => []);
  for (const path of [...asked, ...FONT_PATHS]) {
    if (path && await access(path).then(() => true, () => false)) return path;
  }
  return null;
}

async function hashFile(file) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk);
  return hash.digest('hex');
}
