/* Paths that let handshakes through and kill what follows: which is blamed for it, what is tried next, and how soon. */
#include "laptop_scene.h"

/* Invariant 5. */
static void test_who_dies_young_is_demoted_here(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    laptop->world.rows[0] = (struct row){.port = 465, .behaviour = {.connects_ms = 10, .shakes_ms = 20, .dies_after = 500}};
    laptop->world.rows[1] = (struct row){.port = 587, .behaviour = TRIP_OPEN(600, 900)};
    arrive(laptop, 1);
    assert_int_equal(send_one(laptop, 10000), 587);
    assert_true(has_logged(laptop, "use 192.0.2.1:465 tls") && !has_logged(laptop, "probe"));
    size_t n;
    const struct finder_trial *trials = finder_trials(trip_finder(laptop->trip), &n);
    assert_true(trials[n - 1].is_demoted && trials[n - 1].path.port == 465 && trials[n - 1].verdict == PATH_DIED_EARLY);
    trip_run(laptop->trip, 5000);
    /* Elsewhere it is as good as ever. */
    laptop->world.rows[0].behaviour.dies_after = 0;
    arrive(laptop, 2);
    assert_int_equal(send_one(laptop, 10000), 465);
    trip_run(laptop->trip, 5000);
    /* And here again after an hour, when nothing else has carried anything; or when nothing else is open. */
    laptop->world.rows[1].behaviour = TRIP_DROPPED;
    arrive(laptop, 1);
    assert_int_equal(send_one(laptop, 10000), 465);
    assert_false(memory_is_demoted(laptop->memory, &laptop->place.key, &trials[0].path, WALL + trip_now_ms(laptop->trip)));
    stop(laptop);
}

/* On a train: each session gets 1,000 octets through, and the relay keeps them. Neither is the way to blame nor is there any reason to wait. */
static void test_a_line_that_is_cut_again_and_again_but_gets_on(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    const struct memory_path *paths;
    size_t n;
    laptop->world.rows[0] = (struct row){.port = 465, .behaviour = {.connects_ms = 10, .shakes_ms = 20, .dies_after = 1000, .keeps = true}};
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 50 * 1000, FINDER_WISH_NEW_MAIL);
    trip_run_until_sent(laptop->trip, 60 * 1000);
    assert_int_equal(trip_waiting(laptop->trip), 0);
    assert_int_equal(trip_searches(laptop->trip), 50);
    paths = memory_paths(laptop->memory, &laptop->place.key, WALL + trip_now_ms(laptop->trip), &n);
    assert_true(n == 1 && paths[0].path.port == 465 && paths[0].demoted_at_ms == 0 && paths[0].carried_at_ms > 0);
    assert_true(trip_now_ms(laptop->trip) < 50 * 500); /* no wait between them */
    stop(laptop);
}

/* The same where no session lives until the relay says what it keeps: each is blamed, but after the first nobody waits. */
static void test_a_line_that_gets_on_unheard(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    laptop->world.rows[0] = (struct row){.port = 465, .behaviour = {.connects_ms = 10, .shakes_ms = 20, .dies_after = 1000, .keeps = true, .is_mute = true}};
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 50 * 1000, FINDER_WISH_NEW_MAIL);
    trip_run_until_sent(laptop->trip, 600 * 1000);
    assert_int_equal(trip_waiting(laptop->trip), 0);
    assert_int_equal(trip_searches(laptop->trip), 50);
    assert_true(trip_now_ms(laptop->trip) < 50 * 500 + 60 * 1000);
    stop(laptop);
}

/* What the sessions of one way have brought is no merit of the next: another way is tried that kills nothing. */
static void test_the_way_that_cuts_is_left_for_one_that_does_not(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    struct trip_behaviour cuts = {.connects_ms = 10, .shakes_ms = 20, .dies_after = 1000, .keeps = true, .is_mute = true};
    laptop->world.rows[0] = (struct row){.port = 465, .behaviour = cuts};
    laptop->world.rows[1] = (struct row){.port = 443, .behaviour = cuts};
    laptop->world.rows[2] = (struct row){.port = 587, .behaviour = TRIP_OPEN(50, 50)};
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 50 * 1000, FINDER_WISH_NEW_MAIL);
    trip_run_until_sent(laptop->trip, 60 * 1000);
    assert_int_equal(trip_waiting(laptop->trip), 0);
    assert_true(has_logged(laptop, "use 192.0.2.1:587"));
    assert_true(trip_searches(laptop->trip) <= 4);
    stop(laptop);
}

