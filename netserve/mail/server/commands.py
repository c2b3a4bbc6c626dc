"""The grammar of SMTP's commands: a line in, its parts out, or the reply that refuses it.

RFC 5321, 4.1 (commands), 1870 (SIZE), 6152 (8BITMIME), 3461 (DSN), 6531 (SMTPUTF8), 3030 (BDAT),
4954 (AUTH= at MAIL). A parameter that is not of these is answered 555.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from netserve.mail.address import AddressError, parse_path
from netserve.mail.envelope import Recipient, Reply

MAX_ENVID: Final = 100
"""Characters of ENVID (RFC 3461, 5.4)."""
MAX_ORCPT: Final = 500
"""Characters of ORCPT (RFC 3461, 4.2)."""

_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_HEX: Final = re.compile(r"\+([0-9A-F]{2})")
_NEEDS_HEX: Final = re.compile(r"[^!-*,-<>-~]")
_ADDRESS_TYPE: Final = re.compile(r"[A-Za-z0-9\-]{1,64}")
_DIGITS: Final = re.compile(r"[0-9]{1,20}")
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9\-]*)(?:=([^\s=\x00-\x20\x7f]+))?")


class Refusal(Exception):
    """A command is not of its grammar, or not taken.

    Arguments:
        reply: what the peer is told.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def refusal(code: int, status: str, text: str) -> Refusal:
    """A `Refusal` with this reply."""
    return Refusal(Reply(code, status, text))


@dataclass(frozen=True, slots=True)
class MailCommand:
    """MAIL, read.

    Arguments:
        sender: the mailbox; empty for the null sender.
        size: what SIZE declares, in bytes; 0 where it does not.
        body: what BODY declares.
        smtputf8: SMTPUTF8 was given.
        ret: FULL or HDRS, or an empty string.
        envid: ENVID as it came (xtext), or an empty string.
        auth: AUTH as it came (xtext), or an empty string.
    """

    sender: str
    size: int = 0
    body: Literal["7BIT", "8BITMIME"] = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    auth: str = ""


def parse_line(line: bytes) -> tuple[str, str]:
    """The verb in capitals, and what stands behind it without the spaces around it.

    Arguments:
        line: without its line end.

    Raises:
        Refusal: it is not text of one line; a control character is in it.
    """
    try:
        text = line.decode().rstrip(" \t")
    except UnicodeDecodeError:
        raise refusal(500, "5.5.2", "The line is not UTF-8") from None
    if not text.isprintable():
        raise refusal(500, "5.5.2", "The line has a character that cannot stand in a command")
    verb, _, argument = text.partition(" ")
    return verb.upper(), argument.lstrip(" ")


def parse_mail(argument: str) -> MailCommand:
    """What MAIL says (RFC 5321, 4.1.1.2).

    Raises:
        Refusal: the address, a parameter or its value is not of the grammar, or not known.
    """
    sender, parameters = _path_and_parameters(argument, "FROM:", "5.1.7")
    if sender and "@" not in sender and sender.lower() != "postmaster":
        raise refusal(553, "5.1.7", "The sender's address has no domain")
    if not parameters:
        _check_utf8(sender, allowed=False)
        return MailCommand(sender)
    values = {name: _MAIL[name](value) for name, value in _parameters(parameters, _MAIL)}
    smtputf8 = "SMTPUTF8" in values
    _check_utf8(sender, allowed=smtputf8)
    return MailCommand(
        sender=sender,
        size=int(values.get("SIZE", "0")),
        body="8BITMIME" if values.get("BODY") == "8BITMIME" else "7BIT",
        smtputf8=smtputf8,
        ret=values.get("RET", ""),
        envid=values.get("ENVID", ""),
        auth=values.get("AUTH", ""),
    )


def parse_rcpt(argument: str, *, smtputf8: bool) -> Recipient:
    """What RCPT says (RFC 5321, 4.1.1.3).

    Arguments:
        argument: what stands behind the verb.
        smtputf8: whether MAIL had SMTPUTF8.

    Raises:
        Refusal: the address, a parameter or its value is not of the grammar, or not known.
    """
    address, parameters = _path_and_parameters(argument, "TO:", "5.1.3")
    if not address:
        raise refusal(553, "5.1.3", "The null address is nobody's")
    if "@" not in address and address.lower() != "postmaster":
        raise refusal(553, "5.1.3", "The recipient's address has no domain")
    _check_utf8(address, allowed=smtputf8)
    if not parameters:
        return Recipient(address)
    values = {name: _RCPT[name](value) for name, value in _parameters(parameters, _RCPT)}
    original = values.get("ORCPT", "")
    _check_utf8(original, allowed=smtputf8)
    notify = values.get("NOTIFY", "")
    return Recipient(address, frozenset(notify.split(",") if notify else ()), original)


