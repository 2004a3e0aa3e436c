#include "uplink_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_timer(uv_timer_t *timer);

void uplink_enter(struct uplink *uplink, enum uplink_state state)
{
    if (uplink->state == state)
        return;
    log_event(uplink->config.log, LOG_DEBUG, "uplink", LOG_TEXT("from", uplink_state_name(uplink->state)), LOG_TEXT("to", uplink_state_name(state)));
    uplink->state = state;
    uv_timer_stop(&uplink->timer);
}

/* ---- stopping --------------------------------------------------------------------------------------------------- */

static bool is_anything_open(const struct uplink *uplink)
{
    bool is_session_open = uplink->session.outbound || uplink->nclosing > 0;
    return is_session_open || !consignment_is_idle(&uplink->consignment) || !inquiry_is_idle(uplink->inquiry) || uplink->aging.is_running || !uplink->is_timer_closed;
}

void uplink_tell_stopped(struct uplink *uplink)
{
    if (!uplink->is_stopping || !uplink->on_stopped || is_anything_open(uplink))
        return;
    void (*on_stopped)(void *) = uplink->on_stopped;
    uplink->on_stopped = NULL;
    uplink_enter(uplink, UPLINK_STOPPED);
    on_stopped(uplink->stopped_context);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct uplink *uplink = handle->data;
    uplink->is_timer_closed = true;
    uplink_tell_stopped(uplink);
}

/* ---- waiting and resting ---------------------------------------------------------------------------------------- */

int64_t uplink_now_ms(const struct uplink *uplink)
{
    return loop_now_ms(uplink->config.loop);
}

/* A time that comes is told in wall time once, so that it reads the same each time. */
static void plan(struct uplink *uplink, int64_t at_ms)
{
    if (uplink->planned_ms == at_ms)
        return;
    uplink->planned_ms = at_ms;
    uplink->next_search_ms = at_ms == INT64_MAX ? 0 : wall_now_ms() + at_ms - uplink_now_ms(uplink);
}

/* Deferred mail: its own time has not come. */
static void wait_for_due(struct uplink *uplink, int64_t due_ms)
{
    int64_t wait_ms = due_ms - uplink_now_ms(uplink);
    uplink_enter(uplink, UPLINK_WAITING);
    plan(uplink, due_ms);
    uv_timer_start(&uplink->timer, on_timer, (uint64_t)(wait_ms > 0 ? wait_ms : 0), 0);
}

void uplink_look_for_aged(struct uplink *uplink)
{
    if (uplink->consignment.nrecording == 0 && !uplink->is_stopping)
        aging_check(&uplink->aging);
}

static void on_aged(void *context)
{
    struct uplink *uplink = context;
    uplink_go_on(uplink);
    uplink_tell_stopped(uplink);
}

void uplink_set_trouble(struct uplink *uplink, const char *words)
{
    snprintf(uplink->trouble, sizeof uplink->trouble, "%s", words);
    uplink->is_trouble_networks = false;
}

/* ---- the message under way -------------------------------------------------------------------------------------- */

static bool may_send(void *context)
{
    const struct uplink *uplink = context;
    return uplink->state == UPLINK_SENDING && uplink->session.outbound && !uplink->is_stopping;
}

/* However often the line is cut: octets get through. But it is no merit of this way what others have brought. */
static void on_taken(void *context, bool is_ours)
{
    struct uplink *uplink = context;
    uplink->session.gets_on = true;
    if (!is_ours || uplink->session.is_decided || uplink->session.is_stale)
        return;
    uplink->session.is_decided = true;
    search_carried(uplink->search, 0);
}

static bool is_decided_by_relay(const struct courier *courier)
{
    for (size_t i = 0; i < courier_job(courier)->nrecipients; i++)
        if (!courier_results(courier)[i].is_local)
            return true;
    return false;
}

