// Applications that others wrote, behind the gate: Cockpit in a browser, etcd by gRPC over mutual TLS, Apache with Basic
// authentication, nginx with files and with a device of old TLS behind it, two gibibytes each way, and a protocol of its own that stays silent for minutes and then has much to say.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect } from 'node:tls';
import { startBrowser, signInOn } from './peers/browser.mjs';
import { Client } from './peers/client.mjs';
import { run } from './peers/command.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { alice, signIn } from './peers/people.mjs';
import { pki } from './peers/pki.mjs';
import { nginx } from './peers/proxies.mjs';
import { emptyFolder, freePorts, listens, ready, start, until } from './peers/work.mjs';

const GIB = 1024 ** 3;
const MANUAL = 'Press the green button. '.repeat(40);
const file = pki();
const folder = emptyFolder('applications');
let idp, gate, ports, browser;
const peers = [];

before(async () => {
  ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports)] });
  const cockpit = await startCockpit(`https://cockpit.gate.test:${ports.inside}`);
  const etcd = await startEtcd();
  const printer = await startPrinter();
  const files = await startNginx();
  const store = await startStore();
  const mesh = await startMesh();
  peers.push(cockpit, etcd, printer, files, store, mesh);
  const password = join(folder, 'printer-password');
  writeFileSync(password, 'of the printer', { mode: 0o600 });
  const machines = { client_auth: { mode: 'required', trust_domains: ['clients'] }, listed: false };
  gate = await startGate({ name: 'applications', ports, idp, upstream: { all: store.url }, limits: { max_body: '3GiB' },
    routes: [
      { name: 'cockpit', host: 'cockpit.gate.test', resource: 'cockpit', upstream: cockpit.url, profile: 'cockpit' },
      { name: 'printer', host: 'printer.gate.test', resource: 'printer', upstream: printer.url,
        send: { Authorization: { file: password, basic_user: 'gate' } } },
      { name: 'files', host: 'files.gate.test', resource: 'files', upstream: files.url },
      { name: 'old-printer', host: 'old-printer.gate.test', resource: 'printer', upstream: files.socket, profile: 'printer' },
      { name: 'etcd', host: 'localhost', resource: 'etcd', upstream: etcd.url.replace('https', 'h2'), response_timeout: 'off', min_body_rate: '0B',
        upstream_tls: { ca_file: file('ca.crt'), server_name: 'localhost', client_cert_file: file('laptop.crt'), client_key_file: file('laptop.key') }, ...machines },
      { name: 'store', host: 'store.gate.test', resource: 'store', upstream: store.url, ...machines },
      { name: 'nodes', host: 'mesh.gate.test', resource: 'mesh', upstream: mesh.url, profile: 'headscale' },
    ],
    rows: [
      { resource: 'cockpit', allow: ['group:staff'], zones: { internal: 'standard' } },
      ...['printer', 'files'].map((resource) => ({ resource, allow: ['group:staff'], zones: { internal: 'standard' } })),
      ...['etcd', 'store'].map((resource) => ({ resource, allow: ['service:spiffe://gate.test/backup'], zones: { internal: 'standard' } })),
      { resource: 'mesh', allow: ['anyone'], zones: { internal: 'anonymous', external: 'anonymous' } },
      { resource: 'mesh-api', allow: ['group:admins'], zones: { internal: 'standard' } },
    ] });
  browser = await startBrowser({ name: 'applications' });
});
after(async () => {
  await browser?.close();
  await gate?.stop();
  for (const peer of peers) await peer.stop();
  await idp?.stop();
});

async function startCockpit(origin) {
  const [port] = await freePorts(1);
  const etc = join(folder, 'etc/cockpit');
  mkdirSync(etc, { recursive: true });
  writeFileSync(join(etc, 'cockpit.conf'), `[WebService]\nOrigins = ${origin}\nProtocolHeader = X-Forwarded-Proto\nForwardedForHeader = X-Forwarded-For\nLoginTo = false\n`);
  // Without a login of its own: nobody of this machine is asked for a password.
  const peer = start('cockpit', '/usr/lib/cockpit/cockpit-ws', ['--no-tls', '--address', '127.0.0.1', '--port', String(port), '--local-session=cockpit-bridge'],
    { env: { ...process.env, XDG_CONFIG_DIRS: join(folder, 'etc'), HOME: folder } });
  await ready(peer, () => listens(port));
  return { url: `http://127.0.0.1:${port}`, stop: peer.stop };
}

