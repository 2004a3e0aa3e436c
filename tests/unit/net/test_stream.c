/* Streams in the clear: events, back-pressure, coalescing, ends of every kind. The numbers are the invariants of stream.c. */
#include "support/netloop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static bool has(const struct net_end *end, const char *text)
{
    return slice_equal(buffer_slice(&end->got), slice_from_cstr(text));
}

static void test_both_ways(void **state)
{
    struct netloop net;
    struct net_end left = {0}, right = {0};
    (void)state;
    netloop_open(&net);
    net_pair(&net, &left, &right);
    assert_int_equal(left.told[STREAM_OPENED], 1);
    assert_true(strncmp(stream_peer(left.stream), "127.0.0.1:", 10) == 0);
    assert_string_equal(stream_state_name(left.stream), "open");
    net_end_write(&left, "EHLO laptop\r\n");
    net_end_write(&right, "220 relay\r\n");
    NET_UNTIL(&net, has(&right, "EHLO laptop\r\n") && has(&left, "220 relay\r\n"));
    assert_int_equal(stream_octets_out(left.stream), 13);
    assert_int_equal(stream_octets_in(left.stream), 11);
    assert_int_equal(stream_pending(left.stream), 0);
    net_pair_close(&net, &left, &right);
    assert_int_equal(left.told[STREAM_FAILED], 0);
    netloop_close(&net);
}

/* What is written in one turn of the loop leaves in one segment: the other side hears DATA once. */
static void test_writes_coalesce(void **state)
{
    struct netloop net;
    struct net_end left = {0}, right = {0};
    (void)state;
    netloop_open(&net);
    net_pair(&net, &left, &right);
    for (int i = 0; i < 100; i++)
        net_end_write(&left, "0123456789");
    NET_UNTIL(&net, buffer_len(&right.got) == 1000);
    assert_int_equal(right.told[STREAM_DATA], 1);
    net_pair_close(&net, &left, &right);
    netloop_close(&net);
}

static void fill(struct net_end *end, size_t octets)
{
    char block[1000];
    memset(block, 'x', sizeof block);
    for (size_t sent = 0; sent < octets; sent += sizeof block)
        assert_int_equal(stream_write(end->stream, slice_of(block, sizeof block)), RESULT_OK);
}

/* The reader takes nothing: its stream stops reading, the writer is congested; it takes all: DRAINED comes and everything arrives. */
static void test_back_pressure(void **state)
{
    struct netloop net;
    struct net_end left = {0}, right = {.keeps_input = true};
    (void)state;
    netloop_open(&net);
    net_pair(&net, &left, &right);
    size_t sent = 0;
    while (!stream_is_congested(left.stream)) { /* until the kernel's buffers are full, too */
        assert_true(sent < 64 * 1000 * 1000);
        fill(&left, 100 * 1000);
        sent += 100 * 1000;
        uv_run(&net.loop, UV_RUN_NOWAIT);
    }
    NET_UNTIL(&net, stream_input(right.stream).len >= STREAM_INPUT_MAX);
    for (int i = 0; i < 50; i++)
        uv_run(&net.loop, UV_RUN_NOWAIT);
    assert_true(stream_input(right.stream).len <= 2 * STREAM_INPUT_MAX);
    uint64_t stopped_at = stream_octets_in(right.stream);
    for (int i = 0; i < 50; i++)
        uv_run(&net.loop, UV_RUN_NOWAIT);
    assert_int_equal(stream_octets_in(right.stream), stopped_at);
    assert_int_equal(left.told[STREAM_DRAINED], 0);

    size_t got = 0;
    netloop_arm(&net);
    while (got < sent) {
        size_t n = stream_input(right.stream).len;
        got += n;
        stream_consume(right.stream, n);
        assert_true(got == sent || netloop_step(&net));
    }
    assert_int_equal(got, sent);
    NET_UNTIL(&net, left.told[STREAM_DRAINED] == 1);
    net_pair_close(&net, &left, &right);
    netloop_close(&net);
}

static void test_congestion_drains(void **state)
{
    struct netloop net;
    struct net_end left = {0}, right = {0};
    (void)state;
    netloop_open(&net);
    net_pair(&net, &left, &right);
    fill(&left, STREAM_OUTPUT_HIGH + 2000);
    assert_true(stream_is_congested(left.stream));
    NET_UNTIL(&net, left.told[STREAM_DRAINED] == 1);
    assert_false(stream_is_congested(left.stream));
    NET_UNTIL(&net, buffer_len(&right.got) >= STREAM_OUTPUT_HIGH + 2000);
    net_pair_close(&net, &left, &right);
    netloop_close(&net);
}

