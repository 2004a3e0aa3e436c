#include "consignment.h"

/* The queue runs on the loop's clock, the store on the wall's. */
static int64_t now_of(const struct consignment *consignment)
{
    return loop_now_ms(consignment->loop);
}

/* ---- its end ---------------------------------------------------------------------------------------------------- */

static void give_back(struct consignment *consignment, const struct attempt_end *end)
{
    int64_t longest_ms = schedule_longest_ms(&consignment->office->schedule);
    consignment->nrecording--;
    if (end->needs_more)
        queue_defer(consignment->queue, end->message, end->hop, schedule_on_clock(end->next_attempt_ms, wall_now_ms(), now_of(consignment), longest_ms));
    else
        queue_finish(consignment->queue, end->message, end->hop);
}

static void on_recorded(void *context, const struct attempt_end *end)
{
    struct consignment *consignment = context;
    give_back(consignment, end);
    consignment->on_recorded(consignment->context);
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

static void on_done(void *context, struct courier *courier)
{
    struct consignment *consignment = context;
    consignment->courier = NULL;
    consignment->message = 0;
    consignment->on_carried(consignment->context, courier);
    record(consignment, courier);
    courier_free(&courier);
}

/* ---- its beginning ---------------------------------------------------------------------------------------------- */

static bool carry(struct consignment *consignment, struct store_job *job)
{
    struct outbound *outbound = consignment->session->outbound;
    consignment->size_octets = job->message.size_octets;
    consignment->courier = courier_start(consignment->store, outbound, job, NULL, on_done, consignment);
    consignment->session->ncarried++;
    if (consignment->courier)
        outbound_pump(outbound);
    return consignment->courier != NULL;
}

static void on_job(void *context, enum result result, struct store_job *job)
{
    struct consignment *consignment = context;
    uint64_t message = consignment->message;
    consignment->is_loading = false;
    bool may_send = consignment->may_send(consignment->context);
    if (result == RESULT_OK && may_send) {
        if (carry(consignment, job))
            return;
    } else {
        store_job_free(&job);
    }
    consignment->message = 0;
    /* Nothing left to do for it: a person removed it. Otherwise it waits for the next session, or for disk and memory to recover. */
    bool is_session_lost = result == RESULT_OK && !may_send;
    if (result == RESULT_NOT_FOUND)
        queue_finish(consignment->queue, message, (struct slice){0});
    else
        queue_defer(consignment->queue, message, (struct slice){0}, now_of(consignment) + (is_session_lost ? 0 : ATTEMPT_RETRY_MS));
    consignment->on_free(consignment->context);
}

bool consignment_take(struct consignment *consignment)
{
    struct queue_job job;
    if (!queue_next(consignment->queue, now_of(consignment), &job))
        return false;
    consignment->message = job.message;
    consignment->size_octets = 0;
    consignment->is_loading = true;
    store_job_load(consignment->store, job.message, job.hop, on_job, consignment);
    return true;
}

/* ---- under way -------------------------------------------------------------------------------------------------- */

void consignment_event(struct consignment *consignment, const struct outbound_event *event)
{
    if (consignment->courier)
        courier_event(consignment->courier, event);
}

bool consignment_is_carried(const struct consignment *consignment)
{
    return consignment->courier != NULL;
}

void consignment_drop(struct consignment *consignment)
{
    if (!consignment->courier)
        return;
    courier_free(&consignment->courier);
    queue_defer(consignment->queue, consignment->message, (struct slice){0}, now_of(consignment));
    consignment->message = 0;
}

uint64_t consignment_octets(const struct consignment *consignment)
{
    return consignment->courier ? courier_octets(consignment->courier) : 0;
}

bool consignment_is_idle(const struct consignment *consignment)
{
    return !consignment->is_loading && consignment->nrecording == 0;
}