async function startEtcd() {
  const [port, peerPort] = await freePorts(2);
  const url = `https://localhost:${port}`;
  const between = `http://127.0.0.1:${peerPort}`;
  const peer = start('etcd', 'etcd', ['--name', 't', '--data-dir', join(folder, 'etcd'), '--listen-client-urls', `https://127.0.0.1:${port}`,
    '--advertise-client-urls', url, '--listen-peer-urls', between, '--initial-advertise-peer-urls', between, '--initial-cluster', `t=${between}`,
    '--cert-file', file('server.crt'), '--key-file', file('server.key'), '--trusted-ca-file', file('clients-ca.crt'), '--client-cert-auth']);
  await ready(peer, () => /ready to serve/.test(peer.said()));
  return { url: `https://127.0.0.1:${port}`, stop: peer.stop };
}

async function startPrinter() {
  const [port] = await freePorts(1);
  const home = join(folder, 'printer');
  mkdirSync(join(home, 'pages'), { recursive: true });
  writeFileSync(join(home, 'pages/index.html'), 'Toner: 40 %');
  execFileSync('htpasswd', ['-cbB', join(home, 'people'), 'gate', 'of the printer'], { stdio: 'ignore' });
  const modules = ['mpm_event', 'authn_core', 'authn_file', 'authz_core', 'authz_user', 'auth_basic', 'dir'];
  writeFileSync(join(home, 'apache.conf'), `${modules.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`).join('\n')}
ServerName printer\nListen 127.0.0.1:${port}\nPidFile ${home}/pid\nErrorLog ${home}/error.log\nUser www-data\nGroup www-data
DocumentRoot ${home}/pages\nDirectoryIndex index.html
<Directory ${home}/pages>\nAuthType Basic\nAuthName printer\nAuthUserFile ${home}/people\nRequire valid-user\n</Directory>\n`);
  execFileSync('chmod', ['-R', 'a+rX', home]);
  for (const above of [folder, join(folder, '..'), join(folder, '../..')]) execFileSync('chmod', ['a+x', above]);
  const peer = start('printer', 'apache2', ['-X', '-f', join(home, 'apache.conf')]);
  await ready(peer, () => listens(port));
  return { url: `http://127.0.0.1:${port}`, stop: peer.stop };
}

/** Files as nginx serves them; on a socket, by examples/printer/old-tls.conf, a device that speaks TLS 1.0 and nothing else. */
async function startNginx() {
  const [port, device] = await freePorts(2);
  const home = join(folder, 'nginx');
  mkdirSync(join(home, 'files/manual'), { recursive: true });
  writeFileSync(join(home, 'files/manual/index.html'), MANUAL);
  const socket = join(tmpdir(), `torhaus-old-printer-${process.pid}.sock`);
  const example = readFileSync(join(import.meta.dirname, '../examples/printer/old-tls.conf'), 'utf8')
    .replaceAll('/run/torhaus/old-printer.sock', socket).replace('192.0.2.40:443', `127.0.0.1:${device}`)
    .replaceAll('printer.internal.test', 'auth.gate.test').replaceAll('printer\\.internal\\.test', 'auth\\.gate\\.test').replace('/etc/torhaus/old-printer.pem', file('ca.crt'));
  const peer = nginx('nginx-application', home, `types { text/html html; } gzip on; gzip_min_length 100;
server { listen 127.0.0.1:${port}; root ${home}/files; }
server { listen 127.0.0.1:${device} ssl; ssl_protocols TLSv1; ssl_ciphers DEFAULT@SECLEVEL=0;
ssl_certificate ${file('server.crt')}; ssl_certificate_key ${file('server.key')}; default_type text/plain;
location = / { return 301 https://$http_host:${device}/start; } location / { return 200 "$ssl_protocol for $http_host"; } }
${example}`, 'user root;');
  await ready(peer, () => listens(port));
  return { url: `http://127.0.0.1:${port}`, socket: `unix:${socket}`, stop: async () => { await peer.stop(); rmSync(socket, { force: true }); } };
}

