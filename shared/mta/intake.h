/* One message on its way in: from a session, or from standard input, through the submission rules into the store.
 *
 *     intake_new at BODY_BEGIN -> intake_feed for each piece -> intake_finish at BODY_END -> on_reply after the commit
 *
 * The header is judged as soon as it is whole, with the program's `judge`; a refusal is remembered, the rest of the body is swallowed (RFC 5321 gives no way to
 * stop a sender in mid-body), and the reply comes at the end. What was refused leaves nothing on disk.
 *
 * A message whose transaction has a name (RFC 1845, schema/link.md) stays on the disk when its session ends in mid-body, and a later session goes on in it: intake_new with what the
 * store's claim found. Its header was judged when it came. What is fed while the store reads the half back is held here.
 *
 * Two parties hear of a commit, because a session may die while it is under way: on_queued, the program's queue, always, because the message exists now whoever listens; and
 * on_reply, the session, unless it has called intake_free in between.
 *
 * Invariants: 1 on_reply gets a positive reply only from inside the store's answer to a commit; 2 after intake_free no callback to the owner comes; 3 on_queued comes exactly for
 * every message that was committed; 4 of messages with one digest, one is taken within retry_window_ms, unless the store has forgotten its digest: which of the octets are the sender's is
 * what was fed, before our Received:, Date: and Message-ID: are added. */
#ifndef POSTERN_MTA_INTAKE_H
#define POSTERN_MTA_INTAKE_H

#include "mail/submission.h"
#include "smtp/reply.h"
#include "store/store.h"

struct intake;

/* A message that is in the store now. Slices are valid during the callback. */
struct intake_queued {
    const struct store_message *message;
    const struct slice *hops; /* of each recipient; NULL: all "" */
    int64_t due_at_ms;
};

struct intake_config {
    struct store_client *store;
    uint64_t id;
    struct slice account;            /* copied */
    const struct envelope *envelope; /* copied; as it stands at BODY_BEGIN. Who is named in it twice gets one copy, unless the transaction has a name */
    const struct submission_config *submission;
    int64_t received_at_ms, expires_at_ms; /* wall time */
    /* The transaction has a name (store/store.h): naming is copied but for reply, which is made here. checkpoint: what a claim found, a half: the message goes on there, under its number in place of
     * id; NULL: from its beginning. */
    const struct store_naming *naming;
    const struct store_checkpoint *checkpoint;
    /* A message that has come before, octet for octet as it was fed, and with the same envelope, at most so many ms ago: it is not taken again, but answered as the first; 0: none is looked for. Not for one
     * with a name. wall_lead_ms: how far the wall clock has been set meanwhile (store_window). */
    int64_t retry_window_ms, wall_lead_ms;
    bool is_dsn;                     /* the message is itself a report: never reported on */

    /* Asked once, when the header is whole, from inside intake_feed or intake_finish. Fills *refusal and returns false to refuse; its text is copied at once. NULL: nobody
     * judges. */
    bool (*judge)(void *owner, const struct submission_facts *facts, const struct envelope *envelope, struct smtp_reply *refusal);
    /* The hop of each recipient goes to hops[i]; slices live as long as the context says. NULL: all "". */
    void (*route)(void *context, const struct envelope *envelope, struct slice *hops);
    void (*on_queued)(void *context, const struct intake_queued *queued);
    /* In its place, for a message that has come before, and stands in the store by that number. NULL where retry_window_ms is 0. */
    void (*on_retry)(void *context, uint64_t earlier);
    void *context; /* of the three above: outlives the commit */

    void (*on_resume)(void *owner); /* a pause is over */
    void (*on_reply)(void *owner, const struct smtp_reply *reply);
    void *owner; /* of judge, on_resume and on_reply */
};

/* NULL: out of memory. */
struct intake *intake_new(const struct intake_config *config);
/* True: stop feeding until on_resume. After a refusal it goes on swallowing and never pauses. */
MUST_CHECK bool intake_feed(struct intake *intake, struct slice octets);
/* The body is whole. on_reply follows, perhaps at once for a refusal. */
void intake_finish(struct intake *intake);
/* What has come so far of a message with a name goes to the disk: the sender is silent. */
void intake_sync(struct intake *intake);
/* Whether it brought a Message-ID: of its own; at BODY_END or later. */
bool intake_has_message_id(const struct intake *intake);
/* The message's number; after a positive reply to one that had come before, that one's. */
uint64_t intake_id(const struct intake *intake);
/* At any time, after on_reply at the latest. A message with a name that is not whole stays on the disk for who comes back for it, unless it was refused for what it is (and not for want of room, memory or disk). Before intake_finish it drops what was
 * gathered of any other; after it the commit takes its course. */
void intake_free(struct intake **intake);
/* The same, but what has come of a message with a name is not kept: the session has refused its body. Before intake_finish. */
void intake_drop(struct intake **intake);

/* What a result of the store means for a sender: 452 4.3.1 for a full disk, 451 4.3.0 for the rest, with its own words where another session has taken the transaction over. Never positive but for RESULT_OK, which has no reply here. */
struct smtp_reply intake_reply_of(enum result result);
/* The reply to a message whose submission refused it; its text lives as long as the submission. */
struct smtp_reply intake_refusal_of(const struct submission *submission);

#endif
