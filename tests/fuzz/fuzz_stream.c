/* net/stream.h and net/tls.h: a peer that says anything, in the clear, into the handshake, or between good records, to an owner that consumes, pauses, writes and
 * ends as it likes. What is told must be a prefix of what was sent in good records, nothing is told before SECURED where TLS is demanded, CLOSED comes exactly once, and
 * the loop is empty afterwards.
 *
 * The first octet chooses the mode, the others are operations (enum operation in the low three bits, a count in the rest). */
#include "support/bare.h"
#include "support/certificates.h"

#include "net/stream.h"

#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MODE_TLS = 1, MODE_SERVER = 2, MODE_SHAKEN = 4 /* the handshake is done well first */, MODE_WAITING = 8 /* TLS begins with what has come */ };
enum operation { SAY_RAW, SAY_WELL, PAUSE, RESUME, WRITE, DAMAGE, END, FINISH };
enum { ROUNDS = 3, SENT_MAX = 1 << 20, INPUT_MAX = 2048 };

struct world {
    uv_loop_t loop;
    struct stream *stream;
    struct bare peer;
    struct buffer sent, got;
    unsigned mode;
    bool is_secured, has_failed, is_closed, is_damaged, is_paused;
    uint8_t greed; /* how much of what waits is consumed at DATA */
};

static struct tls_context *server_tls, *client_tls;
static char long_text[80000]; /* no part of it is like another */

static void check(bool is_true)
{
    if (!is_true)
        abort();
}

static void consume(struct world *world)
{
    struct slice in = stream_input(world->stream);
    size_t n = in.len * (1u + world->greed % 4) / 4;
    check(!(world->mode & MODE_TLS) || world->is_secured);
    check(buffer_append(&world->got, slice_take(in, n)) == RESULT_OK);
    stream_consume(world->stream, n);
}

static void on_event(void *context, struct stream *stream, enum stream_event event)
{
    struct world *world = context;
    check(!world->is_closed);
    switch (event) {
    case STREAM_OPENED:
    case STREAM_DRAINED:
    case STREAM_EOF:
        break;
    case STREAM_SECURED:
        check(!world->is_secured && stream_tls_info(stream));
        world->is_secured = true;
        break;
    case STREAM_DATA:
        check(!world->is_paused && !world->has_failed);
        consume(world);
        break;
    case STREAM_FAILED:
        check(!world->has_failed && stream_error(stream)->words[0]);
        world->has_failed = true;
        break;
    case STREAM_CLOSED:
        world->is_closed = true;
        break;
    }
}

static void move(struct world *world)
{
    for (int i = 0; i < ROUNDS; i++) {
        uv_run(&world->loop, UV_RUN_NOWAIT);
        bare_move(&world->peer);
    }
}

static void start_tls(struct world *world)
{
    bool is_server = world->mode & MODE_SERVER;
    if (stream_input(world->stream).len > 0 && !(world->mode & MODE_WAITING))
        return;
    check(stream_start_tls(world->stream, is_server ? server_tls : client_tls, is_server ? NULL : "relay.example", world->mode & MODE_WAITING) == RESULT_OK);
    if (world->mode & MODE_SHAKEN) {
        bare_start_tls(&world->peer, is_server ? client_tls : server_tls, is_server ? "relay.example" : NULL);
        for (int i = 0; i < 10 && !(world->is_secured && world->peer.is_secured); i++)
            move(world);
        check(world->is_secured && world->peer.is_secured);
    }
}

static void say_well(struct world *world, struct slice octets)
{
    bool is_heard = !world->is_damaged && (world->peer.is_secured || !(world->mode & MODE_TLS));
    if (is_heard)
        check(buffer_append(&world->sent, octets) == RESULT_OK);
    bare_write(&world->peer, octets);
    world->is_damaged = world->is_damaged || !is_heard;
}

static void operate(struct world *world, uint8_t octet, struct slice *rest)
{
    size_t n = octet >> 3;
    struct slice octets = slice_take(*rest, n);
    switch ((enum operation)(octet & 7)) {
    case SAY_RAW:
        world->is_damaged = world->is_damaged || octets.len > 0;
        check(buffer_append(&world->peer.out, octets) == RESULT_OK);
        *rest = slice_skip(*rest, n);
        break;
    case SAY_WELL: say_well(world, slice_of(long_text + buffer_len(&world->sent) % 40000, n * 1290)); break;
    case PAUSE: stream_pause(world->stream); world->is_paused = true; break;
    case RESUME:
        stream_resume(world->stream);
        world->is_paused = false;
        world->greed = (uint8_t)n;
        if (world->is_secured || !(world->mode & MODE_TLS))
            consume(world);
        break;
    case WRITE: (void)!stream_write(world->stream, slice_of(long_text, n * 1290)); break;
    case DAMAGE: {
        struct slice out = buffer_slice(&world->peer.out);
        if (out.len > 0) {
            ((char *)(uintptr_t)out.ptr)[n * out.len / 32] ^= 1;
            world->is_damaged = true;
        }
        break;
    }
    case END: bare_end(&world->peer); world->is_damaged = true; break;
    case FINISH: stream_finish(world->stream, (int64_t)n); break;
    }
}

static void finish(struct world *world)
{
    if (!world->is_closed)
        stream_close(world->stream);
    while (!world->is_closed)
        uv_run(&world->loop, UV_RUN_ONCE);
    check(uv_loop_close(&world->loop) == 0);
    /* In the clear damage can't be told from the truth. */
    if (world->mode & MODE_TLS || !world->is_damaged)
        check(slice_starts_with(buffer_slice(&world->sent), buffer_slice(&world->got)));
    bare_close(&world->peer);
    buffer_free(&world->sent);
    buffer_free(&world->got);
}

static void prepare(void)
{
    certificates_contexts(&server_tls, &client_tls);
    for (size_t i = 0; i < sizeof long_text; i++)
        long_text[i] = (char)(i * UINT64_C(0x9e3779b97f4a7c15) >> 40);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {.sent = BUFFER(SENT_MAX), .got = BUFFER(8 * SENT_MAX), .greed = 3};
    int ends[2];
    if (size < 1 || size > INPUT_MAX)
        return 0;
    if (!server_tls)
        prepare();
    world.mode = data[0];
    check(uv_loop_init(&world.loop) == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    check(stream_accept(&world.stream, &world.loop, ends[0], (struct stream_owner){on_event, &world}, NULL) == RESULT_OK);
    bare_open(&world.peer, ends[1]);
    if (world.mode & MODE_TLS)
        start_tls(&world);
    struct slice rest = slice_of(data + 1, size - 1);
    while (rest.len > 0 && !world.is_closed && buffer_len(&world.got) + buffer_len(&world.sent) < SENT_MAX / 2) {
        uint8_t octet = (uint8_t)rest.ptr[0];
        rest = slice_skip(rest, 1);
        operate(&world, octet, &rest);
        if (octet & 0x80 || octet & 1)
            move(&world);
    }
    move(&world);
    finish(&world);
    return 0;
}
