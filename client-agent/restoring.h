/* Fills custody from the disk: what this agent, or an earlier run of it, has handed over and has not heard the end of. Page by page; a page that can't be read is tried again, so that nothing behind it is forgotten.
 *
 * Invariant: what is on the disk and not in custody is yet to be read (restoring_is_owed, or the timer runs), or custody.has_left_out, or nothing was begun since restoring_end. */
#ifndef POSTERN_AGENT_RESTORING_H
#define POSTERN_AGENT_RESTORING_H

#include "custody.h"

#include "store/store.h"

#include <uv.h>

enum { RESTORING_PAGE = 200, RESTORING_RETRY_MS = 2000 };

struct restoring {
    struct store_client *store;
    const struct log *log;
    struct custody *custody;
    void (*on_end)(void *context); /* all is there, or it was stopped; never from inside a call */
    void *context;
    /* Its own: */
    uint64_t after;   /* the last message that the disk told of */
    uint32_t nrows;   /* of the page */
    bool is_reading;
    bool is_again, is_unwanted; /* the page that is being read is not to be taken, and: another reading begins after it */
    uv_timer_t retry; /* active: the page is tried again then */
};

void restoring_open(struct restoring *restoring, uv_loop_t *loop);
/* From the beginning; what is in custody already stays as it is. One that is under way begins anew. */
void restoring_begin(struct restoring *restoring);
/* Custody was cleared, and is to stay so: what is under way adds nothing more. */
void restoring_end(struct restoring *restoring);
/* The store owes an answer. */
bool restoring_is_owed(const struct restoring *restoring);
/* on_closed: of the timer, whose data is the restoring. */
void restoring_stop(struct restoring *restoring, uv_close_cb on_closed);

#endif
