/* Sessions: a stream and an SMTP server core, joined by a pump.
 *
 * 1 The handler hears on_closed exactly once for each session that its on_open let in, and nothing after it.
 * 2 The handler is called from the loop only: from the stream's callbacks, the timer, or the service's idle callback.
 * 3 Nothing that came before STARTTLS is fed to the core after it; the core refuses what came behind the command.
 * 4 Once is_over, answers are dropped: there is nobody to hear them. */
#include "net/service_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void pump(struct service_session *session);

int64_t service_now_ms(const struct service_session *session)
{
    return loop_now_ms(session->service->loop);
}

static const char *phase_name(enum service_phase phase)
{
    switch (phase) {
    case SERVICE_AT_PROXY: return "proxy";
    case SERVICE_AT_HANDSHAKE: return "handshake";
    case SERVICE_AT_FIRST: return "first";
    case SERVICE_AT_REQUEST: return "request";
    case SERVICE_AT_SMTP: return "smtp";
    }
    return "unknown";
}

void service_enter(struct service_session *session, enum service_phase phase, int64_t by_ms)
{
    log_event(session->service->config.log, LOG_DEBUG, "phase", LOG_TEXT("session", session->id), LOG_TEXT("from", phase_name(session->phase)),
              LOG_TEXT("to", phase_name(phase)));
    session->phase = phase;
    session->phase_by_ms = by_ms;
}

void service_log_died(const struct service_session *session, const char *reason)
{
    log_event(session->service->config.log, LOG_DEBUG, "session-died", LOG_TEXT("session", session->id), LOG_TEXT("peer", session->peer),
              LOG_TEXT("reason", reason));
}

/* ---- time ---- */

static void on_timer(uv_timer_t *timer);

