// OpenLDAP in a folder of its own: LDAPS on a free port, the password policy overlay, people and nested groups.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './command.mjs';
import { pki } from './pki.mjs';
import { emptyFolder, freePorts, listens, ready, start } from './work.mjs';

export const BASE = 'dc=gate,dc=test';

/** @param certificate of the server, by name */
export async function startSlapd({ name, ldif, certificate = 'server' }) {
  const folder = emptyFolder('slapd', name);
  mkdirSync(join(folder, 'db'));
  const [port] = await freePorts(1);
  const file = pki();
  writeFileSync(join(folder, 'slapd.conf'), `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile ${folder}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
TLSCACertificateFile ${file('ca.crt')}
TLSCertificateFile ${file(`${certificate}.crt`)}
TLSCertificateKeyFile ${file(`${certificate}.key`)}
sizelimit size.soft=500 size.hard=500 size.prtotal=unlimited
database mdb
maxsize 268435456
suffix "${BASE}"
rootdn "cn=admin,${BASE}"
rootpw admin
directory ${folder}/db
index objectClass,uid,cn,member eq
access to attrs=userPassword by self write by anonymous auth by * none
access to * by users read by * none
overlay ppolicy
`);
  const initial = join(folder, 'initial.ldif');
  writeFileSync(initial, ldif);
  const added = await run('/usr/sbin/slapadd', ['-q', '-f', join(folder, 'slapd.conf'), '-l', initial]);
  if (added.code !== 0) throw new Error(added.stderr);
  const peer = start(`slapd-${name}`, '/usr/sbin/slapd',
    ['-d', '0', '-f', join(folder, 'slapd.conf'), '-h', `ldaps://127.0.0.1:${port}`]);
  await ready(peer, () => listens(port));
  const password = join(folder, 'bind-password');
  writeFileSync(password, 'pw-svc', { mode: 0o600 });
  const modify = async (text) => {
    const options = { input: text };
    const { code, stderr } = await run('env', [`LDAPTLS_CACERT=${file('ca.crt')}`, 'ldapmodify', '-x',
      '-H', `ldaps://127.0.0.1:${port}`, '-D', `cn=admin,${BASE}`, '-w', 'admin'], options);
    if (code !== 0) throw new Error(stderr);
  };
  return { port, password, modify, bind: `uid=svc,ou=people,${BASE}`, stop: peer.stop };
}

/** Entries of people and groups; `groups` names members by their DN without the base. */
export function tree(people, groups) {
  const b64 = (text) => Buffer.from(text).toString('base64');
  const person = (uid) => `dn:: ${b64(`uid=${dnEscaped(uid)},ou=people,${BASE}`)}\nobjectClass: inetOrgPerson\nuid:: ${b64(uid)}
cn:: ${b64(uid)}\nsn: Test\nuserPassword: pw-${uid.replace(/\W/g, '')}\n`;
  const group = ([cn, members]) => `dn:: ${b64(`cn=${dnEscaped(cn)},ou=groups,${BASE}`)}\nobjectClass: groupOfNames\ncn:: ${b64(cn)}
${members.map((member) => `member:: ${b64(`${member},${BASE}`)}`).join('\n')}\n`;
  const unit = (ou) => `dn: ou=${ou},${BASE}\nobjectClass: organizationalUnit\nou: ${ou}\n`;
  return [`dn: ${BASE}\nobjectClass: organization\nobjectClass: dcObject\no: Test\ndc: gate\n`, unit('people'), unit('groups'),
    ...people.map(person), ...Object.entries(groups).map(group)].join('\n');
}

/** RFC 4514 section 2.4. */
export const dnEscaped = (text) => text.replace(/[,+"\\<>;=]/g, (c) => `\\${c}`).replace(/^[ #]| $/g, (c) => `\\${c}`);
