#include "tracer.h"

#include "mail/date.h"
#include "mta/queue_commands.h"

enum { TRACER_ARENA_MAX = 128 * 1024 * 1024, COMPARED_BASE = 100000, COMPARED_EACH = 64, WORDS_MAX = 600, HOST_MAX = 255, PLACES_MAX = 200000, HOUR_MS = 3600 * 1000 };
#define DAY_MS (24 * (int64_t)HOUR_MS)
#define PROMISE_MOST_MS (10 * 365 * DAY_MS)

enum fate {
    FATE_UNSAID,  /* no answer named it */
    FATE_SAID,    /* `said` tells */
    FATE_REMOVED, /* the relay's keeper has removed the message */
    FATE_UNKNOWN, /* the relay knows nothing of the transaction */
};

struct tracer_recipient {
    uint32_t seq, transaction, attempts;
    int64_t at_ms; /* its hand-over */
    struct slice address, reply, host;
    enum fate fate;
    struct smtp_outcome said; /* its slices are the arena's */
};

/* ---- beginning -------------------------------------------------------------------------------------------------- */

static bool is_awaited(const struct store_recipient *r)
{
    return r->state == STORE_RELAYED && r->next_attempt_ms > 0;
}

static enum result copy_recipient(struct tracer *tracer, const struct store_recipient *r)
{
    struct tracer_recipient *out = &tracer->recipients[tracer->n++];
    *out = (struct tracer_recipient){.seq = r->seq, .transaction = r->transaction, .attempts = r->attempts, .at_ms = r->at_ms};
    if (r->at_ms > tracer->taken_at_ms)
        tracer->taken_at_ms = r->at_ms;
    enum result result = arena_copy(&tracer->arena, r->envelope.address, &out->address);
    if (result == RESULT_OK)
        result = arena_copy(&tracer->arena, r->reply, &out->reply);
    return result == RESULT_OK ? arena_copy(&tracer->arena, r->host, &out->host) : result;
}

/* The lowest transaction that comes after `after`, or the lowest of all. */
static void choose_transaction(struct tracer *tracer, bool has_after, uint32_t after)
{
    tracer->is_over = true;
    tracer->first = 0;
    tracer->cursor = 0;
    for (size_t i = 0; i < tracer->n; i++) {
        uint32_t transaction = tracer->recipients[i].transaction;
        if (has_after && transaction <= after)
            continue;
        if (tracer->is_over || transaction < tracer->transaction)
            tracer->transaction = transaction;
        tracer->is_over = false;
    }
}

enum result tracer_begin(struct tracer *tracer, const struct store_listing *listing)
{
    size_t n = 0;
    enum result result = RESULT_OK;
    for (size_t i = 0; i < listing->nrecipients; i++)
        n += is_awaited(&listing->recipients[i]);
    *tracer = (struct tracer){.message = listing->message.id, .received_at_ms = listing->message.received_at_ms, .expires_at_ms = listing->message.expires_at_ms, .arena = ARENA(TRACER_ARENA_MAX), .budget = COMPARED_BASE + COMPARED_EACH * n};
    if (n == 0)
        return RESULT_NOT_FOUND;
    tracer->recipients = arena_alloc(&tracer->arena, n * sizeof *tracer->recipients);
    tracer->outcomes = arena_alloc(&tracer->arena, n * sizeof *tracer->outcomes);
    if (!tracer->recipients || !tracer->outcomes)
        result = RESULT_MEMORY;
    for (size_t i = 0; i < listing->nrecipients && result == RESULT_OK; i++)
        if (is_awaited(&listing->recipients[i]))
            result = copy_recipient(tracer, &listing->recipients[i]);
    if (result != RESULT_OK)
        tracer_free(tracer);
    else
        choose_transaction(tracer, false, 0);
    return result;
}

void tracer_free(struct tracer *tracer)
{
    arena_free(&tracer->arena);
    tracer->n = 0;
}

/* ---- questions and answers -------------------------------------------------------------------------------------- */

bool tracer_question(const struct tracer *tracer, uint32_t *transaction, uint32_t *first)
{
    *transaction = tracer->transaction;
    *first = tracer->first;
    return !tracer->is_over;
}

