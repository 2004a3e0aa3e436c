/* The client's driver: a stream and an SMTP client core, joined by a pump.
 *
 * 1 The handler hears at most one FAILED, and CLOSED exactly once, last, if outbound_open said RESULT_OK.
 * 2 No event comes from inside a call.
 * 3 No octet of the core leaves before TLS and the identity, where security is TLS; after STARTTLS nothing that came in the clear is fed as if inside TLS.
 * 4 When the connection dies, what had come is fed before the core hears of the end, so that a last reply counts. */
#include "net/outbound_internal.h"

#include "crypto/crypto.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void pump(struct outbound *outbound);
static void begin_talking(struct outbound *outbound);

static int64_t now_ms(const struct outbound *outbound)
{
    return loop_now_ms(outbound->loop);
}

/* ---- state and ending ---- */

static const char *const STATE_NAMES[] = {"connecting", "connected", "tunneling", "securing", "talking", "ending"};

static void enter(struct outbound *outbound, enum outbound_state state)
{
    log_event(outbound->log, LOG_DEBUG, "outbound-state", LOG_TEXT("session", outbound->id), LOG_TEXT("from", STATE_NAMES[outbound->state]),
              LOG_TEXT("to", STATE_NAMES[state]));
    outbound->state = state;
}

static void tell(struct outbound *outbound, const struct outbound_event *event)
{
    if (outbound->handler.on_event)
        outbound->handler.on_event(outbound->handler.context, outbound, event);
}

static void end(struct outbound *outbound)
{
    if (outbound->state == OUTBOUND_STATE_ENDING)
        return;
    enter(outbound, OUTBOUND_STATE_ENDING);
    uv_timer_stop(&outbound->timer);
    stream_finish(outbound->stream, outbound->linger_ms);
}

/* outbound->failure says why. */
static void fail(struct outbound *outbound)
{
    bool is_told = outbound->state == OUTBOUND_STATE_ENDING || outbound->is_leaving;
    end(outbound);
    if (is_told)
        return;
    log_event(outbound->log, LOG_DEBUG, "outbound-failed", LOG_TEXT("session", outbound->id), LOG_TEXT("verdict", path_verdict_name(outbound->failure.verdict)),
              LOG_TEXT("phase", outbound->failure.phase), LOG_TEXT("reason", outbound->failure.words));
    tell(outbound, &(struct outbound_event){.type = OUTBOUND_FAILED, .failure = &outbound->failure});
}

static void fail_memory(struct outbound *outbound)
{
    outbound_blame_memory(outbound);
    fail(outbound);
}

/* ---- time ---- */

static void on_timer(uv_timer_t *timer);

