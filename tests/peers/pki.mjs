// Certificates for the tests, made by openssl: the authority of web servers, the authority of clients, and clients as
// they should be and as they should not.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { work } from './work.mjs';

const folder = join(work, 'pki');
const DAY = 24 * 3600 * 1000;

/** Paths by name: `pki()('alice.crt')`. Made once a day. */
export function pki() {
  const mark = join(folder, 'made');
  if (!existsSync(mark) || Date.now() - statSync(mark).mtimeMs > DAY) make();
  return (name) => join(folder, name);
}

function make() {
  mkdirSync(work, { recursive: true });
  const into = mkdtempSync(join(work, 'pki-'));
  const openssl = (...args) => execFileSync('openssl', args, { cwd: into, stdio: ['ignore', 'pipe', 'pipe'] });
  const authority = (name) => {
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30',
      '-keyout', `${name}.key`, '-out', `${name}.crt`, '-subj', `/O=Torhaus tests/CN=Torhaus test ${name}`,
      '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
    writeFileSync(join(into, `${name}.index`), '');
  };
  // `openssl ca`, because OpenSSL 3.0 lets no other command choose both ends of the validity.
  const leaf = (name, by, usage, names, validity = ['-days', '20']) => {
    writeFileSync(join(into, `${name}.cnf`), `[ca]\ndefault_ca = here\n[here]\nnew_certs_dir = .\ndatabase = ${by}.index\n`
      + 'rand_serial = yes\ndefault_md = sha256\npolicy = any\nunique_subject = no\n[any]\norganizationName = optional\n'
      + `commonName = supplied\n[leaf]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n`
      + `extendedKeyUsage = ${usage}\n${names ? `subjectAltName = ${names}\n` : ''}`);
    openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`,
      '-out', `${name}.csr`, '-subj', `/O=Torhaus tests/CN=${name}`);
    openssl('ca', '-batch', '-notext', '-config', `${name}.cnf`, '-extensions', 'leaf', '-cert', `${by}.crt`,
      '-keyfile', `${by}.key`, '-in', `${name}.csr`, '-out', `${name}.crt`, ...validity);
  };

  authority('ca');
  authority('clients-ca');
  authority('strangers-ca');
  const server = 'DNS:*.gate.test, DNS:localhost, IP:127.0.0.1';
  leaf('server', 'ca', 'serverAuth', server);
  leaf('strange-server', 'strangers-ca', 'serverAuth', server);
  leaf('expired-server', 'ca', 'serverAuth', server, ['-startdate', '20200101000000Z', '-enddate', '20200201000000Z']);

  const backup = 'URI:spiffe://gate.test/backup';
  leaf('laptop', 'clients-ca', 'clientAuth', 'DNS:laptop-7.gate.test');
  leaf('backup', 'clients-ca', 'clientAuth', backup);
  leaf('reports', 'clients-ca', 'clientAuth', 'URI:spiffe://gate.test/reports');
  leaf('stranger', 'strangers-ca', 'clientAuth', backup);
  leaf('expired', 'clients-ca', 'clientAuth', backup, ['-startdate', '20200101000000Z', '-enddate', '20200201000000Z']);
  leaf('two-names', 'clients-ca', 'clientAuth', `${backup}, URI:spiffe://gate.test/admin`);
  leaf('server-only', 'clients-ca', 'serverAuth', backup);
  openssl('pkcs12', '-export', '-in', 'laptop.crt', '-inkey', 'laptop.key', '-out', 'laptop.p12', '-passout', 'pass:test');

  writeFileSync(join(into, 'made'), '');
  rmSync(folder, { recursive: true, force: true });
  renameSync(into, folder);
}