/* An owner that ignores the congestion is stopped. */
static void test_output_limit(void **state)
{
    struct netloop net;
    struct net_end left = {0}, right = {0};
    enum result result = RESULT_OK;
    char *block = calloc(1, 1024 * 1024);
    (void)state;
    netloop_open(&net);
    net_pair(&net, &left, &right);
    for (int i = 0; i < 5 && result == RESULT_OK; i++)
        result = stream_write(left.stream, slice_of(block, 1024 * 1024));
    assert_int_equal(result, RESULT_LIMIT);
    assert_int_equal(left.told[STREAM_FAILED], 0); /* 2 */
    NET_UNTIL(&net, left.told[STREAM_FAILED] == 1);
    assert_int_equal(left.error.kind, STREAM_ERROR_LIMIT);
    free(block);
    net_pair_close(&net, &left, &right);
    netloop_close(&net);
}

static void test_pause(void **state)
{
    struct netloop net;
    struct net_end left = {0}, right = {0};
    (void)state;
    netloop_open(&net);
    net_pair(&net, &left, &right);
    stream_pause(right.stream);
    net_end_write(&left, "one");
    stream_finish(left.stream, 1000);
    for (int i = 0; i < 20; i++)
        uv_run(&net.loop, UV_RUN_NOWAIT);
    assert_int_equal(right.told[STREAM_DATA] + right.told[STREAM_EOF], 0);
    stream_resume(right.stream);
    NET_UNTIL(&net, right.told[STREAM_EOF] == 1);
    assert_true(has(&right, "one"));
    net_pair_close(&net, &left, &right);
    netloop_close(&net);
}

/* What our kernel holds for a peer that does not read comes through after a close, and is lost by a reset. */
static void test_reset_takes_back_what_has_not_arrived(void **state)
{
    enum { MUCH = 900 * 1000 };
    char *block = calloc(1, MUCH);
    (void)state;
    assert_non_null(block);
    for (int resets = 0; resets < 2; resets++) {
        struct netloop net;
        struct net_end left = {0}, right = {0};
        netloop_open(&net);
        net_pair(&net, &left, &right);
        stream_pause(right.stream);
        assert_int_equal(stream_write(left.stream, slice_of(block, MUCH)), RESULT_OK);
        for (int i = 0; i < 50; i++)
            uv_run(&net.loop, UV_RUN_NOWAIT);
        size_t taken = MUCH - stream_pending(left.stream);
        if (resets)
            stream_reset(left.stream);
        else
            stream_close(left.stream);
        stream_resume(right.stream);
        NET_UNTIL(&net, right.told[STREAM_EOF] + right.told[STREAM_FAILED] == 1);
        assert_int_equal(buffer_len(&right.got) == taken, !resets);
        net_pair_close(&net, &left, &right);
        netloop_close(&net);
    }
    free(block);
}

/* Both have input when the loop looks; whoever is told first pauses the other, which then hears nothing. */
static void pause_the_other(struct net_end *end, enum stream_event event)
{
    struct net_end *other = end->hook_context;
    if (event == STREAM_DATA)
        stream_pause(other->stream);
}

static void test_pause_by_another(void **state)
{
    struct netloop net;
    struct net_end a = {0}, b = {.hook = pause_the_other}, c = {0}, d = {.hook = pause_the_other};
    (void)state;
    netloop_open(&net);
    net_pair(&net, &a, &b);
    net_pair(&net, &c, &d);
    b.hook_context = &d;
    d.hook_context = &b;
    net_end_write(&a, "x");
    net_end_write(&c, "x");
    NET_UNTIL(&net, b.told[STREAM_DATA] + d.told[STREAM_DATA] > 0);
    for (int i = 0; i < 20; i++)
        uv_run(&net.loop, UV_RUN_NOWAIT);
    assert_int_equal(b.told[STREAM_DATA] + d.told[STREAM_DATA], 1);
    net_pair_close(&net, &a, &b);
    net_pair_close(&net, &c, &d);
    netloop_close(&net);
}

/* A pause from inside DATA keeps the rest; the owner hears of it again. */
static void pause_at_first(struct net_end *end, enum stream_event event)
{
    if (event == STREAM_DATA && end->told[STREAM_DATA] == 1) {
        stream_consume(end->stream, 2);
        stream_pause(end->stream);
    }
}