/* Several paths that let handshakes through and kill what follows cost no back-off, as long as one is left that has not been tried. */
static void test_several_die_and_one_does_not(void **state)
{
    static const uint16_t deadly[] = {465, 587, 2525};
    (void)state;
    struct laptop *laptop = start();
    for (size_t i = 0; i < 3; i++)
        laptop->world.rows[i] = (struct row){.port = deadly[i], .behaviour = {.connects_ms = 10, .shakes_ms = 20, .dies_after = 500}};
    laptop->world.rows[3] = (struct row){.port = 25, .behaviour = TRIP_OPEN(100, 100)};
    arrive(laptop, 1);
    int64_t began_ms = trip_now_ms(laptop->trip);
    assert_int_equal(send_one(laptop, 10000), 25);
    assert_true(trip_now_ms(laptop->trip) - began_ms < 2000);
    stop(laptop);
}

/* Also where the network can't be told from others, as long as the laptop is on it. */
static void test_demotion_without_a_key(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    laptop->place.has_key = false;
    laptop->world.rows[0] = (struct row){.port = 465, .behaviour = {.connects_ms = 10, .shakes_ms = 20, .dies_after = 500}};
    laptop->world.rows[1] = (struct row){.port = 587, .behaviour = TRIP_OPEN(600, 900)};
    trip_go(laptop->trip, &laptop->place, false);
    assert_int_equal(send_one(laptop, 10000), 587);
    struct buffer text = {0};
    assert_int_equal(memory_write(laptop->memory, SLICE("relay.example"), &text), RESULT_OK);
    assert_null(memmem(buffer_slice(&text).ptr, buffer_len(&text), "network", 7));
    buffer_free(&text);
    stop(laptop);
}

/* Dies after each message, but carries one: goes on at once, each time. */
static void test_it_carries_and_dies(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    laptop->world.rows[0].behaviour = (struct trip_behaviour){.connects_ms = 10, .shakes_ms = 10, .dies_after = 1500};
    arrive(laptop, 1);
    trip_mail(laptop->trip, 10, 1000, FINDER_WISH_DUE);
    trip_run_until_sent(laptop->trip, 10 * 1000);
    assert_int_equal(trip_waiting(laptop->trip), 0);
    stop(laptop);
}

/* Proven, and gone before its turn: no session, no AUTH, and a search that is lost. */
static void test_gone_before_its_use(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    struct finder *finder = trip_finder(laptop->trip);
    struct finder_action action;
    finder_set_network(finder, &laptop->place.key, true, false, 0);
    finder_want(finder, FINDER_WISH_DUE, 0);
    finder_resolved(finder, &RELAY, 1, 0);
    assert_true(finder_next(finder, 0, &action) && action.type == FINDER_RESOLVE);
    assert_true(finder_next(finder, 0, &action) && action.type == FINDER_CONNECT);
    finder_connected(finder, action.trial, 5);
    assert_true(finder_next(finder, 5, &action) && action.type == FINDER_HANDSHAKE);
    finder_proven(finder, action.trial, 9);
    finder_failed(finder, action.trial, PATH_DIED_EARLY, "gone", 9);
    assert_true(finder_next(finder, 9, &action) && action.type == FINDER_LOST);
    assert_int_equal(finder_state(finder), FINDER_WAITING);
    assert_true(memory_is_demoted(laptop->memory, &laptop->place.key, &finder_trials(finder, &(size_t){0})->path, WALL));
    stop(laptop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_dies_young_is_demoted_here),
        cmocka_unit_test(test_a_line_that_is_cut_again_and_again_but_gets_on),
        cmocka_unit_test(test_a_line_that_gets_on_unheard),
        cmocka_unit_test(test_the_way_that_cuts_is_left_for_one_that_does_not),
        cmocka_unit_test(test_several_die_and_one_does_not),
        cmocka_unit_test(test_demotion_without_a_key),
        cmocka_unit_test(test_it_carries_and_dies),
        cmocka_unit_test(test_gone_before_its_use),
    };
    return cmocka_run_group_tests_name("deaths of sessions", tests, NULL, NULL);
}