/* Moved to an earlier time only; a later one is found when it fires. */
static void arm(struct outbound *outbound)
{
    int64_t deadline_ms = outbound->phase_by_ms;
    if (outbound->core && outbound->state == OUTBOUND_STATE_TALKING && smtp_client_deadline_ms(outbound->core) < deadline_ms)
        deadline_ms = smtp_client_deadline_ms(outbound->core);
    if (outbound->state == OUTBOUND_STATE_ENDING || deadline_ms >= outbound->timer_at_ms)
        return;
    int64_t wait_ms = deadline_ms - now_ms(outbound);
    outbound->timer_at_ms = deadline_ms;
    uv_timer_start(&outbound->timer, on_timer, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct outbound *outbound = timer->data;
    outbound->timer_at_ms = INT64_MAX;
    if (outbound->state == OUTBOUND_STATE_ENDING)
        return;
    if (now_ms(outbound) >= outbound->phase_by_ms) {
        outbound_blame_timeout(outbound);
        fail(outbound);
        return;
    }
    if (outbound->core && outbound->state == OUTBOUND_STATE_TALKING)
        smtp_client_tick(outbound->core, now_ms(outbound));
    pump(outbound);
}

/* ---- the pump ---- */

/* At once, what waits may be a foreign banner: TLS is to see it and to say so. */
static void start_tls(struct outbound *outbound, bool from_waiting_input)
{
    enter(outbound, OUTBOUND_STATE_SECURING);
    outbound->phase_by_ms = now_ms(outbound) + outbound->handshake_timeout_ms;
    outbound->octets_before_tls = stream_octets_in(outbound->stream) - stream_input(outbound->stream).len;
    stream_offer_alpn(outbound->stream, outbound->alpn);
    if (stream_start_tls(outbound->stream, outbound->tls, outbound->server_name, from_waiting_input) != RESULT_OK)
        fail_memory(outbound);
    arm(outbound);
}

/* The way to the relay is open, as if it had been dialled. What waits in the stream is the relay's. */
static void begin_relay(struct outbound *outbound)
{
    outbound->octets_of_proxy = stream_octets_in(outbound->stream) - stream_input(outbound->stream).len;
    if (outbound->smtp.security == SMTP_SECURITY_TLS)
        start_tls(outbound, true);
    else
        begin_talking(outbound);
}

static void talk_to_proxy(struct outbound *outbound)
{
    struct slice in = stream_input(outbound->stream);
    stream_consume(outbound->stream, tunnel_feed(outbound->tunnel, in));
    struct slice output = tunnel_output(outbound->tunnel);
    if (output.len > 0 && stream_write(outbound->stream, output) == RESULT_OK) /* else FAILED follows */
        tunnel_sent(outbound->tunnel, output.len);
    switch (tunnel_state(outbound->tunnel)) {
    case TUNNEL_TALKING:
        arm(outbound);
        return;
    case TUNNEL_REFUSED:
        outbound_blame_tunnel(outbound);
        fail(outbound);
        return;
    case TUNNEL_OPEN:
        tunnel_free(&outbound->tunnel);
        begin_relay(outbound);
        return;
    }
}

static void take_event(struct outbound *outbound, const struct smtp_client_event *event)
{
    switch (event->type) {
    case SMTP_CLIENT_STARTTLS:
        if (stream_input(outbound->stream).len == 0) /* else the core is to see what came behind the 220 */
            start_tls(outbound, false);
        return;
    case SMTP_CLIENT_FAILED:
        outbound_blame_smtp(outbound, event);
        fail(outbound);
        return;
    case SMTP_CLIENT_CLOSED:
        if (!outbound->is_leaving)
            tell(outbound, &(struct outbound_event){.type = OUTBOUND_SMTP, .smtp = *event});
        end(outbound);
        return;
    case SMTP_CLIENT_PROVEN:
        outbound->has_been_proven = true;
        break;
    case SMTP_CLIENT_READY:
    case SMTP_CLIENT_OUTCOME:
    case SMTP_CLIENT_RESUMED:
    case SMTP_CLIENT_DEVICE:
    case SMTP_CLIENT_RECIPIENT:
    case SMTP_CLIENT_BODY_WANTED:
    case SMTP_CLIENT_SENT:
        break;
    }
    if (!outbound->is_leaving)
        tell(outbound, &(struct outbound_event){.type = OUTBOUND_SMTP, .smtp = *event});
}

static void write_output(struct outbound *outbound)
{
    struct slice output = smtp_client_output(outbound->core);
    if (output.len == 0 || stream_is_congested(outbound->stream))
        return;
    if (stream_write(outbound->stream, output) == RESULT_OK) /* else FAILED follows */
        smtp_client_sent(outbound->core, output.len, now_ms(outbound));
}

static bool feed(struct outbound *outbound)
{
    struct slice in = stream_input(outbound->stream);
    if (in.len == 0)
        return false;
    size_t used = smtp_client_feed(outbound->core, in, now_ms(outbound));
    stream_consume(outbound->stream, used);
    return used > 0;
}

static bool step(struct outbound *outbound)
{
    struct smtp_client_event event;
    bool has_moved = feed(outbound);
    /* A connection that does not keep up is asked no more of. */
    if (!stream_is_congested(outbound->stream) || stream_error(outbound->stream)->kind != STREAM_ERROR_NONE) {
        if (smtp_client_next(outbound->core, &event)) {
            write_output(outbound);
            take_event(outbound, &event);
            has_moved = true;
        }
    }
    if (outbound->state == OUTBOUND_STATE_TALKING)
        write_output(outbound);
    return has_moved;
}

static void pump(struct outbound *outbound)
{
    if (outbound->is_pumping) {
        outbound->needs_pump = true;
        return;
    }
    outbound->is_pumping = true;
    do {
        outbound->needs_pump = false;
        while (outbound->state == OUTBOUND_STATE_TALKING && step(outbound))
            ;
    } while (outbound->needs_pump && outbound->state == OUTBOUND_STATE_TALKING);
    outbound->is_pumping = false;
    arm(outbound);
}

/* ---- the stream's events ---- */

static void drop_texts(struct outbound *outbound)
{
    if (outbound->texts)
        crypto_wipe(outbound->texts, outbound->texts_len);
    free(outbound->texts);
    outbound->texts = NULL;
    crypto_wipe(&outbound->smtp, sizeof outbound->smtp);
}

static void begin_talking(struct outbound *outbound)
{
    const struct tls_info *tls = stream_tls_info(outbound->stream);
    outbound->phase_by_ms = INT64_MAX;
    enter(outbound, OUTBOUND_STATE_TALKING);
    if (!outbound->core) {
        if (tls && outbound->alpn == PATH_ALPN_HTTP) /* what the server has agreed to, not what we offered: one that knows nothing of ALPN greets first, and hates to be interrupted */
            outbound->smtp.speaks_first = strcmp(tls->alpn, path_alpn_name(PATH_ALPN_HTTP)) == 0;
        outbound->core = smtp_client_new(&outbound->smtp, now_ms(outbound));
        drop_texts(outbound);
    }
    if (!outbound->core || (tls && smtp_client_tls_started(outbound->core, tls->bindings, tls->nbindings, now_ms(outbound)) != RESULT_OK))
        fail_memory(outbound);
    pump(outbound);
}

static void proceed(struct outbound *outbound)
{
    outbound->holds = false;
    if (!outbound->tunnel) {
        begin_relay(outbound);
        return;
    }
    enter(outbound, OUTBOUND_STATE_TUNNELING);
    outbound->phase_by_ms = now_ms(outbound) + outbound->handshake_timeout_ms;
    talk_to_proxy(outbound);
}

static void on_idle(uv_idle_t *idle)
{
    struct outbound *outbound = idle->data;
    uv_idle_stop(idle);
    if (outbound->state == OUTBOUND_STATE_CONNECTED && !outbound->holds)
        proceed(outbound);
    else
        pump(outbound);
}

void outbound_pump(struct outbound *outbound)
{
    if (outbound->is_pumping) {
        outbound->needs_pump = true;
        return;
    }
    if (outbound->state != OUTBOUND_STATE_TALKING)
        return;
    write_output(outbound);
    uv_idle_start(&outbound->idle, on_idle);
}

static void on_opened(struct outbound *outbound)
{
    struct sockaddr_storage address;
    outbound->phase_by_ms = INT64_MAX;
    outbound->opened_at_ms = now_ms(outbound);
    enter(outbound, OUTBOUND_STATE_CONNECTED);
    if (outbound->accepts_address && (stream_peer_address(outbound->stream, &address) != RESULT_OK ||
                                      !outbound->accepts_address(outbound->accepts_context, (struct sockaddr *)&address))) {
        outbound_blame_address(outbound);
        fail(outbound);
        return;
    }
    if (outbound->silence_ms > 0)
        stream_limit_silence(outbound->stream, outbound->silence_ms);
    stream_limit_unsent(outbound->stream, OUTBOUND_UNSENT_MAX);
    bool was_held = outbound->holds;
    tell(outbound, &(struct outbound_event){.type = OUTBOUND_CONNECTED});
    if (!was_held && outbound->state == OUTBOUND_STATE_CONNECTED)
        proceed(outbound);
}

/* The peer has ended, or the connection has died. */
static void on_end(struct outbound *outbound, bool has_failed)
{
    static const struct stream_error at_eof = {.kind = STREAM_ERROR_SOCKET, .uv_code = UV_EOF, .tls = TLS_FAIL_CLOSED, .words = "the other side ended the connection"};
    /* Held, and over already: what it said is for the core to judge, where it said it in the clear as it should. */
    bool has_spoken = outbound->state == OUTBOUND_STATE_CONNECTED && !outbound->tunnel && stream_input(outbound->stream).len > 0;
    if (has_spoken && outbound->smtp.security != SMTP_SECURITY_TLS)
        begin_talking(outbound);
    if (outbound->state == OUTBOUND_STATE_TALKING) {
        pump(outbound);
        if (outbound->state == OUTBOUND_STATE_TALKING) {
            smtp_client_eof(outbound->core);
            pump(outbound);
        }
    } else if (outbound->state != OUTBOUND_STATE_ENDING) {
        outbound_blame_stream(outbound, has_failed ? stream_error(outbound->stream) : &at_eof, stream_input(outbound->stream));
        fail(outbound);
    }
    if (has_failed)
        end(outbound);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct outbound *outbound = handle->data;
    if (--outbound->pending_closes > 0)
        return;
    smtp_client_free(&outbound->core);
    tunnel_free(&outbound->tunnel);
    tls_context_unref(&outbound->tls);
    drop_texts(outbound);
    free(outbound->server_name);
    free(outbound);
}

static void close_handles(struct outbound *outbound)
{
    outbound->pending_closes = 2;
    uv_close((uv_handle_t *)&outbound->timer, on_handle_closed);
    uv_close((uv_handle_t *)&outbound->idle, on_handle_closed);
}

static void on_stream(void *context, struct stream *stream, enum stream_event event)
{
    struct outbound *outbound = context;
    (void)stream;
    switch (event) {
    case STREAM_OPENED:
        on_opened(outbound);
        break;
    case STREAM_SECURED:
        if (outbound->state == OUTBOUND_STATE_SECURING)
            begin_talking(outbound);
        break;
    case STREAM_DATA:
    case STREAM_DRAINED:
        if (outbound->state == OUTBOUND_STATE_TALKING)
            pump(outbound);
        else if (outbound->state == OUTBOUND_STATE_TUNNELING)
            talk_to_proxy(outbound);
        break;
    case STREAM_EOF:
        on_end(outbound, false);
        break;
    case STREAM_FAILED:
        on_end(outbound, true);
        break;
    case STREAM_CLOSED:
        tell(outbound, &(struct outbound_event){.type = OUTBOUND_CLOSED});
        outbound->stream = NULL;
        close_handles(outbound);
        break;
    }
}

/* ---- opening ---- */

static struct slice keep_text(char **at, struct slice text)
{
    char *copy = *at;
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    *at += text.len;
    return slice_of(copy, text.len);
}

static bool keep_config(struct outbound *outbound, const struct smtp_client_config *from)
{
    struct smtp_client_config *to = &outbound->smtp;
    outbound->texts_len = from->ehlo_name.len + from->ehlo_name_cleartext.len + from->user.len + from->password.len + from->device.len + from->token.len + 1;
    if (from->early)
        outbound->texts_len += from->early->name.len + from->early->ways.len;
    outbound->texts = malloc(outbound->texts_len);
    if (!outbound->texts)
        return false;
    char *at = outbound->texts;
    *to = *from;
    to->ehlo_name = keep_text(&at, from->ehlo_name);
    to->ehlo_name_cleartext = keep_text(&at, from->ehlo_name_cleartext);
    to->user = keep_text(&at, from->user);
    to->password = keep_text(&at, from->password);
    to->device = keep_text(&at, from->device);
    to->token = keep_text(&at, from->token);
    if (from->early) {
        outbound->early = *from->early;
        outbound->early.name = keep_text(&at, from->early->name);
        outbound->early.ways = keep_text(&at, from->early->ways);
        to->early = &outbound->early;
    }
    to->session_id = slice_from_cstr(outbound->id);
    return true;
}

static void fill(struct outbound *outbound, const struct outbound_target *target)
{
    outbound->tls = tls_context_ref(target->tls);
    outbound->alpn = target->alpn;
    outbound->via = target->tunnel ? target->tunnel->via : PATH_DIRECT;
    outbound->accepts_address = target->accepts_address;
    outbound->accepts_context = target->accepts_context;
    outbound->holds = target->hold_at_connect;
    outbound->connect_timeout_ms = target->connect_timeout_ms ? target->connect_timeout_ms : 30 * 1000;
    outbound->handshake_timeout_ms = target->handshake_timeout_ms ? target->handshake_timeout_ms : 15 * 1000;
    outbound->silence_ms = target->silence_ms;
    outbound->linger_ms = target->linger_ms ? target->linger_ms : 1000;
    outbound->timer_at_ms = INT64_MAX;
    outbound->phase_by_ms = now_ms(outbound) + outbound->connect_timeout_ms;
    session_id_make('o', outbound->id);
}

enum result outbound_open(struct outbound **out, uv_loop_t *loop, const struct outbound_target *target, struct outbound_handler handler, const struct log *log)
{
    struct outbound *outbound = calloc(1, sizeof *outbound);
    enum result result = RESULT_MEMORY;
    *out = NULL;
    if (!outbound)
        return RESULT_MEMORY;
    assert(target->tls || target->smtp.security == SMTP_SECURITY_NONE);
    outbound->loop = loop;
    outbound->log = log;
    fill(outbound, target);
    uv_timer_init(loop, &outbound->timer);
    uv_idle_init(loop, &outbound->idle);
    outbound->timer.data = outbound->idle.data = outbound;
    if (target->server_name)
        outbound->server_name = strdup(target->server_name);
    if (target->tunnel && (result = tunnel_new(&outbound->tunnel, target->tunnel)) != RESULT_OK)
        goto out;
    result = RESULT_MEMORY;
    if ((target->server_name && !outbound->server_name) || !keep_config(outbound, &target->smtp))
        goto out;
    result = stream_connect(&outbound->stream, loop, (const struct sockaddr *)&target->address, (struct stream_owner){on_stream, outbound}, log);
out:
    if (result != RESULT_OK) {
        close_handles(outbound);
        return result;
    }
    outbound->handler = handler;
    arm(outbound);
    *out = outbound;
    return RESULT_OK;
}

void outbound_set_handler(struct outbound *outbound, struct outbound_handler handler)
{
    outbound->handler = handler;
}

void outbound_proceed(struct outbound *outbound)
{
    outbound->holds = false;
    if (outbound->state == OUTBOUND_STATE_CONNECTED)
        uv_idle_start(&outbound->idle, on_idle);
}

/* ---- leaving ---- */

void outbound_quit(struct outbound *outbound)
{
    if (outbound->state != OUTBOUND_STATE_TALKING) {
        outbound_close(outbound);
        return;
    }
    outbound->is_leaving = true;
    smtp_client_quit(outbound->core, now_ms(outbound));
    outbound_pump(outbound);
}

void outbound_close(struct outbound *outbound)
{
    outbound->is_leaving = true;
    end(outbound);
}

void outbound_reset(struct outbound *outbound)
{
    outbound_close(outbound);
    if (outbound->stream)
        stream_reset(outbound->stream);
}

/* ---- facts ---- */

struct smtp_client *outbound_core(struct outbound *outbound)
{
    return outbound->core;
}

uv_loop_t *outbound_loop(const struct outbound *outbound)
{
    return outbound->loop;
}

const char *outbound_id(const struct outbound *outbound)
{
    return outbound->id;
}

const char *outbound_peer(const struct outbound *outbound)
{
    return outbound->stream ? stream_peer(outbound->stream) : "";
}

enum result outbound_own_address(const struct outbound *outbound, struct sockaddr_storage *out)
{
    return outbound->stream ? stream_own_address(outbound->stream, out) : RESULT_IO;
}

const struct tls_info *outbound_tls(const struct outbound *outbound)
{
    return outbound->stream ? stream_tls_info(outbound->stream) : NULL;
}
