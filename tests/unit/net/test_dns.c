/* net/dns.h against a name server of our own (support/minidns.h): every outcome, order, bounds, cancelling, closing. */
#include "crypto/crypto.h"
#include "net/dns.h"
#include "support/minidns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char long_text[600 + 1];

static const struct minidns_record zone[] = {
    {"two.example", "MX", "20 b.two.example", 0},
    {"two.example", "MX", "10 A.Two.Example", 120},
    {"a.two.example", "A", "192.0.2.1", 0},
    {"a.two.example", "AAAA", "2001:db8::1", 77},
    {"a.two.example", "A", "192.0.2.2", 0},
    {"a.two.example", "AAAA", "2001:db8::2", 0},
    {"a.two.example", "A", "192.0.2.3", 0},
    {"b.two.example", "A", "192.0.2.9", 0},
    {"none.example", "MX", "0 .", 0},
    {"plain.example", "A", "192.0.2.4", 0},
    {"alias.example", "CNAME", "two.example", 0},
    {"text.example", "TXT", "v=spf1 -all", 0},
    {"text.example", "TXT", long_text, 0},
    {"broken.example", "SERVFAIL", "", 0},
    {"refused.example", "REFUSED", "", 0},
    {"silent.example", "SILENT", "", 0},
    {"liar.example", "LIE", "", 0},
    {"liar.example", "A", "192.0.2.66", 0},
    {"half.example", "A", "192.0.2.5", 0},
    {"half.example", "SERVFAIL AAAA", "", 0},
    {"late.example", "SERVFAIL AAAA", "", 0},
    {"late.example", "TXT", "no A either", 0},
    {"tcp.example", "TRUNCATE", "", 0},
    {"tcp.example", "MX", "10 mx.tcp.example", 0},
    {"bare.example", "A", "127.0.0.1", 0},
    {NULL, NULL, NULL, 0},
};

struct fixture {
    uv_loop_t loop;
    struct minidns *minidns;
    struct dns *dns;
    uint32_t lot;
    int answers, answers_wanted;
    struct dns_answer answer;
    char why[200], text[4096]; /* the answer as text: "10 a.two.example", addresses, texts; one a line */
};

static uint32_t next_lot(void *context)
{
    struct fixture *f = context;
    return f->lot ^= 0x80000000u; /* the second of two goes before the first, or after, as the test sets lot */
}

static struct dns *open_resolver(struct fixture *f, int64_t timeout_ms, const char *anchor, enum result expected)
{
    struct dns *dns = NULL;
    char why[200];
    struct dns_config config = {.nresolvers = 1, .timeout_ms = timeout_ms, .random = next_lot, .random_context = f, .trust_anchor = anchor};
    config.resolvers[0] = net_address_from_octets(4, (const uint8_t[]){127, 0, 0, 1}, 0, minidns_port(f->minidns));
    enum result result = dns_open(&dns, &f->loop, &config, why, sizeof why);
    if (result != expected)
        fail_msg("%s: %s", result_name(result), why);
    assert_int_equal(why[0] == '\0', result == RESULT_OK);
    return dns;
}

static void open_with(struct fixture *f, const struct minidns_record *records, int64_t timeout_ms)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(crypto_init(), RESULT_OK);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->minidns = minidns_open(&f->loop, records);
    f->dns = open_resolver(f, timeout_ms, NULL, RESULT_OK);
}

