// Torhaus and an OpenID provider that others wrote (npm oidc-provider), asked as a browser and as a program ask.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startApplication } from './peers/application.mjs';
import { Client } from './peers/client.mjs';
import { client, gatePorts, reason, reasonOf, startGate } from './peers/gate.mjs';
import { API, KEY, MFA, startIdp } from './peers/idp.mjs';
import { alice, aliceWithCode, answerForm, atForm, bob, dora, nora, signIn } from './peers/people.mjs';
import { until } from './peers/work.mjs';

let idp, application, gate;
const MACHINE = { client_secret: 'a-secret-of-a-machine', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };
const JSON_ONLY = { accept: 'application/json' };

before(async () => {
  const ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports), { ...MACHINE, client_id: 'machine' }, { ...MACHINE, client_id: 'strong-machine' }] });
  application = await startApplication();
  gate = await startGate({ name: 'oidc', ports, idp, upstream: { all: application.url } });
});
after(async () => {
  await gate?.stop();
  await application?.stop();
  await idp?.stop();
});

const lastAsked = () => idp.asked.at(-1);
/** How often the provider's authorization endpoint is on the way. */
const visits = (page) => page.passed.filter((url) => url.startsWith(`${idp.issuer}/auth?`)).length;

test('a person signs in at the provider and reaches the page that was asked for', async () => {
  const browser = new Client();
  const page = await signIn(browser, gate.at('notes', '/deep/page?q=1'), alice);
  assert.equal(page.status, 200);
  assert.equal(page.url, gate.at('notes', '/deep/page?q=1'));
  const seen = application.requests.at(-1);
  assert.deepEqual([seen.path, seen.user, seen.groups], ['/deep/page?q=1', 'alice', 'admins,staff']);

  const who = (await browser.send(gate.at('notes', '/.torhaus/whoami'))).json();
  assert.deepEqual([who.user, who.groups, who.tiers.map((t) => t.tier)], ['alice', ['admins', 'staff'], ['standard']]);
  assert.match(gate.audit(), /"kind":\s*"login"/);
});

test('the session of one application opens the next without the provider', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('notes'), alice);
  const page = await browser.go(gate.at('console'));
  assert.equal(page.status, 200);
  assert.equal(visits(page), 0);
  assert.notEqual(browser.cookie(gate.at('console'), '__Host-torhaus'), browser.cookie(gate.at('notes'), '__Host-torhaus'));
});

test('every login carries PKCE with S256, a nonce, a state of its own, and the provider demands them', async () => {
  const [one, two] = [new Client(), new Client()];
  await signIn(one, gate.at('notes'), alice);
  await signIn(two, gate.at('notes'), bob);
  const [a, b] = idp.asked.slice(-2);
  for (const wish of [a, b]) {
    assert.equal(wish.code_challenge_method, 'S256');
    assert.match(wish.code_challenge, /^[\w-]{43}$/);
    assert.equal(wish.response_type, 'code');
  }
  for (const name of ['state', 'nonce', 'code_challenge']) assert.ok(a[name] && a[name] !== b[name], name);

  // The provider does enforce it: the same wish without the challenge is answered with an error, which signs nobody in.
  const tampering = new Client();
  let page = await tampering.send(gate.at('notes'), { headers: { accept: 'text/html' } });
  page = await tampering.send(page.headers.location, { headers: { accept: 'text/html' } });
  const wish = new URL(page.headers.location);
  wish.searchParams.delete('code_challenge');
  wish.searchParams.delete('code_challenge_method');
  const refused = await tampering.go(wish.href);
  assert.ok(refused.passed.some((url) => url.includes('error=invalid_request')));
  assert.equal(reasonOf(refused), reason('login_failed'));
});

test('an answer of the provider counts once, and only in the browser that asked', async () => {
  const [mine, other] = [new Client(), new Client()];
  const page = await signIn(mine, gate.at('notes'), alice);
  const callback = page.passed.find((url) => url.includes('/callback/corp?'));
  assert.equal(reasonOf(await mine.go(callback)), reason('cookies_missing'));

  const form = await other.go(gate.at('notes'));
  const wish = await signInUpTo(other, form, bob, '/callback/corp?');
  const stranger = new Client();
  assert.equal(reasonOf(await stranger.go(wish)), reason('cookies_missing'));
  // Who has a login under way of their own is not taken for the other one either.
  await stranger.go(gate.at('notes'));
  assert.equal(reasonOf(await stranger.go(wish)), reason('cookies_missing'));
});

