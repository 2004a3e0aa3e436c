/* Getting mail out: what is due, over which session, and what became of it. On one loop, with nobody else's thread in it.
 *
 *   queue (what, when)  -> parcel: a message for one hop, lent out by the queue, loaded from the store
 *                       -> route: the next hop it goes over; its waiting parcels and its lanes
 *                       -> lane: a session; carries one parcel after the other
 *                       -> mta/attempt.h: outcomes and report in one commit; then the queue has it back
 *
 * A parcel counts as lent until its outcome is on the disk, so the queue lends a few times as many as there are lanes; the lanes are what the
 * configuration's concurrency bounds. A route whose every address fails defers what waits for it and blocks the hop, so that a dead host costs one
 * round of attempts, not one a message.
 *
 * Times of the store are wall time; the queue here runs on the monotonic clock, so that setting the clock neither hurries nor stops the mail. */
#ifndef POSTERN_SERVER_DELIVERY_H
#define POSTERN_SERVER_DELIVERY_H

#include "gate.h"

#include "mta/attempt.h"
#include "net/dns.h"

struct delivery;

struct delivery_config {
    uv_loop_t *loop;
    struct store_client *store; /* of this loop */
    struct dns *dns;
    const struct log *log;
    struct conf *conf;         /* a reference is taken */
    const struct served *served;
    struct tls_context *tls_any;       /* references are taken */
    struct tls_context *tls_verified;
    uint64_t (*next_id)(void *context);
    void *context;
};

/* Loads the queue from the store and begins. Once a day, when mail comes in, the store forgets what has been finished for longer than `history`, and names of transactions that were not touched for conf_name_kept_ms.
 * Before, the loop runs until the store has moved the times of another wall clock (mta/wall.h). RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result delivery_start(struct delivery **out, const struct delivery_config *config);
/* Lets messages that are being sent end within grace_ms; then on_stopped, and the memory is gone. */
void delivery_stop(struct delivery *delivery, int64_t grace_ms, void (*on_stopped)(void *context), void *context);
/* For lanes to come. */
void delivery_reload(struct delivery *delivery, struct conf *conf, struct tls_context *tls_any, struct tls_context *tls_verified);

/* New in the store; hops as often as they come. */
void delivery_add(struct delivery *delivery, uint64_t message, const struct slice *hops, size_t n, int64_t due_at_ms);
/* Looks into the store for whatever is not known here; tried again until it has been read. */
void delivery_rescan(struct delivery *delivery);
/* The same in a while: there was no memory for something that the store has. */
void delivery_rescan_later(struct delivery *delivery);

/* After the store has done the same. */
void delivery_hold(struct delivery *delivery, uint64_t message);
void delivery_release(struct delivery *delivery, uint64_t message); /* due now; 0: all that waits, and what only the store knows */
void delivery_remove(struct delivery *delivery, uint64_t message);

struct delivery_counts {
    size_t waiting, active, lanes;
};
void delivery_count(const struct delivery *delivery, struct delivery_counts *out);

#endif
