// A name server that knows every name as this machine (RFC 1035); what ACME challenges are looked up with.
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';

export async function startNames() {
  const socket = createSocket('udp4');
  const answerTo = (question) => {
    const end = question.indexOf(0, 12) + 5;
    const isA = question.readUInt16BE(end - 4) === 1;
    const answer = Buffer.concat([question.subarray(0, end), ...(isA ? [RECORD] : [])]);
    answer.writeUInt16BE(0x8180, 2);
    answer.writeUInt16BE(isA ? 1 : 0, 6);
    answer.writeUInt32BE(0, 8);
    return answer;
  };
  socket.on('message', (question, from) => socket.send(answerTo(question), from.port, from.address));
  await new Promise((done) => socket.bind(0, '127.0.0.1', done));
  const { port } = socket.address();
  // RFC 7766: two octets of length before each message. pebble asks like this only.
  const server = createServer((stream) => {
    let read = Buffer.alloc(0);
    stream.on('error', () => {}).on('data', (chunk) => {
      read = Buffer.concat([read, chunk]);
      while (read.length >= 2 && read.length >= 2 + read.readUInt16BE(0)) {
        const answer = answerTo(read.subarray(2, 2 + read.readUInt16BE(0)));
        read = read.subarray(2 + read.readUInt16BE(0));
        const length = Buffer.alloc(2);
        length.writeUInt16BE(answer.length);
        stream.write(Buffer.concat([length, answer]));
      }
    });
  });
  await new Promise((done, failed) => server.on('error', failed).listen(port, '127.0.0.1', done));
  const stop = async () => {
    await new Promise((done) => socket.close(done));
    server.close();
  };
  return { address: `127.0.0.1:${port}`, stop };
}

/** The name above, A, IN, one minute, 127.0.0.1. */
const RECORD = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
