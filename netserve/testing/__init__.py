"""Helpers for the tests of protocol authors, and for our own."""

from netserve.testing.machines import chunkings, cut, feed_all, feed_three_ways, join_bytes

__all__ = ["chunkings", "cut", "feed_all", "feed_three_ways", "join_bytes"]
