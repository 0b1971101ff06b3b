// Services with client certificates, as curl and openssl present them.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startApplication } from './peers/application.mjs';
import { run } from './peers/command.mjs';
import { client, gatePorts, reason, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { pki } from './peers/pki.mjs';

const BACKUP = 'spiffe://gate.test/backup';
const HTTP = ['--http1.1', '--http2'];
const file = pki();
let idp, application, gate, ports;

before(async () => {
  ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports)] });
  application = await startApplication();
  gate = await startGate({ name: 'certificates', ports, idp, upstream: { all: application.url } });
});
after(async () => {
  await gate?.stop();
  await application?.stop();
  await idp?.stop();
});

/** `https://HOST.gate.test/PATH`, with a certificate of the test PKI or none. */
async function curl(host, certificate, { version = '--http2', path = '/', more = [] } = {}) {
  const own = certificate ? ['--cert', file(`${certificate}.crt`), '--key', file(`${certificate}.key`)] : [];
  const out = await run('curl', ['-sS', version, '--cacert', file('ca.crt'), ...own, ...more, '-w', '\n%{http_code} %{http_version}',
    '--resolve', `*:${ports.inside}:127.0.0.1`, gate.at(host, path)]);
  const end = out.stdout.lastIndexOf('\n');
  const [status, spoken] = out.stdout.slice(end + 1).split(' ');
  return { code: out.code, stderr: out.stderr, status: Number(status), spoken, body: out.stdout.slice(0, end) };
}

async function sClient(host, certificate, ask) {
  const own = certificate ? ['-cert', file(`${certificate}.crt`), '-key', file(`${certificate}.key`)] : [];
  return run('openssl', ['s_client', '-quiet', '-connect', `127.0.0.1:${ports.inside}`, '-servername', `${host}.gate.test`,
    '-CAfile', file('ca.crt'), '-verify_return_error', ...own], { input: ask });
}
const get = (host, path) => `GET ${path} HTTP/1.1\r\nHost: ${host}.gate.test:${ports.inside}\r\nConnection: close\r\n\r\n`;

test('a service with its certificate reaches its application by HTTP/1.1 and by HTTP/2', async () => {
  for (const host of ['backup', 'locked-backup']) {
    for (const version of HTTP) {
      const answer = await curl(host, 'backup', { version, path: '/v1/jobs' });
      assert.deepEqual([answer.status, answer.spoken], [200, version === '--http2' ? '2' : '1.1'], answer.stderr);
      const seen = JSON.parse(answer.body);
      assert.deepEqual([seen.path, seen.user], ['/v1/jobs', BACKUP]);
      assert.equal(seen.host, `${host}.gate.test:${ports.inside}`, `Host, ${version}`);
    }
  }
});

test('openssl s_client with a certificate gets the answer of the application, and the audit log names the service', async () => {
  const answer = await sClient('locked-backup', 'backup', get('locked-backup', '/from-openssl'));
  assert.match(answer.stdout, /^HTTP\/1.1 200 /);
  assert.match(answer.stdout, /"path":"\/from-openssl","host":"locked-backup\.gate\.test/);
  assert.match(gate.command('audit', 'tail'), new RegExp(`decision allow ${BACKUP} -> backup GET /`));
});

// What is refused in the handshake, and how TLS says it; where a certificate is optional, the answer says it.
const REFUSED = [
  ['no certificate', null, /certificate required/, 'login_needed', 401],
  ['a certificate of another authority', 'stranger', /unknown ca/, 'certificate_invalid', 403],
  ['an expired certificate', 'expired', /certificate expired/, 'certificate_expired', 403],
  ['a certificate with two SPIFFE names', 'two-names', /bad certificate/, 'certificate_invalid', 403],
  ['a certificate for servers only', 'server-only', /unsupported certificate/, 'certificate_invalid', 403],
];
for (const [what, certificate, alert, why, status] of REFUSED) {
  test(`${what} is refused in the handshake where one is required`, async () => {
    const before = application.requests.length;
    for (const version of HTTP) {
      const answer = await curl('locked-backup', certificate, { version });
      assert.notEqual(answer.code, 0);
      assert.match(answer.stderr, alert);
    }
    const answer = await sClient('locked-backup', certificate, get('locked-backup', '/'));
    assert.doesNotMatch(answer.stdout, /HTTP/);
    assert.match(answer.stderr, alert);
    assert.equal(application.requests.length, before, 'the application saw nothing');
  });

  test(`${what} is refused with the reason where one is optional`, async () => {
    const before = application.requests.length;
    for (const version of HTTP) {
      const answer = await curl('backup', certificate, { version });
      const problem = JSON.parse(answer.body);
      assert.deepEqual([answer.status, problem.status, problem.type], [status, status, reason(why)]);
    }
    assert.equal(application.requests.length, before, 'the application saw nothing');
  });
}

test('a service that the row does not name is refused, by its name', async () => {
  const answer = await curl('backup', 'reports');
  assert.deepEqual([answer.status, JSON.parse(answer.body).type], [403, reason('not_allowed')]);
  assert.match(gate.command('audit', 'tail'), /decision deny not_allowed spiffe:\/\/gate\.test\/reports -> backup/);
});

test('a connection to one host does not reach another host behind other rules', async () => {
  for (const host of ['locked-backup', 'notes']) {
    const answer = await sClient('backup', 'backup', get(host, '/'));
    assert.match(answer.stdout, /^HTTP\/1.1 421 /, host);
    assert.match(answer.stdout, new RegExp(reason('wrong_host')));
  }
});

test('what curl sends under our names does not arrive, by HTTP/1.1 and by HTTP/2', async () => {
  const forged = ['X-Forwarded-User: root', 'X_Forwarded_User: root', 'x-forwarded-groups: admins', 'Client-Cert: :AAAA:',
    'X-Torhaus-Assertion: eyJ.root', 'Forwarded: for=10.0.0.1', 'X-Real-IP: 10.0.0.1'];
  for (const version of HTTP) {
    const answer = await curl('backup', 'backup', { version, more: forged.flatMap((line) => ['-H', line]) });
    const { headers, user } = JSON.parse(answer.body);
    assert.equal(user, BACKUP);
    assert.deepEqual([headers['x-real-ip'], headers['x-forwarded-groups'], headers['client-cert']], ['127.0.0.1', '', undefined]);
    assert.doesNotMatch(JSON.stringify(headers), /root|10\.0\.0\.1/);
  }
});

test('cookies that HTTP/2 sends in pieces arrive as one header', async () => {
  const answer = await curl('backup', 'backup', { more: ['-H', 'cookie: a=1', '-H', 'cookie: b=2'] });
  assert.equal(answer.status, 200);
  const { rawHeaders } = application.requests.at(-1);
  const cookies = rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1].toLowerCase() === 'cookie');
  assert.deepEqual(cookies, ['a=1; b=2']);
});
