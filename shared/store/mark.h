/* The mark of a database that is sealed, or is being sealed or unsealed (the setting "seal"; what it means is in sealing.c):
 *
 *     version (1 octet) | stage (1) | salt (16) | check value of the key (32) | cursor: the row done last (13) | cursor: the last row to be done (13)
 *
 * and a cursor
 *
 *     phase (1 octet) | message (8) | number of the row in it (4)
 *
 * Numbers are in network order. A database without a mark is MARK_PLAIN. */
#ifndef POSTERN_STORE_MARK_H
#define POSTERN_STORE_MARK_H

#include "crypto/seal.h"

enum {
    MARK_VERSION = 1,
    MARK_CURSOR_OCTETS = 1 + 8 + 4,
    MARK_OCTETS = 1 + 1 + SEAL_SALT + CRYPTO_HASH + 2 * MARK_CURSOR_OCTETS,
};

enum mark_stage { MARK_PLAIN = 0, MARK_SEALING = 1, MARK_WIPING = 2, MARK_SEALED = 3, MARK_UNSEALING = 4 };       /* the numbers are on the disk */
enum mark_phase { MARK_MESSAGES = 0, MARK_RECIPIENTS = 1, MARK_BODIES = 2, MARK_CHUNKS = 3, MARK_END = 4 }; /* these too */

/* The row that was done last; with message 0, none of this phase yet. */
struct mark_cursor {
    uint8_t phase;
    uint64_t message;
    uint32_t seq;
};

struct mark {
    enum mark_stage stage;
    uint8_t salt[SEAL_SALT], check[CRYPTO_HASH];
    struct mark_cursor at, limit; /* limit: the last row to be done; MARK_END: all */
};

void mark_write(const struct mark *mark, char out[static MARK_OCTETS]);
/* Of the setting's octets, whoever wrote them; never MARK_PLAIN. What is parsed is written again as the same octets. RESULT_OK; RESULT_CORRUPT; RESULT_VERSION: by a newer program. */
MUST_CHECK enum result mark_parse(struct slice octets, struct mark *mark);

#endif
