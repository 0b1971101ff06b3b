{{- /* Names, labels, and what has to agree before anything is rendered. */}}

{{- define "torhaus.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "torhaus.selector" -}}
app.kubernetes.io/name: torhaus
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "torhaus.labels" -}}
{{ include "torhaus.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "torhaus.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "torhaus.configMap" -}}
{{- .Values.existingConfigMap | default (include "torhaus.name" .) -}}
{{- end }}

{{- define "torhaus.claim" -}}
{{- .Values.state.existingClaim | default (printf "%s-state" (include "torhaus.name" .)) -}}
{{- end }}

{{- define "torhaus.claimSpec" -}}
# Of one node, and of one process.
accessModes: [ReadWriteOnce]
{{- with .Values.state.storageClassName }}
storageClassName: {{ . }}
{{- end }}
resources: { requests: { storage: {{ .Values.state.size }} } }
{{- end }}

{{- /* torhaus.yaml: what was typed, and what the pod decides: where the state is, and the address of metrics. */}}
{{- define "torhaus.config" -}}
{{- $own := dict "version" 1 "state_dir" "/var/lib/torhaus/state" "policy_file" "policy.yaml" -}}
{{- if .Values.metrics.enabled -}}
{{- $admin := dict "address" (printf "0.0.0.0:%d" (int .Values.metrics.port)) "danger_beyond_loopback" true -}}
{{- $_ := set $own "admin" $admin -}}
{{- end -}}
{{- if .Values.ingressController.enabled -}}
{{- $cluster := dict "controller" .Values.ingressController.controller "lease" (include "torhaus.name" .) -}}
{{- if and .Values.service.enabled (eq .Values.service.type "LoadBalancer") (not (dig "kubernetes" "publish_addresses" false .Values.config)) -}}
{{- $_ := set $cluster "publish_service" (printf "%s/%s" .Release.Namespace (include "torhaus.name" .)) -}}
{{- end -}}
{{- $_ := set $own "kubernetes" $cluster -}}
{{- end -}}
{{- toYaml (merge $own .Values.config) -}}
{{- end }}

{{- define "torhaus.policy" -}}
{{- if kindIs "string" .Values.policy -}}{{ .Values.policy }}{{- else -}}{{ toYaml (merge (dict "version" 1) .Values.policy) }}{{- end -}}
{{- end }}

{{- /* Namespaces whose ingresses are served, as `kubernetes.namespaces` names them; `*` is all. */}}
{{- define "torhaus.namespaces" -}}
{{- keys (dig "kubernetes" "namespaces" (dict "*" dict) .Values.config) | sortAlpha | join " " -}}
{{- end }}

{{- /* What the controller may do in a namespace: read what ingresses are made of, say where they are reached, and what
is wrong with them. */}}
{{- define "torhaus.rules" -}}
- { apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [list, watch] }
- { apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [patch] }
- { apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch] }
- { apiGroups: [""], resources: [services], verbs: [list, watch] }
{{- if .Values.ingressController.secrets }}
# Only those of type kubernetes.io/tls are asked for; a role cannot say so.
- { apiGroups: [""], resources: [secrets], verbs: [list, watch] }
{{- end }}
- { apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch] }
{{- end }}

{{- define "torhaus.check" -}}
{{- $store := dig "store" "postgres" false .Values.config -}}
{{- if and .Values.autoscaling.enabled (or (not $store) (ne .Values.kind "StatefulSet")) -}}
{{- fail "autoscaling needs kind StatefulSet and a store that pods share: config.store.postgres" -}}
{{- end -}}
{{- if and .Values.ingressController.enabled .Values.existingConfigMap -}}
{{- fail "ingressController writes config.kubernetes, and existingConfigMap takes the place of config: write it there, and make the role yourself" -}}
{{- end -}}
{{- if and .Values.config.kubernetes (not .Values.ingressController.enabled) -}}
{{- fail "config.kubernetes needs ingressController.enabled: without it the pod may ask nothing of the cluster" -}}
{{- end -}}
{{- if and .Values.ingressController.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.egress.api.to) -}}
{{- fail "networkPolicy.egress.api.to is empty: the ingress controller could not reach the API server" -}}
{{- end -}}
{{- if .Values.existingConfigMap -}}
{{- if or .Values.config .Values.policy -}}
{{- fail "existingConfigMap takes the place of config and policy: leave them out" -}}
{{- end -}}
{{- else -}}
{{- if not .Values.config -}}{{- fail "config is empty: write torhaus.yaml there, or name existingConfigMap" -}}{{- end -}}
{{- if not .Values.policy -}}{{- fail "policy is empty: write policy.yaml there, or name existingConfigMap" -}}{{- end -}}
{{- if and .Values.metrics.enabled .Values.config.admin -}}
{{- fail "config.admin: the chart writes it where metrics.enabled is true; leave it out" -}}
{{- end -}}
{{- $typed := dict -}}
{{- range .Values.config.listeners -}}
{{- $_ := set $typed .name (regexReplaceAll "^.*:" (toString .address) "") -}}
{{- if regexMatch "^(127\\.|\\[::1\\])" (toString .address) -}}
{{- fail (printf "config.listeners: `%s` listens on loopback, which nothing outside of the pod reaches" .name) -}}
{{- end -}}
{{- end -}}
{{- range .Values.listeners -}}
{{- if ne (toString .port) (get $typed .name) -}}
{{- fail (printf "listeners: `%s` has port %v here and port `%s` in config.listeners" .name .port (get $typed .name)) -}}
{{- end -}}
{{- $_ := unset $typed .name -}}
{{- end -}}
{{- range $name, $_ := $typed -}}
{{- fail (printf "listeners: `%s` of config.listeners is missing here" $name) -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.kind "StatefulSet" -}}
{{- if and (not .Values.existingConfigMap) (not (dig "store" "postgres" "url_file" "" .Values.config)) -}}
{{- fail "kind StatefulSet is for several pods on one database: name it in config.store.postgres" -}}
{{- end -}}
{{- if .Values.state.existingClaim -}}{{- fail "state.existingClaim is one claim, and each pod of a StatefulSet has its own" -}}{{- end -}}
{{- else if gt (int .Values.replicas) 1 -}}
{{- fail "replicas: more than one needs kind StatefulSet and config.store.postgres" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) -}}
{{- fail "metrics.serviceMonitor needs metrics.enabled" -}}
{{- end -}}
{{- if and .Values.metrics.dashboard.enabled (not .Values.metrics.dashboard.json) -}}
{{- fail "metrics.dashboard.json is empty: --set-file metrics.dashboard.json=deploy/monitoring/dashboard.json" -}}
{{- end -}}
{{- end }}

