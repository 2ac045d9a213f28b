#!/usr/bin/env python3
"""Takes every connection to PORT, and neither reads nor answers.

Usage: stuck.py PORT"""
import socket
import sys

connections = []
with socket.create_server(("0.0.0.0", int(sys.argv[1]))) as server:
    while True:
        connections.append(server.accept())
