"""The suites that `python -m tests.suites` runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Suite:
    """The tests of one program, or of one part of Twisted.

    Args:
        name: in the table, and on the command line.
        distribution: the package on PyPI whose version the table shows.
        runner: which runner its authors use.
        tests: names or paths, for the runner.
        options: further arguments for the runner.
        from_source: whether the wheel lacks the tests, so that they run in its unpacked sdist.
        environment: further environment variables.
    """

    name: str
    distribution: str
    runner: Literal["trial", "pytest"]
    tests: tuple[str, ...]
    options: tuple[str, ...] = ()
    from_source: bool = False
    environment: dict[str, str] = field(default_factory=dict)


# pytest in an environment of wheels; without a file of settings it would find netserve's own.
IN_WHEEL = ("-c", os.devnull, "--rootdir=.", "--pyargs")

SUITES = (
    Suite("treq", "treq", "trial", ("treq.test",)),
    Suite("klein", "klein", "trial", ("klein.test",)),
    Suite(
        "magic-wormhole",
        "magic-wormhole",
        "pytest",
        ("wormhole.test",),
        options=(*IN_WHEEL, "--reactor=default"),
    ),
    Suite(
        "autobahn",
        "autobahn",
        "trial",
        ("autobahn.test", "autobahn.twisted.test", "autobahn.wamp.test", "autobahn.websocket.test"),
        environment={"USE_TWISTED": "1"},
    ),
    Suite("txtorcon", "txtorcon", "trial", ("test",), from_source=True),
    Suite("foolscap", "foolscap", "trial", ("foolscap.test",)),
    Suite(
        "Scrapy",
        "scrapy",
        "pytest",
        ("tests",),
        # Its settings make an error of each warning, and pytest has a new one for its fixtures.
        options=("-o", "addopts=", "-W", "ignore::pytest.PytestWarning", "--reactor=default"),
        from_source=True,
    ),
    Suite("twisted.web", "twisted", "trial", ("twisted.web.test",)),
    Suite("twisted.mail", "twisted", "trial", ("twisted.mail.test",)),
    Suite("twisted.names", "twisted", "trial", ("twisted.names.test",)),
    Suite("twisted.words", "twisted", "trial", ("twisted.words.test",)),
    Suite("twisted.conch", "twisted", "trial", ("twisted.conch.test",)),
    Suite(
        "twisted FTP",
        "twisted",
        "trial",
        ("twisted.test.test_ftp", "twisted.test.test_ftp_options"),
    ),
)
