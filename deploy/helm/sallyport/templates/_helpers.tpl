{{- define "sallyport.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "sallyport.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sallyport.labels" -}}
{{ include "sallyport.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The chart's own keys over those of .Values.config. */}}
{{- define "sallyport.config" -}}
{{- $console := merge (dict "listen" "0.0.0.0:8642") (.Values.config.console | default dict) }}
{{- if not $console.public_url }}{{ $_ := unset $console "public_url" }}{{ end }}
{{- $own := dict "listen" "0.0.0.0:6432" "data" "/var/lib/sallyport" "policy" "/etc/sallyport/policy/policy.yaml"
      "tls" (dict "certificate" "/etc/sallyport/tls/tls.crt" "key" "/etc/sallyport/tls/tls.key") "console" $console }}
{{- toYaml (merge $own (omit .Values.config "console")) }}
{{- end }}

{{/* "yes" where the gateway uses the account of its pod: for the cluster's keys, TokenReview, or a login at Vault. */}}
{{- define "sallyport.usesAccount" -}}
{{- $uses := dig "vault" "auth" "kubernetes" "" (.Values.config.secrets | default dict) }}
{{- range .Values.config.identity.oidc }}
{{- if and (eq (.provider | default "") "kubernetes") (not .jwks_file) (not .token_file) }}{{ $uses = true }}{{ end }}
{{- end }}
{{- if $uses }}yes{{ end }}
{{- end }}

{{/* Where agents run: namespaces. */}}
{{- define "sallyport.agentNamespaces" -}}
{{- .Values.networkPolicy.agentNamespaces | default (list .Release.Namespace) | toJson }}
{{- end }}