static void close_fixture(struct fixture *f)
{
    if (f->dns)
        dns_close(f->dns, NULL, NULL);
    minidns_close(f->minidns);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static void add_line(struct fixture *f, const char *format, ...) PRINTF_LIKE(2, 3);
static void add_line(struct fixture *f, const char *format, ...)
{
    va_list args;
    size_t len = strlen(f->text);
    va_start(args, format);
    vsnprintf(f->text + len, sizeof f->text - len, format, args);
    va_end(args);
}

static void on_answer(void *context, const struct dns_answer *answer)
{
    struct fixture *f = context;
    char text[NET_ADDRESS_TEXT];
    f->text[0] = '\0';
    for (size_t i = 0; i < answer->nhosts; i++)
        add_line(f, "%u %s\n", answer->hosts[i].preference, answer->hosts[i].name);
    for (size_t i = 0; i < answer->naddresses; i++) {
        net_address_format(&answer->addresses[i], text);
        add_line(f, "%s\n", text);
    }
    for (size_t i = 0; i < answer->ntexts; i++)
        add_line(f, "%.*s\n", SLICE_ARG(answer->texts[i]));
    f->answer = *answer;
    snprintf(f->why, sizeof f->why, "%s", answer->why ? answer->why : "");
    f->answers++;
    if (f->answers == f->answers_wanted)
        uv_stop(&f->loop);
}

static void wait_for_answers(struct fixture *f, int n)
{
    f->answers_wanted = f->answers + n;
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(f->answers, f->answers_wanted);
    assert_int_equal(dns_questions(f->dns), 0);
}

static void ask_mx(struct fixture *f, const char *domain)
{
    assert_int_equal(dns_find_mx(f->dns, slice_from_cstr(domain), on_answer, f, NULL), RESULT_OK);
    assert_int_equal(dns_questions(f->dns), 1);
    wait_for_answers(f, 1);
}

static void ask_addresses(struct fixture *f, const char *host)
{
    assert_int_equal(dns_find_addresses(f->dns, slice_from_cstr(host), 25, on_answer, f, NULL), RESULT_OK);
    wait_for_answers(f, 1);
}

static void assert_answer(struct fixture *f, enum dns_outcome outcome, const char *text)
{
    if (f->answer.outcome != outcome || strcmp(f->text, text) != 0)
        fail_msg("%s (%s):\n%sinstead of %s:\n%s", dns_outcome_name(f->answer.outcome), f->why, f->text, dns_outcome_name(outcome), text);
    assert_int_equal(outcome == DNS_FAILED, f->why[0] != '\0');
    assert_false(f->answer.is_secure);
}

static void test_mx(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, zone, 0);
    ask_mx(&f, "Two.Example.");
    assert_answer(&f, DNS_FOUND, "10 a.two.example\n20 b.two.example\n");
    assert_false(f.answer.is_implicit);
    assert_in_range(f.answer.ttl_s, 1, 120);
    ask_mx(&f, "alias.example");
    assert_answer(&f, DNS_FOUND, "10 a.two.example\n20 b.two.example\n");
    ask_mx(&f, "none.example");
    assert_answer(&f, DNS_NULL_MX, "");
    ask_mx(&f, "plain.example");
    assert_answer(&f, DNS_FOUND, "0 plain.example\n");
    assert_true(f.answer.is_implicit);
    ask_mx(&f, "unheard-of.example");
    assert_answer(&f, DNS_NO_NAME, "");
    ask_mx(&f, "broken.example");
    assert_answer(&f, DNS_FAILED, "");
    assert_non_null(strstr(f.why, "SERVFAIL"));
    ask_mx(&f, "refused.example");
    assert_answer(&f, DNS_FAILED, "");
    close_fixture(&f);
}

static void test_addresses(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, zone, 0);
    ask_addresses(&f, "a.two.example");
    assert_int_equal(f.answer.naddresses, 5);
    assert_memory_equal(f.text, "[2001:db8::", 11); /* IPv6 first, then in turn */
    assert_non_null(strstr(f.text, "]:25\n192.0.2."));
    assert_in_range(f.answer.ttl_s, 1, 77);
    ask_addresses(&f, "b.two.example");
    assert_answer(&f, DNS_FOUND, "192.0.2.9:25\n");
    ask_addresses(&f, "half.example");
    assert_answer(&f, DNS_FOUND, "192.0.2.5:25\n");
    ask_addresses(&f, "late.example");
    assert_answer(&f, DNS_FAILED, "");
    ask_addresses(&f, "text.example");
    assert_answer(&f, DNS_NO_DATA, "");
    ask_addresses(&f, "unheard-of.example");
    assert_answer(&f, DNS_NO_NAME, "");
    close_fixture(&f);
}

static void test_texts(void **state)
{
    (void)state;
    struct fixture f;
    memset(long_text, 'x', sizeof long_text - 1);
    open_with(&f, zone, 0);
    assert_int_equal(dns_find_txt(f.dns, SLICE("text.example"), on_answer, &f, NULL), RESULT_OK);
    wait_for_answers(&f, 1);
    assert_int_equal(f.answer.ntexts, 2);
    assert_non_null(strstr(f.text, "v=spf1 -all\n"));
    assert_non_null(strstr(f.text, long_text));
    assert_true(minidns_tcp_questions(f.minidns) > 0); /* too long for UDP */
    assert_int_equal(dns_find_txt(f.dns, SLICE("plain.example"), on_answer, &f, NULL), RESULT_OK);
    wait_for_answers(&f, 1);
    assert_answer(&f, DNS_NO_DATA, "");
    close_fixture(&f);
}

static void test_truncated_comes_by_tcp(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, zone, 0);
    ask_mx(&f, "tcp.example");
    assert_answer(&f, DNS_FOUND, "10 mx.tcp.example\n");
    assert_int_equal(minidns_tcp_questions(f.minidns), 1);
    close_fixture(&f);
}

