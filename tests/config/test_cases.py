"""Every mistake that a file can have, and the exact words for it.

`cases/NAME.yaml` is the file, `cases/NAME.txt` what is said about it. `cases/sample.py` is the
protocol with an option of each type; cases whose names begin with `relay_` are of smtp-relay.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from netserve.config.load import load_text
from netserve.config.tags import Tags
from netserve.errors import ConfigError
from netserve.registry import Registry

CASES = Path(__file__).parent / "cases"
NAMES = sorted(path.stem for path in CASES.glob("*.yaml"))
ENVIRONMENT = {"SECRET": "hunter2"}
SECRETS = ("hunter", "12345")


def message_of(name: str) -> str:
    built_in = (("echo", "netserve.protocols.echo:plugin"), ("sample", "sample:plugin"))
    if name.startswith("relay_"):
        built_in = (("smtp-relay", "netserve.protocols.smtp_relay:plugin"), *built_in)
    registry = Registry(built_in=built_in, installed=lambda: ())
    # As bytes: reading as text would turn CRLF into LF.
    text = (CASES / f"{name}.yaml").read_bytes().decode()
    with pytest.raises(ConfigError) as caught:
        load_text(text, Path(f"{name}.yaml"), registry, Tags(CASES, ENVIRONMENT))
    return str(caught.value).replace(str(CASES), "CASES") + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_message_is_exactly_this(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """S15, and every other way in which a file can be wrong."""
    monkeypatch.syspath_prepend(str(CASES))
    assert message_of(name) == (CASES / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_no_message_shows_a_secret(name: str) -> None:
    """S17: secrets in the cases all have `hunter` in them, or are 12345."""
    message = (CASES / f"{name}.txt").read_text()
    assert not any(secret in message for secret in SECRETS)


def test_there_is_a_message_for_each_case() -> None:
    assert sorted(path.stem for path in CASES.glob("*.txt")) == NAMES
    assert len(NAMES) >= 60
