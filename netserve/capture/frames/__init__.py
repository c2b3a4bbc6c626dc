"""Packets built around a connection's bytes, as a network would have carried them. No I/O.

They are synthetic, since the bytes were taken inside the process, and after TLS: each header is
right (addresses, ports, sequence and acknowledgement numbers, checksums, handshake and close), and
none of them was on a wire. A file says so, see `netserve.capture.recording.scribe`.
"""
