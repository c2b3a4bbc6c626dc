"""What twistd runs: its options, and the way from a file to running services.

``twistd netserve --config FILE`` comes here through ``twisted/plugins/netserve_plugin.py``. The
reactor is installed when this module is imported, which is before twistd asks for one.
"""

from __future__ import annotations

import atexit
import grp
import os
import pwd
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final, NoReturn

from twisted.application.service import IProcess
from twisted.internet.error import ReactorAlreadyInstalledError
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.util import runAsEffectiveUser

from netserve.config.load import Configuration, load
from netserve.errors import ConfigError, NetserveError, StartError
from netserve.ops.control import ControlSocket
from netserve.ops.log_file import LogFile
from netserve.ops.logs import Levels, LineObserver, make_observer
from netserve.ops.status import status_service
from netserve.reactor import install
from netserve.registry import Registry
from netserve.server.allocator import tune_allocator
from netserve.server.daemon import Component, Daemon, make_state_folder
from netserve.server.descriptors import provide, wanted

ONE_SIGNAL: Final = 0.5
"""Seconds within which two signals are the same: `make` hands on what its whole group was sent."""


def fail(error: NetserveError) -> NoReturn:
    """Tell the user what is wrong, in plain words, and leave with exit code 1."""
    raise SystemExit(str(error))


try:
    reactor: Any = install()
except ReactorAlreadyInstalledError:
    fail(
        StartError(
            "netserve runs on its own reactor, but twistd has installed another;"
            " leave out --reactor, or give --reactor netserve"
        )
    )


class Options(usage.Options):
    """The options behind ``twistd netserve``."""

    optParameters = (("config", "c", "config.yaml", "The file that says what to serve."),)
    longdesc = "Serves what a YAML file describes; see `netserve check` and `netserve list`."

    def parseArgs(self, *words: str) -> None:
        """Refuse what stands behind the options."""
        if words:
            raise usage.UsageError(f"the file is named by an option: --config {words[0]}")


