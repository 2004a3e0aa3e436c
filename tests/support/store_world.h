/* A store of its own for a test: a folder, a loop, a client, and calls that wait for their answer. */
#ifndef POSTERN_TESTS_SUPPORT_STORE_WORLD_H
#define POSTERN_TESTS_SUPPORT_STORE_WORLD_H

#include "store/store.h"

struct world {
    uv_loop_t loop;
    char dir[64], path[96];
    struct log log;             /* drops everything; set level and sink before world_open to see it */
    struct store_config config; /* path, schema (the relay's) and log are set by world_make */
    struct store_seal seal;     /* what config.seal points to once world_seal was called */
    uint8_t key_first;          /* of the key: all its octets */
    enum result key_result;     /* what asking for it comes to */
    uint32_t nasked;            /* how often it was asked for */
    bool is_asked_as_sealed;    /* the last time */
    char why[512];
    struct store *store;
    struct store_client *client;
};

/* Makes the folder; opens nothing yet. */
void world_make(struct world *w);
/* From the next opening on it is to be sealed, with a key whose octets all are `first`; it is asked for at each opening. */
void world_seal(struct world *w, uint8_t first);
/* RESULT_OK, or what store_open said, with words in why. */
enum result world_open(struct world *w);
/* Closes client and store, if they are open. */
void world_close(struct world *w);
/* Closes, and removes the folder; the loop must be empty then. */
void world_end(struct world *w);
/* Enabled; behind the store's back, if it is not there yet. A name that is begun has one. */
void world_add_account(const struct world *w, const char *name);
/* Runs the loop until *flag. */
void world_wait(struct world *w, const bool *flag);

/* A message of `nrcpt` recipients r0@hop0.example, r1@... : recipient i waits for the hop "hop<i % nhops>", or "" when nhops is 0. */
enum result world_put(struct world *w, uint64_t id, struct slice body, size_t nrcpt, size_t nhops);
/* Waits; the job is the caller's. */
enum result world_load(struct world *w, uint64_t id, struct slice hop, struct store_job **job);
enum result world_finish(struct world *w, uint64_t id, uint32_t seq, enum store_state state, const char *reply, bool keep_body);
/* Whole body, read chunk by chunk into a buffer that is the caller's to free; len SIZE_MAX, and nothing to free, when a read failed other than by its end. */
struct slice world_body(struct world *w, uint64_t id);
enum result world_count(struct world *w, struct store_counts *out);
enum result world_remove(struct world *w, uint64_t id);
/* Derived state of a message, or "none". */
const char *world_state(struct world *w, uint64_t id);
/* Octets that a body of this id has in tests: lines whose content depends on id and place. */
void world_fill(uint64_t id, char *out, size_t len);

/* Whether any file in the folder holds these octets at this moment. */
bool world_has_on_disk(const struct world *w, const char *canary);

/* For calls that end in a store_done: context is a struct world_done. */
struct world_done {
    bool is_done;
    enum result result;
};
void world_on_done(void *context, enum result result);
enum result world_wait_done(struct world *w, struct world_done *d);

#endif
