/* smtp/outcome.h: what a relay says became of a message, well and badly. */
#include "smtp/outcome.h"
#include "smtp/reply.h"
#include "support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct row {
    struct slice text;
    struct smtp_outcomes head; /* but for the outcomes */
    struct smtp_outcome outcomes[3];
};

static const struct row GOOD[] = {
    {SLICE("0 recipients from 0\nend"), {0}, {{0}}},
    {SLICE("2 recipients from 5\nend"), {.total = 2, .first = 5}, {{0}}}, /* the others were removed since the last question */
    {SLICE("2 recipients from 2\nend"), {.total = 2, .first = 2}, {{0}}},
    {SLICE("3 recipients from 0\n"
           "delivered 1795392000 0 bob@example.net mx.example.net+20[192.0.2.7]:25 250 2.0.0 Ok: queued\n"
           "queued 1795391990 1795392290 carl@example.net mx.example.net+20[192.0.2.7]:25 451 4.7.1 greylisted\n"
           "bounced 1795392000 0 dora@example.net - 550 5.1.2 no such domain\n"
           "end"),
     {.total = 3, .n = 3},
     {{SMTP_OUTCOME_DELIVERED, 1795392000, 0, SLICE("bob@example.net"), SLICE("mx.example.net [192.0.2.7]:25"), SLICE("250 2.0.0 Ok: queued")},
      {SMTP_OUTCOME_QUEUED, 1795391990, 1795392290, SLICE("carl@example.net"), SLICE("mx.example.net [192.0.2.7]:25"), SLICE("451 4.7.1 greylisted")},
      {SMTP_OUTCOME_BOUNCED, 1795392000, 0, SLICE("dora@example.net"), {0}, SLICE("550 5.1.2 no such domain")}}},
    {SLICE("4294967295 recipients from 4294967290\nheld 0 253402300799 a+2Bb@x - \nuncertain 0 0 \"+C3+A4+20o\"@x -  two  blanks \nmore 4294967292"),
     {.total = 4294967295, .first = 4294967290, .next = 4294967292, .n = 2},
     {{SMTP_OUTCOME_HELD, 0, 253402300799, SLICE("a+b@x"), {0}, {0}}, {SMTP_OUTCOME_UNCERTAIN, 0, 0, SLICE("\"\xc3\xa4 o\"@x"), {0}, SLICE(" two  blanks ")}}},
    {SLICE("1 recipients from 0\nqueued 0 0 a@b -\nend"), {.total = 1, .n = 1}, {{SMTP_OUTCOME_QUEUED, 0, 0, SLICE("a@b"), {0}, {0}}}},
};

static bool is_same(const struct smtp_outcome *a, const struct smtp_outcome *b)
{
    return a->state == b->state && a->at_s == b->at_s && a->next_s == b->next_s && slice_equal(a->address, b->address) && slice_equal(a->host, b->host) &&
           slice_equal(a->words, b->words);
}

static void reads_replies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) {
        struct arena arena = {0};
        struct smtp_outcomes out;
        struct slice text = guard_dup(GOOD[i].text);
        if (smtp_outcomes_parse(text, &arena, &out) != RESULT_OK)
            fail_msg("row %zu", i);
        const struct smtp_outcomes *head = &GOOD[i].head;
        if (out.total != head->total || out.first != head->first || out.next != head->next || out.n != head->n)
            fail_msg("row %zu: %u %u %u %zu", i, out.total, out.first, out.next, out.n);
        for (size_t k = 0; k < out.n; k++)
            if (!is_same(&out.outcomes[k], &GOOD[i].outcomes[k]))
                fail_msg("row %zu, line %zu", i, k);
        guard_free(&text);
        arena_free(&arena);
    }
}

