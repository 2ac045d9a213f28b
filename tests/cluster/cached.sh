#!/usr/bin/env bash
# Where the programs of a real Kubernetes are: made once, from the sources here, and kept outside of the tree.
#   cached.sh          prints the folder; exit 1 when they are not there yet
#   cached.sh build    makes them first (with a cold cache some ten minutes on two cores, 6 GB of Go caches), then prints it
set -euo pipefail
cd "$(dirname "$0")"
# Not every user's path has Go's own folder.
PATH=$PATH:/usr/local/go/bin
sources=$(find . -name '*.go' -o -name 'go.mod' -o -name 'go.sum' -o -name 'build.sh' -o -name 'images.sh' -o -name 'image.py' | LC_ALL=C sort)
version=$(go env GOVERSION 2>/dev/null || true)
key=$({ echo "$version"; for file in $sources; do echo "$file"; cat "$file"; done; } | sha256sum | cut -c1-16)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/network-agent/kubernetes-$key
if [ ! -e "$folder/complete" ] && [ "${1:-}" = build ]; then
  [ -n "$version" ] || { echo "Go is missing: install it from https://go.dev/dl, then try again" >&2; exit 1; }
  mkdir -p "$folder"
  # Of two that build at once, one waits and finds the other's programs.
  exec 9>"$folder.lock"; flock 9
  if [ ! -e "$folder/complete" ]; then
    echo "building Kubernetes with $version; this takes ten minutes or more, once" >&2
    BIN=$folder nice -n 10 ./build.sh >&2
    BIN=$folder nice -n 10 ./images.sh >&2
    touch "$folder/complete"
  fi
fi
[ -e "$folder/complete" ] || exit 1
echo "$folder"
