#!/usr/bin/env python3
"""Makes REQUESTS GET requests over CONNECTIONS keep-alive connections: /n/1, /n/2, … each once, each answered by 200.

Usage: client.py HOST PORT CONNECTIONS REQUESTS"""
import http.client
import sys
import threading

HOST, PORT, CONNECTIONS, REQUESTS = sys.argv[1], *map(int, sys.argv[2:5])
failures = []


def visit(first):
    connection = http.client.HTTPConnection(HOST, PORT, timeout=30)
    connection.connect()
    # A connection that is opened again without saying so would hide that keep-alive does not work.
    connection.auto_open = 0
    try:
        for number in range(first, REQUESTS + 1, CONNECTIONS):
            connection.request("GET", f"/n/{number}")
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise ValueError(f"/n/{number} was answered by {response.status}")
    except Exception as error:
        failures.append(repr(error))
    finally:
        connection.close()


threads = [threading.Thread(target=visit, args=(first,)) for first in range(1, CONNECTIONS + 1)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit("; ".join(failures) or None)
