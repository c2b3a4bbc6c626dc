"""What operators ask of the queue: list, show, why, retry, hold, release, drop, export, check.

Reading goes on beside the work. What changes messages is done in portions, so that mail comes in
and goes out meanwhile; after each portion the agent is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.threads import deferToThreadPool

from netserve.outbox.agent import Agent
from netserve.outbox.errors import BodyMissing, BodyUnreadable, NoSuchMessage
from netserve.outbox.ids import IdSource, encode_id
from netserve.outbox.kind import Kind
from netserve.outbox.model import Item
from netserve.outbox.query import EVERY, Filter, number_of
from netserve.outbox.recent import Recent
from netserve.outbox.records import Changed, Description, TaskDescription, Verb
from netserve.outbox.storage import Storage

PORTION: Final = 500
"""So many messages are changed by one transaction."""
LISTED_RECIPIENTS: Final = 3
SHOWN_RECIPIENTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list.

    Arguments:
        messages: in a form that becomes JSON; see `_rendered`.
        next: is given to `Verbs.list` for the next page; None at the end.
    """

    messages: list[dict[str, Any]]
    next: str | None


class Verbs:
    """The verbs of an open queue.

    Arguments:
        storage: the store.
        agent: is told of changes.
        ids: knows the last message there is.
        reactor: gives a thread for reading a body.
        now: unix seconds.
        changed: is called when the number of queued recipients may have changed.
        recent: remembers the last outcomes.
        kinds: gives those of the services, by name.
    """

    def __init__(
        self,
        storage: Storage,
        agent: Agent,
        ids: IdSource,
        *,
        reactor: Any,
        now: Callable[[], float],
        changed: Callable[[], None],
        recent: Recent,
        kinds: Callable[[], Mapping[str, Kind]],
    ) -> None:
        self._storage = storage
        self._agent = agent
        self._ids = ids
        self._reactor = reactor
        self._now = now
        self._changed = changed
        self._recent = recent
        self._kinds = kinds

    async def list(
        self, wanted: Filter = EVERY, *, after: str | None = None, limit: int = 100
    ) -> Page:
        """A page of messages, the oldest first.

        Arguments:
            wanted: which ones.
            after: `Page.next` of the last page.
            limit: how many at most. There may be fewer, or none, and a next page all the same.

        Raises:
            NoSuchMessage: an id in `wanted` or `after` cannot be one.
        """
        begin = 0 if after is None else int(after)
        found = await self._storage.find(wanted, after=begin, limit=limit, now=self._now())
        listed = await self._storage.describe(found.numbers, tasks=LISTED_RECIPIENTS)
        messages = [self._rendered(one) for one in listed]
        return Page(messages, None if found.after is None else str(found.after))

    async def show(self, message: str) -> dict[str, Any]:
        """A message with its recipients and its header.

        Raises:
            NoSuchMessage: it is not in the queue.
        """
        number = number_of(message)
        shown = await self._described(number)
        loaded = await self._storage.load(number)
        pool = self._reactor.getThreadPool()
        kind = self._kinds().get(loaded.kind)
        if kind is not None:
            shown["header"] = await deferToThreadPool(self._reactor, pool, _head, kind, loaded)
        return shown

    async def why(self, message: str) -> dict[str, Any]:
        """A message with its recipients and their last attempts.

        Raises:
            NoSuchMessage: it is not in the queue.
        """
        return await self._described(number_of(message), history=True)

    async def _described(self, number: int, *, history: bool = False) -> dict[str, Any]:
        found = await self._storage.describe([number], tasks=SHOWN_RECIPIENTS, history=history)
        if not found:
            raise NoSuchMessage(f"no message {encode_id(number)} is in the queue")
        return self._rendered(found[0], history=history)

    def _rendered(self, one: Description, *, history: bool = False) -> dict[str, Any]:
        """An item as what becomes JSON; times are unix seconds."""
        kind = self._kinds().get(one.kind)
        return {
            "id": encode_id(one.number),
            "service": one.service,
            "kind": one.kind,
            "created": one.created,
            "sender": one.sender,
            "size": one.size,
            "recipient_count": one.task_count,
            "trace": one.trace,
            "user": one.user,
            "client": one.client,
            **({} if kind is None else kind.describe(one)),
            "recipients": [_rendered_task(task, kind, history=history) for task in one.tasks],
        }

    def expect(self, message: str) -> None:
        """Remember what comes of a message that will be there in a moment.

        Raises:
            NoSuchMessage: it is not an id.
        """
        self._recent.follow(number_of(message))

    async def follow(self, message: str) -> dict[str, Any]:
        """What has come of a message so far, also when it is done already.

        Gives its id, the time `now`, its `queued` recipients (None when it is no longer in the
        queue), and the `outcomes` that are remembered. Who asks once is told the later ones too.

        Raises:
            NoSuchMessage: it is not in the queue, and nothing is remembered of it.
        """
        number = number_of(message)
        outcomes = self._recent.of(number)
        queued: list[dict[str, Any]] | None
        try:
            queued = (await self.why(message))["recipients"]
        except NoSuchMessage:
            # Its last outcome may have come since.
            outcomes, queued = self._recent.of(number), None
            if not outcomes:
                raise
        return {
            "id": encode_id(number),
            "now": self._now(),
            "queued": queued,
            "outcomes": [ended.as_json() for ended in outcomes],
        }

    async def export(self, message: str) -> tuple[dict[str, Any], Item]:
        """A message's description, and the message, for its body.

        Raises:
            NoSuchMessage: it is not in the queue.
        """
        number = number_of(message)
        return await self._described(number), await self._storage.load(number)

    def media_type(self, item: Item) -> str:
        """Of the body of an item, as HTTP has it."""
        kind = self._kinds().get(item.kind)
        return "application/octet-stream" if kind is None else kind.media_type

    async def retry(self, wanted: Filter) -> int:
        """Try queued recipients now, also where their destination rests.

        Says of how many messages.
        """
        return await self._each(wanted, "retry")

    async def hold(self, wanted: Filter, reason: str = "held by an operator") -> int:
        """Keep queued recipients from being tried; says of how many messages."""
        return await self._each(wanted, "hold", reason)

    async def release(self, wanted: Filter) -> int:
        """Queue held recipients again, due now; says of how many messages."""
        return await self._each(wanted, "release")

    async def drop(self, wanted: Filter) -> int:
        """Delete messages, and tell nobody; says how many."""
        return await self._each(wanted, "drop")

    async def flush(self) -> int:
        """Try all that is queued now; says how many messages."""
        return await self.retry(EVERY)

    async def check(self) -> dict[str, Any]:
        """Look through all that is stored; see `records.Report.as_json` for what it gives."""
        return (await self._storage.check()).as_json()

    async def repair(self) -> dict[str, Any]:
        """Check, and hold the messages that are damaged; says of how many beside that.

        What else is wrong can only be repaired while the process does not run.
        """
        report = await self._storage.check()
        by_what: dict[str, list[int]] = {}
        for damage in report.damages:
            by_what.setdefault(damage.what, []).append(damage.number)
        changed: set[int] = set()
        for what, numbers in by_what.items():
            held = await self._storage.change("hold", numbers, reason=what)
            self._agent.withdraw(held.numbers, dropped=False)
            changed |= held.numbers
        self._changed()
        return {**report.as_json(), "held_now": len(changed)}

    async def _each(self, wanted: Filter, verb: Verb, reason: str = "") -> int:
        """Change messages in portions; those that come in meanwhile are not concerned."""
        began = self._now()
        count = 0
        position: int | None = 0
        last = self._ids.last
        while position is not None and position <= last:
            found = await self._storage.find(wanted, after=position, limit=PORTION, now=self._now())
            numbers = [number for number in found.numbers if number <= last]
            if numbers:
                changed = await self._storage.change(verb, numbers, now=began, reason=reason)
                self._tell(verb, changed, began)
                count += len(changed.numbers)
            position = found.after
        self._changed()
        return count

    def _tell(self, verb: Verb, changed: Changed, now: float) -> None:
        """Let the agent know what has changed."""
        if verb in {"hold", "drop"}:
            self._agent.withdraw(changed.numbers, dropped=verb == "drop")
            return
        for lane in changed.lanes:
            self._agent.expect(lane, now, at_once=True)


def _head(kind: Kind, item: Item) -> str:
    try:
        return kind.head(item)
    except (BodyMissing, BodyUnreadable) as error:
        return f"({error})"


def _rendered_task(task: TaskDescription, kind: Kind | None, *, history: bool) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "address": task.address,
        "state": task.state,
        "attempts": task.attempts,
        "next_at": task.next_at,
        "last": task.last,
        "lane": task.lane,
        **({} if kind is None else kind.describe_task(task)),
    }
    if history:
        rendered["history"] = [attempt._asdict() for attempt in task.history]
    return rendered
