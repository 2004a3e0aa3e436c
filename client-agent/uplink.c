#include "uplink.h"

#include "aging.h"

#include "path/race.h"

#include "crypto/crypto.h"
#include "mail/message_id.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct uplink {
    struct uplink_config config;
    struct buffer password;
    enum uplink_state state;
    struct search *search;
    struct outbound *session;     /* past PROVEN */
    struct courier *courier;
    bool is_loading;              /* a job is on its way from the store */
    bool is_stale;                /* settings have changed: this session ends when idle */
    struct path way;
    bool has_way;
    bool is_way_told;             /* on_way has been called for this session's */
    struct ways ways;
    enum network_state network;   /* what the last search came to */
    uint32_t failures;            /* searches and sessions in a row that brought no decision on a message */
    int64_t last_search_ms;       /* loop time of its start */
    int64_t next_search_ms;       /* wall time */
    int64_t idle_since_ms;        /* loop time */
    uint64_t ncarried;            /* in this session */
    uv_timer_t timer;             /* waiting: the back-off; ready: keeping warm */
    struct search_trial trials[RACE_PATHS_MAX];
    size_t ntrials;
    int64_t searched_at_ms;       /* wall time */
    char trouble[UPLINK_WORDS];
    uint64_t sending, sending_octets;
    struct aging aging;
    uint32_t nrecording;          /* outcomes on their way to the store */
    bool is_stopping, is_timer_closed;
    void (*on_stopped)(void *context);
    void *stopped_context;
};

static void go_on(struct uplink *uplink);
static void on_timer(uv_timer_t *timer);

const char *uplink_state_name(enum uplink_state state)
{
    switch (state) {
    case UPLINK_RESTING: return "resting";
    case UPLINK_SEARCHING: return "searching";
    case UPLINK_LOGIN: return "login";
    case UPLINK_READY: return "ready";
    case UPLINK_SENDING: return "sending";
    case UPLINK_LEAVING: return "leaving";
    case UPLINK_WAITING: return "waiting";
    case UPLINK_STOPPED: return "stopped";
    }
    return "unknown";
}

static void enter(struct uplink *uplink, enum uplink_state state)
{
    if (uplink->state == state)
        return;
    log_event(uplink->config.log, LOG_DEBUG, "uplink", LOG_TEXT("from", uplink_state_name(uplink->state)), LOG_TEXT("to", uplink_state_name(state)));
    uplink->state = state;
    uv_timer_stop(&uplink->timer);
}

/* ---- stopping --------------------------------------------------------------------------------------------------- */

static void tell_stopped_when_idle(struct uplink *uplink)
{
    if (!uplink->is_stopping || uplink->session || uplink->is_loading || uplink->nrecording > 0 || uplink->aging.is_running || !uplink->is_timer_closed || !uplink->on_stopped)
        return;
    void (*on_stopped)(void *) = uplink->on_stopped;
    uplink->on_stopped = NULL;
    enter(uplink, UPLINK_STOPPED);
    on_stopped(uplink->stopped_context);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct uplink *uplink = handle->data;
    uplink->is_timer_closed = true;
    tell_stopped_when_idle(uplink);
}

/* ---- waiting and resting ---------------------------------------------------------------------------------------- */

static int64_t patience_ms(const struct uplink *uplink)
{
    return schedule_delay_ms(&uplink->config.settings->values.patience, uplink->failures, crypto_random_u32());
}

/* The queue runs on the loop's clock, the store on the wall's. */
static int64_t now_of(const struct uplink *uplink)
{
    return loop_now_ms(uplink->config.loop);
}

static void give_back(struct uplink *uplink, const struct attempt_end *end)
{
    int64_t longest_ms = schedule_longest_ms(&uplink->config.office->schedule);
    uplink->nrecording--;
    if (end->needs_more)
        queue_defer(uplink->config.queue, end->message, end->hop, schedule_on_clock(end->next_attempt_ms, wall_now_ms(), now_of(uplink), longest_ms));
    else
        queue_finish(uplink->config.queue, end->message, end->hop);
}