{{- /* The pod of every kind. */}}
{{- define "torhaus.pod" -}}
metadata:
  labels:
    {{- include "torhaus.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  # Who asks nothing of the cluster holds nothing that would let it.
  automountServiceAccountToken: {{ .Values.ingressController.enabled }}
  serviceAccountName: {{ include "torhaus.name" . }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    # Files of secrets are root's and readable by this group.
    fsGroup: 65532
    # Always would open the keys in the state to the group at every start.
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq .Values.kind "StatefulSet" }}
  # What one node takes along when it falls is one pod.
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector: { matchLabels: { {{ include "torhaus.selector" . | replace "\n" ", " }} } }
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: torhaus
      image: {{ include "torhaus.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run, --config, /etc/torhaus/config/torhaus.yaml{{ range .Values.runArgs }}, {{ quote . }}{{ end }}]
      {{- with .Values.systemAuthorities }}
      env:
        - { name: SSL_CERT_FILE, value: {{ printf "/etc/torhaus/authorities/%s" . | quote }} }
      {{- end }}
      ports:
        {{- range .Values.listeners }}
        - name: {{ .name }}
          containerPort: {{ .port }}
          protocol: TCP
          {{- with .hostPort }}
          hostPort: {{ . }}
          {{- end }}
        {{- end }}
        {{- if .Values.metrics.enabled }}
        - { name: metrics, containerPort: {{ .Values.metrics.port }}, protocol: TCP }
        {{- end }}
      # The binary asks itself over its unix socket: nothing has to listen beyond the pod for that.
      startupProbe:
        exec: { command: [/usr/bin/torhaus, status, --alive, --socket, /var/lib/torhaus/state/admin.sock] }
        periodSeconds: 1
        timeoutSeconds: 5
        failureThreshold: 60
      # Whether traffic may come: the same answer as /readyz.
      readinessProbe:
        exec: { command: [/usr/bin/torhaus, status, --socket, /var/lib/torhaus/state/admin.sock] }
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      # Whether it answers at all. A dependency that is down is no reason to start it again.
      livenessProbe:
        exec: { command: [/usr/bin/torhaus, status, --alive, --socket, /var/lib/torhaus/state/admin.sock] }
        periodSeconds: 20
        timeoutSeconds: 10
        failureThreshold: 3
      lifecycle:
        preStop:
          sleep: { seconds: {{ .Values.preStopSeconds }} }
      securityContext:
        allowPrivilegeEscalation: false
        privileged: false
        readOnlyRootFilesystem: true
        runAsNonRoot: true
        capabilities: { drop: [ALL] }
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - { name: state, mountPath: /var/lib/torhaus }
        {{- include "torhaus.fileMounts" . | nindent 8 }}
  volumes:
    {{- if ne .Values.kind "StatefulSet" }}
    - name: state
      persistentVolumeClaim: { claimName: {{ include "torhaus.claim" . }} }
    {{- end }}
    {{- include "torhaus.fileVolumes" . | nindent 4 }}
{{- end }}

{{- /* Files of the configuration, as the pod and the test see them. */}}
{{- define "torhaus.fileMounts" -}}
# The folder, not a file in it: with subPath a change would never arrive.
- { name: config, mountPath: /etc/torhaus/config, readOnly: true }
{{- range .Values.secrets }}
- { name: {{ printf "secret-%s" . | replace "." "-" }}, mountPath: /etc/torhaus/secrets/{{ . }}, readOnly: true }
{{- end }}
{{- range .Values.tls }}
- { name: {{ printf "tls-%s" . | replace "." "-" }}, mountPath: /etc/torhaus/tls/{{ . }}, readOnly: true }
{{- end }}
{{- range .Values.authorities }}
- { name: {{ printf "authority-%s" . | replace "." "-" }}, mountPath: /etc/torhaus/authorities/{{ . }}, readOnly: true }
{{- end }}
{{- end }}

{{- define "torhaus.fileVolumes" -}}
- name: config
  projected:
    sources:
      - configMap: { name: {{ include "torhaus.configMap" . }} }
{{- range .Values.secrets }}
- name: {{ printf "secret-%s" . | replace "." "-" }}
  secret: { secretName: {{ . }}, defaultMode: 0440 }
{{- end }}
{{- range .Values.tls }}
- name: {{ printf "tls-%s" . | replace "." "-" }}
  secret: { secretName: {{ . }}, defaultMode: 0440 }
{{- end }}
{{- range .Values.authorities }}
- name: {{ printf "authority-%s" . | replace "." "-" }}
  configMap: { name: {{ . }} }
{{- end }}
{{- end }}
