/* The queue in memory: what is due, for which next hop, how many at a time. Pure; the store is what survives.
 *
 * An item is one message for one next hop (a smarthost, or a recipient domain; on the agent there is one hop, the relay).
 * States of an item: waiting (until due_at_ms), ready, active (lent out by queue_next), held. All times are the caller's one clock in ms.
 *
 * A hop may be blocked until a time (host unreachable, 421): its items wait, and when the time is up they go one at a time, as probes, until the
 * hop is unblocked. It is forgotten with the hop's last item.
 * Hops are served in turn, so that one with ten thousand items does not starve one with a single item; within a hop, what is not large and due goes first, then the oldest due.
 *
 * Invariants: 1 an item is in exactly one state; 2 active items of a hop never exceed its limit, all never exceed the total limit;
 * 3 an item added twice is one; 4 nothing ready waits while its hop and the total have room; 5 a large item is lent out only when no other
 * of its hop is due. */
#ifndef POSTERN_QUEUE_QUEUE_H
#define POSTERN_QUEUE_QUEUE_H

#include "base/result.h"
#include "base/slice.h"

struct queue;

struct queue_limits {
    uint32_t active_per_hop; /* default 10 */
    uint32_t active_total;   /* default 50 */
};

struct queue_job {
    uint64_t message;
    struct slice hop; /* valid as long as the item exists */
};

struct queue *queue_new(const struct queue_limits *limits); /* NULL: out of memory */
void queue_free(struct queue **queue);

/* RESULT_OK, RESULT_EXISTS (nothing changed), RESULT_MEMORY. */
MUST_CHECK enum result queue_add(struct queue *queue, uint64_t message, struct slice hop, int64_t due_at_ms);
/* Lends out the next item; false when none may run now. */
bool queue_next(struct queue *queue, int64_t now_ms, struct queue_job *job);
/* Gives an active item back: done with it, or due again. One that is not active stays as it is. These never fail. */
void queue_finish(struct queue *queue, uint64_t message, struct slice hop);
void queue_defer(struct queue *queue, uint64_t message, struct slice hop, int64_t due_at_ms);
/* Gives back what was interrupted, with the due time it had: it goes on before any other of its kind (large or not) is begun. */
void queue_put_back(struct queue *queue, uint64_t message, struct slice hop);
/* All items of a message: RESULT_OK, RESULT_NOT_FOUND. An active one is held or removed when it is given back by queue_defer or queue_put_back. Release makes
 * held ones due at once. */
MUST_CHECK enum result queue_hold(struct queue *queue, uint64_t message);
MUST_CHECK enum result queue_release(struct queue *queue, uint64_t message, int64_t now_ms);
MUST_CHECK enum result queue_remove(struct queue *queue, uint64_t message);
/* Whether an active item is to be held or removed when it is given back. Who has loaded it before a person wished that asks here in the moment in which it would go, and gives it back instead. */
bool queue_is_withdrawn(const struct queue *queue, uint64_t message, struct slice hop);
/* Makes due at once: a message (0: all), and forgets that its hops were blocked. What is held stays held. */
void queue_flush(struct queue *queue, uint64_t message, int64_t now_ms);
void queue_block_hop(struct queue *queue, struct slice hop, int64_t until_ms);
void queue_unblock_hop(struct queue *queue, struct slice hop);

/* A large message: within its hop, what is due and not large goes first, however long the large one has waited. Nothing changes for an unknown one. */
void queue_set_large(struct queue *queue, uint64_t message, bool is_large);
/* Whether something that is not large waits for that hop and is due, if only there were a slot: reason to pause a large one. */
bool queue_has_small(const struct queue *queue, struct slice hop, int64_t now_ms);

/* The earliest time at which queue_next gives something: not later than now when it would give it at once; INT64_MAX: nothing without another
 * call (all is empty, held, active, or waits for a slot). */
int64_t queue_deadline_ms(const struct queue *queue);
size_t queue_count(const struct queue *queue);
size_t queue_hop_count(const struct queue *queue, struct slice hop);
size_t queue_active(const struct queue *queue);

#endif
