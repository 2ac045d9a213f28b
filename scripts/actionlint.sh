#!/usr/bin/env bash
# Builds actionlint, which knows what a workflow of GitHub may say, from its Go modules once, and prints the path of its binary.
# Usage: actionlint.sh; exits with 77 where there is no Go.
set -euo pipefail
cd "$(dirname "$0")/../tests/actionlint"
. ../../scripts/once.sh

build() { CGO_ENABLED=0 nice -n 10 go build -trimpath -ldflags='-s -w' -o "$1" github.com/rhysd/actionlint/cmd/actionlint; }

need_go actionlint
{ go env GOVERSION GOOS GOARCH | tr '\n' ' '; echo; cat go.mod go.sum; } | once actionlint "a minute"
