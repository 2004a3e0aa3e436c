/* A courier whose transaction has a name, between a real store and a relay that plays by a script: going on in the middle, the pause, and who needs another name. */
#include "courier_scene.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRANSID "<9.0.ab@postern-agent.invalid>"
#define EHLO "250-relay\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-8BITMIME\r\n250-XOUTCOME e1 600\r\n250 CHECKPOINT\r\n"

/* The relay: one reply for each line, and octets of BDAT. */
struct relay {
    struct net_end end;
    const char *mail_reply, *end_reply;
    const char *rcpt_replies[NRCPT];
    size_t nrcpt, nresets;
    char mail[200];
    struct buffer body;
    size_t bdat_left;
    bool is_last, has_ended;
    bool is_mute; /* in the body */
};

struct scene {
    struct netloop net;
    int listener;
    struct relay relay;
    struct sender sender;
};

/* ---- the relay ---- */

static void reply(struct relay *relay, const char *line)
{
    net_end_write(&relay->end, line);
    net_end_write(&relay->end, "\r\n");
}

static void take_octets(struct relay *relay)
{
    struct slice piece = slice_take(buffer_slice(&relay->end.got), relay->bdat_left);
    assert_int_equal(buffer_append(&relay->body, piece), RESULT_OK);
    relay->bdat_left -= piece.len;
    buffer_consume(&relay->end.got, piece.len);
    if (relay->bdat_left > 0)
        return;
    relay->has_ended = relay->is_last;
    if (!relay->is_mute)
        reply(relay, relay->is_last ? relay->end_reply : "250 2.0.0 some octets");
}

static void take_line(struct relay *relay, struct slice line)
{
    struct slice word, rest;
    uint64_t octets;
    slice_cut(line, ' ', &word, &rest);
    if (slice_equal(word, SLICE("EHLO"))) {
        net_end_write(&relay->end, EHLO);
    } else if (slice_equal(word, SLICE("MAIL"))) {
        assert_true(slice_to_cstr(line, relay->mail, sizeof relay->mail));
        reply(relay, relay->mail_reply);
    } else if (slice_equal(word, SLICE("RCPT"))) {
        reply(relay, relay->rcpt_replies[relay->nrcpt++ % NRCPT]);
    } else if (slice_equal(word, SLICE("BDAT"))) {
        relay->is_last = slice_cut(rest, ' ', &word, &rest);
        assert_true(slice_to_u64(word, SIZE_MAX, &octets));
        relay->bdat_left = (size_t)octets;
        take_octets(relay);
    } else {
        relay->nresets += slice_equal(word, SLICE("RSET"));
        reply(relay, "250 2.0.0 well");
    }
}

static void on_octets(struct net_end *end, enum stream_event event)
{
    struct relay *relay = end->hook_context;
    struct slice line, rest;
    while (event == STREAM_DATA && buffer_len(&end->got) > 0) {
        if (relay->bdat_left > 0) {
            take_octets(relay);
            continue;
        }
        char text[1000];
        if (!slice_cut(buffer_slice(&end->got), '\n', &line, &rest))
            return;
        size_t used = line.len + 1;
        assert_true(slice_to_cstr(slice_take(line, line.len - 1), text, sizeof text));
        buffer_consume(&end->got, used);
        take_line(relay, slice_from_cstr(text));
    }
}

/* ---- the client ---- */

/* A message in the store, and a session that is READY. */
static void open_scene(struct scene *s, size_t nrcpt, size_t octets)
{
    struct sockaddr_storage address;
    *s = (struct scene){.relay = {.mail_reply = "250 2.1.0 well", .end_reply = "250 2.0.0 taken", .body = BUFFER(2 * LARGE)}};
    for (size_t i = 0; i < NRCPT; i++)
        s->relay.rcpt_replies[i] = "250 2.1.5 well";
    sender_open(&s->sender, nrcpt, octets);
    netloop_open(&s->net);
    s->listener = netloop_listen(&address);
    s->relay.end = (struct net_end){.got = BUFFER(2 * LARGE), .closes_at_end = true, .hook = on_octets, .hook_context = &s->relay};
    sender_connect(&s->sender, &s->net, &address);
    int fd = accept(s->listener, NULL, NULL);
    assert_int_equal(stream_accept(&s->relay.end.stream, &s->net.loop, fd, net_end_owner(&s->relay.end), NULL), RESULT_OK);
    reply(&s->relay, "220 relay");
    sender_await_ready(&s->sender);
}

static void start(struct scene *s, bool asks_first)
{
    char name[] = TRANSID;
    const struct courier_naming naming = {.transid = slice_from_cstr(name), .asks_first = asks_first};
    sender_start(&s->sender, &naming);
    memset(name, 'x', sizeof name); /* it was copied */
}

static void close_scene(struct scene *s)
{
    sender_hang_up(&s->sender);
    if (s->relay.end.stream)
        stream_close(s->relay.end.stream);
    NET_UNTIL(&s->net, !s->relay.end.stream);
    sender_close(&s->sender);
    buffer_free(&s->relay.body);
    buffer_free(&s->relay.end.got);
    close(s->listener);
    netloop_close(&s->net);
}

