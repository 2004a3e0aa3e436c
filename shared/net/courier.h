/* A courier carries one message over one SMTP session that is READY, and says what became of each recipient. The relay's deliveries and the agent's uplink are
 * made of it.
 *
 * The owner of the outbound session hands every event of it to courier_event while a courier is on the way. on_done comes once, from inside
 * courier_event or from a store callback, when every recipient has its result; the owner then reads courier_result and calls courier_free.
 * Body pieces are read from the store one ahead of the session's wish, so that memory stays at two chunks. */
#ifndef POSTERN_NET_COURIER_H
#define POSTERN_NET_COURIER_H

#include "net/outbound.h"
#include "queue/outcome.h"
#include "store/store.h"

struct courier;

/* What a local result is about that is no lost connection. */
enum courier_trouble {
    COURIER_LOST,     /* it is one, or there was none to lose */
    COURIER_UNREAD,   /* our store could not read the body now; it may later */
    COURIER_DAMAGED,  /* what our store holds of the body is not what was put there: a person's to look at, nobody else's fault */
    COURIER_PROTOCOL, /* the peer said what it may not: another connection hears the same */
};

enum { COURIER_FUTILE_MAX = 3 }; /* courier_set_futile */

struct courier_result {
    uint32_t seq; /* as in the store */
    enum attempt_result result;
    struct slice reply; /* "550 5.1.1 no such user": the peer's, or ours */
    bool is_local;      /* ours */
    enum courier_trouble trouble;
    uint32_t nfutile;   /* courier_set_futile */
    bool is_named;      /* the peer was told a name: what is uncertain is told again under it, and not doubled */
    bool needs_new_name; /* its next attempt goes in another transaction: this one is over without it (schema/link.md, CHECKPOINT), or its name is another's. Never without a name */
};

/* A transaction's name, and whether the peer may hold some of it already (smtp/client.h). */
struct courier_naming {
    struct slice transid; /* copied */
    bool asks_first;
};

/* naming NULL: the transaction has no name. Starts at once; outbound is READY, job is taken over (and freed by courier_free). NULL: out of memory, job freed. Outside of the session's handler, outbound_pump
 * is to be called after it. */
struct courier *courier_start(struct store_client *store, struct outbound *outbound, struct store_job *job, const struct courier_naming *naming,
                              void (*on_done)(void *context, struct courier *courier), void *context);
void courier_event(struct courier *courier, const struct outbound_event *event);
/* May come before on_done (shutting down): then no on_done comes, and the session must be closed by the owner. A chunk that is just being read is let go of with its
 * answer: close the store's client after that (answers of one kind come in order). */
void courier_free(struct courier **courier);

/* A person has held or removed the message: it is paused, or else the session ends in the middle of it (smtp_client_withdraw) without anything being the relay's or the line's fault; unless its last octet has left.
 * outbound_pump is to be called after it. on_done comes as ever. */
void courier_withdraw(struct courier *courier);

const struct store_job *courier_job(const struct courier *courier);
const struct courier_result *courier_results(const struct courier *courier); /* job->nrecipients of them */
/* Paused (smtp_client_pause) or withdrawn: nobody has a result, whatever was told before, and the message is to be given back as it was. The session is READY for another one, unless courier_is_session_over. */
bool courier_is_paused(const struct courier *courier);
/* True when the session has ended or must not carry another message. */
bool courier_is_session_over(const struct courier *courier);
/* From inside on_done: its session's death is the nth in a row under this message that left nothing more of it at the peer (who calls counts). From COURIER_FUTILE_MAX on the words say so, and the queue's
 * schedule is to say when it goes again, whatever a lost connection is otherwise (mta/attempt.h). */
void courier_set_futile(struct courier *courier, uint32_t nth);
/* How far in the message's body the session is: what was handed to it, and what the peer had before (RESUMED). */
uint64_t courier_octets(const struct courier *courier);

#endif
