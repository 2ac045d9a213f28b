#!/usr/bin/env bash
# Starts a small HTTP server and a few requests on loopback, captures them live and prints their spans.
# Without the right to capture it reads a sample capture instead. Usage: demo.sh BINARY
set -euo pipefail

binary=$1
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT

# Settings of the caller's environment would change what is shown.
agent=(env -u AGENT_EXPORT -u AGENT_INTERFACES -u AGENT_READ -u AGENT_FILTER -u AGENT_LOG_FORMAT LOG_LEVEL=info "$binary")

# await SECONDS COMMAND…: until the command succeeds.
await() {
  local tries=$(($1 * 20)); shift
  until "$@"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 0.05
  done
}

replay() {
  echo "This user may not capture, so here is a capture file instead: examples/shop.pcap"
  echo
  "${agent[@]}" --read "$here/examples/shop.pcap" --export pretty
  echo
  echo "To see live traffic: sudo make demo, or sudo setcap cap_net_raw=ep $binary"
}

python3 "$here/examples/demo/server.py" >"$work/port" &
pids+=($!)
await 10 test -s "$work/port" || { echo "The demo's server did not start." >&2; exit 1; }
port=$(cat "$work/port")

[ -t 1 ] && export CLICOLOR_FORCE=1
"${agent[@]}" --interface lo --filter "tcp port $port" --export pretty >"$work/spans" 2>"$work/log" &
agent_pid=$!
pids+=("$agent_pid")
ready() { grep -q 'Capturing' "$work/log" || ! kill -0 "$agent_pid" 2>/dev/null; }
await 10 ready || { cat "$work/log" >&2; exit 1; }
if ! kill -0 "$agent_pid" 2>/dev/null; then
  code=0; wait "$agent_pid" || code=$?
  [ "$code" = 69 ] && { replay; exit 0; }
  cat "$work/log" >&2
  exit 1
fi

echo "A shop on 127.0.0.1:$port, a visitor, and what the agent saw on lo:"
echo
requests=$(python3 "$here/examples/demo/client.py" "$port")
all_there() { [ "$(grep -c ' → ' "$work/spans")" -ge "$requests" ]; }
await 10 all_there || true
kill -INT "$agent_pid"
wait "$agent_pid" || { cat "$work/log" >&2; exit 1; }
cat "$work/spans"
echo
spans=$(grep -c ' → ' "$work/spans" || true)
if [ "$spans" -ne "$requests" ]; then
  echo "The visitor made $requests requests, but $spans spans came out." >&2
  cat "$work/log" >&2
  exit 1
fi
echo "$requests requests, $spans spans. Next:"
echo "  sudo $binary --export pretty                     what this machine is doing now"
echo "  $binary --read examples/shop.pcap --export json  spans as OTLP/JSON, from a capture file"
echo "  sudo HONEYCOMB_API_KEY=… $binary                 spans to Honeycomb"
