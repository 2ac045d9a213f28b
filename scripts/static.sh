#!/usr/bin/env bash
# Builds the agent as one static binary, with a libpcap that has nothing but packet capture in it: Debian's own needs D-Bus
# and a dozen libraries behind it. Prints where the binary is.
# Usage: static.sh [amd64|arm64] [plain|check]     plain: without a profile, which is quicker to build (see profiled.sh)
#                                                  check: only compiles it, for a machine that cannot link for the other
set -euo pipefail
cd "$(dirname "$0")/.."

case "$(uname -m)" in x86_64) native=amd64 ;; aarch64) native=arm64 ;; *) native=unknown ;; esac
architecture=${1:-$native}
case "$architecture" in
  amd64) triple=x86_64-linux-gnu target=x86_64-unknown-linux-gnu ;;
  arm64) triple=aarch64-linux-gnu target=aarch64-unknown-linux-gnu ;;
  *) echo "usage: static.sh [amd64|arm64] [plain|check]" >&2; exit 2 ;;
esac
output=${CARGO_TARGET_DIR:-$PWD/target}
libpcap=$output/libpcap-$architecture

say() { printf 'static: %s\n' "$*" >&2; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Debian's sources, where apt is not told of them: beside each line or paragraph of packages.
with_sources() {
  apt-get indextargets --format '$(CREATED_BY)' | grep -q '^Sources$' && return
  say "telling apt where sources are"
  local file
  for file in /etc/apt/sources.list.d/debian.sources; do
    [ -e "$file" ] && as_root sed -i 's/^Types: deb$/Types: deb deb-src/' "$file"
  done
  for file in /etc/apt/sources.list; do
    [ -e "$file" ] && as_root sed -i 's/^deb \(.*\)$/deb \1\ndeb-src \1/' "$file"
  done
  as_root apt-get update -qq
}

# Everything that is not the capture of packets from a network interface is left out.
build_libpcap() {
  [ -e "$libpcap/libpcap.a" ] && return
  say "building libpcap for $architecture"
  local host= compiler=gcc work
  if [ "$architecture" != "$native" ]; then
    host=--host=$triple compiler=$triple-gcc
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "gcc-${triple//_/-}" "libc6-dev-$architecture-cross" >/dev/null
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends flex bison make gcc dpkg-dev >/dev/null
  with_sources
  work=$(mktemp -d)
  # apt fetches as a user of its own where it may.
  chmod 755 "$work"
  (
    cd "$work"
    apt-get source -qq libpcap >/dev/null
    cd libpcap-*/
    CC=$compiler ./configure $host --with-pcap=linux --disable-shared --disable-dbus --disable-rdma --disable-bluetooth --disable-usb \
      --disable-netmap --without-libnl --without-dag --without-snf --without-septel --without-turbocap >/dev/null
    make -s libpcap.a >/dev/null
    mkdir -p "$libpcap"
    cp libpcap.a "$libpcap"
    cat VERSION >"$libpcap/version"
  ) 1>&2
  rm -rf "$work"
}

# Rust's own library for the other architecture.
add_target() {
  [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] && return
  if ! command -v rustup >/dev/null; then say "Rust's library for $target is missing, and there is no rustup to add it: install it as rustc was"; exit 1; fi
  say "adding Rust's library for $target"
  rustup -q target add "$target" >&2
}

add_target
build_libpcap
if [ "$architecture" != "$native" ]; then
  upper=$(tr a-z- A-Z_ <<<"$target")
  export "CARGO_TARGET_${upper}_LINKER=$triple-gcc" "CC_${target//-/_}=$triple-gcc"
fi
export LIBPCAP_LIBDIR=$libpcap LIBPCAP_VER=1.10.3
export RUSTFLAGS="-C target-feature=+crt-static ${RUSTFLAGS:-}"
case "${2:-}" in
  check) cargo check --locked --release --target "$target" >&2; exit ;;
  plain) cargo build --locked --release --target "$target" >&2 ;;
  *) scripts/profiled.sh build --locked --release --target "$target" >&2 ;;
esac
echo "$output/$target/release/network-agent"
