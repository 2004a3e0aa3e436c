#include "consignment.h"

/* The queue runs on the loop's clock, the store on the wall's. */
static int64_t now_of(const struct consignment *consignment)
{
    return loop_now_ms(consignment->loop);
}

/* What the relay has said it holds; the session's death leaves it there. Nothing counts too, once it has answered to the transaction: what it had is gone. */
static void note_taken(struct consignment *consignment)
{
    struct outbound *outbound = consignment->session->outbound;
    struct begun *begun = consignment->is_named && consignment->courier && outbound ? begun_find(&consignment->begun, consignment->message) : NULL;
    uint64_t taken = begun ? smtp_client_taken_octets(outbound_core(outbound)) : 0;
    bool is_said = begun && (taken > 0 || consignment->is_heard);
    if (!is_said || !begun_hold(begun, taken))
        return;
    consignment->has_grown = true;
    consignment->on_progress(consignment->context, taken > consignment->from_octets);
}

/* ---- its end ---------------------------------------------------------------------------------------------------- */

/* Whether its octets may have gone to waste at a relay that could have said so: what a 4yz or our own disk decides has times of its own. */
static bool is_futile(const struct consignment *consignment, const struct courier *courier)
{
    const struct courier_result *results = courier_results(courier);
    bool is_dead = false;
    if (!courier_is_session_over(courier) || consignment->is_dropping || consignment->has_grown)
        return false;
    for (size_t i = 0; i < courier_job(courier)->nrecipients; i++) {
        bool is_heard = consignment->is_heard || results[i].result == ATTEMPT_UNCERTAIN || results[i].trouble == COURIER_UNREAD;
        if (results[i].trouble != COURIER_LOST && results[i].trouble != COURIER_UNREAD)
            return false;
        is_dead = is_dead || (results[i].is_local && is_heard);
    }
    return is_dead;
}

static void count_futile(struct consignment *consignment, struct courier *courier)
{
    const struct store_job *job = courier_job(courier);
    if (!is_futile(consignment, courier))
        return;
    struct begun *begun = begun_note(&consignment->begun, job->message.id, job->recipients[0].transaction, job->message.size_octets);
    if (begun) /* out of memory costs a count */
        courier_set_futile(courier, ++begun->nfutile);
}

/* It was begun, and is to go on at once. Were others begun meanwhile, each cut would leave one half more at the relay, until that has too many and drops the first. One that gets nowhere lets the others go. */
static bool is_interrupted(const struct consignment *consignment, const struct attempt_end *end)
{
    struct begun *begun = begun_find(&consignment->begun, end->message);
    return end->needs_more && end->next_attempt_ms <= wall_now_ms() && begun && begun->nrepeats++ < COURIER_FUTILE_MAX;
}

static void give_back(struct consignment *consignment, const struct attempt_end *end)
{
    int64_t longest_ms = schedule_longest_ms(&consignment->office->schedule);
    consignment->nrecording--;
    if (end->is_damaged)
        (void)!queue_hold(consignment->queue, end->message);
    if (is_interrupted(consignment, end)) {
        queue_put_back(consignment->queue, end->message, end->hop);
    } else if (end->needs_more) {
        queue_defer(consignment->queue, end->message, end->hop, schedule_on_clock(end->next_attempt_ms, wall_now_ms(), now_of(consignment), longest_ms));
    } else {
        begun_forget(&consignment->begun, end->message);
        queue_finish(consignment->queue, end->message, end->hop);
    }
}

static void on_recorded(void *context, const struct attempt_end *end)
{
    struct consignment *consignment = context;
    give_back(consignment, end);
    consignment->on_recorded(consignment->context, end);
}

static void record(struct consignment *consignment, const struct courier *courier)
{
    const struct session *session = consignment->session;
    char host[PATH_TEXT];
    path_format(&session->way, host, sizeof host);
    bool tells = session->outbound && (smtp_client_peer(outbound_core(session->outbound))->capabilities & SMTP_CAP_DSN);
    consignment->nrecording++;
    attempt_record(consignment->office, courier_job(courier), (struct slice){0}, courier_results(courier), slice_from_cstr(host), tells, on_recorded, consignment);
}