/* The lines stand in the order of RCPT, and ours do too: as a rule the next one is it. */
static struct tracer_recipient *find(struct tracer *tracer, struct slice address, enum fate fate)
{
    for (size_t i = 0; i < tracer->n && tracer->budget > 0; i++) {
        size_t place = (tracer->cursor + i) % tracer->n;
        struct tracer_recipient *r = &tracer->recipients[place];
        tracer->budget--;
        if (r->transaction != tracer->transaction || r->fate != fate || !slice_equal(r->address, address))
            continue;
        tracer->cursor = place + 1;
        return r;
    }
    return NULL;
}

static enum result take_line(struct tracer *tracer, const struct smtp_outcome *line)
{
    struct tracer_recipient *r = find(tracer, line->address, FATE_UNSAID);
    if (!r)
        return RESULT_OK;
    r->said = *line;
    r->said.address = r->address;
    enum result result = arena_copy(&tracer->arena, slice_take(line->words, WORDS_MAX), &r->said.words);
    if (result == RESULT_OK)
        result = arena_copy(&tracer->arena, slice_take(line->host, HOST_MAX), &r->said.host);
    if (result == RESULT_OK)
        r->fate = FATE_SAID;
    return result;
}

static void set_all(struct tracer *tracer, enum fate fate)
{
    for (size_t i = 0; i < tracer->n; i++)
        if (tracer->recipients[i].transaction == tracer->transaction)
            tracer->recipients[i].fate = fate;
}

/* Several recipients with one address were one to the relay: what it says goes for all. */
static void share_answers(struct tracer *tracer)
{
    for (size_t i = 0; i < tracer->n && tracer->budget > 0; i++) {
        struct tracer_recipient *r = &tracer->recipients[i];
        if (r->transaction != tracer->transaction || r->fate != FATE_UNSAID)
            continue;
        const struct tracer_recipient *twin = find(tracer, r->address, FATE_SAID);
        if (!twin)
            continue;
        r->said = twin->said;
        r->fate = FATE_SAID;
    }
}

enum result tracer_answer(struct tracer *tracer, const struct smtp_outcomes *answer)
{
    enum result result = RESULT_OK;
    if (answer->total == 0)
        set_all(tracer, FATE_REMOVED);
    for (size_t i = 0; i < answer->n && result == RESULT_OK; i++)
        result = take_line(tracer, &answer->outcomes[i]);
    if (result != RESULT_OK)
        return result;
    /* A relay that goes on beyond what it was given is not listened to for ever. */
    bool goes_on = answer->next > tracer->first && answer->next <= PLACES_MAX && tracer->budget > 0;
    tracer->first = answer->next;
    if (goes_on)
        return RESULT_OK;
    share_answers(tracer);
    choose_transaction(tracer, true, tracer->transaction);
    return RESULT_OK;
}

void tracer_unknown(struct tracer *tracer)
{
    set_all(tracer, FATE_UNKNOWN);
    choose_transaction(tracer, true, tracer->transaction);
}

/* ---- what follows ----------------------------------------------------------------------------------------------- */

static int64_t promised_ms(const struct tracer_rules *rules)
{
    return rules->promised_s < (uint64_t)(INT64_MAX / 1000) ? (int64_t)rules->promised_s * 1000 : INT64_MAX;
}

/* Of a clock that was set far since, nobody can tell how long ago it was: then the relay may have forgotten what it has delivered, and to hand it over again would double it. */
static bool is_promised(const struct tracer_recipient *r, const struct tracer_rules *rules)
{
    int64_t age_ms = rules->now_ms - rules->lead_ms - r->at_ms;
    return r->at_ms > 0 && age_ms >= -HOUR_MS && age_ms <= promised_ms(rules) - HOUR_MS;
}

/* It was tried more than once, and the relay has not kept it for an hour. */
static bool is_lost_again(const struct tracer_recipient *r, const struct tracer_rules *rules)
{
    return r->attempts > 1 && rules->now_ms - rules->lead_ms - r->at_ms < HOUR_MS;
}

static bool is_given_up(const struct tracer_recipient *r, const struct tracer_rules *rules)
{
    return is_lost_again(r, rules) && rules->is_expired;
}

