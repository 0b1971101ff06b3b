// What a person sees and does in a real browser: Chromium with its own TLS, cookies, redirects and form rules.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startApplication } from './peers/application.mjs';
import { signInOn, startBrowser } from './peers/browser.mjs';
import { client, gatePorts, reason, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { until } from './peers/work.mjs';

let idp, application, gate, browser;
const ENGLISH = { locale: 'en-GB' };

before(async () => {
  const ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports)] });
  application = await startApplication();
  gate = await startGate({ name: 'browser', ports, idp, upstream: { all: application.url } });
  browser = await startBrowser({ name: 'browser' });
});
after(async () => {
  await browser?.close();
  await gate?.stop();
  await application?.stop();
  await idp?.stop();
});

/** A fresh browser window; closed afterwards; fails on anything the page's content policy stopped. */
async function window(what, options = ENGLISH, from = browser) {
  const context = await from.newContext(options);
  const complaints = [];
  context.on('console', (message) => {
    if (/Content Security Policy|Refused to/.test(message.text())) complaints.push(message.text());
  });
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(10_000);
    await what(page, context);
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
  }
}

const reasonOn = async (page) => reason(await page.textContent('dd code'));
async function signedIn(page, host, user = 'alice', options) {
  await page.goto(gate.at(host));
  await signInOn(page, user, options);
  await page.waitForURL(gate.at(host));
}

test('a person signs in by the provider\'s form and the application says hello', () => window(async (page) => {
  await page.goto(gate.at('notes', '/a/page?of=mine'));
  assert.ok(page.url().startsWith(`${idp.issuer}/interaction/`));
  await signInOn(page, 'alice');
  await page.waitForURL(gate.at('notes', '/a/page?of=mine'));
  assert.equal(await page.textContent('#user'), 'alice');
}));

test('a second application opens without a form, a stronger one asks for the code', () => window(async (page) => {
  await signedIn(page, 'notes');
  await page.goto(gate.at('console'));
  assert.equal(page.url(), gate.at('console'));
  await page.goto(gate.at('payroll', '/salaries'));
  assert.ok(page.url().startsWith(`${idp.issuer}/interaction/`));
  await signInOn(page, 'alice', { otp: '123456' });
  await page.waitForURL(gate.at('payroll', '/salaries'));
  assert.equal(await page.textContent('#user'), 'alice');
}));

test('a refusal says why and what to do, in the browser\'s language', async () => {
  for (const [locale, lang, words] of [['en-GB', 'en', /not among those who may open/], ['de-DE', 'de', /gehört nicht zu/]]) {
    await window(async (page) => {
      await page.goto(gate.at('ledger'));
      await signInOn(page, 'alice');
      await page.waitForURL(gate.at('ledger'));
      assert.equal(await page.getAttribute('html', 'lang'), lang);
      assert.equal(await reasonOn(page), reason('not_allowed'));
      assert.match(await page.textContent('main'), words);
      const decision = await page.textContent('dd code.pick');
      assert.match(gate.audit(), new RegExp(decision));
    }, { locale });
  }
});

test('the provider does not prove what the application needs: a refusal after one more try', () => window(async (page) => {
  await signedIn(page, 'notes');
  await page.goto(gate.at('vault'));
  for (let attempt = 1; attempt <= 2; attempt += 1) {
    assert.ok(page.url().startsWith(`${idp.issuer}/interaction/`), `try ${attempt} is at ${page.url()}`);
    await signInOn(page, 'alice', { otp: '123456' });
    await page.waitForLoadState();
  }
  assert.equal(await reasonOn(page), reason('step_up_failed'));
}));

test('the portal lists what is open now, and what asks for more', () => window(async (page) => {
  await page.goto(gate.at('auth'));
  await signInOn(page, 'alice');
  await page.waitForURL(gate.at('auth'));
  const cards = Object.fromEntries(await page.$$eval('li.card', (all) => all.map((card) => [card.querySelector('h3').textContent.trim(), card.className.replace('card', '').trim()])));
  assert.equal(cards.Notes, 'open');
  assert.equal(cards.Payroll, 'step');
  assert.ok(!('Api' in cards) && !('Backup' in cards), 'what is not listed is not there');
  await page.click('text=Notes');
  await page.waitForURL(gate.at('notes'));
  assert.equal(await page.textContent('#user'), 'alice');
}));