/* A second question within the TTL is answered from memory. */
static void test_answers_are_remembered(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, zone, 0);
    ask_mx(&f, "two.example");
    size_t asked = minidns_questions(f.minidns);
    ask_mx(&f, "two.example");
    assert_answer(&f, DNS_FOUND, "10 a.two.example\n20 b.two.example\n");
    assert_int_equal(minidns_questions(f.minidns), asked);
    close_fixture(&f);
}

/* Silence, and answers to questions that nobody asked, end in time as a temporary failure. */
static void test_silence_and_lies(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, zone, 300);
    uint64_t from = uv_hrtime();
    ask_mx(&f, "silent.example");
    assert_answer(&f, DNS_FAILED, "");
    assert_non_null(strstr(f.why, "in time"));
    assert_true(uv_hrtime() - from >= 100000000u); /* it did wait */
    ask_addresses(&f, "liar.example");
    assert_answer(&f, DNS_FAILED, "");
    close_fixture(&f);
}

static void test_names_that_are_none(void **state)
{
    (void)state;
    static const char *const names[] = {"", ".", "..", "a..b", ".a", "a b", "a\\.b", "\xc3\xbc.example", "a/b", "a@b", "*"};
    struct fixture f;
    open_with(&f, zone, 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct dns_question *question = (struct dns_question *)&f;
        assert_int_equal(dns_find_mx(f.dns, slice_from_cstr(names[i]), on_answer, &f, &question), RESULT_SYNTAX);
        assert_null(question);
    }
    assert_int_equal(dns_find_mx(f.dns, SLICE("a\0b"), on_answer, &f, NULL), RESULT_SYNTAX);
    assert_int_equal(dns_questions(f.dns), 0);
    close_fixture(&f);
    assert_int_equal(f.answers, 0);
}

static void test_many_at_once_and_no_more(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, zone, 0);
    for (int i = 0; i < DNS_QUESTIONS_MAX; i++) {
        char name[64];
        snprintf(name, sizeof name, "unheard-of-%d.example", i);
        assert_int_equal(dns_find_mx(f.dns, slice_from_cstr(name), on_answer, &f, NULL), RESULT_OK);
    }
    assert_int_equal(dns_find_mx(f.dns, SLICE("two.example"), on_answer, &f, NULL), RESULT_BUSY);
    wait_for_answers(&f, DNS_QUESTIONS_MAX);
    ask_mx(&f, "two.example");
    assert_int_equal(f.answer.outcome, DNS_FOUND);
    close_fixture(&f);
}

static void test_cancelled_questions_stay_silent(void **state)
{
    (void)state;
    struct fixture f;
    struct dns_question *question = NULL;
    open_with(&f, zone, 0);
    assert_int_equal(dns_find_addresses(f.dns, SLICE("a.two.example"), 25, on_answer, &f, &question), RESULT_OK);
    dns_cancel(&question);
    assert_null(question);
    dns_cancel(&question);
    assert_int_equal(dns_questions(f.dns), 0);
    ask_mx(&f, "two.example");
    assert_int_equal(f.answers, 1);
    close_fixture(&f);
    assert_int_equal(f.answers, 1);
}

struct rival {
    struct fixture *f;
    struct dns_question *question;
    struct rival *other;
};

static void cancel_other(void *context, const struct dns_answer *answer)
{
    struct rival *rival = context;
    assert_int_equal(answer->outcome, DNS_NO_NAME);
    dns_cancel(&rival->other->question);
    on_answer(rival->f, answer);
}

/* Each answer cancels the other question, which may be answered already in the same turn of the loop: one answer comes. */
static void test_cancelled_from_a_callback(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct fixture f;
        struct rival one = {.f = &f}, two = {.f = &f, .other = &one};
        one.other = &two;
        open_with(&f, zone, 0);
        assert_int_equal(dns_find_addresses(f.dns, SLICE("x1.unheard-of.example"), 25, cancel_other, &one, &one.question), RESULT_OK);
        assert_int_equal(dns_find_addresses(f.dns, SLICE("x2.unheard-of.example"), 25, cancel_other, &two, &two.question), RESULT_OK);
        wait_for_answers(&f, 1);
        close_fixture(&f);
        assert_int_equal(f.answers, 1);
    }
}

static void close_in_callback(void *context, const struct dns_answer *answer)
{
    struct fixture *f = context;
    assert_int_equal(answer->outcome, DNS_FOUND);
    dns_close(f->dns, NULL, NULL);
    assert_int_equal(dns_find_mx(f->dns, SLICE("two.example"), on_answer, f, NULL), RESULT_BUSY);
    f->dns = NULL;
    uv_stop(&f->loop);
}

