"""The ways to a helper.

=====================  =======================================================================
way                    where the capability comes from
=====================  =======================================================================
a system service       systemd starts a helper for each connection to its socket, with CAP_NET_RAW
                       and a policy that root owns; the safest way
a child process        this process is root, or has CAP_NET_RAW (an ambient capability)
the same, by a copy    a copy of the interpreter that has CAP_NET_RAW as file capability
without                nowhere: packets can be built and layers described, nothing sent
=====================  =======================================================================

`choose_launcher` tries them in this order. `netserve packet setup` explains them to the user.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import site
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

import netserve
from netserve.packet.client.link import Link, LinkFactory
from netserve.packet.confinement import system
from netserve.packet.errors import PacketError

HELPER: Final = "netserve.packet.helper"
COPY_NAME: Final = "netserve-packet-python"
UNIT_SOCKET: Final = Path("/run/netserve/packet.socket")
NO_SCAPY: Final = "Scapy is not installed; install it by pip install 'netserve[packet]'"
_STREAM: Final = 3
_LONGEST_LINE: Final = 2000


class Running(Protocol):
    """A helper that was started."""

    def kill(self) -> None:
        """End it at once."""


class Launcher(Protocol):
    """A way to a helper."""

    def launch(self, reactor: Any, link: Link, log: Logger) -> Running:
        """Start one.

        Arguments:
            reactor: the reactor.
            link: opened to it.
            log: gets the lines of its standard error.

        Raises:
            PacketError: it cannot be started.
        """


@dataclass(frozen=True, slots=True)
class Spawn:
    """A child process.

    Arguments:
        interpreter: the Python that runs it.
        user: the user that it switches to when root starts it.
        needs_scapy: whether Scapy has to be installed for it.
        hand_down: whether it inherits CAP_NET_RAW from this process.
    """

    interpreter: Path
    user: str = "nobody"
    needs_scapy: bool = True
    hand_down: bool = False

    def launch(self, reactor: Any, link: Link, log: Logger) -> Running:
        if self.needs_scapy and importlib.util.find_spec("scapy") is None:
            raise PacketError("unavailable", NO_SCAPY)
        if self.hand_down:
            with suppress(OSError):
                system.hand_down(system.CAP_NET_RAW)
        ours, theirs = socket.socketpair()
        with ours, theirs, Path(os.devnull).open("r+b") as null:
            process = _Process(log)
            flags, environment = _isolation()
            command = [
                str(self.interpreter), *flags, "-m", HELPER,
                "--stream", str(_STREAM), "--user", self.user,
            ]  # fmt: skip
            descriptors = {0: null.fileno(), 1: null.fileno(), 2: "r", _STREAM: theirs.fileno()}
            try:
                reactor.spawnProcess(
                    process, command[0], command, env=environment, childFDs=descriptors
                )
            except OSError as error:
                what = f"{self.interpreter}: {error.strerror or error}"
                raise PacketError("unavailable", what) from None
            # Both take copies of the descriptors.
            reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, LinkFactory(link))
        return process


@dataclass(frozen=True, slots=True)
class Connect:
    """A system service.

    Arguments:
        path: of its socket.
    """

    path: Path = UNIT_SOCKET

    def launch(self, reactor: Any, link: Link, log: Logger) -> Running:
        connected = UNIXClientEndpoint(reactor, str(self.path)).connect(LinkFactory(link))
        connected.addErrback(lambda _: link.failed())
        return _Connected(link)


def choose_launcher(
    path: Path | None = UNIT_SOCKET, user: str = "nobody", *, needs_scapy: bool = True
) -> Launcher:
    """The best way there is; see the module.

    Arguments:
        path: of the system service's socket; None not to use one.
        user: the user that a helper switches to when root starts it.
        needs_scapy: whether Scapy has to be installed for it.
    """
    if path is not None and path.is_socket() and os.access(path, os.R_OK | os.W_OK):
        return Connect(path)
    own = Path(sys.executable)
    if system.has_capability(system.CAP_NET_RAW):
        return Spawn(own, user, needs_scapy, hand_down=os.geteuid() != 0)
    copy = own.with_name(COPY_NAME)
    if has_file_capability(copy) and os.access(copy, os.X_OK):
        return Spawn(copy, user, needs_scapy)
    return Spawn(own, user, needs_scapy)


def has_file_capability(path: Path) -> bool:
    """Whether a program gets capabilities from its file (capabilities(7))."""
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False


def _isolation() -> tuple[list[str], dict[str, str]]:
    """Python's options and the environment. No variable of this process is inherited: it may hold
    secrets, or change the behaviour of Python or Scapy. The user's packages are visible only if
    netserve is one of them.
    """
    environment = {"HOME": "/nonexistent", "TZ": "UTC", "LANG": "C.UTF-8"}
    if site.ENABLE_USER_SITE and Path(netserve.__file__).is_relative_to(site.getusersitepackages()):
        return ["-P", "-B"], {**environment, "PYTHONUSERBASE": site.getuserbase()}
    return ["-I", "-B"], environment


class _Process(ProcessProtocol):
    transport: Any

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._line = b""

    def errReceived(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        self._line = self._line[-_LONGEST_LINE:]
        for line in lines:
            text = line[:_LONGEST_LINE].decode(errors="backslashreplace")
            self._log.warn("packet helper: {text}", text=text)

    def processEnded(self, reason: Failure) -> None:
        if self._line:
            self.errReceived(b"\n")
        if not reason.check(ProcessDone):
            self._log.debug("packet helper: {reason}", reason=reason.getErrorMessage())

    def kill(self) -> None:
        with suppress(ProcessExitedAlready):
            if self.transport is not None:
                self.transport.signalProcess(signal.SIGKILL)


class _Connected:
    def __init__(self, link: Link) -> None:
        self._link = link

    def kill(self) -> None:
        if self._link.transport is not None:
            self._link.transport.abortConnection()
