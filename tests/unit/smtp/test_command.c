/* smtp/command.h: each accepted and each refused form of a command line. Every row is read from memory that ends at an inaccessible page. */
#include "smtp/command.h"

#include "support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct verb_row {
    struct slice line;
    enum smtp_verb verb;
    const char *argument;
};

static const struct verb_row VERBS[] = {
    {SLICE(""), SMTP_VERB_UNKNOWN, ""},
    {SLICE("   "), SMTP_VERB_UNKNOWN, ""},
    {SLICE("EHLO a.example"), SMTP_VERB_EHLO, "a.example"},
    {SLICE("ehlo a.example"), SMTP_VERB_EHLO, "a.example"},
    {SLICE("  EhLo\t a.example \t"), SMTP_VERB_EHLO, "a.example"},
    {SLICE("HELO a b"), SMTP_VERB_HELO, "a b"},
    {SLICE("MAIL FROM:<a@b.example>"), SMTP_VERB_MAIL, "FROM:<a@b.example>"},
    {SLICE("MAILFROM:<a@b.example>"), SMTP_VERB_FOREIGN, ""},
    {SLICE("RCPT TO:<a@b.example>"), SMTP_VERB_RCPT, "TO:<a@b.example>"},
    {SLICE("DATA"), SMTP_VERB_DATA, ""},
    {SLICE("DATA "), SMTP_VERB_DATA, ""},
    {SLICE("DATAX"), SMTP_VERB_UNKNOWN, ""},
    {SLICE("BDAT 5 LAST"), SMTP_VERB_BDAT, "5 LAST"},
    {SLICE("RSET"), SMTP_VERB_RSET, ""},
    {SLICE("NOOP x y"), SMTP_VERB_NOOP, "x y"},
    {SLICE("QUIT"), SMTP_VERB_QUIT, ""},
    {SLICE("STARTTLS"), SMTP_VERB_STARTTLS, ""},
    {SLICE("AUTH PLAIN x"), SMTP_VERB_AUTH, "PLAIN x"},
    {SLICE("VRFY a"), SMTP_VERB_VRFY, "a"},
    {SLICE("EXPN a"), SMTP_VERB_EXPN, "a"},
    {SLICE("HELP"), SMTP_VERB_HELP, ""},
    {SLICE("XDEVICE Anna's+20laptop"), SMTP_VERB_XDEVICE, "Anna's+20laptop"},
    {SLICE("xdevice"), SMTP_VERB_XDEVICE, ""},
    {SLICE("xOutcome <a@b> 5"), SMTP_VERB_XOUTCOME, "<a@b> 5"},
    {SLICE("ETRN x"), SMTP_VERB_OBSOLETE, "x"},
    {SLICE("SOML FROM:<x>"), SMTP_VERB_OBSOLETE, "FROM:<x>"},
    {SLICE("GET / HTTP/1.1"), SMTP_VERB_FOREIGN, "/ HTTP/1.1"},
    {SLICE("get /"), SMTP_VERB_FOREIGN, "/"},
    {SLICE("PRI * HTTP/2.0"), SMTP_VERB_FOREIGN, "* HTTP/2.0"},
    {SLICE("Host: x"), SMTP_VERB_FOREIGN, "x"},
    {SLICE("Host:x"), SMTP_VERB_FOREIGN, ""},
    {SLICE(": x"), SMTP_VERB_UNKNOWN, "x"},
    {SLICE("NOOP a:b"), SMTP_VERB_NOOP, "a:b"},
    {SLICE("\xff\xfe"), SMTP_VERB_UNKNOWN, ""},
};

static void test_verbs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof VERBS / sizeof *VERBS; i++) {
        struct slice line = guard_dup(VERBS[i].line), argument;
        print_message("%.*s\n", SLICE_ARG(VERBS[i].line));
        assert_int_equal(smtp_verb_parse(line, &argument), VERBS[i].verb);
        assert_true(slice_equal(argument, slice_from_cstr(VERBS[i].argument)));
        guard_free(&line);
    }
}

static void test_verb_names(void **state)
{
    (void)state;
    assert_string_equal(smtp_verb_name(SMTP_VERB_STARTTLS), "STARTTLS");
    assert_string_equal(smtp_verb_name(SMTP_VERB_FOREIGN), "?");
    assert_string_equal(smtp_verb_name(SMTP_VERB_OBSOLETE), "?");
    assert_string_equal(smtp_verb_name(SMTP_VERB_UNKNOWN), "?");
}

