#!/usr/bin/env bash
# Builds helm from its Go modules once, at the version of tests/helm, and prints the path of its binary.
# Usage: helm.sh; exits with 77 where there is no Go. NETWORK_AGENT_HELM names a helm that is to be taken instead.
set -euo pipefail
cd "$(dirname "$0")/../tests/helm"

say() { printf 'helm: %s\n' "$*" >&2; }

if [ -n "${NETWORK_AGENT_HELM:-}" ]; then
  printf '%s\n' "$NETWORK_AGENT_HELM"
  exit
fi

# Not every user's path has Go's own folder.
PATH=$PATH:/usr/local/go/bin
if ! command -v go >/dev/null; then
  say "Go is not here, and helm is built from its Go modules: install Go 1.25 or later from https://go.dev/dl"
  exit 77
fi

version=$(go env GOVERSION GOOS GOARCH | tr '\n' ' ')
key=$({ echo "$version"; cat go.mod go.sum; } | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c 1-16)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/network-agent
binary=$folder/helm-$key
if [ ! -x "$binary" ]; then
  mkdir -p "$folder"
  # Of two that build at once, one waits and finds the other's binary.
  if command -v flock >/dev/null; then exec 9>"$binary.lock"; flock 9; fi
  if [ ! -x "$binary" ]; then
    say "building helm with ${version% }; this takes some minutes, once"
    began=$SECONDS
    CGO_ENABLED=0 nice -n 10 go build -trimpath -ldflags='-s -w' -o "$binary.new" helm.sh/helm/v3/cmd/helm >&2
    mv "$binary.new" "$binary"
    say "built in $((SECONDS - began)) s: $binary"
  fi
fi
printf '%s\n' "$binary"