/* The relay has got the message's octets from `offset` on, and no other. */
static void assert_rest(const struct scene *s, size_t offset)
{
    struct slice got = buffer_slice(&s->relay.body);
    assert_int_equal(got.len, s->sender.size - offset);
    assert_true(got.len == 0 || memcmp(got.ptr, s->sender.body + offset, got.len) == 0);
    assert_true(s->relay.has_ended);
}

static void assert_result(const struct scene *s, size_t i, enum attempt_result result, bool needs_new_name, const char *words)
{
    if (s->sender.results[i].result != result || s->sender.results[i].needs_new_name != needs_new_name || s->sender.results[i].seq != i || !strstr(s->sender.replies[i], words))
        fail_msg("recipient %zu: %d, %d, %s", i, s->sender.results[i].result, s->sender.results[i].needs_new_name, s->sender.replies[i]);
}

/* ---- going on ---- */

static void a_small_message_says_its_name(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 1, 500);
    start(&s, false);
    NET_UNTIL(&s.net, s.sender.is_done);
    assert_non_null(strstr(s.relay.mail, " TRANSID=" TRANSID " XWHOLE"));
    assert_result(&s, 0, ATTEMPT_ACCEPTED, false, "250 2.0.0 taken");
    assert_rest(&s, 0);
    close_scene(&s);
}

/* At the beginnings and ends of chunks, in them, and at the message's. */
static void a_message_goes_on_at_any_octet(void **state)
{
    static const size_t offsets[] = {0, 1, 80, STORE_CHUNK - 1, STORE_CHUNK, STORE_CHUNK + 1, 7 * STORE_CHUNK + 4242, 15 * STORE_CHUNK, LARGE - 2, LARGE - 1, LARGE};
    (void)state;
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        struct scene s;
        char line[60];
        size_t offset = offsets[i];
        open_scene(&s, 1, LARGE);
        while (offset > 0 && offset < LARGE && s.sender.body[offset] == '\n') /* never between CR and LF */
            offset++;
        snprintf(line, sizeof line, "355 %zu octets are here already", offset);
        s.relay.mail_reply = line;
        start(&s, true);
        NET_UNTIL(&s.net, s.sender.is_done);
        assert_null(strstr(s.relay.mail, "XWHOLE"));
        assert_result(&s, 0, ATTEMPT_ACCEPTED, false, "250 2.0.0 taken");
        assert_rest(&s, offset);
        assert_int_equal(courier_octets(s.sender.courier), LARGE);
        close_scene(&s);
    }
}

static void a_body_in_memory_goes_on_too(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 1, 500);
    assert_true(s.sender.job->body.len == 500);
    s.relay.mail_reply = "355 160";
    start(&s, true);
    NET_UNTIL(&s.net, s.sender.is_done);
    assert_rest(&s, 160);
    assert_result(&s, 0, ATTEMPT_ACCEPTED, false, "250 2.0.0 taken");
    close_scene(&s);
}

/* What is on its way from the store when the relay says where to go on is of the message's beginning. */
static void a_chunk_on_its_way_is_let_go_of(void **state)
{
    const struct outbound_event resumed = {.type = OUTBOUND_SMTP, .smtp = {.type = SMTP_CLIENT_RESUMED, .offset = 655360}};
    struct scene s;
    (void)state;
    open_scene(&s, 1, LARGE);
    s.relay.mail_reply = "355 655360";
    start(&s, true);
    courier_event(s.sender.courier, &resumed); /* before the store could answer; the relay says it again */
    NET_UNTIL(&s.net, s.sender.is_done);
    assert_rest(&s, 655360);
    close_scene(&s);
}

static void progress_begins_where_the_relay_is(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 1, LARGE);
    s.relay.mail_reply = "355 655360";
    s.relay.is_mute = true;
    start(&s, true);
    assert_int_equal(courier_octets(s.sender.courier), 0);
    NET_UNTIL(&s.net, buffer_len(&s.relay.body) > 0);
    assert_true(courier_octets(s.sender.courier) > 655360 && courier_octets(s.sender.courier) <= 655360 + LARGE / 2);
    assert_memory_equal(buffer_slice(&s.relay.body).ptr, s.sender.body + 655360, buffer_len(&s.relay.body));
    close_scene(&s);
}

/* Of the descriptor that is connected to this port: what the kernel may hold unsent; -1: there is none. */
static int unsent_limit_towards(in_port_t port)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_in peer;
        socklen_t len = sizeof peer, limit_len = sizeof(int);
        int limit = -1;
        if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0 || peer.sin_family != AF_INET || peer.sin_port != port)
            continue;
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &limit, &limit_len), 0);
        return limit;
    }
    return -1;
}

