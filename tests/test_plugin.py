"""What plugins are given."""

from __future__ import annotations

import gc

from netserve.plugin import Shared


class Accounts:
    """Something that services have in common."""


def test_services_that_are_built_before_one_is_attached_have_the_same_object() -> None:
    process = Shared()
    branches = [process.branch() for _ in range(3)]
    made = [branch.get(Accounts, Accounts) for branch in branches]
    assert made == [made[0]] * 3
    for branch in reversed(branches):
        branch.commit()
    assert process.get(Accounts, Accounts) is made[0]
    assert process.branch().get(Accounts, Accounts) is made[0]


def test_what_a_failed_build_made_goes_with_it() -> None:
    process = Shared()
    failed = process.branch()
    first = failed.get(Accounts, Accounts)
    other = process.branch()
    assert other.get(Accounts, Accounts) is first
    del failed, other
    gc.collect()
    assert process.branch().get(Accounts, Accounts) is not first


def test_the_object_of_the_process_stays() -> None:
    process = Shared()
    first = process.get(Accounts, Accounts)
    branch = process.branch()
    assert branch.get(Accounts, Accounts) is first
    branch.commit()
    assert process.get(Accounts, Accounts) is first
