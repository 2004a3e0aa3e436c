/* The header processor: each row whole, octet by octet, and cut in two at every place (invariant 1). Numbers are those of
 * mail/submission.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "mail/submission.h"
#include "support/split.h"

#define LEN(array) (sizeof(array) / sizeof *(array))
#define RELAY SUBMISSION_RELAY
#define AGENT SUBMISSION_AGENT
#define FROM "From: a@x.y\r\n"
#define DATE "Date: D\r\n"
#define ID "Message-ID: <i@x.y>\r\n"
#define WHOLE FROM DATE ID
#define OURS "Received: by relay.example; D\r\n"
#define ADDED DATE "Message-ID: <new@relay.example>\r\n"

struct row {
    enum submission_mode mode;
    const char *in, *out; /* out NULL: refused */
    enum submission_refusal refusal;
};

static const struct row rows[] = {
    /* what is there stays, octet for octet */
    {RELAY, WHOLE "\r\nbody\r\n", OURS WHOLE "\r\nbody\r\n", 0},
    {RELAY, "X-Fold: a\r\n b\r\n\tc\r\n" WHOLE "\r\n", OURS "X-Fold: a\r\n b\r\n\tc\r\n" WHOLE "\r\n", 0},
    {RELAY, "fRoM : a@x.y\r\n" DATE ID "\r\n", OURS "fRoM : a@x.y\r\n" DATE ID "\r\n", 0},
    {RELAY, WHOLE "\r\n\r\nFrom: body@x.y\r\n.\r\n\xff", OURS WHOLE "\r\n\r\nFrom: body@x.y\r\n.\r\n\xff", 0},
    {RELAY, WHOLE "\r\n\r\n\r\n", OURS WHOLE "\r\n\r\n\r\n", 0},
    {RELAY, WHOLE "X: \r\n", OURS WHOLE "X: \r\n\r\n", 0},
    {RELAY, WHOLE "X: y", OURS WHOLE "X: y\r\n\r\n", 0},
    {RELAY, WHOLE "Empty:\r\n\r\nb", OURS WHOLE "Empty:\r\n\r\nb", 0},
    /* what is missing is added at the end of the header */
    {RELAY, FROM "\r\nbody", OURS FROM ADDED "\r\nbody", 0},
    {RELAY, FROM ID "Subject: s\r\n\r\n", OURS FROM ID "Subject: s\r\n" DATE "\r\n", 0},
    {RELAY, FROM "date: x\r\n\r\n", OURS FROM "date: x\r\nMessage-ID: <new@relay.example>\r\n\r\n", 0},
    {RELAY, FROM, OURS FROM ADDED "\r\n", 0},
    /* what must not go on is removed, with its folds */
    {RELAY, "Return-Path: <z@z>\r\n" WHOLE "Bcc: b@x.y,\r\n c@x.y\r\nTo: t@x.y\r\nResent-Bcc: d@x.y\r\nBCC : e@x.y\r\n\r\nbody",
     OURS WHOLE "To: t@x.y\r\n\r\nbody", 0},
    /* who writes */
    {RELAY, DATE ID "\r\n", NULL, SUBMISSION_FROM_MISSING},
    {RELAY, "\r\nFrom: a@x.y\r\n", NULL, SUBMISSION_FROM_MISSING},
    {RELAY, "", NULL, SUBMISSION_FROM_MISSING},
    {RELAY, WHOLE "From: b@x.y\r\n\r\n", NULL, SUBMISSION_FROM_SEVERAL},
    {RELAY, WHOLE "FROM : a@x.y\r\n\r\n", NULL, SUBMISSION_FROM_SEVERAL},
    {RELAY, "From: a\r\n\r\n", NULL, SUBMISSION_FROM_MALFORMED},
    {RELAY, "From:\r\n\r\n", NULL, SUBMISSION_FROM_MALFORMED},
    {RELAY, "From: nobody:;\r\n\r\n", NULL, SUBMISSION_FROM_MALFORMED},
    {RELAY, "From: a@x.y <b@x.y>\r\n\r\n", NULL, SUBMISSION_FROM_MALFORMED},
    {RELAY, "From: a@x.y, b@x.y\r\n\r\n", NULL, SUBMISSION_SENDER_MALFORMED},
    {RELAY, WHOLE "Sender: a\r\n\r\n", NULL, SUBMISSION_SENDER_MALFORMED},
    {RELAY, WHOLE "Sender: a@x.y, b@x.y\r\n\r\n", NULL, SUBMISSION_SENDER_MALFORMED},
    /* fields that stand once */
    {RELAY, WHOLE "Subject: a\r\nsubject: b\r\n\r\n", NULL, SUBMISSION_FIELD_TWICE},
    {RELAY, WHOLE DATE "\r\n", NULL, SUBMISSION_FIELD_TWICE},
    {RELAY, WHOLE ID "\r\n", NULL, SUBMISSION_FIELD_TWICE},
    {RELAY, WHOLE "To: a@x.y\r\nTo: b@x.y\r\n\r\n", NULL, SUBMISSION_FIELD_TWICE},
    {RELAY, WHOLE "Sender: a@x.y\r\nSender: a@x.y\r\n\r\n", NULL, SUBMISSION_FIELD_TWICE},
    /* what is no header */
    {RELAY, WHOLE "hello\r\n\r\n", NULL, SUBMISSION_NOT_A_FIELD},
    {RELAY, " folded: first\r\n" WHOLE "\r\n", NULL, SUBMISSION_NOT_A_FIELD},
    {RELAY, "From a@x.y Sat Nov 21 19:24:57 2026\r\n" WHOLE "\r\n", NULL, SUBMISSION_NOT_A_FIELD},
    {RELAY, WHOLE ": x\r\n\r\n", NULL, SUBMISSION_NOT_A_FIELD},
    {RELAY, WHOLE "J\xc3\xb6: x\r\n\r\n", NULL, SUBMISSION_NOT_A_FIELD},
    {RELAY, WHOLE "A B: x\r\n\r\n", NULL, SUBMISSION_NOT_A_FIELD},
    {RELAY, WHOLE "X: a\nBcc: b@x.y\r\n\r\n", NULL, SUBMISSION_BAD_OCTET},
    {RELAY, WHOLE "X: a\rBcc: b@x.y\r\n\r\n", NULL, SUBMISSION_BAD_OCTET},
    {RELAY, WHOLE "X: a\r\r\n\r\n", NULL, SUBMISSION_BAD_OCTET},
    {RELAY, WHOLE "\n\r\n", NULL, SUBMISSION_BAD_OCTET},
    {RELAY, WHOLE "X: a\r", NULL, SUBMISSION_BAD_OCTET},
    {RELAY, "\n", NULL, SUBMISSION_BAD_OCTET},
    /* loops */
    {RELAY, WHOLE OURS OURS OURS "\r\n", OURS WHOLE OURS OURS OURS "\r\n", 0},
    {RELAY, WHOLE OURS OURS OURS "Received: from z (by x)\r\n BY (c) RELAY.example (d) with\r\n\r\n", NULL, SUBMISSION_LOOP},

    /* the agent completes, and is patient */
    {AGENT, WHOLE "\r\nbody\r\n", OURS WHOLE "\r\nbody\r\n", 0},
    {AGENT, "\r\nbody\r\n", OURS "From: me@x.y\r\n" ADDED "\r\nbody\r\n", 0},
    {AGENT, "", OURS "From: me@x.y\r\n" ADDED "\r\n", 0},
    {AGENT, "Hello,\r\nbody\r\n", OURS "From: me@x.y\r\n" ADDED "\r\nHello,\r\nbody\r\n", 0},
    {AGENT, FROM "Hello,\r\nSubject: x\r\n", OURS FROM ADDED "\r\nHello,\r\nSubject: x\r\n", 0},
    {AGENT, FROM "Hello", OURS FROM ADDED "\r\nHello\r\n", 0},
    {AGENT, "From a@x.y Sat Nov 21 19:24:57 2026\r\n" WHOLE "\r\nFrom b\r\n", OURS WHOLE "\r\nFrom b\r\n", 0},
    {AGENT, "From : a@x.y\r\n" DATE ID "\r\n", OURS "From : a@x.y\r\n" DATE ID "\r\n", 0},
    {AGENT, WHOLE FROM "\r\n", OURS WHOLE FROM "\r\n", 0},
    {AGENT, "From: a\r\n\r\n", OURS "From: a\r\n" ADDED "\r\n", 0},
    {AGENT, WHOLE "To: a@x.y\r\nTo: b@x.y\r\nSender: z\r\n\r\n", OURS WHOLE "To: a@x.y\r\nTo: b@x.y\r\nSender: z\r\n\r\n", 0},
    {AGENT, WHOLE "Bcc: b@x.y\r\n\r\n", OURS WHOLE "\r\n", 0},
    {AGENT, WHOLE "X: a\nb\r\n\r\n", NULL, SUBMISSION_BAD_OCTET},
    {AGENT, WHOLE OURS OURS OURS OURS "\r\n", NULL, SUBMISSION_LOOP},
};

