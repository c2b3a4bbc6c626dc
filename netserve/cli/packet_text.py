"""Prints packets and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from netserve.cli.packets import Session
from netserve.packet.reading import line, read_frame, read_packet
from netserve.packet.recording import Recording


class Printer:
    """Prints the rounds of a command.

    Arguments:
        session: how to print.
        layer: 2 or 3, the layer of the packets.
        show: whether each answer is shown field by field.
        recording: gets packets and answers as well, or None.
    """

    def __init__(
        self, session: Session, *, layer: int, show: bool, recording: Recording | None
    ) -> None:
        self._session = session
        self._read = read_frame if layer == 2 else read_packet
        self._show = show
        self._recording = recording
        self._round = 0
        self._answers: list[dict[str, Any]] = []
        self._sent = 0
        self._answered = 0
        self._total = 0
        self._is_headed = False

    def begin(self, number: int) -> Callable[[dict[str, Any]], None]:
        """Start a round; returns the callback for its answers."""
        self._round = number
        self._answers = []
        return self._answers.append

    def end(self, done: dict[str, Any]) -> None:
        """Print a round that has ended."""
        packets = [bytes.fromhex(data) for data in done["packets"]]
        self._sent += done["sent"]
        self._total += len(packets)
        self._answered += len(packets) - len(done["unanswered"])
        by_packet: dict[int, list[dict[str, Any]]] = {}
        for answer in self._answers:
            by_packet.setdefault(answer["index"], []).append(answer)
        for index, data in enumerate(packets):
            answers = by_packet.get(index, [])
            self._record(data, answers)
            for answer in answers:
                self._answer(index, data, answer)
            if not answers:
                self._silence(index, data)
        for what, number in done["errors"].items():
            click.echo(f"{number} times: {what}", err=True)
        if done["dropped"]:
            click.echo(f"{done['dropped']} packets came in too fast, and were dropped", err=True)

    def close(self) -> int:
        """The summary, and the exit code."""
        lost = 1 - self._answered / self._total if self._total else 0.0
        if not self._session.as_json:
            click.echo(
                f"{self._sent} sent, {self._answered} answered, {lost:.0%} without an answer"
            )
        return 0 if self._answered else 1

    def _record(self, data: bytes, answers: list[dict[str, Any]]) -> None:
        if self._recording is not None and answers:
            self._recording.packet(answers[0]["sent"], data)
            for answer in answers:
                self._recording.packet(answer["received"], bytes.fromhex(answer["data"]))

    def _answer(self, index: int, data: bytes, answer: dict[str, Any]) -> None:
        milliseconds = (answer["received"] - answer["sent"]) / 1e6
        if self._session.as_json:
            self._session.print("", {
                "round": self._round, "index": index, "packet": data.hex(),
                "answer": answer["data"], "summary": answer["summary"],
                "ms": round(milliseconds, 3), "sent": answer["sent"] / 1e9,
            })  # fmt: skip
            return
        self._row(data, f"{milliseconds:.3f}", line(self._read(bytes.fromhex(answer["data"]))))
        if self._show:
            click.echo(answer["shown"])

    def _silence(self, index: int, data: bytes) -> None:
        if self._session.as_json:
            value = {"round": self._round, "index": index, "packet": data.hex(), "answer": None}
            self._session.print("", value)
            return
        self._row(data, "-", "no answer")

    def _row(self, data: bytes, milliseconds: str, answer: str) -> None:
        if not self._is_headed:
            click.echo(f"{'sent':<48}  {'ms':>9}  answer")
            self._is_headed = True
        click.echo(f"{line(self._read(data)):<48}  {milliseconds:>9}  {answer}")
