"""What all tests share. The reactor is netserve's; it is installed before anything imports it.

pytest-twisted knows it as ``--reactor=asyncio``, of which it is a kind.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading

import pytest

from netserve.reactor import install

install()

# A shell starts its background jobs with SIGINT and SIGQUIT ignored, nohup its command with SIGHUP
# ignored, and the processes that the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

_STATUS = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End a run in which a test has failed before it closed its queue.

    Python waits for the threads of that queue, which wait for work: the run would never end.
    """
    status = config.stash.get(_STATUS, 0)
    main = threading.main_thread()
    if status and any(not one.daemon and one is not main for one in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run plain hypothesis tests without the reactor.

    pytest-twisted runs each example of them in the reactor's greenlet, which takes longer than most
    of the examples, and wraps a parametrised test once more for each parameter, which fails.
    """
    inner = getattr(getattr(pyfuncitem.obj, "hypothesis", None), "inner_test", None)
    if inner is None or inspect.iscoroutinefunction(inner) or hasattr(inner, "__wrapped__"):
        return None
    arguments = inspect.signature(pyfuncitem.obj).parameters
    pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in arguments})
    return True
