// A WebSocket application that others wrote: noVNC's page and websockify (Debian), behind Torhaus, in Chromium.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { signInOn, startBrowser } from './peers/browser.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { startScreen } from './peers/screen.mjs';
import { freePorts, listens, ready, start, until } from './peers/work.mjs';

let idp, screen, websockify, gate, browser;
const STREAMS_END_WITHIN = 2000;

before(async () => {
  const ports = await gatePorts();
  const [port] = await freePorts(1);
  idp = await startIdp({ clients: [client(ports)] });
  screen = await startScreen();
  websockify = start('websockify', 'websockify', ['--web', '/usr/share/novnc', `127.0.0.1:${port}`, `127.0.0.1:${screen.port}`]);
  await ready(websockify, () => listens(port));
  gate = await startGate({ name: 'websocket', ports, idp, upstream: { all: `http://127.0.0.1:${port}` } });
  browser = await startBrowser({ name: 'websocket' });
});
after(async () => {
  await browser?.close();
  await gate?.stop();
  await websockify?.stop();
  await screen?.stop();
  await idp?.stop();
});

async function connected(context, user) {
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  await page.goto(gate.at('console', '/vnc_lite.html'));
  if (page.url().startsWith(idp.issuer)) await signInOn(page, user);
  await page.waitForURL(gate.at('console', '/vnc_lite.html'));
  await page.waitForFunction(() => /Connected/.test(document.getElementById('status').textContent));
  return page;
}

test('noVNC connects, shows the screen and sends keys', async () => {
  const context = await browser.newContext();
  const page = await connected(context, 'alice');
  await until('a picture was sent', () => screen.pictures > 0);
  await until('the picture is shown', () => page.evaluate(() => {
    const canvas = document.querySelector('#screen canvas');
    return canvas?.width === 64 && canvas.getContext('2d').getImageData(10, 10, 1, 1).data[0] === 0x7f;
  }));
  await page.click('#screen canvas');
  await page.keyboard.press('t');
  await until('the key arrived', () => screen.keys.some((event) => event.key === 't'.charCodeAt(0)));
  await context.close();
});

test('the open screen closes within two seconds when the session is revoked, and another person\'s stays', async () => {
  const [mine, other] = [await browser.newContext(), await browser.newContext()];
  await until('the screen before is closed', () => screen.open === 0);
  const page = await connected(mine, 'alice');
  const kept = await connected(other, 'bob');
  assert.equal(screen.open, 2);
  const [session] = gate.sessions('alice').map((s) => s.id);
  const at = Date.now();
  gate.revoke('--session', session);
  await page.waitForFunction(() => !/Connected/.test(document.getElementById('status').textContent), null, { timeout: STREAMS_END_WITHIN });
  await until('websockify lost it as well', () => screen.open === 1, { within: STREAMS_END_WITHIN });
  assert.ok(Date.now() - at < STREAMS_END_WITHIN + 500, `it took ${Date.now() - at} ms`);
  assert.match(await kept.textContent('#status'), /Connected/);
  await mine.close();
  await other.close();
});

test('a socket without a session is not opened', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const before = screen.open;
  const opened = await page.evaluate((url) => new Promise((done) => {
    const socket = new WebSocket(url, 'binary');
    socket.onopen = () => done(true);
    socket.onerror = () => done(false);
  }), gate.at('console', '/websockify').replace('https', 'wss'));
  assert.equal(opened, false);
  assert.equal(screen.open, before);
  await context.close();
});
