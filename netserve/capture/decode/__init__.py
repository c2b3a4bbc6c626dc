"""The conversations in a capture, by protocol. No I/O."""