static struct submission_config config_for(enum submission_mode mode)
{
    return (struct submission_config){
        .mode = mode,
        .received = SLICE(OURS),
        .date = SLICE("D"),
        .message_id = SLICE("<new@relay.example>"),
        .from = SLICE("me@x.y"),
        .own_name = SLICE("relay.example"),
    };
}

struct outcome {
    enum result result;
    struct buffer out;
    struct submission *submission;
    uint64_t header_octets;
};

static void take(struct outcome *outcome, const struct submission_out *out)
{
    assert_true(outcome->result == RESULT_OK || (out->header.len == 0 && out->body.len == 0)); /* invariant 3 */
    assert_int_equal(buffer_append(&outcome->out, out->header), RESULT_OK);
    assert_int_equal(buffer_append(&outcome->out, out->body), RESULT_OK);
}

static struct outcome run(struct split *split, const struct submission_config *config)
{
    struct outcome outcome = {.out = BUFFER(2 * 1024 * 1024), .submission = submission_new(config)};
    struct submission_out out;
    struct slice piece;
    assert_non_null(outcome.submission);
    while (split_next(split, &piece)) {
        outcome.result = submission_feed(outcome.submission, piece, &out);
        take(&outcome, &out);
    }
    enum result before = outcome.result;
    outcome.result = submission_finish(outcome.submission, &out);
    take(&outcome, &out);
    assert_true(before == RESULT_OK || outcome.result == before);
    return outcome;
}

