"""The options of a route -> what is done to each of its messages. Keys are read once, here."""

from __future__ import annotations

from collections.abc import Iterator

from netserve.mail.dkim.keys import RECOMMENDED_BITS, load_key
from netserve.mail.dkim.signing import SIGNED, Signatures, Signer
from netserve.mail.outgoing import Changes
from netserve.mail.rewriting import Rewriting
from netserve.protocols.smtp_relay.delivery.smtp.options import SmtpOptions
from netserve.protocols.smtp_relay.delivery.smtp.outgoing_options import DKIM, Key, Rewrite


def changes_of(options: SmtpOptions) -> Changes | None:
    """What a route asks for, or None: its messages go out as they are."""
    if options.rewrite is None and options.dkim is None:
        return None
    rewriting = None if options.rewrite is None else _rewriting(options.rewrite)
    return Changes(rewriting, _signatures(options.signatures) if options.signatures else None)


def weak_keys(options: SmtpOptions) -> Iterator[str]:
    """What is to be said about keys that work, and should be longer."""
    for settings in options.signatures:
        for signer in _signers(settings):
            if signer.key.is_weak:
                yield (
                    f"the DKIM key {signer.selector} of {signer.domain} has {signer.key.bits} bits;"
                    f" {RECOMMENDED_BITS} are recommended"
                )


def _rewriting(settings: Rewrite) -> Rewriting:
    return Rewriting(sender=settings.sender, author=settings.from_, reply_to=settings.reply_to)


def _signatures(all_settings: tuple[DKIM, ...]) -> Signatures:
    always: list[Signer] = []
    by_domain: dict[str, list[Signer]] = {}
    for settings in all_settings:
        for signer in _signers(settings):
            if settings.keys:
                by_domain.setdefault(signer.domain, []).append(signer)
            else:
                always.append(signer)
    return Signatures(always, by_domain)


def _signers(settings: DKIM) -> Iterator[Signer]:
    pairs: dict[str, Key] = dict(settings.keys)
    if settings.domain is not None and settings.key is not None:
        pairs[settings.domain] = settings.key
    header_form, body_form = settings.forms
    for domain, key in pairs.items():
        yield Signer(
            domain=domain,
            selector=settings.selector,
            key=load_key(key.reveal()),
            header_form=header_form,
            body_form=body_form,
            identity=settings.identity or "",
            life=settings.expires,
            signed=SIGNED
            if settings.headers is None
            else tuple({"from": 0, **dict.fromkeys(settings.headers)}),
        )
