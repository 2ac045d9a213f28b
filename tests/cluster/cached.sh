#!/usr/bin/env bash
# Where the programs of a real Kubernetes are: made once, from the sources here, and kept outside of the tree.
#   cached.sh          prints the folder; exit 1 when they are not there yet
#   cached.sh build    makes them first (with a cold cache some ten minutes on two cores, 6 GB of Go caches), then prints it
set -euo pipefail
cd "$(dirname "$0")"
. ../../scripts/once.sh

sources() {
  go env GOVERSION 2>/dev/null || echo
  find . -name '*.go' -o -name 'go.mod' -o -name 'go.sum' -o -name 'build.sh' -o -name 'images.sh' -o -name 'image.py' |
    LC_ALL=C sort | while read -r file; do echo "$file"; cat "$file"; done
}

build() {
  BIN=$1 nice -n 10 ./build.sh
  BIN=$1 nice -n 10 ./images.sh
}

how_long=
if [ "${1:-}" = build ]; then need_go kubernetes; how_long="ten minutes or more"; fi
sources | once kubernetes "$how_long"
