// Debian's Chromium, headless, by playwright-core. It is left as people have it: its own TLS with the test authority in
// its certificate database, no switch that ignores errors.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { chromium } from '../.work/npm/node_modules/playwright-core/index.mjs';
import { pki } from './pki.mjs';
import { emptyFolder } from './work.mjs';

// The one file outside of tests/.work: Chromium reads managed policies nowhere else. It names only the address below.
const POLICY = '/etc/chromium/policies/managed/torhaus-tests.json';
const removePolicy = () => rmSync(POLICY, { force: true });

/**
 * @param name of a private home
 * @param certificate of the test PKI, with `origin` to show it to without asking anybody
 * @param authorities further authorities to trust
 */
export async function startBrowser({ name, certificate, origin, authorities = [] }) {
  const home = emptyFolder('homes', name);
  const database = join(home, '.pki/nssdb');
  mkdirSync(database, { recursive: true });
  const nss = (tool, ...args) => execFileSync(tool, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  nss('certutil', '-N', '--empty-password', '-d', `sql:${database}`);
  [pki()('ca.crt'), ...authorities].forEach((file, index) =>
    nss('certutil', '-A', '-d', `sql:${database}`, '-n', `authority-${index}`, '-t', 'C,,', '-i', file));
  if (certificate) {
    nss('pk12util', '-d', `sql:${database}`, '-i', pki()(`${certificate}.p12`), '-W', 'test');
    mkdirSync(dirname(POLICY), { recursive: true });
    writeFileSync(POLICY, JSON.stringify({ AutoSelectCertificateForUrls: [JSON.stringify({ pattern: origin, filter: {} })] }));
    process.once('exit', removePolicy);
  }
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', env: { ...process.env, HOME: home },
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--host-resolver-rules=MAP *.gate.test 127.0.0.1'] });
  const close = browser.close.bind(browser);
  browser.close = async () => {
    await close();
    if (certificate) removePolicy();
    rmSync(home, { recursive: true, force: true });
  };
  return browser;
}

/** Fills the provider's form. */
export async function signInOn(page, user, { otp = '' } = {}) {
  await page.fill('input[name=login]', user);
  await page.fill('input[name=password]', `pw-${user}`);
  await page.fill('input[name=otp]', otp);
  await page.click('button');
}