static void test_resume_tells_again(void **state)
{
    struct netloop net;
    struct net_end left = {0}, right = {.keeps_input = true, .hook = pause_at_first};
    (void)state;
    netloop_open(&net);
    net_pair(&net, &left, &right);
    net_end_write(&left, "abcdef");
    NET_UNTIL(&net, right.told[STREAM_DATA] == 1);
    assert_true(slice_equal(stream_input(right.stream), SLICE("cdef")));
    stream_resume(right.stream);
    assert_int_equal(right.told[STREAM_DATA], 1); /* 2 */
    NET_UNTIL(&net, right.told[STREAM_DATA] == 2);
    assert_true(slice_equal(stream_input(right.stream), SLICE("cdef")));
    net_pair_close(&net, &left, &right);
    netloop_close(&net);
}

/* finish: all of what waits arrives, then EOF; the finisher hears only CLOSED, and no later than the other has ended. */
static void test_finish(void **state)
{
    struct netloop net;
    struct net_end left = {0}, right = {.closes_at_end = true};
    (void)state;
    netloop_open(&net);
    net_pair(&net, &left, &right);
    fill(&left, 1000 * 1000);
    net_end_write(&right, "never read");
    stream_finish(left.stream, 10 * 1000);
    NET_UNTIL(&net, left.told[STREAM_CLOSED] == 1 && right.told[STREAM_CLOSED] == 1);
    assert_int_equal(buffer_len(&right.got), 1000 * 1000);
    assert_int_equal(right.told[STREAM_EOF], 1);
    assert_int_equal(right.told[STREAM_FAILED], 0);
    assert_int_equal(left.told[STREAM_DATA] + left.told[STREAM_EOF] + left.told[STREAM_FAILED] + left.told[STREAM_DRAINED], 0);
    buffer_free(&left.got);
    buffer_free(&right.got);
    netloop_close(&net);
}

/* The other side never ends: the linger time does. */
static void test_finish_lingers_no_longer(void **state)
{
    struct netloop net;
    struct net_end left = {0}, right = {0};
    (void)state;
    netloop_open(&net);
    net_pair(&net, &left, &right);
    net_end_write(&left, "bye");
    uv_update_time(&net.loop);
    int64_t begun = loop_now_ms(&net.loop);
    stream_finish(left.stream, 30);
    NET_UNTIL(&net, left.told[STREAM_CLOSED] == 1);
    assert_in_range(loop_now_ms(&net.loop) - begun, 29, 2000);
    assert_true(has(&right, "bye"));
    net_pair_close(&net, &left, &right);
    netloop_close(&net);
}

static void test_finish_without_linger(void **state)
{
    struct netloop net;
    struct net_end left = {0}, right = {0};
    (void)state;
    netloop_open(&net);
    net_pair(&net, &left, &right);
    net_end_write(&left, "421 too many\r\n");
    stream_finish(left.stream, 0);
    NET_UNTIL(&net, left.told[STREAM_CLOSED] == 1 && right.told[STREAM_EOF] == 1);
    assert_true(has(&right, "421 too many\r\n"));
    net_pair_close(&net, &left, &right);
    netloop_close(&net);
}

/* 1, 3: closing inside any callback, twice, with output waiting. */
static void close_at_data(struct net_end *end, enum stream_event event)
{
    if (event == STREAM_DATA) {
        net_end_write(end, "dropped");
        stream_close(end->stream);
        stream_close(end->stream);
        net_end_write(end, "dropped too");
        stream_finish(end->stream, 100);
    }
}

static void test_close_inside_callback(void **state)
{
    struct netloop net;
    struct net_end left = {0}, right = {.hook = close_at_data};
    (void)state;
    netloop_open(&net);
    net_pair(&net, &left, &right);
    net_end_write(&left, "x");
    NET_UNTIL(&net, right.told[STREAM_CLOSED] == 1);
    NET_UNTIL(&net, left.told[STREAM_EOF] + left.told[STREAM_FAILED] == 1);
    assert_int_equal(buffer_len(&left.got), 0);
    net_pair_close(&net, &left, &right);
    netloop_close(&net);
}

