"""An SMTP relay with a durable queue: takes mail, keeps it safe, delivers it by routes."""

from netserve.plugin import ProtocolPlugin
from netserve.protocols.smtp_relay.service import build
from netserve.protocols.smtp_relay.settings import SmtpRelaySettings

plugin = ProtocolPlugin(
    name="smtp-relay",
    settings=SmtpRelaySettings,
    build=build,
    summary="Takes mail over SMTP, keeps it in a durable queue, delivers it by routes.",
)
