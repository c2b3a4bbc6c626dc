"""The options of `dkim` and `rewrite`: what is done to a message on its way out."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from netserve.config.types import Duration, Secret, Section, Shown
from netserve.errors import InvalidValue
from netserve.mail.address import AddressError, normalise_mailbox
from netserve.mail.dkim.canonical import Form
from netserve.mail.dkim.keys import load_key
from netserve.mail.dkim.names import check_domain, check_selector
from netserve.mail.dkim.signing import NEVER

_IDENTITY: Final = re.compile(r"(?P<local>[A-Za-z0-9!#$%&'*+/?^_`{|}~.-]*)@(?P<domain>[^@]+)")
_FIELD: Final = re.compile(r"[!-9;-~]+")


def _check_key(key: Secret) -> Secret:
    load_key(key.reveal())
    return key


def _check_identity(text: str) -> str:
    match = _IDENTITY.fullmatch(text)
    try:
        if match is not None:
            return f"{match['local']}@{check_domain(match['domain'])}"
    except ValueError:
        pass
    raise InvalidValue("not an identity; write one such as @example.org or news@example.org")


def _check_field_name(text: str) -> str:
    name = text.lower()
    if not _FIELD.fullmatch(name):
        raise InvalidValue("not the name of a header field, such as Subject")
    if name in NEVER:
        raise InvalidValue("{name} is not signed, since it changes on the way", name=text)
    return name


def _check_address(text: str) -> str:
    try:
        mailbox = normalise_mailbox(text)
    except AddressError as error:
        raise InvalidValue(str(error) + "; write one such as me@example.org") from None
    if "@" not in mailbox or not mailbox.isascii():
        raise InvalidValue(
            "not an address in ASCII with a domain; write one such as me@example.org"
        )
    return mailbox


Domain: TypeAlias = Annotated[str, AfterValidator(check_domain), Shown()]
"""A domain, with A-labels where it was written with U-labels."""
Key: TypeAlias = Annotated[Secret, AfterValidator(_check_key)]
"""A private key in PEM that can sign."""
Address: TypeAlias = Annotated[str, AfterValidator(_check_address), Shown()]
"""A mailbox that every server takes."""
Canonicalization: TypeAlias = Literal[
    "relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"
]


class DKIM(Section):
    """A signature (RFC 6376): `domain` and `key`, or `keys` by the domain of From."""

    domain: Domain | None = None
    """The domain that signs, whatever From says; with `key`."""
    key: Key | None = None
    """Its private key in PEM, RSA or Ed25519, by `!file` or `!credential`."""
    keys: dict[Domain, Key] = Field(default={})
    """Instead: keys by domain. Messages are signed for the domain of their From, or the nearest one
    above it, where it is listed; others are not signed."""
    selector: Annotated[str, AfterValidator(check_selector), Shown()]
    """The selector: the public key is published at `SELECTOR._domainkey.DOMAIN`."""
    canonicalization: Canonicalization = "relaxed/relaxed"
    """Of header and body: `relaxed` overlooks changes of white space, `simple` does not."""
    headers: Annotated[
        tuple[Annotated[str, AfterValidator(_check_field_name), Shown()], ...] | None,
        Field(min_length=1),
    ] = None
    """The header fields that are signed, in place of those that RFC 6376 recommends; From always
    is."""
    identity: Annotated[str, AfterValidator(_check_identity), Shown()] | None = None
    """Who in the domain signs (`i=`), such as `@news.example.org`; with `domain`."""
    expires: Annotated[Duration, Field(ge=60)] | None = None
    """The signature is good for so long (`x=`); without it there is no end."""

    @property
    def forms(self) -> tuple[Form, Form]:
        """The canonical forms of header and body."""
        header, _, body = self.canonicalization.partition("/")
        return _FORMS[header], _FORMS[body]

    @model_validator(mode="after")
    def _one_way(self) -> DKIM:
        if self.keys and (self.domain or self.key):
            raise InvalidValue("has domain and key, or keys; both are too much")
        if not self.keys and (self.domain is None or self.key is None):
            raise InvalidValue("needs domain and key, or keys by domain")
        return self

    @model_validator(mode="after")
    def _identity_is_inside(self) -> DKIM:
        if self.identity is not None:
            if self.domain is None:
                raise InvalidValue("identity: only together with domain")
            inside = self.identity.rpartition("@")[2]
            if inside != self.domain and not inside.endswith(f".{self.domain}"):
                raise InvalidValue(
                    "identity: it is to end with @{domain}, or .{domain}", domain=self.domain
                )
        return self

    def __hash__(self) -> int:
        return hash((self.domain, self.selector, self.key, tuple(sorted(self.keys))))


def _check_distinct(several: tuple[DKIM, ...]) -> tuple[DKIM, ...]:
    seen: set[tuple[str, str]] = set()
    for each in several:
        for domain in (*each.keys, *filter(None, (each.domain,))):
            if (domain, each.selector) in seen:
                raise InvalidValue(
                    "the selector {selector} of {domain} twice; each key has its own",
                    selector=each.selector,
                    domain=domain,
                )
            seen.add((domain, each.selector))
    return several


Signatures: TypeAlias = (
    DKIM | Annotated[tuple[DKIM, ...], Field(min_length=1), AfterValidator(_check_distinct)]
)
"""One signature or a list of them."""

_FORMS: Final[dict[str, Form]] = {"relaxed": "relaxed", "simple": "simple"}


class Rewrite(Section):
    """Senders that a server takes, in place of those that it refuses."""

    sender: Address | None = None
    """The sender of the envelope (MAIL FROM), which gets the bounces of others; the null sender
    stays."""
    from_: Address | None = Field(default=None, alias="from")
    """The address in From; the name beside it stays."""
    reply_to: Literal["original", "keep"] = "original"
    """With `from`: `original` makes the old From the Reply-To of a message that has none, `keep`
    adds no Reply-To."""

    @model_validator(mode="after")
    def _something(self) -> Rewrite:
        if self.sender is None and self.from_ is None:
            raise InvalidValue("needs sender, from, or both")
        if self.from_ is None and "reply_to" in self.model_fields_set:
            raise InvalidValue("reply_to: only together with from")
        return self
