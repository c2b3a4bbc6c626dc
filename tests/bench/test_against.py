"""The works that two revisions are compared by."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.against import WORKS, Works
from bench.load.mail import why_not
from netserve.config.load import load
from netserve.registry import Registry


@pytest.mark.parametrize("name", WORKS)
def test_every_work_has_a_config_that_loads(name: str, tmp_path: Path) -> None:
    if name.startswith("relay") and (reason := why_not()):
        pytest.skip(reason)
    with ExitStack() as stack:
        text, measure, _ = Works(tmp_path, stack, 1.0).prepare(name, 7007)
        file = tmp_path / "config.yaml"
        file.write_text(text)
        assert len(load(file, Registry()).services) == 1
        assert callable(measure)
