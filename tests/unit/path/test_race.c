/* The race as stories: a network, and everything that the race did on it, by the millisecond. The properties are in tests/property/prop_race.c. */
#include "support/track.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

struct story {
    const char *title;
    struct race_config config;
    struct track_path paths[12]; /* up to the first without a name */
    const char *log;
};

static const struct story stories[] = {
    {
        "everything is open: the preferred way, and the others stay untried",
        {0},
        {TRACK_OPEN("465", 50, 100), TRACK_OPEN("443", 50, 100), TRACK_OPEN("587", 50, 150)},
        "0 connect 465\n20 connect 443\n40 connect 587\n50 handshake 465\n150 won 465\n150 cancel 443 untried\n150 cancel 587 untried\n",
    },
    {
        "465 dropped, 587 dropped, 2525 connects at 50 ms: its handshake starts at once",
        {0},
        {TRACK_DROPPED("465"), TRACK_DROPPED("587"), TRACK_OPEN("2525", 50, 200), TRACK_OPEN("25", 50, 200)},
        "0 connect 465\n20 connect 587\n40 connect 2525\n60 connect 25\n90 handshake 2525\n290 won 2525\n290 cancel 465 dropped\n290 cancel 587 dropped\n"
        "290 cancel 25 untried\n",
    },
    {
        "a refusal hands over at once",
        {.stagger_ms = 200},
        {TRACK_FAILS("465", 5, PATH_REFUSED), TRACK_FAILS("587", 5, PATH_UNREACHABLE), TRACK_OPEN("2525", 50, 100)},
        "0 connect 465\n5 connect 587\n10 connect 2525\n60 handshake 2525\n160 won 2525\n",
    },
    {
        "a captive portal accepts every port: a stranger's certificate, HTTP, a foreign banner, one after the other",
        {0},
        {TRACK_STRANGER("465", 5, 30, PATH_WRONG_CERTIFICATE), TRACK_STRANGER("443", 5, 10, PATH_HTTP), TRACK_STRANGER("587", 5, 40, PATH_FOREIGN_BANNER)},
        "0 connect 465\n5 handshake 465\n20 connect 443\n35 handshake 443\n35 connect 587\n45 handshake 587\n85 lost\n",
    },
    {
        "465 accepts and is silent: the next handshake starts when it has stalled",
        {0},
        {TRACK_SILENT("465", 30), TRACK_OPEN("443", 30, 90)},
        "0 connect 465\n20 connect 443\n30 handshake 465\n1530 handshake 443\n1620 won 443\n1620 cancel 465 tls-failed\n",
    },
    {
        "on a fast line it has stalled sooner: four round trips and the server's time, but 400 ms at least",
        {.stall_least_ms = 400},
        {TRACK_SILENT("465", 30), TRACK_SILENT("443", 100), TRACK_OPEN("587", 50, 200)},
        "0 connect 465\n20 connect 443\n30 handshake 465\n40 connect 587\n430 handshake 443\n1230 cancel 465 tls-failed\n1230 handshake 587\n"
        "1230 connect 465\n1430 won 587\n1430 cancel 465 tls-failed\n1430 cancel 443 tls-failed\n",
    },
    {
        "on a slow one it may take its time",
        {.stall_least_ms = 400},
        {TRACK_OPEN("465", 300, 900), TRACK_OPEN("443", 300, 900)},
        "0 connect 465\n20 connect 443\n300 handshake 465\n1200 won 465\n1200 cancel 443 untried\n",
    },
    {
        "a stalled handshake may still win",
        {0},
        {TRACK_OPEN("465", 30, 1600), TRACK_OPEN("443", 30, 500)},
        "0 connect 465\n20 connect 443\n30 handshake 465\n1530 handshake 443\n1630 won 465\n1630 cancel 443 untried\n",
    },
    {
        "two handshakes at most: a third waits for the failure of one",
        {0},
        {TRACK_SILENT("465", 10), TRACK_STRANGER("443", 10, 900, PATH_TLS_FAILED), TRACK_OPEN("587", 10, 200)},
        "0 connect 465\n10 handshake 465\n20 connect 443\n40 connect 587\n1510 handshake 443\n2410 handshake 587\n2610 won 587\n2610 cancel 465 tls-failed\n",
    },
    {
        "two silent handshakes do not hold out until their time-out: the older gives way, and comes again after the others",
        {.round_timeout_ms = 12000},
        {TRACK_SILENT("465", 10), TRACK_SILENT("443", 10), TRACK_OPEN("587", 10, 5000)},
        "0 connect 465\n10 handshake 465\n20 connect 443\n40 connect 587\n1510 handshake 443\n4510 cancel 465 tls-failed\n4510 handshake 587\n4510 connect 465\n"
        "9510 won 587\n9510 cancel 465 tls-failed\n9510 cancel 443 tls-failed\n",
    },
    {
        "on a known network the remembered path starts alone, and wins alone",
        {.is_first_known = true},
        {TRACK_OPEN("2525", 50, 150), TRACK_OPEN("465", 50, 100)},
        "0 connect 2525\n50 handshake 2525\n200 won 2525\n",
    },
    {
        "the remembered path is slow today: the rest follow after 250 ms",
        {.is_first_known = true},
        {TRACK_DROPPED("2525"), TRACK_DROPPED("465"), TRACK_OPEN("443", 50, 100)},
        "0 connect 2525\n250 connect 465\n270 connect 443\n320 handshake 443\n420 won 443\n420 cancel 2525 dropped\n420 cancel 465 dropped\n",
    },
    {
        "the remembered path is refused today: the rest follow at once",
        {.is_first_known = true},
        {TRACK_FAILS("2525", 8, PATH_REFUSED), TRACK_OPEN("465", 50, 100)},
        "0 connect 2525\n8 connect 465\n58 handshake 465\n158 won 465\n",
    },
    {
        "more paths than sockets: after 500 ms the oldest attempts make room, and their turn comes again",
        {.connect_timeout_ms = 2000, .sockets_max = 6},
        {TRACK_DROPPED("a"), TRACK_DROPPED("b"), TRACK_DROPPED("c"), TRACK_DROPPED("d"), TRACK_DROPPED("e"), TRACK_DROPPED("f"), TRACK_DROPPED("g"),
         TRACK_OPEN("h", 100, 200)},
        "0 connect a\n20 connect b\n40 connect c\n60 connect d\n80 connect e\n100 connect f\n500 cancel a dropped\n500 connect g\n520 cancel b dropped\n"
        "520 connect h\n620 handshake h\n820 won h\n820 cancel c dropped\n820 cancel d dropped\n820 cancel e dropped\n820 cancel f dropped\n820 cancel g dropped\n",
    },
    {
        "a displaced path gets its second chance: it was the open one, on a line of 900 ms",
        {.sockets_max = 6},
        {TRACK_OPEN("a", 900, 500), TRACK_DROPPED("b"), TRACK_DROPPED("c"), TRACK_DROPPED("d"), TRACK_DROPPED("e"), TRACK_DROPPED("f"), TRACK_DROPPED("g")},
        "0 connect a\n20 connect b\n40 connect c\n60 connect d\n80 connect e\n100 connect f\n500 cancel a dropped\n500 connect g\n1520 cancel b dropped\n"
        "1520 connect a\n1540 cancel c dropped\n1540 connect b\n1560 cancel d dropped\n1560 connect c\n1580 cancel e dropped\n1580 connect d\n"
        "1600 cancel f dropped\n1600 connect e\n2000 cancel g dropped\n2000 connect f\n2420 handshake a\n2920 won a\n2920 cancel b dropped\n"
        "2920 cancel c dropped\n2920 cancel d dropped\n2920 cancel e dropped\n2920 cancel f dropped\n",
    },
    {
        "the time-out of a displaced path counts its attempts together: 500 ms, then 700 more",
        {.connect_timeout_ms = 1200, .sockets_max = 6},
        {TRACK_DROPPED("a"), TRACK_DROPPED("b"), TRACK_DROPPED("c"), TRACK_DROPPED("d"), TRACK_DROPPED("e"), TRACK_DROPPED("f"), TRACK_DROPPED("g")},
        "0 connect a\n20 connect b\n40 connect c\n60 connect d\n80 connect e\n100 connect f\n500 cancel a dropped\n500 connect g\n"
        "1220 cancel b dropped\n1220 connect a\n1240 cancel c dropped\n1260 cancel d dropped\n1280 cancel e dropped\n1300 cancel f dropped\n"
        "1700 cancel g dropped\n1920 cancel a dropped\n1920 lost\n",
    },
    {
        "and so does that of handshakes: 4,500 ms, then 1,500 more",
        {.handshake_timeout_ms = 6000},
        {TRACK_SILENT("465", 10), TRACK_SILENT("443", 10), TRACK_SILENT("587", 10)},
        "0 connect 465\n10 handshake 465\n20 connect 443\n40 connect 587\n1510 handshake 443\n4510 cancel 465 tls-failed\n4510 handshake 587\n4510 connect 465\n"
        "7510 cancel 443 tls-failed\n7510 handshake 465\n9010 cancel 465 tls-failed\n10510 cancel 587 tls-failed\n10510 lost\n",
    },
    {
        "a handshake gives way only when the younger one has stalled, too",
        {0},
        {TRACK_SILENT("465", 10), TRACK_SILENT("443", 3980), TRACK_OPEN("587", 4060, 100)},
        "0 connect 465\n10 handshake 465\n20 connect 443\n40 connect 587\n4000 handshake 443\n5500 cancel 465 tls-failed\n5500 handshake 587\n5500 connect 465\n"
        "5600 won 587\n5600 cancel 465 tls-failed\n5600 cancel 443 tls-failed\n",
    },
    {
        "who answers a little later than the winner is not called dropped",
        {0},
        {TRACK_OPEN("465", 50, 60), TRACK_OPEN("587", 100, 60)},
        "0 connect 465\n20 connect 587\n50 handshake 465\n110 won 465\n110 cancel 587 untried\n",
    },
    {
        "everything dropped: lost when the last attempt has timed out",
        {0},
        {TRACK_DROPPED("465"), TRACK_DROPPED("587")},
        "0 connect 465\n20 connect 587\n10000 cancel 465 dropped\n10020 cancel 587 dropped\n10020 lost\n",
    },
    {
        "the round ends before a handshake does",
        {.round_timeout_ms = 8000},
        {TRACK_SILENT("465", 30), TRACK_DROPPED("587")},
        "0 connect 465\n20 connect 587\n30 handshake 465\n8000 cancel 465 tls-failed\n8000 cancel 587 dropped\n8000 lost\n",
    },
    {
        "no paths at all",
        {0},
        {{0}},
        "0 lost\n",
    },
};

