{{- define "copilot.name" -}}
{{- printf "%s-server" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- define "copilot.selector" -}}
app.kubernetes.io/name: copilot
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}
{{- define "copilot.labels" -}}
{{ include "copilot.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}
{{- define "copilot.storeSecret" -}}
{{- if .Values.store.keys -}}
{{- printf "%s-store" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- .Values.store.secret -}}
{{- end -}}
{{- end -}}
{{- define "copilot.metrics" -}}
{{- printf "%s-server-metrics" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- define "copilot.podTemplates" -}}
{{- printf "%s-pod-templates" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