static void queue_again(const struct tracer_recipient *r, const struct tracer_rules *rules, struct tracer_verdict *out)
{
    int64_t at_ms = rules->now_ms + (is_lost_again(r, rules) ? schedule_delay_ms(rules->schedule, r->attempts - 1, rules->random) : 0);
    out->queue_at_ms = out->is_lost && out->queue_at_ms > at_ms ? out->queue_at_ms : at_ms;
    out->is_lost = true;
}

static enum result print(struct tracer *tracer, struct slice *out, const char *begin, int64_t next_s, struct slice words)
{
    char at[DATE_ISO] = "";
    if (next_s > 0 && next_s < INT64_MAX / 1000)
        date_format_iso(next_s * 1000, at);
    const char *text = arena_printf(&tracer->arena, "%s%s%s%s%.*s", begin, at[0] ? " at " : "", at, words.len > 0 ? ": " : "", SLICE_ARG(words));
    if (!text)
        return RESULT_MEMORY;
    *out = slice_from_cstr(text);
    return RESULT_OK;
}

/* What a person reads of one that is not over yet. */
static enum result describe(struct tracer *tracer, const struct smtp_outcome *said, struct slice *out)
{
    switch (said->state) {
    case SMTP_OUTCOME_QUEUED:
        return print(tracer, out, said->at_s > 0 ? QUEUE_RELAY_TRIES : "the relay has it, and tries", said->at_s > 0 ? said->next_s : 0, said->words); /* the first try is now */
    case SMTP_OUTCOME_HELD: return print(tracer, out, "the relay's keeper holds it there", 0, said->words);
    case SMTP_OUTCOME_UNCERTAIN:
        return print(tracer, out, "perhaps delivered: the line broke before the next server's reply; it may arrive twice, for " QUEUE_RELAY_TRIES, said->next_s, said->words);
    case SMTP_OUTCOME_DELIVERED:
    case SMTP_OUTCOME_BOUNCED: break;
    }
    *out = said->words;
    return RESULT_OK;
}

static bool is_final_state(enum smtp_outcome_state state)
{
    return state == SMTP_OUTCOME_DELIVERED || state == SMTP_OUTCOME_BOUNCED;
}

int64_t tracer_relay_ms(const struct tracer *tracer)
{
    int64_t first_s = INT64_MAX;
    for (size_t i = 0; i < tracer->n; i++) {
        const struct tracer_recipient *r = &tracer->recipients[i];
        bool is_open = r->fate == FATE_UNSAID || (r->fate == FATE_SAID && !is_final_state(r->said.state));
        int64_t next_s = r->fate == FATE_SAID ? r->said.next_s : 0;
        if (is_open && next_s < first_s)
            first_s = next_s;
    }
    return first_s > 0 && first_s < INT64_MAX / 1000 ? first_s * 1000 : 0;
}

static enum result conclude_said(struct tracer *tracer, const struct tracer_recipient *r, const struct tracer_rules *rules, struct store_outcome *outcome)
{
    bool is_final = is_final_state(r->said.state);
    *outcome = (struct store_outcome){
        .seq = r->seq,
        .transaction = r->transaction,
        .state = STORE_RELAYED,
        .next_attempt_ms = is_final ? 0 : rules->ask_at_ms,
        .at_ms = is_final && r->said.at_s > 0 && r->said.at_s < INT64_MAX / 1000 ? r->said.at_s * 1000 : 0,
        .counts = is_final, /* else its time stays that of the hand-over, from which the relay's promise counts */
        .host = r->said.host.len > 0 ? r->said.host : rules->relay,
    };
    if (is_final)
        outcome->state = r->said.state == SMTP_OUTCOME_DELIVERED ? STORE_DELIVERED : STORE_BOUNCED;
    return describe(tracer, &r->said, &outcome->reply);
}

