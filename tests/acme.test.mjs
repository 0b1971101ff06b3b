// ACME clients as others wrote them, on the gate's own listener: devices and services obtain, renew and revoke.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { acmeClients } from './peers/acme.mjs';
import { startApplication } from './peers/application.mjs';
import { Client } from './peers/client.mjs';
import { run } from './peers/command.mjs';
import { client, gatePorts, reason, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { startNames } from './peers/names.mjs';
import { alice, aliceWithCode, bob, signIn } from './peers/people.mjs';
import { pki } from './peers/pki.mjs';
import { freePorts, work } from './peers/work.mjs';

const bobWithCode = { ...bob, otp: aliceWithCode.otp };
let idp, application, names, gate, clients, ports, root;

before(async () => {
  ports = await gatePorts();
  const [http, tls] = await freePorts(2);
  names = await startNames();
  idp = await startIdp({ clients: [client(ports)] });
  application = await startApplication();
  const probe = { networks: ['127.0.0.0/8'], resolver: names.address, http_port: http, tls_port: tls };
  gate = await startGate({ name: 'acme', ports, idp, upstream: { all: application.url }, ownCa: true, acme: { probe } });
  clients = acmeClients({ name: 'acme', portal: ports.portal, ports: { http, tls }, roots: readFileSync(pki()('ca.crt')) });
  clients.tls = ['--tls', '--tls.port', `127.0.0.1:${tls}`];
  root = join(gate.folder, 'root.pem');
  writeFileSync(root, gate.command('ca', 'export'));
});
after(async () => {
  await gate?.stop();
  await application?.stop();
  await idp?.stop();
  await names?.stop();
});

const json = (...args) => JSON.parse(gate.command(...args, '--output', 'json'));
const key = (...more) => json('eab', 'create', ...more);
const device = (host, owner = 'alice') => key('--owner', owner, '--profile', 'device', '--label', host.split('.')[0], '--name', host);
const server = (host) => key('--owner', 'web team', '--profile', 'server', '--challenge', '--name', host);
const ended = (out) => assert.equal(out.code, 0, out.said);

/** The serial of a chain that openssl believes. */
async function believed(chain, purpose) {
  const verified = await run('openssl', ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', root, '-untrusted', chain, chain]);
  assert.match(verified.stdout, /: OK/, verified.stdout + verified.stderr);
  assert.equal(readFileSync(chain, 'utf8').match(/BEGIN CERTIFICATE/g).length, 2, 'leaf and issuer');
  const shown = await run('openssl', ['x509', '-in', chain, '-noout', '-serial']);
  return shown.stdout.trim().split('=')[1].toLowerCase();
}

const ledger = (serial) => json('cert', 'show', serial);

const PYPI = join(work, 'python/bin/certbot');
const machineOf = (name, host) => (name === 'certbot-of-pypi' ? clients.certbot(host, device(host), host, PYPI) : clients[name](host, device(host)));

/** pkilint finds nothing, from a warning upwards, in the leaf that a client got. */
async function faultless(chain) {
  const leaf = `${chain}.leaf.pem`;
  writeFileSync(leaf, readFileSync(chain, 'utf8').split(/(?<=-----END CERTIFICATE-----\n)/)[0]);
  const out = await run(join(work, 'python/bin/lint_pkix_cert'), ['lint', leaf, '-s', 'WARNING', '-f', 'JSON'], { within: 60_000 });
  const faults = JSON.parse(out.stdout).results.flatMap((result) => result.finding_descriptions);
  assert.deepEqual(faults, [], out.stdout);
}

async function lives(machine, purpose) {
  ended(await machine.obtain());
  const first = await believed(machine.chain(), purpose);
  ended(await machine.renew());
  const second = await believed(machine.chain(), purpose);
  await faultless(machine.chain());
  assert.notEqual(second, first, 'a new certificate');
  assert.equal(ledger(second).revoked, undefined);
  ended(await machine.revoke());
  assert.ok(ledger(second).revoked, 'revoked at the gate');
  return ledger(second);
}

for (const name of ['certbot', 'certbot-of-pypi', 'acme', 'lego', 'uacme', 'dehydrated']) {
  test(`${name} obtains, renews and revokes with a one-time key, and no challenge`, async () => {
    const host = `${name}.alice.devices.gate.test`;
    const line = await lives(machineOf(name, host), 'sslclient');
    assert.deepEqual([line.profile, line.owner], ['device', 'alice']);
    assert.deepEqual(line.names, ['user:alice', `dns:${host}`]);
  });
}

for (const [name, challenge] of [['certbot', 'http-01'], ['lego', 'http-01'], ['lego', 'tls-alpn-01']]) {
  test(`${name} proves a name by ${challenge}`, async () => {
    const host = `${name}-${challenge}.gate.test`;
    const more = challenge === 'tls-alpn-01' ? [host, clients.tls] : [];
    const line = await lives(clients[name](host, server(host), ...more), 'sslserver');
    assert.deepEqual(line.names, [`dns:${host}`]);
  });
}

test('a one-time key is used once, for its own names, and not after it was taken back', async () => {
  const host = 'once.alice.devices.gate.test';
  const made = device(host);
  ended(await clients.lego(host, made).obtain());
  const again = await clients.lego(host, made, 'again').obtain();
  assert.notEqual(again.code, 0);
  assert.match(again.said, /unauthorized.*external account binding is not accepted/s);
  const other = await clients.lego('bob.devices.gate.test', device('other.alice.devices.gate.test'), 'other').obtain();
  assert.match(other.said, /rejectedIdentifier/);
  const back = device('back.alice.devices.gate.test');
  gate.command('eab', 'revoke', back.kid);
  const refused = await clients.lego('back.alice.devices.gate.test', back).obtain();
  assert.match(refused.said, /external account binding is not accepted/);
  assert.match(gate.audit(), /rejectedIdentifier/);
});

test('who leaves can neither order nor renew, and what the machine holds opens nothing', async () => {
  const host = 'left.bob.devices.gate.test';
  const machine = clients.lego(host, device(host, 'bob'));
  ended(await machine.obtain());
  const serial = await believed(machine.chain(), 'sslclient');
  gate.command('cert', 'revoke', '--owner', 'bob', '--why', 'left the company');
  assert.ok(ledger(serial).revoked);
  const renewed = await machine.renew();
  assert.notEqual(renewed.code, 0);
  assert.match(renewed.said, /unauthorized/);
  assert.deepEqual(json('eab', 'list', '--owner', 'bob').map((one) => one.state), ['revoked']);
});

test('alice enrols her laptop in the portal, with lego; revoked there, it opens nothing', async () => {
  const page = gate.at('auth', '/devices');
  const weak = new Client();
  const refused = await signIn(weak, page, alice);
  assert.doesNotMatch(refused.text, /name="add"/, 'a password alone enrols nothing');
  weak.close();

  const browser = new Client();
  const devices = await signIn(browser, page, aliceWithCode);
  assert.match(devices.text, /name="add"/, devices.text);
  const made = await browser.go(page, { form: { add: "Alice's Laptop" } });
  const shown = (id) => new RegExp(`<code id="${id}">([^<]+)</code>`).exec(made.text)[1];
  const host = shown('name');
  assert.equal(host, 'alice-s-laptop.alice.devices.gate.test');
  assert.equal(made.headers['cache-control'], 'no-store');
  const machine = clients.lego(host, { kid: shown('kid'), hmac_key: shown('hmac') });
  ended(await machine.obtain());
  const serial = await believed(machine.chain(), 'sslclient');
  assert.doesNotMatch((await browser.go(page)).text, new RegExp(shown('hmac')), 'shown once');

  // The row wants her session and her machine.
  const agent = new Agent({ ca: readFileSync(pki()('ca.crt')), cert: readFileSync(machine.chain()), key: readFileSync(machine.key()), keepAlive: false,
    lookup: (_host, options, done) => (options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)) });
  await browser.go(gate.at('workshop'));
  const cookie = `__Host-torhaus=${browser.cookie(gate.at('workshop'), '__Host-torhaus')}`;
  const open = () => new Promise((done, failed) => {
    request(gate.at('workshop'), { agent, headers: { cookie, accept: 'application/json' } }, (res) => {
      let text = '';
      res.on('data', (chunk) => { text += chunk; }).on('end', () => done([res.statusCode, JSON.parse(text)]));
    }).on('error', failed).end();
  });
  assert.equal((await open())[0], 200);
  const form = { end: /name="end" value="([0-9a-f]{32})" aria-label="Revoke device: alice-s-laptop"/.exec((await browser.go(page)).text)[1] };
  const stranger = new Client();
  await signIn(stranger, page, bobWithCode);
  const stolen = await stranger.go(page, { form });
  assert.equal(stolen.status, 400, 'nobody ends what is not theirs');
  stranger.close();
  assert.equal((await open())[0], 200);
  const foreign = await browser.send(page, { method: 'POST', body: new URLSearchParams(form).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', origin: 'https://elsewhere.test', 'sec-fetch-site': 'cross-site' } });
  assert.equal(foreign.status, 403, 'nor by a form of another site');

  const gone = await browser.go(page, { form });
  assert.match(gone.text, /The device was revoked/);
  const [status, answer] = await open();
  assert.deepEqual([status, answer.type], [403, reason('requirement_missing')], 'her session is good, her machine is not');
  assert.equal(ledger(serial).revoked.why, '`alice-s-laptop` of person alice was revoked by alice in the portal');
  const renewed = await machine.renew();
  assert.notEqual(renewed.code, 0, 'and it cannot renew');
  browser.close();
  agent.destroy();
});
