/* Reports: one read whole, the rest by what must and must not stand in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "mail/dsn.h"
#include "mail/header.h"

#define BOUNDARY "report-0d5r8k3mzq1vt.zzrelay.example"

static const struct dsn_recipient bob = {
    .address = {"bob@x.y", 7},
    .orcpt = {"rfc822;Bob+2Bold@x.y", 20},
    .action = DSN_FAILED,
    .status = {"5.1.1", 5},
    .remote_mta = {"mx.x.y", 6},
    .reply = {"550 5.1.1 no such user\nhere", 27},
    .last_attempt_at_ms = 1795289097000,
};

static struct dsn report(const struct dsn_recipient *recipients, size_t nrcpt)
{
    return (struct dsn){
        .reporting_mta = SLICE("relay.example"),
        .from = SLICE("MAILER-DAEMON@relay.example"),
        .to = SLICE("alice@x.y"),
        .message_id = SLICE("<0d5r8k3mzq1vt.zz@relay.example>"),
        .now_ms = 1795289097000,
        .arrived_at_ms = 1795289000000,
        .envid = SLICE("QQ+2B1"),
        .recipients = recipients,
        .nrcpt = nrcpt,
        .original = SLICE("From: alice@x.y\r\nSubject: s\r\n\r\nbody\r\n"),
    };
}

static const char whole[] =
    "From: Mail delivery <MAILER-DAEMON@relay.example>\r\n"
    "To: <alice@x.y>\r\n"
    "Subject: Undelivered mail: your message was not delivered\r\n"
    "Date: Sat, 21 Nov 2026 19:24:57 +0000\r\n"
    "Message-ID: <0d5r8k3mzq1vt.zz@relay.example>\r\n"
    "Auto-Submitted: auto-replied\r\n"
    "MIME-Version: 1.0\r\n"
    "Content-Type: multipart/report; report-type=delivery-status;\r\n"
    " boundary=\"" BOUNDARY "\"\r\n"
    "\r\n"
    "This is a report in MIME format.\r\n"
    "\r\n--" BOUNDARY "\r\n"
    "Content-Type: text/plain; charset=us-ascii\r\n"
    "\r\n"
    "This is the mail system at relay.example.\r\n"
    "\r\n"
    "Your message was NOT delivered to these recipients, and will not be tried again:\r\n"
    "\r\n"
    "  <bob@x.y>\r\n"
    "    mx.x.y said:\r\n"
    "      550 5.1.1 no such user\r\n"
    "      here\r\n"
    "\r\n"
    "The header of the message is attached.\r\n"
    "\r\n--" BOUNDARY "\r\n"
    "Content-Type: message/delivery-status\r\n"
    "\r\n"
    "Original-Envelope-Id: QQ+1\r\n"
    "Reporting-MTA: dns; relay.example\r\n"
    "Arrival-Date: Sat, 21 Nov 2026 19:23:20 +0000\r\n"
    "\r\n"
    "Original-Recipient: rfc822; Bob+old@x.y\r\n"
    "Final-Recipient: rfc822; bob@x.y\r\n"
    "Action: failed\r\n"
    "Status: 5.1.1\r\n"
    "Remote-MTA: dns; mx.x.y\r\n"
    "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
    " here\r\n"
    "Last-Attempt-Date: Sat, 21 Nov 2026 19:24:57 +0000\r\n"
    "\r\n--" BOUNDARY "\r\n"
    "Content-Type: text/rfc822-headers\r\n"
    "\r\n"
    "From: alice@x.y\r\n"
    "Subject: s\r\n"
    "\r\n--" BOUNDARY "--\r\n";

static void is_written_whole(void **state)
{
    struct dsn dsn = report(&bob, 1);
    struct buffer out = BUFFER(64 * 1024);
    (void)state;
    assert_int_equal(dsn_write(&dsn, &out), RESULT_OK);
    if (!slice_equal(buffer_slice(&out), slice_from_cstr(whole)))
        fail_msg("%.*s", SLICE_ARG(buffer_slice(&out)));
    assert_int_equal(buffer_len(&out), strlen(whole));
    buffer_free(&out);
}

static bool holds(const struct buffer *out, const char *text)
{
    struct slice s = buffer_slice(out), what = slice_from_cstr(text);
    for (; s.len >= what.len; s = slice_skip(s, 1))
        if (slice_starts_with(s, what))
            return true;
    return false;
}

/* Writes a report and asserts that it is a well-formed message: every LF behind a CR and the other way round, no controls, no line
 * longer than 998 octets, ASCII unless allowed. */
