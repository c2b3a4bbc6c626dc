"""Answers each line backwards."""

from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver

from netserve.plugin import Context, ProtocolPlugin, Settings


class ReverseSettings(Settings):
    """Answers each line backwards."""

    words: bool = False
    """Turn the order of the words around, not that of the letters."""


class Reverse(LineReceiver):
    """One connection."""

    def __init__(self, settings: ReverseSettings, context: Context) -> None:
        self._settings = settings
        self._context = context

    def lineReceived(self, line: bytes) -> None:
        self._context.metrics.requests += 1
        if self._settings.words:
            self.sendLine(b" ".join(reversed(line.split(b" "))))
        else:
            self.sendLine(line[::-1])


class ReverseFactory(Factory):
    """Makes a `Reverse` for each connection."""

    def __init__(self, settings: ReverseSettings, context: Context) -> None:
        self._settings = settings
        self._context = context

    def buildProtocol(self, addr: object) -> Reverse:
        return Reverse(self._settings, self._context)


reverse = ProtocolPlugin(name="reverse", settings=ReverseSettings, build=ReverseFactory)
