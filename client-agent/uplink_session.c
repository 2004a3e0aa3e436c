/* The uplink in its session with the relay: what it hears there, what it gains by it, and how the session ends or is given up. How one is judged: session.c. */
#include "uplink_internal.h"

#include <stdio.h>

static void learn(struct uplink *uplink)
{
    if (!session_learn(&uplink->session, &uplink->config.recall->profile))
        return;
    recall_save_profile(uplink->config.recall, uplink->config.settings);
    search_profile_changed(uplink->search);
}

static void keep_token(struct uplink *uplink, const struct smtp_client_event *event)
{
    bool is_kept = session_keep_token(&uplink->session, event, &uplink->config.recall->profile);
    if (is_kept)
        recall_save_profile(uplink->config.recall, uplink->config.settings);
    log_event(uplink->config.log, LOG_INFO, is_kept ? "device-known" : "device-unknown", LOG_STR("device", event->device));
}

static void tell_trouble(struct uplink *uplink, const struct outbound_failure *failure)
{
    struct slice file = uplink->config.settings->values.password_file;
    uplink_set_trouble(uplink, failure->words);
    if (failure->smtp == SMTP_FAIL_AUTH_REFUSED)
        snprintf(uplink->trouble, sizeof uplink->trouble, "the relay refuses the name or password (%.400s); write the right password into %.*s, or the right name into the configuration, and send the agent SIGHUP (systemctl --user reload postern-agent)",
                 failure->words, SLICE_ARG(file));
}

/* In the middle of a message that a person wants not to be sent: nobody's fault, and the way is as good as it was. */
static void on_withdrawn(struct uplink *uplink)
{
    log_event(uplink->config.log, LOG_INFO, "uplink-dropped", LOG_TEXT("session", outbound_id(uplink->session.outbound)), LOG_TEXT("why", "its message was withdrawn"));
    uplink_enter(uplink, UPLINK_LEAVING);
}

static void on_session_failed(struct uplink *uplink, const struct outbound_failure *failure)
{
    if (failure->smtp == SMTP_FAIL_ABORTED && uplink->consignment.is_withdrawn) {
        on_withdrawn(uplink);
        return;
    }
    /* The relay may end an idle session when it likes. */
    bool is_idle = uplink->state == UPLINK_READY || uplink->state == UPLINK_LEAVING;
    if (is_idle && failure->smtp != SMTP_FAIL_EARLY)
        return;
    log_event(uplink->config.log, LOG_WARNING, "uplink-failed", LOG_TEXT("phase", failure->phase), LOG_TEXT("reason", failure->words));
    if (session_judge(&uplink->session, failure, &uplink->config.recall->profile)) {
        log_event(uplink->config.log, LOG_WARNING, "relay-changed", LOG_TEXT("reason", failure->words));
        uplink->session.is_to_be_repeated = true;
        recall_save_profile(uplink->config.recall, uplink->config.settings);
    } else {
        tell_trouble(uplink, failure);
    }
}

static void on_smtp(struct uplink *uplink, const struct outbound_event *event)
{
    if (event->smtp.type == SMTP_CLIENT_DEVICE)
        keep_token(uplink, &event->smtp);
    if (uplink->state == UPLINK_SENDING && event->smtp.type == SMTP_CLIENT_BODY_WANTED)
        uplink_make_way(uplink);
    if (event->smtp.type == SMTP_CLIENT_OUTCOME)
        inquiry_event(uplink->inquiry, &event->smtp);
    if (event->smtp.type != SMTP_CLIENT_READY)
        return;
    if (uplink->state == UPLINK_LOGIN) {
        uplink_set_trouble(uplink, "");
        log_event(uplink->config.log, LOG_INFO, "uplink-ready", LOG_TEXT("session", outbound_id(uplink->session.outbound)), LOG_TEXT("way", outbound_peer(uplink->session.outbound)));
    }
    uplink->findings.reached_at_ms = wall_now_ms();
    learn(uplink);
    if (uplink->state != UPLINK_READY)
        uplink->idle_since_ms = uplink_now_ms(uplink); /* questions keep no session warm */
    uplink_enter(uplink, UPLINK_READY);
    uplink_go_on(uplink);
}

