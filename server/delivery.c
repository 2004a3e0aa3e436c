#include "delivery_internal.h"

#include "mail/address.h"
#include "mail/message_id.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    PARCELS_PER_LANE = 4,       /* lent out at most: one on the way, the others loading or being recorded */
    LONGEST_SLEEP_MS = 3600000, /* the timer's; what is due later is looked at again then */
    STOP_TICK_MS = 50,
    SWEEP_EVERY_MS = 24 * 3600 * 1000,
};

/* ---- time ------------------------------------------------------------------------------------------------------ */

int64_t delivery_now_ms(const struct delivery *delivery)
{
    return loop_now_ms(delivery->config.loop);
}

static int64_t on_our_clock(const struct delivery *delivery, int64_t wall_ms)
{
    return schedule_on_clock(wall_ms, wall_now_ms(), delivery_now_ms(delivery), delivery->longest_delay_ms);
}

/* ---- parcels ---------------------------------------------------------------------------------------------------- */

static struct parcel *parcel_new(struct delivery *delivery, const struct queue_job *job)
{
    struct parcel *parcel = malloc(sizeof *parcel + job->hop.len);
    if (!parcel)
        return NULL;
    *parcel = (struct parcel){.delivery = delivery, .message = job->message, .leftover_due_ms = INT64_MAX};
    if (job->hop.len)
        memcpy(parcel->text, job->hop.ptr, job->hop.len);
    parcel->hop = slice_of(parcel->text, job->hop.len);
    delivery->nparcels++;
    return parcel;
}

void parcel_free(struct parcel *parcel)
{
    list_remove(&parcel->node);
    store_job_free(&parcel->job);
    parcel->delivery->nparcels--;
    free(parcel);
}

/* Back to the queue. due_at_ms: on our clock; negative: done with. */
void parcel_return(struct parcel *parcel, int64_t due_at_ms)
{
    struct delivery *delivery = parcel->delivery;
    if (due_at_ms < 0)
        queue_finish(delivery->queue, parcel->message, parcel->hop);
    else
        queue_defer(delivery->queue, parcel->message, parcel->hop, due_at_ms);
    parcel_free(parcel);
    delivery_pump(delivery);
}

/* A person finds it in the queue: no attempt would read more of it. At all of its hops, for they have one body. */
static void hold_damaged(const struct parcel *parcel)
{
    (void)!queue_hold(parcel->delivery->queue, parcel->message);
}

static void parcel_on_recorded(void *context, const struct attempt_end *end)
{
    struct parcel *parcel = context;
    struct delivery *delivery = parcel->delivery;
    int64_t due_at_ms = -1, next_ms = parcel->leftover_due_ms;
    if (end->needs_more && end->next_attempt_ms < next_ms)
        next_ms = end->next_attempt_ms;
    if (end->is_damaged)
        hold_damaged(parcel);
    if (end->result != RESULT_OK)
        due_at_ms = delivery_now_ms(delivery) + LOAD_RETRY_MS;
    else if (next_ms != INT64_MAX)
        due_at_ms = on_our_clock(delivery, next_ms);
    parcel_return(parcel, due_at_ms);
}

void parcel_record(struct parcel *parcel, const struct courier *courier, struct slice host, bool peer_has_dsn)
{
    attempt_record(&parcel->delivery->office, courier_job(courier), parcel->hop, courier_results(courier), host, peer_has_dsn, parcel_on_recorded,
                   parcel);
}

void parcel_record_failure(struct parcel *parcel, const struct lane_failure *failure)
{
    enum attempt_result result = failure->verdict == NEXTHOP_NEVER ? ATTEMPT_REFUSED : ATTEMPT_DEFERRED;
    struct store_job *job = parcel->job;
    parcel->job = NULL;
    attempt_record_all(&parcel->delivery->office, job, parcel->hop, result, slice_from_cstr(failure->reply), (struct slice){0},
                       parcel_on_recorded, parcel);
    store_job_free(&job);
}

