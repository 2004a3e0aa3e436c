/* The dialogues with proxies, octet by octet. */
#include "support/guard.h"
#include "support/split.h"

#include "net/tunnel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct tunnel_config HTTP = {.via = PATH_HTTP_CONNECT, .host = {"relay.example", 13}, .port = 465};
static const struct tunnel_config SOCKS = {.via = PATH_SOCKS5, .host = {"relay.example", 13}, .port = 465};

/* ---- one dialogue, in every way it can be cut ---- */

struct dialogue {
    struct tunnel_config config;
    struct slice said;           /* by the proxy */
    size_t behind;               /* octets at its end that are the relay's */
    enum tunnel_state state;
    const char *words;
    struct slice expected;       /* all that we say; empty: not compared */
};

static struct tunnel *make(const struct tunnel_config *config)
{
    struct tunnel *tunnel;
    assert_int_equal(tunnel_new(&tunnel, config), RESULT_OK);
    return tunnel;
}

/* Takes what the tunnel says, two octets at a time at first, as a slow connection would. */
static void drain(struct tunnel *tunnel, struct buffer *said)
{
    size_t n = 2;
    while (tunnel_output(tunnel).len > 0) {
        struct slice piece = slice_take(tunnel_output(tunnel), n);
        assert_int_equal(buffer_append(said, piece), RESULT_OK);
        tunnel_sent(tunnel, piece.len);
        n = 64;
    }
}

static void replay(struct split *split, void *context)
{
    const struct dialogue *dialogue = context;
    struct tunnel *tunnel = make(&dialogue->config);
    struct buffer said = {0};
    struct slice piece;
    size_t used = 0;
    drain(tunnel, &said);
    while (split_next(split, &piece)) {
        size_t n = tunnel_feed(tunnel, piece);
        if (n < piece.len && tunnel_state(tunnel) == TUNNEL_TALKING)
            fail_msg("%s: octets left while it talks", split_how(split));
        used += n;
        drain(tunnel, &said);
    }
    if (tunnel_state(tunnel) != dialogue->state || strcmp(tunnel_words(tunnel), dialogue->words) != 0)
        fail_msg("%s: state %d \"%s\", not %d \"%s\"", split_how(split), (int)tunnel_state(tunnel), tunnel_words(tunnel), (int)dialogue->state, dialogue->words);
    if (dialogue->state == TUNNEL_OPEN && used != dialogue->said.len - dialogue->behind)
        fail_msg("%s: %zu octets taken, not %zu", split_how(split), used, dialogue->said.len - dialogue->behind);
    if (dialogue->expected.len > 0 && !slice_equal(buffer_slice(&said), dialogue->expected))
        fail_msg("%s: said \"%.*s\"", split_how(split), SLICE_ARG(buffer_slice(&said)));
    buffer_free(&said);
    tunnel_free(&tunnel);
    assert_null(tunnel);
}

static void converse(struct dialogue dialogue)
{
    split_replay(dialogue.said, replay, &dialogue);
}

static struct tunnel_config with_login(struct tunnel_config config)
{
    config.user = SLICE("alice");
    config.password = SLICE("open sesame");
    return config;
}

/* ---- HTTP ---- */

static void http_opens(const char *said, size_t behind)
{
    converse((struct dialogue){.config = HTTP, .said = slice_from_cstr(said), .behind = behind, .state = TUNNEL_OPEN, .words = "",
                               .expected = SLICE("CONNECT relay.example:465 HTTP/1.1\r\nHost: relay.example:465\r\n\r\n")});
}

