/* net/address.h: reading, writing, prefixes, and which addresses are public. */
#include "net/address.h"
#include "support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Every form with what it is written back as; NULL: refused. */
static const struct {
    const char *text;
    const char *formatted;
} addresses[] = {
    {"127.0.0.1:2525", "127.0.0.1:2525"},
    {"0.0.0.0:0", "0.0.0.0:0"},
    {"255.255.255.255:65535", "255.255.255.255:65535"},
    {"[::1]:2525", "[::1]:2525"},
    {"[2001:DB8::1]:465", "[2001:db8::1]:465"},
    {"[::ffff:192.0.2.1]:25", "[::ffff:192.0.2.1]:25"},
    {"[fe80::1%7]:25", "[fe80::1%7]:25"},
    {"[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%4294967295]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535"},
    {"", NULL},
    {":", NULL},
    {":25", NULL},
    {"127.0.0.1", NULL},
    {"127.0.0.1:", NULL},
    {"127.0.0.1:65536", NULL},
    {"127.0.0.1:-1", NULL},
    {"127.0.0.1:25 ", NULL},
    {"127.1:25", NULL},
    {"127.0.0.256:25", NULL},
    {"::1:25", NULL}, /* which colon? */
    {"[::1]", NULL},
    {"[::1]25", NULL},
    {"[127.0.0.1]:25", NULL},
    {"[::1:25", NULL},
    {"[]:25", NULL},
    {"[fe80::1%]:25", NULL},
    {"[fe80::1%0]:25", NULL},
    {"[fe80::1%no-such-interface]:25", NULL},
    {"mail.example:25", NULL},
};

static void test_parse_and_format(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(addresses); i++) {
        struct net_address address;
        char text[NET_ADDRESS_TEXT];
        struct slice copy = guard_dup(slice_from_cstr(addresses[i].text));
        enum result result = net_address_parse(copy, &address);
        guard_free(&copy);
        if ((result == RESULT_OK) != (addresses[i].formatted != NULL))
            fail_msg("\"%s\": %s", addresses[i].text, result_name(result));
        if (result != RESULT_OK)
            continue;
        net_address_format(&address, text);
        assert_string_equal(text, addresses[i].formatted);
        struct net_address again;
        assert_int_equal(net_address_parse(slice_from_cstr(text), &again), RESULT_OK);
        assert_true(net_address_equal(&address, &again));
    }
}

static void test_equal(void **state)
{
    (void)state;
    struct net_address a, b;
    static const char *const differ[][2] = {
        {"127.0.0.1:25", "127.0.0.1:26"}, {"127.0.0.1:25", "127.0.0.2:25"}, {"127.0.0.1:25", "[::ffff:127.0.0.1]:25"},
        {"[::1]:25", "[::2]:25"},         {"[fe80::1%1]:25", "[fe80::1%2]:25"},
    };
    for (size_t i = 0; i < COUNT(differ); i++) {
        assert_int_equal(net_address_parse(slice_from_cstr(differ[i][0]), &a), RESULT_OK);
        assert_int_equal(net_address_parse(slice_from_cstr(differ[i][1]), &b), RESULT_OK);
        assert_true(net_address_equal(&a, &a));
        assert_false(net_address_equal(&a, &b));
    }
}

static void test_octets(void **state)
{
    (void)state;
    char text[NET_ADDRESS_TEXT];
    struct net_address v4 = net_address_from_octets(4, (const uint8_t[]){192, 0, 2, 9}, 0, 465);
    net_address_format_ip(&v4, text);
    assert_string_equal(text, "192.0.2.9");
    assert_int_equal(net_address_len(&v4), sizeof(struct sockaddr_in));
    struct net_address v6 = net_address_from_octets(6, (const uint8_t[16]){0xfe, 0x80, [15] = 1}, 3, 587);
    net_address_format(&v6, text);
    assert_string_equal(text, "[fe80::1%3]:587");
    assert_int_equal(net_address_len(&v6), sizeof(struct sockaddr_in6));
    struct net_address none = net_address_from_octets(0, NULL, 0, 25);
    assert_int_equal(none.any.sa_family, 0);
    net_address_format_ip(&none, text);
    assert_string_equal(text, "none");
}

