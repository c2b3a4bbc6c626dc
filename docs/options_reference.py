"""A Sphinx extension: writes ``reference/options.md`` from the settings models.

The tables are those of ``netserve list NAME``, so that the pages cannot say anything else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netserve.config.envelope import ProcessSettings
from netserve.config.packet import PacketSettings
from netserve.config.reference import options_of
from netserve.plugin import Settings
from netserve.registry import Registry

HEAD = """# Options

Made from the settings models; `netserve list NAME` prints the same. Where `required` stands in the
place of a default, the option must be given; inside of a section that may be left out, only where
the section is there.

"""


def table(model: type[Any], *, without: frozenset[str] = frozenset()) -> str:
    """The options of a model as a Markdown table."""
    rows = ["| option | type | default | meaning |", "| --- | --- | --- | --- |"]
    for row in options_of(model):
        if row.path not in without:
            default = "required" if row.required else f"`{row.default}`" if row.default else ""
            cells = (f"`{row.path}`", row.type, default, row.meaning)
            rows.append("| " + " | ".join(map(cell, cells)) + " |")
    return "\n".join(rows) + "\n\n"


def cell(text: str) -> str:
    """A text inside of a table's cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def write(folder: Path) -> None:
    """Write the page, if it would change."""
    common = frozenset(row.path for row in options_of(Settings))
    text = HEAD + "## `netserve:`\n\n" + table(ProcessSettings)
    text += "## `packet:`\n\n" + table(PacketSettings)
    text += "## Every service\n\n" + table(Settings)
    for name in Registry().built_in():
        plugin = Registry().find(name)
        text += f"## `{name}`\n\n" + table(plugin.settings, without=common)
    page = folder / "reference" / "options.md"
    page.parent.mkdir(exist_ok=True)
    if not page.exists() or page.read_text() != text:
        page.write_text(text)


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    write(Path(app.srcdir))
    return {"parallel_read_safe": True}