static void on_carried(void *context, const struct courier *courier)
{
    struct uplink *uplink = context;
    struct session *session = &uplink->session;
    session->octets += courier_octets(courier) - uplink->consignment.from_octets;
    if (!is_decided_by_relay(courier))
        return;
    session->is_decided = true;
    if (session->is_stale)
        return;
    search_carried(uplink->search, courier_job(courier)->message.size_octets);
    recall_save_memory(uplink->config.recall, uplink->config.settings);
}

static void on_recorded(void *context, const struct attempt_end *end)
{
    struct uplink *uplink = context;
    inquiry_took(uplink->inquiry, end);
    if (uplink->state == UPLINK_WAITING)
        uplink_look_for_aged(uplink);
    uplink_go_on(uplink);
    uplink_tell_stopped(uplink);
}

static void on_unsent(void *context)
{
    struct uplink *uplink = context;
    if (uplink->state == UPLINK_SENDING)
        uplink_enter(uplink, UPLINK_READY);
    uplink_go_on(uplink);
    uplink_tell_stopped(uplink);
}

/* ---- what became of those before -------------------------------------------------------------------------------- */

static void on_inquiry(void *context)
{
    struct uplink *uplink = context;
    uplink_go_on(uplink);
    uplink_tell_stopped(uplink);
}

static void look_around(const struct uplink *uplink);

static void on_inquiry_due(void *context)
{
    look_around(context);
    uplink_go_on(context);
}

int64_t uplink_ask_at_ms(const struct uplink *uplink)
{
    return inquiry_first_ms(uplink->inquiry, &uplink->config.recall->profile);
}

/* Nothing is handed over to a relay before what an earlier one has is settled. */
static bool is_bound(struct uplink *uplink)
{
    if (inquiry_is_bound(uplink->inquiry))
        return true;
    return consignment_is_idle(&uplink->consignment) && !consignment_is_carried(&uplink->consignment) && inquiry_bind(uplink->inquiry);
}

/* ---- the network ------------------------------------------------------------------------------------------------ */

void uplink_set_network(struct uplink *uplink, const struct monitor_event *event)
{
    struct memory_key key = {{0}};
    if (uplink->is_stopping)
        return;
    if (event->has_key)
        memcpy(key.octets, event->key, sizeof key.octets);
    if (memcmp(&key, &uplink->network, sizeof key) != 0) {
        findings_forget(&uplink->findings);
        uplink->is_relay_reached = false;
        if (uplink->is_trouble_networks)
            uplink_set_trouble(uplink, "");
    }
    uplink->network = key;
    if (uplink->config.awaits_network)
        uv_timer_stop(&uplink->timer);
    uplink->config.awaits_network = false;
    search_set_network(uplink->search, event);
    uplink_judge_session(uplink, event);
    uplink_go_on(uplink);
}

/* ---- the search ------------------------------------------------------------------------------------------------- */

static void on_drop(void *context)
{
    struct uplink *uplink = context;
    if (!uplink->session.outbound || uplink->session.is_stale)
        return;
    uplink_give_up(uplink, "the network has changed");
    uplink_go_on(uplink);
}

static void log_verdict(const struct uplink *uplink, enum log_level level, const char *event)
{
    struct buffer words = BUFFER(UPLINK_WORDS - 1);
    if (uplink_describe(uplink, &words) != RESULT_OK)
        buffer_clear(&words);
    log_event(uplink->config.log, level, event, LOG_STR("verdict", buffer_slice(&words)));
    buffer_free(&words);
}

static void on_use(void *context, struct outbound *winner, const struct path *path)
{
    struct uplink *uplink = context;
    findings_take(&uplink->findings, search_finder(uplink->search), true, wall_now_ms());
    session_begin(&uplink->session, winner, path);
    log_verdict(uplink, LOG_INFO, "way-found");
    recall_save_memory(uplink->config.recall, uplink->config.settings);
    uplink_enter(uplink, UPLINK_LOGIN);
    uplink_log_in(uplink);
}

/* The last search's end, and what the challenge has shown since. */
static void tell_networks_trouble(struct uplink *uplink)
{
    findings_trouble(&uplink->findings, uplink->search, uplink->config.settings, uplink->trouble, sizeof uplink->trouble);
    uplink->is_trouble_networks = true;
}