static void test_stories(void **state)
{
    (void)state;
    static struct track_result result;
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++) {
        size_t n = 0;
        while (n < 12 && stories[i].paths[n].name)
            n++;
        struct race_config config = stories[i].config;
        config.stagger_ms = config.stagger_ms ? config.stagger_ms : 20; /* easier to tell apart than the default */
        config.stall_least_ms = config.stall_least_ms ? config.stall_least_ms : 1500;
        track_run(&config, stories[i].paths, n, 1000000, 0, 0, &result);
        if (result.broken || strcmp(result.log, stories[i].log) != 0)
            fail_msg("%s: %s\n%sinstead of\n%s", stories[i].title, result.broken ? result.broken : "", result.log, stories[i].log);
    }
}

/* What the verdict on the network is made of. */
static void test_verdicts(void **state)
{
    (void)state;
    static struct track_result result;
    struct race_config config = {.stagger_ms = 20};
    static const struct track_path paths[] = {
        TRACK_DROPPED("465"),
        TRACK_FAILS("443", 7, PATH_REFUSED),
        TRACK_STRANGER("587", 10, 30, PATH_WRONG_CERTIFICATE),
        TRACK_OPEN("2525", 10, 100),
        TRACK_OPEN("25", 10, 100),
    };
    track_run(&config, paths, 5, 0, 0, 0, &result);
    static const enum path_verdict verdicts[] = {PATH_DROPPED, PATH_REFUSED, PATH_WRONG_CERTIFICATE, PATH_OPEN, PATH_UNTRIED};
    static const int64_t ms[] = {167, 7, 40, 110, 0}; /* 0 465, 20 443, 27 587, 47 2525 connected at 57, 67 handshake after 587 failed: the ten between are not its own */
    for (size_t i = 0; i < 5; i++) {
        if (result.verdicts[i] != verdicts[i] || result.verdict_ms[i] != ms[i])
            fail_msg("%s: %s after %lld\n%s", paths[i].name, path_verdict_name(result.verdicts[i]), (long long)result.verdict_ms[i], result.log);
    }
}

