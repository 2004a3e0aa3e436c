/* Which messages the relay is asked about, and when: days in a loop, no clock of its own. */
#include "custody.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };
static const int64_t DAY = 24 * (int64_t)HOUR, BEGIN = 5000;

static void take(struct custody *c, uint64_t message, int64_t now_ms)
{
    assert_int_equal(custody_take(c, message, now_ms), RESULT_OK);
}

static void ask(struct custody *c, uint64_t message, int64_t now_ms)
{
    uint64_t next = 0;
    int64_t in_ms;
    assert_true(custody_next(c, now_ms, &next));
    assert_int_equal(next, message);
    custody_answered(c, message, now_ms, 0, &in_ms);
    assert_in_range(in_ms, 1, CUSTODY_LONGEST_MS);
}

static void a_session_that_stands_is_used_soon_and_then_less_often(void **state)
{
    struct custody c = {0};
    uint64_t message;
    int64_t at_ms = BEGIN, gap_ms = 0;
    (void)state;
    assert_int_equal(custody_may_ms(&c), INT64_MAX);
    take(&c, 7, BEGIN);
    static const int64_t first[] = {CUSTODY_FIRST_MS, CUSTODY_SECOND_MS, CUSTODY_THIRD_MS};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(custody_may_ms(&c), BEGIN + first[i]);
        assert_false(custody_next(&c, BEGIN + first[i] - 1, &message));
        ask(&c, 7, BEGIN + first[i]);
    }
    for (int i = 0; i < 100; i++) {
        at_ms = custody_may_ms(&c);
        assert_false(custody_next(&c, at_ms - 1, &message));
        ask(&c, 7, at_ms);
        assert_true(custody_may_ms(&c) - at_ms >= gap_ms);
        gap_ms = custody_may_ms(&c) - at_ms;
        assert_in_range(gap_ms, 30 * SECOND, 10 * MINUTE);
    }
    assert_int_equal(gap_ms, 10 * MINUTE);
    custody_free(&c);
}

/* Asked only when it wakes us, for two days: 10 minutes, an hour, four, and every six. */
static void without_a_session_it_wakes_us_at_long_intervals(void **state)
{
    static const int64_t expected[] = {10 * MINUTE, HOUR, 4 * HOUR, 10 * HOUR, 16 * HOUR, 22 * HOUR};
    struct custody c = {0};
    (void)state;
    assert_int_equal(custody_wake_ms(&c), INT64_MAX);
    assert_false(custody_wants_session(&c, BEGIN));
    take(&c, 7, BEGIN);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        int64_t at_ms = custody_wake_ms(&c);
        assert_int_equal(at_ms - BEGIN, expected[i]);
        assert_false(custody_wants_session(&c, at_ms - 1));
        assert_true(custody_wants_session(&c, at_ms));
        assert_true(custody_wants_session(&c, at_ms + MINUTE)); /* until the search is over */
        custody_search_over(&c);
        ask(&c, 7, at_ms);
    }
    custody_free(&c);
}

/* The times after which an answer is worth a write of its own. */
static void only_long_waits_are_written_down(void **state)
{
    struct custody c = {0};
    int64_t in_ms;
    (void)state;
    take(&c, 7, BEGIN);
    assert_false(custody_answered(&c, 7, BEGIN + 2 * SECOND, 0, &in_ms));
    assert_int_equal(in_ms, 10 * MINUTE - 2 * SECOND);
    assert_false(custody_answered(&c, 7, BEGIN + 40 * SECOND, 0, &in_ms));
    assert_true(custody_answered(&c, 7, BEGIN + 9 * MINUTE, 0, &in_ms));
    assert_int_equal(in_ms, 51 * MINUTE); /* asked a minute ago: not again at 10 */
    assert_false(custody_answered(&c, 8, BEGIN, 0, &in_ms)); /* removed meanwhile */
    custody_free(&c);
}

/* Invariant 3. */
static void searches_are_a_quarter_of_an_hour_apart(void **state)
{
    struct custody c = {0};
    int64_t last_ms = -DAY;
    unsigned nsearches = 0;
    (void)state;
    for (uint64_t i = 0; i < 50; i++)
        take(&c, i + 1, BEGIN + (int64_t)i * MINUTE);
    for (int64_t now_ms = BEGIN; now_ms < BEGIN + DAY; now_ms += 10 * SECOND) {
        if (!custody_wants_session(&c, now_ms))
            continue;
        assert_true(now_ms - last_ms >= CUSTODY_SEARCH_EVERY_MS);
        last_ms = now_ms;
        nsearches++;
        custody_search_over(&c); /* in vain: there is no way */
    }
    assert_in_range(nsearches, 94, 96); /* and not less often either */
    custody_free(&c);
}

