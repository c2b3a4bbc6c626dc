"""The ways of delivery: each stands in the table once; a new one is a file and an entry of it."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from netserve.protocols.smtp_relay.delivery import ways
from netserve.protocols.smtp_relay.delivery.ways import WAYS
from netserve.protocols.smtp_relay.delivery.ways.way import Way

NEW_WAY = '''
from typing import Any, ClassVar

from netserve.config.types import Section
from netserve.mail.envelope import Outcome, Reply
from netserve.protocols.smtp_relay.delivery.channel import Whole, same_for_all
from netserve.protocols.smtp_relay.delivery.ways.way import Way


class PigeonOptions(Section):
    pigeon: str | None = None
    """The name of the pigeon."""


class Pigeon(Way[PigeonOptions]):
    name = "pigeon"
    options = PigeonOptions

    def open(self, route, facilities):
        return Flight()


class Flight(Whole):
    def deliver(self, message, recipients):
        return same_for_all(recipients, Outcome("delivered", Reply(250, "2.0.0", "flown")))
'''
TRIAL = """
import importlib, sys, types
from netserve.protocols.smtp_relay.delivery import deliver, ways
module = types.ModuleType("pigeon")
exec(open(sys.argv[1]).read(), module.__dict__)
ways.WAYS = (*ways.WAYS, module.Pigeon())  # the entry
Deliver = importlib.reload(deliver).Deliver  # which was made of the ways before
made = Deliver.model_validate({"pigeon": "Emil"})
print(made.way.name, made.label, list(made.account_names()))
try:
    Deliver.model_validate({"pigeon": "Emil", "tls": "may"})
except ValueError as error:
    print(error.errors()[0]["msg"])
"""


def test_every_way_is_in_the_table() -> None:
    found = set()
    for info in pkgutil.iter_modules(ways.__path__):
        module = importlib.import_module(f"{ways.__name__}.{info.name}")
        found |= {
            each for each in vars(module).values()
            if isinstance(each, type) and issubclass(each, Way) and each is not Way
        }  # fmt: skip
    assert found == {type(way) for way in WAYS}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_the_option_that_chooses_a_way(way: Way[object]) -> None:
    field = way.options.model_fields[way.name]
    assert field.default is None


def test_a_new_way_is_a_file_and_an_entry(tmp_path: Path) -> None:
    file = tmp_path / "pigeon.py"
    file.write_text(NEW_WAY)
    done = subprocess.run(
        [sys.executable, "-c", TRIAL, file], capture_output=True, text=True, check=True, timeout=60
    )
    chosen, stray = done.stdout.splitlines()
    assert chosen == "pigeon pigeon []"
    assert "tls: only together with smarthost or mx" in stray
