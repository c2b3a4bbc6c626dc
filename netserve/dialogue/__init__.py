"""Saved dialogues with a service: written from a capture, played again, and compared. No I/O.

A dialogue is a YAML document that people read and write: the bytes that the client sends, and the
answers that it expects. Dates, ids and tokens are masked in expectations and answers.
"""
