{{- define "ambit.name" -}}
{{- if contains "ambit" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-ambit" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "ambit.labels" -}}
{{ include "ambit.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "ambit.selector" -}}
app.kubernetes.io/name: ambit
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ambit.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{- /* Where NATS is. */ -}}
{{- define "ambit.natsURLs" -}}
{{- if .Values.nats.urls }}{{ toYaml .Values.nats.urls }}
{{- else if .Values.nats.install }}
{{- range $i := until 3 }}
- tls://{{ include "ambit.name" $ }}-nats-{{ $i }}.{{ include "ambit.name" $ }}-nats.{{ $.Release.Namespace }}.svc:4222
{{- end }}
{{- else }}{{ fail "nats.urls names no server: give your NATS servers' URLs, or set nats.install=true for three in this cluster" }}
{{- end }}
{{- end }}

{{- define "ambit.clickhouse" -}}
{{- if .Values.clickhouse.addresses }}{{ toYaml .Values.clickhouse.addresses }}
{{- else if .Values.clickhouse.install }}- {{ include "ambit.name" . }}-clickhouse:9440
{{- else }}{{ fail "clickhouse.addresses names no server: give your ClickHouse servers, or set clickhouse.install=true for one in this cluster" }}
{{- end }}
{{- end }}

{{- /* Settings that agents and collectors share. */ -}}
{{- define "ambit.common" -}}
trust_domain: {{ .Values.trustDomain }}
partitions: {{ .Values.partitions }}
metrics: ":{{ .Values.metrics.port }}"
log:
  level: {{ .Values.log.level }}
  format: {{ .Values.log.format }}
{{- if .Values.spiffe.enabled }}
spiffe:
  socket: unix:///run/spiffe/{{ .Values.spiffe.socket }}
{{- end }}
nats:
  urls:
    {{- include "ambit.natsURLs" . | trim | nindent 4 }}
  replicas: {{ .Values.nats.replicas }}
  tls:
    {{- if .Values.spiffe.enabled }}
    spiffe: true
    {{- else if .Values.nats.tlsSecret }}
    cert: /etc/ambit/nats/tls.crt
    key: /etc/ambit/nats/tls.key
    ca: /etc/ambit/nats/ca.crt
    {{- else }}
    {{- fail "there is no certificate for NATS: set spiffe.enabled=true, or name a Secret with tls.crt, tls.key and ca.crt in nats.tlsSecret" }}
    {{- end }}
    {{- with .Values.nats.serverIDs }}
    server_ids: {{ toJson . }}
    {{- else }}
    {{- if .Values.spiffe.enabled }}{{ fail "nats.serverIDs is empty: with SPIFFE, say who the NATS servers are, such as spiffe://shop.example/ns/nats/sa/nats" }}{{ end }}
    {{- end }}
{{- end }}

{{- /* The volumes of certificates for NATS; tls is the Secret of files. */ -}}
{{- define "ambit.spiffeVolume" -}}
{{- if .root.Values.spiffe.enabled }}
- name: spiffe
  {{- if .root.Values.spiffe.hostPath }}
  hostPath: {path: {{ .root.Values.spiffe.hostPath }}, type: Directory}
  {{- else }}
  csi: {driver: {{ .root.Values.spiffe.csiDriver }}, readOnly: true}
  {{- end }}
{{- else if .tls }}
- name: nats-tls
  secret: {secretName: {{ .tls }}, defaultMode: 0400}
{{- end }}
{{- end }}

{{- define "ambit.spiffeMount" -}}
{{- if .Values.spiffe.enabled }}
- {name: spiffe, mountPath: /run/spiffe, readOnly: true}
{{- end }}
{{- if and .Values.nats.tlsSecret (not .Values.spiffe.enabled) }}
- {name: nats-tls, mountPath: /etc/ambit/nats, readOnly: true}
{{- end }}
{{- end }}

{{- /* Hooks of Helm that run after all else is deleted, in the order of their weights, and go when all of them went well. */ -}}
{{- define "ambit.afterDelete" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- define "ambit.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- range . }}{{ printf "\n  - name: %s" . }}{{ end }}
{{- end }}
{{- end }}

{{- /* Where the agent pins denials. */ -}}
{{- define "ambit.pins" -}}
{{ dig "deny" "pins" "/sys/fs/bpf/ambit/deny-1" .Values.agent.config }}
{{- end }}

{{- define "ambit.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 10
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
{{- end }}
