#!/bin/bash
# The images of the pods, made from static Go programs: $BIN/images/*.tar      BIN=dir ./images.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd); out=${BIN:?}/images; mkdir -p "$out/bin"; cd "$here/images"
for i in pause web; do CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$out/bin/$i" "./$i"; done
(cd "$here/coredns" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$out/bin/coredns" .)
im() { python3 "$here/image.py" "$@"; }
im "$out/bin/pause" localhost/pause:1 "$out/pause.tar"
im "$out/bin/coredns" localhost/coredns:1 "$out/coredns.tar" --user 65532
im "$out/bin/web" localhost/web:1 "$out/web.tar" --user 65532 --cmd serve
