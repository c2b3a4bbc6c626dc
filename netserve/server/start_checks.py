"""What the start finds out about files while there is a terminal to tell it on.

Once the process is its user, a Python that this user cannot read fails at some import, a Maildir
at the first mail, a file of users at its next change. All of it is asked before, and told at the
option that names the path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from netserve.config.load import Configuration
from netserve.config.paths import PathOption, paths_of
from netserve.errors import Problem
from netserve.plugin import Way
from netserve.server.rights import Account, Need, python_needs, refusals


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with the rights to files.

    Arguments:
        problems: what keeps the process from serving.
        warnings: what will keep it from taking up a change.
    """

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Question:
    """A need of the process, with the place that it comes from and what to say of a refusal."""

    way: Way
    need: Need
    sentence: Callable[[str, str], str]
    is_fatal: bool = True


def check_rights(configuration: Configuration, account: Account | None) -> Findings:
    """Find out what the process could not do with files.

    Arguments:
        configuration: the loaded file; what it names has been made, where that is for the start.
        account: the user that the process will become; None where it stays who it is.
    """
    questions = list(_questions(configuration, account))
    answers = refusals([question.need for question in questions], account)
    who = (
        f"the user {Account(os.geteuid(), os.getegid()).name if account is None else account.name}"
    )
    findings = Findings()
    told: set[object] = set()  # a thousand modules can have the same folder to blame
    for question, reason in zip(questions, answers, strict=True):
        if reason is None or (question.way, question.sentence) in told:
            continue
        told.add((question.way, question.sentence))
        problem = configuration.problem(question.way, question.sentence(who, reason))
        (findings.problems if question.is_fatal else findings.warnings).append(problem)
    return findings


def _questions(configuration: Configuration, account: Account | None) -> Iterator[_Question]:
    state = configuration.process.state
    yield _Question(
        ("netserve", "state"),
        Need(state, "own"),
        lambda who, reason: f"{who} cannot use the state folder {state}: {reason}",
    )
    if account is not None:
        for need in python_needs():
            is_plugin = need.path.is_relative_to(configuration.folder)
            about = _about_plugin if is_plugin else _about_python
            yield _Question(("netserve", "user"), need, about)
    for service in configuration.services:
        for option in paths_of(service.settings, ("services", service.name)):
            if option.access is not None or account is not None:
                yield _question(option)


def _about_python(who: str, reason: str) -> str:
    return (
        f"{who} cannot read the Python that runs netserve: {reason};"
        " install netserve where this user can read it, such as below /opt"
    )


def _about_plugin(who: str, reason: str) -> str:
    return f"{who} cannot read a module beside the config file: {reason}"


def _question(option: PathOption) -> _Question:
    path = option.path
    if option.access == "write":
        return _Question(
            option.way,
            Need(path, "write"),
            lambda who, reason: f"{who} cannot write into {path}: {reason}",
        )
    if option.access == "read":
        return _Question(
            option.way,
            Need(path, "read"),
            lambda who, reason: (
                f"{who} cannot read {path}, which is read again when it has changed: {reason}"
            ),
        )
    return _Question(
        option.way,
        Need(path, "read"),
        lambda who, reason: (
            f"{who} cannot read {path}: {reason}; netserve has read it before it becomes that user,"
            " so a new one takes a restart"
        ),
        is_fatal=False,
    )
