"""Puts the relay together: sessions in, the queue between, the courier out."""

from __future__ import annotations

import time
from typing import Any, Final

from twisted.cred.credentials import IUsernamePassword
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from netserve.config.import_path import import_object
from netserve.errors import InvalidValue
from netserve.outbox import Outbox, Schedule
from netserve.plugin import Attachment, Context, Hosted, StreamFactory
from netserve.protocols.smtp_relay.delivery.accounts import Accounts
from netserve.protocols.smtp_relay.delivery.courier import RouteCourier
from netserve.protocols.smtp_relay.delivery.dns import resolver
from netserve.protocols.smtp_relay.delivery.login.tokens import Tokens
from netserve.protocols.smtp_relay.delivery.outside import Outside
from netserve.protocols.smtp_relay.receiving.login_memory import Patience
from netserve.protocols.smtp_relay.receiving.logins import Logins
from netserve.protocols.smtp_relay.receiving.rates import Places, RateLimits
from netserve.protocols.smtp_relay.receiving.reception import Reception
from netserve.protocols.smtp_relay.receiving.session import SmtpSession
from netserve.protocols.smtp_relay.receiving.taking import Shared
from netserve.protocols.smtp_relay.settings import MailRates, SmtpRelaySettings

OTHERS_AT_ONCE: Final = 32
"""Logins that a checker of the file's own looks at together; it asks a server, as a rule."""


class SmtpFactory(Factory):
    """Makes the sessions of one service.

    Arguments:
        shared: what they share.
    """

    noisy = False

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def buildProtocol(self, addr: IAddress | None) -> SmtpSession:
        """One more session."""
        return SmtpSession(self._shared)


def _logins(settings: SmtpRelaySettings, context: Context) -> Logins:
    checker, places = _checker(settings, context)
    limits = settings.limits
    logins = Logins(
        checker,
        patience=Patience(
            pair=limits.failed_logins,
            address=limits.failed_logins_per_address,
            longest=limits.login_wait,
        ),
        exempt=settings.rates.exempt,
        places=places,
        queue=limits.waiting_logins,
        reactor=context.reactor,
        log=context.log,
    )
    context.metrics.gauge(
        "logins_waiting", "Logins that wait to be verified.", lambda: logins.waiting
    )
    context.metrics.counter("logins", "Logins by outcome.", ("outcome",), logins.outcomes)
    return logins


def _checker(settings: SmtpRelaySettings, context: Context) -> tuple[Any, int]:
    """What checks passwords, or None where nobody has one; and how many it may at a time."""
    if settings.checker is not None:
        checker = import_object(settings.checker, context.folder)
        if IUsernamePassword not in getattr(checker, "credentialInterfaces", ()):
            raise InvalidValue(
                "{checker} does not check user names and passwords", checker=settings.checker
            )
        return checker, OTHERS_AT_ONCE
    if not settings.users and settings.users_file is None:
        return None, 1
    # Only a service with users needs argon2.
    from netserve.protocols.smtp_relay.receiving import auth  # noqa: PLC0415

    if settings.users_file is not None:
        post = context.reactor.callFromThread
        file = auth.UsersFile(settings.users_file, log=context.log, post=post)
        return auth.UsersChecker(file.users, reactor=context.reactor), auth.AT_ONCE
    users = auth.listed_users(settings.users)
    return auth.UsersChecker(lambda: users, reactor=context.reactor), auth.AT_ONCE


def _rates(rates: MailRates, context: Context) -> RateLimits:
    return RateLimits(
        per_address=rates.per_address,
        per_user=rates.per_user,
        recipients_per_address=rates.recipients_per_address,
        recipients_per_user=rates.recipients_per_user,
        exempt=rates.exempt,
        clock=context.reactor.seconds,
    )


def _courier(settings: SmtpRelaySettings, context: Context) -> RouteCourier:
    def tokens() -> Tokens:
        return Tokens(
            http=context.http,
            folder=context.state / "oauth2",
            reactor=context.reactor,
            log=Logger(namespace="netserve.oauth2"),
        )

    return RouteCourier(
        settings.routes,
        hostname=settings.hostname,
        reactor=context.reactor,
        log=context.log,
        http=context.http,
        accounts=context.shared.get(Accounts, Accounts),
        tokens=context.shared.get(Tokens, tokens),
        outside=Outside(
            turns=context.turns,
            tracker=context.tracker,
            dns=settings.dns,
            listens=context.listens,
            random=context.random,
            policies=context.state / "mta-sts" / context.service,
        ),
    )


def _streams(settings: SmtpRelaySettings, shared: Shared) -> dict[str, StreamFactory]:
    """What answers at the addresses that are not for SMTP."""
    if settings.http is None:
        return {}
    # Only a service with this way in needs an HTTP server.
    from netserve.protocols.smtp_relay.receiving import http_intake  # noqa: PLC0415

    intake = http_intake.HttpIntake(
        shared,
        settings.http.tokens,
        folder=shared.context.state,
        idle_timeout=settings.limits.idle_timeout,
    )
    return {"http": intake.server}


def _why_not_ready(outbox: Outbox) -> str | None:
    if (broken := outbox.broken) is not None:
        return broken
    if count := outbox.unreported:
        return f"failed recipients are held, as their senders could not be told: {count}"
    return None


def build(settings: SmtpRelaySettings, context: Context) -> Hosted:
    """See `netserve.plugin.ProtocolPlugin`."""
    outbox = context.outbox()
    courier = _courier(settings, context)
    retry = settings.retry
    schedule = Schedule(
        first=retry.first,
        longest=retry.longest,
        life=retry.life,
        delay_notice=retry.delay_notice,
    )
    shared = Shared(
        context=context,
        outbox=outbox,
        reception=Reception(settings),
        logins=_logins(settings, context),
        rates=_rates(settings.rates, context),
        places=Places(settings.limits.connections_per_user),
        wall=time.time,
    )
    context.metrics.counter(
        "delivery_attempts",
        "Recipients by what came of an attempt.",
        ("destination", "outcome"),
        lambda: outbox.outcomes(context.service),
    )

    def update(changed: SmtpRelaySettings) -> bool:
        """Other routes change no session; anything else takes another generation."""
        if changed.model_copy(update={"routes": settings.routes}) != settings:
            return False
        courier.use(changed.routes)
        outbox.reroute(context.service)
        return True

    factory: Any = SmtpFactory(shared)  # zope's interfaces mean nothing to mypy
    return Hosted(
        stream=factory,
        streams=_streams(settings, shared),
        stop=courier.close,
        refusal=f"421 4.7.0 {settings.hostname} Too many connections\r\n".encode(),
        starts_tls=settings.begins_in_clear,
        state=lambda: "{queued} queued, {held} held".format(**outbox.depth()),
        ready=lambda: _why_not_ready(outbox),
        preload=resolver.preload,
        outbox=Attachment(courier=courier, schedule=schedule),
        attach=courier.attach,
        update=update,
    )
