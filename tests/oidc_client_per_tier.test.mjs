// A provider that knows no levels: each tier is a client of its own there, with its own rules (as with authentik).
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startApplication } from './peers/application.mjs';
import { Client } from './peers/client.mjs';
import { client, gatePorts, reason, reasonOf, startGate } from './peers/gate.mjs';
import { MFA, startIdp } from './peers/idp.mjs';
import { alice, aliceWithCode, answerForm, atForm, nora, signIn } from './peers/people.mjs';

let idp, application, gate;

before(async () => {
  const ports = await gatePorts();
  const strong = client(ports, { id: 'torhaus-mfa', default_acr_values: [MFA] });
  idp = await startIdp({ clients: [client(ports), strong] });
  application = await startApplication();
  gate = await startGate({ name: 'client-per-tier', ports, idp, upstream: { all: application.url },
    tiers: { standard: {}, mfa: { client_id: 'torhaus-mfa' } } });
});
after(async () => {
  await gate?.stop();
  await application?.stop();
  await idp?.stop();
});

test('a tier is asked for and proven by its client alone', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('notes'), alice);
  assert.equal(idp.asked.at(-1).client_id, 'torhaus');
  const form = await browser.go(gate.at('payroll', '/salaries'));
  assert.ok(atForm(form));
  const wish = idp.asked.at(-1);
  assert.deepEqual([wish.client_id, wish.acr_values, wish.claims], ['torhaus-mfa', undefined, undefined]);
  assert.equal((await answerForm(browser, form, alice)).status, 401);
  const page = await answerForm(browser, form, aliceWithCode);
  assert.deepEqual([page.status, page.url], [200, gate.at('payroll', '/salaries')]);
});

test('a login with a second factor at the weaker client proves the weaker tier only', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('notes'), aliceWithCode);
  const who = (await browser.send(gate.at('notes', '/.torhaus/whoami'))).json();
  assert.deepEqual(who.tiers.map((proof) => proof.tier), ['standard']);
  const program = await browser.send(gate.at('payroll'), { headers: { accept: 'application/json' } });
  assert.equal(program.status, 401);
});

test('who cannot pass the stronger client is refused, and keeps what was open', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('notes'), nora);
  const page = await answerForm(browser, await browser.go(gate.at('payroll')), nora);
  assert.deepEqual([page.status, reasonOf(page)], [403, reason('step_up_failed')]);
  assert.equal((await browser.go(gate.at('notes'))).status, 200);
});

test('a tier that the provider does not offer is refused without asking it', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('notes'), alice);
  const wishes = idp.asked.length;
  const page = await browser.go(gate.at('vault'));
  assert.deepEqual([page.status, reasonOf(page)], [403, reason('step_up_failed')]);
  assert.equal(idp.asked.length, wishes);
});