static void arm_search(struct uplink *uplink, int64_t delay_ms)
{
    uplink->next_search_ms = wall_now_ms() + delay_ms;
    uv_timer_start(&uplink->timer, on_timer, (uint64_t)(delay_ms > 0 ? delay_ms : 0), 0);
}

/* There is no way, or the relay does not want us now: come again later. */
static void wait_a_while(struct uplink *uplink)
{
    if (uplink->is_stopping)
        return;
    uplink->failures++;
    enter(uplink, UPLINK_WAITING);
    arm_search(uplink, patience_ms(uplink));
    if (uplink->nrecording == 0)
        aging_check(&uplink->aging);
}

/* Deferred mail: its own time has not come. */
static void wait_for_due(struct uplink *uplink)
{
    int64_t deadline_ms = queue_deadline_ms(uplink->config.queue);
    enter(uplink, UPLINK_WAITING);
    arm_search(uplink, deadline_ms - now_of(uplink));
}

static void on_aged(void *context)
{
    struct uplink *uplink = context;
    go_on(uplink);
    tell_stopped_when_idle(uplink);
}

static void set_trouble(struct uplink *uplink, const char *words)
{
    snprintf(uplink->trouble, sizeof uplink->trouble, "%s", words);
}

/* ---- ways that last, and ways that die young -------------------------------------------------------------------- */

static void tell_way(struct uplink *uplink)
{
    if (!uplink->is_way_told && uplink->ways.has_known)
        uplink->config.on_way(uplink->config.context, &uplink->ways);
    uplink->is_way_told = true;
}

static void note_verdict(struct uplink *uplink, enum path_verdict verdict, const char *words)
{
    for (size_t i = 0; i < uplink->ntrials; i++)
        if (path_equal(&uplink->trials[i].path, &uplink->way)) {
            uplink->trials[i].verdict = verdict;
            snprintf(uplink->trials[i].words, sizeof uplink->trials[i].words, "%s", words);
        }
}

/* In login, or under a message. */
static void blame_way(struct uplink *uplink, const struct outbound_failure *failure)
{
    switch (failure->verdict) {
    case PATH_DIED_EARLY:
    case PATH_DROPPED:
    case PATH_TLS_FAILED:
        note_verdict(uplink, PATH_DIED_EARLY, failure->words);
        ways_demote(&uplink->ways, &uplink->way, now_of(uplink));
        break;
    case PATH_RELAY_REFUSED:
        note_verdict(uplink, PATH_RELAY_REFUSED, failure->words);
        break;
    default: /* our own doing */
        break;
    }
}

/* ---- the message under way -------------------------------------------------------------------------------------- */

static void on_recorded(void *context, const struct attempt_end *end)
{
    struct uplink *uplink = context;
    give_back(uplink, end);
    if (uplink->state == UPLINK_WAITING && uplink->nrecording == 0)
        aging_check(&uplink->aging);
    go_on(uplink);
    tell_stopped_when_idle(uplink);
}

static bool is_decided_by_relay(const struct courier *courier)
{
    for (size_t i = 0; i < courier_job(courier)->nrecipients; i++)
        if (!courier_results(courier)[i].is_local)
            return true;
    return false;
}

static void record(struct uplink *uplink, struct courier *courier)
{
    char host[160];
    path_format(&uplink->way, host, sizeof host);
    bool tells = uplink->session && (smtp_client_peer(outbound_core(uplink->session))->capabilities & SMTP_CAP_DSN);
    if (is_decided_by_relay(courier)) {
        uplink->failures = 0;
        ways_promote(&uplink->ways, &uplink->way);
        tell_way(uplink);
    }
    uplink->nrecording++;
    attempt_record(uplink->config.office, courier_job(courier), (struct slice){0}, courier_results(courier), slice_from_cstr(host), tells, on_recorded, uplink);
}

