-- Transactions with a name (schema/link.md, CHECKPOINT), and what the agent needs to name its own; the columns are both programs'.

-- Under which of the message's names this recipient goes, or went; 0 at first, and always on the relay.
ALTER TABLE recipient ADD COLUMN transaction_number INTEGER NOT NULL DEFAULT 0;
-- Of what was submitted, octets and envelope; NULL: not known.
ALTER TABLE message ADD COLUMN digest BLOB;

-- When it was enrolled, in ms of the relay's own running time: it sees the names that were begun before. Those that are older than this see none more.
ALTER TABLE device ADD COLUMN enrolled_served INTEGER NOT NULL DEFAULT 0;

-- One row a name. A half (reply is ''): `octets` of its body lie in body and chunk, without gap. Or it is over: the message was committed, its sender was
-- told `reply`, and is told it again. A half has no row in `intake`: it outlives a start.
CREATE TABLE checkpoint (
    message       INTEGER PRIMARY KEY,      -- what it is, or is to be
    account       TEXT NOT NULL,
    device        TEXT NOT NULL,            -- that began it; '' without a token, or when the device has gone since
    helo          TEXT NOT NULL,            -- EHLO name of the session that began it
    transid       TEXT NOT NULL,
    digest        BLOB NOT NULL,            -- of MAIL: who comes back says the same
    reply         TEXT NOT NULL,
    generation    INTEGER NOT NULL,         -- grows with each claim: who writes under an older one is refused
    touched_at    INTEGER NOT NULL,         -- in ms of the relay's own running time
    octets        INTEGER NOT NULL,         -- of the body as it is stored
    header_came   INTEGER NOT NULL,         -- octets of the header as it came, and as it is stored; 0: not whole yet
    header_stored INTEGER NOT NULL,
    has_8bit_header INTEGER NOT NULL,
    is_header_utf8 INTEGER NOT NULL,
    has_8bit_body INTEGER NOT NULL,
    has_lines     INTEGER NOT NULL,
    received_at   INTEGER NOT NULL,
    begun_served  INTEGER NOT NULL          -- when its MAIL came, in ms of the relay's own running time
) STRICT;

CREATE UNIQUE INDEX checkpoint_name ON checkpoint (account, transid, device, helo);
CREATE INDEX checkpoint_touched ON checkpoint (touched_at);
-- What is bounded for each device, and for each account.
CREATE INDEX checkpoint_half ON checkpoint (account, touched_at) WHERE reply = '';

-- The recipients of a half; and of a name that is over when its message was removed, which has taken the others along.
CREATE TABLE checkpoint_recipient (
    message       INTEGER NOT NULL,
    seq           INTEGER NOT NULL,
    address       TEXT NOT NULL,
    notify        INTEGER NOT NULL,
    orcpt         TEXT NOT NULL,
    PRIMARY KEY (message, seq)
) STRICT, WITHOUT ROWID;
