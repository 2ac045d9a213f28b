#!/usr/bin/env python3
"""Makes GET requests on each of CONNECTIONS keep-alive connections, one after the other, for a minute at most: /PREFIX/1,
/PREFIX/2, … each once. Ends after REQUESTS of them, if that is not 0. Writes the path of each that was answered by 200, and
the time in nanoseconds when the answer was whole. In HEADER lines NUMBER and SHORT become the request's number, in 32 and 16
digits. A connection that breaks stays broken.

Usage: load.py HOST PORT PREFIX CONNECTIONS REQUESTS [HEADER]..."""
import http.client
import os
import sys
import threading
import time

HOST, PORT, PREFIX = sys.argv[1], int(sys.argv[2]), sys.argv[3]
CONNECTIONS, REQUESTS = int(sys.argv[4]), int(sys.argv[5])
HEADERS = [line.split(": ") for line in sys.argv[6:]]
END = time.monotonic() + 60


def visit(number):
    connection = http.client.HTTPConnection(HOST, PORT, timeout=30)
    connection.connect()
    connection.auto_open = 0
    while time.monotonic() < END and (REQUESTS == 0 or number <= REQUESTS):
        path = f"/{PREFIX}/{number}"
        fill = lambda value: value.replace("NUMBER", f"{number:032}").replace("SHORT", f"{number:016}")
        connection.request("GET", path, headers={name: fill(value) for name, value in HEADERS})
        response = connection.getresponse()
        response.read()
        at = time.time_ns()
        if response.status != 200:
            raise ValueError(f"{path} was answered by {response.status}")
        # One call a line, so that lines stay whole whatever happens.
        os.write(1, f"{path} {at}\n".encode())
        number += CONNECTIONS
        # Bounds the load: the agent under test may be built without optimisation.
        time.sleep(0.001)
    connection.close()


threads = [threading.Thread(target=visit, args=(first,)) for first in range(1, CONNECTIONS + 1)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
