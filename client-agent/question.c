#include "question.h"

#include "tracer.h"

#include "crypto/crypto.h"
#include "mail/message_id.h"

#include <assert.h>
#include <stdlib.h>

struct question {
    const struct question_config *config;
    struct tracer tracer;
    struct tracer_verdict verdict;
    bool is_queued;     /* on the disk, again */
    bool had_no_copy;   /* it could not be: there is no copy, or no message any more */
    bool is_gone;       /* a person has removed it meanwhile */
    enum result result; /* the first failure of the store */
    unsigned nowed;
};

enum result question_new(const struct question_config *config, const struct store_listing *row, struct question **out)
{
    struct question *question = calloc(1, sizeof *question);
    enum result result = question ? tracer_begin(&question->tracer, row) : RESULT_MEMORY;
    if (result != RESULT_OK) {
        free(question);
        return result;
    }
    question->config = config;
    *out = question;
    return RESULT_OK;
}

void question_free(struct question **question)
{
    struct question *q = *question;
    *question = NULL;
    if (!q)
        return;
    tracer_free(&q->tracer);
    free(q);
}

static void log_message(const struct question *question, enum log_level level, const char *event, const char *why)
{
    char id[MESSAGE_ID_TEXT];
    message_id_format(question->tracer.message, id);
    log_event(question->config->log, level, event, LOG_TEXT("item", id), LOG_TEXT("why", why));
}

/* ---- asked ------------------------------------------------------------------------------------------------------ */

uint64_t question_message(const struct question *question)
{
    return question->tracer.message;
}

size_t question_nrecipients(const struct question *question)
{
    return question->tracer.n;
}

bool question_next(const struct question *question, uint32_t *transaction, uint32_t *first)
{
    return tracer_question(&question->tracer, transaction, first);
}

static bool take_outcomes(struct tracer *tracer, struct slice text)
{
    struct arena arena = ARENA(0);
    struct smtp_outcomes answer;
    bool is_taken = smtp_outcomes_parse(text, &arena, &answer) == RESULT_OK && tracer_answer(tracer, &answer) == RESULT_OK;
    arena_free(&arena);
    return is_taken;
}

bool question_take(struct question *question, const struct smtp_reply *reply)
{
    if (reply && reply->code == 550) {
        tracer_unknown(&question->tracer);
        return true;
    }
    if (reply && reply->code == 250 && take_outcomes(&question->tracer, reply->text))
        return true;
    log_message(question, LOG_INFO, "outcome-not-told", reply ? "the relay can't say now" : "no answer");
    return false;
}

int64_t question_relay_ms(const struct question *question)
{
    return tracer_relay_ms(&question->tracer);
}

/* ---- written down ----------------------------------------------------------------------------------------------- */

/* All that the store owed has come. */
static void settle(struct question *question)
{
    const struct question_end end = {
        .result = question->result,
        .is_final = question->verdict.is_final,
        .is_queued = question->is_queued,
        .due_at_ms = question->verdict.queue_at_ms,
    };
    if (question->result != RESULT_OK)
        log_message(question, LOG_ERROR, "outcome-not-recorded", result_name(question->result));
    if (question->is_queued)
        log_message(question, LOG_WARNING, "relay-lost", "the relay knows nothing of it: handed over again");
    else if (question->had_no_copy && !question->is_gone)
        log_message(question, LOG_WARNING, "relay-lost", "the relay knows nothing of it, and there is no copy here");
    question->config->on_settled(question->config->context, question, &end);
}

static void note_failure(struct question *question, enum result result)
{
    if (result != RESULT_OK && question->result == RESULT_OK)
        question->result = result;
}

static void owe_less(struct question *question)
{
    if (--question->nowed == 0)
        settle(question);
}

static void on_written(void *context, enum result result)
{
    struct question *question = context;
    /* Removed by a person meanwhile: there is nothing left to record. */
    if (result == RESULT_NOT_FOUND)
        question->is_gone = true;
    else
        note_failure(question, result);
    owe_less(question);
}

static void on_requeued(void *context, enum result result)
{
    struct question *question = context;
    bool lacks_copy = result == RESULT_NOT_FOUND && !question->had_no_copy;
    assert(!lacks_copy || question->nowed == 1); /* the last answer: see write_down */
    if (lacks_copy && question->config->on_no_copy(question->config->context, question))
        return;
    question->is_queued = result == RESULT_OK;
    note_failure(question, result);
    owe_less(question);
}

/* Outcomes first: an agent that dies in between asks again about what was lost, and finds it lost. The copy that is to be handed over stays until then, whatever is wished of copies now. */
static void write_down(struct question *question)
{
    const struct question_config *config = question->config;
    const uint64_t message = question->tracer.message;
    if (question->verdict.noutcomes > 0) {
        bool keeps = config->office->keep_copies || question->verdict.is_lost;
        question->nowed++;
        store_attempt_finish(config->store, message, question->tracer.outcomes, question->verdict.noutcomes, wall_now_ms(), NULL, keeps, on_written, question);
    }
    /* Behind it: what the store has looked at is answered in the order of the requests, so when it finds no copy, that is the last answer. */
    if (question->verdict.is_lost) {
        question->nowed++;
        store_message_requeue(config->store, message, question->verdict.queue_at_ms, on_requeued, question);
    }
}

static void log_outcomes(const struct question *question)
{
    char id[MESSAGE_ID_TEXT];
    message_id_format(question->tracer.message, id);
    for (size_t i = 0; i < question->verdict.noutcomes; i++) {
        const struct store_outcome *outcome = &question->tracer.outcomes[i];
        log_event(question->config->log, LOG_INFO, "outcome", LOG_TEXT("item", id), LOG_INT("recipient", outcome->seq), LOG_TEXT("status", store_state_name(outcome->state)),
                  LOG_STR("host", outcome->host), LOG_STR("reason", outcome->reply));
    }
}

static int64_t lead_of(const struct attempt_office *office, int64_t at_ms)
{
    return office->wall_lead_ms ? office->wall_lead_ms(office->context, at_ms) : 0;
}

void question_conclude(struct question *question, const struct question_terms *terms)
{
    const struct attempt_office *office = question->config->office;
    const struct tracer *tracer = &question->tracer;
    const struct tracer_rules rules = {
        .now_ms = wall_now_ms(),
        .lead_ms = lead_of(office, tracer->taken_at_ms),
        .unheard = terms->unheard,
        .is_untold = terms->is_untold,
        .promised_s = terms->promised_s,
        .can_refill = terms->has_copy,
        .is_expired = wall_now_ms() - lead_of(office, tracer->received_at_ms) >= tracer->expires_at_ms,
        .schedule = &office->schedule,
        .random = crypto_random_u32(),
        .ask_at_ms = terms->ask_at_ms,
        .is_long_wait = terms->is_long_wait,
        .relay = terms->relay,
    };
    question->had_no_copy = !terms->has_copy;
    question->nowed = 1;
    if (tracer_conclude(&question->tracer, &rules, &question->verdict) == RESULT_OK) {
        log_outcomes(question);
        write_down(question);
    } else {
        question->result = RESULT_MEMORY;
    }
    owe_less(question);
}
