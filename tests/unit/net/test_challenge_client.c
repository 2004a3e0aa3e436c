/* The agent's question: HTTP answers of every kind, cut anywhere; and the whole way over a connection. */
#include "net/challenge_internal.h"
#include "support/certificates.h"
#include "support/netloop.h"
#include "support/split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NONCE "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define BODY "postern-challenge 1\n" NONCE "\nQQ==\n-----BEGIN CERTIFICATE-----\n"
#define BODY_LEN "97"

/* ---- HTTP ---- */

struct row {
    const char *in;
    enum challenge_end end;
    enum challenge_reading reading;
    const char *body_or_words;
};

static void read_row(struct split *split, void *context)
{
    const struct row *row = context;
    struct slice piece, body = {0};
    char memory[2048], words[CHALLENGE_WORDS] = "";
    size_t len = 0;
    enum challenge_reading reading = CHALLENGE_READ_MORE;
    while (reading == CHALLENGE_READ_MORE && split_next(split, &piece)) {
        memcpy(memory + len, piece.ptr, piece.len);
        len += piece.len;
        reading = challenge_read(slice_of(memory, len), CHALLENGE_GOES_ON, &body, words);
    }
    if (reading == CHALLENGE_READ_MORE && row->end != CHALLENGE_GOES_ON)
        reading = challenge_read(slice_of(memory, len), row->end, &body, words);
    if (reading != row->reading)
        fail_msg("%s, %s: read as %d (%s)", row->in, split_how(split), (int)reading, words);
    if (reading == CHALLENGE_READ_BODY && !slice_equal(body, slice_from_cstr(row->body_or_words)))
        fail_msg("%s, %s: another body", row->in, split_how(split));
    if (reading == CHALLENGE_READ_PORTAL && !strstr(words, row->body_or_words))
        fail_msg("%s, %s: words \"%s\"", row->in, split_how(split), words);
}

