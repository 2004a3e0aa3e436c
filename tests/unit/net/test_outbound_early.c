/* The client's driver with config.early: over a real TLS channel, whose exporter binds the token, all of a session leaves before the server has said a word inside it. */
#include "crypto/crypto.h"
#include "net/outbound.h"
#include "support/certificates.h"
#include "support/netloop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const uint8_t TOKEN[SASL_TOKEN] = "a device's token of 32 octets ..";
static const struct smtp_peer known = {
    .capabilities = SMTP_CAP_PIPELINING | SMTP_CAP_CHUNKING | SMTP_CAP_PIPECONNECT | SMTP_CAP_AUTH,
    .mechanisms = SASL_HT_SHA_256_EXPR,
    .name = SLICE("relay.example"),
    .ways = SLICE("465/tls"),
};
static struct envelope_recipient recipient = {.address = SLICE("b@y.example")};
static const struct envelope envelope = {.sender = SLICE("a@x.example"), .recipients = &recipient, .nrcpt = 1};
static struct tls_context *server_tls, *client_tls;

struct talk {
    struct netloop net;
    int listener;
    struct outbound *outbound; /* NULL after CLOSED */
    struct net_end server;
    char story[256];
    enum smtp_failure failure;
    bool is_uncertain;
};

static void say(struct talk *talk, const char *word)
{
    size_t len = strlen(talk->story);
    snprintf(talk->story + len, sizeof talk->story - len, "%s ", word);
}

static void on_smtp(struct talk *talk, const struct smtp_client_event *event)
{
    static const char *const names[] = {"STARTTLS", "PROVEN", "READY", "DEVICE", "OUTCOME", "RESUMED", "RECIPIENT", "BODY", "SENT", "FAILED", "QUITTED"};
    struct smtp_client *core = outbound_core(talk->outbound);
    int64_t now = loop_now_ms(&talk->net.loop);
    say(talk, names[event->type]);
    if (event->type == SMTP_CLIENT_PROVEN)
        smtp_client_login(core, now);
    else if (event->type == SMTP_CLIENT_READY && !strstr(talk->story, "SENT"))
        smtp_client_send(core, &(struct smtp_transaction){.envelope = &envelope, .size_octets = 7}, now);
    else if (event->type == SMTP_CLIENT_BODY_WANTED)
        smtp_client_body(core, SLICE("hello\r\n"), true, now);
    else if (event->type == SMTP_CLIENT_SENT)
        outbound_quit(talk->outbound);
}

static void on_event(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct talk *talk = context;
    (void)outbound;
    switch (event->type) {
    case OUTBOUND_CONNECTED: break;
    case OUTBOUND_SMTP: on_smtp(talk, &event->smtp); break;
    case OUTBOUND_FAILED:
        say(talk, "FAILED");
        talk->failure = event->failure->smtp;
        talk->is_uncertain = event->failure->is_uncertain;
        break;
    case OUTBOUND_CLOSED: talk->outbound = NULL; break;
    }
}

static void take_connection(struct talk *talk)
{
    int fd = accept(talk->listener, NULL, NULL);
    assert_int_equal(stream_accept(&talk->server.stream, &talk->net.loop, fd, net_end_owner(&talk->server), NULL), RESULT_OK);
}

/* What is configured is gone as soon as the session is open. */
static void talk_open(struct talk *talk, enum smtp_security security)
{
    static struct smtp_peer peer;
    static char secrets[64];
    struct outbound_target target = {.tls = client_tls, .server_name = "relay.example", .linger_ms = 200};
    *talk = (struct talk){.server = {.got = BUFFER(1024 * 1024), .closes_at_end = true}};
    netloop_open(&talk->net);
    talk->listener = netloop_listen(&target.address);
    peer = known;
    memcpy(secrets, "d7", 2);
    memcpy(secrets + 2, TOKEN, sizeof TOKEN);
    target.smtp = (struct smtp_client_config){.security = security, .ehlo_name = SLICE("agent"), .early = &peer, .device = slice_of(secrets, 2), .token = slice_of(secrets + 2, sizeof TOKEN)};
    assert_int_equal(outbound_open(&talk->outbound, &talk->net.loop, &target, (struct outbound_handler){on_event, talk}, NULL), RESULT_OK);
    memset(&peer, 0, sizeof peer);
    memset(secrets, 0, sizeof secrets);
    take_connection(talk);
}

static void talk_close(struct talk *talk)
{
    NET_UNTIL(&talk->net, talk->outbound == NULL);
    if (talk->server.stream)
        stream_close(talk->server.stream);
    NET_UNTIL(&talk->net, talk->server.stream == NULL);
    buffer_free(&talk->server.got);
    close(talk->listener);
    netloop_close(&talk->net);
}

