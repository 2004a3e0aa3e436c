/* How long this database has been served: the time that relays have run with it, one after the other, together. And which one it is.
 *
 * What is promised of a transaction's name (schema/link.md, CHECKPOINT) is promised in this time, and no step of the wall clock ages a record. It is counted on from what the store
 * remembers, by the monotonic clock, and written down every hour and at the end; a relay that was killed has lost less than an hour, and keeps records that much longer. It is never behind what
 * a name or a device tells: what was begun before a device was enrolled stays so (schema/link.md, Who it is). */
#ifndef POSTERN_SERVER_SERVED_H
#define POSTERN_SERVER_SERVED_H

#include "store/store.h"

enum { SERVED_EPOCH = 16, SERVED_TELL_MAX = 64 };

/* Does not change but for the timer, which is its loop's; so any thread may read. */
struct served {
    int64_t before_ms;   /* what was served before this run */
    uint64_t started_ns; /* when it began, on the monotonic clock */
    char epoch[SERVED_EPOCH + 1];
    uv_timer_t timer;
    struct store_client *store;
    const struct log *log;
};

/* At start: runs the loop until the store has answered. A database that has no epoch yet gets one. RESULT_OK, or as the store. */
MUST_CHECK enum result served_open(struct served *served, uv_loop_t *loop, struct store_client *store, const struct log *log);
int64_t served_now_ms(const struct served *served);
/* What XOUTCOME says in EHLO: "epoch seconds". */
void served_tell(const struct served *served, int64_t kept_ms, char out[static SERVED_TELL_MAX]);
/* Writes down and stops; the loop runs once more before the memory goes. For one that was never opened, too. */
void served_close(struct served *served);

#endif