static void write_sound(const struct dsn *dsn, bool allow_8bit, struct buffer *out)
{
    *out = BUFFER(256 * 1024);
    assert_int_equal(dsn_write(dsn, out), RESULT_OK);
    struct slice s = buffer_slice(out);
    size_t line = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        assert_true(c >= ' ' || c == '\r' || c == '\n');
        assert_true(c != '\n' || s.ptr[i - 1] == '\r');
        assert_true(c != '\r' || s.ptr[i + 1] == '\n');
        assert_true(c < 0x7f || (allow_8bit && c > 0x7f));
        line = c == '\n' ? 0 : line + 1;
        assert_true(line <= 999);
    }
}

static void nobody_breaks_in(void **state)
{
    static const char *const nasty[] = {
        "x\r\nBcc: z@z\r\n\r\n--" BOUNDARY "--\r\n", "x\nAction: delivered", "x\rAction: delivered", "\x01\x1b[2J\x7f", "\xff\xfe\xc3",
        "\xe2\x80\xae", "\xc2\x85y", "a\tb", "\n\n\n", "+0D+0AAction:+20delivered", "rfc822;a+0D+0AAction:+20delivered", "a\r\nBcc: b;c", "\n--" BOUNDARY "\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof nasty / sizeof *nasty; i++) {
        struct slice s = slice_from_cstr(nasty[i]);
        struct dsn_recipient r = {
            .address = s, .orcpt = s, .action = DSN_FAILED, .status = s, .remote_mta = s, .reply = s, .words = s};
        struct dsn dsn = {.reporting_mta = s, .from = s, .to = s, .message_id = s, .envid = s, .recipients = &r, .nrcpt = 1, .now_ms = 1};
        for (int is_smtputf8 = 0; is_smtputf8 < 2; is_smtputf8++) {
            struct buffer out;
            dsn.is_smtputf8 = is_smtputf8;
            write_sound(&dsn, is_smtputf8, &out);
            assert_false(holds(&out, "\r\nBcc:"));
            assert_false(holds(&out, "\r\nAction: delivered"));
            assert_false(holds(&out, "\r\n--" BOUNDARY));
            assert_true(holds(&out, "\r\nAction: failed\r\nStatus: 5.0.0\r\n"));
            buffer_free(&out);
        }
    }
}

static void long_replies_are_bounded(void **state)
{
    char reply[20000];
    struct dsn_recipient r = bob;
    struct buffer out;
    (void)state;
    memset(reply, 'x', sizeof reply);
    r.reply = r.words = r.remote_mta = r.address = r.orcpt = slice_of(reply, sizeof reply);
    struct dsn dsn = report(&r, 1);
    dsn.envid = dsn.to = dsn.message_id = r.reply;
    write_sound(&dsn, false, &out);
    assert_true(buffer_len(&out) < 30000);
    buffer_free(&out);
    for (size_t i = 1; i < sizeof reply; i += 2)
        reply[i] = '\n';
    write_sound(&dsn, false, &out);
    assert_true(buffer_len(&out) < 10000);
    buffer_free(&out);
}

