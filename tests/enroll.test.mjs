// `torhaus enroll` on a machine that knows the gate's name: by a browser there, by a code typed elsewhere, as a service.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { request as plainRequest } from 'node:http';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { machineFor } from './peers/acme.mjs';
import { startApplication } from './peers/application.mjs';
import { Client } from './peers/client.mjs';
import { run } from './peers/command.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { alice, aliceWithCode, signIn } from './peers/people.mjs';
import { pki } from './peers/pki.mjs';
import { torhaus, until } from './peers/work.mjs';

let idp, application, gate, machine, ports, root;

before(async () => {
  ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports)] });
  application = await startApplication();
  gate = await startGate({ name: 'enroll', ports, idp, upstream: { all: application.url }, ownCa: true, acme: {} });
  machine = machineFor({ name: 'enroll', portal: ports.portal, roots: readFileSync(pki()('ca.crt')) });
  root = join(machine.folder, 'devices-root.pem');
  writeFileSync(root, gate.command('ca', 'export'));
});
after(async () => {
  for (const peer of [gate, application, idp]) await peer?.stop();
});

const dir = (name) => join(machine.folder, name);
const live = (folder, host) => join(dir(folder), host, 'live');
const ledger = (serial) => JSON.parse(gate.command('cert', 'show', serial, '--output', 'json'));
const enroll = (folder, ...args) => machine.on(torhaus, ['enroll', '--dir', dir(folder), ...args]);

/** Starts the command; `said` is what it printed so far, `end` its exit code. */
function waiting(folder, args, environment = {}) {
  const env = { ...process.env, BROWSER: '', DISPLAY: '', WAYLAND_DISPLAY: '', ...environment };
  const child = spawn(...machine.command(torhaus, ['enroll', '--dir', dir(folder), '--portal', ports.portal, ...args]), { env, timeout: 120_000 });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { text += chunk; });
  const end = new Promise((done) => child.on('close', done));
  return { said: () => text, end, shows: (what) => until(`it says ${what}`, () => what.exec(text), { within: 30_000 }) };
}

/** The browser on that machine comes back to the command. */
const comeBack = (address) => new Promise((done, failed) => {
  plainRequest(address, (res) => { let text = ''; res.on('data', (c) => { text += c; }).on('end', () => done([res.statusCode, text])); }).on('error', failed).end();
});

async function serialOf(chain) {
  const verified = await run('openssl', ['verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', root, '-untrusted', chain, chain]);
  assert.match(verified.stdout, /: OK/, verified.stdout + verified.stderr);
  return (await run('openssl', ['x509', '-in', chain, '-noout', '-serial'])).stdout.trim().split('=')[1].toLowerCase();
}

/** What the row that wants her session and her machine answers. */
async function workshop(browser, folder) {
  const agent = new Agent({ ca: readFileSync(pki()('ca.crt')), cert: readFileSync(join(folder, 'fullchain.pem')), key: readFileSync(join(folder, 'key.pem')), keepAlive: false,
    lookup: (_host, options, done) => (options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)) });
  await browser.go(gate.at('workshop'));
  const cookie = `__Host-torhaus=${browser.cookie(gate.at('workshop'), '__Host-torhaus')}`;
  const status = await new Promise((done, failed) => {
    request(gate.at('workshop'), { agent, headers: { cookie, accept: 'application/json' } }, (res) => { res.resume().on('end', () => done(res.statusCode)); }).on('error', failed).end();
  });
  agent.destroy();
  return status;
}

