// Active Directory as Samba has it: a leaver is out with everything that is open, and groups are those of the domain.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { startApplication } from './peers/application.mjs';
import { Client } from './peers/client.mjs';
import { startForwarder } from './peers/forwarder.mjs';
import { client, gatePorts, reason, reasonOf, startGate, untilRefused } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { alice, bob, signIn } from './peers/people.mjs';
import { pki } from './peers/pki.mjs';
import { BASE, startSamba } from './peers/samba.mjs';
import { until } from './peers/work.mjs';

const MANY = 1200;
const LARGE = 3000;
const STRANGE_GROUP = 'R&D (all) Zürich';
const row = (resource, allow) => ({ resource, allow, zones: { internal: 'standard', external: 'standard' } });
const program = { headers: { accept: 'application/json' } };
/** What is promised; most of these tests poll each second, so as not to wait for it. */
const WITHIN = { within: 60_000 };

let samba, idp, application, first, second, gate, unhurried, settings;

const b64 = (text) => Buffer.from(text).toString('base64');
const user = (name, cn = name) => [`CN=${cn},CN=Users,${BASE}`, `objectClass: user\nsAMAccountName:: ${b64(name)}\nuserAccountControl: 544`];
const group = (name, members, cn = name) => [`CN=${cn},CN=Users,${BASE}`,
  `objectClass: group\nsAMAccountName:: ${b64(name)}\n${members.map((dn) => `member:: ${b64(dn)}`).join('\n')}`];
const inUsers = (cn) => `CN=${cn},CN=Users,${BASE}`;

function domain() {
  const many = Array.from({ length: MANY }, (_, n) => inUsers(`many-${n}`));
  const contacts = Array.from({ length: LARGE - MANY - 1 }, (_, n) => `CN=c${n},OU=Contacts,${BASE}`);
  const strange = 'Müller\\, Jörg (the \\\\ *)';
  const entries = [
    user('alice'), user('bob'), user('nora'), user('dora'), user('jörg.müller', strange),
    group('team', [inUsers('alice')]), group('department', [inUsers('team')]), group('company', [inUsers('department')]),
    group('accounting', [inUsers('bob')]), group('everyone-here', [inUsers('Domain Users')]),
    group(STRANGE_GROUP, [inUsers(strange)], 'R&D\\, (all) * Zürich'),
    // A distribution list gives no access.
    [inUsers('list'), `objectClass: group\nsAMAccountName: list\ngroupType: 2\nmember: ${inUsers('alice')}`],
    [`OU=Contacts,${BASE}`, 'objectClass: organizationalUnit'], ...contacts.map((dn) => [dn, 'objectClass: contact']),
    ...many.map((_, n) => group(`many-${n}`, [inUsers('nora')])),
    group('everybody', [...contacts, ...many, inUsers('alice')]),
  ];
  const added = entries.map(([dn, rest]) => `dn:: ${b64(dn)}\nchangetype: add\n${rest.trim()}\n`).join('\n');
  // The circle is closed when both ends are there.
  return `${added}\ndn: ${inUsers('team')}\nchangetype: modify\nadd: member\nmember: ${inUsers('company')}\n`;
}

