#!/usr/bin/env python3
"""Runs the agent beside connections that open, stall, reset and never close; prints its memory every ten seconds.

Usage: soak.py BINARY [--minutes N]. Needs Linux, root, ip, nginx and wrk. Ends with an error when memory grows.
"""

import os
import random
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

PORT = 8080
ADMIN = "127.0.0.1:9464"
HELD = 4000
STEP = 10
# Memory has settled by then; what it has afterwards may not grow by more than a tenth.
SETTLED = 180
NGINX = """daemon off; worker_processes 1; pid {folder}/nginx.pid; worker_rlimit_nofile 40000;
events {{ worker_connections 20000; }}
http {{
    access_log off; keepalive_requests 100000; keepalive_timeout 3600; default_type text/plain;
    client_header_timeout 3600; client_body_timeout 3600; send_timeout 3600;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen {port} backlog=4096; root {folder}; location = /small {{ return 200 "hello world\\n"; }} }}
}}
"""
HOST = b"Host: soak\r\n"


def stall_in_head(connection):
    connection.sendall(b"GET /small HTTP/1.1\r\n" + HOST + b"X-Never: " + b"a" * random.randrange(2000))


def stall_in_upload(connection):
    connection.sendall(b"POST /small HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n" + b"b" * 500)


def stall_in_answer(connection):
    """Asks for much and reads nothing: the answer stays under way."""
    connection.sendall(b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n")


def idle(connection):
    connection.sendall(b"GET /small HTTP/1.1\r\n" + HOST + b"\r\n")
    connection.recv(4096)


def silent(_connection):
    """Says nothing at all."""


HABITS = [stall_in_head, stall_in_upload, stall_in_answer, idle, silent]


def end(connection):
    """Half of them reset, a quarter close, a quarter are forgotten by their client while the server knows them."""
    way = random.randrange(4)
    if way < 2:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif way == 2:
        connection.shutdown(socket.SHUT_WR)
    connection.close()


def churn(seconds):
    """The clients: new connections all the time, each with its habit; the oldest end when too many are held."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
    held, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            connection = socket.create_connection(("127.0.0.1", PORT), timeout=5)
            random.choice(HABITS)(connection)
            held.append(connection)
        except OSError:
            time.sleep(0.05)
        while len(held) > HELD:
            end(held.pop(random.randrange(len(held) // 2)))
        time.sleep(0.004)


def resident(pid):
    status = open(f"/proc/{pid}/status", encoding="ascii").read()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


def counters(namespace):
    text = subprocess.run(["ip", "netns", "exec", namespace, sys.executable, __file__, "--scrape"],
                          capture_output=True, text=True, check=False).stdout
    totals = {}
    for line in text.splitlines():
        if found := re.match(r"network_agent_(\w+?)(?:\{.*\})? (\d+)$", line):
            totals[found[1]] = totals.get(found[1], 0) + int(found[2])
    return totals


def main():
    if "--scrape" in sys.argv:
        print(urllib.request.urlopen(f"http://{ADMIN}/metrics", timeout=5).read().decode())
        return 0
    if "--churn" in sys.argv:
        churn(float(sys.argv[sys.argv.index("--churn") + 1]))
        return 0
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__.strip())
    missing = [tool for tool in ["ip", "nginx", "wrk"] if not shutil.which(tool)]
    if os.geteuid() != 0 or missing:
        print(f"skipped: needs root{' and ' + ', '.join(missing) if missing else ''}")
        return 0
    minutes = float(sys.argv[sys.argv.index("--minutes") + 1]) if "--minutes" in sys.argv else 20
    namespace = f"soak-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    started = []
    try:
        subprocess.run(["ip", "-n", namespace, "link", "set", "lo", "up"], check=True)
        with tempfile.TemporaryDirectory() as folder:
            return soak(namespace, sys.argv[1], folder, 60 * minutes, started)
    finally:
        # nginx takes its worker along when it is asked to end, and not when it is killed.
        for program in started:
            program.terminate()
        for program in started:
            program.wait(timeout=30)
        subprocess.run(["ip", "netns", "del", namespace], check=False)


def soak(namespace, binary, folder, seconds, started):
    def start(*command, **options):
        program = subprocess.Popen(["ip", "netns", "exec", namespace, *command], **options)
        started.append(program)
        return program

    os.chmod(folder, 0o755)
    with open(f"{folder}/large", "wb") as large:
        large.write(b"x" * (8 << 20))
    with open(f"{folder}/nginx.conf", "w", encoding="utf-8") as file:
        file.write(NGINX.format(folder=folder, port=PORT))
    start("nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-e", "stderr", stderr=subprocess.DEVNULL)
    agent = start("env", "-i", binary, "--export", "none", "--idle-timeout", "60s", stderr=subprocess.DEVNULL)
    time.sleep(1)
    # The load and the clients end by themselves.
    start("wrk", "--threads", "1", "--connections", "20", "--duration", f"{int(seconds)}s",
          f"http://127.0.0.1:{PORT}/small", stdout=subprocess.DEVNULL)
    start(sys.executable, __file__, "--churn", str(seconds))
    began, settled, worst = time.monotonic(), None, 0
    print("  time      memory   connections   of them   their memory      exchanges     dropped")
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(STEP)
        memory, now = resident(agent.pid), counters(namespace)
        print(f"{passed + STEP:>5.0f} s {memory:>8} KiB {now.get('tcp_connections_total', 0):>12} {now.get('tcp_active', 0):>9}"
              f" {now.get('tcp_memory', 0) // 1024:>10} KiB {now.get('exchange_emitted_total', 0):>14}"
              f" {now.get('capture_dropped_by_kernel_total', 0):>11}", flush=True)
        if passed >= SETTLED:
            settled = settled or memory
            worst = max(worst, memory)
    if settled and worst > settled * 1.1 + 1024:
        print(f"memory grew from {settled} to {worst} KiB")
        return 1
    print("memory is flat" if settled else f"too short to tell: memory settles in {SETTLED} s")
    return 0


sys.exit(main())
