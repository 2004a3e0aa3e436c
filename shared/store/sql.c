/* Every statement of the store. Numbers of states are those of enum store_state: 0 queued, 1 held, 2 relayed, 3 delivered, 4 bounced,
 * 5 uncertain; "state IN (0, 1, 5)", unfinished, must stand as in the partial index, or SQLite does not use it. */
#include "store/sql.h"

#include "store/store.h"

_Static_assert(STORE_QUEUED == 0 && STORE_HELD == 1 && STORE_RELAYED == 2 && STORE_DELIVERED == 3 && STORE_BOUNCED == 4 && STORE_UNCERTAIN == 5,
               "the numbers in sql.c and in the database");

#define MESSAGE_COLUMNS                                                                                                                              \
    "id, account, sender, body_type, is_smtputf8, ret, envid, size, has_8bit, is_binary, needs_smtputf8, is_dsn, received_at, expires_at, nchunks, " \
    "header_octets, digest"
#define RECIPIENT_COLUMNS "seq, address, notify, orcpt, hop, state, attempts, next_attempt_at, reply, host, at, transaction_number"
#define ACCOUNT_COLUMNS "name, is_enabled, password_hash, scram_salt, scram_iterations, scram_stored_key, scram_server_key, created_at, changed_at"
#define DEVICE_COLUMNS "id, account, label, token, created_at, seen_at"
#define ENROLLED "(SELECT enrolled_served FROM device WHERE id = ?3)"
#define CHECKPOINT_COLUMNS \
    "message, generation, reply, octets, header_came, header_stored, has_8bit_header, is_header_utf8, has_8bit_body, has_lines, received_at"

