/* A mail program's own retries: what counts as the same message, on a real store. */
#include "support/store_world.h"

#include "mta/intake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NOW_MS = 1000000, WINDOW_MS = 1000 };

static const char NAMED[] = "From: anna@example.org\r\nMessage-ID: <own@example.org>\r\n\r\nhello\r\n";

struct scene {
    struct world world;
    struct envelope_recipient recipients[2];
    struct envelope envelope;
    struct submission_config rules;
    struct intake_config config;
    unsigned nqueued;
    uint64_t earlier, id; /* what on_retry said; the number at the reply */
    bool is_replied, is_positive, has_message_id;
    char words[100];
    struct intake *intake;
};

static void on_reply(void *owner, const struct smtp_reply *reply)
{
    struct scene *s = owner;
    s->is_replied = true;
    s->is_positive = smtp_reply_is_positive(reply);
    s->has_message_id = intake_has_message_id(s->intake);
    s->id = intake_id(s->intake);
    slice_to_cstr(reply->text, s->words, sizeof s->words);
}

static void on_queued(void *context, const struct intake_queued *queued)
{
    (void)queued;
    ((struct scene *)context)->nqueued++;
}

static void on_retry(void *context, uint64_t earlier)
{
    ((struct scene *)context)->earlier = earlier;
}

static int setup(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    world_make(&s->world);
    s->recipients[0] = (struct envelope_recipient){.address = SLICE("b@one.example")};
    s->recipients[1] = (struct envelope_recipient){.address = SLICE("c@two.example")};
    s->envelope = (struct envelope){.sender = SLICE("anna@example.org"), .recipients = s->recipients, .nrcpt = 2};
    s->rules = (struct submission_config){.mode = SUBMISSION_AGENT};
    s->config = (struct intake_config){
        .envelope = &s->envelope,
        .submission = &s->rules,
        .received_at_ms = NOW_MS,
        .expires_at_ms = 2 * NOW_MS,
        .retry_window_ms = WINDOW_MS,
        .on_queued = on_queued,
        .on_retry = on_retry,
        .context = s,
        .on_reply = on_reply,
        .owner = s,
    };
    *state = s;
    return world_open(&s->world) == RESULT_OK ? 0 : -1;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    world_end(&s->world);
    free(s);
    return 0;
}

/* Fed in two pieces, cut where the number says. The header is completed otherwise each time. */
static bool is_taken_cut(struct scene *s, uint64_t id, const char *text, size_t cut)
{
    char received[80];
    struct slice octets = slice_from_cstr(text);
    snprintf(received, sizeof received, "Received: by here with SMTP id %d;\r\n Mon, 1 Jan 2024 00:00:00 +0000\r\n", (int)id);
    s->config.store = s->world.client;
    s->config.id = id;
    s->rules.received = slice_from_cstr(received);
    s->rules.message_id = id % 2 ? SLICE("<odd@example.org>") : SLICE("<even@example.org>");
    s->is_replied = false;
    s->earlier = 0;
    unsigned nqueued = s->nqueued;
    s->intake = intake_new(&s->config);
    assert_false(intake_feed(s->intake, slice_take(octets, cut)));
    assert_false(intake_feed(s->intake, slice_skip(octets, cut)));
    intake_finish(s->intake);
    world_wait(&s->world, &s->is_replied);
    intake_free(&s->intake);
    assert_true(s->is_positive);
    assert_int_equal(s->nqueued - nqueued, s->earlier ? 0 : 1);
    assert_true(s->id == (s->earlier ? s->earlier : id));
    return s->earlier == 0;
}

static bool is_taken(struct scene *s, uint64_t id, const char *text)
{
    return is_taken_cut(s, id, text, id % strlen(text));
}

