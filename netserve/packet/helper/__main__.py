"""The start of a process that handles packets.

The stream is descriptor 3 unless ``--stream`` names another. The first message contains the
policy, unless ``--policy FILE`` gives one that clients cannot change. If the message contains
``sniff``, the process becomes a sniffer (`netserve.packet.sniffer`), and a descriptor may accompany
the message. Otherwise it becomes the helper, which loads Scapy.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from netserve.packet.confinement import ConfinementError, confine, seccomp, system
from netserve.packet.frames import FrameError, FrameReader, frame
from netserve.packet.netlink import Netlink
from netserve.packet.policy import Policy, Refused

_LONGEST_START: Final = 10.0


def main() -> int:
    """Serve one stream; the exit code is 0 at its end, 1 where there was no start."""
    options = _arguments()
    # Ctrl-C is sent to all processes of a terminal; this one ends with its stream.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.closerange(options.stream + 1, os.sysconf("SC_OPEN_MAX"))
    stream = socket.socket(fileno=options.stream)
    try:
        message, descriptors = _first_message(stream)
        policy = _policy(message, options.policy)
        if "sniff" in message:
            from netserve.packet.sniffer.run import serve  # noqa: PLC0415 - needs no Scapy

            serve(stream, policy, message["sniff"], descriptors, options.user)
        else:
            _serve(stream, policy, options.user)
    except (ImportError, ConfinementError, OSError, ValueError, Refused) as error:
        return _fail(stream, error)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m netserve.packet.helper", allow_abbrev=False)
    parser.add_argument("--stream", type=int, default=3, help="the descriptor of the stream")
    parser.add_argument("--policy", type=Path, help="a policy as JSON, which clients cannot change")
    parser.add_argument("--user", default="nobody", help="the user that root switches to")
    return parser.parse_args()


def _first_message(stream: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The first message, and the descriptors that came with it.

    Raises:
        ValueError: there is none.
    """
    stream.settimeout(_LONGEST_START)
    reader, descriptors = FrameReader(), []
    while True:
        data, received, _, _ = socket.recv_fds(stream, 1 << 16, 1)
        descriptors += received
        if not data:
            raise ValueError("the stream ended before there was a message")
        messages = reader.feed(data)
        if messages:
            (message,) = messages
            if isinstance(message, dict):
                return message, descriptors
            raise ValueError("the first message has no policy")


def _policy(message: dict[str, Any], file: Path | None) -> Policy:
    if file is not None:
        return Policy.from_json(json.loads(file.read_text()))
    return Policy.from_json(message.get("policy"))


def _serve(stream: socket.socket, policy: Policy, user: str) -> None:
    from scapy.config import conf  # noqa: PLC0415 - its options go before its modules

    conf.route_autoload = False
    conf.route6_autoload = False
    # Scapy's modules are loaded by these, and nothing can be loaded after `confine`.
    from netserve.packet.helper.building import Builder  # noqa: PLC0415
    from netserve.packet.helper.jobs import Alarm, Tools  # noqa: PLC0415
    from netserve.packet.helper.kernel import Kernel  # noqa: PLC0415
    from netserve.packet.helper.layers import Layers  # noqa: PLC0415
    from netserve.packet.helper.server import Server  # noqa: PLC0415
    from netserve.packet.helper.sockets import Senders  # noqa: PLC0415
    from netserve.packet.helper.warming import warm_up  # noqa: PLC0415
    from netserve.packet.pace import Pace  # noqa: PLC0415

    layers = Layers(policy.layers)
    kernel = Kernel(Netlink())
    kernel.install()
    builder = Builder(layers)
    warm_up(builder)
    report = confine(
        user=user,
        keep=frozenset({system.CAP_NET_RAW}),
        calls=seccomp.BASIC | seccomp.SOCKETS,
    )
    tools = Tools(
        policy=policy,
        layers=layers,
        builder=builder,
        kernel=kernel,
        senders=Senders(),
        pace=Pace(policy.interval),
        alarm=Alarm(),
        clock=time.monotonic,
        capable=bool(report.capabilities >> system.CAP_NET_RAW & 1),
    )
    server = Server(stream, tools)
    ready: dict[str, Any] = {
        "scapy": str(conf.version),
        "capable": tools.capable,
        "confinement": report.to_json(),
    }
    server.tell({"ready": ready})
    server.run()


def _fail(stream: socket.socket, error: Exception) -> int:
    """Say why there is no start, in the kinds of `netserve.packet.requests.ERRORS`."""
    match error:
        case ImportError():
            kind, what = "unavailable", f"Scapy cannot be imported: {error}"
        case Refused():
            kind, what = "refused", str(error)
        case PermissionError():
            kind, what = "missing", "CAP_NET_RAW is missing; see netserve packet setup"
        case OSError() | ConfinementError():
            kind, what = "unavailable", str(error)
        case FrameError():
            kind, what = "bug", str(error)
        case _:
            kind, what = "invalid", str(error)
    try:
        stream.sendall(frame({"failed": {"kind": kind, "what": what}}))
    except OSError:
        print(what, file=sys.stderr)  # noqa: T201 - the one who asked is gone
    return 1


if __name__ == "__main__":
    sys.exit(main())
