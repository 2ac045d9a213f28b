{{- define "network-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The release's name when it holds the chart's, else both: the names that the chart of the Honeycomb Network Agent gave. */}}
{{- define "network-agent.fullname" -}}
{{- $name := include "network-agent.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Those of the chart of the Honeycomb Network Agent, too: a selector cannot be changed, and its releases can be upgraded. */}}
{{- define "network-agent.selectorLabels" -}}
{{- if .Values.selectorLabels }}
{{- toYaml .Values.selectorLabels }}
{{- else -}}
app.kubernetes.io/name: {{ include "network-agent.fullname" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- end }}

{{- define "network-agent.labels" -}}
{{- if .Values.selectorLabels }}
app.kubernetes.io/name: {{ include "network-agent.name" . }}
{{- else }}
{{- include "network-agent.selectorLabels" . | nindent 0 }}
{{- end }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
app.kubernetes.io/part-of: network-agent
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "network-agent.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "network-agent.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "network-agent.clusterRoleName" -}}
{{- default (include "network-agent.fullname" .) .Values.rbac.name }}
{{- end }}

{{- define "network-agent.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The host of the admin address. */}}
{{- define "network-agent.adminHost" -}}
{{- if .Values.admin.host }}
{{- .Values.admin.host }}
{{- else if or .Values.podMonitor.enabled (not .Values.hostNetwork) -}}
$(AGENT_POD_IP)
{{- else -}}
127.0.0.1
{{- end }}
{{- end }}

{{/* Where the kubelet, which is on the node, asks: empty is the pod's address. */}}
{{- define "network-agent.probeHost" -}}
{{- $host := include "network-agent.adminHost" . | trimPrefix "[" | trimSuffix "]" }}
{{- if eq $host "localhost" "0.0.0.0" -}}
127.0.0.1
{{- else if eq $host "::" -}}
::1
{{- else if not (contains "$(" $host) -}}
{{ $host }}
{{- end }}
{{- end }}

{{- define "network-agent.probe" -}}
{{- $probe := .probe }}
{{- $host := include "network-agent.probeHost" .root }}
httpGet:
  path: {{ $probe.path }}
  port: {{ .root.Values.admin.port }}
  {{- with $host }}
  host: {{ . | quote }}
  {{- end }}
{{- toYaml (omit $probe "enabled" "path") | nindent 0 }}
{{- end }}

{{/* Names of variables that extraEnvVars sets, as the keys of a map. */}}
{{- define "network-agent.extraNames" -}}
{{- $names := dict }}
{{- range .Values.extraEnvVars }}
{{- $_ := set $names .name true }}
{{- end }}
{{- toYaml $names }}
{{- end }}

{{/* "yes" when spans go to an OTLP server, by the values or by further variables. */}}
{{- define "network-agent.toOtlp" -}}
{{- $extra := include "network-agent.extraNames" . | fromYaml }}
{{- if or .Values.otlp.endpoint (hasKey $extra "OTEL_EXPORTER_OTLP_ENDPOINT") (hasKey $extra "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") -}}
yes
{{- end }}
{{- end }}

{{/* "yes" when the release keeps a Secret of its own. */}}
{{- define "network-agent.hasSecret" -}}
{{- if or (and .Values.honeycomb.apiKey (not .Values.honeycomb.existingSecret) (not .Values.otlp.endpoint)) (and .Values.otlp.headers (not .Values.otlp.existingSecret)) -}}
yes
{{- end }}
{{- end }}

{{/* Headers as OTEL_EXPORTER_OTLP_HEADERS takes them: percent-encoded. */}}
{{- define "network-agent.headers" -}}
{{- $pairs := list }}
{{- range $name, $value := .Values.otlp.headers }}
{{- $pairs = append $pairs (printf "%s=%s" $name ($value | toString | urlquery | replace "+" "%20")) }}
{{- end }}
{{- join "," $pairs }}
{{- end }}

{{/* Refusals that a schema cannot say. */}}
{{- define "network-agent.validate" -}}
{{- $extra := include "network-agent.extraNames" . | fromYaml }}
{{- $key := or .Values.honeycomb.apiKey .Values.honeycomb.existingSecret (hasKey $extra "HONEYCOMB_API_KEY") }}
{{- $export := or (hasKey $extra "AGENT_EXPORT") (hasKey $extra "OTEL_TRACES_EXPORTER") }}
{{- if and .Values.honeycomb.apiKey .Values.honeycomb.existingSecret }}
{{- fail "\n\nhoneycomb.apiKey and honeycomb.existingSecret are both set: keep one of them." }}
{{- end }}
{{- if and (not (include "network-agent.toOtlp" .)) (not $key) (not $export) (contains "honeycomb.io" .Values.honeycomb.endpoint) }}
{{- fail "\n\nThere is nowhere to send spans to. Set one of\n  honeycomb.existingSecret   a Secret in this namespace with Honeycomb's ingest key (its name there: honeycomb.existingSecretKey)\n  honeycomb.apiKey           the key itself\n  otlp.endpoint              a Collector, such as http://otel-collector.observability:4317" }}
{{- end }}
{{- if and .Values.otlp.headers .Values.otlp.existingSecret }}
{{- fail "\n\notlp.headers and otlp.existingSecret are both set: keep one of them." }}
{{- end }}
{{- if and (or .Values.otlp.headers .Values.otlp.existingSecret) (not (include "network-agent.toOtlp" .)) }}
{{- fail "\n\notlp.headers are set and otlp.endpoint is not: they would go to Honeycomb." }}
{{- end }}
{{- if and .Values.otlp.endpoint (not (contains "://" .Values.otlp.endpoint)) (not .Values.otlp.insecure) (hasSuffix ":4317" .Values.otlp.endpoint) (hasSuffix ".svc" (trimSuffix ":4317" .Values.otlp.endpoint)) }}
{{- fail (printf "\n\notlp.endpoint is %s: without a scheme it means TLS. Write http://%s for plaintext, https://%s for TLS, or set otlp.insecure." .Values.otlp.endpoint .Values.otlp.endpoint .Values.otlp.endpoint) }}
{{- end }}
{{- if and .Values.otlp.certificate.configMap .Values.otlp.certificate.secret }}
{{- fail "\n\notlp.certificate.configMap and otlp.certificate.secret are both set: keep one of them." }}
{{- end }}
{{- if and .Values.otlp.insecure (hasPrefix "https://" .Values.otlp.endpoint) }}
{{- fail "\n\notlp.endpoint begins with https://, which means TLS whatever otlp.insecure says: write http:// for plaintext, or take otlp.insecure away." }}
{{- end }}
{{- if and .Values.podMonitor.enabled (not .Values.admin.enabled) }}
{{- fail "\n\npodMonitor.enabled needs admin.enabled: it scrapes /metrics there." }}
{{- end }}
{{- if and .Values.podMonitor.enabled (hasPrefix "127." (include "network-agent.adminHost" .)) }}
{{- fail "\n\npodMonitor.enabled needs an admin.host that Prometheus can reach: leave it empty for the pod's address." }}
{{- end }}
{{- if and (eq .Values.metadata.scope "node") (not .Values.metadata.enabled) }}
{{- fail "\n\nmetadata.scope is node and metadata.enabled is false: there are no names to keep." }}
{{- end }}
{{- if and .Values.hostNetwork (ne .Values.dnsPolicy "ClusterFirstWithHostNet") (contains ".svc" .Values.otlp.endpoint) }}
{{- fail (printf "\n\ndnsPolicy %s on the node's network does not resolve %s: use ClusterFirstWithHostNet." .Values.dnsPolicy .Values.otlp.endpoint) }}
{{- end }}
{{- if and .Values.hostNetwork (eq (.Values.updateStrategy.type | default "RollingUpdate") "RollingUpdate") }}
{{- $surge := dig "rollingUpdate" "maxSurge" 0 .Values.updateStrategy | toString }}
{{- if not (has $surge (list "0" "0%")) }}
{{- fail (printf "\n\nupdateStrategy.rollingUpdate.maxSurge is %s: two agents on a node's network cannot have the same port. Use maxUnavailable." $surge) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "network-agent.plainEnv" -}}
{{- $v := .Values }}
{{- $list := list }}
{{- $list = append $list (list "HONEYCOMB_DATASET" $v.honeycomb.dataset) }}
{{- $list = append $list (list "HONEYCOMB_STATS_DATASET" $v.honeycomb.statsDataset) }}
{{- if $v.otlp.endpoint }}
{{- $list = append $list (list "OTEL_EXPORTER_OTLP_ENDPOINT" $v.otlp.endpoint) }}
{{- else }}
{{- $list = append $list (list "HONEYCOMB_API_ENDPOINT" $v.honeycomb.endpoint) }}
{{- end }}
{{- $list = append $list (list "OTEL_EXPORTER_OTLP_PROTOCOL" $v.otlp.protocol) }}
{{- $list = append $list (list "OTEL_EXPORTER_OTLP_COMPRESSION" $v.otlp.compression) }}
{{- $list = append $list (list "OTEL_EXPORTER_OTLP_INSECURE" (ternary "true" "" $v.otlp.insecure)) }}
{{- $list = append $list (list "OTEL_EXPORTER_OTLP_TIMEOUT" ($v.otlp.timeout | toString)) }}
{{- if or $v.otlp.certificate.configMap $v.otlp.certificate.secret }}
{{- $list = append $list (list "OTEL_EXPORTER_OTLP_CERTIFICATE" (printf "/etc/network-agent/ca/%s" $v.otlp.certificate.key)) }}
{{- end }}
{{- if $v.otlp.clientCertificate.secret }}
{{- $list = append $list (list "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" (printf "/etc/network-agent/client/%s" $v.otlp.clientCertificate.certificateKey)) }}
{{- $list = append $list (list "OTEL_EXPORTER_OTLP_CLIENT_KEY" (printf "/etc/network-agent/client/%s" $v.otlp.clientCertificate.privateKeyKey)) }}
{{- end }}
{{- $list = append $list (list "AGENT_QUEUE_BYTES" $v.queueBytes) }}
{{- if $v.spool.enabled }}
{{- $list = append $list (list "AGENT_SPOOL_DIRECTORY" "/var/lib/network-agent") }}
{{- $list = append $list (list "AGENT_SPOOL_BYTES" $v.spool.size) }}
{{- end }}
{{- $list = append $list (list "AGENT_SPAN_LAYOUT" (ternary "" $v.spans.layout (eq $v.spans.layout "agent"))) }}
{{- $list = append $list (list "AGENT_SERVICE_NAME_FROM_LABELS" (ternary "true" "" $v.spans.serviceNameFromLabels)) }}
{{- $list = append $list (list "INCLUDE_REQUEST_URL" (ternary "" "false" $v.spans.includeRequestUrl)) }}
{{- $list = append $list (list "AGENT_INCLUDE_QUERY" (ternary "true" "" $v.spans.includeQuery)) }}
{{- if not (kindIs "invalid" $v.spans.httpHeaders) }}
{{- $list = append $list (list "HTTP_HEADERS" (join "," $v.spans.httpHeaders) "even when empty") }}
{{- end }}
{{- $list = append $list (list "AGENT_LEGACY_ATTRIBUTES" (ternary "true" "" $v.spans.legacyAttributes)) }}
{{- $list = append $list (list "AGENT_ROUTES" (join "," $v.spans.routes)) }}
{{- $attributes := list }}
{{- range $name, $value := $v.spans.attributes }}
{{- $attributes = append $attributes (printf "%s=%s" $name ($value | toString | urlquery | replace "+" "%20")) }}
{{- end }}
{{- $list = append $list (list "ADDITIONAL_ATTRIBUTES" (join "," $attributes)) }}
{{- $list = append $list (list "OTEL_TRACES_SAMPLER" $v.spans.sampler) }}
{{- $list = append $list (list "OTEL_TRACES_SAMPLER_ARG" ($v.spans.samplerArg | toString)) }}
{{- $f := $v.filters }}
{{- $list = append $list (list "AGENT_INCLUDE_NAMESPACES" (join "," $f.includeNamespaces)) }}
{{- $list = append $list (list "AGENT_EXCLUDE_NAMESPACES" (join "," $f.excludeNamespaces)) }}
{{- $list = append $list (list "AGENT_INCLUDE_POD_LABELS" (join "," $f.includePodLabels)) }}
{{- $list = append $list (list "AGENT_EXCLUDE_POD_LABELS" (join "," $f.excludePodLabels)) }}
{{- $list = append $list (list "AGENT_INCLUDE_PORTS" (include "network-agent.numbers" $f.includePorts)) }}
{{- $list = append $list (list "AGENT_EXCLUDE_PORTS" (include "network-agent.numbers" $f.excludePorts)) }}
{{- $list = append $list (list "AGENT_INCLUDE_PATHS" (join "," $f.includePaths)) }}
{{- $list = append $list (list "AGENT_EXCLUDE_PATHS" (join "," $f.excludePaths)) }}
{{- $list = append $list (list "AGENT_INCLUDE_USER_AGENTS" (join "," $f.includeUserAgents)) }}
{{- if not (kindIs "invalid" $f.excludeUserAgents) }}
{{- $list = append $list (list "AGENT_EXCLUDE_USER_AGENTS" (join "," $f.excludeUserAgents) "even when empty") }}
{{- end }}
{{- $list = append $list (list "AGENT_INTERFACES" (join "," $v.capture.interfaces)) }}
{{- $list = append $list (list "AGENT_EXCLUDE_INTERFACES" (join "," $v.capture.excludeInterfaces)) }}
{{- if $v.capture.workers }}
{{- $list = append $list (list "AGENT_WORKERS" (printf "%v" (int $v.capture.workers))) }}
{{- end }}
{{- $list = append $list (list "AGENT_RING_BYTES" $v.capture.ringBytes) }}
{{- $list = append $list (list "AGENT_MAX_MEMORY" $v.capture.maxMemory) }}
{{- $list = append $list (list "AGENT_CLUSTER_NETWORKS" (join "," $v.capture.clusterNetworks)) }}
{{- $list = append $list (list "AGENT_KUBERNETES" (ternary "" "off" $v.metadata.enabled)) }}
{{- $list = append $list (list "AGENT_METADATA_SCOPE" (ternary "" $v.metadata.scope (eq $v.metadata.scope "cluster"))) }}
{{- if $v.admin.enabled }}
{{- $list = append $list (list "AGENT_ADMIN_ADDRESS" (printf "%s:%v" (include "network-agent.adminHost" .) (int $v.admin.port))) }}
{{- else }}
{{- $list = append $list (list "AGENT_ADMIN_ADDRESS" "off") }}
{{- end }}
{{- $list = append $list (list "LOG_LEVEL" $v.logLevel) }}
{{- $list = append $list (list "AGENT_LOG_FORMAT" (ternary "" $v.logFormat (eq $v.logFormat "text"))) }}
{{- $list = append $list (list "DEBUG" (ternary "true" "" $v.debug)) }}
{{- $extra := include "network-agent.extraNames" . | fromYaml }}
{{- range $entry := $list }}
{{- $value := index $entry 1 }}
{{- if and (or $value (gt (len $entry) 2)) (not (hasKey $extra (index $entry 0))) }}
- name: {{ index $entry 0 }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* A list of ports: large numbers are not written as 1e+04. */}}
{{- define "network-agent.numbers" -}}
{{- $texts := list }}
{{- range . }}
{{- $texts = append $texts (printf "%v" (int .)) }}
{{- end }}
{{- join "," $texts }}
{{- end }}

{{/* All variables. A variable that another one names stands before it. */}}
{{- define "network-agent.env" -}}
{{- $extra := include "network-agent.extraNames" . | fromYaml }}
{{- range $pair := list (list "AGENT_NODE_NAME" "spec.nodeName") (list "AGENT_NODE_IP" "status.hostIP") (list "AGENT_POD_NAME" "metadata.name") (list "AGENT_POD_IP" "status.podIP") (list "AGENT_SERVICE_ACCOUNT_NAME" "spec.serviceAccountName") }}
{{- if not (hasKey $extra (index $pair 0)) }}
- name: {{ index $pair 0 }}
  valueFrom:
    fieldRef:
      fieldPath: {{ index $pair 1 }}
{{- end }}
{{- end }}
{{- if and (or .Values.honeycomb.apiKey .Values.honeycomb.existingSecret) (not .Values.otlp.endpoint) (not (hasKey $extra "HONEYCOMB_API_KEY")) }}
- name: HONEYCOMB_API_KEY
  valueFrom:
    secretKeyRef:
      {{- if .Values.honeycomb.existingSecret }}
      name: {{ .Values.honeycomb.existingSecret }}
      key: {{ .Values.honeycomb.existingSecretKey }}
      {{- else }}
      name: {{ include "network-agent.fullname" . }}
      key: apiKey
      {{- end }}
{{- end }}
{{- if and (or .Values.otlp.headers .Values.otlp.existingSecret) (not (hasKey $extra "OTEL_EXPORTER_OTLP_HEADERS")) }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      {{- if .Values.otlp.existingSecret }}
      name: {{ .Values.otlp.existingSecret }}
      key: {{ .Values.otlp.existingSecretKey }}
      {{- else }}
      name: {{ include "network-agent.fullname" . }}
      key: otlpHeaders
      {{- end }}
{{- end }}
{{- include "network-agent.plainEnv" . }}
{{- with .Values.extraEnvVars }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}