static void end(struct outcome *outcome)
{
    submission_free(&outcome->submission);
    assert_null(outcome->submission);
    buffer_free(&outcome->out);
}

static void replay_row(struct split *split, void *context)
{
    const struct row *row = context;
    struct submission_config config = config_for(row->mode);
    struct outcome outcome = run(split, &config);
    if (outcome.result != (row->out ? RESULT_OK : RESULT_DENIED) || submission_refusal(outcome.submission) != row->refusal)
        fail_msg("%s (%s): %s %s", row->in, split_how(split), result_name(outcome.result),
                 submission_refusal_name(submission_refusal(outcome.submission)));
    if (row->out && !slice_equal(buffer_slice(&outcome.out), slice_from_cstr(row->out)))
        fail_msg("%s (%s): %.*s", row->in, split_how(split), SLICE_ARG(buffer_slice(&outcome.out)));
    assert_int_equal(submission_has_header(outcome.submission), row->out != NULL);
    if (row->out)
        assert_int_equal(submission_facts(outcome.submission)->size_octets, strlen(row->out));
    end(&outcome);
}

static void rewrites_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct row row = rows[i];
        split_replay(slice_from_cstr(row.in), replay_row, &row);
    }
}

static void refuses_nul(void **state)
{
    struct submission_config config = config_for(AGENT);
    struct submission *submission = submission_new(&config);
    struct submission_out out;
    (void)state;
    assert_int_equal(submission_feed(submission, SLICE("X: \0\r\n\r\n"), &out), RESULT_DENIED);
    assert_int_equal(submission_refusal(submission), SUBMISSION_BAD_OCTET);
    submission_free(&submission);
}

