// Listeners that obtain their own certificates: from Pebble, as strict as it can be, and from another Torhaus.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect } from 'node:tls';
import { machineFor } from './peers/acme.mjs';
import { startApplication } from './peers/application.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { startNames } from './peers/names.mjs';
import { MAC, startPebble } from './peers/pebble.mjs';
import { pki } from './peers/pki.mjs';
import { emptyFolder, freePorts, until } from './peers/work.mjs';

const MINUTE = 60_000;
let idp, application, names, ports;
const open = [];

before(async () => {
  ports = await gatePorts();
  names = await startNames();
  idp = await startIdp({ clients: [client(ports)] });
  application = await startApplication();
});
after(async () => {
  for (const peer of open.reverse()) await peer.stop();
  await application?.stop();
  await idp?.stop();
  await names?.stop();
});

const keep = (peer) => { open.push(peer); return peer; };

/** What a listener shows for a name; undefined while it shows nothing. */
function shown(port, servername = 'notes.gate.test') {
  return new Promise((done) => {
    const socket = connect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false }, () => {
      const { raw, issuerCertificate } = socket.getPeerCertificate(true);
      const chain = [new X509Certificate(raw)];
      if (issuerCertificate?.raw && !issuerCertificate.raw.equals(raw)) chain.push(new X509Certificate(issuerCertificate.raw));
      socket.destroy();
      done({ leaf: chain[0], chain, serial: chain[0].serialNumber });
    }).on('error', () => done(undefined));
  });
}

const arrives = (port, wanted = () => true) => until('there is a certificate', async () => {
  const now = await shown(port);
  return now && wanted(now) ? now : undefined;
}, { within: MINUTE, every: 200 });

const gateWith = (name, listenerTls, more = {}) => startGate({ name, ports, idp, upstream: { all: application.url }, listenerTls, ...more }).then(keep);

test('listeners obtain their certificate by http-01, keep it over a restart, and renew it when the server says so', async () => {
  [ports.plain] = await freePorts(1);
  const pebble = keep(await startPebble({ name: 'http', names: names.address, ports: { http: ports.plain, tls: 1 } }));
  const gate = await gateWith('listener-http', { acme: { directory: pebble.directory, ca_file: pki()('ca.crt'), contact: ['it@gate.test'] } });
  const first = await arrives(ports.inside);
  assert.match(first.leaf.issuer, /Pebble Intermediate/);
  for (const host of ['auth.gate.test', 'notes.gate.test', 'locked-backup.gate.test']) assert.ok(first.leaf.checkHost(host), host);
  assert.equal((await shown(ports.outside)).serial, first.serial, 'both listeners share it');
  assert.equal(await shown(ports.inside, 'elsewhere.gate.test'), undefined, 'other names are refused as before');
  const root = new X509Certificate(await pebble.root());
  assert.ok(first.chain[1] && first.leaf.verify(first.chain[1].publicKey) && first.chain[1].verify(root.publicKey));
  assert.match(gate.audit(), /certificate [0-9a-f]+ for listeners, names \[.*notes\.gate\.test/);

  await gate.stop();
  await gate.again();
  assert.equal((await arrives(ports.inside)).serial, first.serial, 'it was kept');
  const past = Date.now() - 10 * MINUTE;
  await pebble.suggest(first.leaf.toString(), new Date(past), new Date(past + MINUTE));
  await gate.stop();
  await gate.again();
  // Until there is a new one, the old one is shown: never nothing.
  const second = await until('it is renewed', async () => {
    const now = await shown(ports.inside);
    assert.ok(now, 'there was a moment without a certificate');
    return now.serial !== first.serial ? now : undefined;
  }, { within: MINUTE, every: 20 });
  assert.match(second.leaf.issuer, /Pebble Intermediate/);
  assert.match(pebble.said(), /badNonce|nonce/i);
  await gate.stop();
  delete ports.plain;
});

test('a name is proved by tls-alpn-01 on the listener itself, with a key of the authority and one of its profiles', async () => {
  const pebble = keep(await startPebble({ name: 'alpn', names: names.address, ports: { http: 1, tls: ports.outside }, eab: true }));
  const folder = emptyFolder('pebble-keys');
  const acme = (mac) => {
    writeFileSync(join(folder, 'mac'), mac, { mode: 0o600 });
    return { directory: pebble.directory, ca_file: pki()('ca.crt'), challenge: 'tls-alpn-01', profile: 'short',
      eab: { kid: pebble.kid, hmac_key_file: join(folder, 'mac') } };
  };
  const certificates = [{ cert_file: pki()('server.crt'), key_file: pki()('server.key') }];
  // A file is there for every name: it is what is shown, until it is taken out.
  let gate = await gateWith('listener-eab', { certificates, acme: { ...acme(Buffer.from('a wrong key of the right size').toString('base64url')), names: ['notes.gate.test'] } });
  await until('the wrong key is refused', () => /no certificate could be obtained.*unauthorized/s.test(gate.log()), { within: MINUTE });
  assert.match((await shown(ports.inside)).leaf.subject, /CN=server/);
  await gate.stop();

  gate = await gateWith('listener-alpn', { certificates: [], acme: acme(MAC) });
  const own = await arrives(ports.inside);
  assert.match(own.leaf.issuer, /Pebble Intermediate/);
  assert.ok(own.leaf.checkHost('auth.gate.test') && own.leaf.checkHost('notes.gate.test'));
  assert.ok(new Date(own.leaf.validTo) - Date.now() < 7 * 24 * 60 * MINUTE, 'six days');
  const alone = await new Promise((done, failed) => {
    const socket = connect({ port: ports.inside, host: '127.0.0.1', servername: 'notes.gate.test', rejectUnauthorized: false, ALPNProtocols: ['acme-tls/1'] });
    socket.on('secureConnect', () => failed(new Error('a proof is shown though no order is open'))).on('error', (error) => done(error.message));
  });
  assert.match(alone, /alert|unrecognized/i, 'nothing is shown to those who only ask');
  await gate.stop();
});

test('from another Torhaus, with a one-time key of its operator', async () => {
  const other = await gatePorts();
  const authority = keep(await startGate({ name: 'listener-authority', ports: other, idp, upstream: { all: application.url }, ownCa: true,
    acme: { probe: { networks: ['127.0.0.0/8'], resolver: names.address, http_port: 1, tls_port: ports.inside } } }));
  const made = JSON.parse(authority.command('eab', 'create', '--owner', 'web team', '--profile', 'server', '--challenge', '--below', 'gate.test', '--output', 'json'));
  const folder = emptyFolder('authority-keys');
  writeFileSync(join(folder, 'hmac'), made.hmac_key, { mode: 0o600 });
  const machine = machineFor({ name: 'listener-of-torhaus', portal: other.portal, roots: readFileSync(pki()('ca.crt')) });
  const acme = { directory: made.directory, ca_file: pki()('ca.crt'), eab: { kid: made.kid, hmac_key_file: join(folder, 'hmac') } };
  const gate = await gateWith('listener-of-torhaus', { certificates: [], acme }, { machine });
  const own = await arrives(ports.inside);
  assert.match(own.leaf.subjectAltName, /DNS:notes\.gate\.test/);
  const [line] = JSON.parse(authority.command('cert', 'list', '--output', 'json'));
  assert.deepEqual([line.owner, line.profile], ['web team', 'server']);
  assert.equal(line.serial.toLowerCase().replace(/^0+/, ''), own.serial.toLowerCase().replace(/^0+/, ''));
  await gate.stop();
});
