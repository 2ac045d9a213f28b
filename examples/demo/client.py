#!/usr/bin/env python3
"""A visit to the demo's shop over two keep-alive connections. Usage: client.py PORT. Prints how many requests it made."""
import http.client
import sys

VISIT = [
    ("GET", "/products", None, {}),
    ("HEAD", "/products", None, {}),
    ("GET", "/products/42", None, {}),
    ("POST", "/cart", b'{"product":7}', {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}),
    ("GET", "/stream", None, {}),
    ("DELETE", "/cart/1", None, {}),
    ("GET", "/report?month=11&sig=secret", None, {}),
    ("POST", "/checkout", b'{"card":"1234"}', {}),
]


def main():
    connections = [http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10) for _ in range(2)]
    for number, (method, path, body, headers) in enumerate(VISIT):
        connection = connections[number % 2]
        connection.request(method, path, body, {"User-Agent": "demo/1.0", **headers})
        connection.getresponse().read()
    for connection in connections:
        connection.close()
    print(len(VISIT))


main()
