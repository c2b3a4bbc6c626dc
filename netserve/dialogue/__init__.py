"""Saved dialogues with a service: written from a capture, played again, and compared. No I/O.

A dialogue is a YAML document that people read and write: what the client sends, and what it
expects. Dates, ids and tokens are masked in both what is expected and what is answered.
"""
