// Envoy's external authorization by gRPC, asked by a client that others wrote (grpc-js) in the words of Envoy.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect as connectH2 } from 'node:http2';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { startApplication } from './peers/application.mjs';
import { Client } from './peers/client.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { alice, signIn } from './peers/people.mjs';
import { pki } from './peers/pki.mjs';
import { work } from './peers/work.mjs';

const from = createRequire(join(work, 'npm/'));
const grpc = from('@grpc/grpc-js');
const { loadSync } = from('@grpc/proto-loader');
const { Authorization } = grpc.loadPackageDefinition(loadSync(join(import.meta.dirname, 'peers/ext_authz.proto'),
  { keepCase: true, longs: Number, oneofs: true, defaults: true })).envoy.service.auth.v3;
const [ENVOY, STRANGER, NGINX] = ['127.0.0.1', '127.0.0.6', '127.0.0.7'];
const file = pki();
let idp, application, gate, ports;

before(async () => {
  ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports)] });
  application = await startApplication();
  gate = await startGate({ name: 'ext-authz', ports, idp, upstream: { all: application.url },
    routes: [{ name: 'reports', host: 'reports.gate.test', upstream: 'forward_auth', resource: 'reports' },
      { name: 'reports-finance', host: 'reports.gate.test', path: '/finance', upstream: 'forward_auth', resource: 'reports-finance' }],
    rows: [{ resource: 'reports', allow: ['group:staff'], zones: { internal: 'standard', external: 'standard' } },
      { resource: 'reports-finance', allow: ['group:finance'], zones: { internal: 'standard', external: 'standard' } }],
    forwardAuth: [{ proxy: 'envoy', addresses: [ENVOY] }, { proxy: 'nginx', addresses: [NGINX] }] });
});
after(async () => {
  await gate?.stop();
  await application?.stop();
  await idp?.stop();
});

/** A question in the words of Envoy, for a client at `source`. */
function question({ path = '/', headers = {}, source = '192.0.2.7', scheme = 'https', method = 'GET' }) {
  const host = `reports.gate.test:${ports.inside}`;
  const http = { id: '1', method, path, host, scheme, protocol: 'HTTP/2',
    headers: { ':authority': host, ':path': path, ':method': method, 'x-forwarded-for': source, 'x-forwarded-proto': 'https', ...headers } };
  return { attributes: { source: { address: { socket_address: { address: source, port_value: 40_000 } } }, request: { http } } };
}

/** Asks at the portal's host, with a real client of gRPC. */
function ask(about) {
  const asking = new Authorization(`127.0.0.1:${ports.inside}`, grpc.credentials.createSsl(readFileSync(file('ca.crt'))),
    { 'grpc.ssl_target_name_override': 'auth.gate.test', 'grpc.default_authority': `auth.gate.test:${ports.inside}` });
  return new Promise((done, failed) => asking.Check(question(about), { deadline: Date.now() + 20_000 }, (error, answer) => {
    asking.close();
    if (error) failed(error);
    else done(answer);
  }));
}

/** The same message from another address of this machine, which grpc-js cannot choose. */
async function askFrom(localAddress, about) {
  const { requestSerialize, responseDeserialize } = Authorization.service.Check;
  const message = requestSerialize(question(about));
  const length = Buffer.alloc(5);
  length.writeUInt32BE(message.length, 1);
  const socket = connectTls({ host: '127.0.0.1', port: ports.inside, localAddress, servername: 'auth.gate.test',
    ca: readFileSync(file('ca.crt')), ALPNProtocols: ['h2'] });
  const session = connectH2(`https://auth.gate.test:${ports.inside}`, { createConnection: () => socket });
  const stream = session.request({ ':method': 'POST', ':path': '/envoy.service.auth.v3.Authorization/Check',
    'content-type': 'application/grpc', te: 'trailers' });
  let trailers;
  stream.on('trailers', (found) => { trailers = found; });
  stream.end(Buffer.concat([length, message]));
  const body = Buffer.concat(await stream.toArray());
  session.close();
  return { trailers, ...responseDeserialize(body.subarray(5)) };
}

const listed = (response) => Object.fromEntries(response.headers.map(({ header }) => [header.key, header.value]));
const at = (path = '/') => gate.at('reports', path);

