// The chart, with Helm itself: every example renders to objects that Kubernetes takes, with no secret in them, pods that
// the restricted level admits, network policies that are the flows of deploy/helm/README.md, and a configuration that the
// gate accepts. What cannot work is refused before it is rendered.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { emptyFolder, torhaus, work } from './peers/work.mjs';

const root = join(import.meta.dirname, '..');
const chart = join(root, 'deploy/helm/torhaus');
const examples = join(root, 'deploy/helm/examples');
const gitops = join(root, 'deploy/gitops/flux');
const dashboard = join(root, 'deploy/monitoring/dashboard.json');
const helm = join(work, 'bin/helm');
const python = join(work, 'python/bin/python');
/** The oldest version that the chart says it is for, and the newest that the schemas are there for. */
const KUBERNETES = ['1.30', '1.37'];

/** Releases by name: the values that they are installed with. */
const releases = Object.fromEntries(readdirSync(examples).filter((name) => name.endsWith('.yaml'))
  .map((name) => [name.replace('.yaml', ''), [join(examples, name)]]));
releases.gitops = [join(gitops, 'values.yaml'), join(gitops, 'policy.yaml')];

const files = (values) => values.flatMap((file) => ['-f', file]);
const render = (release, values, ...more) => spawnSync(helm,
  ['template', release, chart, '-n', 'torhaus', '--kube-version', `${KUBERNETES[1]}.0`, ...files(values), ...more], { encoding: 'utf8', maxBuffer: 1 << 26 });
const TO_JSON = 'import json, sys, yaml; print(json.dumps([d for d in yaml.safe_load_all(sys.stdin) if d]))';
const parsed = (yaml) => JSON.parse(execFileSync(python, ['-c', TO_JSON], { input: yaml, encoding: 'utf8', maxBuffer: 1 << 26 }));

function objects(release, values = releases[release], ...more) {
  const out = render(release, values, ...more);
  assert.equal(out.status, 0, `${release}: ${out.stderr}`);
  return parsed(out.stdout);
}
const kind = (all, name) => all.filter((object) => object.kind === name);
/** Old segments of the audit log go to a claim of their own. */
const archive = parsed(readFileSync(join(examples, 'archive/cronjob.yaml'), 'utf8'));
const podOf = (all) => all.find((object) => ['Deployment', 'DaemonSet', 'StatefulSet'].includes(object.kind)).spec.template.spec;

test('helm lint finds nothing in the chart with any of the examples', () => {
  for (const values of Object.values(releases)) {
    const out = spawnSync(helm, ['lint', '--strict', chart, ...files(values)], { encoding: 'utf8' });
    assert.equal(out.status, 0, `${values}: ${out.stdout}${out.stderr}`);
  }
});

test('every object is one that Kubernetes takes, by the schemas of its oldest and its newest version', () => {
  const folder = emptyFolder('helm');
  const every = ['--set', 'metrics.enabled=true,podDisruptionBudget.enabled=true,metrics.dashboard.enabled=true',
    '--set-file', `metrics.dashboard.json=${dashboard}`];
  for (const release of Object.keys(releases)) {
    const own = objects(release, releases[release], ...every).filter(({ apiVersion }) => !apiVersion.startsWith('monitoring.coreos.com'));
    assert.ok(own.length >= 6, `${release}: ${own.length} objects`);
    own.forEach((object, n) => writeFileSync(join(folder, `${release}-${n}.json`), JSON.stringify(object)));
  }
  archive.forEach((object, n) => writeFileSync(join(folder, `archive-${n}.json`), JSON.stringify(object)));
  const all = readdirSync(folder).map((name) => join(folder, name));
  for (const version of KUBERNETES) {
    const out = spawnSync(python, ['-m', 'kubernetes_validate', '-k', version, '--strict', ...all], { encoding: 'utf8' });
    assert.equal(out.status, 0, `${version}: ${out.stdout}${out.stderr}`);
  }
  const wrong = join(folder, 'wrong.json');
  writeFileSync(wrong, JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'x' }, spec: { prots: [] } }));
  assert.notEqual(spawnSync(python, ['-m', 'kubernetes_validate', '--strict', wrong]).status, 0, 'the schemas refuse something');
});

