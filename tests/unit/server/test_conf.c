/* server/conf.h: relay.conf, and the annotated reference that `init` writes. */
#include "conf.h"

#include "schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct dirs dirs = {.config_file = "relay.conf", .keys = "/var/lib/postern/keys"};

static struct conf *load(const char *text)
{
    struct config_error error = {0};
    struct conf *conf = NULL;
    if (conf_load_text(&conf, &dirs, "relay.conf", slice_from_cstr(text), &error) != RESULT_OK)
        fail_msg("%s", error.text);
    return conf;
}

/* The reference as it stands, and with every commented default uncommented, mean the same. */
static void uncomment(struct buffer *out)
{
    struct slice rest = slice_from_cstr(schema_config_relay), line, key, value;
    while (rest.len > 0) {
        slice_cut(rest, '\n', &line, &rest);
        bool is_default = line.len > 1 && line.ptr[0] == '#' && line.ptr[1] >= 'a' && line.ptr[1] <= 'z' && slice_cut(line, '=', &key, &value);
        bool is_example = slice_starts_with_nocase(line, SLICE("#allow_network")) || slice_starts_with_nocase(line, SLICE("#resolver")) ||
                          slice_starts_with_nocase(line, SLICE("#advertise"));
        bool is_empty = is_default && slice_trim(value).len == 0;
        if (is_default && !is_example && !is_empty)
            line = slice_skip(line, 1);
        assert_int_equal(buffer_append(out, line), RESULT_OK);
        assert_int_equal(buffer_append_cstr(out, "\n"), RESULT_OK);
    }
}

static void assert_same_listeners(const struct conf *a, const struct conf *b)
{
    const struct conf_listener *l = a->values.listen.items, *r = b->values.listen.items;
    assert_int_equal(a->values.listen.count, b->values.listen.count);
    for (size_t i = 0; i < a->values.listen.count; i++) {
        assert_int_equal(l[i].mode, r[i].mode);
        assert_int_equal(l[i].takes_proxy_header, r[i].takes_proxy_header);
        assert_true(net_address_equal(&l[i].address, &r[i].address));
    }
}

static void test_reference_tells_the_defaults(void **state)
{
    (void)state;
    struct buffer text = {0};
    struct conf_values a, b;
    uncomment(&text);
    assert_int_equal(buffer_append(&text, slice_of("", 1)), RESULT_OK);
    struct conf *bare = load(schema_config_relay), *full = load(buffer_slice(&text).ptr);
    assert_int_equal(bare->values.listen.count, 12);
    assert_true(bare->has_default_listeners);
    assert_false(full->has_default_listeners);
    assert_int_equal(bare->values.proxy_from.count, full->values.proxy_from.count);
    assert_memory_equal(bare->values.proxy_from.items, full->values.proxy_from.items, 2 * sizeof(struct net_prefix));
    assert_same_listeners(bare, full);
    assert_true(slice_equal(bare->values.key, full->values.key));
    assert_true(slice_equal(bare->values.certificate, full->values.certificate));
    assert_memory_equal(&bare->values.schedule, &full->values.schedule, sizeof bare->values.schedule);
    a = bare->values;
    b = full->values;
    /* What points somewhere has been compared; the rest are numbers. */
    a.name = b.name = a.certificate = b.certificate = a.key = b.key = (struct slice){0};
    a.listen = b.listen = a.resolver = b.resolver = a.allow_network = b.allow_network = (struct config_list){0};
    a.proxy_from = b.proxy_from = a.advertise = b.advertise = (struct config_list){0};
    a.smarthost_ca = b.smarthost_ca = (struct slice){0};
    a.smarthost = b.smarthost = (struct smarthost){0};
    a.schedule = b.schedule = (struct schedule){0};
    assert_memory_equal(&a, &b, sizeof a);
    conf_unref(&bare);
    conf_unref(&full);
    buffer_free(&text);
}

