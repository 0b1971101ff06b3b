// A directory of people: OpenLDAP. Groups come from it and not from the token, and so does whether an account is in use.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startApplication } from './peers/application.mjs';
import { Client } from './peers/client.mjs';
import { startForwarder } from './peers/forwarder.mjs';
import { client, gatePorts, reason, reasonOf, startGate, untilRefused } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { alice, bob, signIn } from './peers/people.mjs';
import { pki } from './peers/pki.mjs';
import { BASE, dnEscaped, startSlapd, tree } from './peers/slapd.mjs';
import { until } from './peers/work.mjs';

const STRANGE = 'jörg (the *) \\ ß';
const STRANGE_GROUP = 'R&D, (all) * \\ Zürich';
const MANY = 1200;
const LARGE = 3000;
const row = (resource, allow) => ({ resource, allow, zones: { internal: 'standard', external: 'standard' } });
/** The bound is a minute; the poll of this test is short. */
const WITHIN = { within: 60_000 };
const program = { headers: { accept: 'application/json' } };

let slapd, expired, strange, idp, application, first, second, gate;

const person = (uid) => `uid=${dnEscaped(uid)},ou=people`;
const group = (cn) => `cn=${dnEscaped(cn)},ou=groups`;

function directory() {
  const groups = {
    // alice -> team -> department -> company -> team: three deep, and in a circle.
    team: [person('alice'), group('company')], department: [group('team')], company: [group('department')],
    accounting: [person('bob')], [STRANGE_GROUP]: [person(STRANGE)],
    everybody: [...Array.from({ length: LARGE - 1 }, (_, n) => person(`p${n}`)), person('alice')],
  };
  for (let n = 0; n < MANY; n += 1) groups[`many-${n}`] = [person('nora')];
  return tree(['svc', 'alice', 'bob', 'nora', 'dora', STRANGE], groups);
}

const ldap = (servers, more = {}) => ({ ldap: { url: servers.map(({ port }) => `ldaps://127.0.0.1:${port}`),
  ca_file: pki()('ca.crt'), bind_dn: slapd.bind, bind_password_file: slapd.password, base_dn: `ou=people,${BASE}`,
  group_base_dn: `ou=groups,${BASE}`, schema: 'generic', poll: '500ms', max_stale: '10s', timeout: '5s', ...more } });

const groupsOf = async (browser, host) => (await browser.send(gate.at(host, '/.torhaus/whoami'))).json().groups;
/** Opens a page at a host, where the session is taken along; how that went. */
const opened = async (browser, host) => {
  const page = await browser.go(gate.at(host));
  return [page.status, reasonOf(page)];
};
const REFUSED = [403, reason('not_allowed')];

before(async () => {
  const ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports)] });
  idp.users.set('strange', { ...idp.users.get('bob'), sub: 'strange', preferred_username: STRANGE, password: 'pw-strange' });
  slapd = await startSlapd({ name: 'people', ldif: directory() });
  [first, second] = [await startForwarder(slapd), await startForwarder(slapd)];
  application = await startApplication();
  gate = await startGate({ name: 'directory', ports, idp, upstream: { all: application.url }, lookups: ldap([first, second]),
    rows: [row('deep', ['group:company']), row('books', ['group:accounting']), row('strange', [`group:${STRANGE_GROUP}`]),
      row('anybody', ['authenticated']), row('last-of-many', [`group:many-${MANY - 1}`]), row('large', ['group:everybody'])] });
});
after(async () => {
  for (const peer of [gate, application, first, second, slapd, expired, strange, idp]) await peer?.stop();
});

test('groups come from the directory, three deep and in a circle, and the token is not asked', async () => {
  const browser = new Client();
  const page = await signIn(browser, gate.at('deep'), alice);
  assert.equal(page.status, 200, `${page.url}: ${reasonOf(page)}`);
  assert.deepEqual(await groupsOf(browser, 'deep'), ['company', 'department', 'everybody', 'team']);
  // The token says `staff`.
  assert.deepEqual(await opened(browser, 'notes'), REFUSED);
  assert.deepEqual(await opened(browser, 'large'), [200, undefined], `one of ${LARGE} members`);
});

test('names with every odd character find their person and their group', async () => {
  const browser = new Client();
  const form = await browser.go(gate.at('strange'));
  const page = await browser.go(form.url, { form: { login: 'strange', password: 'pw-strange', otp: '' } });
  assert.equal(page.status, 200, `${page.url}: ${reasonOf(page)}`);
  assert.deepEqual(await groupsOf(browser, 'strange'), [STRANGE_GROUP]);
});

test('somebody in more groups than a page holds is in all of them', async () => {
  const browser = new Client();
  const page = await signIn(browser, gate.at('last-of-many'), { user: 'nora' });
  assert.equal(page.status, 200, `${page.url}: ${reasonOf(page)}`);
  assert.equal((await groupsOf(browser, 'last-of-many')).length, MANY);
});

