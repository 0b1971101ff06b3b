// A TCP forwarder that a test can cut, as when a machine or the network to it dies, or lead elsewhere, as somebody on
// the way can.
import { connect, createServer } from 'node:net';

export async function startForwarder({ host = '127.0.0.1', port }) {
  const sockets = new Set();
  let target = { host, port };
  let passes = true;
  const server = createServer((from) => {
    sockets.add(from.on('close', () => sockets.delete(from)).on('error', () => {}));
    if (!passes) return from.destroy();
    const to = connect(target.port, target.host);
    sockets.add(to.on('close', () => { sockets.delete(to); from.destroy(); }).on('error', () => from.destroy()));
    from.on('close', () => to.destroy());
    from.pipe(to).pipe(from);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const forwarder = { port: server.address().port, connections: () => sockets.size / 2,
    cut: () => { passes = false; sockets.forEach((socket) => socket.destroy()); },
    mend: () => { passes = true; },
    lead: (to) => { target = { host: '127.0.0.1', port: to.port }; sockets.forEach((socket) => socket.destroy()); },
    stop: () => new Promise((done) => { forwarder.cut(); server.close(done); }) };
  return forwarder;
}
