/* The race's numbered invariants (path/race.h), which support/track.h watches, over random networks and clocks; and what the race is for. */
#include "support/track.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static char names[RACE_PATHS_MAX][8];

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < RACE_PATHS_MAX; i++)
        snprintf(names[i], sizeof names[i], "p%d", i);
    return 0;
}

static int64_t time_up_to(uint64_t *seed, uint64_t max_ms)
{
    return (int64_t)track_random(seed, 1 + track_random(seed, max_ms));
}

static struct track_path random_path(uint64_t *seed, size_t i)
{
    int64_t connect_ms = time_up_to(seed, 3000), shake_ms = time_up_to(seed, 6000);
    switch (track_random(seed, 6)) {
    case 0:
        return (struct track_path)TRACK_OPEN(names[i], connect_ms, shake_ms);
    case 1:
        return (struct track_path)TRACK_FAILS(names[i], connect_ms, PATH_REFUSED);
    case 2:
        return (struct track_path)TRACK_SILENT(names[i], connect_ms);
    case 3:
        return (struct track_path)TRACK_STRANGER(names[i], connect_ms, shake_ms, PATH_WRONG_CERTIFICATE);
    default:
        return (struct track_path)TRACK_DROPPED(names[i]);
    }
}

static struct race_config random_config(uint64_t *seed)
{
    struct race_config config = {.is_first_known = track_random(seed, 2) == 0};
    if (track_random(seed, 2) == 0)
        return config;
    config.sockets_max = (uint32_t)track_random(seed, RACE_SOCKETS_MAX + 1);
    config.stagger_ms = time_up_to(seed, 300);
    config.known_head_start_ms = time_up_to(seed, 2000);
    config.patience_ms = time_up_to(seed, 3000);
    config.stall_ms = time_up_to(seed, 5000);
    config.connect_timeout_ms = time_up_to(seed, 20000);
    config.handshake_timeout_ms = time_up_to(seed, 20000);
    config.round_timeout_ms = time_up_to(seed, 60000);
    return config;
}

/* Invariants 1 to 4, 6 and 7, on time and late. */
static void test_invariants(void **state)
{
    (void)state;
    static struct track_result result;
    for (uint64_t run = 0; run < 6000; run++) {
        uint64_t seed = run;
        struct track_path paths[RACE_PATHS_MAX];
        size_t n = track_random(&seed, track_random(&seed, 4) == 0 ? RACE_PATHS_MAX + 1 : 12);
        for (size_t i = 0; i < n; i++)
            paths[i] = random_path(&seed, i);
        struct race_config config = random_config(&seed);
        int64_t late_ms = track_random(&seed, 2) == 0 ? 0 : time_up_to(&seed, 5000);
        track_run(&config, paths, n, (int64_t)track_random(&seed, 1000000), late_ms, seed, &result);
        if (result.broken)
            fail_msg("run %llu: %s\n%s", (unsigned long long)run, result.broken, result.log);
    }
}

/* Invariant 5. */
static void test_same_inputs_same_actions(void **state)
{
    (void)state;
    static struct track_result one, two;
    for (uint64_t run = 0; run < 300; run++) {
        uint64_t seed = run ^ 0x5eed;
        struct track_path paths[24];
        for (size_t i = 0; i < 24; i++)
            paths[i] = random_path(&seed, i);
        struct race_config config = random_config(&seed);
        track_run(&config, paths, 24, 0, 40, run, &one);
        track_run(&config, paths, 24, 777, 40, run, &two);
        assert_string_equal(one.log, two.log);
    }
}

/* With all others silently dropped, up to ten paths are won in the time of the open one alone plus stagger times its position. */
static void test_a_dropped_port_costs_nothing(void **state)
{
    (void)state;
    static struct track_result result;
    for (uint64_t run = 0; run < 2000; run++) {
        uint64_t seed = run;
        struct track_path paths[RACE_SOCKETS_MAX];
        struct race_config config = {.stagger_ms = 10 + time_up_to(&seed, 30)};
        size_t n = 1 + track_random(&seed, RACE_SOCKETS_MAX), open = track_random(&seed, n);
        int64_t connect_ms = time_up_to(&seed, 3000), shake_ms = time_up_to(&seed, 4000);
        for (size_t i = 0; i < n; i++)
            paths[i] = (struct track_path)TRACK_DROPPED(names[i]);
        paths[open] = (struct track_path)TRACK_OPEN(names[open], connect_ms, shake_ms);
        track_run(&config, paths, n, 0, 0, 0, &result);
        assert_null(result.broken);
        assert_int_equal(result.won, open);
        assert_int_equal(result.ended_at_ms, (int64_t)open * config.stagger_ms + connect_ms + shake_ms);
    }
}

/* Thirty paths, two families by five ports by three ways, 300 ms away: whichever is open, it is connected within 2.5 s and, with a handshake of
 * two round trips, won within 3.1 s. */
static void test_one_of_thirty(void **state)
{
    (void)state;
    static struct track_result result;
    struct race_config config = {0};
    for (size_t open = 0; open < 30; open++) {
        struct track_path paths[30];
        for (size_t i = 0; i < 30; i++)
            paths[i] = (struct track_path)TRACK_DROPPED(names[i]);
        paths[open] = (struct track_path)TRACK_OPEN(names[open], 300, 600);
        track_run(&config, paths, 30, 0, 0, 0, &result);
        assert_null(result.broken);
        assert_int_equal(result.won, open);
        assert_true(result.ended_at_ms <= 2500 + 600);
    }
}

/* A path that is open is found within the round, however slow the line, unless it is slower than every patience: round trips up to 4 s on 12 paths. */
static void test_a_slow_line_is_found(void **state)
{
    (void)state;
    static struct track_result result;
    struct race_config config = {0};
    for (int64_t rtt_ms = 0; rtt_ms <= 4000; rtt_ms += 50) {
        for (size_t open = 0; open < 12; open++) {
            struct track_path paths[12];
            for (size_t i = 0; i < 12; i++)
                paths[i] = (struct track_path)TRACK_DROPPED(names[i]);
            paths[open] = (struct track_path)TRACK_OPEN(names[open], rtt_ms, 2 * rtt_ms);
            track_run(&config, paths, 12, 0, 0, 0, &result);
            assert_null(result.broken);
            if (result.won != (ptrdiff_t)open)
                fail_msg("round trip %lld ms, path %zu\n%s", (long long)rtt_ms, open, result.log);
        }
    }
}

/* A network that accepts every connection and is then silent on all but one: found within three times stall_ms for each pair before it. */
static void test_silent_acceptance_is_outlived(void **state)
{
    (void)state;
    static struct track_result result;
    struct race_config config = {0};
    for (size_t open = 0; open < 10; open++) {
        struct track_path paths[10];
        for (size_t i = 0; i < 10; i++)
            paths[i] = (struct track_path)TRACK_SILENT(names[i], 30);
        paths[open] = (struct track_path)TRACK_OPEN(names[open], 30, 60);
        track_run(&config, paths, 10, 0, 0, 0, &result);
        assert_null(result.broken);
        if (result.won != (ptrdiff_t)open || result.ended_at_ms > 1700 + 4500 * (int64_t)((open + 1) / 2))
            fail_msg("path %zu at %lld\n%s", open, (long long)result.ended_at_ms, result.log);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_invariants),
        cmocka_unit_test(test_same_inputs_same_actions),
        cmocka_unit_test(test_a_dropped_port_costs_nothing),
        cmocka_unit_test(test_one_of_thirty),
        cmocka_unit_test(test_a_slow_line_is_found),
        cmocka_unit_test(test_silent_acceptance_is_outlived),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
