#include "outcome.h"

#include <stdlib.h>

struct outcome {
    struct service_session *session; /* NULL: it has gone */
    const struct log *log;
    struct outcome **at;
    uint32_t first;
};

static struct smtp_reply refusal_of(enum result result)
{
    if (result == RESULT_NOT_FOUND)
        return SMTP_REPLY(550, 5, 5, 4, "No transaction of this name was taken from you here");
    if (result == RESULT_MEMORY || result == RESULT_FULL)
        return SMTP_REPLY(452, 4, 3, 1, "Out of memory for now; please ask again in a moment");
    return SMTP_REPLY(451, 4, 3, 0, "What became of it could not be looked up; please ask again later");
}

static void on_found(void *context, enum result result, const struct store_recipient *recipients, size_t n, uint32_t total)
{
    struct outcome *outcome = context;
    struct service_session *session = outcome->session;
    struct buffer text = {0};
    if (session) {
        *outcome->at = NULL;
        if (result != RESULT_OK && result != RESULT_NOT_FOUND)
            log_event(outcome->log, LOG_WARNING, "outcome-unknown", LOG_TEXT("session", service_id(session)), LOG_TEXT("reason", result_name(result)));
        if (result == RESULT_OK)
            result = outcome_write(recipients, n, outcome->first, total, &text);
        struct smtp_reply reply = result == RESULT_OK ? (struct smtp_reply){250, {2, 0, 0}, buffer_slice(&text)} : refusal_of(result);
        service_answer(session, &reply);
    }
    buffer_free(&text);
    free(outcome);
}

struct outcome *outcome_new(struct store_client *store, const struct log *log, struct service_session *session, const struct store_claim *claim, uint32_t first,
                            struct outcome **at)
{
    struct outcome *outcome = malloc(sizeof *outcome);
    if (!outcome)
        return NULL;
    *outcome = (struct outcome){.session = session, .log = log, .at = at, .first = first};
    store_checkpoint_outcome(store, claim, first, OUTCOME_RECIPIENTS, on_found, outcome);
    return outcome;
}

void outcome_abandon(struct outcome **outcome)
{
    if (*outcome)
        (*outcome)->session = NULL;
    *outcome = NULL;
}
