/* What the agent's transactions are called at the relay (TRANSID, schema/link.md): <ID.K.HEX@postern-agent.invalid>. ID is the message's id as people read it, K the number of the transaction in
 * hexadecimal (store_recipient.transaction), HEX 32 digits of a keyed hash over both under a secret of this store. So a name need not be written down before it is used: after a crash the same one
 * comes out, and nobody who has not seen it can guess it. */
#ifndef POSTERN_AGENT_NAMING_H
#define POSTERN_AGENT_NAMING_H

#include "crypto/crypto.h"
#include "store/store.h"

enum { NAMING_TEXT = 81 }; /* octets with the NUL; RFC 1845 2: at most 80 with the angle brackets. The longest of ours has 79 */

struct naming {
    uint8_t secret[CRYPTO_KEY];
    enum result result; /* of its opening, while it is under way */
    unsigned nasked;    /* answers that the store owes */
};

/* Reads the secret, or makes one and waits until it is on the disk: a message that was sent under a name that is forgotten could come twice. Runs the loop until the store has answered.
 * RESULT_OK, or the store's failure: then no message may be sent. */
MUST_CHECK enum result naming_open(struct naming *naming, uv_loop_t *loop, struct store_client *store);
void naming_format(const struct naming *naming, uint64_t message, uint32_t transaction, char out[static NAMING_TEXT]);
/* Wipes. */
void naming_close(struct naming *naming);

#endif
