/* The life of a stream; see stream.h and stream_internal.h.
 *
 * 1 The owner hears CLOSED exactly once, from the loop, and the memory goes right after it.
 * 2 No event comes from inside a call of the owner.
 * 3 After stream_close or stream_finish nothing but CLOSED comes; after FAILED nothing but CLOSED, and that only once stream_close was called.
 * 4 TLS never goes back to the clear: what follows close_notify, or a failure of TLS, is dropped unread. */
#include "net/stream_internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- the thread's scratch memory ---- */

static _Thread_local struct scratch *thread_scratch;

static struct scratch *scratch_take(void)
{
    if (!thread_scratch) {
        thread_scratch = malloc(sizeof *thread_scratch);
        if (!thread_scratch)
            return NULL;
        thread_scratch->users = 0;
        thread_scratch->write = BUFFER(2 * STREAM_OUTPUT_MAX);
    }
    thread_scratch->users++;
    return thread_scratch;
}

static void scratch_release(struct scratch *scratch)
{
    assert(scratch == thread_scratch); /* streams do not change threads */
    if (--scratch->users > 0)
        return;
    buffer_free(&scratch->write);
    free(scratch);
    thread_scratch = NULL;
}

/* ---- state ---- */

static const char *const STATE_NAMES[] = {"opening", "open", "draining", "closing", "closed"};

const char *stream_state_name(const struct stream *stream)
{
    return STATE_NAMES[stream->state];
}

void stream_set_state(struct stream *stream, enum stream_state state)
{
    assert(state > stream->state);
    log_event(stream->log, LOG_DEBUG, "stream-state", LOG_TEXT("peer", stream->peer), LOG_TEXT("from", STATE_NAMES[stream->state]),
              LOG_TEXT("to", STATE_NAMES[state]));
    stream->state = state;
}

bool stream_is_live(const struct stream *stream)
{
    return stream->state <= STREAM_STATE_OPEN && stream->error.kind == STREAM_ERROR_NONE;
}

void stream_tell(struct stream *stream, enum stream_event event)
{
    if (stream->owner.on_event)
        stream->owner.on_event(stream->owner.context, stream, event);
}

void stream_fail(struct stream *stream, enum stream_error_kind kind, int uv_code, enum tls_failure tls, const char *words)
{
    if (stream->error.kind != STREAM_ERROR_NONE || stream->state >= STREAM_STATE_CLOSING)
        return;
    stream->error.kind = kind;
    stream->error.uv_code = uv_code;
    stream->error.tls = tls;
    snprintf(stream->error.words, sizeof stream->error.words, "%s", words);
    stream_ask_turn(stream);
}

void stream_fail_tls(struct stream *stream)
{
    if (stream->error.kind == STREAM_ERROR_NONE)
        snprintf(stream->error.whose, sizeof stream->error.whose, "%s", tls_session_failure_whose(stream->session));
    stream_fail(stream, STREAM_ERROR_TLS, 0, tls_session_failure(stream->session), tls_session_failure_words(stream->session));
}

/* ---- turns ---- */

static void on_idle(uv_idle_t *handle)
{
    struct stream *stream = handle->data;
    uv_idle_stop(handle);
    stream_turn(stream);
}

void stream_ask_turn(struct stream *stream)
{
    if (stream->is_in_turn)
        stream->needs_turn = true;
    else if (stream->state < STREAM_STATE_CLOSING)
        uv_idle_start(&stream->turn, on_idle);
}

static void tell_waiting_data(struct stream *stream)
{
    if (!stream->wants_data || stream->is_paused || !stream_is_live(stream))
        return;
    stream->wants_data = false;
    if (buffer_len(&stream->input) > 0)
        stream_tell(stream, STREAM_DATA);
}

static void tell_drained(struct stream *stream)
{
    if (!stream->wants_drained || !stream_is_live(stream) || stream_pending(stream) >= STREAM_OUTPUT_HIGH / 2)
        return;
    stream->wants_drained = false;
    stream_tell(stream, STREAM_DRAINED);
}

