// Pebble, Let's Encrypt's ACME server for tests: strict, and every fifth good nonce is refused.
import { readFileSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { pki } from './pki.mjs';
import { emptyFolder, freePorts, listens, ready, start, work } from './work.mjs';

const KID = 'kid-1';
export const MAC = 'zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W';

/** @param names address of a name server @param ports where challenges are looked for, `{ http, tls }` @param eab accounts need a key */
export async function startPebble({ name, names, ports, eab = false }) {
  const folder = emptyFolder('pebble', name);
  const [port, management] = await freePorts(2);
  const file = pki();
  const config = join(folder, 'pebble.json');
  writeFileSync(config, JSON.stringify({ pebble: { listenAddress: `127.0.0.1:${port}`, managementListenAddress: `127.0.0.1:${management}`,
    certificate: file('server.crt'), privateKey: file('server.key'), httpPort: ports.http, tlsPort: ports.tls, ocspResponderURL: '',
    externalAccountBindingRequired: eab, externalAccountMACKeys: { [KID]: MAC }, keyAlgorithm: 'ecdsa', retryAfter: { authz: 1, order: 1 },
    profiles: { default: { description: 'as ever', validityPeriod: 7776000 }, short: { description: 'six days', validityPeriod: 518400 } } } }));
  const peer = start(`pebble-${name}`, join(work, 'bin/pebble'), ['-config', config, '-strict', '-dnsserver', names],
    { env: { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '20' } });
  await ready(peer, async () => await listens(port) && await listens(management));

  const agent = new Agent({ ca: readFileSync(file('ca.crt')) });
  const ask = (path, body) => new Promise((done, failed) => {
    request(`https://127.0.0.1:${management}${path}`, { agent, method: body ? 'POST' : 'GET', headers: { 'user-agent': 'tests' } }, (res) => {
      let text = '';
      res.on('data', (chunk) => { text += chunk; }).on('end', () => (res.statusCode < 300 ? done(text) : failed(new Error(`${path}: ${res.statusCode} ${text}`))));
    }).on('error', failed).end(body);
  });
  return {
    directory: `https://localhost:${port}/dir`, kid: KID, said: peer.said,
    root: () => ask('/roots/0'),
    /** What the server suggests from now on for a certificate (RFC 9773). */
    suggest: (certificate, start, end) => ask('/set-renewal-info/', JSON.stringify({ certificate,
      ariResponse: JSON.stringify({ suggestedWindow: { start: start.toISOString(), end: end.toISOString() } }) })),
    stop: async () => { agent.destroy(); await peer.stop(); },
  };
}