/* ---- facts ---- */

#define FACTS_IN                                                                                                                           \
    "From: \"A\" <a@X.y>, B <b@x.y>, (again) a@x.y\r\nSender: S <s@x.y>\r\nReceived: x\r\nReceived: y\r\nSubject: \xc3\xbc\r\n"            \
    "Message-ID:\r\n <id@x.y> \r\nDate: D\r\nTo: t@x.y\r\nCc: c@x.y\r\nBcc: Secret: b1@x.y, t@x.y;\r\n\r\nbody \xff\r\n"

static void replay_facts(struct split *split, void *context)
{
    struct submission_config config = config_for(RELAY);
    config.collects_recipients = true;
    struct outcome outcome = run(split, &config);
    const struct submission_facts *facts = submission_facts(outcome.submission);
    (void)context;
    assert_int_equal(outcome.result, RESULT_OK);
    assert_int_equal(facts->nfrom, 2);
    assert_true(slice_equal(facts->from[0], SLICE("a@x.y")));
    assert_true(slice_equal(facts->from[1], SLICE("b@x.y")));
    assert_true(slice_equal(facts->sender, SLICE("s@x.y")));
    assert_true(slice_equal(facts->message_id, SLICE("<id@x.y>")));
    assert_int_equal(facts->nrcpt, 3);
    assert_true(slice_equal(facts->recipients[0], SLICE("t@x.y")));
    assert_true(slice_equal(facts->recipients[1], SLICE("c@x.y")));
    assert_true(slice_equal(facts->recipients[2], SLICE("b1@x.y")));
    assert_true(facts->is_from_clear);
    assert_int_equal(facts->hops, 2);
    assert_true(facts->has_8bit_header && facts->is_header_utf8 && facts->has_8bit_body);
    assert_false(facts->has_long_line);
    assert_int_equal(facts->size_octets, buffer_len(&outcome.out));
    assert_int_equal(facts->header_octets, buffer_len(&outcome.out) - strlen("body \xff\r\n"));
    end(&outcome);
}

static void tells_facts(void **state)
{
    (void)state;
    split_replay(SLICE(FACTS_IN), replay_facts, NULL);
}

static const struct fact_row {
    const char *in;
    enum submission_mode mode;
    bool is_from_clear, has_8bit_header, is_header_utf8, has_8bit_body;
    const char *message_id;
} fact_rows[] = {
    {WHOLE "\r\nbody", RELAY, true, false, false, false, "<i@x.y>"},
    {FROM "\r\nbody", RELAY, true, false, false, false, "<new@relay.example>"},
    {WHOLE "X: \xff\r\n\r\nbody", RELAY, true, true, false, false, "<i@x.y>"},
    {WHOLE "\r\n12345678\x80", RELAY, true, false, false, true, "<i@x.y>"},
    {"\r\n", AGENT, true, false, false, false, "<new@relay.example>"},
    {"From: a\r\n\r\n", AGENT, false, false, false, false, "<new@relay.example>"},
    {WHOLE FROM "\r\n", AGENT, false, false, false, false, "<i@x.y>"},
    {"H\xc3\xb6llo\r\n", AGENT, true, false, false, true, "<new@relay.example>"},
};

