"""Conversations in a capture, by protocol: who said what, and what is missing of it. No I/O."""
