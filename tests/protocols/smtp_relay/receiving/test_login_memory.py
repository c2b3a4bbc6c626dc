"""Who has to wait after logins that failed (S24)."""

from __future__ import annotations

import pytest

from netserve.protocols.smtp_relay.receiving.login_memory import (
    FORGOTTEN_AFTER,
    KEYS,
    Client,
    LoginMemory,
    Patience,
)

PATIENCE = Patience(pair=3, address=10, user=5, longest=60.0)


def client(address: str = "192.0.2.1", user: str = "alice", *, is_exempt: bool = False) -> Client:
    return Client.of(address, user, is_exempt=is_exempt)


def failing(memory: LoginMemory, *clients: Client, times: int = 1, now: float = 0.0) -> None:
    for each in clients:
        for _ in range(times):
            memory.failed(each, now)


def test_a_wait_doubles_with_each_failure_up_to_the_longest() -> None:
    memory = LoginMemory(PATIENCE)
    waits = []
    for _ in range(11):
        memory.failed(client(), 0.0)
        waits.append(memory.wait(client(), 0.0))
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert memory.wait(client(), 59.0) == 1.0
    assert memory.wait(client(), 60.0) == 0.0


def test_a_success_ends_it() -> None:
    memory = LoginMemory(PATIENCE)
    failing(memory, client(), times=4)
    memory.succeeded(client())
    assert memory.wait(client(), 0.0) == 0.0
    failing(memory, client(), times=2)
    assert memory.wait(client(), 0.0) == 0.0, "the count has begun again"


def test_failures_are_forgotten() -> None:
    memory = LoginMemory(PATIENCE)
    failing(memory, client(), times=50)
    assert memory.wait(client(), 30.0) == 30.0
    assert not memory.has_failed(client(), FORGOTTEN_AFTER)
    memory.failed(client(), FORGOTTEN_AFTER)
    assert memory.wait(client(), FORGOTTEN_AFTER) == 0.0


@pytest.mark.parametrize("spelling", ["alice", "ALICE", "Alice"])
def test_a_name_is_the_same_in_any_case(spelling: str) -> None:
    memory = LoginMemory(PATIENCE)
    failing(memory, client(), times=3)
    assert memory.wait(client(user=spelling), 0.0) == 1.0


@pytest.mark.parametrize(
    ("other", "waits"),
    [
        (client(user="bob"), False),
        (client(address="192.0.2.2"), False),
        (client(), True),
    ],
)
def test_failures_count_for_the_user_at_the_address(other: Client, waits: bool) -> None:
    memory = LoginMemory(PATIENCE)
    failing(memory, client(), times=3)
    assert bool(memory.wait(other, 0.0)) == waits


def test_an_address_that_tries_many_users_has_to_wait() -> None:
    memory = LoginMemory(PATIENCE)
    memory.succeeded(client(user="known"))
    failing(memory, *(client(user=f"user{n}") for n in range(10)))
    assert memory.wait(client(user="one more"), 0.0) == 1.0
    assert memory.wait(client(user="known"), 0.0) == 0.0, "others are behind the same router"
    assert memory.wait(client(address="192.0.2.2", user="one more"), 0.0) == 0.0
    failing(memory, client(user="known"), times=3)
    assert memory.wait(client(user="known"), 0.0) == 1.0, "but the user's own failures count"


def test_a_success_of_one_user_does_not_forgive_the_address() -> None:
    """A guesser may have an account."""
    memory = LoginMemory(PATIENCE)
    failing(memory, *(client(user=f"user{n}") for n in range(10)))
    memory.succeeded(client(user="mallory"))
    assert memory.wait(client(user="alice"), 0.0) == 1.0


@pytest.mark.parametrize("local", [client(is_exempt=True), client(address="")])
def test_addresses_that_many_users_share_are_not_counted(local: Client) -> None:
    memory = LoginMemory(PATIENCE)
    for number in range(100):
        failing(memory, Client(local.address, f"user{number}", local.is_exempt))
    assert memory.wait(local, 0.0) == 0.0
    failing(memory, local, times=3)
    assert memory.wait(local, 0.0) == 1.0


def test_guesses_at_one_user_from_many_addresses() -> None:
    """They have to wait where the user has never been, though not for long."""
    memory = LoginMemory(PATIENCE)
    memory.succeeded(client(address="192.0.2.200"))
    for number in range(100):
        failing(memory, client(address=f"192.0.2.{number}"))
    assert memory.wait(client(address="198.51.100.1"), 0.0) == 30.0
    assert memory.wait(client(address="192.0.2.200"), 0.0) == 0.0
    assert memory.wait(client(address="198.51.100.1", user="bob"), 0.0) == 0.0


def test_one_address_cannot_make_a_user_wait_elsewhere() -> None:
    memory = LoginMemory(PATIENCE)
    failing(memory, client(), times=1000)
    assert memory.wait(client(address="192.0.2.2"), 0.0) == 0.0


def test_wrong_tokens_count_for_the_address_alone() -> None:
    memory = LoginMemory(PATIENCE)
    failing(memory, client(user=""), times=10)
    assert memory.wait(client(user=""), 0.0) == 1.0
    assert memory.wait(client(address="192.0.2.2", user=""), 0.0) == 0.0


def test_what_is_remembered_is_bounded() -> None:
    """S8: by number, and by the length of names."""
    memory = LoginMemory(PATIENCE)
    for number in range(KEYS + 100):
        guess = client(address=f"a{number}", user=f"{'x' * 10_000}{number}")
        memory.failed(guess, 0.0)
        memory.succeeded(client(address=f"b{number}", user=f"user{number}"))
    for table in (memory._pairs, memory._addresses, memory._users):
        assert len(table._counts) <= KEYS
    assert len(memory._known) == KEYS
    assert len(guess.user) == 100
