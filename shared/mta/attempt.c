#include "mta/attempt.h"

#include "crypto/crypto.h"
#include "mail/dsn.h"
#include "mail/header.h"
#include "mail/message_id.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    ATTEMPT_ARENA_MAX = 128 * 1024 * 1024, /* octets: the largest envelope, with a reply for each; an outcome that finds no room here is told to nobody, and the message is sent again */
    REPORT_MAX = 512 * 1024,
    REPORT_LARGEST = 32 * 1024 * 1024, /* where that does not do: the largest envelope, with REPLY_SHORT of each reply */
    REPLY_SHORT = 200,
};

struct attempt {
    struct list_node node;
    struct attempt_office *office;
    struct arena arena;
    struct store_message message; /* deep copy of what a report needs */
    struct slice hop, host;
    struct store_recipient *recipients;
    struct courier_result *results;
    struct outcome *outcomes;
    struct store_outcome *records;
    size_t n, nlater;
    int64_t now_ms;
    struct slice original;        /* header section or whole message, for the report */
    struct buffer report_body;
    struct store_own_message report;
    bool has_report;
    uv_timer_t retry;
    bool is_writing;
    struct attempt_end end;
    void (*on_recorded)(void *context, const struct attempt_end *end);
    void *context;
};

/* ---- deciding --------------------------------------------------------------------------------------------------- */

static enum store_state state_of(const struct attempt *attempt, size_t i, enum attempt_result result)
{
    const struct outcome *outcome = &attempt->outcomes[i];
    switch (outcome->kind) {
    case OUTCOME_ACCEPTED: return attempt->office->accepted_state;
    case OUTCOME_FAILED: return STORE_BOUNCED;
    case OUTCOME_AGAIN: break;
    }
    /* An attempt that nobody was asked in decides nothing: what may be there already may be there still. */
    bool is_still_uncertain = result == ATTEMPT_UNTRIED && attempt->recipients[i].state == STORE_UNCERTAIN;
    return outcome->is_uncertain || is_still_uncertain ? STORE_UNCERTAIN : STORE_QUEUED;
}

/* A peer that breaks off again and again, with nothing gained, is not waited for at once any more. */
static bool is_futile(const struct courier_result *result)
{
    return result->nfutile >= COURIER_FUTILE_MAX;
}

/* The next hop may have it, and would not know it again: that each attempt may be one copy more is the reason to wait, from the first one on (schema/README.md, Delivery uncertain). */
static bool may_double(const struct courier_result *result)
{
    return result->result == ATTEMPT_UNCERTAIN && !result->is_named;
}

static enum attempt_result judged(const struct attempt_office *office, const struct courier_result *result)
{
    bool is_lost = result->is_local && result->result == ATTEMPT_DEFERRED && (result->trouble == COURIER_LOST || result->trouble == COURIER_UNREAD) && !is_futile(result);
    return is_lost && office->forgives_lost_connections ? ATTEMPT_UNTRIED : result->result;
}

static void need_more(struct attempt *attempt, int64_t at_ms)
{
    if (!attempt->end.needs_more || at_ms < attempt->end.next_attempt_ms)
        attempt->end.next_attempt_ms = at_ms;
    attempt->end.needs_more = true;
}

static void decide_one(struct attempt *attempt, size_t i, const struct outcome_rules *rules)
{
    const struct store_recipient *r = &attempt->recipients[i];
    const struct courier_result *result = &attempt->results[i];
    const enum attempt_result judgement = judged(attempt->office, result);
    struct outcome *outcome = &attempt->outcomes[i];
    /* The schedule begins with the first that waits: those before it were repeated at once, and are no reason to wait for longer. */
    *outcome = outcome_decide(judgement, is_futile(result) && !may_double(result) ? result->nfutile - COURIER_FUTILE_MAX : r->attempts, r->at_ms, r->envelope.notify, rules);
    /* Under a name the next attempt tells what became of this one. */
    if (attempt->office->forgives_lost_connections && outcome->is_uncertain && !is_futile(result) && !may_double(result))
        outcome->next_attempt_ms = rules->now_ms;
    if (judgement == ATTEMPT_UNTRIED && result->trouble == COURIER_UNREAD && outcome->kind == OUTCOME_AGAIN)
        outcome->next_attempt_ms = rules->now_ms + ATTEMPT_RETRY_MS;
    attempt->records[i] = (struct store_outcome){
        .seq = r->seq,
        .state = state_of(attempt, i, judgement),
        .next_attempt_ms = outcome->next_attempt_ms,
        .transaction = r->transaction + (result->needs_new_name ? 1 : 0),
        .counts = outcome->counts,
        .reply = result->reply,
        .host = result->is_local ? (struct slice){0} : attempt->host,
    };
    if (attempt->records[i].state == STORE_UNCERTAIN) /* who has it, perhaps */
        attempt->records[i].host = judgement == ATTEMPT_UNCERTAIN ? attempt->host : r->host;
    if (attempt->records[i].state == STORE_RELAYED)
        attempt->records[i].next_attempt_ms = attempt->end.ask_at_ms;
    if (outcome->kind == OUTCOME_AGAIN)
        need_more(attempt, outcome->next_attempt_ms);
    if (outcome->kind == OUTCOME_AGAIN && result->trouble == COURIER_DAMAGED)
        attempt->end.is_damaged = true;
}