/* The small one that it makes way for goes first because it is small; no other large one does. */
static void put_aside(struct consignment *consignment, const struct courier *courier)
{
    consignment->session->octets += courier_octets(courier) - consignment->from_octets;
    queue_put_back(consignment->queue, courier_job(courier)->message.id, (struct slice){0});
}

static void on_done(void *context, struct courier *courier)
{
    struct consignment *consignment = context;
    note_taken(consignment);
    consignment->courier = NULL;
    consignment->message = 0;
    if (courier_is_paused(courier)) {
        put_aside(consignment, courier);
    } else {
        count_futile(consignment, courier);
        consignment->on_carried(consignment->context, courier);
        record(consignment, courier);
    }
    courier_free(&courier);
}

/* ---- its beginning ---------------------------------------------------------------------------------------------- */

static bool is_named_here(const struct consignment *consignment)
{
    return consignment->naming && (smtp_client_peer(outbound_core(consignment->session->outbound))->capabilities & SMTP_CAP_CHECKPOINT);
}

/* The relay's limit may have been lowered since it took the message: it must say itself whether it has (smtp/client.h, asks_first). */
static bool is_too_large_now(const struct consignment *consignment, const struct store_job *job)
{
    uint64_t most = smtp_client_peer(outbound_core(consignment->session->outbound))->size_max_octets;
    return most > 0 && job->message.size_octets > most;
}

/* Whether the relay may hold some of it, and it is worth asking. */
static bool note_beginning(struct consignment *consignment, const struct store_job *job)
{
    uint64_t message = job->message.id;
    uint32_t transaction = job->recipients[0].transaction;
    const struct begun *before = begun_find(&consignment->begun, message);
    bool is_begun = before && before->transaction == transaction, may_be_there = is_begun || message < consignment->first_id || job->recipients[0].state == STORE_UNCERTAIN;
    if (job->message.size_octets <= CONSIGNMENT_ASK_OCTETS)
        return may_be_there && is_too_large_now(consignment, job);
    /* Out of memory costs octets, no more. */
    (void)!begun_note(&consignment->begun, message, transaction, job->message.size_octets);
    return may_be_there;
}

static bool carry(struct consignment *consignment, struct store_job *job)
{
    struct outbound *outbound = consignment->session->outbound;
    char name[NAMING_TEXT] = "";
    struct courier_naming naming = {0};
    consignment->size_octets = job->message.size_octets;
    consignment->from_octets = 0;
    consignment->since_ms = now_of(consignment);
    consignment->is_pausing = consignment->is_heard = consignment->has_grown = false;
    consignment->is_named = is_named_here(consignment);
    if (consignment->is_named) {
        naming_format(consignment->naming, job->message.id, job->recipients[0].transaction, name);
        naming = (struct courier_naming){.transid = slice_from_cstr(name), .asks_first = note_beginning(consignment, job)};
    }
    consignment->courier = courier_start(consignment->store, outbound, job, consignment->is_named ? &naming : NULL, on_done, consignment);
    consignment->session->ncarried++;
    if (consignment->courier)
        outbound_pump(outbound);
    return consignment->courier != NULL;
}

/* What does not open waits for a person, who finds it in the queue; the rest goes on. */
static void hold_unreadable(struct consignment *consignment, uint64_t message)
{
    if (queue_hold(consignment->queue, message) == RESULT_OK)
        store_message_hold(consignment->store, message, NULL, NULL);
}

static void on_job(void *context, enum result result, struct store_job *job)
{
    struct consignment *consignment = context;
    uint64_t message = consignment->message;
    consignment->is_loading = false;
    bool may_send = consignment->may_send(consignment->context);
    bool is_withdrawn = consignment->is_withdrawn;
    if (result == RESULT_OK && may_send && !is_withdrawn) {
        if (carry(consignment, job))
            return;
    } else {
        store_job_free(&job);
    }
    consignment->message = 0;
    /* Nothing left to do for it: a person removed it. What a person wants not to be sent the queue knows. Otherwise it waits for the next session, or for disk and memory to recover. */
    bool is_to_wait_no_longer = is_withdrawn || (result == RESULT_OK && !may_send);
    if (result == RESULT_NOT_FOUND && !is_withdrawn) {
        begun_forget(&consignment->begun, message);
        queue_finish(consignment->queue, message, (struct slice){0});
    } else {
        if (result == RESULT_CORRUPT)
            hold_unreadable(consignment, message);
        if (is_to_wait_no_longer)
            queue_put_back(consignment->queue, message, (struct slice){0});
        else
            queue_defer(consignment->queue, message, (struct slice){0}, now_of(consignment) + ATTEMPT_RETRY_MS);
    }
    consignment->on_free(consignment->context);
}

