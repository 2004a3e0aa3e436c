/* The wall clock, and that somebody sets it: what is written in its time must neither end early nor last for ever.
 *
 * While a program runs, the clock that nobody sets tells how far the wall clock was set. Over a restart only the store can tell: mail of which nothing was heard for a day, or that was last heard of in the future
 * (store_clock_mend), counted from when the program was last there: that is written down at the start, at the end, and every WALL_ALIVE_MS in which mail is judged that waits. So time in which the program ran is used up, however often
 * it is started. Both are looked at: at the start, and whenever a step is noticed. What a step of less than that does to mail of an earlier run of the program, nobody can tell from a pause; but in each
 * run mail gets some time to be tried before it expires, until it is twice as old as it may become (attempt_office.started_at_boot_ms). */
#ifndef POSTERN_MTA_WALL_H
#define POSTERN_MTA_WALL_H

#include "store/store.h"

struct wall {
    int64_t started_at_ms, started_at_boot_ms; /* one moment on the wall clock, and on the clock that nobody sets */
    int64_t base_at_ms, base_boot_ms;          /* the same, since the last step that the store mended */
    int64_t turned_by_ms;                      /* that step; 0: none yet */
    int64_t alive_boot_ms;                     /* when it was written down that we are here */
    bool has_awaited;
    bool is_mended; /* the store knows no other time than ours; else it is not written down */
    struct store_client *store;
    const struct log *log;
};

/* At start, before mail is loaded: runs the loop until the store is mended, or has failed to be (also when it can't tell when the program was last there), which is logged: mail goes on without, and what stands there stays. has_awaited: as in store_clock_mend. */
void wall_open(struct wall *wall, uv_loop_t *loop, struct store_client *store, bool has_awaited, const struct log *log);
/* At the end, while the store still takes something: writes down that the program was there until now. */
void wall_close(struct wall *wall);
#define WALL_ALIVE_MS INT64_C(600000)
/* For store_sweep: history is forgotten that ended before. Not early by a clock that was set ahead while we run; and nothing (INT64_MIN) before the run has lasted WALL_GRACE_MS (or so long as history is kept):
 * a clock that was wrong at the start is mostly right by then. */
#define WALL_GRACE_MS INT64_C(3600000)
int64_t wall_history_ms(const struct wall *wall, int64_t history_ms);
/* How far the wall clock was set since the start: ahead, or (less than 0) back. */
int64_t wall_step_ms(const struct wall *wall);
/* How much too old a message seems that was received then. Has the store mended when a step is new, before the outcome for which this is asked is written: in order with it. */
int64_t wall_lead_ms(struct wall *wall, int64_t received_at_ms);

#endif
