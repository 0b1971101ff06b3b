// A Samba AD domain controller with the people and groups that the tests speak of.
import { copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './command.mjs';
import { pki } from './pki.mjs';
import { ready, start, work } from './work.mjs';

export const BASE = 'DC=corp,DC=gate,DC=test';
const PASSWORD = 'Passw0rd.Test';
const script = join(import.meta.dirname, 'samba.sh');

/** Of its own for each run, so that a domain controller that somebody else runs is never met. */
const address = () => `127.${[0, 0, 0].map(() => 2 + Math.floor(Math.random() * 250)).join('.')}`;
const listens = (host, port) => new Promise((done) => {
  const socket = connect(port, host, () => { socket.destroy(); done(true); }).on('error', () => done(false));
});

async function must(command, args, options) {
  const { code, stdout, stderr } = await run(command, args, { within: 600_000, ...options });
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: exit code ${code}\n${stdout.slice(-1000)}${stderr.slice(-2000)}`);
  return stdout;
}

/** @param ldif entries that are there before it starts: many thousand take seconds like this, minutes over LDAP */
export async function startSamba({ ldif }) {
  const memory = '/dev/shm';
  const folder = mkdtempSync(join(existsSync(memory) ? memory : tmpdir(), 'torhaus-samba-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const file = pki();
  const ip = address();
  await must(script, ['provision', folder, ip, file('server.crt'), file('server.key'), file('ca.crt')]);
  const tool = (...args) => must('samba-tool', [...args, '-s', join(folder, 'etc/smb.conf')]);
  const load = (text) => {
    const name = join(folder, 'load.ldif');
    writeFileSync(name, text);
    return must('ldbmodify', ['--nosync', '-H', join(folder, 'private/sam.ldb'), name]);
  };
  await tool('user', 'create', 'svc-torhaus', PASSWORD);
  await load(ldif);
  let peer;
  const begin = async () => {
    peer = start('samba', script, ['run', folder], { cwd: work });
    await ready(peer, () => listens(ip, 636), 60_000);
  };
  await begin();
  /** Begins anew with another certificate, by its name in the test PKI. */
  const present = async (certificate) => {
    await peer.stop();
    for (const kind of ['crt', 'key']) copyFileSync(file(`${certificate}.${kind}`), join(folder, `tls.${kind}`));
    await begin();
  };
  const password = join(folder, 'bind-password');
  writeFileSync(password, PASSWORD, { mode: 0o600 });
  return { address: ip, port: 636, tool, load, present, password, bind: 'svc-torhaus@corp.gate.test',
    stop: async () => { await peer.stop(); rmSync(folder, { recursive: true, force: true }); } };
}
