"""The options that every service has, and what the rest of `netserve.config` asks of a plugin.

Authors of protocols import these from `netserve.plugin`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from pydantic import AfterValidator, model_validator

from netserve.config.listen import Listen, ListenAddresses
from netserve.config.networks import has_strangers, names_addresses
from netserve.config.types import (
    Duration,
    FilePath,
    Network,
    Networks,
    PositiveInt,
    Section,
    Shown,
)
from netserve.errors import InvalidValue

__all__ = ["TLS", "Certificate", "Limits", "Plugin", "ServiceSettings", "Settings", "Way"]


class Limits(Section):
    """What one service may use. A protocol adds its own by a subclass."""

    connections: PositiveInt = 1000
    """Concurrent connections, in all."""
    connections_per_address: PositiveInt = 100
    """Concurrent connections from one address."""
    handshake_timeout: Duration = 10.0
    """Time for the TLS handshake, and for the header of `proxy_protocol_from`."""
    idle_timeout: Duration = 300.0
    """A connection on which nothing has moved for this time is closed."""


class Certificate(Section):
    """A certificate and its key."""

    certificate: FilePath
    """The certificate, PEM; the chain may follow it in the same file."""
    key: FilePath
    """Its private key, PEM."""
    chain: FilePath | None = None
    """The certificates between it and the root, PEM, where they are in a file of their own."""


class TLS(Certificate):
    """TLS from the first byte of a connection (or from STARTTLS, where a protocol has it)."""

    more: tuple[Certificate, ...] = ()
    """Further certificates; the client's server name (SNI) chooses by the names in them."""
    minimum_version: Literal["1.0", "1.1", "1.2", "1.3"] = "1.2"
    """The lowest version of TLS that is spoken. Those before 1.2 are for old devices, whose
    addresses `allow` has to name."""
    ciphers: Annotated[str, Shown()] | None = None
    """OpenSSL's cipher list up to TLS 1.2; the default is that of Mozilla's intermediate profile,
    with a `minimum_version` before 1.2 that of its old profile."""
    client_ca: FilePath | None = None
    """Certificates of those that may sign client certificates, PEM."""
    client_certificate: Literal["none", "optional", "required"] = "none"
    """Whether clients are asked for a certificate, and whether they must have one."""

    @model_validator(mode="after")
    def _client_certificates_need_a_ca(self) -> TLS:
        if (self.client_certificate == "none") != (self.client_ca is None):
            raise InvalidValue("client_certificate and client_ca go together")
        return self

    @property
    def is_old(self) -> bool:
        """Whether versions are spoken that RFC 8996 has retired."""
        return self.minimum_version in {"1.0", "1.1"}


def _check_proxies(networks: tuple[Network, ...]) -> tuple[Network, ...]:
    for network in networks:
        if has_strangers(network):
            raise InvalidValue(
                "{network} has addresses of strangers, who could claim to be any client; list your"
                " load balancers",
                network=network,
            )
    return networks


Way: TypeAlias = tuple[str | int, ...]
"""The keys and indexes that lead to a value of the file."""


class ServiceSettings(Section):
    """The options of a service that need not listen, such as a probe or a scheduler.

    Its protocol adds its own by a subclass. One that listens has `Settings` as its base.
    """

    protocol: Annotated[str, Shown()]
    """The protocol: a name from `netserve list`, or `module:object`."""
    log: Literal["debug", "info", "warn", "error"] | None = None
    """The lowest level that this service logs; without it the level of `netserve.log`."""

    def addresses(self) -> Iterator[tuple[Way, Listen]]:
        """Every address of the service, with the way to it; a protocol may have further ones."""
        yield from ()


class Settings(ServiceSettings):
    """The options that every service with addresses has; a protocol adds its own by a subclass."""

    listen: ListenAddresses
    """Where: one of Twisted's endpoint descriptions or `udp:` in the same form, or a list."""
    tls: TLS | None = None
    """Certificate and key; without it connections are in clear."""
    limits: Limits = Limits()
    """What the service may use."""
    allow: Networks = ()
    """Networks that may connect; empty: all."""
    deny: Networks = ()
    """Networks that may not connect; decided before `allow`."""
    proxy_protocol_from: Annotated[Networks, AfterValidator(_check_proxies)] = ()
    """Load balancers whose connections begin with HAProxy's PROXY header (version 1 or 2); the
    address in it counts as the client's. From others it is not taken."""

    def addresses(self) -> Iterator[tuple[Way, Listen]]:
        """Every address of the service, with the way to it; a protocol may have further ones."""
        for index, listen in enumerate(self.listen):
            yield ("listen", index), listen

    @model_validator(mode="after")
    def _tls_fits(self) -> Settings:
        for _, listen in self.addresses():
            if listen.begins_with_tls and self.tls is None:
                raise InvalidValue(
                    "{listen} begins with TLS, which needs a certificate: give tls", listen=listen
                )
        tied = self.allow and all(map(names_addresses, self.allow))
        if self.tls is not None and self.tls.is_old and not tied:
            raise InvalidValue(
                "tls.minimum_version {version} is for old devices only: allow has to name their"
                " addresses, or networks of at most 256 of them (/24; /64 of IPv6)",
                version=self.tls.minimum_version,
            )
        return self


class Plugin(Protocol):
    """What reading a file asks of a protocol; a `netserve.plugin.ProtocolPlugin` has it."""

    @property
    def name(self) -> str:
        """The protocol's name."""

    @property
    def settings(self) -> type[ServiceSettings]:
        """The model of a service's options."""

    @property
    def build(self) -> Callable[[Any, Any], Any]:
        """Makes what is hosted, of the settings and a `netserve.plugin.Context`."""
