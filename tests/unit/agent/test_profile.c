/* What is known of the relay, and its text in the store. */
#include "profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const struct smtp_peer PEER = {
    .capabilities = SMTP_CAP_PIPELINING | SMTP_CAP_PIPECONNECT | SMTP_CAP_XWAYS | SMTP_CAP_CHECKPOINT | SMTP_CAP_XOUTCOME,
    .mechanisms = SASL_PLAIN | SASL_HT_SHA_256_EXPR,
    .size_max_octets = UINT64_C(52428800),
    .nrcpt_max = 100,
    .transactions_max = 7,
    .name = {"relay.example", 13},
    .epoch = {"0d5r8k3mZq", 10},
    .outcome_s = UINT64_C(604800),
    .ways = {"465/tls 198.51.100.7:8443/tls junk", 34},
};
static const char TOKEN[] = "0123456789abcdef\0\n23456789abcde"; /* any octets */

static struct profile make_profile(void)
{
    struct profile profile = {0};
    assert_true(profile_learn(&profile, &PEER));
    assert_true(profile_keep_device(&profile, SLICE("d-42"), slice_of(TOKEN, SASL_TOKEN)));
    return profile;
}

static struct buffer text_of(const struct profile *profile)
{
    struct buffer text = BUFFER_SECRET(PROFILE_TEXT_MAX);
    assert_int_equal(profile_write(profile, SLICE("relay.example"), SLICE("anna b"), &text), RESULT_OK);
    return text;
}

static void assert_is(const struct profile *profile)
{
    struct smtp_peer peer;
    assert_true(profile_peer(profile, &peer));
    assert_int_equal(peer.capabilities, PEER.capabilities);
    assert_int_equal(peer.mechanisms, PEER.mechanisms);
    assert_true(peer.size_max_octets == PEER.size_max_octets && peer.nrcpt_max == PEER.nrcpt_max && peer.transactions_max == PEER.transactions_max);
    assert_true(slice_equal(peer.name, PEER.name) && slice_equal(peer.ways, PEER.ways));
    assert_true(slice_equal(peer.epoch, PEER.epoch) && peer.outcome_s == PEER.outcome_s);
    assert_true(slice_equal(profile_device(profile), SLICE("d-42")) && slice_equal(profile_token(profile), slice_of(TOKEN, SASL_TOKEN)));
}

static void what_is_written_is_read(void **state)
{
    struct profile profile = make_profile(), read;
    struct buffer text = text_of(&profile);
    (void)state;
    profile_read(&read, buffer_slice(&text), SLICE("relay.example"), SLICE("anna b"));
    assert_is(&read);
    buffer_wipe_free(&text);
}

static void of_another_relay_or_user_nothing_is_read(void **state)
{
    static const struct { struct slice host, user; } others[] = {{SLICE("relay.example"), SLICE("anna")}, {SLICE("other.example"), SLICE("anna b")}, {SLICE("relay.exampl"), SLICE("anna b")}};
    struct profile profile = make_profile(), read;
    struct buffer text = text_of(&profile);
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        profile_read(&read, buffer_slice(&text), others[i].host, others[i].user);
        assert_false(read.has_peer);
        assert_int_equal(profile_device(&read).len, 0);
    }
    buffer_wipe_free(&text);
}

/* Half a text is less knowledge, never another. */
static void every_beginning_of_a_text_is_read(void **state)
{
    struct profile profile = make_profile(), read;
    struct buffer text = text_of(&profile);
    (void)state;
    for (size_t len = 0; len < buffer_len(&text) - 1; len++) {
        profile_read(&read, slice_take(buffer_slice(&text), len), SLICE("relay.example"), SLICE("anna b"));
        assert_int_equal(profile_device(&read).len, 0);
        bool has_outcome = read.peer.capabilities & SMTP_CAP_XOUTCOME;
        assert_true(!read.has_peer || (read.peer.capabilities | SMTP_CAP_XOUTCOME) == PEER.capabilities);
        assert_true(has_outcome == (read.epoch_len > 0) && (!has_outcome || read.peer.outcome_s == PEER.outcome_s));
    }
    buffer_wipe_free(&text);
}

static void what_we_did_not_write_is_nothing(void **state)
{
    static const char *const texts[] = {
        "", "\n\n", "postern-profile 2\nhost relay.example\nuser anna b\npeer 1 1 1 1 1 x\n", "postern-profile 1\nhost relay.example\nuser anna b\npeer 1 1 1 1\n",
        "postern-profile 1\nhost relay.example\nuser anna b\npeer 123456789 1 1 1 1 x\n", "postern-profile 1\nhost relay.example\nuser anna b\npeer 1g 1 1 1 1 x\n",
        "postern-profile 1\nhost relay.example\nuser anna b\ndevice d-42 AAAA\n", "postern-profile 1\nhost relay.example\nuser anna b\ndevice  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct profile read;
        profile_read(&read, slice_from_cstr(texts[i]), SLICE("relay.example"), SLICE("anna b"));
        if (read.has_peer || profile_device(&read).len > 0)
            fail_msg("something was read of: %s", texts[i]);
    }
}