static void on_lost(void *context)
{
    struct uplink *uplink = context;
    uplink->is_relay_reached = uplink->findings.is_login_refused = false;
    inquiry_search_over(uplink->inquiry);
    inquiry_not_heard(uplink->inquiry);
    findings_take(&uplink->findings, search_finder(uplink->search), true, wall_now_ms());
    log_verdict(uplink, LOG_WARNING, "no-way");
    tell_networks_trouble(uplink);
    recall_save_memory(uplink->config.recall, uplink->config.settings);
    uplink_look_for_aged(uplink);
}

static void look_around(const struct uplink *uplink)
{
    if (uplink->config.look_around)
        uplink->config.look_around(uplink->config.context);
}

static void on_progress(void *context)
{
    struct uplink *uplink = context;
    look_around(uplink);
    if (uplink->session.outbound)
        return;
    /* The challenge may have been answered only now. */
    if (uplink->is_trouble_networks && finder_state(search_finder(uplink->search)) == FINDER_WAITING)
        tell_networks_trouble(uplink);
    uplink_go_on(uplink);
}

/* ---- what is next ----------------------------------------------------------------------------------------------- */

static bool send_next(struct uplink *uplink)
{
    if (!consignment_take(&uplink->consignment))
        return false;
    uplink->idle_since_ms = uplink_now_ms(uplink);
    uplink_enter(uplink, UPLINK_SENDING);
    return true;
}

static void leave(struct uplink *uplink)
{
    if (!uplink->session.is_stale)
        inquiry_search_over(uplink->inquiry);
    uplink_enter(uplink, UPLINK_LEAVING);
    outbound_quit(uplink->session.outbound);
}

/* Nothing to send, nothing to ask: the timer ends the session, or comes earlier for mail whose time is near. */
static void keep_warm_or_leave(struct uplink *uplink)
{
    if (!smtp_client_is_early(outbound_core(uplink->session.outbound))) /* else it may not have been let in */
        inquiry_search_over(uplink->inquiry);
    int64_t now_ms = uplink_now_ms(uplink), warm_until_ms = uplink->idle_since_ms + uplink->config.settings->values.keep_warm;
    /* An outcome that is being recorded holds the queue's one place: more mail may wait behind it. */
    if (now_ms >= warm_until_ms) {
        if (uplink->consignment.nrecording == 0)
            leave(uplink);
        return;
    }
    int64_t delay_ms = warm_until_ms - now_ms, due_in_ms = queue_deadline_ms(uplink->config.queue) - now_ms, ask_in_ms = inquiry_deadline_ms(uplink->inquiry) - now_ms;
    if (ask_in_ms < due_in_ms)
        due_in_ms = ask_in_ms;
    if (due_in_ms < delay_ms)
        delay_ms = due_in_ms > 0 ? due_in_ms : 0;
    uv_timer_start(&uplink->timer, on_timer, (uint64_t)delay_ms, 0);
}

static void tell_wish(struct uplink *uplink, bool is_due)
{
    if (is_due == uplink->is_wanted)
        return;
    uplink->is_wanted = is_due;
    search_want(uplink->search, is_due ? FINDER_WISH_DUE : FINDER_WISH_NOTHING);
}

/* No session: the search does what is to be done when mail is due. */
static void follow_search(struct uplink *uplink)
{
    int64_t due_ms = queue_deadline_ms(uplink->config.queue);
    const struct finder *finder = search_finder(uplink->search);
    if (uplink->config.awaits_network)
        return;
    tell_wish(uplink, due_ms <= uplink_now_ms(uplink) || inquiry_wants_session(uplink->inquiry));
    if (uplink->consignment.nrecording > 0)
        return;
    if (!uplink->is_wanted && due_ms != INT64_MAX) {
        wait_for_due(uplink, due_ms);
    } else if (!uplink->is_wanted) {
        uplink_enter(uplink, UPLINK_RESTING);
    } else if (finder_state(finder) == FINDER_SEARCHING) {
        uplink_enter(uplink, UPLINK_SEARCHING);
        plan(uplink, INT64_MAX);
        findings_take(&uplink->findings, finder, false, 0);
    } else if (finder_state(finder) == FINDER_WAITING && finder_next_search_ms(finder) > uplink_now_ms(uplink)) {
        uplink_enter(uplink, UPLINK_WAITING);
        uv_timer_stop(&uplink->timer);
        plan(uplink, finder_next_search_ms(finder));
    }
}

