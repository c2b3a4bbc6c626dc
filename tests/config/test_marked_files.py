"""S17: a marker in each place of real files that may hold a secret is never shown.

The files are those of `examples/` and the golden cases, right and wrong ones. The places are
found here by the names of options alone, so that the product does not judge itself.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from netserve.cli.check import check
from netserve.testing.process import BIN

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(ROOT.glob("examples/*/config.yaml"))
CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))
MARK = "s3kr1tmarker"
SECRET_NAMES = re.compile(
    r"pass|secret|token|(^|[-_ ])key|^(users|headers|arguments|login|smarthost|url|body|json|form"
    r"|reply|authorization|x-.*)$",
    re.IGNORECASE,
)
"""Of options that may hold a secret, or have it somewhere inside."""
HARMLESS = {("tls", "key"), ("more", "key"), ("dkim", "headers")}
"""Options of such names, with the sections around them, that are paths or names."""
LINE = re.compile(
    r"^[ \t-]*[\w-]*(?:password|secret|token)[\w-]*[ \t]*:[ \t]*(?P<value>\S.*)$", re.MULTILINE
)
"""For files that are no YAML."""
MARKS = (MARK, f"*{MARK}", f"!{MARK} x", f"{{{MARK}: x}}", f'"{MARK}"', f"!env {MARK}",
         f"!file {MARK}", f"[{MARK}]", f"u:{MARK}@x:587", f"'{MARK}",
         f"https://u:{MARK}@x/{{{MARK}}}?key={MARK}",
         f"$argon2id$v=19${MARK}")  # fmt: skip


ALONE = 4
"""How many of them are also tried at one place alone; the others are, in test_no_secret_shows."""


@dataclass(frozen=True, order=True)
class Place:
    """Where a value stands in a text."""

    begin: int
    end: int


def places(text: str) -> list[Place]:
    """The places of a file that may hold a secret."""
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        return [Place(*match.span("value")) for match in LINE.finditer(text)]
    # From the end, so that replacing one moves none of the others.
    return sorted(set(_below(root)), reverse=True)


def _below(root: yaml.Node | None) -> Iterator[Place]:
    """The scalars inside of options with such names; what aliases repeat, once."""
    waiting: list[tuple[yaml.Node | None, str, bool]] = [(root, "", False)]
    seen = set()
    while waiting:
        node, section, inside = waiting.pop()
        if node is None or (id(node), inside) in seen:
            continue
        seen.add((id(node), inside))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = str(key.value)
                found = SECRET_NAMES.search(name) and (section, name) not in HARMLESS
                waiting.append((value, name, inside or bool(found)))
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(item, section, inside) for item in node.value]
        elif inside and node.start_mark.index < node.end_mark.index:
            yield Place(node.start_mark.index, node.end_mark.index)


def told(folder: Path, text: str) -> str:
    """Everything that both forms of `check` say of a file."""
    (folder / "config.yaml").write_bytes(text.encode())
    said = []
    for form in ([], ["--json"]):
        done = CliRunner().invoke(check, [str(folder / "config.yaml"), *form])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        said.append(done.output)
    if said[1].startswith("["):
        json.loads(said[1])
    return "\n".join(said)


def copy_of(path: Path, folder: Path) -> str:
    shutil.copytree(path.parent, folder, dirs_exist_ok=True)
    return path.read_bytes().decode()


@pytest.mark.parametrize(
    "path", [*EXAMPLES, *CASES], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_check_shows_no_marker(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S17: one place after the other, in each way of writing it; then all of them at once."""
    monkeypatch.syspath_prepend(str(path.parent))
    text = copy_of(path, tmp_path)
    found = places(text)
    for mark in MARKS[:ALONE]:
        for place in found:
            marked = text[: place.begin] + mark + text[place.end :]
            assert MARK not in told(tmp_path, marked), marked
    for mark in MARKS:
        marked = text
        for place in found:
            marked = marked[: place.begin] + mark + marked[place.end :]
        assert MARK not in told(tmp_path, marked), marked


def test_the_files_have_places() -> None:
    """Else the test above would test nothing."""
    counts = {path: len(places(path.read_bytes().decode())) for path in (*EXAMPLES, *CASES)}
    assert sum(bool(counts[path]) for path in EXAMPLES) >= 4
    assert sum(bool(counts[path]) for path in CASES) >= 50


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("command", [("netserve", "run"), ("twistd", "-n", "netserve", "--config")])
def test_a_start_that_is_refused_shows_no_marker(
    path: Path, command: tuple[str, ...], tmp_path: Path
) -> None:
    """S17: what the program prints before it has a log."""
    text = copy_of(path, tmp_path)
    for place in places(text):
        text = text[: place.begin] + MARK + text[place.end :]
    (tmp_path / "config.yaml").write_text(f"{text}\nno_such_section: {MARK}\n")
    done = subprocess.run(
        [BIN / command[0], *command[1:], "config.yaml"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"config\.yaml:\d+:1: unknown key", done.stderr)
    assert MARK not in done.stdout + done.stderr