#define ONE(line) SLICE("1 recipients from 0\n" line "\nend")
static const struct slice BAD[] = {
    SLICE(""), SLICE("\n"), SLICE("end"), SLICE("\nend"), SLICE("0 recipients from 0"), SLICE("0 recipients from 0\n"), SLICE("0 recipients from 0\nEnd"), SLICE("0 recipients from 0\nend "),
    SLICE("0 recipients from 0\nend\n"), SLICE("0 recipients from 0 \nend"), SLICE("0 recipients from 0 x\nend"), SLICE("0  recipients from 0\nend"), SLICE("-1 recipients from 0\nend"),
    SLICE("4294967296 recipients from 0\nend"), SLICE("1 recipients from 4294967296\nend"), SLICE("0 Recipients from 0\nend"), SLICE("0 recipients of 0\nend"), SLICE("0 recipients from\nend"),
    SLICE("1 recipients from 0\nend"),                                       /* one is missing */
    SLICE("0 recipients from 0\nqueued 0 0 a@b -\nend"),                     /* one too many */
    SLICE("2 recipients from 1\nqueued 0 0 a@b -\nqueued 0 0 c@b -\nend"),   /* likewise */
    SLICE("2 recipients from 0\nqueued 0 0 a@b -\nmore 2"), SLICE("2 recipients from 0\nqueued 0 0 a@b -\nmore 0"), SLICE("2 recipients from 0\nqueued 0 0 a@b -\nmore"),
    SLICE("2 recipients from 0\nqueued 0 0 a@b -\nmore 1 x"), SLICE("2 recipients from 0\nqueued 0 0 a@b -\nmore 1 "), SLICE("2 recipients from 0\nmore 0"), /* no end of questions */
    SLICE("1 recipients from 0\nqueued 0 0 a@b -\nmore 1"),                  /* more of what is all told */
    SLICE("4294967295 recipients from 4294967294\nqueued 0 0 a@b -\nqueued 0 0 a@b -\nmore 0"), /* around the corner */
    ONE("relayed 0 0 a@b -"), ONE("Queued 0 0 a@b -"), ONE(" queued 0 0 a@b -"), ONE("queued  0 0 a@b -"), ONE("queued 0 0  a@b -"), ONE("queued 0 0 a@b"), ONE("queued 0 0"), ONE("queued"), ONE(""),
    ONE("queued x 0 a@b -"), ONE("queued 0 -1 a@b -"), ONE("queued 253402300800 0 a@b -"), ONE("queued 0 253402300800 a@b -"), ONE("queued 0 99999999999999999999 a@b -"),
    ONE("queued 0 0 a=b -"), ONE("queued 0 0 a+b -"), ONE("queued 0 0 a+4 -"), ONE("queued 0 0 a+0D+0A@b -"), ONE("queued 0 0 a+00@b -"), ONE("queued 0 0 a+FF@b -"), ONE("queued 0 0 a@b x+0Ay"),
    ONE("queued 0 0 a+E2+80+AEb -"), /* RIGHT-TO-LEFT OVERRIDE */
};

static void refuses_what_is_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct arena arena = {0};
        struct smtp_outcomes out;
        struct slice text = guard_dup(BAD[i]);
        if (smtp_outcomes_parse(text, &arena, &out) != RESULT_SYNTAX)
            fail_msg("row %zu: %.*s", i, SLICE_ARG(BAD[i]));
        guard_free(&text);
        arena_free(&arena);
    }
}

static enum result parse_sized(size_t address, size_t host, size_t nlines)
{
    struct arena arena = {0};
    struct smtp_outcomes out;
    struct buffer text = {0};
    char *filling = malloc(2000);
    memset(filling, 'a', 2000);
    assert_int_equal(buffer_printf(&text, "%zu recipients from 0\n", nlines), RESULT_OK);
    for (size_t i = 0; i < nlines; i++)
        assert_int_equal(buffer_printf(&text, "held 1 2 %.*s %.*s words\n", (int)address, filling, (int)host, filling), RESULT_OK);
    assert_int_equal(buffer_append_cstr(&text, "end"), RESULT_OK);
    enum result result = smtp_outcomes_parse(buffer_slice(&text), &arena, &out);
    buffer_free(&text);
    arena_free(&arena);
    free(filling);
    return result;
}

static void keeps_its_bounds(void **state)
{
    (void)state;
    assert_int_equal(parse_sized(SMTP_OUTCOME_ADDRESS_MAX, SMTP_OUTCOME_HOST_MAX, 1), RESULT_OK);
    assert_int_equal(parse_sized(SMTP_OUTCOME_ADDRESS_MAX + 1, 1, 1), RESULT_SYNTAX);
    assert_int_equal(parse_sized(1, SMTP_OUTCOME_HOST_MAX + 1, 1), RESULT_SYNTAX);
    assert_int_equal(parse_sized(1, 1, SMTP_REPLY_LINES_MAX - 2), RESULT_OK);
    assert_int_equal(parse_sized(1, 1, SMTP_REPLY_LINES_MAX - 1), RESULT_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_replies),
        cmocka_unit_test(refuses_what_is_none),
        cmocka_unit_test(keeps_its_bounds),
    };
    return cmocka_run_group_tests_name("smtp/outcome", tests, NULL, NULL);
}