/* What the session has handed over is what was sent, but for a little: else progress were a promise, and a pause came late. */
static void little_waits_unsent_in_the_kernel(void **state)
{
    struct scene s;
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    (void)state;
    open_scene(&s, 1, 500);
    assert_int_equal(getsockname(s.listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(unsent_limit_towards(address.sin_port), OUTBOUND_UNSENT_MAX);
    close_scene(&s);
}

/* ---- the pause ---- */

static void a_pause_gives_the_message_back(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 3, LARGE);
    s.relay.rcpt_replies[1] = "550 5.1.1 no such user";
    s.sender.pauses_at = 3 * STORE_CHUNK;
    start(&s, false);
    NET_UNTIL(&s.net, s.sender.is_done);
    assert_true(s.sender.is_paused && !s.sender.is_over && s.relay.nresets == 1 && !s.relay.has_ended);
    for (size_t i = 0; i < 3; i++)
        assert_result(&s, i, ATTEMPT_UNTRIED, false, "");
    assert_true(buffer_len(&s.relay.body) >= s.sender.pauses_at && buffer_len(&s.relay.body) < LARGE && buffer_len(&s.relay.body) % STORE_CHUNK == 0);
    assert_memory_equal(buffer_slice(&s.relay.body).ptr, s.sender.body, buffer_len(&s.relay.body));
    NET_UNTIL(&s.net, s.sender.is_ready); /* for the urgent one */
    close_scene(&s);
}

/* ---- who needs another name ---- */

static void a_transaction_that_is_over_keeps_its_name_for_itself(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 3, 500);
    s.relay.rcpt_replies[1] = "452 4.5.3 not in this transaction";
    s.relay.rcpt_replies[2] = "451 4.7.1 greylisted";
    start(&s, false);
    NET_UNTIL(&s.net, s.sender.is_done);
    assert_result(&s, 0, ATTEMPT_ACCEPTED, false, "250 2.0.0 taken");
    assert_result(&s, 1, ATTEMPT_UNTRIED, true, "452 4.5.3 not in this transaction");
    assert_result(&s, 2, ATTEMPT_DEFERRED, true, "451 4.7.1 greylisted");
    close_scene(&s);
}

static void a_full_relay_is_no_full_transaction(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 2, 500);
    s.relay.rcpt_replies[1] = "452 4.3.1 disk full";
    start(&s, false);
    NET_UNTIL(&s.net, s.sender.is_done);
    assert_result(&s, 1, ATTEMPT_DEFERRED, true, "452 4.3.1 disk full");
    close_scene(&s);
}

static void a_message_that_failed_keeps_its_name(void **state)
{
    static const char *const replies[] = {"451 4.3.0 not now", "554 5.6.0 not this"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct scene s;
        open_scene(&s, 2, 500);
        s.relay.end_reply = replies[i];
        s.relay.rcpt_replies[1] = "452 4.5.3 too many";
        start(&s, false);
        NET_UNTIL(&s.net, s.sender.is_done);
        assert_result(&s, 0, i ? ATTEMPT_REFUSED : ATTEMPT_DEFERRED, false, replies[i]);
        assert_result(&s, 1, ATTEMPT_DEFERRED, false, "452 4.5.3 too many");
        close_scene(&s);
    }
}

static void a_name_that_is_anothers_is_left(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 2, 500);
    s.relay.mail_reply = "554 5.5.4 the name stands for another transaction";
    start(&s, true);
    NET_UNTIL(&s.net, s.sender.is_done);
    for (size_t i = 0; i < 2; i++)
        assert_result(&s, i, ATTEMPT_DEFERRED, true, "554 5.5.4");
    assert_false(s.sender.is_over);
    close_scene(&s);
}

/* Nobody is in the transaction that the name stands for: another name, but not at once, or a relay that always says so were asked for ever. */
static void nobody_gets_on(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 2, 500);
    s.relay.mail_reply = "355 500";
    s.relay.rcpt_replies[0] = "452 4.5.3 not in this transaction";
    s.relay.rcpt_replies[1] = "451 4.7.1 greylisted";
    s.relay.end_reply = "503 5.5.1 nobody";
    start(&s, true);
    NET_UNTIL(&s.net, s.sender.is_done);
    assert_result(&s, 0, ATTEMPT_DEFERRED, true, "452 4.5.3");
    assert_result(&s, 1, ATTEMPT_DEFERRED, false, "451 4.7.1");
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_message_says_its_name),
        cmocka_unit_test(a_message_goes_on_at_any_octet),
        cmocka_unit_test(a_body_in_memory_goes_on_too),
        cmocka_unit_test(a_chunk_on_its_way_is_let_go_of),
        cmocka_unit_test(progress_begins_where_the_relay_is),
        cmocka_unit_test(little_waits_unsent_in_the_kernel),
        cmocka_unit_test(a_pause_gives_the_message_back),
        cmocka_unit_test(a_transaction_that_is_over_keeps_its_name_for_itself),
        cmocka_unit_test(a_full_relay_is_no_full_transaction),
        cmocka_unit_test(a_message_that_failed_keeps_its_name),
        cmocka_unit_test(a_name_that_is_anothers_is_left),
        cmocka_unit_test(nobody_gets_on),
    };
    return cmocka_run_group_tests_name("courier with names", tests, NULL, NULL);
}
