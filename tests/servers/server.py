"""An HTTP server with odd habits that writes down what it really did, one JSON object a line.

Usage: server.py PORT LOG [IPv6]. Paths: /len/N, /chunked/N, /close/N, /sleep/MS/N, /events/N, /socket, /reset, /empty, /same,
/early, /upload; and CONNECT HOST:PORT.
"""

import json
import socket
import struct
import sys
import threading
import time

LOG = open(sys.argv[2], "w", buffering=1)
LOCK = threading.Lock()


class Client:
    def __init__(self, connection):
        self.connection = connection
        self.held = b""

    def until(self, mark):
        while mark not in self.held:
            more = self.connection.recv(65536)
            if not more:
                raise EOFError
            self.held += more
        at = self.held.index(mark) + len(mark)
        text, self.held = self.held[:at], self.held[at:]
        return text

    def exactly(self, count):
        left = count
        while left:
            if not self.held:
                self.held = self.connection.recv(65536)
                if not self.held:
                    raise EOFError
            taken = min(left, len(self.held))
            self.held = self.held[taken:]
            left -= taken
        return count

    def body(self, headers):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            total = 0
            while True:
                size = int(self.until(b"\r\n").split(b";")[0], 16)
                if size == 0:
                    while self.until(b"\r\n") != b"\r\n":
                        pass
                    return total
                total += self.exactly(size)
                self.exactly(2)
        return self.exactly(int(headers.get("content-length", "0")))


def note(**what):
    with LOCK:
        LOG.write(json.dumps(what) + "\n")


def serve(connection):
    client = Client(connection)
    try:
        while exchange(client):
            pass
    except (EOFError, ConnectionError, TimeoutError):
        pass
    finally:
        connection.close()


def exchange(client):
    """One request and its response; whether another may follow."""
    if not client.held:
        client.held = client.connection.recv(65536)
        if not client.held:
            return False
    start = time.time()
    head = client.until(b"\r\n\r\n").decode("latin-1")
    line, *lines = head.split("\r\n")
    method, path, version = line.split(" ")
    headers = {}
    for text in filter(None, lines):
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    said = Answer(client, method, path, version, headers, start)
    return said.give()


class Answer:
    def __init__(self, client, method, path, version, headers, start):
        self.client, self.method, self.version, self.headers, self.start = client, method, version, headers, start
        self.path = "/" + path.partition("://")[2].partition("/")[2] if "://" in path else path
        self.wire = 0
        self.received = None

    def give(self):
        if self.method == "CONNECT":
            return self.tunnel()
        parts = self.path.strip("/").split("/")
        if parts[0] != "early":
            if self.headers.get("expect"):
                self.client.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.received = self.client.body(self.headers)
        count = int(parts[-1]) if parts[-1].isdigit() else 0
        return getattr(self, "do_" + parts[0], self.do_len)(count, parts)

    def send(self, data):
        self.client.connection.sendall(data)
        self.wire += len(data)

    def head(self, status, lines=""):
        self.status = status
        self.send(f"HTTP/1.1 {status} X\r\nx-echo: {self.headers.get('x-request-id', '')}\r\n{lines}\r\n".encode())

    def done(self, body):
        note(id=self.headers.get("x-request-id", ""), method=self.method, path=self.path, status=self.status, body=body,
             wire=self.wire, request_body=self.received, start=self.start, end=time.time())
        if self.version == "HTTP/1.0":
            return self.headers.get("connection", "").lower() == "keep-alive"
        return self.headers.get("connection", "").lower() != "close"

    def do_len(self, count, _):
        keeps = "Connection: keep-alive\r\n" if self.version == "HTTP/1.0" else ""
        self.head(200, f"Content-Length: {count}\r\n{keeps}")
        if self.method == "HEAD":
            return self.done(0)
        for begin in range(0, count, 1 << 16):
            self.send(b"x" * min(1 << 16, count - begin))
        return self.done(count)

    def do_chunked(self, count, _):
        self.head(200, "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n")
        for number in range(count):
            piece = b"p" * (number % 50 + 1)
            self.send(b"%x;n=%d\r\n%s\r\n" % (len(piece), number, piece))
            if number % 10 == 9:
                time.sleep(0.005)
        self.send(b"0\r\nX-Sum: 1\r\n\r\n")
        return self.done(sum(number % 50 + 1 for number in range(count)))

    def do_close(self, count, _):
        self.head(200, "Connection: close\r\n")
        self.send(b"c" * count)
        self.done(count)
        return False

    def do_sleep(self, count, parts):
        time.sleep(int(parts[1]) / 1000)
        return self.do_len(count, parts)

    def do_events(self, count, _):
        self.head(200, "Content-Type: text/event-stream\r\nConnection: close\r\n")
        for number in range(count):
            self.send(b"data: %03d\n\n" % number)
            time.sleep(0.02)
        self.done(count * 11)
        return False

    def do_socket(self, _, __):
        self.head(101, "Upgrade: websocket\r\nConnection: Upgrade\r\n")
        self.done(0)
        for _ in range(3):
            self.client.connection.sendall(b"\x81\x05hello")
            time.sleep(0.01)
        self.client.connection.recv(100)
        return False

    def do_reset(self, _, __):
        self.client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def do_empty(self, _, __):
        self.head(204)
        return self.done(0)

    def do_same(self, _, __):
        self.head(304, "Content-Length: 500\r\nETag: \"a\"\r\n")
        return self.done(0)

    def do_early(self, _, __):
        """Refuses an upload before it has come, and goes on to read it, as good servers do."""
        self.head(413, "Content-Length: 4\r\nConnection: close\r\n")
        self.send(b"much")
        self.client.connection.shutdown(socket.SHUT_WR)
        try:
            self.received = self.client.body(self.headers)
        except (EOFError, ConnectionError):
            self.received = None
        self.done(4)
        return False

    def do_upload(self, _, parts):
        return self.do_len(2, parts)

    def tunnel(self):
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as other:
            self.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            self.status, self.received = 200, 0
            self.done(0)
            back = threading.Thread(target=pump, args=(other, self.client.connection), daemon=True)
            back.start()
            if self.client.held:
                other.sendall(self.client.held)
            pump(self.client.connection, other)
            back.join()
        return False


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def main():
    listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


main()
