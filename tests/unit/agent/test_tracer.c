/* What the relay's answers about a message mean: outcomes, newer words, a loss; and the edges of the promise. */
#include "tracer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MESSAGE = 77, HOUR_S = 3600 };
static const int64_t HOUR = HOUR_S * 1000, DAY = 24 * (int64_t)HOUR_S * 1000, TAKEN = 1795392000000, NEXT = TAKEN + 600000;
static const uint64_t PROMISED_S = 7 * 24 * HOUR_S;

struct scene {
    struct store_recipient recipients[6];
    struct store_listing listing;
    struct tracer tracer;
    struct tracer_rules rules;
    struct tracer_verdict verdict;
};

static struct store_recipient recipient(uint32_t seq, const char *address, uint32_t transaction)
{
    return (struct store_recipient){.seq = seq, .envelope = {.address = slice_from_cstr(address)}, .state = STORE_RELAYED, .next_attempt_ms = TAKEN + 2000, .transaction = transaction,
                                    .reply = SLICE("250 2.0.0 Ok: queued as X"), .host = SLICE("192.0.2.7:465 tls"), .at_ms = TAKEN};
}

/* Bob, Carl and Bob again in the first transaction, Dora in the second; Emil is delivered, nobody asks about Fred any more. */
static void begin(struct scene *s)
{
    *s = (struct scene){.recipients = {recipient(0, "bob@a.example", 0), recipient(1, "emil@a.example", 0), recipient(2, "carl@a.example", 0), recipient(3, "dora@a.example", 1),
                                       recipient(4, "bob@a.example", 0), recipient(5, "fred@a.example", 0)}};
    s->recipients[1].state = STORE_DELIVERED;
    s->recipients[5].next_attempt_ms = 0;
    s->listing = (struct store_listing){.message = {.id = MESSAGE}, .recipients = s->recipients, .nrecipients = 6};
    s->rules = (struct tracer_rules){.now_ms = TAKEN + HOUR, .promised_s = PROMISED_S, .can_refill = true, .ask_at_ms = NEXT, .relay = SLICE("relay.example")};
    assert_int_equal(tracer_begin(&s->tracer, &s->listing), RESULT_OK);
    memset(s->recipients, 0, sizeof s->recipients); /* copied */
}

static void assert_question(struct scene *s, uint32_t transaction, uint32_t first)
{
    uint32_t asked, from;
    assert_true(tracer_question(&s->tracer, &asked, &from));
    assert_int_equal(asked, transaction);
    assert_int_equal(from, first);
}

/* In the relay's own words. */
static void answer(struct scene *s, const char *text)
{
    struct arena arena = ARENA(0);
    struct smtp_outcomes outcomes;
    char *copy = strdup(text);
    assert_non_null(copy);
    assert_int_equal(smtp_outcomes_parse(slice_from_cstr(copy), &arena, &outcomes), RESULT_OK);
    assert_int_equal(tracer_answer(&s->tracer, &outcomes), RESULT_OK);
    memset(copy, 'x', strlen(copy)); /* nothing of it is kept */
    free(copy);
    arena_free(&arena);
}

static void conclude(struct scene *s)
{
    uint32_t transaction, first;
    assert_false(tracer_question(&s->tracer, &transaction, &first));
    assert_int_equal(tracer_conclude(&s->tracer, &s->rules, &s->verdict), RESULT_OK);
}

static const struct store_outcome *outcome_of(const struct scene *s, uint32_t seq)
{
    for (size_t i = 0; i < s->verdict.noutcomes; i++)
        if (s->tracer.outcomes[i].seq == seq)
            return &s->tracer.outcomes[i];
    return NULL;
}

static void assert_outcome(const struct scene *s, uint32_t seq, enum store_state state, int64_t next_ms, const char *reply, const char *host)
{
    const struct store_outcome *outcome = outcome_of(s, seq);
    char text[1000];
    assert_non_null(outcome);
    assert_int_equal(outcome->state, state);
    assert_int_equal(outcome->next_attempt_ms, next_ms);
    assert_true(slice_to_cstr(outcome->reply, text, sizeof text));
    assert_string_equal(text, reply);
    assert_true(slice_to_cstr(outcome->host, text, sizeof text));
    assert_string_equal(text, host);
    assert_int_equal(outcome->counts, state != STORE_RELAYED); /* the time of the hand-over stays */
}