before(async () => {
  const [ports, others] = [await gatePorts(), await gatePorts()];
  const redirectUris = [ports, others].flatMap((of) => client(of).redirect_uris);
  idp = await startIdp({ clients: [client(ports, { redirect_uris: redirectUris })] });
  idp.users.set('joerg', { ...idp.users.get('bob'), sub: 'joerg', preferred_username: 'jörg.müller', password: 'pw-joerg' });
  samba = await startSamba({ ldif: domain() });
  const dc = { host: samba.address, port: samba.port };
  [first, second] = [await startForwarder(dc), await startForwarder(dc)];
  application = await startApplication();
  settings = { url: [first, second].map(({ port }) => `ldaps://127.0.0.1:${port}`), ca_file: pki()('ca.crt'),
    bind_dn: samba.bind, bind_password_file: samba.password, base_dn: BASE, poll: '1s', max_stale: '20s', timeout: '10s' };
  gate = await startGate({ name: 'samba', ports, idp, upstream: { all: application.url }, lookups: { ldap: settings },
    rows: [row('deep', ['group:company']), row('books', ['group:accounting']), row('strange', [`group:${STRANGE_GROUP}`]),
      row('primary', ['group:Domain Users']), row('above-primary', ['group:everyone-here']), row('anybody', ['authenticated']),
      row('last-of-many', [`group:many-${MANY - 1}`]), row('large', ['group:everybody']), row('list', ['group:list'])] });
  const { poll: _poll, max_stale: _stale, ...asDelivered } = settings;
  unhurried = await startGate({ name: 'samba-unhurried', ports: others, idp, upstream: { all: application.url }, lookups: { ldap: asDelivered },
    rows: [row('anybody', ['authenticated'])] });
});
after(async () => {
  for (const peer of [gate, unhurried, application, first, second, samba, idp]) await peer?.stop();
});

const opened = async (browser, host) => {
  const page = await browser.go(gate.at(host));
  return [page.status, reasonOf(page)];
};
/** A WebSocket is cut within the bound. */
const endsInTime = async (stream) => {
  const late = setTimeout(WITHIN.within, 'late', { ref: false });
  assert.notEqual(await Promise.race([stream.ended, late]), 'late', 'the WebSocket is still open after a minute');
};
const OPEN = [200, undefined];
const REFUSED = [403, reason('not_allowed')];

test('nested groups, three deep and in a circle, the primary group and what is above it', async () => {
  const browser = new Client();
  const page = await signIn(browser, gate.at('deep'), alice);
  assert.equal(page.status, 200, `${page.url}: ${reasonOf(page)}`);
  const who = (await browser.send(gate.at('deep', '/.torhaus/whoami'))).json();
  for (const name of ['team', 'department', 'company', 'Domain Users', 'everyone-here', 'everybody']) assert.ok(who.groups.includes(name), name);
  for (const host of ['primary', 'above-primary', 'large']) assert.deepEqual(await opened(browser, host), OPEN, host);
  for (const host of ['list', 'notes', 'books']) assert.deepEqual(await opened(browser, host), REFUSED, host);
});

test('names with a comma, brackets, a star, a backslash and umlauts', async () => {
  const browser = new Client();
  const form = await browser.go(gate.at('strange'));
  const page = await browser.go(form.url, { form: { login: 'joerg', password: 'pw-joerg', otp: '' } });
  assert.equal(page.status, 200, `${page.url}: ${reasonOf(page)}`);
});

test('somebody in 1,200 groups is in all of them', async () => {
  const browser = new Client();
  const page = await signIn(browser, gate.at('last-of-many'), { user: 'nora' });
  assert.equal(page.status, 200, `${page.url}: ${reasonOf(page)}`);
  const who = (await browser.send(gate.at('last-of-many', '/.torhaus/whoami'))).json();
  assert.equal(who.groups.filter((name) => name.startsWith('many-')).length, MANY);
});

test('who is removed from a group is refused within the bound', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('books'), bob);
  assert.deepEqual(await opened(browser, 'anybody'), OPEN);
  const stream = await browser.stream(gate.at('books', '/live'));
  await samba.tool('group', 'removemembers', 'accounting', 'bob');
  await endsInTime(stream);
  const refused = await browser.send(gate.at('books'), program);
  assert.deepEqual([refused.status, reasonOf(refused)], REFUSED);
  assert.equal((await browser.send(gate.at('anybody'), program)).status, 200, 'the session goes on');
});

