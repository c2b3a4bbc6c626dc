"""A netserve that starts as root and becomes another user, with a Python that this user can read.

Where the tests' own Python lies in a folder that is closed to others, as in root's home, it is
mounted a second time, in a mount namespace of the process: `unshare` of util-linux does that.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import netserve
from netserve.testing.process import BIN
from netserve.testing.programs import missing, require_program

USER = "nobody"
_ENTRY = {
    "netserve": "from netserve.cli import main; main()",
    "twistd": "from twisted.scripts.twistd import run; run()",
}


def can_read(path: Path) -> bool:
    """Whether `USER` can."""
    done = subprocess.run(
        ["test", "-r", os.fspath(path)], check=False, user=USER, group="nogroup", extra_groups=[]
    )
    return done.returncode == 0


def command_for(user_folder: Path, *words: str) -> tuple[str, ...]:
    """A command whose program and modules `USER` can read.

    Arguments:
        user_folder: an `open_folder`, where mounts may be made.
        words: the command: ``netserve`` or ``twistd``, and its first arguments.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    roots = {
        "python": Path(sys.base_prefix),
        "site": Path(pytest.__file__).parents[1],
        "source": Path(netserve.__file__).parents[1],
    }
    program = Path(os.path.realpath(sys.executable))
    if all(map(can_read, (*roots.values(), program, BIN / "python"))):
        return words
    unshare = require_program("unshare")
    script, places = [], {}
    for name, root in roots.items():
        places[name] = user_folder / "mounted" / name
        places[name].mkdir(parents=True)
        source, target = shlex.quote(str(root)), shlex.quote(str(places[name]))
        script.append(f"mount --bind {source} {target}")
    python = places["python"] / program.relative_to(sys.base_prefix)
    libraries = places["python"] / "lib"
    script.append(
        f"exec env PYTHONPATH={places['site']}:{places['source']} LD_LIBRARY_PATH={libraries}"
        f' {python} -c {shlex.quote(_ENTRY[words[0]])} "$@"'
    )
    command = (unshare, "--mount", "sh", "-ec", "\n".join(script), words[0])
    probe = subprocess.run(
        [unshare, "--mount", "sh", "-ec", "\n".join(script[:-1])], check=False, capture_output=True
    )
    if probe.returncode != 0:
        missing(f"a mount namespace is not to be had: {probe.stderr.decode().strip()}")
    return (*command, *words[1:])
