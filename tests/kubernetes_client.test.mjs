// The official client of Kubernetes behind the profile `kubernetes-api`: reads, a watch that stays open, exec by
// WebSocket; the cluster hears by impersonation who it is, from the gate and from nobody else.
import assert from 'node:assert/strict';
import { writeFileSync, readFileSync } from 'node:fs';
import { request } from 'node:https';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { API, startIdp } from './peers/idp.mjs';
import { startKubernetes } from './peers/kube_double.mjs';
import { pki } from './peers/pki.mjs';
import { emptyFolder, until, work } from './peers/work.mjs';

const from = createRequire(join(work, 'npm/'));
const MACHINE = { client_id: 'machine', client_secret: 'a-secret-of-a-machine', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };
const SERVICE_ACCOUNT = 'the-token-of-a-service-account';
const SILENT = 20_000;
const file = pki();
let k8s, idp, cluster, gate, ports;

before(async () => {
  // It reads the system's authorities once, when it is loaded.
  k8s = await import(from.resolve('@kubernetes/client-node'));
  ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports), MACHINE] });
  cluster = await startKubernetes({ token: SERVICE_ACCOUNT });
  const token = join(emptyFolder('kube'), 'token');
  writeFileSync(token, SERVICE_ACCOUNT, { mode: 0o600 });
  const upstream = `https://localhost:${cluster.port}`;
  const everywhere = (tier) => ({ internal: tier, external: tier });
  gate = await startGate({ name: 'kubernetes-client', ports, idp, upstream: { all: 'http://127.0.0.1:9' },
    routes: [{ name: 'cluster', host: 'localhost', resource: 'cluster', upstream, upstream_tls: { ca_file: file('ca.crt') }, profile: 'kubernetes-api',
      send: { Authorization: { file: token, prefix: 'Bearer ' } }, client_auth: { mode: 'optional', trust_domains: ['clients'] } }],
    rows: [{ resource: 'cluster', allow: ['user:machine', 'service:spiffe://gate.test/backup'], zones: everywhere('standard') }] });
});
after(async () => {
  await gate?.stop();
  await cluster?.stop();
  await idp?.stop();
});

/** A kubeconfig of somebody: a bearer token of the identity provider, or a client certificate. */
function config({ token, certificate }) {
  const found = new k8s.KubeConfig();
  const user = certificate ? { name: 'me', certFile: file(`${certificate}.crt`), keyFile: file(`${certificate}.key`) } : { name: 'me', token };
  found.loadFromOptions({ clusters: [{ name: 'gate', server: `https://localhost:${ports.inside}`, caFile: file('ca.crt'), skipTLSVerify: false }],
    users: [user], contexts: [{ name: 'here', user: 'me', cluster: 'gate' }], currentContext: 'here' });
  return found;
}

async function bearer() {
  const basic = Buffer.from(`${MACHINE.client_id}:${MACHINE.client_secret}`).toString('base64');
  const body = new URLSearchParams({ grant_type: 'client_credentials', resource: API, scope: 'api:read' }).toString();
  return JSON.parse(await new Promise((done, failed) => {
    const out = request(`${idp.issuer}/token`, { method: 'POST', ca: readFileSync(file('ca.crt')),
      headers: { authorization: `Basic ${basic}`, 'content-type': 'application/x-www-form-urlencoded' } }, (res) => {
      let text = '';
      res.on('data', (part) => { text += part; }).on('end', () => done(text));
    });
    out.on('error', failed).end(body);
  })).access_token;
}

async function callers() {
  return [['a bearer token', config({ token: await bearer() }), 'machine'],
    ['a client certificate', config({ certificate: 'backup' }), 'spiffe://gate.test/backup']];
}

