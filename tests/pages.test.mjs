// Every page at desktop and phone size, light and dark: it fits, in both languages, axe finds nothing against WCAG 2.2 AA
// in it, and pictures of it are in tests/.work/screenshots for somebody to look at.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startApplication } from './peers/application.mjs';
import { signInOn, startBrowser } from './peers/browser.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { emptyFolder, freePorts, listens, ready, start, torhaus, torhausDemo, work } from './peers/work.mjs';

const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const NARROW = [320, 390];
const AXE = readFileSync(join(work, 'npm/node_modules/axe-core/axe.min.js'), 'utf8');
const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
let idp, application, gate, browser, pictures;

before(async () => {
  pictures = emptyFolder('screenshots');
  const ports = await gatePorts();
  const [nobodyThere] = await freePorts(1);
  idp = await startIdp({ clients: [client(ports)] });
  application = await startApplication();
  gate = await startGate({ name: 'pages', ports, idp, organisation: 'Stadtwerke Musterstadt', partner: true, ownCa: true, acme: {},
    upstream: { all: application.url, console: `http://127.0.0.1:${nobodyThere}` } });
  browser = await startBrowser({ name: 'pages' });
});
after(async () => {
  await browser?.close();
  await gate?.stop();
  await application?.stop();
  await idp?.stop();
});

/** What axe has against the page as it is shown now. */
async function violations(page) {
  // Like the console of the developer's tools: what the page's own policy of content says does not count here.
  await page.evaluate(AXE);
  const { violations: found, passes } = await page.evaluate((tags) => globalThis.axe.run(document, { runOnly: tags }), WCAG);
  assert.ok(passes.length > 5, `axe looked at ${passes.length} rules only`);
  return found.map(({ id, help, nodes }) => `${id} (${help}): ${nodes.map(({ html }) => html.slice(0, 200)).join(' | ')}`);
}

/** Checks that the page fits and that everybody can use it, and takes its pictures. Answers what is wrong with it. */
async function look(page, name) {
  const faults = [];
  for (const width of NARROW) {
    await page.setViewportSize({ width, height: 800 });
    const sizes = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    if (sizes[0] > sizes[1]) faults.push(`${name} is ${sizes[0]} wide on ${sizes[1]}`);
  }
  for (const [size, viewport] of Object.entries(SIZES)) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      faults.push(...(await violations(page)).map((found) => `${name}, ${size}, ${colorScheme}: ${found}`));
      await page.screenshot({ path: join(pictures, `${name}.${size}.${colorScheme}.png`), fullPage: true });
    }
  }
  await page.setViewportSize(SIZES.desktop);
  await page.emulateMedia({ colorScheme: 'light' });
  return faults;
}

const REASON = 'dd code';
/** Goes round all pages of the gate, as a person without much luck would see them. */
async function tour(page, see) {
  const at = async (url, name, selector = 'h1') => {
    await page.goto(url);
    await page.waitForSelector(selector);
    await see(name);
  };
  const says = async (reason) => assert.equal(await page.textContent(REASON), reason);
  const signIn = async (otp) => {
    await page.waitForSelector('input[name=login]');
    await signInOn(page, 'alice', { otp });
  };

  await at(gate.outside('ledger'), 'refusal-zone');
  await says('zone_denied');
  await at(gate.at('auth', '/login'), 'sign-in');
  await page.click('ul.choices a');
  await signIn();
  await page.waitForURL(gate.at('auth'));
  await see('applications');
  await at(gate.at('auth', '/?by=sensitivity'), 'applications-sensitivity');
  await at(gate.at('auth', '/?q=pay'), 'applications-search');
  await at(gate.at('auth', '/?q=nothing-of-that-name-is-here'), 'applications-none');
  await at(gate.at('auth', '/sessions'), 'sessions');
  await page.goto(gate.at('auth', '/devices'));
  await signIn('123456');
  await page.waitForURL(gate.at('auth', '/devices'));
  await see('devices');
  await page.fill('input[name=add]', 'Notebook am Empfang');
  await page.click('form.add button');
  await page.waitForSelector('#kid');
  await see('devices-key');
  await at(gate.at('auth', '/devices/enroll'), 'confirm-device-code');
  const random = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';
  await at(gate.at('auth', `/devices/enroll?label=notebook-17&challenge=${random}&port=40123&state=${random}`), 'confirm-device');
  await at(gate.at('auth', '/logout'), 'sign-out');
  await at(gate.at('ledger'), 'refusal-group');
  await says('not_allowed');
  await at(gate.at('workshop'), 'refusal-requirement');
  await says('requirement_missing');
  await at(gate.at('console'), 'refusal-application-down');
  await says('upstream_unavailable');
  await at(gate.at('auth', '/no/such/page'), 'refusal-no-page');
  await says('no_route');
  await at(gate.at('auth', '/callback/corp?state=x'), 'refusal-login-invalid');
  await says('login_invalid');
  await page.goto(gate.at('vault'));
  await signIn('123456');
  await signIn('123456');
  await page.waitForSelector(REASON);
  await says('step_up_failed');
  await see('refusal-step-up');

  await page.goto(gate.at('notes'));
  await page.fill('textarea[name=text]', 'A text that should not be lost');
  gate.revoke('--session', gate.sessions('alice')[0].id);
  await page.click('#save');
  await page.waitForSelector('ol.steps');
  await see('rescue');
  await at(gate.at('auth', '/signed-out'), 'signed-out');
}

