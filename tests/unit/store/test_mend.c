/* Times of another wall clock: which messages are moved to today's, and what is moved of them. */
#include "support/store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW_MS INT64_C(1800000000000)
#define DAY_MS INT64_C(86400000)

/* Received then; dies five days later. */
static void put(struct world *w, uint64_t id, int64_t at_ms)
{
    struct world_done d = {0};
    struct envelope_recipient to[2] = {{.address = SLICE("a@example.org")}, {.address = SLICE("b@example.org")}};
    struct store_message message = {.envelope = {.recipients = to, .nrcpt = 2}, .received_at_ms = at_ms, .expires_at_ms = at_ms + 5 * DAY_MS};
    struct store_intake *intake = store_intake_new(w->client, id, NULL, NULL);
    assert_int_equal(store_intake_append(intake, SLICE("x")), RESULT_OK);
    store_intake_commit(&intake, &message, NULL, at_ms, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
}

/* Its first recipient is asked about. */
static void finish(struct world *w, uint64_t id, enum store_state state, int64_t now_ms, int64_t next_ms)
{
    struct world_done d = {0};
    const struct store_outcome outcome = {.state = state, .next_attempt_ms = next_ms, .counts = true};
    store_attempt_finish(w->client, id, &outcome, 1, now_ms, NULL, true, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
}

static void mend_since(struct world *w, int64_t now_ms, int64_t alive_at_ms, bool with_awaited)
{
    struct world_done d = {0};
    store_clock_mend(w->client, now_ms, alive_at_ms, with_awaited, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
}

static void mend(struct world *w, int64_t now_ms, bool with_awaited)
{
    mend_since(w, now_ms, 0, with_awaited);
}

struct got {
    bool is_done;
    int64_t received_ms, expires_ms, at_ms, next_ms, other_next_ms;
};

static void on_row(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct got *got = context;
    assert_int_equal(result, RESULT_OK);
    if (n > 0) {
        const struct store_recipient *r = rows[0].recipients;
        *got = (struct got){false, rows[0].message.received_at_ms, rows[0].message.expires_at_ms, r[0].at_ms, r[0].next_attempt_ms, r[1].next_attempt_ms};
    }
    got->is_done = is_last;
}

static struct got get(struct world *w, uint64_t id)
{
    struct got got = {0};
    store_message_get(w->client, id, on_row, &got);
    world_wait(w, &got.is_done);
    return got;
}

static void what_is_of_today_stays(void **state)
{
    struct world *w = *state;
    put(w, 1, NOW_MS - STORE_PAUSE_MS);
    put(w, 2, NOW_MS + STORE_AHEAD_MS);
    put(w, 3, NOW_MS - 100 * DAY_MS);
    finish(w, 3, STORE_QUEUED, NOW_MS - DAY_MS, NOW_MS); /* old, but tried yesterday */
    mend(w, NOW_MS, true);
    assert_int_equal(get(w, 1).received_ms, NOW_MS - STORE_PAUSE_MS);
    assert_int_equal(get(w, 2).received_ms, NOW_MS + STORE_AHEAD_MS);
    assert_int_equal(get(w, 3).received_ms, NOW_MS - 100 * DAY_MS);
}

static void what_is_of_another_clock_keeps_what_it_had_left(void **state)
{
    struct world *w = *state;
    const int64_t steps_ms[] = {3650 * DAY_MS, -3650 * DAY_MS, STORE_PAUSE_MS + DAY_MS + 1, -STORE_AHEAD_MS - DAY_MS - 1};
    for (uint64_t i = 0; i < 4; i++) {
        int64_t then_ms = NOW_MS - steps_ms[i];
        put(w, i + 1, then_ms);
        finish(w, i + 1, STORE_QUEUED, then_ms + DAY_MS, then_ms + DAY_MS + 1000);
    }
    mend(w, NOW_MS, false);
    for (uint64_t i = 0; i < 4; i++) {
        struct got got = get(w, i + 1);
        assert_int_equal(got.at_ms, NOW_MS);
        int64_t then_ms = NOW_MS - steps_ms[i];
        assert_int_equal(got.next_ms, steps_ms[i] < 0 ? NOW_MS + 1000 : then_ms + DAY_MS + 1000); /* what was due stays due */
        assert_int_equal(got.other_next_ms, steps_ms[i] < 0 ? NOW_MS - DAY_MS : then_ms);
        assert_int_equal(got.received_ms, NOW_MS - DAY_MS);
        assert_int_equal(got.expires_ms, NOW_MS + 4 * DAY_MS);
    }
    mend(w, NOW_MS, false);
    assert_int_equal(get(w, 1).received_ms, NOW_MS - DAY_MS);
}

/* Who was there and could ask nobody has waited all the same; what he has not seen pass is given back, whichever way the clock went. */
static void what_was_there_with_us_has_waited(void **state)
{
    struct world *w = *state;
    put(w, 1, NOW_MS - 3 * DAY_MS);
    put(w, 2, NOW_MS - 1000); /* came after that was written down */
    mend_since(w, NOW_MS, NOW_MS - 600000, false);
    assert_int_equal(get(w, 1).received_ms, NOW_MS - 3 * DAY_MS);
    mend_since(w, NOW_MS + 3650 * DAY_MS, NOW_MS, false);
    assert_int_equal(get(w, 1).received_ms, NOW_MS + 3650 * DAY_MS - 3 * DAY_MS);
    assert_int_equal(get(w, 2).received_ms, NOW_MS + 3650 * DAY_MS - 1000);
    put(w, 3, NOW_MS - 2000); /* came by the new clock before that was seen to be another */
    mend_since(w, NOW_MS, NOW_MS + 3650 * DAY_MS, false);
    assert_int_equal(get(w, 1).received_ms, NOW_MS - 3 * DAY_MS);
    assert_int_equal(get(w, 2).received_ms, NOW_MS - 1000);
    assert_int_equal(get(w, 3).received_ms, NOW_MS - 2000);
}

static void what_the_next_hop_may_have_counts_pauses(void **state)
{
    struct world *w = *state;
    int64_t then_ms = NOW_MS - STORE_STRAY_MS;
    put(w, 1, then_ms);
    put(w, 2, then_ms);
    put(w, 3, then_ms - 1);
    finish(w, 1, STORE_UNCERTAIN, then_ms, then_ms);
    finish(w, 2, STORE_RELAYED, then_ms, then_ms);
    finish(w, 3, STORE_UNCERTAIN, then_ms - 1, then_ms - 1);
    mend(w, NOW_MS, true);
    assert_int_equal(get(w, 1).received_ms, then_ms);
    assert_int_equal(get(w, 2).received_ms, then_ms);
    assert_int_equal(get(w, 3).received_ms, NOW_MS);
}

static void what_is_asked_about_is_moved_where_that_is_wanted(void **state)
{
    struct world *w = *state;
    int64_t then_ms = NOW_MS - 3650 * DAY_MS;
    for (uint64_t id = 1; id <= 2; id++) {
        struct world_done d = {0};
        const struct store_outcome outcomes[] = {{.seq = 0, .state = STORE_RELAYED, .next_attempt_ms = id == 1 ? then_ms + 5000 : 0, .counts = true}, {.seq = 1, .state = STORE_DELIVERED}};
        put(w, id, then_ms);
        store_attempt_finish(w->client, id, outcomes, 2, then_ms, NULL, true, world_on_done, &d);
        assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    }
    mend(w, NOW_MS, false);
    assert_int_equal(get(w, 1).at_ms, then_ms);
    mend(w, NOW_MS, true);
    assert_int_equal(get(w, 1).at_ms, NOW_MS);
    assert_int_equal(get(w, 1).next_ms, then_ms + 5000);
    assert_int_equal(get(w, 1).other_next_ms, 0);
    assert_int_equal(get(w, 2).received_ms, then_ms); /* it is history */
}

/* More than fit a page, and one kept in memory. */
static void all_are_moved(void **state)
{
    struct world *w = *state;
    struct store_job *job;
    for (uint64_t id = 1; id <= 250; id++)
        put(w, id, 1000);
    mend(w, NOW_MS, true);
    for (uint64_t id = 1; id <= 250; id++)
        assert_int_equal(get(w, id).received_ms, NOW_MS);
    assert_int_equal(world_load(w, 250, SLICE(""), &job), RESULT_OK);
    assert_int_equal(job->message.received_at_ms, NOW_MS);
    store_job_free(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_of_today_stays, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(what_is_of_another_clock_keeps_what_it_had_left, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(what_was_there_with_us_has_waited, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(what_the_next_hop_may_have_counts_pauses, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(what_is_asked_about_is_moved_where_that_is_wanted, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(all_are_moved, world_setup_agent, world_teardown),
    };
    return cmocka_run_group_tests_name("mend", tests, NULL, NULL);
}
