"""The supervisor of the helper: start, restart, queue, deadlines; on a clock of the test's own."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from netserve.packet.client.helper import State
from netserve.packet.errors import PacketError
from netserve.packet.notation import parse
from netserve.packet.requests import Craft, DescribeLayers, Exchange
from tests.packet.client.conftest import Bench

CRAFT = Craft(packet=parse("IP()"))
SEND = Exchange(packets=(parse('IP(dst="127.0.0.1")/"x"'),))


def error_of(deferred: Deferred[Any]) -> PacketError:
    found: list[Failure] = []
    deferred.addErrback(found.append)
    assert found, "it has not failed"
    error = found[0].value
    assert isinstance(error, PacketError)
    return error


def result_of(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addCallback(found.append)
    assert found, "it has no result"
    return found[0]


def test_it_is_started_when_it_is_used(bench: Bench) -> None:
    assert bench.launcher.started == []
    first = bench.helper.ask(CRAFT, deadline=5)
    second = bench.helper.ask(DescribeLayers(), deadline=9)
    assert len(bench.launcher.started) == 1
    bench.launcher.last.begin()
    assert bench.launcher.last.read() == [
        {"id": 1, "ask": CRAFT.to_json(), "deadline": 5},
        {"id": 2, "ask": DescribeLayers().to_json(), "deadline": 9},
    ]
    bench.launcher.last.say(
        {"id": 2, "done": {"layers": []}}, {"id": 1, "done": {"packets": ["00"]}}
    )
    assert result_of(first) == {"packets": ["00"]}
    assert result_of(second) == {"layers": []}
    assert bench.helper.about == {"scapy": "2"}


def test_answers_come_before_the_end(bench: Bench) -> None:
    answers: list[Any] = []
    asked = bench.helper.ask(SEND, deadline=5, answered=answers.append)
    bench.launcher.last.begin()
    bench.launcher.last.say({"id": 1, "answer": {"index": 0}}, {"id": 9, "answer": {"index": 5}})
    assert answers == [{"index": 0}]
    bench.launcher.last.say({"id": 1, "done": {"sent": 1, "answers": 1}})
    assert result_of(asked)["sent"] == 1


def test_errors_have_their_kind(bench: Bench) -> None:
    asked = bench.helper.ask(SEND, deadline=5)
    bench.launcher.last.begin()
    bench.launcher.last.say({"id": 1, "error": {"kind": "missing", "what": "no capability"}})
    error = error_of(asked)
    assert (error.kind, str(error)) == ("missing", "no capability")


def test_what_the_policy_refuses_never_reaches_the_helper(bench: Bench) -> None:
    for ask in (
        Exchange(packets=(parse('IP(dst="8.8.8.8")'),)),
        Exchange(packets=(parse('IP(dst="127.0.0.1")'), parse('IP(dst="8.8.8.8")'))),
        Exchange(packets=(parse("IP()/STP()"),)),
        Exchange(packets=(parse("IP()"),), inter=0.0),
        Exchange(packets=(parse("IP()"),), timeout=50.0, retry=2),
        Exchange(packets=(parse("Ether()/IP()"),), layer=2, interface="eth0"),
    ):
        assert error_of(bench.helper.ask(ask, deadline=5)).kind == "refused"
    assert bench.launcher.started == []
    assert len(bench.logged) == 6
    assert "packet: user ada" in bench.logged[0]
    assert (
        "IP(dst='8.8.8.8'): refused: the target 8.8.8.8 is not in packet.targets" in bench.logged[0]
    )


def test_each_use_is_logged_in_one_line(bench: Bench) -> None:
    text = 'IP(dst="127.0.0.1")/"a\\nb\\x1b"/("x" * 1000)'
    bench.helper.ask(Exchange(packets=(parse(text),)), deadline=5)
    bench.helper.ask(SEND, deadline=5, use="ping 127.0.0.1")
    bench.helper.ask(SEND, deadline=5, use="")
    bench.helper.ask(CRAFT, deadline=5)
    bench.launcher.last.begin()
    done = {"sent": 1, "answers": 0}
    bench.launcher.last.say(*({"id": number, "done": done} for number in (1, 2, 3, 4)))
    first, second = bench.logged
    assert first.startswith(
        "packet: user ada, layer 3, interface -, IP(dst='127.0.0.1')/'a\\nb\\x1b'"
    )
    assert first.endswith("…: sent 1 packets, 0 answers")
    assert len(first) < 500
    assert second.endswith("ping 127.0.0.1: sent 1 packets, 0 answers")


def test_a_helper_that_dies_fails_what_it_had_and_the_rest_goes_on(bench: Bench) -> None:
    asked = [bench.helper.ask(SEND, deadline=60) for _ in range(12)]
    first = bench.launcher.last
    first.begin()
    assert len(first.read()) == 8  # as many as the policy allows at once
    first.end()
    assert [error_of(one).kind for one in asked[:8]] == ["died"] * 8
    assert bench.helper.state is State.PAUSED
    bench.clock.advance(0.2)
    second = bench.launcher.last
    assert second is not first
    second.begin()
    numbers = [message["id"] for message in second.read()]
    assert numbers == [9, 10, 11, 12]
    second.say(*({"id": number, "done": {"sent": 0}} for number in numbers))
    assert [result_of(one)["sent"] for one in asked[8:]] == [0] * 4


def test_the_pause_before_a_restart_grows_and_is_over_after_a_success(bench: Bench) -> None:
    pauses = []
    for _ in range(12):
        asked = bench.helper.ask(CRAFT, deadline=600)
        began = bench.clock.seconds()
        while bench.helper.state is State.PAUSED:
            bench.clock.advance(0.05)
        pauses.append(bench.clock.seconds() - began)
        bench.launcher.last.begin()
        bench.launcher.last.end()
        assert error_of(asked).kind == "died"
    assert len(bench.launcher.started) == 12
    assert pauses[0] == 0
    assert pauses[1] <= 0.2
    assert all(later > earlier * 1.1 for earlier, later in itertools.pairwise(pauses[2:7]))
    assert max(pauses) <= 30.0 * 1.25
    asked = bench.helper.ask(CRAFT, deadline=600)
    bench.clock.pump([1.0] * 40)
    bench.launcher.last.begin()
    (message,) = bench.launcher.last.read()
    bench.launcher.last.say({"id": message["id"], "done": {}})
    result_of(asked)
    bench.launcher.last.end()
    bench.clock.advance(0.2)
    assert bench.helper.state is State.IDLE


def test_a_helper_that_cannot_be_started(bench: Bench) -> None:
    bench.launcher.problem = PacketError("unavailable", "Scapy is not installed")
    error = error_of(bench.helper.ask(CRAFT, deadline=5))
    assert (error.kind, error.what) == ("unavailable", "Scapy is not installed")
    bench.launcher.problem = None
    asked = bench.helper.ask(CRAFT, deadline=5)
    bench.clock.advance(1)
    bench.launcher.last.link.makeConnection(bench.launcher.last.transport)
    bench.launcher.last.say({"failed": {"kind": "confinement", "what": "cannot leave root"}})
    assert error_of(asked).what == "cannot leave root"
    bench.launcher.last.end()


def test_a_start_that_takes_for_ever_is_ended(bench: Bench) -> None:
    asked = bench.helper.ask(CRAFT, deadline=600)
    bench.clock.advance(31)
    assert bench.launcher.last.killed
    assert error_of(asked).kind == "unavailable"


def test_the_queue_is_bounded(bench: Bench) -> None:
    asked = [bench.helper.ask(CRAFT, deadline=5) for _ in range(64)]
    assert error_of(bench.helper.ask(CRAFT, deadline=5)).kind == "full"
    bench.clock.advance(6)
    assert {error_of(one).kind for one in asked} == {"late"}
    bench.launcher.last.begin()
    assert bench.launcher.last.read() == []


def test_a_helper_that_is_stuck_is_killed(bench: Bench) -> None:
    asked = bench.helper.ask(SEND, deadline=5)
    other = bench.helper.ask(SEND, deadline=50)
    bench.launcher.last.begin()
    bench.clock.advance(5)
    assert not asked.called
    bench.clock.advance(2)
    assert error_of(asked).kind == "late"
    assert bench.launcher.started[0].killed
    assert error_of(other).kind == "died"


def test_a_request_that_is_cancelled(bench: Bench) -> None:
    asked = bench.helper.ask(SEND, deadline=50)
    bench.launcher.last.begin()
    bench.launcher.last.read()
    asked.cancel()
    assert bench.launcher.last.read() == [{"id": 1, "cancel": True}]
    failures: list[Failure] = []
    asked.addErrback(failures.append)
    assert failures[0].check(CancelledError)
    bench.launcher.last.say({"id": 1, "done": {}})  # it was on its way


def test_one_that_waits_is_cancelled(bench: Bench) -> None:
    asked = bench.helper.ask(SEND, deadline=50)
    asked.addErrback(lambda failure: failure.trap(CancelledError))
    asked.cancel()
    bench.launcher.last.begin()
    assert bench.launcher.last.read() == []


def test_an_idle_helper_is_let_go_and_started_again(bench: Bench) -> None:
    bench.helper.ask(CRAFT, deadline=5)
    first = bench.launcher.last
    first.begin()
    first.say({"id": 1, "done": {}})
    bench.clock.advance(299)
    assert not first.transport.disconnecting
    bench.clock.advance(2)
    assert first.transport.disconnecting
    first.end()
    bench.helper.ask(CRAFT, deadline=5)
    assert len(bench.launcher.started) == 2


def test_the_rate_holds_over_requests_and_restarts(bench: Bench) -> None:
    """The helper keeps the rate; a new one would begin anew, so it is kept here as well."""
    bench.helper.ask(SEND, deadline=50)
    bench.launcher.last.begin()
    bench.launcher.last.say({"id": 1, "done": {"sent": 1000}})
    bench.launcher.last.read()
    bench.helper.ask(SEND, deadline=50)
    bench.helper.ask(SEND, deadline=50)
    bench.clock.advance(0.5)
    assert bench.launcher.last.read() == []
    bench.clock.advance(0.5)
    assert len(bench.launcher.last.read()) == 2


def test_rubbish_ends_the_stream(bench: Bench) -> None:
    asked = bench.helper.ask(CRAFT, deadline=50)
    bench.launcher.last.begin()
    bench.launcher.last.say({"what": 1}, [], None, {"id": "x", "done": {}}, {"id": 1, "done": 5})
    assert not asked.called
    bench.launcher.last.link.dataReceived(b"\0\0\0\2{}x\0\0\0\1{")
    assert bench.launcher.last.transport.disconnecting
    bench.launcher.last.end()
    assert error_of(asked).kind == "died"


def test_after_the_close_nothing_is_taken(bench: Bench) -> None:
    asked = bench.helper.ask(CRAFT, deadline=50)
    bench.helper.close()
    assert error_of(asked).kind == "unavailable"
    assert error_of(bench.helper.ask(CRAFT, deadline=5)).kind == "unavailable"
    assert [call for call in bench.clock.getDelayedCalls() if call.active()] == []


@pytest.mark.parametrize("ended", [0, 1])
def test_a_close_leaves_no_timers(bench: Bench, ended: int) -> None:
    bench.helper.ask(SEND, deadline=50).addErrback(lambda _: None)
    bench.launcher.last.begin()
    if ended:
        bench.launcher.last.end()
    bench.helper.close()
    assert bench.clock.getDelayedCalls() == []
