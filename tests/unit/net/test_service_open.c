/* How sessions begin: behind PROXY headers, and inside TLS by what ALPN came out as. */
#include "net/service_internal.h"
#include "net/stream_internal.h"
#include "support/house.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>

static void start_tls(struct house *house, struct net_end *end, enum path_alpn alpn)
{
    stream_offer_alpn(end->stream, alpn);
    assert_int_equal(stream_start_tls(end->stream, house_client_tls(), NULL, false), RESULT_OK);
    NET_UNTIL(&house->net, end->told[STREAM_SECURED] + end->told[STREAM_FAILED] == 1);
}

static bool got(const struct net_end *end, const char *text)
{
    return buffer_len(&end->got) > 0 && memmem(buffer_slice(&end->got).ptr, buffer_len(&end->got), text, strlen(text)) != NULL;
}

static void settle(struct house *house)
{
    for (int i = 0; i < 20; i++)
        uv_run(&house->net.loop, UV_RUN_NOWAIT);
}

/* ---- ALPN ---- */

static void test_smtp_is_greeted(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_TLS, NULL);
    house_dial(&house, &client);
    start_tls(&house, &client, PATH_ALPN_SMTP);
    house_greet(&house, &client);
    house_leave(&house, &client);
    house_close(&house);
}

/* Who came as a browser is not greeted; what he says tells what he is, however it is cut. */
static void speak_first(const char *first, const char *rest)
{
    struct house house;
    struct net_end client = {0};
    house_open(&house, SERVICE_TLS, NULL);
    house_dial(&house, &client);
    start_tls(&house, &client, PATH_ALPN_HTTP);
    settle(&house);
    assert_int_equal(buffer_len(&client.got), 0);
    net_end_write(&client, first);
    settle(&house);
    if (rest) {
        assert_int_equal(buffer_len(&client.got), 0);
        net_end_write(&client, rest);
    }
    NET_UNTIL(&house.net, got(&client, "\r\n250 "));
    assert_true(slice_starts_with(buffer_slice(&client.got), SLICE("220 relay.example ESMTP ")));
    assert_true(service_core(house.newest) != NULL);
    buffer_clear(&client.got);
    net_end_write(&client, HOUSE_TRANSACTION);
    NET_UNTIL(&house.net, got(&client, "354 "));
    house_hang_up(&house, &client);
    house_close(&house);
}

static void test_mail_inside_http(void **state)
{
    (void)state;
    speak_first("EHLO laptop.example\r\n", NULL);
    speak_first("H", "ELO laptop.example\r\nEHLO laptop.example\r\n");
    speak_first("EHLO laptop.example\r\nMAIL FROM:<a@x.example>\r\nRSET\r\n", NULL);
}

static void ask(enum path_alpn alpn, const char *request, struct net_end *client)
{
    struct house house;
    *client = (struct net_end){0};
    house_open(&house, SERVICE_TLS, NULL);
    house_dial(&house, client);
    start_tls(&house, client, alpn);
    net_end_write(client, request);
    NET_UNTIL(&house.net, client->stream == NULL);
    assert_int_equal(client->told[STREAM_FAILED], 0);
    NET_UNTIL(&house.net, house.closed == 1);
    assert_true(house_story_is(&house, "CLOSED "));
    house_close(&house);
}

static void expect_web(const char *request, const char *status, bool has_body)
{
    struct net_end client;
    struct slice head, text;
    char line[64];
    ask(PATH_ALPN_HTTP, request, &client);
    text = buffer_slice(&client.got);
    snprintf(line, sizeof line, "HTTP/1.1 %s\r\n", status);
    if (!slice_starts_with(text, slice_from_cstr(line)))
        fail_msg("%.*s instead of %s", SLICE_ARG(text), line);
    const char *end = memmem(text.ptr, text.len, "\r\n\r\n", 4);
    assert_non_null(end);
    head = slice_take(text, (size_t)(end - text.ptr) + 4);
    const char *length = memmem(head.ptr, head.len, "\r\nContent-Length: ", 18);
    assert_non_null(length);
    struct slice number;
    uint64_t octets;
    slice_cut(slice_skip(head, (size_t)(length - head.ptr) + 18), '\r', &number, &head);
    assert_true(slice_to_u64(number, 10000, &octets) && octets > 0);
    assert_int_equal(slice_skip(text, (size_t)(end - text.ptr) + 4).len, has_body ? octets : 0);
    assert_true(got(&client, "\r\nConnection: close\r\n") && got(&client, " GMT\r\n"));
    assert_false(got(&client, "ostern") || got(&client, "SMTP") || got(&client, "relay"));
    buffer_free(&client.got);
}

