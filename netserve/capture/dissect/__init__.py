"""Packets taken apart: link layer, IP and its fragments, UDP, and TCP put back into streams."""
