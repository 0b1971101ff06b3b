// nginx, Caddy and Apache serve applications and ask Torhaus: `/.torhaus/verify`, with the files of examples/forward-auth.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { connect } from 'node:tls';
import { startApplication } from './peers/application.mjs';
import { Client } from './peers/client.mjs';
import { run } from './peers/command.mjs';
import { client, gatePorts, startGate } from './peers/gate.mjs';
import { startIdp } from './peers/idp.mjs';
import { alice, aliceWithCode, signIn } from './peers/people.mjs';
import { pki } from './peers/pki.mjs';
import { ADDRESS, startApache, startCaddy, startNginx } from './peers/proxies.mjs';

const PROXIES = ['nginx', 'caddy', 'apache'];
const file = pki();
let idp, application, gate, ports;
const proxies = {};

before(async () => {
  ports = await gatePorts();
  idp = await startIdp({ clients: [client(ports)] });
  application = await startApplication();
  const served = (name, more) => ({ name: `${name}${more.path ?? ''}`.replace('/', '-'), host: `${name}.gate.test`, upstream: 'forward_auth', ...more });
  const routes = PROXIES.flatMap((name) => [served(name, { resource: 'elsewhere' }),
    served(name, { path: '/finance', resource: 'elsewhere-finance' }), served(name, { path: '/pay', resource: 'elsewhere-pay' })]);
  const everywhere = (tier) => ({ internal: tier, external: tier });
  gate = await startGate({ name: 'forward-auth', ports, idp, upstream: { all: application.url }, routes,
    rows: [{ resource: 'elsewhere', allow: ['group:staff'], zones: everywhere('standard') },
      { resource: 'elsewhere-finance', allow: ['group:finance'], zones: everywhere('standard') },
      { resource: 'elsewhere-pay', allow: ['group:staff'], zones: everywhere('mfa') }],
    forwardAuth: PROXIES.map((proxy) => ({ proxy, addresses: [ADDRESS[proxy]] })) });
  proxies.nginx = await startNginx(ports.inside, application.port);
  proxies.caddy = await startCaddy(ports.inside, application.port);
  proxies.apache = await startApache(ports.inside, application.port);
});
after(async () => {
  for (const proxy of Object.values(proxies)) await proxy.stop();
  await gate?.stop();
  await application?.stop();
  await idp?.stop();
});

const cookies = (seen) => seen.headers.cookie ?? '';

for (const name of PROXIES) {
  test(`${name}: a person signs in, comes back to the page that was asked for, and the application knows who it is`, async () => {
    const proxy = proxies[name];
    const browser = new Client();
    const page = await signIn(browser, proxy.at('/deep/page?q=1'), alice);
    assert.equal(page.status, 200, `${page.text}\n${proxy.log()}`);
    assert.equal(page.url, proxy.at('/deep/page?q=1'));
    const seen = application.requests.at(-1);
    assert.deepEqual([seen.path, seen.user, seen.groups], ['/deep/page?q=1', 'alice', 'admins,staff']);
    assert.ok(seen.headers['x-torhaus-assertion'], 'the signed assertion');
    assert.ok(browser.cookie(proxy.at(), '__Host-torhaus'), 'a session at this host');
    browser.close();
  });

  test(`${name}: what the client says about itself, and the cookie of the gate, never reach the application`, async () => {
    const proxy = proxies[name];
    const browser = new Client();
    await signIn(browser, proxy.at(), alice);
    const asked = await browser.send(proxy.at('/forged'), { headers: { 'x-forwarded-user': 'root', 'x-forwarded-groups': 'admins',
      'x-torhaus-assertion': 'mine', 'x-original-url': 'https://status.gate.test/', 'x-forwarded-uri': '/other' } });
    assert.equal(asked.status, 200);
    const seen = application.requests.at(-1);
    assert.deepEqual([seen.path, seen.user, seen.groups], ['/forged', 'alice', 'admins,staff']);
    assert.notEqual(seen.headers['x-torhaus-assertion'], 'mine');
    assert.doesNotMatch(cookies(seen), /torhaus/);
    assert.doesNotMatch(JSON.stringify(seen.headers), /\{http\./, 'nothing that was not filled in');
    browser.close();
  });

  test(`${name}: a person without the group is refused, a program is not redirected, a tier is asked for`, async () => {
    const proxy = proxies[name];
    const before = application.requests.length;
    const browser = new Client();
    const nobody = await browser.send(proxy.at('/api'), { headers: { accept: 'application/json' } });
    assert.deepEqual([nobody.status, nobody.headers.location], [401, undefined]);
    await signIn(browser, proxy.at('/finance'), alice);
    const refused = await browser.send(proxy.at('/finance/q3'));
    assert.equal(refused.status, 403);
    assert.equal(application.requests.length, before, 'nothing of it reached the application');
    const stepped = await signIn(browser, proxy.at('/pay/slip'), aliceWithCode);
    assert.deepEqual([stepped.status, stepped.url], [200, proxy.at('/pay/slip')]);
    assert.match(gate.audit(), /"resource":\s*"elsewhere-finance"/);
    browser.close();
  });

  test(`${name}: the headers of a question that a client sends along change nothing`, async () => {
    const proxy = proxies[name];
    const before = application.requests.length;
    const browser = new Client();
    await signIn(browser, proxy.at(), alice);
    const asked = application.requests.length;
    const tricks = { 'x-original-url': proxy.at('/'), 'x-original-method': 'GET', 'x-forwarded-uri': '/', 'x-forwarded-host': proxy.host,
      'x-forwarded-method': 'GET', 'x-forwarded-for': '10.0.0.1' };
    const refused = await browser.send(proxy.at('/finance/q3'), { headers: tricks });
    assert.equal(refused.status, 403, refused.text);
    assert.equal(application.requests.length, asked);
    assert.ok(asked > before);
    browser.close();
  });
}

/** These bytes to nginx over TLS: the status that it answers with. */
const rawToNginx = (head) => new Promise((done, failed) => {
  const { port } = new URL(proxies.nginx.at());
  const socket = connect({ host: '127.0.0.1', port, servername: 'nginx.gate.test', ca: readFileSync(file('ca.crt')) }, () => socket.write(head));
  let said = '';
  socket.on('data', (part) => { said += part; });
  socket.on('end', () => done(Number(said.split(' ')[1])));
  socket.on('error', failed);
});

test('apache: another spelling of a header that says who it is does not reach the application', async () => {
  const proxy = proxies.apache;
  const browser = new Client();
  await signIn(browser, proxy.at(), alice);
  const asked = await browser.send(proxy.at('/spelled'), { headers: { x_forwarded_user: 'root', 'x.forwarded.groups': 'admins' } });
  assert.equal(asked.status, 200, proxy.log());
  const seen = application.requests.at(-1);
  assert.deepEqual([seen.path, seen.user, seen.headers.x_forwarded_user, seen.headers['x.forwarded.groups']], ['/spelled', 'alice', undefined, undefined]);
  browser.close();
});

test('nginx: a host in the request line that is not `Host` is refused before anybody is asked', async () => {
  const before = application.requests.length;
  const { port } = new URL(proxies.nginx.at());
  const get = (target, host) => rawToNginx(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\nAccept: application/json\r\nConnection: close\r\n\r\n`);
  const [here, other] = [`nginx.gate.test:${port}`, `caddy.gate.test:${port}`];
  for (const [target, host] of [[`https://${here}/finance`, other], [`https://${other}/`, here], [`https://${here}/`, 'caddy.gate.test'],
    [`https://nginx.gate.test/`, `nginx.gate.test.${here}`]]) {
    assert.equal(await get(target, host), 400, `${target} ${host}`);
  }
  for (const [target, host] of [[`https://${here}/finance`, here], ['/finance', here], ['/finance', `NGINX.gate.test:${port}`]]) {
    assert.equal(await get(target, host), 401, `${target} ${host}`);
  }
  assert.equal(application.requests.length, before);
});

