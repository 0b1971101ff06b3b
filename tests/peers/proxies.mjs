// nginx, Caddy and Apache (Debian) with the files of examples/forward-auth, which are tried here as they stand: only
// names, ports and paths are put in.
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pki } from './pki.mjs';
import { emptyFolder, freePorts, listens, ready, start, work } from './work.mjs';

const example = (name) => readFileSync(resolve(import.meta.dirname, '../../examples/forward-auth', name), 'utf8');
/** Where nginx and Apache connect from; Caddy cannot choose. */
export const ADDRESS = { nginx: '127.0.0.11', caddy: '127.0.0.1', apache: '127.0.0.13' };

/** What differs between an example and a test, in one text. */
function fitted(text, { host, port, gate, application }) {
  const file = pki();
  return text.replaceAll('auth.example.test:8443', `auth.gate.test:${gate}`).replaceAll('torhaus.internal:8443', `127.0.0.1:${gate}`)
    .replaceAll('wiki.example.test', host).replaceAll('auth.example.test', 'auth.gate.test')
    .replaceAll('wiki.crt', file('server.crt')).replaceAll('wiki.key', file('server.key')).replaceAll('gate-ca.crt', file('ca.crt'))
    .replaceAll('127.0.0.1:9001', `127.0.0.1:${application}`).replaceAll('443 ssl', `127.0.0.1:${port} ssl`).replaceAll('*:443', `127.0.0.1:${port}`);
}

async function run(name, gate, application, begin) {
  const [port] = await freePorts(1);
  const folder = emptyFolder('proxies', name);
  const host = `${name}.gate.test`;
  const fit = (file) => fitted(example(file), { host, port, gate, application });
  const peer = begin({ folder, port, host, fit });
  await ready(peer, () => listens(port));
  return { name, host: `${host}:${port}`, log: peer.said, stop: peer.stop, at: (path = '/') => `https://${host}:${port}${path}` };
}

/** nginx with these servers, and nothing outside its folder. */
export function nginx(name, folder, servers, main = '') {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((what) => `${what}_temp_path ${folder}/${what};`);
  writeFileSync(join(folder, 'nginx.conf'), `daemon off; pid ${folder}/pid; error_log stderr; worker_processes 1; ${main} events { }\n`
    + `http {\naccess_log off; ${temporary.join(' ')}\n${servers}\n}\n`);
  return start(name, 'nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr']);
}

export const startNginx = (gate, application) => run('nginx', gate, application, ({ folder, fit }) => {
  const bind = `proxy_bind ${ADDRESS.nginx};\n`;
  writeFileSync(join(folder, 'torhaus-tls.conf'), bind + fit('torhaus-tls.conf'));
  return nginx('nginx', folder, fit('nginx.conf'));
});

export const startCaddy = (gate, application) => run('caddy', gate, application, ({ folder, port, host, fit }) => {
  const file = join(folder, 'Caddyfile');
  const site = fit('Caddyfile').replace(`${host} {`, `https://${host}:${port} {\n\tbind 127.0.0.1`);
  writeFileSync(file, `{\n\tadmin off\n\tauto_https off\n\tstorage file_system ${folder}\n}\n${site}`);
  return start('caddy', 'caddy', ['run', '--config', file, '--adapter', 'caddyfile'], { env: { ...process.env, XDG_DATA_HOME: folder, HOME: folder } });
});

export const startApache = (gate, application) => run('apache', gate, application, ({ folder, port, fit }) => {
  const modules = ['mpm_event', 'authz_core', 'ssl', 'socache_shmcb', 'proxy', 'proxy_http', 'headers', 'lua'];
  const load = modules.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`);
  // The gate tells its peers apart by their addresses, and all of them are this machine.
  const lua = fit('verify.lua').replace('"torhaus.internal", 8443', `"127.0.0.1", ${gate}`).replace('"0.0.0.0"', `"${ADDRESS.apache}"`)
    .replace(pki()('ca.crt'), join(folder, 'ca.crt'));
  writeFileSync(join(folder, 'verify.lua'), lua);
  const site = fit('apache.conf').replaceAll(`https://auth.gate.test:${gate}`, `https://localhost:${gate}`).replaceAll('verify.lua', join(folder, 'verify.lua'));
  writeFileSync(join(folder, 'apache.conf'), `ServerRoot ${folder}\nServerName localhost\nPidFile ${folder}/pid\nMutex file:${folder}\n`
    + `DefaultRuntimeDir ${folder}\nErrorLog /dev/stderr\nListen 127.0.0.1:${port}\nUser www-data\nGroup www-data\n${load.join('\n')}\n`
    + `SSLSessionCache shmcb:${folder}/sessions(512000)\nServerLimit 1\nThreadsPerChild 8\nMaxRequestWorkers 8\n${site}`);
  // The script runs as another user, who reads it and the authority.
  copyFileSync(pki()('ca.crt'), join(folder, 'ca.crt'));
  for (const path of [work, join(work, 'proxies'), folder]) chmodSync(path, 0o755);
  return start('apache', 'apache2', ['-DFOREGROUND', '-f', join(folder, 'apache.conf')]);
});
