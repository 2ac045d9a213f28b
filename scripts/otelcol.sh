#!/usr/bin/env bash
# Builds the OpenTelemetry Collector of tests/otelcol once and prints the path of its binary.
# Usage: otelcol.sh; exits with 77 where there is no Go.
set -euo pipefail
cd "$(dirname "$0")/../tests/otelcol"

say() { printf 'otelcol: %s\n' "$*" >&2; }

# Not every user's path has Go's own folder.
PATH=$PATH:/usr/local/go/bin
if ! command -v go >/dev/null; then
  say "Go is not here, and the Collector is built from its Go modules: install Go 1.25 or later from https://go.dev/dl"
  exit 77
fi

version=$(go env GOVERSION GOOS GOARCH | tr '\n' ' ')
key=$({ echo "$version"; cat go.mod go.sum ./*.go; } | cksum -a sha256 --untagged 2>/dev/null | cut -c 1-16) ||
  key=$({ echo "$version"; cat go.mod go.sum ./*.go; } | shasum -a 256 | cut -c 1-16)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/network-agent
binary=$folder/otelcol-$key
if [ ! -x "$binary" ]; then
  mkdir -p "$folder"
  # Of two that build at once, one waits and finds the other's binary.
  if command -v flock >/dev/null; then exec 9>"$binary.lock"; flock 9; fi
  if [ ! -x "$binary" ]; then
    say "building the Collector with ${version% }; this takes some minutes, once"
    began=$SECONDS
    # Without C it is static, and runs in any container.
    CGO_ENABLED=0 nice -n 10 go build -trimpath -ldflags='-s -w' -o "$binary.new" . >&2
    mv "$binary.new" "$binary"
    say "built in $((SECONDS - began)) s: $binary"
  fi
fi
printf '%s\n' "$binary"
