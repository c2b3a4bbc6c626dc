"""Dialogues: read with the place of every mistake, made from captures, played, and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from netserve.capture.decode.model import CLIENT, SERVER
from netserve.capture.model import Kind
from netserve.dialogue.comparison import MOST_LINES, difference
from netserve.dialogue.content import content_of, to_bytes
from netserve.dialogue.document import CaseFile, Content, load, load_text
from netserve.dialogue.from_capture import MAX_BYTES, Turns, case_of, dump
from netserve.dialogue.junit import Result, junit
from netserve.dialogue.masks import NAMES, Masks
from netserve.dialogue.messages import count_of, http_end
from netserve.dialogue.player import (
    Advance,
    Await,
    CloseClient,
    Done,
    Failed,
    Player,
    Send,
)
from netserve.errors import ConfigError
from tests.capture.traffic import HTTP, SMTP

DOCUMENT = """\
config: config.yaml
tests:
  - name: a mail is accepted
    service: mail
    masks: [date, id, {name: order, pattern: 'ORD-(?P<value>\\d+)'}]
    dialogue:
      - expect: 220 mx.example.org ESMTP
      - send: EHLO me
      - expect: |
          250-mx.example.org
          250 SIZE 1000
      - send: |
          MAIL FROM:<a@b.c>
          RCPT TO:<d@e.f>
      - expect: {matches: '250 .*\\r\\n250 2\\.1\\.5'}
      - advance: 30s
      - send: {hex: 51 55 49 54 0d 0a}
      - expect: "221 ORD-17 bye"
      - close: server
