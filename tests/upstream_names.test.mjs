// Applications by name: when the name leads elsewhere, so does the gate, without a reload. The gate runs on a machine of
// its own, whose /etc/hosts the test writes.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { machineFor } from './peers/acme.mjs';
import { Client } from './peers/client.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { pki } from './peers/pki.mjs';
import { freePorts, until } from './peers/work.mjs';

/** How long an answer of the resolver is believed (30 s), and what a busy machine may take to look. */
const BELIEVED = 45_000;
const [OLD, NEW] = ['127.0.0.2', '127.0.0.3'];
let idp, gate, machine, ports;
const servers = {};

/** The application at an address, which says where it is. */
const startAt = (address, port) => new Promise((done, failed) => {
  const server = createServer((_req, res) => res.end(address)).on('error', failed);
  server.listen(port, address, () => done({ stop: () => new Promise((over) => { server.close(over); server.closeAllConnections(); }) }));
});
const leadsTo = (address) => writeFileSync(join(machine.folder, 'hosts'), `127.0.0.1 localhost auth.gate.test\n${address} app.moving.test\n`);

before(async () => {
  ports = await gatePorts();
  const [port] = await freePorts(1);
  idp = await startIdp({ clients: [client(ports)] });
  for (const address of [OLD, NEW]) servers[address] = await startAt(address, port);
  machine = machineFor({ name: 'moving', portal: ports.portal, roots: readFileSync(pki()('ca.crt')) });
  leadsTo(OLD);
  gate = await startGate({ name: 'moving', ports, idp, machine, upstream: { all: 'http://127.0.0.1:9', moving: `http://app.moving.test:${port}` },
    rows: [{ resource: 'moving', allow: ['anyone'], zones: { internal: 'anonymous', external: 'anonymous' } }] });
  servers.port = port;
});
after(async () => {
  await gate?.stop();
  for (const address of [OLD, NEW]) await servers[address]?.stop();
  await idp?.stop();
});

async function reached() {
  const browser = new Client();
  const { status, text } = await browser.send(gate.at('moving'));
  browser.close();
  return status === 200 ? text : status;
}

test('a name that leads elsewhere is followed in time, while the old server still answers', async () => {
  assert.equal(await reached(), OLD);
  leadsTo(NEW);
  const since = Date.now();
  await until('the new address is reached', async () => {
    const where = await reached();
    assert.ok([OLD, NEW].includes(where), `no request is lost: ${where}`);
    return where === NEW;
  }, { within: BELIEVED, every: 500 });
  assert.ok(Date.now() - since <= BELIEVED);
  assert.equal(await reached(), NEW, 'and it stays so');
});

test('after a failure the name is asked about at once', async () => {
  assert.equal(await reached(), NEW);
  leadsTo(OLD);
  await servers[NEW].stop();
  servers[NEW] = undefined;
  // The first request finds nobody where the server was; the next one goes where the name leads now.
  const first = await reached();
  assert.ok([502, 503, OLD].includes(first), String(first));
  assert.equal(await reached(), OLD);
});