test('no object holds a secret: they are named, and mounted as files that nobody may write', () => {
  for (const release of Object.keys(releases)) {
    const all = objects(release);
    assert.deepEqual(kind(all, 'Secret'), []);
    const text = JSON.stringify(all);
    assert.doesNotMatch(text, /-----BEGIN [A-Z ]*PRIVATE KEY|"(client_secret|password|token|bind_password|hmac)"/i);
    const pod = podOf(all);
    const environment = pod.containers.flatMap(({ env = [] }) => env).map(({ name }) => name);
    assert.deepEqual(environment.filter((name) => name !== 'SSL_CERT_FILE'), []);
    const secrets = pod.volumes.filter((volume) => volume.secret);
    assert.ok(secrets.length >= 2, release);
    for (const { name, secret } of secrets) {
      assert.equal(secret.defaultMode, 0o440, name);
      assert.ok(pod.containers[0].volumeMounts.find((mount) => mount.name === name).readOnly, name);
    }
  }
});

test('pods are what the restricted level asks for, and only a controller has a way into the API of the cluster', () => {
  for (const release of Object.keys(releases)) {
    const all = objects(release);
    const pod = podOf(all);
    const inCluster = release === 'k3s-ingress';
    assert.deepEqual([pod.hostNetwork, pod.hostPID, pod.hostIPC, pod.initContainers], [undefined, undefined, undefined, undefined]);
    assert.equal(pod.automountServiceAccountToken, inCluster);
    assert.equal(all.some((object) => /Role/.test(object.kind)), inCluster, release);
    assert.deepEqual(pod.securityContext, { runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532,
      fsGroupChangePolicy: 'OnRootMismatch', seccompProfile: { type: 'RuntimeDefault' } });
    assert.equal(pod.containers.length, 1);
    assert.deepEqual(pod.containers[0].securityContext, { allowPrivilegeEscalation: false, privileged: false,
      readOnlyRootFilesystem: true, runAsNonRoot: true, capabilities: { drop: ['ALL'] } });
    const allowed = ['persistentVolumeClaim', 'projected', 'secret', 'configMap'];
    for (const { name, ...source } of pod.volumes) assert.ok(allowed.includes(Object.keys(source)[0]), name);
    // Of the whole folder: what is mounted by subPath never sees a change.
    for (const mount of pod.containers[0].volumeMounts) assert.equal(mount.subPath, undefined, mount.name);
    const hostPorts = pod.containers[0].ports.filter((port) => port.hostPort);
    assert.equal(hostPorts.length > 0, release === 'internal', 'host ports only where the example is about them');
  }
});

test('nothing is exposed beyond the cluster unless the values say so, and then with the address of the caller', () => {
  const bare = join(emptyFolder('helm-bare'), 'values.yaml');
  writeFileSync(bare, JSON.stringify({ config: { listeners: [{ name: 'public', address: '0.0.0.0:8443' }, { name: 'plain', address: '0.0.0.0:8080' }] }, policy: { table: [] } }));
  for (const service of kind(objects('bare', [bare]), 'Service')) assert.equal(service.spec.type, 'ClusterIP');
  const exposed = Object.keys(releases).flatMap((release) => kind(objects(release), 'Service').map((service) => [release, service]))
    .filter(([, service]) => service.spec.type !== 'ClusterIP');
  assert.deepEqual(exposed.map(([release]) => release), ['external', 'federated', 'k3s-ingress', 'k3s-without-traefik', 'replicas', 'gitops']);
  for (const [release, { spec }] of exposed) assert.equal(spec.externalTrafficPolicy, 'Local', release);
});

