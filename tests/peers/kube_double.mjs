// An API server of Kubernetes, as much of one as its official client needs: it believes one service account, which may
// speak for others (impersonation), and says to each what it was asked. Watches stay open, exec is a WebSocket.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pki } from './pki.mjs';
import { freePorts, work } from './work.mjs';

const { WebSocketServer } = createRequire(join(work, 'npm/'))('ws');
// Channels of `v5.channel.k8s.io`.
const [STDIN, STDOUT, STATUS, CLOSE] = [0, 1, 3, 255];
const EXEC = /^\/api\/v1\/namespaces\/default\/pods\/([a-z0-9-]+)\/exec$/;

const pod = (name) => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'default', resourceVersion: '1' },
  spec: { containers: [{ name: 'c', image: 'example' }] }, status: { phase: 'Running' } });

/** @param token of the service account; whoever has another is nobody */
export async function startKubernetes({ token }) {
  const [port] = await freePorts(1);
  const file = pki();
  const seen = [];
  const watches = new Set();
  const server = createServer({ cert: readFileSync(file('server.crt')), key: readFileSync(file('server.key')) });
  /** Who a request is for: Kubernetes, "User impersonation". */
  const whoIs = (req) => {
    const groups = [];
    for (let at = 0; at < req.rawHeaders.length; at += 2) {
      if (req.rawHeaders[at].toLowerCase() === 'impersonate-group') groups.push(req.rawHeaders[at + 1]);
    }
    const asked = { url: req.url, user: req.headers['impersonate-user'] ?? null, groups, authorization: req.headers.authorization };
    seen.push(asked);
    return req.headers.authorization === `Bearer ${token}` ? asked : null;
  };
  const failure = (res, code, reason) => {
    res.writeHead(code, { 'content-type': 'application/json' });
    res.end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message: reason }));
  };
  server.on('request', async (req, res) => {
    const who = whoIs(req);
    if (!who) return failure(res, 401, 'Unauthorized');
    for await (const part of req) void part;
    const url = new URL(req.url, 'https://api');
    const answer = (status, body) => {
      res.writeHead(status, { 'content-type': 'application/json' });
      res.end(JSON.stringify(body));
    };
    if (url.pathname === '/apis/authentication.k8s.io/v1/selfsubjectreviews') {
      return answer(201, { kind: 'SelfSubjectReview', apiVersion: 'authentication.k8s.io/v1', metadata: {},
        status: { userInfo: { username: who.user, groups: who.groups } } });
    }
    if (url.pathname !== '/api/v1/namespaces/default/pods') return failure(res, 404, 'NotFound');
    if (url.searchParams.get('watch') !== 'true') {
      return answer(200, { kind: 'PodList', apiVersion: 'v1', metadata: { resourceVersion: '1' }, items: [pod('web-1')] });
    }
    res.writeHead(200, { 'content-type': 'application/json' });
    res.flushHeaders();
    watches.add(res);
    res.on('close', () => watches.delete(res));
  });
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => (offered.has('v5.channel.k8s.io') ? 'v5.channel.k8s.io' : 'v4.channel.k8s.io') });
  server.on('upgrade', (req, socket, head) => {
    const who = whoIs(req);
    const url = new URL(req.url, 'https://api');
    if (!who || !EXEC.test(url.pathname)) return socket.end('HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
    return sockets.handleUpgrade(req, socket, head, (open) => {
      const say = (channel, text) => open.send(Buffer.concat([Buffer.from([channel]), Buffer.from(text)]));
      say(STDOUT, `${who.user} runs ${url.searchParams.getAll('command').join(' ')}\n`);
      const over = () => {
        say(STATUS, JSON.stringify({ metadata: {}, status: 'Success' }));
        open.close();
      };
      if (url.searchParams.get('stdin') !== 'true') return over();
      return open.on('message', (message) => {
        const [channel] = message;
        if (channel === CLOSE) over();
        else if (channel === STDIN && message.length > 1) {
          say(STDOUT, message.subarray(1).toString().toUpperCase());
          if (message.toString().includes('exit')) over();
        }
      });
    });
  });
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  return {
    port, seen, watches,
    /** Tells every watch of another pod. */
    tell: (name) => watches.forEach((res) => res.write(`${JSON.stringify({ type: 'ADDED', object: pod(name) })}\n`)),
    stop: () => new Promise((done) => {
      sockets.clients.forEach((open) => open.terminate());
      server.close(done);
      server.closeAllConnections();
    }),
  };
}