static void replay_fact_row(struct split *split, void *context)
{
    const struct fact_row *row = context;
    struct submission_config config = config_for(row->mode);
    struct outcome outcome = run(split, &config);
    const struct submission_facts *facts = submission_facts(outcome.submission);
    assert_int_equal(facts->is_from_clear, row->is_from_clear);
    assert_int_equal(facts->has_8bit_header, row->has_8bit_header);
    assert_int_equal(facts->is_header_utf8, row->is_header_utf8);
    assert_int_equal(facts->has_8bit_body, row->has_8bit_body);
    assert_true(slice_equal(facts->message_id, slice_from_cstr(row->message_id)));
    end(&outcome);
}

static void tells_more_facts(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(fact_rows); i++) {
        struct fact_row row = fact_rows[i];
        split_replay(slice_from_cstr(row.in), replay_fact_row, &row);
    }
}

/* ---- limits, at N and N + 1 ---- */

/* Feeds `prefix`, then n times `unit`, then `suffix`, each at once. */
static enum submission_refusal feed_repeated(enum submission_mode mode, const char *prefix, size_t n, const char *unit, const char *suffix,
                                             bool *has_long_line)
{
    struct submission_config config = config_for(mode);
    struct submission *submission = submission_new(&config);
    struct submission_out out;
    enum result result = submission_feed(submission, slice_from_cstr(prefix), &out);
    for (size_t i = 0; i < n && result == RESULT_OK; i++)
        result = submission_feed(submission, slice_from_cstr(unit), &out);
    if (result == RESULT_OK)
        result = submission_feed(submission, slice_from_cstr(suffix), &out);
    if (result == RESULT_OK)
        result = submission_finish(submission, &out);
    enum submission_refusal refusal = submission_refusal(submission);
    assert_true((refusal == SUBMISSION_ACCEPTED) == (result == RESULT_OK));
    *has_long_line = submission_facts(submission)->has_long_line;
    submission_free(&submission);
    return refusal;
}

static void keeps_to_limits(void **state)
{
    static const struct {
        const char *prefix;
        size_t n; /* accepted; one more is refused */
        const char *unit, *suffix;
        enum submission_refusal refusal;
    } limits[] = {
        {WHOLE "X:", 996, "x", "\r\n\r\n", SUBMISSION_LINE_TOO_LONG},
        {WHOLE "X: y\r\n", 998, " ", "\r\n\r\n", SUBMISSION_LINE_TOO_LONG},
        {WHOLE, 997, "X: y\r\n", "\r\n", SUBMISSION_TOO_MANY_FIELDS},
        {WHOLE, 50, "Received: x\r\n", "\r\n", SUBMISSION_LOOP},
    };
    bool has_long_line;
    (void)state;
    for (size_t i = 0; i < LEN(limits); i++) {
        assert_int_equal(feed_repeated(RELAY, limits[i].prefix, limits[i].n, limits[i].unit, limits[i].suffix, &has_long_line), 0);
        assert_int_equal(feed_repeated(RELAY, limits[i].prefix, limits[i].n + 1, limits[i].unit, limits[i].suffix, &has_long_line),
                         limits[i].refusal);
    }
}

/* The whole section with its empty line: 256 KiB. */
static void keeps_to_the_octet_limit(void **state)
{
    const char *unit = " 345678\r\n";
    size_t fixed = strlen(WHOLE), n = (SUBMISSION_HEADER_MAX - fixed - 100) / strlen(unit);
    size_t left = SUBMISSION_HEADER_MAX - fixed - n * strlen(unit);
    bool has_long_line;
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        char last[256];
        size_t len = left - 4 + over;
        memset(last, 'y', len);
        last[0] = ' ';
        memcpy(last + len, "\r\n\r\n", 5);
        assert_int_equal(feed_repeated(RELAY, WHOLE, n, unit, last, &has_long_line), over ? SUBMISSION_HEADER_TOO_LONG : 0);
    }
}