/* An outcome that comes too late, or does not fit, changes nothing. */
static void test_outcomes_that_do_not_fit(void **state)
{
    (void)state;
    struct path paths[2] = {{.port = 465}, {.port = 587}};
    struct race_config config = {.stagger_ms = 20};
    struct race_action action;
    struct race *race = race_new(&config, paths, 2, 0);
    assert_non_null(race);
    assert_int_equal(race_npaths(race), 2);
    assert_int_equal(race_path(race, 1)->port, 587);
    race_connected(race, 1, 0);
    race_proven(race, 0, 0);
    race_failed(race, 1, PATH_REFUSED, 0);
    assert_true(race_next(race, 0, &action));
    assert_int_equal(action.type, RACE_CONNECT);
    race_proven(race, 0, 5);
    race_connected(race, 0, 10);
    race_connected(race, 0, 11);
    assert_true(race_next(race, 11, &action));
    assert_int_equal(action.type, RACE_HANDSHAKE);
    assert_false(race_next(race, 11, &action));
    race_proven(race, 0, 12);
    race_failed(race, 0, PATH_DIED_EARLY, 13);
    assert_int_equal(race_verdict(race, 0), PATH_OPEN);
    assert_true(race_next(race, 13, &action));
    assert_int_equal(action.type, RACE_WON);
    assert_false(race_next(race, 13, &action));
    assert_int_equal(race_deadline_ms(race), INT64_MAX);
    assert_int_equal(race_verdict(race, 1), PATH_UNTRIED);
    race_free(&race);
    assert_null(race);
}

/* Two are proven before the race is asked: the first is the way, the other is closed. */
static void test_two_proofs_at_once(void **state)
{
    (void)state;
    struct path paths[2] = {{.port = 465}, {.port = 587}};
    struct race_config config = {0};
    struct race_action action;
    struct race *race = race_new(&config, paths, 2, 0);
    assert_non_null(race);
    assert_true(race_next(race, 0, &action));
    assert_true(race_next(race, 20, &action));
    race_connected(race, 0, 30);
    race_connected(race, 1, 30);
    assert_true(race_next(race, 30, &action));
    assert_true(race_next(race, 1530, &action));
    race_proven(race, 1, 1600);
    race_proven(race, 0, 1600);
    assert_true(race_next(race, 1600, &action));
    assert_int_equal(action.type, RACE_WON);
    assert_int_equal(action.path, 1);
    assert_true(race_next(race, 1600, &action));
    assert_int_equal(action.type, RACE_CANCEL);
    assert_int_equal(action.path, 0);
    assert_false(race_next(race, 1600, &action));
    race_free(&race);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stories), cmocka_unit_test(test_verdicts), cmocka_unit_test(test_outcomes_that_do_not_fit),
                                       cmocka_unit_test(test_two_proofs_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