/** A rule of a network policy as the table in the README writes it. */
function peer({ ipBlock, namespaceSelector, podSelector }) {
  const labels = (selector) => Object.entries(selector.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`).join(',');
  if (ipBlock) return ipBlock.cidr + (ipBlock.except ? ` except ${ipBlock.except.join(', ')}` : '');
  const where = namespaceSelector && `namespace ${labels(namespaceSelector).replace('kubernetes.io/metadata.name=', '')}`;
  return [where, podSelector && `pods ${labels(podSelector)}`].filter(Boolean).join(', ');
}
function flows(release) {
  const [policy, ...more] = kind(objects(release), 'NetworkPolicy');
  assert.deepEqual(more, []);
  const selected = { 'app.kubernetes.io/name': 'torhaus', 'app.kubernetes.io/instance': release };
  assert.deepEqual(policy.spec.podSelector, { matchLabels: selected });
  assert.deepEqual(policy.spec.policyTypes, ['Ingress', 'Egress']);
  const row = (direction, peers, ports) => {
    assert.ok(ports?.length > 0, 'a rule without ports opens all of them');
    const names = ports.map(({ protocol, port }) => `${protocol} ${port}`).join(', ');
    return `| ${release} | ${direction} | ${peers ? peers.map(peer).join('; ') : 'anybody'} | ${names} |`;
  };
  return [...policy.spec.ingress.map((rule) => row('in', rule.from, rule.ports)),
    ...policy.spec.egress.map((rule) => {
      assert.ok(rule.to?.length > 0, 'a rule without peers opens to everybody');
      return row('out', rule.to, rule.ports);
    })];
}

test('network policies allow the flows of the README and no others', () => {
  const documented = readFileSync(join(root, 'deploy/helm/README.md'), 'utf8').split('\n').filter((line) => /^\| \S+ \| (in|out) \|/.test(line));
  assert.deepEqual(Object.keys(releases).filter((release) => release !== 'gitops').flatMap(flows), documented);
});

test('several pods have each a volume for its audit log, and come and go one after the other', () => {
  const all = objects('replicas');
  const [set] = kind(all, 'StatefulSet');
  assert.equal(set.spec.replicas, 3);
  assert.equal(set.spec.updateStrategy.type, 'RollingUpdate');
  assert.deepEqual(set.spec.volumeClaimTemplates.map(({ metadata }) => metadata.name), ['state']);
  assert.deepEqual(kind(all, 'PersistentVolumeClaim'), []);
  assert.equal(kind(all, 'PodDisruptionBudget')[0].spec.maxUnavailable, 1);
  const [database] = parsed(readFileSync(join(examples, 'replicas/database.yaml'), 'utf8'));
  const named = database.metadata.name;
  const mounted = podOf(all).volumes.filter((volume) => volume.secret).map(({ secret }) => secret.secretName);
  assert.ok(mounted.includes(`${named}-app`) && mounted.includes(`${named}-ca`), 'the secrets that the operator makes');
});

/** What a role lets somebody do, one line each: namespace, verb, resource. */
function may(all) {
  const rights = (role) => role.rules.flatMap(({ resources, verbs, resourceNames }) => resources.flatMap((resource) => verbs.map((verb) =>
    `${role.metadata.namespace ?? '*'} ${verb} ${resource}${resourceNames ? ` ${resourceNames}` : ''}`)));
  return all.filter(({ kind }) => /^(Cluster)?Role$/.test(kind)).flatMap(rights).sort();
}
const reads = ['endpointslices', 'ingresses', 'secrets', 'services'].flatMap((what) => [`list ${what}`, `watch ${what}`]);
const writes = ['create events', 'patch events', 'patch ingresses/status'];

test('a controller reads what ingresses are made of, writes their status, and nothing else', () => {
  const release = 'k3s-ingress';
  const own = ['create leases', `get leases ${release}`, `update leases ${release}`, `list services ${release}`, `watch services ${release}`];
  const classes = ['* list ingressclasses', '* watch ingressclasses'];
  const everywhere = (namespace) => [...reads, ...writes].map((right) => `${namespace} ${right}`);
  const ours = own.map((right) => `torhaus ${right}`);
  const listed = objects(release);
  assert.deepEqual(may(listed), [...classes, ...ours, ...everywhere('wiki'), ...everywhere('shop')].sort());
  const all = objects(release, releases[release], '--set', 'config.kubernetes.namespaces.wiki=null,config.kubernetes.namespaces.shop=null,config.kubernetes.namespaces.\\*.any_host=false');
  assert.deepEqual(may(all), [...classes, ...ours, ...everywhere('*')].sort());
  const without = objects(release, releases[release], '--set', 'ingressController.secrets=false');
  assert.deepEqual(may(without).filter((right) => /secrets/.test(right)), []);
  // Each role is bound to the account of the pod, and to nobody else.
  const account = podOf(listed).serviceAccountName;
  for (const binding of listed.filter(({ kind }) => /RoleBinding$/.test(kind))) {
    assert.deepEqual(binding.subjects, [{ kind: 'ServiceAccount', name: account, namespace: 'torhaus' }]);
    assert.ok(listed.some(({ kind, metadata }) => kind === binding.roleRef.kind && metadata.name === binding.roleRef.name
      && metadata.namespace === binding.metadata.namespace), binding.metadata.name);
  }
  // The class is the one that the gate is told to serve.
  const [ingressClass] = kind(listed, 'IngressClass');
  const [map] = kind(listed, 'ConfigMap');
  const [config] = parsed(map.data['torhaus.yaml']);
  assert.equal(ingressClass.spec.controller, config.kubernetes.controller);
  assert.deepEqual([config.kubernetes.lease, config.kubernetes.publish_service], [release, `torhaus/${release}`]);
});

test('zones are releases with classes of their own', () => {
  const zones = ['external', 'internal'].map((zone) => objects(zone, releases['k3s-ingress'], '--set',
    `ingressController.class=torhaus-${zone},ingressController.controller=torhaus.dev/${zone}`));
  const names = zones.map((all) => all.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''} ${metadata.name}`));
  assert.deepEqual(names[0].filter((name) => names[1].includes(name)), [], 'nothing of one is of the other');
});

