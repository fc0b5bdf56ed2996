// One exchange: passes a request on to the emulator, and its answer back, unless
// a fault has it end otherwise.
import http from 'node:http';
import { once } from 'node:events';
import { sendPings, sendSettings, strike } from './front-faults.mjs';

const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade', 'te', 'expect', 'http2-settings']);

/** Until what was written has gone on, or never will. */
function roomIn(stream) {
  return new Promise((resolve) => {
    const settle = () => {
      stream.off('drain', settle);
      stream.off('close', settle);
      resolve();
    };
    stream.on('drain', settle);
    stream.on('close', settle);
  });
}

export class Exchange {
  constructor(front, req, res, wire) {
    Object.assign(this, { front, req, res, wire });
    this.session = req.stream?.session;
    this.stream = req.stream?.id;
    this.ended = false;
    this.body = null; // of a JSON request, as a whole
    res.on('close', () => { this.ended = true; });
    res.on('error', () => {});
    req.on('error', () => {});
  }

  /** Nothing more comes on this stream, or on this connection if it has none. */
  reset(code) {
    this.ended = true;
    if (this.wire) this.wire.reset(this.stream, code);
    else this.breakConnection();
  }

  breakConnection(reset = false) {
    this.ended = true;
    this.front.noteBroken(this.wire ?? this.req.socket);
    if (this.wire) this.wire.die(reset);
    else {
      if (reset) this.req.socket.beneath?.resetAndDestroy();
      this.req.socket.destroy();
    }
  }

  async describe() {
    const { req } = this;
    const path = req.url.split('?')[0];
    if (/^application\/json/.test(req.headers['content-type'] ?? '')) {
      const chunks = [];
      for await (const chunk of req) chunks.push(chunk);
      this.body = Buffer.concat(chunks);
    }
    const [, id = ''] = /\/upload\/resumable\/([\w-]+)/.exec(path) ?? [];
    return `${req.method} ${path} ${this.body ?? Buffer.from(id, 'base64url')}`;
  }

  async run() {
    const text = await this.describe();
    if (this.wire?.gone.has(this.stream)) return;
    const entry = this.front.faults.take(text);
    const fault = entry?.fault ?? {};
    if (fault.kind === 'early') return this.answerEarly(fault);
    if (fault.kind === 'ping') sendPings(this, fault);
    if (fault.kind === 'settings') sendSettings(this, fault).catch(() => {});
    if (entry && (fault.when ?? 'before') === 'before' && strike(this, entry)) return;
    await this.pass(fault.when === undefined || fault.when === 'before' ? null : entry);
    if (fault.kind === 'ping') sendPings(this, fault);
  }

  answerEarly({ status = 413, type = 'text/html', body = '<html><title>413 Request Entity Too Large</title></html>' }) {
    const headers = { 'content-type': type, 'content-length': Buffer.byteLength(body) };
    if (!this.wire) headers.connection = 'close';
    this.res.writeHead(status, headers);
    this.res.end(body, () => {
      if (this.wire) setImmediate(() => this.wire.reset(this.stream, 0));
      else setTimeout(() => this.req.socket.destroy(), 300);
    });
  }

  /** `entry`: a fault whose moment comes later. */
  async pass(entry) {
    const upward = http.request(this.front.to + this.req.url, {
      method: this.req.method, headers: this.headersUp(), agent: this.front.agent,
    });
    const failed = new Promise((resolve) => { upward.on('error', resolve); });
    this.res.on('close', () => { if (!this.res.writableFinished) upward.destroy(); });
    this.sendUp(upward, entry).catch(() => upward.destroy());
    const [answer] = await Promise.race([once(upward, 'response'), failed.then(() => [null])]).catch(() => [null]);
    if (!answer) {
      if (!this.ended) this.reset(2);
      return;
    }
    await this.sendDown(answer, entry).catch(() => { if (!this.ended) this.reset(2); });
  }

  headersUp() {
    const headers = {};
    for (const [name, value] of Object.entries(this.req.headers)) {
      if (!name.startsWith(':') && !HOP_BY_HOP.has(name)) headers[name] = value;
    }
    headers.host = this.req.headers[':authority'] ?? this.req.headers.host;
    headers['x-forwarded-proto'] = 'https';
    return headers;
  }

  async sendUp(upward, entry) {
    const midway = entry?.fault.when === 'midway' && entry.fault.from !== 'answer';
    let left = midway ? entry.fault.bytes ?? 1 : Infinity;
    if (this.body) {
      upward.end(this.body);
      return;
    }
    for await (const chunk of this.req) {
      const piece = chunk.subarray(0, left);
      left -= piece.length;
      if (!upward.write(piece)) await roomIn(upward);
      if (left > 0) continue;
      strike(this, entry);
      upward.destroy();
      return;
    }
    upward.end();
  }

  async sendDown(answer, entry) {
    const { when, from, no_length: noLength, bytes = 1 } = entry?.fault ?? {};
    if (when === 'after') {
      for await (const chunk of answer) chunk.length;
      strike(this, entry);
      return;
    }
    const midway = when === 'midway' && from === 'answer';
    this.writeHead(answer, noLength);
    let left = midway ? bytes : Infinity;
    for await (const chunk of answer) {
      const piece = chunk.subarray(0, left);
      left -= piece.length;
      if (this.ended) return;
      if (!this.res.write(piece)) await roomIn(this.res);
      if (left > 0) continue;
      strike(this, entry);
      answer.destroy();
      return;
    }
    this.res.end();
  }

  writeHead(answer, noLength) {
    const headers = {};
    for (const [name, value] of Object.entries(answer.headers)) {
      if (!HOP_BY_HOP.has(name) && !(noLength && name === 'content-length')) headers[name] = value;
    }
    this.res.writeHead(answer.statusCode, headers);
  }
}