static const struct {
    const char *url;
    enum smarthost_scheme scheme;
    const char *host;
    uint16_t port;
    const char *user, *password;
} urls[] = {
    {"smtps://mail.example", SMARTHOST_TLS, "mail.example", 465, "", ""},
    {"smtps://mail.example:10465/", SMARTHOST_TLS, "mail.example", 10465, "", ""},
    {"SMTP+TLS://mail.example", SMARTHOST_STARTTLS, "mail.example", 587, "", ""},
    {"smtp://192.0.2.1", SMARTHOST_OPPORTUNISTIC, "192.0.2.1", 25, "", ""},
    {"smtp://[2001:db8::1]:26", SMARTHOST_OPPORTUNISTIC, "2001:db8::1", 26, "", ""},
    {"smtps://anna:secret@mail.example:465", SMARTHOST_TLS, "mail.example", 465, "anna", "secret"},
    {"smtps://anna%40example.org:a%3Ab%2f%25@mail.example", SMARTHOST_TLS, "mail.example", 465, "anna@example.org", "a:b/%"},
    {"smtps://anna@example.org:se@cret@mail.example", SMARTHOST_TLS, "mail.example", 465, "anna@example.org", "se@cret"},
    {"", SMARTHOST_TLS, "", 0, "", ""},
};

static void test_smarthost(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(urls); i++) {
        struct arena arena = {0};
        struct smarthost got = {0};
        struct config_value value = {.text = slice_from_cstr(urls[i].url), .arena = &arena};
        assert_int_equal(conf_parse_smarthost(&value, &got), RESULT_OK);
        assert_true(slice_equal(got.host, slice_from_cstr(urls[i].host)));
        assert_true(slice_equal(got.user, slice_from_cstr(urls[i].user)));
        assert_true(slice_equal(got.password, slice_from_cstr(urls[i].password)));
        assert_int_equal(got.port, urls[i].port);
        assert_int_equal(got.scheme, urls[i].scheme);
        arena_free(&arena);
    }
}

static const char *const refused_urls[] = {
    "mail.example", "http://mail.example", "smtps://", "smtps://:465", "smtps://mail.example:0", "smtps://mail.example:65536", "smtps://mail example",
    "smtps://user@mail.example", "smtps://user:@mail.example", "smtps://:password@mail.example", "smtps://a%4:b@mail.example",
    "smtps://a%zz:b@mail.example",
    "smtps://a%0a:b@mail.example", "smtps://a:b%@mail.example", "smtps://mail.example/path",
};

static void test_smarthost_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(refused_urls); i++) {
        struct arena arena = {0};
        struct smarthost got = {0};
        struct config_value value = {.text = slice_from_cstr(refused_urls[i]), .arena = &arena};
        if (conf_parse_smarthost(&value, &got) != RESULT_SYNTAX)
            fail_msg("taken: %s", refused_urls[i]);
        assert_non_null(value.why);
        arena_free(&arena);
    }
}

static const struct {
    const char *text;
    const char *error; /* part of it */
} refused[] = {
    {"", "name"},
    {"[relay]\nname = x y\n", "relay.conf:2"},
    {"[relay]\nname = relay\n", "relay.example.org"},
    {"[relay]\nname = .example\n", "relay.conf:2"},
    {"[relay]\nname = [192.0.2.1]\n", "relay.conf:2"},
    {"[relay]\nname = \"\"\n", "relay.conf:2"},
    {"[relay]\nname = a.example\nlisten = 0.0.0.0:25\n", "relay.conf:3"},
    {"[relay]\nname = a.example\nlisten = 0.0.0.0:25 plain\n", "starttls"},
    {"[relay]\nname = a.example\nlisten = nowhere:25 tls\n", "relay.conf:3"},
    {"[relay]\nname = a.example\nlisten = 0.0.0.0:25 tls proxy\n", "proxied"},
    {"[relay]\nname = a.example\nlisten = 0.0.0.0:25 proxied\n", "tls, starttls or http"},
    {"[relay]\nname = a.example\nlisten = 0.0.0.0:25 tls proxied proxied\n", "relay.conf:3"},
    {"[relay]\nname = a.example\nproxy_from = localhost\n", "ADDRESS/BITS"},
    {"[relay]\nname = a.example\nproxy_from = 10.0.0.1/8\n", "relay.conf:3"},
    {"[relay]\nname = a.example\nadvertise = 443\n", "tls or starttls"},
    {"[relay]\nname = a.example\nadvertise = 443 http\n", "tls or starttls"},
    {"[relay]\nname = a.example\nadvertise = 0 tls\n", "port 0"},
    {"[relay]\nname = a.example\nadvertise = 65536 tls\n", "relay.conf:3"},
    {"[relay]\nname = a.example\nadvertise = 192.0.2.1:0 tls\n", "port 0"},
    {"[relay]\nname = a.example\nadvertise = 0.0.0.0:443 tls\n", "the port alone"},
    {"[relay]\nname = a.example\nadvertise = [::]:443 tls\n", "the port alone"},
    {"[relay]\nname = a.example\nadvertise = relay.example:443 tls\n", "relay.conf:3"},
    {"[relay]\nname = a.example\nname = b.example\n", "relay.conf:3"},
    {"[relay]\nname = a.example\ncolour = red\n", "colour"},
    {"[relay]\nname = a.example\n[dlivery]\n", "dlivery"},
    {"[relay]\nname = a.example\n[limits]\nmessage_size = 10\n", "relay.conf:4"},
    {"[relay]\nname = a.example\n[limits]\nhalf_bodies = 1\n", "a number from 2"},
    {"[relay]\nname = a.example\n[limits]\nhalf_octets = 10\n", "a size from 64K"},
    {"[relay]\nname = a.example\n[delivery]\nschedule = soon\n", "relay.conf:4"},
    {"[relay]\nname = a.example\n[delivery]\nlifetime = 5\n", "relay.conf:4"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(refused); i++) {
        struct config_error error = {0};
        struct conf *conf = NULL;
        assert_int_not_equal(conf_load_text(&conf, &dirs, "relay.conf", slice_from_cstr(refused[i].text), &error), RESULT_OK);
        assert_null(conf);
        if (!strstr(error.text, refused[i].error))
            fail_msg("\"%s\" does not tell of %s", error.text, refused[i].error);
    }
}

