"""The side of the packets that runs in the daemon and in the command: on Twisted, without Scapy.

`PacketHelper` starts the helper when it is first asked for something, restarts it, and hands
requests over; `launching` knows the ways to a helper that has the capability.
"""

from netserve.packet.client.helper import PacketHelper
from netserve.packet.client.launching import Launcher, choose_launcher

__all__ = ["Launcher", "PacketHelper", "choose_launcher"]
