#!/usr/bin/env node
// A forward proxy for tests: forwards plain http requests, and lists them at /_ctl/seen.
//   node proxy.mjs [--exit-with-stdin]
import http from 'node:http';

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

server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })));

if (process.argv.includes('--exit-with-stdin')) {
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
}
