// A device asks the directory of people about its owner, each time: who left gets nothing more.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { acmeClients } from './peers/acme.mjs';
import { startApplication } from './peers/application.mjs';
import { run } from './peers/command.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { pki } from './peers/pki.mjs';
import { BASE, startSlapd, tree } from './peers/slapd.mjs';
import { until } from './peers/work.mjs';

const PERSON = (uid) => `uid=${uid},ou=people,${BASE}`;
let idp, application, slapd, gate, clients, ports;

before(async () => {
  ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports)] });
  application = await startApplication();
  slapd = await startSlapd({ name: 'leavers', ldif: tree(['svc', 'alice', 'bob', 'carol'], { staff: ['uid=alice,ou=people'] }) });
  const lookups = { ldap: { url: [`ldaps://127.0.0.1:${slapd.port}`], ca_file: pki()('ca.crt'), bind_dn: slapd.bind, bind_password_file: slapd.password,
    base_dn: `ou=people,${BASE}`, group_base_dn: `ou=groups,${BASE}`, schema: 'generic', poll: '1s', max_stale: '5s', timeout: '5s' } };
  gate = await startGate({ name: 'acme-leaver', ports, idp, upstream: { all: application.url }, ownCa: true, acme: {}, lookups });
  clients = acmeClients({ name: 'leaver', portal: ports.portal, ports: { http: 1, tls: 1 }, roots: readFileSync(pki()('ca.crt')) });
});
after(async () => {
  for (const peer of [gate, application, slapd, idp]) await peer?.stop();
});

function laptop(owner) {
  const host = `laptop.${owner}.devices.gate.test`;
  const key = gate.command('eab', 'create', '--owner', owner, '--profile', 'device', '--name', host, '--output', 'json');
  return clients.lego(host, JSON.parse(key));
}

const issuedTo = (owner) => JSON.parse(gate.command('cert', 'list', '--owner', owner, '--all', '--output', 'json')).length;

test('who is locked, deleted or unknown in the directory gets no certificate; who is back gets one again', async () => {
  const machine = laptop('alice');
  assert.equal((await machine.obtain()).code, 0);
  const count = issuedTo('alice');
  await slapd.modify(`dn: ${PERSON('alice')}\nchangetype: modify\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n`);
  const locked = await machine.renew();
  assert.notEqual(locked.code, 0);
  assert.match(locked.said, /unauthorized.*the account of alice is locked in the directory/);
  assert.equal(issuedTo('alice'), count);
  await slapd.modify(`dn: ${PERSON('alice')}\nchangetype: modify\ndelete: pwdAccountLockedTime\n`);
  assert.equal((await machine.renew()).code, 0, 'unlocked');

  const bobs = laptop('bob');
  assert.equal((await bobs.obtain()).code, 0);
  await slapd.modify(`dn: ${PERSON('bob')}\nchangetype: delete\n`);
  assert.match((await bobs.renew()).said, /unauthorized.*the account of bob is not there any more in the directory/);
  const nobody = await laptop('nobody').obtain();
  assert.match(nobody.said, /unauthorized.*nobody is not in the directory/);
  assert.equal(issuedTo('nobody'), 0);
  assert.match(gate.audit(), /the account of alice is locked in the directory/);
});

test('the certificates of who leaves are revoked within the poll, with what is open; those of services that they answer for are not', async () => {
  const machine = laptop('carol');
  assert.equal((await machine.obtain()).code, 0);
  const mine = () => JSON.parse(gate.command('cert', 'list', '--owner', 'carol', '--all', '--output', 'json'));
  const name = 'spiffe://gate.test/backup';
  const made = await run('openssl', ['req', '-new', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-subj', '/CN=x',
    '-keyout', join(gate.folder, 'backup.key'), '-out', join(gate.folder, 'backup.csr')]);
  assert.equal(made.code, 0, made.stderr);
  writeFileSync(join(gate.folder, 'backup.pem'), gate.command('cert', 'issue', '--csr', join(gate.folder, 'backup.csr'), '--profile', 'service', '--name', name, '--owner', 'carol', '--why', 'a test'));
  assert.equal(mine().filter((one) => !one.revoked).length, 2);
  const asks = (cert, key) => run('curl', ['-sS', '--cacert', pki()('ca.crt'), '--resolve', `*:${ports.inside}:127.0.0.1`, '--cert', cert, '--key', key, '-H', 'accept: application/json', '-w', '\n%{http_code}', gate.at('backup')]);
  const before = await asks(machine.chain(), machine.key());
  assert.match(before.stdout, /401$/, 'a good certificate of a person, and nobody signed in');
  // Also somebody who has not been here since the process began, and has no session: her certificate opens other doors.
  await gate.stop();
  await gate.again();
  await new Promise((done) => setTimeout(done, 3000));
  await slapd.modify(`dn: ${PERSON('carol')}\nchangetype: delete\n`);
  // The poll is a second; a refusal at her next renewal would be hours away.
  await until('her certificate is revoked', () => mine().some((one) => one.revoked), { within: 5000 });
  const [gone] = mine().filter((one) => one.revoked);
  assert.deepEqual([gone.profile, gone.revoked.reason, gone.revoked.why], ['device', 'affiliationChanged', 'the account of carol is not there any more in the directory']);
  const after = await asks(machine.chain(), machine.key());
  assert.match(after.stdout, /certificate_revoked.*403$/s);
  assert.match((await asks(join(gate.folder, 'backup.pem'), join(gate.folder, 'backup.key'))).stdout, /200$/, 'the service goes on');
});

test('a directory that is down issues nothing', async () => {
  const machine = laptop('alice');
  const count = issuedTo('alice');
  await slapd.stop();
  // Known for five seconds yet; then nobody is known.
  let refused;
  for (let tries = 0; tries < 30; tries += 1) {
    refused = await machine.obtain();
    if (refused.code !== 0) break;
    await new Promise((done) => setTimeout(done, 1000));
  }
  assert.match(refused.said, /serverInternal.*the directory/);
  const after = issuedTo('alice');
  assert.notEqual((await machine.renew()).code, 0);
  assert.equal(issuedTo('alice'), after);
  assert.ok(after >= count);
});
