/* The inquiry: asks the relay what became of the messages that it has taken (XOUTCOME, schema/link.md), over the uplink's session when that has nothing better to do, writes down what it answers, and hands over again what it
 * has lost. When it is worth asking is for custody.h to say, what follows from the answers about one message for question.h, of which relay anything is awaited for bond.h.
 *
 *     idle --(inquiry_ask)--> reading what is due --> asked --(the last answer)--> idle, and the outcomes are being written
 *       ^                            |                   |
 *       +--(nothing left to ask)-----+--(session over)---+
 *
 * Invariants: 1 while something is read or asked the session is busy (session.is_asking), and no other command is in its pipeline (what is looked at because nothing is heard of the relay needs none, and is dropped when one begins); 2 a message is forgotten here only after what makes it final is on the disk; 3 with nothing
 * awaited there is no timer; 4 a message is queued again only when the relay itself has said that it does not know it, within its promise, and before anything else is handed over under its name. */
#ifndef POSTERN_AGENT_INQUIRY_H
#define POSTERN_AGENT_INQUIRY_H

#include "bond.h"
#include "custody.h"
#include "naming.h"
#include "session.h"

#include "mta/attempt.h"
#include "queue/queue.h"

struct inquiry_config {
    uv_loop_t *loop;
    struct store_client *store;
    struct session *session;      /* the uplink's; outbound NULL: there is none */
    const struct profile *profile; /* what the relay has promised before we ran; NULL: nothing is known */
    struct attempt_office *office; /* for its wall_lead_ms and keep_copies */
    struct queue *queue;          /* what the relay has lost is due there */
    const struct log *log;
    const struct naming *naming;   /* outlives it; NULL: nothing has a name, nothing is asked */
    void (*on_free)(void *context);     /* the session is free again, custody is bound, something is on the disk: what is next? Never from inside a call */
    void (*on_wake)(void *context);     /* a session is to be looked for */
    void (*on_unscheduled)(void *context); /* the queue had no room in memory for what is due on the disk: it is to be read again. NULL: it is found at the next start */
    void *unscheduled_context;
    void *context;
};

struct inquiry;
struct inquiry *inquiry_new(const struct inquiry_config *config, const struct settings *settings); /* NULL: out of memory */
/* Another relay or user: nothing may be handed over before inquiry_bind has said yes. */
void inquiry_reload(struct inquiry *inquiry, const struct settings *settings);
/* To be asked when no message is under way or being recorded. False: what an earlier relay has is being given up on; on_free follows. */
bool inquiry_bind(struct inquiry *inquiry);
/* Without asking for it to be done. */
bool inquiry_is_bound(const struct inquiry *inquiry);
/* Ends what can be ended; on_free follows, the last time when it is idle. Then free. */
void inquiry_stop(struct inquiry *inquiry);
/* Nothing is owed by the store. */
bool inquiry_is_idle(const struct inquiry *inquiry);
void inquiry_free(struct inquiry **inquiry);

/* Whether it tells what becomes of messages. */
bool inquiry_is_told_by(const struct smtp_peer *peer);
/* Wall time at which a message that the session's relay takes is first asked about; 0: that relay tells nothing. */
int64_t inquiry_first_ms(const struct inquiry *inquiry, const struct profile *profile);
/* An attempt has been recorded. */
void inquiry_took(struct inquiry *inquiry, const struct attempt_end *end);

/* The session is READY and has nothing to send. True: it is used now; the answers' events, or on_free, follow. Of a relay that tells no outcomes (any more) no question is asked, but what is due is looked at: it is given up in time (tracer.h). */
bool inquiry_ask(struct inquiry *inquiry);
/* An OUTCOME. */
void inquiry_event(struct inquiry *inquiry, const struct smtp_client_event *event);
/* The session has ended or was given up. */
void inquiry_session_over(struct inquiry *inquiry);
/* Loop time at which inquiry_ask may have something to ask; INT64_MAX: never. */
int64_t inquiry_deadline_ms(const struct inquiry *inquiry);
/* There is no session: is one wanted? If not, the timer is set for when it will be. */
bool inquiry_wants_session(struct inquiry *inquiry);
/* There was none to be found, or it has served, or failed: it is wanted no more, until somebody's time comes. Not before it has let us in: a session that is refused because the relay has forgotten our token is to be
 * followed by another. */
void inquiry_search_over(struct inquiry *inquiry);

/* No way to the relay was found, or it has not let us in. What it was to be asked about long ago is given up (tracer.h), but not before it was looked for in vain for an hour, without a day's pause (a lid that was closed), or for
 * twice as long as it is waited for. */
void inquiry_not_heard(struct inquiry *inquiry);

/* A person has removed it. */
void inquiry_forget(struct inquiry *inquiry, uint64_t message);
/* A person wants to know: all that is awaited is asked about at the next opportunity, and inquiry_wants_session says yes. */
void inquiry_ask_now(struct inquiry *inquiry);
/* Wall time at which the message is asked about at the latest; 0: it is not known. */
int64_t inquiry_question_at_ms(const struct inquiry *inquiry, uint64_t message);

/* Messages whose fate is awaited; for status. */
size_t inquiry_count(const struct inquiry *inquiry);

#endif
