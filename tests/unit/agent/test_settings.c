/* agent.conf: what is refused and how it is told; and that the annotated reference tells the truth about the defaults. */
#include "settings.h"

#include "schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static const struct dirs dirs = {.config_folder = "/c", .data_folder = "/d", .keys = "/k", .config_file = "/c/agent.conf"};

static enum result load(const char *text, struct settings **out, struct config_error *error)
{
    return settings_load_text(out, &dirs, "agent.conf", slice_from_cstr(text), error);
}

#define RELAY "[relay]\nhost = relay.test\nuser = anna\n"

static void test_the_least_that_works(void **state)
{
    struct settings *settings;
    struct config_error error;
    (void)state;
    assert_int_equal(load(RELAY, &settings, &error), RESULT_OK);
    const struct settings_values *v = &settings->values;
    const struct finder_way *ways = v->way.items;
    assert_int_equal(v->way.count, 5);
    assert_int_equal(ways[0].port, 465);
    assert_int_equal(ways[0].mode, PATH_TLS);
    assert_int_equal(ways[1].port, 443);
    assert_int_equal(ways[1].mode, PATH_TLS);
    assert_int_equal(ways[4].port, 25);
    assert_int_equal(ways[4].mode, PATH_STARTTLS);
    assert_int_equal(v->http_port, 80);
    assert_int_equal(v->proxy.count, 0);
    assert_true(v->uses_system_proxies);
    assert_int_equal(v->listen.count, 2);
    assert_string_equal(v->password_file.ptr, "/k/relay.password");
    assert_false(v->requires_auth);
    settings_unref(&settings);
    assert_null(settings);
}

static void test_hosts(void **state)
{
    static const char *const hosts[][2] = {{"relay.test", "relay.test"}, {"localhost", "localhost"}, {"192.0.2.1", "192.0.2.1"}, {"2001:db8::1", "2001:db8::1"}, {"[2001:db8::1]", "2001:db8::1"}};
    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        struct settings *settings;
        struct config_error error;
        char text[128];
        snprintf(text, sizeof text, "[relay]\nhost = %s\nuser = anna\n", hosts[i][0]);
        assert_int_equal(load(text, &settings, &error), RESULT_OK);
        assert_string_equal(settings->values.relay_host.ptr, hosts[i][1]);
        settings_unref(&settings);
    }
}

static void test_ways_at_an_address(void **state)
{
    struct settings *settings;
    struct config_error error;
    (void)state;
    assert_int_equal(load(RELAY "way = 198.51.100.7:8443 tls\nway = [2001:db8::7]:26 starttls\nway = 465 tls\n", &settings, &error), RESULT_OK);
    const struct finder_way *ways = settings->values.way.items;
    assert_int_equal(settings->values.way.count, 3);
    assert_int_equal(ways[0].address.family, 4);
    assert_memory_equal(ways[0].address.octets, "\xc6\x33\x64\x07", 4);
    assert_int_equal(ways[0].port, 8443);
    assert_int_equal(ways[1].address.family, 6);
    assert_int_equal(ways[1].address.octets[15], 7);
    assert_int_equal(ways[1].port, 26);
    assert_int_equal(ways[1].mode, PATH_STARTTLS);
    assert_int_equal(ways[2].address.family, 0);
    settings_unref(&settings);
}

static void expect_proxy(const struct settings_proxy *proxy, enum path_via via, const char *host, uint16_t port, const char *user, const char *password)
{
    assert_int_equal(proxy->via, via);
    assert_true(slice_equal(proxy->host, slice_from_cstr(host)));
    assert_int_equal(proxy->port, port);
    assert_true(slice_equal(proxy->user, slice_from_cstr(user)));
    assert_true(slice_equal(proxy->password, slice_from_cstr(password)));
}

static void test_proxies(void **state)
{
    struct settings *settings;
    struct config_error error;
    (void)state;
    assert_int_equal(load(RELAY "[proxy]\nproxy = http://anna:a%40b%3A@proxy.test:3128/\nproxy = SOCKS5://[2001:db8::1]\nproxy = socks5h://10.0.0.1:9\nsystem = no\n", &settings, &error),
                     RESULT_OK);
    const struct settings_proxy *proxies = settings->values.proxy.items;
    assert_int_equal(settings->values.proxy.count, 3);
    expect_proxy(&proxies[0], PATH_HTTP_CONNECT, "proxy.test", 3128, "anna", "a@b:");
    expect_proxy(&proxies[1], PATH_SOCKS5, "2001:db8::1", 1080, "", "");
    expect_proxy(&proxies[2], PATH_SOCKS5, "10.0.0.1", 9, "", "");
    assert_false(settings->values.uses_system_proxies);
    settings_unref(&settings);
}

struct refusal {
    const char *text;
    const char *told; /* part of the error */
};