static void test_no_secret_in_errors(void **state)
{
    (void)state;
    struct config_error error = {0};
    struct conf *conf = NULL;
    const char *text = "[relay]\nname = a.example\n[delivery]\nsmarthost = smtps://anna:tellnobody@bad host\n";
    assert_int_equal(conf_load_text(&conf, &dirs, "relay.conf", slice_from_cstr(text), &error), RESULT_SYNTAX);
    assert_null(strstr(error.text, "tellnobody"));
    assert_non_null(strstr(error.text, "relay.conf:4"));
}

static void test_listeners(void **state)
{
    (void)state;
    struct conf *conf = load("[relay]\nname = a.example\nlisten = 127.0.0.1:8443 tls  proxied\nlisten = [2001:db8::1]:80 http\nlisten = 0.0.0.0:25 starttls\n"
                             "proxy_from = 10.0.0.0/8\n");
    const struct conf_listener *l = conf->values.listen.items;
    assert_int_equal(conf->values.listen.count, 3);
    assert_false(conf->has_default_listeners);
    assert_true(l[0].mode == SERVICE_TLS && l[0].takes_proxy_header);
    assert_true(l[1].mode == SERVICE_HTTP && !l[1].takes_proxy_header);
    assert_true(l[2].mode == SERVICE_STARTTLS && !l[2].takes_proxy_header);
    assert_int_equal(conf->values.proxy_from.count, 1);
    conf_unref(&conf);
}

static bool allows(const struct conf *conf, const char *text)
{
    struct net_address address;
    assert_int_equal(net_address_parse_ip(slice_from_cstr(text), 25, &address), RESULT_OK);
    return conf_allows_address(conf, &address.any);
}

static void test_addresses(void **state)
{
    (void)state;
    struct conf *conf = load("[relay]\nname = a.example\n");
    assert_true(allows(conf, "8.8.8.8"));
    assert_false(allows(conf, "127.0.0.1"));
    assert_false(allows(conf, "10.1.2.3"));
    assert_false(allows(conf, "::1"));
    conf_unref(&conf);
    conf = load("[relay]\nname = a.example\n[delivery]\nallow_network = 10.1.0.0/16\nallow_network = ::1\n");
    assert_false(allows(conf, "127.0.0.1"));
    assert_true(allows(conf, "10.1.2.3"));
    assert_false(allows(conf, "10.2.2.3"));
    assert_true(allows(conf, "::1"));
    conf_unref(&conf);
    conf = load("[relay]\nname = a.example\n[delivery]\nallow_private = yes\n");
    assert_true(allows(conf, "127.0.0.1"));
    conf_unref(&conf);
}

static void test_hops(void **state)
{
    (void)state;
    struct conf *conf = load("[relay]\nname = a.example\n");
    assert_true(slice_equal(conf_hop(conf, SLICE("b.example")), SLICE("b.example")));
    conf_unref(&conf);
    conf = load("[relay]\nname = a.example\n[delivery]\nsmarthost = smtp://b.example\n");
    assert_true(slice_equal(conf_hop(conf, SLICE("c.example")), CONF_HOP_SMARTHOST));
    conf_unref(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_tells_the_defaults),
        cmocka_unit_test(test_smarthost),
        cmocka_unit_test(test_smarthost_refused),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_secret_in_errors),
        cmocka_unit_test(test_listeners),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_hops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