static void test_closed_from_a_callback(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, zone, 0);
    assert_int_equal(dns_find_mx(f.dns, SLICE("silent.example"), on_answer, &f, NULL), RESULT_OK);
    assert_int_equal(dns_find_mx(f.dns, SLICE("two.example"), close_in_callback, &f, NULL), RESULT_OK);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    assert_null(f.dns);
    close_fixture(&f);
    assert_int_equal(f.answers, 0);
}

static void set_flag(void *context)
{
    *(bool *)context = true;
}

static void test_closed_with_questions_open(void **state)
{
    (void)state;
    struct fixture f;
    bool is_closed = false;
    open_with(&f, zone, 0);
    assert_int_equal(dns_find_addresses(f.dns, SLICE("silent.example"), 25, on_answer, &f, NULL), RESULT_OK);
    dns_close(f.dns, set_flag, &is_closed);
    assert_false(is_closed);
    f.dns = NULL;
    close_fixture(&f);
    assert_true(is_closed);
    assert_int_equal(f.answers, 0);
}

/* A resolver at rest wakes nobody: no timer runs. */
static void test_rest(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, zone, 0);
    ask_mx(&f, "two.example");
    assert_int_equal(uv_backend_timeout(&f.loop), -1);
    close_fixture(&f);
}

static void test_a_bad_trust_anchor_is_told_at_once(void **state)
{
    (void)state;
    struct fixture f;
    char path[] = "/tmp/postern-anchor.XXXXXX";
    open_with(&f, zone, 0);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "this is no key\n", 15), 15);
    close(fd);
    assert_null(open_resolver(&f, 0, path, RESULT_SYNTAX));
    unlink(path);
    assert_null(open_resolver(&f, 0, path, RESULT_NOT_FOUND));
    close_fixture(&f);
}

static const struct minidns_record signed_zone[] = {
    {"good.example", "MX", "20 b.good.example", 0},
    {"good.example", "MX", "10 a.good.example", 0},
    {"a.good.example", "A", "192.0.2.1", 0},
    {"a.good.example", "AAAA", "2001:db8::1", 0},
    {"forged.example", "MX", "10 evil.example", 0},
    {"forged.example", "FORGED", "", 0},
    {"plain.example", "MX", "10 evil.example", 0},
    {"plain.example", "UNSIGNED", "", 0},
    {"half.example", "A", "192.0.2.2", 0},
    {"half.example", "AAAA", "2001:db8::2", 0},
    {"half.example", "FORGED AAAA", "", 0},
    {NULL, NULL, NULL, 0},
};

/* With a trust anchor: what is signed is secure, what is forged or has lost its signature is a temporary failure, and never an answer. */
static void test_dnssec(void **state)
{
    (void)state;
    struct fixture f;
    char anchor[] = "/tmp/postern-anchor.XXXXXX";
    open_with(&f, signed_zone, 0);
    close(mkstemp(anchor));
    minidns_sign(f.minidns, anchor);
    dns_close(f.dns, NULL, NULL);
    f.dns = open_resolver(&f, 0, anchor, RESULT_OK);
    unlink(anchor);
    ask_mx(&f, "good.example");
    assert_true(f.answer.is_secure);
    assert_string_equal(f.text, "10 a.good.example\n20 b.good.example\n");
    ask_addresses(&f, "a.good.example");
    assert_true(f.answer.is_secure);
    assert_string_equal(f.text, "[2001:db8::1]:25\n192.0.2.1:25\n");
    ask_mx(&f, "forged.example");
    assert_answer(&f, DNS_FAILED, "");
    assert_non_null(strstr(f.why, "DNSSEC"));
    ask_mx(&f, "plain.example");
    assert_answer(&f, DNS_FAILED, "");
    ask_addresses(&f, "half.example");
    assert_answer(&f, DNS_FOUND, "192.0.2.2:25\n"); /* and not secure */
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mx),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_truncated_comes_by_tcp),
        cmocka_unit_test(test_answers_are_remembered),
        cmocka_unit_test(test_silence_and_lies),
        cmocka_unit_test(test_names_that_are_none),
        cmocka_unit_test(test_many_at_once_and_no_more),
        cmocka_unit_test(test_cancelled_questions_stay_silent),
        cmocka_unit_test(test_cancelled_from_a_callback),
        cmocka_unit_test(test_closed_from_a_callback),
        cmocka_unit_test(test_closed_with_questions_open),
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_a_bad_trust_anchor_is_told_at_once),
        cmocka_unit_test(test_dnssec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