/* ---- from the queue --------------------------------------------------------------------------------------------- */

/* Wall time. A person's wish (delivery_release of all) is not written down: it stands for whatever has not been asked since. */
static int64_t recipient_due_ms(const struct delivery *delivery, const struct store_recipient *recipient)
{
    bool is_wanted = recipient->at_ms < delivery->flushed_at_ms && delivery->flushed_at_ms < recipient->next_attempt_ms;
    return is_wanted ? delivery->flushed_at_ms : recipient->next_attempt_ms;
}

/* What was queued for a smarthost that is no longer configured goes domain by domain: this attempt is about the one that is due first. A domain that
 * has had its turn is not due, so a dead one holds up no other. */
static void parcel_keep_one_domain(struct parcel *parcel)
{
    const struct delivery *delivery = parcel->delivery;
    struct store_job *job = parcel->job;
    struct envelope *envelope = &job->message.envelope;
    size_t kept = 0, first = 0;
    for (size_t i = 1; i < job->nrecipients; i++) {
        if (recipient_due_ms(delivery, &job->recipients[i]) < recipient_due_ms(delivery, &job->recipients[first]))
            first = i;
    }
    struct slice domain = address_domain_of(envelope->recipients[first].address);
    int64_t now_ms = wall_now_ms(), first_ms = recipient_due_ms(delivery, &job->recipients[first]);
    for (size_t i = 0; i < job->nrecipients; i++) {
        int64_t due_ms = recipient_due_ms(delivery, &job->recipients[i]);
        if (slice_equal_nocase(address_domain_of(envelope->recipients[i].address), domain) && (due_ms <= now_ms || due_ms == first_ms)) {
            envelope->recipients[kept] = envelope->recipients[i];
            job->recipients[kept++] = job->recipients[i];
        } else if (due_ms < parcel->leftover_due_ms) {
            parcel->leftover_due_ms = due_ms;
        }
    }
    job->nrecipients = envelope->nrcpt = kept;
}

static void parcel_on_loaded(void *context, enum result result, struct store_job *job)
{
    struct parcel *parcel = context;
    struct delivery *delivery = parcel->delivery;
    parcel->job = job;
    if (result == RESULT_CORRUPT) {
        hold_damaged(parcel);
        store_message_hold(delivery->config.store, parcel->message, NULL, NULL);
    }
    if (result != RESULT_OK || delivery->is_stopping) {
        parcel_return(parcel, result == RESULT_NOT_FOUND ? -1 : delivery_now_ms(delivery) + LOAD_RETRY_MS);
        return;
    }
    bool has_smarthost = delivery->config.conf->values.smarthost.host.len > 0;
    if (!has_smarthost)
        parcel_keep_one_domain(parcel);
    struct slice name = has_smarthost ? CONF_HOP_SMARTHOST : address_domain_of(job->message.envelope.recipients[0].address);
    struct route *route = route_find(delivery, name);
    if (!route) {
        parcel_return(parcel, delivery_now_ms(delivery) + LOAD_RETRY_MS);
        return;
    }
    route_take(route, parcel);
}

static void delivery_on_timer(uv_timer_t *timer)
{
    delivery_pump(timer->data);
}

static void delivery_arm(struct delivery *delivery)
{
    int64_t deadline = queue_deadline_ms(delivery->queue);
    int64_t delay = deadline == INT64_MAX ? INT64_MAX : deadline - delivery_now_ms(delivery);
    if (delay == INT64_MAX) {
        uv_timer_stop(&delivery->timer);
        return;
    }
    if (delay < 1)
        delay = 1;
    if (delay > LONGEST_SLEEP_MS)
        delay = LONGEST_SLEEP_MS;
    uv_timer_start(&delivery->timer, delivery_on_timer, (uint64_t)delay, 0);
}