static void on_delivered(void *context, struct courier *courier)
{
    struct uplink *uplink = context;
    assert(courier == uplink->courier);
    uplink->courier = NULL;
    uplink->sending = 0;
    record(uplink, courier);
    courier_free(&courier);
}

static void on_job(void *context, enum result result, struct store_job *job)
{
    struct uplink *uplink = context;
    uint64_t message = uplink->sending;
    uplink->is_loading = false;
    bool may_send = uplink->state == UPLINK_SENDING && uplink->session && !uplink->is_stopping;
    if (result == RESULT_OK && may_send) {
        uplink->sending_octets = job->message.size_octets;
        uplink->courier = courier_start(uplink->config.store, uplink->session, job, on_delivered, uplink);
    uplink->ncarried++;
        if (uplink->courier) {
            outbound_pump(uplink->session);
            return;
        }
    } else {
        store_job_free(&job);
    }
    uplink->sending = 0;
    /* Nothing left to do for it: a person removed it. Otherwise it waits for the next session, or for disk and memory to recover. */
    bool is_session_lost = result == RESULT_OK && !may_send;
    if (result == RESULT_NOT_FOUND)
        queue_finish(uplink->config.queue, message, (struct slice){0});
    else
        queue_defer(uplink->config.queue, message, (struct slice){0}, now_of(uplink) + (is_session_lost ? 0 : ATTEMPT_RETRY_MS));
    if (uplink->state == UPLINK_SENDING)
        enter(uplink, UPLINK_READY);
    go_on(uplink);
    tell_stopped_when_idle(uplink);
}

static bool send_next(struct uplink *uplink)
{
    struct queue_job job;
    if (!queue_next(uplink->config.queue, now_of(uplink), &job))
        return false;
    uplink->sending = job.message;
    uplink->sending_octets = 0;
    uplink->is_loading = true;
    uplink->idle_since_ms = now_of(uplink);
    enter(uplink, UPLINK_SENDING);
    store_job_load(uplink->config.store, job.message, job.hop, on_job, uplink);
    return true;
}

static void leave(struct uplink *uplink)
{
    enter(uplink, UPLINK_LEAVING);
    outbound_quit(uplink->session);
}

/* Nothing to send: the timer ends the session, or comes earlier for mail whose time is near. */
static void keep_warm_or_leave(struct uplink *uplink)
{
    int64_t now_ms = now_of(uplink), warm_until_ms = uplink->idle_since_ms + uplink->config.settings->values.keep_warm;
    /* An outcome that is being recorded holds the queue's one place: more mail may wait behind it. */
    if (now_ms >= warm_until_ms) {
        if (uplink->nrecording == 0)
            leave(uplink);
        return;
    }
    int64_t delay_ms = warm_until_ms - now_ms, due_in_ms = queue_deadline_ms(uplink->config.queue) - now_ms;
    if (due_in_ms < delay_ms)
        delay_ms = due_in_ms > 0 ? due_in_ms : 0;
    uv_timer_start(&uplink->timer, on_timer, (uint64_t)delay_ms, 0);
}

/* ---- the session ------------------------------------------------------------------------------------------------ */

static void on_session_failed(struct uplink *uplink, const struct outbound_failure *failure)
{
    char words[UPLINK_WORDS];
    /* The relay may end an idle session when it likes. */
    if (uplink->state == UPLINK_READY || uplink->state == UPLINK_LEAVING)
        return;
    log_event(uplink->config.log, LOG_WARNING, "uplink-failed", LOG_TEXT("phase", failure->phase), LOG_TEXT("reason", failure->words));
    if (failure->smtp == SMTP_FAIL_AUTH_REFUSED)
        snprintf(words, sizeof words, "the relay refuses the name or password (%s); run: postern-agent setup", failure->words);
    else
        snprintf(words, sizeof words, "%s", failure->words);
    set_trouble(uplink, words);
    blame_way(uplink, failure);
}

