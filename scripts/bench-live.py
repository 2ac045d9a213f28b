#!/usr/bin/env python3
"""Loads a server in a network of its own with and without the agent; prints what the agent saw and what it cost.

Usage: bench-live.py BINARY [--json FILE] [--seconds N]. Needs Linux, root, ip, nginx and wrk.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

PORT = 8080
# Name, options of wrk, path, and what goes on beside it.
LOADS = [
    ("keep-alive, 50 connections", ["--connections", "50"], "/small", None),
    ("a new connection for each request", ["--connections", "50", "--header", "Connection: close"], "/small", None),
    ("bodies of 64 KiB", ["--connections", "50"], "/large", None),
    ("2,000 connections", ["--connections", "2000"], "/small", None),
    ("10,000 idle connections beside it", ["--connections", "50"], "/small", "idle"),
    ("as many packets that are no HTTP", ["--connections", "50"], "/small", "noise"),
]
# Opens connections with one exchange each and holds them; they end with the program.
IDLE = """
import resource, socket, time
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
held = []
for _ in range(10000):
    held.append(socket.create_connection(("127.0.0.1", %d)))
    held[-1].sendall(b"GET /small HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    held[-1].recv(4096)
print("held", flush=True)
time.sleep(600)
"""
# Sends small messages of a protocol of its own over one connection; each is a packet.
NOISE = """
import socket, threading
server = socket.create_server(("127.0.0.1", 9999))
def drain():
    connection = server.accept()[0]
    while connection.recv(1 << 20):
        pass
threading.Thread(target=drain, daemon=True).start()
client = socket.create_connection(("127.0.0.1", 9999))
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print("sends", flush=True)
while True:
    client.sendall(b"\\x00\\x01binary" * 12)
"""
NGINX = """daemon off; worker_processes 1; pid {folder}/nginx.pid; worker_rlimit_nofile 40000;
events {{ worker_connections 20000; }}
http {{
    access_log off; keepalive_requests 10000000; keepalive_timeout 600; default_type text/plain;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen {port} backlog=4096; root {folder}; location = /small {{ return 200 "hello world\\n"; }} }}
}}
"""


class Network:
    """A network namespace that ends with its scope."""

    def __init__(self):
        self.name = f"bench-{os.getpid()}"

    def __enter__(self):
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)
        return self

    def __exit__(self, *_):
        subprocess.run(["ip", "netns", "del", self.name], check=False)

    def start(self, *command, **options):
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command], **options)

    def load(self, options, path, seconds):
        """Requests answered, and how many a second."""
        command = ["wrk", "--threads", "1", "--duration", f"{seconds}s", *options, f"http://127.0.0.1:{PORT}{path}"]
        wrk = self.start(*command, stdout=subprocess.PIPE, text=True)
        text, _ = wrk.communicate(timeout=seconds + 60)
        count = int(re.search(r"(\d+) requests in", text).group(1))
        return count, float(re.search(r"Requests/sec:\s+([0-9.]+)", text).group(1))


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid):
    status = open(f"/proc/{pid}/status", encoding="ascii").read()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1))


class Beside:
    """What goes on beside a load, until the scope ends."""

    def __init__(self, network, name):
        self.network, self.name, self.program = network, name, None

    def __enter__(self):
        if self.name:
            text = {"idle": IDLE % PORT, "noise": NOISE}[self.name]
            self.program = self.network.start(sys.executable, "-c", text, stdout=subprocess.PIPE, text=True)
            self.program.stdout.readline()

    def __exit__(self, *_):
        if self.program:
            self.program.kill()
            self.program.wait(timeout=30)


def measure(network, binary, folder, load, seconds):
    name, options, path, beside = load
    with Beside(network, beside):
        _, alone = network.load(options, path, seconds)
    statistics = os.path.join(folder, "statistics")
    with open(statistics, "w", encoding="utf-8") as errors:
        agent = network.start("env", "-i", binary, "--export", "none", "--stats", "json", "--admin-address", "off",
                              stderr=errors, stdout=subprocess.DEVNULL)
        time.sleep(1)
        with Beside(network, beside):
            requests, watched = network.load(options, path, seconds)
        time.sleep(1)
        cpu, memory = cpu_seconds(agent.pid), peak_memory(agent.pid)
        agent.terminate()
        agent.wait(timeout=30)
    lines = open(statistics, encoding="utf-8").read().splitlines()
    counts = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
    exchanges = counts["exchange.emitted"]
    answered = exchanges - counts["exchange.unanswered"]
    return {
        "load": name,
        "requests_per_second_alone": alone,
        "requests_per_second_watched": watched,
        "requests": requests,
        "answered_exchanges": answered,
        # wrk leaves the last request of each connection out.
        "recall_percent": 100.0 * min(answered, requests) / requests,
        "kernel_drops": counts["capture.dropped_by_kernel"],
        "packets": counts["packet.packets"],
        "spans": counts["export.spans_exported"],
        "cpu_us_per_exchange": 1e6 * cpu / max(exchanges, 1),
        "cpu_us_per_packet": 1e6 * cpu / max(counts["packet.packets"], 1),
        "peak_memory_kib": memory,
    }


def main():
    arguments = sys.argv[1:]
    if not arguments or arguments[0].startswith("-"):
        sys.exit(__doc__.strip())
    option = lambda name, default: arguments[arguments.index(name) + 1] if name in arguments else default
    missing = [tool for tool in ["ip", "nginx", "wrk"] if not shutil.which(tool)]
    if os.geteuid() != 0 or missing:
        print(f"skipped: needs root{' and ' + ', '.join(missing) if missing else ''}")
        return
    results = []
    with tempfile.TemporaryDirectory() as folder, Network() as network:
        os.chmod(folder, 0o755)
        with open(f"{folder}/large", "wb") as large:
            large.write(b"x" * 65536)
        configuration = f"{folder}/nginx.conf"
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(NGINX.format(folder=folder, port=PORT))
        server = network.start("nginx", "-p", folder, "-c", configuration, "-e", "stderr", stderr=subprocess.DEVNULL)
        time.sleep(1)
        try:
            for load in LOADS:
                found = measure(network, arguments[0], folder, load, int(option("--seconds", "5")))
                results.append(found)
                print(
                    f"{found['load']:<36} {found['requests_per_second_watched']:>9.0f}/s"
                    f" ({found['requests_per_second_alone']:.0f} alone)  recall {found['recall_percent']:.3f} %"
                    f"  drops {found['kernel_drops']}  {found['cpu_us_per_exchange']:.2f} µs CPU an exchange"
                    f", {found['cpu_us_per_packet']:.2f} a packet  {found['peak_memory_kib'] / 1024:.1f} MiB",
                    flush=True,
                )
        finally:
            server.terminate()
            server.wait(timeout=30)
    if target := option("--json", None):
        with open(target, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


main()
