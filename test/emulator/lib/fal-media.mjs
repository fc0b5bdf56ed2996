// Output files: pseudo-random bytes generated while they are sent (never held as a
// whole), or a file rendered by ffmpeg. Public, ranges allowed, no key needed.
import { createCipheriv, createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { applyBefore, sendGateway } from './fal-faults.mjs';
import { breakOff, sendJson, sendText, sleep, writeChunk } from './fal-http.mjs';

// A prime length: pieces swapped or repeated at any round size (6 MiB upload
// chunks for one) then change the hash, which a power of two would hide.
const BLOCK = 1048573;
const CHUNK = 262144;
const FTYP = 32;
const MOOV = 116;
const MDAT = 16;

let twice = null;

/** The random block, doubled so that any chunk is one slice without a copy. */
function block() {
  if (!twice) {
    const cipher = createCipheriv('aes-256-ctr', Buffer.alloc(32, 7), Buffer.alloc(16, 9));
    const once = cipher.update(Buffer.alloc(BLOCK));
    twice = Buffer.concat([once, once]);
  }
  return twice;
}

/**
 * The boxes around the random bytes, which are in mdat: ftyp, and a moov
 * that has only a movie header, before or after them.
 */
function mp4Frame({ bytes: total, duration_ms: ms, movie_last: movieLast }) {
  const head = Buffer.alloc(FTYP + (movieLast ? 0 : MOOV) + MDAT);
  const tail = Buffer.alloc(movieLast ? MOOV : 0);
  const mdat = head.length - MDAT;
  head.writeUInt32BE(32, 0);
  head.write('ftypisom', 4, 'latin1');
  head.writeUInt32BE(0x200, 12);
  head.write('isomiso2avc1mp41', 16, 'latin1');
  if (movieLast) writeMovie(tail, 0, ms);
  else writeMovie(head, FTYP, ms);
  head.writeUInt32BE(1, mdat); // size 1: the 64-bit size follows the type
  head.write('mdat', mdat + 4, 'latin1');
  head.writeBigUInt64BE(BigInt(Math.max(MDAT, total - mdat - tail.length)), mdat + 8);
  return { head, tail };
}

function writeMovie(head, at, ms) {
  head.writeUInt32BE(MOOV, at);
  head.write('moov', at + 4, 'latin1');
  head.writeUInt32BE(MOOV - 8, at + 8);
  head.write('mvhd', at + 12, 'latin1');
  head.writeUInt32BE(1000, at + 28); // timescale
  head.writeUInt32BE(ms, at + 32);
}

function offsetOf(id) {
  return createHash('sha256').update(id).digest().readUInt32BE(0) % BLOCK;
}

/** Bytes [from, to) of the file of a job, piece by piece. */
function* patternChunks({ id, behaviour: { media } }, from = 0, to = media.bytes) {
  const shift = offsetOf(id);
  const source = block();
  const { head, tail } = mp4Frame(media);
  const end = Math.max(head.length, media.bytes - tail.length);
  let at = from;
  if (at < head.length && at < to) {
    yield head.subarray(at, Math.min(head.length, to));
    at = Math.min(head.length, to);
  }
  while (at < to && at < end) {
    const length = Math.min(CHUNK, to - at, end - at);
    const start = (shift + at) % BLOCK;
    yield source.subarray(start, start + length);
    at += length;
  }
  if (at < to) yield tail.subarray(at - end, to - end);
}

export function patternBytes(job) {
  return Buffer.concat([...patternChunks(job)]);
}

/** SHA-256 of the whole file, hashed once; yields so others are served too. */
export function mediaHash(job) {
  job.hash ??= job.render ? Promise.resolve(job.render.sha256) : hashPattern(job);
  return job.hash;
}

async function hashPattern(job) {
  const hash = createHash('sha256');
  let pieces = 0;
  for (const chunk of patternChunks(job)) {
    hash.update(chunk);
    pieces += 1;
    if (pieces % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return hash.digest('hex');
}

/** How long the film of a job is, by its own account. */
export function filmMs(job) {
  return job.render?.ms ?? job.behaviour.media.duration_ms;
}

/** Of a file's bytes; undefined if they have no movie header (ISO/IEC 14496-12, mvhd). */
export function movieMs(bytes) {
  const at = bytes.indexOf('mvhd', 0, 'latin1') + 4;
  if (at < 4 || at + 28 > bytes.length) return undefined;
  const long = bytes[at] === 1;
  const scale = bytes.readUInt32BE(at + (long ? 20 : 12));
  const duration = long ? Number(bytes.readBigUInt64BE(at + 24)) : bytes.readUInt32BE(at + 16);
  return scale > 0 ? Math.round((duration * 1000) / scale) : undefined;
}

export function mediaSize(job) {
  return job.render?.size ?? job.behaviour.media.bytes;
}

export function mediaUrl(job, origin) {
  const { media } = job.behaviour;
  if (media.url) return media.url;
  return `${media.base ?? origin}${mediaPath(job)}`;
}

/** Looks like v3b.fal.media: /files/b/<8 hex>/<id>_output.mp4. */
function mediaPath(job) {
  return `/files/b/${job.id.slice(-8)}/${job.id}_output.mp4`;
}

export function idFromPath(path) {
  return /^\/files\/b\/[0-9a-f]{8}\/([0-9a-f-]{36})_output\.mp4$/.exec(path)?.[1] ?? null;
}

export async function serveMedia(context, { req, res, query, origin, job, gone, fault }) {
  if (req.method !== 'GET' && req.method !== 'HEAD') {
    sendJson(res, 405, { detail: 'Method Not Allowed' }, { allow: 'GET, HEAD' });
    return;
  }
  const plan = fault?.kind === 'delay' && fault.then ? fault.then : fault;
  if (fault && await applyBefore(fault, { req, res, connections: context.connections })) return;
  if (plan?.kind === 'gateway_after') sendGateway(res, plan.status);
  else if (plan?.kind === 'hang_after') return;
  else if (!job || gone || (query.has('encoded') && query.get('letters') !== query.get('encoded'))) sendText(res, 404, 'application/xml', '<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>');
  else if (job.behaviour.media.redirect && !query.has('direct')) redirect(res, job, origin);
  else await sendFile(context, { req, res, job, fault: plan });
}

/** ?direct=1 serves the file itself, so a redirect may lead back to it; encoded=, if given, is what letters= has to arrive as. */
function redirect(res, job, origin) {
  const location = job.behaviour.media.redirect.replaceAll('{{media_url}}', `${origin}${mediaPath(job)}?direct=1`);
  sendText(res, 302, 'text/plain', '', { location });
}

async function sendFile(context, { req, res, job, fault }) {
  if (fault && replaceBody(res, fault)) return;
  const total = mediaSize(job);
  const range = wantedRange(req, job, fault, total);
  if (range === 'unsatisfiable') {
    sendText(res, 416, 'text/plain', '', { 'content-range': `bytes */${total}` });
    return;
  }
  const [from, to] = range ?? [0, total];
  const headers = fileHeaders(req, job, fault, to - from);
  if (range) {
    headers['content-range'] = fault?.kind === 'wrong_range' ? `bytes ${from - 1}-${to - 2}/${total}` : `bytes ${from}-${to - 1}/${total}`;
    job.counts.media_ranges += 1;
    job.rangeStarts.push(from);
  }
  res.writeHead(range ? 206 : 200, headers);
  if (req.method === 'HEAD') res.end();
  else await sendBytes(context, { req, res, job, fault, from, to });
}

/** If the condition fails, the whole file is sent (RFC 9110 13.1.5). */
function wantedRange(req, job, fault, total) {
  const condition = req.headers['if-range'];
  if (fault?.kind === 'no_range' || (condition !== undefined && condition !== etagOf(job, fault))) return null;
  return parseRange(req.headers.range, total);
}

function etagOf(job, fault) {
  return fault?.kind === 'etag' ? fault.value : `"${job.id}"`;
}

function fileHeaders(req, job, fault, length) {
  const headers = {
    'content-type': typeOf(job, fault),
    'accept-ranges': 'bytes',
    'cache-control': 'public, max-age=31536000',
    'access-control-allow-origin': '*',
    etag: etagOf(job, fault),
  };
  if (fault?.kind !== 'no_length') headers['content-length'] = length + (fault?.kind === 'lie_length' ? fault.delta : 0);
  if (fault?.kind === 'lie_length' && req.httpVersionMajor < 2) headers.connection = 'close';
  return headers;
}

function typeOf(job, fault) {
  if (fault?.kind === 'content_type') return fault.value;
  return fault?.kind === 'wrong_type' ? 'text/plain' : job.behaviour.media.content_type;
}

/** Faults that answer with something other than the file. */
function replaceBody(res, fault) {
  switch (fault.kind) {
    case 'http':
      sendText(res, fault.status ?? 500, 'text/plain', String(fault.body ?? ''), fault.headers);
      return true;
    case 'body':
      sendText(res, 200, fault.content_type ?? 'video/mp4', fault.text);
      return true;
    case 'html200':
      sendText(res, 200, 'text/html', fault.text ?? '<html><body>not a video</body></html>');
      return true;
    case 'garbage':
      sendText(res, 200, 'video/mp4', 'this is not a video file at all');
      return true;
    case 'empty':
      sendText(res, 200, 'video/mp4', '');
      return true;
    default:
      return false;
  }
}

async function sendBytes(context, { req, res, job, fault, from, to }) {
  const stopAt = stopPoint(fault, from, to);
  const rate = fault?.bytes_per_s ?? (fault?.kind === 'slow' ? 10000 : 0);
  if (rate) {
    if (await sendSlowly(res, job, from, stopAt, rate) && fault.kind !== 'stall') res.end();
    return;
  }
  if (job.render && stopAt === to) {
    await pipeline(createReadStream(job.render.file, { start: from, end: to - 1 }), res).catch(() => {});
    return;
  }
  let alone = fault?.alone ?? 0; // this many bytes come a while before the others
  for await (const chunk of chunksOf(job, from, stopAt)) {
    if (alone > 0) {
      await writeChunk(res, chunk.subarray(0, alone));
      await sleep(300);
    }
    if (!await writeChunk(res, chunk.subarray(alone))) return;
    alone = 0;
  }
  if (fault?.kind === 'stall') return;
  if (stopAt < to && fault.kind !== 'no_length') breakOff(req, res, fault.reset || fault.kind === 'reset_after');
  else res.end();
}

function chunksOf(job, from, to) {
  if (!job.render) return patternChunks(job, from, to);
  return to > from ? createReadStream(job.render.file, { start: from, end: to - 1 }) : [];
}

function stopPoint(fault, from, to) {
  switch (fault?.kind) {
    case 'no_length':
      return Math.min(to, fault.bytes ?? to); // a clean end, indistinguishable from the real one
    case 'truncate':
    case 'stall':
      return Math.min(to, from + (fault.bytes ?? Math.floor((to - from) / 2)));
    case 'drop_after':
    case 'reset_after':
      return from + Math.floor((to - from) / 2);
    default:
      return to;
  }
}

/** False if nobody takes it any more. */
async function sendSlowly(res, job, from, to, rate) {
  const step = Math.max(1, Math.round(rate / 20));
  for await (const chunk of chunksOf(job, from, to)) {
    for (let at = 0; at < chunk.length; at += step) {
      const piece = chunk.subarray(at, at + step);
      if (!await writeChunk(res, piece)) return false;
      await sleep((1000 * piece.length) / rate);
    }
  }
  return true;
}

/** One range of bytes as [from, to); null when absent or not understood. */
export function parseRange(header, total) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!match || (match[1] === '' && match[2] === '')) return null;
  if (match[1] === '') {
    const length = Math.min(total, Number(match[2]));
    return length === 0 ? 'unsatisfiable' : [total - length, total];
  }
  const from = Number(match[1]);
  const to = match[2] === '' ? total : Math.min(total, Number(match[2]) + 1);
  if (from >= total) return 'unsatisfiable';
  return to <= from ? null : [from, to];
}
