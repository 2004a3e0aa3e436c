#include "lane.h"

#include "crypto/crypto.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum lane_state { LANE_FINDING, LANE_CONNECTING, LANE_READY, LANE_BUSY, LANE_LEAVING };

enum { LANE_CONNECT_TIMEOUT_MS = 20000 }; /* an address that drops packets must not cost the next one its turn for long */

struct lane {
    const struct lane_services *services;
    struct lane_handler handler;
    struct conf *conf;
    struct tls_context *tls_any, *tls_verified;
    char name[256];
    enum lane_state state;
    struct nexthop_query *query;
    struct nexthop_target targets[NEXTHOP_TARGETS_MAX];
    char *hosts; /* the targets' names */
    size_t ntargets, target;
    bool in_clear; /* this address is tried again without TLS */
    struct outbound *outbound;
    struct courier *courier;
    uint64_t carried;
    uv_timer_t idle; /* in ready; its closing is the lane's last turn of the loop */
    bool is_leaving, has_failed;
    enum nexthop_verdict verdict;
    char reply[512];
    char host[320];
};

static void lane_connect(struct lane *lane);

static bool lane_is_smarthost(const struct lane *lane)
{
    return slice_equal(slice_from_cstr(lane->name), CONF_HOP_SMARTHOST);
}

/* ---- the end -------------------------------------------------------------------------------------------------- */

static void lane_on_idle_closed(uv_handle_t *handle)
{
    struct lane *lane = handle->data;
    if (lane->handler.on_gone)
        lane->handler.on_gone(lane->handler.context, lane);
    courier_free(&lane->courier);
    tls_context_unref(&lane->tls_any);
    tls_context_unref(&lane->tls_verified);
    conf_unref(&lane->conf);
    free(lane->hosts);
    free(lane);
}

/* Nothing of the network is left: the memory goes with the timer. */
static void lane_end(struct lane *lane)
{
    lane->state = LANE_LEAVING;
    nexthop_cancel(&lane->query);
    if (!uv_is_closing((uv_handle_t *)&lane->idle))
        uv_close((uv_handle_t *)&lane->idle, lane_on_idle_closed);
}

static void lane_fail(struct lane *lane)
{
    const struct lane_failure failure = {lane->verdict, lane->reply};
    if (!lane->is_leaving && !lane->has_failed) {
        lane->has_failed = true;
        lane->handler.on_failed(lane->handler.context, lane, &failure);
    }
    lane_end(lane);
}

/* ---- ready and busy ------------------------------------------------------------------------------------------- */

static void lane_on_idle(uv_timer_t *timer)
{
    lane_leave(timer->data);
}

static void lane_become_ready(struct lane *lane)
{
    const struct smtp_peer *peer = smtp_client_peer(outbound_core(lane->outbound));
    lane->state = LANE_READY;
    if (lane->is_leaving || (peer->transactions_max && lane->carried >= peer->transactions_max)) {
        lane_leave(lane);
        return;
    }
    lane->handler.on_ready(lane->handler.context, lane);
    if (lane->state == LANE_READY)
        uv_timer_start(&lane->idle, lane_on_idle, (uint64_t)lane->conf->values.idle_sessions, 0);
}

static void lane_on_courier_done(void *context, struct courier *courier)
{
    struct lane *lane = context;
    const struct smtp_peer *peer = smtp_client_peer(outbound_core(lane->outbound));
    lane->handler.on_carried(lane->handler.context, lane, courier, slice_from_cstr(lane->host), (peer->capabilities & SMTP_CAP_DSN) != 0);
    courier_free(&lane->courier);
}

enum result lane_carry(struct lane *lane, struct store_job *job)
{
    assert(lane->state == LANE_READY && !lane->courier);
    uv_timer_stop(&lane->idle);
    struct courier *courier = courier_start(lane->services->store, lane->outbound, job, NULL, lane_on_courier_done, lane);
    if (!courier)
        return RESULT_MEMORY;
    lane->courier = courier;
    lane->state = LANE_BUSY;
    lane->carried++;
    outbound_pump(lane->outbound);
    return RESULT_OK;
}

bool lane_is_ready(const struct lane *lane)
{
    return lane->state == LANE_READY && !lane->is_leaving;
}

/* ---- connecting ----------------------------------------------------------------------------------------------- */

/* Encryption without identity is worth having and not worth losing mail for (RFC 7435 3): what breaks in TLS is tried again without. Not where a
 * password would be asked for. */
