"""The kinds of addresses that netserve and Twisted know, and what may stand in them. Pure.

Twisted reads a description only when it opens the socket, and says then what Python says about
a function's arguments. Here a mistake is found as the file is read, and told in the file's terms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from netserve.errors import InvalidValue

_TCP: Final = ("port", "interface", "backlog")
_TCP6: Final = ("port", "backlog", "interface")

OPTIONS: Final = {
    "tcp": _TCP,
    "tcp6": _TCP6,
    "tls": _TCP,
    "tls6": _TCP6,
    "ssl": ("port", "privateKey", "certKey", "sslmethod", "interface", "backlog",
            "extraCertChain", "dhParameters"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
    "udp": ("port", "interface"),
    "unixgram": ("address", "mode"),
}  # fmt: skip
"""By kind: what may stand behind it, in the order in which the names may be left out."""

INSIDE_HAPROXY: Final = ("tcp", "tcp6", "ssl", "unix", "systemd")

_FORMS: Final = {
    "backlog": (r"[0-9]{1,9}", "a number of connections"),
    "mode": (r"0?[0-7]{3}", "the mode of a file, such as 660"),
    "lockfile": (r"[01]", "1 or 0"),
    "index": (r"[0-9]{1,4}", "a number from 0 up"),
    "domain": (r"INET6?|UNIX", "INET, INET6 or UNIX"),
    "address": (r"(?s:.+)", "a path"),
}

_ANY_VERSION: Final = ("SSLv23_METHOD", "TLS_METHOD", "TLS_SERVER_METHOD")
"""OpenSSL's methods that agree on a version, which is what is done in any case."""

Part = tuple[str | None, str]
"""A name, where it has one, and a value."""


def values_by_name(kind: str, parts: Sequence[Part]) -> dict[str, str]:
    """The values of an address by their names, those too whose names were left out.

    What Twisted would refuse, or would take for something else, is refused.

    Arguments:
        kind: the word before the first colon. Of one that is not in `OPTIONS`, which is a
            plugin's, nothing is known: it has only the values with a name.
        parts: what stands behind it.

    Raises:
        ValueError: with what is wrong, and what would be right.
    """
    names = OPTIONS.get(kind)
    if names is None:
        return {name: value for name, value in parts if name is not None}
    given: dict[str, str] = {}
    for position, (name, value) in enumerate(parts):
        if name is None and (position >= len(names) or any(n for n, _ in parts[:position])):
            if not value:
                raise InvalidValue("a colon inside of a value is written \\:")
            raise InvalidValue(
                "{value} has no name; a colon inside of a value is written \\:", value=repr(value)
            )
        key = names[position] if name is None else name
        if key not in names:
            near = get_close_matches(key, names, n=1, cutoff=0.6)
            known = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
            raise InvalidValue("{kind}: has no option {key}; " + known, kind=kind, key=key)
        if key in given:
            raise InvalidValue("{key} stands there twice", key=key)
        given[key] = value
    _check_values(kind, given)
    return given


def _check_values(kind: str, given: dict[str, str]) -> None:
    if kind == "systemd":
        if "domain" not in given or ("index" in given) == ("name" in given):
            raise InvalidValue("write systemd:domain=INET:index=0, or name=… in place of index")
    elif "address" in OPTIONS[kind] and "address" not in given:
        raise InvalidValue("a path is missing; write {kind}:/run/name.sock", kind=kind)
    if "dhParameters" in given or given.get("sslmethod", _ANY_VERSION[0]) not in _ANY_VERSION:
        raise InvalidValue(
            "ssl: speaks TLS 1.2 and newer, without finite-field Diffie-Hellman; leave sslmethod"
            " and dhParameters out, or write tls: and give the service a section tls"
        )
    for name, value in given.items():
        form, words = _FORMS.get(name, (r"(?s:.*)", ""))
        if not re.fullmatch(form, value):
            raise InvalidValue("{name}={value}: expected " + words, name=name, value=value)