/** Answers the form, and stops before an address is opened. */
async function signInUpTo(browser, form, { user }, address) {
  const body = new URLSearchParams({ login: user, password: `pw-${user}` }).toString();
  let answer = await browser.send(form.url, { method: 'POST', body, headers: { 'content-type': 'application/x-www-form-urlencoded' } });
  while (!answer.headers.location.includes(address)) answer = await browser.send(new URL(answer.headers.location, answer.url));
  return answer.headers.location;
}

test('a second factor opens what asks for it: the tier is demanded as an essential claim', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('notes'), alice);
  const before = browser.cookie(gate.at('payroll'), '__Host-torhaus');
  const form = await browser.go(gate.at('payroll', '/salaries'));
  assert.ok(atForm(form), `the provider asks, at ${form.url}`);
  const wish = lastAsked();
  const acr = JSON.parse(wish.claims).id_token.acr;
  assert.equal(acr.essential, true);
  assert.ok(acr.value === MFA || acr.values.includes(MFA), wish.claims);

  // The password alone is not enough at the provider; with the code the page opens.
  const again = await answerForm(browser, form, alice);
  assert.equal(again.status, 401);
  const page = await answerForm(browser, form, aliceWithCode);
  assert.deepEqual([page.status, page.url], [200, gate.at('payroll', '/salaries')]);
  assert.notEqual(browser.cookie(gate.at('payroll'), '__Host-torhaus'), before);
  const who = (await browser.send(gate.at('payroll', '/.torhaus/whoami'))).json();
  assert.ok(who.tiers.some((t) => t.tier === 'mfa'));
  // It is one session: the other application has it too.
  assert.equal(gate.sessions('alice').filter((s) => s.id === who.session).length, 1);
  assert.equal((await browser.send(gate.at('notes', '/.torhaus/whoami'))).json().session, who.session);
});

test('a proof that is old is asked for with max_age, a fresh one is not asked for again', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('payroll'), aliceWithCode);
  assert.equal(lastAsked().max_age, String(8 * 3600));
  const wishes = idp.asked.length;
  assert.equal((await browser.go(gate.at('payroll', '/again'))).status, 200);
  assert.equal(idp.asked.length, wishes);
});

test('a factor that the person does not have is refused by the provider, and said so', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('notes'), nora);
  const form = await browser.go(gate.at('payroll'));
  const page = await answerForm(browser, form, nora);
  assert.deepEqual([page.status, reasonOf(page)], [403, reason('step_up_failed')]);
  assert.ok(page.passed.some((url) => url.includes('error=unmet_authentication_requirements')));
  // What was open stays open.
  assert.equal((await browser.go(gate.at('notes'))).status, 200);
});

test('a tier that the provider does not prove is tried once more, then refused: no loop', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('notes'), alice);
  const first = await browser.go(gate.at('vault'));
  assert.ok(atForm(first));
  assert.equal(lastAsked().acr_values, KEY);
  const second = await answerForm(browser, first, aliceWithCode);
  assert.ok(atForm(second), 'the one retry');
  assert.equal(lastAsked().prompt, 'login');
  const page = await answerForm(browser, second, aliceWithCode);
  assert.deepEqual([page.status, reasonOf(page)], [403, reason('step_up_failed')]);
  // The page names the application and what it asks for, and leads back to it.
  assert.match(page.text, /Vault/);
  assert.match(page.text, /password and hardware key/);
  assert.ok(page.text.includes(`href="${gate.at('vault')}"`), 'a way to try again');
  // The weaker proof that did come back is not thrown away.
  assert.equal((await browser.go(gate.at('payroll'))).status, 200);
});

test('what a person strips from the wish on the way is checked all the same', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('notes'), alice);
  let step = await browser.send(gate.at('payroll'), { headers: { accept: 'text/html' } });
  step = await browser.send(step.headers.location, { headers: { accept: 'text/html' } });
  const wish = new URL(step.headers.location);
  for (const name of ['acr_values', 'claims', 'prompt', 'max_age']) wish.searchParams.delete(name);
  const page = await browser.go(wish.href);
  // The provider answers at once with a password's proof; that is not taken, and the second try asks as it should.
  assert.ok(page.passed.some((url) => url.includes('/callback/corp?code=')));
  assert.ok(atForm(page), `asked again, at ${page.url}`);
  assert.equal(JSON.parse(lastAsked().claims).id_token.acr.essential, true);
});

