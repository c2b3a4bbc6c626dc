"""What is told of each protocol: fed whole, byte by byte, and with pieces missing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.capture.decode.detect import DATAGRAM_DECODERS, STREAM_DECODERS
from netserve.capture.decode.model import CLIENT, SERVER
from netserve.capture.decode.printing import hex_line, is_text, printable
from tests.capture.packets import decoded, ethernet, ipv4, pcap, talk, tcp, udp

Said = list[tuple[int, bytes]]


def heard(
    name: str, said: Said, *, size: int = 0, datagrams: bool = False
) -> list[tuple[int, str, str]]:
    """The items of a conversation, given in pieces of `size` bytes."""
    found: list[tuple[int, str, str]] = []
    make = (DATAGRAM_DECODERS if datagrams else STREAM_DECODERS)[name]
    decoder = make(lambda time, side, kind, text, details: found.append((side, kind, text)))
    for side, data in said:
        step = size or len(data) or 1
        for at in range(0, len(data), step):
            decoder.data(side, 0, data[at : at + step])
    for side in (CLIENT, SERVER):
        decoder.closed(side, 0)
    decoder.finish(0)
    return found


C, S = CLIENT, SERVER

SMTP: Said = [
    (S, b"220 mx ESMTP\r\n"),
    (C, b"EHLO me\r\n"),
    (S, b"250-mx\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE\r\n"),
    (C, b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n"),
    (S, b"535 5.7.8 no\r\n"),
    (C, b"AUTH LOGIN\r\n"),
    (S, b"334 VXNlcm5hbWU6\r\n"),
    (C, b"am9l\r\n"),
    (S, b"334 UGFzc3dvcmQ6\r\n"),
    (C, b"c2VjcmV0\r\n"),
    (S, b"235 2.7.0 in\r\n"),
    (C, b"MAIL FROM:<a@b.c> SIZE=9\r\nRCPT TO:<d@e.f>\r\nDATA\r\n"),
    (S, b"250 2.1.0 ok\r\n550 5.1.1 nobody\r\n554 5.5.1 no valid recipients\r\n"),
    (C, b"rset\r\n"),
    (S, b"250 ok\r\n"),
    (C, b"MAIL FROM:<>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n"),
    (S, b"250 ok\r\n250 ok\r\n354 go\r\n"),
    (C, b"Subject: one\r\n two\r\nFrom: x\r\n\r\nQUIT\r\n..\r\n.\r\nMAIL FROM:<x@y.z>\r\n"),
    (S, b"250 2.0.0 queued\r\n250 ok\r\n"),
    (C, b"BDAT 6\r\nQUIT\r\nBDAT 4 LAST\r\nabcd"),
    (S, b"250 ok\r\n250 ok\r\n"),
    (C, b"QUIT\r\n"),
    (S, b"221 bye\r\n"),
]
SMTP_TOLD = [
    (S, "reply", "220 mx ESMTP"),
    (C, "command", "EHLO me"),
    (S, "reply", "250 mx | AUTH PLAIN LOGIN | SIZE"),
    (C, "command", "AUTH PLAIN ***"),
    (S, "reply", "535 5.7.8 no"),
    (C, "command", "AUTH LOGIN"),
    (S, "reply", "334 VXNlcm5hbWU6"),
    (C, "answer", "***"),
    (S, "reply", "334 UGFzc3dvcmQ6"),
    (C, "answer", "***"),
    (S, "reply", "235 2.7.0 in"),
    (C, "command", "MAIL FROM:<a@b.c> SIZE=9"),
    (C, "command", "RCPT TO:<d@e.f>"),
    (C, "command", "DATA"),
    (S, "reply", "250 2.1.0 ok"),
    (S, "reply", "550 5.1.1 nobody"),
    (S, "reply", "554 5.5.1 no valid recipients"),
    (C, "command", "RSET"),
    (S, "reply", "250 ok"),
    (C, "command", "MAIL FROM:<>"),
    (C, "command", "RCPT TO:<d@e.f>"),
    (C, "command", "DATA"),
    (S, "reply", "250 ok"),
    (S, "reply", "250 ok"),
    (S, "reply", "354 go"),
    (C, "message", "(message, 41 bytes) Subject: one two"),
    (C, "command", "MAIL FROM:<x@y.z>"),
    (S, "reply", "250 2.0.0 queued"),
    (S, "reply", "250 ok"),
    (C, "command", "BDAT 6"),
    (C, "command", "BDAT 4 LAST"),
    (C, "message", "(message, 10 bytes)"),
    (S, "reply", "250 ok"),
    (S, "reply", "250 ok"),
    (C, "command", "QUIT"),
    (S, "reply", "221 bye"),
]

HTTP: Said = [
    (C, b"\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD /b HTTP/1.1\r\nHost: x\r\n\r\n"),
    (
        S,
        (
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nHTTP/"
        ),
    ),
    (S, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
    (C, b"POST /c HTTP/1.1\nHost: y\nTransfer-Encoding: chunked\n\n3;x=y\nabc\n0\nT: 1\n\n"),
    (
        S,
        (
            b"HTTP/1.1 302 Found\r\nLocation: /d\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
            b"a\r\n0123456789\r\n2\r\nxy\r\n0\r\n\r\n"
        ),
    ),
    (C, b"GET /d HTTP/1.0\r\n\r\n"),
    (S, b"HTTP/1.0 204 No Content\r\n\r\n"),
    (C, b"GET /e HTTP/1.1\r\n\r\n"),
    (S, b"HTTP/1.1 200\r\n\r\nuntil the end"),
]
HTTP_TOLD = [
    (C, "request", "GET /a HTTP/1.1 (x)"),
    (C, "request", "HEAD /b HTTP/1.1 (x)"),
    (S, "response", "HTTP/1.1 100 Continue"),
    (S, "response", "HTTP/1.1 200 OK (a/b, 5 bytes)"),
    (S, "response", "HTTP/1.1 200 OK"),
    (C, "request", "POST /c HTTP/1.1 (y, chunked)"),
    (C, "body", "(body: 3 bytes)"),
    (S, "response", "HTTP/1.1 302 Found (/d, chunked)"),
    (S, "body", "(body: 12 bytes)"),
    (C, "request", "GET /d HTTP/1.0"),
    (S, "response", "HTTP/1.0 204 No Content"),
    (C, "request", "GET /e HTTP/1.1"),
    (S, "response", "HTTP/1.1 200"),
    (S, "body", "(body: 13 bytes)"),
]

MLLP: Said = [
    (C, b"\x0bMSH|^~\\&|A|B|C|D|20260101||ADT^A01|42|P|2.5\rPID|1\rPV1|2\r\x1c\r"),
    (S, b"\x0bMSH|^~\\&|C|D|A|B|20260101||ACK^A01|43|P|2.5\rMSA|AA|42\r\x1c\r"),
    (C, b"\x0b\x1c\r\x0bnothing\x1c\r"),
    (S, b"stray\x1c\r\x0bMS"),
]
MLLP_TOLD = [
    (C, "message", "ADT^A01, control id 42, 3 segments, 56 bytes"),
    (S, "message", "ACK^A01, control id 43, AA to 42, 2 segments, 54 bytes"),
    (C, "message", "empty, 0 segments, 0 bytes"),
    (C, "message", "nothing, 1 segments, 7 bytes"),
    (S, "problem", "outside of a block: 73 74 72 61 79  |stray|  5 bytes"),
    (S, "problem", "ends within a block, of which 3 bytes have come"),
]


@pytest.mark.parametrize("size", [0, 1, 2, 5, 17])
@pytest.mark.parametrize(
    ("name", "said", "told"),
    [("smtp", SMTP, SMTP_TOLD), ("http", HTTP, HTTP_TOLD), ("mllp", MLLP, MLLP_TOLD)],
    ids=["smtp", "http", "mllp"],
)
def test_a_conversation(name: str, said: Said, told: object, size: int) -> None:
    assert heard(name, said, size=size) == told


def test_secrets_are_not_shown() -> None:
    """Of a client that does not wait to be asked, and of FTP and POP3."""
    said: Said = [(C, b"AUTH LOGIN\r\nam9l\r\nc2VjcmV0\r\n"), (S, b"334 a\r\n334 b\r\n235 in\r\n")]
    assert [text for _, _, text in heard("smtp", said)[:3]] == ["AUTH LOGIN", "***", "***"]
    assert heard("lines", [(C, b"pass hunter2\r\n"), (S, b"PASS is wanted\r\n")]) == [
        (C, "line", "pass ***"),
        (S, "line", "PASS is wanted"),
    ]


@pytest.mark.parametrize("size", [0, 1])
def test_an_empty_message_and_one_that_is_cut_off(size: int) -> None:
    begin: Said = [(C, b"DATA\r\n"), (S, b"354 go\r\n")]
    assert heard("smtp", [*begin, (C, b".\r\n")], size=size)[-1] == (
        C,
        "message",
        "(message, 0 bytes)",
    )
    told = heard("smtp", [*begin, (C, b"Subject: x\r\n\r\nabc")], size=size)
    assert told[-1] == (C, "message", "(message, cut off after 17 bytes) Subject: x")


def test_replies_that_were_captured_before_their_commands() -> None:
    told = heard("smtp", [(S, b"354 go\r\n"), (C, b"DATA\r\nQUIT\r\n.\r\nQUIT\r\n")])
    assert [text for _, _, text in told] == ["354 go", "DATA", "(message, 6 bytes)", "QUIT"]


def test_starttls() -> None:
    """What follows is TLS, and is not told as commands."""
    hello = tls_hello()
    pieces = [
        ("<", b"220 mx ESMTP\r\n"),
        (">", b"STARTTLS\r\n"),
        ("<", b"220 go\r\n"),
        (">", hello),
    ]
    seen, _ = decoded(pcap(map(ethernet, talk(*pieces, port=25))))
    assert seen.protocols[1] == "tls"
    assert seen.items[1][-1][:2] == ("client", "hello")
    assert "version TLS 1.3, server name mx.example.org" in seen.items[1][-1][2]


def tls_hello() -> bytes:
    name = b"mx.example.org"
    sni = b"\0" + len(name).to_bytes(2, "big") + name
    sni = len(sni).to_bytes(2, "big") + sni
    extensions = b"\0\0" + len(sni).to_bytes(2, "big") + sni + b"\0\x2b\0\5\4\3\4\3\3"
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    body += len(extensions).to_bytes(2, "big") + extensions
    handshake = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\3\1" + len(handshake).to_bytes(2, "big") + handshake


@pytest.mark.parametrize("size", [0, 1, 3])
def test_tls(size: int) -> None:
    data = b"\x17\3\3\0\x05hello"
    said: Said = [(C, tls_hello()), (C, data * 3), (S, data), (S, b"\x15\3\3\0\2\2\x28")]
    told = heard("tls", said, size=size)
    assert [kind for _, kind, _ in told] == ["hello", "alert", "data", "data"]
    assert (S, "alert", "alert: handshake_failure") in told
    assert (C, "data", "(15 bytes encrypted)") in told


def name(*labels: bytes) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def dns(flags: int, counts: tuple[int, int, int, int], body: bytes) -> bytes:
    return b"".join(each.to_bytes(2, "big") for each in (7, flags, *counts)) + body


QUESTION = name(b"www", b"example", b"org") + b"\0\1\0\1"


def record(kind: int, data: bytes) -> bytes:
    return (
        b"\xc0\x0c"
        + kind.to_bytes(2, "big")
        + b"\0\1\0\0\0\x3c"
        + len(data).to_bytes(2, "big")
        + data
    )


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (dns(0x0100, (1, 0, 0, 0), QUESTION), "query www.example.org A"),
        (
            dns(
                0x8180,
                (1, 2, 0, 0),
                QUESTION + record(5, b"\xc0\x10") + record(1, bytes([192, 0, 2, 1])),
            ),
            "NOERROR www.example.org A: CNAME example.org, A 192.0.2.1",
        ),
        (dns(0x8183, (1, 0, 1, 0), QUESTION), "NXDOMAIN www.example.org A"),
        (dns(0x8380, (1, 0, 0, 0), QUESTION), "NOERROR, truncated www.example.org A"),
        (
            dns(
                0x8180,
                (1, 5, 0, 0),
                QUESTION
                + record(28, bytes(15) + b"\1")
                + record(15, b"\0\x0a\xc0\x10")
                + record(16, b"\3a\x1bb\2cd")
                + record(33, b"\0\1\0\2\0\x19\xc0\x10")
                + record(99, b"\1x"),
            ),
            (
                "NOERROR www.example.org A: AAAA ::1, MX 10 example.org, TXT a\\x1bb cd,"
                " SRV 1 2 25 example.org, SPF x"
            ),
        ),
        (dns(0x0100, (1, 0, 0, 0), QUESTION[:-2]), "query (malformed: ends within a question)"),
        (
            dns(0x0100, (1, 0, 0, 0), b"\xc0\x0c\0\1\0\1"),
            "query (malformed: a name that refers to itself)",
        ),
        (
            dns(0x0100, (1, 0, 0, 0), b"\x50" + bytes(99)),
            "query (malformed: a name that is too long)",
        ),
        (
            dns(0x8180, (1, 1, 0, 0), QUESTION + record(1, b"abcd")[:-1]),
            "NOERROR www.example.org A (malformed: ends within a record)",
        ),
        (b"short", "too short for DNS: 73 68 6f 72 74  |short|  5 bytes"),
    ],
)
def test_dns(message: bytes, told: str) -> None:
    assert heard("dns", [(C, message)], datagrams=True)[0][2] == told
    framed = len(message).to_bytes(2, "big") + message
    for size in (0, 1):
        assert heard("dns", [(C, framed * 2)], size=size) == heard(
            "dns", [(C, message)] * 2, datagrams=True
        )


@pytest.mark.parametrize(
    ("pieces", "port", "protocol"),
    [
        ([("<", b"220 mx ESMTP\r\n")], 9999, "smtp"),
        ([("<", b"220 ready\r\n"), (">", b"EHLO x\r\n")], 9999, "smtp"),
        ([("<", b"220 ready\r\n")], 25, "smtp"),
        ([("<", b"220 ftp ready\r\n"), (">", b"USER joe\r\n")], 21, "lines"),
        ([(">", b"GET / HTTP/1.1\r\n\r\n")], 9999, "http"),
        ([(">", b"GET"), (">", b" / HTTP/1.1\r\n\r\n")], 9999, "http"),
        ([("<", b"HTTP/1.1 400 Bad Request\r\n\r\n")], 9999, "http"),
        ([(">", b"FROB / HTTP/1.1\r\n\r\n")], 80, "http"),
        ([(">", b"hello\n")], 80, "lines"),
        ([(">", b"hello without an end")], 9999, "lines"),
        ([(">", "gr\u00fc\u00dfe\n".encode())], 9999, "lines"),
        ([(">", b"\x0bMSH|")], 9999, "mllp"),
        ([(">", tls_hello())], 443, "tls"),
        ([(">", b"\0\x1d" + dns(0x0100, (1, 0, 0, 0), QUESTION))], 53, "dns"),
        ([(">", b"\0\1\2\3")], 9999, "hex"),
        ([(">", bytes(range(128, 256)))], 9999, "hex"),
        ([], 25, ""),
    ],
)
def test_protocols_are_recognised(
    pieces: list[tuple[str, bytes]], port: int, protocol: str
) -> None:
    seen, _ = decoded(pcap(map(ethernet, talk(*pieces, port=port))))
    assert seen.protocols == {1: protocol}


def test_a_protocol_that_is_given() -> None:
    frames = list(map(ethernet, talk((">", b"\1\2\3\n"), ("<", b"x\n"), port=99)))
    seen, _ = decoded(pcap(frames), {99: "lines"})
    assert seen.items[1] == [("client", "line", "\\x01\\x02\\x03"), ("server", "line", "x")]


@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        (dns(0x0100, (1, 0, 0, 0), QUESTION), "dns"),
        (b"hello", "lines"),
        (b"\0\1", "hex"),
        (b"", "hex"),
    ],
)
def test_datagrams_are_recognised(data: bytes, protocol: str) -> None:
    seen, _ = decoded(pcap([ethernet(ipv4(udp(data), protocol=17))]))
    assert seen.protocols == {1: protocol}


def test_what_is_missing_is_told_and_the_thread_found_again() -> None:
    frames = talk(
        (">", b"GET /a HTTP/1.1\r\n\r\n"),
        ("<", b"HTTP/1.1 200 OK\r\nContent-Length: 4200\r\n\r\n" + b"y" * 4200),
        (">", b"GET /b HTTP/1.1\r\n\r\n"),
        ("<", b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
        (">", b"GET /c HTTP/1.1\r\n\r\n"),
        ("<", b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
        port=80,
    )
    within_body, of_head = frames[:5] + frames[6:], frames[:8] + frames[9:]
    seen, _ = decoded(pcap(map(ethernet, within_body)))
    texts = [text for _, _, text in seen.items[1]]
    assert "1,400 bytes are missing in the capture" in texts
    assert "HTTP/1.1 404 No" in texts
    assert seen.problems[1] == ["bytes of the server that the capture lacks: 1,400"]
    seen, _ = decoded(pcap(map(ethernet, of_head)))
    texts = [text for _, _, text in seen.items[1]]
    assert texts[-2:] == ["GET /c HTTP/1.1", "HTTP/1.1 500 Oh"]


def test_ports_used_again_are_another_conversation() -> None:
    once = talk((">", b"one\n"))
    again = [packet.replace(b"one\n", b"two\n") for packet in talk((">", b"one\n"))]
    moved = []
    for packet in again:  # with other sequence numbers
        number = int.from_bytes(packet[24:28], "big") + 77_777
        moved.append(packet[:24] + number.to_bytes(4, "big") + packet[28:])
    seen, _ = decoded(pcap(map(ethernet, [*once, *moved])))
    assert [seen.items[n] for n in (1, 2)] == [
        [("client", "line", "one")],
        [("client", "line", "two")],
    ]


def test_retransmitted_and_late_packets_belong_to_their_conversation() -> None:
    frames = talk((">", b"one\n"), ("<", b"two\n"))
    seen, engine = decoded(
        pcap(map(ethernet, [*frames[:3], frames[3], frames[3], *frames[4:], frames[-1], frames[5]]))
    )
    assert list(seen.items) == [1]
    assert seen.problems[1] == ["packets of the client: 1 retransmitted"]
    assert engine.totals.strays == 0


def test_a_connection_to_itself() -> None:
    """One address and port at both ends, as a simultaneous open on loopback makes."""
    segment = tcp(b"x\n", port=5000, to=5000, number=1, acknowledges=1)
    frame = ipv4(segment, source="127.0.0.1", to="127.0.0.1")
    seen, _ = decoded(pcap([frame], link_type=101))
    assert seen.items[1] == [("client", "line", "x")]


@given(
    st.sampled_from(sorted(STREAM_DECODERS)),
    st.lists(
        st.tuples(
            st.sampled_from([C, S]),
            st.binary(max_size=40)
            | st.sampled_from([data for _, data in [*SMTP, *HTTP, *MLLP]])
            | st.integers(1, 5000),
        ),
        max_size=20,
    ),
)
def test_any_stream_with_gaps_is_survived(which: str, said: list[tuple[int, object]]) -> None:
    """S8, S16: no exception; each item is one printable line of bounded length."""
    found: list[tuple[str, object]] = []
    decoder = STREAM_DECODERS[which](
        lambda time, side, kind, text, details: found.append((text, details))
    )
    for side, each in said:
        if isinstance(each, int):
            decoder.gap(side, 0, each)
        elif each:
            decoder.data(side, 0, each)  # type: ignore[arg-type]
    decoder.closed(C, 0)
    decoder.finish(0)
    for text, details in found:
        assert text.isprintable()
        assert len(text) < 60_000
        json.dumps(details)


@given(st.binary(max_size=600))
def test_what_is_printed_is_one_line(data: bytes) -> None:
    """S16: no control characters, whatever was said."""
    assert printable(data).isprintable()
    assert hex_line(data).isprintable()
    assert is_text(data) in {True, False}


def test_printable() -> None:
    assert (
        printable(b"caf\xc3\xa9\x1b[2J\xff\r\n\t\x00") == "caf\u00e9\\x1b[2J\\xff\\x0d\\x0a\\t\\x00"
    )
    assert printable("a\u2028b\u202ec\x9bd".encode()) == "a\\u2028b\\u202ec\\x9bd"
    assert printable(b"x" * 500, 10) == "x" * 10 + "\u2026 (500 bytes)"
