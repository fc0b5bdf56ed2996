// The servers that stand for fal.ai and Storage, and the programs beside them.
import { execFile, spawn } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { promisify } from 'node:util';
import { FAL_KEY, MODEL, WORK } from './config.mjs';
import { sleep } from './postgres.mjs';

const children = [];
const run = promisify(execFile);

function start(command, args, name) {
  const log = openSync(`${WORK}/${name}.log`, 'a');
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', log], cwd: WORK });
  closeSync(log);
  children.push(child);
  return child;
}

export function stopServers() {
  for (const child of children) child.kill('SIGTERM');
}

function firstLine(child, name) {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (data) => {
      text += data;
      if (text.includes('\n')) resolve(text.split('\n')[0]);
    });
    child.once('exit', () => reject(new Error(`${name} ended, see its log`)));
  });
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** fal.ai's emulator: what it says of itself, and its control API. */
export async function startFal(behaviour) {
  const child = start('node', [`${WORK}/tree/test/emulator/fal.mjs`, '--key', FAL_KEY, '--default', JSON.stringify(behaviour)], 'fal');
  const { url, port } = JSON.parse(await firstLine(child, 'the fal emulator'));
  const control = async (method, path, body) => {
    const answer = await fetch(`${url}/_ctl${path}`, { method, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
    return answer.json();
  };
  return { url, port, control, submitUrl: `${url}/${MODEL}`, stop: () => child.kill('SIGTERM') };
}

/** Discards uploads in the kernel, stamps submits. */
export async function startSink() {
  const child = start(`${WORK}/sink`, [], 'sink');
  const port = await firstLine(child, 'the sink');
  return { url: `http://127.0.0.1:${port}` };
}

/** A certificate for 127.0.0.1, which is its own authority. */
async function makeCertificate() {
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=bench',
    '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', `${WORK}/tls.key`, '-out', `${WORK}/tls.pem`]);
  return `${WORK}/tls.pem`;
}

function nginxConf(port, tlsPort, slowPort) {
  return `
daemon off;
worker_processes 1;
pid ${WORK}/nginx.pid;
error_log ${WORK}/nginx.log;
events { worker_connections 8192; }
http {
  access_log off;
  client_body_temp_path ${WORK}/tmp/nginx-body;
  proxy_temp_path ${WORK}/tmp/nginx-proxy;
  fastcgi_temp_path ${WORK}/tmp/nginx-fastcgi;
  uwsgi_temp_path ${WORK}/tmp/nginx-uwsgi;
  scgi_temp_path ${WORK}/tmp/nginx-scgi;
  keepalive_requests 100000000;
  keepalive_timeout 1h;
  sendfile on;
  tcp_nodelay on;
  default_type application/json;
  map $request_id $uuid {
    "~^(?<a>.{8})(?<b>.{4}).(?<c>.{3}).(?<d>.{3})(?<e>.{12})$" "$a-$b-4$c-8$d-$e";
  }
  split_clients $request_id $lane { 1% /slow; * /fast; }
  upstream slow { server 127.0.0.1:${slowPort}; keepalive 300; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    listen 127.0.0.1:${tlsPort} ssl http2 backlog=4096;
    ssl_certificate ${WORK}/tls.pem;
    ssl_certificate_key ${WORK}/tls.key;
    ssl_session_cache shared:tls:16m;
    location ~ /status$ { return 202 '{"status": "IN_PROGRESS", "request_id": "$uuid", "logs": null, "metrics": {}}'; }
    location / { return 200 '{"status": "IN_QUEUE", "request_id": "$uuid", "queue_position": 0}'; }
    location /mixed/ { rewrite ^ $lane last; }
    location = /fast { return 200 '{"status": "IN_QUEUE", "request_id": "$uuid", "queue_position": 0}'; }
    location = /slow {
      proxy_pass http://slow/${MODEL};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
    location /media/ { alias ${WORK}/media/; types { video/mp4 mp4; } }
  }
}
`;
}

/** Fixed answers, by plain HTTP and by TLS with HTTP/2; one in a hundred below /mixed is passed on to slowPort. */
export async function startNginx(slowPort) {
  const port = await freePort();
  const tlsPort = await freePort();
  const ca = await makeCertificate();
  writeFileSync(`${WORK}/nginx.conf`, nginxConf(port, tlsPort, slowPort));
  const child = start('nginx', ['-p', WORK, '-c', `${WORK}/nginx.conf`, '-e', `${WORK}/nginx.log`], 'nginx-out');
  const url = `http://127.0.0.1:${port}`;
  const tlsUrl = `https://127.0.0.1:${tlsPort}`;
  for (let tries = 0; tries < 100; tries += 1) {
    if (child.exitCode !== null) break;
    if (await fetch(url, { method: 'POST' }).then(() => true, () => false)) {
      return { url, submitUrl: `${url}/${MODEL}`, mixedUrl: `${url}/mixed`, tls: { url: tlsUrl, submitUrl: `${tlsUrl}/${MODEL}`, ca } };
    }
    await sleep(50);
  }
  throw new Error('nginx did not start, see its log');
}

/** A file that looks like a video to whoever reads its first bytes. */
export function makeMedia(name, bytes) {
  mkdirSync(`${WORK}/media`, { recursive: true });
  const file = openSync(`${WORK}/media/${name}`, 'w');
  writeSync(file, Buffer.from('\0\0\0\x18ftypmp42\0\0\0\0mp42isom', 'latin1'));
  const block = Buffer.alloc(1 << 20, 0xa5);
  for (let at = 24; at < bytes; at += block.length) writeSync(file, block, 0, Math.min(block.length, bytes - at), at);
  ftruncateSync(file, bytes);
  closeSync(file);
}

/** The output of a program; an exit other than 0 is an error. */
export async function output(command, args) {
  const { stdout } = await run(command, args, { maxBuffer: 1 << 28, encoding: 'utf8' });
  return stdout;
}

/** Milliseconds a POST, one after the other over one libcurl connection; ca is for https. */
export async function rawPosts(url, count, ca) {
  const lines = (await output(`${WORK}/posts`, [url, FAL_KEY, String(count), ...(ca ? [ca] : [])])).trim().split('\n');
  const good = lines.filter((line) => line !== 'failed');
  return { ms: good.map((line) => Number(line) / 1000), failed: lines.length - good.length };
}

/** Seconds that something takes. */
export async function seconds(work) {
  const start_ = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start_) / 1e9;
}