static void test_http(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: " BODY_LEN "\r\n\r\n" BODY, CHALLENGE_GOES_ON, CHALLENGE_READ_BODY, BODY},
        {"HTTP/1.1 200 OK\r\ncontent-LENGTH:" BODY_LEN " \r\n\r\n" BODY "more", CHALLENGE_GOES_ON, CHALLENGE_READ_BODY, BODY},
        {"HTTP/1.0 200\nServer: x\n\n" BODY, CHALLENGE_ENDED, CHALLENGE_READ_BODY, BODY},
        {"HTTP/1.0 200\nServer: x\n\n" BODY, CHALLENGE_BROKE_OFF, CHALLENGE_READ_MORE, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" BODY, CHALLENGE_ENDED, CHALLENGE_READ_MORE, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: " BODY_LEN "\r\n", CHALLENGE_ENDED, CHALLENGE_READ_MORE, ""},
        {"HTTP/1.1 20", CHALLENGE_ENDED, CHALLENGE_READ_MORE, ""},
        {"", CHALLENGE_ENDED, CHALLENGE_READ_MORE, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n<html>Welcome!</html>\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "page of its own"},
        {"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "page of its own"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "page of its own"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\npostern-challenge 1", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "page of its own"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "page of its own"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "broken"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "broken"},
        {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "broken"},
        {"HTTP/1.1 200 OK\r\nno header\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "broken"},
        {"HTTP/1.1 302 Found\r\nLocation: http://portal.example/login?a=b\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "sends to http://portal.example/login?a=b (HTTP 302)"},
        {"HTTP/1.1 307\r\nlocation: http://p\x1b[31m\x80/\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "sends to http://p?[31m?/ (HTTP 307)"},
        {"HTTP/1.1 302 Found\r\nContent-Length: 5", CHALLENGE_BROKE_OFF, CHALLENGE_READ_PORTAL, "HTTP 302"},
        {"HTTP/1.1 204 No Content\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "HTTP 204"},
        {"HTTP/1.0 404 Not Found\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "HTTP 404"},
        {"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_BUSY, ""},
        {"HTTP/1.1 511 Network Authentication Required\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "login is required"},
        {"HTTP/2 200\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "not answer in HTTP"},
        {"HTTP/1.2 200 OK\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "broken"},
        {"HTTP/1.1 2000 OK\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "broken"},
        {"HTTP/1.1 099 OK\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "broken"},
        {"HTTP/1.1 2x0 OK\r\n\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "broken"},
        {"220 relay.example ESMTP\r\n", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "not answer in HTTP"},
        {"<html>", CHALLENGE_GOES_ON, CHALLENGE_READ_PORTAL, "not answer in HTTP"},
    };
    assert_int_equal(strlen(BODY), 97);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct row row = rows[i];
        split_replay(slice_from_cstr(row.in), read_row, &row);
    }
}

/* Neither headers without end nor a body without end are read for ever. */
static void test_too_long(void **state)
{
    (void)state;
    static char in[CHALLENGE_HEADERS_MAX + CHALLENGE_ANSWER_MAX];
    char words[CHALLENGE_WORDS];
    struct slice body;
    memset(in, 'a', sizeof in);
    memcpy(in, "HTTP/1.1 200 OK\r\n", 17);
    assert_int_equal(challenge_read(slice_of(in, CHALLENGE_HEADERS_MAX), CHALLENGE_GOES_ON, &body, words), CHALLENGE_READ_MORE);
    assert_int_equal(challenge_read(slice_of(in, CHALLENGE_HEADERS_MAX + 1), CHALLENGE_GOES_ON, &body, words), CHALLENGE_READ_PORTAL);
    memcpy(in + 17, "\r\npostern-challenge 1\n", 22);
    assert_int_equal(challenge_read(slice_of(in, 19 + CHALLENGE_ANSWER_MAX), CHALLENGE_GOES_ON, &body, words), CHALLENGE_READ_MORE);
    assert_int_equal(challenge_read(slice_of(in, 19 + CHALLENGE_ANSWER_MAX + 1), CHALLENGE_GOES_ON, &body, words), CHALLENGE_READ_PORTAL);
}

/* ---- the whole way ---- */

struct asking {
    struct netloop net;
    struct tls_context *server, *client;
    int listener;
    struct net_end relay; /* or who sits in its place */
    struct challenge *challenge;
    unsigned ends;
    enum challenge_result result;
    char words[300];
};

static void on_end(void *context, enum challenge_result result, const char *words)
{
    struct asking *asking = context;
    asking->ends++;
    asking->result = result;
    snprintf(asking->words, sizeof asking->words, "%s", words);
    asking->challenge = NULL;
}

static void asking_open(struct asking *asking)
{
    *asking = (struct asking){.listener = -1};
    netloop_open(&asking->net);
    certificates_contexts(&asking->server, &asking->client);
}

static void asking_start(struct asking *asking, const char *name, int64_t timeout_ms)
{
    struct challenge_ask ask = {.tls = asking->client, .server_name = name, .timeout_ms = timeout_ms, .on_end = on_end, .context = asking};
    asking->listener = netloop_listen(&ask.address);
    assert_int_equal(challenge_start(&asking->challenge, &asking->net.loop, &ask), RESULT_OK);
    assert_int_equal(asking->ends, 0);
    int fd = -1;
    NET_UNTIL(&asking->net, (fd = accept(asking->listener, NULL, NULL)) >= 0);
    assert_int_equal(stream_accept(&asking->relay.stream, &asking->net.loop, fd, net_end_owner(&asking->relay), NULL), RESULT_OK);
}

static bool ends_with(const struct buffer *buffer, struct slice end)
{
    return slice_ends_with_nocase(buffer_slice(buffer), end);
}

static void await_request(struct asking *asking)
{
    NET_UNTIL(&asking->net, ends_with(&asking->relay.got, SLICE("\r\n\r\n")));
}

static void asking_close(struct asking *asking)
{
    if (asking->relay.stream)
        stream_close(asking->relay.stream);
    NET_UNTIL(&asking->net, asking->relay.stream == NULL);
    buffer_free(&asking->relay.got);
    close(asking->listener);
    tls_context_unref(&asking->server);
    tls_context_unref(&asking->client);
    netloop_close(&asking->net);
}

/* What the relay's listener does. */
static void make_answer(struct asking *asking, struct buffer *out)
{
    struct slice request = buffer_slice(&asking->relay.got), start = SLICE("GET " CHALLENGE_PATH "?n=");
    struct buffer body = BUFFER(CHALLENGE_ANSWER_MAX);
    assert_true(slice_starts_with(request, start));
    assert_int_equal(challenge_answer(asking->server, slice_take(slice_skip(request, start.len), CHALLENGE_NONCE_TEXT), &body), RESULT_OK);
    assert_int_equal(buffer_printf(out, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%.*s", buffer_len(&body),
                                   SLICE_ARG(buffer_slice(&body))), RESULT_OK);
    buffer_free(&body);
}

static void test_request(void **state)
{
    (void)state;
    static const struct {
        const char *name, *host;
    } rows[] = {{"relay.example", "\r\nHost: relay.example\r\n"}, {NULL, "\r\nHost: 127.0.0.1\r\n"}, {"2001:db8::1", "\r\nHost: [2001:db8::1]\r\n"},
                {"evil\r\nX: y", "\r\nHost: 127.0.0.1\r\n"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct asking asking;
        asking_open(&asking);
        asking_start(&asking, rows[i].name, 0);
        await_request(&asking);
        struct slice request = buffer_slice(&asking.relay.got);
        struct slice first, rest;
        assert_true(slice_cut(request, '\n', &first, &rest));
        assert_true(slice_starts_with(first, SLICE("GET /.well-known/postern?n=")) && slice_ends_with_nocase(first, SLICE(" HTTP/1.1\r")));
        assert_int_equal(first.len, 27 + CHALLENGE_NONCE_TEXT + 10);
        if (!memmem(request.ptr, request.len, rows[i].host, strlen(rows[i].host)))
            fail_msg("row %zu: %.*s", i, SLICE_ARG(request));
        assert_null(memmem(request.ptr, request.len, "evil", 4));
        challenge_cancel(&asking.challenge);
        assert_null(asking.challenge);
        asking_close(&asking);
        assert_int_equal(asking.ends, 0);
    }
}

static void test_genuine(void **state)
{
    (void)state;
    struct asking asking;
    struct buffer answer = {0};
    asking_open(&asking);
    asking_start(&asking, "relay.example", 0);
    await_request(&asking);
    make_answer(&asking, &answer);
    assert_int_equal(stream_write(asking.relay.stream, buffer_slice(&answer)), RESULT_OK);
    NET_UNTIL(&asking.net, asking.ends == 1);
    assert_int_equal(asking.result, CHALLENGE_GENUINE);
    buffer_free(&answer);
    asking_close(&asking);
    assert_int_equal(asking.ends, 1);
}

static void test_genuine_octet_by_octet(void **state)
{
    (void)state;
    struct asking asking;
    struct buffer answer = {0};
    asking_open(&asking);
    asking_start(&asking, "relay.example", 0);
    await_request(&asking);
    make_answer(&asking, &answer);
    for (size_t i = 0; i < buffer_len(&answer); i++) {
        assert_int_equal(asking.ends, 0);
        assert_int_equal(stream_write(asking.relay.stream, slice_take(slice_skip(buffer_slice(&answer), i), 1)), RESULT_OK);
        NET_UNTIL(&asking.net, stream_pending(asking.relay.stream) == 0);
        uv_run(&asking.net.loop, UV_RUN_NOWAIT);
    }
    NET_UNTIL(&asking.net, asking.ends == 1);
    assert_int_equal(asking.result, CHALLENGE_GENUINE);
    buffer_free(&answer);
    asking_close(&asking);
}

/* A portal that has the relay's form, and a key of its own. */
static void test_stranger_signs(void **state)
{
    (void)state;
    struct asking asking;
    struct buffer answer = {0};
    struct tls_context *stranger, *unused;
    asking_open(&asking);
    certificates_contexts(&stranger, &unused);
    asking_start(&asking, "relay.example", 0);
    await_request(&asking);
    tls_context_unref(&asking.server);
    asking.server = stranger;
    make_answer(&asking, &answer);
    assert_int_equal(stream_write(asking.relay.stream, buffer_slice(&answer)), RESULT_OK);
    NET_UNTIL(&asking.net, asking.ends == 1);
    assert_int_equal(asking.result, CHALLENGE_SILENT);
    assert_non_null(strstr(asking.words, "not with our relay's key"));
    buffer_free(&answer);
    tls_context_unref(&unused);
    asking_close(&asking);
}

static void test_portal(void **state)
{
    (void)state;
    struct asking asking;
    asking_open(&asking);
    asking_start(&asking, "relay.example", 0);
    await_request(&asking);
    net_end_write(&asking.relay, "HTTP/1.1 302 Found\r\nLocation: http://login.hotel.example/\r\nContent-Length: 0\r\n\r\n");
    NET_UNTIL(&asking.net, asking.ends == 1);
    assert_int_equal(asking.result, CHALLENGE_PORTAL);
    assert_string_equal(asking.words, "it sends to http://login.hotel.example/ (HTTP 302)");
    asking_close(&asking);
}

static void test_silence(void **state)
{
    (void)state;
    struct asking asking;
    asking_open(&asking);
    asking_start(&asking, "relay.example", 30);
    NET_UNTIL(&asking.net, asking.ends == 1);
    assert_int_equal(asking.result, CHALLENGE_SILENT);
    assert_string_equal(asking.words, "no answer in time");
    asking_close(&asking);
}

static void test_closed_without_a_word(void **state)
{
    (void)state;
    struct asking asking;
    asking_open(&asking);
    asking_start(&asking, "relay.example", 0);
    await_request(&asking);
    stream_finish(asking.relay.stream, 1000);
    NET_UNTIL(&asking.net, asking.ends == 1);
    assert_int_equal(asking.result, CHALLENGE_SILENT);
    assert_string_equal(asking.words, "the connection was closed before there was an answer");
    asking_close(&asking);
}

static void test_refused(void **state)
{
    (void)state;
    struct asking asking;
    struct challenge_ask ask = {.server_name = "relay.example", .on_end = on_end, .context = &asking};
    asking_open(&asking);
    ask.tls = asking.client;
    close(netloop_listen(&ask.address));
    assert_int_equal(challenge_start(&asking.challenge, &asking.net.loop, &ask), RESULT_OK);
    NET_UNTIL(&asking.net, asking.ends == 1);
    assert_int_equal(asking.result, CHALLENGE_SILENT);
    asking_close(&asking);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_genuine),
        cmocka_unit_test(test_genuine_octet_by_octet),
        cmocka_unit_test(test_stranger_signs),
        cmocka_unit_test(test_portal),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_closed_without_a_word),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
