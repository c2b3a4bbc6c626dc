"""Values in their places: what comes in never changes the shape of the request that goes out.

A template is compiled once; each of its placeholders gets the encoder of the place that it stands
in. Pure: no I/O.

==============================  ==========================================================
place                           what becomes of a value
==============================  ==========================================================
part of a URL's path            everything but unreserved characters is percent-encoded
                                (RFC 3986, 2.3), ``/`` too; ``.`` and ``..`` are refused
``{path}`` in a URL's path      ``/`` stays; ``?`` and ``#`` are encoded; ``.`` and ``..``
                                are refused, also when they are encoded
a URL's query                   everything but unreserved characters is percent-encoded
``{query}`` and ``{target}``    the query that came; ``#`` and what is no URI are encoded
a URL's host                    has to be one of the ``hosts`` that the file lists
a URL's scheme, port, password  no placeholder is taken there
a header                        control characters are refused (RFC 9110, 5.5), and bytes
                                that are not UTF-8
JSON                            a JSON string, its quotes added where they are missing
a form                          percent-encoded, blanks as ``+``
XML                             ``& < > " '`` as entities
another body                    stays as it is
==============================  ==========================================================

What is refused is a `Misfit`: the fault of who sent the value. Every encoder takes time linear in
its value, and gives the same for a value whole and in pieces, so that a long one can be encoded a
piece at a time.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias
from xml.sax.saxutils import escape

from yarl import URL

from netserve.errors import InvalidValue, PeerError
from netserve.wire.template import Encoder, Template

Values: TypeAlias = Mapping[str, bytes | str]


_SUB_DELIMS: Final = "!$&'()*+,;="
"""RFC 3986, 2.2."""


class Misfit(PeerError, ValueError):
    """A value has no place where the template wants it."""


def _percent_encoder(also: str = "") -> Encoder:
    """An encoder that leaves unreserved characters (RFC 3986, 2.3) and some others as they are.

    As `urllib.parse.quote`, at a third of its time.
    """
    kept = frozenset((string.ascii_letters + string.digits + "-._~" + also).encode())
    written = [chr(octet) if octet in kept else f"%{octet:02X}" for octet in range(256)]

    def encode(value: str) -> str:
        octets = value.encode("utf-8", "surrogateescape")
        return "".join(map(written.__getitem__, octets))

    return encode


_percent: Final = _percent_encoder()
_percent_form: Final = _percent_encoder(" ")
_percent_path: Final = _percent_encoder(f"/:@%{_SUB_DELIMS}")
_percent_query: Final = _percent_encoder(f"/:@%?{_SUB_DELIMS}")


_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]*")
_LONE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_AS_SLASH: Final = ("\\", ";", "%2f", "%5c", "%3b")
"""What some server takes for the end of a segment."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SCHEME: Final = re.compile(r"https?://", re.IGNORECASE)
_AFTER_HOST: Final = re.compile(r"(?::[0-9]{1,5})?(?:[/?].*)?", re.DOTALL)
_WHOLE_PATHS: Final = frozenset({"path", "target"})


def _climbs(path: str) -> bool:
    """Whether a path has a segment ``.`` or ``..``, as some server could read it.

    By replacing, which is done in C: a regular expression looks at each place several times.
    """
    read = path.lower().replace("%2e", ".")
    if "." not in read:
        return False
    for written in _AS_SLASH:
        read = read.replace(written, "/")
    read = f"/{read}/"
    return "/./" in read or "/../" in read


def path_part(value: str) -> str:
    """A value inside of one segment of a path.

    A ``..`` between slashes is refused though the slashes get encoded: not every server looks
    for it before it decodes them.
    """
    if ".." in value and _climbs(value):
        raise Misfit("a path with . or .. in it")
    return query_part(value)


def query_part(value: str) -> str:
    """A value inside of a query."""
    return value if _UNRESERVED.fullmatch(value) else _percent(value)


def inner_path(value: str) -> str:
    """A path that goes on behind a ``/``; its own escapes stay."""
    if _climbs(value):
        raise Misfit("a path with . or .. in it")
    if not _UNRESERVED.fullmatch(value):
        value = _percent_path(_LONE_PERCENT.sub("%25", value))
    return value.removeprefix("/")


def whole_path(value: str) -> str:
    """A path from its first ``/`` on."""
    return f"/{inner_path(value)}"


def whole_query(value: str) -> str:
    """A query that has its own ``&`` and ``=``."""
    return _percent_query(_LONE_PERCENT.sub("%25", value))


def whole_target(value: str) -> str:
    """A path with its query (RFC 9112, 3.2.1)."""
    path, mark, query = value.partition("?")
    return whole_path(path) + mark + whole_query(query)


def header_value(value: str) -> str:
    """A header's value."""
    if _CONTROL.search(value):
        raise Misfit("a control character, which a header can't hold")
    return value if value.isascii() else _utf8(value)


def json_text(value: str) -> str:
    """The inside of a JSON string (RFC 8259, 7)."""
    return json_string(value)[1:-1]


