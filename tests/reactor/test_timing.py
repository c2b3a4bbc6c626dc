"""Delayed calls, calls from threads, and single iterations; each test is a program of its own."""

import subprocess
import sys
import textwrap

import pytest


def output(loop: str, source: str) -> list[str]:
    """What a program prints, one line each; `reactor` is netserve's, on this loop."""
    prologue = f"""
    import asyncio, threading, time
    from netserve.reactor import reactor as module, install
    if {loop!r} == "asyncio":
        module.new_loop = asyncio.new_event_loop
    reactor = install()
    """
    program = textwrap.dedent(prologue) + textwrap.dedent(source)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


both = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@both
def test_an_iteration_without_delay_does_not_wait(loop: str) -> None:
    """It took 11 ms each: a hundred of them, which a suite of trial makes in 50 tests, 1.1 s."""
    source = """
    start = time.process_time(), time.monotonic()
    for _ in range(100):
        reactor.iterate(0)
    print(time.monotonic() - start[1])
    """
    assert float(output(loop, source)[0]) < 0.5


@both
def test_an_iteration_runs_what_is_due_and_what_has_arrived(loop: str) -> None:
    source = """
    from twisted.internet.protocol import Factory, Protocol, ClientFactory

    class Echo(Protocol):
        def dataReceived(self, data):
            print(type(self.factory).__name__, data.decode())
            self.transport.write(data)

    class Asks(ClientFactory):
        def buildProtocol(self, addr):
            protocol = Protocol()
            protocol.connectionMade = lambda: protocol.transport.write(b"ask")
            protocol.dataReceived = lambda data: print("answer", data.decode())
            return protocol

    port = reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
    reactor.connectTCP("127.0.0.1", port.getHost().port, Asks())
    reactor.callLater(0, print, "due")
    for _ in range(20):
        reactor.iterate(0)
    """
    assert output(loop, source) == ["due", "Factory ask", "answer ask"]


@both
def test_an_iteration_with_delay_ends_with_the_first_event(loop: str) -> None:
    source = """
    start = time.monotonic()
    threading.Timer(0.1, reactor.callFromThread, [print, "from a thread"]).start()
    reactor.iterate(20)
    reactor.iterate(0.05)
    print(0.1 < time.monotonic() - start < 5)
    """
    assert output(loop, source) == ["from a thread", "True"]


@both
def test_calls_come_in_the_order_of_their_times(loop: str) -> None:
    source = """
    def note(what):
        print(what)

    def begin():
        far = reactor.callLater(9, note, "moved to the front")
        reactor.callLater(0.03, note, "third")
        reactor.callLater(0.01, note, "second")
        reactor.callLater(0, note, "first")
        reactor.callLater(0.02, note, "never").cancel()
        later = reactor.callLater(0.015, note, "last")
        later.reset(0.06)
        far.reset(0)
        reactor.callLater(0.2, reactor.stop)
        reactor.callFromThread(note, "called from a thread")
        print(len(reactor.getDelayedCalls()))

    reactor.callWhenRunning(begin)
    reactor.run()
    """
    lines = output(loop, source)
    assert lines[0] == "6"
    assert lines[1] == "called from a thread"
    assert sorted(lines[2:4]) == ["first", "moved to the front"]
    assert lines[4:] == ["second", "third", "last"]


@both
def test_no_call_comes_before_its_time(loop: str) -> None:
    source = """
    early = []

    def due(at):
        if reactor.seconds() < at:
            early.append(at - reactor.seconds())

    def begin():
        for number in range(300):
            delay = number / 7000
            reactor.callLater(delay, due, reactor.seconds() + delay)
        reactor.callLater(0.1, reactor.stop)

    reactor.callWhenRunning(begin)
    reactor.run()
    print(early)
    """
    assert output(loop, source) == ["[]"]


@both
def test_a_call_that_fails_is_logged_and_the_next_one_is_made(loop: str) -> None:
    source = """
    from twisted.logger import globalLogPublisher
    globalLogPublisher.addObserver(
        lambda event: "log_failure" in event and print(event["log_failure"].type.__name__)
    )
    reactor.callLater(0, lambda: 1 / 0)
    reactor.callLater(0, print, "next")
    reactor.callFromThread(lambda: [].pop())
    reactor.callLater(0.01, reactor.stop)
    reactor.run()
    """
    assert sorted(output(loop, source)) == ["IndexError", "ZeroDivisionError", "next"]


@both
def test_many_small_writes_on_connection_take_no_longer_each(loop: str) -> None:
    """100,000 of 100 bytes: they were joined one by one, which took minutes."""
    source = """
    from twisted.internet.protocol import Factory, Protocol, ClientFactory

    class Writes(Protocol):
        def connectionMade(self):
            for _ in range(100_000):
                self.transport.write(b"x" * 100)
            self.transport.loseConnection()

    class Reads(Protocol):
        received = 0
        def dataReceived(self, data):
            self.received += len(data)
        def connectionLost(self, reason):
            print(self.received, time.process_time() - start < 10)
            reactor.stop()

    start = time.process_time()
    port = reactor.listenTCP(0, Factory.forProtocol(Writes), interface="127.0.0.1")
    reads = ClientFactory.forProtocol(Reads)
    reactor.connectTCP("127.0.0.1", port.getHost().port, reads)
    reactor.run()
    """
    assert output(loop, source) == ["10000000 True"]
