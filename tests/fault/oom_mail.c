/* Every allocation of shared/mail fails once: the caller is told, nothing half-made comes out, nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crypto/crypto.h"
#include "mail/dsn.h"
#include "mail/received.h"
#include "mail/submission.h"
#include "mail/xtext.h"
#include "support/oom.h"

enum { ALLOCATIONS_MAX = 1000 };

#define MESSAGE                                                                                                                            \
    "From: A <a@x.y>, b@x.y\r\nSender: s@x.y\r\nTo: t@x.y, u@x.y\r\nBcc: c@x.y\r\nSubject: a subject that is long enough for a buffer\r\n" \
    "X-Long: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n\r\nbody\r\n"

static void ok_or_failed(enum result result)
{
    assert_true(result == RESULT_OK || (result == RESULT_MEMORY && oom_has_failed()));
}

static void submit(void *context)
{
    struct submission_config config = {
        .received = SLICE("Received: by relay.example; D\r\n"), .date = SLICE("D"), .message_id = SLICE("<i@x>"), .collects_recipients = true};
    struct submission *submission = submission_new(&config);
    struct slice in = SLICE(MESSAGE);
    struct submission_out out;
    enum result result = RESULT_OK;
    (void)context;
    assert_true(submission != NULL || oom_has_failed());
    if (!submission)
        return;
    for (; in.len > 0; in = slice_skip(in, 7)) {
        result = submission_feed(submission, slice_take(in, 7), &out);
        ok_or_failed(result);
        assert_true(result == RESULT_OK || (out.header.len == 0 && out.body.len == 0));
    }
    enum result end = submission_finish(submission, &out);
    ok_or_failed(end);
    assert_true(result == RESULT_OK || end == RESULT_MEMORY); /* what failed does not come good by itself */
    assert_int_equal(submission_refusal(submission), SUBMISSION_ACCEPTED);
    submission_free(&submission);
}

static void submission_runs_out(void **state)
{
    (void)state;
    assert_true(oom_loop(ALLOCATIONS_MAX, submit, NULL) > 5);
}

static void report(void *context)
{
    struct dsn_recipient r = {.address = SLICE("a@x.y"), .orcpt = SLICE("rfc822;a+2Bb@x.y"), .reply = SLICE("550 no")};
    struct dsn dsn = {.reporting_mta = SLICE("relay.example"),
                      .to = SLICE("b@x.y"),
                      .message_id = SLICE("<i@x>"),
                      .envid = SLICE("Q+2B"),
                      .recipients = &r,
                      .nrcpt = 1,
                      .original = SLICE(MESSAGE)};
    struct buffer out = BUFFER(64 * 1024);
    (void)context;
    enum result result = dsn_write(&dsn, &out);
    ok_or_failed(result);
    assert_true(result == RESULT_OK || buffer_len(&out) == 0);
    buffer_free(&out);
}

static void report_runs_out(void **state)
{
    (void)state;
    assert_true(oom_loop(ALLOCATIONS_MAX, report, NULL) > 3);
}

static void small_things(void *context)
{
    struct envelope_recipient recipients[2] = {[0] = {.address = SLICE("a@x.y"), .orcpt = SLICE("rfc822;a")}};
    struct envelope from = {.sender = SLICE("b@x.y"), .envid = SLICE("Q"), .recipients = recipients, .nrcpt = 2}, copy;
    struct received received = {.by = SLICE("relay.example"), .protocol = "ESMTP", .id = SLICE("1")};
    struct arena arena = {0};
    struct buffer out = BUFFER(4096);
    (void)context;
    ok_or_failed(envelope_copy(&arena, &from, &copy));
    recipients[1] = recipients[0];
    enum result result = envelope_drop_repeated(&from);
    ok_or_failed(result);
    assert_int_equal(from.nrcpt, result == RESULT_OK ? 1 : 2);
    ok_or_failed(received_format(&received, &out));
    buffer_free(&out);
    ok_or_failed(xtext_encode(SLICE("a+b"), &out));
    buffer_free(&out);
    ok_or_failed(xtext_decode(SLICE("a+2Bb"), &out));
    buffer_free(&out);
    ok_or_failed(crypto_base64_encode(SLICE("abc"), &out));
    buffer_free(&out);
    ok_or_failed(crypto_base64_decode(SLICE("YWJj"), &out));
    buffer_free(&out);
    arena_free(&arena);
}

static void small_things_run_out(void **state)
{
    (void)state;
    assert_true(oom_loop(ALLOCATIONS_MAX, small_things, NULL) >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submission_runs_out),
        cmocka_unit_test(report_runs_out),
        cmocka_unit_test(small_things_run_out),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests_name("oom/mail", tests, NULL, NULL);
}
