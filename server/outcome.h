/* XOUTCOME (schema/link.md): a device asks what became of a message that it handed over by name; the store knows. */
#ifndef POSTERN_SERVER_OUTCOME_H
#define POSTERN_SERVER_OUTCOME_H

#include "net/service.h"
#include "store/store.h"

struct outcome;

enum {
    OUTCOME_TEXT_MAX = 3500, /* octets of a reply's text; a reader of ours keeps SMTP_REPLY_TEXT_MAX */
    OUTCOME_RECIPIENTS = 64, /* asked of the store at once: no more lines fit */
    OUTCOME_LINE = 500,      /* octets of a line, which words are cut to; an address and a host may make it longer, to fewer than OUTCOME_LINE_MAX */
    OUTCOME_LINE_MAX = 2000,
};

/* Answers the session when it is known, and clears *at, which the owner keeps. Nothing of `claim` is used after the call. first: the recipient to begin with, from 0. NULL: out of memory; nothing is answered. */
struct outcome *outcome_new(struct store_client *store, const struct log *log, struct service_session *session, const struct store_claim *claim, uint32_t first,
                            struct outcome **at);
/* The session has gone: the answer, when it comes, is for nobody. */
void outcome_abandon(struct outcome **outcome);

/* The text of the answer 250: n recipients from number `first` on, of `total`, as many as fit; the last line says what is left. RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result outcome_write(const struct store_recipient *recipients, size_t n, uint32_t first, uint32_t total, struct buffer *text);

#endif
