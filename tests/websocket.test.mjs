// A WebSocket application that others wrote: noVNC's page and websockify (Debian), behind Torhaus, in Chromium.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { signInOn, startBrowser } from './peers/browser.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startHasty } from './peers/hasty.mjs';
import { startIdp } from './peers/idp.mjs';
import { startMachine } from './peers/machine.mjs';
import { startScreen } from './peers/screen.mjs';
import { freePorts, listens, ready, start, until } from './peers/work.mjs';

let idp, screen, websockify, hasty, machine, gate, browser;
const STREAMS_END_WITHIN = 2000;
/** As long as somebody installs a machine and says nothing. */
const CONSOLE_STAYS = 60_000;

before(async () => {
  const ports = await gatePorts();
  const [port] = await freePorts(1);
  idp = await startIdp({ clients: [client(ports)] });
  screen = await startScreen();
  websockify = start('websockify', 'websockify', ['--web', '/usr/share/novnc', `127.0.0.1:${port}`, `127.0.0.1:${screen.port}`]);
  await ready(websockify, () => listens(port));
  hasty = await startHasty();
  machine = await startMachine();
  gate = await startGate({ name: 'websocket', ports, idp, upstream: { all: `http://127.0.0.1:${port}`, notes: hasty.url, machine: machine.url },
    rows: [{ resource: 'machine', allow: ['group:staff'], zones: { internal: 'standard', external: 'deny' } }] });
  browser = await startBrowser({ name: 'websocket' });
});
after(async () => {
  await browser?.close();
  await gate?.stop();
  await websockify?.stop();
  await hasty?.stop();
  await machine?.stop();
  await screen?.stop();
  await idp?.stop();
});

async function connected(context, user) {
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
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

test('the console of a virtual machine stays open for a minute, and shows what its keys do', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const frames = { text: 0, binary: 0 };
  page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => { frames[typeof payload === 'string' ? 'text' : 'binary'] += 1; }));
  await page.goto(gate.at('machine', '/vnc_lite.html'));
  await signInOn(page, 'alice');
  await page.waitForFunction(() => /Connected to QEMU/.test(document.getElementById('status').textContent));
  const shown = () => page.evaluate(() => {
    const canvas = document.querySelector('#screen canvas');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let sum = 0;
    for (let at = 0; at < data.length; at += 4) sum = (sum * 31 + data[at] + data[at + 1] + data[at + 2]) % 4_294_967_291;
    return sum;
  });
  // The firmware has drawn what it draws, and waits for a disk that is not there.
  let before;
  await until('the screen of the firmware stands still', async () => {
    const now = await shown();
    const still = now === before && now !== 0;
    before = now;
    return still;
  }, { within: 60_000, every: 3000 });
  await pause(CONSOLE_STAYS);
  assert.match(await page.textContent('#status'), /Connected to QEMU/);
  const heard = frames.binary;
  // The machine starts again at this combination, and draws its screen anew.
  await page.evaluate(() => document.getElementById('sendCtrlAltDelButton').click());
  await until('the machine answered by this very socket', () => frames.binary > heard, { within: 30_000 });
  assert.equal(frames.text, 0, 'RFB is binary');
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

test('a hundred sockets whose application answers at once are all heard, both ways', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(gate.at('notes'));
  await signInOn(page, 'alice');
  await page.waitForURL(gate.at('notes'));
  const heard = await page.evaluate(async (count) => {
    const one = () => new Promise((done) => {
      const words = [];
      const socket = new WebSocket(`wss://${location.host}/live`);
      socket.onmessage = ({ data }) => { words.push(data); if (words.length === 1) socket.send('and you?'); };
      socket.onclose = () => done(words.join(' '));
    });
    const all = {};
    const some = async () => {
      while (count > 0) {
        count -= 1;
        const words = await one();
        all[words] = (all[words] ?? 0) + 1;
      }
    };
    await Promise.all([some(), some(), some(), some()]);
    return all;
  }, 100);
  assert.deepEqual(heard, { 'hello bye': 100 });
  await context.close();
});
