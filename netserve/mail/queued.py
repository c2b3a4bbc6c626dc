"""Mail in the queue: a message is an item, and each of its recipients a task.

What only mail knows is kept in the meta texts, in the form of the parameters of MAIL and RCPT
(RFC 5321, 4.1.2): ``BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ314159`` of a message, and
``NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;user@example.org`` of a recipient. ENVID and ORCPT come last,
and have all that follows, since a peer may have given anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final, Self, TypeAlias

from netserve.mail.envelope import Envelope
from netserve.outbox.model import Item, Submission, Task

KIND: Final = "mail"
"""The name of the kind."""

_Options: TypeAlias = tuple[str, bool, str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QueuedMessage(Item):
    """A message in the queue.

    Arguments:
        body_type: ``7BIT``, ``8BITMIME``, or ``BINARYMIME`` for a message that has lines of more
            than 998 octets; see `netserve.mail.envelope.BodyType`.
        smtputf8: SMTPUTF8 of RFC 6531 was given.
        ret: RET of RFC 3461, or an empty string.
        envid: ENVID of RFC 3461, or an empty string.
    """

    kind: str = KIND
    body_type: str = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""

    @classmethod
    def of(cls, item: Item) -> Self:
        """The message that an item of the store is."""
        body_type, smtputf8, ret, envid = message_options(item.meta)
        return cls(
            id=item.id,
            number=item.number,
            service=item.service,
            created=item.created,
            sender=item.sender,
            meta=item.meta,
            user=item.user,
            client=item.client,
            trace=item.trace,
            size=item.size,
            tasks=item.tasks,
            took=item.took,
            in_file=item.in_file,
            body_sum=item.body_sum,
            open_body=item.open_body,
            body_type=body_type,
            smtputf8=smtputf8,
            ret=ret,
            envid=envid,
        )


@dataclass(frozen=True, slots=True)
class QueuedRecipient(Task):
    """A recipient of a message in the queue; its address is without angle brackets.

    Arguments:
        notify: NOTIFY of RFC 3461; empty where it was not given.
        original: ORCPT as it came, or an empty string.
    """

    notify: frozenset[str] = frozenset()
    original: str = ""

    @classmethod
    def of(cls, task: Task) -> Self:
        """The recipient that a task of the store is."""
        notify, original = recipient_options(task.meta) if task.meta else (frozenset(), "")
        return cls(
            task.id,
            task.address,
            task.meta,
            task.attempts,
            task.warned,
            task.last,
            notify,
            original,
        )


def submission(envelope: Envelope) -> Submission:
    """What the queue is given for a message."""
    meta = ""
    if envelope.body != "7BIT" or envelope.smtputf8 or envelope.ret or envelope.envid:
        meta = message_meta(envelope.body, envelope.smtputf8, envelope.ret, envelope.envid)
    return Submission(
        KIND,
        [
            QueuedRecipient(
                n,
                one.address,
                recipient_meta(one.notify, one.original) if one.notify or one.original else "",
                notify=one.notify,
                original=one.original,
            )
            for n, one in enumerate(envelope.recipients)
        ],
        envelope.sender,
        meta,
        envelope.user,
        envelope.client,
        envelope.trace,
        partial(
            QueuedMessage,
            body_type=envelope.body,
            smtputf8=envelope.smtputf8,
            ret=envelope.ret,
            envid=envelope.envid,
        ),
    )


def message_meta(body_type: str, smtputf8: bool, ret: str, envid: str) -> str:
    """The meta text of a message; see `QueuedMessage`."""
    words = [] if body_type == "7BIT" else [f"BODY={body_type}"]
    if smtputf8:
        words.append("SMTPUTF8")
    if ret:
        words.append(f"RET={ret}")
    if envid:
        words.append(f"ENVID={envid}")
    return " ".join(words)


@lru_cache(maxsize=64)
def message_options(meta: str) -> _Options:
    """Body type, SMTPUTF8, RET and ENVID of a meta text; what is not known is passed over."""
    rest, envid = _cut(meta, "ENVID=")
    words = dict(word.partition("=")[::2] for word in rest.split())
    return words.get("BODY", "7BIT"), "SMTPUTF8" in words, words.get("RET", ""), envid


def recipient_meta(notify: frozenset[str], original: str) -> str:
    """The meta text of a recipient; see `QueuedRecipient`."""
    words = [f"NOTIFY={','.join(sorted(notify))}"] if notify else []
    if original:
        words.append(f"ORCPT={original}")
    return " ".join(words)


@lru_cache(maxsize=64)
def recipient_options(meta: str) -> tuple[frozenset[str], str]:
    """NOTIFY and ORCPT of a meta text."""
    rest, original = _cut(meta, "ORCPT=")
    _, _, notify = rest.partition("NOTIFY=")
    return frozenset(notify.split(",")) if notify else frozenset(), original


def _cut(meta: str, last: str) -> tuple[str, str]:
    """What stands before the last parameter, and its value."""
    if meta.startswith(last):
        return "", meta[len(last) :]
    rest, _, value = meta.partition(f" {last}")
    return rest, value
