"""``factory``: hosts a Twisted or asyncio protocol that knows nothing of netserve."""

from netserve.plugin import ProtocolPlugin
from netserve.protocols.factory.service import build
from netserve.protocols.factory.settings import FactorySettings

plugin = ProtocolPlugin(name="factory", settings=FactorySettings, build=build)

__all__ = ["plugin"]
