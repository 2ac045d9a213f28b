#!/usr/bin/env bash
# Cargo runs it in rustc's place for the crates of this package alone (RUSTC_WORKSPACE_WRAPPER): to what Cargo asks for it adds
# NETWORK_AGENT_PROFILE, which is `generate` or `use=FILE`. Flags for all crates would have every dependency built twice; and
# Cargo puts this path, which is the same both times, into the names of functions, by which a profile knows them.
set -euo pipefail
rustc=$1
shift
folder='' name='' suffix='' kind='' previous=''
for argument; do
  case "$previous" in --out-dir) folder=$argument ;; --crate-name) name=$argument ;; --crate-type) kind=$argument ;; esac
  case "$argument" in extra-filename=*) suffix=${argument#*=} ;; esac
  previous=$argument
done
# A question about rustc, not a crate.
[ -n "$folder" ] || exec "$rustc" "$@"

flags=("-Cprofile-$NETWORK_AGENT_PROFILE")
# The program itself is an entry point; nearly all of its time to build goes into its dependencies, whose last step is with it.
# What counts does without their optimization, in half the time. What the entry point has counted fits no more, which is known.
if [ "$kind $name" = "bin network_agent" ]; then
  case "$NETWORK_AGENT_PROFILE" in
    generate) flags+=(-Copt-level=0 -Cdebug-assertions=off -Coverflow-checks=off) ;;
    *) flags+=(-Cllvm-args=-no-pgo-warn-mismatch) ;;
  esac
fi
"$rustc" "$@" "${flags[@]}"
# Cargo builds anew what was built with another value of a variable that is named here.
depends=$folder/$name$suffix.d
[ ! -e "$depends" ] || printf '\n# env-dep:NETWORK_AGENT_PROFILE=%s\n' "$NETWORK_AGENT_PROFILE" >>"$depends"
