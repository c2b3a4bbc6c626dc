"""What is sent to log in."""

from __future__ import annotations

import base64

import pytest

from netserve.config.types import Secret
from netserve.mail.client.events import Login
from netserve.mail.client.sasl import LONGEST_COMMAND, exchange_for

PASSWORD = Login("me", Secret("geheim"))
TOKEN = Login("a,b=c", Secret("t0k"), is_token=True)


@pytest.mark.parametrize(
    ("login", "offered", "mechanism", "answers"),
    [
        (PASSWORD, {"LOGIN", "PLAIN"}, "PLAIN", []),
        (PASSWORD, {"LOGIN"}, "LOGIN", ["bWU=", "Z2VoZWlt"]),
        (TOKEN, {"XOAUTH2", "PLAIN"}, "XOAUTH2", [""]),
        (TOKEN, {"XOAUTH2", "OAUTHBEARER"}, "OAUTHBEARER", ["AQ=="]),
    ],
)
def test_the_first_of_the_table_is_taken(
    login: Login, offered: set[str], mechanism: str, answers: list[str]
) -> None:
    exchange = exchange_for(login, offered)
    assert exchange is not None
    assert exchange.command.split()[1] == mechanism
    assert list(exchange.answers) == answers


def test_nothing_fits() -> None:
    assert exchange_for(PASSWORD, {"XOAUTH2"}) is None
    assert exchange_for(TOKEN, {"PLAIN", "LOGIN"}) is None


def test_a_name_with_characters_that_part_fields() -> None:
    exchange = exchange_for(TOKEN, {"OAUTHBEARER"})
    assert exchange is not None
    response = base64.b64decode(exchange.command.split()[2])
    assert response == b"n,a=a=2Cb=3Dc,\1auth=Bearer t0k\1\1"


def test_the_longest_command() -> None:
    for length in range(330, 370):
        login = Login("me", Secret("x" * length))
        exchange = exchange_for(login, {"PLAIN"})
        assert exchange is not None
        assert len(exchange.command) + 2 <= LONGEST_COMMAND
        whole = " ".join([exchange.command, *exchange.answers]).split()[2]
        assert base64.b64decode(whole) == b"\0me\0" + b"x" * length


def test_it_shows_nothing() -> None:
    """S17."""
    assert "Z2VoZWlt" not in repr(exchange_for(PASSWORD, {"LOGIN"}))
    assert "geheim" not in repr(PASSWORD)


@pytest.mark.parametrize(
    ("login", "offered", "said", "shown"),
    [
        (PASSWORD, "PLAIN", b"500 AUTH PLAIN AG1lAGdlaGVpbQ==?", b"500 AUTH PLAIN ***?"),
        (PASSWORD, "PLAIN", b"500 AG1lAGdlaGVp... is too long", b"500 ***... is too long"),
        (PASSWORD, "LOGIN", b"535 geheim (Z2VoZWlt) is wrong", b"535 *** (***) is wrong"),
        (PASSWORD, "LOGIN", b"535 5.7.8 authentication failed", b"535 5.7.8 authentication failed"),
        (TOKEN, "XOAUTH2", b"535 no", b"535 no"),
    ],
)  # fmt: skip
def test_what_a_server_repeats_is_not_shown(
    login: Login, offered: str, said: bytes, shown: bytes
) -> None:
    """S17: some tell the command that they do not like."""
    exchange = exchange_for(login, {offered})
    assert exchange is not None
    assert exchange.hidden(said) == shown
