#!/usr/bin/env bash
# Builds the image and runs it as a cluster would: user 65532, one capability, a root that cannot be written, no way to more
# rights. It must capture there and export what it saw. Needs root, on Linux, with buildah and runc.
# Usage: image-check.sh [COLLECTOR]      COLLECTOR: an OpenTelemetry Collector to export to; else spans go to standard output
set -euo pipefail
cd "$(dirname "$0")/.."

collector=${1:-}
image=localhost/network-agent:check
base=$(sed -n 's/^FROM .*\(docker.io[^ ]*\) AS build$/\1/p' Dockerfile)
name=network-agent-check-$$
work=$(mktemp -d)
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay}

say() { printf 'image: %s\n' "$*"; }
fail() { say "FAILED: $*"; exit 1; }
buildah() { command buildah --log-level error "$@"; }

running=()
clean_up() {
  runc delete --force "$name" >/dev/null 2>&1 || true
  for pid in "${running[@]}"; do kill "$pid" 2>/dev/null || true; done
  [ -z "${container:-}" ] || buildah rm "$container" >/dev/null 2>&1 || true
  ip netns delete "$name" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT

# Where no registry can be reached: a Debian with this machine's toolchain, under the name that the Dockerfile asks for.
make_base() {
  buildah inspect --type image "$base" >/dev/null 2>&1 && return
  if timeout 60 buildah pull -q "$base" >/dev/null 2>&1; then return; fi
  say "no registry has $base: making one with debootstrap and this machine's Rust"
  local root=$work/base stand_in
  debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev,make,pkg-config bookworm "$root" >"$work/debootstrap.log" 2>&1 ||
    fail "debootstrap: $(tail -3 "$work/debootstrap.log")"
  # Rust's release of LLVM is among the security updates.
  sed -n 's|^\(deb [^ ]*\)/debian/* bookworm main$|\1/debian-security bookworm-security main|p' "$root/etc/apt/sources.list" >"$root/etc/apt/sources.list.d/security.list"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  mkdir -p "$root/usr/local/rustup/toolchains" "$root/usr/local/cargo/bin"
  local toolchain=${RUSTUP_TOOLCHAIN:-$(rustup show active-toolchain | cut -d' ' -f1)}
  cp -a "${RUSTUP_HOME:-$HOME/.rustup}/toolchains/$toolchain" "$root/usr/local/rustup/toolchains/"
  rm -rf "$root/usr/local/rustup/toolchains/$toolchain/share"
  cp "${RUSTUP_HOME:-$HOME/.rustup}/settings.toml" "$root/usr/local/rustup/"
  cp -a "${CARGO_HOME:-$HOME/.cargo}/bin/." "$root/usr/local/cargo/bin/"
  stand_in=$(buildah from scratch)
  buildah copy -q "$stand_in" "$root" / >/dev/null
  buildah config --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --env RUSTUP_HOME=/usr/local/rustup --env CARGO_HOME=/usr/local/cargo --env "RUSTUP_TOOLCHAIN=$toolchain" "$stand_in"
  buildah commit -q --rm "$stand_in" "$base" >/dev/null
  rm -rf "$root"
}

build() {
  local registry=${CARGO_HOME:-$HOME/.cargo}/registry began=$SECONDS
  mkdir -p "$registry"
  buildah build -q --isolation chroot --layers --pull-never --volume "$registry:/usr/local/cargo/registry" --tag "$image" . >"$work/build.log" 2>&1 ||
    { tail -30 "$work/build.log"; fail "the build"; }
  say "built in $((SECONDS - began)) s"
}

show_size() {
  local bytes layers
  bytes=$(buildah inspect --type image --format '{{.Docker.Size}}' "$image" 2>/dev/null || true)
  container=$(buildah from --pull-never "$image")
  root=$(buildah mount "$container")
  [[ ${bytes:-} =~ ^[0-9]+$ && $bytes -gt 0 ]] || bytes=$(du -sb "$root" | cut -f1)
  layers=$(buildah inspect --type image "$image" | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["OCIv1"]["rootfs"]["diff_ids"]))')
  say "$(awk "BEGIN { printf \"%.1f\", $bytes / 1e6 }") MB in $layers layer(s); files:"
  (cd "$root" && find . -type f -printf '         %s %p\n')
  [ "$bytes" -le 25000000 ] || fail "more than 25 MB"
  case "$(getcap "$root/usr/local/bin/network-agent")" in
    *cap_net_raw=p) ;;
    *) fail "the binary has lost its file capability" ;;
  esac
}

