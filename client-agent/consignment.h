/* The message under way: lent out by the queue, read from the store, carried by a courier over the uplink's session, recorded, and given back. Which session, and when the next message goes, is the
 * uplink's to say.
 *
 *     none --(take)--> loading --(read, a session stands)--> carried --(its courier is done)--> none, and one more is being recorded
 *                         |                                     |
 *                         +--(no session, or not to be read)----+--(drop, pause, withdraw)--> none: it is in the queue as it was
 *
 * Where the relay offers CHECKPOINT each message goes under a name (naming.h), and the relay may be asked how much of it is there before the first octet. That costs a round trip, so it is asked only where it can pay:
 * of what is larger than CONSIGNMENT_ASK_OCTETS and was begun before, in this run or, for all one knows, in an earlier one. All else is sent as a whole, which is taken once too.
 *
 * A relay that breaks off under one message again and again, with nothing more of it there, is not asked again at once for ever: after COURIER_FUTILE_MAX such deaths in a row that message waits by the schedule. A line
 * that dies but brings it on, however little, is not slowed, nor one on which the relay said nothing to it at all: that is the path's trouble, and the search's to wait for.
 *
 * A large message that has had its turn is paused when a small one is due: the relay keeps what it has.
 *
 * Invariants: 1 a message is given back to the queue only after its outcome is recorded, or unsent; 2 each step that ends one tells the uplink, by on_free or on_recorded, or, when it was paused, the session is READY next. */
#ifndef POSTERN_AGENT_CONSIGNMENT_H
#define POSTERN_AGENT_CONSIGNMENT_H

#include "begun.h"
#include "naming.h"
#include "session.h"

#include "mta/attempt.h"
#include "queue/queue.h"

enum {
    CONSIGNMENT_ASK_OCTETS = 16 * 1024,     /* about what goes out in the first round trip anyway (RFC 6928: ten segments) */
    CONSIGNMENT_LARGE_OCTETS = 1024 * 1024, /* more of it holds a thin line (2 Mbit/s) for longer than a person likes to wait: four seconds */
    CONSIGNMENT_TURN_OCTETS = 1024 * 1024,  /* so much, or so long, a large message has of the line before it is paused: it gets on, however many small ones come */
    CONSIGNMENT_TURN_MS = 10 * 1000,
};

/* For queue_set_large. */
static inline bool consignment_is_large(uint64_t size_octets)
{
    return size_octets > CONSIGNMENT_LARGE_OCTETS;
}

struct consignment {
    uv_loop_t *loop;
    struct store_client *store;
    struct queue *queue;
    struct attempt_office *office;
    const struct naming *naming;                                      /* NULL: no transaction has a name */
    uint64_t first_id;                                                /* of this run: what is older may have been begun by an earlier one */
    struct session *session;                                          /* the uplink's; outbound NULL: there is none */
    bool (*may_send)(void *context);                                  /* the message has been read: may it go over the session? */
    void (*on_progress)(void *context, bool is_ours);                 /* the relay holds more of the message than ever before, and keeps it; is_ours: through this very session */
    void (*on_carried)(void *context, const struct courier *courier); /* it is over with the session, its outcome will be recorded */
    void (*on_free)(void *context);                                   /* it could not be sent and is in the queue again */
    void (*on_recorded)(void *context, const struct attempt_end *end); /* an outcome is on the disk, its message given back */
    void *context;
    /* Its own: */
    uint64_t message;             /* 0: none */
    uint64_t size_octets;         /* 0: not read yet */
    struct courier *courier;      /* carried */
    bool is_named, is_pausing;    /* the courier's message */
    bool is_heard, has_grown;     /* the relay has answered to the message in this session; it holds more of it than ever before */
    bool is_dropping;             /* the session is not dead, but given up */
    uint64_t from_octets;         /* where this session began in it */
    int64_t since_ms;             /* when */
    struct begun_table begun;
    bool is_withdrawn;            /* a person has held or removed the message */
    bool is_loading;              /* a job is on its way from the store; it may outlive the session that it was meant for */
    uint32_t nrecording;          /* outcomes on their way to the store */
};

/* The next one that is due. False: none is. */
bool consignment_take(struct consignment *consignment);
/* An event of the session. */
void consignment_event(struct consignment *consignment, const struct outbound_event *event);
/* Whether a courier has it: the session is in the middle of a message. */
bool consignment_is_carried(const struct consignment *consignment);
/* Lets a small message that is due overtake a large one, once that has had its turn. When to look again; INT64_MAX: at the next event. */
int64_t consignment_yield(struct consignment *consignment);
/* The session is given up: what a courier has goes back to the queue as it is; unless its last octet has left: then the relay may have it, and that is recorded (`uncertain`, schema/README.md). The session must be closed. */
void consignment_drop(struct consignment *consignment);
/* Octets that were handed to the session. */
uint64_t consignment_octets(const struct consignment *consignment);
/* Of one under way or begun: octets that are there, as far as is known, and its size. False: nothing is known of it. */
bool consignment_progress(const struct consignment *consignment, uint64_t message, uint64_t *octets, uint64_t *of);
/* A person has removed it. */
void consignment_forget(struct consignment *consignment, uint64_t message);
/* A person has held or removed it, and the queue knows: it is not loaded, or not sent any further, unless its last octet has left. */
void consignment_withdraw(struct consignment *consignment, uint64_t message);
void consignment_free(struct consignment *consignment);
/* Nothing is owed by the store. */
bool consignment_is_idle(const struct consignment *consignment);

#endif