static void test_http_open(void **state)
{
    (void)state;
    http_opens("HTTP/1.1 200 Connection established\r\n\r\n", 0);
    http_opens("HTTP/1.0 200 OK\r\nProxy-agent: tinyproxy/1.11\r\n\r\n", 0);
    http_opens("HTTP/1.1 200\r\n\r\n", 0);                                           /* no reason, and no space for it */
    http_opens("HTTP/1.1 204 No Content\r\n\r\n", 0);                                /* any 2xx */
    http_opens("HTTP/1.1 299 \r\n\r\n", 0);
    http_opens("HTTP/1.1 200 OK\n\n", 0);                                            /* LF alone */
    http_opens("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n220 hi\r\n", 8); /* none of these counts */
    http_opens("HTTP/1.1 200 OK\r\n\r\n\r\n\r\n", 4);                                /* empty lines of the relay */
    http_opens("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 403 is the relay's\r\n\r\n", 31);
    http_opens("HTTP/1.1 102 Processing\r\nX: y\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 0);
    http_opens("HTTP/1.1 200 OK\r\nno colon here\r\n: no name\r\n folded\r\n\r\n", 0);
}

static void http_refuses(const char *said, const char *words)
{
    converse((struct dialogue){.config = HTTP, .said = slice_from_cstr(said), .state = TUNNEL_REFUSED, .words = words});
}

static void test_http_refused(void **state)
{
    (void)state;
    http_refuses("HTTP/1.1 403 Forbidden\r\n\r\n", "the proxy does not allow port 465 (403 Forbidden)");
    http_refuses("HTTP/1.0 403 Access violation\r\nContent-Type: text/html\r\n\r\n<html>", "the proxy does not allow port 465 (403 Access violation)");
    http_refuses("HTTP/1.1 400 Bad Request\r\n\r\n", "the proxy does not know CONNECT (400 Bad Request)");
    http_refuses("HTTP/1.1 405 Method Not Allowed\r\n\r\n", "the proxy does not know CONNECT (405 Method Not Allowed)");
    http_refuses("HTTP/1.1 500 Unable to connect\r\n\r\n", "the proxy can't reach the relay (500 Unable to connect)");
    http_refuses("HTTP/1.1 502 Bad Gateway\r\n\r\n", "the proxy can't reach the relay (502 Bad Gateway)");
    http_refuses("HTTP/1.1 503\r\n\r\n", "the proxy can't reach the relay (503)");
    http_refuses("HTTP/1.1 504 Gateway Timeout\r\n\r\n", "the proxy gets no answer from the relay (504 Gateway Timeout)");
    http_refuses("HTTP/1.1 429 Too Many Requests\r\n\r\n", "the proxy has too much to do (429 Too Many Requests)");
    http_refuses("HTTP/1.1 302 Found\r\nLocation: http://hotel.example/\r\n\r\n", "the proxy sends us to a web page: log in to this network first (302 Found)");
    http_refuses("HTTP/1.1 418 I'm a teapot\r\n\r\n", "the proxy refuses (418 I'm a teapot)");
    http_refuses("HTTP/1.1 999 \x1b[2J\x07\xff\xe2\x80\xae!\r\n\r\n", "the proxy refuses (999 ?[2J?" "?" "?!)");
}

static void test_http_login(void **state)
{
    static const char wants_basic[] = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
    (void)state;
    struct dialogue dialogue = {.config = with_login(HTTP), .said = SLICE("HTTP/1.1 200 OK\r\n\r\n"), .state = TUNNEL_OPEN, .words = "",
                                .expected = SLICE("CONNECT relay.example:465 HTTP/1.1\r\nHost: relay.example:465\r\nProxy-Authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU=\r\n\r\n")};
    converse(dialogue);
    dialogue.config.password = SLICE(""); /* RFC 7617 allows it */
    dialogue.expected = SLICE("CONNECT relay.example:465 HTTP/1.1\r\nHost: relay.example:465\r\nProxy-Authorization: Basic YWxpY2U6\r\n\r\n");
    converse(dialogue);
    dialogue = (struct dialogue){.config = with_login(HTTP), .said = slice_from_cstr(wants_basic), .state = TUNNEL_REFUSED, .words = "the proxy refuses the user name or the password (407)"};
    converse(dialogue);
    dialogue.said = SLICE("HTTP/1.0 401 Unauthorized\r\nServer: tinyproxy/1.11.1\r\n\r\n");
    dialogue.words = "the proxy refuses the user name or the password (401)";
    converse(dialogue);
    http_refuses(wants_basic, "the proxy wants a user name and password (407)");
    http_refuses("HTTP/1.1 407 x\r\n\r\n", "the proxy wants a user name and password (407)");
    http_refuses("HTTP/1.1 407 x\r\nproxy-authenticate: NTLM\r\nProxy-Authenticate:Negotiate\r\n\r\n", "the proxy wants a login that we don't speak: NTLM, Negotiate (407)");
    http_refuses("HTTP/1.1 407 x\r\nProxy-Authenticate: Digest realm=\"a\", Basic realm=\"b\"\r\n\r\n", "the proxy wants a user name and password (407)");
    http_refuses("HTTP/1.1 407 x\r\nProxy-Authenticate: Basically nothing\r\n\r\n", "the proxy wants a login that we don't speak: Basically (407)");
}

/* An answer that is no HTTP is known by its first octets: nobody waits for a line's end that may never come. */
static void test_http_stranger(void **state)
{
    static const char words[] = "what answers is no HTTP proxy";
    (void)state;
    http_refuses("220 mail.example ESMTP\r\n", words);
    http_refuses("\x15\x03\x01", words);
    http_refuses("\x05", words);
    http_refuses("<", words);
    http_refuses("\r\n", words);
    http_refuses("HTTPS", words);
    http_refuses("http/1.1 200 ok\r\n\r\n", words);
    http_refuses("HTTP/2 200\r\n", words);
    http_refuses("HTTP/1.1  200 OK\r\n", words);
    http_refuses("HTTP/1.x 200 OK\r\n", words);
    http_refuses("HTTP/1.1 20 OK\r\n", words);
    http_refuses("HTTP/1.1 2000 OK\r\n", words);
    http_refuses("HTTP/1.1 099 OK\r\n", words);
    http_refuses("HTTP/1.1 20x OK\r\n", words);
    http_refuses("HTTP/1.1\r\n", words);
    http_refuses("HTTP/1.1 100 Continue\r\n\r\nSSH-2.0-x\r\n", words);
}

static void http_limit(size_t len, enum tunnel_state expected, const char *words)
{
    struct buffer said = BUFFER(64 * 1024);
    struct tunnel *whole = make(&HTTP), *pieces = make(&HTTP);
    assert_int_equal(buffer_append_cstr(&said, "HTTP/1.1 200 OK\r\nX: "), RESULT_OK);
    while (buffer_len(&said) < len - 4)
        assert_int_equal(buffer_append_cstr(&said, buffer_len(&said) % 100 == 0 && buffer_len(&said) + 4 < len - 4 ? "\n" : "x"), RESULT_OK);
    assert_int_equal(buffer_append_cstr(&said, "\r\n\r\n"), RESULT_OK);
    assert_int_equal(buffer_len(&said), len);
    size_t used = tunnel_feed(whole, buffer_slice(&said));
    for (size_t i = 0; i < len; i++)
        (void)tunnel_feed(pieces, slice_of(buffer_slice(&said).ptr + i, 1));
    assert_int_equal(tunnel_state(whole), expected);
    assert_int_equal(tunnel_state(pieces), expected);
    assert_string_equal(tunnel_words(whole), words);
    assert_string_equal(tunnel_words(pieces), words);
    assert_true(used <= TUNNEL_ANSWER_MAX);
    buffer_free(&said);
    tunnel_free(&whole);
    tunnel_free(&pieces);
}

static void test_http_limits(void **state)
{
    (void)state;
    http_limit(TUNNEL_ANSWER_MAX - 1, TUNNEL_OPEN, "");
    http_limit(TUNNEL_ANSWER_MAX, TUNNEL_OPEN, "");
    http_limit(TUNNEL_ANSWER_MAX + 1, TUNNEL_REFUSED, "the proxy's answer has no end");
}

/* Answers of 1xx without end, and one line without end, too. */
static void test_http_endless(void **state)
{
    struct tunnel *tunnel = make(&HTTP);
    size_t fed = 0;
    (void)state;
    while (tunnel_state(tunnel) == TUNNEL_TALKING && fed < 2 * TUNNEL_ANSWER_MAX)
        fed += tunnel_feed(tunnel, SLICE("HTTP/1.1 100 Continue\r\n\r\n"));
    assert_int_equal(tunnel_state(tunnel), TUNNEL_REFUSED);
    assert_true(fed <= TUNNEL_ANSWER_MAX);
    assert_int_equal(tunnel_feed(tunnel, SLICE("HTTP/1.1 200 OK\r\n\r\n")), 0);
    assert_int_equal(tunnel_state(tunnel), TUNNEL_REFUSED);
    tunnel_free(&tunnel);
}

/* ---- SOCKS5 ---- */

#define HELLO "\x05\x01\x00"
#define HELLO_LOGIN "\x05\x02\x00\x02"
#define ASK "\x05\x01\x00\x03\x0drelay.example\x01\xd1"
#define YES "\x05\x00"
#define BOUND_V4 "\x05\x00\x00\x01\xc0\x00\x02\x01\x04\x38"

static void socks_says(struct tunnel_config config, struct slice said, size_t behind, struct slice expected)
{
    converse((struct dialogue){.config = config, .said = said, .behind = behind, .state = TUNNEL_OPEN, .words = "", .expected = expected});
}

static void test_socks_open(void **state)
{
    (void)state;
    socks_says(SOCKS, SLICE(YES BOUND_V4), 0, SLICE(HELLO ASK));
    socks_says(SOCKS, SLICE(YES BOUND_V4 "220 hi\r\n"), 8, SLICE(HELLO ASK));
    socks_says(SOCKS, SLICE(YES "\x05\x00\x00\x04" "0123456789abcdef" "\x01\xbb" "x"), 1, SLICE(HELLO ASK));
    socks_says(SOCKS, SLICE(YES "\x05\x00\x00\x03\x05proxy\x01\xbb"), 0, SLICE(HELLO ASK));
    socks_says(SOCKS, SLICE(YES "\x05\x00\x00\x03\x00\x01\xbb" "\x05"), 1, SLICE(HELLO ASK));
    socks_says(SOCKS, SLICE(YES "\x05\x00\xff\x01\x00\x00\x00\x00\x00\x00"), 0, SLICE(HELLO ASK)); /* what is reserved is not looked at */
    char longest[2 + 5 + 255 + 2] = YES "\x05\x00\x00\x03\xff";
    socks_says(SOCKS, slice_of(longest, sizeof longest), 0, SLICE(HELLO ASK));
}

static void test_socks_destinations(void **state)
{
    struct tunnel_config config = SOCKS;
    (void)state;
    config.host = SLICE("192.0.2.1");
    config.port = 587;
    socks_says(config, SLICE(YES BOUND_V4), 0, SLICE(HELLO "\x05\x01\x00\x01\xc0\x00\x02\x01\x02\x4b"));
    config.host = SLICE("2001:db8::1");
    config.port = 65535;
    socks_says(config, SLICE(YES BOUND_V4), 0, SLICE(HELLO "\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff"));
    config.via = PATH_HTTP_CONNECT;
    socks_says(config, SLICE("HTTP/1.1 200 OK\r\n\r\n"), 0, SLICE("CONNECT [2001:db8::1]:65535 HTTP/1.1\r\nHost: [2001:db8::1]:65535\r\n\r\n"));
    config.host = SLICE("192.0.2.1");
    socks_says(config, SLICE("HTTP/1.1 200 OK\r\n\r\n"), 0, SLICE("CONNECT 192.0.2.1:65535 HTTP/1.1\r\nHost: 192.0.2.1:65535\r\n\r\n"));
}

static void test_socks_login(void **state)
{
    static const struct slice all = {HELLO_LOGIN "\x01\x05" "alice\x0b" "open sesame" ASK, 4 + 7 + 12 + 20};
    (void)state;
    socks_says(with_login(SOCKS), SLICE("\x05\x02" "\x01\x00" BOUND_V4), 0, all);
    socks_says(with_login(SOCKS), SLICE("\x05\x02" "\x05\x00" BOUND_V4 "."), 1, all);
    socks_says(with_login(SOCKS), SLICE(YES BOUND_V4), 0, SLICE(HELLO_LOGIN ASK)); /* it is not asked for: it is not told */
}

static void socks_refuses(struct tunnel_config config, struct slice said, const char *words)
{
    converse((struct dialogue){.config = config, .said = said, .state = TUNNEL_REFUSED, .words = words});
}

static void test_socks_refused(void **state)
{
    static const char *const words[] = {
        "the proxy could not connect: general failure (SOCKS reply 1)",
        "the proxy does not allow port 465 (SOCKS reply 2)",
        "the proxy can't reach the relay: network unreachable (SOCKS reply 3)",
        "the proxy can't reach the relay: host unreachable (SOCKS reply 4)",
        "the proxy can't reach the relay: connection refused (SOCKS reply 5)",
        "the proxy gets no answer from the relay: TTL expired (SOCKS reply 6)",
        "the proxy does not know CONNECT (SOCKS reply 7)",
        "the proxy does not know this kind of address (SOCKS reply 8)",
        "the proxy refuses (SOCKS reply 9)",
    };
    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        char said[] = YES "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";
        said[3] = (char)(i + 1);
        socks_refuses(SOCKS, slice_of(said, sizeof said - 1), words[i]);
        socks_refuses(SOCKS, slice_of(said, 4), words[i]); /* some say no more than that */
    }
    socks_refuses(SOCKS, SLICE("\x05\xff"), "the proxy wants a user name and password");
    socks_refuses(with_login(SOCKS), SLICE("\x05\xff"), "the proxy takes neither nobody nor a user name and password");
    socks_refuses(SOCKS, SLICE("\x05\x02"), "the proxy asks for a login that was not offered (method 2)");
    socks_refuses(with_login(SOCKS), SLICE("\x05\x01"), "the proxy asks for a login that was not offered (method 1)");
    socks_refuses(with_login(SOCKS), SLICE("\x05\x02\x01\x01"), "the proxy refuses the user name or the password");
    socks_refuses(SOCKS, SLICE(YES "\x05\x00\x00\x02\x01"), "the proxy's answer makes no sense (address of type 2)");
    socks_refuses(SOCKS, SLICE(YES "\x04\x00"), "what answers is no SOCKS5 proxy");
    socks_refuses(SOCKS, SLICE("\x00\x5a"), "what answers is no SOCKS5 proxy");
    socks_refuses(SOCKS, SLICE("220 mail.example"), "what answers is no SOCKS5 proxy");
    socks_refuses(SOCKS, SLICE("HTTP/1.1 400 Bad Request\r\n\r\n"), "what answers is no SOCKS5 proxy: it speaks HTTP");
}

