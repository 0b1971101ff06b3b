// A directory that is there and cannot be used: silent, endless, in parts, or no LDAP at all. Nothing opens by it, and
// whoever needs no directory notices nothing.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startApplication } from './peers/application.mjs';
import { Client } from './peers/client.mjs';
import { client, gatePorts, reason, reasonOf, startGate, untilRefused } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { entry, startDouble } from './peers/ldap_double.mjs';
import { alice, signIn } from './peers/people.mjs';
import { pki } from './peers/pki.mjs';
import { emptyFolder, until } from './peers/work.mjs';

const BASE = 'dc=gate,dc=test';
const RANGE = 10;
const GROUPS = 25;
const UNKNOWN = [503, reason('groups_unknown')];
const program = { headers: { accept: 'application/json' } };
const row = (resource, allow) => ({ resource, allow, zones: { internal: 'standard', external: 'standard' } });

let double, idp, application, gate;

const person = (attributes = {}) => entry(`uid=alice,${BASE}`, { uid: 'alice', ...attributes });
const groupDn = (n) => `cn=g${n},${BASE}`;

/** alice is in 25 groups, told 10 at a time, as Active Directory does with 1,500 (MS-ADTS 3.1.1.3.1.3.3). */
function inRanges({ base, text }) {
  if (/^cn=g\d+,/.test(base)) return [entry(base, { cn: base.split(',')[0].slice(3) })];
  const from = Number(/memberOf;range=(\d+)-/.exec(text)?.[1] ?? 0);
  const values = Array.from({ length: Math.min(RANGE, GROUPS - from) }, (_, n) => groupDn(from + n));
  const upTo = from + values.length === GROUPS ? '*' : from + values.length - 1;
  return [person({ ...(from === 0 && { memberOf: [] }), [`memberOf;range=${from}-${upTo}`]: values })];
}

before(async () => {
  const ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports)] });
  double = await startDouble();
  application = await startApplication();
  const secret = join(emptyFolder('double'), 'bind-password');
  writeFileSync(secret, 'a-bind-password', { mode: 0o600 });
  const ldap = { url: `ldaps://127.0.0.1:${double.port}`, ca_file: pki()('ca.crt'), bind_dn: `uid=svc,${BASE}`,
    bind_password_file: secret, base_dn: BASE, schema: 'generic', groups_by: 'member_of', nested_groups: false,
    poll: '500ms', max_stale: '5s', timeout: '1s' };
  gate = await startGate({ name: 'directory-faults', ports, idp, upstream: { all: application.url }, lookups: { ldap },
    rows: [row('grouped', [`group:g${GROUPS - 1}`]), row('anybody', ['authenticated']),
      { resource: 'open', allow: ['anyone'], zones: { internal: 'anonymous', external: 'anonymous' } }] });
});
after(async () => {
  for (const peer of [gate, application, double, idp]) await peer?.stop();
});

/** Signed in, with a page open at each host, while the directory answers as it should. */
async function signedIn() {
  double.answer = inRanges;
  const browser = new Client();
  await until('the directory is asked again', async () => {
    const page = await signIn(browser, gate.at('grouped'), alice);
    return page.status === 200;
  }, { within: 60_000 });
  assert.equal((await browser.go(gate.at('anybody'))).status, 200);
  return browser;
}

const asked = async (browser, host) => {
  const answer = await browser.send(gate.at(host), program);
  return [answer.status, reasonOf(answer)];
};

test('a list that comes in parts is read to its end', async () => {
  const browser = await signedIn();
  const who = (await browser.send(gate.at('grouped', '/.torhaus/whoami'))).json();
  assert.equal(who.groups.length, GROUPS);
});

for (const [name, answer] of [
  ['silence', () => undefined],
  ['what is no LDAP', () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
  ['a message that is cut short and wrong', () => Buffer.from([0x30, 3, 2, 1, 1])],
  ['an entry of 10 MiB', () => [person({ memberOf: Buffer.alloc(10 * 1024 * 1024, 0x61) })]],
  ['an entry with no person in it', () => [Buffer.from([0x64, 2, 4, 0])]],
  ['a list without an end', ({ text }) => [person({ [`memberOf;range=${/range=(\d+)/.exec(text)?.[1] ?? 0}-0`]: [groupDn(1)] })]],
]) {
  test(`${name}: groups become unknown, nothing opens, and it recovers`, async () => {
    const browser = await signedIn();
    double.answer = answer;
    await untilRefused('what is known is too old', () => browser.send(gate.at('grouped'), program), { within: 30_000 });
    assert.deepEqual(await asked(browser, 'grouped'), UNKNOWN);
    assert.equal((await asked(browser, 'anybody'))[0], 200);
    await until('status says so', () => /ldap +failing since/.test(gate.command('status')));
    double.answer = inRanges;
    await until('groups are known again', async () => (await asked(browser, 'grouped'))[0] === 200, { within: 30_000 });
  });
}

test('an answer after three seconds is none: groups become unknown, and who needs none waits for nothing', async () => {
  const browser = await signedIn();
  double.later = 3000;
  await untilRefused('what is known is too old', () => browser.send(gate.at('grouped'), program), { within: 30_000 });
  assert.deepEqual(await asked(browser, 'grouped'), UNKNOWN);
  assert.equal((await asked(browser, 'anybody'))[0], 200);
  await until('status says so', () => /ldap +failing since.*in time/.test(gate.command('status')));
  double.later = 0;
  await until('groups are known again', async () => (await asked(browser, 'grouped'))[0] === 200, { within: 30_000 });
});

test('a directory that flaps is as good as its last answer', async () => {
  const browser = await signedIn();
  const source = () => JSON.parse(gate.command('status', '--output', 'json')).sources.find(({ name }) => name === 'ldap');
  const stillIn = async () => assert.deepEqual(await asked(browser, 'grouped'), [200, undefined]);
  for (let round = 0; round < 4; round += 1) {
    await until('it answers', () => source().up);
    const { failures } = source();
    double.answer = () => undefined;
    await until('it fails', async () => (await stillIn(), source().failures > failures));
    double.answer = inRanges;
    await until('it answers again', async () => (await stillIn(), source().up));
  }
});

test('a thousand requests that need no directory are answered while it withholds every answer', async () => {
  const browser = await signedIn();
  double.answer = () => undefined;
  await untilRefused('what is known is too old', () => browser.send(gate.at('grouped'), program), { within: 30_000 });
  const stranger = new Client();
  const before = double.searches;
  const statuses = {};
  for (let n = 0; n < 100; n += 1) {
    const answers = await Promise.all(Array.from({ length: 10 }, (_, k) =>
      (k % 2 === 0 ? browser.send(gate.at('anybody'), program) : stranger.send(gate.at('open'), program))));
    for (const { status } of answers) statuses[status] = (statuses[status] ?? 0) + 1;
  }
  assert.deepEqual(statuses, { 200: 1000 });
  assert.ok(double.searches - before < 200, 'the poll asked, and no request did');
  assert.deepEqual(await asked(browser, 'grouped'), UNKNOWN);
});