test('a person outside the group is refused with the reason, on a page and as a problem document', async () => {
  const browser = new Client();
  const page = await signIn(browser, gate.at('ledger'), alice);
  assert.deepEqual([page.status, reasonOf(page)], [403, reason('not_allowed')]);
  const problem = await browser.send(gate.at('ledger'), { headers: JSON_ONLY });
  assert.deepEqual([problem.status, reasonOf(problem)], [403, reason('not_allowed')]);
  assert.match(gate.audit(), new RegExp(problem.json().decision));

  const colleague = new Client();
  assert.equal((await signIn(colleague, gate.at('ledger'), bob)).status, 200);
});

test('an application that is closed from outside says so before anybody signs in, and after', async () => {
  const browser = new Client();
  const closed = await browser.go(gate.outside('ledger'));
  assert.deepEqual([closed.status, reasonOf(closed), closed.passed.length], [403, reason('zone_denied'), 1]);
  await signIn(browser, gate.at('ledger'), bob);
  assert.equal(reasonOf(await browser.go(gate.outside('ledger'))), reason('zone_denied'));
  const page = await signIn(browser, gate.outside('notes', '/x'), bob);
  assert.deepEqual([page.status, page.url], [200, gate.outside('notes', '/x')]);
});

test('two tabs that sign in at once both arrive', async () => {
  const browser = new Client();
  const first = await browser.go(gate.at('notes', '/first'));
  const second = await browser.go(gate.at('notes', '/second'));
  assert.ok(atForm(first) && atForm(second));
  const two = await answerForm(browser, second, alice);
  assert.deepEqual([two.status, two.url], [200, gate.at('notes', '/second')]);
  const one = await answerForm(browser, first, alice);
  assert.deepEqual([one.status, one.url], [200, gate.at('notes', '/first')]);
  // And both in the order in which they began.
  const other = new Client();
  const a = await other.go(gate.at('notes', '/a'));
  const b = await other.go(gate.at('notes', '/b'));
  assert.equal((await answerForm(other, a, alice)).url, gate.at('notes', '/a'));
  assert.equal((await answerForm(other, b, alice)).url, gate.at('notes', '/b'));
  assert.equal((await other.go(gate.at('notes', '/still'))).status, 200);
});

test('signing out ends the session here and at the provider', async () => {
  const browser = new Client();
  await signIn(browser, gate.at('notes'), alice);
  await signIn(browser, gate.at('console'), alice);
  const confirm = await browser.go(gate.at('auth', '/logout'), { form: {} });
  assert.ok(confirm.url.startsWith(`${idp.issuer}/session/end`), confirm.url);
  // Ours is over before the provider has asked.
  for (const host of ['notes', 'console']) {
    const gone = await browser.send(gate.at(host), { headers: JSON_ONLY });
    assert.deepEqual([gone.status, reasonOf(gone)], [401, reason('session_expired')], host);
  }
  const [, action] = /action="([^"]+)"/.exec(confirm.text);
  const [, xsrf] = /name="xsrf" value="([^"]+)"/.exec(confirm.text);
  const out = await browser.go(action, { form: { xsrf, logout: 'yes' } });
  assert.equal(out.url.split('?')[0], gate.at('auth', '/signed-out'));
  assert.equal(out.status, 200);
  const next = await browser.go(gate.at('notes'));
  assert.ok(atForm(next), 'the provider asks for the password again');
});

test('signing out at the provider, in another window, ends the session here and what is open under it', async () => {
  const [browser, other] = [new Client(), new Client()];
  await signIn(browser, gate.at('notes'), alice);
  await signIn(other, gate.at('notes'), bob);
  const { session } = (await browser.send(gate.at('notes', '/.torhaus/whoami'))).json();
  const stream = await browser.open(gate.at('notes', '/stream'));
  assert.equal(stream.status, 200);
  // At the provider itself; Torhaus is not asked.
  const confirm = await browser.go(`${idp.issuer}/session/end`);
  const [, action] = /action="([^"]+)"/.exec(confirm.text);
  const [, xsrf] = /name="xsrf" value="([^"]+)"/.exec(confirm.text);
  await browser.go(action, { form: { xsrf, logout: 'yes' } });
  assert.deepEqual(idp.faults.filter(({ event }) => event === 'backchannel.error'), [], 'the provider was answered 200');
  let over = false;
  stream.ended.then(() => { over = true; });
  await until('the stream ends', () => over);
  const gone = await browser.send(gate.at('notes'), { headers: JSON_ONLY });
  assert.deepEqual([gone.status, reasonOf(gone)], [401, reason('session_expired')]);
  assert.equal((await other.send(gate.at('notes'), { headers: JSON_ONLY })).status, 200, 'another person is not meant');
  assert.deepEqual(gate.sessions('alice').filter((s) => s.id === session), []);
  assert.match(gate.audit(), /signed out at the identity provider/);
});

