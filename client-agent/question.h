/* A question: what the relay is asked about one message, from its row in the store until what follows from the answers is on the disk. What they mean is for tracer.h to say; when it is asked, and of whom, is its owner's to decide.
 *
 *     asked: question_next, question_take --(question_next: false, or the relay tells nothing)--> question_conclude --(on the disk)--> on_settled
 *                                                                                                       ^       |
 *                                                                                                       +-------+--(on_no_copy)
 *
 * Whoever made it owns it: it frees what is not concluded whenever it likes, and what is concluded in on_settled, not before: until then the store holds it. */
#ifndef POSTERN_AGENT_QUESTION_H
#define POSTERN_AGENT_QUESTION_H

#include "base/log.h"
#include "mta/attempt.h"
#include "smtp/reply.h"
#include "store/store.h"

struct question;

/* What became of the message's row. */
struct question_end {
    enum result result; /* the first failure of the store, or memory was out; it may be queued all the same */
    bool is_final;      /* nothing is asked any more */
    bool is_queued;     /* the relay had lost it: it is to be handed over again */
    int64_t due_at_ms;  /* is_queued: for when; wall time */
};

struct question_config {
    struct store_client *store;
    const struct attempt_office *office; /* for its wall_lead_ms, schedule and keep_copies */
    const struct log *log;
    /* Once after question_conclude, perhaps from inside it. To be freed. */
    void (*on_settled)(void *context, struct question *question, const struct question_end *end);
    /* The relay has lost it, and there is no copy here; never from inside question_conclude. True: it was concluded once more, without has_copy. False: it is not to be (we stop), and counts as a failure of the store. */
    bool (*on_no_copy)(void *context, struct question *question);
    void *context;
};

/* What the answers are judged by that is not the message's own. */
struct question_terms {
    bool has_copy;       /* as far as is known */
    struct slice relay;  /* its host; need not outlive the call */
    unsigned unheard;    /* as in tracer.h */
    bool is_untold;      /* it tells no outcomes: nothing was asked */
    uint64_t promised_s; /* how long that relay knows a transaction; 0: it has not said */
    int64_t ask_at_ms;   /* wall time of the next question */
    bool is_long_wait;   /* worth to be written although nothing is new */
};

/* RESULT_OK; RESULT_NOT_FOUND: nothing of it is to be asked; RESULT_MEMORY. The row is copied; the config outlives it. */
MUST_CHECK enum result question_new(const struct question_config *config, const struct store_listing *row, struct question **out);
void question_free(struct question **question);

uint64_t question_message(const struct question *question);
/* Recipients that it is about. */
size_t question_nrecipients(const struct question *question);
/* The next of it to be asked: a transaction, from which recipient on. False: all is asked. */
bool question_next(const struct question *question, uint32_t *transaction, uint32_t *first);
/* The answer; NULL: none came. False: the relay could not say, or memory is out: to be asked another time, in a question of its own. */
bool question_take(struct question *question, const struct smtp_reply *reply);
/* Wall time of the relay's own next try, as it told; 0: it did not, or not of all. */
int64_t question_relay_ms(const struct question *question);
/* All is asked, or nothing can be (is_untold, unheard): writes down what follows. */
void question_conclude(struct question *question, const struct question_terms *terms);

#endif