# A web server, and somebody who asks it, in a network of their own.
prepare_network() {
  ip netns add "$name"
  ip -n "$name" link set lo up
  (cd "$work" && mkdir -p www && echo hello >www/hello.txt && exec ip netns exec "$name" python3 -m http.server --bind 127.0.0.1 --directory www 8080 >/dev/null 2>&1) &
  running+=($!)
  if [ -n "$collector" ]; then
    cat >"$work/collector.yaml" <<Y
receivers: {otlp: {protocols: {grpc: {endpoint: 127.0.0.1:4317}}}}
exporters: {file: {path: $work/spans.json, flush_interval: 100ms}}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [otlp], exporters: [file]}}
Y
    ip netns exec "$name" "$collector" --config "$work/collector.yaml" >"$work/collector.log" 2>&1 &
    running+=($!)
  fi
}

# What a kubelet with containerd asks of runc for the security context of the manifests.
write_bundle() {
  local to=(--export json)
  [ -z "$collector" ] || to=()
  mkdir -p "$work/bundle"
  python3 - "$root" "$name" "$work/bundle/config.json" "${to[@]}" <<'PYTHON'
import json, sys
root, network, out, *more = sys.argv[1:]
caps = ["CAP_NET_RAW"]
env = ["PATH=/"] + ([] if more else ["OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317"])
mount = lambda to, kind, *options: {"destination": to, "type": kind, "source": kind, "options": list(options)}
json.dump({
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False, "user": {"uid": 65532, "gid": 65532}, "cwd": "/", "env": env, "noNewPrivileges": True,
        "args": ["/usr/local/bin/network-agent", "--interface", "lo", *more],
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
    },
    "root": {"path": root, "readonly": True},
    "mounts": [mount("/proc", "proc"), mount("/dev", "tmpfs", "nosuid", "mode=755", "size=64k"),
               mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro")],
    "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
                             {"type": "network", "path": f"/run/netns/{network}"}]},
}, open(out, "w"))
PYTHON
}

wait_for() {
  for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  return 1
}

# From its start to the moment from which nothing passes by unseen, in milliseconds: the best of three, since others may be at
# work on this machine.
time_to_capture() {
  ip netns exec "$name" python3 - "$root/usr/local/bin/network-agent" <<'PYTHON'
import subprocess, sys, time
took = []
for _ in range(3):
    began = time.monotonic()
    agent = subprocess.Popen([sys.argv[1], "--interface", "lo", "--export", "json"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if any(b"Capturing" in line for line in agent.stderr):
        took.append(round((time.monotonic() - began) * 1000))
    agent.terminate()
    agent.wait()
print(min(took, default=""))
PYTHON
}

run() {
  local took pid status
  took=$(time_to_capture)
  say "captures ${took:-not} ms after its start"
  [ "${took:-1000}" -le 100 ] || fail "it takes more than 100 ms to start"
  runc run --bundle "$work/bundle" "$name" >"$work/out" 2>"$work/err" </dev/null &
  running+=($!)
  inside() { ip netns exec "$name" "$@"; }
  wait_for inside curl -sf http://127.0.0.1:9464/readyz || { cat "$work/err"; fail "it does not become ready"; }
  pid=$(runc state "$name" | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
  status=$(grep -E '^(Uid|Cap(Prm|Eff|Bnd)|NoNewPrivs)' "/proc/$pid/status" | tr '\t\n' '  ')
  say "runs: $status"
  grep -q '^Uid:.65532' "/proc/$pid/status" || fail "it does not run as 65532"
  grep -q '^CapEff:.0000000000000000' "/proc/$pid/status" || fail "it has kept a right that it does not need any more"
  for _ in 1 2 3; do inside curl -sf http://127.0.0.1:8080/hello.txt >/dev/null; done
  sleep 3
  runc kill "$name" TERM
  wait_for sh -c "! runc state $name" || true
  sleep 1
  local spans to="standard output"
  [ -z "$collector" ] || to="a Collector"
  spans=$(cat "$work/out" "$work/spans.json" 2>/dev/null | grep -o '"/hello.txt"' | wc -l)
  [ "$spans" -eq 3 ] || { cat "$work/err"; fail "$spans spans of 3 requests"; }
  say "captured 3 requests and exported their spans to $to"
}

make_base
build
show_size
prepare_network
write_bundle
run
say "all is well"