static const struct refusal refusals[] = {
    {"[relay]\nhost = relay.test:465\nuser = anna\n", "ports are set with way"},
    {"[relay]\nhost = x y\nuser = anna\n", "agent.conf:2"},
    {"[relay]\nhost =\nuser = anna\n", "host name or address"},
    {"[relay]\nhost = [2001:db8::1]:465\nuser = anna\n", "ports are set with way"},
    {"[relay]\nhost = https://relay.test\nuser = anna\n", "host name or address"},
    {"[relay]\nuser = anna\n", "host"},
    {RELAY "way = 465\n", "agent.conf:4"},
    {RELAY "way = 465 plain\n", "nothing goes to the relay in the clear"},
    {RELAY "way = 0 tls\n", "1 to 65535"},
    {RELAY "way = 65536 tls\n", "1 to 65535"},
    {RELAY "way = 198.51.100.7 tls\n", "1 to 65535"},
    {RELAY "way = 198.51.100.7:0 tls\n", "before the port"},
    {RELAY "way = relay.test:465 tls\n", "before the port stands an IPv4 address"},
    {RELAY "way = 2001:db8::1:465 tls\n", "IPv6 one in brackets"},
    {RELAY "http_port = 65536\n", "0 when the relay answers no plain HTTP"},
    {RELAY "[proxy]\nproxy = ftp://proxy.test\n", "it begins with http:// or socks5://"},
    {RELAY "[proxy]\nproxy = http://anna@proxy.test:3128\n", "before the @ stand USER:PASSWORD"},
    {RELAY "[proxy]\nproxy = http://anna:%zz@proxy.test\n", "two hex digits"},
    {RELAY "[proxy]\nproxy = socks5://\n", "host and port"},
    {RELAY "pin = sha256//short\n", "postern-relay key show"},
    {RELAY "colour = red\n", "agent.conf:4"},
    {RELAY "[locale]\n", "locale"},
    {RELAY "keep_warm = 5\n", "a duration up to 4m"},
    {RELAY "[local]\nrequire_login = yes\n", "needs user and password_file"},
    {RELAY "[local]\nuser = me\n", "password_file"},
    {RELAY "[local]\nlisten = localhost\n", "agent.conf:5"},
    {RELAY "[queue]\nschedule = soon\n", "agent.conf:5"},
    {RELAY "host = twice.test\n", "agent.conf:4"},
};

static void test_refusals_say_where_and_what(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct settings *settings;
        struct config_error error;
        if (load(refusals[i].text, &settings, &error) != RESULT_SYNTAX || settings)
            fail_msg("accepted: %s", refusals[i].text);
        if (!strstr(error.text, refusals[i].told))
            fail_msg("%s\nis told as: %s\nwithout: %s", refusals[i].text, error.text, refusals[i].told);
    }
}

/* The reference with every "#key = value" put in force, but for the lines that have no default. */
static void uncomment(char *out, size_t size)
{
    static const char *const without_default[] = {"#name", "#pin", "#ca_file", "#user", "#password_file", "#proxy"};
    struct slice rest = slice_from_cstr(schema_config_agent), line;
    size_t len = 0;
    while (rest.len > 0) {
        slice_cut(rest, '\n', &line, &rest);
        bool is_setting = line.len > 1 && line.ptr[0] == '#' && line.ptr[1] >= 'a' && line.ptr[1] <= 'z' && slice_find(line, '=') > 0;
        for (size_t i = 0; i < sizeof without_default / sizeof *without_default; i++)
            if (slice_starts_with(line, slice_from_cstr(without_default[i])))
                is_setting = false;
        if (is_setting)
            line = slice_skip(line, 1);
        len += (size_t)snprintf(out + len, size - len, "%.*s\n", SLICE_ARG(line));
    }
}

static void test_the_reference_tells_the_defaults(void **state)
{
    static char text[16384];
    struct settings *plain, *told;
    struct config_error error;
    (void)state;
    uncomment(text, sizeof text);
    assert_int_equal(load(text, &told, &error), RESULT_OK);
    assert_int_equal(load(schema_config_agent, &plain, &error), RESULT_OK);
    const struct settings_values *a = &plain->values, *b = &told->values;
    assert_int_equal(a->keep_warm, b->keep_warm);
    assert_int_equal(a->way.count, b->way.count);
    const struct finder_way *ours = a->way.items, *theirs = b->way.items;
    for (size_t i = 0; i < a->way.count; i++)
        assert_true(ours[i].address.family == 0 && ours[i].port == theirs[i].port && ours[i].mode == theirs[i].mode);
    assert_int_equal(a->http_port, b->http_port);
    assert_int_equal(a->uses_system_proxies, b->uses_system_proxies);
    assert_int_equal(a->listen.count, b->listen.count);
    assert_memory_equal(a->listen.items, b->listen.items, a->listen.count * sizeof(struct net_address));
    assert_int_equal(a->message_size, b->message_size);
    assert_int_equal(a->recipients, b->recipients);
    assert_int_equal(a->sessions, b->sessions);
    assert_memory_equal(&a->schedule, &b->schedule, sizeof a->schedule);
    assert_memory_equal(&a->patience, &b->patience, sizeof a->patience);
    assert_int_equal(a->lifetime, b->lifetime);
    assert_int_equal(a->delay_notice, b->delay_notice);
    assert_int_equal(a->history, b->history);
    assert_true(a->keep_copies && b->keep_copies);
    assert_int_equal(a->database_size, b->database_size);
    assert_int_equal(a->requires_auth, b->requires_auth);
    assert_int_equal(a->log_level, b->log_level);
    settings_unref(&plain);
    settings_unref(&told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_least_that_works),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_ways_at_an_address),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_refusals_say_where_and_what),
        cmocka_unit_test(test_the_reference_tells_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
