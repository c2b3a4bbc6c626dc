BEGIN TRANSACTION;
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
INSERT INTO "attempt" VALUES(1700000000001475,0,1,1.70000000000448536871e+09,'deferred','450 4.2.0 later','mx.example.com[192.0.2.1]:25');
INSERT INTO "attempt" VALUES(1700000000001475,1,1,1.70000000000448536871e+09,'failed','550 5.1.1 nobody','mx.example.com[192.0.2.1]:25');
INSERT INTO "attempt" VALUES(1700000000001475,2,1,1.70000000000448536871e+09,'deferred','450 4.2.0 later','mx.example.com[192.0.2.1]:25');
INSERT INTO "attempt" VALUES(1700000000004040,0,1,1.70000000000827813147e+09,'deferred','450 4.2.0 later','mx.example.com[192.0.2.1]:25');
INSERT INTO "attempt" VALUES(1700000000007594,0,1,1.70000000002960729604e+09,'deferred','450 4.2.0 later','mx.example.com[192.0.2.1]:25');
INSERT INTO "attempt" VALUES(1700000000028379,0,1,1.70000000003206300737e+09,'deferred','450 4.2.0 later','mx.example.com[192.0.2.1]:25');
CREATE TABLE body(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
INSERT INTO "body" VALUES(1700000000001475,X'5375626A6563743A20736D616C6C0D0A0D0A48656C6C6F0D0A');
INSERT INTO "body" VALUES(1700000000004040,X'5375626A6563743A20736D616C6C0D0A0D0A48656C6C6F0D0A');
INSERT INTO "body" VALUES(1700000000028379,X'5375626A6563743A20736D616C6C0D0A0D0A48656C6C6F0D0A');
CREATE TABLE finished(id INTEGER PRIMARY KEY);
CREATE TABLE message(
    id INTEGER PRIMARY KEY,         -- see ids.py
    service TEXT NOT NULL,
    created REAL NOT NULL,          -- unix seconds
    took REAL NOT NULL,             -- seconds from the first byte to the commit
    sender TEXT NOT NULL COLLATE NOCASE,
    body_type TEXT NOT NULL,
    smtputf8 INTEGER NOT NULL,
    ret TEXT NOT NULL,
    envid TEXT NOT NULL,
    user TEXT NOT NULL,
    client TEXT NOT NULL,
    trace TEXT NOT NULL,
    size INTEGER NOT NULL,
    recipients INTEGER NOT NULL,    -- how many rows of the table below
    in_file INTEGER NOT NULL,       -- the body is a file, else a row of the table body
    body_sum INTEGER,               -- CRC-32 of the body; null: of before version 3
    sum INTEGER                     -- of this row, see checksums.py; null: of before version 3
);
INSERT INTO "message" VALUES(1700000000001475,'mail',1.70000000000154161453e+09,3.83853912353515625e-05,'me@example.org','7BIT',0,'','','u','192.0.2.9','t1',25,3,0,3080234814,4030310446);
INSERT INTO "message" VALUES(1700000000004040,'other',1.70000000000408697125e+09,2.31266021728515625e-05,'me@example.org','7BIT',0,'FULL','E1','','','',25,1,0,3080234814,3583348530);
INSERT INTO "message" VALUES(1700000000007594,'mail',1.70000000000793528558e+09,3.187656402587890625e-04,'größe@example.org','8BITMIME',1,'','E+202','','','',96018,1,1,4235108049,2419536895);
INSERT INTO "message" VALUES(1700000000028379,'mail',1.70000000002843117716e+09,2.574920654296875e-05,'','BINARYMIME',0,'HDRS','','','','',25,1,0,3080234814,869019715);
CREATE TABLE quota(
    account TEXT NOT NULL,          -- see budgets.py
    seconds REAL NOT NULL,          -- see quota.Slice
    start REAL NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY(account, seconds, start)
) WITHOUT ROWID;
INSERT INTO "quota" VALUES('x.org',3600.0,1699999980.0,4);
INSERT INTO "quota" VALUES('y.org',3600.0,1699999980.0,2);
CREATE TABLE recipient(
    message INTEGER NOT NULL,
    n INTEGER NOT NULL,             -- from 0 up
    state INTEGER NOT NULL,         -- model.State
    lane TEXT NOT NULL,             -- where it went last, or would have gone: only a hint
    next_at REAL NOT NULL,          -- unix seconds
    attempts INTEGER NOT NULL,
    warned INTEGER NOT NULL,        -- the delay notice was sent
    address TEXT NOT NULL COLLATE NOCASE,
    domain TEXT NOT NULL COLLATE NOCASE,
    notify TEXT NOT NULL,
    original TEXT NOT NULL,
    last TEXT NOT NULL,             -- the last reply, or why it is held
    sum INTEGER,                    -- of this row, see checksums.py; null: of before version 3
    PRIMARY KEY(message, n)
) WITHOUT ROWID;
INSERT INTO "recipient" VALUES(1700000000001475,0,0,'mail x.org',1.7000003000044853688e+09,1,0,'a@x.org','x.org','','','450 4.2.0 later',1504890758);
INSERT INTO "recipient" VALUES(1700000000001475,1,3,'mail x.org',1.70000000000448536871e+09,1,0,'fails@x.org','x.org','NEVER','','550 5.1.1 nobody',3686609133);
INSERT INTO "recipient" VALUES(1700000000001475,2,0,'mail x.org',1.7000003000044853688e+09,1,0,'b@x.org','x.org','','','450 4.2.0 later',944982658);
INSERT INTO "recipient" VALUES(1700000000004040,0,0,'other x.org',1.70000030000827813143e+09,1,0,'c@x.org','x.org','DELAY,FAILURE','rfc822;o@x.org','450 4.2.0 later',816237510);
INSERT INTO "recipient" VALUES(1700000000007594,0,0,'mail y.org',1.70000030002960729599e+09,1,0,'d@y.org','y.org','','utf-8;größe@y.org','450 4.2.0 later',1878221575);
INSERT INTO "recipient" VALUES(1700000000028379,0,1,'mail y.org',1.70000030003206300732e+09,1,0,'h@y.org','y.org','','','held by an operator',1536842385);
CREATE TABLE spool(                 -- one row
    id TEXT NOT NULL,               -- of the queue, as in its marker
    commits INTEGER NOT NULL        -- transactions so far, see marker.py
);
INSERT INTO "spool" VALUES('7cf85cebb380fd6aeb241adb40d57586',8);
CREATE INDEX message_sender ON message(sender);
CREATE INDEX message_in_file ON message(id) WHERE in_file = 1;
CREATE INDEX recipient_due ON recipient(state, lane, next_at);
CREATE INDEX recipient_held ON recipient(state, message) WHERE state = 1;
CREATE INDEX recipient_address ON recipient(address);
CREATE INDEX recipient_domain ON recipient(domain);
COMMIT;
