/* server/ways.h: what XWAYS tells. */
#include "ways.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define HEAD "[relay]\nname = a.example\n"

static const struct dirs dirs = {.config_file = "relay.conf", .keys = "/var/lib/postern/keys"};

static enum result write_ways(const char *text, char out[static WAYS_MAX + 1])
{
    struct config_error error = {0};
    struct conf *conf = NULL;
    if (conf_load_text(&conf, &dirs, "relay.conf", slice_from_cstr(text), &error) != RESULT_OK)
        fail_msg("%s", error.text);
    enum result result = ways_write(conf, conf->values.listen.items, conf->values.listen.count, out);
    conf_unref(&conf);
    return result;
}

static const struct {
    const char *conf, *ways;
} rows[] = {
    {HEAD, "465/tls 443/tls 587/starttls 2525/starttls 25/starttls"},
    {HEAD "advertise = 198.51.100.7:8443 tls\n", "465/tls 443/tls 587/starttls 2525/starttls 25/starttls 198.51.100.7:8443/tls"},
    {HEAD "listen = 127.0.0.1:465 tls\nlisten = 127.9.9.9:466 tls\nlisten = [::1]:467 tls\n", ""},
    {HEAD "listen = 192.0.2.1:80 http\n", ""},
    {HEAD "listen = 192.0.2.1:443 tls proxied\nlisten = 192.0.2.1:587 starttls\n", "587/starttls"},
    {HEAD "listen = 127.0.0.1:8443 tls proxied\nadvertise = 443 tls\n", "443/tls"},
    {HEAD "listen = 192.0.2.1:443 tls\nadvertise = 443 tls\nadvertise = 443 starttls\n", "443/tls 443/starttls"},
    {HEAD "listen = 192.0.2.1:43 tls\nadvertise = 443 tls\nadvertise = 3 tls\n", "43/tls 443/tls 3/tls"},
    {HEAD "listen = [2001:db8::1]:465 tls\nadvertise = [2001:db8::2]:465 starttls\n", "465/tls [2001:db8::2]:465/starttls"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char ways[WAYS_MAX + 1];
        assert_int_equal(write_ways(rows[i].conf, ways), RESULT_OK);
        assert_string_equal(ways, rows[i].ways);
    }
}

/* More than a line holds: whole ways, as many as fit, and whoever asked is told. */
static void test_too_many(void **state)
{
    (void)state;
    char text[8192] = HEAD, ways[WAYS_MAX + 1];
    for (int i = 0; i < 60; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "advertise = [2001:db8:1111:2222:3333:4444:5555:%x]:60465 starttls\n", 0x1000 + i);
    assert_int_equal(write_ways(text, ways), RESULT_LIMIT);
    assert_in_range(strlen(ways), WAYS_MAX - 70, WAYS_MAX);
    assert_true(slice_ends_with_nocase(slice_from_cstr(ways), SLICE("/starttls")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
