/* Trace fields: what they say, what they keep to themselves, and how they are folded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "mail/received.h"
#include "support/guard.h"

#define LEN(array) (sizeof(array) / sizeof *(array))
#define DATE_TEXT "Sat, 21 Nov 2026 19:24:57 +0000\r\n"

static const struct received base = {
    .helo = {"laptop.local", 12},
    .peer = {"192.0.2.7", 9},
    .by = {"relay.example", 13},
    .protocol = "ESMTPSA",
    .id = {"0d5r8k3mzq1vt", 13},
    .at_ms = 1795289097000,
};

static void written_as(const struct received *received, const char *expected)
{
    struct buffer out = BUFFER(4096);
    assert_int_equal(received_format(received, &out), RESULT_OK);
    if (!slice_equal(buffer_slice(&out), slice_from_cstr(expected)))
        fail_msg("%.*s", SLICE_ARG(buffer_slice(&out)));
    buffer_free(&out);
}

static void private_tells_nothing(void **state)
{
    struct received r = base;
    (void)state;
    r.is_private = true;
    written_as(&r, "Received: by relay.example with ESMTPSA id 0d5r8k3mzq1vt;\r\n " DATE_TEXT);
    r.for_address = SLICE("bob@example.org");
    r.tls_version = SLICE("TLSv1.3");
    r.tls_cipher = SLICE("TLS1-3-AES-256-GCM-SHA384");
    written_as(&r, "Received: by relay.example with ESMTPSA id 0d5r8k3mzq1vt\r\n for <bob@example.org>"
                   " tls TLS_AES_256_GCM_SHA384 (TLSv1.3);\r\n " DATE_TEXT);
}

static void public_tells_the_peer(void **state)
{
    struct received r = base;
    (void)state;
    written_as(&r, "Received: from laptop.local ([192.0.2.7]) by relay.example with ESMTPSA\r\n id 0d5r8k3mzq1vt; " DATE_TEXT);
    r.peer = SLICE("2001:db8::1");
    r.helo = SLICE("");
    r.tls_version = SLICE("TLSv1.2");
    r.tls_cipher = SLICE("TLS-ECDHE-RSA-WITH-AES-128-GCM-SHA256");
    written_as(&r, "Received: from unknown ([IPv6:2001:db8::1]) by relay.example with ESMTPSA\r\n id 0d5r8k3mzq1vt"
                   " tls TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 (TLSv1.2);\r\n " DATE_TEXT);
}

/* One field, each of its lines begun by a blank, whatever the peer calls itself. */
static void nobody_breaks_out(void **state)
{
    static const char *const helos[] = {"x\r\nBcc: z@z", "x)(by evil", "x; 1 Jan", "a b c", "x\x01\x7f", "\"", "<>"};
    (void)state;
    for (size_t i = 0; i < LEN(helos); i++) {
        struct received r = base;
        struct buffer out = BUFFER(4096);
        r.helo = r.peer = slice_from_cstr(helos[i]);
        assert_int_equal(received_format(&r, &out), RESULT_OK);
        struct slice text = buffer_slice(&out);
        for (size_t at = 0; at + 2 < text.len; at++)
            assert_true(text.ptr[at] != '\n' || (text.ptr[at + 1] == ' ' && text.ptr[at - 1] == '\r'));
        assert_true(received_is_by(slice_skip(text, strlen("Received:")), SLICE("relay.example")));
        buffer_free(&out);
    }
}

static void long_names_are_cut(void **state)
{
    char helo[1000];
    struct received r = base;
    struct buffer out = BUFFER(4096), small = BUFFER(60);
    (void)state;
    memset(helo, 'h', sizeof helo);
    r.helo = slice_of(helo, sizeof helo);
    assert_int_equal(received_format(&r, &out), RESULT_OK);
    assert_true(buffer_len(&out) < 500);
    r.helo = SLICE("x");
    assert_int_equal(buffer_append(&small, SLICE("before")), RESULT_OK);
    assert_int_equal(received_format(&r, &small), RESULT_LIMIT);
    assert_true(slice_equal(buffer_slice(&small), SLICE("before")));
    buffer_free(&out);
    buffer_free(&small);
}

static void finds_the_by_clause(void **state)
{
    static const struct {
        const char *value;
        bool is_ours;
    } rows[] = {
        {" by relay.example with X", true}, {"from a (b [1.2.3.4])\r\n\tBY Relay.Example (c); date", true}, {"by (we) relay.example(x)", true},
        {"by relay.example;x", true}, {"by relay.example", true},
        {" by other.example for relay.example", false}, {"from relay.example by other", false}, {"(by relay.example) by other", false},
        {"(by relay.example", false}, {"x; by relay.example", false}, {"by relay.example.evil", false}, {"by", false}, {"", false},
        {"(\\) by relay.example", false}, {"by other by relay.example", false}, {")) by other", false},
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct slice value = guard_dup(slice_from_cstr(rows[i].value));
        if (received_is_by(value, SLICE("relay.example")) != rows[i].is_ours)
            fail_msg("%s", rows[i].value);
        guard_free(&value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(private_tells_nothing),
        cmocka_unit_test(public_tells_the_peer),
        cmocka_unit_test(nobody_breaks_out),
        cmocka_unit_test(long_names_are_cut),
        cmocka_unit_test(finds_the_by_clause),
    };
    return cmocka_run_group_tests_name("mail/received", tests, NULL, NULL);
}
