#!/usr/bin/env bash
# Runs the tests that export to a real Collector, where there is Go to build it with.
# Usage: e2e.sh CARGO [ARGUMENT]...; the arguments go to the tests
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=$1
shift

collector=$(scripts/otelcol.sh) || {
  code=$?
  [ "$code" = 77 ] || exit "$code"
  echo "e2e: skipped, there is no Go to build the Collector with" >&2
  exit 0
}
# One after the other: some measure what a machine does at its full rate.
NETWORK_AGENT_OTELCOL=$collector "$cargo" test --locked --test collector -- --test-threads 1 --nocapture "$@"