/* The relay would have forgotten its name, or has. By a clock that was set back since it is too young, and waits for longer. */
static bool is_forgotten(const struct tracer *tracer, const struct tracer_recipient *r, const struct tracer_rules *rules)
{
    int64_t lifetime_ms = tracer->expires_at_ms > tracer->received_at_ms ? tracer->expires_at_ms - tracer->received_at_ms : 0;
    int64_t longer_ms = lifetime_ms + 2 * DAY_MS, limit_ms = rules->promised_s > 0 ? promised_ms(rules) : longer_ms;
    limit_ms = limit_ms < PROMISE_MOST_MS ? limit_ms : PROMISE_MOST_MS;
    if (rules->unheard > 0)
        limit_ms = rules->unheard * (limit_ms + longer_ms);
    return rules->now_ms - rules->lead_ms - r->at_ms >= limit_ms;
}

static enum result conclude_unsaid(struct tracer *tracer, const struct tracer_recipient *r, const struct tracer_rules *rules, struct store_outcome *outcome)
{
    outcome->reply = r->reply;
    if (!is_forgotten(tracer, r, rules)) {
        outcome->next_attempt_ms = rules->ask_at_ms;
        return RESULT_OK;
    }
    const bool has_last = r->reply.len > 0;
    if (rules->unheard > 0)
        return print(tracer, &outcome->reply, has_last ? "nothing is heard of the relay any more; its last word" : "nothing is heard of the relay any more", 0, r->reply);
    if (rules->is_untold)
        return print(tracer, &outcome->reply, has_last ? "the relay tells no outcomes any more; its last word" : "the relay tells no outcomes any more", 0, r->reply);
    return print(tracer, &outcome->reply, has_last ? "the relay tells nothing of it any more; its last word" : "the relay tells nothing of it any more", 0, r->reply);
}

static enum result conclude_one(struct tracer *tracer, const struct tracer_recipient *r, const struct tracer_rules *rules, struct store_outcome *outcome)
{
    *outcome = (struct store_outcome){.seq = r->seq, .transaction = r->transaction, .state = STORE_RELAYED, .host = r->host};
    switch (r->fate) {
    case FATE_SAID: return conclude_said(tracer, r, rules, outcome);
    case FATE_REMOVED:
        outcome->host = rules->relay;
        outcome->reply = SLICE("it was removed at the relay");
        break;
    case FATE_UNKNOWN:
        outcome->host = rules->relay;
        outcome->reply = is_given_up(r, rules) ? SLICE("the relay takes it and then knows nothing of it, again and again: given up") : SLICE("the relay knows nothing of it any more");
        break;
    case FATE_UNSAID:
        return conclude_unsaid(tracer, r, rules, outcome);
    }
    return RESULT_OK;
}

static bool is_news(const struct tracer_recipient *r, const struct store_outcome *outcome)
{
    return outcome->state != STORE_RELAYED || outcome->next_attempt_ms == 0 || !slice_equal(outcome->reply, r->reply) || !slice_equal(outcome->host, r->host);
}

/* It stays awaited until it is queued: an agent that dies in between asks again. What the relay said of it before holds no more. */
static void conclude_lost(const struct tracer_recipient *r, const struct tracer_rules *rules, struct store_outcome *outcome)
{
    *outcome = (struct store_outcome){.seq = r->seq, .transaction = r->transaction, .state = STORE_RELAYED, .next_attempt_ms = rules->ask_at_ms, .host = rules->relay,
                                      .reply = SLICE("the relay knows nothing of it any more: it is handed over again")};
}

enum result tracer_conclude(struct tracer *tracer, const struct tracer_rules *rules, struct tracer_verdict *out)
{
    *out = (struct tracer_verdict){.is_final = true};
    for (size_t i = 0; i < tracer->n; i++) {
        const struct tracer_recipient *r = &tracer->recipients[i];
        struct store_outcome *outcome = &tracer->outcomes[out->noutcomes];
        if (r->fate == FATE_UNKNOWN && rules->can_refill && is_promised(r, rules) && !is_given_up(r, rules)) {
            queue_again(r, rules, out);
            conclude_lost(r, rules, outcome);
            out->noutcomes += is_news(r, outcome);
            continue;
        }
        if (conclude_one(tracer, r, rules, outcome) != RESULT_OK)
            return RESULT_MEMORY;
        out->is_final = out->is_final && outcome->next_attempt_ms == 0;
        out->noutcomes += is_news(r, outcome) || rules->is_long_wait;
    }
    out->is_final = out->is_final && !out->is_lost;
    return RESULT_OK;
}
