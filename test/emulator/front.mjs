#!/usr/bin/env node
// Stands before an emulator as a CDN or a gateway does, with TLS, HTTP/2 and
// HTTP/1.1, and does what a well-behaved nginx cannot be made to do: see
// lib/front-faults.mjs. --help lists the options.
//
// The control API, /_ctl, is a plain listener of its own: POST /fault, GET /fault,
// POST /reset, GET /ledger, and POST /settings (HTTP/2's, of connections from then
// on).
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';
import { endOnRequest, exitWithStdin, file, matching, readCommandLine, text } from './lib/command-line.mjs';
import { Faults } from './lib/front-faults.mjs';
import { Exchange } from './lib/front-pass.mjs';
import { Wire } from './lib/front-wire.mjs';

const options = readCommandLine({
  about: 'Stands before another stand-in as a CDN or a gateway does, with TLS, HTTP/2 and HTTP/1.1, and does what a well-behaved '
    + 'server cannot be made to do: ends streams with any code, sends GOAWAY, breaks connections. Prints one line of JSON when it '
    + 'is ready, with its URL and that of its control API: POST /_ctl/fault, /_ctl/reset and /_ctl/settings, GET /_ctl/ledger.',
  options: {
    to: text('URL', 'where requests go on to', matching(/^http:\/\/[^/]+$/, 'http://host:port'), { required: true }),
    cert: file('certificate', { required: true }),
    key: file("the certificate's key", { required: true }),
    'exit-with-stdin': exitWithStdin(),
  },
  example: 'node test/emulator/front.mjs --to http://127.0.0.1:4001 --cert cert.pem --key key.pem',
});

const front = {
  to: options.to,
  agent: new http.Agent({ keepAlive: true }),
  faults: new Faults(),
  settings: {},
  broken: new Set(),
  pings: { sent: 0, answered: 0 },
  connections: { h2: 0, h1: 0 },
  requests: {}, // by method and protocol
  maxStreams: 0, // of one connection, at work at the same time
  pipelined: 0, // requests by HTTP/1.1 that came while the one before had no answer
  noteBroken(connection) { this.broken.add(connection); },
};

function answer(req, res, wire) {
  const kind = `${req.method} ${wire ? 'h2' : 'h1'}`;
  front.requests[kind] = (front.requests[kind] ?? 0) + 1;
  const connection = wire ?? req.socket;
  connection.running = (connection.running ?? 0) + 1;
  if (wire) front.maxStreams = Math.max(front.maxStreams, connection.running);
  else if (connection.running > 1) front.pipelined += 1;
  res.on('close', () => { connection.running -= 1; });
  new Exchange(front, req, res, wire).run().catch((error) => {
    console.error('front:', error);
    res.destroy?.();
  });
}

const overHttp1 = http.createServer({ keepAliveTimeout: 75000, requestTimeout: 0 }, (req, res) => answer(req, res, null));

/** Node's server for one connection, so that the connection is known, and its settings. */
function serveHttp2(socket) {
  const wire = new Wire(socket);
  // what the client has not seen must not be in the table of headers that it is to keep
  const server = http2.createServer({ maxDeflateDynamicTableSize: 0, settings: front.settings },
    (req, res) => answer(req, res, wire));
  server.on('sessionError', () => {});
  server.emit('connection', wire.inner);
}

const secure = tls.createServer({
  cert: readFileSync(options.cert), key: readFileSync(options.key), ALPNProtocols: ['h2', 'http/1.1'], noDelay: true,
}, (socket) => {
  socket.beneath = beneath.get(socket.remotePort);
  const isHttp2 = socket.alpnProtocol === 'h2';
  front.connections[isHttp2 ? 'h2' : 'h1'] += 1;
  socket.on('error', () => {});
  if (isHttp2) serveHttp2(socket);
  else overHttp1.emit('connection', socket);
});
secure.on('tlsClientError', () => {});

// a TCP reset is not to be had from a TLS socket
const beneath = new Map();
const listener = net.createServer((socket) => {
  beneath.set(socket.remotePort, socket);
  socket.on('close', () => beneath.delete(socket.remotePort));
  socket.on('error', () => {});
  secure.emit('connection', socket);
});

function control(route, body) {
  switch (route) {
    case 'POST /_ctl/fault':
      for (const spec of [body].flat()) front.faults.add(spec);
      return {};
    case 'GET /_ctl/fault':
      return front.faults.describe();
    case 'POST /_ctl/reset':
      front.faults.clear();
      front.broken.clear();
      front.maxStreams = 0;
      return {};
    case 'POST /_ctl/settings':
      front.settings = body;
      return {};
    case 'GET /_ctl/ledger':
      return {
        connections: front.connections, requests: front.requests, broken: front.broken.size, pings: front.pings,
        max_streams: front.maxStreams, pipelined: front.pipelined,
      };
    default:
      throw new Error(`no control ${route}`);
  }
}

const controller = http.createServer(async (req, res) => {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  try {
    const text = Buffer.concat(chunks).toString();
    const value = control(`${req.method} ${req.url}`, text ? JSON.parse(text) : {});
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  } catch (error) {
    res.writeHead(400).end(error.message);
  }
});

function listen(server) {
  return new Promise((resolve) => { server.listen(0, '127.0.0.1', 4096, () => resolve(server.address().port)); });
}

const [port, controlPort] = [await listen(listener), await listen(controller)];
console.log(JSON.stringify({ ready: true, port, url: `https://127.0.0.1:${port}`, control: `http://127.0.0.1:${controlPort}` }));
endOnRequest(options);