/** Takes uploads and counts them; `/down/BYTES` sends as many; `/events` is a stream of server-sent events. */
async function startStore() {
  const block = Buffer.alloc(1024 * 1024, 'x');
  const seen = { uploaded: 0 };
  const server = createServer(async (req, res) => {
    if (req.url === '/events') {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      const beat = setInterval(() => res.write('data: tick\n\n'), 200);
      res.on('close', () => clearInterval(beat));
      return;
    }
    const down = /^\/down\/(\d+)$/.exec(req.url);
    if (down) {
      let left = Number(down[1]);
      res.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': left });
      while (left > 0 && !res.destroyed) {
        const part = block.subarray(0, Math.min(left, block.length));
        left -= part.length;
        if (!res.write(part)) await new Promise((done) => { const go = () => { res.off('drain', go).off('close', go); done(); }; res.on('drain', go).on('close', go); });
      }
      return res.end();
    }
    seen.uploaded = 0;
    for await (const chunk of req) seen.uploaded += chunk.length;
    res.writeHead(200, { 'content-type': 'text/plain' }).end(String(seen.uploaded));
  });
  const [port] = await freePorts(1);
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${port}`, seen, stop: () => { server.closeAllConnections(); return new Promise((done) => server.close(done)); } };
}

/** What Headscale's nodes do (contract: Headscale, control protocol): POST /ts2021, switch to a protocol of its own, talk rarely. */
async function startMesh() {
  const server = createServer((req, res) => res.writeHead(req.url === '/generate_204' ? 204 : 200).end());
  const streams = new Set();
  server.on('upgrade', (req, socket) => {
    streams.add(socket.on('close', () => streams.delete(socket)).on('error', () => {}));
    if (req.method !== 'POST' || req.headers.upgrade !== 'tailscale-control-protocol' || !req.headers['x-tailscale-handshake']) return socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n');
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n\r\n');
    socket.on('data', (chunk) => { if (!socket.write(chunk)) { socket.pause(); socket.once('drain', () => socket.resume()); } });
  });
  const [port] = await freePorts(1);
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${port}`, stop: () => { streams.forEach((s) => s.destroy()); return new Promise((done) => server.close(done)); } };
}

/** Kibibytes of memory of its own. */
const resident = () => Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync(`/proc/${gate.pid}/status`, 'utf8'))[1]);

test('Cockpit opens in a browser after a sign-in at the gate, and its terminal runs a command', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(gate.at('cockpit', '/system/terminal'));
  await signInOn(page, 'alice');
  await page.waitForURL(gate.at('cockpit', '/system/terminal'));
  const terminal = page.frameLocator('iframe[name="cockpit1:localhost/system/terminal"]').locator('.xterm-helper-textarea');
  await terminal.waitFor({ state: 'attached' });
  // What it shows is a drawing; what it did is a file. Its shell may not be there at the first key.
  const written = join(folder, 'by-the-terminal');
  await until('the command ran', async () => {
    await terminal.focus();
    await page.keyboard.type(`echo $((7*6)) > ${written}\n`);
    return existsSync(written) && readFileSync(written, 'utf8') === '42\n';
  }, { within: 60_000, every: 1000 });
  await context.close();
});

test('a printer that knows one password gets it from the gate, and people are asked for none', async () => {
  const person = new Client();
  const page = await signIn(person, gate.at('printer'), alice);
  assert.deepEqual([page.status, page.text], [200, 'Toner: 40 %']);
  const mine = await person.send(gate.at('printer'), { headers: { authorization: `Basic ${Buffer.from('gate:guessed').toString('base64')}` } });
  assert.equal(mine.status, 200, 'what the client sends there is replaced');
  person.close();
});