/* ---- what can't be written ---- */

static enum result try(struct tunnel_config config)
{
    struct tunnel *tunnel;
    enum result result = tunnel_new(&tunnel, &config);
    assert_int_equal(result == RESULT_OK, tunnel != NULL);
    tunnel_free(&tunnel);
    return result;
}

static void test_hosts(void **state)
{
    static const struct {
        struct slice host;
        enum result expected;
    } rows[] = {
        {{"relay.example", 13}, RESULT_OK},     {{"_x-1.example.", 13}, RESULT_OK}, {{"fe80::1", 7}, RESULT_OK},    {{"", 0}, RESULT_SYNTAX},
        {{"a b", 3}, RESULT_SYNTAX},            {{"a\r\nX: y", 7}, RESULT_SYNTAX},  {{"a:1", 3}, RESULT_SYNTAX},    {{"[::1]", 5}, RESULT_SYNTAX},
        {{"a\0b", 3}, RESULT_SYNTAX},           {{"b\xc3\xbc.example", 11}, RESULT_SYNTAX}, {{"a/b", 3}, RESULT_SYNTAX}, {{"u@a", 3}, RESULT_SYNTAX},
        {{"fe80::1%lo", 10}, RESULT_SYNTAX},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (enum path_via via = PATH_HTTP_CONNECT; via <= PATH_SOCKS5; via++) {
            struct slice host = guard_dup(rows[i].host);
            assert_int_equal(try((struct tunnel_config){.via = via, .host = host, .port = 1}), rows[i].expected);
            guard_free(&host);
        }
    assert_int_equal(try((struct tunnel_config){.via = PATH_SOCKS5, .host = SLICE("a")}), RESULT_SYNTAX);
}

static void test_credentials(void **state)
{
    struct tunnel_config http = with_login(HTTP), socks = with_login(SOCKS);
    (void)state;
    http.user = SLICE("a:b");
    assert_int_equal(try(http), RESULT_SYNTAX); /* it would end at the colon */
    http.user = SLICE("a\r\nb");
    assert_int_equal(try(http), RESULT_SYNTAX);
    http = with_login(HTTP);
    http.password = SLICE("a:b");
    assert_int_equal(try(http), RESULT_OK);
    http.password = SLICE("a\x7f");
    assert_int_equal(try(http), RESULT_SYNTAX);
    http.password = SLICE("gr\xc3\xbc\xc3\x9f");
    assert_int_equal(try(http), RESULT_OK);
    socks.user = SLICE("a:b\n");
    assert_int_equal(try(socks), RESULT_OK);
    socks.password = SLICE("");
    assert_int_equal(try(socks), RESULT_SYNTAX); /* RFC 1929 2: 1 to 255 */
}

static void test_limits(void **state)
{
    char text[TUNNEL_HOST_MAX + 1];
    (void)state;
    memset(text, 'a', sizeof text);
    for (enum path_via via = PATH_HTTP_CONNECT; via <= PATH_SOCKS5; via++)
        for (size_t len = TUNNEL_HOST_MAX - 1; len <= TUNNEL_HOST_MAX + 1; len++) {
            struct slice longest = guard_dup(slice_of(text, len));
            enum result expected = len <= TUNNEL_HOST_MAX ? RESULT_OK : RESULT_LIMIT;
            struct tunnel_config config = {.via = via, .host = longest, .port = 65535, .user = SLICE("a"), .password = SLICE("b")};
            assert_int_equal(try(config), expected);
            config = (struct tunnel_config){.via = via, .host = SLICE("a"), .port = 1, .user = longest, .password = SLICE("b")};
            assert_int_equal(try(config), expected);
            config = (struct tunnel_config){.via = via, .host = SLICE("a"), .port = 1, .user = SLICE("a"), .password = longest};
            assert_int_equal(try(config), expected);
            if (expected == RESULT_OK)
                assert_int_equal(try((struct tunnel_config){via, longest, 65535, longest, longest}), RESULT_OK);
            guard_free(&longest);
        }
}

/* Nothing of the caller's is needed once the tunnel is made. */
static void test_copies(void **state)
{
    char host[] = "relay.example", user[] = "alice", password[] = "open sesame";
    struct tunnel_config config = {.via = PATH_SOCKS5, .host = slice_from_cstr(host), .port = 465, .user = slice_from_cstr(user), .password = slice_from_cstr(password)};
    struct tunnel *tunnel = make(&config);
    struct buffer said = {0};
    (void)state;
    memset(host, 'X', sizeof host);
    memset(user, 'X', sizeof user);
    memset(password, 'X', sizeof password);
    assert_int_equal(tunnel_feed(tunnel, SLICE("\x05\x02\x01\x00")), 4);
    drain(tunnel, &said);
    assert_true(slice_equal(buffer_slice(&said), SLICE(HELLO_LOGIN "\x01\x05" "alice\x0b" "open sesame" ASK)));
    buffer_free(&said);
    tunnel_free(&tunnel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_open),
        cmocka_unit_test(test_http_refused),
        cmocka_unit_test(test_http_login),
        cmocka_unit_test(test_http_stranger),
        cmocka_unit_test(test_http_limits),
        cmocka_unit_test(test_http_endless),
        cmocka_unit_test(test_socks_open),
        cmocka_unit_test(test_socks_destinations),
        cmocka_unit_test(test_socks_login),
        cmocka_unit_test(test_socks_refused),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests_name("net/tunnel", tests, NULL, NULL);
}
