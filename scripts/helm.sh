#!/usr/bin/env bash
# Builds helm from its Go modules once, at the version of tests/helm, and prints the path of its binary.
# Usage: helm.sh; exits with 77 where there is no Go. NETWORK_AGENT_HELM names a helm that is to be taken instead.
set -euo pipefail
cd "$(dirname "$0")/../tests/helm"
. ../../scripts/once.sh

if [ -n "${NETWORK_AGENT_HELM:-}" ]; then
  printf '%s\n' "$NETWORK_AGENT_HELM"
  exit
fi

build() { CGO_ENABLED=0 nice -n 10 go build -trimpath -ldflags='-s -w' -o "$1" helm.sh/helm/v3/cmd/helm; }

need_go helm
{ go env GOVERSION GOOS GOARCH | tr '\n' ' '; echo; cat go.mod go.sum; } | once helm "some minutes"
