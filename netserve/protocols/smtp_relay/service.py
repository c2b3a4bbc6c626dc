"""Puts the relay together: sessions in, the queue between, the courier out."""

from __future__ import annotations

import time
from typing import Any

from twisted.cred.credentials import IUsernamePassword
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from netserve.imports import import_object
from netserve.outbox import Outbox, Schedule
from netserve.plugin import Context, Hosted, StreamFactory
from netserve.protocols.smtp_relay.delivery.courier import RouteCourier
from netserve.protocols.smtp_relay.delivery.outside import Outside
from netserve.protocols.smtp_relay.delivery.tokens import Tokens
from netserve.protocols.smtp_relay.receiving.rates import Places, RateLimits
from netserve.protocols.smtp_relay.receiving.reception import Reception
from netserve.protocols.smtp_relay.receiving.session import SmtpSession
from netserve.protocols.smtp_relay.receiving.taking import Shared
from netserve.protocols.smtp_relay.settings import MailRates, SmtpRelaySettings


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


def _checker(settings: SmtpRelaySettings, context: Context) -> Any:
    """What checks logins, or None where nobody can log in."""
    if settings.checker is not None:
        checker = import_object(settings.checker, context.folder)
        if IUsernamePassword not in getattr(checker, "credentialInterfaces", ()):
            raise ValueError(f"{settings.checker} does not check user names and passwords")
        return checker
    if not settings.users and settings.users_file is None:
        return None
    # Only a service with users needs argon2.
    from netserve.protocols.smtp_relay.receiving import auth  # noqa: PLC0415

    if settings.users_file is not None:
        post = context.reactor.callFromThread
        file = auth.UsersFile(settings.users_file, log=context.log, post=post)
        return auth.UsersChecker(file.users, reactor=context.reactor)
    users = auth.listed_users(settings.users)
    return auth.UsersChecker(lambda: users, reactor=context.reactor)


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
    return RouteCourier(
        settings.routes,
        hostname=settings.hostname,
        reactor=context.reactor,
        log=context.log,
        http=context.http,
        tokens=Tokens(
            http=context.http,
            folder=context.state / "oauth2",
            reactor=context.reactor,
            log=context.log,
        ),
        outside=Outside(
            turns=context.turns,
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


def _show_queue(context: Context, outbox: Outbox) -> None:
    """Add the queue to the service's metrics."""
    for state in ("queued", "held", "delivering"):
        context.metrics.gauge(
            f"queue_{state}",
            f"Recipients in the queue of the process that are {state}.",
            lambda state=state: outbox.depth()[state],  # type: ignore[misc]  # binds the name now
        )
    context.metrics.counter(
        "delivery_attempts",
        "Recipients by what came of an attempt.",
        ("destination", "outcome"),
        lambda: outbox.outcomes(context.service),
    )


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
    outbox.attach(context.service, courier, schedule)
    shared = Shared(
        context=context,
        outbox=outbox,
        reception=Reception(settings),
        checker=_checker(settings, context),
        rates=_rates(settings.rates, context),
        places=Places(settings.limits.connections_per_user),
        wall=time.time,
    )
    _show_queue(context, outbox)
    factory: Any = SmtpFactory(shared)  # zope's interfaces mean nothing to mypy
    return Hosted(
        stream=factory,
        streams=_streams(settings, shared),
        stop=courier.close,
        refusal=f"421 4.7.0 {settings.hostname} Too many connections\r\n".encode(),
        starts_tls=settings.begins_in_clear,
        state=lambda: "{queued} queued, {held} held".format(**outbox.depth()),
        ready=lambda: outbox.broken,
    )