static void notices_long_body_lines(void **state)
{
    bool has_long_line;
    (void)state;
    assert_int_equal(feed_repeated(RELAY, WHOLE "\r\nfirst\r\n", 998, "x", "\r\nmore", &has_long_line), 0);
    assert_false(has_long_line);
    assert_int_equal(feed_repeated(RELAY, WHOLE "\r\nfirst\r\n", 999, "x", "\r\nmore", &has_long_line), 0);
    assert_true(has_long_line);
    assert_int_equal(feed_repeated(RELAY, WHOLE "\r\n", 998, "x", "\r", &has_long_line), 0);
    assert_false(has_long_line);
    assert_int_equal(feed_repeated(RELAY, WHOLE "\r\n", 500, "xx\r\n", "", &has_long_line), 0);
    assert_false(has_long_line);
}

static void refuses_lists_too_long(void **state)
{
    bool has_long_line;
    (void)state;
    assert_int_equal(feed_repeated(RELAY, "From: a@x.y\r\n", 60, " ,\r\n", "\r\n", &has_long_line), 0);
    struct submission_config config = config_for(RELAY);
    for (size_t n = SUBMISSION_FROM_MAX; n <= SUBMISSION_FROM_MAX + 1; n++) {
        struct buffer in = BUFFER(64 * 1024);
        struct submission *submission = submission_new(&config);
        struct submission_out out;
        assert_int_equal(buffer_append_cstr(&in, "Sender: s@x.y\r\nFrom: "), RESULT_OK);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(buffer_printf(&in, "a%zu@x.y,\r\n ", i), RESULT_OK);
        assert_int_equal(buffer_append_cstr(&in, "\r\n\r\n"), RESULT_OK);
        assert_int_equal(submission_feed(submission, buffer_slice(&in), &out), n == SUBMISSION_FROM_MAX ? RESULT_OK : RESULT_DENIED);
        submission_free(&submission);
        buffer_free(&in);
    }
}

static void collects_only_when_asked(void **state)
{
    struct submission_config config = config_for(AGENT);
    struct submission_out out;
    (void)state;
    struct submission *submission = submission_new(&config);
    assert_int_equal(submission_feed(submission, SLICE("To: not an address\r\n\r\n"), &out), RESULT_OK);
    assert_int_equal(submission_facts(submission)->nrcpt, 0);
    submission_free(&submission);
    config.collects_recipients = true;
    submission = submission_new(&config);
    assert_int_equal(submission_feed(submission, SLICE("To: not an address\r\n\r\n"), &out), RESULT_DENIED);
    assert_int_equal(submission_refusal(submission), SUBMISSION_RECIPIENTS);
    submission_free(&submission);
    submission = submission_new(&config);
    assert_int_equal(submission_feed(submission, SLICE("To: undisclosed-recipients:;\r\nCc:\r\n\r\n"), &out), RESULT_OK);
    assert_int_equal(submission_facts(submission)->nrcpt, 0);
    submission_free(&submission);
}

static void adds_nothing_that_was_not_given(void **state)
{
    struct submission_config config = {.mode = AGENT};
    struct submission *submission = submission_new(&config);
    struct submission_out out;
    (void)state;
    assert_int_equal(submission_feed(submission, SLICE("Subject: x\r\n\r\nbody"), &out), RESULT_OK);
    assert_true(slice_equal(out.header, SLICE("Subject: x\r\n\r\n")));
    assert_true(slice_equal(out.body, SLICE("body")));
    assert_false(submission_facts(submission)->is_from_clear);
    assert_int_equal(submission_facts(submission)->message_id.len, 0);
    submission_free(&submission);
}

/* Every refusal has words for the reply and a code that refuses for good. */
/* ---- going on in a body ---- */

static const struct {
    enum submission_mode mode;
    const char *in;
    uint64_t came;
} came_rows[] = {
    {RELAY, WHOLE "\r\nbody\r\n", sizeof(WHOLE "\r\n") - 1},
    {RELAY, FROM "Bcc: b@x.y\r\n\r\n", sizeof(FROM "Bcc: b@x.y\r\n\r\n") - 1}, /* what was removed has come, what was added has not */
    {RELAY, WHOLE "X: y", sizeof(WHOLE "X: y\r\n") - 1},
    {RELAY, WHOLE "hello\r\n\r\n", 0},
    {AGENT, "From a@x.y Sat Nov 21 19:24:57 2026\r\n" FROM "\r\nb", sizeof("From a@x.y Sat Nov 21 19:24:57 2026\r\n" FROM "\r\n") - 1},
    {AGENT, FROM "Hello,\r\nbody", sizeof(FROM) - 1},
    {AGENT, FROM "Hello", sizeof(FROM) - 1},
};