test('who leaves a group is refused, and what was open through it ends', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('books'), bob);
  assert.deepEqual(await opened(browser, 'anybody'), [200, undefined]);
  const stream = await browser.stream(gate.at('books', '/live'));
  await slapd.modify(`dn: ${group('accounting')},${BASE}\nchangetype: modify\nreplace: member\nmember: ${person('dora')},${BASE}\n`);
  await stream.ended;
  const refused = await browser.send(gate.at('books'), program);
  assert.deepEqual([refused.status, reasonOf(refused)], REFUSED);
  assert.equal((await browser.send(gate.at('anybody'), program)).status, 200, 'the session goes on');
});

test('a locked account is out: its session ends, and it cannot sign in', async () => {
  const browser = new Client();
  const page = await signIn(browser, gate.at('anybody'), { user: 'dora' });
  assert.equal(page.status, 200, `${page.url}: ${reasonOf(page)}`);
  await slapd.modify(`dn: ${person('dora')},${BASE}\nchangetype: modify\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n`);
  await until('the session has ended', () => gate.sessions('dora').length === 0, WITHIN);
  assert.match(gate.audit(), /the account is locked in the directory/);
  const refused = await browser.go(gate.at('anybody'));
  assert.deepEqual([refused.status, reasonOf(refused)], [403, reason('account_disabled')]);
});

test('a deleted account is out', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('anybody'), bob);
  await slapd.modify(`dn: ${person('bob')},${BASE}\nchangetype: delete\n`);
  await until('the session has ended', () => gate.sessions('bob').length === 0, WITHIN);
  assert.match(gate.audit(), /the account is not there any more in the directory/);
});

test('one server dies and nobody notices; both die and groups are unknown, not none; they come back', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('deep'), alice);
  assert.deepEqual(await opened(browser, 'anybody'), [200, undefined]);
  await until('the first server is in use', () => first.connections() + second.connections() > 0);
  first.cut();
  await until('the second is asked', () => second.connections() > 0);
  assert.equal((await browser.send(gate.at('deep'), program)).status, 200);
  second.cut();
  const refused = await untilRefused('what is known is too old', () => browser.send(gate.at('deep'), program), { within: 60_000 });
  assert.deepEqual([refused.status, reasonOf(refused)], [503, reason('groups_unknown')]);
  assert.equal((await browser.send(gate.at('anybody'), program)).status, 200, 'a row without groups needs no directory');
  assert.match(gate.command('status'), /ldap +failing since/);
  // Somebody new signs in without waiting for it, and is in no group that anybody knows of.
  const other = new Client();
  await signIn(other, gate.at('anybody'), { user: 'nora' });
  first.mend();
  await until('it is asked again', async () => (await browser.send(gate.at('deep'), program)).status === 200, { within: 30_000 });
});

test('a certificate of somebody else, or of yesterday, is not believed, and `check --online` says so', async () => {
  expired = await startSlapd({ name: 'expired', ldif: tree(['svc'], {}), certificate: 'expired-server' });
  const online = (lookups) => gate.online(lookups, 'alice');
  const good = await online(ldap([slapd]));
  assert.equal(good.code, 0, good.stdout + good.stderr);
  assert.match(good.stdout, new RegExp(`uid=alice,ou=people,${BASE}.*active.*company, department, everybody, team`, 's'));
  const stranger = await online(ldap([slapd], { ca_file: pki()('strangers-ca.crt') }));
  assert.equal(stranger.code, 1);
  assert.match(stranger.stdout, /UnknownIssuer/);
  const old = await online(ldap([expired]));
  assert.equal(old.code, 1);
  assert.match(old.stdout, /[Ee]xpired/);
  const base = await online(ldap([slapd], { base_dn: 'ou=nowhere,dc=gate,dc=test' }));
  assert.match(base.stdout, /there is no `ou=nowhere,dc=gate,dc=test`/);
  const secret = join(gate.folder, 'wrong');
  writeFileSync(secret, 'wrong', { mode: 0o600 });
  const bind = await online(ldap([slapd], { bind_password_file: secret }));
  assert.match(bind.stdout, /does not accept `bind_dn` with this password/);
});

test('whoever takes the place of a running gate\'s directory is not believed', async () => {
  strange = await startSlapd({ name: 'strange', ldif: directory(), certificate: 'strange-server' });
  const browser = new Client();
  await signIn(browser, gate.at('deep'), alice);
  assert.deepEqual(await opened(browser, 'anybody'), [200, undefined]);
  const deep = async () => (await browser.send(gate.at('deep'), program));
  for (const [impostor, why] of [[strange, /UnknownIssuer/], [expired, /[Ee]xpired/]]) {
    [first, second].forEach((way) => way.lead(impostor));
    const refused = await untilRefused('what is known is too old', deep, { within: 60_000 });
    assert.deepEqual([refused.status, reasonOf(refused)], [503, reason('groups_unknown')]);
    assert.match(gate.command('status'), why);
    assert.equal((await browser.send(gate.at('anybody'), program)).status, 200);
    [first, second].forEach((way) => way.lead(slapd));
    await until('the real one is asked again', async () => (await deep()).status === 200, { within: 30_000 });
  }
});