/* Invariant 6. */
static void end_session(struct uplink *uplink)
{
    struct session *session = &uplink->session;
    inquiry_session_over(uplink->inquiry);
    if (!session->is_stale && !session->is_to_be_repeated && uplink->state != UPLINK_LEAVING)
        inquiry_search_over(uplink->inquiry);
    if (!session->is_stale)
        search_ended(uplink->search, session->how, session->verdict, session->words);
    uplink->is_relay_reached = session->verdict == PATH_RELAY_REFUSED;
    if (session->verdict != PATH_OPEN)
        findings_note(&uplink->findings, &session->way, session->verdict, session->is_brief, session->words);
    uplink->findings.is_login_refused = session->is_login_refused;
    recall_save_memory(uplink->config.recall, uplink->config.settings);
    *session = (struct session){0};
}

static void on_session_closed(struct uplink *uplink)
{
    bool is_idle = uplink->state == UPLINK_READY || uplink->state == UPLINK_LEAVING;
    if (!is_idle && uplink->session.how == FINDER_END_PEACE)
        uplink->session.how = FINDER_END_REFUSED; /* over without a word of why */
    bool is_peace = uplink->session.how == FINDER_END_PEACE;
    end_session(uplink);
    if (!uplink->is_stopping) {
        uplink_enter(uplink, is_peace ? UPLINK_RESTING : UPLINK_WAITING);
        if (!is_peace) {
            inquiry_not_heard(uplink->inquiry);
            uplink_look_for_aged(uplink);
        }
    }
    uplink_go_on(uplink);
    uplink_tell_stopped(uplink);
}

static void on_session(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct uplink *uplink = context;
    (void)outbound;
    consignment_event(&uplink->consignment, event);
    switch (event->type) {
    case OUTBOUND_CONNECTED: break;
    case OUTBOUND_SMTP: on_smtp(uplink, event); break;
    case OUTBOUND_FAILED: on_session_failed(uplink, event->failure); break;
    case OUTBOUND_CLOSED: on_session_closed(uplink); break;
    }
}

void uplink_log_in(struct uplink *uplink)
{
    struct outbound *outbound = uplink->session.outbound;
    outbound_set_handler(outbound, (struct outbound_handler){on_session, uplink});
    smtp_client_login(outbound_core(outbound), uplink_now_ms(uplink));
    outbound_pump(outbound);
}

/* ---- giving a session up ---------------------------------------------------------------------------------------- */

static void on_given_up(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct uplink *uplink = context;
    (void)outbound;
    if (event->type != OUTBOUND_CLOSED)
        return;
    uplink->nclosing--;
    uplink_tell_stopped(uplink);
}

/* What the kernel holds of a message must go nowhere: back on the old network it would be sent again, and the message come twice. */
void uplink_give_up(struct uplink *uplink, const char *why)
{
    struct outbound *outbound = uplink->session.outbound;
    bool is_under_way = consignment_is_carried(&uplink->consignment);
    log_event(uplink->config.log, LOG_INFO, "uplink-dropped", LOG_TEXT("session", outbound_id(outbound)), LOG_TEXT("why", why));
    consignment_drop(&uplink->consignment);
    inquiry_session_over(uplink->inquiry);
    uplink->nclosing++;
    outbound_set_handler(outbound, (struct outbound_handler){on_given_up, uplink});
    if (is_under_way)
        outbound_reset(outbound);
    else
        outbound_close(outbound);
    uplink->session = (struct session){0};
    uplink_enter(uplink, UPLINK_WAITING);
}

/* Its address is not ours any more, or the laptop has slept: nothing comes back on it, and only a time-out would tell. */
static bool is_dead(const struct uplink *uplink, const struct monitor_event *event)
{
    struct sockaddr_storage own;
    if (event->has_slept)
        return true;
    return outbound_own_address(uplink->session.outbound, &own) != RESULT_OK || !monitor_has_address((const struct sockaddr *)&own);
}

void uplink_judge_session(struct uplink *uplink, const struct monitor_event *event)
{
    if (!uplink->session.outbound || !is_dead(uplink, event))
        return;
    if (!uplink->session.is_stale)
        search_ended(uplink->search, FINDER_END_CARRIED, PATH_OPEN, NULL);
    uplink_give_up(uplink, event->has_slept ? "the machine has slept" : "its address is gone");
}
