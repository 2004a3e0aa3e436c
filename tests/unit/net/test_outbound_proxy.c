/* The client's driver through proxies that play by a script, good and bad; behind the proxy's answer the same stream plays the relay. */
#include "support/certificates.h"
#include "support/netloop.h"

#include "net/outbound.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define CONNECT "CONNECT relay.example:465 HTTP/1.1\r\nHost: relay.example:465\r\n\r\n"

static struct tls_context *server_tls, *client_tls;

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
    struct tunnel_config tunnel;
    struct outbound_target target;
    struct outbound *outbound; /* NULL after CLOSED */
    struct net_end proxy;
    bool is_connected, is_proven, has_failed;
    struct outbound_failure failure;
    char phase[32];
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
        break;
    case OUTBOUND_FAILED:
        assert_false(talk->has_failed);
        talk->has_failed = true;
        talk->failure = *event->failure;
        snprintf(talk->phase, sizeof talk->phase, "%s", event->failure->phase);
        outbound_pump(outbound); /* may be called, does nothing */
        break;
    case OUTBOUND_CLOSED:
        talk->outbound = NULL;
        break;
    }
}

static void talk_prepare(struct talk *talk, enum path_via via, enum smtp_security security)
{
    *talk = (struct talk){.tunnel = {.via = via, .host = SLICE("relay.example"), .port = 465}};
    netloop_open(&talk->net);
    talk->proxy.got = BUFFER(1024 * 1024);
    talk->proxy.closes_at_end = true;
    talk->listener = netloop_listen(&talk->target.address);
    talk->target.tunnel = &talk->tunnel;
    talk->target.tls = security == SMTP_SECURITY_NONE ? NULL : client_tls;
    talk->target.server_name = "relay.example";
    talk->target.smtp = (struct smtp_client_config){.security = security, .ehlo_name = SLICE("agent.example")};
    talk->target.linger_ms = 200;
}

static void talk_dial(struct talk *talk)
{
    assert_int_equal(outbound_open(&talk->outbound, &talk->net.loop, &talk->target, (struct outbound_handler){on_event, talk}, NULL), RESULT_OK);
    NET_UNTIL(&talk->net, talk->is_connected);
    int fd = accept(talk->listener, NULL, NULL);
    assert_int_equal(stream_accept(&talk->proxy.stream, &talk->net.loop, fd, net_end_owner(&talk->proxy), NULL), RESULT_OK);
}

static void talk_open(struct talk *talk, enum path_via via, enum smtp_security security)
{
    talk_prepare(talk, via, security);
    talk_dial(talk);
}

static void expect(struct talk *talk, struct slice octets)
{
    NET_UNTIL(&talk->net, buffer_len(&talk->proxy.got) >= octets.len);
    if (!slice_equal(buffer_slice(&talk->proxy.got), octets))
        fail_msg("not \"%.*s\"", SLICE_ARG(buffer_slice(&talk->proxy.got)));
    buffer_clear(&talk->proxy.got);
}

static void answer(struct talk *talk, struct slice octets)
{
    assert_int_equal(stream_write(talk->proxy.stream, octets), RESULT_OK);
}

static void talk_close(struct talk *talk)
{
    NET_UNTIL(&talk->net, talk->outbound == NULL);
    if (talk->proxy.stream)
        stream_close(talk->proxy.stream);
    NET_UNTIL(&talk->net, talk->proxy.stream == NULL);
    buffer_free(&talk->proxy.got);
    close(talk->listener);
    netloop_close(&talk->net);
}

static void expect_failure(struct talk *talk, enum path_verdict verdict, const char *phase, const char *words)
{
    NET_UNTIL(&talk->net, talk->has_failed);
    assert_string_equal(path_verdict_name(talk->failure.verdict), path_verdict_name(verdict));
    assert_string_equal(talk->phase, phase);
    if (!strstr(talk->failure.words, words))
        fail_msg("\"%s\" in \"%s\"?", words, talk->failure.words);
    assert_false(talk->failure.is_permanent);
    talk_close(talk);
}

/* ---- through ---- */

static void greet(struct talk *talk)
{
    expect(talk, SLICE("EHLO agent.example\r\n"));
    answer(talk, SLICE("250 relay.example\r\n"));
    NET_UNTIL(&talk->net, talk->is_proven);
    outbound_close(talk->outbound);
    assert_false(talk->has_failed);
    talk_close(talk);
}

static void test_tls_through_http(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_TLS);
    expect(&talk, SLICE(CONNECT)); /* and no octet of TLS with it */
    answer(&talk, SLICE("HTTP/1.1 200 Connection established\r\n\r\n"));
    assert_int_equal(stream_start_tls(talk.proxy.stream, server_tls, NULL, false), RESULT_OK);
    answer(&talk, SLICE("220 relay.example ESMTP\r\n"));
    greet(&talk);
}

