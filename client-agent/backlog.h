/* From the disk to the queue in memory: all that is not finished, at the start, and again whenever the queue had no room in memory for something. What got a 250 must not wait for the next start.
 *
 * Invariant: what is due on the disk is in the queue, or it is being read (backlog_is_owed), or the timer runs after which it is read, or backlog_stop was called. */
#ifndef POSTERN_AGENT_BACKLOG_H
#define POSTERN_AGENT_BACKLOG_H

#include "queue/queue.h"
#include "queue/schedule.h"
#include "store/store.h"

#include <uv.h>

enum { BACKLOG_RETRY_MS = 2000 };

struct backlog {
    uv_loop_t *loop;
    struct store_client *store;
    struct queue *queue;
    const struct schedule *schedule;
    const struct log *log;
    void (*on_read)(void *context, enum result result); /* RESULT_OK: what there is is in the queue; else it is read again soon. Never from inside a call */
    void *context;
    /* Its own: */
    bool is_open, is_reading, is_stopped;
    bool has_left_out; /* while something was being read */
    enum result result; /* of the reading */
    uv_timer_t retry;
};

void backlog_open(struct backlog *backlog);
void backlog_read(struct backlog *backlog);
/* Something on the disk has found no room in the queue. */
void backlog_read_later(struct backlog *backlog);
/* A message that is on the disk; due_at_ms: wall time. */
void backlog_add(struct backlog *backlog, uint64_t message, uint64_t size_octets, int64_t due_at_ms);
/* Of one that was not opened, too. on_read comes no more; what the store still owes it is for the store's client to wait for. */
void backlog_stop(struct backlog *backlog);
/* The store owes an answer. */
bool backlog_is_owed(const struct backlog *backlog);

#endif
