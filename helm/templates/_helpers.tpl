{{/* Name of the release's objects. */}}
{{- define "vkw.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of the release's objects outside of its namespace, unique in the cluster. */}}
{{- define "vkw.clusterName" -}}
{{ .Release.Namespace }}:{{ include "vkw.fullname" . }}
{{- end -}}

{{/* Labels that select the release's pods. */}}
{{- define "vkw.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end -}}

{{/* Labels of every object. */}}
{{- define "vkw.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* Whether there is a fleet of nodes; empty if not. */}}
{{- define "vkw.isFleet" -}}
{{- if or .Values.fleet.pools .Values.fleet.adopt }}true{{ end -}}
{{- end -}}

{{/* The names of the nodes, as a JSON array; of a fleet, the first node of each pool. */}}
{{- define "vkw.nodeNames" -}}
{{- $names := list -}}
{{- if include "vkw.isFleet" . -}}
{{- range .Values.fleet.pools -}}
{{- if .count -}}
{{- $names = append $names (printf "%s-0" .name) -}}
{{- end -}}
{{- end -}}
{{- else if eq .Values.node.naming "fixed" -}}
{{- $names = append $names .Values.node.name -}}
{{- else -}}
{{- range until (int .Values.replicas) -}}
{{- $names = append $names (printf "%s-%d" $.Values.node.name .) -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* Environment variables of both containers: the node's name and address. */}}
{{- define "vkw.nodeEnv" -}}
{{- if eq .Values.node.naming "fixed" -}}
- name: NODE_NAME
  value: {{ .Values.node.name | quote }}
{{- else -}}
- name: POD_INDEX
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
- name: NODE_NAME
  value: {{ .Values.node.name }}-$(POD_INDEX)
{{- end }}
- name: VKUBELET_POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- end -}}

{{/* Environment variables of the reference provider and its migrations. */}}
{{- define "vkw.providerEnv" -}}
{{ include "vkw.nodeEnv" . }}
- name: HOST
  value: 127.0.0.1
- name: PORT
  value: {{ .Values.provider.port | quote }}
- name: HEALTH_PORT
  value: "8081"
- name: WORKERS
  value: {{ .Values.provider.workers | quote }}
- name: RUNTIME_DIRECTORY
  value: /data/runtime
- name: DATABASE_URL
{{- if eq .Values.database.kind "sqlite" }}
  value: sqlite:////data/provider/provider.db
{{- else }}
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret }}
      key: {{ .Values.database.existingSecretKey }}
{{- end }}
{{- include "vkw.moreEnv" .Values.provider }}
{{- end -}}

{{/* Environment variables of a map, appended to others. */}}
{{- define "vkw.moreEnv" -}}
{{- range $name, $value := .env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end -}}
{{- end -}}

{{/* Whether Prometheus scrapes the provider: only the reference provider is known to have metrics. */}}
{{- define "vkw.monitorsProvider" -}}
{{- if and .Values.serviceMonitor.enabled (eq .Values.provider.kind "reference") }}true{{ end -}}
{{- end -}}

{{/* Security context of every container. */}}
{{- define "vkw.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Security context of every pod. */}}
{{- define "vkw.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Affinity that excludes virtual nodes, also those of other releases, with or without a taint. */}}
{{- define "vkw.affinity" -}}
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      - matchExpressions:
          - key: type
            operator: NotIn
            values: [virtual-kubelet]
{{- end -}}

{{/* Volume with the service account's token, for the containers that mount it; the provider does not. */}}
{{- define "vkw.tokenVolume" -}}
- name: service-account
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3607
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
{{- end -}}

{{- define "vkw.tokenMount" -}}
- name: service-account
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end -}}

{{/* Volume mounts of the provider. */}}
{{- define "vkw.providerMounts" -}}
- name: data
  mountPath: /data
- name: provider-tmp
  mountPath: /tmp
{{- end -}}

{{/* A map as text, such as a=1,b=2. */}}
{{- define "vkw.pairs" -}}
{{- $pairs := list -}}
{{- range $name, $value := . -}}
{{- $pairs = append $pairs (printf "%s=%s" $name $value) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end -}}

{{/* Name of the Secret with the certificate of the kubelet API. */}}
{{- define "vkw.certificateSecret" -}}
{{- if eq .Values.kubelet.certificate "secret" -}}
{{ .Values.kubelet.secretName }}
{{- else -}}
{{ include "vkw.fullname" . }}-kubelet
{{- end -}}
{{- end -}}