"""


def cases(text: str) -> CaseFile:
    return load_text(text, Path("some.test.yaml"))


def test_a_document() -> None:
    found = cases(DOCUMENT)
    (case,) = found.cases
    assert (case.name, case.service, case.framing) == ("a mail is accepted", "mail", "lines")
    assert found.config == Path("config.yaml").absolute()
    assert case.dialogue[0].expect == Content(text="220 mx.example.org ESMTP")
    assert case.dialogue[5].advance == 30
    assert found.line_of(0) == 3
    assert [found.line_of(0, step) for step in (0, 2, 8)] == [7, 9, 19]


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mail.test.yaml"
    path.write_text(DOCUMENT)
    assert load(path).config == tmp_path / "config.yaml"
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            ("expect: 220", "expct: 220"),
            "7:9: tests[0].dialogue[0].expct: unknown key; did you mean expect?",
        ),
        (
            ("service: mail", "servic: mail"),
            "4:5: tests[0].servic: unknown key; did you mean service?",
        ),
        (("advance: 30s", "advance: soon"), "16:18: tests[0].dialogue[5].advance: "),
        (("close: server", "close: both"), "19:16: tests[0].dialogue[8].close: "),
        (
            ("hex: 51 55", "hex: 5x 55"),
            "17:21: tests[0].dialogue[6].send.hex: expected pairs of hexadecimal",
        ),
        (
            ("matches: '250", "matches: '(250"),
            "15:27: tests[0].dialogue[4].expect.matches: not a regular",
        ),
        (
            ("[date, id,", "[date, di,"),
            "5:19: tests[0].masks[1]: unknown mask; there are date, id, token",
        ),
        (
            ("{hex: 51 55 49 54 0d 0a}", "{hex: '51', text: x}"),
            "17:15: tests[0].dialogue[6].send: expected exactly one",
        ),
        (
            ("send: EHLO me", "{send: a, expect: b}"),
            "8:9: tests[0].dialogue[1]: expected exactly one of send",
        ),
        (("send: EHLO me", "send: {matches: x}"), "matches is for expectations only"),
        (("tests:", "test:"), "unknown key; did you mean tests?"),
        ((DOCUMENT, "- 1"), "the file has to be a mapping with the key tests"),
        ((DOCUMENT, ""), "the file is empty; it needs a section `tests:`"),
        ((DOCUMENT, "[]"), "the file has to be a mapping with the key tests"),
        ((DOCUMENT, "tests: []"), "tests"),
    ],
)
def test_mistakes_are_told_with_their_place(change: tuple[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cases(DOCUMENT.replace(*change))
    assert problem in str(caught.value)


# content

framings = st.sampled_from(["lines", "http", "mllp", "datagrams", "bytes"])
pieces = st.lists(
    st.sampled_from(
        [
            b"\r\n",
            b"\n",
            b"\r",
            b"a",
            b" ",
            b"\x0b",
            b"\x1c\r",
            b"\xff",
            "\u00e9".encode(),
            b"\r\n\r\n",
            b"\t",
            b"x: y",
        ]
    ),
    max_size=12,
).map(b"".join)


@given(pieces, framings, st.sampled_from(["crlf", "lf"]))
def test_content_stands_for_the_same_bytes_again(data: bytes, framing: Any, line_end: Any) -> None:
    options = content_of(data, framing, line_end)
    again = yaml.safe_load(yaml.safe_dump(options))
    content = Content.model_validate(again, context={"folder": Path()})
    assert to_bytes(content, framing, line_end, Path.read_bytes) == data


@pytest.mark.parametrize(
    ("data", "framing", "options"),
    [
        (b"250-a\r\n250 b\r\n", "lines", {"text": "250-a\n250 b"}),
        (b"no end", "lines", {"hex": "6e 6f 20 65 6e 64"}),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\nbo\ndy",
            "http",
            {"text": "GET / HTTP/1.1\nHost: x\n\nbo\ndy"},
        ),
        (b"\x0bMSH|^\rPID|1\r\x1c\r", "mllp", {"text": "MSH|^\nPID|1"}),
        (b"text\n", "datagrams", {"text": "text\n"}),
        (b"\0\1", "bytes", {"hex": "00 01"}),
    ],
)
def test_content(data: bytes, framing: Any, options: dict[str, str]) -> None:
    assert content_of(data, framing, "crlf") == options
    assert set(content_of(bytes(100), "bytes", "crlf")) == {"base64"}


def test_content_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(b"\0\1")
    content = Content.model_validate({"file": "mail"}, context={"folder": tmp_path})
    assert to_bytes(content, "lines", "crlf", Path.read_bytes) == b"\0\1"


# masks


@pytest.mark.parametrize(
    ("names", "text", "masked"),
    [
        (["date"], "Date: Tue, 14 Nov 2023 22:13:20 +0000 (UTC)", "Date: <date>"),
        (["date"], "Date: Tue, 14 Nov 2023 22:13:20 GMT\r\nX: y", "Date: <date>\r\nX: y"),
        (["date"], "at 2023-11-14T22:13:20.123Z, 2023-11-14", "at <date>, <date>"),
        (["date"], "at 2023-11-14 22:13:20+01:00.", "at <date>."),
        (["date"], "Tue Nov 14 22:13:20 2023", "<date>"),
        (["date"], "MSH|A|B|20231114221320||ACK", "MSH|A|B|<date>||ACK"),
        (["date"], "12345678901234 and 1.2.3 on 4 May", "12345678901234 and 1.2.3 on 4 May"),
        (["id"], "250 2.0.0 accepted 1k0zg34dcg6", "250 2.0.0 accepted <id>"),
        (
            ["id"],
            "trace 02cc274e39b41bbb-1, 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "trace <id>, <id>",
        ),
        (["id"], "Message-ID: <17000.123@mx.example.org>", "Message-ID: <<id>@mx.example.org>"),
        (
            ["id"],
            "250-8BITMIME SMTPUTF8 CRAM-MD5 ESMTP HTTP/1.1",
            "250-8BITMIME SMTPUTF8 CRAM-MD5 ESMTP HTTP/1.1",
        ),
        (["token"], "token=eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "token=<token>"),
        (["token"], "a short one: abcdef0123456789", "a short one: abcdef0123456789"),
        (
            ["address"],
            "from 192.0.2.1:25 and [IPv6:2001:db8::1] and [::1]:80",
            "from <address> and <address> and <address>",
        ),
        (["number"], "took 0.003 s for 17 bytes", "took <number> s for <number> bytes"),
        ([], "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:20 GMT"),
    ],
)
def test_masks(names: list[str], text: str, masked: str) -> None:
    masks = Masks(names)
    assert masks.apply(text.encode()).decode() == masked
    assert masks.apply(masked.encode()).decode() == masked
    assert set(names) <= set(NAMES)


def test_own_masks() -> None:
    masks = Masks([], [("order", r"ORD-(?P<value>\d+)"), ("name", "joe|jane")])
    assert masks.apply(b"ORD-17 of jane and joe") == b"ORD-<order> of <name> and <name>"


# differences

NONE = Masks()


def test_equal_answers_have_no_difference() -> None:
    assert difference(b"x", b"x", NONE) == ""
    assert difference(b"id 1k0zg34dcg6\r\n", b"id 2a9bb77xyz1\r\n", Masks(["id"])) == ""
    assert difference(b"id <id>\r\n", b"id 2a9bb77xyz1\r\n", Masks(["id"])) == ""


def test_a_difference_of_text() -> None:
    expected = b"250-mx.example.org\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"
    answered = b"250-mx.example.org\r\n250-PIPELINING\r\n250 SIZE 2000\r\n"
    assert difference(expected, answered, NONE).splitlines() == [
        "  250-mx.example.org",
        "  250-PIPELINING",
        "- 250 SIZE 1000",
        "+ 250 SIZE 2000",
        "           ^",
    ]
    missing = difference(expected, b"250 SIZE 1000\r\n", NONE).splitlines()
    assert missing == ["- 250-mx.example.org", "- 250-PIPELINING", "  250 SIZE 1000"]


def test_a_difference_in_ends_of_lines_and_in_bytes() -> None:
    told = difference(b"a\r\n", b"a\n", NONE)
    assert told.splitlines()[:2] == [f"- {'61 0d 0a':<48} |a..|", f"+ {'61 0a':<48} |a.|"]
    told = difference(bytes(40), bytes(39) + b"\xff", NONE)
    assert "ff" in told
    assert "- 00" in told
    assert difference(b"\x1b[2J", b"x", NONE).isascii()


def test_differences_are_bounded_and_printable() -> None:
    one, other = (b"".join(b"%d %s\n" % (n, word) for n in range(5000)) for word in (b"a", b"b"))
    told = difference(one, other, NONE).splitlines()
    assert len(told) == MOST_LINES + 1
    assert told[-1].endswith("lines more")
    far = difference(one, one.replace(b"4000 a", b"4000 b"), NONE).splitlines()
    assert "equal lines" in far[0]
    assert all(
        line.isprintable() for line in difference(b"a\x0b\x1c", b"\x0bb\ty", NONE).splitlines()
    )


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_a_difference_is_told_if_and_only_if_there_is_one(one: bytes, other: bytes) -> None:
    told = difference(one, other, NONE)
    assert bool(told) is (one != other)
    assert all(line.isprintable() for line in told.splitlines())


# messages


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP", 41),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", 0),
        (b"HTTP/1.1 204 No\r\n\r\nHTTP", 19),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil close", 0),
        (
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3;x\r\nabc\r\n0\r\nA: b\r\n\r\nHTTP"
            ),
            68,
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", 0),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 0),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET", 27),
        (b"HTTP/1.1 200 OK\r\nCont", 0),
    ],
)
def test_where_an_http_message_ends(data: bytes, end: int) -> None:
    assert http_end(data, 0) == end
    assert count_of(data, "http") == bool(end)


# playing


def play(
    text: str, answers: dict[bytes, list[bytes]], greeting: bytes = b"", size: int = 0
) -> tuple[list[object], object]:
    """Plays against a service that answers by a table; it closes at `None`."""
    (case,) = cases(text).cases
    player = Player(case)
    done: list[object] = []
    waiting = [greeting] if greeting else []
    while True:
        action = player.next_action()
        if isinstance(action, Done | Failed):
            return done, action
        if isinstance(action, Await):
            if not waiting:
                player.timed_out()
                continue
            data = waiting.pop(0)
            if data == b"CLOSE":
                player.closed()
            elif size:
                head, rest = data[:size], data[size:]
                player.received(head)
                waiting[:0] = [rest] if rest else []
            else:
                player.received(data)
        else:
            done.append(action)
            if isinstance(action, Send):
                waiting += answers.get(action.data, [])


ANSWERS = {
    b"EHLO me\r\n": [b"250-mx.example.org\r\n250 SIZE 1000\r\n"],
    b"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\n": [b"250 2.1.0 ok\r\n", b"250 2.1.5 ok\r\n"],
    b"QUIT\r\n": [b"221 ORD-99 bye\r\n", b"CLOSE"],
}


@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_dialogue_that_is_as_expected(size: int) -> None:
    done, end = play(DOCUMENT, ANSWERS, b"220 mx.example.org ESMTP\r\n", size)
    assert end == Done()
    assert [type(each) for each in done] == [Send, Send, Advance, Send]


def test_a_reply_that_has_changed() -> None:
    changed = {**ANSWERS, b"EHLO me\r\n": [b"250-mx.example.org\r\n250 SIZE 2000\r\n"]}
    _, end = play(DOCUMENT, changed, b"220 mx.example.org ESMTP\r\n")
    assert isinstance(end, Failed)
    assert (end.step, end.problem) == (2, "the answer differs")
    assert end.details.splitlines()[1:3] == ["- 250 SIZE 1000", "+ 250 SIZE 2000"]


@pytest.mark.parametrize(
    ("changed", "step", "problem"),
    [
        ({b"EHLO me\r\n": []}, 2, "no answer within 5 s"),
        ({b"EHLO me\r\n": [b"CLOSE"]}, 2, "the service closed the connection instead of answering"),
        ({b"EHLO me\r\n": [b"250-mx.example.org\r\n", b"CLOSE"]}, 2, "the answer differs"),
        ({b"QUIT\r\n": [b"221 ORD-1 bye\r\n"]}, 8, "the service did not close the connection"),
        (
            {b"QUIT\r\n": [b"221 ORD-1 bye\r\n500 more\r\n", b"CLOSE"]},
            8,
            "the service said more than was expected",
        ),
        (
            {b"MAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\n": [b"550 no\r\n"]},
            4,
            "the answer does not match",
        ),
    ],
)
def test_what_can_go_wrong(changed: dict[bytes, list[bytes]], step: int, problem: str) -> None:
    _, end = play(DOCUMENT, {**ANSWERS, **changed}, b"220 mx.example.org ESMTP\r\n")
    assert isinstance(end, Failed)
    assert end.step == step
    assert problem in end.problem


def test_datagrams_and_a_client_that_closes() -> None:
    text = """\