static void on_smtp(struct uplink *uplink, const struct outbound_event *event)
{
    if (event->smtp.type != SMTP_CLIENT_READY)
        return;
    if (uplink->state == UPLINK_LOGIN) {
        uplink->trouble[0] = '\0';
        log_event(uplink->config.log, LOG_INFO, "uplink-ready", LOG_TEXT("session", outbound_id(uplink->session)), LOG_TEXT("way", outbound_peer(uplink->session)));
    }
    uplink->idle_since_ms = now_of(uplink);
    enter(uplink, UPLINK_READY);
    go_on(uplink);
}

static void on_session_closed(struct uplink *uplink)
{
    bool was_idle = uplink->state == UPLINK_READY || uplink->state == UPLINK_LEAVING;
    uplink->session = NULL;
    uplink->has_way = false;
    uplink->is_stale = false;
    uplink->ncarried = 0;
    if (was_idle) {
        uplink->failures = 0;
        enter(uplink, UPLINK_RESTING);
    } else {
        wait_a_while(uplink);
    }
    go_on(uplink);
    tell_stopped_when_idle(uplink);
}

static void on_session(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct uplink *uplink = context;
    (void)outbound;
    if (uplink->courier)
        courier_event(uplink->courier, event);
    switch (event->type) {
    case OUTBOUND_CONNECTED: break;
    case OUTBOUND_SMTP: on_smtp(uplink, event); break;
    case OUTBOUND_FAILED: on_session_failed(uplink, event->failure); break;
    case OUTBOUND_CLOSED: on_session_closed(uplink); break;
    }
}

/* ---- the search ------------------------------------------------------------------------------------------------- */

static void keep_trials(struct uplink *uplink)
{
    size_t n = search_ntrials(uplink->search);
    uplink->ntrials = n < RACE_PATHS_MAX ? n : RACE_PATHS_MAX;
    if (uplink->ntrials > 0)
        memcpy(uplink->trials, search_trials(uplink->search), uplink->ntrials * sizeof *uplink->trials);
    uplink->searched_at_ms = wall_now_ms();
}

static enum network_state network_of_trials(const struct uplink *uplink)
{
    struct network_trial trials[RACE_PATHS_MAX];
    for (size_t i = 0; i < uplink->ntrials; i++)
        trials[i] = (struct network_trial){.path = uplink->trials[i].path, .verdict = uplink->trials[i].verdict};
    return network_conclude(&(struct network_facts){.trials = trials, .n = uplink->ntrials});
}

static void describe(const struct uplink *uplink, struct buffer *out)
{
    struct network_trial trials[RACE_PATHS_MAX];
    for (size_t i = 0; i < uplink->ntrials; i++)
        trials[i] = (struct network_trial){.path = uplink->trials[i].path, .verdict = uplink->trials[i].verdict};
    if (network_describe(&(struct network_facts){.trials = trials, .n = uplink->ntrials}, uplink->has_way ? &uplink->way : NULL, out) != RESULT_OK)
        buffer_clear(out);
}

static void on_search_end(void *context, struct outbound *winner, const struct path *path)
{
    struct uplink *uplink = context;
    struct buffer words = BUFFER(UPLINK_WORDS - 1);
    keep_trials(uplink);
    uplink->has_way = winner != NULL;
    uplink->is_way_told = false;
    if (winner) {
        const struct path_address *resolved;
        size_t nresolved = search_resolved(uplink->search, &resolved);
        uplink->way = *path;
        ways_won(&uplink->ways, path, resolved, nresolved);
    }
    uplink->network = network_of_trials(uplink);
    describe(uplink, &words);
    log_event(uplink->config.log, winner ? LOG_INFO : LOG_WARNING, winner ? "way-found" : "no-way", LOG_STR("verdict", buffer_slice(&words)));
    if (!winner) {
        const char *resolver = search_resolver_words(uplink->search);
        snprintf(uplink->trouble, sizeof uplink->trouble, "%s%s%.*s", resolver ? resolver : "", resolver ? "; " : "", SLICE_ARG(buffer_slice(&words)));
    }
    buffer_free(&words);
    search_free(&uplink->search);
    if (!winner) {
        wait_a_while(uplink);
        return;
    }
    uplink->session = winner;
    enter(uplink, UPLINK_LOGIN);
    outbound_set_handler(winner, (struct outbound_handler){on_session, uplink});
    smtp_client_login(outbound_core(winner), now_of(uplink));
}