def parse_bdat(argument: str) -> tuple[int, bool]:
    """The bytes that follow BDAT, and whether they are the last (RFC 3030, 2).

    Raises:
        Refusal: it is not of the grammar; where the next command begins is not known then.
    """
    size, _, last = argument.partition(" ")
    if not _DIGITS.fullmatch(size) or last.strip().upper() not in {"", "LAST"}:
        raise refusal(501, "5.5.4", "Write BDAT and a number, and LAST behind it for the last")
    return int(size), bool(last)


def decode_xtext(text: str) -> str:
    """The text that xtext stands for (RFC 3461, 4).

    Raises:
        ValueError: it is not xtext.
    """
    if not _XTEXT.fullmatch(text):
        raise ValueError("not xtext")
    return _HEX.sub(lambda match: chr(int(match[1], 16)), text)


def encode_xtext(text: str) -> str:
    """ASCII text as xtext (RFC 3461, 4)."""
    return _NEEDS_HEX.sub(lambda match: f"+{ord(match[0]):02X}", text)


def _path_and_parameters(argument: str, keyword: str, status: str) -> tuple[str, str]:
    if argument[: len(keyword)].upper() != keyword:
        raise refusal(501, "5.5.4", f"Write {keyword}<user@example.org>")
    try:
        return parse_path(argument[len(keyword) :].lstrip(" "))
    except AddressError as error:
        text = str(error)
        raise refusal(
            501 if "malformed" in text else 553,
            error.status or status,
            text[0].upper() + text[1:],
        ) from None


def _check_utf8(text: str, *, allowed: bool) -> None:
    if not allowed and not text.isascii():
        raise refusal(553, "5.6.7", "An internationalised address needs SMTPUTF8 at MAIL")


_Check = Callable[[str], str]


def _parameters(text: str, known: dict[str, _Check]) -> list[tuple[str, str]]:
    """The parameters of MAIL or RCPT, their names in capitals; each is known, and there once."""
    pairs: list[tuple[str, str]] = []
    for item in text.split():
        match = _PARAMETER.fullmatch(item)
        if match is None and not item.upper().startswith(("AUTH=", "ORCPT=")):
            raise refusal(501, "5.5.4", "A parameter is malformed")
        name, _, value = item.partition("=")
        name = name.upper()
        if name not in known:
            raise refusal(555, "5.5.4", "A parameter is not known")
        if any(name == earlier for earlier, _ in pairs):
            raise refusal(501, "5.5.4", f"{name} is there twice")
        pairs.append((name, value))
    return pairs


def _wrong(name: str) -> Refusal:
    return refusal(501, "5.5.4", f"The value of {name} is malformed")


def _size(value: str) -> str:
    if not _DIGITS.fullmatch(value):
        raise _wrong("SIZE")
    return value


def _body(value: str) -> str:
    if value.upper() not in {"7BIT", "8BITMIME"}:
        raise _wrong("BODY")
    return value.upper()


def _smtputf8(value: str) -> str:
    if value:
        raise _wrong("SMTPUTF8")
    return value


def _ret(value: str) -> str:
    if value.upper() not in {"FULL", "HDRS"}:
        raise _wrong("RET")
    return value.upper()


def _envid(value: str) -> str:
    if len(value) > MAX_ENVID or not _is_printable_xtext(value):
        raise _wrong("ENVID")
    return value


def _auth(value: str) -> str:
    if value != "<>" and not _is_printable_xtext(value):
        raise _wrong("AUTH")
    return value


def _notify(value: str) -> str:
    words = value.upper().split(",")
    known = set(words) <= {"SUCCESS", "FAILURE", "DELAY"} and len(set(words)) == len(words)
    if words != ["NEVER"] and not known:
        raise _wrong("NOTIFY")
    return ",".join(words)


def _orcpt(value: str) -> str:
    kind, separator, address = value.partition(";")
    good = separator and len(value) <= MAX_ORCPT and _ADDRESS_TYPE.fullmatch(kind)
    # RFC 6533, 3: of type utf-8, characters may stand for themselves.
    plain = kind.lower() == "utf-8" and address.isprintable() and " " not in address
    if not good or not address or not (plain or _is_printable_xtext(address)):
        raise _wrong("ORCPT")
    return value


def _is_printable_xtext(value: str) -> bool:
    try:
        decoded = decode_xtext(value)
    except ValueError:
        return False
    return decoded.isascii() and decoded.isprintable()


_MAIL: Final[dict[str, _Check]] = {
    "SIZE": _size,
    "BODY": _body,
    "SMTPUTF8": _smtputf8,
    "RET": _ret,
    "ENVID": _envid,
    "AUTH": _auth,
}
_RCPT: Final[dict[str, _Check]] = {"NOTIFY": _notify, "ORCPT": _orcpt}
