/* What the runners of client transcripts share: events in the words of tests/transcript/README.md, transactions out of acts, a core's configuration out
 * of options. */
#ifndef POSTERN_TESTS_SUPPORT_TRANSCRIPT_CLIENT_H
#define POSTERN_TESTS_SUPPORT_TRANSCRIPT_CLIENT_H

#include "smtp/client.h"
#include "support/transcript.h"

enum { TRANSCRIPT_RECIPIENTS_MAX = 64 };

/* An envelope whose text lies in the transcript; it outlives the transaction. */
struct transcript_sending {
    struct envelope envelope;
    struct envelope_recipient recipients[TRANSCRIPT_RECIPIENTS_MAX];
};

/* Appends "NAME words". */
void transcript_say_client_event(const struct smtp_client_event *event, struct buffer *out);
/* The words behind "send". False: *strange is none of them. */
bool transcript_parse_send(struct slice words, struct transcript_sending *sending, struct smtp_transaction *out, struct slice *strange);
/* The words behind "outcomes": "<transid>" or "<transid>:first". Returns how many. */
size_t transcript_parse_outcomes(struct slice words, struct smtp_outcome_question *questions, size_t max);
struct smtp_client_config transcript_client_config(const struct transcript_dialogue *dialogue);

#endif