/* The store gives the recipients of the lowest transaction first: those of later ones are due when none of this one waits. */
static bool is_transaction_over(const struct attempt *attempt)
{
    for (size_t i = 0; i < attempt->n; i++)
        if (attempt->outcomes[i].kind == OUTCOME_AGAIN && attempt->records[i].transaction == attempt->recipients[i].transaction)
            return false;
    return true;
}

/* When it expires that was to end then: of each run of the program it is given some time, and of all of them together as long again. */
static int64_t granted_until_ms(const struct attempt_office *office, int64_t lifetime_ms, int64_t end_ms, int64_t now_ms)
{
    int64_t run_ms = boot_now_ms() - office->started_at_boot_ms, grace_ms = lifetime_ms < ATTEMPT_GRACE_MS ? lifetime_ms : ATTEMPT_GRACE_MS;
    int64_t until_ms = now_ms + grace_ms - run_ms, last_ms = end_ms + lifetime_ms;
    if (until_ms > last_ms)
        until_ms = last_ms;
    return until_ms > end_ms ? until_ms : end_ms;
}

static struct outcome_rules rules_of(const struct attempt_office *office, const struct store_message *message, int64_t now_ms)
{
    int64_t notice = office->delay_notice_ms, lead_ms = office->wall_lead_ms ? office->wall_lead_ms(office->context, message->received_at_ms) : 0;
    int64_t lifetime_ms = message->expires_at_ms - message->received_at_ms, end_ms = message->expires_at_ms + lead_ms;
    return (struct outcome_rules){
        .schedule = &office->schedule,
        .now_ms = now_ms,
        .expires_at_ms = granted_until_ms(office, lifetime_ms, end_ms, now_ms),
        .delay_report_at_ms = notice > 0 ? message->received_at_ms + notice + lead_ms : INT64_MAX,
        .random = crypto_random_u32(),
        .is_report = message->is_dsn || message->envelope.sender.len == 0,
    };
}

bool attempt_is_young(const struct attempt_office *office, const struct store_message *message)
{
    int64_t now_ms = wall_now_ms();
    struct outcome_rules rules = rules_of(office, message, now_ms);
    return now_ms < rules.expires_at_ms && now_ms < rules.delay_report_at_ms;
}

bool attempt_is_due(const struct attempt_office *office, const struct store_message *message, const struct store_recipient *recipients, size_t n)
{
    struct outcome_rules rules = rules_of(office, message, wall_now_ms());
    for (size_t i = 0; i < n; i++) {
        const struct store_recipient *r = &recipients[i];
        if (r->state != STORE_QUEUED && r->state != STORE_UNCERTAIN)
            continue;
        struct outcome outcome = outcome_decide(ATTEMPT_UNTRIED, r->attempts, r->at_ms, r->envelope.notify, &rules);
        if (outcome.kind != OUTCOME_AGAIN || outcome.report != REPORT_NONE)
            return true;
    }
    return false;
}

static void decide(struct attempt *attempt, bool next_hop_tells)
{
    struct outcome_rules rules = rules_of(attempt->office, &attempt->message, attempt->now_ms);
    rules.next_hop_tells = next_hop_tells;
    for (size_t i = 0; i < attempt->n; i++)
        decide_one(attempt, i, &rules);
    if (attempt->nlater > 0 && is_transaction_over(attempt))
        need_more(attempt, attempt->now_ms);
}

