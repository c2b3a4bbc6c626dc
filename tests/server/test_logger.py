"""The logger of services makes the records that Twisted's own makes."""

from typing import Any

from twisted.logger import Logger, LogLevel

from netserve.server.logger import ServiceLogger


def test_records_are_those_of_twisted() -> None:
    def events(kind: type[Logger]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        logger = kind(namespace="netserve.service.mail", observer=found.append)  # type: ignore[arg-type]
        logger.info("took {size} bytes", size=4)
        logger.emit(LogLevel.warn, "careful")
        try:
            raise RuntimeError  # noqa: TRY301 - a failure is wanted
        except RuntimeError:
            logger.failure("a bug")
        for event in found:
            for changing in ("log_logger", "log_time", "log_failure"):
                event.pop(changing, None)
        return found

    assert events(ServiceLogger) == events(Logger)
