/* server/turns.h: whose turn it is, and who has to leave when there is no place. */
#include "turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Somebody who waits: his line's letter and his number in it. */
struct waiter {
    struct list_node node;
    char line;
    int number;
};

static struct sentry_place place_of(enum sentry_standing standing, char line)
{
    struct sentry_place place = {.standing = standing};
    place.line[0] = (uint8_t)line;
    return place;
}

static enum result add(struct turns *turns, enum sentry_standing standing, struct waiter *waiter, struct waiter **displaced)
{
    struct sentry_place place = place_of(standing, waiter->line);
    struct list_node *node = NULL;
    enum result result = turns_add(turns, &place, &waiter->node, &node);
    *displaced = node ? LIST_OWNER(node, struct waiter, node) : NULL;
    return result;
}

static void assert_added(struct turns *turns, enum sentry_standing standing, struct waiter *waiter)
{
    struct waiter *displaced;
    assert_int_equal(add(turns, standing, waiter, &displaced), RESULT_OK);
    assert_null(displaced);
}

/* Takes all; the lines' letters in their order. */
static const char *take_all(struct turns *turns)
{
    static char order[64];
    size_t n = 0;
    for (struct list_node *node = turns_take(turns); node; node = turns_take(turns))
        order[n++] = LIST_OWNER(node, struct waiter, node)->line;
    order[n] = '\0';
    assert_true(turns_is_empty(turns));
    return order;
}

static void test_lines_are_served_in_turn(void **state)
{
    (void)state;
    struct turns *turns = turns_new(8);
    struct waiter waiters[] = {{.line = 'a'}, {.line = 'a'}, {.line = 'a'}, {.line = 'b'}, {.line = 'b'}, {.line = 'c'}};
    assert_non_null(turns);
    assert_null(turns_take(turns));
    for (size_t i = 0; i < 6; i++)
        assert_added(turns, SENTRY_STRANGER, &waiters[i]);
    assert_false(turns_is_empty(turns));
    assert_string_equal(take_all(turns), "abcaba");
    turns_free(&turns);
    assert_null(turns);
}

static void test_within_a_line_who_came_first(void **state)
{
    (void)state;
    struct turns *turns = turns_new(4);
    struct waiter waiters[4];
    for (int i = 0; i < 4; i++) {
        waiters[i] = (struct waiter){.line = 'a', .number = i};
        assert_added(turns, SENTRY_SUSPECT, &waiters[i]);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(LIST_OWNER(turns_take(turns), struct waiter, node)->number, i);
    turns_free(&turns);
}

static void test_friends_before_strangers_before_suspects(void **state)
{
    (void)state;
    struct turns *turns = turns_new(6);
    struct waiter s = {.line = 's'}, t = {.line = 't'}, f = {.line = 'f'}, s2 = {.line = 's'}, t2 = {.line = 't'}, f2 = {.line = 'f'};
    assert_added(turns, SENTRY_SUSPECT, &s);
    assert_added(turns, SENTRY_STRANGER, &t);
    assert_added(turns, SENTRY_FRIEND, &f);
    assert_added(turns, SENTRY_SUSPECT, &s2);
    assert_added(turns, SENTRY_STRANGER, &t2);
    assert_added(turns, SENTRY_FRIEND, &f2);
    assert_string_equal(take_all(turns), "ffttss");
    turns_free(&turns);
}

/* The longest line makes room, its last first, as long as that makes things more equal. */
static void test_a_newcomer_displaces_the_longest_line(void **state)
{
    (void)state;
    struct turns *turns = turns_new(5);
    struct waiter a[5], b[3], *displaced;
    for (int i = 0; i < 5; i++) {
        a[i] = (struct waiter){.line = 'a', .number = i};
        assert_added(turns, SENTRY_STRANGER, &a[i]);
    }
    for (int i = 0; i < 3; i++)
        b[i] = (struct waiter){.line = 'b', .number = i};
    assert_int_equal(add(turns, SENTRY_STRANGER, &b[0], &displaced), RESULT_OK);
    assert_ptr_equal(displaced, &a[4]);
    assert_int_equal(add(turns, SENTRY_STRANGER, &b[1], &displaced), RESULT_OK);
    assert_ptr_equal(displaced, &a[3]);
    /* three and two: it would only turn round */
    assert_int_equal(add(turns, SENTRY_STRANGER, &b[2], &displaced), RESULT_BUSY);
    assert_null(displaced);
    assert_int_equal(add(turns, SENTRY_STRANGER, &a[4], &displaced), RESULT_BUSY);
    assert_string_equal(take_all(turns), "ababa");
    turns_free(&turns);
}

static void test_standing_displaces(void **state)
{
    (void)state;
    struct turns *turns = turns_new(2);
    struct waiter s = {.line = 's'}, u = {.line = 'u'}, t = {.line = 't'}, f = {.line = 'f'}, g = {.line = 'g'}, *displaced;
    assert_added(turns, SENTRY_SUSPECT, &s);
    assert_added(turns, SENTRY_SUSPECT, &u);
    assert_int_equal(add(turns, SENTRY_STRANGER, &t, &displaced), RESULT_OK);
    assert_ptr_equal(displaced, &u); /* whose turn would have come last */
    assert_int_equal(add(turns, SENTRY_SUSPECT, &u, &displaced), RESULT_BUSY);
    assert_int_equal(add(turns, SENTRY_FRIEND, &f, &displaced), RESULT_OK);
    assert_ptr_equal(displaced, &s);
    assert_int_equal(add(turns, SENTRY_SUSPECT, &s, &displaced), RESULT_BUSY);
    assert_int_equal(add(turns, SENTRY_FRIEND, &g, &displaced), RESULT_OK);
    assert_ptr_equal(displaced, &t);
    assert_int_equal(add(turns, SENTRY_STRANGER, &t, &displaced), RESULT_BUSY);
    assert_string_equal(take_all(turns), "fg");
    turns_free(&turns);
}

/* Places come back however they were left: a thousand rounds of coming, leaving and being displaced. */
static void test_places_come_back(void **state)
{
    (void)state;
    enum { PLACES = 3, WAITERS = 40 };
    struct turns *turns = turns_new(PLACES);
    struct waiter waiters[WAITERS] = {0}, *displaced;
    unsigned seed = 1, waiting = 0;
    for (int round = 0; round < 1000; round++) {
        seed = seed * 1103515245u + 12345u;
        struct waiter *waiter = &waiters[(seed >> 8) % WAITERS];
        if ((seed >> 16) % 3 == 0) {
            assert_int_equal(turns_take(turns) != NULL, waiting > 0);
            waiting -= waiting > 0;
        } else if (!waiter->node.list) {
            waiter->line = (char)('a' + (seed >> 18) % 6);
            enum result result = add(turns, (enum sentry_standing)((seed >> 24) % SENTRY_STANDINGS), waiter, &displaced);
            waiting += result == RESULT_OK && !displaced;
            assert_int_equal(result == RESULT_BUSY || displaced ? PLACES : waiting, waiting);
        }
        assert_true(waiting <= PLACES);
    }
    assert_int_equal(strlen(take_all(turns)), waiting);
    turns_free(&turns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_served_in_turn),
        cmocka_unit_test(test_within_a_line_who_came_first),
        cmocka_unit_test(test_friends_before_strangers_before_suspects),
        cmocka_unit_test(test_a_newcomer_displaces_the_longest_line),
        cmocka_unit_test(test_standing_displaces),
        cmocka_unit_test(test_places_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