test('files of nginx arrive compressed, in parts or not at all when they are known, and its redirects stay at the gate', async () => {
  const person = new Client();
  const page = await signIn(person, gate.at('files', '/manual/'), alice);
  assert.deepEqual([page.status, page.text], [200, MANUAL]);
  const manual = (headers, path = '/manual/') => person.send(gate.at('files', path), { headers });
  const { etag } = page.headers;
  assert.match(etag, /^"/);
  assert.equal((await manual({ 'if-none-match': etag })).status, 304);
  const part = await manual({ range: 'bytes=2-5', 'if-range': etag });
  assert.deepEqual([part.status, part.text, part.headers['content-range']], [206, MANUAL.slice(2, 6), `bytes 2-5/${MANUAL.length}`]);
  const packed = await manual({ 'accept-encoding': 'gzip' });
  assert.deepEqual([packed.status, packed.headers['content-encoding'], Number(packed.headers['content-length'] ?? 0) < MANUAL.length], [200, 'gzip', true]);
  const moved = await manual({}, '/manual');
  assert.deepEqual([moved.status, new URL(moved.headers.location, gate.at('files')).href], [301, gate.at('files', '/manual/')]);
  assert.equal((await manual({}, '/none')).status, 404);
  person.close();
});

test('a device that knows TLS 1.0 only is reached through nginx beside the gate, by the policy table', async () => {
  const person = new Client();
  const page = await signIn(person, gate.at('old-printer'), alice);
  assert.deepEqual([page.status, page.text, page.url], [200, 'TLSv1 for auth.gate.test', gate.at('old-printer', '/start')]);
  person.close();
  const stranger = new Client();
  assert.equal((await stranger.send(gate.at('old-printer'), { headers: { accept: 'application/json' } })).status, 401);
  stranger.close();
});

test('etcd answers by gRPC over mutual TLS on both sides, and its watch stays open', async () => {
  const etcdctl = (...args) => ['etcdctl', ['--endpoints', `https://localhost:${ports.inside}`, '--cacert', file('ca.crt'),
    '--cert', file('backup.crt'), '--key', file('backup.key'), ...args]];
  process.env.ETCDCTL_API = '3';
  const watch = spawn(...etcdctl('watch', 'colour'), { stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    let told = '';
    watch.stdout.on('data', (chunk) => { told += chunk; });
    // Its first look may come before the watch is there: it is written until the watch tells.
    await until('the watch tells what was written', async () => {
      const put = await run(...etcdctl('put', 'colour', 'blue'), { within: 20_000 });
      assert.equal(put.stdout, 'OK\n', put.stderr);
      return told.includes('colour\nblue\n');
    }, { within: 30_000, every: 500 });
    const read = await run(...etcdctl('get', 'colour'));
    assert.equal(read.stdout, 'colour\nblue\n', read.stderr);
  } finally {
    watch.kill();
  }
  const stranger = await run('etcdctl', ['--endpoints', `https://localhost:${ports.inside}`, '--cacert', file('ca.crt'), '--cert', file('reports.crt'),
    '--key', file('reports.key'), '--command-timeout', '3s', 'get', 'colour'], { within: 30_000 });
  assert.notEqual(stranger.code, 0, 'another service is refused');
});

test('two gibibytes go up and come down, and the gate keeps no more of them than a few pieces', async () => {
  const curl = (...args) => run('curl', ['-sS', '--cacert', file('ca.crt'), '--cert', file('backup.crt'), '--key', file('backup.key'),
    '--resolve', `store.gate.test:${ports.inside}:127.0.0.1`, ...args], { within: 600_000 });
  await curl(gate.at('store', '/down/1048576'), '-o', '/dev/null');
  const before = resident();
  let most = before;
  const watching = setInterval(() => { most = Math.max(most, resident()); }, 100);
  try {
    const down = await curl(gate.at('store', `/down/${2 * GIB}`), '-o', '/dev/null', '-w', '%{http_code} %{size_download}');
    assert.equal(down.stdout, `200 ${2 * GIB}`, down.stderr);
    const up = await run('sh', ['-c', `head -c ${2 * GIB} /dev/zero | curl -sS --cacert '${file('ca.crt')}' --cert '${file('backup.crt')}' --key '${file('backup.key')}' `
      + `--resolve store.gate.test:${ports.inside}:127.0.0.1 -H Expect: -T - ${gate.at('store', '/up')}`], { within: 600_000 });
    assert.equal(up.stdout, String(2 * GIB), up.stderr);
  } finally {
    clearInterval(watching);
  }
  console.log(`memory: ${before} KiB, ${most} KiB at most`);
  assert.ok(most - before < 32 * 1024, `it grew from ${before} to ${most} KiB`);
});

test('events arrive while they happen', async () => {
  const out = await run('curl', ['-sS', '-N', '--max-time', '3', '--cacert', file('ca.crt'), '--cert', file('backup.crt'), '--key', file('backup.key'),
    '--resolve', `store.gate.test:${ports.inside}:127.0.0.1`, gate.at('store', '/events')]);
  const ticks = out.stdout.match(/data: tick/g) ?? [];
  assert.ok(ticks.length >= 3, `${ticks.length} events in three seconds: ${out.stderr}`);
});

test('a node of the mesh stays connected through 150 silent seconds, then a hundred megabytes go each way', async () => {
  const socket = connect({ port: ports.inside, host: '127.0.0.1', servername: 'mesh.gate.test', ca: readFileSync(file('ca.crt')), ALPNProtocols: ['http/1.1'] });
  await new Promise((done, failed) => { socket.once('secureConnect', done); socket.once('error', failed); });
  socket.write(`POST /ts2021 HTTP/1.1\r\nHost: mesh.gate.test:${ports.inside}\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\nX-Tailscale-Handshake: AAAA\r\n\r\n`);
  const [head] = await new Promise((done) => socket.once('data', (chunk) => done([chunk.toString()])));
  assert.match(head, /^HTTP\/1\.1 101 /);
  let ended = false;
  socket.once('close', () => { ended = true; });
  await pause(150_000);
  assert.equal(ended, false, 'it was closed while nobody said anything');
  const piece = createHash('sha512').update('piece').digest();
  const block = Buffer.concat(Array.from({ length: 16 * 1024 }, () => piece));
  const whole = 100;
  let back = 0;
  const hash = { sent: createHash('sha256'), seen: createHash('sha256') };
  const all = new Promise((done, failed) => {
    socket.on('data', (chunk) => { back += chunk.length; hash.seen.update(chunk); if (back === whole * block.length) done(); });
    socket.once('close', () => failed(new Error(`closed after ${back} bytes`)));
  });
  for (let n = 0; n < whole; n += 1) {
    hash.sent.update(block);
    if (!socket.write(block)) await new Promise((done) => socket.once('drain', done));
  }
  await all;
  assert.equal(hash.seen.digest('hex'), hash.sent.digest('hex'));
  socket.destroy();
});