static void test_web(void **state)
{
    (void)state;
    expect_web("GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n", "200 OK", true);
    expect_web("HEAD / HTTP/1.1\r\nHost: relay.example\r\n\r\n", "200 OK", false);
    expect_web("GET /admin HTTP/1.1\r\nHost: relay.example\r\n\r\n", "404 Not Found", true);
    expect_web("HEAD /admin HTTP/1.1\r\nHost: relay.example\r\n\r\n", "404 Not Found", false);
    expect_web("GET /.well-known/postern?n=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA HTTP/1.1\r\nHost: relay.example\r\n\r\n", "404 Not Found", true);
    expect_web("POST / HTTP/1.1\r\nHost: relay.example\r\nContent-Length: 22\r\n\r\nMAIL FROM:<a@b.test>\r\n", "404 Not Found", true);
    expect_web("GET / HTTP/1.1\r\n\r\n", "400 Bad Request", true);
    expect_web("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 HTTP Version Not Supported", true);
}

static void test_too_long_a_request(void **state)
{
    static char request[9000];
    (void)state;
    memset(request, 'a', sizeof request - 1);
    memcpy(request, "GET /", 5);
    expect_web(request, "431 Request Header Fields Too Large", true);
}

/* With smtp or without ALPN a browser's line is what it always was. */
static void test_web_words_in_smtp(void **state)
{
    struct net_end client;
    (void)state;
    ask(PATH_ALPN_SMTP, "GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n", &client);
    assert_true(slice_starts_with(buffer_slice(&client.got), SLICE("220 ")));
    assert_false(got(&client, "HTTP/1.1 "));
    buffer_free(&client.got);
}

static void test_silence(void **state)
{
    struct house house;
    struct net_end client = {0}, half = {0};
    struct service_config config = house_config(&house);
    (void)state;
    config.handshake_timeout_ms = 400;
    house_open(&house, SERVICE_TLS, &config);
    house_dial(&house, &client);
    start_tls(&house, &client, PATH_ALPN_HTTP);
    house_dial(&house, &half);
    start_tls(&house, &half, PATH_ALPN_HTTP);
    net_end_write(&half, "HE"); /* LO, or AD */
    NET_UNTIL(&house.net, client.stream == NULL && half.stream == NULL && house.closed == 2);
    assert_int_equal(buffer_len(&client.got) + buffer_len(&half.got), 0);
    buffer_free(&client.got);
    buffer_free(&half.got);
    house_close(&house);
}

/* STARTTLS has told already what is spoken. */
static void test_starttls_with_http(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_STARTTLS, NULL);
    house_dial(&house, &client);
    house_greet(&house, &client);
    net_end_write(&client, "STARTTLS\r\n");
    NET_UNTIL(&house.net, net_end_has(&client, "\r\n"));
    start_tls(&house, &client, PATH_ALPN_HTTP);
    buffer_clear(&client.got);
    net_end_write(&client, "GET / HTTP/1.1\r\n");
    NET_UNTIL(&house.net, net_end_has(&client, "\r\n"));
    assert_false(got(&client, "HTTP/1.1 "));
    house_hang_up(&house, &client);
    house_close(&house);
}

/* ---- listeners for HTTP ---- */

#define NONCE "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define CHALLENGE(nonce) "GET /.well-known/postern?n=" nonce " HTTP/1.1\r\nHost: relay.example\r\n\r\n"

static unsigned nsigned;

static enum result sign(const struct tls_context *server, struct slice nonce, struct buffer *out)
{
    assert_non_null(server);
    nsigned++;
    if (nonce.ptr[0] == '!')
        return RESULT_SYNTAX;
    if (nonce.ptr[0] == '?')
        return RESULT_IO;
    return buffer_printf(out, "signed %.*s\n", SLICE_ARG(nonce));
}

static void open_web(struct house *house, uint32_t per_s)
{
    struct service_config config = house_config(house);
    config.answer_challenge = sign;
    config.challenges_per_s = per_s;
    nsigned = 0;
    house_open(house, SERVICE_HTTP, &config);
}

