"""Shared by the commands that use the packet helper: the policy, the helper, errors, the log.

The exit codes besides 0 and 1 are those of sysexits.h: 69 if the helper or the capability is
missing, 70 for a bug in netserve, 75 if a later attempt may work, 77 if the policy refuses.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import pwd
import sys
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from netserve.config.packet import PacketSettings
from netserve.errors import NetserveError

EXIT_CODES: Final = {
    "invalid": 2, "missing": 69, "unavailable": 69, "bug": 70, "busy": 75, "died": 75,
    "failed": 75, "full": 75, "late": 75, "refused": 77,
}  # fmt: skip
"""By the kind of a PacketError."""
_SYSLOG: Final = Path("/dev/log")
_DEFAULT: Final = Path("config.yaml")


class Seconds(click.ParamType[float]):
    """``2``, ``2s``, ``500ms`` as seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """See click."""
        from netserve.config.types import parse_duration  # noqa: PLC0415

        if isinstance(value, (int, float)):
            return float(value)
        try:
            return float(value)
        except ValueError:
            pass
        try:
            return parse_duration(value)
        except ValueError:
            self.fail(f"{value!r} is not a time; write 2s, 500ms or 1m", param, ctx)


class Bytes(click.ParamType[int]):
    """``4096``, ``64KiB``, ``1GiB`` as bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click."""
        from netserve.config.types import parse_size  # noqa: PLC0415

        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def load_settings(config: Path | None) -> PacketSettings:
    """The section ``packet:`` of a file.

    Arguments:
        config: the file; None for config.yaml, or the defaults where there is no such file.

    Raises:
        ClickException: it cannot be read, or the section is wrong.
    """
    from netserve.config.load import load_packet  # noqa: PLC0415 - only where there is a file

    if config is None and not _DEFAULT.exists():
        return PacketSettings()
    try:
        return load_packet(config or _DEFAULT)
    except NetserveError as error:
        raise click.ClickException(str(error)) from None


class Session:
    """The context of a command.

    Arguments:
        reactor: the reactor.
        settings: the section ``packet:`` of the file.
        as_json: print JSON.
    """

    def __init__(self, reactor: Any, settings: PacketSettings, *, as_json: bool) -> None:
        from twisted.logger import Logger  # noqa: PLC0415 - see cli/__init__.py

        from netserve.packet.client import PacketHelper, choose_launcher  # noqa: PLC0415

        self.reactor = reactor
        self.settings = settings
        self.as_json = as_json
        self.helper = PacketHelper(
            reactor=reactor,
            policy=settings.policy(),
            launcher=choose_launcher(settings.socket, settings.user),
            log=Logger(namespace="netserve.packet"),
            user=user_name(),
        )

    def print(self, text: str, value: Any) -> None:
        """Print the text for people, or the value as one line of JSON."""
        click.echo(json.dumps(value, ensure_ascii=False) if self.as_json else text)


Work = Callable[[Session], Coroutine[Any, Any, int]]


def uses_helper(command: Callable[..., Work]) -> Callable[..., None]:
    """Add the common options to a command; it returns the work, whose result is the exit code."""

    @click.option(
        "--config",
        type=click.Path(path_type=Path),
        help="The file whose section `packet` limits the packets. [default: config.yaml]",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, one value a line.")
    @wraps(command)
    def with_helper(config: Path | None, as_json: bool, **options: Any) -> None:
        work = command(**options)
        settings = load_settings(config)
        sys.exit(run(work, settings, as_json=as_json))

    return with_helper


def run(work: Work, settings: PacketSettings, *, as_json: bool) -> int:
    """Run the work on the reactor; the exit code."""
    from netserve.cli.reacting import react  # noqa: PLC0415 - see cli/__init__.py
    from netserve.packet.errors import PacketError  # noqa: PLC0415

    log_to_system()

    async def main(reactor: Any) -> int:
        session = Session(reactor, settings, as_json=as_json)
        try:
            return await work(session)
        except PacketError as error:
            if as_json:
                click.echo(json.dumps({"error": {"kind": error.kind, "what": error.what}}))
            click.echo(f"netserve: {error.what}", err=True)
            return EXIT_CODES.get(error.kind, 1)
        except click.ClickException as error:
            error.show()
            return error.exit_code
        finally:
            session.helper.close()

    return react(main)


def log_to_system() -> None:
    """Log each use of packets to the system's log, or to standard error if there is none."""
    from twisted.logger import STDLibLogObserver, globalLogBeginner  # noqa: PLC0415

    handler: logging.Handler
    if _SYSLOG.exists():
        facility = logging.handlers.SysLogHandler.LOG_AUTHPRIV
        handler = logging.handlers.SysLogHandler(str(_SYSLOG), facility=facility)
        handler.setFormatter(logging.Formatter("netserve[%(process)d]: %(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("log: %(message)s"))
        handler.setLevel(logging.INFO)
    logger = logging.getLogger("netserve.packet.use")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    observe: Any = STDLibLogObserver(logger.name)

    def observe_use(event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "netserve.packet" or event.get("isError"):
            observe(event)

    observer: Any = observe_use
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)


def user_name() -> str:
    """The name of the user, and of the user of sudo."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    real = os.environ.get("SUDO_USER", "")
    return f"{name} (for {real})" if real and real.isprintable() else name
