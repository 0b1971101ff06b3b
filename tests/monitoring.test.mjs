// The rules and the dashboard, with Prometheus's own tool: every alert fires when it should and is silent when all is
// well, each has a page that says what to do, and nothing names a metric that is not documented.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '..');
const read = (path) => readFileSync(join(root, path), 'utf8');
const promtool = (...args) => execFileSync('promtool', args, { cwd: join(root, 'monitoring'), encoding: 'utf8', stdio: 'pipe' });
const rules = read('monitoring/alerts.yml') + read('monitoring/recording.yml');
const alerts = [...rules.matchAll(/- alert: (\w+)/g)].map(([, name]) => name);

test('the rules are valid, and every alert fires when it should and not otherwise', () => {
  promtool('check', 'rules', 'recording.yml', 'alerts.yml');
  promtool('test', 'rules', 'alerts_test.yml');
  const tested = read('monitoring/alerts_test.yml');
  for (const alert of alerts) assert.ok(tested.includes(`- name: ${alert} fires`), `no test for ${alert}`);
  assert.ok(alerts.length >= 20, `${alerts.length} alerts`);
});

test('every alert has a page in docs/runbooks that names it', () => {
  const pages = [...rules.matchAll(/runbook: (\S+)/g)].map(([, page]) => page);
  assert.equal(pages.length, alerts.length);
  alerts.forEach((alert, n) => assert.ok(existsSync(join(root, pages[n])), `${alert}: ${pages[n]}`));
  const all = readdirSync(join(root, 'docs/runbooks')).map((page) => read(`docs/runbooks/${page}`)).join('\n');
  for (const alert of alerts) assert.ok(all.includes(alert), `no page names ${alert}`);
});

test('rules and dashboard name only metrics that are documented, or recorded by the rules', () => {
  const dashboard = JSON.parse(read('monitoring/dashboard.json'));
  const expressions = dashboard.panels.flatMap((panel) => panel.targets ?? []).map((target) => target.expr);
  assert.ok(expressions.length > 20);
  const recorded = new Set([...rules.matchAll(/- record: (\S+)/g)].map(([, name]) => name));
  const documented = new Set([...read('docs/metrics.md').matchAll(/^\| `(torhaus_\w+)`/gm)].map(([, name]) => name));
  const named = `${expressions.join('\n')}\n${rules.replace(/- (record|alert): .*/g, '')}`.match(/torhaus[:_][\w:]+/g);
  for (const name of named) {
    const known = name.includes(':') ? recorded.has(name) : documented.has(name.replace(/_bucket$/, ''));
    assert.ok(known, `${name} is neither documented nor recorded`);
  }
});