/** Signs in by what Envoy is told to answer, and then at the gate itself, where `/.torhaus/` of this host leads. */
async function signedIn() {
  const browser = new Client();
  const { denied_response: denied } = await ask({ path: '/deep/page?q=1', headers: { accept: 'text/html', 'sec-fetch-mode': 'navigate' } });
  assert.equal(denied.status.code, 303);
  const told = listed(denied);
  assert.match(told.location, new RegExp(`^${gate.at('auth', '/login')}`), JSON.stringify(told));
  assert.equal(told['x-torhaus-reason'], 'login_needed');
  browser.keep(at(), told['set-cookie']);
  const back = await signIn(browser, told.location, alice);
  assert.equal(back.url, at('/deep/page?q=1'), back.text);
  browser.close();
  return `theirs=1; __Host-torhaus=${browser.cookie(at(), '__Host-torhaus')}; other=2`;
}

test('a person signs in, comes back to the page that was asked for, and the application is told who it is', async () => {
  const cookie = await signedIn();
  const answer = await ask({ path: '/deep/page?q=1', headers: { cookie, 'x-forwarded-user': 'root', 'x-webauth-user': 'root',
    'remote-user': 'root', 'x-torhaus-assertion': 'mine', accept: 'text/html' } });
  assert.equal(answer.status.code, 0, JSON.stringify(answer));
  const told = listed(answer.ok_response);
  assert.deepEqual([told['x-forwarded-user'], told['x-forwarded-groups']], ['alice', 'admins,staff']);
  assert.equal(told['x-torhaus-assertion'].split('.').length, 3);
  assert.equal(told.cookie, 'theirs=1; other=2', 'our own cookie goes no further');
  // What nobody says is taken away, and never what was just set, nor what Envoy says itself.
  const removed = answer.ok_response.headers_to_remove;
  for (const name of ['x-webauth-user', 'remote-user', 'x-forwarded-email']) assert.ok(removed.includes(name) !== (name in told), name);
  for (const name of [...Object.keys(told), 'x-forwarded-for', 'x-forwarded-proto']) assert.ok(!removed.includes(name), name);
  assert.ok(answer.ok_response.headers.every(({ append_action: action }) => action === 2), 'set in the place of what was there');
  // The same record as for any other request.
  const line = gate.audit().split('\n').filter(Boolean).map((text) => JSON.parse(text)).findLast(({ resource }) => resource === 'reports');
  assert.deepEqual([line.verdict, line.listener], ['allow', 'forward-auth'], JSON.stringify(line));
});

test('a person without the group is refused with the reason, and a program is not redirected', async () => {
  const cookie = await signedIn();
  const refused = await ask({ path: '/finance/q3', headers: { cookie, accept: 'application/json' } });
  assert.deepEqual([refused.status.code, refused.denied_response.status.code], [7, 403]);
  assert.equal(listed(refused.denied_response)['x-torhaus-reason'], 'not_allowed');
  assert.match(refused.denied_response.body, /urn:torhaus:reason:not_allowed/);
  const nobody = await ask({ path: '/api', headers: { accept: 'application/json' } });
  assert.deepEqual([nobody.status.code, nobody.denied_response.status.code], [16, 401]);
  assert.equal(listed(nobody.denied_response).location, undefined);
});

test('only a listed Envoy is heard, and a question with two readings is refused', async () => {
  const cookie = await signedIn();
  const good = await askFrom(ENVOY, { headers: { cookie } });
  assert.deepEqual([good.trailers['grpc-status'], good.status.code], ['0', 0], JSON.stringify(good));
  // Forged by somebody who is not listed, and by another proxy that is, in its own way.
  for (const address of [STRANGER, NGINX]) {
    const forged = await askFrom(address, { headers: { cookie }, source: '10.1.2.3' });
    assert.deepEqual([forged.denied_response.status.code, listed(forged.denied_response)['x-torhaus-reason']], [403, 'peer_not_trusted'], address);
  }
  for (const [about, why] of [[{ path: '/a/../finance' }, /canonical/], [{ scheme: 'http' }, /in the clear/], [{ source: '' }, /address/],
    [{ headers: { x_forwarded_user: 'root' } }, /spelled in another way/], [{ path: '/.torhaus/session?code=x' }, /own pages/],
    [{ path: '/public#/../finance' }, /malformed/], [{ headers: { 'x-forwarded-for': 'ü' } }, /malformed/]]) {
    const { denied_response: denied } = await ask({ ...about, headers: { cookie, ...about.headers } });
    assert.equal(denied.status.code, 403, JSON.stringify(about));
    assert.match(denied.body, why);
  }
});
