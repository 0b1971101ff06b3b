// An application behind the gate: shows who it was told you are, and keeps what it was sent.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { freePorts } from './work.mjs';

export async function startApplication() {
  const [port] = await freePorts(1);
  const requests = [];
  const server = createServer(async (req, res) => {
    let body = '';
    for await (const chunk of req) body += chunk;
    const seen = { method: req.method, path: req.url, host: req.headers.host, user: req.headers['x-forwarded-user'] ?? null,
      groups: req.headers['x-forwarded-groups'] ?? null, headers: req.headers, body };
    Object.defineProperty(seen, 'rawHeaders', { value: req.rawHeaders });
    requests.push(seen);
    if (req.url === '/stream') {
      res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      const beat = setInterval(() => res.write('data: tick\n\n'), 100);
      res.on('close', () => clearInterval(beat));
      return;
    }
    const html = (req.headers.accept ?? '').includes('text/html');
    res.writeHead(200, { 'content-type': html ? 'text/html; charset=utf-8' : 'application/json', 'cache-control': 'no-store' });
    res.end(html ? page(seen) : JSON.stringify(seen));
  });
  // A stream that stays open, and says nothing.
  const streams = new Set();
  server.on('upgrade', (req, socket) => {
    streams.add(socket.on('close', () => streams.delete(socket)).on('error', () => {}));
    const accept = createHash('sha1').update(`${req.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
    socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n'
      + `sec-websocket-accept: ${accept.digest('base64')}\r\n\r\n`);
  });
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  const stop = () => new Promise((done) => {
    server.close(done);
    server.closeAllConnections();
    streams.forEach((socket) => socket.destroy());
  });
  return { port, url: `http://127.0.0.1:${port}`, requests, stop };
}

const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

function page({ method, path, user, body }) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Notes</title>
<h1>Hello, <span id="user">${escaped(user)}</span></h1><p id="asked">${method} ${escaped(path)}</p><pre id="body">${escaped(body)}</pre>
<form method="post" action="/save?draft=1"><input name="title"><textarea name="text"></textarea><button id="save">Save</button></form></html>`;
}
