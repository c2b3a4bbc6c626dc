"""What twistd runs: its options, and the way from a file to running services.

``twistd netserve --config FILE`` comes here through ``twisted/plugins/netserve_plugin.py``. The
reactor is installed when this module is imported, which is before twistd asks for one.
"""

from __future__ import annotations

import atexit
import grp
import importlib
import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from twisted.application.service import IProcess
from twisted.internet.error import ReactorAlreadyInstalledError, ReactorNotRunning
from twisted.logger import ILogObserver
from twisted.python import usage

from netserve.config.load import Configuration, ServiceConfiguration, load
from netserve.errors import ConfigError, InvalidValue, NetserveError, StartError
from netserve.ops.control import ControlSocket
from netserve.ops.log_file import LogFile
from netserve.ops.logs import Levels, LineObserver, make_observer
from netserve.ops.status import status_service
from netserve.plugin import Settings
from netserve.reactor import install
from netserve.registry import Registry
from netserve.server.allocator import tune_allocator
from netserve.server.core_dumps import forbid_core_dumps
from netserve.server.daemon import Component, Daemon, make_state_folder
from netserve.server.descriptors import provide, wanted
from netserve.server.rights import Account
from netserve.server.signals import Signals, hold
from netserve.server.start_checks import check_rights

LATE: Final = (
    "email.generator", "encodings.idna", "encodings.punycode", "idna.uts46data",
    "netserve.ops.sending",
)  # fmt: skip
"""Modules that Python, libraries and we ourselves import when something first wants them."""


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
        account: the user that the process becomes; None where it stays who it is.
    """

    def __init__(
        self, configuration: Configuration, *, log_path: str | None, account: Account | None
    ) -> None:
        super().__init__(configuration, reactor=reactor, failed=leave_with_failure)
        process = configuration.process
        self._log_levels = {
            service.name: service.settings.log
            for service in configuration.services
            if service.settings.log is not None
        }
        self._levels = levels = Levels(process.log.level, self._log_levels)
        self._observer: LineObserver | None = None
        self._log_file: LogFile | None = None
        if log_path is not None:
            self._observer, self._log_file = make_observer(
                path=log_path, form=process.log.format, levels=levels, reactor=reactor
            )
            reactor.addSystemEventTrigger("after", "shutdown", self._observer.flush)
        self._account = account
        self._signals = Signals(
            call=reactor.callFromThread, warn=self._warn, stop=self._stop_reactor, hurry=self.hurry
        )
        self._signals.survive()

    def setServiceParent(self, parent: Any) -> None:
        """Give twistd's application our log, and the user that it shall become."""
        if self._observer is not None and parent.getComponent(ILogObserver) is None:
            parent.setComponent(ILogObserver, self._observer)
        if self._account is not None:
            # twistd drops the privileges after privilegedStartService, and before startService.
            process: Any = IProcess(parent)
            process.uid, process.gid = self._account.uid, self._account.gid
        super().setServiceParent(parent)

    async def replace(self, service: ServiceConfiguration) -> None:
        """See `Daemon.replace`; the service's level of the log changes as well."""
        await super().replace(service)
        self._log_levels.pop(service.name, None)
        if service.settings.log is not None:
            self._log_levels[service.name] = service.settings.log
        self._levels.change(self.configuration.process.log.level, self._log_levels)

    def prepare(self) -> None:
        """Make the state folder, see that nobody else uses it, and what our user may do with files.

        Raises:
            ConfigError: all that would keep the process from its work.
        """
        state = self.configuration.process.state
        try:
            make_state_folder(state)
            if self._account is not None and state.stat().st_uid == 0 and not any(state.iterdir()):
                os.chown(state, self._account.uid, self._account.gid)
            if self.outbox is not None:
                self.outbox.refuse_if_in_use()
        except StartError as error:
            problem = self.configuration.problem(("netserve", "state"), str(error))
            raise ConfigError([problem]) from None
        findings = check_rights(self.configuration, self._account)
        if findings.problems:
            raise ConfigError(findings.problems)
        for warning in findings.warnings:
            self.warn_at_start(warning)

    def preload(self) -> None:
        """Import what is imported late, which our user, or a chroot, could keep us from."""
        for name in LATE:
            importlib.import_module(name)
        for service in self.services.values():
            if service.hosted.preload is not None:
                service.hosted.preload()

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        services = self.configuration.services
        listening = (one.settings for one in services if isinstance(one.settings, Settings))
        provide(wanted(settings.limits.connections for settings in listening), self._log)

    def startService(self) -> None:
        file = self._log_file
        if file is not None:
            # logrotate moves the file away and sends USR1, as with twistd's own log.
            self._signals.reopen = lambda: self._reopen(file)
        reactor.callWhenRunning(self._signals.stop_in_order)
        super().startService()

    def _warn(self, text: str) -> None:
        self._log.warn("{text}", text=text)

    @staticmethod
    def _stop_reactor() -> None:
        with suppress(ReactorNotRunning):  # it stops already, as after a start that has failed
            reactor.stop()

    def _reopen(self, file: LogFile) -> None:
        try:
            file.reopen()
        except OSError as error:
            self._log.error(
                "cannot open the log again; netserve goes on writing to the old file: {reason}",
                reason=f"{error.filename}: {(error.strerror or str(error)).lower()}",
            )


