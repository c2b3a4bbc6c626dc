"""What an import path leads to -> what the hosting layer serves.

====================================  ====================================================
the object is                         hosted as
====================================  ====================================================
an `IProtocolFactory`                 itself
a class of such factories             one instance of it
a Twisted `Protocol` class            a factory that makes one a connection
a `DatagramProtocol` class            one for each `udp:` address
an asyncio `Protocol` class           one a connection
any other function or class           called once: what it gives is one of the above, or a
                                      protocol, and then it is called again for each
====================================  ====================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import AbstractDatagramProtocol, Factory

from netserve.errors import InvalidValue
from netserve.plugin import Context, Hosted
from netserve.protocols.factory.arguments import Builder
from netserve.protocols.factory.settings import FactorySettings


def build(settings: FactorySettings, context: Context) -> Hosted:
    """Make what is hosted; see `netserve.plugin.ProtocolPlugin`.

    Raises:
        ValueError: the object cannot be imported, called, or hosted on these addresses.
    """
    hosted = _host(settings, Builder(context.folder))
    for listen in settings.listen:
        if listen.is_datagram and hosted.datagram is None:
            raise InvalidValue(
                "{path} takes connections; {listen} is for datagrams",
                path=settings.object,
                listen=listen,
            )
        if not listen.is_datagram and hosted.stream is None:
            raise InvalidValue(
                "{path} takes datagrams; {listen} is for connections",
                path=settings.object,
                listen=listen,
            )
    return hosted


def _host(settings: FactorySettings, builder: Builder) -> Hosted:
    path = settings.object
    found = builder.find(path, at=("object",))
    if IProtocolFactory.providedBy(found):
        if settings.arguments:
            raise InvalidValue("{path} is a factory already, and takes no arguments", path=path)
        return Hosted(stream=found)
    make = builder.bind(found, path, settings.arguments)
    if isinstance(found, type):
        if issubclass(found, asyncio.DatagramProtocol):
            raise InvalidValue(
                "{path} is asyncio's kind of datagram protocol; use Twisted's", path=path
            )
        if issubclass(found, asyncio.BaseProtocol):
            return Hosted(stream=make)
        if issubclass(found, AbstractDatagramProtocol):
            return Hosted(datagram=make)
        if IProtocol.implementedBy(found):
            return Hosted(stream=_factory_of(make))
    return _host_result(path, make)


def _host_result(path: str, make: Callable[[], Any]) -> Hosted:
    """Host what a function gives; where that is one protocol, the function makes the others."""
    result = make()
    if IProtocolFactory.providedBy(result):
        return Hosted(stream=result)
    if isinstance(result, AbstractDatagramProtocol):
        return Hosted(datagram=make)
    if IProtocol.providedBy(result):
        return Hosted(stream=_factory_of(make))
    if isinstance(result, asyncio.BaseProtocol):
        return Hosted(stream=make)
    if isinstance(result, type) and issubclass(result, asyncio.BaseProtocol):
        return Hosted(stream=result)
    raise InvalidValue(
        "{path} gives an object of the type " + type(result).__name__ + "; it has to be a Twisted"
        " factory, a Twisted protocol, or an asyncio protocol",
        path=path,
    )


def _factory_of(make: Callable[[], Any]) -> Any:
    factory: Any = Factory()
    factory.protocol = make
    return factory