static int64_t answered(struct custody *c, int64_t now_ms, int64_t relay_ms)
{
    int64_t in_ms;
    custody_answered(c, 7, now_ms, relay_ms, &in_ms);
    assert_int_equal(custody_ask_ms(c, 7), now_ms + in_ms);
    return now_ms + in_ms;
}

/* Soon after the relay's own next try; not before the pace allows it, not after the step, and not for a time that has passed. */
static void a_relay_that_told_its_time_is_asked_after_it(void **state)
{
    struct custody c = {0};
    (void)state;
    take(&c, 7, BEGIN);
    assert_int_equal(answered(&c, BEGIN + 2 * SECOND, 0), BEGIN + 10 * MINUTE);
    assert_int_equal(answered(&c, BEGIN + 2 * SECOND, BEGIN + 2 * SECOND), BEGIN + 10 * MINUTE);
    assert_int_equal(answered(&c, BEGIN + 2 * SECOND, BEGIN + 5 * MINUTE), BEGIN + 5 * MINUTE + CUSTODY_GRACE_MS);
    assert_int_equal(custody_may_ms(&c), custody_wake_ms(&c)); /* before it there is nothing to hear */
    assert_int_equal(answered(&c, BEGIN + 2 * SECOND, BEGIN + 3 * SECOND), BEGIN + CUSTODY_SECOND_MS);
    assert_int_equal(answered(&c, BEGIN + 2 * SECOND, BEGIN + 10 * MINUTE), BEGIN + 10 * MINUTE);
    assert_int_equal(answered(&c, BEGIN + 2 * HOUR, BEGIN + 2 * HOUR + MINUTE), BEGIN + 2 * HOUR + 10 * MINUTE);
    assert_true(custody_wants_session(&c, BEGIN + 2 * HOUR + 10 * MINUTE)); /* invariant 3, and the time that is told keeps to it */
    custody_search_over(&c);
    assert_int_equal(answered(&c, BEGIN + 2 * HOUR + 11 * MINUTE, BEGIN + 2 * HOUR + 12 * MINUTE), BEGIN + 2 * HOUR + 25 * MINUTE);
    custody_free(&c);
}

static void a_person_may_ask_at_any_time(void **state)
{
    struct custody c = {0};
    uint64_t message;
    (void)state;
    assert_false(custody_ask_now(&c, BEGIN));
    assert_false(custody_wants_session(&c, BEGIN));
    take(&c, 7, BEGIN);
    assert_true(custody_ask_now(&c, BEGIN));
    assert_true(custody_wants_session(&c, BEGIN));
    assert_true(custody_next(&c, BEGIN, &message));
    assert_int_equal(custody_ask_ms(&c, 7), 0);
    assert_int_equal(custody_ask_ms(&c, 8), 0);
    custody_search_over(&c);
    assert_false(custody_wants_session(&c, BEGIN));
    custody_free(&c);
}

/* Invariant 3: the search that a person wished for is one; a second wish need not wait, and another relay waits for none. */
static void a_search_for_a_person_is_a_search(void **state)
{
    struct custody c = {0};
    (void)state;
    assert_int_equal(custody_restore(&c, 7, BEGIN - HOUR, BEGIN + MINUTE, BEGIN), RESULT_OK);
    assert_true(custody_ask_now(&c, BEGIN));
    assert_true(custody_wants_session(&c, BEGIN));
    custody_search_over(&c); /* in vain */
    assert_int_equal(custody_wake_ms(&c), BEGIN + CUSTODY_SEARCH_EVERY_MS);
    assert_int_equal(custody_ask_ms(&c, 7), BEGIN + CUSTODY_SEARCH_EVERY_MS);
    assert_false(custody_wants_session(&c, BEGIN + CUSTODY_SEARCH_EVERY_MS - 1));
    assert_true(custody_ask_now(&c, BEGIN + MINUTE));
    assert_true(custody_wants_session(&c, BEGIN + MINUTE));
    custody_clear(&c);
    assert_int_equal(custody_restore(&c, 8, BEGIN - HOUR, BEGIN + 2 * MINUTE, BEGIN), RESULT_OK);
    assert_int_equal(custody_wake_ms(&c), BEGIN + 2 * MINUTE);
    custody_free(&c);
}

