/* From the owner to the socket.
 *
 * Octets wait in `output` until the turn ends, are encrypted into the thread's scratch memory, and offered to the kernel at once. What it does not take becomes
 * `flight`, whose memory stays as it is until uv_write is done with it; nothing else is encrypted meanwhile, so `output` is the only place
 * where octets pile up, and it has a limit. */
#include "net/stream_internal.h"

#include <assert.h>

static void empty(struct buffer *buffer)
{
    if (buffer->capacity > KEEP_CAPACITY)
        buffer_shrink(buffer);
    else
        buffer_clear(buffer);
}

void stream_drop_output(struct stream *stream)
{
    empty(&stream->output);
    empty(&stream->wire);
}

enum result stream_write(struct stream *stream, struct slice octets)
{
    if (!stream_is_live(stream) || stream->write_error || octets.len == 0)
        return RESULT_OK;
    enum result result = buffer_append(&stream->output, octets);
    if (result != RESULT_OK)
        stream_fail(stream, STREAM_ERROR_LIMIT, UV_ENOBUFS, TLS_FAIL_NONE,
                    result == RESULT_LIMIT ? "too many octets wait to be sent" : "out of memory");
    if (stream_pending(stream) > STREAM_OUTPUT_HIGH)
        stream->wants_drained = true;
    stream_ask_turn(stream);
    return result;
}

size_t stream_pending(const struct stream *stream)
{
    return buffer_len(&stream->output) + buffer_len(&stream->wire) + buffer_len(&stream->flight);
}

bool stream_is_congested(const struct stream *stream)
{
    return stream_pending(stream) > STREAM_OUTPUT_HIGH;
}

/* The peer takes no more. What it said before it went may wait to be read ("421 too many connections"), so the failure is told when
 * that has been; the kernel ends the reading by itself. */
static void on_refused(struct stream *stream, int code)
{
    stream->write_error = code;
    stream_drop_output(stream);
    if (!stream->is_reading)
        stream_fail(stream, STREAM_ERROR_SOCKET, code, TLS_FAIL_NONE, uv_strerror(code));
}

static void on_written(uv_write_t *request, int status)
{
    struct stream *stream = request->data;
    stream->is_writing = false;
    if (status == 0)
        stream->octets_out += buffer_len(&stream->flight);
    empty(&stream->flight);
    if (stream->state >= STREAM_STATE_CLOSING)
        return;
    if (status != 0)
        on_refused(stream, status);
    stream_turn(stream);
}

static void take_off(struct stream *stream)
{
    struct slice octets = buffer_slice(&stream->flight);
    uv_buf_t out = uv_buf_init((char *)(uintptr_t)octets.ptr, (unsigned)octets.len);
    stream->request.write.data = stream;
    int failed = uv_write(&stream->request.write, (uv_stream_t *)&stream->tcp, &out, 1, on_written);
    if (failed) {
        empty(&stream->flight);
        on_refused(stream, failed);
        return;
    }
    stream->is_writing = true;
}

/* The next octets for the socket, in the thread's scratch memory. */
static struct slice gather(struct stream *stream)
{
    struct buffer *out = &stream->scratch->write;
    buffer_clear(out);
    if (buffer_len(&stream->wire) > 0) {
        if (buffer_append(out, buffer_slice(&stream->wire)) != RESULT_OK)
            stream_fail(stream, STREAM_ERROR_LIMIT, UV_ENOMEM, TLS_FAIL_NONE, "out of memory");
        empty(&stream->wire);
    }
    while (stream->tls >= STREAM_TLS_SECURE && buffer_len(&stream->output) > 0 && buffer_len(out) < SCRATCH_WRITE_SOFT) {
        struct slice plain = buffer_slice(&stream->output);
        size_t before = plain.len;
        if (tls_session_write(stream->session, &plain, out) != TLS_STEP_OK) {
            stream_fail_tls(stream);
            stream_drop_output(stream);
            break;
        }
        buffer_consume(&stream->output, before - plain.len);
    }
    return buffer_slice(out);
}

/* Offers octets to the kernel. False: it has no room, or there is nobody: stop. */
static bool offer(struct stream *stream, struct slice octets, size_t *taken)
{
    uv_buf_t out = uv_buf_init((char *)(uintptr_t)octets.ptr, (unsigned)octets.len);
    int n = uv_try_write((uv_stream_t *)&stream->tcp, &out, 1);
    *taken = n > 0 ? (size_t)n : 0;
    stream->octets_out += *taken;
    if (n < 0 && n != UV_EAGAIN) {
        on_refused(stream, n);
        return false;
    }
    return *taken == octets.len;
}

static void flush_tls(struct stream *stream)
{
    size_t taken;
    for (;;) {
        struct slice octets = gather(stream);
        if (octets.len == 0)
            return;
        if (!offer(stream, octets, &taken))
            break;
        if (buffer_len(&stream->scratch->write) > 2 * SCRATCH_WRITE_SOFT)
            buffer_shrink(&stream->scratch->write);
    }
    if (stream->write_error)
        return;
    struct slice rest = slice_skip(buffer_slice(&stream->scratch->write), taken);
    if (buffer_append(&stream->flight, rest) != RESULT_OK) {
        stream_fail(stream, STREAM_ERROR_LIMIT, UV_ENOMEM, TLS_FAIL_NONE, "out of memory");
        return;
    }
    take_off(stream);
}

static void flush_clear(struct stream *stream)
{
    size_t taken;
    struct slice octets = buffer_slice(&stream->output);
    if (octets.len == 0)
        return;
    bool is_done = offer(stream, octets, &taken);
    if (stream->write_error)
        return;
    buffer_consume(&stream->output, taken);
    if (is_done)
        return;
    struct buffer rest = stream->output;
    stream->output = stream->flight;
    stream->flight = rest;
    /* Each keeps its own limit. */
    size_t max = stream->output.max;
    stream->output.max = stream->flight.max;
    stream->flight.max = max;
    take_off(stream);
}

void stream_flush(struct stream *stream)
{
    if (stream->is_writing || stream->write_error || stream->state == STREAM_STATE_OPENING || stream->state >= STREAM_STATE_CLOSING ||
        stream->is_shut)
        return;
    if (stream->session)
        flush_tls(stream);
    else
        flush_clear(stream);
    if (buffer_len(&stream->output) == 0)
        empty(&stream->output);
}
