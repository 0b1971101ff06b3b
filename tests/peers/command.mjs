// Runs a program to its end, with something to read.
import { spawn } from 'node:child_process';

export function run(command, args, { input = '', within = 20_000 } = {}) {
  return new Promise((done, failed) => {
    const child = spawn(command, args, { timeout: within });
    const out = { stdout: '', stderr: '' };
    child.stdout.on('data', (chunk) => { out.stdout += chunk; });
    child.stderr.on('data', (chunk) => { out.stderr += chunk; });
    child.on('error', failed);
    child.on('close', (code, signal) => done({ code, signal, ...out }));
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}