static void test_refused(void **state)
{
    struct netloop net;
    struct net_end left = {.closes_at_end = true};
    struct sockaddr_storage address;
    (void)state;
    netloop_open(&net);
    close(netloop_listen(&address));
    assert_int_equal(stream_connect(&left.stream, &net.loop, (struct sockaddr *)&address, net_end_owner(&left), NULL), RESULT_OK);
    assert_int_equal(left.told[STREAM_FAILED], 0);
    NET_UNTIL(&net, left.told[STREAM_CLOSED] == 1);
    assert_int_equal(left.told[STREAM_FAILED], 1);
    assert_int_equal(left.told[STREAM_OPENED], 0);
    assert_int_equal(left.error.kind, STREAM_ERROR_SOCKET);
    assert_int_equal(left.error.uv_code, UV_ECONNREFUSED);
    assert_string_equal(left.error.words, "connection refused");
    netloop_close(&net);
}

static void test_close_while_opening(void **state)
{
    struct netloop net;
    struct net_end left = {0};
    struct sockaddr_storage address;
    (void)state;
    netloop_open(&net);
    int listener = netloop_listen(&address);
    assert_int_equal(stream_connect(&left.stream, &net.loop, (struct sockaddr *)&address, net_end_owner(&left), NULL), RESULT_OK);
    stream_finish(left.stream, 1000);
    NET_UNTIL(&net, left.told[STREAM_CLOSED] == 1);
    assert_int_equal(left.told[STREAM_OPENED] + left.told[STREAM_FAILED], 0);
    close(listener);
    netloop_close(&net);
}

/* The peer said its last words, then reset the connection while we were writing: the words are told before the failure. */
static void test_last_words_before_failure(void **state)
{
    struct netloop net;
    struct net_end left = {0};
    struct sockaddr_storage address;
    (void)state;
    netloop_open(&net);
    int listener = netloop_listen(&address);
    left.got = BUFFER(1000);
    assert_int_equal(stream_connect(&left.stream, &net.loop, (struct sockaddr *)&address, net_end_owner(&left), NULL), RESULT_OK);
    NET_UNTIL(&net, left.told[STREAM_OPENED] == 1);
    int fd = accept(listener, NULL, NULL);
    net_end_write(&left, "unread");
    NET_UNTIL(&net, stream_octets_out(left.stream) == 6);
    assert_int_equal(send(fd, "421 go\r\n", 8, 0), 8);
    close(fd); /* octets unread: RST */
    net_end_write(&left, "more");
    NET_UNTIL(&net, left.told[STREAM_FAILED] == 1);
    assert_true(has(&left, "421 go\r\n") || left.error.uv_code == UV_ECONNRESET);
    assert_int_equal(left.error.kind, STREAM_ERROR_SOCKET);
    stream_close(left.stream);
    NET_UNTIL(&net, left.told[STREAM_CLOSED] == 1);
    buffer_free(&left.got);
    close(listener);
    netloop_close(&net);
}

/* An event of one stream that was told outside of the poll phase makes another stream write: it must leave without anything else waking the loop. */
static void write_to_other(struct net_end *end, enum stream_event event)
{
    if (event == STREAM_DATA && end->told[STREAM_DATA] == 2)
        net_end_write(end->hook_context, "relayed");
}

static void test_write_from_anothers_turn(void **state)
{
    struct netloop net;
    struct net_end a = {0}, b = {0}, c = {0}, d = {0};
    (void)state;
    netloop_open(&net);
    net_pair(&net, &a, &b);
    net_pair(&net, &c, &d);
    b.keeps_input = true;
    b.hook = write_to_other;
    b.hook_context = &c;
    net_end_write(&a, "in");
    NET_UNTIL(&net, b.told[STREAM_DATA] == 1);
    stream_pause(b.stream);
    stream_resume(b.stream); /* DATA again, from the idle phase */
    NET_UNTIL(&net, has(&d, "relayed"));
    net_pair_close(&net, &a, &b);
    net_pair_close(&net, &c, &d);
    netloop_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_writes_coalesce),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_congestion_drains),
        cmocka_unit_test(test_output_limit),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_reset_takes_back_what_has_not_arrived),
        cmocka_unit_test(test_pause_by_another),
        cmocka_unit_test(test_resume_tells_again),
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_finish_lingers_no_longer),
        cmocka_unit_test(test_finish_without_linger),
        cmocka_unit_test(test_close_inside_callback),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_close_while_opening),
        cmocka_unit_test(test_last_words_before_failure),
        cmocka_unit_test(test_write_from_anothers_turn),
    };
    return cmocka_run_group_tests_name("net/stream", tests, NULL, NULL);
}
