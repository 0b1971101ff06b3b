// A name server that knows every name as this machine (RFC 1035); what ACME challenges are looked up with.
import { createSocket } from 'node:dgram';

export async function startNames() {
  const socket = createSocket('udp4');
  socket.on('message', (question, from) => {
    const end = question.indexOf(0, 12) + 5;
    const isA = question.readUInt16BE(end - 4) === 1;
    const answer = Buffer.concat([question.subarray(0, end), ...(isA ? [RECORD] : [])]);
    answer.writeUInt16BE(0x8180, 2);
    answer.writeUInt16BE(isA ? 1 : 0, 6);
    answer.writeUInt32BE(0, 8);
    socket.send(answer, from.port, from.address);
  });
  await new Promise((done) => socket.bind(0, '127.0.0.1', done));
  return { address: `127.0.0.1:${socket.address().port}`, stop: () => new Promise((done) => socket.close(done)) };
}

/** The name above, A, IN, one minute, 127.0.0.1. */
const RECORD = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
