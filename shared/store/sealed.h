/* What lies sealed in the database, and how: sealed.c writes and reads single records, sealing.c seals or unseals a whole database at its opening.
 *
 * Sealed are chunks of bodies (as they are: a BLOB holds the record), and three pairs of texts, each pair one record in the first column of the two, the second left empty:
 *
 *     message.sender, envid        recipient.address, orcpt        recipient.reply, host
 *
 * as ":1:" and base64: no address, no reply and no host begins with a colon, so nobody takes one for the other. A digest is replaced by a keyed one. In the clear stay numbers: ids, sizes, times,
 * states, how many recipients; and account and hop, which name nobody on an agent. Of the numbers, size and count of chunks are bound to the message's record: a body can't be cut unnoticed.
 * Names of transactions and the recipients of halves are the relay's, which does not seal, and stay too. Words that are empty stay so (nothing was said yet): to put that back is to put back an older record, which can't be told anyhow.
 *
 * In a sealed database everything is sealed, and a text that is not is RESULT_CORRUPT: else who has the disk could put his own in its place. */
#ifndef POSTERN_STORE_SEALED_H
#define POSTERN_STORE_SEALED_H

#include "base/arena.h"
#include "base/buffer.h"
#include "crypto/seal.h"

/* The numbers are on the disk. */
enum sealed_field { SEALED_ENVELOPE = 1, SEALED_RECIPIENT = 2, SEALED_WORDS = 3, SEALED_BODY = 4 };

#define SEALED_DOMAIN SLICE("postern store")

/* Two texts as their columns hold them. */
struct sealed_texts {
    struct slice first, second;
    struct buffer memory;
};

/* seal NULL, here and below: as they are. The slices must outlive `out`, which is ended by sealed_texts_free, also after a failure. RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result sealed_texts_put(const struct seal *seal, const struct seal_place *place, struct slice first, struct slice second, struct sealed_texts *out);
void sealed_texts_free(struct sealed_texts *texts);
/* Copies into the arena. RESULT_OK, RESULT_MEMORY, RESULT_CORRUPT, RESULT_VERSION. */
MUST_CHECK enum result sealed_texts_take(const struct seal *seal, const struct seal_place *place, struct slice first, struct slice second, struct arena *arena, struct slice *out_first,
                                         struct slice *out_second);

/* *out is what the column holds: octets itself, or a record in *memory, which the caller frees. */
MUST_CHECK enum result sealed_octets_put(const struct seal *seal, const struct seal_place *place, struct slice octets, char **memory, struct slice *out);
/* How much room sealed_octets_take needs. */
size_t sealed_octets_len(const struct seal *seal, struct slice column);
MUST_CHECK enum result sealed_octets_take(const struct seal *seal, const struct seal_place *place, struct slice column, char *out);

#endif