static void test_host_port(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *host; /* NULL: refused */
        uint16_t port;    /* 7: as before */
    } rows[] = {
        {"mail.example:465", "mail.example", 465},
        {"mail.example", "mail.example", 7},
        {"xn--bcher-kva.example:25", "xn--bcher-kva.example", 25},
        {"_smtp.example:1", "_smtp.example", 1},
        {"192.0.2.1:65535", "192.0.2.1", 65535},
        {"[2001:db8::1]:465", "2001:db8::1", 465},
        {"[2001:db8::1]", "2001:db8::1", 7},
        {"::1", "::1", 7},
        {"", NULL, 7},
        {":465", NULL, 7},
        {"mail.example:", NULL, 7},
        {"mail.example:0", NULL, 7},
        {"mail.example:65536", NULL, 7},
        {"mail.example:465 ", NULL, 7},
        {"mail example:465", NULL, 7},
        {".example:465", NULL, 7},
        {"-x.example:465", NULL, 7},
        {"user@mail.example:465", NULL, 7},
        {"[mail.example]:465", NULL, 7},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct slice host, copy = guard_dup(slice_from_cstr(rows[i].text));
        uint16_t port = 7;
        enum result result = net_host_port_parse(copy, &host, &port);
        if ((result == RESULT_OK) != (rows[i].host != NULL))
            fail_msg("\"%s\": %s", rows[i].text, result_name(result));
        assert_int_equal(port, rows[i].port);
        if (rows[i].host)
            assert_true(slice_equal(host, slice_from_cstr(rows[i].host)));
        guard_free(&copy);
    }
}

static void test_host_name_length(void **state)
{
    (void)state;
    char name[254 + 1];
    struct slice host;
    uint16_t port = 0;
    memset(name, 'a', sizeof name);
    assert_int_equal(net_host_port_parse(slice_of(name, 253), &host, &port), RESULT_OK);
    assert_int_equal(net_host_port_parse(slice_of(name, 254), &host, &port), RESULT_SYNTAX);
}

static void test_prefix(void **state)
{
    (void)state;
    static const struct {
        const char *prefix;
        const char *address; /* NULL: the prefix is refused */
        bool has;
    } rows[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "::ffff:10.1.2.3", true},
        {"10.0.0.0/8", "::10.1.2.3", false},
        {"172.16.0.0/12", "172.31.255.255", true},
        {"172.16.0.0/12", "172.32.0.0", false},
        {"127.0.0.1", "127.0.0.1", true},
        {"127.0.0.1", "127.0.0.2", false},
        {"127.0.0.1/32", "127.0.0.1", true},
        {"0.0.0.0/0", "255.255.255.255", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "2001:db8::1", true},
        {"::/0", "1.2.3.4", false},
        {"fd00::/8", "fdff::1", true},
        {"fd00::/8", "fc00::1", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"::1", "::1", true},
        {"::1/128", "::2", false},
        {"10.0.0.1/8", NULL, false},
        {"10.0.0.1/31", NULL, false},
        {"11.0.0.0/7", NULL, false},
        {"10.0.0.0/33", NULL, false},
        {"10.0.0.0/", NULL, false},
        {"10.0.0.0/-1", NULL, false},
        {"::1/129", NULL, false},
        {"fd00::1/8", NULL, false},
        {"", NULL, false},
        {"/8", NULL, false},
        {"localhost", NULL, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct net_prefix prefix;
        struct net_address address;
        enum result result = net_prefix_parse(slice_from_cstr(rows[i].prefix), &prefix);
        if ((result == RESULT_OK) != (rows[i].address != NULL))
            fail_msg("\"%s\": %s", rows[i].prefix, result_name(result));
        if (!rows[i].address)
            continue;
        assert_int_equal(net_address_parse_ip(slice_from_cstr(rows[i].address), 0, &address), RESULT_OK);
        if (net_prefix_has(&prefix, &address.any) != rows[i].has)
            fail_msg("%s in %s: %d", rows[i].address, rows[i].prefix, !rows[i].has);
    }
}