test('a disabled account loses its session and its open WebSocket, and another person keeps both', async () => {
  const [browser, other] = [new Client(), new Client()];
  await signIn(browser, gate.at('anybody'), { user: 'dora' });
  await signIn(other, gate.at('anybody'), alice);
  const stream = await browser.stream(gate.at('anybody', '/live'));
  const kept = await other.stream(gate.at('anybody', '/live'));
  await samba.tool('user', 'disable', 'dora');
  await Promise.all([endsInTime(stream), until('the session has ended', () => gate.sessions('dora').length === 0, WITHIN)]);
  assert.match(gate.audit(), /the account is disabled in the directory/);
  assert.deepEqual(await opened(browser, 'anybody'), [403, reason('account_disabled')]);
  assert.equal(await Promise.race([kept.ended.then(() => 'ended'), 'open']), 'open');
  kept.close();
  await samba.tool('user', 'enable', 'dora');
  await until('in again', async () => (await opened(browser, 'anybody'))[0] === 200, WITHIN);
});

test('with the poll as it is by default, a disabled account and its WebSocket are out within a minute', async () => {
  const browser = new Client();
  await signIn(browser, unhurried.at('anybody'), bob);
  const stream = await browser.stream(unhurried.at('anybody', '/live'));
  await samba.tool('user', 'disable', 'bob');
  await Promise.all([endsInTime(stream), until('the session has ended', () => unhurried.sessions('bob').length === 0, WITHIN)]);
  assert.match(unhurried.audit(), /the account is disabled in the directory/);
  await samba.tool('user', 'enable', 'bob');
});

test('an account that has expired, and a password that was set anew, end the session', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('anybody'), { user: 'dora' });
  await samba.tool('user', 'setpassword', 'dora', '--newpassword=Another.Passw0rd');
  await until('the session has ended', () => gate.sessions('dora').length === 0, WITHIN);
  assert.match(gate.audit(), /the password was changed/);
  await signIn(browser, gate.at('anybody'), { user: 'dora' });
  assert.equal(gate.sessions('dora').length, 1);
  await samba.tool('user', 'setexpiry', 'dora', '--days=-1');
  await until('the session has ended', () => gate.sessions('dora').length === 0, WITHIN);
  assert.match(gate.audit(), /the account is expired in the directory/);
});

test('one way to the domain controller is cut, then both: unknown is not none, and not yes', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('deep'), alice);
  assert.deepEqual(await opened(browser, 'anybody'), OPEN);
  await until('the first is in use', () => first.connections() > 0);
  first.cut();
  await until('the second is asked', () => second.connections() > 0);
  assert.equal((await browser.send(gate.at('deep'), program)).status, 200);
  second.cut();
  const refused = await untilRefused('what is known is too old', () => browser.send(gate.at('deep'), program), WITHIN);
  assert.deepEqual([refused.status, reasonOf(refused)], [503, reason('groups_unknown')]);
  assert.equal((await browser.send(gate.at('anybody'), program)).status, 200);
  [first, second].forEach((way) => way.mend());
  await until('it is asked again', async () => (await browser.send(gate.at('deep'), program)).status === 200, WITHIN);
});

test('a domain controller of another authority, or with a certificate of yesterday, is not believed', async () => {
  const online = (more) => gate.online({ ldap: { ...settings, ...more } }, 'alice');
  const believed = await online({});
  assert.equal(believed.code, 0, believed.stdout + believed.stderr);
  const stranger = await online({ ca_file: pki()('strangers-ca.crt') });
  assert.equal(stranger.code, 1);
  assert.match(stranger.stdout, /UnknownIssuer/);

  const browser = new Client();
  await signIn(browser, gate.at('deep'), alice);
  await samba.present('expired-server');
  const refused = await untilRefused('what is known is too old', () => browser.send(gate.at('deep'), program), WITHIN);
  assert.deepEqual([refused.status, reasonOf(refused)], [503, reason('groups_unknown')]);
  assert.match(gate.command('status'), /[Ee]xpired/);
  await samba.present('server');
  await until('it is asked again', async () => (await browser.send(gate.at('deep'), program)).status === 200, WITHIN);
});
