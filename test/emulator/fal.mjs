#!/usr/bin/env node
// A local stand-in for fal.ai's queue, its media host, its webhook key set and
// its request history. Nothing here talks to fal.ai. Usage:
//   node test/emulator/fal.mjs [--port 0] [--host 127.0.0.1] [--key id:secret]…
//     [--user-id user-1] [--render pattern|ffmpeg] [--seed 1] [--default JSON]
//     [--tls-cert FILE --tls-key FILE] [--exit-with-stdin]
// It prints one line of JSON when it is ready; /_ctl scripts what it does.
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { createContext, createServer } from './lib/fal-server.mjs';

const OPTIONS = {
  port: { type: 'string', default: '0' },
  host: { type: 'string', default: '127.0.0.1' },
  key: { type: 'string', multiple: true, default: [] },
  'user-id': { type: 'string', default: 'user-1' },
  render: { type: 'string', default: 'pattern' },
  seed: { type: 'string', default: '1' },
  default: { type: 'string', default: '{}' },
  'tls-cert': { type: 'string' },
  'tls-key': { type: 'string' },
  'exit-with-stdin': { type: 'boolean', default: false },
};

function contextFrom(options) {
  return createContext({
    keys: options.key,
    userId: options['user-id'],
    render: options.render,
    seed: Number(options.seed),
    behaviour: JSON.parse(options.default),
  });
}

async function readTls(options) {
  if (!options['tls-cert']) return null;
  const [cert, key] = await Promise.all([readFile(options['tls-cert']), readFile(options['tls-key'])]);
  return { cert, key };
}

function listen(server, options) {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port: Number(options.port), host: options.host, backlog: 4096 }, () => resolve(server.address().port));
  });
}

function announce(port, options, secure) {
  const url = `${secure ? 'https' : 'http'}://${options.host}:${port}`;
  process.stdout.write(`${JSON.stringify({ ready: true, port, url })}\n`);
}

function exitOnRequest(options) {
  const exit = () => process.exit(0);
  process.on('SIGTERM', exit);
  process.on('SIGINT', exit);
  if (!options['exit-with-stdin']) return;
  process.stdin.on('end', exit);
  process.stdin.on('close', exit);
  process.stdin.resume();
}

const { values: options } = parseArgs({ options: OPTIONS });
const tls = await readTls(options);
const context = contextFrom(options);
exitOnRequest(options);
announce(await listen(createServer(context, tls), options), options, tls !== null);
