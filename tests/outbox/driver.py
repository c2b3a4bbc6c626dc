"""A process with a queue, for tests that kill it or fail its system calls.

``driver.py FOLDER SPOOLED OUTCOME COUNT [stay]``: takes COUNT messages in, one by one, every
second one large, and a few at once at the end; each line on standard output is ``taken ID`` after
the commit, or ``refused CLASS``. SPOOLED is a file that gets a line for each delivery. OUTCOME is
``delivered`` or ``deferred``. With ``stay`` it does not end, but says ``idle`` when all is written.
"""

import os
import random
import sys
from pathlib import Path

from netserve.reactor import install

reactor = install()

from twisted.internet.defer import gatherResults, succeed  # noqa: E402 - after the reactor
from twisted.internet.task import deferLater  # noqa: E402
from twisted.logger import Logger  # noqa: E402

from netserve.crossing import ensure_deferred  # noqa: E402
from netserve.mail.envelope import Envelope, Recipient  # noqa: E402
from netserve.mail.kind import MailKind  # noqa: E402
from netserve.mail.queued import submission  # noqa: E402
from netserve.outbox import Destination, Outbox, OutboxError, Schedule  # noqa: E402
from netserve.testing.queue import DEFERRED, DELIVERED  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from driver_bodies import LARGE, SMALL  # noqa: E402


class Writer:
    """Delivers by a line in a file."""

    kind = MailKind("relay.example.org")

    def __init__(self, path: str, outcome: str) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.outcome = DELIVERED if outcome == "delivered" else DEFERRED

    def destination(self, message, recipient):
        return Destination("file")

    def deliver(self, message, recipients, destination):
        reader = message.body()
        whole = reader.read() in (SMALL, LARGE)
        reader.close()
        os.write(self.file, f"{message.id} {'whole' if whole else 'DAMAGED'}\n".encode())
        return succeed({recipient.id: self.outcome for recipient in recipients})


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def take(outbox: Outbox, body: bytes) -> None:
    incoming = None
    try:
        incoming = outbox.incoming()
        incoming.write(body)
        recipients = (Recipient("a@example.com"),)
        message = await incoming.commit(
            "mail", submission(Envelope(sender="", recipients=recipients))
        )
    except OutboxError as error:
        if incoming is not None:
            incoming.abort()
        say(f"refused {type(error).__name__}")
    else:
        say(f"taken {message}")


async def main() -> None:
    folder, spooled, outcome, count, *stay = sys.argv[1:]
    outbox = Outbox(Path(folder), reactor=reactor, log=Logger(), random=random.Random(0))
    outbox.attach("mail", Writer(spooled, outcome), Schedule(first=60))
    await outbox.open()
    say(f"open {os.getpid()}")
    for number in range(int(count)):
        await take(outbox, LARGE if number % 2 else SMALL)
    bodies = (LARGE, SMALL, LARGE)
    await gatherResults([ensure_deferred(take(outbox, body)) for body in bodies])
    await deferLater(reactor, 0.05)
    if stay:
        await until_idle(outbox)
        say("idle")
        await deferLater(reactor, 3600)
    await outbox.close()


async def until_idle(outbox: Outbox) -> None:
    commits = -1
    while outbox.depth()["delivering"] or commits != outbox.commits:
        commits = outbox.commits
        await deferLater(reactor, 0.2)


def failed(failure) -> None:
    sys.stderr.write(failure.getTraceback())
    sys.stderr.flush()
    os._exit(3)


reactor.callWhenRunning(
    lambda: ensure_deferred(main()).addErrback(failed).addBoth(lambda _: reactor.stop())
)
reactor.run()
