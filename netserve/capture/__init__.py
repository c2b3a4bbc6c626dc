"""Captures: what a service and its peers said, as pcapng files, and what such files say.

`pcapng` writes the file format, `frames` makes the packets around a connection's bytes, `recording`
takes the bytes from a tap to a file, `reading` reads files of any tool, `dissect` takes packets
apart, and `decode` tells the conversations in them. Bytes in, bytes or records out: of all modules
only `recording.ring` and `reading.opening` touch files, and none uses the network or a thread.
"""
