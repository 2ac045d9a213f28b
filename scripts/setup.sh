#!/usr/bin/env bash
# Installs what a target of the Makefile needs and the machine lacks, by the system's package manager.
# Usage: setup.sh build|demo|test|servers|image
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else say "cannot install $* without root; run it as root, or install sudo"; exit 1
  fi
}

# install WHAT APT DNF APK PACMAN BREW: one package name for each manager.
install() {
  local what=$1 apt=$2 dnf=$3 apk=$4 pacman=$5 brew=$6
  say "installing $what"
  if command -v apt-get >/dev/null; then
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$apt" >/dev/null
  elif command -v dnf >/dev/null; then as_root dnf install -y -q "$dnf"
  elif command -v apk >/dev/null; then as_root apk add -q "$apk"
  elif command -v pacman >/dev/null; then as_root pacman -S --noconfirm -q "$pacman"
  elif command -v brew >/dev/null; then brew install -q "$brew"
  else say "no package manager that is known here: install $what by hand"; exit 1
  fi
}

has_libpcap() {
  if command -v pkg-config >/dev/null && pkg-config --exists libpcap; then return 0; fi
  for folder in /usr/include /usr/local/include /opt/homebrew/include; do
    [ -f "$folder/pcap/pcap.h" ] && return 0
  done
  return 1
}

need() {
  local command=$1; shift
  command -v "$command" >/dev/null || install "$@"
}

# As `need`, for what the tests can do without: its daemons live in sbin, which not every user's path has.
want() {
  (PATH=$PATH:/usr/sbin:/sbin; need "$@") || say "$1 could not be installed: what needs it is left out"
}

if ! command -v cargo >/dev/null; then
  say "cargo is missing: install Rust 1.89 or later from https://rustup.rs, then try again"
  exit 1
fi
need cc "a C compiler and linker" gcc gcc build-base gcc gcc
has_libpcap || install "libpcap's headers" libpcap-dev libpcap-devel libpcap-dev libpcap libpcap

case "${1:-build}" in
  build) ;;
  demo) need python3 "python3, for the demo's server" python3 python3 python3 python python3 ;;
  test)
    need python3 "python3, for the tests' server" python3 python3 python3 python python3
    need curl "curl, for the tests' requests" curl curl curl curl curl
    if [ "$(uname)" = Linux ]; then
      need ip "iproute2, for the tests' network namespaces" iproute2 iproute iproute2 iproute2 iproute2
      want nginx "nginx, for the tests under load" nginx nginx nginx nginx nginx
      want iptables "iptables, for the tests' address translation" iptables iptables iptables iptables iptables
      want setcap "setcap, for the tests' file capability" libcap2-bin libcap libcap-utils libcap libcap
    fi
    ;;
  servers)
    "$0" test
    if [ "$(uname)" = Linux ]; then
      want apache2 "Apache" apache2 httpd apache2 apache httpd
      want ab "ab, Apache's load generator" apache2-utils httpd-tools apache2-utils apache httpd
      want haproxy "HAProxy" haproxy haproxy haproxy haproxy haproxy
      want node "Node" nodejs nodejs nodejs nodejs node
      want wrk "wrk, a load generator" wrk wrk wrk wrk wrk
    fi
    ;;
  image)
    "$0" test
    for tool in buildah debootstrap runc; do need "$tool" "$tool, for the image" "$tool" "$tool" "$tool" "$tool" "$tool"; done
    ;;
  cluster)
    "$0" test
    need containerd "containerd, for the nodes of the cluster" containerd containerd containerd containerd containerd
    need runc "runc, for their containers" runc runc runc runc runc
    need conntrack "conntrack, for their services" conntrack conntrack-tools conntrack-tools conntrack-tools conntrack-tools
    need nft "nftables, likewise" nftables nftables nftables nftables nftables
    [ -d /usr/lib/cni ] || install "CNI plugins, for the network of their pods" containernetworking-plugins containernetworking-plugins cni-plugins cni-plugins cni-plugins
    ;;
  *) say "usage: setup.sh build|demo|test|servers|image|cluster"; exit 2 ;;
esac
