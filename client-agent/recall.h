/* What the store keeps for the uplink from one run to the next: the memory of networks (path/memory.h), the relay's profile, and the secret under which networks have their keys. Read whole at the
 * start, written when it has changed. A change that can't be written costs time at the next start, nothing else; the profile's, which has the token, is tried again. */
#ifndef POSTERN_AGENT_RECALL_H
#define POSTERN_AGENT_RECALL_H

#include "prober.h"
#include "profile.h"
#include "settings.h"

#include "crypto/crypto.h"
#include "path/memory.h"
#include "store/store.h"

struct recall {
    struct store_client *store; /* NULL: nothing is written (tests) */
    struct memory *memory;
    struct profile profile;
    uint8_t secret[CRYPTO_KEY];
    struct prober_last probe; /* of a diagnosis without a daemon; ago_ms INT64_MAX: none */
    const struct log *log;
    bool is_profile_unwritten; /* the last write of it has failed */
    unsigned nasked; /* answers that the store owes at the start */
};

/* Runs the loop until the store has answered. RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result recall_open(struct recall *recall, uv_loop_t *loop, struct store_client *store, const struct log *log, const struct settings *settings);
/* Another relay: nothing is known of it. Another user: the token goes. */
void recall_change(struct recall *recall, const struct settings *before, const struct settings *after);
/* The memory, when it has changed so that it is worth it; and the profile, if it could not be written when it changed. */
void recall_save_memory(struct recall *recall, const struct settings *settings);
/* The last question of a diagnosis without a daemon: the next one may follow at once. */
void recall_save_probe(struct recall *recall, const struct prober *prober);
void recall_save_profile(struct recall *recall, const struct settings *settings);
/* Wipes. What is being written is the store's; the memory of *recall stays until its client is closed. */
void recall_close(struct recall *recall);

#endif
