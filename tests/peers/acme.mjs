// ACME clients as Debian packages them. Each sees the gate's name and authority as on a machine that was set up for it:
// in a mount namespace of its own, with another /etc/hosts and another bundle of authorities.
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './command.mjs';
import { emptyFolder, work } from './work.mjs';

const WITHIN = 90_000;
const SET_UP = 'export REQUESTS_CA_BUNDLE="$0/roots.pem" && mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/roots.pem" /etc/ssl/certs/ca-certificates.crt && exec "$@"';

/** A machine that knows the gate: `command` is what to start for a program to be on it, `on` runs one to its end. */
export function machineFor({ name, portal, roots }) {
  const machine = emptyFolder('acme', name);
  writeFileSync(join(machine, 'hosts'), `127.0.0.1 localhost ${new URL(portal).hostname}\n`);
  writeFileSync(join(machine, 'roots.pem'), roots);
  const command = (program, args) => ['unshare', ['-m', 'sh', '-c', SET_UP, machine, program, ...args]];
  const on = async (program, args) => {
    const out = await run(...command(program, args), { within: WITHIN });
    return { ...out, said: `${program} ${args[0]}: ${out.stdout}${out.stderr}` };
  };
  return { folder: machine, command, on };
}

/** @param portal origin of the gate @param ports of challenges, `{ http, tls }` */
export function acmeClients({ name, portal, ports, roots }) {
  const { folder: machine, on } = machineFor({ name, portal, roots });
  const server = `${portal}/acme/directory`;
  const own = (...path) => {
    const folder = join(machine, ...path);
    mkdirSync(folder, { recursive: true });
    return folder;
  };

  /** Each: `{ obtain, renew, revoke, chain }` for one host name and one one-time key. */
  return {
    certbot: (host, { kid, hmac_key: hmac }, id = host, program = 'certbot') => {
      const folder = own('certbot', id);
      const common = ['-n', '--server', server, '--config-dir', join(folder, 'c'), '--work-dir', join(folder, 'w'), '--logs-dir', join(folder, 'l')];
      const standalone = ['--standalone', '--http-01-address', '127.0.0.1', '--http-01-port', String(ports.http)];
      const chain = join(folder, 'c/live', host, 'fullchain.pem');
      const call = (verb, ...more) => on(program, [verb, ...common, ...more]);
      return {
        chain: () => chain,
        obtain: () => call('certonly', ...standalone, '--agree-tos', '--register-unsafely-without-email', '--eab-kid', kid, '--eab-hmac-key', hmac, '-d', host),
        renew: () => call('renew', '--force-renewal', '--no-random-sleep-on-renew'),
        revoke: () => call('revoke', '--cert-path', join(folder, 'c/live', host, 'cert.pem'), '--no-delete-after-revoke'),
      };
    },
    /** certbot's own library, in a program of the tests. */
    acme: (host, { kid, hmac_key: hmac }) => {
      const folder = own('acme', host);
      const call = (verb) => on(join(work, 'python/bin/python'), [join(import.meta.dirname, 'acme_client.py'), server, folder, host, kid, hmac, verb]);
      return { chain: () => join(folder, 'chain.pem'), obtain: () => call('obtain'), renew: () => call('renew'), revoke: () => call('revoke') };
    },
    lego: (host, { kid, hmac_key: hmac }, id = host, challenge = ['--http', '--http.port', `127.0.0.1:${ports.http}`]) => {
      const folder = own('lego', id);
      const call = (...verb) => on('lego', ['--path', folder, '-a', '-m', 'alice@gate.test', '-s', server, '--eab', '--kid', kid, '--hmac', hmac, '-d', host, ...challenge, ...verb]);
      return {
        folder,
        chain: () => join(folder, 'certificates', `${host}.crt`),
        key: () => join(folder, 'certificates', `${host}.key`),
        obtain: () => call('run'),
        renew: () => call('renew', '--no-random-sleep'),
        revoke: () => call('revoke', '--keep'),
      };
    },
    uacme: (host, { kid, hmac_key: hmac }) => {
      const folder = own('uacme', host);
      const web = own('uacme', `${host}.web`);
      const hook = join(web, 'hook');
      // Answers no challenge: orders are born ready.
      writeFileSync(hook, '#!/bin/sh\nexit 1\n');
      chmodSync(hook, 0o755);
      const call = (...verb) => on('uacme', ['-y', '-c', folder, '-a', server, ...verb]);
      const chain = join(folder, host, 'cert.pem');
      return {
        chain: () => chain,
        obtain: async () => {
          const made = await call('-e', `${kid}:${hmac}`, 'new', 'alice@gate.test');
          return made.code === 0 ? call('-t', 'EC', '-h', hook, 'issue', host) : made;
        },
        renew: () => call('-f', '-t', 'EC', '-h', hook, 'issue', host),
        revoke: () => call('revoke', chain),
      };
    },
    dehydrated: (host, { kid, hmac_key: hmac }) => {
      const folder = own('dehydrated', host);
      const web = own('dehydrated', host, 'web');
      const config = join(folder, 'config');
      writeFileSync(config, `CA="${server}"\nBASEDIR=${folder}\nWELLKNOWN=${web}\nKEY_ALGO=prime256v1\nCONTACT_EMAIL=alice@gate.test\nEAB_KID="${kid}"\nEAB_HMAC_KEY="${hmac}"\n`);
      const call = (...verb) => on('dehydrated', ['-f', config, ...verb]);
      const chain = join(folder, 'certs', host, 'fullchain.pem');
      return {
        chain: () => chain,
        obtain: async () => {
          const made = await call('--register', '--accept-terms');
          return made.code === 0 ? call('-c', '-d', host) : made;
        },
        renew: () => call('-c', '-x', '-d', host),
        revoke: () => call('-r', join(folder, 'certs', host, 'cert.pem')),
      };
    },
  };
}