void uplink_make_way(struct uplink *uplink)
{
    int64_t again_ms = consignment_yield(&uplink->consignment), now_ms = uplink_now_ms(uplink);
    if (again_ms != INT64_MAX)
        uv_timer_start(&uplink->timer, on_timer, (uint64_t)(again_ms > now_ms ? again_ms - now_ms : 0), 0);
}

void uplink_go_on(struct uplink *uplink)
{
    if (uplink->is_stopping)
        return;
    bool is_ours = is_bound(uplink);
    if (!uplink->session.outbound) {
        follow_search(uplink);
        return;
    }
    if (uplink->state == UPLINK_SENDING)
        uplink_make_way(uplink);
    bool is_busy = !is_ours || uplink->state != UPLINK_READY || uplink->consignment.is_loading || uplink->aging.is_running || uplink->session.is_asking;
    if (is_busy)
        return;
    if (uplink->session.is_stale)
        leave(uplink);
    else if (!session_is_used_up(&uplink->session) && send_next(uplink))
        return;
    else if (session_ask_for_token(&uplink->session, &uplink->config.recall->profile) || inquiry_ask(uplink->inquiry))
        return;
    else if (session_is_used_up(&uplink->session))
        leave(uplink);
    else
        keep_warm_or_leave(uplink);
}

static void on_timer(uv_timer_t *timer)
{
    struct uplink *uplink = timer->data;
    look_around(uplink);
    uplink->config.awaits_network = false;
    if (uplink->state == UPLINK_WAITING)
        uplink_enter(uplink, UPLINK_RESTING);
    uplink_go_on(uplink);
}

void uplink_wake(struct uplink *uplink, bool is_urgent)
{
    bool is_due = queue_deadline_ms(uplink->config.queue) <= uplink_now_ms(uplink);
    if (!uplink->is_stopping && !uplink->session.outbound && !uplink->config.awaits_network && (is_due || is_urgent)) {
        uplink->is_wanted = true;
        search_want(uplink->search, is_urgent ? FINDER_WISH_NOW : FINDER_WISH_NEW_MAIL);
    }
    uplink_go_on(uplink);
}

