/* net/proxy_header.h: the PROXY protocol, versions 1 and 2. */
#include "net/proxy_header.h"
#include "support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define TEXT(literal) {literal, sizeof(literal) - 1}
#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define FF "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

static const struct {
    struct slice header;
    const char *address; /* "": none */
} taken[] = {
    {TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"), "192.0.2.7:4711"},
    {TEXT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255:65535"},
    {TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 0 443\r\n"), "192.0.2.7:0"},
    {TEXT("PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n"), "[2001:db8::7]:4711"},
    {TEXT("PROXY TCP6 " FF " " FF " 65535 65535\r\n"), "[" FF "]:65535"},
    {TEXT("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 4711 443\r\n"), "192.0.2.7:4711"},
    {TEXT("PROXY UNKNOWN\r\n"), ""},
    {TEXT("PROXY UNKNOWN " FF " " FF " 65535 65535\r\n"), ""},
    {TEXT(V2 "\x21\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\1\x12\x67\1\xbb"), "192.0.2.7:4711"},
    {TEXT(V2 "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x12\x67\1\xbb"), "[2001:db8::7]:4711"},
    {TEXT(V2 "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\7\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1\x12\x67\1\xbb"), "192.0.2.7:4711"},
    {TEXT(V2 "\x21\x11\0\x13\xc0\0\2\7\xc6\x33\x64\1\x12\x67\1\xbb\3\0\4abcd"), "192.0.2.7:4711"}, /* TLV */
    {TEXT(V2 "\x20\0\0\0"), ""},                                            /* LOCAL */
    {TEXT(V2 "\x20\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\1\x12\x67\1\xbb"), ""},  /* LOCAL with addresses, which do not count */
    {TEXT(V2 "\x21\0\0\0"), ""},                                            /* UNSPEC */
    {TEXT(V2 "\x21\0\0\3\3\0\0"), ""},
    {TEXT(V2 "\x21\x12\0\x0c\xc0\0\2\7\xc6\x33\x64\1\x12\x67\1\xbb"), ""},  /* UDP */
    {TEXT(V2 "\x21\x31\0\0"), ""},                                          /* UNIX */
};

static void check_taken(size_t row, struct slice whole)
{
    char text[NET_ADDRESS_TEXT] = "";
    struct proxy_header header;
    for (size_t len = 0; len < whole.len; len++) {
        struct slice input = guard_dup(slice_take(whole, len));
        enum result result = proxy_header_parse(input, &header);
        guard_free(&input);
        if (result != RESULT_MORE || header.has_address || header.len != 0)
            fail_msg("row %zu, %zu octets: %s", row, len, result_name(result));
    }
    struct slice input = guard_dup(whole);
    enum result result = proxy_header_parse(input, &header);
    guard_free(&input);
    if (header.has_address)
        net_address_format(&header.address, text);
    if (result != RESULT_OK || header.len != whole.len || strcmp(text, taken[row].address) != 0)
        fail_msg("row %zu: %s \"%s\" %zu", row, result_name(result), text, header.len);
}

static void test_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(taken); i++)
        check_taken(i, taken[i].header);
}

/* What comes behind is the client's. */
static void test_length(void **state)
{
    struct proxy_header header;
    (void)state;
    assert_int_equal(proxy_header_parse(SLICE("PROXY UNKNOWN\r\nEHLO a\r\n"), &header), RESULT_OK);
    assert_int_equal(header.len, 15);
    assert_int_equal(proxy_header_parse(SLICE(V2 "\x20\0\0\1xEHLO a\r\n"), &header), RESULT_OK);
    assert_int_equal(header.len, 17);
}

static const struct slice broken[] = {
    TEXT("EHLO a.example\r\n"), TEXT("\x16\3\1"), TEXT("GET / HTTP/1.1\r\n"), TEXT("proxy UNKNOWN\r\n"), TEXT("PROXY  UNKNOWN\r\n"), TEXT("PROXY \r\n"),
    TEXT("PROXY TCP4\r\n"), TEXT("PROXY UNKNOWN\n"), TEXT("PROXY UNKNOWNS\r\n"), TEXT("PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n"),
    TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n"), TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 \r\n"), TEXT("PROXY TCP4 192.0.2.7 198.51.100.1  4711 443\r\n"),
    TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 4711 65536\r\n"), TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 04711 443\r\n"), TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n"),
    TEXT("PROXY TCP4 192.0.2 198.51.100.1 4711 443\r\n"), TEXT("PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n"), TEXT("PROXY TCP6 192.0.2.7 198.51.100.1 4711 443\r\n"),
    TEXT("PROXY TCP6 [2001:db8::7] 2001:db8::1 4711 443\r\n"), TEXT("PROXY TCP6 fe80::1%1 2001:db8::1 4711 443\r\n"), TEXT("PROXY TCP4 192.0.2.7 nowhere 4711 443\r\n"),
    TEXT(V2 "\x11\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\1\x12\x67\1\xbb"), /* version */
    TEXT(V2 "\x22\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\1\x12\x67\1\xbb"), /* command */
    TEXT(V2 "\x21\x41\0\0"), TEXT(V2 "\x21\x13\0\0"),                 /* family, transport */
    TEXT(V2 "\x21\x11\0\x0b\xc0\0\2\7\xc6\x33\x64\1\x12\x67\1"),     /* too short for its addresses */
    TEXT(V2 "\x21\x21\0\x0c\xc0\0\2\7\xc6\x33\x64\1\x12\x67\1\xbb"), TEXT("\r\n\r\n\0\r\nQUIX"),
};

static void test_broken(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(broken); i++) {
        struct proxy_header header;
        struct slice input = guard_dup(broken[i]);
        enum result result = proxy_header_parse(input, &header);
        guard_free(&input);
        if (result != RESULT_SYNTAX || header.has_address)
            fail_msg("row %zu: %s", i, result_name(result));
    }
}

static void test_limits(void **state)
{
    char text[PROXY_HEADER_MAX + 1];
    struct proxy_header header;
    (void)state;
    memset(text, 'x', sizeof text);
    memcpy(text, "PROXY UNKNOWN ", 14);
    assert_int_equal(proxy_header_parse(slice_of(text, 106), &header), RESULT_MORE);
    assert_int_equal(proxy_header_parse(slice_of(text, 107), &header), RESULT_LIMIT);
    memcpy(text + 105, "\r\n", 2);
    assert_int_equal(proxy_header_parse(slice_of(text, 107), &header), RESULT_OK);
    memcpy(text, V2 "\x21\0\x02\x08", 16); /* 520 */
    assert_int_equal(proxy_header_parse(slice_of(text, PROXY_HEADER_MAX - 1), &header), RESULT_MORE);
    assert_int_equal(proxy_header_parse(slice_of(text, PROXY_HEADER_MAX), &header), RESULT_OK);
    text[15] = '\x09';
    assert_int_equal(proxy_header_parse(slice_of(text, PROXY_HEADER_MAX), &header), RESULT_LIMIT);
    assert_int_equal(proxy_header_parse(slice_of(text, 16), &header), RESULT_LIMIT); /* at once, not when it is there */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