for (const [locale, language] of [['en-GB', 'en'], ['de-DE', 'de']]) {
  test(`every page fits on a phone and keeps to WCAG 2.2 AA: ${language}`, async () => {
    const context = await browser.newContext({ locale });
    const page = await context.newPage();
    page.setDefaultTimeout(30_000);
    const faults = [];
    let seen = 0;
    await tour(page, async (name) => {
      assert.equal(await page.getAttribute('html', 'lang'), language, name);
      faults.push(...await look(page, `${name}.${language}`));
      seen += 1;
    });
    await context.close();
    assert.deepEqual(faults, []);
    assert.equal(seen, 20);
  });
}

const LOGO = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 32"><path fill="#c0504d" d="M2 30V10l14-8 14 8v20z"/>
  <path fill="#768494" d="M36 30V2h8v20h16v8z"/></svg>`;

test('pages with the operators\' own logo, colours and words fit on a phone and keep to WCAG 2.2 AA', async () => {
  const ports = await gatePorts();
  const logo = join(emptyFolder('branding'), 'logo.svg');
  writeFileSync(logo, LOGO);
  const branded = await startGate({ name: 'branded', ports, idp, organisation: 'Stadtwerke Musterstadt', partner: true,
    upstream: { all: application.url }, branding: { logo_file: logo, accent: { light: '#9b2423', dark: '#ffb0a8' },
      imprint: 'https://stadtwerke.test/impressum',
      texts: { de: { product: 'Stadtwerke-Zugang', help: 'Schlüssel verloren? Der Empfang leiht Ihnen einen anderen.' } } } });
  try {
    const context = await browser.newContext({ locale: 'de-DE' });
    const page = await context.newPage();
    const blocked = [];
    page.on('console', (message) => { if (/Content Security Policy/.test(message.text())) blocked.push(message.text()); });
    const faults = [];
    for (const [url, name, status] of [
      [branded.outside('ledger'), 'branded-refusal', 403], [branded.at('auth', '/login'), 'branded-sign-in', 200],
      [branded.at('auth', '/signed-out'), 'branded-signed-out', 200]]) {
      const answer = await page.goto(url);
      assert.equal(answer.status(), status, name);
      // Shown, and from the very host that the page is on.
      const shown = await page.$eval('img.logo', (image) => [image.complete, image.naturalWidth > 0, new URL(image.src).origin]);
      assert.deepEqual(shown, [true, true, new URL(url).origin], name);
      assert.equal(await page.$eval(':root', (root) => globalThis.getComputedStyle(root).getPropertyValue('--accent')), '#9b2423');
      assert.deepEqual(blocked, [], name);
      faults.push(...await look(page, `${name}.de`));
    }
    assert.match(await page.textContent('footer'), /Der Empfang leiht Ihnen einen anderen\..*Impressum/s);
    await context.close();
    assert.deepEqual(faults, []);
  } finally {
    await branded.stop();
  }
});

/** Ten ports in a row, below those that outgoing connections take. */
async function tenPorts() {
  for (;;) {
    const base = 20_000 + Math.floor(Math.random() * 3_900);
    const taken = await Promise.all(Array.from({ length: 10 }, (_, index) => listens(base + index)));
    if (!taken.includes(true)) return base;
  }
}

test('the demo\'s provider and applications fit on a phone and keep to WCAG 2.2 AA', async () => {
  const folder = emptyFolder('demo');
  const base = await tenPorts();
  const demo = start('demo', torhausDemo, ['--torhaus', torhaus, '--base-port', String(base), '--folder', folder]);
  let known;
  try {
    await ready(demo, () => /ready/.test(demo.said()));
    known = await startBrowser({ name: 'demo', authorities: [join(folder, 'ca.pem')] });
    const context = await known.newContext({ locale: 'en-GB' });
    const page = await context.newPage();
    page.setDefaultTimeout(30_000);
    const faults = [];
    const see = async (name) => faults.push(...await look(page, `demo-${name}.en`));
    const at = (host, path = '/') => `https://${host}.localhost:${base}${path}`;

    await page.goto(at('wiki'));
    await page.waitForSelector('input[name=password]');
    await see('password');
    await page.click('summary');
    await see('password-accounts');
    await page.fill('input[name=user]', 'alice');
    await page.fill('input[name=password]', 'alice-demo');
    await page.click('button');
    await page.waitForURL(at('wiki'));
    await see('wiki');
    await page.goto(at('wiki', '/live'));
    await page.waitForFunction(() => document.getElementById('state').textContent === 'Connected.');
    await see('live');
    await page.goto(at('samba-general'));
    await page.waitForSelector('output');
    await see('second-factor');
    await page.fill('input[name=code]', await page.textContent('output'));
    await page.click('button');
    await page.waitForURL(at('samba-general'));
    await page.goto(at('proxmox'));
    await page.waitForSelector('button.key');
    await see('key');
    await page.click('button.key');
    await page.waitForURL(at('proxmox'));
    await page.goto(at('auth'));
    await page.waitForSelector('li.card');
    await see('applications');
    await page.goto(at('auth', '/logout'));
    await page.click('form button.main');
    await page.waitForLoadState();
    await see('signing-out');
    await context.close();
    assert.deepEqual(faults, []);
  } finally {
    await known?.close();
    await demo.stop();
  }
});
