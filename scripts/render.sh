#!/usr/bin/env bash
# Renders what is committed and comes from the chart: plain manifests, the quickstart, the base for Kustomize, and the table of
# values in the chart's README.
# Usage: render.sh [--check]       --check: only compares; exits with 77 where there is no helm and no Go to build it with
set -euo pipefail
cd "$(dirname "$0")/.."

check=
[ "${1:-}" = --check ] && check=yes
helm=$(scripts/helm.sh)
chart=deploy/helm/network-agent
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# put FILE: what comes in is the file's text, or must be.
put() {
  cat >"$work/new"
  if [ -z "$check" ]; then
    if ! cmp -s "$work/new" "$1"; then cp "$work/new" "$1"; echo "render: wrote $1"; fi
  elif ! cmp -s "$work/new" "$1"; then
    # The caller is at the other end of a pipe, in another process.
    echo "$1" >>"$work/stale"
    diff -u "$1" "$work/new" | head -40 >&2 || true
  fi
}

# manifests RELEASE NAMESPACE VALUES: without what is true of a release of helm only.
manifests() {
  "$helm" template "$1" "$chart" --namespace "$2" --values "$3" --kube-version 1.34.0 >"$work/rendered"
  grep -Ev '^# Source: |^ +(app.kubernetes.io/managed-by|helm.sh/chart): ' "$work/rendered"
}

head_of() {
  printf '# Rendered from deploy/helm/network-agent with %s by scripts/render.sh: change it there.\n' "$1"
  shift
  printf '# %s\n' "$@"
}

{
  head_of deploy/values/quickstart.yaml '' \
    '  kubectl create namespace honeycomb' \
    '  kubectl label namespace honeycomb pod-security.kubernetes.io/enforce=privileged' \
    '  kubectl create secret generic honeycomb --from-literal=api-key=$HONEYCOMB_API_KEY --namespace=honeycomb' \
    '  kubectl apply -f examples/quickstart.yaml'
  manifests hny-network-agent honeycomb deploy/values/quickstart.yaml
} | sed 's/^# $/#/' | put examples/quickstart.yaml

for destination in honeycomb collector; do
  {
    case $destination in
      honeycomb) words='  kubectl create secret generic honeycomb --from-literal=api-key=$HONEYCOMB_API_KEY --namespace=network-agent' ;;
      collector) words='  kubectl apply -k otel-collector-config        the gateway that it sends to' ;;
    esac
    head_of "deploy/values/$destination.yaml" '' "  kubectl apply -f deploy/kubernetes/$destination.yaml" "$words"
    printf -- '---\n'
    cat deploy/kustomize/namespace/namespace.yaml
    manifests network-agent network-agent "deploy/values/$destination.yaml"
  } | sed 's/^# $/#/' | put "deploy/kubernetes/$destination.yaml"
done

{
  head_of deploy/values/honeycomb.yaml
  manifests network-agent network-agent deploy/values/honeycomb.yaml
} | sed '/^# $/d' | put deploy/kustomize/base/agent.yaml

python3 scripts/chart-values.py "$chart" | put "$chart/README.md"

if [ -e "$work/stale" ]; then
  sed 's/.*/render: & is not what the chart gives: run scripts\/render.sh/' "$work/stale" >&2
  exit 1
fi
[ -z "$check" ] || echo "render: the committed files are those that the chart gives"
