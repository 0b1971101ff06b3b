// The TLS profile (proxy/src/edge/profile.rs), as two scanners that others wrote see it. What they say goes into the log.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startApplication } from './peers/application.mjs';
import { run } from './peers/command.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';

const SUITES = new Set([
  'TLS_AES_256_GCM_SHA384', 'TLS_AES_128_GCM_SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES128-GCM-SHA256',
]);
const GROUPS = new Set(['x25519', 'secp256r1', 'secp384r1', 'prime256v1', 'X25519MLKEM768']);
const HOST = 'notes.gate.test';
/** A client that is not a scanner. */
const agree = (...more) => run('openssl', ['s_client', '-connect', `127.0.0.1:${ports.inside}`, '-servername', HOST, ...more], { input: '' });
let idp, application, gate, ports;

before(async () => {
  ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports)] });
  application = await startApplication();
  gate = await startGate({ name: 'tls', ports, idp, upstream: { all: application.url } });
});
after(async () => {
  await gate?.stop();
  await application?.stop();
  await idp?.stop();
});

test('sslscan finds the versions, suites and groups of the profile, and nothing else', async () => {
  const out = await run('sslscan', ['--no-colour', '--show-sigs', `--sni-name=${HOST}`, '--xml=-', `127.0.0.1:${ports.inside}`], { within: 120_000 });
  console.log(out.stdout);
  const all = (pattern) => [...out.stdout.matchAll(pattern)].map((found) => found.slice(1));
  const versions = all(/<protocol type="(\w+)" version="([\d.]+)" enabled="(\d)"/g);
  const enabled = versions.filter(([, , on]) => on === '1').map(([type, version]) => `${type} ${version}`);
  // Its probes of TLS 1.2 come without the extended master secret, which the profile requires.
  assert.deepEqual(enabled.filter((version) => version !== 'tls 1.2'), ['tls 1.3']);
  const suites = all(/<cipher [^>]*cipher="([^"]+)"/g).map(([name]) => name);
  assert.ok(suites.length >= 2, `suites: ${suites}`);
  assert.deepEqual(suites.filter((name) => !SUITES.has(name)), [], 'suites that the profile does not name');
  const groups = all(/<group [^>]*name="([^"]+)"/g).map(([name]) => name.split(' ')[0]);
  assert.ok(groups.length >= 2, `groups: ${groups}`);
  assert.deepEqual(groups.filter((name) => !GROUPS.has(name)), [], 'groups that the profile does not name');
  const signatures = all(/<connection-signature-algorithm [^>]*name="([^"]+)"/g).map(([name]) => name);
  // "ANY": it looks at the ServerHello, which comes before the signature.
  assert.deepEqual(signatures.filter((name) => /sha1|md5|dsa_sha224/i.test(name)), []);
  assert.doesNotMatch(out.stdout, /<compression supported="1"/);
  assert.doesNotMatch(out.stdout, /<heartbleed [^>]*vulnerable="1"/);
  // Renegotiation is not supported, or is secure; rustls has none.
  assert.doesNotMatch(out.stdout, /<renegotiation supported="1" secure="0"/);
});

test('TLS 1.2 is spoken with the suites of the profile, forward secrecy and an extended master secret, or not at all', async () => {
  for (const suite of ['ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-AES128-GCM-SHA256']) {
    const out = await agree('-tls1_2', '-cipher', suite);
    assert.match(out.stdout, new RegExp(`Cipher is ${suite}`));
    assert.match(out.stdout, /Extended master secret: yes/);
  }
  for (const weak of ['ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-ECDSA-AES256-SHA384', 'ECDHE-ECDSA-AES128-SHA', 'AES256-GCM-SHA384', 'DHE-RSA-AES256-GCM-SHA384', 'NULL:@SECLEVEL=0']) {
    const out = await agree('-tls1_2', '-cipher', weak);
    assert.match(out.stdout + out.stderr, /handshake failure|no ciphers available|Cipher is \(NONE\)/, weak);
  }
  for (const group of ['P-521', 'ffdhe2048', 'brainpoolP256r1tls13']) {
    const out = await agree('-tls1_3', '-groups', group);
    assert.doesNotMatch(out.stdout, /Cipher is TLS_/, group);
  }
});

test('testssl.sh finds no weakness of its list', async () => {
  const report = join(gate.folder, 'testssl.json');
  // The certificate is of the test's own authority and not what is judged here.
  const out = await run('testssl', ['--quiet', '--color', '0', '--warnings', 'batch', '--openssl-timeout', '10', '--ip', '127.0.0.1', '--jsonfile', report,
    '-p', '-U', '-E', `https://${HOST}:${ports.inside}`], { within: 280_000 });
  console.log(out.stdout);
  const findings = JSON.parse(readFileSync(report, 'utf8'));
  assert.ok(findings.length > 25, `only ${findings.length} findings: the scan broke off\n${out.stderr}`);
  const of = (id) => findings.find((finding) => finding.id === id)?.finding ?? '';
  for (const old of ['SSLv2', 'SSLv3', 'TLS1', 'TLS1_1']) assert.match(of(old), /not offered/, old);
  assert.match(of('TLS1_3'), /^offered/);
  // By way of OpenSSL, which sends the extended master secret, it sees TLS 1.2 as well.
  const suites = [...out.stdout.matchAll(/^ x[0-9a-f]+ +(\S+)/gm)].map((found) => found[1]);
  assert.ok(suites.length >= 4, `suites: ${suites}`);
  assert.deepEqual(suites.filter((name) => !SUITES.has(name)), [], 'suites that the profile does not name');
  const bad = findings.filter((finding) => ['MEDIUM', 'HIGH', 'CRITICAL'].includes(finding.severity) && !/^cert_/.test(finding.id));
  assert.deepEqual(bad, []);
});
