#!/usr/bin/env python3
"""A small shop over HTTP/1.1 on 127.0.0.1, for the demo. Prints its port."""
import http.server
import json
import time


class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "shop"

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/products":
            self.answer(200, json.dumps([{"id": n, "name": f"product {n}"} for n in range(40)]).encode())
        elif path == "/report":
            time.sleep(0.15)
            self.answer(200, b"done\n")
        elif path == "/stream":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b"one\n", b"two\n", b"three\n"):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                time.sleep(0.02)
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.answer(404, b"no such thing\n")

    do_HEAD = do_GET

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/cart":
            self.answer(201, b'{"items":1}', Location="/cart/1")
        else:
            self.answer(500, b"the payment service is away\n")

    def do_DELETE(self):
        self.answer(204)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    print(server.server_address[1], flush=True)
    server.serve_forever()
