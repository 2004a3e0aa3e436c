/* path/ways.h and path_address_parse: what a relay says of its ways, well and badly. */
#include "path/ways.h"
#include "support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- addresses ---- */

static const struct {
    const char *text;
    const char *shown; /* NULL: no address */
} ADDRESSES[] = {
    {"192.0.2.1", "192.0.2.1"},
    {"0.0.0.0", "0.0.0.0"},
    {"255.255.255.255", "255.255.255.255"},
    {"::", "::"},
    {"::1", "::1"},
    {"1::", "1::"},
    {"2001:DB8::1", "2001:db8::1"},
    {"2001:0db8:0:0:0:0:0:1", "2001:db8::1"},
    {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
    {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
    {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
    {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
    {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
    {"1:2:3:4:5:6:192.0.2.33", "1:2:3:4:5:6:c000:221"},
    {"fe80::1%3", "fe80::1%3"},
    {"", NULL},
    {"192.0.2", NULL},
    {"192.0.2.1.", NULL},
    {"192.0.2.256", NULL},
    {"192.0.2.01", NULL},
    {"192.0.2.1 ", NULL},
    {"192.0..1", NULL},
    {"192.0.2.1%1", NULL},
    {":", NULL},
    {":::", NULL},
    {"1:::2", NULL},
    {"1::2::3", NULL},
    {":1:2:3:4:5:6:7", NULL},
    {"1:2:3:4:5:6:7:", NULL},
    {"1:2:3:4:5:6:7", NULL},
    {"1:2:3:4:5:6:7:8:9", NULL},
    {"1:2:3:4::5:6:7:8", NULL}, /* nothing left for the gap to stand for */
    {"12345::", NULL},
    {"g::", NULL},
    {"192.0.2.1::", NULL},
    {"1:192.0.2.1:2::", NULL},
    {"1:2:3:4:5:6:7:192.0.2.1", NULL},
    {"fe80::1%", NULL},
    {"fe80::1%0", NULL},
    {"fe80::1%eth0", NULL},
    {"fe80::1%4294967296", NULL},
    {"[::1]", NULL},
};

static void parses_addresses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ADDRESSES / sizeof *ADDRESSES; i++) {
        struct path_address address = {.family = 77}, again;
        char shown[64];
        struct slice text = guard_dup(slice_from_cstr(ADDRESSES[i].text));
        if (path_address_parse(text, &address) != (ADDRESSES[i].shown != NULL))
            fail_msg("%s", ADDRESSES[i].text);
        if (ADDRESSES[i].shown) {
            path_address_format(&address, shown, sizeof shown);
            assert_string_equal(shown, ADDRESSES[i].shown);
            assert_true(path_address_parse(slice_from_cstr(shown), &again) && path_address_equal(&address, &again));
        } else {
            assert_int_equal(address.family, 77);
        }
        guard_free(&text);
    }
}

/* ---- ways ---- */

static const struct {
    const char *text;
    const char *shown; /* each way as path_format writes it, with a comma behind */
} WAYS[] = {
    {"", ""},
    {"465/tls", "*:465 tls,"},
    {"465/tls 587/starttls 198.51.100.7:8443/tls [2001:db8::1]:8443/tls", "*:465 tls,*:587 starttls,198.51.100.7:8443 tls,[2001:db8::1]:8443 tls,"},
    {"  465/TLS   25/StartTLS ", "*:465 tls,*:25 starttls,"},
    {"465/tls 465/starttls 465/tls 0465/tls", "*:465 tls,*:465 starttls,"},
    {"443/quic 465/tls 443/ 443 /tls / 443/tlsx", "*:465 tls,"},
    {"0/tls 65536/tls 65535/tls -1/tls 1x/tls", "*:65535 tls,"},
    {"[::1]465/tls ::1:465/tls [::1:465/tls [192.0.2.1]:465/tls []:465/tls :465/tls relay.example:465/tls 192.0.2.1:/tls", ""},
    {"465/tls\t587/starttls", ""}, /* one word, and none of ours */
};

static void parses_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof WAYS / sizeof *WAYS; i++) {
        struct finder_way ways[FINDER_WAYS_MAX];
        char shown[FINDER_WAYS_MAX * PATH_TEXT] = "";
        struct slice text = guard_dup(slice_from_cstr(WAYS[i].text));
        size_t n = path_ways_parse(text, ways, FINDER_WAYS_MAX);
        for (size_t k = 0; k < n; k++) {
            struct path path = {.address = ways[k].address, .port = ways[k].port, .mode = ways[k].mode};
            size_t len = strlen(shown);
            path_format(&path, shown + len, sizeof shown - len - 1);
            len = strlen(shown);
            snprintf(shown + len, sizeof shown - len, ",");
        }
        assert_string_equal(shown, WAYS[i].shown);
        guard_free(&text);
    }
}

static void takes_no_more_than_asked(void **state)
{
    struct finder_way ways[3] = {[2] = {.port = 77}};
    (void)state;
    assert_int_equal(path_ways_parse(SLICE("1/tls 2/tls 3/tls 4/tls"), ways, 2), 2);
    assert_int_equal(ways[1].port, 2);
    assert_int_equal(ways[2].port, 77);
    assert_int_equal(path_ways_parse(SLICE("1/tls"), ways, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_addresses),
        cmocka_unit_test(parses_ways),
        cmocka_unit_test(takes_no_more_than_asked),
    };
    return cmocka_run_group_tests_name("path/ways", tests, NULL, NULL);
}
