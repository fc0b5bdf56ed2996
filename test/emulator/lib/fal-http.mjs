// Small HTTP helpers shared by the fal emulator's routes. They work for
// HTTP/1.1 and for node's HTTP/2 compatibility objects alike.

const BODY_LIMIT = 64 * 1024 * 1024;

/** Raw TCP sockets by peer, because HTTP/2 hides the real one behind a proxy. */
export class Connections {
  constructor() {
    this.count = 0;
    this.byPeer = new Map();
  }

  add(socket) {
    const peer = peerOf(socket);
    this.count += 1;
    this.byPeer.set(peer, socket);
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('close', () => this.byPeer.delete(peer));
  }

  /** Ends the connection of a request without an answer: FIN, or RST. */
  cut(req, reset = false) {
    const socket = this.byPeer.get(peerOf(req.socket));
    if (!socket) return;
    if (reset) socket.resetAndDestroy();
    else socket.destroy();
  }
}

function peerOf(socket) {
  return `${socket?.remoteAddress}:${socket?.remotePort}`;
}

/** Scheme and host as the client spelled them, if a proxy has kept them; every URL handed out uses them. */
export function originOf(req) {
  const host = req.headers[':authority'] ?? req.headers.host ?? 'localhost';
  const scheme = req.headers['x-forwarded-proto'] ?? (req.socket?.encrypted ? 'https' : 'http');
  return `${scheme}://${host}`;
}

export function readBody(req) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    let size = 0;
    req.on('data', (chunk) => {
      size += chunk.length;
      if (size <= BODY_LIMIT) chunks.push(chunk);
    });
    req.on('end', () => {
      if (size > BODY_LIMIT) reject(new Error('request body too large'));
      else resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks));
    });
    req.on('error', reject);
    req.on('aborted', () => reject(new Error('request aborted')));
  });
}

export function sendText(res, status, type, text, headers) {
  if (res.headersSent || res.destroyed) return;
  const body = Buffer.from(text);
  res.writeHead(status, { 'content-type': type, 'content-length': body.length, ...headers });
  res.end(body);
}

export function sendJson(res, status, value, headers) {
  sendText(res, status, 'application/json', JSON.stringify(value), headers);
}

/** Writes one chunk and waits until the peer has read enough of the buffer. */
export function writeChunk(res, chunk) {
  if (res.destroyed || res.closed) return Promise.resolve(false);
  if (res.write(chunk)) return true;
  return new Promise((resolve) => {
    const settle = (alive) => {
      res.off('drain', onDrain);
      res.off('close', onClose);
      resolve(alive);
    };
    const onDrain = () => settle(true);
    const onClose = () => settle(false);
    res.on('drain', onDrain);
    res.on('close', onClose);
  });
}

/** Ends a half-sent response once its bytes have left, so the peer sees them. */
export function breakOff(req, res, reset = false) {
  if (res.stream) {
    res.stream.close(2);
    return;
  }
  if (reset) req.socket.end(() => req.socket.resetAndDestroy?.());
  else req.socket.destroySoon();
}

export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
