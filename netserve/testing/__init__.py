"""Helpers for the tests of protocol authors, and for our own."""