/* Takes the flight, which must be whole, and gives the 235 that answers it on this channel. */
static void take_flight(struct talk *talk, struct buffer *welcome)
{
    static const uint8_t nonce[18];
    struct buffer initial = {0};
    struct sasl_server_step step;
    struct slice hello, auth, rest = buffer_slice(&talk->server.got);
    const struct tls_info *tls = stream_tls_info(talk->server.stream);
    slice_cut(rest, '\n', &hello, &rest);
    slice_cut(rest, '\n', &auth, &rest);
    assert_true(slice_equal(hello, SLICE("EHLO agent\r")));
    assert_true(slice_starts_with(auth, SLICE("AUTH HT-SHA-256-EXPR ")));
    assert_true(slice_equal(rest, SLICE("MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nBDAT 7 LAST\r\nhello\r\n")));
    auth = slice_skip(auth, sizeof "AUTH HT-SHA-256-EXPR " - 1);
    assert_int_equal(crypto_base64_decode(slice_take(auth, auth.len - 1), &initial), RESULT_OK);
    struct sasl_server *sasl = sasl_server_new(SASL_HT_SHA_256_EXPR, false, tls->bindings, tls->nbindings, nonce);
    sasl_server_start(sasl, true, buffer_slice(&initial), &step);
    assert_int_equal(step.need, SASL_NEED_TOKEN);
    sasl_server_token_found(sasl, TOKEN, true, &step);
    assert_int_equal(step.need, SASL_SUCCEEDED);
    assert_int_equal(buffer_printf(welcome, "235 2.7.0 %.*s\r\n", SLICE_ARG(step.challenge)), RESULT_OK);
    assert_int_equal(buffer_append(welcome, slice_of("", 1)), RESULT_OK);
    sasl_server_free(&sasl);
    buffer_free(&initial);
    buffer_clear(&talk->server.got);
}

static bool has_flight(const struct talk *talk)
{
    struct slice got = buffer_slice(&talk->server.got);
    return got.len > 7 && memmem(got.ptr, got.len, "hello\r\n", 7) != NULL;
}

#define EHLO "250-relay.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-PIPECONNECT\r\n250 AUTH HT-SHA-256-EXPR\r\n"

static void finish_well(struct talk *talk, const char *greeting)
{
    struct buffer welcome = {0};
    NET_UNTIL(&talk->net, has_flight(talk));
    assert_string_equal(talk->story, "PROVEN READY BODY ");
    take_flight(talk, &welcome);
    net_end_write(&talk->server, greeting);
    net_end_write(&talk->server, EHLO);
    net_end_write(&talk->server, buffer_slice(&welcome).ptr);
    net_end_write(&talk->server, "250 ok\r\n250 b\r\n250 queued\r\n");
    NET_UNTIL(&talk->net, buffer_len(&talk->server.got) > 0);
    assert_true(slice_equal(buffer_slice(&talk->server.got), SLICE("QUIT\r\n")));
    net_end_write(&talk->server, "221 bye\r\n");
    buffer_free(&welcome);
    NET_UNTIL(&talk->net, talk->outbound == NULL);
    assert_string_equal(talk->story, "PROVEN READY BODY RECIPIENT SENT ");
    talk_close(talk);
}

/* The three turns of the loop that it takes are no round trips: the server has not written yet. One read brings it all. */
static void one_flight_inside_tls(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    assert_int_equal(stream_start_tls(talk.server.stream, server_tls, NULL, false), RESULT_OK);
    NET_UNTIL(&talk.net, has_flight(&talk));
    assert_int_equal(talk.server.told[STREAM_DATA], 1);
    finish_well(&talk, "220 relay.example\r\n");
}

static void one_flight_after_starttls(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_STARTTLS);
    net_end_write(&talk.server, "220 relay.example\r\n");
    NET_UNTIL(&talk.net, buffer_len(&talk.server.got) > 0);
    net_end_write(&talk.server, "250-relay.example\r\n250 STARTTLS\r\n");
    NET_UNTIL(&talk.net, slice_find(slice_skip(buffer_slice(&talk.server.got), 14), '\n') >= 0);
    buffer_clear(&talk.server.got);
    net_end_write(&talk.server, "220 go\r\n");
    assert_int_equal(stream_start_tls(talk.server.stream, server_tls, NULL, false), RESULT_OK);
    finish_well(&talk, "");
}

static void a_refused_token_is_told_as_early(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    assert_int_equal(stream_start_tls(talk.server.stream, server_tls, NULL, false), RESULT_OK);
    NET_UNTIL(&talk.net, has_flight(&talk));
    net_end_write(&talk.server, "220 relay.example\r\n" EHLO "535 5.7.8 no\r\n");
    NET_UNTIL(&talk.net, talk.outbound == NULL);
    assert_string_equal(talk.story, "PROVEN READY BODY FAILED ");
    assert_int_equal(talk.failure, SMTP_FAIL_EARLY);
    assert_false(talk.is_uncertain);
    talk_close(&talk);
}

static void a_connection_that_dies_leaves_it_uncertain(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    assert_int_equal(stream_start_tls(talk.server.stream, server_tls, NULL, false), RESULT_OK);
    NET_UNTIL(&talk.net, has_flight(&talk));
    stream_close(talk.server.stream);
    NET_UNTIL(&talk.net, talk.outbound == NULL);
    assert_true(talk.failure != SMTP_FAIL_EARLY && talk.is_uncertain);
    talk_close(&talk);
}

static int make_contexts(void **state)
{
    (void)state;
    certificates_contexts(&server_tls, &client_tls);
    return crypto_init() == RESULT_OK ? 0 : -1;
}

static int drop_contexts(void **state)
{
    (void)state;
    tls_context_unref(&client_tls);
    tls_context_unref(&server_tls);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_flight_inside_tls),
        cmocka_unit_test(one_flight_after_starttls),
        cmocka_unit_test(a_refused_token_is_told_as_early),
        cmocka_unit_test(a_connection_that_dies_leaves_it_uncertain),
    };
    return cmocka_run_group_tests_name("net/outbound early", tests, make_contexts, drop_contexts);
}
