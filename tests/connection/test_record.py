"""The record of a connection, and the ids."""

from __future__ import annotations

import re
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from netserve.connection import Connection, Ids, Taps, Tracker, connection_id
from netserve.connection.record import address_text, local_address, note

HERE = IPv4Address("TCP", "127.0.0.1", 25)
THERE = IPv4Address("TCP", "192.0.2.7", 4711)


class Transport:
    """A transport that things can be noted in."""

    connection: Any = None


@given(seed=st.integers())
def test_ids_are_short_and_none_comes_twice(seed: int) -> None:
    ids = Ids(Random(seed))
    given_ids = [ids.next() for _ in range(1000)]
    assert len(set(given_ids)) == 1000
    assert all(re.fullmatch("[0-9a-hjkmnp-tv-z]{8}", one) for one in given_ids)


def test_ids_that_follow_one_another_look_different() -> None:
    ids = Ids(Random(0))
    first, second = ids.next(), ids.next()
    assert sum(a != b for a, b in zip(first, second, strict=True)) >= 5


def test_all_numbers_are_used_before_one_is_used_again() -> None:
    """The step is odd, so it has no divisor in common with the power of two."""
    from netserve.connection import record

    assert record._STEP % 2 == 1
    assert 0 < record._STEP < 1 << record._BITS


def test_a_record_is_noted_in_the_transport() -> None:
    transport = Transport()
    tracker = Tracker("mail", Taps(Random(0)), wall=lambda: 1000.5)
    made = tracker.record(HERE, THERE, tls=True)
    assert made == Connection(made.id, "mail", HERE, THERE, True, 1000.5, False)
    note(transport, made)
    assert connection_id(transport) == made.id


def test_a_record_does_not_change() -> None:
    made = Tracker("mail").record(HERE, THERE, tls=False)
    with pytest.raises(AttributeError):
        made.tls = True  # type: ignore[misc]


def test_an_id_that_is_known_is_kept() -> None:
    assert Tracker("mail").record(HERE, THERE, tls=False, identity="abc").id == "abc"


@pytest.mark.parametrize(
    "transport",
    [
        SimpleNamespace(),
        SimpleNamespace(connection=None),
        SimpleNamespace(connection="something else"),
        SimpleNamespace(get_extra_info=lambda _: None),
        None,
    ],
)
def test_transports_without_a_record_have_no_id(transport: Any) -> None:
    assert connection_id(transport) == ""


def test_transports_of_asyncio_have_it_as_extra_info() -> None:
    made = Tracker("mail").record(HERE, THERE, tls=False)
    extra = {"connection": made}
    assert connection_id(SimpleNamespace(get_extra_info=extra.get)) == made.id


def test_two_services_of_a_process_share_the_ids() -> None:
    taps = Taps(Random(0))
    first, second = Tracker("a", taps), Tracker("b", taps)
    given_ids = [tracker.new_id() for _ in range(100) for tracker in (first, second)]
    assert len(set(given_ids)) == 200


class Gone:
    """A transport whose socket is not there any more."""

    def getHost(self) -> Any:
        raise OSError("it is gone")


@pytest.mark.parametrize("transport", [Gone(), object(), None])
def test_transports_without_an_address(transport: Any) -> None:
    assert local_address(transport) is None


def test_a_transport_without_room_for_a_record() -> None:
    made = Tracker("mail").record(HERE, THERE, tls=False)
    transport = object()
    note(transport, made)
    assert connection_id(transport) == ""


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (THERE, "192.0.2.7:4711"),
        (IPv6Address("TCP", "2001:db8::7", 25), "[2001:db8::7]:25"),
        (UNIXAddress("/run/netserve/socket"), "/run/netserve/socket"),
        (UNIXAddress(b"/run/\xff"), "/run/\ufffd"),
        (UNIXAddress(None), "a local socket"),
        (None, "a local socket"),
    ],
)
def test_addresses_in_the_log(address: Any, text: str) -> None:
    assert address_text(address) == text