test('several pods scale by load where they share a store', () => {
  const store = ['--set', 'kind=StatefulSet,config.store.postgres.url_file=../secrets/pg/url,autoscaling.enabled=true,autoscaling.maxReplicas=4'];
  const [scaler] = kind(objects('external', releases.external, ...store), 'HorizontalPodAutoscaler');
  assert.deepEqual([scaler.spec.minReplicas, scaler.spec.maxReplicas], [2, 4]);
  assert.deepEqual(scaler.spec.scaleTargetRef, { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'external' });
});

test('helm test is a pod as restricted as the gate, on the same files', () => {
  for (const release of Object.keys(releases)) {
    const all = objects(release);
    const [pod] = kind(all, 'Pod');
    assert.equal(pod.metadata.annotations['helm.sh/hook'], 'test');
    const [container] = pod.spec.containers;
    const [gate] = podOf(all).containers;
    assert.deepEqual(container.securityContext, gate.securityContext);
    assert.equal(pod.spec.automountServiceAccountToken, false);
    assert.deepEqual(container.volumeMounts, gate.volumeMounts.filter(({ name }) => name !== 'state'));
    assert.deepEqual(container.args, ['check', '--config', '/etc/torhaus/config/torhaus.yaml']);
    // The policies and the service of the gate do not take it for one of its pods.
    assert.notEqual(pod.metadata.labels['app.kubernetes.io/name'], 'torhaus');
  }
});

test('arguments of the values reach `torhaus run`, which knows them', () => {
  const run = ['run', '--config', '/etc/torhaus/config/torhaus.yaml'];
  for (const release of Object.keys(releases)) assert.deepEqual(podOf(objects(release)).containers[0].args, run, release);
  const { args } = podOf(objects('external', releases.external, '--set', 'runArgs={--audit-copy,stdout,--log,text}')).containers[0];
  assert.deepEqual(args, [...run, '--audit-copy', 'stdout', '--log', 'text']);
  // There is no such file here; what it does not know would be 2.
  assert.equal(spawnSync(torhaus, args).status, 1);
});

test('the job of old segments is as restricted as the gate, on its node, and mounts of its state the log alone', () => {
  const [pvc] = kind(archive, 'PersistentVolumeClaim');
  const [job] = kind(archive, 'CronJob');
  const { template: { spec } } = job.spec.jobTemplate.spec;
  const all = objects('gate', releases.external);
  const gate = podOf(all);
  const [container] = spec.containers;
  assert.deepEqual([spec.securityContext, container.securityContext], [gate.securityContext, gate.containers[0].securityContext]);
  assert.deepEqual([container.image, spec.automountServiceAccountToken], [gate.containers[0].image, false]);
  const near = spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution.map((term) => term.labelSelector);
  assert.deepEqual(near, [kind(all, 'Deployment')[0].spec.selector]);
  const [state] = kind(all, 'PersistentVolumeClaim');
  const claims = spec.volumes.map((volume) => [volume.name, volume.persistentVolumeClaim.claimName]);
  assert.deepEqual(claims, [['state', state.metadata.name], ['archive', pvc.metadata.name]]);
  assert.deepEqual([job, pvc].map(({ metadata }) => metadata.namespace), ['torhaus', 'torhaus']);
  const { state_dir: folder } = parsed(kind(all, 'ConfigMap')[0].data['torhaus.yaml'])[0];
  const [mounted] = gate.containers[0].volumeMounts;
  const [{ subPath, mountPath }, there] = container.volumeMounts;
  assert.equal(join(mounted.mountPath, subPath), join(folder, 'audit'));
  assert.deepEqual(container.args, ['audit', 'archive', '--dir', mountPath, '--before', '90d', '--to', there.mountPath]);
  const here = container.args.map((arg) => ([mountPath, there.mountPath].includes(arg) ? `/nowhere${arg}` : arg));
  assert.match(spawnSync(torhaus, here, { encoding: 'utf8' }).stderr, /the audit log in `.nowhere.audit` cannot be read/);
});

