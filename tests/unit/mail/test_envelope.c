#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "mail/envelope.h"

static void keywords(void **state)
{
    (void)state;
    assert_string_equal(mail_body_name(MAIL_BODY_7BIT), "7BIT");
    assert_string_equal(mail_body_name(MAIL_BODY_8BITMIME), "8BITMIME");
    assert_string_equal(mail_body_name(MAIL_BODY_BINARYMIME), "BINARYMIME");
    assert_string_equal(dsn_ret_name(DSN_RET_UNSET), "");
    assert_string_equal(dsn_ret_name(DSN_RET_FULL), "FULL");
    assert_string_equal(dsn_ret_name(DSN_RET_HDRS), "HDRS");
}

static void notify_is_formatted(void **state)
{
    static const struct {
        unsigned notify;
        const char *text;
    } rows[] = {
        {0, ""},
        {DSN_NOTIFY_NEVER, "NEVER"},
        {DSN_NOTIFY_NEVER | DSN_NOTIFY_DELAY, "NEVER"},
        {DSN_NOTIFY_SUCCESS, "SUCCESS"},
        {DSN_NOTIFY_FAILURE | DSN_NOTIFY_DELAY, "FAILURE,DELAY"},
        {DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE | DSN_NOTIFY_DELAY, "SUCCESS,FAILURE,DELAY"},
    };
    char out[32];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        dsn_notify_format(rows[i].notify, out, sizeof out);
        assert_string_equal(out, rows[i].text);
    }
}

static void copy_is_deep(void **state)
{
    char sender[] = "a@x.y", address[] = "b@x.y", orcpt[] = "rfc822;b@x.y", envid[] = "QQ1";
    struct envelope_recipient recipients[2] = {
        [0] = {.address = slice_from_cstr(address), .notify = DSN_NOTIFY_DELAY, .orcpt = slice_from_cstr(orcpt)}};
    struct envelope from = {slice_from_cstr(sender), MAIL_BODY_8BITMIME, true, DSN_RET_HDRS, slice_from_cstr(envid), recipients, 2}, copy;
    struct arena arena = {0};
    (void)state;
    assert_int_equal(envelope_copy(&arena, &from, &copy), RESULT_OK);
    memset(sender, 'x', sizeof sender);
    memset(address, 'x', sizeof address);
    memset(orcpt, 'x', sizeof orcpt);
    memset(envid, 'x', sizeof envid);
    memset(recipients, 0, sizeof recipients);
    assert_true(slice_equal(copy.sender, SLICE("a@x.y")));
    assert_true(slice_equal(copy.envid, SLICE("QQ1")));
    assert_int_equal(copy.nrcpt, 2);
    assert_true(slice_equal(copy.recipients[0].address, SLICE("b@x.y")));
    assert_true(slice_equal(copy.recipients[0].orcpt, SLICE("rfc822;b@x.y")));
    assert_int_equal(copy.recipients[0].notify, DSN_NOTIFY_DELAY);
    assert_int_equal(copy.recipients[1].address.len, 0);
    assert_true(copy.is_smtputf8 && copy.body == MAIL_BODY_8BITMIME && copy.ret == DSN_RET_HDRS);
    arena_free(&arena);
}

static void copy_of_nothing(void **state)
{
    struct envelope from = {0}, copy;
    struct arena arena = {0}, small = ARENA(8);
    (void)state;
    assert_int_equal(envelope_copy(&arena, &from, &copy), RESULT_OK);
    assert_int_equal(copy.nrcpt, 0);
    assert_null(copy.recipients);
    from.sender = SLICE("too.long@example.org");
    assert_int_equal(envelope_copy(&small, &from, &copy), RESULT_MEMORY);
    arena_free(&arena);
    arena_free(&small);
}

static void each_recipient_is_kept_once(void **state)
{
    struct envelope_recipient recipients[] = {
        {.address = SLICE("b@x.y"), .notify = DSN_NOTIFY_NEVER, .orcpt = SLICE("rfc822;b1@x.y")},
        {.address = SLICE("B@x.y")}, /* a local-part's case is its host's business (RFC 5321 2.4) */
        {.address = SLICE("b@x.y"), .notify = DSN_NOTIFY_SUCCESS, .orcpt = SLICE("rfc822;b2@x.y")},
        {.address = SLICE("c@x.y")},
        {.address = SLICE("b@x.y")},
        {.address = SLICE("c@x.y"), .notify = DSN_NOTIFY_DELAY},
    };
    struct envelope envelope = {.sender = SLICE("a@x.y"), .recipients = recipients, .nrcpt = 6}, none = {0};
    (void)state;
    assert_int_equal(envelope_drop_repeated(&envelope), RESULT_OK);
    assert_int_equal(envelope.nrcpt, 3);
    assert_true(slice_equal(recipients[0].address, SLICE("b@x.y")) && slice_equal(recipients[1].address, SLICE("B@x.y")) && slice_equal(recipients[2].address, SLICE("c@x.y")));
    assert_int_equal(recipients[0].notify, DSN_NOTIFY_NEVER);
    assert_true(slice_equal(recipients[0].orcpt, SLICE("rfc822;b1@x.y")));
    assert_int_equal(recipients[2].notify, 0);
    assert_int_equal(envelope_drop_repeated(&none), RESULT_OK);
}

/* As many as a relay may be told to take: quick, however many are the same. */
static void many_recipients_are_kept_once(void **state)
{
    enum { N = 20000, DIFFERENT = 7000 };
    static struct envelope_recipient recipients[N];
    static char texts[N][16];
    struct envelope envelope = {.recipients = recipients, .nrcpt = N};
    (void)state;
    for (int i = 0; i < N; i++) {
        snprintf(texts[i], sizeof texts[i], "u%d@x.y", i % DIFFERENT);
        recipients[i].address = slice_from_cstr(texts[i]);
    }
    assert_int_equal(envelope_drop_repeated(&envelope), RESULT_OK);
    assert_int_equal(envelope.nrcpt, DIFFERENT);
    for (int i = 0; i < DIFFERENT; i++)
        assert_true(slice_equal(recipients[i].address, slice_from_cstr(texts[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keywords),
        cmocka_unit_test(notify_is_formatted),
        cmocka_unit_test(copy_is_deep),
        cmocka_unit_test(copy_of_nothing),
        cmocka_unit_test(each_recipient_is_kept_once),
        cmocka_unit_test(many_recipients_are_kept_once),
    };
    return cmocka_run_group_tests_name("mail/envelope", tests, NULL, NULL);
}