static void each_recipient_gets_what_became_of_it(void **state)
{
    struct scene s;
    (void)state;
    begin(&s);
    assert_question(&s, 0, 0);
    answer(&s, "2 recipients from 0\nbounced 1795392001 0 carl@a.example - 550 5.1.2 no such domain\n"
               "delivered 1795392002 0 bob@a.example mx.a.example+20[192.0.2.9]:25 250 2.0.0 taken\nend");
    assert_question(&s, 1, 0);
    answer(&s, "2 recipients from 0\nqueued 1795391990 1795392290 dora@a.example mx.a.example 451 4.7.1 greylisted\ndelivered 1 0 zoe@a.example mx 250 who?\nend");
    conclude(&s);
    assert_int_equal(s.verdict.noutcomes, 4);
    assert_false(s.verdict.is_lost || s.verdict.is_final);
    assert_outcome(&s, 0, STORE_DELIVERED, 0, "250 2.0.0 taken", "mx.a.example [192.0.2.9]:25");
    assert_outcome(&s, 4, STORE_DELIVERED, 0, "250 2.0.0 taken", "mx.a.example [192.0.2.9]:25"); /* one to the relay */
    assert_int_equal(outcome_of(&s, 0)->at_ms, INT64_C(1795392002000)); /* when the relay heard it */
    assert_int_equal(outcome_of(&s, 3)->at_ms, 0);
    assert_outcome(&s, 2, STORE_BOUNCED, 0, "550 5.1.2 no such domain", "relay.example");
    assert_outcome(&s, 3, STORE_RELAYED, NEXT, "the relay tries again at 2026-11-23T00:04:50Z: 451 4.7.1 greylisted", "mx.a.example");
    assert_int_equal(outcome_of(&s, 3)->transaction, 1);
    tracer_free(&s.tracer);
}

