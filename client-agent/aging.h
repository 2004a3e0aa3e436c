/* What waits while no way is open: the oldest messages may have waited for their whole lifetime, and become bounces; or for so long that their senders are told of the delay.
 *
 * One pass looks at the unfinished messages of the store from the oldest on, up to the first that is too young for either, and records what is due for each. It lends nothing from the
 * queue: while it runs, nothing may be sent. */
#ifndef POSTERN_AGENT_AGING_H
#define POSTERN_AGENT_AGING_H

#include "begun.h"

#include "mta/attempt.h"
#include "queue/queue.h"

enum { AGING_PAGE = 50 };

struct aging {
    struct store_client *store;
    struct queue *queue;
    struct attempt_office *office;
    struct begun_table *begun;     /* what has ended is forgotten in it */
    const char *words;             /* why no mail goes; read when a message is told of it; "": no way was open */
    void (*on_end)(void *context); /* a pass is over; never from inside aging_check */
    void *context;
    /* its own: */
    bool is_running, is_stopping, is_over;
    uint64_t after, due;           /* the last message looked at; the one to be recorded */
    uint32_t nrows;
};

/* Begins a pass, unless one runs. */
void aging_check(struct aging *aging);
/* The pass that runs ends after what the store is just asked for; on_end comes as ever. */
void aging_stop(struct aging *aging);

#endif
