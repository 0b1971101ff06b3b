// A browser without a screen: one cookie jar, follows redirects, shows what it passed.
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { pki } from './pki.mjs';

const NAVIGATES = { accept: 'text/html,application/xhtml+xml;q=0.9,*/*;q=0.8', 'sec-fetch-mode': 'navigate' };
const MAX_REDIRECTS = 20;

export class Client {
  #agent;
  #cookies = new Map();

  /** @param certificate name of a client certificate of the test PKI */
  constructor({ certificate } = {}) {
    const file = pki();
    const own = certificate && { cert: readFileSync(file(`${certificate}.crt`)), key: readFileSync(file(`${certificate}.key`)) };
    // Every test host is this machine.
    const lookup = (_host, options, done) => (options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4));
    this.#agent = new Agent({ ca: readFileSync(file('ca.crt')), lookup, ...own });
  }

  /** One request, as a program sends it. */
  async send(url, { method = 'GET', headers = {}, body } = {}) {
    const to = new URL(url);
    const cookie = this.#cookieHeader(to);
    const answer = await new Promise((done, failed) => {
      const out = request(to, { method, agent: this.#agent, headers: { ...headers, ...(cookie && { cookie }) } }, (res) => {
        const chunks = [];
        res.on('data', (chunk) => chunks.push(chunk)).on('error', failed);
        res.on('end', () => done({ status: res.statusCode, headers: res.headers, text: Buffer.concat(chunks).toString() }));
      });
      out.on('error', failed);
      out.end(body);
    });
    for (const line of answer.headers['set-cookie'] ?? []) this.#keep(to, line);
    return { ...answer, url: to.href, json: () => JSON.parse(answer.text) };
  }

  /** A request whose answer does not end by itself: `ended` is kept when the other side ends it, one way or another. */
  async open(url) {
    const to = new URL(url);
    return new Promise((done, failed) => {
      const out = request(to, { agent: this.#agent, headers: { cookie: this.#cookieHeader(to) } }, (res) => {
        const ended = new Promise((over) => res.on('close', over).on('error', () => {}));
        res.once('data', () => done({ status: res.statusCode, ended })).resume();
      });
      out.on('error', failed);
      out.end();
    });
  }

  /** Opens a WebSocket, or whatever the application makes of the upgrade; `ended` is done when it is over. */
  async stream(url) {
    const to = new URL(url);
    const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', origin: to.origin,
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', cookie: this.#cookieHeader(to) };
    return new Promise((done, failed) => {
      const out = request(to, { agent: this.#agent, headers }).on('error', failed);
      out.on('response', (res) => failed(new Error(`no stream: ${res.statusCode}`)));
      out.on('upgrade', (_res, socket) => {
        socket.on('error', () => {}).resume();
        done({ ended: new Promise((over) => socket.on('close', over)), close: () => socket.destroy() });
      });
      out.end();
    });
  }

  /** Goes to a page, by link or by form, as a person does; `passed` lists the addresses on the way. */
  async go(url, { form, headers = {} } = {}) {
    let at = new URL(url);
    let options = form ? { method: 'POST', body: new URLSearchParams(form).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded', origin: at.origin } } : {};
    const passed = [];
    for (;;) {
      passed.push(at.href);
      const answer = await this.send(at, { ...options, headers: { ...NAVIGATES, ...headers, ...options.headers } });
      const location = answer.headers.location;
      if (!location || answer.status < 300 || answer.status >= 400) return { ...answer, passed };
      if (passed.length > MAX_REDIRECTS) throw new Error(`a redirect loop:\n${passed.join('\n')}`);
      at = new URL(location, at);
      options = {};
    }
  }

  /** A cookie of a host, or none. */
  cookie(url, name) {
    return this.#cookies.get(`${new URL(url).hostname} ${name}`)?.value;
  }

  /** Keeps a `Set-Cookie` line that somebody else was to hand on. */
  keep(url, line) {
    this.#keep(new URL(url), line);
  }

  close() {
    this.#agent.destroy();
  }

  // Cookies of a host alone (RFC 6265 s5.4); none of the test hosts shares one with another.
  #cookieHeader({ hostname, pathname }) {
    return [...this.#cookies.values()].filter((c) => c.host === hostname && pathname.startsWith(c.path))
      .map((c) => `${c.name}=${c.value}`).join('; ');
  }

  #keep({ hostname }, line) {
    const [pair, ...attributes] = line.split(';').map((part) => part.trim());
    const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)];
    const said = Object.fromEntries(attributes.map((a) => a.split('=')).map(([k, v]) => [k.toLowerCase(), v ?? true]));
    if (name.startsWith('__Host-') && (said.path !== '/' || !said.secure || said.domain)) {
      throw new Error(`a browser would not take this cookie: ${line}`);
    }
    const path = said.path ?? '/';
    const key = `${hostname} ${name}${path === '/' ? '' : ` ${path}`}`;
    const over = said['max-age'] <= 0 || new Date(said.expires ?? '9999') < new Date();
    if (over) this.#cookies.delete(key);
    else this.#cookies.set(key, { host: hostname, name, value, path });
  }
}