static void the_same_is_answered_as_the_first(void **state)
{
    struct scene *s = *state;
    char words[sizeof s->words];
    assert_true(is_taken(s, 1, NAMED));
    assert_true(s->has_message_id);
    memcpy(words, s->words, sizeof words);
    for (size_t cut = 0; cut <= strlen(NAMED); cut++) {
        assert_false(is_taken_cut(s, 2, NAMED, cut));
        assert_true(s->earlier == 1);
        assert_string_equal(s->words, words);
    }
    assert_string_equal(world_state(&s->world, 2), "none");
    assert_true(is_taken(s, 3, "From: anna@example.org\r\n\r\nhello\r\n"));
    assert_false(s->has_message_id);
    assert_true(is_taken(s, 4, "From: anna@example.org\r\nMessage-ID:\r\n\r\nhello\r\n"));
    assert_false(s->has_message_id);
}

static void every_part_of_the_envelope_counts(void **state)
{
    struct scene *s = *state;
    const struct envelope whole = s->envelope;
    struct envelope_recipient *r = &s->recipients[1];
    const struct envelope_recipient usual = *r;
    uint64_t id = 1;
    assert_true(is_taken(s, id++, NAMED));
    s->envelope.sender = SLICE("anna@example.net"), assert_true(is_taken(s, id++, NAMED)), s->envelope = whole;
    s->envelope.sender = SLICE(""), assert_true(is_taken(s, id++, NAMED)), s->envelope = whole;
    s->envelope.body = MAIL_BODY_8BITMIME, assert_true(is_taken(s, id++, NAMED)), s->envelope = whole;
    s->envelope.is_smtputf8 = true, assert_true(is_taken(s, id++, NAMED)), s->envelope = whole;
    s->envelope.ret = DSN_RET_HDRS, assert_true(is_taken(s, id++, NAMED)), s->envelope = whole;
    s->envelope.envid = SLICE("x"), assert_true(is_taken(s, id++, NAMED)), s->envelope = whole;
    s->envelope.nrcpt = 1, assert_true(is_taken(s, id++, NAMED)), s->envelope = whole;
    r->address = SLICE("d@two.example"), assert_true(is_taken(s, id++, NAMED)), *r = usual;
    r->notify = DSN_NOTIFY_NEVER, assert_true(is_taken(s, id++, NAMED)), *r = usual;
    r->orcpt = SLICE("rfc822;x@y"), assert_true(is_taken(s, id++, NAMED)), *r = usual;
    s->config.account = SLICE("carol"), assert_true(is_taken(s, id++, NAMED)), s->config.account = SLICE("");
    assert_false(is_taken(s, id, NAMED));
}

static void the_window_follows_the_clock(void **state)
{
    struct scene *s = *state;
    const int64_t ten_years_ms = INT64_C(315360000000);
    assert_true(is_taken(s, 1, NAMED));
    s->config.received_at_ms = NOW_MS + WINDOW_MS;
    assert_false(is_taken(s, 2, NAMED));
    s->config.received_at_ms = NOW_MS - WINDOW_MS;
    assert_false(is_taken(s, 2, NAMED)); /* set back a little */
    for (int sign = -1; sign <= 1; sign += 2) {
        s->config.received_at_ms = NOW_MS + WINDOW_MS + sign * ten_years_ms;
        s->config.wall_lead_ms = sign * ten_years_ms;
        assert_false(is_taken(s, 2, NAMED));
    }
    s->config.wall_lead_ms = 0;
    s->config.received_at_ms = NOW_MS + WINDOW_MS + 1;
    assert_true(is_taken(s, 3, NAMED));
}

static void without_a_window_all_is_new(void **state)
{
    struct scene *s = *state;
    s->config.retry_window_ms = 0;
    assert_true(is_taken(s, 1, NAMED));
    assert_true(is_taken(s, 2, NAMED));
    s->config.retry_window_ms = WINDOW_MS;
    assert_true(is_taken(s, 3, NAMED)); /* nothing was remembered of those */
    assert_false(is_taken(s, 4, NAMED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_is_answered_as_the_first, setup, teardown),
        cmocka_unit_test_setup_teardown(every_part_of_the_envelope_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(the_window_follows_the_clock, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_window_all_is_new, setup, teardown),
    };
    return cmocka_run_group_tests_name("intake_retry", tests, NULL, NULL);
}
