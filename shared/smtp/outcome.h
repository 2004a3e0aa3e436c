/* The text of a reply to XOUTCOME as values (schema/link.md): what became of each recipient of a transaction at the relay.
 *
 * The relay is asked in pieces: one reply holds the recipients from `first` on, and says whether the next question is for more. Nothing of it is believed that does not add up; so who asks for `next`
 * until it is 0 comes to an end, for `next` grows each time. */
#ifndef POSTERN_SMTP_OUTCOME_H
#define POSTERN_SMTP_OUTCOME_H

#include "base/arena.h"

enum {
    SMTP_OUTCOME_ADDRESS_MAX = 512, /* octets, out of xtext */
    SMTP_OUTCOME_HOST_MAX = 512,    /* likewise */
};

enum smtp_outcome_state {
    SMTP_OUTCOME_QUEUED,
    SMTP_OUTCOME_HELD,
    SMTP_OUTCOME_UNCERTAIN,
    SMTP_OUTCOME_DELIVERED,
    SMTP_OUTCOME_BOUNCED,
};

struct smtp_outcome {
    enum smtp_outcome_state state;
    int64_t at_s, next_s; /* last and next attempt, seconds since 1970; 0: never */
    struct slice address; /* not empty; this and host: UTF-8 without controls */
    struct slice host;    /* empty: the relay itself */
    struct slice words;   /* the last reply, perhaps cut, perhaps empty */
};

struct smtp_outcomes {
    uint32_t total; /* recipients of the transaction; 0: it was removed there */
    uint32_t first; /* place of the first one here, in the order of RCPT */
    uint32_t next;  /* the next question's `first`; 0: this is the end */
    size_t n;
    struct smtp_outcome *outcomes; /* in the arena */
};

/* text: of a 250 to XOUTCOME, lines separated by "\n", as smtp/reply.h gives it. Decoded text goes to the arena, words point into text. RESULT_OK, RESULT_SYNTAX, RESULT_MEMORY. */
MUST_CHECK enum result smtp_outcomes_parse(struct slice text, struct arena *arena, struct smtp_outcomes *out);

#endif