/* One connection, one question; answers are compared from their beginning. */
static void expect_answer(struct house *house, const char *request, const char *status, const char *end)
{
    struct net_end client = {0};
    house_dial(house, &client);
    net_end_write(&client, request);
    NET_UNTIL(&house->net, client.stream == NULL);
    assert_int_equal(client.told[STREAM_FAILED], 0);
    if (!slice_starts_with(buffer_slice(&client.got), slice_from_cstr(status)) || !net_end_has(&client, end))
        fail_msg("%.*s instead of %s ... %s", SLICE_ARG(buffer_slice(&client.got)), status, end);
    assert_true(got(&client, "\r\nConnection: close\r\n") && got(&client, "\r\nCache-Control: no-store\r\n"));
    assert_int_equal(got(&client, "\r\nRetry-After: 1\r\n"), got(&client, "HTTP/1.1 503 "));
    buffer_free(&client.got);
}

static void test_challenge(void **state)
{
    struct house house;
    (void)state;
    open_web(&house, 0);
    expect_answer(&house, CHALLENGE(NONCE), "HTTP/1.1 200 OK\r\n", "\r\n\r\nsigned " NONCE "\n");
    expect_answer(&house, "HEAD /.well-known/postern?n=" NONCE " HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\n");
    assert_int_equal(nsigned, 2);
    expect_answer(&house, CHALLENGE(NONCE "A"), "HTTP/1.1 404 Not Found\r\n", "</html>\n");
    expect_answer(&house, CHALLENGE(""), "HTTP/1.1 404 Not Found\r\n", "</html>\n");
    expect_answer(&house, "POST /.well-known/postern?n=" NONCE " HTTP/1.0\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", "</html>\n");
    expect_answer(&house, "GET /.well-known/postern?m=" NONCE " HTTP/1.0\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", "</html>\n");
    assert_int_equal(nsigned, 2); /* what is no nonce is not signed */
    expect_answer(&house, CHALLENGE("!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "HTTP/1.1 404 Not Found\r\n", "</html>\n");
    expect_answer(&house, CHALLENGE("?AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), "HTTP/1.1 500 Internal Server Error\r\n", "</html>\n");
    expect_answer(&house, "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", "</html>\n");
    expect_answer(&house, "EHLO laptop.example\r\n", "HTTP/1.1 400 Bad Request\r\n", "</html>\n");
    expect_answer(&house, "\x16\x03\x01\r\n", "HTTP/1.1 400 Bad Request\r\n", "</html>\n");
    assert_int_equal(house.opened, 0); /* nobody here is the handler's */
    house_close(&house);
}

/* Beyond the rate: told when to come again, and the next second is as good as the first. */
static void test_challenges_have_a_rate(void **state)
{
    struct house house;
    (void)state;
    open_web(&house, 8); /* of which one address may have two */
    house.service->signing_since_ms = INT64_MAX / 2; /* a long second */
    expect_answer(&house, CHALLENGE(NONCE), "HTTP/1.1 200 OK\r\n", "signed " NONCE "\n");
    expect_answer(&house, CHALLENGE(NONCE), "HTTP/1.1 200 OK\r\n", "signed " NONCE "\n");
    for (int i = 0; i < 3; i++)
        expect_answer(&house, CHALLENGE(NONCE), "HTTP/1.1 503 Service Unavailable\r\n", "</html>\n");
    assert_int_equal(nsigned, 2);
    memset(house.service->nsigned_from, 0, sizeof house.service->nsigned_from);
    house.service->nsigned = 7; /* others have asked too */
    expect_answer(&house, CHALLENGE(NONCE), "HTTP/1.1 200 OK\r\n", "signed " NONCE "\n");
    expect_answer(&house, CHALLENGE(NONCE), "HTTP/1.1 503 Service Unavailable\r\n", "</html>\n");
    house.service->signing_since_ms = loop_now_ms(&house.net.loop) - 1000;
    expect_answer(&house, CHALLENGE(NONCE), "HTTP/1.1 200 OK\r\n", "signed " NONCE "\n");
    house_close(&house);
}

static unsigned count_closed(const struct net_end *ends, unsigned n)
{
    unsigned closed = 0;
    for (unsigned i = 0; i < n; i++)
        closed += ends[i].stream == NULL;
    return closed;
}

/* So many connections that wait take no place from mail, and those of one address none from others. */
static void test_web_has_places_of_its_own(void **state)
{
    enum { DIALLED = 30 };
    struct house house;
    struct net_end web[DIALLED] = {0}, client = {0};
    struct service_config config = house_config(&house);
    (void)state;
    config.sessions_max = 1;
    config.sessions_per_address_max = 1;
    house_open(&house, SERVICE_HTTP, &config);
    for (int i = 0; i < DIALLED; i++)
        house_dial(&house, &web[i]);
    NET_UNTIL(&house.net, count_closed(web, DIALLED) == DIALLED - SERVICE_WEB_PER_ADDRESS);
    assert_int_equal(service_sessions(house.service), 0);
    house_listen(&house, SERVICE_PLAIN);
    house_dial(&house, &client);
    house_greet(&house, &client);
    house_leave(&house, &client);
    for (int i = 0; i < DIALLED; i++)
        house_hang_up(&house, &web[i]);
    house_close(&house);
}

/* ---- PROXY ---- */

#define CLIENT "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"

/* The log, of which info and above are kept. */
static void keep_line(void *context, enum log_level level, struct slice line)
{
    (void)level;
    assert_int_equal(buffer_append(context, line), RESULT_OK);
}

struct gate {
    struct house house;
    struct buffer lines;
    struct log log;
};

static void open_behind_proxy(struct gate *gate, enum service_mode mode, const char *proxies, uint32_t per_address)
{
    struct service_listener listener = {.mode = mode, .takes_proxy_header = true};
    struct net_prefix prefix;
    char why[256];
    *gate = (struct gate){.log = {.level = LOG_INFO, .sink = keep_line}};
    gate->log.context = &gate->lines;
    struct service_config config = house_config(&gate->house);
    config.log = &gate->log;
    config.handshake_timeout_ms = 400;
    config.sessions_per_address_max = per_address;
    if (proxies) {
        assert_int_equal(net_prefix_parse(slice_from_cstr(proxies), &prefix), RESULT_OK);
        config.proxies = &prefix;
        config.nproxies = 1;
    }
    house_open(&gate->house, SERVICE_PLAIN, &config);
    memset(&prefix, 0, sizeof prefix); /* it was copied */
    uv_ip4_addr("127.0.0.1", 0, (struct sockaddr_in *)&listener.address);
    assert_int_equal(service_listen(gate->house.service, &listener, &gate->house.address, why, sizeof why), RESULT_OK);
}

static void close_gate(struct gate *gate)
{
    house_close(&gate->house);
    buffer_free(&gate->lines);
}

static bool has_logged(const struct gate *gate, const char *text)
{
    return buffer_len(&gate->lines) > 0 && memmem(buffer_slice(&gate->lines).ptr, buffer_len(&gate->lines), text, strlen(text)) != NULL;
}

static void assert_client(const struct gate *gate, const char *expected)
{
    struct sockaddr_storage address;
    struct net_address named;
    char text[NET_ADDRESS_TEXT];
    assert_string_equal(service_peer(gate->house.newest), expected);
    assert_int_equal(service_peer_address(gate->house.newest, &address), RESULT_OK);
    memcpy(&named, &address, sizeof named);
    net_address_format(&named, text);
    assert_string_equal(text, expected);
}

/* The header in one piece with what follows, or by itself. */
static void talk_through(struct gate *gate, bool is_by_itself)
{
    struct house *house = &gate->house;
    struct net_end client = {0};
    house_dial(house, &client);
    settle(house);
    assert_int_equal(house->opened, 0); /* nobody is let in whose address is not known */
    if (is_by_itself) {
        net_end_write(&client, "PROXY TCP4 192.0.2.7");
        settle(house);
        assert_int_equal(house->opened, 0);
        net_end_write(&client, " 198.51.100.1 4711 443\r\n");
    } else {
        net_end_write(&client, CLIENT "NOOP\r\n");
    }
    NET_UNTIL(&house->net, house->opened == 1);
    assert_client(gate, "192.0.2.7:4711");
    NET_UNTIL(&house->net, got(&client, is_by_itself ? "220 " : "250 "));
    buffer_clear(&client.got);
    net_end_write(&client, "EHLO a.example\r\n");
    NET_UNTIL(&house->net, got(&client, "\r\n250 "));
    house_leave(house, &client);
    NET_UNTIL(&house->net, house->closed == 1);
}

static void test_proxy(void **state)
{
    struct gate gate;
    (void)state;
    for (int i = 0; i < 4; i++) {
        open_behind_proxy(&gate, i / 2 ? SERVICE_STARTTLS : SERVICE_PLAIN, NULL, 0);
        talk_through(&gate, i % 2);
        close_gate(&gate);
    }
}

static void test_proxy_then_tls(void **state)
{
    struct gate gate;
    (void)state;
    for (int i = 0; i < 3; i++) { /* on a STARTTLS port too, when the ClientHello comes with the header */
        struct net_end client = {0};
        open_behind_proxy(&gate, i == 2 ? SERVICE_STARTTLS : SERVICE_TLS, NULL, 0);
        house_dial(&gate.house, &client);
        net_end_write(&client, CLIENT);
        if (i == 0)
            settle(&gate.house);
        start_tls(&gate.house, &client, PATH_ALPN_SMTP);
        assert_int_equal(client.told[STREAM_SECURED], 1);
        assert_client(&gate, "192.0.2.7:4711");
        house_greet(&gate.house, &client);
        house_leave(&gate.house, &client);
        close_gate(&gate);
    }
}

static void refused(enum service_mode mode, const char *proxies, const char *words, const char *logged)
{
    struct gate gate;
    struct net_end client = {0};
    open_behind_proxy(&gate, mode, proxies, 0);
    house_dial(&gate.house, &client);
    if (words)
        net_end_write(&client, words);
    NET_UNTIL(&gate.house.net, client.stream == NULL);
    assert_int_equal(buffer_len(&client.got), 0);
    assert_int_equal(gate.house.opened, 0);
    assert_true(has_logged(&gate, "event=proxy-refused") && has_logged(&gate, "peer=127.0.0.1:") && has_logged(&gate, logged));
    buffer_free(&client.got);
    close_gate(&gate);
}

static void test_refused(void **state)
{
    (void)state;
    refused(SERVICE_PLAIN, "192.0.2.0/24", CLIENT, "none of the proxies");
    refused(SERVICE_TLS, "192.0.2.0/24", CLIENT, "none of the proxies");
    refused(SERVICE_STARTTLS, NULL, "EHLO a.example\r\n", "no PROXY header");
    refused(SERVICE_TLS, NULL, "\x16\x03\x01\x02", "no PROXY header");
    refused(SERVICE_TLS, "127.0.0.1", "PROXY TCP4 192.0.2.7\r\n", "no PROXY header");
    refused(SERVICE_STARTTLS, NULL, "PROXY TCP4", "no whole PROXY header");
    refused(SERVICE_STARTTLS, NULL, NULL, "no whole PROXY header");
}

/* Elsewhere a header is no command. */
static void test_not_asked_for(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_PLAIN, NULL);
    house_dial(&house, &client);
    net_end_write(&client, CLIENT);
    NET_UNTIL(&house.net, got(&client, "\r\n50"));
    assert_true(strncmp(service_peer(house.newest), "127.0.0.1:", 10) == 0);
    house_hang_up(&house, &client);
    house_close(&house);
}

/* The limit is the client's, not the proxy's. */
static void test_limit_by_client(void **state)
{
    struct gate gate;
    struct net_end first = {0}, second = {0}, other = {0};
    (void)state;
    open_behind_proxy(&gate, SERVICE_STARTTLS, NULL, 1);
    house_dial(&gate.house, &first);
    net_end_write(&first, CLIENT);
    HOUSE_EXPECT(&gate.house, &first, " ESMTP Postern\r\n");
    house_dial(&gate.house, &second);
    net_end_write(&second, CLIENT);
    NET_UNTIL(&gate.house.net, second.stream == NULL);
    assert_true(slice_starts_with(buffer_slice(&second.got), SLICE("421 4.7.0 ")));
    assert_int_equal(gate.house.opened, 1);
    house_dial(&gate.house, &other);
    net_end_write(&other, "PROXY TCP4 192.0.2.8 198.51.100.1 4711 443\r\n");
    HOUSE_EXPECT(&gate.house, &other, " ESMTP Postern\r\n");
    house_hang_up(&gate.house, &first);
    house_hang_up(&gate.house, &other);
    buffer_free(&second.got);
    close_gate(&gate);
}

static void test_handler_refuses(void **state)
{
    struct gate gate;
    struct net_end client = {0};
    (void)state;
    open_behind_proxy(&gate, SERVICE_STARTTLS, NULL, 0);
    gate.house.refuses = true;
    house_dial(&gate.house, &client);
    net_end_write(&client, CLIENT);
    NET_UNTIL(&gate.house.net, client.stream == NULL);
    assert_true(net_end_has(&client, "421 4.3.2 closed for the night\r\n"));
    buffer_free(&client.got);
    close_gate(&gate);
}

/* The header that names the socket it comes out of. */
static const char *name_oneself(const struct net_end *end)
{
    static char text[128];
    struct sockaddr_in own;
    socklen_t len = sizeof own;
    uv_os_fd_t fd;
    assert_int_equal(uv_fileno((uv_handle_t *)&end->stream->tcp, &fd), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &len), 0);
    snprintf(text, sizeof text, "PROXY TCP4 127.0.0.1 127.0.0.1 %u 443\r\n", ntohs(own.sin_port));
    return text;
}

/* A proxy looks whether we live, in every way that proxies do; the log stays empty. */
static void look(struct gate *gate, const char *words)
{
    struct net_end client = {0};
    house_dial(&gate->house, &client);
    if (words)
        net_end_write(&client, words[0] ? words : name_oneself(&client));
    settle(&gate->house);
    if (client.stream)
        stream_finish(client.stream, 1000);
    NET_UNTIL(&gate->house.net, client.stream == NULL && service_sessions(gate->house.service) == 0);
    buffer_free(&client.got);
}

static void test_health_checks(void **state)
{
    struct gate gate;
    (void)state;
    for (int i = 0; i < 3; i++) {
        static const enum service_mode modes[] = {SERVICE_TLS, SERVICE_STARTTLS, SERVICE_HTTP};
        open_behind_proxy(&gate, modes[i], NULL, 1);
        look(&gate, NULL);
        look(&gate, "PROXY UNKNOWN\r\n");
        look(&gate, ""); /* as itself */
        look(&gate, CLIENT);
        if (modes[i] != SERVICE_TLS) /* a client's broken handshake is told, as on any port */
            assert_int_equal(buffer_len(&gate.lines), 0);
        assert_false(has_logged(&gate, "proxy-refused") || has_logged(&gate, "peer=127.0.0.1"));
        close_gate(&gate);
    }
}

/* One proxy has as many sessions of its own as it likes. */
static void test_proxys_own(void **state)
{
    struct gate gate;
    struct net_end one = {0}, two = {0};
    (void)state;
    open_behind_proxy(&gate, SERVICE_STARTTLS, NULL, 1);
    house_dial(&gate.house, &one);
    net_end_write(&one, "PROXY UNKNOWN\r\n");
    HOUSE_EXPECT(&gate.house, &one, " ESMTP Postern\r\n");
    assert_true(strncmp(service_peer(gate.house.newest), "127.0.0.1:", 10) == 0);
    house_dial(&gate.house, &two);
    net_end_write(&two, "PROXY UNKNOWN\r\n");
    HOUSE_EXPECT(&gate.house, &two, " ESMTP Postern\r\n");
    house_hang_up(&gate.house, &one);
    house_hang_up(&gate.house, &two);
    close_gate(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smtp_is_greeted),
        cmocka_unit_test(test_mail_inside_http),
        cmocka_unit_test(test_web),
        cmocka_unit_test(test_too_long_a_request),
        cmocka_unit_test(test_web_words_in_smtp),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_starttls_with_http),
        cmocka_unit_test(test_challenge),
        cmocka_unit_test(test_challenges_have_a_rate),
        cmocka_unit_test(test_web_has_places_of_its_own),
        cmocka_unit_test(test_proxy),
        cmocka_unit_test(test_proxy_then_tls),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_not_asked_for),
        cmocka_unit_test(test_limit_by_client),
        cmocka_unit_test(test_handler_refuses),
        cmocka_unit_test(test_health_checks),
        cmocka_unit_test(test_proxys_own),
    };
    return cmocka_run_group_tests(tests, house_make_identity, house_drop_identity);
}