static bool has_relayed(const struct attempt *attempt)
{
    for (size_t i = 0; i < attempt->n; i++)
        if (attempt->records[i].state == STORE_RELAYED)
            return true;
    return false;
}

static int64_t ask_at_ms(const struct attempt *attempt)
{
    const struct attempt_office *office = attempt->office;
    return office->accepted_state == STORE_RELAYED && office->ask_at_ms ? office->ask_at_ms(office->context, &attempt->message) : 0;
}

static bool is_reported(const struct attempt *attempt)
{
    for (size_t i = 0; i < attempt->n; i++)
        if (attempt->outcomes[i].report != REPORT_NONE)
            return true;
    return false;
}

static void log_trouble(const struct attempt *attempt, const char *event, enum result result)
{
    char id[MESSAGE_ID_TEXT];
    message_id_format(attempt->message.id, id);
    log_event(attempt->office->log, LOG_ERROR, event, LOG_TEXT("item", id), LOG_TEXT("why", result_name(result)));
}

static void log_recipient(const struct attempt *attempt, size_t i)
{
    static const char *const events[] = {[OUTCOME_ACCEPTED] = "delivered", [OUTCOME_AGAIN] = "deferred", [OUTCOME_FAILED] = "bounced"};
    const struct outcome *outcome = &attempt->outcomes[i];
    char id[MESSAGE_ID_TEXT];
    message_id_format(attempt->message.id, id);
    log_event(attempt->office->log, LOG_INFO, events[outcome->kind], LOG_TEXT("item", id), LOG_STR("to", attempt->recipients[i].envelope.address),
              LOG_STR("host", attempt->records[i].host), LOG_TEXT("status", store_state_name(attempt->records[i].state)),
              LOG_INT("delay_ms", attempt->now_ms - attempt->message.received_at_ms),
              LOG_INT("retry_in_ms", outcome->kind == OUTCOME_AGAIN ? outcome->next_attempt_ms - attempt->now_ms : 0),
              LOG_STR("reason", attempt->results[i].reply));
}

/* ---- the report ------------------------------------------------------------------------------------------------- */

static enum dsn_action action_of(enum outcome_report report)
{
    if (report == REPORT_RELAYED)
        return DSN_RELAYED;
    return report == REPORT_DELAYED ? DSN_DELAYED : DSN_FAILED;
}

static void describe_recipient(const struct attempt *attempt, size_t i, struct dsn_recipient *out)
{
    const struct outcome *outcome = &attempt->outcomes[i];
    const struct slice reply = attempt->results[i].reply;
    struct slice code, rest, status;
    /* The enhanced code is the second word of "550 5.1.1 text"; dsn_write replaces one that does not fit. */
    slice_cut(reply, ' ', &code, &rest);
    slice_cut(rest, ' ', &status, &rest);
    *out = (struct dsn_recipient){
        .address = attempt->recipients[i].envelope.address,
        .orcpt = attempt->recipients[i].envelope.orcpt,
        .action = action_of(outcome->report),
        .status = outcome->report == REPORT_EXPIRED ? SLICE("5.4.7") : status,
        .remote_mta = attempt->results[i].is_local ? (struct slice){0} : attempt->host, /* of our own words nobody else is the author */
        .reply = reply,
        .is_local = attempt->results[i].is_local,
        .words = outcome->report == REPORT_EXPIRED ? SLICE("It could not be delivered within its lifetime; no further attempt will be made.") : (struct slice){0},
        .last_attempt_at_ms = attempt->now_ms,
        .will_retry_until_ms = outcome->report == REPORT_DELAYED ? attempt->message.expires_at_ms : 0,
    };
}

/* Many recipients, and much said of each: rather less of that than no report. */
static enum result write_short(struct attempt *attempt, struct dsn *dsn, struct dsn_recipient *recipients)
{
    for (size_t i = 0; i < dsn->nrcpt; i++)
        recipients[i].reply = slice_take(recipients[i].reply, REPLY_SHORT);
    dsn->ret = DSN_RET_HDRS;
    buffer_free(&attempt->report_body);
    attempt->report_body = BUFFER(REPORT_LARGEST);
    return dsn_write(dsn, &attempt->report_body);
}

