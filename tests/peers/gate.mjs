// Torhaus as the tests run it: a listener inside, one outside, the rows that the tests speak of.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './command.mjs';
import { API, KEY, MFA } from './idp.mjs';
import { pki } from './pki.mjs';
import { emptyFolder, freePorts, listens, ready, start, torhaus, until } from './work.mjs';

const SECRET = 'a-client-secret-for-tests';

/** Ports first: the provider's clients have to name the portal's address. */
export async function gatePorts() {
  const [inside, outside] = await freePorts(2);
  return { inside, outside, portal: `https://auth.gate.test:${inside}` };
}

/** Metadata of a client that Torhaus is at the provider. */
export function client(ports, { id = 'torhaus', provider = 'corp', ...more } = {}) {
  return { client_id: id, client_secret: SECRET, grant_types: ['authorization_code', 'refresh_token'],
    redirect_uris: [`${ports.portal}/callback/${provider}`], post_logout_redirect_uris: [`${ports.portal}/signed-out`],
    backchannel_logout_uri: `${ports.portal}/backchannel-logout/${provider}`, backchannel_logout_session_required: true, ...more };
}

/** One client and `acr` for the tiers: `mfa` is demanded, `hardware` only wished for. */
export const byAcr = {
  standard: {},
  mfa: { acr: [MFA], request: { acr_values: MFA, essential: true } },
  hardware: { acr: [KEY], request: { acr_values: KEY } },
};

/**
 * @param upstream of every route, or of each by name
 * @param tiers how the provider proves them
 * @param routes more of them
 * @param rows more rows of the table; each without one among `routes` gets a route of its name
 * @param lookups as the configuration has it
 * @param forwardAuth the peers of `forward_auth`
 * @param ownCa certificates of clients are Torhaus's own
 * @param acme the ACME server's settings, with `ownCa`
 * @param listenerTls of both listeners, instead of the certificate of the test PKI
 * @param machine that it runs on, of `machineFor`; else this one
 * @param partner a second provider, so that people have a choice; nobody answers there
 * @param branding more of it than the organisation's name
 * @param limits other bounds than the defaults
 * @param under a program that Torhaus runs under, with its arguments; it may take its time
 */
