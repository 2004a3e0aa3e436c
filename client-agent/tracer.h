/* A tracer: the post's word for a question after something handed over. One message that the relay is asked about, transaction by transaction and piece by piece (XOUTCOME, schema/link.md), and what its answers mean for
 * our copy. Pure.
 *
 *     tracer_begin; while (tracer_question) answer it: tracer_answer, or tracer_unknown for 550; tracer_conclude
 *
 * What the relay has lost is queued again at once, the first time. A relay that takes it and within the hour knows nothing of it again waits as long as after so many failures (schedule), and when the message's lifetime is
 * over it gets it no more: else the same octets went round for ever.
 *
 * What nobody tells of is not awaited for ever: of which the relay, in a session, says nothing, or which it can't be asked about any more (it has lost XOUTCOME, or CHECKPOINT, with its last configuration), is given up when the relay
 * would have forgotten its name anyway: by its promise, or, if that isn't known, by the message's own lifetime and two days. Until then the copy stays: it may tell again.
 * Which relay is not heard of at all is waited for longer: as long again as the message's lifetime and two days.
 *
 * The relay's word is taken for what it is about: an address that we did not hand over in that transaction changes nothing, and one that the relay leaves out is asked about again. */
#ifndef POSTERN_AGENT_TRACER_H
#define POSTERN_AGENT_TRACER_H

#include "queue/schedule.h"
#include "smtp/outcome.h"
#include "store/store.h"

struct tracer_recipient;

struct tracer {
    uint64_t message;
    struct arena arena;
    struct tracer_recipient *recipients; /* those that are asked about */
    size_t n;
    int64_t taken_at_ms;                 /* wall time of the latest hand-over */
    int64_t received_at_ms, expires_at_ms; /* the message's, wall time */
    uint32_t transaction, first;         /* the question */
    bool is_over;                        /* all of it is asked */
    size_t cursor, budget;               /* where the next line's address is looked for, and how many may still be compared */
    struct store_outcome *outcomes;
};

struct tracer_rules {
    unsigned unheard;        /* the relay was not reached, or could not say: it is waited for so many times as long as it would be at most; 0: it was */
    bool is_untold;          /* the relay is there, and tells no outcomes: it was not asked */
    int64_t now_ms;          /* wall time */
    int64_t lead_ms;         /* how far the wall clock was set ahead since the hand-over */
    uint64_t promised_s;     /* how long the relay knows a transaction */
    bool can_refill;         /* there is a copy, as far as is known */
    bool is_expired;         /* the message's lifetime is over */
    const struct schedule *schedule; /* for what is lost again and again */
    uint32_t random;         /* for its jitter */
    int64_t ask_at_ms;       /* wall time of the next question */
    bool is_long_wait;       /* worth to be written although nothing is new */
    struct slice relay;      /* who says what the relay says itself */
};

struct tracer_verdict {
    size_t noutcomes;        /* in tracer->outcomes, to be written in one commit */
    bool is_lost;            /* the relay has lost some of it, within its promise: to be queued again */
    int64_t queue_at_ms;     /* is_lost: for when; wall time */
    bool is_final;           /* nothing is asked any more */
};

/* RESULT_OK; RESULT_NOT_FOUND: nothing of it is to be asked; RESULT_MEMORY. Copies. */
MUST_CHECK enum result tracer_begin(struct tracer *tracer, const struct store_listing *listing);
/* False: all is asked. */
bool tracer_question(const struct tracer *tracer, uint32_t *transaction, uint32_t *first);
/* RESULT_OK; RESULT_MEMORY: the answer is not taken, drop the tracer. */
MUST_CHECK enum result tracer_answer(struct tracer *tracer, const struct smtp_outcomes *answer);
/* The transaction is not known there. */
void tracer_unknown(struct tracer *tracer);
/* Wall time of the relay's own next try for any of them, as it told; 0: some are not over, and it did not say. */
int64_t tracer_relay_ms(const struct tracer *tracer);
/* What follows from all the answers. Once more with can_refill false when there was no copy after all. RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result tracer_conclude(struct tracer *tracer, const struct tracer_rules *rules, struct tracer_verdict *out);
void tracer_free(struct tracer *tracer);

#endif
