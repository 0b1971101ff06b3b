// Where the tests write, which processes they started, and how they wait.
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const project = resolve(import.meta.dirname, '../..');
/** Everything the tests write; not part of the project. */
export const work = join(project, 'tests/.work');
export const torhaus = process.env.TORHAUS ?? join(project, 'target/debug/torhaus');
export const torhausDemo = process.env.TORHAUS_DEMO ?? join(project, 'target/debug/torhaus-demo');

const pids = join(work, 'pids');
const logs = join(work, 'logs');

/** A folder below `work`, empty. */
export function emptyFolder(...path) {
  const folder = join(work, ...path);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

const given = join(work, 'ports');
/** Below those that the kernel gives to whoever connects somewhere (from 32768 on). */
const PORTS = { first: 24_000, count: 8_000 };

/**
 * Ports of the loopback interface that nobody listens on. Each is given once in a run, to one of its processes, so that
 * nobody else has it when its server is started at last.
 */
export async function freePorts(count) {
  mkdirSync(given, { recursive: true });
  const ports = [];
  for (let tries = 0; ports.length < count; tries += 1) {
    if (tries > 10 * PORTS.count) throw new Error(`no port is left; remove ${given}`);
    const port = PORTS.first + Math.floor(Math.random() * PORTS.count);
    try { mkdirSync(join(given, String(port))); } catch { continue; }
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

const isFree = (port) => new Promise((done) => {
  const server = createServer().on('error', () => done(false));
  server.listen(port, '127.0.0.1', () => server.close(() => done(true)));
});

/** A new run begins. */
export const takePortsBack = () => rmSync(given, { recursive: true, force: true });

/** Asks again and again until `ask` answers something true; that is returned. */
export async function until(what, ask, { within = 10_000, every = 25 } = {}) {
  const end = Date.now() + within;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`not within ${within} ms: ${what}`);
    await pause(every);
  }
}

export function listens(port) {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1', () => { socket.destroy(); done(true); });
    socket.on('error', () => done(false));
  });
}

/** Starts a program; `tests/.work/logs/NAME.log` gets what it says. */
export function start(name, command, args, options = {}) {
  mkdirSync(logs, { recursive: true });
  mkdirSync(pids, { recursive: true });
  const log = join(logs, `${name}.log`);
  const file = openSync(log, 'w');
  const child = spawn(command, args, { stdio: ['ignore', file, file], ...options });
  closeSync(file);
  const peer = { name, log, child, ended: false, said: () => readFileSync(log, 'utf8'), stop: () => stop(peer) };
  peer.end = new Promise((done) => {
    const over = (why) => { peer.ended = true; peer.why = why; running.delete(peer); done(); };
    child.on('error', (error) => over(error.message));
    child.on('exit', (code, signal) => {
      rmSync(join(pids, String(child.pid)), { force: true });
      over(signal ?? `exit code ${code}`);
    });
  });
  if (child.pid) {
    writeFileSync(join(pids, String(child.pid)), birth(child.pid) ?? '');
    running.add(peer);
  }
  return peer;
}

/** Waits until a peer is ready, or says what it said before it ended. */
export async function ready(peer, ask, within = 30_000) {
  await until(`${peer.name} is ready`, async () => {
    if (peer.ended) throw new Error(`${peer.name} ended (${peer.why}):\n${peer.said().slice(-2000)}`);
    return ask();
  }, { within });
  return peer;
}

async function stop(peer) {
  if (peer.ended) return;
  peer.child.kill('SIGTERM');
  const late = setTimeout(() => peer.child.kill('SIGKILL'), 5000);
  await peer.end;
  clearTimeout(late);
}

// What this process started ends with it ...
const running = new Set();
process.on('exit', () => running.forEach((peer) => peer.child.kill('SIGKILL')));

/** ... and what a process started that was killed itself is ended by the runner: the same pid, born at the same tick. */
export function endLeftovers() {
  let left = [];
  try { left = readdirSync(pids); } catch { return []; }
  const ended = left.filter((pid) => {
    const since = readFileSync(join(pids, pid), 'utf8');
    rmSync(join(pids, pid), { force: true });
    if (!since || birth(pid) !== since) return false;
    process.kill(Number(pid), 'SIGKILL');
    return true;
  });
  return ended;
}

/** When a process was started, in clock ticks since the machine was (`/proc/PID/stat`, field 22). */
function birth(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
