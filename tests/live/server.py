#!/usr/bin/env python3
"""Answers as the nginx of the live tests does, where there is none: 404 to /missing, 200 and a line to everything else.

Usage: server.py PORT"""
import http.server
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One segment a response; headers and body apart would wait for a delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body = (404, b"not here\n") if self.path == "/missing" else (200, b"hello world\n")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_expect_100(self):
        try:
            return super().handle_expect_100()
        finally:
            self.wfile.flush()

    do_HEAD = do_POST = do_GET

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