def find_account(configuration: Configuration, twistd: Any) -> Account | None:
    """The user to become, or None to stay who we are.

    Arguments:
        configuration: the loaded file.
        twistd: its options; its ``--uid`` and ``--gid`` go before what the file says.

    Raises:
        ConfigError: there is no such user or group, or we are not root.
    """
    user, group = configuration.process.user, configuration.process.group
    if twistd.get("uid") is not None:
        gid = twistd.get("gid")
        return Account(twistd["uid"], os.getgid() if gid is None else gid)
    if user is None:
        return None

    def refuse(option: str, what: str, **quoted: Any) -> NoReturn:
        problem = configuration.problem(("netserve", option), InvalidValue(what, **quoted))
        raise ConfigError([problem]) from None

    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        refuse("user", "this machine has no user {user}", user=user)
    try:
        gid = entry.pw_gid if group is None else grp.getgrnam(group).gr_gid
    except KeyError:
        refuse("group", "this machine has no group {group}", group=group)
    if os.geteuid() == entry.pw_uid:
        return None
    if os.geteuid() != 0:
        refuse("user", "only root can become {user}; leave it out, or be root", user=user)
    return Account(entry.pw_uid, gid)


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
        lasting = daemon.lasting("netserve.status")
        settings, hosted = status_service(
            process.status, daemon.services, daemon.metrics, lasting.turns
        )
        daemon.host("status", settings, hosted, lasting)
    if daemon.outbox is not None:
        lasting = daemon.lasting("netserve.control")
        control = ControlSocket(
            process.state / "control",
            turns=lasting.turns,
            log=lasting.log,
            new_id=lasting.tracker.new_id,
        )
        control.add_queue(daemon.outbox)
        daemon.components.append(Component(control.start, control.stop))
    daemon.bind()


def makeService(options: Options) -> Daemon:
    """The service for twistd; sockets are open when it returns, and nothing has started.

    What is wrong is printed, and ends the process with exit code 1, while there is a terminal to
    print on: twistd goes to the background only after this.
    """
    hold()
    forbid_core_dumps()
    tune_allocator()
    twistd: Any = options.parent or {}
    _apply_umask(twistd)
    chroot = bool(twistd.get("chroot"))
    try:
        configuration = load(Path(options["config"]), Registry())
        account = find_account(configuration, twistd)
        daemon = TwistdDaemon(configuration, log_path=_log_path(twistd), account=account)
        assemble(daemon)
        if chroot or account is not None:
            daemon.preload()
        if not chroot:
            daemon.prepare()
    except NetserveError as error:
        fail(error)
    return daemon


def _apply_umask(twistd: Any) -> None:
    """Set twistd's umask, for the log and the sockets, which are opened before twistd sets it."""
    umask = twistd.get("umask")
    if umask is None and twistd and not twistd.get("nodaemon"):
        umask = 0o077  # twistd's own default for a daemon
    if umask is not None:
        os.umask(umask)


def _log_path(twistd: Any) -> str | None:
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    # As twistd has it: standard output in the foreground, twistd.log in the background.
    return twistd.get("logfile") or ("" if twistd.get("nodaemon") else "twistd.log")
