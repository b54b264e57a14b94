// The origin behind nginx: echoes what it gets, and does what origins do.
// Usage: node app.js PORT
'use strict';
const crypto = require('crypto');
const express = require('express');
const http = require('http');

const app = express();
app.disable('x-powered-by');
let waiting = [];

// Counts content without keeping it.
app.all('/sink', (request, response) => {
  let bytes = 0;
  request.on('data', (piece) => { bytes += piece.length; });
  request.on('end', () => response.json({ bytes, trailers: request.trailers }));
});

app.get('/redirect', (request, response) => response.redirect(302, '/echo?redirected=yes'));
app.get('/chunked', (request, response) => { response.write('one,'); response.write('two,'); response.end('three'); });
app.get('/cookies/set', (request, response) => response.cookie('flavour', 'oat', { path: '/' }).json({ set: true }));
app.get('/private', (request, response) => {
  const expected = 'Basic ' + Buffer.from('user:secret').toString('base64');
  if (request.get('authorization') === expected) return response.json({ authenticated: true });
  return response.set('WWW-Authenticate', 'Basic realm="private"').status(401).json({ authenticated: false });
});
app.get('/hold', (request, response) => { response.write('first\n'); waiting.push(response); });
app.get('/release', (request, response) => {
  waiting.forEach((held) => held.end('second\n'));
  waiting = [];
  response.json({ released: true });
});
app.get('/trailers', (request, response) => {
  response.set('Trailer', 'X-Sum');
  response.write('content');
  response.addTrailers({ 'X-Sum': '42' });
  response.end();
});
app.all(/.*/, express.raw({ type: () => true, limit: '20mb' }), (request, response) => {
  const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
  response.json({
    method: request.method,
    url: request.originalUrl,
    headers: request.headers,
    body: body.toString('latin1'),
  });
});

const server = http.createServer(app);
// A WebSocket handshake (RFC 6455 section 4.2.2), after which bytes are echoed in upper case.
server.on('upgrade', (request, socket, head) => {
  const accept = crypto.createHash('sha1')
    .update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    'Sec-WebSocket-Accept: ' + accept + '\r\n\r\n');
  socket.on('data', (data) => socket.write(data.toString('latin1').toUpperCase(), 'latin1'));
  socket.on('error', () => socket.destroy());
  if (head.length) socket.write(head.toString('latin1').toUpperCase(), 'latin1');
});
server.listen(Number(process.argv[2]), '127.0.0.1');