class TwistdDaemon(Daemon):
    """The daemon in a process that twistd has started.

    Arguments:
        configuration: the loaded file.
        log_path: where the log goes: a file, or an empty string for standard output; None where
            twistd was given another log.
    """

    def __init__(self, configuration: Configuration, *, log_path: str | None) -> None:
        super().__init__(configuration, reactor=reactor, failed=leave_with_failure)
        process = configuration.process
        levels = Levels(
            process.log.level,
            {
                service.name: service.settings.log
                for service in configuration.services
                if service.settings.log is not None
            },
        )
        self._observer: LineObserver | None = None
        self._log_file: LogFile | None = None
        if log_path is not None:
            self._observer, self._log_file = make_observer(
                path=log_path, form=process.log.format, levels=levels, reactor=reactor
            )
            reactor.addSystemEventTrigger("after", "shutdown", self._observer.flush)
        self._user = find_user(configuration)
        self._stop_from = inf  # monotonic seconds of the first signal

    def setServiceParent(self, parent: Any) -> None:
        """Give twistd's application our log, and the user that it shall become."""
        if self._observer is not None and parent.getComponent(ILogObserver) is None:
            parent.setComponent(ILogObserver, self._observer)
        if self._user is not None:
            # twistd drops the privileges after privilegedStartService, and before startService.
            process: Any = IProcess(parent)
            process.uid, process.gid = self._user
        super().setServiceParent(parent)

    def prepare_state(self) -> None:
        """Make the state folder, for the user that the process becomes, and see who uses it.

        Raises:
            ConfigError: it cannot be made or written to, or another process has the queue in it.
        """
        state = self.configuration.process.state
        try:
            make_state_folder(state)
            if self._user is not None:
                self._give_away(state, *self._user)
            if self.outbox is not None:
                self.outbox.refuse_if_in_use()
        except StartError as error:
            problem = self.configuration.problem(("netserve", "state"), str(error))
            raise ConfigError([problem]) from None

    def _give_away(self, state: Path, uid: int, gid: int) -> None:
        """See to it that the user may write there; what others have put there stays theirs."""
        if state.stat().st_uid == 0 and not any(state.iterdir()):
            os.chown(state, uid, gid)
        try:
            runAsEffectiveUser(uid, gid, make_state_folder, state)
        except StartError as error:
            user = self.configuration.process.user
            raise StartError(f"{error}, as the user {user}") from None

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        services = self.configuration.services
        provide(wanted(each.settings.limits.connections for each in services), self._log)

    def startService(self) -> None:
        file = self._log_file
        if file is not None:
            # logrotate moves the file away and sends USR1, as with twistd's own log.
            signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(self._reopen, file))
        reactor.callWhenRunning(self._watch_signals)
        super().startService()

    def _watch_signals(self) -> None:
        """Take a second SIGINT or SIGTERM for impatience, where Twisted would log an error."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(stop := signal.getsignal(number)):
                signal.signal(number, partial(self._signalled, stop))

    def _signalled(self, stop: Callable[[int, Any], Any], number: int, frame: Any) -> None:
        now = time.monotonic()
        if self._stop_from == inf:
            self._stop_from = now
            stop(number, frame)
        elif now > self._stop_from + ONE_SIGNAL:
            reactor.callFromThread(self.hurry)

    def _reopen(self, file: LogFile) -> None:
        try:
            file.reopen()
        except OSError as error:
            self._log.error(
                "the log cannot be opened anew, and goes on in the old file: {reason}",
                reason=f"{error.filename}: {(error.strerror or str(error)).lower()}",
            )


def find_user(configuration: Configuration) -> tuple[int, int] | None:
    """The ids of the user to become, or None to stay who we are.

    Raises:
        ConfigError: there is no such user or group, or we are not root.
    """
    user, group = configuration.process.user, configuration.process.group
    if user is None:
        return None

    def refuse(option: str, what: str) -> NoReturn:
        problem = configuration.problem(("netserve", option), what)
        raise ConfigError([problem]) from None

    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        refuse("user", f"this machine has no user {user}")
    try:
        gid = entry.pw_gid if group is None else grp.getgrnam(group).gr_gid
    except KeyError:
        refuse("group", f"this machine has no group {group}")
    if os.geteuid() == entry.pw_uid:
        return None
    if os.geteuid() != 0:
        refuse("user", f"only root can become {user}; leave it out, or be root")
    return entry.pw_uid, gid


def leave_with_failure() -> None:
    """Stop the reactor, and make the process end with exit code 1."""

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    # twistd has no way to say that a service failed after the start: its exit code would be 0.
    # What is registered last runs first, and nothing of ours is behind it.
    atexit.register(leave)
    reactor.callWhenRunning(reactor.stop)


def assemble(daemon: Daemon) -> None:
    """Build everything that the daemon's configuration asks for, and open its sockets.

    Raises:
        ConfigError: all that is wrong with options, certificates and addresses.
    """
    process = daemon.configuration.process
    daemon.build()
    if process.status is not None:
        settings, hosted = status_service(process.status, daemon.services)
        daemon.host("status", settings, hosted)
    if daemon.outbox is not None:
        control = ControlSocket(process.state / "control")
        control.add_queue(daemon.outbox)
        daemon.components.append(Component(control.start, control.stop))
    daemon.bind()


def makeService(options: Options) -> Daemon:
    """The service for twistd; sockets are open when it returns, and nothing has started.

    What is wrong is printed, and ends the process with exit code 1, while there is a terminal to
    print on: twistd goes to the background only after this.
    """
    tune_allocator()
    twistd: Any = options.parent or {}
    try:
        configuration = load(Path(options["config"]), Registry())
        daemon = TwistdDaemon(configuration, log_path=_log_path(twistd))
        assemble(daemon)
        if twistd.get("uid") is None and not twistd.get("chroot"):
            daemon.prepare_state()
    except NetserveError as error:
        fail(error)
    return daemon


def _log_path(twistd: Any) -> str | None:
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    # As twistd has it: standard output in the foreground, twistd.log in the background.
    return twistd.get("logfile") or ("" if twistd.get("nodaemon") else "twistd.log")
