/* What the relay has and may lose: about which messages it is asked, and when. Pure; memory is an id and some times for each message, the store has the rest.
 *
 * A message is asked about FIRST, SECOND and THIRD ms after its hand-over if a session stands then, from there on over any session that exists anyway, the older it is the less often, and at the latest after 10 minutes, an
 * hour, four hours and then every six: for these a session is opened, but not more than one in CUSTODY_SEARCH_EVERY_MS. Nothing awaited: no time comes.
 *
 * A relay that has told when it tries again is asked CUSTODY_GRACE_MS after that, for which a session is opened too: before that there is nothing to hear, and after it what people see is old. Not earlier than that pace allows,
 * nor later than that step.
 *
 * All times are one clock's that only goes forward and counts sleep (boot_now_ms), so that setting the wall clock neither hurries nor starves anything.
 *
 * Invariants: 1 a message is here once; 2 one that custody_next gave is not given again before it was answered, put off, or given back; 3 custody_wake_ms is never before
 * the last search for this relay and a quarter of an hour, whoever wanted it; a person need not wait for that. */
#ifndef POSTERN_AGENT_CUSTODY_H
#define POSTERN_AGENT_CUSTODY_H

#include "base/heap.h"
#include "base/result.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CUSTODY_MAX = 65536, /* messages; further ones are on the disk, and are read when there is room */
    CUSTODY_FIRST_MS = 2 * 1000,
    CUSTODY_SECOND_MS = 10 * 1000,
    CUSTODY_THIRD_MS = 40 * 1000,
    CUSTODY_GRACE_MS = 5 * 1000, /* for the try itself */
    CUSTODY_LONGEST_MS = 6 * 3600 * 1000,
    CUSTODY_SEARCH_EVERY_MS = 15 * 60 * 1000,
};

struct custody_item {
    uint64_t message;
    int64_t taken_ms;         /* its hand-over */
    int64_t may_ms, must_ms;  /* the next question: over a session that exists; a session is opened for it */
    struct heap_node may, must; /* in the heaps, unless it is under way */
    bool is_under_way;
};

/* {0} is an empty one. */
struct custody {
    struct custody_item **items; /* by message */
    size_t count, capacity, nunder_way;
    struct heap may, must;      /* by their next questions: whoever looks for the next time walks through none */
    int64_t search_not_before_ms;
    bool is_searching;          /* a session is being looked for on our behalf */
    bool has_left_out;          /* some did not fit: the disk knows more than this */
};

/* The relay has taken it just now. RESULT_OK; RESULT_LIMIT, RESULT_MEMORY: it is left out, see has_left_out. */
MUST_CHECK enum result custody_take(struct custody *custody, uint64_t message, int64_t now_ms);
/* One that the disk tells of. must_ms: as planned then, on today's clock. One that is here already stays as it is. Results as above. */
MUST_CHECK enum result custody_restore(struct custody *custody, uint64_t message, int64_t taken_ms, int64_t must_ms, int64_t now_ms);
/* One to be asked about now, over a session that exists. False: none. */
bool custody_next(struct custody *custody, int64_t now_ms, uint64_t *message);
/* The next one after *message (0: the first) that was handed over before that and is not under way. It stays as it is. False: none. */
bool custody_next_old(const struct custody *custody, int64_t before_ms, uint64_t *message);
/* The answer has come, and it is not final. relay_ms: when the relay tries again; 0, or one that has passed: it has not said. *in_ms: the next question comes in so long at the latest. True: that is a long wait, worth to be
 * written down. */
bool custody_answered(struct custody *custody, uint64_t message, int64_t now_ms, int64_t relay_ms, int64_t *in_ms);
/* The relay, or our disk, could not say at present. */
void custody_put_off(struct custody *custody, uint64_t message, int64_t now_ms);
/* It is final, removed, or queued again. One that is not here is none. */
void custody_forget(struct custody *custody, uint64_t message);
/* The session is gone: what is under way was not asked. */
void custody_give_back(struct custody *custody);
/* The relay's database is another one: everything is asked about, at once. */
void custody_doubt_all(struct custody *custody, int64_t now_ms);
/* A person wants to know: likewise, and a session is to be looked for. False: nothing is awaited. */
bool custody_ask_now(struct custody *custody, int64_t now_ms);
/* When it is asked about at the latest; 0: it is not here, or being asked about. */
int64_t custody_ask_ms(const struct custody *custody, uint64_t message);
/* Another relay: nothing is awaited of this one. */
void custody_clear(struct custody *custody);

/* When custody_next gives something; INT64_MAX: never, without another call. */
int64_t custody_may_ms(const struct custody *custody);
/* When custody_wants_session becomes true; INT64_MAX likewise. */
int64_t custody_wake_ms(const struct custody *custody);
/* To be asked while there is no session. True: one is to be looked for; it stays so until custody_search_over, or until nothing is awaited. */
bool custody_wants_session(struct custody *custody, int64_t now_ms);
void custody_search_over(struct custody *custody);
void custody_free(struct custody *custody);

#endif
