"""Ways to a helper: which one is taken, and what goes along."""

from __future__ import annotations

import os
import site
import socket
import sys
from pathlib import Path

import pytest

import netserve
from netserve.packet.client import launching
from netserve.packet.client.launching import COPY_NAME, Connect, Spawn, choose_launcher
from netserve.packet.confinement import system


@pytest.fixture
def uncapable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "has_capability", lambda number: False)


@pytest.mark.usefixtures("uncapable")
def test_the_ways_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    path = tmp_path / "packet.socket"
    assert choose_launcher(path) == Spawn(python)
    copy = tmp_path / COPY_NAME
    copy.write_bytes(b"")
    copy.chmod(0o700)
    assert choose_launcher(path) == Spawn(python)  # without the capability it is of no use
    monkeypatch.setattr(launching, "has_file_capability", lambda path: path == copy)
    assert choose_launcher(path) == Spawn(copy)
    monkeypatch.setattr(system, "has_capability", lambda number: number == system.CAP_NET_RAW)
    assert choose_launcher(path, "me") == Spawn(python, "me", hand_down=os.geteuid() != 0)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert choose_launcher(path) == Connect(path)
        assert choose_launcher(None) == Spawn(python, hand_down=os.geteuid() != 0)


def test_nothing_of_our_environment_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    flags, environment = launching._isolation()
    assert "-I" in flags
    assert "hunter2" not in environment.values()
    assert set(environment) == {"HOME", "TZ", "LANG"}


def test_the_user_s_packages_go_along_where_netserve_is_one_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = str(Path(netserve.__file__).parents[1])
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(site, "getusersitepackages", lambda: folder)
    monkeypatch.setattr(site, "getuserbase", lambda: "/base")
    flags, environment = launching._isolation()
    assert "-I" not in flags
    assert environment["PYTHONUSERBASE"] == "/base"
