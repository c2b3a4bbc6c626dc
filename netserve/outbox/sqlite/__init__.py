"""The queue's store in SQLite: the folder of one process. Nothing else imports sqlite3."""

from netserve.outbox.sqlite.storage import SqliteStorage

__all__ = ["SqliteStorage"]