/* The peer's end is told when everything before it has been. */
static void tell_end(struct stream *stream)
{
    bool is_over = stream->tls == STREAM_TLS_ENDED || stream->is_ended;
    if (!is_over || stream->is_eof_told || stream->is_paused || !stream_is_live(stream) || buffer_len(&stream->raw) > 0)
        return;
    if (stream->write_error)
        stream_fail(stream, STREAM_ERROR_SOCKET, stream->write_error, TLS_FAIL_NONE, uv_strerror(stream->write_error));
    else if (stream->tls == STREAM_TLS_HANDSHAKE)
        stream_fail(stream, STREAM_ERROR_TLS, UV_EOF, TLS_FAIL_CLOSED, "the connection ended in the middle of the TLS handshake");
    else if (stream->tls == STREAM_TLS_SECURE)
        stream_fail(stream, STREAM_ERROR_TLS, UV_EOF, TLS_FAIL_CLOSED, "the connection ended without TLS's close_notify");
    else {
        stream->is_eof_told = true;
        stream_tell(stream, STREAM_EOF);
    }
}

static void tell_failure(struct stream *stream)
{
    if (stream->error.kind == STREAM_ERROR_NONE || stream->is_failure_told || stream->state > STREAM_STATE_OPEN)
        return;
    stream->is_failure_told = true;
    stream_drop_output(stream);
    log_event(stream->log, LOG_DEBUG, "stream-failed", LOG_TEXT("peer", stream->peer), LOG_TEXT("reason", stream->error.words));
    stream_tell(stream, STREAM_FAILED);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    struct stream *stream = request->data;
    (void)status;
    if (stream->state < STREAM_STATE_CLOSING && (stream->is_ended || stream->linger_ms == 0))
        stream_close(stream);
}

static void drain(struct stream *stream)
{
    if (stream->error.kind != STREAM_ERROR_NONE || stream->write_error) {
        stream_close(stream);
        return;
    }
    if (stream->tls >= STREAM_TLS_SECURE && !stream->is_closing_notified && buffer_len(&stream->output) == 0) {
        stream->is_closing_notified = true;
        tls_session_close_notify(stream->session, &stream->wire);
        stream_flush(stream);
    }
    if (stream_pending(stream) > 0) {
        if (stream->linger_ms == 0)
            stream_close(stream);
        return;
    }
    if (!stream->is_shut) {
        stream->is_shut = true;
        stream->shutdown.data = stream;
        if (uv_shutdown(&stream->shutdown, (uv_stream_t *)&stream->tcp, on_shutdown) != 0)
            stream_close(stream);
    } else if (stream->is_ended && !uv_is_closing((uv_handle_t *)&stream->tcp)) {
        stream_close(stream);
    }
}

void stream_turn(struct stream *stream)
{
    stream->is_in_turn = true;
    do {
        stream->needs_turn = false;
        if (stream->session && stream_is_live(stream))
            stream_take_raw(stream);
        tell_waiting_data(stream);
        stream_flush(stream);
        tell_drained(stream);
        tell_end(stream);
        tell_failure(stream);
        if (stream->state == STREAM_STATE_DRAINING)
            drain(stream);
    } while (stream->needs_turn && stream->state < STREAM_STATE_CLOSING);
    stream->is_in_turn = false;
    stream_reading_update(stream);
    if (stream->tls == STREAM_TLS_SECURE && stream->state < STREAM_STATE_CLOSING)
        tls_session_rest(stream->session);
}

/* ---- opening ---- */

