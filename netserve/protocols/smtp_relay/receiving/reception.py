"""What is decided about a client, a sender and a recipient before mail is accepted."""

from __future__ import annotations

from typing import Final

from netserve.mail.author import authors
from netserve.mail.envelope import Reply
from netserve.mail.headers import finder
from netserve.mail.server.model import ServerLimits, ServerOptions
from netserve.protocols.smtp_relay.routes import RouteTable, address_matcher
from netserve.protocols.smtp_relay.settings import SmtpRelaySettings
from netserve.wire.peer import is_in

LOGIN_WANTED: Final = Reply(530, "5.7.0", "Log in first")
NOT_YOUR_ADDRESS: Final = Reply(553, "5.7.1", "This sender address is not one of yours")
NOT_YOUR_NAME: Final = Reply(
    550, "5.7.1", "The From field of the message has to have addresses of yours, and only them"
)
NO_RELAYING: Final = Reply(554, "5.7.1", "Relay access denied")
NO_ROUTE: Final = Reply(550, "5.1.2", "Mail for this recipient is not taken here")


class Reception:
    """Decides by the settings of one service.

    Arguments:
        settings: the service's.
    """

    def __init__(self, settings: SmtpRelaySettings) -> None:
        limits = settings.limits
        self.hostname = settings.hostname
        self.completes_headers = settings.completes_headers
        """Whether a missing Date and Message-ID are added (RFC 6409, 8)."""
        self.data_timeout = limits.data_timeout
        """Seconds for the content of a message."""
        self.space_needed = limits.message_size * 3 // 2
        """Bytes that must be free before a message is taken."""
        self.command_timeout = limits.idle_timeout
        """Seconds for one line of a command."""
        self.handshake_timeout = limits.handshake_timeout
        """Seconds for the handshake behind STARTTLS."""
        self._login_wanted = settings.role == "submission"
        self._relay_for = settings.trusted
        self._normalise_for = settings.normalised
        self._header_too = settings.senders_in_header
        self._senders = {
            user: address_matcher(patterns) for user, patterns in settings.senders.items()
        }
        self._routes = RouteTable(settings.routes)
        self.unwanted = tuple(name.lower() for name in settings.remove_headers)
        """Names in lower case of header fields that are removed."""
        self._options = {
            normalise: ServerOptions(
                hostname=settings.hostname,
                limits=ServerLimits(
                    text_line=limits.line_length,
                    message_size=limits.message_size,
                    header_size=limits.header_size,
                    hops=limits.hops,
                    recipients=limits.recipients,
                    errors=limits.errors,
                    auth_attempts=limits.login_attempts,
                    idle_commands=limits.idle_commands,
                ),
                starttls=settings.tls is not None and settings.begins_in_clear,
                auth=settings.has_logins,
                auth_in_clear=settings.auth_in_clear,
                normalise=normalise,
                lone_dot_ends=settings.is_for_devices,
                refuse_early_talk=settings.refuses_early_talk,
                unwanted=finder(self.unwanted),
            )
            for normalise in (False, True)
        }

    def options(self, client: str) -> ServerOptions:
        """How a session with this client is to be.

        Arguments:
            client: its IP address, or an empty string.
        """
        return self._options[is_in(client, self._normalise_for)]

    @property
    def options_of_files(self) -> ServerOptions:
        """How messages are read that come as files do: with any line ends, their length told."""
        return self._options[True]

    def sender(self, sender: str, *, user: str) -> Reply | None:
        """Why mail from this sender is not taken of this session, or None.

        Arguments:
            sender: the mailbox, or an empty string.
            user: who has logged in, or an empty string.
        """
        if self._login_wanted and not user:
            return LOGIN_WANTED
        may_use = self._senders.get(user)
        return None if may_use is None or may_use(sender) else NOT_YOUR_ADDRESS

    def header(self, section: bytes, *, user: str) -> Reply | None:
        """Why a message with this header is not taken, or None.

        Arguments:
            section: its header section.
            user: who has logged in, or an empty string.
        """
        if not self._header_too or (may_use := self._senders.get(user)) is None:
            return None
        found = authors(section)
        return None if found and all(map(may_use, found)) else NOT_YOUR_NAME

    def trusts(self, client: str) -> bool:
        """Whether a client may relay without a login, by its IP address."""
        return is_in(client, self._relay_for)

    def recipient(self, sender: str, recipient: str, *, user: str, trusted: bool) -> Reply | None:
        """Why mail for this recipient is not taken, or None.

        Arguments:
            sender: the mailbox, or an empty string.
            recipient: the mailbox.
            user: who has logged in, or an empty string.
            trusted: see `trusts`.
        """
        if not user and not trusted:
            return NO_RELAYING
        route = self._routes.find(sender, recipient, user)
        if route is None:
            return NO_ROUTE
        refusal: Reply | None = route.deliver.way.refusal(route.deliver, recipient, self.hostname)
        return refusal
