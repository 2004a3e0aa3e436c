/* Rows of names (checkpoints), for the files of this folder. Every function runs on the writer's thread inside its caller's transaction. */
#ifndef POSTERN_STORE_CHECKPOINT_H
#define POSTERN_STORE_CHECKPOINT_H

#include "store/engine.h"

/* A row of `checkpoint`. One whose numbers can't be ours has none of them here: as a half it is dropped by who claims it. */
struct checkpoint_row {
    uint64_t message;
    uint32_t generation; /* 0: as above */
    struct slice reply;  /* empty: a half */
    uint64_t octets;    /* as stored */
    struct store_half half;
    bool is_same; /* the claim's digest; of checkpoint_find alone */
};
/* The one that this session sees; of several one that is over, rather than a half. RESULT_NOT_FOUND. */
MUST_CHECK enum result checkpoint_find(struct database *db, const struct store_claim *claim, struct arena *arena, struct checkpoint_row *out);
MUST_CHECK enum result checkpoint_get(struct database *db, uint64_t message, struct arena *arena, struct checkpoint_row *out);
/* The name; of a half also all that is here, but never a message's, and the log tells why it ended: a text that lives for ever. */
MUST_CHECK enum result checkpoint_drop(struct database *db, uint64_t message, bool is_half, const char *why);

/* ---- for those whose messages, devices and accounts have names; where the database has none (the agent's), nothing ---- */
MUST_CHECK enum result checkpoint_is_there(struct database *db, uint64_t message, bool *out);
/* Its message goes, the name stays: so do the recipients that it must know. */
MUST_CHECK enum result checkpoint_keep_recipients(struct database *db, uint64_t message);
/* What a device has begun that was removed is as if begun without a token. Before the device's row goes. */
MUST_CHECK enum result checkpoint_disown(struct database *db, struct slice account, struct slice device);
MUST_CHECK enum result checkpoint_disown_all(struct database *db, struct slice account);
/* Of an account that goes, as many as one transaction may take. Its names that are over stay. */
MUST_CHECK enum result checkpoint_drop_halves(struct database *db, struct slice account, bool *has_more);

#endif
