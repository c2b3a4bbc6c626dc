"""What a way of delivery is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Generic, TypeVar

from netserve.config.types import Section
from netserve.mail.envelope import Reply
from netserve.protocols.smtp_relay.delivery.channel import Channel
from netserve.protocols.smtp_relay.delivery.facilities import WRITERS, Facilities
from netserve.protocols.smtp_relay.delivery.options import ConnectionOptions

R = TypeVar("R", bound=Section)
T = TypeVar("T")


class Way(ABC, Generic[R]):
    """A way of delivery; its options stand below `deliver` in the file.

    A new one is a file of this folder and an entry of `WAYS`.
    """

    name: ClassVar[str]
    """The option that chooses it; one of `options`, where None says that it is not chosen."""
    options: ClassVar[type[Section]]
    """The model of its own options."""
    shared: ClassVar[tuple[type[Section], ...]] = ()
    """Models of options that it has in common with other ways."""

    def check(self, route: R) -> None:
        """Look at options together.

        Raises:
            ValueError: they do not go together.
        """

    def label(self, route: R) -> str:
        """The destination's name, for the queue and the logs."""
        return self.name

    def account_names(self, route: R) -> Iterable[str]:
        """What limits belong to (`delivery.accounts`); nothing where nothing counts there."""
        return ()

    def concurrency(self, connections: int) -> int:
        """Deliveries that may be under way: as many as connections, where it has some.

        Arguments:
            connections: of the account.
        """
        return connections if ConnectionOptions in self.shared else WRITERS

    def refusal(self, route: R, recipient: str, hostname: str) -> Reply | None:
        """What a recipient is rejected with while the client is there, or None."""
        return None

    @abstractmethod
    def open(self, route: R, facilities: Facilities) -> Channel:
        """What delivers for a route.

        Raises:
            ValueError: the options can't work, such as a file of `ca`.
        """


def chosen(value: T | None) -> T:
    """The value of the option that chooses a way.

    Raises:
        ValueError: the route is of another way.
    """
    if value is None:
        raise ValueError("the route is of another way")
    return value
