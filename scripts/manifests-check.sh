#!/usr/bin/env bash
# Checks what is deployed with: the chart over many values, its refusals, the rendered files, every YAML file, the workflows of
# GitHub, that the program (where it is built) understands what its pods are told, and, where there is a real API server, that it
# takes every object (server-side dry run).
# What is missing on this machine is said, and left out. The last line counts.
set -euo pipefail
cd "$(dirname "$0")/.."

chart=deploy/helm/network-agent
work=$(mktemp -d)
passed=0 faults=0
skipped=()

say() { printf 'manifests: %s\n' "$*"; }
well() { passed=$((passed + 1)); }
fault() { faults=$((faults + 1)); printf 'manifests: FAULT %s\n' "$*" >&2; }
skip() { skipped+=("$*"); say "skipped: $*"; }

clean_up() {
  if [ -e "$work/apiserver/pid" ]; then kill -9 "$(cat "$work/apiserver/pid")" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap clean_up EXIT

# ---------------------------------------------------------------------------------------------------------------- the chart

template() { "$helm" template network-agent "$chart" --namespace honeycomb --kube-version "${kube_version:-1.34.0}" "$@"; }

# renders NAME ARGUMENT…: kept for the dry run. Then `has TEXT` and `lacks TEXT` look at it.
renders() {
  local name=$1; shift
  rendered=$work/rendered/$name.yaml
  if ! template "$@" >"$rendered" 2>"$work/error"; then fault "$name: $(cat "$work/error")"; return; fi
  if ! "$helm" lint "$chart" --strict --quiet --kube-version 1.34.0 "$@" >"$work/error" 2>&1; then fault "$name: lint: $(cat "$work/error")"; return; fi
  well
}
has() { local text; for text in "$@"; do if grep -qF -- "$text" "$rendered"; then well; else fault "$(basename "$rendered") lacks: $text"; fi; done; }
lacks() { local text; for text in "$@"; do if grep -qF -- "$text" "$rendered"; then fault "$(basename "$rendered") has: $text"; else well; fi; done; }

# refuses TEXT ARGUMENT…: with a message that holds TEXT.
refuses() {
  local text=$1; shift
  if template "$@" >/dev/null 2>"$work/error"; then fault "not refused: $*"
  elif grep -qF -- "$text" "$work/error"; then well
  else fault "$*: the message lacks \"$text\": $(cat "$work/error")"
  fi
}

check_chart() {
  mkdir -p "$work/rendered"
  local key="--set honeycomb.existingSecret=honeycomb"
  kube_version=1.24.0 renders oldest $key
  renders existing-secret $key --set honeycomb.existingSecretKey=api-key
  has 'name: honeycomb' 'key: api-key' 'hostNetwork: true' 'dnsPolicy: ClusterFirstWithHostNet' 'runAsUser: 65532' \
    'readOnlyRootFilesystem: true' 'allowPrivilegeEscalation: false' 'maxUnavailable: 10%' 'operator: Exists' 'host: "127.0.0.1"'
  lacks 'kind: Secret' 'path: /readyz' 'cpu: 500m' 'kind: PodMonitor' 'kind: NetworkPolicy' 'containerPort' 'checksum/secret' 'OTEL_EXPORTER'
  renders api-key --set honeycomb.apiKey=hcaik_0123
  has 'kind: Secret' "apiKey: \"$(printf hcaik_0123 | base64)\"" checksum/secret
  local first second
  first=$(grep checksum/secret "$rendered")
  renders api-key-changed --set honeycomb.apiKey=hcaik_4567
  second=$(grep checksum/secret "$rendered")
  if [ "$first" != "$second" ]; then well; else fault "another key is not another pod"; fi

  renders old-values --values examples/values/old-agent.yaml
  has 'value: "hny-network-agent"' 'value: "hny-network-agent-stats"' 'value: INFO' 'example.com/team: platform' 'memory: 500Mi' \
    'app.kubernetes.io/name: network-agent' 'app.kubernetes.io/instance: network-agent'
  if [ "$(grep -c 'name: LOG_LEVEL' "$rendered")" = 1 ]; then well; else fault "LOG_LEVEL is there more than once"; fi
  local file
  for file in examples/values/*.yaml deploy/values/*.yaml; do renders "example-$(basename "$(dirname "$file")")-$(basename "$file" .yaml)" --values "$file"; done

  local collector="--set otlp.endpoint=http://otel-gateway.observability:4317"
  renders collector $collector
  has OTEL_EXPORTER_OTLP_ENDPOINT 'value: "http://otel-gateway.observability:4317"'
  lacks HONEYCOMB_API_KEY HONEYCOMB_API_ENDPOINT
  renders collector-beside-key $collector $key
  lacks HONEYCOMB_API_KEY
  renders refinery --set honeycomb.endpoint=http://refinery.observability:4317
  lacks HONEYCOMB_API_KEY
  renders http $collector --set otlp.protocol=http/protobuf,otlp.compression=zstd,otlp.timeout=5000,otlp.insecure=true
  has 'value: "http/protobuf"' 'value: "zstd"' 'value: "5000"' OTEL_EXPORTER_OTLP_INSECURE
  renders headers --set otlp.endpoint=https://otlp.example.com,otlp.headers.authorization='Bearer a+b=c\,d'
  has "otlpHeaders: \"$(printf 'authorization=Bearer%%20a%%2Bb%%3Dc%%2Cd' | base64 -w0)\"" 'key: otlpHeaders'
  lacks 'apiKey:'
  renders tls --set otlp.endpoint=https://otlp.example.com,otlp.certificate.configMap=ca,otlp.clientCertificate.secret=client
  has 'value: "/etc/network-agent/ca/ca.crt"' 'value: "/etc/network-agent/client/tls.crt"' 'value: "/etc/network-agent/client/tls.key"' 'defaultMode: 0440'
  renders tls-of-secret --set otlp.endpoint=https://otlp.example.com,otlp.certificate.secret=ca,otlp.existingSecret=otlp
  has 'secretName: ca' 'key: headers'

  renders spans $key --set spans.layout=workload,spans.serviceNameFromLabels=true,spans.includeRequestUrl=false,spans.includeQuery=true \
    --set spans.legacyAttributes=true,spans.sampler=traceidratio,spans.samplerArg=0.1,spans.httpHeaders='{User-Agent,X-Id}' \
    --set-json 'spans.routes=["/users/{id}","/static/**"]' --set spans.attributes.k8s\\.cluster\\.name='a b'
  has 'value: "workload"' 'value: "/users/{id},/static/**"' AGENT_SERVICE_NAME_FROM_LABELS INCLUDE_REQUEST_URL AGENT_INCLUDE_QUERY AGENT_LEGACY_ATTRIBUTES 'value: "traceidratio"' \
    'value: "0.1"' 'value: "User-Agent,X-Id"' 'value: "k8s.cluster.name=a%20b"'
  renders no-headers $key --set-json 'spans.httpHeaders=[]' --set-json 'filters.excludeUserAgents=[]'
  has HTTP_HEADERS AGENT_EXCLUDE_USER_AGENTS
  renders filters $key --set 'filters.includeNamespaces={shop,team-*},filters.excludeNamespaces={kube-system},filters.includePodLabels={app=web}' \
    --set 'filters.excludePodLabels={quiet},filters.includePorts={80,30080},filters.excludePorts={9464},filters.includePaths={/api/*}' \
    --set 'filters.excludePaths={/healthz},filters.includeUserAgents={curl/*},filters.excludeUserAgents={kube-probe/*,GoogleHC/*}'
  has 'value: "shop,team-*"' 'value: "80,30080"' 'value: "kube-probe/*,GoogleHC/*"' 'value: "/api/*"' 'value: "app=web"' 'value: "quiet"' 'value: "curl/*"'
  renders capture $key --set 'capture.interfaces={eth0,veth*},capture.excludeInterfaces={docker0},capture.workers=2,capture.ringBytes=64MiB' \
    --set 'capture.maxMemory=256MiB,capture.clusterNetworks={10.244.0.0/16},queueBytes=64MiB,logLevel=debug,logFormat=json,debug=true'
  has 'value: "eth0,veth*"' AGENT_WORKERS 'value: "64MiB"' 'value: "256MiB"' 'value: "10.244.0.0/16"' AGENT_QUEUE_BYTES 'value: "json"' 'name: DEBUG'

  renders no-names $key --set metadata.enabled=false
  has 'value: "off"' 'automountServiceAccountToken: false'
  lacks 'kind: ClusterRole'
  renders names-of-node $key --set metadata.scope=node
  has 'value: "node"'
  renders no-rbac $key --set rbac.create=false,serviceAccount.create=false
  has 'serviceAccountName: default'
  lacks 'kind: ClusterRole' 'kind: ServiceAccount'
  renders names $key --set fullnameOverride=eyes,serviceAccount.name=watcher,rbac.name=reader,serviceAccount.annotations.a=b,selectorLabels.app=eyes
  has 'name: eyes' 'name: watcher' 'name: reader' 'app: eyes'

  renders spool $key --set spool.enabled=true,spool.size=2GiB
  has 'emptyDir: {}' AGENT_SPOOL_DIRECTORY 'value: "2GiB"'
  renders spool-on-node $key --set spool.enabled=true,spool.type=hostPath,spool.hostPath.prepare.enabled=true
  has 'type: DirectoryOrCreate' 'command: [chown, "65532:65532", /var/lib/network-agent]'

  renders no-admin $key --set admin.enabled=false
  has 'value: "off"'
  lacks 'livenessProbe' 'readinessProbe' 'startupProbe'
  renders strict-readiness $key --set probes.readiness.path=/readyz,probes.startup.enabled=false,probes.liveness.enabled=false
  has 'path: /readyz'
  lacks 'path: /livez'
  renders monitored $key --set podMonitor.enabled=true,prometheusRule.enabled=true,dashboard.enabled=true,dashboard.annotations.folder=x
  has 'kind: PodMonitor' 'kind: PrometheusRule' 'grafana_dashboard: "1"' 'value: "$(AGENT_POD_IP):9464"' 'containerPort: 9464' '{{ $labels.pod }}'
  lacks 'host: "127.0.0.1"'
  renders monitored-ipv6 $key --set podMonitor.enabled=true,admin.host='[$(AGENT_POD_IP)]',admin.port=9999
  has 'value: "[$(AGENT_POD_IP)]:9999"'
  renders everywhere $key --set admin.host=0.0.0.0
  has 'value: "0.0.0.0:9464"' 'host: "127.0.0.1"'
  renders policy $key --set networkPolicy.enabled=true
  has 'kind: NetworkPolicy'
  renders pods $key --set priorityClassName=system-node-critical,imagePullSecrets[0].name=pull,podAnnotations.a=b,podLabels.c=d,extraArgs={-v} \
    --set extraEnvVars[0].name=HTTPS_PROXY,extraEnvVars[0].value=http://proxy:3128,hostNetwork=false,updateStrategy.type=OnDelete,updateStrategy.rollingUpdate=null \
    --set extraVolumes[0].name=v,extraVolumes[0].emptyDir.medium=Memory,extraVolumeMounts[0].name=v,extraVolumeMounts[0].mountPath=/v \
    --set image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef \
    --set-json 'affinity={"nodeAffinity":{}}' --set-json 'tolerations=[]' --set-json 'extraInitContainers=[{"name":"i","image":"i"}]'
  has 'priorityClassName: system-node-critical' '- name: pull' 'a: b' 'c: d' '- -v' 'HTTPS_PROXY' 'hostNetwork: false' 'mountPath: /v' '@sha256:0123' 'value: "$(AGENT_POD_IP):9464"'
  lacks 'host: "127.0.0.1"'
  renders root $key --set securityContext.runAsUser=0,securityContext.runAsGroup=0,securityContext.runAsNonRoot=false
  has 'runAsUser: 0'
  renders by-variables --set extraEnvVars[0].name=OTEL_EXPORTER_OTLP_ENDPOINT,extraEnvVars[0].value=http://c:4317

  refuses 'There is nowhere to send spans to'
  refuses 'honeycomb.existingSecret   a Secret in this namespace'
  refuses 'are both set: keep one' --set honeycomb.apiKey=a,honeycomb.existingSecret=b
  refuses "additional properties 'endpoint' not allowed" $key --set endpoint=x
  refuses "additional properties 'apikey' not allowed" --set honeycomb.apikey=a
  refuses "value must be one of 'agent', 'workload'" $key --set spans.layout=service
  refuses "value must be one of '', 'grpc', 'http/protobuf'" $collector --set otlp.protocol=http/json
  refuses "value must be one of '', 'gzip', 'zstd', 'none'" $collector --set otlp.compression=snappy
  refuses "at '/filters/includePorts/0'" $key --set 'filters.includePorts={70000}'
  refuses "at '/filters/includeNamespaces'" $key --set filters.includeNamespaces=shop
  refuses "at '/honeycomb/endpoint'" $key --set honeycomb.endpoint=api.honeycomb.io
  refuses "at '/capture/ringBytes'" $key --set capture.ringBytes=much
  refuses "at '/admin/port'" $key --set admin.port=99999
  refuses "at '/admin/host'" $key --set admin.host=example.com
  refuses "at '/spool/type'" $key --set spool.type=pvc
  refuses "at '/probes/liveness/path'" $key --set probes.liveness.path=/readyz
  refuses "at '/extraEnvVars/0/value'" $key --set extraEnvVars[0].name=DEBUG,extraEnvVars[0].value=true
  refuses 'they would go to Honeycomb' $key --set otlp.headers.a=b
  refuses 'otlp.headers and otlp.existingSecret are both set' $collector --set otlp.headers.a=b,otlp.existingSecret=c
  refuses 'without a scheme it means TLS' --set otlp.endpoint=otel-gateway.observability.svc:4317
  refuses 'which means TLS whatever otlp.insecure says' --set otlp.endpoint=https://c:4317,otlp.insecure=true
  refuses 'podMonitor.enabled needs admin.enabled' $key --set podMonitor.enabled=true,admin.enabled=false
  refuses 'needs an admin.host that Prometheus can reach' $key --set podMonitor.enabled=true,admin.host=127.0.0.1
  refuses 'there are no names to keep' $key --set metadata.enabled=false,metadata.scope=node
  refuses 'does not resolve http://c.o.svc:4317' --set otlp.endpoint=http://c.o.svc:4317,dnsPolicy=Default
  refuses 'cannot have the same port' $key --set updateStrategy.rollingUpdate.maxSurge=1
  refuses 'otlp.certificate.configMap and otlp.certificate.secret are both set' $collector --set otlp.certificate.configMap=a,otlp.certificate.secret=b
  kube_version=1.23.0 refuses 'chart requires kubeVersion: >=1.24.0-0' $key
}

# ------------------------------------------------------------------------------------------------------------ files and server

yaml_files() { git ls-files --cached --others --exclude-standard '*.yaml' '*.yml' '*.yaml.in' | grep -v "^$chart/templates/"; }

check_yaml() {
  if ! python3 -c 'import yaml' 2>/dev/null; then skip "YAML files are not parsed: Python's yaml is not here (pip install pyyaml)"; return; fi
  local file
  while read -r file; do
    if python3 - "$file" 2>"$work/error" <<'PYTHON'
import sys, yaml
class Strict(yaml.SafeLoader): pass
def mapping(loader, node, deep=False):
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice: raise yaml.YAMLError(f"twice: {twice}")
    return yaml.SafeLoader.construct_mapping(loader, node, deep)
Strict.add_constructor("tag:yaml.org,2002:map", mapping)
assert list(yaml.load_all(open(sys.argv[1], encoding="utf-8"), Strict))
PYTHON
    then well; else fault "$file: $(tail -1 "$work/error")"; fi
  done < <(yaml_files)
  for file in "$work"/rendered/*.yaml; do
    [ -e "$file" ] || continue
    # A variable that is there twice is one that nobody knows the value of.
    if python3 - "$file" 2>"$work/error" <<'PYTHON'
import sys, yaml
for document in yaml.safe_load_all(open(sys.argv[1], encoding="utf-8")):
    if document and document["kind"] == "DaemonSet":
        [container] = document["spec"]["template"]["spec"]["containers"]
        names = [entry["name"] for entry in container["env"]]
        assert len(names) == len(set(names)), f"twice: {sorted(names)}"
PYTHON
    then well; else fault "$(basename "$file"): $(tail -1 "$work/error")"; fi
  done
}

# What GitHub would refuse of a workflow, or run otherwise than it reads.
check_workflows() {
  local lint
  if ! lint=$(scripts/actionlint.sh); then skip "workflows are only parsed: actionlint cannot be built"; return; fi
  # Of its scripts, what shellcheck says where it is installed would differ from machine to machine.
  if "$lint" -no-color -shellcheck= -pyflakes= .github/workflows/*.yml >"$work/error" 2>&1; then well; else fault "workflows: $(cat "$work/error")"; fi
}

# The program understands what the pods are told: 64 is its code for a configuration with faults.
check_settings() {
  local program=
  for program in "${CARGO_TARGET_DIR:-target}"/{release,debug}/network-agent; do [ ! -x "$program" ] || break; done
  if [ ! -x "$program" ]; then skip "settings are not tried: the program is not built (make build)"; return; fi
  python3 -c 'import yaml' 2>/dev/null || return 0
  if python3 - "$program" "$work"/rendered/*.yaml examples/*.yaml deploy/kubernetes/*.yaml >"$work/tried" 2>"$work/error" <<'PYTHON'
import subprocess, sys, yaml
program, *files = sys.argv[1:]
stand_ins = {"status.podIP": "10.0.0.1", "status.hostIP": "10.0.0.1"}
faults = 0
for file in files:
    for document in yaml.safe_load_all(open(file, encoding="utf-8")):
        if not document or document["kind"] not in ("DaemonSet", "Job"): continue
        [container] = document["spec"]["template"]["spec"]["containers"]
        told = {}
        for entry in container["env"]:
            if entry["name"].startswith("OTEL_EXPORTER_OTLP_C") and "CERT" in entry["name"] or entry["name"].endswith(("_KEY", "_DIRECTORY")): continue
            path = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            value = stand_ins.get(path, "name") if path else entry.get("value", "a=b")
            told[entry["name"]] = value.replace("$(AGENT_POD_IP)", "::1" if "[" in value else "10.0.0.1")
        told["HONEYCOMB_API_KEY"] = "hcaik_0123456789"
        ran = subprocess.run([program, "--check", "--export", "none"], env=told, capture_output=True, text=True, timeout=60)
        print(file)
        if ran.returncode == 64:
            faults += 1
            print(file, ran.stderr, file=sys.stderr)
sys.exit(1 if faults else 0)
PYTHON
  then passed=$((passed + $(wc -l <"$work/tried"))); else fault "the program does not understand $(cat "$work/error")"; fi
}

# Objects of the overlays are those of the plain manifests.
check_overlays() {
  if ! command -v kubectl >/dev/null; then skip "overlays are not built: kubectl is not here"; return; fi
  mkdir -p "$work/built"
  local overlay
  for overlay in honeycomb collector; do
    if ! kubectl kustomize "deploy/kustomize/overlays/$overlay" >"$work/built/overlay-$overlay.yaml" 2>"$work/error"; then fault "overlay $overlay: $(cat "$work/error")"; continue; fi
    well
    python3 -c 'import yaml' 2>/dev/null || continue
    if python3 - "$work/built/overlay-$overlay.yaml" "deploy/kubernetes/$overlay.yaml" 2>"$work/error" <<'PYTHON'
import sys, yaml
def objects(path):
    found = {}
    for document in yaml.safe_load_all(open(path, encoding="utf-8")):
        if not document: continue
        if document["kind"] == "DaemonSet":
            # A patch adds at another place.
            [container] = document["spec"]["template"]["spec"]["containers"]
            container["env"].sort(key=lambda entry: entry["name"])
        found[document["kind"], document["metadata"]["name"]] = document
    return found
built, plain = map(objects, sys.argv[1:])
assert built.keys() == plain.keys(), (built.keys(), plain.keys())
for name in built: assert built[name] == plain[name], f"{name} differs"
PYTHON
    then well; else fault "overlay $overlay and deploy/kubernetes/$overlay.yaml: $(tail -1 "$work/error")"; fi
  done
  if kubectl kustomize otel-collector-config >"$work/built/gateway.yaml" 2>"$work/error"; then well; else fault "otel-collector-config: $(cat "$work/error")"; fi
}

# dry FILE: as the server sees it, with the namespace that it names made before.
dry() {
  local namespace
  for namespace in $(sed -n 's/^  namespace: *\([a-z0-9-]*\)$/\1/p' "$1" | sort -u); do
    kubectl --kubeconfig "$kubeconfig" create namespace "$namespace" --save-config >/dev/null 2>&1 || true
  done
  # Every headless Service gets that warning.
  if kubectl --kubeconfig "$kubeconfig" apply --dry-run=server --validate=strict -f "$1" >"$work/error" 2>&1 &&
    ! grep '^Warning' "$work/error" | grep -qv 'SessionAffinity is ignored for headless services'; then well
  else fault "the API server on ${1#"$work"/}: $(grep -v '(server dry run)' "$work/error" | head -5)"
  fi
}

# The kinds of the Prometheus operator, as far as they are used.
operator_kinds() {
  local kind plural
  for kind in PodMonitor PrometheusRule; do
    plural=$(tr '[:upper:]' '[:lower:]' <<<"${kind}s")
    cat <<YAML
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: $plural.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: $kind, plural: $plural, singular: ${plural%s}}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
YAML
  done
}

check_server() {
  local programs port etcd
  programs=${NETWORK_AGENT_KUBERNETES:-$(tests/cluster/cached.sh 2>/dev/null || true)}
  if [ ! -x "$programs/kube-apiserver" ]; then skip "no server-side dry run: there is no kube-apiserver (make kubernetes builds one)"; return; fi
  if ! command -v kubectl >/dev/null; then skip "no server-side dry run: kubectl is not here"; return; fi
  read -r port etcd < <(python3 -c 'import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(it.getsockname()[1] for it in sockets))')
  if ! KUBE_APISERVER=$programs/kube-apiserver tests/apiserver/start.sh "$work/apiserver" "$port" "$etcd" >"$work/error" 2>&1; then fault "the API server does not start: $(tail -3 "$work/error")"; return; fi
  kubeconfig=$work/apiserver/kubeconfig
  operator_kinds | kubectl --kubeconfig "$kubeconfig" apply -f - >/dev/null
  kubectl --kubeconfig "$kubeconfig" wait --for condition=established --timeout=60s crd --all >/dev/null
  # What is not the agent needs no right: the strictest level admits it, or the server warns, which is a fault below.
  local file namespace
  for namespace in observability default; do
    kubectl --kubeconfig "$kubeconfig" create namespace "$namespace" --save-config >/dev/null 2>&1 || true
    kubectl --kubeconfig "$kubeconfig" label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
  done
  for file in "$work"/rendered/*.yaml "$work"/built/*.yaml examples/*.yaml deploy/kubernetes/*.yaml deploy/kustomize/base/agent.yaml otel-collector-config/kubernetes/*.yaml; do
    [ -e "$file" ] && dry "$file"
  done
  check_level
  check_rights
  check_takeover
  if [ -n "${helm:-}" ]; then check_notes; check_releases; fi
}

# Of all that the level restricted asks for, the agent lacks what it cannot do without, and nothing else.
check_level() {
  local k="kubectl --kubeconfig $kubeconfig" said wanted
  $k create namespace strict >/dev/null
  $k label namespace strict pod-security.kubernetes.io/enforce=restricted >/dev/null
  said=$(sed 's/namespace: honeycomb$/namespace: strict/' examples/quickstart.yaml | $k apply --dry-run=server -f - 2>&1 | sed -n 's/^Warning: would violate PodSecurity "restricted:latest": //p')
  # Servers before 1.34 have nothing against probes of 127.0.0.1.
  said=${said/'probe or lifecycle host (container "network-agent" uses probe or lifecycle host "127.0.0.1"), '/}
  wanted='host namespaces (hostNetwork=true), unrestricted capabilities (container "network-agent" must not include "NET_RAW" in securityContext.capabilities.add)'
  if [ "$said" = "$wanted" ]; then well; else fault "the level restricted forbids: $said"; fi
}

# The rights of the manifests: what the agent needs, and nothing else.
check_rights() {
  local k="kubectl --kubeconfig $kubeconfig" verb resource
  $k apply -f examples/quickstart.yaml >/dev/null
  local as="--as system:serviceaccount:honeycomb:honeycomb-sa -n shop"
  can() { $k auth can-i "$1" "${2%/*}" ${3:+--subresource="$3"} $as >/dev/null 2>&1; }
  for verb in get list watch; do
    for resource in pods services nodes endpointslices.discovery.k8s.io; do
      if can "$verb" "$resource"; then well; else fault "the agent may not $verb $resource"; fi
    done
    for resource in secrets configmaps serviceaccounts replicasets.apps deployments.apps namespaces events pods:log nodes:proxy; do
      if can "$verb" ${resource/:/ }; then fault "the agent may $verb $resource"; else well; fi
    done
  done
  for verb in create update patch delete; do
    for resource in pods services nodes endpointslices.discovery.k8s.io pods:exec; do
      if can "$verb" ${resource/:/ }; then fault "the agent may $verb $resource"; else well; fi
    done
  done
}

# What the old agent's quickstart made is taken over by the new one's: names and selector are the same.
check_takeover() {
  local k="kubectl --kubeconfig $kubeconfig" containers
  $k delete -f examples/quickstart.yaml --wait=false >/dev/null 2>&1
  $k apply -f - >/dev/null <<'YAML'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: honeycomb}
rules:
  - {apiGroups: ["", metrics.k8s.io, apps], resources: ["*"], verbs: [get, watch, list]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: hny-network-agent, namespace: honeycomb, labels: {app: hny-network-agent}}
spec:
  selector: {matchLabels: {name: hny-network-agent}}
  template:
    metadata: {labels: {name: hny-network-agent}}
    spec:
      serviceAccountName: honeycomb-sa
      hostNetwork: true
      containers:
        - name: hny-network-agent
          image: ghcr.io/honeycombio/network-agent:latest
          securityContext: {capabilities: {add: [NET_RAW]}}
YAML
  if $k apply -f examples/quickstart.yaml >"$work/error" 2>&1; then well; else fault "the quickstart on top of the old agent's: $(cat "$work/error")"; return; fi
  containers=$($k get daemonset hny-network-agent -n honeycomb -o jsonpath='{.spec.template.spec.containers[*].name}')
  if [ "$containers" = network-agent ]; then well; else fault "after the quickstart on top of the old agent's there are: $containers"; fi
  if $k auth can-i get secrets -n honeycomb --as system:serviceaccount:honeycomb:honeycomb-sa >/dev/null 2>&1; then fault "the old ClusterRole still reads Secrets"; else well; fi
}

# notes TEXT ARGUMENT…: what is said after an installation.
notes() {
  local text=$1; shift
  if ! release install network-agent "$chart" --dry-run=server "$@" >"$work/notes" 2>&1; then fault "notes: $(cat "$work/notes")"
  elif grep -qF -- "$text" "$work/notes"; then well
  else fault "the notes for $* lack: $text"
  fi
}
release() { "$helm" --kubeconfig "$kubeconfig" --namespace honeycomb "$@"; }

check_notes() {
  local key="--set honeycomb.existingSecret=honeycomb"
  notes 'pod-security.kubernetes.io/enforce=privileged' $key
  notes 'The key is read from the Secret honeycomb' $key
  notes 'keeps it in one place' --set honeycomb.apiKey=a
  notes 'nothing goes to Honeycomb' $key --set otlp.endpoint=http://c:4317
  notes 'there is no memory limit' $key --set-json 'resources={"limits":null}'
  notes 'there is a CPU limit' $key --set resources.limits.cpu=1
  notes 'install -d -o 65532' $key --set spool.enabled=true,spool.type=hostPath
  notes 'the agent runs as root' $key --set securityContext.runAsUser=0,securityContext.runAsNonRoot=false
  notes 'have no names of Kubernetes' $key --set rbac.create=false
  notes 'sees the traffic of its own pod only' $key --set hostNetwork=false
}

# A release of the old chart, with its names and its selector.
old_chart() {
  mkdir -p "$work/old/templates"
  printf 'apiVersion: v2\nname: network-agent\nversion: 0.3.2\nappVersion: 0.3.2\n' >"$work/old/Chart.yaml"
  cat >"$work/old/templates/all.yaml" <<'YAML'
apiVersion: v1
kind: ServiceAccount
metadata: {name: network-agent, namespace: honeycomb}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: network-agent, namespace: honeycomb}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: network-agent, app.kubernetes.io/instance: network-agent}}
  template:
    metadata: {labels: {app.kubernetes.io/name: network-agent, app.kubernetes.io/instance: network-agent}}
    spec:
      serviceAccountName: network-agent
      hostNetwork: true
      containers:
        - name: hny-network-agent
          image: ghcr.io/honeycombio/network-agent:v0.3.2
          securityContext: {capabilities: {add: [NET_RAW]}}
YAML
}

# A life: the old chart, this one over it, other values, back, gone.
check_releases() {
  local k="kubectl --kubeconfig $kubeconfig" left
  old_chart
  step() { if release "$@" >"$work/error" 2>&1; then well; else fault "helm $1: $(tail -3 "$work/error")"; fi; }
  step install network-agent "$work/old" --values examples/values/old-agent.yaml
  step upgrade network-agent "$chart" --values examples/values/old-agent.yaml
  left=$($k get daemonset network-agent -n honeycomb -o jsonpath='{.spec.template.spec.containers[*].name}')
  if [ "$left" = network-agent ]; then well; else fault "after the upgrade from the old chart there are: $left"; fi
  step upgrade network-agent "$chart" --values examples/values/monitoring.yaml
  step rollback network-agent 2
  step uninstall network-agent
  left=$($k get daemonset,serviceaccount,secret,configmap,podmonitor,prometheusrule,clusterrole,clusterrolebinding -A -o name | grep network-agent | grep -v hny-network-agent || true)
  if [ -z "$left" ]; then well; else fault "helm uninstall leaves $left"; fi
}

if helm=$(scripts/helm.sh); then
  say "the chart, with $("$helm" version --short 2>/dev/null)"
  check_chart
  if scripts/render.sh --check; then well; else fault "rendered files"; fi
else
  [ $? = 77 ] || { say "helm cannot be built"; exit 1; }
  helm=
  skip "the chart is not rendered: no helm, and no Go to build it with"
fi
check_overlays
check_yaml
check_workflows
check_settings
check_server

say "$passed checks passed, $faults faults, ${#skipped[@]} skipped"
[ "$faults" = 0 ]
