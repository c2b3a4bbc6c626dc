"""``http-bridge``: each request, in any framing or over HTTP, becomes one HTTP request."""

from netserve.plugin import ProtocolPlugin
from netserve.protocols.http_bridge.service import build
from netserve.protocols.http_bridge.settings import HttpBridgeSettings

plugin = ProtocolPlugin(name="http-bridge", settings=HttpBridgeSettings, build=build)

__all__ = ["plugin"]
