"""S17: what looks like a secret is not shown."""

from __future__ import annotations

import pytest

from netserve.config.secrets import looks_secret, spans_in_line


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


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("a: 1", "a: 1"),
        ("url: https://me:hunter2@example.org/", "url: https://***@example.org/"),
        ("password: hunter2: x", "password: ***"),
        ('{"password": "hunter2"', '{"password": ***'),
        ("password=hunter2", "password=***"),
    ],
)
def test_a_line_of_a_broken_file(line: str, shown: str) -> None:
    for start, end in reversed(spans_in_line(line, whole=True)):
        line = f"{line[:start]}***{line[end:]}"
    assert line == shown