test('somebody whose account is disabled cannot sign in', async () => {
  const browser = new Client();
  idp.users.get('dora').disabled = true;
  const form = await browser.go(gate.at('notes'));
  assert.equal((await answerForm(browser, form, dora)).status, 401);
  // Disabled between the form and the answer: the code is worth nothing.
  idp.users.get('dora').disabled = false;
  const late = new Client();
  const callback = await signInUpTo(late, await late.go(gate.at('notes')), dora, '/callback/corp?');
  idp.users.get('dora').disabled = true;
  const page = await late.go(callback);
  assert.equal(reasonOf(page), reason('login_invalid'));
  assert.ok(idp.faults.some((fault) => fault.error === 'invalid_grant'), 'the provider refused the code');
  assert.equal(gate.sessions('dora').length, 0);
});

test('a program is never sent to a sign-in page', async () => {
  const program = new Client();
  for (const headers of [{}, JSON_ONLY, { accept: 'text/html', 'sec-fetch-mode': 'cors' }, { accept: 'text/html', 'x-requested-with': 'XMLHttpRequest' }]) {
    const answer = await program.send(gate.at('notes'), { headers });
    assert.deepEqual([answer.status, reasonOf(answer)], [401, reason('login_needed')], JSON.stringify(headers));
    assert.equal(answer.headers['www-authenticate'], 'Bearer realm="torhaus"');
  }
  const socket = await program.send(gate.at('notes'), { headers: { accept: 'text/html', connection: 'Upgrade', upgrade: 'websocket',
    'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' } });
  assert.deepEqual([socket.status, reasonOf(socket)], [401, reason('login_needed')]);
});

async function token(id, resource) {
  const machine = new Client();
  const answer = await machine.send(`${idp.issuer}/token`, { method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded',
      authorization: `Basic ${Buffer.from(`${id}:${MACHINE.client_secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', resource, scope: 'api:read' }).toString() });
  assert.equal(answer.status, 200, answer.text);
  return answer.json().access_token;
}
const withToken = (value) => new Client().send(gate.at('api', '/v1'), { headers: { authorization: `Bearer ${value}` } });

test('a program with an access token reaches its API; a token for another audience does not', async () => {
  const good = await withToken(await token('machine', API));
  assert.equal(good.status, 200, good.text);
  assert.equal(good.json().user, 'machine');

  const wrong = await withToken(await token('machine', 'urn:test:another-api'));
  assert.deepEqual([wrong.status, reasonOf(wrong)], [401, reason('bearer_invalid')]);
  assert.match(wrong.headers['www-authenticate'], /error="invalid_token"/);

  const [head, payload, signature] = (await token('machine', API)).split('.');
  const claims = { ...JSON.parse(Buffer.from(payload, 'base64url')), sub: 'strong-machine' };
  const forged = [head, Buffer.from(JSON.stringify(claims)).toString('base64url'), signature].join('.');
  assert.equal(reasonOf(await withToken(forged)), reason('bearer_invalid'));
});

test('a token that proves too little is told what would do (RFC 9470), and a stronger one does', async () => {
  const weak = await new Client().send(gate.at('strong-api'), { headers: { authorization: `Bearer ${await token('machine', API)}` } });
  assert.deepEqual([weak.status, reasonOf(weak)], [401, reason('step_up_needed')]);
  const challenge = weak.headers['www-authenticate'];
  assert.match(challenge, /error="insufficient_user_authentication"/);
  assert.match(challenge, new RegExp(`acr_values="${MFA}"`));
  assert.match(challenge, /max_age="28800"/);
  const strong = await new Client().send(gate.at('strong-api'), { headers: { authorization: `Bearer ${await token('strong-machine', API)}` } });
  assert.equal(strong.status, 200, strong.text);
});

test('no token, code, secret or cookie of all this stands in a log', async () => {
  const written = gate.log() + gate.audit();
  for (const [name, secret] of [['client secret', 'a-client-secret-for-tests'], ['machine secret', MACHINE.client_secret], ['JWT', 'eyJ']]) {
    assert.ok(!written.includes(secret), name);
  }
  assert.doesNotMatch(written, /code=[\w-]{20}|__Host-torhaus=/);
});