static enum result write_report(struct attempt *attempt, uint64_t id, char *header_from)
{
    const struct attempt_office *office = attempt->office;
    const struct store_message *message = &attempt->message;
    struct dsn_recipient *recipients = arena_alloc(&attempt->arena, attempt->n * sizeof *recipients);
    uint8_t random[12];
    char random_hex[2 * sizeof random + 1], id_text[MESSAGE_ID_TEXT];
    size_t n = 0;
    if (!recipients)
        return RESULT_MEMORY;
    for (size_t i = 0; i < attempt->n; i++)
        if (attempt->outcomes[i].report != REPORT_NONE)
            describe_recipient(attempt, i, &recipients[n++]);
    crypto_random(random, sizeof random);
    crypto_hex(slice_of(random, sizeof random), random_hex, sizeof random_hex);
    message_id_format(id, id_text);
    char *message_id = arena_printf(&attempt->arena, "<%s.%s@%.*s>", id_text, random_hex, SLICE_ARG(office->reporting_name));
    if (!message_id)
        return RESULT_MEMORY;
    struct dsn dsn = {
        .reporting_mta = office->reporting_name,
        .from = slice_from_cstr(header_from),
        .to = message->envelope.sender,
        .message_id = slice_from_cstr(message_id),
        .now_ms = attempt->now_ms,
        .arrived_at_ms = message->received_at_ms,
        .envid = message->envelope.envid,
        .recipients = recipients,
        .nrcpt = n,
        .ret = attempt->original.len == message->size_octets ? message->envelope.ret : DSN_RET_HDRS,
        .original = attempt->original,
        .is_smtputf8 = message->envelope.is_smtputf8,
    };
    attempt->report_body = BUFFER(REPORT_MAX);
    enum result result = dsn_write(&dsn, &attempt->report_body);
    return result == RESULT_LIMIT ? write_short(attempt, &dsn, recipients) : result;
}

static enum result make_report(struct attempt *attempt)
{
    struct attempt_office *office = attempt->office;
    struct envelope_recipient *to = arena_alloc(&attempt->arena, sizeof *to);
    struct slice *hops = arena_alloc(&attempt->arena, sizeof *hops);
    uint64_t id = office->next_id(office->context);
    char *from = office->report_from_sender
                     ? arena_printf(&attempt->arena, "%.*s", SLICE_ARG(attempt->message.envelope.sender))
                     : arena_printf(&attempt->arena, "MAILER-DAEMON@%.*s", SLICE_ARG(office->reporting_name));
    if (!to || !hops || !from)
        return RESULT_MEMORY;
    enum result written = write_report(attempt, id, from);
    if (written != RESULT_OK)
        return written;
    struct slice body = buffer_slice(&attempt->report_body);
    *to = (struct envelope_recipient){.address = attempt->message.envelope.sender, .notify = DSN_NOTIFY_NEVER};
    bool has_8bit = mail_has_8bit(body);
    attempt->report.message = (struct store_message){
        .id = id,
        .envelope = {.recipients = to, .nrcpt = 1, .body = has_8bit ? MAIL_BODY_8BITMIME : MAIL_BODY_7BIT,
                     .is_smtputf8 = mail_has_8bit(to->address)},
        .size_octets = body.len,
        .has_8bit = has_8bit,
        .needs_smtputf8 = mail_has_8bit(to->address),
        .is_dsn = true,
        .received_at_ms = attempt->now_ms,
        .expires_at_ms = attempt->now_ms + office->lifetime_ms,
        .header_octets = (uint32_t)(header_section_len(body) + 2),
    };
    attempt->report.hops = hops;
    attempt->report.body = body;
    if (office->route)
        office->route(office->context, &attempt->report.message.envelope, hops);
    attempt->has_report = true;
    return RESULT_OK;
}

/* ---- recording -------------------------------------------------------------------------------------------------- */

static void write_down(struct attempt *attempt);

static void attempt_free(struct attempt *attempt)
{
    list_remove(&attempt->node);
    buffer_free(&attempt->report_body);
    arena_free(&attempt->arena);
    free(attempt);
}

static void on_retry_closed(uv_handle_t *timer)
{
    attempt_free(timer->data);
}

