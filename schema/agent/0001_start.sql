-- The agent's tables: the relay's but for its accounts, because one store serves both programs. Every legal state and transition: schema/README.md.
-- Times are wall time in milliseconds since 1970; states are the numbers of enum store_state.

-- One row for each message; it stays after the last recipient is finished, until it is swept.
CREATE TABLE message (
    id            INTEGER PRIMARY KEY,      -- 63 bits, growing with time: rows are appended
    account       TEXT NOT NULL,            -- who submitted; '' when the listener asks for no name
    sender        TEXT NOT NULL,            -- '' is the null reverse-path
    body_type     INTEGER NOT NULL,         -- enum mail_body
    is_smtputf8   INTEGER NOT NULL,
    ret           INTEGER NOT NULL,         -- enum dsn_ret
    envid         TEXT NOT NULL,
    size          INTEGER NOT NULL,         -- octets of the body
    has_8bit      INTEGER NOT NULL,
    is_binary     INTEGER NOT NULL,
    needs_smtputf8 INTEGER NOT NULL,
    is_dsn        INTEGER NOT NULL,
    received_at   INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    nchunks       INTEGER NOT NULL,
    header_octets INTEGER NOT NULL
) STRICT;

CREATE TABLE recipient (
    message       INTEGER NOT NULL,
    seq           INTEGER NOT NULL,         -- place in the envelope, from 0
    address       TEXT NOT NULL,
    notify        INTEGER NOT NULL,         -- enum dsn_notify, or-ed
    orcpt         TEXT NOT NULL,
    hop           TEXT NOT NULL,            -- name of the next hop it waits for
    state         INTEGER NOT NULL,         -- 0 queued 1 held 2 relayed 3 delivered 4 bounced 5 uncertain
    attempts      INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,       -- 0: none
    reply         TEXT NOT NULL,            -- the last word on it
    host          TEXT NOT NULL,            -- who said it
    at            INTEGER NOT NULL,         -- when
    PRIMARY KEY (message, seq)
) STRICT, WITHOUT ROWID;

-- What still has work: read at start and by listings; as small as the queue is short.
CREATE INDEX recipient_unfinished ON recipient (message) WHERE state IN (0, 1, 5);

-- Bodies. Chunk 0 lives in `body` under the message's number, because most messages have no other: a table row may fill a page,
-- an index row only a quarter of one. The chunks from 1 on live in `chunk`.
CREATE TABLE body (
    message       INTEGER PRIMARY KEY,
    octets        BLOB NOT NULL
) STRICT;

CREATE TABLE chunk (
    message       INTEGER NOT NULL,
    seq           INTEGER NOT NULL,         -- from 1
    octets        BLOB NOT NULL,
    PRIMARY KEY (message, seq)
) STRICT, WITHOUT ROWID;

-- Bodies of several chunks that are not yet whole. Whoever is here at start is swept with its chunks.
CREATE TABLE intake (
    message       INTEGER PRIMARY KEY
) STRICT;

-- Named values: secrets of this agent, remembered ways.
CREATE TABLE setting (
    name          TEXT PRIMARY KEY,
    value         BLOB NOT NULL
) STRICT, WITHOUT ROWID;