static void start_search(struct uplink *uplink)
{
    struct ways *ways = &uplink->ways;
    ways_forget_old(ways, now_of(uplink));
    struct search_config config = {
        .loop = uplink->config.loop,
        .settings = uplink->config.settings,
        .tls = uplink->config.tls,
        .password = buffer_slice(&uplink->password),
        .known = ways->has_known ? &ways->known : NULL,
        .remembered = ways->addresses,
        .nremembered = ways->naddresses,
        .demoted = ways->demoted,
        .ndemoted = ways->ndemoted,
        .log = uplink->config.log,
        .on_end = on_search_end,
        .context = uplink,
    };
    /* The bad news are for a search that has failed to tell. */
    if (uplink->searched_at_ms == 0)
        uplink->network = NETWORK_ONLINE;
    uplink->last_search_ms = now_of(uplink);
    uplink->next_search_ms = 0;
    enter(uplink, UPLINK_SEARCHING);
    uplink->search = search_start(&config);
    if (!uplink->search)
        wait_a_while(uplink);
}

/* RFC 9422 4: the relay takes so many messages in a session, and the next in another. */
static bool is_used_up(const struct uplink *uplink)
{
    const struct smtp_peer *peer = smtp_client_peer(outbound_core(uplink->session));
    return peer->transactions_max > 0 && uplink->ncarried >= peer->transactions_max;
}

