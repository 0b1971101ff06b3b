// Certificates that Torhaus issues itself, in the eyes of OpenSSL, curl and pkilint.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startApplication } from './peers/application.mjs';
import { run } from './peers/command.mjs';
import { client, gatePorts, reason, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { pki } from './peers/pki.mjs';
import { work } from './peers/work.mjs';

const BACKUP = 'spiffe://gate.test/backup';
const file = pki();
const lint = (program) => join(work, 'python/bin', program);
let idp, application, gate, ports;

before(async () => {
  ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports)] });
  application = await startApplication();
  gate = await startGate({ name: 'own-ca', ports, idp, upstream: { all: application.url }, ownCa: true });
});
after(async () => {
  await gate?.stop();
  await application?.stop();
  await idp?.stop();
});

const own = (name) => join(gate.folder, name);

async function openssl(...args) {
  const out = await run('openssl', args);
  return { ...out, said: out.stdout + out.stderr };
}

async function curl(address, ...more) {
  const out = await run('curl', ['-sS', '--cacert', file('ca.crt'), '--resolve', `*:${ports.inside}:127.0.0.1`, ...more, '-w', '\n%{http_code}', address]);
  const end = out.stdout.lastIndexOf('\n');
  return { status: Number(out.stdout.slice(end + 1)), body: out.stdout.slice(0, end), stderr: out.stderr };
}

/** Key, request and certificate of one holder; the request asks for more than anybody ordered. */
async function issued(name, key, ...order) {
  const made = await openssl('req', '-new', '-nodes', ...key, '-subj', '/CN=somebody else', '-keyout', own(`${name}.key`), '-out', own(`${name}.csr`),
    '-addext', 'subjectAltName=DNS:admin.gate.test', '-addext', 'basicConstraints=critical,CA:TRUE');
  assert.equal(made.code, 0, made.said);
  const chain = gate.command('cert', 'issue', '--csr', own(`${name}.csr`), '--why', 'a test', ...order);
  writeFileSync(own(`${name}.pem`), chain);
  const [leaf, issuer] = chain.split(/(?<=-----END CERTIFICATE-----\n)/);
  writeFileSync(own(`${name}.leaf.pem`), leaf);
  writeFileSync(own('issuing.pem'), issuer);
  writeFileSync(own('root.pem'), gate.command('ca', 'export'));
  return (await openssl('x509', '-in', own(`${name}.leaf.pem`), '-noout', '-serial')).stdout.trim().split('=')[1].toLowerCase();
}

const EC = (curve) => ['-newkey', 'ec', '-pkeyopt', `ec_paramgen_curve:${curve}`];
const HOLDERS = [
  ['p256', EC('P-256'), ['--profile', 'service', '--name', BACKUP], ['sslclient', 'sslserver']],
  ['p384', EC('P-384'), ['--profile', 'device', '--user', 'alice', '--name', 'laptop.alice.gate.test'], ['sslclient']],
  ['ed25519', ['-newkey', 'ed25519'], ['--profile', 'user', '--user', 'alice', '--name', 'alice@gate.test'], ['sslclient']],
  ['rsa', ['-newkey', 'rsa:2048'], ['--profile', 'server', '--name', 'www.gate.test', '--name', '127.0.0.1'], ['sslserver']],
];
for (const [name, key, order, purposes] of HOLDERS) {
  test(`openssl verify, with the list, and pkilint accept a certificate for a key of ${name}`, async () => {
    await issued(name, key, ...order);
    await list();
    for (const purpose of purposes) {
      const verified = await openssl('verify', '-x509_strict', '-purpose', purpose, '-CAfile', own('root.pem'), '-untrusted', own('issuing.pem'),
        '-crl_check', '-CRLfile', own('list.pem'), own(`${name}.leaf.pem`));
      assert.match(verified.said, /: OK/, verified.said);
    }
    const text = (await openssl('x509', '-in', own(`${name}.leaf.pem`), '-noout', '-text')).stdout;
    assert.doesNotMatch(text, /admin\.gate\.test|somebody else|CA:TRUE/);
    assert.match(text, /CA:FALSE/);
    await faultless('lint_pkix_cert', 'lint', own(`${name}.leaf.pem`));
  });
}

test('pkilint finds no fault with the root, the issuing authority and the list', async () => {
  await list();
  await faultless('lint_pkix_cert', 'lint', own('root.pem'));
  await faultless('lint_pkix_cert', 'lint', own('issuing.pem'));
  await faultless('lint_crl', 'lint', '-t', 'CRL', '-p', 'PKIX', own('list.pem'));
});

test('a key that is too weak is refused with a sentence', async () => {
  await assert.rejects(issued('weak', ['-newkey', 'rsa:1024'], '--profile', 'service', '--name', BACKUP), /at least 2048 bits/);
});

test('curl opens a row with it; revoked, curl is refused, and openssl finds it in the list', async () => {
  const serial = await issued('backup', EC('P-256'), '--profile', 'service', '--name', BACKUP);
  const shown = ['--cert', own('backup.pem'), '--key', own('backup.key')];
  assert.equal((await curl(gate.at('locked-backup'), ...shown)).status, 200);
  gate.command('cert', 'revoke', '--serial', serial, '--reason', 'keyCompromise', '--why', 'a test');
  assert.match((await curl(gate.at('locked-backup'), ...shown)).stderr, /certificate revoked/);
  const answer = await curl(gate.at('backup'), ...shown);
  assert.deepEqual([answer.status, JSON.parse(answer.body).type], [403, reason('certificate_revoked')]);
  assert.match(await list(), new RegExp(`Serial Number: ${serial}[^]*Key Compromise`, 'i'));
  const verified = await openssl('verify', '-CAfile', own('root.pem'), '-untrusted', own('issuing.pem'), '-crl_check', '-CRLfile', own('list.pem'), own('backup.leaf.pem'));
  assert.match(verified.said, /certificate revoked/);
  await faultless('lint_crl', 'lint', '-t', 'CRL', '-p', 'PKIX', own('list.pem'));
});

/** Fetches the published list; what OpenSSL reads in it. */
async function list() {
  const [authority] = JSON.parse(gate.command('ca', 'status', '--output', 'json')).authorities;
  const fetched = await curl(gate.at('auth', `/ca/${authority.id}.crl`), '-o', own('list.der'));
  assert.equal(fetched.status, 200);
  const read = await openssl('crl', '-inform', 'der', '-in', own('list.der'), '-CAfile', own('issuing.pem'), '-out', own('list.pem'));
  assert.match(read.said, /verify OK/);
  return (await openssl('crl', '-in', own('list.pem'), '-noout', '-text')).stdout;
}

async function faultless(program, ...args) {
  const out = await run(lint(program), [...args, '-s', 'WARNING', '-f', 'JSON'], { within: 60_000 });
  assert.notEqual(out.stdout, '', out.stderr);
  const found = JSON.parse(out.stdout).results.flatMap((result) => result.finding_descriptions);
  // pkilint 0.13 knows the schemes of the web only; a SPIFFE ID is a URI (SPIFFE-ID section 2, RFC 3986).
  const faults = found.filter(({ code, message }) => !(code === 'pkix.invalid_uri_syntax' && message?.includes(`"${BACKUP}"`)));
  assert.deepEqual(faults, [], out.stdout);
}
