/* From the socket to the owner. */
#include "net/stream_internal.h"

#include "crypto/crypto.h"

#include <assert.h>
#include <string.h>

static void fail_memory(struct stream *stream)
{
    stream_fail(stream, STREAM_ERROR_LIMIT, UV_ENOMEM, TLS_FAIL_NONE, "out of memory");
}

/* Tells the owner of plain octets that lie in the scratch memory; keeps what it leaves. */
static void deliver(struct stream *stream, struct slice plain)
{
    if (plain.len == 0)
        return;
    if (buffer_len(&stream->input) > 0) {
        if (buffer_append(&stream->input, plain) != RESULT_OK) {
            fail_memory(stream);
            return;
        }
    } else {
        stream->view = plain;
    }
    if (!stream->is_paused)
        stream_tell(stream, STREAM_DATA);
    if (stream->view.len > 0 && buffer_append(&stream->input, stream->view) != RESULT_OK)
        fail_memory(stream);
    stream->view = (struct slice){0};
}

struct slice stream_input(const struct stream *stream)
{
    return stream->view.len > 0 ? stream->view : buffer_slice(&stream->input);
}

void stream_consume(struct stream *stream, size_t n)
{
    if (stream->view.len > 0) {
        assert(n <= stream->view.len);
        stream->view = slice_skip(stream->view, n);
        return;
    }
    size_t before = buffer_len(&stream->input);
    buffer_consume(&stream->input, n);
    if (buffer_len(&stream->input) == 0 && stream->input.capacity > KEEP_CAPACITY)
        buffer_shrink(&stream->input);
    if (before >= STREAM_INPUT_MAX && buffer_len(&stream->input) < STREAM_INPUT_MAX)
        stream_ask_turn(stream); /* there is room for more */
}

void stream_pause(struct stream *stream)
{
    stream->is_paused = true;
    stream_ask_turn(stream);
}

void stream_resume(struct stream *stream)
{
    if (!stream->is_paused)
        return;
    stream->is_paused = false;
    stream->wants_data = true;
    stream_ask_turn(stream);
}

/* ---- TLS ---- */

static bool has_room(const struct stream *stream)
{
    return !stream->is_paused && buffer_len(&stream->input) < STREAM_INPUT_MAX;
}

static void shake_hands(struct stream *stream, struct slice *in)
{
    switch (tls_session_handshake(stream->session, in, &stream->wire)) {
    case TLS_STEP_OK:
        stream->tls = STREAM_TLS_SECURE;
        stream_tell(stream, STREAM_SECURED);
        return;
    case TLS_STEP_WANT_INPUT:
        return;
    case TLS_STEP_EOF:
    case TLS_STEP_FAILED:
        if (tls_session_failure(stream->session) == TLS_FAIL_NOT_TLS && buffer_append(&stream->input, slice_take(*in, STREAM_INPUT_MAX)) != RESULT_OK)
            fail_memory(stream);
        stream_flush(stream); /* an alert */
        stream_fail_tls(stream);
        return;
    }
}

/* One helping of records. False: no more to be had of this input. */
static bool decrypt(struct stream *stream, struct slice *in)
{
    size_t got = 0;
    enum tls_step step = tls_session_read(stream->session, in, stream->scratch->plain, SCRATCH_PLAIN, &got, &stream->wire);
    if (step == TLS_STEP_EOF)
        stream->tls = STREAM_TLS_ENDED;
    deliver(stream, slice_of(stream->scratch->plain, got));
    crypto_wipe(stream->scratch->plain, got);
    if (step == TLS_STEP_FAILED) {
        stream_flush(stream);
        stream_fail_tls(stream);
    }
    return step == TLS_STEP_OK;
}

/* Leaves in *in what the owner has no room for. */
static void filter(struct stream *stream, struct slice *in)
{
    if (stream->tls == STREAM_TLS_HANDSHAKE)
        shake_hands(stream, in);
    while (stream->tls == STREAM_TLS_SECURE && stream_is_live(stream) && in->len > 0 && has_room(stream))
        if (!decrypt(stream, in))
            break;
    if (stream->tls == STREAM_TLS_ENDED || !stream_is_live(stream))
        *in = (struct slice){0}; /* TLS's end is final */
}

