"""netserve dkim, as it is called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from netserve.cli import main
from netserve.mail.dkim.keys import load_key


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["dkim", *(str(argument) for argument in arguments)])


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_key_is_made_once(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "s1.pem"
    options = (file, "--domain", "Example.org", "--selector", "s1", "--type", kind)
    first = call(*options)
    assert first.exit_code == 0
    assert first.stderr == f"made a key in {file}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    key = load_key(file.read_text())
    assert key.kind == kind
    assert first.stdout.startswith("s1._domainkey.example.org. IN TXT ")
    assert "".join(re.findall(r'"([^"]*)"', first.stdout)) == key.record
    second = call(*options)
    assert (second.stdout, second.stderr) == (first.stdout, "")


def test_an_internationalised_domain(tmp_path: Path) -> None:
    file = tmp_path / "k.pem"
    options = ("--domain", "müller.example", "--selector", "s", "--type", "ed25519")
    assert "s._domainkey.xn--mller-kva.example." in call(file, *options).stdout
    assert call(file, "--domain", "ü" * 80, "--selector", "s").exit_code == 2


@pytest.mark.parametrize(
    ("domain", "selector", "words"),
    [
        ("bad domain", "s1", "Invalid value for --domain: not a domain; write one such as"),
        ("example", "s1", "Invalid value for --domain: not a domain"),
        ("example.org", "a b", "Invalid value for --selector: not a selector; write the name"),
    ],
)
def test_names_that_make_no_record(domain: str, selector: str, words: str, tmp_path: Path) -> None:
    """Said before a key is made; what the file of the daemon takes is what is taken here."""
    result = call(tmp_path / "k.pem", "--domain", domain, "--selector", selector)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "k.pem").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [("hunter2", "not a private key in PEM"), (None, "no such file")],
    ids=["no key", "no folder"],
)
def test_what_goes_wrong(content: str | None, words: str, tmp_path: Path) -> None:
    """S17: the content is not shown."""
    file = tmp_path / "k.pem" if content else tmp_path / "none" / "k.pem"
    if content:
        file.write_text(content)
    result = call(file, "--domain", "example.org", "--selector", "s")
    assert result.exit_code == 1
    assert words in result.stderr
    assert "hunter2" not in result.output


def test_the_least_length(tmp_path: Path) -> None:
    options = ("--domain", "example.org", "--selector", "s", "--bits", "512")
    assert call(tmp_path / "k.pem", *options).exit_code == 2
