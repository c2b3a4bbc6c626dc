"""What is wrong with a chain: each fault by its own reason, several at once, and expiry always."""

from __future__ import annotations

import datetime

import pytest

from netserve.protocols.probe.certificates import judge
from tests.protocols.probe.chains import DAY, NOW, Issued, intermediate, issue, store_of

ROOT = issue("Root", end=NOW + 1000 * DAY)
OTHER = issue("Other root")
MIDDLE = intermediate(ROOT, end=NOW + 20 * DAY)
PAST = {"begin": NOW - 9 * DAY, "end": NOW - DAY}
FUTURE = {"begin": NOW + DAY, "end": NOW + 9 * DAY}


def leaf(by: Issued | None = ROOT, **dates: datetime.datetime) -> Issued:
    return issue("server", by, hosts=("a.example", "*.b.example", "10.0.0.1"), **dates)


CASES = {
    "good": ([leaf()], "a.example", []),
    "good, by a wildcard": ([leaf()], "x.b.example", []),
    "good, by an address": ([leaf()], "10.0.0.1", []),
    "good, with an intermediate": ([leaf(MIDDLE), MIDDLE], "a.example", []),
    "with the root sent along": ([leaf(), ROOT], "a.example", []),
    "for another name": ([leaf()], "c.example", ["wrong_name"]),
    "for another address": ([leaf()], "10.0.0.2", ["wrong_name"]),
    "expired": ([leaf(**PAST)], "a.example", ["expired"]),
    "not yet valid": ([leaf(**FUTURE)], "a.example", ["not_yet_valid"]),
    "self-signed": ([leaf(None)], "a.example", ["self_signed"]),
    "a root that is not trusted": ([leaf(OTHER), OTHER], "a.example", ["untrusted_root"]),
    "a root that is not known": ([leaf(OTHER)], "a.example", ["incomplete"]),
    "a chain without its intermediate": ([leaf(MIDDLE)], "a.example", ["incomplete"]),
    "all at once": (
        [leaf(OTHER, **PAST)], "c.example", ["incomplete", "expired", "wrong_name"],
    ),
    "self-signed and expired": ([leaf(None, **PAST)], "a.example", ["self_signed", "expired"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_reasons(name: str) -> None:
    chain, host, reasons = CASES[name]
    verdict = judge([one.x509() for one in chain], store_of(ROOT), host, NOW)
    assert [reason for reason, _ in verdict.problems] == reasons
    assert all(text for _, text in verdict.problems)
    # The dates are told whatever the verdict is.
    earliest = min(one.certificate.not_valid_after_utc for one in chain)
    assert verdict.earliest_expiry == earliest.timestamp()


def test_an_expired_intermediate() -> None:
    middle = intermediate(ROOT, begin=NOW - 9 * DAY, end=NOW - DAY)
    chain = [leaf(middle), middle]
    verdict = judge([one.x509() for one in chain], store_of(ROOT), "a.example", NOW)
    ((reason, text),) = verdict.problems
    assert reason == "expired"
    assert text.startswith("CN=Intermediate expired at ")


def test_the_expiry_of_the_whole_chain() -> None:
    chain = [leaf(MIDDLE), MIDDLE]
    verdict = judge([one.x509() for one in chain], store_of(ROOT), "a.example", NOW)
    assert verdict.chain_expiry == (NOW + 20 * DAY).timestamp()
    # Also past its end, so that an alert can say since when.
    verdict = judge([leaf(**PAST).x509()], store_of(ROOT), "a.example", NOW)
    assert verdict.chain_expiry == (NOW - DAY).timestamp()
    verdict = judge([leaf().x509()], store_of(OTHER), "a.example", NOW)
    assert verdict.chain_expiry is None


def test_the_labels_of_a_certificate() -> None:
    verdict = judge([leaf().x509()], store_of(ROOT), "a.example", NOW)
    labels = verdict.labels()
    assert labels["subject"] == "CN=server"
    assert labels["issuer"] == "CN=Root"
    assert labels["subjectalternative"] == "a.example,*.b.example,10.0.0.1"
    assert len(labels["fingerprint_sha256"]) == 64
