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
INSERT INTO "attempt" VALUES(1700000000000000,0,1,1700000000.0,'deferred','450 4.2.0 later','mx.example.com[192.0.2.1]:25');
INSERT INTO "attempt" VALUES(1700000000000000,1,1,1700000000.0,'failed','550 5.1.1 nobody','mx.example.com[192.0.2.1]:25');
INSERT INTO "attempt" VALUES(1700000000000000,2,1,1700000000.0,'deferred','450 4.2.0 later','mx.example.com[192.0.2.1]:25');
INSERT INTO "attempt" VALUES(1700000000000001,0,1,1700000000.0,'deferred','450 4.2.0 later','mx.example.com[192.0.2.1]:25');
INSERT INTO "attempt" VALUES(1700000000000003,0,1,1700000000.0,'deferred','450 4.2.0 later','mx.example.com[192.0.2.1]:25');
INSERT INTO "attempt" VALUES(1700000000000004,0,1,1700000000.0,'deferred','450 4.2.0 later','mx.example.com[192.0.2.1]:25');
CREATE TABLE body(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
INSERT INTO "body" VALUES(1700000000000000,X'5375626A6563743A20736D616C6C0D0A0D0A48656C6C6F0D0A');
INSERT INTO "body" VALUES(1700000000000001,X'5375626A6563743A20736D616C6C0D0A0D0A48656C6C6F0D0A');
INSERT INTO "body" VALUES(1700000000000004,X'5375626A6563743A20736D616C6C0D0A0D0A48656C6C6F0D0A');
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
    in_file INTEGER NOT NULL        -- the body is a file, else a row of the table body
);
INSERT INTO "message" VALUES(1700000000000000,'mail',1700000000.0,0.0,'me@example.org','7BIT',0,'','','u','192.0.2.9','t1',25,3,0);
INSERT INTO "message" VALUES(1700000000000001,'other',1700000000.0,0.0,'me@example.org','7BIT',0,'FULL','E1','','','',25,1,0);
INSERT INTO "message" VALUES(1700000000000003,'mail',1700000000.0,0.0,'größe@example.org','8BITMIME',1,'','','','','',96018,1,1);
INSERT INTO "message" VALUES(1700000000000004,'mail',1700000000.0,0.0,'me@example.org','7BIT',0,'','','','','',25,1,0);
CREATE TABLE quota(
    lane TEXT NOT NULL,
    seconds REAL NOT NULL,          -- see quota.Slice
    start REAL NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY(lane, seconds, start)
) WITHOUT ROWID;
INSERT INTO "quota" VALUES('mail mx:example.org',3600.0,1699999980.0,1);
INSERT INTO "quota" VALUES('mail mx:y.org',3600.0,1699999980.0,2);
INSERT INTO "quota" VALUES('mail smtp:me@smtp.example.net:587',3600.0,1699999980.0,3);
INSERT INTO "quota" VALUES('other smtp:me@smtp.example.net:587',3600.0,1699999980.0,1);
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
    PRIMARY KEY(message, n)
) WITHOUT ROWID;
INSERT INTO "recipient" VALUES(1700000000000000,0,0,'mail smtp:me@smtp.example.net:587',1700000300.0,1,0,'a@x.org','x.org','','','450 4.2.0 later');
INSERT INTO "recipient" VALUES(1700000000000000,1,3,'mail smtp:me@smtp.example.net:587',1700000000.0,1,0,'fails@x.org','x.org','','','550 5.1.1 nobody');
INSERT INTO "recipient" VALUES(1700000000000000,2,0,'mail smtp:me@smtp.example.net:587',1700000300.0,1,0,'b@x.org','x.org','','','450 4.2.0 later');
INSERT INTO "recipient" VALUES(1700000000000001,0,0,'other smtp:me@smtp.example.net:587',1700000300.0,1,0,'c@x.org','x.org','DELAY,FAILURE','rfc822;o@x.org','450 4.2.0 later');
INSERT INTO "recipient" VALUES(1700000000000003,0,0,'mail mx:y.org',1700000300.0,1,0,'d@y.org','y.org','','','450 4.2.0 later');
INSERT INTO "recipient" VALUES(1700000000000004,0,1,'mail mx:y.org',1700000300.0,1,0,'h@y.org','y.org','','','held by an operator');
CREATE INDEX message_sender ON message(sender);
CREATE INDEX message_in_file ON message(id) WHERE in_file = 1;
CREATE INDEX recipient_due ON recipient(state, lane, next_at);
CREATE INDEX recipient_held ON recipient(state, message) WHERE state = 1;
CREATE INDEX recipient_address ON recipient(address);
CREATE INDEX recipient_domain ON recipient(domain);
COMMIT;
