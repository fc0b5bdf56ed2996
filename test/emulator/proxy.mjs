#!/usr/bin/env node
// A forward proxy for tests: forwards plain http requests, tunnels what is asked
// for with CONNECT, and lists both at /_ctl/seen. --help lists the options.
import http from 'node:http';
import net from 'node:net';
import { endOnRequest, exitWithStdin, listenPort, readCommandLine } from './lib/command-line.mjs';

const options = readCommandLine({
  about: 'A forward proxy: forwards plain HTTP requests, tunnels what is asked for with CONNECT, and lists both at GET /_ctl/seen. '
    + 'Prints one line of JSON with its URL when it is ready.',
  options: { port: listenPort('port to listen on'), 'exit-with-stdin': exitWithStdin() },
  example: 'node test/emulator/proxy.mjs --port 4005',
});

const seen = [];

const server = http.createServer((request, response) => {
  if (request.url === '/_ctl/seen') {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(seen));
    return;
  }
  seen.push(`${request.method} ${request.url}`);
  const onward = http.request(request.url, { method: request.method, headers: request.headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on('error', () => response.destroy());
  request.pipe(onward);
});

server.on('connect', (request, socket, head) => {
  seen.push(`CONNECT ${request.url}`);
  const { hostname, port } = new URL(`http://${request.url}`);
  const onward = net.connect(port, hostname, () => {
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    onward.write(head);
    socket.pipe(onward).pipe(socket);
  });
  onward.on('error', () => socket.destroy());
  socket.on('error', () => onward.destroy());
});

server.listen(options.port, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })));
endOnRequest(options);