test('the page of sessions shows the other one and ends it', () => window(async (mine) => {
  await signedIn(mine, 'notes', 'bob');
  await window(async (other) => {
    await signedIn(other, 'notes', 'bob');
    await mine.goto(gate.at('auth', '/sessions'));
    assert.equal(await mine.locator('li.row').count(), 2);
    await mine.click('li.row form button');
    await mine.waitForURL(/\/sessions\?ended=1/);
    assert.equal(await mine.locator('li.row').count(), 1);
    const answer = await other.evaluate(() => fetch('/data', { headers: { accept: 'application/json' } }).then(async (r) => [r.status, (await r.json()).type]));
    assert.deepEqual(answer, [401, reason('session_expired')]);
  });
  await mine.goto(gate.at('notes'));
  assert.equal(await mine.textContent('#user'), 'bob');
}));

test('signing out ends the session everywhere and at the provider', () => window(async (page) => {
  await signedIn(page, 'notes');
  const { session } = await page.evaluate(() => fetch('/.torhaus/whoami').then((r) => r.json()));
  await page.goto(gate.at('auth', '/logout'));
  await page.click('form button.main');
  await page.waitForURL(`${idp.issuer}/session/end*`);
  await page.click('text=Yes');
  await page.waitForURL(/\/signed-out/);
  assert.match(await page.textContent('h1'), /signed out/i);
  assert.ok(!gate.sessions('alice').some((s) => s.id === session));
  await page.goto(gate.at('notes'));
  assert.ok(page.url().startsWith(`${idp.issuer}/interaction/`), 'the provider asks again');
}));

test('a script of a page whose session has ended gets a 401 to read, not a sign-in page', () => window(async (page) => {
  await signedIn(page, 'notes');
  gate.revoke('--user', 'alice');
  const seen = await page.evaluate(async () => {
    const answer = await fetch('/data');
    return { status: answer.status, redirected: answer.redirected, type: answer.headers.get('content-type'), body: await answer.json() };
  });
  assert.deepEqual([seen.status, seen.redirected, seen.type], [401, false, 'application/problem+json']);
  assert.equal(seen.body.type, reason('session_expired'));
}));

test('a form that meets an ended session is kept: sign in beside it, send it again', () => window(async (page, context) => {
  await signedIn(page, 'notes');
  await page.fill('input[name=title]', 'Report "Q3" <draft>');
  await page.fill('textarea[name=text]', 'two\nlines, ümläut & more');
  gate.revoke('--user', 'alice');
  const before = application.requests.filter((r) => r.method === 'POST').length;
  await page.click('#save');
  await page.waitForSelector('form[method=post] input[name=text]', { state: 'attached' });
  assert.equal(application.requests.filter((r) => r.method === 'POST').length, before, 'nothing was sent on');

  const [tab] = await Promise.all([context.waitForEvent('page'), page.click('ol.steps a.button')]);
  // The provider still knows the person, so that the new tab is through at once.
  await tab.waitForURL(gate.at('notes'));
  await page.click('ol.steps form button');
  await page.waitForSelector('#asked');
  assert.equal(await page.textContent('#asked'), 'POST /save?draft=1');
  const sent = application.requests.filter((r) => r.method === 'POST');
  assert.equal(sent.length, before + 1);
  const fields = new URLSearchParams(sent.at(-1).body);
  assert.deepEqual([fields.get('title'), fields.get('text')], ['Report "Q3" <draft>', 'two\r\nlines, ümläut & more']);
}));

test('a device without a certificate is refused by name, and the company\'s laptop is let in', async () => {
  await window(async (page) => {
    await signedIn(page, 'notes');
    await page.goto(gate.at('workshop'));
    assert.equal(await reasonOn(page), reason('requirement_missing'));
    assert.match(await page.textContent('main'), /company-laptop/);
  });
  const laptop = await startBrowser({ name: 'laptop', certificate: 'laptop', origin: gate.at('workshop').replace(/\/$/, '') });
  try {
    await window(async (page) => {
      await page.goto(gate.at('workshop', '/bench'));
      await signInOn(page, 'alice');
      await page.waitForURL(gate.at('workshop', '/bench'));
      assert.equal(await page.textContent('#user'), 'alice');
      const who = await page.evaluate(() => fetch('/.torhaus/whoami').then((r) => r.json()));
      assert.match(who.certificate, /^[0-9a-f]{64}$/);
    }, ENGLISH, laptop);
  } finally {
    await laptop.close();
  }
});

test('a page that stays open is told at once when its session is revoked', () => window(async (page) => {
  await signedIn(page, 'notes');
  assert.equal(await page.evaluate(() => fetch('/data').then((r) => r.status)), 200);
  gate.revoke('--user', 'alice');
  await until('the next request is refused', () => page.evaluate(() => fetch('/data').then((r) => r.status === 401)), { within: 1000 });
}));
