/* queue/schedule.h: the grammar of durations and schedules, and when to try again. */
#include "queue/schedule.h"
#include "support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DAY INT64_C(86400000)

static void parses_durations(void **state)
{
    static const struct {
        struct slice text;
        enum result result;
        int64_t ms;
    } rows[] = {
        {SLICE("90s"), RESULT_OK, 90000}, {SLICE("5m"), RESULT_OK, 300000}, {SLICE("4h"), RESULT_OK, 14400000}, {SLICE("5d"), RESULT_OK, 5 * DAY},
        {SLICE("500ms"), RESULT_OK, 500}, {SLICE("0s"), RESULT_OK, 0}, {SLICE(" 1m\t"), RESULT_OK, 60000}, {SLICE("007s"), RESULT_OK, 7000},
        {SLICE("3650d"), RESULT_OK, 3650 * DAY}, {SLICE("3651d"), RESULT_LIMIT, 0}, {SLICE("315360000000ms"), RESULT_OK, 3650 * DAY}, {SLICE("315360000001ms"), RESULT_LIMIT, 0},
        {SLICE("99999999999999999999999d"), RESULT_LIMIT, 0}, {SLICE(""), RESULT_SYNTAX, 0}, {SLICE("5"), RESULT_SYNTAX, 0}, {SLICE("m"), RESULT_SYNTAX, 0}, {SLICE("-5m"), RESULT_SYNTAX, 0},
        {SLICE("+5m"), RESULT_SYNTAX, 0}, {SLICE("5 m"), RESULT_SYNTAX, 0}, {SLICE("5M"), RESULT_SYNTAX, 0}, {SLICE("1.5h"), RESULT_SYNTAX, 0}, {SLICE("1h30m"), RESULT_SYNTAX, 0}, {SLICE("5mm"), RESULT_SYNTAX, 0},
        {SLICE("5m\0"), RESULT_SYNTAX, 0}, {SLICE("5w"), RESULT_SYNTAX, 0}, {SLICE("0x5m"), RESULT_SYNTAX, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice text = guard_dup(rows[i].text);
        int64_t ms = 0;
        if (duration_parse(text, &ms) != rows[i].result || ms != rows[i].ms)
            fail_msg("%.*s", SLICE_ARG(rows[i].text));
        guard_free(&text);
    }
}

static void parses_schedules(void **state)
{
    struct schedule s;
    (void)state;
    assert_int_equal(schedule_parse(SLICE("1m, 5m*2,1h * 3"), &s), RESULT_OK);
    assert_int_equal(s.nsteps, 3);
    assert_int_equal(s.steps[0].delay_ms, 60000);
    assert_int_equal(s.steps[0].times, 1);
    assert_int_equal(s.steps[1].delay_ms, 300000);
    assert_int_equal(s.steps[1].times, 2);
    assert_int_equal(s.steps[2].delay_ms, 3600000);
    assert_int_equal(s.steps[2].times, 3);
    assert_int_equal(schedule_parse(SLICE("1s*4294967295"), &s), RESULT_OK);
    assert_int_equal(s.steps[0].times, UINT32_MAX);
}

static void refuses_other_schedules(void **state)
{
    static const struct slice rows[] = {SLICE(""), SLICE(","), SLICE("1m,"), SLICE(",1m"), SLICE("1m,,2m"), SLICE("1m*"), SLICE("1m*0"), SLICE("0s"), SLICE("*2"), SLICE("1m*2*3"), SLICE("1m*-1"), SLICE("1m;2m"), SLICE("2*1m")};
    char many[SCHEDULE_STEPS_MAX * 3 + 3];
    struct schedule s = {.nsteps = 77};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (schedule_parse(rows[i], &s) != RESULT_SYNTAX)
            fail_msg("%.*s", SLICE_ARG(rows[i]));
    assert_int_equal(schedule_parse(SLICE("1m*4294967296"), &s), RESULT_LIMIT);
    assert_int_equal(schedule_parse(SLICE("1m, 3651d"), &s), RESULT_LIMIT);
    for (size_t i = 0; i <= SCHEDULE_STEPS_MAX; i++)
        memcpy(many + 3 * i, "1s,", 3);
    assert_int_equal(schedule_parse(slice_of(many, SCHEDULE_STEPS_MAX * 3 + 2), &s), RESULT_LIMIT);
    assert_int_equal(s.nsteps, 77); /* a refused one leaves what was there */
    assert_int_equal(schedule_parse(slice_of(many, SCHEDULE_STEPS_MAX * 3 - 1), &s), RESULT_OK);
    assert_int_equal(s.nsteps, SCHEDULE_STEPS_MAX);
}

/* The middle of the jitter: the delay itself, or next to it. */
static int64_t middle(const struct schedule *s, uint32_t attempts)
{
    return schedule_delay_ms(s, attempts, UINT32_MAX / 2);
}

static void follows_the_steps(void **state)
{
    struct schedule s;
    (void)state;
    assert_int_equal(schedule_parse(SLICE("1m, 5m*2, 1h*3"), &s), RESULT_OK);
    assert_int_equal(middle(&s, 0), 60000);
    assert_int_equal(middle(&s, 1), 60000);
    assert_int_equal(middle(&s, 2), 300000);
    assert_int_equal(middle(&s, 3), 300000);
    assert_int_equal(middle(&s, 4), 3600000);
    assert_int_equal(middle(&s, 6), 3600000);
    assert_int_equal(middle(&s, 7), 3600000);
    assert_int_equal(middle(&s, UINT32_MAX), 3600000);
    assert_int_equal(schedule_parse(SLICE("1m*4294967295,2m*4294967295,3m"), &s), RESULT_OK);
    assert_int_equal(middle(&s, UINT32_MAX), 60000);
}

static void jitters_by_a_tenth(void **state)
{
    struct schedule s;
    (void)state;
    assert_int_equal(schedule_parse(SLICE("100s"), &s), RESULT_OK);
    assert_int_equal(schedule_delay_ms(&s, 1, 0), 90000);
    assert_int_equal(schedule_delay_ms(&s, 1, UINT32_MAX), 110000);
    for (uint32_t r = 0; r < UINT32_MAX - 1000003; r += 1000003)
        assert_true(schedule_delay_ms(&s, 1, r) <= schedule_delay_ms(&s, 1, r + 1000003));
    assert_int_equal(schedule_parse(SLICE("3650d"), &s), RESULT_OK);
    assert_int_equal(schedule_delay_ms(&s, 1, 0), 3285 * DAY);
    assert_int_equal(schedule_delay_ms(&s, 1, UINT32_MAX), 4015 * DAY - 14); /* the last of 2^32 steps of 14.7 ms */
    assert_int_equal(schedule_parse(SLICE("1ms"), &s), RESULT_OK);
    assert_int_equal(schedule_delay_ms(&s, 1, 0), 1);
    assert_int_equal(schedule_delay_ms(&(struct schedule){0}, 1, 5), 1);
}

static void a_wall_clock_that_is_set_neither_hurries_nor_stops(void **state)
{
    const int64_t now = 20000 * DAY, clock = 5000, longest = 3600000, years = 3650 * DAY;
    struct schedule s;
    (void)state;
    assert_int_equal(schedule_on_clock(now + 60000, now, clock, longest), clock + 60000);
    assert_int_equal(schedule_on_clock(now + longest, now, clock, longest), clock + longest);
    assert_int_equal(schedule_on_clock(now - 60000, now, clock, longest), clock);
    /* Stored before the clock was set back ten years, or ahead. */
    assert_int_equal(schedule_on_clock(now + 60000, now - years, clock, longest), clock);
    assert_int_equal(schedule_on_clock(now + 60000, now + years, clock, longest), clock);
    assert_int_equal(schedule_parse(SLICE("1m, 1h*3, 30m"), &s), RESULT_OK);
    for (uint32_t attempts = 1; attempts < 6; attempts++)
        assert_true(schedule_delay_ms(&s, attempts, UINT32_MAX) <= schedule_longest_ms(&s));
    assert_true(schedule_longest_ms(&s) < 2 * 3600000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_durations),
        cmocka_unit_test(parses_schedules),
        cmocka_unit_test(refuses_other_schedules),
        cmocka_unit_test(follows_the_steps),
        cmocka_unit_test(jitters_by_a_tenth),
        cmocka_unit_test(a_wall_clock_that_is_set_neither_hurries_nor_stops),
    };
    return cmocka_run_group_tests_name("queue/schedule", tests, NULL, NULL);
}