/* The first and last address of every block that is refused, and its neighbours. */
static const struct {
    const char *address;
    bool is_public;
} policy[] = {
    {"0.0.0.0", false},         {"0.255.255.255", false},   {"1.0.0.0", true},          {"1.1.1.1", true},
    {"9.255.255.255", true},    {"10.0.0.0", false},        {"10.255.255.255", false},  {"11.0.0.0", true},
    {"100.63.255.255", true},   {"100.64.0.0", false},      {"100.127.255.255", false}, {"100.128.0.0", true},
    {"126.255.255.255", true},  {"127.0.0.1", false},       {"127.255.255.255", false}, {"128.0.0.0", true},
    {"169.253.255.255", true},  {"169.254.0.0", false},     {"169.254.169.254", false}, {"169.255.0.0", true},
    {"172.15.255.255", true},   {"172.16.0.0", false},      {"172.31.255.255", false},  {"172.32.0.0", true},
    {"191.255.255.255", true},  {"192.0.0.8", false},       {"192.0.1.0", true},        {"192.0.2.1", false},
    {"192.0.3.0", true},        {"192.88.98.255", true},    {"192.88.99.1", false},     {"192.88.100.0", true},
    {"192.167.255.255", true},  {"192.168.0.0", false},     {"192.168.255.255", false}, {"192.169.0.0", true},
    {"198.17.255.255", true},   {"198.18.0.0", false},      {"198.19.255.255", false},  {"198.20.0.0", true},
    {"198.51.99.255", true},    {"198.51.100.0", false},    {"198.51.101.0", true},     {"203.0.112.255", true},
    {"203.0.113.255", false},   {"203.0.114.0", true},      {"223.255.255.255", true},  {"224.0.0.1", false},
    {"239.255.255.255", false}, {"240.0.0.0", false},       {"255.255.255.255", false},
    /* IPv6: all but 2000::/3 */
    {"::", false},              {"::1", false},             {"::192.0.2.1", false},     {"::8.8.8.8", false},
    {"100::1", false},          {"1fff:ffff::", false},     {"2000::", true},           {"2001::1", false},
    {"2001:1ff:ffff::", false}, {"2001:200::", true},       {"2001:db7:ffff::", true},  {"2001:db8::1", false},
    {"2001:db9::", true},       {"2606:4700::1111", true},  {"3ffe:ffff::", true},      {"3fff::1", false},
    {"3fff:fff::1", false},     {"3fff:1000::", true},      {"4000::", false},          {"5f00::1", false},
    {"fc00::1", false},         {"fdff:ffff::1", false},    {"fe80::1", false},         {"febf::1", false},
    {"fec0::1", false},         {"ff02::1", false},         {"ff0e::1", false},
    /* those that carry an IPv4 address are what it is */
    {"::ffff:127.0.0.1", false}, {"::ffff:10.0.0.1", false}, {"::ffff:8.8.8.8", true},
    {"64:ff9b::7f00:1", false},  {"64:ff9b::c0a8:1", false}, {"64:ff9b::808:808", true}, {"64:ff9b:1::808:808", false},
    {"2002:7f00:1::1", false},   {"2002:c0a8:101::1", false}, {"2002:808:808::1", true},
};

static void test_policy(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(policy); i++) {
        struct net_address address;
        assert_int_equal(net_address_parse_ip(slice_from_cstr(policy[i].address), 25, &address), RESULT_OK);
        if (net_address_is_public(&address.any) != policy[i].is_public)
            fail_msg("%s: public is %d", policy[i].address, !policy[i].is_public);
    }
    struct sockaddr local = {.sa_family = AF_UNIX};
    assert_false(net_address_is_public(&local));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_and_format), cmocka_unit_test(test_equal),  cmocka_unit_test(test_octets),
        cmocka_unit_test(test_host_port),        cmocka_unit_test(test_host_name_length),
        cmocka_unit_test(test_prefix),           cmocka_unit_test(test_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
