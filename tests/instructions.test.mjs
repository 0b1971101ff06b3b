// How many instructions of the processor a decision, and the gate's whole way for an allowed request, take: counted by
// callgrind, so that a busy machine changes nothing. Of debug builds: what is compared is today with yesterday, and the
// bounds leave room for another compiler, not for another algorithm.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { startApplication } from './peers/application.mjs';
import { Client } from './peers/client.mjs';
import { run } from './peers/command.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { alice, signIn } from './peers/people.mjs';
import { pki } from './peers/pki.mjs';
import { emptyFolder, torhaus } from './peers/work.mjs';

/** Instructions of one decision about a row of eight conditions, with a trace of every step (measured: 2,500 to 5,300). */
const DECISION = 7_000;
/** Of `gate::pass`, for a request with a session that is allowed and was recorded a moment ago (measured: 153,000). */
const GATE = 210_000;

const file = pki();
const folder = emptyFolder('instructions');
const counted = (file) => Number(/^(?:totals|summary): (\d+)/m.exec(readFileSync(file, 'utf8'))[1]);

async function decision(rows, verdict) {
  const out = join(folder, `${rows}-${verdict}`);
  const ran = await run('valgrind', ['--tool=callgrind', '--toggle-collect=*measured_decision*', `--callgrind-out-file=${out}`,
    join(dirname(torhaus), 'examples/decide-once'), String(rows), verdict], { within: 120_000 });
  assert.equal(ran.code, 0, ran.stderr);
  return counted(out) / Number(ran.stdout);
}

for (const verdict of ['allow', 'deny']) {
  test(`a decision costs the same in a table of 10 and of 10,000 rows: ${verdict}`, async () => {
    const [few, many] = [await decision(10, verdict), await decision(10_000, verdict)];
    console.log(`${verdict}: ${few} instructions with 10 rows, ${many} with 10,000`);
    assert.ok(many < few * 1.1, `${few} with 10 rows, ${many} with 10,000`);
    assert.ok(few < DECISION, `${few} instructions`);
  });
}

test('an allowed request costs the gate no more than it did', async (t) => {
  const ports = await gatePorts();
  const idp = await startIdp({ clients: [client(ports)] });
  t.after(() => idp.stop());
  const application = await startApplication();
  t.after(() => application.stop());
  const counts = () => readdirSync(folder).filter((name) => name.startsWith('gate.')).map((name) => join(folder, name));
  const gate = await startGate({ name: 'instructions', ports, idp, upstream: { all: application.url },
    under: ['valgrind', '--tool=callgrind', '--toggle-collect=torhaus::gate::pass::{{closure}}', `--callgrind-out-file=${folder}/gate`] });
  t.after(() => gate.stop());
  const browser = new Client();
  t.after(() => browser.close());
  const page = await signIn(browser, gate.at('notes'), alice);
  assert.equal(page.status, 200, page.text);

  const times = 50;
  const dump = async () => {
    const before = counts();
    const asked = await run('callgrind_control', ['--dump', String(gate.pid)], { within: 60_000 });
    assert.equal(asked.code, 0, asked.stderr + asked.stdout);
    return counted(counts().find((file) => !before.includes(file)));
  };
  await dump();
  // One connection for all, as browsers and services keep theirs.
  const asked = await run('curl', ['-sS', '-w', '%{http_code} %{num_connects}\\n', '-o', '/dev/null', '--cacert', file('ca.crt'), '--resolve', `*:${ports.inside}:127.0.0.1`,
    '-b', `__Host-torhaus=${browser.cookie(gate.at('notes'), '__Host-torhaus')}`, gate.at('notes', `/page/[1-${times}]`)], { within: 120_000 });
  const [first, ...others] = asked.stdout.trim().split('\n');
  assert.deepEqual([first, others.length, new Set(others)], ['200 1', times - 1, new Set(['200 0'])], asked.stderr);
  const each = (await dump()) / times;
  console.log(`${each} instructions a request`);
  assert.ok(each > 1000, `${each}: nothing was counted`);
  assert.ok(each < GATE, `${each} instructions`);
});