static bool lane_may_go_in_clear(const struct lane *lane, const struct outbound_failure *failure)
{
    const struct smarthost *smarthost = &lane->conf->values.smarthost;
    bool is_opportunistic = !lane_is_smarthost(lane) || (smarthost->scheme == SMARTHOST_OPPORTUNISTIC && smarthost->user.len == 0);
    bool is_tls = failure->tls != TLS_FAIL_NONE || failure->smtp == SMTP_FAIL_STARTTLS_REFUSED;
    return is_opportunistic && is_tls && !lane->in_clear;
}

static void lane_note_failure(struct lane *lane, const struct outbound_failure *failure)
{
    const struct nexthop_target *target = &lane->targets[lane->target];
    char address[NET_ADDRESS_TEXT];
    net_address_format(&target->address, address);
    lane->verdict = NEXTHOP_LATER;
    snprintf(lane->reply, sizeof lane->reply, "451 4.4.1 %s (%s): %s", target->host, address, failure->words);
    log_event(lane->services->log, failure->is_permanent ? LOG_ERROR : LOG_INFO, "connection-failed", LOG_TEXT("nexthop", lane->name),
              LOG_TEXT("host", target->host), LOG_TEXT("address", address), LOG_TEXT("phase", failure->phase), LOG_TEXT("reason", failure->words));
    if (lane_may_go_in_clear(lane, failure)) {
        lane->in_clear = true;
        return;
    }
    lane->in_clear = false;
    lane->target++;
}

static void lane_on_smtp(struct lane *lane, const struct outbound_event *event)
{
    switch (event->smtp.type) {
    case SMTP_CLIENT_PROVEN:
        smtp_client_login(outbound_core(lane->outbound), loop_now_ms(lane->services->loop));
        break;
    case SMTP_CLIENT_READY:
        lane_become_ready(lane);
        break;
    case SMTP_CLIENT_STARTTLS:
    case SMTP_CLIENT_OUTCOME:
    case SMTP_CLIENT_RESUMED:
    case SMTP_CLIENT_DEVICE:
    case SMTP_CLIENT_RECIPIENT:
    case SMTP_CLIENT_BODY_WANTED:
    case SMTP_CLIENT_SENT:
    case SMTP_CLIENT_FAILED:
    case SMTP_CLIENT_CLOSED:
        break; /* the driver's and the courier's */
    }
}

static void lane_on_outbound_gone(struct lane *lane)
{
    lane->outbound = NULL;
    if (lane->state != LANE_CONNECTING)
        lane_end(lane);
    else
        lane_connect(lane);
}

static void lane_on_event(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct lane *lane = context;
    (void)outbound;
    if (lane->courier)
        courier_event(lane->courier, event);
    switch (event->type) {
    case OUTBOUND_CONNECTED:
        break;
    case OUTBOUND_SMTP:
        if (lane->state != LANE_LEAVING)
            lane_on_smtp(lane, event);
        break;
    case OUTBOUND_FAILED:
        if (lane->state == LANE_CONNECTING)
            lane_note_failure(lane, event->failure);
        else
            lane->state = LANE_LEAVING;
        break;
    case OUTBOUND_CLOSED:
        lane_on_outbound_gone(lane);
        break;
    }
}

static void lane_describe_security(const struct lane *lane, struct outbound_target *target)
{
    const struct smarthost *smarthost = &lane->conf->values.smarthost;
    target->tls = lane->tls_any;
    target->smtp.security = lane->in_clear ? SMTP_SECURITY_NONE : SMTP_SECURITY_OPPORTUNISTIC;
    if (!lane_is_smarthost(lane))
        return;
    target->smtp.user = smarthost->user;
    target->smtp.password = smarthost->password;
    if (smarthost->scheme == SMARTHOST_OPPORTUNISTIC)
        return;
    target->tls = lane->tls_verified;
    target->smtp.security = smarthost->scheme == SMARTHOST_TLS ? SMTP_SECURITY_TLS : SMTP_SECURITY_STARTTLS;
}

static bool lane_accepts(const void *context, const struct sockaddr *address)
{
    const struct lane *lane = context;
    return lane_is_smarthost(lane) || conf_allows_address(lane->conf, address);
}

