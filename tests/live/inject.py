#!/usr/bin/env python3
"""Sends the packets of a capture (pcap, from standard input) out of an interface as they come, whatever their times.

Usage: inject.py INTERFACE"""
import socket
import struct
import sys

sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind((sys.argv[1], 0))
stream = sys.stdin.buffer
stream.read(24)
while header := stream.read(16):
    sender.send(stream.read(struct.unpack("<IIII", header)[2]))