def json_string(value: str) -> str:
    """A JSON string."""
    return json.dumps(_utf8(value))


def form_value(value: str) -> str:
    """A value of a form (application/x-www-form-urlencoded)."""
    return _percent_form(value).replace(" ", "+")


def xml_text(value: str) -> str:
    """Text or an attribute's value in XML or HTML."""
    if _CONTROL.search(_utf8(value)):
        raise Misfit("a control character, which XML can't hold")
    return escape(value, {'"': "&quot;", "'": "&apos;"})


def _utf8(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Misfit("bytes that are not UTF-8") from None
    return value


def one_of(hosts: Collection[str]) -> Encoder:
    """A host that the file lists."""
    known = frozenset(host.lower() for host in hosts)

    def encode(value: str) -> str:
        host = value.lower()
        if host not in known:
            raise Misfit("a host that is not allowed")
        return host

    return encode


@dataclass(frozen=True, slots=True)
class UrlTemplate:
    """The URL of the requests; made by `parse`.

    Arguments:
        template: the text.
        encoders: one for each placeholder.
        fixed: the URL itself, when there is no placeholder.
    """

    template: Template
    encoders: tuple[Encoder, ...]
    fixed: URL | None

    @classmethod
    def parse(cls, text: str, names: Collection[str], hosts: Collection[str] = ()) -> UrlTemplate:
        """Compile a URL with placeholders.

        Arguments:
            text: as in the file.
            names: the placeholders there are.
            hosts: what a placeholder for the host may stand for.

        Raises:
            ValueError: it is no URL of HTTP, or has a placeholder where none is taken.
        """
        template = Template.parse(text, names)
        encoders: list[Encoder] = []
        scheme = _SCHEME.match(template.literals[0])
        if scheme is None:
            raise InvalidValue("begins with http:// or https://, without a placeholder in it")
        before = template.literals[0][scheme.end() :]
        for name, after in zip(template.names, template.literals[1:], strict=True):
            encoder = _host_encoder(before, name, after, hosts) or _place(before, name, after)
            encoders.append(encoder)
            # What stands for the value tells later placeholders where they are.
            before += ("/" if name in _WHOLE_PATHS else "x") + after
        if "#" in before:
            raise InvalidValue("has a fragment (#), which is not sent; write %23 for the character")
        compiled = cls(template, tuple(encoders), None)
        compiled._check(hosts)
        return compiled if template.names else cls(template, (), compiled.render({}))

    @property
    def host(self) -> str | None:
        """The host that stands in the text, or None when it is a placeholder."""
        rest = self.template.literals[0].partition("://")[2]
        return URL(f"http://{re.split('[/?]', rest)[0]}/").raw_host if rest else None

    def render(self, values: Values) -> URL:
        """The URL for a request.

        Raises:
            Misfit: a value has no place in it.
        """
        if self.fixed is not None:
            return self.fixed
        text = self.template.render(values, self.encoders)
        if "/." in text and _climbs(text.partition("?")[0].partition("://")[2]):
            raise Misfit("a path with . or .. in it")
        return URL(text, encoded=True)

    def _check(self, hosts: Collection[str]) -> None:
        """See that it is a URL, with harmless values in it."""
        harmless = dict.fromkeys(self.template.names, "x")
        if self.template.names and self.host is None:
            harmless[self.template.names[0]] = next(iter(hosts))
        try:
            url = self.render(harmless)
            good = bool(url.host) and url.port is not None
        except ValueError as error:
            raise InvalidValue(
                "is not a URL that can be asked: {error}",
                otherwise="is not a URL that can be asked",
                error=error,
            ) from None
        if not good:
            raise InvalidValue("is not a URL that can be asked: it has no host")
        if url.raw_user is not None or url.raw_password is not None:
            raise InvalidValue("has a password in it; send it in headers, as Authorization")


def _host_encoder(before: str, name: str, after: str, hosts: Collection[str]) -> Encoder | None:
    """The encoder for a placeholder in front of the path; None for one behind."""
    if "/" in before or "?" in before or (before and name in _WHOLE_PATHS):
        return None
    if not before and hosts and _AFTER_HOST.fullmatch(after):
        return one_of(hosts)
    raise InvalidValue(
        "takes no placeholder in front of its path: {name} would choose where requests go;"
        " list the hosts that it may be in hosts, and let it stand for the whole host",
        otherwise="takes no placeholder in front of its path, which would choose where requests go;"
        " list the hosts that it may be in hosts, and let it stand for the whole host",
        name=f"{{{name}}}",
    )


def _place(before: str, name: str, after: str) -> Encoder:
    in_query = "?" in before
    if name == "query" and in_query:
        return whole_query
    if name == "target":
        if in_query or after or "/" in before:
            raise InvalidValue("takes {target} right behind the host, and nothing behind it")
        return whole_target
    if name == "path" and not in_query:
        return inner_path if before.endswith("/") else whole_path
    return query_part if in_query else path_part
