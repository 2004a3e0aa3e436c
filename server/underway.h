/* Which transactions with a name are under way, over all sessions of this relay: so that who goes on with one (checkpoint.h) does not take it away from a session whose last octets are still to be read.
 *
 * A connection that has died is not at its end here: what it brought may lie in its socket, a megabyte of it, while the same client asks in another session, perhaps of another thread, how much has come. Were that
 * claimed first, all of it would have come in vain. So a claim waits for its turn: until each session that has the name has given it up, which it does behind its last octet, or until nothing comes of it any more:
 * it has had nothing to read for UNDERWAY_QUIET_MS, although it might have. A connection that died in silence costs no more than that; no claim waits for longer than UNDERWAY_WAIT_MS.
 *
 *   away --enter--> waiting --may_claim--> held <--hold, moved--> free
 *                                          held, free --may_claim of another--> overtaken: nobody waits for it any more
 *   from each --leave--> away
 *
 * Those who wait for one name claim in the order in which they came. Who waits asks from time to time, by a timer of its own loop; where nobody waits nothing runs.
 *
 * Threads: any. Places belong to their sessions; nothing is allocated after underway_new. The clock is a parameter: monotonic milliseconds, of the machine, not of a loop. */
#ifndef POSTERN_SERVER_UNDERWAY_H
#define POSTERN_SERVER_UNDERWAY_H

#include "base/list.h"
#include "base/slice.h"

#include <stdint.h>

enum {
    UNDERWAY_QUIET_MS = 50,
    UNDERWAY_WAIT_MS = 2000,
    UNDERWAY_LOOK_MS = 5, /* how often who waits is to ask */
};

struct underway;

enum underway_state { UNDERWAY_AWAY, UNDERWAY_WAITING, UNDERWAY_HELD, UNDERWAY_FREE, UNDERWAY_OVERTAKEN };

/* In a session's transaction; {0} is away. Touched by the functions below only. */
struct underway_place {
    struct list_node node;
    enum underway_state state;
    struct slice account, transid;
    int socket;
    bool wants_rest;
    int64_t since_ms; /* waiting: since it came; free: since it last moved */
};

/* NULL: out of memory. */
struct underway *underway_new(void);
/* All are away. NULL is fine. */
void underway_free(struct underway **underway);

/* Of a place that is away: now it waits. account and transid live until it leaves. socket: the session's, looked at, never read; the place leaves, or is held, before it is closed. wants_rest: the claim is for the
 * octets that have come; else it waits for those alone who waited before. */
void underway_enter(struct underway *underway, struct underway_place *place, struct slice account, struct slice transid, int socket, bool wants_rest, int64_t now_ms);
/* True: claim now; the place is held. */
bool underway_may_claim(struct underway *underway, struct underway_place *place, int64_t now_ms);
/* It can read, and has just read. Of one that is away, waits or is overtaken these two do nothing. */
void underway_moved(struct underway *underway, struct underway_place *place, int64_t now_ms);
/* It does not read, by no fault of its client's: the store is asked, or is behind. Until underway_moved. */
void underway_hold(struct underway *underway, struct underway_place *place);
/* In any state. */
void underway_leave(struct underway *underway, struct underway_place *place);

#endif