/* Borrows from the queue whatever may run. Loads answer later, never from inside. */
void delivery_pump(struct delivery *delivery)
{
    struct queue_job job;
    if (delivery->is_stopping)
        return;
    while (queue_next(delivery->queue, delivery_now_ms(delivery), &job)) {
        struct parcel *parcel = parcel_new(delivery, &job);
        if (!parcel) {
            queue_defer(delivery->queue, job.message, job.hop, delivery_now_ms(delivery) + LOAD_RETRY_MS);
            break;
        }
        store_job_load(delivery->config.store, parcel->message, parcel->hop, parcel_on_loaded, parcel);
    }
    delivery_arm(delivery);
}

/* ---- what comes in ---------------------------------------------------------------------------------------------- */

/* Asked when mail comes in and when a program starts: what grows by mail is swept by mail, and a relay at rest has no timer for it. */
static void delivery_sweep_sometimes(struct delivery *delivery)
{
    int64_t now_ms = wall_now_ms();
    if (now_ms - delivery->swept_at_ms < SWEEP_EVERY_MS && delivery->swept_at_ms <= now_ms)
        return;
    delivery->swept_at_ms = now_ms;
    /* The names first: a message whose name is known is not swept. */
    store_checkpoint_sweep(delivery->config.store, served_now_ms(delivery->config.served) - conf_name_kept_ms(delivery->config.conf), NULL, NULL);
    int64_t before_ms = wall_history_ms(&delivery->wall, delivery->config.conf->values.history);
    if (before_ms != INT64_MIN)
        store_sweep(delivery->config.store, before_ms, NULL, NULL);
    else
        delivery->swept_at_ms = now_ms - SWEEP_EVERY_MS + WALL_GRACE_MS; /* soon, then */
}

static void delivery_add_one(struct delivery *delivery, uint64_t message, struct slice hop, int64_t due_at_ms)
{
    enum result result = queue_add(delivery->queue, message, hop, on_our_clock(delivery, due_at_ms));
    if (result == RESULT_OK || result == RESULT_EXISTS)
        return;
    delivery_rescan_later(delivery);
    char id[MESSAGE_ID_TEXT];
    message_id_format(message, id);
    log_event(delivery->config.log, LOG_ERROR, "queue-full", LOG_TEXT("item", id), LOG_TEXT("reason", result_name(result)));
}

void delivery_add(struct delivery *delivery, uint64_t message, const struct slice *hops, size_t n, int64_t due_at_ms)
{
    if (delivery->is_stopping)
        return;
    for (size_t i = 0; i < n; i++)
        delivery_add_one(delivery, message, hops[i], due_at_ms);
    delivery_sweep_sometimes(delivery);
    delivery_pump(delivery);
}

static void delivery_on_due(void *context, const struct store_due *due, size_t n, bool is_last, enum result result)
{
    struct delivery *delivery = context;
    if (result != RESULT_OK) {
        log_event(delivery->config.log, LOG_ERROR, "queue-not-loaded", LOG_TEXT("reason", result_name(result)));
        delivery_rescan_later(delivery);
    }
    for (size_t i = 0; i < n; i++) {
        delivery_add_one(delivery, due[i].message, due[i].hop, due[i].due_at_ms);
        if (due[i].is_held)
            delivery_hold(delivery, due[i].message);
    }
    if (is_last)
        delivery->nscans--;
    if (is_last && result == RESULT_OK)
        log_event(delivery->config.log, LOG_INFO, "queue-loaded", LOG_INT("items", queue_count(delivery->queue)));
    delivery_pump(delivery);
}

static void delivery_on_scan_timer(uv_timer_t *timer)
{
    delivery_rescan(timer->data);
}

/* What got a 250 must not wait for the next start. */
void delivery_rescan_later(struct delivery *delivery)
{
    if (!delivery->is_stopping && !uv_is_active((uv_handle_t *)&delivery->scan_timer))
        uv_timer_start(&delivery->scan_timer, delivery_on_scan_timer, SCAN_RETRY_MS, 0);
}

