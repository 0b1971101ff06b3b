// An application that answers an upgrade in the same packet with its first words, at once.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { freePorts } from './work.mjs';

const MAGIC = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'; // RFC 6455 s1.3

export async function startHasty() {
  const [port] = await freePorts(1);
  const server = createServer((_req, res) => res.end('here'));
  server.on('upgrade', (req, socket) => {
    socket.on('error', () => {});
    const accept = createHash('sha1').update(req.headers['sec-websocket-key'] + MAGIC).digest('base64');
    const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
    const frame = [0x81, 5, ...Buffer.from('hello')];
    socket.write(Buffer.concat([Buffer.from(head), Buffer.from(frame)]));
    // What comes back is answered with one more, and ends it.
    socket.once('data', () => socket.end(Buffer.from([0x81, 3, ...Buffer.from('bye'), 0x88, 0])));
  });
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  const stop = () => new Promise((done) => { server.close(done); server.closeAllConnections(); });
  return { url: `http://127.0.0.1:${port}`, stop };
}
