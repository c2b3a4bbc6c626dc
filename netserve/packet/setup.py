"""Setup for users without root: reports the requirements that are missing, and installs them."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from netserve.errors import NetserveError
from netserve.packet.client.launching import COPY_NAME, HELPER, has_file_capability
from netserve.packet.confinement import system
from netserve.packet.policy import Policy

_REVISION_AND_EFFECTIVE: Final = 0x02000001
POLICY_FILE: Final = Path("/etc/netserve/packet.json")

SOCKET_UNIT: Final = """\
[Unit]
Description=Socket of the netserve packet helper

[Socket]
ListenStream={socket}
Accept=yes
SocketMode=0660
SocketGroup={group}
MaxConnections=16
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""

SERVICE_UNIT: Final = """\
[Unit]
Description=netserve packet helper
CollectMode=inactive-or-failed

[Service]
ExecStart={python} -I -m {module} --policy {policy}
DynamicUser=yes
AmbientCapabilities=CAP_NET_RAW
CapabilityBoundingSet=CAP_NET_RAW
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
PrivateMounts=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
UMask=0077
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=capset
MemoryMax=512M
TasksMax=4
Environment=HOME=/nonexistent TZ=UTC LANG=C.UTF-8
"""

EXPLANATION: Final = """\
There are four ways to set it up, the safest first. Root has to do one of them, once:

1. A system service. systemd starts the packet helper for each connection to its socket, with
   only CAP_NET_RAW. A file that root owns limits the packets, and members of GROUP cannot exceed
   it. Install netserve where only root can change it.
     sudo {netserve} packet setup --systemd /etc/systemd/system --group GROUP
2. An ambient capability in the unit of the daemon, if netserve runs as a service. The file of
   the daemon limits the packets.
     AmbientCapabilities=CAP_NET_RAW
3. A copy of the interpreter with the capability. Only members of GROUP can run it, but they can
   send any packet with it, whatever the file says.
     sudo {netserve} packet setup --copy --group GROUP
4. Root itself. The helper drops root as soon as it has started.
     sudo {netserve} packet ...
"""


class SetupError(NetserveError):
    """The setup cannot be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """The requirements that this machine meets.

    Arguments:
        scapy: whether Scapy is installed.
        service: whether the socket of the system service may be used by this user.
        own: whether this process has CAP_NET_RAW.
        copy: whether this user may run an interpreter that has it.
    """

    scapy: bool
    service: bool
    own: bool
    copy: bool

    @property
    def is_enough(self) -> bool:
        """Whether packets can be sent."""
        return self.service or (self.scapy and (self.own or self.copy))

    def lines(self) -> Iterator[str]:
        """The report for people."""
        scapy = "installed" if self.scapy else "missing: pip install 'netserve[packet]'"
        yield f"Scapy: {scapy}"
        yield f"system service: {'there, and used' if self.service else 'not there'}"
        yield f"CAP_NET_RAW of this user: {'yes' if self.own else 'no'}"
        yield f"copy of the interpreter with CAP_NET_RAW: {'yes' if self.copy else 'no'}"
        yield ""
        yield "Packets can be sent." if self.is_enough else "Packets cannot be sent."


def find(socket: Path) -> Found:
    """Look at this machine.

    Arguments:
        socket: of the system service.
    """
    copy = Path(sys.executable).with_name(COPY_NAME)
    return Found(
        scapy=find_spec("scapy") is not None,
        service=socket.is_socket() and os.access(socket, os.R_OK | os.W_OK),
        own=system.has_capability(system.CAP_NET_RAW),
        copy=has_file_capability(copy) and os.access(copy, os.X_OK),
    )


def write_units(
    folder: Path, policy_file: Path, *, socket: Path, group: str, policy: Policy
) -> list[Path]:
    """Write systemd's units and the policy.

    Arguments:
        folder: for the units.
        policy_file: for the policy.
        socket: where the service listens.
        group: the group that may use it.
        policy: the limits for its members.

    Returns:
        the files.

    Raises:
        SetupError: one cannot be written.
    """
    home = "read-only" if str(Path(sys.prefix)).startswith(("/home", "/root")) else "yes"
    texts = {
        folder / "netserve-packet.socket": SOCKET_UNIT.format(socket=socket, group=group),
        folder / "netserve-packet@.service": SERVICE_UNIT.format(
            python=sys.executable, module=HELPER, policy=policy_file, home=home
        ),
        policy_file: json.dumps(policy.to_json(), indent=2) + "\n",
    }
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o644)
        except OSError as error:
            raise SetupError(f"{path}: {error.strerror or error}") from None
    return list(texts)


def make_copy(group: int) -> Path:
    """Copy the interpreter, for a group, and give the copy CAP_NET_RAW.

    Arguments:
        group: its number; it alone may run the copy.

    Raises:
        SetupError: that is not possible here.
    """
    copy = Path(sys.executable).with_name(COPY_NAME)
    new = copy.with_name(f".{copy.name}.{os.getpid()}")
    low = 1 << system.CAP_NET_RAW
    capability = struct.pack("<IIIII", _REVISION_AND_EFFECTIVE, low, 0, 0, 0)
    try:
        shutil.copyfile(Path(sys.executable).resolve(), new)
        os.chown(new, 0, group)
        new.chmod(0o750)
        os.setxattr(new, "security.capability", capability)
        _try(new)
        new.replace(copy)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.ENOTSUP:
            reason = "the file system has no file capabilities"
        raise SetupError(f"{copy}: {reason}") from None
    finally:
        new.unlink(missing_ok=True)
    return copy


def _try(interpreter: Path) -> None:
    """Whether the copy finds its library, and netserve.

    Raises:
        SetupError: it does not.
    """
    command = [str(interpreter), "-I", "-c", "import netserve.packet.confinement"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ends with an error"])[-1]
        raise SetupError(f"a copy of {sys.executable} does not run: {last}")