void delivery_rescan(struct delivery *delivery)
{
    if (delivery->is_stopping)
        return;
    uv_timer_stop(&delivery->scan_timer);
    delivery->nscans++;
    store_queue_load(delivery->config.store, delivery_on_due, delivery);
}

void delivery_hold(struct delivery *delivery, uint64_t message)
{
    /* Not known here: it is loaded as held, if at all. */
    if (queue_hold(delivery->queue, message) == RESULT_OK)
        delivery_pump(delivery);
}

void delivery_release(struct delivery *delivery, uint64_t message)
{
    if (message == 0 || queue_release(delivery->queue, message, delivery_now_ms(delivery)) == RESULT_NOT_FOUND)
        delivery_rescan(delivery);
    if (message == 0)
        delivery->flushed_at_ms = wall_now_ms();
    queue_flush(delivery->queue, message, delivery_now_ms(delivery));
    struct map_node *node;
    for (size_t at = 0; (node = map_each(&delivery->routes, &at));)
        route_forget_failures(MAP_OWNER(node, struct route, by_name));
    delivery_pump(delivery);
}

void delivery_remove(struct delivery *delivery, uint64_t message)
{
    if (queue_remove(delivery->queue, message) == RESULT_OK)
        delivery_pump(delivery);
}

void delivery_count(const struct delivery *delivery, struct delivery_counts *out)
{
    size_t active = queue_active(delivery->queue);
    *out = (struct delivery_counts){queue_count(delivery->queue) - active, active, delivery->nlanes};
}

static void delivery_on_own_queued(void *context, const struct intake_queued *queued)
{
    struct delivery *delivery = context;
    delivery_add(delivery, queued->message->id, queued->hops, queued->message->envelope.nrcpt, queued->due_at_ms);
}

static void delivery_route(void *context, const struct envelope *envelope, struct slice *hops)
{
    const struct delivery *delivery = context;
    for (size_t i = 0; i < envelope->nrcpt; i++)
        hops[i] = conf_hop(delivery->config.conf, address_domain_of(envelope->recipients[i].address));
}

