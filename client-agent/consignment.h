/* The message under way: lent out by the queue, read from the store, carried by a courier over the uplink's session, recorded, and given back. Which session, and when the next message goes, is the
 * uplink's to say.
 *
 *     none --(take)--> loading --(read, a session stands)--> carried --(its courier is done)--> none, and one more is being recorded
 *                         |                                     |
 *                         +--(no session, or not to be read)----+--(drop)--> none: it is in the queue as it was
 *
 * Invariants: 1 a message is given back to the queue only after its outcome is recorded, or unsent; 2 each step that ends one tells the uplink, by on_free or on_recorded. */
#ifndef POSTERN_AGENT_CONSIGNMENT_H
#define POSTERN_AGENT_CONSIGNMENT_H

#include "session.h"

#include "mta/attempt.h"
#include "queue/queue.h"

struct consignment {
    uv_loop_t *loop;
    struct store_client *store;
    struct queue *queue;
    struct attempt_office *office;
    struct session *session;                                          /* the uplink's; outbound NULL: there is none */
    bool (*may_send)(void *context);                                  /* the message has been read: may it go over the session? */
    void (*on_carried)(void *context, const struct courier *courier); /* it is over with the session, its outcome will be recorded */
    void (*on_free)(void *context);                                   /* it could not be sent and is in the queue again */
    void (*on_recorded)(void *context);                               /* an outcome is on the disk, its message given back */
    void *context;
    /* Its own: */
    uint64_t message;             /* 0: none */
    uint64_t size_octets;         /* 0: not read yet */
    struct courier *courier;      /* carried */
    bool is_loading;              /* a job is on its way from the store; it may outlive the session that it was meant for */
    uint32_t nrecording;          /* outcomes on their way to the store */
};

/* The next one that is due. False: none is. */
bool consignment_take(struct consignment *consignment);
/* An event of the session. */
void consignment_event(struct consignment *consignment, const struct outbound_event *event);
/* Whether a courier has it: the session is in the middle of a message. */
bool consignment_is_carried(const struct consignment *consignment);
/* The session is given up: what a courier has goes back to the queue as it is. The session must be closed. */
void consignment_drop(struct consignment *consignment);
/* Octets that were handed to the session. */
uint64_t consignment_octets(const struct consignment *consignment);
/* Nothing is owed by the store. */
bool consignment_is_idle(const struct consignment *consignment);

#endif
