"""What the transports of this package tell a protocol that wants it, beside Twisted's events."""

from __future__ import annotations

from zope.interface import Interface


class IPeerWatcher(Interface):
    """A protocol that is told when its connection waits for its peer."""

    def waitsForPeer(waiting: bool) -> None:  # noqa: N805 - an interface's methods have no self
        """Begin or cease to wait.

        Args:
            waiting: True when more is unsent than the transport's limit, when `loseConnection` has
                unsent data to wait for, and when TLS has sent its close_notify and waits for the
                peer's; False when everything is sent.
        """