struct row {
    struct slice line;
    enum smtp_command_fault fault;
};

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TEXT_70 "1234567890123456789012345678901234567890123456789012345678901234567890"

static const struct row ROWS[] = {
    {SLICE("MAIL FROM:<>"), SMTP_COMMAND_OK},
    {SLICE("MAIL from:<a@b.example>"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM: <a@b.example>"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:a@b.example"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:a@b.example SIZE=5"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<" A64 "@b.example>"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a" A64 "@b.example>"), SMTP_COMMAND_SENDER_LONG},
    {SLICE("MAIL"), SMTP_COMMAND_MAIL},
    {SLICE("MAIL TO:<a@b.example>"), SMTP_COMMAND_MAIL},
    {SLICE("MAIL FROM<a@b.example>"), SMTP_COMMAND_MAIL},
    {SLICE("MAIL FROM:"), SMTP_COMMAND_MAIL},
    {SLICE("MAIL FROM:  "), SMTP_COMMAND_MAIL},
    {SLICE("MAIL FROM:<a@b.example"), SMTP_COMMAND_SENDER},
    {SLICE("MAIL FROM:<a@b.example>>"), SMTP_COMMAND_SENDER},
    {SLICE("MAIL FROM:<a@b.example>SIZE=5"), SMTP_COMMAND_SENDER},
    {SLICE("MAIL FROM:<a b@c.example>"), SMTP_COMMAND_SENDER},
    {SLICE("MAIL FROM:<a>"), SMTP_COMMAND_SENDER},
    {SLICE("MAIL FROM:<a@b.example> X"), SMTP_COMMAND_PARAMETER_UNKNOWN},
    {SLICE("MAIL FROM:<a@b.example> =5"), SMTP_COMMAND_PARAMETER_UNKNOWN},
    {SLICE("MAIL FROM:<a@b.example> NOTIFY=NEVER"), SMTP_COMMAND_PARAMETER_UNKNOWN},
    {SLICE("MAIL FROM:<a@b.example>  SIZE=5   BODY=8BITMIME "), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> SIZE=0"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> SIZE=99999999999999999999"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> SIZE=999999999999999999999"), SMTP_COMMAND_SIZE},
    {SLICE("MAIL FROM:<a@b.example> SIZE"), SMTP_COMMAND_SIZE},
    {SLICE("MAIL FROM:<a@b.example> SIZE=-1"), SMTP_COMMAND_SIZE},
    {SLICE("MAIL FROM:<a@b.example> SIZE=1 size=1"), SMTP_COMMAND_PARAMETER_TWICE},
    {SLICE("MAIL FROM:<a@b.example> BODY=7BIT"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> body=binarymime"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> BODY"), SMTP_COMMAND_BODY},
    {SLICE("MAIL FROM:<a@b.example> BODY=8BIT"), SMTP_COMMAND_BODY},
    {SLICE("MAIL FROM:<a@b.example> SMTPUTF8"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> SMTPUTF8="), SMTP_COMMAND_SMTPUTF8},
    {SLICE("MAIL FROM:<\xc3\xa4@b.example> SMTPUTF8"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<\xc3\xa4@b.example>"), SMTP_COMMAND_UTF8},
    {SLICE("MAIL FROM:<\xe4@b.example> SMTPUTF8"), SMTP_COMMAND_SENDER},
    {SLICE("MAIL FROM:<a@b.example> RET=FULL"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> RET="), SMTP_COMMAND_RET},
    {SLICE("MAIL FROM:<a@b.example> ENVID=a+2Bb"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> ENVID=a+2"), SMTP_COMMAND_ENVID},
    {SLICE("MAIL FROM:<a@b.example> ENVID=a=b"), SMTP_COMMAND_ENVID},
    {SLICE("MAIL FROM:<a@b.example> AUTH=<>"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> AUTH=a+40b"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> AUTH"), SMTP_COMMAND_AUTH_PARAMETER},
    {SLICE("RCPT TO:<a@b.example>"), SMTP_COMMAND_OK},
    {SLICE("RCPT to: a@b.example NOTIFY=DELAY"), SMTP_COMMAND_OK},
    {SLICE("RCPT TO:<postmaster>"), SMTP_COMMAND_OK},
    {SLICE("RCPT TO:<@r.example:a@b.example>"), SMTP_COMMAND_OK},
    {SLICE("RCPT"), SMTP_COMMAND_RCPT},
    {SLICE("RCPT TO:"), SMTP_COMMAND_RCPT},
    {SLICE("RCPT FROM:<a@b.example>"), SMTP_COMMAND_RCPT},
    {SLICE("RCPT TO:<>"), SMTP_COMMAND_RECIPIENT},
    {SLICE("RCPT TO:<a@>"), SMTP_COMMAND_RECIPIENT},
    {SLICE("RCPT TO:<" A64 "a@b.example>"), SMTP_COMMAND_RECIPIENT_LONG},
    {SLICE("RCPT TO:<\xc3\xa4@b.example>"), SMTP_COMMAND_UTF8},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a@b>"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> transid=<0d5r8k3mzq1vt.0.9f0c@postern-agent.invalid> xwhole SIZE=5"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> XWHOLE TRANSID=<!#$%&'*+-^_`{|}~.A@b.C.d>"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<" TEXT_70 "@1234567>"), SMTP_COMMAND_OK},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<" TEXT_70 "@12345678>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID="), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=a@b"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a@b"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=a@b>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<@b>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a@>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a@b@c>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a..b@c>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<.a@c>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a.@c>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a@.c>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a@c.>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a=b@c>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a/b@c>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<\"a\"@c>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a@[c]>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a\x7f@c>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<\xc3\xa4@c>"), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a@b> TRANSID=<a@b>"), SMTP_COMMAND_PARAMETER_TWICE},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a@b> XWHOLE XWHOLE"), SMTP_COMMAND_PARAMETER_TWICE},
    {SLICE("MAIL FROM:<a@b.example> TRANSID=<a@b> XWHOLE="), SMTP_COMMAND_TRANSID},
    {SLICE("MAIL FROM:<a@b.example> XWHOLE"), SMTP_COMMAND_TRANSID},
    {SLICE("RCPT TO:<a@b.example> TRANSID=<a@b>"), SMTP_COMMAND_PARAMETER_UNKNOWN},
    {SLICE("RCPT TO:<a@b.example> SIZE=5"), SMTP_COMMAND_PARAMETER_UNKNOWN},
    {SLICE("RCPT TO:<a@b.example> NOTIFY=success,FAILURE,delay"), SMTP_COMMAND_OK},
    {SLICE("RCPT TO:<a@b.example> NOTIFY=SUCCESS,SUCCESS"), SMTP_COMMAND_OK},
    {SLICE("RCPT TO:<a@b.example> NOTIFY=NEVER,SUCCESS"), SMTP_COMMAND_NOTIFY},
    {SLICE("RCPT TO:<a@b.example> NOTIFY=SUCCESS,"), SMTP_COMMAND_NOTIFY},
    {SLICE("RCPT TO:<a@b.example> NOTIFY"), SMTP_COMMAND_NOTIFY},
    {SLICE("RCPT TO:<a@b.example> ORCPT=rfc822;a+40b"), SMTP_COMMAND_OK},
    {SLICE("RCPT TO:<a@b.example> ORCPT=rfc822"), SMTP_COMMAND_ORCPT},
    {SLICE("RCPT TO:<a@b.example> ORCPT="), SMTP_COMMAND_ORCPT},
    {SLICE("EHLO x"), SMTP_COMMAND_OK},
    {SLICE("EHLO"), SMTP_COMMAND_HELO},
    {SLICE("HELO a b"), SMTP_COMMAND_HELO},
    {SLICE("HELO \x7f"), SMTP_COMMAND_HELO},
    {SLICE("BDAT 0"), SMTP_COMMAND_OK},
    {SLICE("BDAT 9223372036854775807 LAST"), SMTP_COMMAND_OK},
    {SLICE("BDAT 9223372036854775808"), SMTP_COMMAND_BDAT},
    {SLICE("BDAT"), SMTP_COMMAND_BDAT},
    {SLICE("BDAT LAST"), SMTP_COMMAND_BDAT},
    {SLICE("BDAT -5"), SMTP_COMMAND_BDAT},
    {SLICE("BDAT +5"), SMTP_COMMAND_BDAT},
    {SLICE("BDAT 0x5"), SMTP_COMMAND_BDAT},
    {SLICE("BDAT 5 LAST LAST"), SMTP_COMMAND_BDAT},
    {SLICE("AUTH PLAIN"), SMTP_COMMAND_OK},
    {SLICE("AUTH"), SMTP_COMMAND_AUTH},
    {SLICE("XDEVICE laptop"), SMTP_COMMAND_OK},
    {SLICE("XDEVICE \t+C3+A4+2B "), SMTP_COMMAND_OK},
    {SLICE("XDEVICE"), SMTP_COMMAND_DEVICE},
    {SLICE("XDEVICE two words"), SMTP_COMMAND_DEVICE},
    {SLICE("XDEVICE a=b"), SMTP_COMMAND_DEVICE},
    {SLICE("XDEVICE +c3"), SMTP_COMMAND_DEVICE},
    {SLICE("XDEVICE +C"), SMTP_COMMAND_DEVICE},
    {SLICE("XDEVICE \xc3\xa4"), SMTP_COMMAND_DEVICE},
    {SLICE("XOUTCOME <a.b@c>"), SMTP_COMMAND_OK},
    {SLICE("XOUTCOME <a.b@c> 0"), SMTP_COMMAND_OK},
    {SLICE("XOUTCOME  <a.b@c>\t4294967295 "), SMTP_COMMAND_OK},
    {SLICE("XOUTCOME <a.b@c> 4294967296"), SMTP_COMMAND_OUTCOME},
    {SLICE("XOUTCOME <a.b@c> -1"), SMTP_COMMAND_OUTCOME},
    {SLICE("XOUTCOME <a.b@c> 1 2"), SMTP_COMMAND_OUTCOME},
    {SLICE("XOUTCOME <a.b@c> x"), SMTP_COMMAND_OUTCOME},
    {SLICE("XOUTCOME <a.b@c>1"), SMTP_COMMAND_OUTCOME},
    {SLICE("XOUTCOME a.b@c"), SMTP_COMMAND_OUTCOME},
    {SLICE("XOUTCOME 5"), SMTP_COMMAND_OUTCOME},
    {SLICE("XOUTCOME"), SMTP_COMMAND_OUTCOME},
    {SLICE("VRFY"), SMTP_COMMAND_VRFY},
    {SLICE("QUIT now"), SMTP_COMMAND_NO_ARGUMENT},
    {SLICE("DATA 5"), SMTP_COMMAND_NO_ARGUMENT},
    {SLICE("STARTTLS x"), SMTP_COMMAND_NO_ARGUMENT},
    {SLICE("NOOP x"), SMTP_COMMAND_OK},
    {SLICE("HELP x"), SMTP_COMMAND_OK},
};

static void test_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        struct slice line = guard_dup(ROWS[i].line), argument;
        struct smtp_command command;
        print_message("%.*s\n", SLICE_ARG(ROWS[i].line));
        enum smtp_verb verb = smtp_verb_parse(line, &argument);
        assert_int_equal(smtp_command_parse(verb, argument, false, &command), ROWS[i].fault);
        guard_free(&line);
    }
}

static struct smtp_command parse(struct slice line, bool is_smtputf8)
{
    struct smtp_command command;
    struct slice argument;
    enum smtp_verb verb = smtp_verb_parse(line, &argument);
    assert_int_equal(smtp_command_parse(verb, argument, is_smtputf8, &command), SMTP_COMMAND_OK);
    return command;
}

static void test_values_of_mail(void **state)
{
    (void)state;
    struct smtp_command c = parse(SLICE("MAIL FROM:<A@B.Example> SIZE=18446744073709551615 BODY=8BITMIME RET=HDRS ENVID=e+2B SMTPUTF8 AUTH=<>"), false);
    assert_true(slice_equal(address_text(&c.address), SLICE("A@b.example")));
    assert_true(c.size_octets == UINT64_MAX);
    assert_int_equal(c.body, MAIL_BODY_8BITMIME);
    assert_int_equal(c.ret, DSN_RET_HDRS);
    assert_true(slice_equal(c.envid, SLICE("e+2B")));
    assert_int_equal(c.given, SMTP_PARAMETER_SIZE | SMTP_PARAMETER_BODY | SMTP_PARAMETER_RET | SMTP_PARAMETER_ENVID | SMTP_PARAMETER_SMTPUTF8 |
                                  SMTP_PARAMETER_AUTH);
    c = parse(SLICE("MAIL FROM:<> SIZE=99999999999999999999"), false);
    assert_int_equal(c.address.len, 0);
    assert_true(c.size_octets == UINT64_MAX);
    assert_int_equal(c.body, MAIL_BODY_7BIT);
    assert_int_equal(c.ret, DSN_RET_UNSET);
}

static void test_values_of_rcpt(void **state)
{
    (void)state;
    struct smtp_command c = parse(SLICE("RCPT TO:<\xc3\xa4@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y"), true);
    assert_true(slice_equal(address_text(&c.address), SLICE("\xc3\xa4@b.example")));
    assert_int_equal(c.notify, DSN_NOTIFY_SUCCESS | DSN_NOTIFY_DELAY);
    assert_true(slice_equal(c.orcpt, SLICE("rfc822;x@y")));
}

static void test_values_of_transid_and_outcome(void **state)
{
    (void)state;
    struct smtp_command c = parse(SLICE("MAIL FROM:<a@b.example> TRANSID=<A.0@b> XWHOLE"), false);
    assert_true(slice_equal(c.transid, SLICE("<A.0@b>")));
    assert_int_equal(c.given, SMTP_PARAMETER_TRANSID | SMTP_PARAMETER_WHOLE);
    assert_int_equal(parse(SLICE("MAIL FROM:<a@b.example>"), false).transid.len, 0);
    c = parse(SLICE("XOUTCOME <A.0@b>"), false);
    assert_true(slice_equal(c.transid, SLICE("<A.0@b>")));
    assert_int_equal(c.first, 0);
    assert_int_equal(parse(SLICE("XOUTCOME <A.0@b> 64"), false).first, 64);
}

/* RFC 1845 2 and RFC 2045 5.1: what an atom of a name may hold, octet by octet. */
static void test_octets_of_transids(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        char text[] = "<a?b@c>", line[64];
        struct slice argument;
        struct smtp_command command;
        bool is_fine = c > ' ' && c < 0x7f && !strchr("()<>@,;:\\\"/[]?=", c);
        text[2] = (char)c;
        snprintf(line, sizeof line, "XOUTCOME %s", text);
        enum smtp_verb verb = smtp_verb_parse(slice_from_cstr(line), &argument);
        assert_int_equal(smtp_command_parse(verb, argument, false, &command) == SMTP_COMMAND_OK, is_fine);
        text[2] = 'a';
        text[5] = (char)c;
        snprintf(line, sizeof line, "MAIL FROM:<> TRANSID=%s", text);
        verb = smtp_verb_parse(slice_from_cstr(line), &argument);
        assert_int_equal(smtp_command_parse(verb, argument, false, &command) == SMTP_COMMAND_OK, is_fine && c != '.');
    }
}

static void test_values_of_bdat_and_auth(void **state)
{
    (void)state;
    struct smtp_command c = parse(SLICE("BDAT 86 last"), false);
    assert_int_equal(c.size_octets, 86);
    assert_true(c.is_last);
    assert_false(parse(SLICE("BDAT 0"), false).is_last);
    c = parse(SLICE("AUTH PLAIN"), false);
    assert_false(c.has_initial);
    c = parse(SLICE("AUTH PLAIN ="), false);
    assert_true(c.has_initial);
    assert_true(slice_equal(c.initial, SLICE("=")));
    assert_true(slice_equal(c.mechanism, SLICE("PLAIN")));
}

static void test_each_fault_has_words_and_codes(void **state)
{
    (void)state;
    assert_null(smtp_command_fault_reply(SMTP_COMMAND_OK));
    for (enum smtp_command_fault fault = SMTP_COMMAND_OK + 1; fault < SMTP_COMMAND_FAULTS; fault++) {
        const struct smtp_reply *reply = smtp_command_fault_reply(fault);
        assert_true(smtp_reply_is_permanent(reply));
        assert_int_equal(reply->status.class, 5);
        assert_true(reply->text.len > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verbs),
        cmocka_unit_test(test_verb_names),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_values_of_mail),
        cmocka_unit_test(test_values_of_rcpt),
        cmocka_unit_test(test_values_of_transid_and_outcome),
        cmocka_unit_test(test_octets_of_transids),
        cmocka_unit_test(test_values_of_bdat_and_auth),
        cmocka_unit_test(test_each_fault_has_words_and_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