tests:
  - name: twice
    service: echo
    framing: datagrams
    dialogue: [{send: one}, {send: two}, {expect: one}, {expect: {matches: '^t'}}, {close: client}]
"""
    done, end = play(text, {b"one": [b"one"], b"two": [b"two"]})
    assert end == Done()
    assert done[-1] == CloseClient()
    _, end = play(text, {b"one": [b"one"], b"two": [b"2"]})
    assert isinstance(end, Failed)
    assert end.step == 3


def test_a_file_that_is_not_there() -> None:
    text = "tests: [{name: x, service: y, dialogue: [{send: {file: /nowhere}}]}]"
    _, end = play(text, {})
    assert isinstance(end, Failed)
    assert "no such file" in end.problem


def test_an_endless_answer() -> None:
    (case,) = cases(DOCUMENT).cases
    player = Player(case)
    for _ in range(100):
        player.received(b"x" * 100_000)
    end = player.next_action()
    assert isinstance(end, Failed)
    assert "longer than" in end.problem


# from a capture


def turns_of(said: list[tuple[Kind, bytes]], *, datagrams: bool = False) -> Turns:
    turns = Turns(datagrams=datagrams)
    for kind, data in said:
        turns.data(CLIENT if kind is Kind.RECEIVED else SERVER, 0, data)
    return turns


@pytest.mark.parametrize(
    ("said", "protocol"),
    [(SMTP, "smtp"), (HTTP, "http"), ([(Kind.RECEIVED, b"\0\1"), (Kind.SENT, b"\2")], "hex")],
)
def test_a_capture_becomes_a_dialogue_that_passes(
    said: list[tuple[Kind, bytes]], protocol: str
) -> None:
    """A conversation is saved, read again, and played against what the service said then."""
    turns = turns_of(said)
    turns.closed(SERVER, 0)
    text = dump(
        [case_of(turns, name="x", service="s", protocol=protocol, transport="tcp")],
        config="config.yaml",
        comments=["made from\na capture"],
    )
    assert text.startswith("# made from a capture\nconfig: config.yaml\n")
    answers: dict[bytes, list[bytes]] = {}
    greeting, last = b"", b""
    for side, data in turns.said:
        if side == CLIENT:
            last = bytes(data)
        elif last:
            answers[last] = [bytes(data)]
        else:
            greeting = bytes(data)
    answers[last] = [*answers[last], b"CLOSE"]
    _, end = play(text, answers, greeting, 1000)
    assert end == Done()
    _, end = play(text, {**answers, last: [b"something else\r\n", b"CLOSE"]}, greeting)
    assert isinstance(end, Failed)


def test_a_saved_dialogue_reads_well() -> None:
    turns = turns_of(SMTP[:5])
    text = dump([case_of(turns, name="a mail", service="mail", protocol="smtp", transport="tcp")])
    assert (
        text
        == """\
