"""How ``netserve queue`` prints messages for people. Pure.

What peers said is printed with control characters replaced, since it goes to a terminal.
"""

from __future__ import annotations

from typing import Any

_COLUMNS = "{id:11}  {age:>5}  {size:>7}  {state:6}  {tries:>5}  {sender:30}  {recipient}"


def list_title() -> str:
    """The line above a list."""
    return _COLUMNS.format(
        id="ID", age="AGE", size="SIZE", state="STATE", tries="TRIES", sender="FROM", recipient="TO"
    )


def list_line(message: dict[str, Any], now: float) -> str:
    """One line for a message, and one for the reply that it waits with."""
    recipients = message["recipients"]
    more = message["recipient_count"] - 1
    line = _COLUMNS.format(
        id=message["id"],
        age=duration(now - message["created"]),
        size=size(message["size"]),
        state=_state(recipients),
        tries=max((recipient["attempts"] for recipient in recipients), default=0),
        sender=clean(f"<{message['sender']}>"),
        recipient=clean(f"<{recipients[0]['address']}>") if recipients else "",
    )
    if more > 0:
        line += f" and {more} more"
    last = next((r["last"] for r in recipients if r["last"]), "")
    return f"{line}\n{'':13}{clean(last)}" if last else line


def _state(recipients: list[dict[str, Any]]) -> str:
    states = {recipient["state"] for recipient in recipients}
    return next((s for s in ("held", "queued", "failed", "done") if s in states), "")


def message_text(message: dict[str, Any], now: float) -> str:
    """A message with its recipients and its header."""
    lines = [*_head(message, now), ""]
    lines += [line for recipient in message["recipients"] for line in _recipient(recipient, now)]
    if "header" in message:
        # Folded lines begin with a tab as often as with a blank.
        lines += ["", *(clean(line.expandtabs()) for line in message["header"].splitlines())]
    return "\n".join(lines)


def attempts_text(message: dict[str, Any], now: float) -> str:
    """A message with all attempts of its recipients."""
    lines = _head(message, now)
    for recipient in message["recipients"]:
        lines += ["", *_recipient(recipient, now)]
        for attempt in recipient["history"]:
            ago = duration(now - attempt["at"])
            remote = f" ({clean(attempt['remote'])})" if attempt["remote"] else ""
            lines.append(
                f"  {attempt['number']:>3}. {ago:>5} ago  {attempt['outcome']}:"
                f" {clean(attempt['reply'])}{remote}"
            )
        if not recipient["history"]:
            lines.append("       not tried yet")
    return "\n".join(lines)


def _head(message: dict[str, Any], now: float) -> list[str]:
    facts = {
        "id": message["id"],
        "service": message["service"],
        "from": f"<{message['sender']}>",
        "size": size(message["size"]),
        "age": duration(now - message["created"]),
        "client": message["client"],
        "user": message["user"],
        "trace": message["trace"],
    }
    return [f"{name:8} {clean(str(value))}" for name, value in facts.items() if value]


def _recipient(recipient: dict[str, Any], now: float) -> list[str]:
    state = recipient["state"]
    when = ""
    if state == "queued":
        wait = recipient["next_at"] - now
        when = f", next in {duration(wait)}" if wait > 0 else ", due now"
    lines = [f"<{clean(recipient['address'])}> {state}{when}, tries: {recipient['attempts']}"]
    if recipient["last"]:
        lines.append(f"    {clean(recipient['last'])}")
    return lines


def duration(seconds: float) -> str:
    """``12s``, ``5m``, ``3h``, ``4d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def size(count: int) -> str:
    """``512``, ``4.1k``, ``25.0M``."""
    if count < 1000:
        return str(count)
    if count < 1_000_000:
        return f"{count / 1000:.1f}k"
    return f"{count / 1_000_000:.1f}M"


def clean(text: str) -> str:
    """Text that does nothing to a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
