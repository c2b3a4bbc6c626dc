"""The section ``packet:`` of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from netserve.config.load import load, load_packet
from netserve.config.packet import PacketSettings
from netserve.errors import ConfigError
from netserve.packet.policy import Policy
from netserve.registry import Registry


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_without_the_section_it_is_loopback_alone(tmp_path: Path) -> None:
    assert PacketSettings().policy() == Policy()
    assert load_packet(write(tmp_path, "services: {}\n")).policy() == Policy()


def test_the_section_is_read_alone_and_with_the_rest(tmp_path: Path) -> None:
    section = (
        "packet: {targets: 10.0.0.0/8, layers: [IP, ICMP], interfaces: eth0, rate: 20/minute,"
        " payload: 1KiB, size: 9000, packets: 5, timeout: 5s, requests: 2, forge: true,"
        " other_frames: true, socket: x.socket}\n"
    )
    alone = load_packet(write(tmp_path, section + "services: {broken: {}}\n"))
    policy = alone.policy()
    assert [str(network) for network in policy.targets] == ["10.0.0.0/8"]
    assert (policy.layers, policy.interfaces) == (("IP", "ICMP"), ("eth0",))
    assert (policy.payload, policy.size, policy.packets, policy.requests) == (1024, 9000, 5, 2)
    assert (policy.interval, policy.timeout, policy.forge, policy.other_frames) == (
        3,
        5,
        True,
        True,
    )
    assert alone.socket == tmp_path / "x.socket"
    echo = "services: {echo: {protocol: echo, listen: 'tcp:0'}}\n"
    assert load(write(tmp_path, section + echo), Registry()).packet == alone


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("packet: 5\n", "config.yaml:1:9: packet: "),
        ("packet: {target: 10.0.0.0/8}\n", "packet.target: unknown key; did you mean targets?"),
        ("packet: {targets: 10.0.0.1/8}\n", "config.yaml:1:19: packet.targets: not a network"),
        ("packet: {rate: 5}\n", "config.yaml:1:16: packet.rate: not a rate"),
        ("packet: {packets: 0}\n", "config.yaml:1:19: packet.packets: "),
        ("packet: {size: 20}\n", "config.yaml:1:16: packet.size: "),
        ("packet: {timeout: 5}\n", "config.yaml:1:19: packet.timeout: not a duration"),
        ("packet: {forge: no}\n", "config.yaml:1:17: packet.forge: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, error: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_packet(path)
    assert error in str(caught.value)
    with pytest.raises(ConfigError) as whole:
        load(
            write(tmp_path, text + "services: {echo: {protocol: echo, listen: 'tcp:0'}}\n"),
            Registry(),
        )
    assert error in str(whole.value)


def test_a_section_without_anything(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_packet(write(tmp_path, "packet:\nservices: {}\n"))
    with pytest.raises(ConfigError):
        load_packet(tmp_path / "none.yaml")