static enum result lane_dial(struct lane *lane)
{
    const struct nexthop_target *to = &lane->targets[lane->target];
    struct outbound_target target = {
        .server_name = to->host,
        .smtp = {.ehlo_name = lane->conf->values.name, .log = lane->services->log},
        .connect_timeout_ms = LANE_CONNECT_TIMEOUT_MS,
        .accepts_address = lane_accepts,
        .accepts_context = lane,
    };
    char address[NET_ADDRESS_TEXT];
    memcpy(&target.address, &to->address, sizeof to->address);
    lane_describe_security(lane, &target);
    crypto_random(target.smtp.nonce, sizeof target.smtp.nonce);
    net_address_format(&to->address, address);
    snprintf(lane->host, sizeof lane->host, "%s [%s]", to->host, address);
    return outbound_open(&lane->outbound, lane->services->loop, &target, (struct outbound_handler){lane_on_event, lane}, lane->services->log);
}

/* The next address, or the end of them. */
static void lane_connect(struct lane *lane)
{
    lane->state = LANE_CONNECTING;
    while (!lane->is_leaving && lane->target < lane->ntargets) {
        if (lane_dial(lane) == RESULT_OK)
            return;
        snprintf(lane->reply, sizeof lane->reply, "451 4.3.0 no memory or no sockets left for a connection");
        lane->verdict = NEXTHOP_LATER;
        lane->target++;
    }
    lane_fail(lane);
}

/* ---- finding -------------------------------------------------------------------------------------------------- */

static enum result lane_keep_targets(struct lane *lane, const struct nexthop *nexthop)
{
    size_t octets = 1;
    for (size_t i = 0; i < nexthop->ntargets; i++)
        octets += strlen(nexthop->targets[i].host) + 1;
    lane->hosts = malloc(octets);
    if (!lane->hosts)
        return RESULT_MEMORY;
    char *text = lane->hosts;
    for (size_t i = 0; i < nexthop->ntargets; i++) {
        size_t len = strlen(nexthop->targets[i].host) + 1;
        memcpy(text, nexthop->targets[i].host, len);
        lane->targets[i] = (struct nexthop_target){nexthop->targets[i].address, text};
        text += len;
    }
    lane->ntargets = nexthop->ntargets;
    return RESULT_OK;
}

static void lane_on_found(void *context, const struct nexthop *nexthop)
{
    struct lane *lane = context;
    lane->query = NULL;
    lane->verdict = nexthop->verdict;
    snprintf(lane->reply, sizeof lane->reply, "%s", nexthop->reply);
    if (nexthop->verdict == NEXTHOP_FOUND && lane_keep_targets(lane, nexthop) != RESULT_OK) {
        lane->verdict = NEXTHOP_LATER;
        snprintf(lane->reply, sizeof lane->reply, "451 4.3.0 out of memory");
    }
    lane_connect(lane);
}

enum result lane_open(struct lane **out, const struct lane_services *services, const struct lane_config *config)
{
    struct lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return RESULT_MEMORY;
    lane->services = services;
    lane->handler = config->handler;
    if (!slice_to_cstr(config->name, lane->name, sizeof lane->name) ||
        nexthop_find(&lane->query, services->loop, services->dns, config->conf, config->name, lane_on_found, lane) != RESULT_OK) {
        free(lane);
        return RESULT_MEMORY;
    }
    uv_timer_init(services->loop, &lane->idle);
    lane->idle.data = lane;
    lane->conf = conf_ref(config->conf);
    lane->tls_any = tls_context_ref(config->tls_any);
    lane->tls_verified = config->tls_verified ? tls_context_ref(config->tls_verified) : NULL;
    *out = lane;
    return RESULT_OK;
}

/* ---- leaving -------------------------------------------------------------------------------------------------- */

void lane_leave(struct lane *lane)
{
    lane->is_leaving = true;
    uv_timer_stop(&lane->idle);
    switch (lane->state) {
    case LANE_FINDING:
        lane_end(lane);
        break;
    case LANE_CONNECTING:
        if (lane->outbound)
            outbound_close(lane->outbound);
        break;
    case LANE_READY:
        lane->state = LANE_LEAVING;
        outbound_quit(lane->outbound);
        break;
    case LANE_BUSY:
    case LANE_LEAVING:
        break;
    }
}

void lane_drop(struct lane *lane)
{
    lane->is_leaving = true;
    uv_timer_stop(&lane->idle);
    courier_free(&lane->courier);
    lane->state = LANE_LEAVING;
    if (lane->outbound)
        outbound_close(lane->outbound);
    else
        lane_end(lane);
}
