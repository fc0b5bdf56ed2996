// HTTP/2 as bytes: a connection's frames pass through here in both directions,
// between the client's TLS socket and node's own HTTP/2 server, which does the
// headers and the flow control. Here is what node does not let a server do: to
// end a stream with any code at any byte, and to say GOAWAY with any last stream.
// RFC 9113, section numbers below.
import { Duplex } from 'node:stream';

const PREFACE = 24; // "PRI * HTTP/2.0…" (3.4)
const HEAD = 9; // length, type, flags, stream (4.1)
const TYPE = { DATA: 0, HEADERS: 1, RST_STREAM: 3, GOAWAY: 7 };
const END_STREAM = 1;
const CANCEL = 8;
const MAX_STREAM = 2 ** 31 - 1;

function frame(type, flags, stream, payload) {
  const head = Buffer.alloc(HEAD);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function rstFrame(stream, code) {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(code);
  return frame(TYPE.RST_STREAM, 0, stream, payload);
}

function goawayFrame(last, code) {
  const payload = Buffer.alloc(8);
  payload.writeUInt32BE(last);
  payload.writeUInt32BE(code, 4);
  return frame(TYPE.GOAWAY, 0, 0, payload);
}

/** Cuts a flow of bytes into whole frames, after the first `skip` bytes. */
class Frames {
  constructor(skip) {
    this.skip = skip;
    this.rest = Buffer.alloc(0);
  }

  /** Calls `each` with the bytes to skip, then with one frame after the other. */
  feed(chunk, each) {
    this.rest = this.rest.length ? Buffer.concat([this.rest, chunk]) : chunk;
    if (this.skip > 0) {
      if (this.rest.length < this.skip) return;
      each(this.take(this.skip), null);
      this.skip = 0;
    }
    while (this.rest.length >= HEAD) {
      const length = HEAD + this.rest.readUIntBE(0, 3);
      if (this.rest.length < length) return;
      const bytes = this.take(length);
      each(bytes, { type: bytes[3], flags: bytes[4], stream: bytes.readUInt32BE(5) & MAX_STREAM });
    }
  }

  take(length) {
    const bytes = this.rest.subarray(0, length);
    this.rest = this.rest.subarray(length);
    return bytes;
  }
}

/** One connection: `inner` is what node's server takes for its socket. */
export class Wire {
  constructor(socket) {
    this.socket = socket;
    this.open = new Set(); // streams that have begun and not ended
    this.gone = new Set(); // streams that we have ended
    this.highest = 0;
    this.last = MAX_STREAM; // streams above it are ignored
    this.closing = false;
    const fromClient = new Frames(PREFACE);
    const fromServer = new Frames(0);
    this.inner = new Duplex({
      read: () => { socket.resume(); },
      write: (chunk, _, done) => {
        const out = [];
        fromServer.feed(chunk, (bytes, head) => { if (this.passDown(head)) out.push(bytes); });
        if (out.length) this.send(Buffer.concat(out), done);
        else done();
      },
      final: (done) => { socket.end(done); },
      destroy: (error, done) => { socket.destroy(); done(error); },
    });
    socket.on('data', (chunk) => {
      let more = true;
      fromClient.feed(chunk, (bytes, head) => {
        more = this.inner.push(Buffer.from(bytes)) && more;
        if (head) this.noteUp(head);
      });
      if (!more) socket.pause();
    });
    socket.on('end', () => { if (!this.inner.destroyed) this.inner.push(null); });
    socket.on('close', () => { this.inner.destroy(); });
    socket.on('error', () => {});
    this.inner.on('error', () => {});
  }

  send(bytes, done) {
    if (this.socket.destroyed) done?.();
    else if (this.socket.write(bytes)) done?.();
    else if (done) {
      const settle = () => {
        this.socket.off('drain', settle);
        this.socket.off('close', settle);
        done();
      };
      this.socket.on('drain', settle);
      this.socket.on('close', settle);
    }
  }

  /** A frame of the client's has been handed on. */
  noteUp({ type, stream }) {
    if (type === TYPE.HEADERS && stream > this.highest) {
      this.highest = stream;
      this.open.add(stream);
      if (stream > this.last) this.drop(stream);
    }
    if (type === TYPE.RST_STREAM) this.end(stream);
  }

  /** Whether a frame of node's goes to the client. */
  passDown(head) {
    if (!head) return true;
    const { type, flags, stream } = head;
    // node's own would tell the last stream that it has seen
    if (type === TYPE.GOAWAY && this.last !== MAX_STREAM) return false;
    if (stream === 0) return true;
    if (this.gone.has(stream)) return false;
    const ends = type === TYPE.RST_STREAM || ((type === TYPE.DATA || type === TYPE.HEADERS) && (flags & END_STREAM));
    if (ends) setImmediate(() => this.end(stream));
    return true;
  }

  end(stream) {
    this.open.delete(stream);
    if (this.closing && this.open.size === 0) this.socket.end();
  }

  /** Node's server takes it for cancelled by the client. */
  drop(stream) {
    if (this.gone.has(stream)) return;
    this.gone.add(stream);
    this.inner.push(rstFrame(stream, CANCEL));
    this.end(stream);
  }

  /** RST_STREAM: nothing follows on this stream (6.4). */
  reset(stream, code) {
    if (this.gone.has(stream) || this.socket.destroyed) return;
    this.send(rstFrame(stream, code));
    this.drop(stream);
  }

  /** GOAWAY: what is above `last` was not processed, and the rest is finished (6.8). */
  goaway(last, code) {
    this.last = Math.min(this.last, last);
    this.send(goawayFrame(last, code));
    for (const stream of this.open) if (stream > last) this.drop(stream);
    this.closing = last !== MAX_STREAM;
    if (this.closing && this.open.size === 0) this.socket.end();
  }

  die(reset) {
    if (reset) this.socket.beneath?.resetAndDestroy();
    this.socket.destroy();
  }
}

export { MAX_STREAM };
