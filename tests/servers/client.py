"""Clients with odd habits. Usage: client.py HOST PORT SCENARIO…; every request has an `x-request-id` of its own.

Ends well only when every answer was as expected.
"""

import socket
import subprocess
import sys
import time

HOST, PORT = sys.argv[1], int(sys.argv[2])
BASE = f"http://{'[' + HOST + ']' if ':' in HOST else HOST}:{PORT}"
COUNT = 0


def identify(name):
    global COUNT
    COUNT += 1
    return f"{name}-{COUNT}"


def connect():
    connection = socket.create_connection((HOST, PORT), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head(method, path, name, lines="", version="1.1"):
    return (f"{method} {path} HTTP/{version}\r\nHost: {HOST}\r\nx-request-id: {identify(name)}\r\n{lines}\r\n").encode()


class Reader:
    def __init__(self, connection):
        self.file = connection.makefile("rb")

    def answer(self, method="GET"):
        """Status and body of the next final response."""
        while True:
            line = self.file.readline()
            status = int(line.split(b" ")[1])
            headers = {}
            while (text := self.file.readline()) not in (b"\r\n", b""):
                name, _, value = text.partition(b":")
                headers[name.lower()] = value.strip()
            if 100 <= status < 200 and status != 101:
                continue
            if method == "HEAD" or status in (101, 204, 304):
                return status, b""
            if headers.get(b"transfer-encoding") == b"chunked":
                body = b""
                while size := int(self.file.readline().split(b";")[0], 16):
                    body += self.file.read(size)
                    self.file.readline()
                while self.file.readline() not in (b"\r\n", b""):
                    pass
                return status, body
            if b"content-length" in headers:
                return status, self.file.read(int(headers[b"content-length"]))
            return status, self.file.read()


def curl(name, path, *options):
    command = ["curl", "--silent", "--show-error", "--max-time", "30", "--noproxy", "*", "--output", "/dev/null",
               "--header", f"x-request-id: {identify(name)}", *options, BASE + path]
    return subprocess.run(command, check=False).returncode


def expect(found, wanted):
    if found != wanted:
        sys.exit(f"{found!r} instead of {wanted!r}")


def keepalive():
    connection = connect()
    reader = Reader(connection)
    for count in [0, 1, 999, 1448, 100_000, 3]:
        connection.sendall(head("GET", f"/len/{count}", "keepalive"))
        expect((lambda answer: (answer[0], len(answer[1])))(reader.answer()), (200, count))
    connection.close()


def old():
    for _ in range(3):
        connection = connect()
        connection.sendall(head("GET", "/len/10", "old", version="1.0"))
        expect(Reader(connection).answer()[0], 200)
        connection.close()


def oldkept():
    connection = connect()
    reader = Reader(connection)
    for _ in range(3):
        connection.sendall(head("GET", "/len/10", "oldkept", "Connection: keep-alive\r\n", version="1.0"))
        expect(reader.answer()[0], 200)
    connection.close()


def pipelined():
    connection = connect()
    connection.sendall(b"".join(head("GET", f"/len/{count}", "pipelined") for count in [5, 0, 3000, 7, 1]))
    reader = Reader(connection)
    for count in [5, 0, 3000, 7, 1]:
        expect(len(reader.answer()[1]), count)
    connection.close()


def dribbled():
    connection = connect()
    for byte in head("GET", "/len/20", "dribbled"):
        connection.sendall(bytes([byte]))
        time.sleep(0.0005)
    expect(Reader(connection).answer()[0], 200)
    connection.close()


def heads():
    connection = connect()
    lines = "".join(f"X-Filler-{number}: {'f' * 180}\r\n" for number in range(38))
    connection.sendall(head("GET", "/len/20", "heads", lines))
    expect(Reader(connection).answer()[0], 200)
    connection.close()


def asked():
    expect(curl("asked", "/len/0", "--head"), 0)
    expect(curl("asked", "/len/300", "--head"), 0)


def absolute():
    expect(curl("absolute", "/len/12", "--request-target", BASE + "/len/12"), 0)


def upload():
    expect(curl("upload", "/upload/2", "--data-binary", "x" * 3000), 0)
    expect(curl("upload", "/upload/2", "--data-binary", "x" * 90_000, "--header", "Expect: 100-continue"), 0)
    connection = connect()
    connection.sendall(head("POST", "/upload/2", "upload", "Transfer-Encoding: chunked\r\n"))
    for count in range(1, 40):
        connection.sendall(b"%x\r\n%s\r\n" % (count, b"u" * count))
    connection.sendall(b"0\r\n\r\n")
    expect(Reader(connection).answer()[0], 200)
    connection.close()


def early():
    connection = connect()
    connection.sendall(head("POST", "/early", "early", "Content-Length: 200000\r\n"))
    try:
        connection.sendall(b"x" * 200_000)
    except OSError:
        pass
    expect(Reader(connection).answer()[0], 413)
    connection.close()


def refused():
    """A server that closes while the upload goes on may reset the connection: curl may fail, too."""
    curl("refused", "/small/up", "--data-binary", "x" * 50_000, "--header", "Expect: 100-continue")


def chunked():
    expect(curl("chunked", "/chunked/100"), 0)


def empty():
    expect(curl("empty", "/empty"), 0)
    expect(curl("empty", "/same"), 0)


def untilclose():
    expect(curl("untilclose", "/close/5000"), 0)


def longpoll():
    expect(curl("longpoll", "/sleep/1000/50"), 0)


def events():
    expect(curl("events", "/events/10"), 0)


def websocket():
    connection = connect()
    lines = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    connection.sendall(head("GET", "/socket", "websocket", lines))
    expect(Reader(connection).answer()[0], 101)
    connection.sendall(b"\x88\x80\x00\x00\x00\x00")
    time.sleep(0.1)
    connection.close()


def tunnel():
    connection = connect()
    connection.sendall(f"CONNECT {HOST}:{PORT} HTTP/1.1\r\nHost: {HOST}\r\nx-request-id: {identify('tunnel')}\r\n\r\n".encode())
    expect(connection.recv(100).split(b" ")[1], b"200")
    connection.sendall(head("GET", "/len/33", "tunnelled"))
    expect(Reader(connection).answer()[0], 200)
    connection.close()


def reset():
    connection = connect()
    connection.sendall(head("GET", "/reset", "unanswered"))
    try:
        expect(connection.recv(100), b"")
    except ConnectionResetError:
        pass
    connection.close()


def abort():
    connection = connect()
    connection.sendall(head("GET", "/slow/20", "abort"))
    time.sleep(0.2)
    connection.close()


def large():
    expect(curl("large", "/len/20000000"), 0)


def file():
    expect(curl("file", "/file"), 0)
    expect(curl("file", "/file", "--range", "100-199"), 0)
    expect(curl("file", "/file", "--header", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"), 0)
    expect(curl("file", "/file", "--compressed"), 0)
    expect(curl("file", "/missing"), 0)


def parallel():
    command = ["curl", "--silent", "--show-error", "--max-time", "30", "--noproxy", "*", "--parallel"]
    for _ in range(20):
        command += ["--output", "/dev/null", "--header", f"x-request-id: {identify('parallel')}", BASE + "/len/700", "--next"]
    expect(subprocess.run(command[:-1], check=False).returncode, 0)


def wrk():
    command = ["wrk", "--threads", "1", "--connections", "2", "--duration", "1s", "--header", "x-request-id: wrk",
               BASE + "/len/100"]
    expect(subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode, 0)


def ab():
    for options in [["-k"], []]:
        command = ["ab", "-q", "-n", "500", "-c", "5", "-H", "x-request-id: ab", *options, BASE + "/len/100"]
        expect(subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode, 0)


for scenario in sys.argv[3:]:
    globals()[scenario]()