/* Behind the outcome, whose words a person finds with it. Killed in between, it is tried once more, and held then. */
static void hold_damaged(const struct attempt *attempt)
{
    log_trouble(attempt, "message-held", RESULT_CORRUPT);
    store_message_hold(attempt->office->store, attempt->message.id, NULL, NULL);
}

static void tell_recorded(struct attempt *attempt, enum result result)
{
    attempt->end.result = result;
    if (attempt->end.is_damaged && result == RESULT_OK)
        hold_damaged(attempt);
    if (result == RESULT_OK && attempt->has_report) {
        struct intake_queued queued = {&attempt->report.message, attempt->report.hops, attempt->now_ms};
        attempt->office->on_queued(attempt->office->context, &queued);
    }
    list_remove(&attempt->node);
    attempt->on_recorded(attempt->context, &attempt->end);
    uv_close((uv_handle_t *)&attempt->retry, on_retry_closed);
}

static void on_retry(uv_timer_t *timer)
{
    write_down(timer->data);
}

static void on_written(void *context, enum result result)
{
    struct attempt *attempt = context;
    attempt->is_writing = false;
    /* Removed by a person meanwhile: there is nothing left to record, to hold, to report or to ask about. */
    if (result == RESULT_NOT_FOUND) {
        attempt->end.is_damaged = attempt->has_report = false;
        attempt->end.ask_at_ms = 0;
    }
    if (result == RESULT_OK || result == RESULT_NOT_FOUND || result == RESULT_CANCELLED) {
        tell_recorded(attempt, result == RESULT_NOT_FOUND ? RESULT_OK : result);
        return;
    }
    log_trouble(attempt, "outcome-not-recorded", result);
    if (attempt->office->is_stopping)
        tell_recorded(attempt, RESULT_CANCELLED);
    else
        uv_timer_start(&attempt->retry, on_retry, ATTEMPT_RETRY_MS, 0);
}

static void write_down(struct attempt *attempt)
{
    attempt->is_writing = true;
    store_attempt_finish(attempt->office->store, attempt->message.id, attempt->records, attempt->n, attempt->now_ms,
                         attempt->has_report ? &attempt->report : NULL, attempt->office->keep_copies, on_written, attempt);
}

static void report_and_write(struct attempt *attempt)
{
    /* A report that can't be made costs the sender a report, not the mail its record. */
    enum result made = make_report(attempt);
    if (made != RESULT_OK)
        log_trouble(attempt, "report-not-written", made);
    write_down(attempt);
}

static void on_original(void *context, enum result result, struct slice octets)
{
    struct attempt *attempt = context;
    attempt->is_writing = false;
    bool is_whole = octets.len == attempt->message.size_octets && attempt->message.envelope.ret == DSN_RET_FULL;
    struct slice kept = is_whole ? octets : slice_take(octets, attempt->message.header_octets);
    if (result != RESULT_OK || arena_copy(&attempt->arena, kept, &attempt->original) != RESULT_OK)
        attempt->original = (struct slice){0};
    report_and_write(attempt);
}

/* ---- beginning -------------------------------------------------------------------------------------------------- */

static enum result copy_recipients(struct attempt *attempt, const struct store_job *job, const struct courier_result *results)
{
    struct arena *a = &attempt->arena;
    enum result result = RESULT_OK;
    for (size_t i = 0; i < attempt->n && result == RESULT_OK; i++) {
        attempt->recipients[i] = job->recipients[i];
        attempt->results[i] = results[i];
        /* The addresses are in the envelope's copy already; its recipients stand in the same order. */
        attempt->recipients[i].envelope = attempt->message.envelope.recipients[i];
        result = arena_copy(a, results[i].reply, &attempt->results[i].reply);
        if (result == RESULT_OK)
            result = arena_copy(a, job->recipients[i].host, &attempt->recipients[i].host);
    }
    return result;
}