static void test_tls_through_socks5(void **state)
{
    struct talk talk;
    (void)state;
    talk_prepare(&talk, PATH_SOCKS5, SMTP_SECURITY_TLS);
    talk.tunnel.user = SLICE("bob");
    talk.tunnel.password = SLICE("pw");
    talk_dial(&talk);
    memset(&talk.tunnel, 0, sizeof talk.tunnel); /* it was copied */
    expect(&talk, SLICE("\x05\x02\x00\x02"));
    answer(&talk, SLICE("\x05\x02"));
    expect(&talk, SLICE("\x01\x03" "bob\x02pw"));
    answer(&talk, SLICE("\x01\x00"));
    expect(&talk, SLICE("\x05\x01\x00\x03\x0drelay.example\x01\xd1"));
    answer(&talk, SLICE("\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"));
    assert_int_equal(stream_start_tls(talk.proxy.stream, server_tls, NULL, false), RESULT_OK);
    answer(&talk, SLICE("220 relay.example ESMTP\r\n"));
    greet(&talk);
}

/* What comes in one segment with the proxy's answer is the relay's greeting. */
static void test_greeting_behind_answer(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_NONE);
    expect(&talk, SLICE(CONNECT));
    answer(&talk, SLICE("HTTP/1.1 200 OK\r\n\r\n220 relay.example ESMTP\r\n"));
    greet(&talk);
    talk_open(&talk, PATH_SOCKS5, SMTP_SECURITY_NONE);
    expect(&talk, SLICE("\x05\x01\x00"));
    answer(&talk, SLICE("\x05\x00"));
    expect(&talk, SLICE("\x05\x01\x00\x03\x0drelay.example\x01\xd1"));
    answer(&talk, SLICE("\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38" "220 relay.example ESMTP\r\n"));
    greet(&talk);
}

/* A proxy whose 200 is followed by a web page, as portals do. */
static void test_portal_behind_answer(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_TLS);
    expect(&talk, SLICE(CONNECT));
    answer(&talk, SLICE("HTTP/1.1 200 OK\r\n\r\n<html>log in</html>"));
    expect_failure(&talk, PATH_HTTP, "TLS handshake", "does not speak TLS");
}

static void test_starttls_through_http(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_STARTTLS);
    expect(&talk, SLICE(CONNECT));
    answer(&talk, SLICE("HTTP/1.1 200 OK\r\n\r\n220 relay.example ESMTP\r\n"));
    expect(&talk, SLICE("EHLO agent.example\r\n"));
    answer(&talk, SLICE("250-relay.example\r\n250 STARTTLS\r\n"));
    expect(&talk, SLICE("STARTTLS\r\n"));
    answer(&talk, SLICE("220 go\r\n"));
    assert_int_equal(stream_start_tls(talk.proxy.stream, server_tls, NULL, false), RESULT_OK);
    greet(&talk);
}

/* Held, not even the proxy hears of the relay. */
static void test_hold(void **state)
{
    struct talk talk;
    (void)state;
    talk_prepare(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_NONE);
    talk.target.hold_at_connect = true;
    talk_dial(&talk);
    for (int i = 0; i < 20; i++)
        uv_run(&talk.net.loop, UV_RUN_NOWAIT);
    assert_int_equal(buffer_len(&talk.proxy.got), 0);
    outbound_proceed(talk.outbound);
    expect(&talk, SLICE(CONNECT));
    assert_null(outbound_core(talk.outbound));
    answer(&talk, SLICE("HTTP/1.1 200 OK\r\n\r\n220 relay.example ESMTP\r\n"));
    greet(&talk);
}

/* ---- not through ---- */

static void test_refused(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_TLS);
    expect(&talk, SLICE(CONNECT));
    answer(&talk, SLICE("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"));
    expect_failure(&talk, PATH_PROXY_REFUSED, "proxy", "the proxy does not allow port 465 (403 Forbidden)");
    talk_open(&talk, PATH_SOCKS5, SMTP_SECURITY_TLS);
    expect(&talk, SLICE("\x05\x01\x00"));
    answer(&talk, SLICE("\x05\xff"));
    expect_failure(&talk, PATH_PROXY_REFUSED, "proxy", "the proxy wants a user name and password");
}

static void test_stranger(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_TLS);
    answer(&talk, SLICE("SSH-2.0-OpenSSH"));
    expect_failure(&talk, PATH_PROXY_REFUSED, "proxy", "what answers is no HTTP proxy");
    talk_open(&talk, PATH_SOCKS5, SMTP_SECURITY_TLS);
    answer(&talk, SLICE("HTTP/1.1 400 Bad Request\r\n\r\n"));
    expect_failure(&talk, PATH_PROXY_REFUSED, "proxy", "what answers is no SOCKS5 proxy: it speaks HTTP");
}

static void test_ended(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_TLS);
    expect(&talk, SLICE(CONNECT));
    stream_finish(talk.proxy.stream, 1000);
    expect_failure(&talk, PATH_PROXY_REFUSED, "proxy", "the proxy ended the connection without an answer");
    talk_open(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_TLS);
    expect(&talk, SLICE(CONNECT));
    answer(&talk, SLICE("HTTP/1.1 200 OK\r\n"));
    stream_finish(talk.proxy.stream, 1000);
    expect_failure(&talk, PATH_PROXY_REFUSED, "proxy", "the proxy ended the connection in the middle of its answer");
}