void stream_take_raw(struct stream *stream)
{
    struct slice in = buffer_slice(&stream->raw);
    size_t before = in.len;
    if (stream->tls != STREAM_TLS_HANDSHAKE && (before == 0 || !has_room(stream)))
        return;
    filter(stream, &in);
    if (stream->state >= STREAM_STATE_DRAINING)
        return; /* the owner has ended it: raw is gone */
    buffer_consume(&stream->raw, before - in.len);
    if (buffer_len(&stream->raw) == 0 && stream->raw.capacity > KEEP_CAPACITY)
        buffer_shrink(&stream->raw);
}

static void take_ciphertext(struct stream *stream, struct slice chunk)
{
    if (buffer_len(&stream->raw) == 0)
        filter(stream, &chunk);
    if (chunk.len > 0 && stream_is_live(stream) && buffer_append(&stream->raw, chunk) != RESULT_OK)
        fail_memory(stream);
}

/* AUTH may come in the clear from a mail program on this machine. */
static void take_clear(struct stream *stream, char *octets, size_t n)
{
    deliver(stream, slice_of(octets, n));
    crypto_wipe(octets, n);
}

/* ---- the socket ---- */

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct stream *stream = handle->data;
    (void)suggested;
    *out = uv_buf_init(stream->scratch->read, SCRATCH_READ);
}

static void on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *in)
{
    struct stream *stream = handle->data;
    if (n == 0 || stream->state >= STREAM_STATE_CLOSING)
        return;
    stream->is_in_turn = true;
    if (n > 0) {
        stream->octets_in += (uint64_t)n;
        if (!stream_is_live(stream))
            ; /* draining, or failed: nobody listens */
        else if (stream->session)
            take_ciphertext(stream, slice_of(in->base, (size_t)n));
        else
            take_clear(stream, in->base, (size_t)n);
    } else if (n == UV_EOF) {
        stream->is_ended = true;
        stream_mark_end(stream);
    } else {
        stream->is_ended = true;
        stream_fail(stream, STREAM_ERROR_SOCKET, (int)n, TLS_FAIL_NONE, uv_strerror((int)n));
    }
    stream_turn(stream);
}

void stream_reading_update(struct stream *stream)
{
    bool is_wanted = !stream->is_ended && ((stream_is_live(stream) && stream->state == STREAM_STATE_OPEN && has_room(stream) &&
                                            stream->tls != STREAM_TLS_ENDED) || stream->state == STREAM_STATE_DRAINING);
    if (stream->state >= STREAM_STATE_CLOSING || is_wanted == stream->is_reading)
        return;
    stream->is_reading = is_wanted;
    if (is_wanted)
        uv_read_start((uv_stream_t *)&stream->tcp, on_allocate, on_read);
    else
        uv_read_stop((uv_stream_t *)&stream->tcp);
}

void stream_offer_alpn(struct stream *stream, enum path_alpn alpn)
{
    assert(!stream->session);
    stream->alpn = alpn;
}

enum result stream_start_tls(struct stream *stream, struct tls_context *context, const char *server_name, bool from_waiting_input)
{
    struct slice waiting = stream_input(stream);
    assert(!stream->session && (from_waiting_input || waiting.len == 0));
    enum result result = tls_session_new(&stream->session, context, server_name, stream->alpn);
    if (result == RESULT_OK && waiting.len > 0)
        result = buffer_append(&stream->raw, waiting);
    if (result == RESULT_OK) /* what was said in the clear goes out in the clear */
        result = buffer_append(&stream->wire, buffer_slice(&stream->output));
    if (result != RESULT_OK) {
        fail_memory(stream);
        return RESULT_MEMORY;
    }
    buffer_clear(&stream->output);
    stream_consume(stream, waiting.len);
    stream->tls = STREAM_TLS_HANDSHAKE;
    stream_ask_turn(stream);
    return RESULT_OK;
}
