// A screen for noVNC: the least of RFB 3.8 (RFC 6143) that is a screen. Grey, 64 by 48, no password.
import { createServer } from 'node:net';
import { freePorts } from './work.mjs';

const WIDTH = 64;
const HEIGHT = 48;
// Client messages that say their own length: type, and bytes behind it.
const KEY_EVENT = 4;
const FIXED = { 0: 19, 3: 9, [KEY_EVENT]: 7, 5: 5 };

export async function startScreen() {
  const [port] = await freePorts(1);
  const screen = { port, open: 0, pictures: 0, keys: [] };
  const server = createServer((socket) => {
    screen.open += 1;
    socket.on('close', () => { screen.open -= 1; }).on('error', () => {});
    let pending = Buffer.alloc(0);
    let wanted;
    const take = (length) => new Promise((done) => { wanted = { length, done }; serve(); });
    const serve = () => {
      if (!wanted || pending.length < wanted.length) return;
      const { length, done } = wanted;
      wanted = undefined;
      const part = pending.subarray(0, length);
      pending = pending.subarray(length);
      done(part);
    };
    socket.on('data', (chunk) => { pending = Buffer.concat([pending, chunk]); serve(); });
    talk(screen, take, (bytes) => socket.write(Buffer.from(bytes)));
  });
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  screen.stop = () => new Promise((done) => server.close(done));
  return screen;
}

async function talk(screen, take, send) {
  send(Buffer.from('RFB 003.008\n'));
  await take(12);
  send([1, 1]); // one kind of security: none
  await take(1);
  send([0, 0, 0, 0]);
  await take(1);
  const name = 'test screen';
  send([0, WIDTH, 0, HEIGHT, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0, 0, 0, 0, name.length, ...Buffer.from(name)]);
  for (;;) {
    const [type] = await take(1);
    if (type === 2) {
      const [, high, low] = await take(3);
      await take(4 * (high * 256 + low));
    } else if (type === 6) {
      const head = await take(7);
      await take(head.readUInt32BE(3));
    } else if (type in FIXED) {
      const rest = await take(type === 3 ? 9 : FIXED[type]);
      if (type === KEY_EVENT) screen.keys.push({ down: rest[0] === 1, key: rest.readUInt32BE(3) });
      // One picture for each that is asked for in full; what has not changed is not sent.
      if (type === 3 && rest[0] === 0) {
        screen.pictures += 1;
        send([0, 0, 0, 1, 0, 0, 0, 0, 0, WIDTH, 0, HEIGHT, 0, 0, 0, 0, ...Buffer.alloc(WIDTH * HEIGHT * 4, 0x7f)]);
      }
    } else {
      return;
    }
  }
}
