#!/usr/bin/env bash
# Builds the OpenTelemetry Collector of tests/otelcol once and prints the path of its binary.
# Usage: otelcol.sh; exits with 77 where there is no Go.
set -euo pipefail
cd "$(dirname "$0")/../tests/otelcol"
. ../../scripts/once.sh

# Without C it is static, and runs in any container.
build() { CGO_ENABLED=0 nice -n 10 go build -trimpath -ldflags='-s -w' -o "$1" .; }

need_go otelcol
{ go env GOVERSION GOOS GOARCH | tr '\n' ' '; echo; cat go.mod go.sum ./*.go; } | once otelcol "some minutes"