static enum result copy_in(struct attempt *attempt, const struct store_job *job, struct slice hop, const struct courier_result *results, struct slice host)
{
    struct arena *a = &attempt->arena;
    attempt->message = job->message;
    attempt->n = job->nrecipients;
    attempt->nlater = job->nlater;
    attempt->recipients = arena_alloc(a, attempt->n * sizeof *attempt->recipients);
    attempt->results = arena_alloc(a, attempt->n * sizeof *attempt->results);
    attempt->outcomes = arena_alloc(a, attempt->n * sizeof *attempt->outcomes);
    attempt->records = arena_alloc(a, attempt->n * sizeof *attempt->records);
    if (!attempt->recipients || !attempt->results || !attempt->outcomes || !attempt->records)
        return RESULT_MEMORY;
    enum result result = envelope_copy(a, &job->message.envelope, &attempt->message.envelope);
    if (result == RESULT_OK)
        result = arena_copy(a, hop, &attempt->hop);
    if (result == RESULT_OK)
        result = arena_copy(a, host, &attempt->host);
    if (result == RESULT_OK)
        result = copy_recipients(attempt, job, results);
    attempt->end.message = job->message.id;
    attempt->end.hop = attempt->hop;
    return result;
}

static void take_original(struct attempt *attempt, const struct store_job *job)
{
    if (job->body.len > 0) {
        on_original(attempt, RESULT_OK, job->body);
        return;
    }
    attempt->is_writing = true;
    store_body_read(attempt->office->store, attempt->message.id, 0, on_original, attempt);
}

/* Memory is out: what the attempt came to is lost, and it is made again. */
static void give_up(const struct attempt_office *office, const struct store_job *job, struct slice hop, void (*on_recorded)(void *, const struct attempt_end *),
                    void *context)
{
    struct attempt_end cancelled = {.result = RESULT_CANCELLED, .message = job->message.id, .hop = hop, .needs_more = true, .next_attempt_ms = wall_now_ms()};
    char id[MESSAGE_ID_TEXT];
    message_id_format(job->message.id, id);
    log_event(office->log, LOG_ERROR, "outcome-lost", LOG_TEXT("item", id), LOG_TEXT("why", result_name(RESULT_MEMORY)));
    on_recorded(context, &cancelled);
}

/* NULL: out of memory. */
static struct attempt *attempt_new(struct attempt_office *office, const struct store_job *job, struct slice hop, const struct courier_result *results, struct slice host)
{
    struct attempt *attempt = calloc(1, sizeof *attempt);
    if (!attempt)
        return NULL;
    attempt->arena = ARENA(ATTEMPT_ARENA_MAX);
    attempt->office = office;
    if (copy_in(attempt, job, hop, results, host) != RESULT_OK) {
        attempt_free(attempt);
        return NULL;
    }
    uv_timer_init(office->loop, &attempt->retry);
    attempt->retry.data = attempt;
    attempt->now_ms = wall_now_ms();
    return attempt;
}

void attempt_record(struct attempt_office *office, const struct store_job *job, struct slice hop, const struct courier_result *results, struct slice host,
                    bool next_hop_tells, void (*on_recorded)(void *context, const struct attempt_end *end), void *context)
{
    struct attempt *attempt = attempt_new(office, job, hop, results, host);
    if (!attempt) {
        give_up(office, job, hop, on_recorded, context);
        return;
    }
    attempt->on_recorded = on_recorded;
    attempt->context = context;
    list_append(&office->pending, &attempt->node);
    attempt->end.ask_at_ms = ask_at_ms(attempt);
    decide(attempt, next_hop_tells);
    if (!has_relayed(attempt))
        attempt->end.ask_at_ms = 0;
    for (size_t i = 0; i < attempt->n; i++)
        log_recipient(attempt, i);
    if (is_reported(attempt))
        take_original(attempt, job);
    else
        write_down(attempt);
}

void attempt_record_all(struct attempt_office *office, const struct store_job *job, struct slice hop, enum attempt_result result, struct slice reply,
                        struct slice host, void (*on_recorded)(void *context, const struct attempt_end *end), void *context)
{
    struct courier_result *results = calloc(job->nrecipients, sizeof *results);
    if (!results) {
        give_up(office, job, hop, on_recorded, context);
        return;
    }
    for (size_t i = 0; i < job->nrecipients; i++)
        results[i] = (struct courier_result){.seq = job->recipients[i].seq, .result = result, .reply = reply, .is_local = host.len == 0};
    attempt_record(office, job, hop, results, host, false, on_recorded, context);
    free(results);
}

void attempt_stop(struct attempt_office *office)
{
    office->is_stopping = true;
    LIST_EACH_SAFE(node, after, &office->pending) {
        struct attempt *attempt = LIST_OWNER(node, struct attempt, node);
        if (!attempt->is_writing)
            tell_recorded(attempt, RESULT_CANCELLED);
    }
}