test('what teams write in examples/k3s is what the values of k3s-ingress are for', () => {
  const [map] = kind(objects('k3s-ingress'), 'ConfigMap');
  const [config] = parsed(map.data['torhaus.yaml']);
  for (const ingress of parsed(readFileSync(join(root, 'examples/k3s/ingresses.yaml'), 'utf8'))) {
    const { namespace, name } = ingress.metadata;
    const granted = config.kubernetes.namespaces[namespace];
    const resource = ingress.metadata.annotations['torhaus.dev/resource'] ?? `${namespace}/${name}`;
    assert.ok(resource.startsWith(`${namespace}/`) || granted.resources.includes(resource), name);
    assert.match(map.data['policy.yaml'], new RegExp(`resource: ${resource}\\b`));
    const [{ host }] = ingress.spec.rules;
    assert.ok(granted.hosts.some((own) => own === host || host.endsWith(own.replace('*', ''))), host);
  }
});

test('nobody but the gate reaches the applications of examples/k3s, at the ports that it is let out to', () => {
  const load = (name) => parsed(readFileSync(join(root, 'examples/k3s', name), 'utf8'));
  const [gate] = kind(objects('gate', releases['k3s-ingress']), 'NetworkPolicy');
  const byName = (namespace) => ({ matchLabels: { 'kubernetes.io/metadata.name': namespace } });
  const policies = load('networkpolicies.yaml');
  const namespaces = new Set(load('ingresses.yaml').map(({ metadata }) => metadata.namespace));
  assert.deepEqual(policies.map(({ metadata }) => metadata.namespace), [...namespaces]);
  for (const { kind, metadata, spec } of policies) {
    assert.equal(kind, 'NetworkPolicy');
    assert.deepEqual([spec.podSelector, spec.policyTypes], [{}, ['Ingress']], 'every pod, and what comes in');
    const out = gate.spec.egress.find(({ to }) => JSON.stringify(to) === JSON.stringify([{ namespaceSelector: byName(metadata.namespace) }]));
    const from = [{ namespaceSelector: byName(gate.metadata.namespace), podSelector: gate.spec.podSelector }];
    assert.deepEqual(spec.ingress, [{ from, ports: out.ports }], metadata.namespace);
  }
});

test('what cannot work is refused before anything is rendered', () => {
  const cases = [
    ['external', 'replicas=2', /more than one needs kind StatefulSet/],
    ['external', 'kind=StatefulSet', /name it in config.store.postgres/],
    ['replicas', 'state.existingClaim=one', /each pod of a StatefulSet has its own/],
    ['external', 'kind=DaemonSet', /nodeSelector|hostname/],
    ['external', 'listeners[0].hostPort=443', /hostPort/],
    ['external', 'listeners[0].port=9443', /`external` has port 9443 here and port `8443` in config.listeners/],
    ['external', 'config.state_dir=/tmp', /state_dir/],
    ['external', 'existingConfigMap=mine', /existingConfigMap takes the place/],
    ['external', 'config.listeners[0].address=127.0.0.1:8443', /listens on loopback/],
    ['internal', 'config.admin.address=127.0.0.1:9090', /config.admin: the chart writes it/],
    ['external', 'metrics.serviceMonitor.enabled=true', /needs metrics.enabled/],
    ['external', 'metrics.dashboard.enabled=true', /--set-file metrics.dashboard.json/],
    ['external', 'clientSecret=hunter2', /clientSecret/],
    ['external', 'runArgs={--config,/tmp/torhaus.yaml}', /runArgs/],
    ['external', 'runArgs={--config=/tmp/torhaus.yaml}', /runArgs/],
    ['external', 'autoscaling.enabled=true', /autoscaling needs/],
    ['external', 'config.kubernetes.namespaces.x.any_host=true', /needs ingressController.enabled/],
    ['external', 'ingressController.enabled=true', /networkPolicy.egress.api.to is empty/],
    ['k3s-ingress', 'config.kubernetes.controller=other', /controller/],
    ['k3s-ingress', 'ingressController.controller=nonsense', /controller/],
  ];
  for (const [release, set, why] of cases) {
    const out = render(release, releases[release], '--set', set);
    assert.notEqual(out.status, 0, set);
    assert.match(out.stderr, why, set);
  }
});