const char *const store_sql[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_PAGES_USED] = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    [SQL_PAGES_FREE] = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size",

    [SQL_INTAKE_ADD] = "INSERT INTO intake (message) VALUES (?1)",
    [SQL_INTAKE_REMOVE] = "DELETE FROM intake WHERE message = ?1",
    [SQL_INTAKE_FIRST] = "SELECT message FROM intake LIMIT 1",
    [SQL_BODY_ADD] = "INSERT INTO body (message, octets) VALUES (?1, ?2)",
    [SQL_BODY_GET] = "SELECT octets FROM body WHERE message = ?1",
    [SQL_BODY_REMOVE] = "DELETE FROM body WHERE message = ?1",
    [SQL_CHUNK_ADD] = "INSERT INTO chunk (message, seq, octets) VALUES (?1, ?2, ?3)",
    [SQL_CHUNK_GET] = "SELECT octets FROM chunk WHERE message = ?1 AND seq = ?2",
    [SQL_CHUNK_REMOVE] = "DELETE FROM chunk WHERE message = ?1",
    [SQL_CHUNK_REMOVE_FROM] = "DELETE FROM chunk WHERE message = ?1 AND seq >= ?2",

    [SQL_MESSAGE_ADD] = "INSERT INTO message (" MESSAGE_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    [SQL_MESSAGE_GET] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE id = ?1",
    [SQL_MESSAGE_REMOVE] = "DELETE FROM message WHERE id = ?1",
    [SQL_MESSAGE_AFTER] = "SELECT id FROM message WHERE id > ?1 ORDER BY id LIMIT ?2",
    [SQL_MESSAGE_FROM] = "SELECT id, received_at, EXISTS (SELECT 1 FROM recipient WHERE message = message.id AND (state IN (0, 1, 5) OR (state = 2 AND "
                         "next_attempt_at > 0) OR at >= ?3)) FROM message WHERE id > ?1 ORDER BY id LIMIT ?2",
    [SQL_MESSAGE_WITH_DIGEST] = "SELECT id FROM message WHERE digest = ?1 AND (received_at BETWEEN ?2 AND ?3 OR received_at BETWEEN ?2 - ?4 AND ?3 - ?4) "
                                "AND EXISTS (SELECT 1 FROM recipient WHERE message = message.id AND state <> 4) ORDER BY received_at LIMIT 1",
    [SQL_MESSAGE_HEARD] = "SELECT max(received_at, ifnull((SELECT max(at) FROM recipient WHERE message = ?1), 0)), expires_at - received_at, "
                          "EXISTS (SELECT 1 FROM recipient WHERE message = ?1 AND state IN (2, 5)) FROM message WHERE id = ?1",
    [SQL_MESSAGE_MOVE] = "UPDATE message SET received_at = received_at + ?2, expires_at = expires_at + ?2 WHERE id = ?1",
    [SQL_RECIPIENT_MOVE] = "UPDATE recipient SET at = at + ?2 * (at <> 0), next_attempt_at = next_attempt_at + min(?2, 0) * (next_attempt_at <> 0) WHERE message = ?1",
    [SQL_MESSAGE_FORGET_DIGEST] = "UPDATE message SET digest = NULL WHERE id = ?1",

    [SQL_RECIPIENT_ADD] = "INSERT INTO recipient (message, " RECIPIENT_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    [SQL_RECIPIENT_ALL] = "SELECT " RECIPIENT_COLUMNS " FROM recipient WHERE message = ?1 ORDER BY seq",
    [SQL_RECIPIENT_SOME] = "SELECT " RECIPIENT_COLUMNS " FROM recipient WHERE message = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3",
    [SQL_RECIPIENT_COUNT] = "SELECT count(*) FROM recipient WHERE message = ?1",
    [SQL_RECIPIENT_FOR_HOP] = "SELECT " RECIPIENT_COLUMNS " FROM recipient WHERE message = ?1 AND hop = ?2 AND state IN (0, 5) ORDER BY seq",
    /* The legal transitions (schema/README.md): what is finished stays, only relayed may still become delivered or bounced; what a person
     * holds stays held unless the attempt that was under way has finished it. */
    [SQL_RECIPIENT_OUTCOME] =
        "UPDATE recipient SET state = CASE WHEN state = 1 AND ?3 IN (0, 5) THEN 1 ELSE ?3 END, attempts = attempts + (?8 AND state <> 2), "
        "next_attempt_at = ?4, reply = ?5, host = ?6, at = CASE WHEN ?8 THEN ?7 ELSE at END, transaction_number = ?9 "
        "WHERE message = ?1 AND seq = ?2 AND (state IN (0, 1, 5) OR (state = 2 AND ?3 IN (2, 3, 4)))",
    [SQL_RECIPIENT_HOLD] = "UPDATE recipient SET state = 1 WHERE message = ?1 AND state IN (0, 5)",
    [SQL_RECIPIENT_RELEASE] = "UPDATE recipient SET state = CASE state WHEN 1 THEN 0 ELSE state END, next_attempt_at = ?2 "
                              "WHERE message = ?1 AND state IN (0, 1, 5)",
    /* Back from the relay that has lost it: only where the body is still here (one of no octets has no row). */
    [SQL_RECIPIENT_REQUEUE] = "UPDATE recipient SET state = 0, next_attempt_at = ?2 WHERE message = ?1 AND state = 2 AND next_attempt_at > 0 AND "
                              "(EXISTS (SELECT 1 FROM body WHERE message = ?1) OR EXISTS (SELECT 1 FROM message WHERE id = ?1 AND nchunks = 0))",
    [SQL_RECIPIENT_REMOVE] = "DELETE FROM recipient WHERE message = ?1",
    [SQL_UNFINISHED_AFTER] = "SELECT DISTINCT message FROM recipient WHERE state IN (0, 1, 5) AND message > ?1 ORDER BY message LIMIT ?2",
    [SQL_UNFINISHED_ONE] = "SELECT 1 FROM recipient WHERE state IN (0, 1, 5) AND message = ?1 LIMIT 1",
    [SQL_AWAITED_AFTER] = "SELECT DISTINCT message FROM recipient WHERE state = 2 AND next_attempt_at > 0 AND message > ?1 ORDER BY message LIMIT ?2",
    [SQL_AWAITED_ONE] = "SELECT 1 FROM recipient WHERE state = 2 AND next_attempt_at > 0 AND message = ?1 LIMIT 1",
    [SQL_PENDING_AFTER] = "SELECT message FROM recipient WHERE state IN (0, 1, 5) AND message > ?1 UNION "
                          "SELECT message FROM recipient WHERE state = 2 AND next_attempt_at > 0 AND message > ?1 ORDER BY message LIMIT ?2",
    [SQL_QUEUE_AFTER] = "SELECT message, hop, next_attempt_at, state, (SELECT size FROM message WHERE id = recipient.message) FROM recipient "
                        "WHERE state IN (0, 1, 5) AND message > ?1 ORDER BY message",
    [SQL_COUNT_UNFINISHED] =
        "SELECT count(*), total(is_held), total(is_uncertain AND NOT is_held), total(size) FROM "
        "(SELECT max(state = 1) AS is_held, max(state = 5) AS is_uncertain, (SELECT size FROM message WHERE id = recipient.message) AS size "
        "FROM recipient WHERE state IN (0, 1, 5) GROUP BY message)",
    [SQL_COUNT_ALL] = "SELECT count(*) FROM message",
    [SQL_COUNT_HALVES] = "SELECT count(*), total(octets) FROM checkpoint WHERE reply = ''",

    [SQL_ACCOUNT_GET] = "SELECT " ACCOUNT_COLUMNS " FROM account WHERE name = ?1",
    [SQL_ACCOUNT_AFTER] = "SELECT " ACCOUNT_COLUMNS " FROM account WHERE name > ?1 ORDER BY name LIMIT ?2",
    [SQL_ACCOUNT_PUT] = "INSERT OR REPLACE INTO account (" ACCOUNT_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [SQL_ACCOUNT_REMOVE] = "DELETE FROM account WHERE name = ?1",
    [SQL_SEND_AS_GET] = "SELECT address FROM send_as WHERE account = ?1 ORDER BY address",
    [SQL_SEND_AS_ADD] = "INSERT OR IGNORE INTO send_as (account, address) VALUES (?1, ?2)",
    [SQL_SEND_AS_REMOVE] = "DELETE FROM send_as WHERE account = ?1",
    [SQL_DEVICE_GET] = "SELECT " DEVICE_COLUMNS " FROM device WHERE id = ?1",
    [SQL_DEVICE_AFTER] = "SELECT " DEVICE_COLUMNS " FROM device WHERE (account, created_at, id) > (?1, ?2, ?3) ORDER BY account, created_at, id LIMIT ?4",
    [SQL_DEVICE_OF] = "SELECT " DEVICE_COLUMNS " FROM device WHERE account = ?1 AND (created_at, id) > (?2, ?3) ORDER BY created_at, id LIMIT ?4",
    [SQL_DEVICE_ADD] = "INSERT INTO device (" DEVICE_COLUMNS ", enrolled_served) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [SQL_DEVICE_SEEN] = "UPDATE device SET seen_at = max(seen_at, ?2) WHERE id = ?1",
    [SQL_DEVICE_REMOVE] = "DELETE FROM device WHERE id = ?1",
    [SQL_DEVICE_REMOVE_ALL] = "DELETE FROM device WHERE account = ?1",
    /* Those that a session sees (schema/link.md, Who it is): ?3 its device, ?5 that it has proved the account's password. The last column: which of several
     * comes first; one that is over before a half, so that nothing is taken twice. */
    [SQL_CHECKPOINT_SEEN] = "SELECT " CHECKPOINT_COLUMNS ", digest = ?6, (digest = ?6) * 8 + (reply <> '') * 4 + (device = ?3) * 2 + (helo = ?4) "
                            "FROM checkpoint WHERE account = ?1 AND transid = ?2 AND ((device = ?3 AND ?3 <> '') OR (device = '' AND helo = ?4) OR ?5 OR "
                            "begun_served < " ENROLLED ")",
    [SQL_CHECKPOINT_GET] = "SELECT " CHECKPOINT_COLUMNS " FROM checkpoint WHERE message = ?1",
    /* A device that was removed while its session went on is none any more. */
    [SQL_CHECKPOINT_ADD] = "INSERT INTO checkpoint (" CHECKPOINT_COLUMNS ", touched_at, begun_served, account, device, helo, transid, digest) VALUES (?1, ?2, "
                           "?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?18, ?13, CASE WHEN EXISTS (SELECT 1 FROM device WHERE id = ?14) THEN ?14 ELSE '' END, ?15, ?16, ?17)",
    [SQL_CHECKPOINT_SET] = "UPDATE checkpoint SET reply = ?3, octets = ?4, header_came = ?5, header_stored = ?6, has_8bit_header = ?7, is_header_utf8 = ?8, "
                           "has_8bit_body = ?9, has_lines = ?10, received_at = ?11, touched_at = max(touched_at, ?12) WHERE message = ?1 AND generation = ?2 AND reply = ''",
    [SQL_CHECKPOINT_CLAIM] = "UPDATE checkpoint SET generation = ?3, touched_at = max(touched_at, ?2) WHERE message = ?1",
    [SQL_CHECKPOINT_REMOVE] = "DELETE FROM checkpoint WHERE message = ?1",
    [SQL_CHECKPOINT_HALVES] = "SELECT message, octets, device = ifnull((SELECT device FROM checkpoint WHERE message = ?2), '') FROM checkpoint WHERE "
                              "reply = '' AND account = ?1 ORDER BY touched_at DESC",
    [SQL_CHECKPOINT_LARGE] = "SELECT message, generation FROM checkpoint WHERE reply = '' AND octets > ?1 AND message NOT IN (SELECT id FROM message)",
    [SQL_CHECKPOINT_LISTED] = "SELECT message, account, device, octets, generation, (SELECT count(*) FROM checkpoint_recipient WHERE checkpoint_recipient.message = checkpoint.message) FROM checkpoint "
                              "WHERE reply = '' ORDER BY account, touched_at LIMIT ?1",
    /* Those that give way (yield.c) to ?1, which grows, or (?2) to whole mail; ?3: how long one is untouched that nobody goes on with. */
    [SQL_CHECKPOINT_YIELDS] = "SELECT message, octets FROM (SELECT message, octets, touched_at, begun_served, touched_at < (SELECT max(touched_at) FROM checkpoint) - ?3 AS is_idle "
                              "FROM checkpoint WHERE reply = '' AND message <> ?1) WHERE is_idle OR ?2 OR (begun_served, message) > (SELECT begun_served, message FROM checkpoint "
                              "WHERE message = ?1) ORDER BY is_idle DESC, CASE WHEN is_idle THEN touched_at ELSE -begun_served END, message DESC",
    [SQL_CHECKPOINT_OLD] = "SELECT message, reply = '', octets FROM checkpoint WHERE touched_at < ?1 LIMIT ?2",
    [SQL_CHECKPOINT_HALVES_OF] = "SELECT message, 1, octets FROM checkpoint WHERE reply = '' AND account = ?1 LIMIT ?2",
    /* Two that will bear one name when the device has gone. */
    [SQL_CHECKPOINT_TWINS] = "SELECT a.message, a.reply = '', b.message, b.reply = '' FROM checkpoint a CROSS JOIN checkpoint b ON b.account = a.account AND "
                             "b.transid = a.transid AND b.device = '' AND b.helo = a.helo WHERE a.account = ?1 AND a.device = ?2 LIMIT 1",
    [SQL_CHECKPOINT_WITH_DEVICE] = "SELECT device FROM checkpoint WHERE account = ?1 AND device <> '' LIMIT 1",
    [SQL_CHECKPOINT_DISOWN] = "UPDATE checkpoint SET device = '' WHERE account = ?1 AND device = ?2",
    [SQL_CHECKPOINT_RCPT_ADD] = "INSERT INTO checkpoint_recipient (message, seq, address, notify, orcpt) VALUES (?1, ?2, ?3, ?4, ?5)",
    [SQL_CHECKPOINT_RCPT_KEEP] = "INSERT INTO checkpoint_recipient (message, seq, address, notify, orcpt) SELECT message, seq, address, notify, orcpt "
                                 "FROM recipient WHERE message = ?1 AND EXISTS (SELECT 1 FROM checkpoint WHERE message = ?1)",
    [SQL_CHECKPOINT_RCPT_GET] = "SELECT address, notify, orcpt FROM checkpoint_recipient WHERE message = ?1 ORDER BY seq",
    [SQL_CHECKPOINT_RCPT_REMOVE] = "DELETE FROM checkpoint_recipient WHERE message = ?1",

    [SQL_SETTING_GET] = "SELECT value FROM setting WHERE name = ?1",
    [SQL_SETTING_PUT] = "INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)",
    /* The relay's running time is never behind what lies here. */
    [SQL_SERVED_LATEST] = "SELECT CAST(max(ifnull((SELECT max(touched_at) FROM checkpoint), 0), ifnull((SELECT max(enrolled_served) FROM device), 0)) AS TEXT)",
    [SQL_SETTING_REMOVE] = "DELETE FROM setting WHERE name = ?1",

    /* Row by row, in the order of the keys. */
    [SQL_SEALING_NEXT_MESSAGE] = "SELECT id, ?2 * 0, sender, envid, size, nchunks, digest FROM message WHERE id > ?1 ORDER BY id LIMIT 1",
    [SQL_SEALING_NEXT_RECIPIENT] = "SELECT message, seq, address, orcpt, reply, host FROM recipient WHERE (message, seq) > (?1, ?2) ORDER BY message, seq LIMIT 1",
    [SQL_SEALING_NEXT_BODY] = "SELECT message, ?2 * 0, octets FROM body WHERE message > ?1 ORDER BY message LIMIT 1",
    [SQL_SEALING_NEXT_CHUNK] = "SELECT message, seq, octets FROM chunk WHERE (message, seq) > (?1, ?2) ORDER BY message, seq LIMIT 1",
    [SQL_SEALING_MESSAGE] = "UPDATE message SET sender = ?2, envid = ?3, digest = ?4 WHERE id = ?1",
    [SQL_SEALING_RECIPIENT] = "UPDATE recipient SET address = ?3, orcpt = ?4, reply = ?5, host = ?6 WHERE message = ?1 AND seq = ?2",
    [SQL_SEALING_ANY_SEALED] = "SELECT 1 FROM message WHERE sender GLOB ':1:*' UNION ALL SELECT 1 FROM recipient WHERE address GLOB ':1:*' OR reply GLOB ':1:*' LIMIT 1",
    [SQL_SEALING_BODY] = "UPDATE body SET octets = ?2 WHERE message = ?1",
    [SQL_SEALING_CHUNK] = "UPDATE chunk SET octets = ?2 WHERE message = ?1 AND seq = ?3",
};
