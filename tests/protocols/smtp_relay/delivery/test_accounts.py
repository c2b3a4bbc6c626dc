"""Which ways are one account, and which limits it then has (S26)."""

from typing import Any

import pytest

from netserve.outbox.quota import Quota
from netserve.protocols.smtp_relay.delivery import accounts as module
from netserve.protocols.smtp_relay.delivery.accounts import Account, Accounts
from netserve.protocols.smtp_relay.delivery.deliver import Deliver
from netserve.protocols.smtp_relay.delivery.slots import SeveralSlots, Slots


def way(**options: Any) -> Deliver:
    return Deliver.model_validate(options)


def login(user: str, password: str = "p") -> dict[str, Any]:
    return {"user": user, "password": password}


SAME = {
    "alike": ({"smarthost": "h:587"}, {"smarthost": "h:587", "connections": 3}),
    "in another case": ({"smarthost": "H.example:587"}, {"smarthost": "h.EXAMPLE:587"}),
    "another port for mail": (
        {"smarthost": "h:587", "login": login("u")},
        {"smarthost": "h:465", "login": login("u")},
    ),
    "another password": (
        {"smarthost": "h:587", "login": login("u", "old")},
        {"smarthost": "h:587", "login": login("u", "new")},
    ),
    "another order": ({"smarthost": ["a:587", "b:587"]}, {"smarthost": ["b:587", "a:587"]}),
    "a server more": ({"smarthost": ["a:587", "b:587"]}, {"smarthost": "b:587"}),
    "an address in another form": (
        {"smarthost": "[2001:db8::1]:25"},
        {"smarthost": "[2001:DB8:0::1]:25"},
    ),
    "other TLS": ({"smarthost": "h:25", "tls": "none"}, {"smarthost": "h:25", "tls": "encrypt"}),
    "mx": ({"mx": True}, {"mx": True, "tls": "encrypt"}),
    "a hook": (
        {"http": {"url": "https://h.example/hook"}},
        {"http": {"url": "https://h.example:443/hook", "token": "t"}},
    ),
}
OTHER = {
    "another host": ({"smarthost": "a:587"}, {"smarthost": "b:587"}),
    "another user": (
        {"smarthost": "h:587", "login": login("u")},
        {"smarthost": "h:587", "login": login("v")},
    ),
    "with and without a login": (
        {"smarthost": "h:587", "login": login("u")},
        {"smarthost": "h:587"},
    ),
    "another server of the host": ({"smarthost": "h:10025"}, {"smarthost": "h:10026"}),
    "mx over another port": ({"mx": True}, {"mx": True, "port": 2525}),
    "another hook of the host": (
        {"http": {"url": "https://h.example/one"}},
        {"http": {"url": "https://h.example/two"}},
    ),
}


def accounts_of(*ways: dict[str, Any]) -> list[Account]:
    """The accounts of ways, each of a service of its own."""
    accounts = Accounts()
    delivers = [way(**options) for options in ways]
    for at, deliver in enumerate(delivers):
        accounts.use(at, [deliver])
    return [accounts.of(deliver) for deliver in delivers]


@pytest.mark.parametrize("what", SAME)
def test_what_is_one_account(what: str) -> None:
    first, second = accounts_of(*SAME[what])
    assert first is second or first == second
    assert first.name


@pytest.mark.parametrize("what", OTHER)
def test_what_are_two_accounts(what: str) -> None:
    first, second = accounts_of(*OTHER[what])
    assert first.name != second.name


def test_a_way_that_has_servers_of_two_others_makes_all_of_them_one() -> None:
    ways = ({"smarthost": "a:25"}, {"smarthost": "b:25"}, {"smarthost": ["b:25", "a:25"]})
    assert {account.name for account in accounts_of(*ways)} == {"smtp:a"}
    assert {account.name for account in accounts_of(*reversed(ways))} == {"smtp:a"}