static void only_what_differs_is_news(void **state)
{
    struct profile profile = make_profile();
    struct smtp_peer peer = PEER;
    (void)state;
    assert_false(profile_learn(&profile, &PEER));
    peer.ways = SLICE("465/tls");
    assert_true(profile_learn(&profile, &peer));
    assert_false(profile_learn(&profile, &peer));
    peer.epoch = SLICE("0d5r8k3mZr"); /* the relay has another database */
    assert_true(profile_learn(&profile, &peer));
    assert_false(profile_learn(&profile, &peer));
    peer.outcome_s++;
    assert_true(profile_learn(&profile, &peer));
    peer.capabilities = 0;
    assert_true(profile_learn(&profile, &peer));
}

/* As in EHLO: XOUTCOME with an epoch and a time, or not at all. */
static void half_an_outcome_is_none(void **state)
{
    static const char *const lines[] = {"", "outcome 5\n", "outcome 5 \n", "outcome x e\n", "outcome 5 a b\n", "outcome\n"};
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct profile read;
        char text[200];
        snprintf(text, sizeof text, "postern-profile 1\nhost relay.example\nuser anna b\npeer %x 1 1 1 1 x\n%s", (unsigned)(SMTP_CAP_XOUTCOME | SMTP_CAP_SIZE), lines[i]);
        profile_read(&read, slice_from_cstr(text), SLICE("relay.example"), SLICE("anna b"));
        assert_true(read.has_peer && read.peer.capabilities == SMTP_CAP_SIZE && read.epoch_len == 0 && read.peer.outcome_s == 0);
    }
}

static void a_relay_is_ours_by_what_only_ours_says(void **state)
{
    struct profile profile = {0};
    struct smtp_peer postfix = {.capabilities = SMTP_CAP_PIPELINING | SMTP_CAP_CHUNKING | SMTP_CAP_DSN};
    (void)state;
    assert_false(profile_is_ours(&profile));
    profile_learn(&profile, &postfix);
    assert_false(profile_is_ours(&profile));
    profile_learn(&profile, &PEER);
    assert_true(profile_is_ours(&profile));
}

static void its_ways_are_those_of_its_ehlo(void **state)
{
    struct profile profile = make_profile();
    struct finder_way ways[FINDER_WAYS_MAX];
    (void)state;
    assert_int_equal(profile_ways(&profile, ways, FINDER_WAYS_MAX), 2);
    assert_true(ways[0].port == 465 && ways[1].port == 8443 && ways[1].address.family == 4);
}

/* This machine, and groups of machines, are nobody's place. */
static void its_ways_lead_to_no_place_of_ours(void **state)
{
    struct profile profile = make_profile();
    struct smtp_peer peer = PEER;
    struct finder_way ways[FINDER_WAYS_MAX];
    (void)state;
    peer.ways = SLICE("465/tls 127.0.0.1:22/tls [::1]:22/tls [::]:22/tls 0.0.0.0:22/tls 169.254.1.1:22/tls 224.0.0.1:22/tls 255.255.255.255:22/tls [ff02::1]:22/tls [fe80::1]:22/tls "
                      "[::ffff:127.0.0.1]:22/tls 198.51.100.7:8443/tls [2001:db8::1]:8443/tls");
    profile_learn(&profile, &peer);
    assert_int_equal(profile_ways(&profile, ways, FINDER_WAYS_MAX), 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_not_equal(ways[i].port, 22);
}

static void a_device_that_could_not_be_named_again_is_not_kept(void **state)
{
    struct profile profile = {0};
    (void)state;
    assert_false(profile_keep_device(&profile, SLICE("d 42"), slice_of(TOKEN, SASL_TOKEN)));
    assert_false(profile_keep_device(&profile, SLICE("d\n42"), slice_of(TOKEN, SASL_TOKEN)));
    assert_false(profile_keep_device(&profile, SLICE(""), slice_of(TOKEN, SASL_TOKEN)));
    assert_false(profile_keep_device(&profile, SLICE("d-42"), slice_of(TOKEN, SASL_TOKEN - 1)));
    assert_int_equal(profile_device(&profile).len, 0);
}

static void what_is_forgotten_is_wiped(void **state)
{
    static const uint8_t zeros[SASL_TOKEN];
    struct profile profile = make_profile();
    (void)state;
    profile_forget_device(&profile);
    assert_memory_equal(profile.token, zeros, SASL_TOKEN);
    assert_true(profile.has_peer && profile_token(&profile).len == 0);
    profile_forget(&profile);
    assert_false(profile.has_peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(of_another_relay_or_user_nothing_is_read),
        cmocka_unit_test(every_beginning_of_a_text_is_read),
        cmocka_unit_test(what_we_did_not_write_is_nothing),
        cmocka_unit_test(only_what_differs_is_news),
        cmocka_unit_test(half_an_outcome_is_none),
        cmocka_unit_test(a_relay_is_ours_by_what_only_ours_says),
        cmocka_unit_test(its_ways_are_those_of_its_ehlo),
        cmocka_unit_test(its_ways_lead_to_no_place_of_ours),
        cmocka_unit_test(a_device_that_could_not_be_named_again_is_not_kept),
        cmocka_unit_test(what_is_forgotten_is_wiped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