tests:
- name: a mail
  service: mail
  framing: lines
  masks:
  - date
  - id
  - token
  dialogue:
  - expect: 220 mx.example.org ESMTP
  - send: EHLO client.example.org
  - expect: |-
      250-mx.example.org
      250-PIPELINING
      250 SIZE 1000000
  - send: |-
      MAIL FROM:<a@example.org>
      RCPT TO:<b@example.org>
      DATA
  - expect: |-
      250 2.1.0 ok
      250 2.1.5 ok
      354 go ahead
"""
    )


def test_what_cannot_be_saved() -> None:
    turns = turns_of(SMTP)
    turns.gap(0, 0, 7)
    with pytest.raises(ValueError, match="lacks 7 bytes"):
        case_of(turns, name="x", service="y", protocol="smtp", transport="tcp")
    with pytest.raises(ValueError, match="has no data"):
        case_of(Turns(), name="x", service="y", protocol="smtp", transport="tcp")
    with pytest.raises(ValueError, match="longer than 4 MiB"):
        Turns().data(0, 0, bytes(MAX_BYTES + 1))


def test_datagrams_stay_apart() -> None:
    turns = turns_of(
        [(Kind.RECEIVED, b"a"), (Kind.RECEIVED, b"b"), (Kind.SENT, b"c")], datagrams=True
    )
    case = case_of(turns, name="x", service="y", protocol="lines", transport="udp")
    assert case["dialogue"] == [{"send": "a"}, {"send": "b"}, {"expect": "c"}]


# JUnit


def test_junit() -> None:
    results = [
        Result(file="a.yaml", name="good", seconds=0.5, line=3),
        Result(
            file="a.yaml",
            name="bad <&>",
            seconds=0.25,
            line=9,
            failure="differs",
            details="- a\n+ b\x1b\0",
        ),
        Result(file="b.yaml", name="broken", seconds=0, error="port taken"),
    ]
    root = ET.fromstring(junit(results))
    assert root.attrib == {"tests": "3", "failures": "1", "errors": "1", "time": "0.750"}
    first, second = root
    assert [suite.get("name") for suite in root] == ["a.yaml", "b.yaml"]
    assert first[0].attrib == {
        "classname": "a.yaml",
        "name": "good",
        "file": "a.yaml",
        "line": "3",
        "time": "0.500",
    }
    assert first[1].get("name") == "bad <&>"
    assert first[1][0].text == "differs\n- a\n+ b\ufffd\ufffd"
    assert second[0][0].tag == "error"
    assert ET.fromstring(junit([])).get("tests") == "0"
