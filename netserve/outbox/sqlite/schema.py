"""The tables of the database, and the steps from one version of them to the next.

=======  ===========================================================================
version  what it brought
=======  ===========================================================================
1        messages, recipients, attempts, bodies
2        quotas, by lane
3        checksums, the counts of the marker, quotas by account
4        kinds of items: what only mail knows is in the meta texts
=======  ===========================================================================

The tables bear the names that they had when mail was the only kind: a message is an item, and a
recipient one of its tasks.
"""

from __future__ import annotations

import re
from typing import Final

_CREATED: Final = re.compile(r"CREATE (?:TABLE|INDEX) (\w+)")

_MESSAGE: Final = """
CREATE TABLE message(
    id INTEGER PRIMARY KEY,         -- see ids.py
    service TEXT NOT NULL,
    kind TEXT NOT NULL,             -- see kind.py
    created REAL NOT NULL,          -- unix seconds
    took REAL NOT NULL,             -- seconds from the first byte to the commit
    sender TEXT NOT NULL COLLATE NOCASE,
    meta TEXT NOT NULL,             -- what only its kind knows
    user TEXT NOT NULL,
    client TEXT NOT NULL,
    trace TEXT NOT NULL,
    size INTEGER NOT NULL,
    recipients INTEGER NOT NULL,    -- how many rows of the table of that name
    in_file INTEGER NOT NULL,       -- the body is a file, else a row of the table body
    body_sum INTEGER,               -- CRC-32 of the body; null: of before version 3
    sum INTEGER                     -- of this row, see checksums.py; null: of before version 3
);
"""
_MESSAGE_3: Final = """
CREATE TABLE message(
    id INTEGER PRIMARY KEY,
    service TEXT NOT NULL,
    created REAL NOT NULL,
    took REAL NOT NULL,
    sender TEXT NOT NULL COLLATE NOCASE,
    body_type TEXT NOT NULL,
    smtputf8 INTEGER NOT NULL,
    ret TEXT NOT NULL,
    envid TEXT NOT NULL,
    user TEXT NOT NULL,
    client TEXT NOT NULL,
    trace TEXT NOT NULL,
    size INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    in_file INTEGER NOT NULL,
    body_sum INTEGER,
    sum INTEGER
);
"""
_MESSAGE_INDEXES: Final = """
CREATE INDEX message_sender ON message(sender);
CREATE INDEX message_in_file ON message(id) WHERE in_file = 1;
"""
_RECIPIENT: Final = """
CREATE TABLE recipient(
    message INTEGER NOT NULL,
    n INTEGER NOT NULL,             -- from 0 up
    state INTEGER NOT NULL,         -- model.State
    lane TEXT NOT NULL,             -- where it went last, or would have gone: only a hint
    next_at REAL NOT NULL,          -- unix seconds
    attempts INTEGER NOT NULL,
    warned INTEGER NOT NULL,        -- the report about the delay was sent
    address TEXT NOT NULL COLLATE NOCASE,
    domain TEXT NOT NULL COLLATE NOCASE,
    meta TEXT NOT NULL,             -- what only its kind knows
    last TEXT NOT NULL,             -- the last reply, or why it is held
    sum INTEGER,                    -- of this row, see checksums.py; null: of before version 3
    PRIMARY KEY(message, n)
) WITHOUT ROWID;
"""
_RECIPIENT_3: Final = """
CREATE TABLE recipient(
    message INTEGER NOT NULL,
    n INTEGER NOT NULL,
    state INTEGER NOT NULL,
    lane TEXT NOT NULL,
    next_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    warned INTEGER NOT NULL,
    address TEXT NOT NULL COLLATE NOCASE,
    domain TEXT NOT NULL COLLATE NOCASE,
    notify TEXT NOT NULL,
    original TEXT NOT NULL,
    last TEXT NOT NULL,
    sum INTEGER,
    PRIMARY KEY(message, n)
) WITHOUT ROWID;
"""
_RECIPIENT_INDEXES: Final = """
CREATE INDEX recipient_due ON recipient(state, lane, next_at);
CREATE INDEX recipient_held ON recipient(state, message) WHERE state = 1;
CREATE INDEX recipient_address ON recipient(address);
CREATE INDEX recipient_domain ON recipient(domain);
"""
_OTHERS: Final = """
CREATE TABLE body(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE attempt(
    message INTEGER NOT NULL,
    n INTEGER NOT NULL,
    number INTEGER NOT NULL,        -- from 1 up
    at REAL NOT NULL,
    outcome TEXT NOT NULL,
    reply TEXT NOT NULL,
    remote TEXT NOT NULL,
    PRIMARY KEY(message, n, number)
) WITHOUT ROWID;
"""
_QUOTA: Final = """
CREATE TABLE quota(
    account TEXT NOT NULL,          -- see budgets.py
    seconds REAL NOT NULL,          -- see quota.Slice
    start REAL NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY(account, seconds, start)
) WITHOUT ROWID;
"""
_QUOTA_2: Final = _QUOTA.replace("account", "lane").replace("-- see budgets.py", "")
_SPOOL: Final = """
CREATE TABLE spool(                 -- one row
    id TEXT NOT NULL,               -- of the queue, as in its marker
    commits INTEGER NOT NULL        -- transactions so far, see marker.py
);
INSERT INTO spool VALUES (lower(hex(randomblob(16))), 0);
CREATE TABLE finished(id INTEGER PRIMARY KEY);  -- messages whose body file may still be there
"""
_CHECKSUMS_3: Final = """
ALTER TABLE message ADD COLUMN body_sum INTEGER;
ALTER TABLE message ADD COLUMN sum INTEGER;
ALTER TABLE recipient ADD COLUMN sum INTEGER;
"""
_QUOTA_OF_ACCOUNTS_3: Final = f"""
ALTER TABLE quota RENAME TO quota_of_lanes;
{_QUOTA}
INSERT INTO quota
    SELECT substr(lane, instr(lane, ' ') + 1), seconds, start, sum(used) FROM quota_of_lanes
    GROUP BY 1, 2, 3;
DROP TABLE quota_of_lanes;
"""  # noqa: S608 - of constants
"""Before version 3 each service counted for itself; after its name comes the destination's key."""

