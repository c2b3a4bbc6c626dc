"""Options of the hook that mail is posted to."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field
from yarl import URL

from netserve.config.types import Duration, FilePath, Secret, Section
from netserve.errors import InvalidValue
from netserve.http.options import Upstreams


def _check_hook_url(text: str) -> str:
    url = URL(text)
    if url.scheme not in {"http", "https"} or not url.raw_host:
        raise InvalidValue("not a URL of a hook; write for example https://app.example.org/mail")
    if url.raw_user is not None or url.raw_fragment:
        raise InvalidValue("a hook's URL has no user and no fragment; give a token or headers")
    return text


def _check_header_names(headers: dict[str, str | Secret]) -> dict[str, str | Secret]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            otherwise = "not the name of a header"
            what = "not the name of a header: {name}"
            raise InvalidValue(what, at=(name,), otherwise=otherwise, name=repr(name))
        if name.lower() in _OWN_HEADERS:
            otherwise = "this header is set by netserve"
            what = "{name} is set by netserve"
            raise InvalidValue(what, at=(name,), otherwise=otherwise, name=name)
        text = value if isinstance(value, str) else value.reveal()
        if not text.isprintable() or not text.isascii():
            otherwise = "this value can't stand in a header"
            what = "the value of {name} can't stand in a header"
            raise InvalidValue(what, at=(name,), otherwise=otherwise, name=name)
    return headers


_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS: Final = frozenset(
    {"content-length", "content-type", "host", "idempotency-key", "netserve-envelope",
     "transfer-encoding"}
)  # fmt: skip


class Hook(Section):
    """An application that takes messages over HTTP, by POST."""

    url: Annotated[str, AfterValidator(_check_hook_url)]
    """Where it takes them: `https://app.example.org/mail`."""
    token: Secret | None = None
    """Sent as `Authorization: Bearer`; keep it out of the file by `!env`, `!file` or
    `!credential`."""
    headers: Annotated[dict[str, str | Secret], AfterValidator(_check_header_names)] = Field(
        default={}
    )
    """Headers that are sent with each message."""
    timeout: Annotated[Duration, Field(gt=0)] = 60.0
    """For the whole of a message, answer included."""
    allow_upstreams: Upstreams = ()
    """Addresses, networks and host names that may be asked though they are not public."""
    ca: FilePath | None = None
    """Trust only these certificates (PEM), not the system's."""

    def __hash__(self) -> int:
        return hash((Hook, self.url))  # a mapping, as headers are one, has no hash
