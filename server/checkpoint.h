/* A session's transaction that has a name (RFC 1845; schema/link.md, CHECKPOINT), from MAIL to its end.
 *
 *   waiting   another session has the name, and what its client sent is still coming (underway.h)
 *   asking    the store is asked who goes on under the name: its claim answers MAIL
 *   new       250; a transaction as any other, but that it is kept under its name
 *   half      355, or 250 to XWHOLE; the record knows the recipients, the body goes on where it was left
 *   over      355, or 250 to XWHOLE; the record knows the recipients and the reply; the octets that come are dropped
 *   refused   there is no transaction: 554 (the name stands for another one), 451 and 452 (the store can't say now), or what the gate had against the sender (550 5.7.1), whom only a message that is over does not need
 *
 *     waiting --its turn--> asking --> new, half, over or refused        (refused also when the session has gone meanwhile)
 *
 * One function changes it, which traces and allows nothing else.
 *
 * What the session asked of the store may be answered after it has gone; a claim lives on without it. Who waits looks around by a timer. While a body of a name comes, the same timer runs: a second of silence, and what is gathered goes to
 * the disk. */
#ifndef POSTERN_SERVER_CHECKPOINT_H
#define POSTERN_SERVER_CHECKPOINT_H

#include "underway.h"

#include "mta/intake.h"
#include "net/service.h"
#include "served.h"

struct checkpoint;

struct checkpoint_config {
    uv_loop_t *loop;
    struct store_client *store;
    const struct log *log;
    struct underway *underway;
    struct service_session *session;
    struct store_claim claim; /* copied */
    struct smtp_reply refusal; /* what MAIL gets unless the message is over: the sender may have lost his right since it was taken. Code 0: none; copied */
    const struct served *served; /* outlives the store's client */
};

/* What a name stands for, beside the recipients: sender and parameters of MAIL, in an encoding that no two of them share. */
void checkpoint_digest(const struct envelope *envelope, uint64_t size_octets, uint8_t out[static STORE_DIGEST]);

/* At MAIL, which it answers, later. NULL: out of memory, nothing is answered. */
struct checkpoint *checkpoint_new(const struct checkpoint_config *config);
/* At any time. NULL is fine. */
void checkpoint_free(struct checkpoint **checkpoint);

/* The recipients are the record's. NULL is fine: false. */
bool checkpoint_is_known(const struct checkpoint *checkpoint);
/* And this is one of them. */
bool checkpoint_has_recipient(const struct checkpoint *checkpoint, struct slice address);
/* The message is here as a whole: what comes is to be dropped, and the end answered by checkpoint_answer_again. NULL is fine: false. */
bool checkpoint_is_over(const struct checkpoint *checkpoint);
void checkpoint_answer_again(struct checkpoint *checkpoint);

/* A half of which no octet was taken in this session, because the session refuses them: it is dropped. */
void checkpoint_forget(struct checkpoint *checkpoint);

/* At BODY_BEGIN. The envelope: that of this session's MAIL, with the record's recipients where they are known. */
struct envelope checkpoint_envelope(const struct checkpoint *checkpoint, const struct envelope *mail);
/* How the intake knows of the name; naming lives as long as intake_new. `envelope` is that of checkpoint_envelope. */
void checkpoint_name(const struct checkpoint *checkpoint, const struct envelope *envelope, struct store_naming *naming, struct intake_config *intake);
/* A piece of the body has come; the intake lives until checkpoint_free. */
void checkpoint_on_body(struct checkpoint *checkpoint, struct intake *intake);
/* Nothing is read, because the store is behind; and again. */
void checkpoint_pause(struct checkpoint *checkpoint);
void checkpoint_resume(struct checkpoint *checkpoint);

#endif
