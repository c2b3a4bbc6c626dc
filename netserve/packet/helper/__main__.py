"""The start of the helper.

Its stream is descriptor 3, or what ``--stream`` says; from there comes the policy, unless
``--policy FILE`` gives one that whoever asks cannot change.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from netserve.packet.confinement import ConfinementError, confine, seccomp, system
from netserve.packet.frames import FrameError, FrameReader, frame
from netserve.packet.netlink import Netlink
from netserve.packet.policy import Policy

_LONGEST_START: Final = 10.0


def main() -> int:
    """Serve one stream; the exit code is 0 at its end, 1 where there was no start."""
    options = _arguments()
    os.closerange(options.stream + 1, os.sysconf("SC_OPEN_MAX"))
    stream = socket.socket(fileno=options.stream)
    reader = FrameReader()
    try:
        policy = _policy(stream, reader, options.policy)
        _serve(stream, policy, options.user)
    except ImportError as error:
        return _fail(stream, "scapy", f"Scapy cannot be imported: {error}")
    except ConfinementError as error:
        return _fail(stream, "confinement", str(error))
    except (OSError, ValueError, FrameError) as error:
        return _fail(stream, "start", f"{type(error).__name__}: {error}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m netserve.packet.helper", allow_abbrev=False)
    parser.add_argument("--stream", type=int, default=3, help="the descriptor of the stream")
    parser.add_argument("--policy", type=Path, help="a policy as JSON; none is then taken")
    parser.add_argument("--user", default="nobody", help="whom a process of root becomes")
    return parser.parse_args()


def _policy(stream: socket.socket, reader: FrameReader, file: Path | None) -> Policy:
    """The policy: from the file, or the first message."""
    stream.settimeout(_LONGEST_START)
    while True:
        data = stream.recv(1 << 16)
        if not data:
            raise ValueError("the stream ended before there was a policy")
        if messages := reader.feed(data):
            break
    (message,) = messages
    if file is not None:
        return Policy.from_json(json.loads(file.read_text()))
    return Policy.from_json(message.get("policy") if isinstance(message, dict) else None)


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


def _fail(stream: socket.socket, kind: str, what: str) -> int:
    try:
        stream.sendall(frame({"failed": {"kind": kind, "what": what}}))
    except OSError:
        print(what, file=sys.stderr)  # noqa: T201 - the one who asked is gone
    return 1


if __name__ == "__main__":
    sys.exit(main())
