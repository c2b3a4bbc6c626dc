"""The client side of packets, for the daemon and the commands: on Twisted, without Scapy.

`PacketHelper` starts the helper on demand, restarts it, and passes requests to it; `launching`
knows the ways to a helper with the capability.
"""

from netserve.packet.client.helper import PacketHelper
from netserve.packet.client.launching import Launcher, choose_launcher

__all__ = ["Launcher", "PacketHelper", "choose_launcher"]