static void test_reset(void **state)
{
    struct linger at_once = {.l_onoff = 1};
    struct talk talk;
    (void)state;
    talk_prepare(&talk, PATH_SOCKS5, SMTP_SECURITY_TLS);
    assert_int_equal(outbound_open(&talk.outbound, &talk.net.loop, &talk.target, (struct outbound_handler){on_event, &talk}, NULL), RESULT_OK);
    NET_UNTIL(&talk.net, talk.is_connected);
    int fd = accept(talk.listener, NULL, NULL);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    close(fd);
    expect_failure(&talk, PATH_PROXY_REFUSED, "proxy", "the connection with the proxy broke: ");
}

static void test_silent(void **state)
{
    struct talk talk;
    (void)state;
    talk_prepare(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_TLS);
    talk.target.handshake_timeout_ms = 40;
    talk_dial(&talk);
    expect_failure(&talk, PATH_PROXY_REFUSED, "proxy", "the proxy does not answer, or gets no answer from the relay");
    talk_prepare(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_TLS);
    talk.target.handshake_timeout_ms = 40;
    talk_dial(&talk);
    answer(&talk, SLICE("HTTP/1.1 200 OK\r\nX: "));
    expect_failure(&talk, PATH_PROXY_REFUSED, "proxy", "the proxy's answer does not come to its end");
    talk_prepare(&talk, PATH_SOCKS5, SMTP_SECURITY_TLS);
    talk.target.handshake_timeout_ms = 40;
    talk_dial(&talk);
    expect_failure(&talk, PATH_PROXY_REFUSED, "proxy", "the proxy does not answer");
    assert_null(strchr(talk.failure.words, ','));
    talk_prepare(&talk, PATH_SOCKS5, SMTP_SECURITY_TLS);
    talk.target.handshake_timeout_ms = 60;
    talk_dial(&talk);
    answer(&talk, SLICE("\x05\x00"));
    expect_failure(&talk, PATH_PROXY_REFUSED, "proxy", "the proxy does not answer, or gets no answer from the relay");
}

/* Behind the proxy all is told as if direct: what the proxy said is not counted for the relay. */
static void test_silent_relay(void **state)
{
    struct talk talk;
    (void)state;
    talk_prepare(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_TLS);
    talk.target.handshake_timeout_ms = 60;
    talk_dial(&talk);
    answer(&talk, SLICE("HTTP/1.1 200 OK\r\n\r\n"));
    expect_failure(&talk, PATH_TLS_FAILED, "TLS handshake", "TLS is cut off after the first message: nothing comes back");
    talk_prepare(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_NONE);
    talk.target.smtp.greeting_timeout_ms = 40;
    talk_dial(&talk);
    answer(&talk, SLICE("HTTP/1.1 200 OK\r\n\r\n"));
    expect_failure(&talk, PATH_DROPPED, "greeting", "the server does not answer");
}

static void test_no_proxy(void **state)
{
    struct talk talk;
    (void)state;
    talk_prepare(&talk, PATH_SOCKS5, SMTP_SECURITY_TLS);
    close(talk.listener);
    talk.listener = -1;
    assert_int_equal(outbound_open(&talk.outbound, &talk.net.loop, &talk.target, (struct outbound_handler){on_event, &talk}, NULL), RESULT_OK);
    expect_failure(&talk, PATH_REFUSED, "connect", "the proxy: connection refused");
}

static void test_close(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_TLS);
    expect(&talk, SLICE(CONNECT));
    outbound_quit(talk.outbound); /* there is nobody yet to say QUIT to */
    talk_close(&talk);
    assert_false(talk.has_failed);
    assert_int_equal(talk.proxy.told[STREAM_EOF], 1);
}

static void test_unwritable(void **state)
{
    struct talk talk;
    (void)state;
    talk_prepare(&talk, PATH_HTTP_CONNECT, SMTP_SECURITY_TLS);
    talk.tunnel.user = SLICE("a:b");
    assert_int_equal(outbound_open(&talk.outbound, &talk.net.loop, &talk.target, (struct outbound_handler){on_event, &talk}, NULL), RESULT_SYNTAX);
    assert_null(talk.outbound);
    talk_close(&talk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls_through_http),
        cmocka_unit_test(test_tls_through_socks5),
        cmocka_unit_test(test_greeting_behind_answer),
        cmocka_unit_test(test_portal_behind_answer),
        cmocka_unit_test(test_starttls_through_http),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_stranger),
        cmocka_unit_test(test_ended),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_silent_relay),
        cmocka_unit_test(test_no_proxy),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_unwritable),
    };
    return cmocka_run_group_tests_name("net/outbound_proxy", tests, make_identities, drop_identities);
}
