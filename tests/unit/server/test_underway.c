/* server/underway.h: when a claim has its turn. */
#include "underway.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PLACES = 4, START_MS = 1000 };

struct house {
    struct underway *underway;
    struct underway_place places[PLACES];
    int ours[PLACES], theirs[PLACES]; /* the relay's end of each connection, and the client's */
};

static int set_up(void **state)
{
    static struct house house;
    house = (struct house){.underway = underway_new()};
    for (size_t i = 0; i < PLACES; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        house.ours[i] = pair[0];
        house.theirs[i] = pair[1];
    }
    *state = &house;
    return house.underway ? 0 : -1;
}

static int tear_down(void **state)
{
    struct house *house = *state;
    for (size_t i = 0; i < PLACES; i++) {
        underway_leave(house->underway, &house->places[i]);
        close(house->ours[i]);
        close(house->theirs[i]);
    }
    underway_free(&house->underway);
    assert_null(house->underway);
    return 0;
}

static void enter(struct house *house, size_t i, const char *name, int64_t now_ms)
{
    underway_enter(house->underway, &house->places[i], SLICE("anna"), slice_of(name, strlen(name)), house->ours[i], true, now_ms);
}

static bool may_claim(struct house *house, size_t i, int64_t now_ms)
{
    return underway_may_claim(house->underway, &house->places[i], now_ms);
}

/* One that reads, and has last read at now_ms. */
static void begin(struct house *house, size_t i, const char *name, int64_t now_ms)
{
    enter(house, i, name, now_ms);
    assert_true(may_claim(house, i, now_ms));
    underway_moved(house->underway, &house->places[i], now_ms);
}

static void a_first_claim_waits_for_nobody(void **state)
{
    struct house *house = *state;
    enter(house, 0, "<a@b>", START_MS);
    assert_true(may_claim(house, 0, START_MS));
    assert_int_equal(house->places[0].state, UNDERWAY_HELD);
}

static void other_names_and_other_accounts_are_nothing_to_it(void **state)
{
    struct house *house = *state;
    begin(house, 0, "<a@b>", START_MS);
    enter(house, 1, "<a@c>", START_MS);
    assert_true(may_claim(house, 1, START_MS));
    underway_enter(house->underway, &house->places[2], SLICE("bob"), SLICE("<a@b>"), house->ours[2], true, START_MS);
    assert_true(may_claim(house, 2, START_MS));
    assert_int_equal(house->places[0].state, UNDERWAY_FREE);
}

static void it_waits_until_the_session_before_has_ended(void **state)
{
    struct house *house = *state;
    begin(house, 0, "<a@b>", START_MS);
    enter(house, 1, "<a@b>", START_MS + 1);
    assert_false(may_claim(house, 1, START_MS + 1));
    underway_leave(house->underway, &house->places[0]);
    assert_true(may_claim(house, 1, START_MS + 2));
}

static void or_until_it_is_quiet_for_so_long(void **state)
{
    struct house *house = *state;
    begin(house, 0, "<a@b>", START_MS);
    enter(house, 1, "<a@b>", START_MS);
    assert_false(may_claim(house, 1, START_MS + UNDERWAY_QUIET_MS - 1));
    underway_moved(house->underway, &house->places[0], START_MS + UNDERWAY_QUIET_MS - 1);
    assert_false(may_claim(house, 1, START_MS + UNDERWAY_QUIET_MS));
    assert_true(may_claim(house, 1, START_MS + 2 * UNDERWAY_QUIET_MS - 1));
    assert_int_equal(house->places[0].state, UNDERWAY_OVERTAKEN);
}

static void who_was_quiet_before_is_not_waited_for(void **state)
{
    struct house *house = *state;
    begin(house, 0, "<a@b>", START_MS);
    enter(house, 1, "<a@b>", START_MS + UNDERWAY_QUIET_MS);
    assert_true(may_claim(house, 1, START_MS + UNDERWAY_QUIET_MS));
}

static void unread_octets_and_an_unread_end_are_waited_for(void **state)
{
    struct house *house = *state;
    char octet;
    begin(house, 0, "<a@b>", START_MS);
    enter(house, 1, "<a@b>", START_MS);
    assert_int_equal(write(house->theirs[0], "x", 1), 1);
    assert_false(may_claim(house, 1, START_MS + 3 * UNDERWAY_QUIET_MS));
    assert_int_equal(read(house->ours[0], &octet, 1), 1);
    assert_int_equal(shutdown(house->theirs[0], SHUT_WR), 0);
    assert_false(may_claim(house, 1, START_MS + 3 * UNDERWAY_QUIET_MS));
}

