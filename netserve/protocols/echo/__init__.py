"""The small services of old: echo, discard, daytime, time and chargen, over TCP and UDP."""

from netserve.plugin import ProtocolPlugin
from netserve.protocols.echo.service import build
from netserve.protocols.echo.settings import EchoSettings

__all__ = ["plugin"]

plugin = ProtocolPlugin(name="echo", settings=EchoSettings, build=build)
