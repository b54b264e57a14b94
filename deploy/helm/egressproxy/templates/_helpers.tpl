{{- define "egressproxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "egressproxy.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "egressproxy.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "egressproxy.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "egressproxy.selectorLabels" -}}
app.kubernetes.io/name: {{ include "egressproxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "egressproxy.labels" -}}
{{ include "egressproxy.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "egressproxy.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "egressproxy.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "egressproxy.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The Secret with the CA: an existing one, or the one that cert-manager writes. */}}
{{- define "egressproxy.caSecret" -}}
{{- if .Values.ca.certManager.enabled }}
{{- if .Values.ca.existingSecret }}
{{- fail "set either ca.existingSecret or ca.certManager.enabled, not both" }}
{{- end }}
{{- printf "%s-ca" (include "egressproxy.fullname" .) }}
{{- else }}
{{- required "the proxy needs a CA: set ca.existingSecret to a Secret with tls.crt and tls.key, or ca.certManager.enabled=true" .Values.ca.existingSecret }}
{{- end }}
{{- end }}

{{/* The file in this Secret with the certificates that clients trust, if the certificate has no root. */}}
{{- define "egressproxy.caRootKey" -}}
{{- if .Values.ca.rootKey }}
{{- .Values.ca.rootKey }}
{{- else if .Values.ca.certManager.enabled }}
{{- "ca.crt" }}
{{- end }}
{{- end }}

{{- define "egressproxy.clientNamespaces" -}}
{{- toJson (default (list .Release.Namespace) .Values.client.namespaces) }}
{{- end }}

{{- define "egressproxy.workloadNamespaces" -}}
{{- if .Values.networkPolicy.workloads.namespaces }}
{{- toJson .Values.networkPolicy.workloads.namespaces }}
{{- else }}
{{- include "egressproxy.clientNamespaces" . }}
{{- end }}
{{- end }}

{{/* The address of the proxy for workloads: the Service, or the pod itself. */}}
{{- define "egressproxy.clientUrl" -}}
{{- if eq .Values.mode "Sidecar" }}
{{- printf "http://127.0.0.1:%d" (int .Values.containerPort) }}
{{- else }}
{{- printf "http://%s.%s.svc:%d" (include "egressproxy.fullname" .) .Release.Namespace (int .Values.service.port) }}
{{- end }}
{{- end }}

{{/* The options that the chart sets, as TOML. A JSON text is a TOML text, too. */}}
{{- define "egressproxy.config" -}}
{{- $own := dict
  "listen" .Values.listen
  "metrics-port" (int .Values.metrics.port)
  "metrics-interface" .Values.metrics.interface
  "ca-cert" "/etc/egressproxy/ca/tls.crt"
  "ca-key" "/etc/egressproxy/ca/tls.key"
  "drain-timeout" (int .Values.drain.timeoutSeconds)
}}
{{- range $name := keys $own }}
{{- if hasKey $.Values.config $name }}
{{- fail (printf "config.%s is set by another value of the chart: see values.yaml" $name) }}
{{- end }}
{{- end }}
{{- with include "egressproxy.caRootKey" . }}
{{- $_ := set $own "ca-root" (printf "/etc/egressproxy/ca/%s" .) }}
{{- end }}
{{- if and .Values.policy (not (hasKey .Values.config "authz-url")) (not (hasKey .Values.config "policy")) }}
{{- $_ := set $own "policy" "/etc/egressproxy/policy/policy.toml" }}
{{- end }}
{{- if not (hasKey .Values.config "audit-log") }}
{{- $_ := set $own "audit-log" "-" }}
{{- end }}
{{- $kubernetes := .Values.clientAuth.kubernetes }}
{{- if and $kubernetes.enabled .Values.clientAuth.existingSecret }}
{{- fail "set either clientAuth.kubernetes.enabled or clientAuth.existingSecret, not both" }}
{{- end }}
{{- if $kubernetes.enabled }}
{{- $directory := "/var/run/secrets/egressproxy/api-server" }}
{{- $_ := set $own "client-auth" (printf "jwt:%s:audience=%s:jwks=%s:ca=%s/ca.crt:token-file=%s/token" $kubernetes.issuer $kubernetes.audience $kubernetes.keysUrl $directory $directory) }}
{{- else if .Values.clientAuth.existingSecret }}
{{- $_ := set $own "client-auth" "/etc/egressproxy/clients/clients.txt" }}
{{- end }}
{{- range $name, $value := merge $own .Values.config }}
{{ $name }} = {{ toJson $value }}
{{- end }}
{{- end }}

{{- define "egressproxy.usesPolicy" -}}
{{- if and .Values.policy (not (hasKey .Values.config "authz-url")) (not (hasKey .Values.config "policy")) }}true{{ end }}
{{- end }}

{{/* The container of the proxy, for a pod of its own and for a sidecar. */}}
{{- define "egressproxy.container" -}}
name: egressproxy
image: {{ include "egressproxy.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - --config
  - /etc/egressproxy/config/egress.toml
  {{- with .Values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - { name: proxy, containerPort: {{ int .Values.containerPort }}, protocol: TCP }
  - { name: metrics, containerPort: {{ int .Values.metrics.port }}, protocol: TCP }
startupProbe:
  httpGet: { path: /health/live, port: metrics }
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /health/live, port: metrics }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: { path: /health/ready, port: metrics }
  periodSeconds: 5
  # The checks of the proxy take at most five seconds.
  timeoutSeconds: 6
  failureThreshold: 2
lifecycle:
  preStop:
    exec: { command: [sleep, {{ int .Values.drain.preStopSeconds | quote }}] }
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: { drop: [ALL] }
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: {{ int .Values.user }}
  runAsGroup: {{ int .Values.user }}
  seccompProfile: { type: RuntimeDefault }
volumeMounts:
  - { name: egressproxy-config, mountPath: /etc/egressproxy/config, readOnly: true }
  - { name: egressproxy-ca, mountPath: /etc/egressproxy/ca, readOnly: true }
  - { name: egressproxy-state, mountPath: /var/lib/egressproxy }
  - { name: egressproxy-tmp, mountPath: /tmp }
  {{- if include "egressproxy.usesPolicy" . }}
  - { name: egressproxy-policy, mountPath: /etc/egressproxy/policy, readOnly: true }
  {{- end }}
  {{- if .Values.clientAuth.kubernetes.enabled }}
  - { name: egressproxy-api-server, mountPath: /var/run/secrets/egressproxy/api-server, readOnly: true }
  {{- else if .Values.clientAuth.existingSecret }}
  - { name: egressproxy-clients, mountPath: /etc/egressproxy/clients, readOnly: true }
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "egressproxy.volumes" -}}
- name: egressproxy-config
  configMap: { name: {{ include "egressproxy.fullname" . }}-config }
- name: egressproxy-ca
  # The group of the pod can read the key, which belongs to root.
  secret: { secretName: {{ include "egressproxy.caSecret" . }}, defaultMode: 0440 }
- name: egressproxy-state
  emptyDir: { sizeLimit: {{ .Values.stateSize }} }
- name: egressproxy-tmp
  emptyDir: { sizeLimit: 64Mi }
{{- if include "egressproxy.usesPolicy" . }}
- name: egressproxy-policy
  configMap: { name: {{ include "egressproxy.fullname" . }}-policy }
{{- end }}
{{- if .Values.clientAuth.kubernetes.enabled }}
- name: egressproxy-api-server
  projected:
    sources:
      - serviceAccountToken: { expirationSeconds: 3600, path: token }
      - configMap: { name: kube-root-ca.crt, items: [{ key: ca.crt, path: ca.crt }] }
{{- else if .Values.clientAuth.existingSecret }}
- name: egressproxy-clients
  secret: { secretName: {{ .Values.clientAuth.existingSecret }}, defaultMode: 0440 }
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The time for the hook, the drain, and the connections that are aborted after it. */}}
{{- define "egressproxy.gracePeriod" -}}
{{- add (int .Values.drain.preStopSeconds) (int .Values.drain.timeoutSeconds) 5 }}
{{- end }}

{{/* The template of the pods of a Deployment or DaemonSet. */}}
{{- define "egressproxy.podTemplate" -}}
metadata:
  labels:
    {{- include "egressproxy.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # The options are read at start.  The policy is reloaded when its file changes, without a restart.
    checksum/config: {{ include "egressproxy.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "egressproxy.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "egressproxy.gracePeriod" . }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    fsGroup: {{ int .Values.user }}
    seccompProfile: { type: RuntimeDefault }
  containers:
    - {{- include "egressproxy.container" . | nindent 6 }}
  volumes:
    {{- include "egressproxy.volumes" . | nindent 4 }}
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
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if eq .Values.mode "Deployment" }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "egressproxy.selectorLabels" . | nindent 10 }}
  {{- end }}
{{- end }}
