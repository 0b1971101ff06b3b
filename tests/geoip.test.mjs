// Real data: a free database of countries (geo-whois-asn-country, in the flat schema), as `policy explain` reads it.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { run } from './peers/command.mjs';
import { pki } from './peers/pki.mjs';
import { emptyFolder, torhaus, work } from './peers/work.mjs';

const data = join(work, 'npm/node_modules/@ip-location-db/geo-whois-asn-country-mmdb');
const file = pki();
const folder = emptyFolder('geoip');
const at = (name) => join(folder, name);

function configure(database) {
  writeFileSync(at('torhaus.json'), JSON.stringify({
    version: 1, state_dir: 'state', policy_file: 'policy.json',
    listeners: [{ name: 'public', address: '127.0.0.1:8443', tls: { certificates: [{ cert_file: file('server.crt'), key_file: file('server.key') }] } }],
    portal: { url: 'https://auth.gate.test' },
    identity: { providers: [{ name: 'corp', issuer: 'https://idp.test', client_id: 'torhaus', client_secret_file: 'secret', tiers: { standard: {} } }] },
    lookups: { geoip: { database_file: database, named_networks: { office: { networks: ['10.0.0.0/8', '8.8.8.0/24'], country: 'CH' } } } },
    routes: [{ name: 'wiki', host: 'notes.gate.test', upstream: 'http://127.0.0.1:9001', resource: 'wiki' }],
  }));
}

before(() => {
  writeFileSync(at('secret'), 'a secret', { mode: 0o600 });
  const countries = ['CH', 'DE', 'NL', 'US'];
  writeFileSync(at('policy.json'), JSON.stringify({
    version: 1, tiers: [{ name: 'standard', max_age: '12h' }],
    table: [
      { resource: 'wiki', allow: ['authenticated'], zones: { external: 'standard' } },
      ...countries.map((country) => ({ resource: country, allow: ['authenticated'], zones: { external: 'standard' }, require: [{ name: 'there', country_in: [country] }] })),
    ],
  }));
});

/** What the row of a country says to somebody from this address. */
async function from(address, country) {
  const out = await run(torhaus, ['policy', 'explain', '--config', at('torhaus.json'), '--output', 'json', '--user', 'alice',
    '--groups', '', '--proven', 'standard', '--ip', address, '--resource', country]);
  const { verdict, steps } = JSON.parse(out.stdout);
  return `${verdict} ${steps.find((step) => step.step === 5).answer}`;
}

for (const database of ['geo-whois-asn-country.mmdb', 'geo-whois-asn-country-ipv4.mmdb']) {
  test(`${database}: the country of an address, named networks first`, async () => {
    configure(join(data, database));
    assert.equal(await from('194.25.0.60', 'DE'), 'allow yes');
    assert.equal(await from('194.25.0.60', 'NL'), 'deny no');
    assert.equal(await from('193.0.6.139', 'NL'), 'allow yes');
    assert.equal(await from('8.8.4.4', 'US'), 'allow yes');
    // A network that the configuration names counts before the database.
    assert.equal(await from('8.8.8.8', 'CH'), 'allow yes');
    assert.equal(await from('10.1.2.3', 'CH'), 'allow yes');
    // A private address is in no country, and nobody guesses.
    assert.equal(await from('192.168.1.1', 'DE'), 'deny unknown');
  });
}

test('an IPv6 address is found in the database of both, and unknown to the one of IPv4', async () => {
  configure(join(data, 'geo-whois-asn-country.mmdb'));
  assert.equal(await from('2001:67c:2e8:22::c100:68b', 'NL'), 'allow yes');
  configure(join(data, 'geo-whois-asn-country-ipv4.mmdb'));
  assert.match(await from('2001:67c:2e8:22::c100:68b', 'NL'), /^deny unknown$/);
});

test('a database that is missing makes the country unknown, and nothing fails', async () => {
  configure(at('missing.mmdb'));
  assert.equal(await from('194.25.0.60', 'DE'), 'deny unknown');
  const out = await run(torhaus, ['check', '--config', at('torhaus.json')]);
  assert.equal(out.code, 0);
  assert.match(out.stdout + out.stderr, /missing\.mmdb.*cannot be read/);
});