static struct stream *stream_new(uv_loop_t *loop, struct stream_owner owner, const struct log *log)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->scratch = scratch_take();
    if (!stream->scratch || uv_tcp_init(loop, &stream->tcp) != 0) {
        if (stream->scratch)
            scratch_release(stream->scratch);
        free(stream);
        return NULL;
    }
    uv_timer_init(loop, &stream->linger);
    uv_idle_init(loop, &stream->turn);
    stream->tcp.data = stream->linger.data = stream->turn.data = stream;
    stream->input = BUFFER_SECRET(2 * STREAM_INPUT_MAX); /* passwords pass through here, in AUTH */
    stream->raw = BUFFER(RAW_MAX);
    stream->output = BUFFER_SECRET(STREAM_OUTPUT_MAX);
    stream->wire = BUFFER(2 * STREAM_OUTPUT_MAX);
    stream->flight = BUFFER_SECRET(2 * STREAM_OUTPUT_MAX);
    stream->owner = owner;
    stream->log = log;
    return stream;
}

/* For one that never came to life: its owner hears nothing. */
static void discard(struct stream *stream)
{
    stream->owner = (struct stream_owner){0};
    stream_close(stream);
}

static void learn_peer(struct stream *stream)
{
    struct sockaddr_storage address;
    struct net_address named = {0};
    if (stream_peer_address(stream, &address) != RESULT_OK)
        return;
    memcpy(&named, &address, sizeof named);
    net_address_format(&named, stream->peer);
}

static void stand(struct stream *stream)
{
    uv_tcp_nodelay(&stream->tcp, 1);
    learn_peer(stream);
    stream_set_state(stream, STREAM_STATE_OPEN);
}

static void on_connect(uv_connect_t *request, int status)
{
    struct stream *stream = request->data;
    if (stream->state >= STREAM_STATE_CLOSING)
        return;
    if (status != 0) {
        stream_fail(stream, STREAM_ERROR_SOCKET, status, TLS_FAIL_NONE, uv_strerror(status));
    } else {
        stand(stream);
        stream_tell(stream, STREAM_OPENED);
    }
    stream_turn(stream);
}

enum result stream_connect(struct stream **out, uv_loop_t *loop, const struct sockaddr *address, struct stream_owner owner, const struct log *log)
{
    struct stream *stream = stream_new(loop, owner, log);
    *out = NULL;
    if (!stream)
        return RESULT_MEMORY;
    stream->request.connect.data = stream;
    int failed = uv_tcp_connect(&stream->request.connect, &stream->tcp, address, on_connect);
    if (failed == UV_EMFILE || failed == UV_ENFILE || failed == UV_ENOBUFS || failed == UV_ENOMEM) {
        discard(stream);
        return RESULT_IO;
    }
    if (failed) /* no route, for example: told like a failure that came later */
        stream_fail(stream, STREAM_ERROR_SOCKET, failed, TLS_FAIL_NONE, uv_strerror(failed));
    *out = stream;
    return RESULT_OK;
}

enum result stream_accept(struct stream **out, uv_loop_t *loop, int fd, struct stream_owner owner, const struct log *log)
{
    struct stream *stream = stream_new(loop, owner, log);
    *out = NULL;
    if (!stream) {
        close(fd);
        return RESULT_MEMORY;
    }
    if (uv_tcp_open(&stream->tcp, fd) != 0) {
        close(fd);
        discard(stream);
        return RESULT_IO;
    }
    stand(stream);
    stream_ask_turn(stream); /* begins to read */
    *out = stream;
    return RESULT_OK;
}

/* ---- ending ---- */

static void on_linger_over(uv_timer_t *timer)
{
    stream_close(timer->data);
}

void stream_finish(struct stream *stream, int64_t linger_ms)
{
    if (stream->state >= STREAM_STATE_DRAINING)
        return;
    if (stream->state == STREAM_STATE_OPENING || stream->error.kind != STREAM_ERROR_NONE) {
        stream_close(stream);
        return;
    }
    stream_set_state(stream, STREAM_STATE_DRAINING);
    buffer_shrink(&stream->input);
    buffer_shrink(&stream->raw);
    stream->view = (struct slice){0};
    stream->linger_ms = linger_ms > 0 ? linger_ms : 0;
    if (stream->tls == STREAM_TLS_HANDSHAKE)
        buffer_shrink(&stream->output); /* it can't be told any more */
    if (linger_ms > 0)
        uv_timer_start(&stream->linger, on_linger_over, (uint64_t)linger_ms, 0);
    stream_ask_turn(stream);
}

