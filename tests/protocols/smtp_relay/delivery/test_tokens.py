"""Answers of token endpoints, and the file that keeps a refresh token."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.config.types import Secret
from netserve.protocols.smtp_relay.delivery.login.oauth2 import (
    DEFAULT_LIFE,
    LONGEST_TOKEN,
    Client,
    TokenRefused,
    usable_for,
)
from netserve.protocols.smtp_relay.delivery.login.options import OAuth2
from netserve.protocols.smtp_relay.delivery.login.token_file import TokenFile

CLIENT = Client(
    client_id="id & more",
    client_secret=Secret("hunter2"),
    refresh_token=Secret("hunter3"),
    scope="a b",
)


def answer(**values: Any) -> bytes:
    return json.dumps({"access_token": "t", "token_type": "bearer", **values}).encode()


def test_what_is_asked() -> None:
    assert parse_qs(CLIENT.form().decode()) == {
        "client_id": ["id & more"],
        "client_secret": ["hunter2"],
        "grant_type": ["refresh_token"],
        "refresh_token": ["hunter3"],
        "scope": ["a b"],
    }
    bare = Client(client_id="x", client_secret=Secret("s"), refresh_token=None, scope="")
    assert parse_qs(bare.form().decode())["grant_type"] == ["client_credentials"]
    assert "scope" not in bare.form().decode()


@pytest.mark.parametrize(
    ("values", "life", "rotated"),
    [
        ({}, DEFAULT_LIFE, None),
        ({"expires_in": 3600}, 3600, None),
        ({"expires_in": "3600"}, 3600, None),
        ({"expires_in": -1}, DEFAULT_LIFE, None),
        ({"expires_in": [1]}, DEFAULT_LIFE, None),
        ({"expires_in": "nan"}, DEFAULT_LIFE, None),
        ({"expires_in": 1e300}, 7 * 86400, None),
        ({"refresh_token": "hunter3"}, DEFAULT_LIFE, None),  # the same one
        ({"refresh_token": "hunter4"}, DEFAULT_LIFE, Secret("hunter4")),
        ({"refresh_token": "a\nb"}, DEFAULT_LIFE, None),
    ],
)
def test_what_is_granted(values: dict[str, Any], life: float, rotated: Secret | None) -> None:
    grant = CLIENT.granted(200, answer(**values))
    assert (grant.token, grant.life, grant.refresh_token) == (Secret("t"), life, rotated)
    assert "hunter" not in repr(grant)


@pytest.mark.parametrize(
    "token", ["", "a b", "a\r\nb", "ä", "a\1b", "x" * (LONGEST_TOKEN + 1), 5, None]
)
def test_a_token_that_could_not_be_sent(token: Any) -> None:
    """S7: it stands between control characters in AUTH."""
    with pytest.raises(TokenRefused, match="no access token that we could use"):
        CLIENT.granted(200, answer(access_token=token))


@given(st.integers(100, 599), st.one_of(st.binary(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["error", "error_description", "access_token", "expires_in"]), inner
    ),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_no_answer_does_harm(status: int, body: bytes) -> None:
    with contextlib.suppress(TokenRefused):
        CLIENT.granted(status, body)


@given(st.sampled_from(["hunter2", "hunter3", " ", "\r\n", "error"]), st.text())
def test_a_refusal_shows_no_secret(secret: str, text: str) -> None:
    """S17."""
    body = json.dumps({"error": secret, "error_description": f"{text} {secret}{text}"}).encode()
    with pytest.raises(TokenRefused) as raised:
        CLIENT.granted(400, body)
    assert "hunter" not in str(raised.value)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(("life", "used"), [(3600, 3540), (100, 50), (60, 30), (1, 0.5)])
def test_a_token_is_replaced_before_its_end(life: float, used: float) -> None:
    assert usable_for(life) == used


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://login.example.org/token?x=1", True),
        ("https://login.example.org:8443/token", True),
        ("http://127.0.0.1:8080/token", True),
        ("http://localhost/token", True),
        ("http://[::1]:8080/token", True),
        ("http://login.example.org/token", False),
        ("ftp://login.example.org/token", False),
        ("https:///token", False),
        ("https://user:pass@login.example.org/token", False),
        ("https://login.example.org/token#x", False),
        ("https://login.example.org:99999/token", False),
        ("https://[::1/token", False),
        ("https://a b/token", False),
        ("login.example.org/token", False),
    ],
)
def test_the_url_of_an_endpoint(url: str, good: bool) -> None:
    values = {"token_url": url, "client_id": "x", "client_secret": "y"}
    if good:
        OAuth2.model_validate(values)
    else:
        with pytest.raises(ValueError, match="token_url"):
            OAuth2.model_validate(values)


# The file.


def file(folder: Path, configured: str = "from the config") -> TokenFile:
    return TokenFile(folder / "oauth2", "login", Secret(configured))


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    assert file(tmp_path).load() == Secret("from the config")
    file(tmp_path).save(Secret("second"))
    file(tmp_path).save(Secret("third"))
    assert file(tmp_path).load() == Secret("third")
    assert [path.name for path in (tmp_path / "oauth2").iterdir()] == [file(tmp_path).path.name]
    assert file(tmp_path).path.stat().st_mode & 0o777 == 0o600


def test_another_token_in_the_config_counts(tmp_path: Path) -> None:
    file(tmp_path).save(Secret("second"))
    assert file(tmp_path, "a new one").load() == Secret("a new one")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"of": 5}', "\xff", "null"])
def test_a_file_that_is_damaged(content: str, tmp_path: Path) -> None:
    file(tmp_path).save(Secret("second"))
    file(tmp_path).path.write_bytes(content.encode("latin-1"))
    assert file(tmp_path).load() == Secret("from the config")


def test_what_a_crash_left_is_in_nobody_s_way(tmp_path: Path) -> None:
    kept = file(tmp_path)
    kept.save(Secret("second"))
    kept.path.with_suffix(".new").write_text("half")
    kept.save(Secret("third"))
    assert kept.load() == Secret("third")


def test_a_failure_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = file(tmp_path)
    kept.save(Secret("second"))

    def fails(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output"):
        kept.save(Secret("third"))
    assert kept.load() == Secret("second")
    assert len(list((tmp_path / "oauth2").iterdir())) == 1
