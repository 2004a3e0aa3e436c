/* net/http_request.h: what is an HTTP request, and what is none. */
#include "net/http_request.h"
#include "support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define HOST "Host: relay.example\r\n\r\n"

static const struct {
    const char *text, *method, *path, *query;
} taken[] = {
    {"GET / HTTP/1.1\r\n" HOST, "GET", "/", ""},
    {"GET /.well-known/postern?n=abc HTTP/1.1\r\n" HOST, "GET", "/.well-known/postern", "n=abc"},
    {"GET /a?b?c HTTP/1.1\r\n" HOST, "GET", "/a", "b?c"},
    {"GET /? HTTP/1.1\r\n" HOST, "GET", "/", ""},
    {"HEAD / HTTP/1.0\r\n\r\n", "HEAD", "/", ""},
    {"HEAD / HTTP/1.9\r\nhOST:\r\n\r\n", "HEAD", "/", ""},
    {"GET http://relay.example/x?y HTTP/1.1\r\n" HOST, "GET", "/x", "y"},
    {"GET HTTP://relay.example HTTP/1.1\r\n" HOST, "GET", "", ""},
    {"OPTIONS * HTTP/1.1\r\n" HOST, "OPTIONS", "*", ""},
    {"CONNECT a.example:25 HTTP/1.1\r\n" HOST, "CONNECT", "a.example:25", ""},
    {"BREW /pot HTTP/1.1\r\nA:\tb \xc3\xbc \"c\"\r\n" HOST, "BREW", "/pot", ""},
};

static bool is(struct slice got, const char *expected)
{
    return slice_equal(got, slice_from_cstr(expected));
}

/* Every shorter one is not whole, and what comes behind is not looked at. */
static void test_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(taken); i++) {
        struct slice whole = slice_from_cstr(taken[i].text);
        for (size_t len = 0; len <= whole.len; len++) {
            struct http_request request;
            struct slice input = guard_dup(slice_take(whole, len));
            enum result result = http_request_parse(input, &request);
            if (result != (len < whole.len ? RESULT_MORE : RESULT_OK))
                fail_msg("row %zu, %zu octets: %s", i, len, result_name(result));
            if (result == RESULT_OK) {
                assert_int_equal(request.len, whole.len);
                assert_true(is(request.method, taken[i].method) && is(request.path, taken[i].path) && is(request.query, taken[i].query));
            }
            guard_free(&input);
        }
    }
    struct http_request request;
    assert_int_equal(http_request_parse(SLICE("GET / HTTP/1.0\r\n\r\nGET /x"), &request), RESULT_OK);
    assert_int_equal(request.len, 18);
}

#define TEXT(literal) {literal, sizeof(literal) - 1}
static const struct slice broken[] = {
    TEXT("\r\n"), TEXT(" GET / HTTP/1.1\r\n" HOST), TEXT("GET  / HTTP/1.1\r\n" HOST), TEXT("GET / HTTP/1.1 \r\n" HOST), TEXT("GET /\r\n" HOST),
    TEXT("GET\r\n" HOST), TEXT("GET / HTTP/1.1\n"), TEXT("GET / HTTP/1.1\r\nHost: a\n"), TEXT("GET / HTTP/1.1\rHost"), TEXT("GET / HTTP/11\r\n" HOST),
    TEXT("GET / HTTP/1.10\r\n" HOST), TEXT("GET / http/1.1\r\n" HOST), TEXT("G\0T / HTTP/1.1\r\n" HOST), TEXT("G(T / HTTP/1.1\r\n" HOST),
    TEXT("ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\n" HOST), TEXT("GET /\x7f HTTP/1.1\r\n" HOST), TEXT("GET /\xc3\xbc HTTP/1.1\r\n" HOST), TEXT("GET /\t HTTP/1.1\r\n" HOST),
    TEXT("GET / HTTP/1.1\r\n\r\n"), TEXT("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), TEXT("GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n"),
    TEXT("GET / HTTP/1.1\r\nHost : a\r\n\r\n"), TEXT("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"), TEXT("GET / HTTP/1.1\r\nHost\r\n\r\n"),
    TEXT("GET / HTTP/1.1\r\n: a\r\n" HOST), TEXT("GET / HTTP/1.1\r\nA: \0\r\n" HOST), TEXT("GET / HTTP/1.1\r\nA: \x1b\r\n" HOST), TEXT("EHLO a.example\r\n"),
};

static void test_broken(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(broken); i++) {
        struct http_request request;
        struct slice input = guard_dup(broken[i]);
        enum result result = http_request_parse(input, &request);
        if (result != RESULT_SYNTAX)
            fail_msg("row %zu: %s", i, result_name(result));
        guard_free(&input);
    }
    struct http_request request;
    assert_int_equal(http_request_parse(SLICE("GET / HTTP/2.0\r\n" HOST), &request), RESULT_VERSION);
}

static void test_limit(void **state)
{
    static char text[HTTP_REQUEST_MAX + 1];
    struct http_request request;
    (void)state;
    memset(text, 'a', sizeof text);
    memcpy(text, "GET /", 5);
    assert_int_equal(http_request_parse(slice_of(text, HTTP_REQUEST_MAX - 1), &request), RESULT_MORE);
    assert_int_equal(http_request_parse(slice_of(text, HTTP_REQUEST_MAX), &request), RESULT_LIMIT);
    memcpy(text + 5, " HTTP/1.0\r\nA:", 13);
    memcpy(text + HTTP_REQUEST_MAX - 3, "\r\n\r\n", 4);
    assert_int_equal(http_request_parse(slice_of(text, sizeof text), &request), RESULT_LIMIT);
    memcpy(text + HTTP_REQUEST_MAX - 4, "\r\n\r\n", 4);
    assert_int_equal(http_request_parse(slice_of(text, sizeof text), &request), RESULT_OK);
    assert_int_equal(request.len, HTTP_REQUEST_MAX);
}

static const struct {
    const char *text;
    enum result result;
} beginnings[] = {
    {"", RESULT_MORE}, {"G", RESULT_MORE}, {"GET", RESULT_MORE}, {"GET ", RESULT_OK}, {"GET / HTTP/1.1", RESULT_OK}, {"HE", RESULT_MORE}, {"HEAD ", RESULT_OK},
    {"HEL", RESULT_SYNTAX}, {"POST /", RESULT_OK}, {"PRI * HTTP/2.0\r\n", RESULT_OK}, {"CONNECT a:1", RESULT_OK}, {"EHLO a", RESULT_SYNTAX}, {"E", RESULT_SYNTAX},
    {"D", RESULT_MORE}, {"DATA", RESULT_SYNTAX}, {"get / HTTP/1.1", RESULT_SYNTAX}, {"\x16\x03", RESULT_SYNTAX}, {"\r\n", RESULT_SYNTAX}, {"GETA", RESULT_SYNTAX},
};

static void test_beginnings(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(beginnings); i++) {
        struct slice input = guard_dup(slice_from_cstr(beginnings[i].text));
        if (http_request_begins(input) != beginnings[i].result)
            fail_msg("\"%s\": %s", beginnings[i].text, result_name(http_request_begins(input)));
        guard_free(&input);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_beginnings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
