"""Who may relay, and files that would make an open relay."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from netserve.config.types import parse_network
from netserve.mail.envelope import Reply
from netserve.protocols.smtp_relay.receiving.reception import (
    LOGIN_WANTED,
    NO_RELAYING,
    NO_ROUTE,
    NOT_YOUR_ADDRESS,
    Reception,
)
from netserve.protocols.smtp_relay.receiving.relaying import LOOPBACK, open_relay
from netserve.protocols.smtp_relay.settings import SmtpRelaySettings

ROUTES = ({"deliver": {"discard": True}},)
USERS = {"me": "secret"}
TLS = {"certificate": "mx.pem", "key": "mx.key"}


def settings(**options: Any) -> SmtpRelaySettings:
    base = {"protocol": "smtp-relay", "listen": "tcp:25", "hostname": "mx.test", "routes": ROUTES}
    return SmtpRelaySettings.model_validate(base | options, context={"folder": Path("/tmp")})


@pytest.mark.parametrize(
    "network",
    ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "8.0.0.0/8", "2000::/3", "2001:db8::/31",
     "::ffff:0:0/96", "64:ff9b::/96", "2001::/32"],
)  # fmt: skip
def test_a_file_that_would_make_an_open_relay_is_refused(network: str) -> None:
    """S7, and it says why."""
    with pytest.raises(ValidationError, match="would make an open relay"):
        settings(relay_for=network)
    assert open_relay([parse_network(network)]) is not None


@pytest.mark.parametrize(
    "network",
    ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.0.2.0/24", "203.0.113.7", "fc00::/7",
     "2001:db8::/32", "::1"],
)  # fmt: skip
def test_networks_of_ones_own_are_taken(network: str) -> None:
    assert settings(relay_for=network).relay_for == (ipaddress.ip_network(network),)


def test_by_default_only_this_machine_may_relay() -> None:
    """S7: nobody relays through the default config from outside."""
    reception = Reception(settings())
    assert settings().relay_for == LOOPBACK
    assert reception.trusts("127.0.0.1")
    assert reception.trusts("::1")
    assert reception.trusts("::ffff:127.0.0.1")
    assert not reception.trusts("")
    for outside in ("192.0.2.1", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.1", "nonsense"):
        assert not reception.trusts(outside)


@pytest.mark.parametrize(
    ("user", "trusted", "recipient", "reply"),
    [
        ("", True, "a@open.test", None),
        ("me", False, "a@open.test", None),
        ("", False, "a@open.test", NO_RELAYING),
        ("", False, "a@other.test", NO_RELAYING),
        ("", True, "a@other.test", NO_ROUTE),
        ("", True, "a@closed.test", Reply(550, "5.7.1", "Gone")),
        ("", True, "a@users.test", NO_ROUTE),
        ("me", True, "a@users.test", None),
    ],
)
def test_recipients(user: str, trusted: bool, recipient: str, reply: Reply | None) -> None:
    routes = (
        {"match": {"recipient": "*@open.test"}, "deliver": {"discard": True}},
        {"match": {"recipient": "*@closed.test"}, "deliver": {"refuse": "Gone"}},
        {"match": {"recipient": "*@users.test", "user": "*"}, "deliver": {"discard": True}},
    )
    reception = Reception(settings(routes=routes))
    assert reception.recipient("s@x.test", recipient, user=user, trusted=trusted) == reply


def test_submission_is_for_users() -> None:
    options = {"role": "submission", "users": USERS, "tls": TLS}
    reception = Reception(settings(**options))
    assert reception.sender("a@b.test", user="") == LOGIN_WANTED
    assert reception.sender("a@b.test", user="me") is None
    assert reception.completes_headers
    assert not Reception(settings()).completes_headers


def test_senders_of_a_user() -> None:
    senders = {"me": ("me@*", "<>")}
    reception = Reception(settings(users=USERS, tls=TLS, senders=senders))
    for sender, reply in (
        ("me@x.test", None),
        ("", None),
        ("you@x.test", NOT_YOUR_ADDRESS),
    ):
        assert reception.sender(sender, user="me") == reply
    assert reception.sender("you@x.test", user="") is None


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"role": "submission"}, "wants a login of everybody"),
        ({"users": USERS}, "over TLS only"),
        ({"users": USERS, "tls": TLS, "checker": "a:b"}, "only one of them"),
        ({"users": USERS, "tls": TLS, "senders": {"you": ("a@b",)}}, "not listed: you"),
        ({"hostname": "mx test"}, "not a host's name"),
        ({"hostname": "mx.test\r\n"}, "not a host's name"),
        ({"routes": ()}, "at least 1 item"),
        ({"retry": {"first": 10.0, "longest": 5.0}}, "longer than longest"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        settings(**options)


def test_what_sessions_are_offered() -> None:
    """Line ends are normalised for the listed networks only; AUTH is inside TLS by default."""
    reception = Reception(settings(users=USERS, tls=TLS, normalise_newlines_for="192.0.2.0/24"))
    usual = reception.options("198.51.100.1")
    assert (usual.normalise, usual.starttls, usual.auth, usual.auth_in_clear) == (
        False, True, True, False,
    )  # fmt: skip
    assert reception.options("192.0.2.9").normalise
    assert not Reception(settings(tls=TLS, starttls=False)).options("").starttls
