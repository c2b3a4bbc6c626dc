"""The logger of services: Twisted's, made for a line or two about each message."""

from __future__ import annotations

from time import time
from typing import Any

from twisted.logger import Logger, LogLevel

from netserve.connection import connection_id
from netserve.reactor.context import current_stream


class ServiceLogger(Logger):
    """Twisted's logger, with the id of the connection whose data is being handled.

    It does not look through all levels to see that it is given one.
    """

    def emit(self, level: LogLevel, format: str | None = None, **kwargs: object) -> None:  # noqa: A002
        """See `twisted.logger.Logger.emit`.

        Arguments:
            level: of the record.
            format: the text, with the names of `kwargs` in braces.
            kwargs: what is logged.
        """
        kwargs["log_logger"] = self
        kwargs["log_level"] = level
        kwargs["log_namespace"] = self.namespace
        kwargs["log_source"] = self.source
        kwargs["log_format"] = format
        kwargs["log_time"] = time()
        if "connection_id" not in kwargs and (stream := current_stream()) is not None:
            kwargs["connection_id"] = connection_id(stream)
        observer: Any = self.observer  # an interface of zope means nothing to mypy
        observer(kwargs)