# A damaged row stays damaged: it keeps no sum that would fit, and no null becomes a value that is
# allowed. Texts go to Python as blobs, since they need not be UTF-8.
_MESSAGES_4: Final = f"""
DROP INDEX message_sender;
DROP INDEX message_in_file;
ALTER TABLE message RENAME TO message_3;
{_MESSAGE}
INSERT INTO message
SELECT id, coalesce(service, x''), 'mail', coalesce(created, x''), coalesce(took, x''),
    coalesce(sender, x''), coalesce(meta, x''), coalesce(user, x''), coalesce(client, x''),
    coalesce(trace, x''), coalesce(size, x''), coalesce(recipients, x''), coalesce(in_file, x''),
    body_sum,
    CASE
        WHEN typeof(body_type) || typeof(ret) || typeof(envid) <> 'texttexttext' THEN -1
        WHEN sum IS NULL AND body_sum IS NULL THEN NULL
        WHEN sum = message_sum_3(id, CAST(service AS BLOB), created, took, CAST(sender AS BLOB),
            CAST(body_type AS BLOB), smtputf8, CAST(ret AS BLOB), CAST(envid AS BLOB),
            CAST(user AS BLOB), CAST(client AS BLOB), CAST(trace AS BLOB), size, recipients,
            in_file, body_sum)
        THEN message_sum_4(id, CAST(service AS BLOB), created, took, CAST(sender AS BLOB),
            CAST(meta AS BLOB), CAST(user AS BLOB), CAST(client AS BLOB), CAST(trace AS BLOB),
            size, recipients, in_file, body_sum)
        ELSE -1
    END
FROM (
    SELECT *, ltrim(iif(body_type = '7BIT', '', ' BODY=' || body_type)
        || iif(smtputf8, ' SMTPUTF8', '') || iif(ret = '', '', ' RET=' || ret)
        || iif(envid = '', '', ' ENVID=' || envid), ' ') AS meta
    FROM message_3
);
DROP TABLE message_3;
{_MESSAGE_INDEXES}
"""  # noqa: S608 - of constants
_RECIPIENTS_4: Final = f"""
DROP INDEX recipient_due;
DROP INDEX recipient_held;
DROP INDEX recipient_address;
DROP INDEX recipient_domain;
ALTER TABLE recipient RENAME TO recipient_3;
{_RECIPIENT}
INSERT INTO recipient
SELECT message, n, coalesce(state, x''), coalesce(lane, x''), coalesce(next_at, x''),
    coalesce(attempts, x''), coalesce(warned, x''), coalesce(address, x''), coalesce(domain, x''),
    coalesce(meta, x''), coalesce(last, x''),
    CASE
        WHEN typeof(notify) || typeof(original) <> 'texttext' THEN -1
        WHEN sum IS NULL THEN NULL
        WHEN sum = recipient_sum(message, n, CAST(address AS BLOB), CAST(notify AS BLOB),
            CAST(original AS BLOB))
        THEN recipient_sum(message, n, CAST(address AS BLOB), CAST(meta AS BLOB))
        ELSE -1
    END
FROM (
    SELECT *, ltrim(iif(notify = '', '', ' NOTIFY=' || notify)
        || iif(original = '', '', ' ORCPT=' || original), ' ') AS meta
    FROM recipient_3
);
DROP TABLE recipient_3;
{_RECIPIENT_INDEXES}
"""  # noqa: S608 - of constants

_STEPS: Final = {
    1: _QUOTA_2,
    2: _CHECKSUMS_3 + _SPOOL + _QUOTA_OF_ACCOUNTS_3,
    3: _MESSAGES_4 + _RECIPIENTS_4,
}
"""By version, what makes the next one of it."""
NEWEST: Final = max(_STEPS) + 1
_INDEXES: Final = _MESSAGE_INDEXES + _RECIPIENT_INDEXES
_TABLES: Final = {
    3: _MESSAGE_3 + _RECIPIENT_3 + _INDEXES + _OTHERS + _QUOTA + _SPOOL,
    4: _MESSAGE + _RECIPIENT + _INDEXES + _OTHERS + _QUOTA + _SPOOL,
}


def tables_of(version: int) -> str:
    """The statements that make the tables of a version; those of before version 3 fit into its."""
    return _TABLES[max(version, 3)]


def steps_from(version: int) -> str:
    """The statements that make the newest version of an earlier one.

    They use the functions of `checksums.add_functions`.
    """
    return "".join(_STEPS[step] for step in range(version, NEWEST))


def names_of(version: int) -> list[str]:
    """The tables and indexes of a version, by name."""
    script = _MESSAGE + _RECIPIENT + _INDEXES + _OTHERS
    script += "".join(_STEPS[step] for step in range(1, min(version, 3)))
    return list(dict.fromkeys(_CREATED.findall(script)))
