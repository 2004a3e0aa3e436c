/* The finder, driven by hand: what it does first, and what it makes of the answers. */
#include "path/finder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct finder_way WAYS[] = {{.port = 465, .mode = PATH_TLS}, {.port = 443, .mode = PATH_TLS}, {.port = 587, .mode = PATH_STARTTLS}};
static const struct path_address RELAY = {.family = 4, .octets = {192, 0, 2, 1}};

static size_t next_port(struct finder *finder, int64_t now_ms, enum finder_action_type type, uint16_t port)
{
    struct finder_action action;
    assert_true(finder_next(finder, now_ms, &action));
    assert_int_equal(action.type, type);
    assert_int_equal(action.path.port, port);
    return action.trial;
}

static void test_first_search(void **state)
{
    (void)state;
    struct schedule patience;
    struct finder_action action;
    assert_int_equal(schedule_parse(SLICE("2s"), &patience), RESULT_OK);
    const struct finder_config config = {.patience = &patience, .memory = memory_new()};
    struct finder *finder = finder_new(&config, 0);
    const struct memory_key key = {{1}};
    finder_set_wall(finder, INT64_C(1700000000000), 0);
    finder_set_ways(finder, WAYS, 3, 0);
    finder_set_network(finder, &key, true, false, 0);
    assert_false(finder_next(finder, 0, &action));
    assert_int_equal(finder_deadline_ms(finder), INT64_MAX);
    finder_want(finder, FINDER_WISH_DUE, 1);
    next_port(finder, 1, FINDER_RESOLVE, 0);
    assert_false(finder_next(finder, 1, &action));
    finder_resolved(finder, &RELAY, 1, 5);
    size_t first = next_port(finder, 5, FINDER_CONNECT, 465);
    assert_false(finder_next(finder, 5, &action));
    assert_int_equal(finder_deadline_ms(finder), 15);
    size_t second = next_port(finder, 15, FINDER_CONNECT, 443);
    finder_connected(finder, second, 20);
    next_port(finder, 20, FINDER_HANDSHAKE, 443);
    finder_proven(finder, second, 60);
    assert_int_equal(next_port(finder, 60, FINDER_CANCEL, 465), first);
    next_port(finder, 60, FINDER_USE, 443);
    assert_int_equal(finder_state(finder), FINDER_USING);
    assert_int_equal(finder_path(finder)->port, 443);
    finder_ended(finder, FINDER_END_DIED, PATH_DIED_EARLY, "gone", 100);
    assert_true(memory_is_demoted(config.memory, &key, &(struct path){.address = RELAY, .port = 443, .alpn = PATH_ALPN_HTTP}, INT64_C(1700000000100)));
    assert_int_equal(finder_state(finder), FINDER_WAITING);
    assert_in_range(finder_deadline_ms(finder), 1900, 2300);
    finder_free(&finder);
    struct memory *memory = config.memory;
    memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_first_search)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
