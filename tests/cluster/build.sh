#!/bin/sh
# usage: build.sh   builds kube (all components, etcd and kubectl in one program) into $BIN
# The ldflags give /version, kubelet and kubectl a real version.
set -eu
cd "$(dirname "$0")"; mkdir -p "${BIN:?}"
v="-X k8s.io/component-base/version.gitVersion=v1.34.1 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34 -X k8s.io/component-base/version.gitCommit=0000000 -X k8s.io/component-base/version.buildDate=1970-01-01T00:00:00Z"
go build -trimpath -ldflags "-s -w $v" -o "$BIN/kube" .
for i in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do ln -sf kube "$BIN/$i"; done
