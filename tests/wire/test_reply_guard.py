"""What a UDP service may answer."""

import pytest

from netserve.wire.reply_guard import LogLimit, ReplyGuard


@pytest.mark.parametrize("port", [0, 7, 13, 17, 19, 7007])
def test_ports_that_could_loop(port: int) -> None:
    """S14: nothing is sent to ports 7, 13, 17, 19 or its own, whatever the file allows."""
    assert ReplyGuard({7007}, amplify=True).refuses_port(port) is not None


@pytest.mark.parametrize("port", [1, 8, 53, 7008, 65535, None])
def test_other_ports(port: int | None) -> None:
    assert ReplyGuard({7007}).refuses_port(port) is None


def test_a_reply_is_no_larger_than_its_request() -> None:
    """S14: a UDP reply is no larger than its request unless the file says so."""
    guard, loud = ReplyGuard(()), ReplyGuard((), amplify=True)
    assert guard.refuses_size(4, 4) is None
    assert guard.refuses_size(4, 5) == "a reply of 5 bytes to a request of 4 would amplify"
    assert loud.refuses_size(0, 500) is None
    assert (guard.largest(4, 512), guard.largest(999, 512), loud.largest(4, 512)) == (4, 512, 512)


def test_one_line_in_an_interval() -> None:
    limit = LogLimit(10)
    assert limit.count(5.0) == 1
    assert [limit.count(5.0 + second) for second in (1, 2, 9.9)] == [None, None, None]
    assert limit.count(15.0) == 4
    assert limit.count(16.0) is None
    assert limit.count(99.0) == 2
