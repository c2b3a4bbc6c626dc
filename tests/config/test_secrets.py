"""S17: what looks like a secret is not shown."""

from __future__ import annotations

import pytest

from netserve.config.secrets import looks_secret


@pytest.mark.parametrize(
    "key",
    ["password", "pasword", "passwort", "Password", "PASSWD", "smtp_password", "dbPassword", "pw",
     "pass", "passphrase", "pasphrase", "secret", "client_secret", "secrets", "token", "authToken",
     "tokne", "api_key", "apikey", "private-key", "Authorization", "Cookie", "X-Api-Key",
     "credential"],
)  # fmt: skip
def test_a_key_that_looks_secret(key: str) -> None:
    assert looks_secret(key)


@pytest.mark.parametrize(
    "key",
    ["key", "listen", "protocol", "user", "host", "timeout", "reply", "pattern", "port", "passive",
     "state", "certificate", "message_size", "smarthost", "", "日本"],
)  # fmt: skip
def test_a_key_that_does_not(key: str) -> None:
    assert not looks_secret(key)
