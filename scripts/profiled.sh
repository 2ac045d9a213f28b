#!/usr/bin/env bash
# Builds with a profile: builds the program so that it counts which ways it takes, runs it on the loads of the benchmark, and
# builds it again for what was counted, which saves a fifth of the processor time. Where that cannot be, it builds without a
# profile and says so.
# Usage: profiled.sh build|bench [ARGUMENTS OF CARGO]     in the folder of the package
#        profiled.sh tools [TARGET|amd64|arm64]           only installs what it needs
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
output=${CARGO_TARGET_DIR:-$PWD/target}
profiles=$output/profiles

say() { printf 'profiled: %s\n' "$*" >&2; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# bounded SECONDS COMMAND: without a network some wait for ever.
bounded() { if command -v timeout >/dev/null; then timeout --kill-after=5 "$@"; else shift; "$@"; fi; }

install_by_apt() {
  command -v apt-get >/dev/null || return 1
  {
    as_root timeout 120 apt-get update -qq || true
    as_root timeout 600 env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1"
  } >/dev/null 2>&1
}

# Another release of LLVM may write profiles that rustc cannot read.
find_profdata() {
  local candidate
  for candidate in "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" \
    "llvm-profdata-$llvm" "/usr/lib/llvm-$llvm/bin/llvm-profdata" llvm-profdata; do
    "$candidate" --version 2>/dev/null | grep "LLVM version $llvm\." >/dev/null || continue
    printf '%s\n' "$candidate"
    return
  done
  return 1
}

# Prints where the tool is that makes a profile of what was counted.
get_profdata() {
  find_profdata && return
  say "installing llvm-profdata of LLVM $llvm"
  if command -v rustup >/dev/null && bounded 60 rustup -q component add llvm-tools >/dev/null 2>&1; then find_profdata && return; fi
  install_by_apt "llvm-$llvm" && find_profdata
}

find_emulator() { command -v "qemu-$machine" || command -v "qemu-$machine-static"; }

# Prints what runs a program for `machine` here: nothing, where it runs by itself. An emulator is slow and has little to do.
# What a program for this machine has counted would not do: its functions have other names.
get_emulator() {
  [ "$machine" = "${host%%-*}" ] && return
  find_emulator && return
  say "installing an emulator of $machine"
  install_by_apt qemu-user && find_emulator
}

# All that decides what is counted: with the same, an earlier profile serves.
key() {
  {
    rustc -vV
    printf '%s\n' "$command" "$target" "${RUSTFLAGS:-}"
    find Cargo.toml Cargo.lock src proto benches "$here"/scripts/profiled*.sh "$here"/benches/cost "$here"/examples/*.pcap* -type f |
      LC_ALL=C sort | tr '\n' '\0' | xargs -0 cat
  } | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c 1-16
}

# with_profile generate|use=FILE CARGO…: for the crates of this package alone.
with_profile() {
  local mode=$1
  shift
  NETWORK_AGENT_PROFILE=$mode RUSTC_WORKSPACE_WRAPPER=$here/scripts/profiled-rustc.sh "$@"
}

# count FORM CAPTURE: runs the program that counts; no setting of this shell plays a part.
count() {
  local run=("$work/network-agent" --read "$2" --export "$1")
  [ -z "$emulator" ] || run=("$emulator" "${run[@]}")
  env -i LLVM_PROFILE_FILE="$work/%p.profraw" "${run[@]}" >/dev/null 2>"$work/log" || { cat "$work/log" >&2; return 1; }
}

# Every load with its spans encoded, as most are; a small one and the samples also in the other forms, so that nothing that they
# need is taken for impossible.
count_loads() {
  local capture form
  for capture in "$work"/*.pcap; do count none "$capture" || return; done
  for form in none json pretty; do
    for capture in "$work/1.pcap" "$here"/examples/*.pcap*; do count "$form" "$capture" || return; done
  done
}

# learn ARGUMENTS OF CARGO
learn() {
  local began=$SECONDS
  say "building the program that counts"
  rustc -O --edition 2024 -o "$work/captures" "$here/benches/cost/captures.rs"
  "$work/captures" "$work"
  if [ "$command" = bench ]; then
    # What is generic is made anew for the benchmark, under names of its own.
    LLVM_PROFILE_FILE="$work/%p.profraw" with_profile generate cargo bench --locked --bench cost -- --once >/dev/null
  else
    with_profile generate cargo "$@"
  fi
  # Away from where somebody would take it for the program.
  mv "$program" "$work/network-agent"
  say "built in $((SECONDS - began)) s; counting"
  began=$SECONDS
  if ! count_loads; then
    [ -n "$emulator" ] || exit 1
    without "$emulator cannot run it" "$@"
  fi
  "$profdata" merge -o "$work/profile" "$work"/*.profraw
  mv "$work/profile" "$profile"
  say "counted in $((SECONDS - began)) s; building the program: $profile"
}

# without WHY ARGUMENTS OF CARGO
without() {
  say "WITHOUT A PROFILE, which makes the program a fourth slower: $1"
  shift
  cargo "$@"
  exit
}

host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
command=${1:-}
target='' previous=''
for argument; do
  [ "$previous" != --target ] || target=$argument
  previous=$argument
done
[ "$command" != tools ] || target=${2:-}
machine=${target:-$host}
case "$machine" in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; *) machine=${machine%%-*} ;; esac
case "$command" in
  build | bench) ;;
  tools)
    get_profdata >/dev/null || say "there is no llvm-profdata of LLVM $llvm"
    get_emulator >/dev/null || say "there is no emulator of $machine"
    exit
    ;;
  *) echo "usage: profiled.sh build|bench [ARGUMENTS OF CARGO] | tools [TARGET]" >&2; exit 2 ;;
esac

program=$output/${target:+$target/}release/network-agent
profdata=$(get_profdata) || without "there is no llvm-profdata of LLVM $llvm; rustup component add llvm-tools installs it" "$@"
emulator=$(get_emulator) || without "nothing here runs a program for $machine; qemu-user does" "$@"

mkdir -p "$profiles"
# Of two that build at once, one waits and finds what the other has learned.
if command -v flock >/dev/null; then exec 9>"$profiles/lock"; flock 9; fi
profile=$profiles/$(key).profdata
if [ ! -e "$profile" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  learn "$@"
fi
with_profile "use=$profile" cargo "$@"
if grep __llvm_profile_runtime "$program" >/dev/null; then say "FAILED: what was built still counts: $program"; exit 1; fi