/* The timer is only ever moved forward in time when it fires: most deadlines move away long before they come. */
void service_arm(struct service_session *session)
{
    int64_t deadline_ms = session->phase_by_ms;
    if (session->is_paused)
        deadline_ms = service_now_ms(session) + session->service->config.paused_look_ms;
    else if (session->core && !session->is_over && smtp_server_deadline_ms(session->core) < deadline_ms)
        deadline_ms = smtp_server_deadline_ms(session->core);
    if (session->is_over || deadline_ms >= session->timer_at_ms)
        return;
    int64_t wait_ms = deadline_ms - service_now_ms(session);
    session->timer_at_ms = deadline_ms;
    uv_timer_start(&session->timer, on_timer, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

/* The client's time does not run (smtp/server.h), and what it does is not read. */
static void look_after_paused(struct service_session *session)
{
    int error = stream_socket_error(session->stream);
    if (error == 0) {
        service_arm(session);
        return;
    }
    service_log_died(session, uv_strerror(error));
    service_session_kill(session);
}

static void on_timer(uv_timer_t *timer)
{
    struct service_session *session = timer->data;
    session->timer_at_ms = INT64_MAX;
    if (session->is_over)
        return;
    if (session->is_paused) {
        look_after_paused(session);
        return;
    }
    if (service_now_ms(session) >= session->phase_by_ms) {
        service_phase_expired(session);
        return;
    }
    if (session->core)
        smtp_server_tick(session->core, service_now_ms(session));
    pump(session);
}

/* ---- the pump ---- */

static void write_output(struct service_session *session)
{
    struct slice output = smtp_server_output(session->core);
    if (output.len == 0)
        return;
    if (stream_write(session->stream, output) != RESULT_OK)
        return; /* FAILED follows */
    smtp_server_sent(session->core, output.len);
}

static void take_event(struct service_session *session, const struct smtp_server_event *event)
{
    switch (event->type) {
    case SMTP_SERVER_STARTTLS:
        write_output(session);
        if (stream_input(session->stream).len == 0) /* else the core is to see, and to refuse, what came behind the command */
            service_begin_handshake(session);
        return;
    case SMTP_SERVER_CLOSE:
        write_output(session);
        service_session_finish(session);
        return;
    case SMTP_SERVER_AUTH:
    case SMTP_SERVER_AUTH_RESPONSE:
    case SMTP_SERVER_AUTH_CANCELLED:
    case SMTP_SERVER_OUTCOME:
    case SMTP_SERVER_DEVICE:
    case SMTP_SERVER_MAIL:
    case SMTP_SERVER_RCPT:
    case SMTP_SERVER_BODY_BEGIN:
    case SMTP_SERVER_BODY:
    case SMTP_SERVER_BODY_END:
    case SMTP_SERVER_TRANSACTION_ENDED:
        session->service->config.handler.on_event(session->context, session, event);
        return;
    }
}

static bool is_shaking(const struct service_session *session)
{
    return session->phase == SERVICE_AT_HANDSHAKE;
}

/* Gives the core what it takes. True: it took something. */
static bool feed(struct service_session *session)
{
    struct slice in = stream_input(session->stream);
    if (in.len == 0) {
        if (!session->has_eof || session->is_eof_told)
            return false;
        session->is_eof_told = true;
        smtp_server_eof(session->core);
        return true;
    }
    if (stream_is_congested(session->stream)) /* a client that asks much and reads nothing */
        return false;
    struct smtp_server_event event;
    size_t used = smtp_server_feed(session->core, in, service_now_ms(session));
    bool has_event = smtp_server_next(session->core, &event);
    /* A body's octets lie in the input (smtp/server.h): the handler has them before the stream may give that memory back. */
    bool is_body = has_event && event.type == SMTP_SERVER_BODY;
    if (is_body)
        take_event(session, &event);
    if (!session->is_over)
        stream_consume(session->stream, used);
    if (has_event && !is_body)
        take_event(session, &event);
    return used > 0 || has_event;
}

static bool step(struct service_session *session)
{
    struct smtp_server_event event;
    bool has_moved = false;
    if (session->is_paused || is_shaking(session))
        return false;
    if (smtp_server_next(session->core, &event)) {
        take_event(session, &event);
        has_moved = true;
    } else {
        has_moved = feed(session);
    }
    if (!session->is_over)
        write_output(session);
    return has_moved;
}

static void pump(struct service_session *session)
{
    if (session->is_pumping) {
        session->needs_pump = true;
        return;
    }
    session->is_pumping = true;
    do {
        session->needs_pump = false;
        while (session->core && !session->is_over && step(session))
            ;
    } while (session->needs_pump && !session->is_over);
    session->is_pumping = false;
    service_arm(session);
}

void service_on_pump(uv_idle_t *idle)
{
    struct service *service = idle->data;
    struct list_node *node;
    uv_idle_stop(idle);
    size_t rounds = service->ready.count; /* who becomes ready meanwhile waits for the next turn */
    while (rounds-- > 0 && (node = list_take_first(&service->ready)) != NULL)
        pump(LIST_OWNER(node, struct service_session, ready_node));
    if (!list_is_empty(&service->ready))
        uv_idle_start(idle, service_on_pump);
}

/* The handler has called from outside of its own callbacks: the pump runs before the loop waits next. */
static void ask_pump(struct service_session *session)
{
    if (session->is_pumping) {
        session->needs_pump = true;
    } else if (!session->ready_node.list && session->stream) {
        list_append(&session->service->ready, &session->ready_node);
        uv_idle_start(&session->service->pump, service_on_pump);
    }
}

/* ---- the stream's events ---- */

void service_begin_smtp(struct service_session *session, bool is_tls)
{
    const struct tls_info *tls = stream_tls_info(session->stream);
    struct smtp_server_config config = session->service->config.smtp;
    config.offers_starttls = session->mode == SERVICE_STARTTLS;
    config.requires_tls = session->mode != SERVICE_PLAIN;
    config.session_id = slice_from_cstr(session->id);
    service_enter(session, SERVICE_AT_SMTP, INT64_MAX);
    session->core = smtp_server_new(&config, is_tls, tls ? smtp_server_binding_of(tls->bindings, tls->nbindings) : SMTP_SERVER_NO_BINDING,
                                    service_now_ms(session));
    if (session->core)
        pump(session); /* the greeting */
    else
        service_session_kill(session);
}

static void on_secured(struct service_session *session)
{
    const struct tls_info *tls = stream_tls_info(session->stream);
    log_event(session->service->config.log, LOG_DEBUG, "tls", LOG_TEXT("session", session->id), LOG_TEXT("version", tls->version),
              LOG_TEXT("cipher", tls->cipher), LOG_INT("resumed", tls->is_resumed), LOG_TEXT("alpn", tls->alpn));
    if (!session->core) {
        service_secured(session);
        return;
    }
    service_enter(session, SERVICE_AT_SMTP, INT64_MAX);
    smtp_server_tls_started(session->core, smtp_server_binding_of(tls->bindings, tls->nbindings), service_now_ms(session));
    pump(session);
}

static void on_data(struct service_session *session)
{
    switch (session->phase) {
    case SERVICE_AT_PROXY:
        service_take_proxy_header(session);
        return;
    case SERVICE_AT_FIRST:
        service_take_first(session);
        return;
    case SERVICE_AT_REQUEST:
        service_take_request(session);
        return;
    case SERVICE_AT_HANDSHAKE:
    case SERVICE_AT_SMTP:
        pump(session);
        return;
    }
}

/* The connection is gone: what the handler gathered for a transaction is to be dropped, but for one at whose BODY_END it works: what is stored stays
 * stored. */
static void end_core(struct service_session *session)
{
    struct smtp_server_event event;
    session->is_over = true;
    if (!session->core)
        return;
    smtp_server_abandon(session->core);
    while (smtp_server_next(session->core, &event))
        if (event.type == SMTP_SERVER_TRANSACTION_ENDED || event.type == SMTP_SERVER_AUTH_CANCELLED)
            session->service->config.handler.on_event(session->context, session, &event);
}

static void on_failed(struct service_session *session)
{
    const struct stream_error *error = stream_error(session->stream);
    if (error->kind == STREAM_ERROR_TLS && is_shaking(session) && !session->is_proxys_own)
        log_event(session->service->config.log, LOG_INFO, "tls-failed", LOG_TEXT("session", session->id), LOG_TEXT("peer", session->peer),
                  LOG_TEXT("reason", error->words));
    else
        service_log_died(session, error->words);
    service_session_kill(session);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct service_session *session = handle->data;
    struct service *service = session->service;
    list_remove(&session->node);
    service->nweb -= session->mode == SERVICE_HTTP;
    smtp_server_free(&session->core);
    free(session);
    service_one_less(service);
}

void service_session_drop(struct service_session *session)
{
    if (session->is_open)
        session->service->config.handler.on_closed(session->context, session);
    session->stream = NULL;
    list_remove(&session->ready_node);
    list_remove(&session->address_node);
    uv_close((uv_handle_t *)&session->timer, on_timer_closed);
}

void service_stream_event(void *context, struct stream *stream, enum stream_event event)
{
    struct service_session *session = context;
    (void)stream;
    switch (event) {
    case STREAM_OPENED:
        break;
    case STREAM_SECURED:
        on_secured(session);
        break;
    case STREAM_DATA:
        on_data(session);
        break;
    case STREAM_DRAINED:
        pump(session);
        break;
    case STREAM_EOF:
        session->has_eof = true;
        if (session->core)
            pump(session);
        else
            service_session_kill(session);
        break;
    case STREAM_FAILED:
        on_failed(session);
        break;
    case STREAM_CLOSED:
        service_session_drop(session);
        break;
    }
}

/* ---- ending ---- */

void service_session_finish(struct service_session *session)
{
    session->is_over = true;
    stream_finish(session->stream, session->service->config.linger_ms);
}

void service_session_shut(struct service_session *session)
{
    if (!session->stream || session->is_over)
        return;
    if (!session->core || is_shaking(session)) {
        service_session_kill(session);
        return;
    }
    smtp_server_shut(session->core, NULL);
    ask_pump(session);
}

void service_session_kill(struct service_session *session)
{
    if (!session->stream)
        return;
    if (!session->is_over)
        end_core(session);
    stream_close(session->stream);
}

/* ---- for the handler ---- */

void service_answer(struct service_session *session, const struct smtp_reply *reply)
{
    if (session->is_over)
        return;
    smtp_server_answer(session->core, reply, service_now_ms(session));
    if (!session->is_pumping)
        write_output(session);
    ask_pump(session);
}

void service_resume_transaction(struct service_session *session, bool is_told, bool is_over, uint64_t held_octets, size_t nrcpt)
{
    if (session->is_over)
        return;
    smtp_server_resume(session->core, is_told, is_over, held_octets, nrcpt, service_now_ms(session));
    if (!session->is_pumping)
        write_output(session);
    ask_pump(session);
}

void service_challenge(struct service_session *session, struct slice data)
{
    if (session->is_over)
        return;
    smtp_server_challenge(session->core, data, service_now_ms(session));
    if (!session->is_pumping)
        write_output(session);
    ask_pump(session);
}

void service_pause(struct service_session *session)
{
    session->is_paused = true;
    if (session->stream)
        stream_pause(session->stream);
}

void service_resume(struct service_session *session)
{
    if (!session->is_paused)
        return;
    session->is_paused = false;
    if (session->stream && !session->is_over) {
        smtp_server_resumed(session->core, service_now_ms(session));
        stream_resume(session->stream);
    }
    ask_pump(session);
}

struct smtp_server *service_core(struct service_session *session)
{
    return session->core;
}

const char *service_id(const struct service_session *session)
{
    return session->id;
}

const struct tls_info *service_tls(const struct service_session *session)
{
    return session->stream ? stream_tls_info(session->stream) : NULL;
}

void service_mark(struct service_session *session)
{
    if (session->stream && !session->is_over && !session->is_proxied)
        stream_mark(session->stream);
}

bool service_is_read(const struct service_session *session)
{
    return session->stream && stream_is_read(session->stream);
}

int service_socket(const struct service_session *session)
{
    return session->stream ? stream_socket(session->stream) : -1;
}

const char *service_peer(const struct service_session *session)
{
    return session->peer;
}

enum result service_peer_address(const struct service_session *session, struct sockaddr_storage *out)
{
    *out = session->address;
    return RESULT_OK;
}
