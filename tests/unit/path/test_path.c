/* Paths and verdicts in words. */
#include "path/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static struct path_address address_of(const char *text)
{
    struct path_address address = {.family = strchr(text, ':') ? 6 : 4};
    assert_int_equal(inet_pton(address.family == 6 ? AF_INET6 : AF_INET, text, address.octets), 1);
    return address;
}

/* As RFC 5952 wants it, and libc writes it. */
static void test_addresses(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "192.0.2.1",     "255.255.255.255", "0.0.0.0",           "::",
        "::1",           "1::",             "2001:db8::1",       "2001:db8:0:1:1:1:1:1",
        "2001:0:0:1::1", "2001:db8::1:0:0:1", "1:2:3:4:5:6:7:8", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "::ffff:192.0.2.1", "fe80::a:0",    "0:1::",             "1:0:2:0:3:0:4:0",
        "1:2:3:4:5:6::", "::2:3:4:5:6:7",   "::8000:0:0:0",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[64];
        struct path_address address = address_of(rows[i]);
        path_address_format(&address, text, sizeof text);
        assert_string_equal(text, rows[i]);
    }
}

static void test_paths(void **state)
{
    (void)state;
    char text[PATH_TEXT], cut[8];
    struct path path = {.address = address_of("192.0.2.1"), .port = 465, .mode = PATH_TLS};
    path_format(&path, text, sizeof text);
    assert_string_equal(text, "192.0.2.1:465 tls");
    path_format(&path, cut, sizeof cut);
    assert_string_equal(cut, "192.0.2");
    path = (struct path){.address = address_of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), .port = 65535, .mode = PATH_STARTTLS, .via = PATH_HTTP_CONNECT};
    path.address.scope = UINT32_MAX;
    path_format(&path, text, sizeof text);
    assert_string_equal(text, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535 starttls via http-connect *:0");
    path = (struct path){.port = 25, .via = PATH_SOCKS5, .proxy = {.address = {.family = 4, .octets = {10, 0, 0, 1}}, .port = 1080}};
    path_format(&path, text, sizeof text);
    assert_string_equal(text, "*:25 tls via socks5 10.0.0.1:1080");
}

static void test_equal(void **state)
{
    (void)state;
    struct path a = {.address = address_of("192.0.2.1"), .port = 465}, b;
    b = a;
    b.address.octets[4] = 9; /* beyond an IPv4 address: means nothing */
    assert_true(path_equal(&a, &b));
    b = a, b.address.octets[3] = 9;
    assert_false(path_equal(&a, &b));
    b = a, b.address.family = 6;
    assert_false(path_equal(&a, &b));
    b = a, b.address.scope = 1;
    assert_false(path_equal(&a, &b));
    b = a, b.port = 466;
    assert_false(path_equal(&a, &b));
    b = a, b.mode = PATH_STARTTLS;
    assert_false(path_equal(&a, &b));
    b = a, b.via = PATH_SOCKS5;
    assert_false(path_equal(&a, &b));
}

static const char *const texts[] = {
    "192.0.2.1:465 tls",
    "[2001:db8::1]:587 starttls",
    "[fe80::1%4294967295]:25 starttls",
    "[::]:0 tls",
    "[::ffff:192.0.2.1]:65535 tls smtp",
    "[1:2:3:4:5:6:7:8]:443 tls http/1.1",
    "[1:0:0:2::3]:443 tls http/1.1",
    "*:443 tls http/1.1 via socks5 10.0.0.1:1080",
    "*:587 starttls via http-connect [2001:db8::2]:3128",
};

static const char *const refused[] = {
    "", " ", "192.0.2.1", "192.0.2.1:465", "192.0.2.1:465 ", "192.0.2.1:465  tls", "192.0.2.1:465 tls ", "192.0.2.1:465 TLS", "192.0.2.1:65536 tls", "192.0.2.1:0465 tls", "192.0.2:465 tls",
    "192.0.2.1.1:465 tls", "192.0.2.256:465 tls", "192.0.2.01:465 tls", "1:2:3:4:5:6:7:8:443 tls", "[1:2:3:4:5:6:7]:443 tls", "[1:2:3:4:5:6:7:8:9]:443 tls", "[1::2::3]:443 tls", "[1:::2]:443 tls",
    "[2001:DB8::1]:443 tls", "[2001:db8:0::1]:443 tls", "[1:2:3:4:5:6::8]:443 tl", "[::1%0]:443 tls", "[::1%]:443 tls", "[192.0.2.1]:443 tls", "[]:443 tls", "none:443 tls", "*:443 tls h2",
    "*:443 tls http/1.1 via", "*:443 tls via direct", "*:443 tls via socks5", "*:443 tls via socks5 10.0.0.1", "*:443 tls via socks4 10.0.0.1:1", "*:443 tls via socks5 10.0.0.1:1 ", "*:443 tls smtp smtp",
};

static void test_parse(void **state)
{
    (void)state;
    char again[PATH_TEXT];
    struct path path;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(path_parse(slice_from_cstr(texts[i]), &path), RESULT_OK);
        path_format(&path, again, sizeof again);
        assert_string_equal(again, texts[i]);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (path_parse(slice_from_cstr(refused[i]), &path) != RESULT_SYNTAX)
            fail_msg("accepted: '%s'", refused[i]);
    assert_int_equal(path_parse(slice_of("192.0.2.1:465 tls\0", 18), &path), RESULT_SYNTAX);
}

/* The JSON of `status` promises these names (schema/json.md). */
static void test_names(void **state)
{
    (void)state;
    static const char *const names[] = {"untried",          "open",              "dropped",    "refused",    "unreachable",   "dns",          "foreign-banner",
                                        "http", "starttls-missing", "wrong-certificate", "tls-failed", "died-early", "proxy-refused", "relay-refused"};
    size_t n = sizeof names / sizeof names[0];
    assert_int_equal(n, PATH_RELAY_REFUSED + 1);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(path_verdict_name((enum path_verdict)i), names[i]);
        assert_true(strlen(path_verdict_words((enum path_verdict)i)) > 5);
    }
    assert_string_equal(path_verdict_name((enum path_verdict)n), "?");
    assert_string_equal(path_mode_name(PATH_STARTTLS), "starttls");
    assert_string_equal(path_via_name(PATH_DIRECT), "direct");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_addresses), cmocka_unit_test(test_paths), cmocka_unit_test(test_equal), cmocka_unit_test(test_parse), cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
