// slowhttptest against the plain listener (it sends no server name, so TLS turns it away at once): what is slow is
// ended, and others do not wait for it. Only the times are shorter than the defaults, so that this takes no minutes.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startApplication } from './peers/application.mjs';
import { run } from './peers/command.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { pki } from './peers/pki.mjs';
import { freePorts, until } from './peers/work.mjs';

const file = pki();
let idp, application, gate, ports;

before(async () => {
  const [plain] = await freePorts(1);
  ports = { ...await gatePorts(), plain };
  idp = await startIdp({ clients: [client(ports)] });
  application = await startApplication();
  gate = await startGate({ name: 'slow', ports, idp, upstream: { all: application.url }, limits: { header_timeout: '2s', idle_timeout: '3s' } });
});
after(async () => {
  await gate?.stop();
  await application?.stop();
  await idp?.stop();
});

const open = () => JSON.parse(gate.command('status', '--output', 'json')).listeners.find((l) => l.name === 'plain').connections;

/** A well-behaved caller at another address: how many answers, while the attack runs. */
async function beside(attack) {
  let running = true;
  let answered = 0;
  const done = attack.finally(() => { running = false; });
  while (running || answered < 10) {
    const out = await run('curl', ['-sS', '-o', '/dev/null', '-w', '%{http_code}', '--interface', '127.0.0.9', '--cacert', file('ca.crt'),
      '--resolve', `*:${ports.outside}:127.0.0.1`, gate.outside('notes')], { within: 60_000 });
    assert.match(out.stdout, /^(200|30\d|40\d)$/, out.stderr);
    answered += 1;
  }
  return [await done, answered];
}

for (const [name, mode] of [['slow heads', ['-H']], ['slow bodies', ['-B', '-t', 'POST']], ['slow readers', ['-X', '-w', '1', '-y', '8', '-n', '2', '-z', '4']]]) {
  test(`slowhttptest with ${name} ends, and others are answered`, async () => {
    const attack = run('slowhttptest', ['-c', '150', ...mode, '-i', '1', '-r', '50', '-l', '12', '-p', '5', '-u', `http://127.0.0.1:${ports.plain}/`], { within: 90_000 });
    const [out, answered] = await beside(attack);
    console.log(out.stdout.replace(/\x1b\[[\d;]*[A-Za-z]/g, '').slice(-1500));
    assert.ok(answered >= 10);
    await until('its connections are closed', async () => open() === 0, { within: 30_000, every: 250 });
  });
}
