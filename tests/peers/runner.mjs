// Runs the test files, two at a time, and counts. A file that breaks off counts as a failure.
import { readdirSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { run } from 'node:test';
import { pki } from './pki.mjs';
import { emptyFolder, endLeftovers, takePortsBack } from './work.mjs';

const folder = resolve(import.meta.dirname, '..');
const named = process.argv.slice(2).map((file) => resolve(file));
const files = named.length > 0 ? named
  : readdirSync(folder).filter((name) => name.endsWith('.test.mjs')).sort().map((name) => resolve(folder, name));
const tells = (line) => console.log(line);

endLeftovers();
takePortsBack();
emptyFolder('logs');
pki();

let passed = 0;
let failed = 0;
const silent = new Set(files);
const count = (event) => event.details?.type !== 'suite' && event.nesting === 0;
const where = (event) => (event.file ? relative(folder, event.file) : '');
const stream = run({ files, concurrency: 2, timeout: 900_000 });
stream.on('test:pass', (event) => {
  // A file without a test passes by itself: that is no promise kept.
  if (!count(event) || files.includes(resolve(event.name))) return;
  silent.delete(event.file);
  if (event.skip !== undefined || event.todo !== undefined) {
    failed += 1;
    return tells(`SKIPPED ${where(event)}: ${event.name}`);
  }
  passed += 1;
  tells(`ok      ${where(event)}: ${event.name} (${Math.round(event.details.duration_ms)} ms)`);
});
stream.on('test:fail', (event) => {
  if (!count(event)) return;
  silent.delete(event.file);
  silent.delete(resolve(event.name));
  failed += 1;
  const error = event.details.error;
  tells(`FAILED  ${where(event)}: ${event.name}\n${(error?.cause?.stack ?? error?.stack ?? String(error)).replace(/^/gm, '        ')}`);
});
stream.on('test:stderr', (event) => process.stderr.write(event.message));
stream.on('test:stdout', (event) => process.stdout.write(event.message));
stream.on('data', () => {});
stream.on('end', () => {
  for (const file of silent) {
    failed += 1;
    tells(`FAILED  ${relative(folder, file)}: no test in it ran`);
  }
  const left = endLeftovers();
  if (left.length > 0) tells(`ended what was left: ${left.join(' ')}`);
  tells(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
});