static uint64_t delivery_next_id(void *context)
{
    const struct delivery *delivery = context;
    return delivery->config.next_id(delivery->config.context);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static void delivery_apply(struct delivery *delivery)
{
    const struct conf_values *values = &delivery->config.conf->values;
    delivery->office.schedule = values->schedule;
    delivery->office.delay_notice_ms = values->delay_notice;
    delivery->office.lifetime_ms = values->lifetime;
    delivery->office.reporting_name = values->name;
    delivery->longest_delay_ms = schedule_longest_ms(&values->schedule);
}

static void delivery_take_config(struct delivery *delivery, struct conf *conf, struct tls_context *tls_any, struct tls_context *tls_verified)
{
    struct delivery_config old = delivery->config;
    delivery->config.conf = conf_ref(conf);
    delivery->config.tls_any = tls_context_ref(tls_any);
    delivery->config.tls_verified = tls_verified ? tls_context_ref(tls_verified) : NULL;
    delivery_apply(delivery);
    conf_unref(&old.conf);
    tls_context_unref(&old.tls_any);
    tls_context_unref(&old.tls_verified);
}

void delivery_reload(struct delivery *delivery, struct conf *conf, struct tls_context *tls_any, struct tls_context *tls_verified)
{
    delivery_take_config(delivery, conf, tls_any, tls_verified);
}

static int64_t delivery_lead_of_wall_ms(void *context, int64_t received_at_ms)
{
    struct delivery *delivery = context;
    return wall_lead_ms(&delivery->wall, received_at_ms);
}

static struct attempt_office delivery_office(struct delivery *delivery)
{
    return (struct attempt_office){
        .loop = delivery->config.loop,
        .store = delivery->config.store,
        .log = delivery->config.log,
        .accepted_state = STORE_DELIVERED,
        .next_id = delivery_next_id,
        .wall_lead_ms = delivery_lead_of_wall_ms,
        .started_at_boot_ms = delivery->wall.started_at_boot_ms,
        .route = delivery_route,
        .on_queued = delivery_on_own_queued,
        .context = delivery,
    };
}

enum result delivery_start(struct delivery **out, const struct delivery_config *config)
{
    const struct conf_values *values = &config->conf->values;
    const struct queue_limits limits = {
        .active_per_hop = (uint32_t)values->concurrency_per_hop * PARCELS_PER_LANE,
        .active_total = (uint32_t)values->concurrency * PARCELS_PER_LANE,
    };
    struct delivery *delivery = calloc(1, sizeof *delivery);
    if (!delivery)
        return RESULT_MEMORY;
    delivery->queue = queue_new(&limits);
    if (!delivery->queue) {
        free(delivery);
        return RESULT_MEMORY;
    }
    wall_open(&delivery->wall, config->loop, config->store, false, config->log);
    delivery->config = *config;
    delivery->config.conf = NULL;
    delivery->config.tls_any = delivery->config.tls_verified = NULL;
    delivery->office = delivery_office(delivery);
    delivery->services = (struct lane_services){config->loop, config->store, config->dns, config->log};
    delivery_take_config(delivery, config->conf, config->tls_any, config->tls_verified);
    uv_timer_init(config->loop, &delivery->timer);
    uv_timer_init(config->loop, &delivery->scan_timer);
    uv_timer_init(config->loop, &delivery->stop_timer);
    delivery->timer.data = delivery->scan_timer.data = delivery->stop_timer.data = delivery;
    delivery->handles_open = 3;
    *out = delivery;
    delivery_sweep_sometimes(delivery);
    delivery_rescan(delivery);
    return RESULT_OK;
}

static void delivery_free(struct delivery *delivery)
{
    void (*on_stopped)(void *) = delivery->on_stopped;
    void *context = delivery->stop_context;
    queue_free(&delivery->queue);
    routes_free(delivery);
    conf_unref(&delivery->config.conf);
    tls_context_unref(&delivery->config.tls_any);
    tls_context_unref(&delivery->config.tls_verified);
    free(delivery);
    on_stopped(context);
}

static void delivery_on_handle_closed(uv_handle_t *handle)
{
    struct delivery *delivery = handle->data;
    if (--delivery->handles_open == 0)
        delivery_free(delivery);
}

static void delivery_drop_lanes(struct delivery *delivery)
{
    LIST_EACH_SAFE(node, after, &delivery->busy)
        route_drop_lanes(LIST_OWNER(node, struct route, node));
}

static void delivery_on_stop_tick(uv_timer_t *timer)
{
    struct delivery *delivery = timer->data;
    attempt_stop(&delivery->office);
    if (delivery_now_ms(delivery) >= delivery->stop_at_ms)
        delivery_drop_lanes(delivery);
    if (delivery->nlanes > 0 || delivery->nparcels > 0 || delivery->nscans > 0 || uv_is_closing((uv_handle_t *)timer))
        return;
    assert(list_is_empty(&delivery->busy));
    uv_close((uv_handle_t *)&delivery->timer, delivery_on_handle_closed);
    uv_close((uv_handle_t *)&delivery->scan_timer, delivery_on_handle_closed);
    uv_close((uv_handle_t *)&delivery->stop_timer, delivery_on_handle_closed);
}

void delivery_stop(struct delivery *delivery, int64_t grace_ms, void (*on_stopped)(void *context), void *context)
{
    delivery->is_stopping = true;
    wall_close(&delivery->wall);
    delivery->on_stopped = on_stopped;
    delivery->stop_context = context;
    delivery->stop_at_ms = delivery_now_ms(delivery) + grace_ms;
    uv_timer_stop(&delivery->timer);
    uv_timer_stop(&delivery->scan_timer);
    LIST_EACH_SAFE(node, after, &delivery->busy)
        route_stop(LIST_OWNER(node, struct route, node));
    uv_timer_start(&delivery->stop_timer, delivery_on_stop_tick, 1, STOP_TICK_MS);
}
