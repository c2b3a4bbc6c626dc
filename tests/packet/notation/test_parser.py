"""The layer notation: what is in it, what is not, and that reading it runs nothing (S30)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.packet.notation import (
    Call,
    Layer,
    NotationError,
    Packet,
    decode,
    encode,
    parse,
    render,
)
from netserve.packet.notation.nodes import MAX_DATA, MAX_DEPTH, MAX_TEXT, MAX_VALUES


def layer(name: str, /, **fields: Any) -> Layer:
    return Layer(name, tuple(fields.items()))


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("IP()", [layer("IP")]),
        ('IP(dst="127.0.0.1")', [layer("IP", dst="127.0.0.1")]),
        ("IP(ttl=5,)/ICMP()", [layer("IP", ttl=5), layer("ICMP")]),
        ("IP()/TCP(dport=[80, 443])", [layer("IP"), layer("TCP", dport=[80, 443])]),
        ("TCP(dport=(1, 10))", [layer("TCP", dport=(1, 10))]),
        ("TCP(dport=[80, (1, 10),])", [layer("TCP", dport=[80, (1, 10)])]),
        ("IP(a=(1))", [layer("IP", a=1)]),
        ("IP(a=(1,))", [layer("IP", a=(1,))]),
        ("IP(a=(), b=[])", [layer("IP", a=(), b=[])]),
        ('IP()/"data"', [layer("IP"), "data"]),
        (r"IP()/b'\x00\xff'", [layer("IP"), b"\x00\xff"]),
        ("'a'/IP()/'b'", ["a", layer("IP"), "b"]),
        ("IP()/(TCP()/'x')", [layer("IP"), layer("TCP"), "x"]),
        ('IP()/("ab" * 3)', [layer("IP"), "ababab"]),
        ('Raw("x" * 4)', [Layer("Raw", (), "xxxx")]),
        ("Raw(b'')", [Layer("Raw", (), b"")]),
        ("IP(a=None, b=True, c=False)", [layer("IP", a=None, b=True, c=False)]),
        (
            "A(a=0x1f, b=0o17, c=0b11, d=1_000, e=00)",
            [layer("A", a=31, b=15, c=3, d=1000, e=0)],
        ),
        (
            "A(a=-5, b=1.5, c=.5, d=5., e=1e3, f=-2.5e-1)",
            [layer("A", a=-5, b=1.5, c=0.5, d=5.0, e=1000.0, f=-0.25)],
        ),
        ("TCP(sport=RandShort())", [layer("TCP", sport=Call("RandShort"))]),
        (
            'IP(dst=Net("127.0.0.0/30"), id=RandNum(1, 9))',
            [layer("IP", dst=Call("Net", ("127.0.0.0/30",)), id=Call("RandNum", (1, 9)))],
        ),
        ("DNS(qd=DNSQR(qname='a'))", [layer("DNS", qd=Packet((layer("DNSQR", qname="a"),)))]),
        (
            "IP(options=[IPOption_RR()/'x'])",
            [layer("IP", options=[Packet((layer("IPOption_RR"), "x"))])],
        ),
        (" \n IP (\n dst = '1' )\t/ TCP()\n", [layer("IP", dst="1"), layer("TCP")]),
    ],
)
def test_is_read(text: str, layers: list[Any]) -> None:
    packet = parse(text)
    assert packet == Packet(tuple(layers))
    assert decode(encode(packet)) == packet
    assert parse(render(packet)) == packet


@pytest.mark.parametrize(
    "literal",
    [
        r'"\n\t\r\a\b\f\v\\\'\""', r'"\x41\101\0"', r'"\u00e9\U0001F600"', r'r"\n"', r'b"\x00\n"',
        r'br"\x"', r"Rb'\y'", 'u"é"', '"it\'s"', "'\"'", '"é"',
    ],
)  # fmt: skip
def test_strings_are_those_of_python(literal: str) -> None:
    (found,) = parse(f"IP(a={literal})").every_layer()
    assert found.fields[0][1] == eval(literal)


NOT_MULTIPLIED = (
    "a packet is not multiplied; give the number of packets as the count of the request, and write"
    ' repeated data in parentheses: IP()/("x" * 8)'
)


@pytest.mark.parametrize(
    ("text", "error", "position"),
    [
        ("", "expected a layer or a value, found the end", 0),
        ("IP", "IP is not a value; a layer is written IP(), a text in quotes", 0),
        ("IP(", "expected a layer or a value, found the end", 3),
        ("IP(a=)", "expected a layer or a value, found )", 5),
        ("IP())", "expected / or the end, found )", 4),
        ("IP()/", "expected a layer or a value, found the end", 5),
        ("IP() TCP()", "expected / or the end, found TCP", 5),
        ("IP(a=1 b=2)", "expected , or ) after an argument of IP, found b", 7),
        ("IP(a=[1 2])", "expected , or ] after a list item, found 2", 8),
        ("IP(a=1, a=2)", "IP has a twice", 8),
        ("IP(5)", "IP takes its fields by name, as in IP(field=value)", 0),
        ("Raw(5)", "Raw takes its fields by name, as in Raw(field=value)", 0),
        ("Raw('a', 'b')", "Raw takes its fields by name, as in Raw(field=value)", 0),
        ("IP(a=1, 'x')", "expected a field with its name, found 'x'", 8),
        ("'data'", "data alone is no packet; write Raw(...) or a layer before it", 0),
        ("5", 'not a packet; write layers, such as IP(dst="127.0.0.1")/ICMP()', 0),
        ("[IP()]", 'not a packet; write layers, such as IP(dst="127.0.0.1")/ICMP()', 0),
        ("RandShort()", 'not a packet; write layers, such as IP(dst="127.0.0.1")/ICMP()', 0),
        ("'a'/'b'/IP()", "/ puts layers and data onto a layer; numbers are not divided", 3),
        ("IP(a=10/2)", "/ puts layers and data onto a layer; numbers are not divided", 7),
        ("IP()/5", "/ puts layers and data onto a layer; numbers are not divided", 4),
        ("IP(a=2*3)", 'only data is multiplied, by a number: "x" * 8', 6),
        ("IP(a='x'*-1)", 'only data is multiplied, by a number: "x" * 8', 8),
        ("IP(a='x'*True)", 'only data is multiplied, by a number: "x" * 8', 8),
        ("IP(a=-'x')", "expected a number after -", 6),
        ("IP(a=--1)", "expected a number after -", 6),
        ("IP(a=08)", "a decimal number does not begin with 0", 5),
        ("IP(a=1__0)", "not a number", 5),
        ("IP(a=0x)", "expected , or ) after an argument of IP, found x", 6),
        ("IP(a=1e999)", "a number that is too large", 5),
        ("IP(a=" + "9" * 40 + ")", "an integer has at most 128 bits", 5),
        ("IP(a=" + "9" * 5000 + ")", "not a number", 5),
        ("IP(a='x)", "a string without its closing quote on the same line", 5),
        ("IP(a='x\n')", "a string without its closing quote on the same line", 5),
        (r"IP(a='\q')", r"the escape \q has no meaning here; write a \ as \\", 6),
        (r"IP(a='\x4')", r"the escape \x has no meaning here; write a \ as \\", 6),
        (r"IP(a='\N{DIGIT ONE}')", r"the escape \N has no meaning here; write a \ as \\", 6),
        (r"IP(a=b'\u0041')", r"the escape \u0041 has no meaning here; write a \ as \\", 7),
        (r"IP(a='\777')", r"the escape \777 has no meaning here; write a \ as \\", 6),
        (r"IP(a='\ud800')", "half of a surrogate pair is not a character", 5),
        ("IP(a=b'é')", r"bytes have ASCII characters only; write others as \x..", 5),
        ("IP(a=f'{1}')", "f is not a value; a layer is written f(), a text in quotes", 5),
        ("IP(a=bb'x')", "a string does not begin with 'bb'", 5),
        ("IP(a=RandShort(1))", "RandShort is written RandShort()", 5),
        ("IP(a=RandNum(1))", "RandNum is written RandNum(int, int)", 5),
        ("IP(a=RandMAC(5))", "RandMAC is written RandMAC() or RandMAC(str)", 5),
        ("IP(a=RandShort(x=1))", "RandShort takes texts and integers only", 5),
        ("IP(a=Net(['1.1.1.1']))", "Net takes texts and integers only", 5),
        ("IP(a=RandBin(-1))", "RandBin takes a size in bytes", 5),
        ("IP(a=RandString(70000))", f"more than {MAX_DATA} bytes of data", 5),
        ("IP()/('x' * 70000)", f"more than {MAX_DATA} bytes of data", 10),
        ("IP()*3", NOT_MULTIPLIED, 4),
        ("IP()/'x'*3", NOT_MULTIPLIED, 8),
        ("IP().show()", "'.' has no meaning in a packet expression", 4),
        ("IP(a=lambda: 1)", "':' has no meaning in a packet expression", 11),
        ("IP(a=[x for x in y])", "x is not a value; a layer is written x(), a text in quotes", 6),
        ("IP(a={})", "'{' has no meaning in a packet expression", 5),
        ("IP(**x)", "expected a layer or a value, found *", 3),
        ("IP(a:=1)", "':' has no meaning in a packet expression", 4),
        ("IP()\0", "'\\x00' has no meaning in a packet expression", 4),
        ("ÏP()", "'Ï' has no meaning in a packet expression", 0),
        ("(" * 40, f"more than {MAX_DEPTH} levels of brackets", MAX_DEPTH),
        ("A(a=" * 40, f"more than {MAX_DEPTH} levels of brackets", 4 * MAX_DEPTH),
        ("IP(a=[" + "1," * 5000 + "])", f"more than {MAX_VALUES} values", 8194),
        (" " * (MAX_TEXT + 1), f"the expression is longer than {MAX_TEXT} characters", MAX_TEXT),
    ],
)  # fmt: skip
def test_is_refused(text: str, error: str, position: int) -> None:
    with pytest.raises(NotationError) as caught:
        parse(text)
    assert (caught.value.what, caught.value.position) == (error, position)


def test_data_in_all_is_bounded() -> None:
    one = f'"x" * {MAX_DATA}'
    with pytest.raises(NotationError, match="bytes of data in all"):
        parse(f"IP(a=[{', '.join([one] * 20)}])")
    random = f"RandString({MAX_DATA})"
    with pytest.raises(NotationError, match="bytes of data in all"):
        parse(f"IP(a=[{', '.join([random] * 20)}])")


def test_an_error_points_at_its_place() -> None:
    text = "IP(dst='127.0.0.1')/TCP(dport=)"
    with pytest.raises(NotationError) as caught:
        parse(text)
    shown = caught.value.pointed_at(text).splitlines()
    assert shown == [
        "expected a layer or a value, found ) (at character 31)",
        f"    {text}",
        "    " + " " * 30 + "^",
    ]


def test_what_is_shown_of_a_long_text_is_short() -> None:
    text = "IP()/" * 5000 + "\x1b[31m"
    with pytest.raises(NotationError) as caught:
        parse(text)
    shown = caught.value.pointed_at(text)
    assert len(shown) < 300
    assert "\x1b" not in shown


# Values of the notation, for properties

names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: (
        name not in {"True", "False", "None", "Raw", "Padding"}
        and not name.startswith(("Rand", "Net"))
    )
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
calls = st.one_of(
    st.just(Call("RandShort")),
    st.builds(lambda a, b: Call("RandNum", (a, b)), st.integers(0, 9), st.integers(0, 9)),
    st.builds(lambda text: Call("Net", (text,)), texts),
)
plain = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**100), 2**100), texts, st.binary(max_size=12), calls,
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip


def packets(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Packet]:
    fields = st.dictionaries(names, values, max_size=3).map(lambda found: tuple(found.items()))
    layers = st.builds(Layer, names, fields)
    rest = st.lists(st.one_of(layers, texts, st.binary(max_size=9)), max_size=2)
    return st.builds(lambda first, more: Packet((first, *more)), layers, rest)


values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), packets(inner)
    ),
    max_leaves=8,
)


@given(packets(values))
def test_what_is_written_is_read_again(packet: Packet) -> None:
    assert parse(render(packet)) == packet
    assert decode(encode(packet)) == packet


@given(st.text(alphabet="IPTCa(=)[],/*-'\"b\\x0159. \n", max_size=60))
def test_any_text_is_a_packet_or_an_error(text: str) -> None:
    packet = None
    try:
        packet = parse(text)
    except NotationError as error:
        problem = error
    if packet is None:
        assert 0 <= (problem.position or 0) <= len(text)
        assert problem.pointed_at(text)
    else:
        assert parse(render(packet)) == packet


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["layer", "fields", "data", "bytes", "tuple", "packet", "call", "with"]
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_a_packet_or_an_error(value: Any) -> None:
    try:
        packet = decode(value)
    except NotationError:
        return
    assert decode(encode(packet)) == packet


def test_hostile_json() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    for value in (
        [{"layer": "IP", "fields": [["a", deep]]}],
        [{"layer": "IP", "fields": [["a", 1], ["a", 2]]}],
        [{"layer": "IP", "fields": [["a b", 1]]}],
        [{"layer": "__import__('os')"}],
        [{"layer": "IP", "data": "x"}],
        [{"layer": "IP", "fields": [["a", {"call": "eval", "with": ["1"]}]]}],
        [{"layer": "IP", "fields": [["a", {"bytes": "zz"}]]}],
        [{"layer": "IP", "fields": [["a", 10**400]]}],
        [{"layer": "IP", "fields": [["a", float("nan")]]}],
        [{"layer": "IP", "fields": [["a", "\ud800"]]}],
        [{"layer": "IP"}] * 5000,
        ["data"],
        [],
        {"layer": "IP"},
    ):
        with pytest.raises(NotationError):
            decode(value)


# What runs while a hostile expression is read

_WATCHED = {"compile", "exec", "import", "open", "os", "subprocess", "socket", "ctypes", "code"}


class Watch:
    """What the interpreter does that nothing here should do; a hook for audits stays for good."""

    def __init__(self) -> None:
        self.seen: list[str] | None = None
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.seen is not None and event.partition(".")[0] in _WATCHED:
            self.seen.append(event)

    @contextmanager
    def nothing_runs(self) -> Iterator[None]:
        self.seen = seen = []
        try:
            yield
        finally:
            self.seen = None
        assert seen == []


PAYLOADS = [
    "__import__('os').system('id')", "eval('1+1')", "exec('x=1')", "open('/etc/passwd').read()",
    "globals()['__builtins__']", "().__class__.__mro__[1].__subclasses__()", "lambda: 0",
    "[x for x in (1).__class__.__mro__]", "(yield)", "await x", "x if y else z", "not 1",
    "1 or 2", "a.b", "a[0]", "f'{1}'", "{1: 2}", "{*()}", "*()", "**{}", "...", "1 < 2", "@x",
    "x := 1", "`id`", "$(id)", "1; import os", "0 # x", "print\n(1)\n.x", "'%s' % 1",
    "'a'.format(1)", "~1", "1 << 9", "2 ** 99", "10 // 3", "5 % 2", "1 + 1", "x!r", "\\", "?",
]  # fmt: skip
PLACES = [
    "{}", "IP({})", "IP(dst={})", "IP(dst=[{}])", "IP(dst=(1, {}))", "IP()/{}", "{}/IP()",
    "IP()/TCP(options=[('MSS', {})])", "Raw({})", "RandNum(1, {})", "IP(a=RandNum({}, 2))",
    "IP(dst='127.0.0.1', {}=1)", "DNS(qd=DNSQR(qname={}))", "IP(({}))", "IP()/('x' * {})",
    "IP(a=b'x', b={}, c=[])", "IP(dst=Net({}))", "Ether()/IP()/UDP(dport=[1, (2, {})])",
    "[{}]", "IP(a=[[[{}]]])", "IP(a={}", "IP(a=1){}", "{} IP()", "IP(,{})", "IP(a=1,,b={})",
]  # fmt: skip
HOSTILE = [place.format(payload) for place in PLACES for payload in PAYLOADS]


def test_a_thousand_hostile_expressions_are_errors_and_run_nothing() -> None:
    """S30: no text from outside is evaluated."""
    watch = Watch()
    assert len(set(HOSTILE)) >= 1000
    for text in HOSTILE:
        with watch.nothing_runs(), pytest.raises(NotationError):
            parse(text)