static void words_of_ours_are_no_servers(void **state)
{
    struct dsn_recipient r = {.address = SLICE("a@x.y"), .action = DSN_FAILED, .status = SLICE("5.3.4"), .reply = SLICE("552 5.3.4 The message is too large"), .is_local = true};
    struct dsn dsn = report(&r, 1);
    struct buffer out;
    (void)state;
    write_sound(&dsn, false, &out);
    assert_true(holds(&out, "  <a@x.y>\r\n    Reason:\r\n      552 5.3.4 The message is too large\r\n"));
    assert_true(holds(&out, "\r\nStatus: 5.3.4\r\nDiagnostic-Code: X-Postern; 552 5.3.4 The message is too large\r\n"));
    assert_false(holds(&out, " said:"));
    assert_false(holds(&out, "smtp;"));
    buffer_free(&out);
}

static void each_action_has_its_fields(void **state)
{
    struct dsn_recipient r[] = {
        {.address = SLICE("a@x.y"), .action = DSN_DELAYED, .status = SLICE("4.4.1"), .will_retry_until_ms = 1795289097000},
        {.address = SLICE("b@x.y"), .action = DSN_DELIVERED, .status = SLICE("2.0.0"), .will_retry_until_ms = 5},
        {.address = SLICE("c@x.y"), .action = DSN_RELAYED},
        {.address = SLICE("d@x.y"), .action = DSN_EXPANDED},
    };
    struct dsn dsn = report(r, 4);
    struct buffer out;
    (void)state;
    write_sound(&dsn, false, &out);
    assert_true(holds(&out, "Subject: Delayed mail"));
    assert_true(holds(&out, "  <a@x.y>\r\n    It could not be delivered yet.\r\n    Trying goes on until Sat, 21 Nov 2026"));
    assert_true(holds(&out, "\r\nFinal-Recipient: rfc822; a@x.y\r\nAction: delayed\r\nStatus: 4.4.1\r\nWill-Retry-Until: Sat, 21 Nov 2026"));
    assert_true(holds(&out, "\r\nFinal-Recipient: rfc822; b@x.y\r\nAction: delivered\r\nStatus: 2.0.0\r\n\r\n"));
    assert_true(holds(&out, "\r\nFinal-Recipient: rfc822; c@x.y\r\nAction: relayed\r\nStatus: 2.0.0\r\n"));
    assert_true(holds(&out, "\r\nFinal-Recipient: rfc822; d@x.y\r\nAction: expanded\r\nStatus: 2.0.0\r\n"));
    assert_false(holds(&out, "Diagnostic-Code"));
    buffer_free(&out);
    dsn.recipients = r + 1;
    dsn.nrcpt = 1;
    write_sound(&dsn, false, &out);
    assert_true(holds(&out, "Subject: Delivery report"));
    assert_false(holds(&out, "NOT delivered"));
    buffer_free(&out);
}

