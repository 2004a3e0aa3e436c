/* How our own sendmail hands a message over: to the running agent, by SMTP on its local listener with the token as password; or, when none runs, straight into the
 * store, where the agent finds it at its next start. Either way success means that the message is durable.
 *
 * The store has one owner at a time. Who finds neither an agent that takes the message nor the store free (an agent that just starts or stops, another sendmail) tries
 * again, for HANDOFF_PATIENCE_MS: cron and its like do not. */
#ifndef POSTERN_AGENT_HANDOFF_H
#define POSTERN_AGENT_HANDOFF_H

#include "settings.h"

#include "mail/envelope.h"
#include "smtp/reply.h"

#include <stdio.h>

enum { HANDOFF_WORDS = 512, HANDOFF_PATIENCE_MS = 15 * 1000, HANDOFF_LOOK_MS = 50 };

struct handoff_message {
    const struct envelope *envelope;
    FILE *body;          /* lines end in CRLF; read from its start */
    uint64_t size_octets;
    bool has_8bit, needs_smtputf8;
};

struct handoff_answer {
    int exit_code;               /* EX_OK, EX_TEMPFAIL, EX_NOUSER, EX_UNAVAILABLE, EX_CONFIG ... */
    struct smtp_reply reply;     /* for who speaks SMTP to us; its text points at words */
    char words[HANDOFF_WORDS];   /* what the agent or the store said */
};

/* Waits until it is decided; answer says so in every case. */
void handoff(const struct dirs *dirs, const struct settings *settings, const struct handoff_message *message, struct handoff_answer *answer);

#endif