bool consignment_take(struct consignment *consignment)
{
    struct queue_job job;
    if (!queue_next(consignment->queue, now_of(consignment), &job))
        return false;
    consignment->message = job.message;
    consignment->size_octets = 0;
    consignment->is_withdrawn = false;
    consignment->is_loading = true;
    store_job_load(consignment->store, job.message, job.hop, on_job, consignment);
    return true;
}

/* ---- under way -------------------------------------------------------------------------------------------------- */

void consignment_event(struct consignment *consignment, const struct outbound_event *event)
{
    if (!consignment->courier)
        return;
    if (event->type == OUTBOUND_SMTP && event->smtp.type == SMTP_CLIENT_RESUMED)
        consignment->from_octets = event->smtp.offset;
    if (event->type == OUTBOUND_SMTP && (event->smtp.type == SMTP_CLIENT_RESUMED || (event->smtp.type == SMTP_CLIENT_RECIPIENT && !event->smtp.is_local)))
        consignment->is_heard = true;
    courier_event(consignment->courier, event);
    note_taken(consignment);
}

int64_t consignment_yield(struct consignment *consignment)
{
    bool may_pause = consignment->courier && consignment->is_named && !consignment->is_pausing && consignment_is_large(consignment->size_octets);
    int64_t now_ms = now_of(consignment), turn_ends_ms = consignment->since_ms + CONSIGNMENT_TURN_MS;
    if (!may_pause || !queue_has_small(consignment->queue, (struct slice){0}, now_ms))
        return INT64_MAX;
    if (courier_octets(consignment->courier) - consignment->from_octets < CONSIGNMENT_TURN_OCTETS && now_ms < turn_ends_ms)
        return turn_ends_ms;
    consignment->is_pausing = true;
    smtp_client_pause(outbound_core(consignment->session->outbound), now_ms);
    outbound_pump(consignment->session->outbound);
    return INT64_MAX;
}

bool consignment_is_carried(const struct consignment *consignment)
{
    return consignment->courier != NULL;
}

void consignment_drop(struct consignment *consignment)
{
    if (!consignment->courier)
        return;
    if (smtp_client_is_uncertain(outbound_core(consignment->session->outbound))) {
        const struct outbound_failure lost = {.words = "the line was given up before the relay's reply", .is_uncertain = true};
        consignment->is_dropping = true;
        courier_event(consignment->courier, &(struct outbound_event){.type = OUTBOUND_FAILED, .failure = &lost});
        consignment->is_dropping = false;
        return;
    }
    note_taken(consignment);
    courier_free(&consignment->courier);
    queue_put_back(consignment->queue, consignment->message, (struct slice){0});
    consignment->message = 0;
}

uint64_t consignment_octets(const struct consignment *consignment)
{
    return consignment->courier ? courier_octets(consignment->courier) : 0;
}

bool consignment_progress(const struct consignment *consignment, uint64_t message, uint64_t *octets, uint64_t *of)
{
    const struct begun *begun = begun_find(&consignment->begun, message);
    bool is_under_way = consignment->message == message && consignment->courier;
    if (!is_under_way && (!begun || begun->size_octets <= CONSIGNMENT_ASK_OCTETS))
        return false;
    *octets = is_under_way ? courier_octets(consignment->courier) : begun->held_octets;
    *of = is_under_way ? consignment->size_octets : begun->size_octets;
    return true;
}

void consignment_forget(struct consignment *consignment, uint64_t message)
{
    begun_forget(&consignment->begun, message);
}

void consignment_withdraw(struct consignment *consignment, uint64_t message)
{
    if (consignment->message != message)
        return;
    consignment->is_withdrawn = true;
    if (!consignment->courier)
        return;
    struct outbound *outbound = consignment->session->outbound;
    courier_withdraw(consignment->courier);
    outbound_pump(outbound);
}

void consignment_free(struct consignment *consignment)
{
    begun_free(&consignment->begun);
}

bool consignment_is_idle(const struct consignment *consignment)
{
    return !consignment->is_loading && consignment->nrecording == 0;
}