static void each_is_given_once_and_given_back(void **state)
{
    struct custody c = {0};
    uint64_t message;
    int64_t in_ms;
    (void)state;
    take(&c, 9, BEGIN);
    take(&c, 3, BEGIN + 1);
    take(&c, 6, BEGIN + 2);
    for (int round = 0; round < 2; round++) { /* invariant 2: the oldest first, whatever their numbers */
        static const uint64_t order[] = {9, 3, 6};
        for (size_t i = 0; i < 3; i++) {
            assert_true(custody_next(&c, BEGIN + MINUTE, &message));
            assert_int_equal(message, order[i]);
        }
        assert_false(custody_next(&c, BEGIN + MINUTE, &message));
        assert_int_equal(custody_may_ms(&c), INT64_MAX);
        assert_int_equal(custody_wake_ms(&c), INT64_MAX);
        custody_give_back(&c);
    }
    assert_true(custody_next(&c, BEGIN + MINUTE, &message));
    custody_put_off(&c, message, BEGIN + MINUTE);
    assert_true(custody_next(&c, BEGIN + MINUTE, &message));
    assert_int_equal(message, 3);
    custody_answered(&c, message, BEGIN + MINUTE, 0, &in_ms);
    custody_forget(&c, 6);
    custody_forget(&c, 6);
    assert_int_equal(c.count, 2);
    assert_false(custody_next(&c, BEGIN + MINUTE, &message));
    custody_forget(&c, 3);
    custody_forget(&c, 9);
    assert_int_equal(custody_wake_ms(&c), INT64_MAX); /* nothing awaited: no time comes */
    custody_free(&c);
}

static void a_new_database_makes_all_due_at_once(void **state)
{
    struct custody c = {0};
    uint64_t message;
    int64_t in_ms;
    (void)state;
    for (uint64_t i = 1; i <= 20; i++)
        take(&c, i, BEGIN);
    while (custody_next(&c, BEGIN + 2 * SECOND, &message))
        custody_answered(&c, message, BEGIN + 2 * SECOND, 0, &in_ms);
    assert_false(custody_next(&c, BEGIN + 3 * SECOND, &message));
    custody_doubt_all(&c, BEGIN + 3 * SECOND);
    uint64_t seen = 0;
    for (uint64_t i = 1; i <= 20; i++) { /* in whatever order */
        assert_true(custody_next(&c, BEGIN + 3 * SECOND, &message));
        seen |= UINT64_C(1) << message;
    }
    assert_int_equal(seen, (UINT64_C(1) << 21) - 2);
    assert_false(custody_next(&c, BEGIN + 3 * SECOND, &message));
    custody_clear(&c);
    assert_int_equal(custody_may_ms(&c), INT64_MAX);
    custody_free(&c);
}

static void handed_over_again_it_begins_anew(void **state)
{
    struct custody c = {0};
    (void)state;
    take(&c, 7, BEGIN);
    ask(&c, 7, BEGIN + HOUR);
    take(&c, 7, BEGIN + 2 * HOUR);
    assert_int_equal(c.count, 1); /* invariant 1 */
    assert_int_equal(custody_may_ms(&c), BEGIN + 2 * HOUR + CUSTODY_FIRST_MS);
    assert_int_equal(custody_restore(&c, 7, 0, BEGIN + DAY, BEGIN + 3 * HOUR), RESULT_OK); /* the disk knows less */
    assert_int_equal(custody_may_ms(&c), BEGIN + 2 * HOUR + CUSTODY_FIRST_MS);
    custody_free(&c);
}

/* Restored with whatever the wall clock made of the times: asked over the first session, woken in bounded time, and never starved. */
static void ten_years_either_way_neither_hurry_nor_starve(void **state)
{
    const int64_t now_ms = 3 * HOUR, years_ms = 3650 * DAY;
    (void)state;
    for (int64_t step_ms = -years_ms; step_ms <= years_ms; step_ms += years_ms) {
        struct custody c = {0};
        uint64_t message;
        int64_t in_ms;
        assert_int_equal(custody_restore(&c, 7, now_ms - 20 * MINUTE + step_ms, now_ms + 40 * MINUTE, now_ms), RESULT_OK);
        assert_int_equal(custody_wake_ms(&c), now_ms + 40 * MINUTE);
        assert_true(custody_next(&c, now_ms, &message));
        custody_answered(&c, 7, now_ms, 0, &in_ms);
        assert_in_range(in_ms, 1, CUSTODY_LONGEST_MS);
        assert_in_range(custody_may_ms(&c), now_ms + 2 * SECOND, now_ms + 10 * MINUTE);
        custody_free(&c);
    }
}

