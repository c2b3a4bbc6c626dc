"""Captures of what services and their peers say, written as pcapng files, and read again.

`pcapng` writes the file format, `frames` builds packets around a connection's bytes, `recording`
brings the bytes from a tap to a file, `reading` reads files of any tool, `dissect` takes packets
apart, and `decode` finds the conversations in them. Bytes in, bytes or records out: of all modules
only `recording.ring` and `reading.opening` touch files, and none uses the network or a thread.
"""