def test_the_strictest_limits_hold() -> None:
    ways = (
        {"smarthost": "h:25", "quota": ["10/minute", "100/hour"], "connections": 7},
        {"smarthost": "h:25", "quota": ["50/hour", "1000/day"]},
        {"smarthost": "h:25", "connections": 9},
    )
    (account,) = set(accounts_of(*ways))
    assert account == Account(
        "smtp:h", 7, 200, (Quota(10, 60.0), Quota(50, 3600.0), Quota(1000, 86400.0))
    )


def test_a_service_that_changes_or_leaves_changes_the_account() -> None:
    accounts, plain = Accounts(), way(smarthost="h:25")
    strict = way(smarthost="h:25", connections=2, quota="1/hour")
    accounts.use("one", [plain])
    slots, version = accounts.slots(plain), accounts.version
    accounts.use("two", [strict])
    assert accounts.version != version
    assert (slots.limit, accounts.of(plain).quotas) == (2, (Quota(1, 3600.0),))
    assert accounts.slots(strict) is slots
    accounts.use("two", [])
    assert (slots.limit, accounts.of(plain).quotas) == (20, ())


def test_no_secret_is_in_a_name() -> None:
    (account,) = accounts_of({"http": {"url": "https://h.example/SECRET?key=SECRET"}})
    assert account.name.startswith("http:h.example:443#")
    assert "SECRET" not in account.name


@pytest.mark.parametrize("options", [{"discard": True}, {"refuse": "no"}, {"maildir": "/m"}])
def test_ways_on_this_machine_have_no_account(options: dict[str, Any]) -> None:
    (account,) = accounts_of(options)
    assert account.name == ""


def test_domains_without_sessions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """S8."""
    monkeypatch.setattr(module, "MOST", 3)
    accounts, mx = Accounts(), way(mx=True, connections=5, total_connections=50)
    accounts._most = 3
    accounts.use("one", [mx])
    used = accounts.slots(mx, "used.example")
    used.used = 1
    for number in range(100):
        accounts.slots(mx, f"{number}.example")
    assert len(accounts._slots) <= 4
    assert accounts.slots(mx, "used.example") is used
    assert (used.limit, accounts.slots(mx, None).limit) == (5, 50)


class Pool:
    """A pool that makes as many connections as it wants and may."""

    def __init__(self, *slots: Slots) -> None:
        self.slots = SeveralSlots(lambda: slots)
        self.has = self.wants = self.idles = 0

    def want(self, count: int) -> None:
        self.wants += count
        self.slot_is_free()

    def slot_is_free(self) -> None:
        while self.wants and self.slots.take(self):
            self.has += 1
            self.wants -= 1

    def idle(self) -> None:
        self.idles += 1
        self.slots.idle(self)

    def let_go(self) -> None:
        if self.idles:
            self.idles -= 1
            if not self.idles:
                self.slots.busy(self)
            self.close()

    def close(self) -> None:
        self.has -= 1
        self.slots.give_back()


def test_a_connection_takes_a_slot_of_each_kind_or_none() -> None:
    of_all, of_one, of_two = Slots(3), Slots(2), Slots(2)
    one, other, two = Pool(of_all, of_one), Pool(of_all, of_one), Pool(of_all, of_two)
    one.want(2)
    other.want(1)
    assert (one.has, other.has, of_one.used, of_all.used) == (2, 0, 2, 2)
    two.want(2)
    assert (two.has, of_two.used, of_all.used) == (1, 1, 3)
    one.close()
    assert (one.has, other.has, two.has) == (1, 0, 2), "the room in all goes to who asked for it"
    two.close()
    assert (one.has, other.has, two.has) == (1, 1, 1)
    assert (of_one.used, of_two.used, of_all.used) == (2, 1, 3)


def test_what_is_idle_in_one_service_makes_room_for_another() -> None:
    shared = Slots(2)
    one, other = Pool(shared), Pool(shared)
    one.want(2)
    one.idle()
    one.idle()
    other.want(1)
    assert (one.has, other.has, shared.used) == (1, 1, 2)
    assert not shared.unused
