-- What the relay has, and may lose (schema/link.md, CHECKPOINT and XOUTCOME).

-- Under which of the message's names this recipient goes, or went; 0 at first.
ALTER TABLE recipient ADD COLUMN transaction_number INTEGER NOT NULL DEFAULT 0;
-- Of what was submitted, octets and envelope; NULL: not known.
ALTER TABLE message ADD COLUMN digest BLOB;

-- Relayed, and to be asked about.
CREATE INDEX recipient_awaited ON recipient (message) WHERE state = 2 AND next_attempt_at > 0;
-- A mail program's own retries.
CREATE INDEX message_digest ON message (digest, received_at) WHERE digest IS NOT NULL;
