"""Expressions give the bytes that Scapy's own evaluation of them gives, or are refused."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import Logger

from netserve.packet.client import PacketHelper
from netserve.packet.client.launching import Spawn
from netserve.packet.errors import PacketError
from netserve.packet.notation import NotationError, parse
from netserve.packet.policy import Policy
from netserve.packet.requests import Craft
from tests.packet.helper.generated import Generator

FREE = Policy(layers=("*",), payload=65_535, size=65_549, packets=1000)
COUNT = 1000


@pytest.fixture(scope="module")
def scapy_itself() -> Iterator[Any]:
    command = [sys.executable, str(Path(__file__).with_name("reference.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def evaluate(expression: str) -> list[str] | None:
            process.stdin.write(json.dumps(expression) + "\n")
            process.stdin.flush()
            found: list[str] | None = json.loads(process.stdout.readline())
            return found

        yield evaluate
        process.stdin.close()


@pytest.fixture
def helper() -> Iterator[PacketHelper]:
    made = PacketHelper(
        reactor=reactor, policy=FREE, launcher=Spawn(Path(sys.executable)), log=Logger()
    )
    yield made
    made.close()


async def crafted(helper: PacketHelper, expression: str) -> list[str] | None:
    try:
        done = await helper.ask(Craft(packet=parse(expression)), deadline=60)
    except PacketError as error:
        if error.kind not in {"invalid", "refused"}:
            raise
        return None
    packets: list[str] = done["packets"]
    return packets


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_a_thousand_generated_expressions(helper: PacketHelper, scapy_itself: Any) -> None:
    """S30: through the helper, with nothing evaluated."""
    generator, refused = Generator(1), 0
    for _ in range(COUNT):
        expression = generator.expression()
        wanted = scapy_itself(expression)
        refused += wanted is None
        assert await crafted(helper, expression) == wanted, expression
    assert refused < COUNT / 10  # the generator makes what Scapy understands


@pytest_twisted.ensureDeferred
async def test_expressions_by_hand(helper: PacketHelper, scapy_itself: Any) -> None:
    for expression in (
        'IP(dst="127.0.0.1")/TCP(dport=80)/"Hello, server!"',
        'IP(dst="127.0.0.1")/TCP(dport=[80, 443], flags="S")/"data"',
        'IPv6(dst="::1")/ICMPv6EchoRequest(data="x" * 8)',
        'IP(dst="127.0.0.0/29", ttl=(1, 3))/ICMP()',
        'IP(dst="127.0.0.1")/UDP(dport=(1, 9, 2))',
        'IP(dst="127.0.0.1")/ICMP(type=3, code=1)/IP(dst="10.0.0.1")/TCP()',
        'Raw("abc")',
        'Raw(b"abc")/Raw(load="def")',
        "IP(dst='127.0.0.1', options=[IPOption_RR(), IPOption_NOP()])/ICMP()",
    ):
        wanted = scapy_itself(expression)
        assert wanted, expression
        assert await crafted(helper, expression) == wanted


def hostile() -> list[str]:
    """What the parser takes for an expression, and Scapy or the table of layers must refuse."""
    names = [
        "os",
        "sys",
        "eval",
        "exec",
        "__import__",
        "__builtins__",
        "object",
        "type",
        "Packet",
        "NoPayload",
        "conf",
        "sr",
        "send",
        "ls",
        "fuzz",
        "RawVal",
        "PcapWriter",
        "Emph",
        "load_contrib",
    ]
    fields = [
        "_pkt",
        "post_transform",
        "_internal",
        "_underlayer",
        "_parent",
        "stop_dissection_after",
        "__class__",
        "__init__",
        "__reduce__",
        "payload",
        "fields",
        "fields_desc",
        "raw_packet_cache",
        "build",
        "do_build",
        "post_build",
        "time",
        "name",
        "underlayer",
        "explicit",
        "original",
        "sent_time",
        "show",
        "pdfdump",
        "command",
        "clone_with",
        "default_fields",
        "add_payload",
    ]
    values = ['"id"', "1", '["a", ("b", 2)]', "IP()", "RandShort()", "None", "(1, 99999999999)"]
    layers = ["IP", "TCP", "UDP", "ICMP", "Ether"]
    addresses = ["$(id)", "`id`", "../../etc/passwd", "a;b", "%s", "{0}"]
    return [
        *(f"{name}(a={value})" for name in names for value in values),
        *(f"{one}({field}={value})" for one in layers for field in fields for value in values),
        *(f'IP(dst="{text}")' for text in addresses),
    ]


@pytest_twisted.ensureDeferred
async def test_hostile_names_and_fields_are_errors(helper: PacketHelper) -> None:
    """S30: a name leads to a layer by a table, a field to what a layer has, and to nothing else."""
    found = hostile()
    assert len(set(found)) >= 1000
    for expression in found:
        assert await crafted(helper, expression) is None, expression
    # The same helper, after all of them.
    assert helper.starts == 1


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_mutated_expressions_are_packets_or_errors(helper: PacketHelper) -> None:
    """S30."""
    chance, generator = random.Random(2), Generator(3)
    for _ in range(1000):
        expression = list(generator.expression())
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(expression))
            expression[at : at + chance.randint(0, 2)] = chance.choice("()[]\"'=,/*-0x9ab\\ \n\0é")
        try:
            parse("".join(expression))
        except NotationError:
            continue
        await crafted(helper, "".join(expression))
    assert helper.starts == 1


@pytest_twisted.ensureDeferred
async def test_what_takes_too_much_is_refused(helper: PacketHelper) -> None:
    for expression, kind in (
        ('IP(dst="0.0.0.0/0")/TCP(dport=(0, 65535))', "refused"),
        ("IP(id=(0, 99999999999))", "refused"),
        ('IPv6(dst="::/0")', "refused"),
        ('IP(options=[IPOption(value="x" * 60000)])', "invalid"),
    ):
        with pytest.raises(PacketError) as caught:
            await helper.ask(Craft(packet=parse(expression)), deadline=60)
        assert caught.value.kind in {kind, "late"}, expression
    assert helper.starts == 1