/** A question as a listed proxy would ask it, from an address of our choice. */
async function ask(from, headers) {
  const more = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  const out = await run('curl', ['-sS', '--interface', from, '--cacert', file('ca.crt'), '--resolve', `*:${ports.inside}:127.0.0.1`,
    ...more, '-w', '\n%{http_code}', gate.at('auth', '/.torhaus/verify')]);
  const end = out.stdout.lastIndexOf('\n');
  return { status: Number(out.stdout.slice(end + 1)), body: out.stdout.slice(0, end), stderr: out.stderr };
}
const question = (uri = '/', more = {}) => ({ 'X-Forwarded-Method': 'GET', 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'caddy.gate.test',
  'X-Forwarded-Uri': uri, 'X-Forwarded-For': '10.1.2.3', Accept: 'application/json', ...more });
const reason = (answer) => JSON.parse(answer.body).type.split(':').at(-1);

test('an unlisted peer is refused, whatever it says about a request', async () => {
  const answer = await ask('127.0.0.14', question());
  assert.deepEqual([answer.status, reason(answer)], [403, 'peer_not_trusted'], answer.stderr);
  const listed = await ask(ADDRESS.caddy, question());
  assert.deepEqual([listed.status, reason(listed)], [401, 'login_needed']);
});

test('a question with a gap, or with two readings, is refused', async () => {
  for (const [what, headers] of Object.entries({
    'no method': question('/', { 'X-Forwarded-Method': '' }), 'no address': question('/', { 'X-Forwarded-For': '' }),
    'not https': question('/', { 'X-Forwarded-Proto': 'http' }), 'dots in the path': question('/public/../finance'),
    'an encoded slash': question('/public%2ffinance'), 'an encoded slash in its canonical form': question('/finance%2Fq3'),
    'an encoded slash and dots': question('/x%2F..%2Ffinance'), 'two hosts': question('/', { 'X-Forwarded-Host': 'caddy.gate.test, nginx.gate.test' }),
    'the headers of another kind of proxy': { 'X-Original-URL': 'https://caddy.gate.test/', 'X-Original-Method': 'GET', 'X-Forwarded-For': '10.1.2.3' },
  })) {
    const answer = await ask(ADDRESS.caddy, headers);
    assert.deepEqual([answer.status, reason(answer)], [403, 'bad_request'], what);
  }
});

test('the gate\'s own pages are not asked about, and a host of another proxy is not served here', async () => {
  for (const uri of ['/.torhaus/session?code=x', '/.torhaus/verify']) {
    const answer = await ask(ADDRESS.caddy, question(uri));
    assert.deepEqual([answer.status, reason(answer)], [403, 'no_route'], uri);
  }
  const direct = new Client();
  const answer = await direct.send(gate.at('caddy'), { headers: { accept: 'application/json' } });
  assert.deepEqual([answer.status, answer.json().type], [404, 'urn:torhaus:reason:no_route']);
  direct.close();
});

test('the address that a peer names is recorded, and the listener is that of questions', async () => {
  const answer = await ask(ADDRESS.caddy, question('/finance'));
  assert.equal(answer.status, 401);
  const line = gate.audit().split('\n').filter((one) => one.includes('10.1.2.0') || one.includes('10.1.2.3'));
  assert.ok(line.some((one) => one.includes('forward-auth')), gate.audit().slice(-1500));
});