static void who_is_held_is_not_quiet(void **state)
{
    struct house *house = *state;
    begin(house, 0, "<a@b>", START_MS);
    underway_hold(house->underway, &house->places[0]);
    enter(house, 1, "<a@b>", START_MS);
    assert_false(may_claim(house, 1, START_MS + 10 * UNDERWAY_QUIET_MS));
    underway_moved(house->underway, &house->places[0], START_MS + 10 * UNDERWAY_QUIET_MS);
    assert_false(may_claim(house, 1, START_MS + 10 * UNDERWAY_QUIET_MS));
    assert_true(may_claim(house, 1, START_MS + 11 * UNDERWAY_QUIET_MS));
}

static void nobody_waits_for_ever(void **state)
{
    struct house *house = *state;
    begin(house, 0, "<a@b>", START_MS);
    underway_hold(house->underway, &house->places[0]);
    enter(house, 1, "<a@b>", START_MS);
    assert_false(may_claim(house, 1, START_MS + UNDERWAY_WAIT_MS - 1));
    assert_true(may_claim(house, 1, START_MS + UNDERWAY_WAIT_MS));
}

static void several_claim_in_the_order_of_their_coming(void **state)
{
    struct house *house = *state;
    begin(house, 0, "<a@b>", START_MS);
    enter(house, 1, "<a@b>", START_MS + 1);
    enter(house, 2, "<a@b>", START_MS + 2);
    underway_leave(house->underway, &house->places[0]);
    assert_false(may_claim(house, 2, START_MS + 3));
    assert_true(may_claim(house, 1, START_MS + 3));
    assert_false(may_claim(house, 2, START_MS + 3)); /* its claim is not answered */
    underway_leave(house->underway, &house->places[1]);
    assert_true(may_claim(house, 2, START_MS + 4));
}

static void a_waiting_one_that_dies_holds_nobody_up(void **state)
{
    struct house *house = *state;
    begin(house, 0, "<a@b>", START_MS);
    enter(house, 1, "<a@b>", START_MS);
    enter(house, 2, "<a@b>", START_MS);
    underway_leave(house->underway, &house->places[0]);
    assert_false(may_claim(house, 2, START_MS));
    underway_leave(house->underway, &house->places[1]);
    assert_true(may_claim(house, 2, START_MS));
}

static void who_wants_no_rest_waits_only_for_who_waits(void **state)
{
    struct house *house = *state;
    begin(house, 0, "<a@b>", START_MS);
    enter(house, 1, "<a@b>", START_MS);
    underway_enter(house->underway, &house->places[2], SLICE("anna"), SLICE("<a@b>"), house->ours[2], false, START_MS);
    assert_false(may_claim(house, 2, START_MS));
    underway_leave(house->underway, &house->places[1]);
    assert_true(may_claim(house, 2, START_MS));
    assert_int_equal(house->places[0].state, UNDERWAY_OVERTAKEN);
}

static void who_is_overtaken_is_waited_for_no_more(void **state)
{
    struct house *house = *state;
    begin(house, 0, "<a@b>", START_MS);
    enter(house, 1, "<a@b>", START_MS);
    assert_true(may_claim(house, 1, START_MS + UNDERWAY_QUIET_MS));
    underway_leave(house->underway, &house->places[1]);
    underway_moved(house->underway, &house->places[0], START_MS + UNDERWAY_QUIET_MS);
    assert_int_equal(house->places[0].state, UNDERWAY_OVERTAKEN);
    enter(house, 2, "<a@b>", START_MS + UNDERWAY_QUIET_MS);
    assert_true(may_claim(house, 2, START_MS + UNDERWAY_QUIET_MS));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_first_claim_waits_for_nobody),
        CASE(other_names_and_other_accounts_are_nothing_to_it),
        CASE(it_waits_until_the_session_before_has_ended),
        CASE(or_until_it_is_quiet_for_so_long),
        CASE(who_was_quiet_before_is_not_waited_for),
        CASE(unread_octets_and_an_unread_end_are_waited_for),
        CASE(who_is_held_is_not_quiet),
        CASE(nobody_waits_for_ever),
        CASE(several_claim_in_the_order_of_their_coming),
        CASE(a_waiting_one_that_dies_holds_nobody_up),
        CASE(who_wants_no_rest_waits_only_for_who_waits),
        CASE(who_is_overtaken_is_waited_for_no_more),
    };
    return cmocka_run_group_tests_name("underway", tests, NULL, NULL);
}