static void replay_came(struct split *split, void *context)
{
    size_t row = *(const size_t *)context;
    struct submission_config config = config_for(came_rows[row].mode);
    struct outcome outcome = run(split, &config);
    assert_int_equal(submission_header_came(outcome.submission), came_rows[row].came);
    end(&outcome);
}

static void tells_how_long_the_header_was(void **state)
{
    struct submission_config config = config_for(RELAY);
    struct submission *submission = submission_new(&config);
    struct submission_out out;
    (void)state;
    for (size_t i = 0; i < LEN(came_rows); i++)
        split_replay(slice_from_cstr(came_rows[i].in), replay_came, &i);
    assert_int_equal(submission_feed(submission, SLICE(WHOLE), &out), RESULT_OK);
    assert_int_equal(submission_header_came(submission), 0); /* not whole */
    submission_free(&submission);
}

static void goes_on_in_a_body(void **state)
{
    const struct submission_past past = {.header_octets = 100, .stored_octets = 170, .has_8bit_header = true, .is_header_utf8 = true};
    struct submission *submission = submission_resume(&past);
    const struct submission_facts *facts = submission_facts(submission);
    struct submission_out out;
    (void)state;
    assert_true(submission_has_header(submission));
    assert_int_equal(submission_header_came(submission), 0);
    assert_int_equal(submission_feed(submission, SLICE("From: body\r\n\r\n\xff"), &out), RESULT_OK);
    assert_int_equal(out.header.len, 0);
    assert_true(slice_equal(out.body, SLICE("From: body\r\n\r\n\xff")));
    assert_true(facts->has_8bit_header && facts->is_header_utf8 && facts->has_8bit_body);
    assert_int_equal(facts->header_octets, 100);
    assert_int_equal(submission_finish(submission, &out), RESULT_OK);
    assert_int_equal(out.header.len, 0);
    assert_int_equal(facts->size_octets, 170 + 15);
    submission_free(&submission);
}

static void refusals_have_words(void **state)
{
    struct submission_config config = config_for(RELAY);
    struct submission *submission = submission_new(&config);
    struct submission_out out;
    (void)state;
    assert_int_equal(submission_feed(submission, SLICE(WHOLE "To: a@x.y\r\nTo: b@x.y\r\n\r\n"), &out), RESULT_DENIED);
    struct submission_words words = submission_refusal_words(submission);
    assert_int_equal(words.code, 550);
    assert_true(words.class == 5 && words.subject == 6 && words.detail == 0);
    assert_string_equal(words.text, "The message has more than one To: field; only one may stand (RFC 5322 3.6)");
    assert_string_equal(submission_refusal_name(SUBMISSION_FIELD_TWICE), "field-twice");
    submission_free(&submission);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewrites_headers),
        cmocka_unit_test(refuses_nul),
        cmocka_unit_test(tells_facts),
        cmocka_unit_test(tells_more_facts),
        cmocka_unit_test(keeps_to_limits),
        cmocka_unit_test(keeps_to_the_octet_limit),
        cmocka_unit_test(notices_long_body_lines),
        cmocka_unit_test(refuses_lists_too_long),
        cmocka_unit_test(collects_only_when_asked),
        cmocka_unit_test(adds_nothing_that_was_not_given),
        cmocka_unit_test(tells_how_long_the_header_was),
        cmocka_unit_test(goes_on_in_a_body),
        cmocka_unit_test(refusals_have_words),
    };
    return cmocka_run_group_tests_name("mail/submission", tests, NULL, NULL);
}
