"""A request, a reply: by rules in the file or a Python function; over TCP, UDP and UNIX sockets."""

from netserve.plugin import ProtocolPlugin
from netserve.protocols.request_response.responder import Request
from netserve.protocols.request_response.service import build
from netserve.protocols.request_response.settings import RequestResponseSettings

__all__ = ["Request", "plugin"]

plugin = ProtocolPlugin(name="request-response", settings=RequestResponseSettings, build=build)
