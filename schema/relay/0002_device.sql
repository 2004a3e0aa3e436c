-- Laptops that log in by a token of their own (schema/link.md, AUTH by token). They go with their account, and with its password.
CREATE TABLE device (
    id            TEXT PRIMARY KEY,         -- our making
    account       TEXT NOT NULL,
    label         TEXT NOT NULL,            -- for people
    token         BLOB NOT NULL,            -- 32 octets: both sides need it as it is
    created_at    INTEGER NOT NULL,
    seen_at       INTEGER NOT NULL          -- when it last logged in, to the hour
) STRICT, WITHOUT ROWID;

CREATE INDEX device_account ON device (account, created_at);