static void status_fits_the_action(void **state)
{
    static const struct {
        enum dsn_action action;
        const char *status, *written;
    } rows[] = {
        {DSN_FAILED, "5.7.1", "5.7.1"}, {DSN_FAILED, "4.4.7", "4.4.7"}, {DSN_FAILED, "2.0.0", "5.0.0"}, {DSN_FAILED, "5.1", "5.0.0"},
        {DSN_FAILED, "5.1.1.1", "5.0.0"}, {DSN_FAILED, "5.1.1234", "5.0.0"}, {DSN_FAILED, "5.x.1", "5.0.0"}, {DSN_FAILED, "", "5.0.0"},
        {DSN_FAILED, "55.1.1", "5.0.0"}, {DSN_FAILED, "5.123.456", "5.123.456"}, {DSN_DELAYED, "5.1.1", "4.0.0"}, {DSN_DELAYED, "4.2.2", "4.2.2"},
        {DSN_DELIVERED, "2.1.5", "2.1.5"}, {DSN_RELAYED, "5.1.1", "2.0.0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dsn_recipient r = {.address = SLICE("a@x.y"), .action = rows[i].action, .status = slice_from_cstr(rows[i].status)};
        struct dsn dsn = report(&r, 1);
        struct buffer out;
        char line[32] = "\r\nStatus: ";
        memcpy(line + 10, rows[i].written, strlen(rows[i].written));
        write_sound(&dsn, false, &out);
        if (!holds(&out, line))
            fail_msg("%s", rows[i].status);
        buffer_free(&out);
    }
}

static void returns_what_was_asked_for(void **state)
{
    struct dsn dsn = report(&bob, 1);
    struct buffer out;
    (void)state;
    dsn.ret = DSN_RET_FULL;
    write_sound(&dsn, false, &out);
    assert_true(holds(&out, "Content-Type: message/rfc822\r\n\r\nFrom: alice@x.y\r\nSubject: s\r\n\r\nbody\r\n\r\n--" BOUNDARY "--\r\n"));
    assert_true(holds(&out, "The message is attached."));
    buffer_free(&out);
    dsn.original = (struct slice){0};
    write_sound(&dsn, false, &out);
    assert_false(holds(&out, "rfc822\r\n"));
    assert_false(holds(&out, "attached"));
    buffer_free(&out);
    dsn.original = SLICE("Subject: \xff\r\n\r\nbody");
    dsn.ret = DSN_RET_HDRS;
    write_sound(&dsn, true, &out);
    assert_true(holds(&out, "text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: \xff\r\n\r\n--"));
    assert_false(holds(&out, "body"));
    assert_true(holds(&out, " boundary=\"" BOUNDARY "\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"));
    buffer_free(&out);
}

static void speaks_utf8_to_who_can_read_it(void **state)
{
    struct dsn_recipient r = bob;
    struct buffer out;
    (void)state;
    r.address = SLICE("j\xc3\xb6rg@x.y");
    r.orcpt = SLICE("utf-8;j\\x{F6}rg@x.y");
    r.reply = SLICE("550 kein J\xc3\xb6rg");
    struct dsn dsn = report(&r, 1);
    write_sound(&dsn, false, &out);
    assert_true(holds(&out, "Content-Type: message/delivery-status\r\n"));
    assert_true(holds(&out, "Final-Recipient: utf-8; j\\x{F6}rg@x.y\r\n"));
    assert_true(holds(&out, "Original-Recipient: utf-8; j\\x{F6}rg@x.y\r\n"));
    assert_true(holds(&out, "smtp; 550 kein J?rg\r\n"));
    buffer_free(&out);
    dsn.is_smtputf8 = true;
    write_sound(&dsn, true, &out);
    assert_true(holds(&out, "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n"));
    assert_true(holds(&out, "Content-Type: message/global-headers\r\n"));
    assert_true(holds(&out, "Final-Recipient: utf-8; j\xc3\xb6rg@x.y\r\n"));
    assert_true(holds(&out, "smtp; 550 kein J\xc3\xb6rg\r\n"));
    buffer_free(&out);
    dsn.ret = DSN_RET_FULL;
    write_sound(&dsn, true, &out);
    assert_true(holds(&out, "Content-Type: message/global\r\n"));
    buffer_free(&out);
}

static void leaves_nothing_behind_when_full(void **state)
{
    struct dsn dsn = report(&bob, 1);
    struct buffer out = BUFFER(800);
    (void)state;
    assert_int_equal(buffer_append(&out, SLICE("before")), RESULT_OK);
    assert_int_equal(dsn_write(&dsn, &out), RESULT_LIMIT);
    assert_true(slice_equal(buffer_slice(&out), SLICE("before")));
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_written_whole),
        cmocka_unit_test(nobody_breaks_in),
        cmocka_unit_test(long_replies_are_bounded),
        cmocka_unit_test(words_of_ours_are_no_servers),
        cmocka_unit_test(each_action_has_its_fields),
        cmocka_unit_test(status_fits_the_action),
        cmocka_unit_test(returns_what_was_asked_for),
        cmocka_unit_test(speaks_utf8_to_who_can_read_it),
        cmocka_unit_test(leaves_nothing_behind_when_full),
    };
    return cmocka_run_group_tests_name("mail/dsn", tests, NULL, NULL);
}