void uplink_flush(struct uplink *uplink)
{
    inquiry_ask_now(uplink->inquiry);
    uplink_wake(uplink, true);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static struct inquiry *make_inquiry(struct uplink *uplink)
{
    const struct uplink_config *config = &uplink->config;
    return inquiry_new(&(struct inquiry_config){
        .loop = config->loop,
        .store = config->store,
        .session = &uplink->session,
        .profile = &config->recall->profile,
        .office = config->office,
        .queue = config->queue,
        .naming = config->naming,
        .log = config->log,
        .on_free = on_inquiry,
        .on_wake = on_inquiry_due,
        .on_unscheduled = config->on_unscheduled, .unscheduled_context = config->context,
        .context = uplink,
    }, config->settings);
}

static struct search *make_search(struct uplink *uplink)
{
    const struct uplink_config *config = &uplink->config;
    return search_new(&(struct search_config){
        .loop = config->loop,
        .settings = config->settings,
        .tls = config->tls,
        .password = config->password,
        .memory = config->recall->memory,
        .profile = &config->recall->profile,
        .prober = config->prober,
        .program = config->program,
        .log = config->log,
        .on_use = on_use,
        .on_drop = on_drop,
        .on_lost = on_lost,
        .on_progress = on_progress,
        .context = uplink,
    });
}

static void prepare_consignment(struct uplink *uplink)
{
    const struct uplink_config *config = &uplink->config;
    uplink->consignment = (struct consignment){
        .loop = config->loop,
        .store = config->store,
        .queue = config->queue,
        .office = config->office,
        .naming = config->naming,
        .first_id = config->first_id,
        .session = &uplink->session,
        .may_send = may_send,
        .on_progress = on_taken,
        .on_carried = on_carried,
        .on_free = on_unsent,
        .on_recorded = on_recorded,
        .context = uplink,
    };
}

struct uplink *uplink_new(const struct uplink_config *config)
{
    struct uplink *uplink = calloc(1, sizeof *uplink);
    if (!uplink)
        return NULL;
    uplink->config = *config;
    uplink->search = make_search(uplink);
    uplink->inquiry = uplink->search ? make_inquiry(uplink) : NULL;
    if (!uplink->inquiry) {
        search_free(&uplink->search);
        free(uplink);
        return NULL;
    }
    uplink->config.settings = settings_ref(config->settings);
    uplink->config.tls = NULL; /* the search's */
    uv_timer_init(config->loop, &uplink->timer); /* never fails, and comes after all that may fail: a loop must know no timer of what is freed */
    uplink->timer.data = uplink;
    uplink->planned_ms = INT64_MAX;
    uplink->aging = (struct aging){.store = config->store, .queue = config->queue, .office = config->office, .begun = &uplink->consignment.begun, .words = uplink->trouble, .on_end = on_aged, .context = uplink};
    prepare_consignment(uplink);
    if (config->awaits_network)
        uv_timer_start(&uplink->timer, on_timer, UPLINK_NETWORK_MS, 0);
    return uplink;
}

enum result uplink_reload(struct uplink *uplink, struct settings *settings, struct tls_context *tls, struct slice password)
{
    enum result result = search_reload(uplink->search, settings, tls, password);
    if (result != RESULT_OK)
        return result;
    recall_change(uplink->config.recall, uplink->config.settings, settings);
    search_profile_changed(uplink->search);
    settings_unref(&uplink->config.settings);
    uplink->config.settings = settings_ref(settings);
    uplink->session.is_stale = uplink->session.outbound != NULL;
    inquiry_reload(uplink->inquiry, settings);
    uplink->is_wanted = false;
    findings_forget(&uplink->findings);
    uplink_set_trouble(uplink, "");
    uplink_wake(uplink, true);
    return RESULT_OK;
}

void uplink_stop(struct uplink *uplink, void (*on_stopped)(void *context), void *context)
{
    uplink->is_stopping = true;
    aging_stop(&uplink->aging);
    uplink->on_stopped = on_stopped;
    uplink->stopped_context = context;
    uplink->session.is_stale = true;
    search_free(&uplink->search);
    inquiry_stop(uplink->inquiry);
    if (consignment_is_carried(&uplink->consignment)) {
        /* Before its last octet: a relay that knows names keeps the half, any other drops it. After it: `uncertain`. The disk has the whole. */
        consignment_drop(&uplink->consignment);
        outbound_close(uplink->session.outbound);
    } else if (uplink->session.outbound) {
        outbound_quit(uplink->session.outbound);
    }
    uv_close((uv_handle_t *)&uplink->timer, on_timer_closed);
}

void uplink_free(struct uplink **uplink)
{
    struct uplink *u = *uplink;
    *uplink = NULL;
    if (!u)
        return;
    assert(!u->session.outbound && u->is_timer_closed);
    inquiry_free(&u->inquiry);
    settings_unref(&u->config.settings);
    consignment_free(&u->consignment);
    free(u);
}

void uplink_forget(struct uplink *uplink, uint64_t message)
{
    consignment_forget(&uplink->consignment, message);
    consignment_withdraw(&uplink->consignment, message);
    inquiry_forget(uplink->inquiry, message);
    uplink_go_on(uplink); /* nobody may be waited for any more */
}

void uplink_hold(struct uplink *uplink, uint64_t message)
{
    consignment_withdraw(&uplink->consignment, message);
}