/* The one place that decides what to do next. */
static void go_on(struct uplink *uplink)
{
    if (uplink->is_stopping)
        return;
    int64_t deadline_ms = queue_deadline_ms(uplink->config.queue);
    switch (uplink->state) {
    case UPLINK_RESTING:
        if (deadline_ms <= now_of(uplink))
            start_search(uplink);
        else if (deadline_ms != INT64_MAX)
            wait_for_due(uplink);
        break;
    case UPLINK_READY:
        if (uplink->is_stale || is_used_up(uplink))
            leave(uplink);
        else if (!uplink->is_loading && !uplink->aging.is_running && !send_next(uplink))
            keep_warm_or_leave(uplink);
        break;
    case UPLINK_SEARCHING:
    case UPLINK_LOGIN:
    case UPLINK_SENDING:
    case UPLINK_LEAVING:
    case UPLINK_WAITING:
    case UPLINK_STOPPED:
        break;
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct uplink *uplink = timer->data;
    if (uplink->state == UPLINK_WAITING)
        enter(uplink, UPLINK_RESTING);
    go_on(uplink);
}

void uplink_wake(struct uplink *uplink, bool is_urgent)
{
    int64_t rest_ms = uplink->last_search_ms + UPLINK_NEW_MAIL_MS - now_of(uplink);
    if (is_urgent)
        uplink->failures = 0;
    if (uplink->state == UPLINK_WAITING && (uplink->failures == 0 || rest_ms <= 0))
        enter(uplink, UPLINK_RESTING);
    else if (uplink->state == UPLINK_WAITING && (int64_t)uv_timer_get_due_in(&uplink->timer) > rest_ms)
        arm_search(uplink, rest_ms);
    go_on(uplink);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

/* The old one stays when memory is out. */
static enum result take_password(struct uplink *uplink, struct slice password)
{
    struct buffer fresh = BUFFER(SASL_PASSWORD_MAX);
    enum result result = buffer_append(&fresh, password);
    if (result != RESULT_OK) {
        buffer_wipe_free(&fresh);
        return result;
    }
    buffer_wipe_free(&uplink->password);
    uplink->password = fresh;
    return RESULT_OK;
}

struct uplink *uplink_new(const struct uplink_config *config)
{
    struct uplink *uplink = calloc(1, sizeof *uplink);
    if (!uplink)
        return NULL;
    if (take_password(uplink, config->password) != RESULT_OK || uv_timer_init(config->loop, &uplink->timer) < 0) {
        buffer_wipe_free(&uplink->password);
        free(uplink);
        return NULL;
    }
    uplink->config = *config;
    uplink->config.settings = settings_ref(config->settings);
    uplink->config.tls = tls_context_ref(config->tls);
    uplink->timer.data = uplink;
    uplink->ways = *config->ways;
    uplink->aging = (struct aging){.store = config->store, .queue = config->queue, .office = config->office, .words = uplink->trouble, .on_end = on_aged, .context = uplink};
    uplink->network = config->ways->has_known ? NETWORK_ONLINE : NETWORK_OFFLINE;
    return uplink;
}

enum result uplink_reload(struct uplink *uplink, struct settings *settings, struct tls_context *tls, struct slice password)
{
    enum result result = take_password(uplink, password);
    if (result != RESULT_OK)
        return result;
    ways_forget(&uplink->ways, slice_equal(settings->values.relay_host, uplink->config.settings->values.relay_host));
    settings_unref(&uplink->config.settings);
    tls_context_unref(&uplink->config.tls);
    uplink->config.settings = settings_ref(settings);
    uplink->config.tls = tls_context_ref(tls);
    uplink->is_stale = uplink->session != NULL;
    if (uplink->state == UPLINK_SEARCHING) {
        search_free(&uplink->search);
        enter(uplink, UPLINK_RESTING);
    }
    uplink_wake(uplink, true);
    return RESULT_OK;
}

void uplink_stop(struct uplink *uplink, void (*on_stopped)(void *context), void *context)
{
    uplink->is_stopping = true;
    aging_stop(&uplink->aging);
    uplink->on_stopped = on_stopped;
    uplink->stopped_context = context;
    if (uplink->search)
        search_free(&uplink->search);
    if (uplink->courier) {
        /* Given up without the final dot: the relay drops the half, the queue on disk still has the whole. */
        courier_free(&uplink->courier);
        outbound_close(uplink->session);
    } else if (uplink->session) {
        outbound_quit(uplink->session);
    }
    uv_close((uv_handle_t *)&uplink->timer, on_timer_closed);
}

void uplink_free(struct uplink **uplink)
{
    struct uplink *u = *uplink;
    *uplink = NULL;
    if (!u)
        return;
    assert(!u->session && u->is_timer_closed);
    buffer_wipe_free(&u->password);
    settings_unref(&u->config.settings);
    tls_context_unref(&u->config.tls);
    free(u);
}

void uplink_status(const struct uplink *uplink, struct uplink_status *out)
{
    *out = (struct uplink_status){
        .state = uplink->state,
        .network = uplink->has_way ? NETWORK_ONLINE : uplink->network,
        .has_way = uplink->has_way,
        .way = uplink->way,
        .trials = uplink->trials,
        .ntrials = uplink->ntrials,
        .since_ms = uplink->searched_at_ms,
        .next_search_ms = uplink->state == UPLINK_WAITING ? uplink->next_search_ms : 0,
        .trouble = uplink->trouble[0] ? uplink->trouble : NULL,
        .sending = uplink->sending,
        .sent_octets = uplink->courier ? courier_octets(uplink->courier) : 0,
        .sending_octets = uplink->sending ? uplink->sending_octets : 0,
    };
    if (uplink->search && uplink->searched_at_ms == 0) {
        out->trials = search_trials(uplink->search);
        out->ntrials = search_ntrials(uplink->search);
    }
}