/* Whatever was done to it: the next times are those that a walk through all finds, and what is given is the oldest that is due. */
static void the_next_time_is_the_least_of_all(void **state)
{
    enum { MANY = 60, STEPS = 20000 };
    struct custody c = {0};
    uint64_t seed = 5, message;
    int64_t now_ms = BEGIN, in_ms;
    (void)state;
    for (int step = 0; step < STEPS; step++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t what = seed >> 60, which = (seed >> 33) % MANY + 1;
        int64_t may_ms = INT64_MAX, must_ms = INT64_MAX;
        size_t nunder_way = 0;
        now_ms += (int64_t)(seed >> 20) % (2 * MINUTE);
        switch (what) {
        case 0: case 1: case 2: take(&c, which, now_ms); break;
        case 3: assert_int_equal(custody_restore(&c, which, now_ms - HOUR, now_ms + 5, now_ms), RESULT_OK); break;
        case 4: case 5: case 6: (void)!custody_next(&c, now_ms, &message); break;
        case 7: case 8: (void)!custody_answered(&c, which, now_ms, now_ms + (int64_t)(seed >> 40) % HOUR - MINUTE, &in_ms); break;
        case 9: custody_put_off(&c, which, now_ms); break;
        case 10: case 11: custody_forget(&c, which); break;
        case 12: custody_give_back(&c); break;
        case 13: custody_doubt_all(&c, now_ms); break;
        default: if (step % 50 == 0) custody_clear(&c); break;
        }
        for (size_t i = 0; i < c.count; i++) {
            const struct custody_item *item = c.items[i];
            assert_true(i == 0 || c.items[i - 1]->message < item->message); /* invariant 1 */
            nunder_way += item->is_under_way;
            may_ms = !item->is_under_way && item->may_ms < may_ms ? item->may_ms : may_ms;
            must_ms = !item->is_under_way && item->must_ms < must_ms ? item->must_ms : must_ms;
        }
        assert_int_equal(c.nunder_way, nunder_way);
        assert_int_equal(custody_may_ms(&c), may_ms);
        assert_int_equal(custody_wake_ms(&c), must_ms);
    }
    custody_free(&c);
}

/* With the last that was waited for goes the wish for a session. */
static void what_is_removed_is_waited_for_no_more(void **state)
{
    struct custody c = {0};
    (void)state;
    take(&c, 7, BEGIN);
    take(&c, 8, BEGIN);
    assert_true(custody_ask_now(&c, BEGIN));
    custody_forget(&c, 7);
    assert_true(custody_wants_session(&c, BEGIN));
    custody_forget(&c, 8);
    assert_false(custody_wants_session(&c, BEGIN));
    assert_int_equal(custody_wake_ms(&c), INT64_MAX);
    custody_free(&c);
}

static void what_does_not_fit_is_left_to_the_disk(void **state)
{
    struct custody c = {0};
    (void)state;
    for (uint64_t i = CUSTODY_MAX; i > 0; i -= 2)
        take(&c, i, BEGIN);
    for (uint64_t i = 1; i < CUSTODY_MAX; i += 2)
        take(&c, i, BEGIN);
    assert_false(c.has_left_out);
    assert_int_equal(custody_take(&c, CUSTODY_MAX + 1, BEGIN), RESULT_LIMIT);
    assert_true(c.has_left_out);
    for (size_t i = 0; i < c.count; i++)
        assert_int_equal(c.items[i]->message, i + 1);
    custody_free(&c);
}

/* In the order of ids, each once; what is asked about now is left out, and nothing is changed. */
static void the_old_ones_are_found(void **state)
{
    struct custody custody = {0};
    uint64_t message = 0, asked;
    (void)state;
    for (uint64_t id = 1; id <= 5; id++)
        assert_int_equal(custody_restore(&custody, id, id == 3 ? 1000 : (int64_t)id, 2000 - (int64_t)id, 1000 - (id == 2)), RESULT_OK);
    assert_true(custody_next(&custody, 1000, &asked));
    assert_int_equal(asked, 2);
    for (uint64_t id = 1; id <= 5; id += id == 1 ? 3 : 1) {
        assert_true(custody_next_old(&custody, 1000, &message));
        assert_int_equal(message, id);
    }
    assert_false(custody_next_old(&custody, 1000, &message));
    assert_int_equal(custody_wake_ms(&custody), 1995);
    custody_free(&custody);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_that_stands_is_used_soon_and_then_less_often),
        cmocka_unit_test(without_a_session_it_wakes_us_at_long_intervals),
        cmocka_unit_test(only_long_waits_are_written_down),
        cmocka_unit_test(searches_are_a_quarter_of_an_hour_apart),
        cmocka_unit_test(each_is_given_once_and_given_back),
        cmocka_unit_test(a_relay_that_told_its_time_is_asked_after_it),
        cmocka_unit_test(a_person_may_ask_at_any_time),
        cmocka_unit_test(a_search_for_a_person_is_a_search),
        cmocka_unit_test(a_new_database_makes_all_due_at_once),
        cmocka_unit_test(handed_over_again_it_begins_anew),
        cmocka_unit_test(ten_years_either_way_neither_hurry_nor_starve),
        cmocka_unit_test(the_next_time_is_the_least_of_all),
        cmocka_unit_test(what_is_removed_is_waited_for_no_more),
        cmocka_unit_test(what_does_not_fit_is_left_to_the_disk),
        cmocka_unit_test(the_old_ones_are_found),
    };
    return cmocka_run_group_tests_name("custody", tests, NULL, NULL);
}
