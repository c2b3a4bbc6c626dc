"""Answers in capitals."""

from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver

from netserve.plugin import Context, ProtocolPlugin, Settings


class ShoutSettings(Settings):
    """Answers each line in capitals."""

    suffix: str = "!"
    """What is put behind each answer."""


def build(settings: ShoutSettings, context: Context) -> Factory:
    class Shout(LineReceiver):
        def lineReceived(self, line: bytes) -> None:
            self.sendLine(line.upper() + settings.suffix.encode())

    return Factory.forProtocol(Shout)


shout = ProtocolPlugin(name="shout", settings=ShoutSettings, build=build)
