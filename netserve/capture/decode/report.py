"""Collects the items of conversations and prints them: grouped or live, as text or JSON.

Memory is bounded: only the first items of a conversation are kept, or, if all are wanted, they are
printed in parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from netserve.capture.decode import text
from netserve.capture.decode.conversation import Conversation
from netserve.capture.decode.engine import Totals
from netserve.capture.decode.model import SIDES, Item

__all__ = ["Options", "Report"]

MOST_ITEMS: Final = 500
"""Items of a conversation that are held before they are printed as a part."""
MOST_HELD: Final = 8 << 20
"""The approximate memory of all held items; beyond it they are printed early."""
_COST: Final = 400
"""The approximate memory of an item, besides its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The items to print, and the form to print them in.

    Arguments:
        items: of a conversation at most; None for all, 0 for none.
        as_json: whether they are JSON objects, one per line.
        live: whether each item is printed at once.
        protocols: the only ones that are shown, if there are any.
        addresses: of either end, the only ones that are shown, if there are any.
        ports: of either end, likewise.
        numbers: the only conversations that are shown, if there are any.
    """

    items: int | None = 100
    as_json: bool = False
    live: bool = False
    protocols: Collection[str] = ()
    addresses: Collection[str] = ()
    ports: Collection[int] = ()
    numbers: Collection[int] = ()


class Report:
    """Takes conversations from the engine.

    Arguments:
        options: see `Options`.
        write: takes lines.
        names: host names by address; grows while the file is read.
    """

    def __init__(
        self, options: Options, write: Callable[[str], object], names: Mapping[str, str]
    ) -> None:
        self._options = options
        self._write = write
        self._names = names
        self._held = 0
        self._most = options.items
        self._live_seen: set[int] = set()

    def heard(self, conversation: Conversation, item: Item) -> None:
        """Take an item of a conversation."""
        options = self._options
        if options.live:
            if self._is_wanted(conversation):
                self._say_live(conversation, item)
            return
        if self._most is not None and len(conversation.items) >= self._most:
            conversation.omitted[item.kind] += 1
            return
        conversation.items.append(item)
        cost = _COST + len(item.text)
        conversation.kept += cost
        self._held += cost
        if len(conversation.items) >= MOST_ITEMS or self._held > MOST_HELD:
            self._give_out_part(conversation)

    def over(self, conversation: Conversation) -> None:
        """Take a conversation that has ended."""
        self._held -= conversation.kept
        if not self._is_wanted(conversation):
            return
        if self._options.as_json:
            self._write(_json(self._object(conversation, final=True)))
        elif self._options.live:
            for line in text.problems(conversation):
                self._write(f"{text.clock(conversation.last)} #{conversation.number} ! {line}")
        else:
            self._write(text.block(conversation, self._names) + "\n")

    def summary(self, totals: Totals, fragments: tuple[int, int], info: Mapping[str, Any]) -> None:
        """Print the totals.

        Arguments:
            totals: counters of all of the file.
            fragments: of IP datagrams, and datagrams that could not be put together.
            info: about the file; ``notes`` is required.
        """
        if not self._options.as_json:
            self._write(text.summary(totals, fragments, info["notes"]))
            return
        self._write(_json({
            "summary": {
                "packets": totals.packets, "bytes": totals.size,
                "began": text.clock(totals.first), "ended": text.clock(totals.last),
                "conversations": dict(sorted(totals.conversations.items())),
                "other": dict(totals.other), "fragments": fragments[0],
                "incomplete_datagrams": fragments[1], "cut_short": totals.cut_short,
                "malformed": totals.malformed, "strays": totals.strays,
                "given_up": totals.given_up, **info,
            }
        }))  # fmt: skip

    def _say_live(self, conversation: Conversation, item: Item) -> None:
        if self._options.as_json:
            line = _json({"conversation": conversation.number, **_item(item)})
        else:
            if conversation.number not in self._live_seen:
                self._live_seen.add(conversation.number)
                self._write(text.title(conversation, self._names, final=False))
            line = text.live_line(conversation, item, self._names)
        self._write(line)

    def _give_out_part(self, conversation: Conversation) -> None:
        if self._is_wanted(conversation):
            if self._options.as_json:
                self._write(_json(self._object(conversation, final=False)))
            else:
                self._write(text.block(conversation, self._names, final=False) + "\n")
        if self._most is not None and len(conversation.items) < MOST_ITEMS:
            # Printed early for want of memory: the next part starts to count again.
            conversation.omitted.clear()
        conversation.part += 1
        conversation.items.clear()
        self._held -= conversation.kept
        conversation.kept = 0

    def _is_wanted(self, conversation: Conversation) -> bool:
        options = self._options
        ends = (conversation.client, conversation.server)
        return (
            (not options.numbers or conversation.number in options.numbers)
            and (not options.protocols or conversation.protocol in options.protocols)
            and (not options.addresses or any(host in options.addresses for host, _ in ends))
            and (not options.ports or any(port in options.ports for _, port in ends))
        )

    def _object(self, conversation: Conversation, *, final: bool) -> dict[str, Any]:
        """A conversation for programs."""
        found: dict[str, Any] = {
            "conversation": conversation.number, "transport": conversation.transport,
            "protocol": conversation.protocol or None,
            "client": _endpoint(conversation.client, self._names),
            "server": _endpoint(conversation.server, self._names),
            "began": text.clock(conversation.began), "ended": text.clock(conversation.last),
            "part": conversation.part, "final": final,
            "items": [_item(item) for item in conversation.items],
            "omitted": dict(conversation.omitted),
        }  # fmt: skip
        for name, side in zip(SIDES[:2], (0, 1), strict=True):
            counts = conversation.counts[side]
            found[name] |= {"packets": counts.packets, "bytes": counts.size}
            if conversation.tcp is not None:
                half = conversation.tcp.halves[side]
                found[name] |= {
                    "retransmitted": half.retransmitted, "out_of_order": half.out_of_order,
                    "missing": half.lost,
                }  # fmt: skip
        if final:
            found["problems"] = text.problems(conversation)
            found["comments"] = conversation.comments
        return found


def _item(item: Item) -> dict[str, Any]:
    return {
        "time": text.clock(item.time), "from": SIDES[item.side], "kind": item.kind,
        "text": item.text, **({"details": item.details} if item.details else {}),
    }  # fmt: skip


def _endpoint(end: tuple[str, int], names: Mapping[str, str]) -> dict[str, Any]:
    host, port = end
    found: dict[str, Any] = {"address": host, "port": port}
    if name := names.get(host):
        found["name"] = name
    return found


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value)
