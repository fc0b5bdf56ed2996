#!/usr/bin/env node
// A local stand-in for fal.ai's queue, its media host, its webhook key set, its
// request history, its prices and its bill. Nothing here talks to fal.ai. --help
// lists the options.
import { readFile } from 'node:fs/promises';
import { choice, count, endOnRequest, exitWithStdin, file, host, jsonObject, listenPort, matching, readCommandLine, text } from './lib/command-line.mjs';
import { checkFields } from './lib/fal-behaviour.mjs';
import { nano } from './lib/fal-money.mjs';
import { createContext, createServer } from './lib/fal-server.mjs';

function dollars(text) {
  try {
    return nano(text);
  } catch {
    throw new Error('must be a number of dollars');
  }
}

const PROGRAM = {
  about: "Plays fal.ai: its queue, its media host, the keys that sign its webhooks, its request history, its prices and its bill. Nothing of it reaches fal.ai. "
    + 'Prints one line of JSON with its URL when it is ready. POST /_ctl/default, /_ctl/rule and /_ctl/fault change what it does, '
    + 'POST /_ctl/price, /_ctl/account and /_ctl/delist what it costs, POST /_ctl/reset undoes that, GET /_ctl/ledger tells what it was asked, GET /_ctl/bill what it bills.',
  options: {
    port: listenPort('port to listen on'),
    host: host(),
    key: text('ID:SECRET', 'API key that is accepted; without one any is', matching(/^[^:]+:.+$/, 'id:secret'), { multiple: true, default: [] }),
    'admin-key': text('ID:SECRET', 'API key that also sees what is billed; without one, and without --key, any does',
      matching(/^[^:]+:.+$/, 'id:secret'), { multiple: true, default: [] }),
    balance: text('USD', 'credits of the account, which videos use up; without it they never run out', dollars),
    'user-id': text('ID', 'the account, as its webhooks name it', undefined, { default: 'user-1' }),
    render: choice(['pattern', 'ffmpeg'], 'videos: pattern is random bytes in an MP4, ffmpeg, which it needs, shows the prompt'),
    seed: count('N', 'where its random numbers begin', 1),
    default: text('JSON', 'how each job goes, as {"queue_ms": 3000, "run_ms": 5000}; fields: lib/fal-behaviour.mjs',
      jsonObject((value) => checkFields(value)), { default: '{}' }),
    'tls-cert': file('certificate, for HTTPS and HTTP/2; with --tls-key'),
    'tls-key': file("the certificate's key"),
    'exit-with-stdin': exitWithStdin(),
  },
  check: (values) => !values['tls-cert'] !== !values['tls-key'] && '--tls-cert and --tls-key go together',
  example: `node test/emulator/fal.mjs --port 4001 --render ffmpeg --default '{"queue_ms": 3000, "run_ms": 5000}'`,
};

function contextFrom(options) {
  return createContext({
    keys: options.key,
    adminKeys: options['admin-key'],
    balance: options.balance,
    userId: options['user-id'],
    render: options.render,
    seed: options.seed,
    behaviour: options.default,
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
    server.listen({ port: options.port, host: options.host, backlog: 4096 }, () => resolve(server.address().port));
  });
}

function announce(port, options, secure) {
  const url = `${secure ? 'https' : 'http'}://${options.host}:${port}`;
  process.stdout.write(`${JSON.stringify({ ready: true, port, url })}\n`);
}

const options = readCommandLine(PROGRAM);
const tls = await readTls(options);
const context = contextFrom(options);
endOnRequest(options);
announce(await listen(createServer(context, tls), options), options, tls !== null);