/* The first of several; with one that it gave no time for, none. */
static void the_relays_own_next_try_is_known(void **state)
{
    static const struct { const char *bob, *carl; int64_t next_s; } rows[] = {
        {"delivered 1795392002 0", "queued 1795391990 1795392290", 1795392290}, {"queued 1795391990 1795392400", "queued 1795391990 1795392290", 1795392290},
        {"queued 1795391990 1795392400", "held 1795391990 0", 0}, {"delivered 1795392002 0", "bounced 1795392002 0", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scene s;
        char text[300];
        begin(&s);
        snprintf(text, sizeof text, "2 recipients from 0\n%s bob@a.example mx 450 x\n%s carl@a.example mx 450 x\nend", rows[i].bob, rows[i].carl);
        answer(&s, text);
        answer(&s, "1 recipients from 0\ndelivered 1795392002 0 dora@a.example mx 250 x\nend");
        assert_int_equal(tracer_relay_ms(&s.tracer), rows[i].next_s * 1000);
        tracer_free(&s.tracer);
    }
}

static void what_is_not_final_is_told_in_words(void **state)
{
    static const struct { const char *line, *words; } rows[] = {
        {"queued 0 0 carl@a.example - ", "the relay has it, and tries"},
        {"queued 0 1795392290 carl@a.example - ", "the relay has it, and tries"},
        {"held 1795392000 0 carl@a.example - 451 4.2.0 busy", "the relay's keeper holds it there: 451 4.2.0 busy"},
        {"uncertain 1795392000 1795392290 carl@a.example mx the connection was closed",
         "perhaps delivered: the line broke before the next server's reply; it may arrive twice, for the relay tries again at 2026-11-23T00:04:50Z: the connection was closed"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scene s;
        char text[400], words[400];
        begin(&s);
        snprintf(text, sizeof text, "1 recipients from 0\n%s\nend", rows[i].line);
        answer(&s, text);
        tracer_unknown(&s.tracer);
        conclude(&s);
        assert_non_null(outcome_of(&s, 2));
        assert_true(slice_to_cstr(outcome_of(&s, 2)->reply, words, sizeof words));
        assert_string_equal(words, rows[i].words);
        assert_null(outcome_of(&s, 0)); /* not named: as it was, asked again */
        assert_false(s.verdict.is_final);
        tracer_free(&s.tracer);
    }
}

static void an_answer_in_pieces(void **state)
{
    struct scene s;
    (void)state;
    begin(&s);
    answer(&s, "3 recipients from 0\ndelivered 1795392002 0 bob@a.example mx 250 one\nmore 1");
    assert_question(&s, 0, 1);
    answer(&s, "3 recipients from 1\ndelivered 1795392002 0 carl@a.example mx 250 two\nmore 2");
    assert_question(&s, 0, 2);
    answer(&s, "3 recipients from 2\ndelivered 1795392002 0 bob@a.example mx 250 three\nend");
    assert_question(&s, 1, 0);
    answer(&s, "1 recipients from 0\ndelivered 1795392002 0 dora@a.example mx 250 four\nend");
    conclude(&s);
    assert_outcome(&s, 0, STORE_DELIVERED, 0, "250 one", "mx");
    assert_outcome(&s, 4, STORE_DELIVERED, 0, "250 three", "mx"); /* to this relay they are two */
    assert_true(s.verdict.is_final);
    tracer_free(&s.tracer);
}

static void what_was_removed_there_is_asked_about_no_more(void **state)
{
    struct scene s;
    (void)state;
    begin(&s);
    answer(&s, "0 recipients from 0\nend");
    answer(&s, "0 recipients from 0\nend");
    conclude(&s);
    assert_int_equal(s.verdict.noutcomes, 4);
    assert_outcome(&s, 0, STORE_RELAYED, 0, "it was removed at the relay", "relay.example");
    assert_true(s.verdict.is_final && !s.verdict.is_lost);
    tracer_free(&s.tracer);
}

static void nothing_new_is_not_written_but_before_a_long_wait(void **state)
{
    (void)state;
    for (int is_long = 0; is_long < 2; is_long++) {
        struct scene s;
        begin(&s);
        s.rules.is_long_wait = is_long;
        answer(&s, "1 recipients from 0\nqueued 0 0 zoe@a.example - \nend");
        answer(&s, "1 recipients from 0\nqueued 0 0 zoe@a.example - \nend");
        conclude(&s);
        assert_int_equal(s.verdict.noutcomes, is_long ? 4 : 0);
        if (is_long)
            assert_outcome(&s, 0, STORE_RELAYED, NEXT, "250 2.0.0 Ok: queued as X", "192.0.2.7:465 tls");
        tracer_free(&s.tracer);
    }
}

/* Handed over again only while the relay still must know what it had: from an hour before the hand-over, for clocks are not exact, to an hour before the end of its promise. */
static void a_loss_is_one_within_the_promise_only(void **state)
{
    const int64_t promised = (int64_t)PROMISED_S * 1000, years = 3650 * DAY;
    const struct { int64_t age, lead; bool can_refill, is_lost; } rows[] = {
        {0, 0, true, true}, {promised - HOUR, 0, true, true}, {promised - HOUR + 1, 0, true, false}, {promised, 0, true, false}, {-HOUR, 0, true, true}, {-HOUR - 1, 0, true, false},
        {years, 0, true, false}, {-years, 0, true, false}, {years + HOUR, years, true, true}, {years - HOUR - 1, years, true, false}, {0, 0, false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scene s;
        begin(&s);
        s.rules.now_ms = TAKEN + rows[i].age;
        s.rules.lead_ms = rows[i].lead;
        s.rules.can_refill = rows[i].can_refill;
        tracer_unknown(&s.tracer);
        answer(&s, "1 recipients from 0\ndelivered 1795392002 0 dora@a.example mx 250 taken\nend");
        conclude(&s);
        assert_int_equal(s.verdict.is_lost, rows[i].is_lost);
        assert_outcome(&s, 3, STORE_DELIVERED, 0, "250 taken", "mx"); /* of the other transaction, in any case */
        if (!rows[i].is_lost)
            assert_outcome(&s, 0, STORE_RELAYED, 0, "the relay knows nothing of it any more", "relay.example");
        else /* what it said of it before holds no more; awaited until it is queued */
            assert_outcome(&s, 0, STORE_RELAYED, NEXT, "the relay knows nothing of it any more: it is handed over again", "relay.example");
        assert_int_equal(s.verdict.noutcomes, 4);
        assert_int_equal(s.verdict.is_final, !rows[i].is_lost);
        tracer_free(&s.tracer);
    }
}

/* At once, the first time, or when it was kept for an hour. Else as after so many failures, until the message's lifetime is over. */
static void what_is_lost_again_and_again_waits_and_ends(void **state)
{
    static const struct { uint32_t attempts; int64_t age_s; bool is_expired; int64_t waits_s; } rows[] = { /* waits_s < 0: given up */
        {1, 2, false, 0}, {1, 2, true, 0}, {2, 2, false, 60}, {3, 2, false, 600}, {9, 2, false, 600}, {2, 2, true, -1}, {2, -60, true, -1}, {2, HOUR_S - 1, true, -1}, {2, HOUR_S, true, 0}, {9, HOUR_S, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scene s;
        struct schedule schedule;
        struct store_recipient r = recipient(0, "bob@a.example", 0);
        s.listing = (struct store_listing){.message = {.id = MESSAGE, .received_at_ms = 5, .expires_at_ms = 6}, .recipients = &r, .nrecipients = 1};
        r.attempts = rows[i].attempts;
        assert_int_equal(tracer_begin(&s.tracer, &s.listing), RESULT_OK);
        assert_true(s.tracer.received_at_ms == 5 && s.tracer.expires_at_ms == 6);
        assert_int_equal(schedule_parse(SLICE("1m,10m"), &schedule), RESULT_OK);
        s.rules = (struct tracer_rules){.now_ms = TAKEN + rows[i].age_s * 1000, .promised_s = PROMISED_S, .can_refill = true, .is_expired = rows[i].is_expired, .schedule = &schedule, .random = UINT32_MAX / 2,
                                        .ask_at_ms = NEXT, .relay = SLICE("relay.example")};
        tracer_unknown(&s.tracer);
        conclude(&s);
        assert_int_equal(s.verdict.is_lost, rows[i].waits_s >= 0);
        if (s.verdict.is_lost)
            assert_in_range(s.verdict.queue_at_ms, s.rules.now_ms + rows[i].waits_s * 900, s.rules.now_ms + rows[i].waits_s * 1100);
        else
            assert_outcome(&s, 0, STORE_RELAYED, 0, "the relay takes it and then knows nothing of it, again and again: given up", "relay.example");
        assert_int_equal(s.verdict.is_final, !s.verdict.is_lost);
        tracer_free(&s.tracer);
    }
}

static void a_relay_that_promises_nothing_is_refilled_never(void **state)
{
    static const uint64_t promises[] = {0, HOUR_S - 1, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct scene s;
        begin(&s);
        s.rules.promised_s = promises[i];
        s.rules.now_ms = TAKEN + 1000;
        tracer_unknown(&s.tracer);
        tracer_unknown(&s.tracer);
        conclude(&s);
        assert_int_equal(s.verdict.is_lost, i == 2);
        tracer_free(&s.tracer);
    }
}

/* As long as the relay would have known the name: by its promise, or by the message's lifetime and two days. */
static void what_nobody_tells_of_is_given_up_in_time(void **state)
{
    const struct { uint64_t promised_s; bool is_untold; unsigned unheard; int64_t age_ms, lead_ms; const char *words; } rows[] = {
        {0, true, 0, 7 * DAY - 1, 0, NULL}, {0, true, 0, 7 * DAY, 0, "the relay tells no outcomes any more; its last word: 250 2.0.0 Ok: queued as X"},
        {0, true, 0, 200 * DAY, 0, "the relay tells no outcomes any more; its last word: 250 2.0.0 Ok: queued as X"},
        {0, true, 0, 200 * DAY, 194 * DAY, NULL}, /* somebody has set the clock */
        {0, true, 0, -200 * DAY, 0, NULL},
        {30 * 24 * HOUR_S, true, 0, 30 * DAY - 1, 0, NULL}, {30 * 24 * HOUR_S, true, 0, 30 * DAY, 0, "the relay tells no outcomes any more; its last word: 250 2.0.0 Ok: queued as X"},
        {UINT64_MAX, true, 0, 200 * DAY, 0, NULL}, {UINT64_MAX, true, 0, 4000 * DAY, 0, "the relay tells no outcomes any more; its last word: 250 2.0.0 Ok: queued as X"},
        {PROMISED_S, false, 0, 7 * DAY - 1, 0, NULL}, {PROMISED_S, false, 0, 7 * DAY, 0, "the relay tells nothing of it any more; its last word: 250 2.0.0 Ok: queued as X"},
        {0, true, 1, 14 * DAY - 1, 0, NULL}, {0, true, 1, 14 * DAY, 0, "nothing is heard of the relay any more; its last word: 250 2.0.0 Ok: queued as X"},
        {PROMISED_S, false, 2, 28 * DAY - 1, 0, NULL}, {PROMISED_S, false, 2, 28 * DAY, 0, "nothing is heard of the relay any more; its last word: 250 2.0.0 Ok: queued as X"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scene s;
        begin(&s);
        s.rules.unheard = rows[i].unheard;
        s.tracer.received_at_ms = TAKEN - DAY;
        s.tracer.expires_at_ms = TAKEN + 4 * DAY;
        s.rules.promised_s = rows[i].promised_s;
        s.rules.is_untold = rows[i].is_untold;
        s.rules.now_ms = TAKEN + rows[i].age_ms;
        s.rules.lead_ms = rows[i].lead_ms;
        s.rules.is_long_wait = true;
        assert_int_equal(tracer_conclude(&s.tracer, &s.rules, &s.verdict), RESULT_OK);
        assert_int_equal(s.verdict.noutcomes, 4);
        assert_int_equal(s.verdict.is_final, rows[i].words != NULL);
        assert_false(s.verdict.is_lost);
        assert_outcome(&s, 2, STORE_RELAYED, rows[i].words ? 0 : NEXT, rows[i].words ? rows[i].words : "250 2.0.0 Ok: queued as X", "192.0.2.7:465 tls");
        tracer_free(&s.tracer);
    }
}

/* What it does tell of is awaited for as long as it says so: a keeper may hold it for a year. */
static void what_the_relay_still_has_is_not_given_up(void **state)
{
    struct scene s;
    (void)state;
    begin(&s);
    s.rules.now_ms = TAKEN + 200 * DAY;
    answer(&s, "2 recipients from 0\nheld 1795392001 0 carl@a.example - 451 4.2.0 busy\nheld 1795392002 0 bob@a.example - \nend");
    answer(&s, "1 recipients from 0\nqueued 1795391990 1795392290 dora@a.example mx 450 x\nend");
    conclude(&s);
    assert_false(s.verdict.is_final);
    for (uint32_t seq = 0; seq < 5; seq++)
        assert_true(seq == 1 || outcome_of(&s, seq)->next_attempt_ms == NEXT);
    tracer_free(&s.tracer);
}

static void a_message_of_which_nothing_is_awaited_is_none(void **state)
{
    struct store_recipient r = recipient(0, "bob@a.example", 0);
    struct store_listing listing = {.message = {.id = MESSAGE}, .recipients = &r, .nrecipients = 1};
    struct tracer tracer;
    (void)state;
    r.next_attempt_ms = 0;
    assert_int_equal(tracer_begin(&tracer, &listing), RESULT_NOT_FOUND);
    r = recipient(0, "bob@a.example", 0);
    r.state = STORE_QUEUED;
    assert_int_equal(tracer_begin(&tracer, &listing), RESULT_NOT_FOUND);
}

/* A relay that names thousands of strangers, piece after piece, costs bounded time. */
static void strangers_are_not_looked_for_for_ever(void **state)
{
    struct scene s;
    uint32_t transaction, first, rounds = 0;
    (void)state;
    begin(&s);
    while (tracer_question(&s.tracer, &transaction, &first) && transaction == 0) {
        struct smtp_outcome stranger = {.state = SMTP_OUTCOME_DELIVERED, .address = SLICE("zoe@a.example"), .host = SLICE("mx"), .words = SLICE("250")};
        struct smtp_outcomes endless = {.total = UINT32_MAX, .first = first, .next = first + 1, .n = 1, .outcomes = &stranger};
        assert_int_equal(tracer_answer(&s.tracer, &endless), RESULT_OK);
        assert_true(++rounds < 300000);
    }
    tracer_unknown(&s.tracer);
    conclude(&s);
    assert_null(outcome_of(&s, 0));
    tracer_free(&s.tracer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_recipient_gets_what_became_of_it),
        cmocka_unit_test(what_is_not_final_is_told_in_words),
        cmocka_unit_test(the_relays_own_next_try_is_known),
        cmocka_unit_test(an_answer_in_pieces),
        cmocka_unit_test(what_was_removed_there_is_asked_about_no_more),
        cmocka_unit_test(nothing_new_is_not_written_but_before_a_long_wait),
        cmocka_unit_test(a_loss_is_one_within_the_promise_only),
        cmocka_unit_test(what_is_lost_again_and_again_waits_and_ends),
        cmocka_unit_test(a_relay_that_promises_nothing_is_refilled_never),
        cmocka_unit_test(what_nobody_tells_of_is_given_up_in_time),
        cmocka_unit_test(what_the_relay_still_has_is_not_given_up),
        cmocka_unit_test(a_message_of_which_nothing_is_awaited_is_none),
        cmocka_unit_test(strangers_are_not_looked_for_for_ever),
    };
    return cmocka_run_group_tests_name("tracer", tests, NULL, NULL);
}