test('the cluster hears by impersonation who reads, and only from the gate', async () => {
  for (const [what, kubeconfig, user] of await callers()) {
    const list = await kubeconfig.makeApiClient(k8s.CoreV1Api).listNamespacedPod({ namespace: 'default' });
    assert.deepEqual(list.items.map(({ metadata }) => metadata.name), ['web-1'], what);
    const asked = cluster.seen.at(-1);
    assert.deepEqual([asked.user, asked.authorization], [user, `Bearer ${SERVICE_ACCOUNT}`], what);
    const review = await kubeconfig.makeApiClient(k8s.AuthenticationV1Api).createSelfSubjectReview({ body: {} });
    assert.equal(review.status.userInfo.username, user, what);
  }
});

test('exec runs by WebSocket, both ways, and ends with its status', async () => {
  for (const [what, kubeconfig, user] of await callers()) {
    const [stdout, stderr, stdin] = [new PassThrough(), new PassThrough(), new PassThrough()];
    let said = '';
    stdout.on('data', (part) => { said += part; });
    const status = new Promise((done) => {
      void new k8s.Exec(kubeconfig).exec('default', 'web-1', 'c', ['cat', '-'], stdout, stderr, stdin, false, done);
    });
    await until(`${what}: the command says who runs it`, () => said === `${user} runs cat -\n`);
    stdin.write('hello\n');
    await until(`${what}: what was said came back`, () => said.endsWith('HELLO\n'));
    stdin.write('exit\n');
    assert.equal((await status).status, 'Success', what);
    assert.equal(cluster.seen.at(-1).user, user, what);
  }
});

test('a watch stays open while nothing happens, and ends when its caller leaves', async () => {
  const [, [, kubeconfig]] = await callers();
  const told = [];
  let ended;
  const watch = await new k8s.Watch(kubeconfig).watch('/api/v1/namespaces/default/pods', {}, (type, { metadata }) => told.push(`${type} ${metadata.name}`),
    (error) => { ended = error ?? 'done'; });
  await until('the watch is open', () => cluster.watches.size === 1);
  cluster.tell('web-2');
  await until('it tells', () => told.includes('ADDED web-2'));
  await pause(SILENT);
  assert.equal(ended, undefined, 'silence ends nothing');
  cluster.tell('web-3');
  await until('it still tells', () => told.includes('ADDED web-3'));
  watch.abort();
  await until('the cluster heard that it is over', () => cluster.watches.size === 0);
});

test('whoever may not is refused with a status for programs, and never redirected', async () => {
  const before = cluster.seen.length;
  for (const [what, kubeconfig, code, reason] of [
    ['another service', config({ certificate: 'reports' }), 403, 'not_allowed'],
    ['a certificate of strangers', config({ certificate: 'stranger' }), 403, 'certificate_invalid'],
    ['nobody', config({ token: undefined }), 401, 'login_needed'],
  ]) {
    const refused = await kubeconfig.makeApiClient(k8s.CoreV1Api).listNamespacedPod({ namespace: 'default' }).then(() => null, (error) => error);
    assert.equal(refused?.code, code, `${what}: ${refused}`);
    // As a browser would ask: still no redirect.
    const answer = await new Promise((done, failed) => {
      const certificate = kubeconfig.getCurrentUser().certFile && { cert: readFileSync(kubeconfig.getCurrentUser().certFile), key: readFileSync(kubeconfig.getCurrentUser().keyFile) };
      request(`https://localhost:${ports.inside}/api/v1/namespaces/default/pods`, { ca: readFileSync(file('ca.crt')), ...certificate,
        headers: { accept: 'text/html', 'sec-fetch-mode': 'navigate' } }, (res) => {
        let text = '';
        res.on('data', (part) => { text += part; }).on('end', () => done({ status: res.statusCode, location: res.headers.location, text }));
      }).on('error', failed).end();
    });
    assert.deepEqual([answer.status, answer.location], [code, undefined], what);
    assert.match(answer.text, new RegExp(`<dd><code>${reason}</code>`), what);
  }
  const kubeconfig = config({ certificate: 'reports' });
  const failed = await new k8s.Exec(kubeconfig).exec('default', 'web-1', 'c', ['id'], new PassThrough(), new PassThrough(), null, false).then(() => null, (error) => error);
  assert.ok(failed, 'no exec either');
  assert.equal(cluster.seen.length, before, 'nothing of it reached the cluster');
});