export async function startGate({ name, ports, idp, upstream, tiers = byAcr, organisation = 'Test Ltd', branding = {}, partner = false,
  routes = [], rows = [], lookups, forwardAuth, ownCa = false, acme, limits = {}, listenerTls, machine, under = [] }) {
  const folder = emptyFolder('gates', name);
  const secret = join(folder, 'secret');
  writeFileSync(secret, SECRET, { mode: 0o600 });
  const file = pki();
  const tls = listenerTls ?? { certificates: [{ cert_file: file('server.crt'), key_file: file('server.key') }] };
  const route = (resource, more = {}) => ({ name: resource, host: `${resource}.gate.test`, resource,
    upstream: upstream[resource] ?? upstream.all, title: resource[0].toUpperCase() + resource.slice(1), ...more });
  const clients = { client_auth: { mode: 'optional', trust_domains: ['clients'] } };

  const corp = { name: 'corp', title: 'Corporate sign-in', issuer: idp.issuer, ca_file: file('ca.crt'), client_id: 'torhaus',
    client_secret_file: secret, user_claim: 'preferred_username', groups_claim: 'groups', tiers: withSecrets(tiers, secret) };
  const other = { ...corp, name: 'partner', title: 'Partner AG', issuer: 'https://login.partner.test', tiers: { standard: {} } };

  const config = {
    version: 1, state_dir: 'state', policy_file: 'policy.yaml',
    listeners: [
      { name: 'inside', address: `127.0.0.1:${ports.inside}`, tls },
      { name: 'outside', address: `127.0.0.1:${ports.outside}`, tls },
      ...(ports.plain ? [{ name: 'plain', address: `127.0.0.1:${ports.plain}`, redirect_to_https: true }] : []),
    ],
    portal: { url: ports.portal },
    branding: { organisation, contact: 'help@gate.test', ...branding },
    limits: { drain: '1s', ...limits },
    ...(forwardAuth && { forward_auth: { peers: forwardAuth } }),
    trust_domains: { clients: ownCa ? { own_ca: true, proves: 'standard', spiffe_trust_domains: ['gate.test'] }
      : { ca_file: file('clients-ca.crt'), proves: 'standard' } },
    ...(acme && { acme: { client_zone: 'devices.gate.test', tier: 'mfa', ...acme } }),
    identity: {
      providers: partner ? [corp, other] : [corp],
      bearer: [{ issuer: idp.issuer, ca_file: file('ca.crt'), audience: API, user_claim: 'sub', tiers: { standard: {}, mfa: { acr: [MFA] } } }],
    },
    ...(lookups && { lookups }),
    routes: [
      ...rows.filter((row) => !routes.some(({ resource }) => resource === row.resource)).map(({ resource }) => route(resource)),
      route('notes', { description: 'What everybody reads' }),
      route('payroll', { description: 'For two pairs of eyes' }),
      route('ledger', { description: 'Of finance alone' }),
      route('vault', { description: 'Behind a hardware key' }),
      route('console', { description: 'A screen in a browser' }),
      route('workshop', { description: 'From company laptops', ...clients }),
      route('api', { listed: false }),
      route('strong-api', { listed: false }),
      route('backup', { listed: false, ...clients }),
      route('locked-backup', { listed: false, resource: 'backup', client_auth: { mode: 'required', trust_domains: ['clients'] } }),
      ...routes,
    ],
  };
  const row = (resource, allow, internal, more = {}) => ({ resource, allow, zones: { internal, external: internal }, ...more });
  const policy = {
    version: 1,
    zones: { internal: { listeners: ['inside'] } },
    tiers: [
      { name: 'standard', max_age: '12h', factors: 'password' },
      { name: 'mfa', max_age: '8h', factors: 'password and one-time code' },
      { name: 'hardware', max_age: '1h', factors: 'password and hardware key' },
    ],
    table: [
      row('notes', ['group:staff'], 'standard', { sensitivity: 'low' }),
      row('payroll', ['group:staff'], 'mfa', { sensitivity: 'medium' }),
      { resource: 'ledger', sensitivity: 'high', allow: ['group:finance'], zones: { internal: 'standard', external: 'deny' } },
      row('vault', ['group:admins'], 'hardware', { sensitivity: 'critical' }),
      row('console', ['group:staff'], 'standard'),
      row('workshop', ['group:staff'], 'standard', { require: [{ name: 'company-laptop', client_certificate: 'clients' }] }),
      row('api', ['user:machine', 'user:strong-machine'], 'standard'),
      row('strong-api', ['user:machine', 'user:strong-machine'], 'mfa'),
      row('backup', ['service:spiffe://gate.test/backup'], 'standard'),
      ...rows,
    ],
  };
  // JSON is YAML.
  writeFileSync(join(folder, 'policy.yaml'), JSON.stringify(policy, null, 1));
  const configFile = join(folder, 'torhaus.yaml');
  writeFileSync(configFile, JSON.stringify(config, null, 1), { mode: 0o600 });

  let peer;
  const again = async () => {
    const [program, ...args] = [...under, torhaus, 'run', '--config', configFile];
    peer = start(`torhaus-${name}`, ...(machine ? machine.command(program, args) : [program, args]), { cwd: folder });
    await ready(peer, async () => await listens(ports.inside) && await listens(ports.outside), under.length > 0 ? 180_000 : 30_000);
  };
  await again();
  /** Our own command line, asking the running process. */
  const command = (...args) => execFileSync(torhaus, [...args, '--config', configFile], { encoding: 'utf8' });
  return {
    folder, command, pid: peer.child.pid, log: () => peer.said(), stop: () => peer.stop(), again,
    at: (host, path = '/') => `https://${host}.gate.test:${ports.inside}${path}`,
    outside: (host, path = '/') => `https://${host}.gate.test:${ports.outside}${path}`,
    /** `check --online` about a person, by this configuration with other lookups. */
    online: (other, user) => {
      const file = join(folder, 'online.yaml');
      writeFileSync(file, JSON.stringify({ ...config, lookups: { ...lookups, ...other } }), { mode: 0o600 });
      return run(torhaus, ['check', '--online', '--config', file, '--user', user], { within: 60_000 });
    },
    /** Decisions and events, oldest first. */
    audit: () => command('audit', 'query', '--output', 'json'),
    revoke: (...which) => command('session', 'revoke', ...which),
    sessions: (user) => JSON.parse(command('session', 'list', '--user', user, '--output', 'json')),
  };
}

function withSecrets(tiers, secret) {
  const own = (tier) => (tier.client_id ? { ...tier, client_secret_file: secret } : tier);
  return Object.fromEntries(Object.entries(tiers).map(([name, tier]) => [name, own(tier)]));
}

/** The reason that a page or a problem document gives. */
export function reasonOf(answer) {
  if (String(answer.headers['content-type']).startsWith('application/problem+json')) return answer.json().type;
  const found = /<dd><code>([a-z_]+)<\/code><\/dd>/.exec(answer.text);
  return found ? `urn:torhaus:reason:${found[1]}` : undefined;
}

/**
 * What a request gets once it is not let through any more. One that is under way at that moment is cut: then it is asked
 * again.
 */
export const untilRefused = (what, ask, options) => until(what, async () => {
  const answer = await ask().catch((error) => {
    if (error.message === 'socket hang up' || error.code === 'ECONNRESET') return { status: 200 };
    throw error;
  });
  return answer.status !== 200 && answer;
}, options);

export const reason = (name) => `urn:torhaus:reason:${name}`;
export const readText = (path) => readFileSync(path, 'utf8');