const plain = (html) => html.replace(/&#x?(\w+);/g, (all, code) => String.fromCharCode(all[2] === 'x' ? parseInt(code, 16) : Number(code))).replaceAll('&quot;', '"').replaceAll('&amp;', '&');
const fields = (page) => Object.fromEntries([...page.text.matchAll(/<input type="hidden" name="(\w+)" value="([^"]*)"/g)].map(([, name, value]) => [name, plain(value)]));
const post = (browser, form) => browser.send(gate.at('auth', '/devices/enroll'), { method: 'POST', body: new URLSearchParams(form).toString(),
  headers: { 'content-type': 'application/x-www-form-urlencoded', origin: new URL(gate.at('auth')).origin, accept: 'text/html' } });
const bring = (claim) => new Client().send(gate.at('auth', '/devices/enroll/key'), { method: 'POST', body: JSON.stringify(claim), headers: { 'content-type': 'application/json' } });

const LAPTOP = 'alice-s-laptop.alice.devices.gate.test';

test('alice enrols her laptop with its browser; it renews, and not any more once it is revoked', async () => {
  const opened = join(machine.folder, 'opened');
  const browserProgram = join(machine.folder, 'browser');
  writeFileSync(browserProgram, `#!/bin/sh\necho "$1" > ${opened}\n`);
  chmodSync(browserProgram, 0o755);
  const ran = join(machine.folder, 'ran');
  const after = `echo "$TORHAUS_NAME $TORHAUS_LIVE" >> ${ran}`;
  const command = waiting('laptop', ['--name', "Alice's Laptop", '--pkcs12', '--after', after, '--ca-file', pki()('ca.crt')], { BROWSER: browserProgram });
  const [address] = await command.shows(/https:\/\/auth\.gate\.test\S+/);
  assert.equal(await until('the browser is opened', () => existsSync(opened) && readFileSync(opened, 'utf8').trim()), address);

  const weak = new Client();
  assert.doesNotMatch((await signIn(weak, address, alice)).text, /name="yes"/, 'a password alone confirms nothing');
  weak.close();
  const browser = new Client();
  const page = await signIn(browser, address, aliceWithCode);
  assert.match(plain(page.text), /for the device Alice's Laptop/);
  assert.match(page.headers['content-security-policy'], /form-action 'self' http:\/\/127\.0\.0\.1:\d+;/);
  const foreign = await browser.send(gate.at('auth', '/devices/enroll'), { method: 'POST', body: new URLSearchParams({ ...fields(page), yes: '1' }).toString(),
    headers: { 'content-type': 'application/x-www-form-urlencoded', origin: 'https://elsewhere.test', 'sec-fetch-site': 'cross-site' } });
  assert.equal(foreign.status, 403, 'no other site confirms for her');
  const confirmed = await post(browser, { ...fields(page), yes: '1' });
  assert.equal(confirmed.status, 303);
  const back = new URL(confirmed.headers.location);
  assert.deepEqual([back.protocol, back.hostname, [...back.searchParams.keys()]], ['http:', '127.0.0.1', ['code', 'state']]);
  const guessed = new URL(back);
  guessed.searchParams.set('state', 'A'.repeat(43));
  assert.equal((await comeBack(guessed))[0], 404, 'another page that found the port is turned away');
  assert.match((await comeBack(back))[1], /Confirmed/);
  assert.equal(await command.end, 0, command.said());

  const folder = live('laptop', LAPTOP);
  assert.match(readlinkSync(folder), /^versions\/1$/);
  for (const name of readdirSync(folder)) assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
  for (const path of [dir('laptop'), join(dir('laptop'), LAPTOP), join(folder, '.')]) assert.equal(statSync(path).mode & 0o777, 0o700, path);
  assert.equal(statSync(join(dir('laptop'), LAPTOP, 'enrolment.json')).mode & 0o777, 0o600);
  const first = await serialOf(join(folder, 'fullchain.pem'));
  assert.deepEqual([ledger(first).owner, ledger(first).profile], ['alice', 'device']);
  assert.equal(await workshop(browser, folder), 200);
  // What could be read over her shoulder, in a history or in a log is worth nothing.
  const account = readFileSync(join(dir('laptop'), LAPTOP, 'enrolment.json'), 'utf8');
  assert.match(account, /key_pkcs8/);
  const replayed = await bring({ code: back.searchParams.get('code'), verifier: 'A'.repeat(43), label: "Alice's Laptop" });
  assert.equal(replayed.status, 403);
  assert.match(replayed.json().detail, /used already/);
  for (const said of [command.said(), gate.log(), address, back.href]) assert.doesNotMatch(said, /hmac/i);

  const password = `file:${join(dir('laptop'), LAPTOP, 'pkcs12.password')}`;
  const bundle = join(folder, 'bundle.p12');
  const read = await run('openssl', ['pkcs12', '-in', bundle, '-passin', password, '-nodes', '-info']);
  assert.equal(read.code, 0, read.stderr);
  assert.equal(read.stdout.match(/BEGIN CERTIFICATE/g).length, 2);
  assert.match(read.stdout, /BEGIN PRIVATE KEY/);
  assert.match(read.stderr + read.stdout, /AES-256-CBC.*PRF hmacWithSHA256/s);
  assert.notEqual((await run('openssl', ['pkcs12', '-in', bundle, '-passin', 'pass:guess', '-nodes'])).code, 0);
  const nss = join(machine.folder, 'nss');
  mkdirSync(nss);
  await run('certutil', ['-N', '-d', `sql:${nss}`, '--empty-password']);
  const word = readFileSync(password.slice('file:'.length), 'utf8').trim();
  const imported = await run('pk12util', ['-i', bundle, '-d', `sql:${nss}`, '-W', word]);
  assert.equal(imported.code, 0, imported.stdout + imported.stderr);
  assert.match((await run('certutil', ['-K', '-d', `sql:${nss}`])).stdout, /alice-s-laptop/);

  const early = await enroll('laptop', '--renew');
  assert.equal(early.code, 0, early.said);
  assert.match(early.said, /alice-s-laptop\S+: is renewed after 20/);
  assert.equal(await serialOf(join(folder, 'fullchain.pem')), first);
  const renewed = await enroll('laptop', '--renew', '--force');
  assert.match(renewed.said, /renewed, good until/);
  const second = await serialOf(join(folder, 'fullchain.pem'));
  assert.notEqual(second, first);
  assert.match(readlinkSync(folder), /^versions\/2$/);
  assert.equal(readFileSync(ran, 'utf8'), `${LAPTOP} ${folder}\n`.repeat(2), 'the command ran after each');
  // The gate says that a revoked one is to be replaced at once: the timer's command does it (RFC 9773).
  gate.command('cert', 'revoke', '--serial', second, '--why', 'a test');
  assert.match((await enroll('laptop', '--renew')).said, /renewed, good until/);
  assert.equal(await workshop(browser, folder), 200);

  const devices = await browser.go(gate.at('auth', '/devices'));
  const end = /name="end" value="([0-9a-f]{32})" aria-label="Revoke device: alice-s-laptop"/.exec(devices.text)[1];
  assert.match((await browser.go(gate.at('auth', '/devices'), { form: { end } })).text, /The device was revoked/);
  assert.equal(await workshop(browser, folder), 403);
  const refused = await enroll('laptop', '--renew', '--force');
  assert.equal(refused.code, 1);
  assert.match(refused.said, /not renewed: .*(revoked|ended|enrol).*\(unauthorized\)/i);
  browser.close();
});

test('a code is typed into any browser; it stands for one command and one name', async () => {
  const command = waiting('server', ['--no-browser', '--name', 'Build Server', '--ca-file', pki()('ca.crt')]);
  const [, code] = await command.shows(/code for `Build Server`:\s+(\S+)/);
  assert.match(code, /^[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}$/);
  assert.equal((await bring({ code, verifier: 'B'.repeat(43), label: 'Build Server' })).status, 202, 'nobody confirmed it');
  const browser = new Client();
  const page = await signIn(browser, gate.at('auth', '/devices/enroll'), aliceWithCode);
  assert.match(page.text, /name="code"/);
  assert.match((await browser.go(gate.at('auth', '/devices/enroll'), { form: { code: 'WHAT-EVER' } })).text, /not a code of/);
  const typed = await browser.go(gate.at('auth', '/devices/enroll'), { form: { code: code.toLowerCase().replaceAll('-', ' ') } });
  assert.match(typed.text, /goes on by itself/);
  assert.equal(await command.end, 0, command.said());
  const serial = await serialOf(join(live('server', 'build-server.alice.devices.gate.test'), 'fullchain.pem'));
  assert.equal(ledger(serial).owner, 'alice');

  // Who has seen a code and is quicker gets nothing, and nobody else does either.
  const second = waiting('second', ['--no-browser', '--name', 'Second', '--ca-file', pki()('ca.crt')]);
  const [, seen] = await second.shows(/code for `Second`:\s+(\S+)/);
  await post(browser, { code: seen });
  const stolen = await bring({ code: seen, verifier: 'B'.repeat(43), label: 'Second' });
  const outcome = stolen.status === 202 ? 'the command was quicker' : stolen.json().detail;
  assert.match(outcome, /not the command that was confirmed|quicker/);
  if (stolen.status !== 202) {
    assert.equal((await bring({ code: seen, verifier: 'C'.repeat(43), label: 'Second' })).status, 202, 'it is gone');
    await post(browser, { code: seen });
  }
  assert.equal(await second.end, 0, second.said());
  browser.close();
});

test('who says no in the browser enrols nothing', async () => {
  const command = waiting('nothing', ['--name', 'Nothing', '--ca-file', pki()('ca.crt')], { BROWSER: '/bin/true' });
  const [address] = await command.shows(/https:\/\/auth\.gate\.test\S+/);
  const browser = new Client();
  const page = await signIn(browser, address, aliceWithCode);
  const no = await post(browser, { ...fields(page), no: '1' });
  await comeBack(no.headers.location);
  assert.equal(await command.end, 1);
  assert.match(command.said(), /it was not confirmed in the browser/);
  for (const change of [{ port: '22' }, { port: '0' }, { port: '8080@evil.test' }, { challenge: 'x' }, { state: 'x\r\ny' }]) {
    const wrong = await post(browser, { ...fields(page), ...change, yes: '1' });
    assert.equal(wrong.status, 400, JSON.stringify(change));
  }
  browser.close();
});

test('a service enrols with the key of an operator in a file, once', async () => {
  const key = join(machine.folder, 'backup.json');
  writeFileSync(key, gate.command('eab', 'create', '--owner', 'backup team', '--profile', 'service', '--name', 'spiffe://gate.test/backup', '--name', 'backup.gate.test', '--output', 'json'), { mode: 0o600 });
  const args = ['--service', '--eab-file', key, '--ca-file', pki()('ca.crt')];
  const made = await enroll('service', ...args);
  assert.equal(made.code, 0, made.said);
  const folder = live('service', 'backup.gate.test');
  const line = ledger(await serialOf(join(folder, 'fullchain.pem')));
  assert.deepEqual([line.owner, line.profile], ['backup team', 'service']);
  const answer = await run('curl', ['-sS', '--cacert', pki()('ca.crt'), '--resolve', `*:${ports.inside}:127.0.0.1`, '--cert', join(folder, 'fullchain.pem'), '--key', join(folder, 'key.pem'),
    '-o', '/dev/null', '-w', '%{http_code}', gate.at('backup')]);
  assert.equal(answer.stdout, '200', answer.stderr);
  const again = await enroll('service-again', ...args);
  assert.equal(again.code, 1);
  assert.match(again.said, /external account binding is not accepted.*unauthorized/);
  assert.equal((await enroll('service', '--renew', '--force')).code, 0);
  chmodSync(dir('service'), 0o755);
  assert.match((await enroll('service', '--renew')).said, /others may look into it/);
  assert.ok(lstatSync(folder).isSymbolicLink());
});
