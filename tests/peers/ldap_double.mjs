// A directory that misbehaves: it binds whoever comes, and answers each search as it is told to. Writes BER by hand
// (RFC 4511), because no LDAP server can be made to say these things.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:tls';
import { pki } from './pki.mjs';

const length = (n) => (n < 128 ? [n] : [0x84, n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]);
const tlv = (tag, ...parts) => {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return Buffer.concat([Buffer.from([tag, ...length(body.length)]), body]);
};
const integer = (n) => tlv(2, [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255]);
const message = (id, operation) => tlv(0x30, integer(id), operation);
const result = (tag, code = 0) => tlv(tag, tlv(0x0a, [code]), tlv(4, ''), tlv(4, ''));

export const entry = (dn, attributes) => tlv(0x64, tlv(4, dn), tlv(0x30, ...Object.entries(attributes).map(([name, values]) =>
  tlv(0x30, tlv(4, name), tlv(0x31, ...[values].flat().map((value) => tlv(4, value)))))));

/** The parts of a request that matter here: number, operation, and for a search its base and everything in it as text. */
function read(request) {
  let at = 0;
  const next = () => {
    const tag = request[at];
    let size = request[at + 1];
    at += 2;
    if (size > 128) {
      const bytes = size - 128;
      size = request.subarray(at, at + bytes).reduce((sum, byte) => sum * 256 + byte, 0);
      at += bytes;
    }
    return { tag, size };
  };
  next();
  const { size } = next();
  const id = request.subarray(at, at + size).reduce((sum, byte) => sum * 256 + byte, 0);
  at += size;
  const operation = next().tag;
  if (operation !== 0x63) return { id, operation };
  const base = next();
  return { id, operation, base: request.subarray(at, at + base.size).toString(), text: request.subarray(at).toString('latin1') };
}

/** Its `answer` gets what was searched and gives entries, bytes to send as they are, or nothing for silence; sent `later`. */
export async function startDouble() {
  const double = { answer: () => [], later: 0, searches: 0 };
  const sockets = new Set();
  const server = createServer({ cert: readFileSync(pki()('server.crt')), key: readFileSync(pki()('server.key')) }, (socket) => {
    sockets.add(socket.on('close', () => sockets.delete(socket)).on('error', () => {}));
    // Each request of this client comes in a record of its own.
    socket.on('data', (data) => {
      const request = read(data);
      if (request.operation === 0x60) return socket.write(message(request.id, result(0x61)));
      if (request.operation !== 0x63) return undefined;
      double.searches += 1;
      const answer = double.answer(request);
      if (answer === undefined) return undefined;
      if (Buffer.isBuffer(answer)) return socket.write(answer);
      const found = Buffer.concat([...answer.map((one) => message(request.id, one)), message(request.id, result(0x65))]);
      if (double.later > 0) return setTimeout(() => socket.writable && socket.write(found), double.later);
      return socket.write(found);
    });
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  double.port = server.address().port;
  double.stop = () => new Promise((done) => { server.close(done); sockets.forEach((socket) => socket.destroy()); });
  return double;
}
