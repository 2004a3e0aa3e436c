/* What a store was asked and what it promised: a load for the fault tests, and the check afterwards.
 *
 * The load puts messages of all sizes, several at a time; some are finished, some bounce with a message of our own about it, some are removed, some
 * stay. Some have a name; of these the large ones are left half way and gone on with, some by another session while the first still writes. The model is plain memory without pointers, so that a test can keep it where another process sees it. */
#ifndef POSTERN_TESTS_SUPPORT_STORE_MODEL_H
#define POSTERN_TESTS_SUPPORT_STORE_MODEL_H

#include "support/store_world.h"

enum { MODEL_MAX = 1000 };
enum model_step { STEP_NEVER, STEP_ASKED, STEP_DONE, STEP_FAILED };

struct model_message {
    uint32_t size;
    uint8_t put, finish, remove; /* enum model_step */
    uint8_t bounces;             /* finish is a bounce with a message of our own */
    uint8_t has_name;
    uint32_t held;               /* octets that a claim said to be on the disk */
};

struct model {
    uint64_t seed;
    uint32_t count;
    uint32_t nfailed;
    uint32_t nresumed;
    struct model_message messages[MODEL_MAX];
};

/* Puts n more messages, at most `in_flight` at a time; returns when all is answered. */
void model_run(struct world *w, struct model *m, uint32_t n, uint32_t in_flight);
/* NULL, or what is wrong. is_alive: the program lived on since, so what it refused is not there; after a crash it may be. The world is open. */
const char *model_check(struct world *w, const struct model *m, bool is_alive);
/* The rules for rows of schema/README.md, and SQLite's own check; the world was opened and is closed. NULL, or what is wrong. */
const char *model_check_rows(const struct world *w);

#endif
