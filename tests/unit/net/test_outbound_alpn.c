/* The client's driver and ALPN: what it offers, who then speaks first, and servers that take none of it. */
#include "support/certificates.h"
#include "support/netloop.h"

#include "net/outbound.h"
#include "net/tls_context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static struct tls_context *server_tls, *client_tls;
static const char *both[] = {"smtp", "http/1.1", NULL}, *smtp_alone[] = {"smtp", NULL};

static int make_identities(void **state)
{
    (void)state;
    certificates_contexts(&server_tls, &client_tls);
    return 0;
}

static int drop_identities(void **state)
{
    (void)state;
    tls_context_unref(&client_tls);
    tls_context_unref(&server_tls);
    return 0;
}

struct talk {
    struct netloop net;
    int listener;
    struct outbound_target target;
    struct outbound *outbound; /* NULL after CLOSED */
    struct net_end server;
    bool is_connected, is_proven, has_failed;
    struct outbound_failure failure;
};

static void on_event(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct talk *talk = context;
    switch (event->type) {
    case OUTBOUND_CONNECTED:
        talk->is_connected = true;
        break;
    case OUTBOUND_SMTP:
        talk->is_proven = talk->is_proven || event->smtp.type == SMTP_CLIENT_PROVEN;
        if (event->smtp.type == SMTP_CLIENT_PROVEN)
            outbound_close(outbound);
        break;
    case OUTBOUND_FAILED:
        talk->has_failed = true;
        talk->failure = *event->failure;
        break;
    case OUTBOUND_CLOSED:
        talk->outbound = NULL;
        break;
    }
}

/* accepted: what the server takes in ALPN; NULL: it knows nothing of it. Before STARTTLS nothing has been said yet. */
static void talk_open(struct talk *talk, enum path_alpn alpn, const char **accepted, bool is_starttls)
{
    *talk = (struct talk){.target = {.tls = client_tls, .server_name = "relay.example", .alpn = alpn, .linger_ms = 200}};
    talk->target.smtp = (struct smtp_client_config){.security = is_starttls ? SMTP_SECURITY_STARTTLS : SMTP_SECURITY_TLS, .ehlo_name = SLICE("agent.example")};
    talk->server.got = BUFFER(1024 * 1024);
    talk->server.closes_at_end = true;
    server_tls->configs[0].MBEDTLS_PRIVATE(alpn_list) = accepted;
    netloop_open(&talk->net);
    talk->listener = netloop_listen(&talk->target.address);
    assert_int_equal(outbound_open(&talk->outbound, &talk->net.loop, &talk->target, (struct outbound_handler){on_event, talk}, NULL), RESULT_OK);
    NET_UNTIL(&talk->net, talk->is_connected);
    int fd = accept(talk->listener, NULL, NULL);
    assert_int_equal(stream_accept(&talk->server.stream, &talk->net.loop, fd, net_end_owner(&talk->server), NULL), RESULT_OK);
    if (!is_starttls)
        assert_int_equal(stream_start_tls(talk->server.stream, server_tls, NULL, false), RESULT_OK);
}

static void expect(struct talk *talk, struct slice text)
{
    NET_UNTIL(&talk->net, buffer_len(&talk->server.got) >= text.len);
    assert_true(slice_equal(buffer_slice(&talk->server.got), text));
    buffer_clear(&talk->server.got);
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

static void finish(struct talk *talk, const char *agreed)
{
    assert_string_equal(outbound_tls(talk->outbound)->alpn, agreed);
    assert_string_equal(stream_tls_info(talk->server.stream)->alpn, agreed);
    net_end_write(&talk->server, "250 relay.example\r\n");
    talk_close(talk);
    assert_true(talk->is_proven);
    assert_false(talk->has_failed);
}

/* The server greets, and nothing is said before it has. */
static void server_speaks_first(enum path_alpn alpn, const char **accepted, const char *agreed)
{
    struct talk talk;
    talk_open(&talk, alpn, accepted, false);
    NET_UNTIL(&talk.net, outbound_core(talk.outbound));
    for (int i = 0; i < 20; i++)
        uv_run(&talk.net.loop, UV_RUN_NOWAIT);
    assert_int_equal(buffer_len(&talk.server.got), 0);
    net_end_write(&talk.server, "220 relay.example ESMTP\r\n");
    expect(&talk, SLICE("EHLO agent.example\r\n"));
    finish(&talk, agreed);
}

static void test_server_speaks_first(void **state)
{
    (void)state;
    server_speaks_first(PATH_ALPN_NONE, both, "");
    server_speaks_first(PATH_ALPN_SMTP, both, "smtp");
    server_speaks_first(PATH_ALPN_SMTP, NULL, "");
    server_speaks_first(PATH_ALPN_HTTP, NULL, ""); /* offered, and not agreed on */
}

static void test_client_speaks_first(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, PATH_ALPN_HTTP, both, false);
    expect(&talk, SLICE("EHLO agent.example\r\n"));
    net_end_write(&talk.server, "220 relay.example ESMTP\r\n");
    finish(&talk, "http/1.1");
}

static void test_after_starttls(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, PATH_ALPN_SMTP, both, true);
    net_end_write(&talk.server, "220 relay.example ESMTP\r\n");
    expect(&talk, SLICE("EHLO agent.example\r\n"));
    net_end_write(&talk.server, "250-relay.example\r\n250 STARTTLS\r\n");
    expect(&talk, SLICE("STARTTLS\r\n"));
    net_end_write(&talk.server, "220 go\r\n");
    assert_int_equal(stream_start_tls(talk.server.stream, server_tls, NULL, false), RESULT_OK);
    expect(&talk, SLICE("EHLO agent.example\r\n"));
    finish(&talk, "smtp");
}

static void test_refused(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, PATH_ALPN_HTTP, smtp_alone, false);
    talk_close(&talk);
    assert_true(talk.has_failed);
    assert_int_equal(talk.failure.verdict, PATH_TLS_FAILED);
    assert_int_equal(talk.failure.tls, TLS_FAIL_ALPN);
    assert_string_equal(talk.failure.phase, "TLS handshake");
    assert_string_equal(talk.failure.words, "the other side does not take the application protocol (ALPN) that we offer");
    assert_false(talk.failure.is_permanent);
}

/* A web server of the same house, by its certificate: not somebody in the relay's place, and no captive portal. */
static void test_web_server_of_the_relay(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, PATH_ALPN_HTTP, both, false);
    expect(&talk, SLICE("EHLO agent.example\r\n"));
    net_end_write(&talk.server, "HTTP/1.1 400 Bad Request\r\n\r\n");
    talk_close(&talk);
    assert_true(talk.has_failed);
    assert_int_equal(talk.failure.verdict, PATH_RELAY_REFUSED);
    assert_int_equal(talk.failure.smtp, SMTP_FAIL_HTTP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_speaks_first),
        cmocka_unit_test(test_client_speaks_first),
        cmocka_unit_test(test_after_starttls),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_web_server_of_the_relay),
    };
    return cmocka_run_group_tests_name("net/outbound_alpn", tests, make_identities, drop_identities);
}