static void free_stream(struct stream *stream)
{
    tls_session_free(&stream->session);
    buffer_free(&stream->input);
    buffer_free(&stream->raw);
    buffer_free(&stream->output);
    buffer_free(&stream->wire);
    buffer_free(&stream->flight);
    scratch_release(stream->scratch);
    free(stream);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct stream *stream = handle->data;
    if (--stream->pending_closes > 0)
        return;
    stream_set_state(stream, STREAM_STATE_CLOSED);
    stream_tell(stream, STREAM_CLOSED);
    free_stream(stream);
}

void stream_close(struct stream *stream)
{
    if (stream->state >= STREAM_STATE_CLOSING)
        return;
    stream_set_state(stream, STREAM_STATE_CLOSING);
    stream->view = (struct slice){0};
    stream->pending_closes = 3;
    uv_close((uv_handle_t *)&stream->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&stream->linger, on_handle_closed);
    uv_close((uv_handle_t *)&stream->turn, on_handle_closed);
}

void stream_limit_silence(struct stream *stream, int64_t silence_ms)
{
    const unsigned limit_ms = (unsigned)silence_ms;
    uv_os_fd_t fd;
    uv_tcp_keepalive(&stream->tcp, 1, limit_ms > 1000 ? limit_ms / 1000 : 1);
#ifdef TCP_USER_TIMEOUT
    if (uv_fileno((uv_handle_t *)&stream->tcp, &fd) == 0)
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof limit_ms);
#else
    (void)fd;
#endif
}

void stream_limit_unsent(struct stream *stream, size_t octets)
{
#ifdef TCP_NOTSENT_LOWAT
    const int limit = (int)octets;
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&stream->tcp, &fd) == 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &limit, sizeof limit);
#else
    (void)stream, (void)octets;
#endif
}

void stream_reset(struct stream *stream)
{
    const struct linger none = {.l_onoff = 1};
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&stream->tcp, &fd) == 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    stream_close(stream);
}

/* ---- facts ---- */

const struct stream_error *stream_error(const struct stream *stream)
{
    return &stream->error;
}

int stream_socket_error(const struct stream *stream)
{
    int error = 0;
    socklen_t len = sizeof error;
    uv_os_fd_t fd;
    if (uv_fileno((const uv_handle_t *)&stream->tcp, &fd) != 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        return UV_EBADF;
    return error ? uv_translate_sys_error(error) : 0;
}

int stream_socket(const struct stream *stream)
{
    uv_os_fd_t fd;
    return uv_fileno((const uv_handle_t *)&stream->tcp, &fd) == 0 ? fd : -1;
}

const char *stream_peer(const struct stream *stream)
{
    return stream->peer;
}

enum result stream_peer_address(const struct stream *stream, struct sockaddr_storage *out)
{
    int len = sizeof *out;
    *out = (struct sockaddr_storage){0};
    return uv_tcp_getpeername(&stream->tcp, (struct sockaddr *)out, &len) == 0 ? RESULT_OK : RESULT_IO;
}

enum result stream_own_address(const struct stream *stream, struct sockaddr_storage *out)
{
    int len = sizeof *out;
    *out = (struct sockaddr_storage){0};
    return uv_tcp_getsockname(&stream->tcp, (struct sockaddr *)out, &len) == 0 ? RESULT_OK : RESULT_IO;
}

uint64_t stream_octets_in(const struct stream *stream)
{
    return stream->octets_in;
}

uint64_t stream_octets_out(const struct stream *stream)
{
    return stream->octets_out;
}

const struct tls_info *stream_tls_info(const struct stream *stream)
{
    return stream->session ? tls_session_info(stream->session) : NULL;
}

int64_t loop_now_ms(const uv_loop_t *loop)
{
    return (int64_t)uv_now(loop);
}

int64_t wall_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t boot_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