test('the gate accepts the configuration of every example, with its files where the chart mounts them', () => {
  for (const release of Object.keys(releases)) {
    const all = objects(release);
    const etc = emptyFolder('helm-etc', release);
    const put = (path, text, mode = 0o644) => {
      mkdirSync(dirname(join(etc, path)), { recursive: true });
      writeFileSync(join(etc, path), text);
      chmodSync(join(etc, path), mode);
    };
    const openssl = (...args) => execFileSync('openssl', args, { cwd: etc, stdio: 'pipe' });
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-keyout', 'key.pem',
      '-out', 'crt.pem', '-subj', '/CN=example', '-addext', 'subjectAltName=DNS:*.example.test,DNS:*.internal.example.test');
    const [key, certificate] = ['key.pem', 'crt.pem'].map((name) => readFileSync(join(etc, name), 'utf8'));
    for (const { mountPath } of podOf(all).containers[0].volumeMounts) {
      const path = mountPath.replace('/etc/torhaus/', '');
      if (path.startsWith('secrets/')) {
        put(`${path}/client-secret`, 'swordfish', 0o440);
        put(`${path}/uri`, 'postgresql://torhaus:swordfish@gate-database-rw.torhaus:5432/torhaus', 0o440);
        put(`${path}/seal`, 'thirty-two characters of randomness', 0o440);
        put(`${path}/ca.crt`, certificate, 0o440);
      }
      if (path.startsWith('tls/')) { put(`${path}/tls.crt`, certificate); put(`${path}/tls.key`, key, 0o440); }
      if (path.startsWith('authorities/')) put(`${path}/ca.crt`, certificate);
    }
    const { data } = kind(all, 'ConfigMap').find((map) => map.data['torhaus.yaml']);
    for (const [name, text] of Object.entries(data)) put(`config/${name}`, text);
    const out = spawnSync(torhaus, ['check', '--config', join(etc, 'config/torhaus.yaml')], { encoding: 'utf8' });
    assert.equal(out.status, 0, `${release}: ${out.stdout}${out.stderr}`);
    const warned = (out.stdout + out.stderr).match(/^.*: warning: .*$/gm) ?? [];
    assert.deepEqual(warned.filter((line) => !/danger_beyond_loopback|no test asks/.test(line)), [], release);
  }
});

test('each probe is a command that the binary has', () => {
  for (const release of Object.keys(releases)) {
    const [container] = podOf(objects(release)).containers;
    for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
      const [, ...args] = container[probe].exec.command;
      const missing = args.map((arg) => (arg.endsWith('admin.sock') ? '/nowhere/admin.sock' : arg));
      const out = spawnSync(torhaus, missing, { encoding: 'utf8' });
      assert.equal(out.status, 3, `${probe}: ${out.stderr}`);
    }
  }
});

test('the examples around the chart are YAML, and what they name in this repository is there', () => {
  const load = (path) => parsed(readFileSync(join(root, path), 'utf8'));
  const [application] = load('deploy/gitops/argocd/application.yaml');
  assert.ok(existsSync(join(root, application.spec.sources[0].path, 'Chart.yaml')));
  const settings = application.spec.sources[0].helm.valueFiles.map((file) => file.replace('$settings/torhaus/', ''));
  assert.deepEqual(settings.map((name) => join(gitops, name)), releases.gitops);
  const [, release] = load('deploy/gitops/flux/release.yaml');
  assert.ok(existsSync(join(root, release.spec.chart.spec.chart, 'Chart.yaml')));
  const [{ configMapGenerator: [generated] }] = load('deploy/gitops/flux/kustomization.yaml');
  assert.deepEqual(release.spec.valuesFrom.map(({ name, valuesKey }) => [name, valuesKey]), generated.files.map((file) => [generated.name, file]));
  assert.deepEqual(load('deploy/helm/examples/k3s-beside-traefik/traefik.yaml').map((object) => object.kind),
    ['Middleware', 'IngressRouteTCP', 'ServersTransport', 'IngressRoute']);
  // The service and the namespace that Traefik is told are the ones of the release `gate` in `torhaus`.
  const [service] = kind(objects('gate', releases['k3s-beside-traefik']), 'Service');
  assert.deepEqual([service.metadata.name, service.metadata.namespace, service.spec.ports[0].port], ['gate', 'torhaus', 443]);
  const [issuer] = load('deploy/cert-manager/clusterissuer.yaml');
  assert.equal(issuer.spec.acme.externalAccountBinding.keySecretRef.key, 'secret');
});
