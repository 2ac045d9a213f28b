// Node's own HTTP server, writing down what it did, one JSON object a line. Usage: node server.js PORT LOG
const http = require('http');
const fs = require('fs');
const { performance } = require('perf_hooks');

const log = fs.openSync(process.argv[3], 'w');
const now = () => (performance.timeOrigin + performance.now()) / 1000;
const note = (request, status, body, received, start) => fs.writeSync(log, JSON.stringify({
  id: request.headers['x-request-id'] || '', method: request.method, path: request.url, status, body,
  request_body: received, start, end: now(),
}) + '\n');

const server = http.createServer((request, response) => {
  const start = now();
  const count = Number(request.url.split('/').pop()) || 0;
  const finish = (received) => {
    const done = (body) => response.on('finish', () => note(request, response.statusCode, body, received, start));
    if (request.url.startsWith('/chunked')) {
      done(request.method === 'HEAD' ? 0 : count * 10);
      response.writeHead(200, { Trailer: 'X-Sum' });
      for (let number = 0; number < count; number++) response.write('0123456789');
      response.addTrailers({ 'X-Sum': '1' });
      response.end();
    } else if (request.url.startsWith('/sleep')) {
      done(count);
      setTimeout(() => response.end('x'.repeat(count)), Number(request.url.split('/')[2]));
    } else if (request.url === '/empty') {
      done(0);
      response.writeHead(204).end();
    } else if (request.url === '/same') {
      done(0);
      response.writeHead(304, { ETag: '"a"' }).end();
    } else {
      done(request.method === 'HEAD' ? 0 : count);
      response.writeHead(200, { 'Content-Length': count });
      response.end(request.method === 'HEAD' ? undefined : 'x'.repeat(count));
    }
  };
  let received = 0;
  request.on('data', (piece) => { received += piece.length; });
  request.on('end', () => finish(received));
});
server.on('upgrade', (request, socket) => {
  const start = now();
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
  note(request, 101, 0, 0, start);
  socket.write(Buffer.from([0x81, 5, 0x68, 0x65, 0x6c, 0x6c, 0x6f]));
  setTimeout(() => socket.end(), 50);
});
server.listen(Number(process.argv[2]));
