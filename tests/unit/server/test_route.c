/* server/route.c: which next hops are remembered. What goes over them is tested in tests/integration/test_relay_delivery.py. */
#include "delivery_internal.h"

#include "net/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { MANY = 5000, FEW = 200 };

struct yard {
    uv_loop_t loop;
    struct delivery delivery;
};

static void yard_open(struct yard *yard)
{
    *yard = (struct yard){0};
    assert_int_equal(uv_loop_init(&yard->loop), 0);
    yard->delivery.config.loop = &yard->loop;
    yard->delivery.queue = queue_new(NULL);
    assert_non_null(yard->delivery.queue);
}

static void yard_close(struct yard *yard)
{
    routes_free(&yard->delivery);
    queue_free(&yard->delivery.queue);
    assert_int_equal(uv_loop_close(&yard->loop), 0);
}

static struct slice name_of(size_t i, char text[static 32])
{
    return slice_of(text, (size_t)snprintf(text, 32, "d%zu.example", i));
}

/* As after an attempt that nobody answered. */
static void fail_at(struct yard *yard, size_t i, bool has_mail, int64_t block_ms)
{
    char text[32];
    struct slice name = name_of(i, text);
    struct route *route = route_find(&yard->delivery, name);
    assert_non_null(route);
    if (has_mail)
        assert_int_equal(queue_add(yard->delivery.queue, i + 1, name, 0), RESULT_OK);
    route->failures++;
    route->blocked_until_ms = loop_now_ms(&yard->loop) + block_ms;
}

static uint32_t failures_of(struct yard *yard, size_t i)
{
    char text[32];
    struct route *route = route_find(&yard->delivery, name_of(i, text));
    assert_non_null(route);
    return route->failures;
}

static void test_a_name_has_one_route(void **state)
{
    (void)state;
    struct yard yard;
    yard_open(&yard);
    struct route *one = route_find(&yard.delivery, SLICE("one.example")), *two = route_find(&yard.delivery, SLICE("two.example"));
    assert_true(one != two);
    assert_ptr_equal(route_find(&yard.delivery, SLICE("one.example")), one);
    assert_ptr_equal(route_find(&yard.delivery, SLICE("two.example")), two);
    assert_int_equal(yard.delivery.routes.count, 2);
    yard_close(&yard);
}

/* Mail elsewhere in the queue is no reason to remember. */
static void test_failed_hops_are_forgotten_with_their_mail(void **state)
{
    (void)state;
    struct yard yard;
    yard_open(&yard);
    assert_int_equal(queue_add(yard.delivery.queue, UINT64_MAX, SLICE("elsewhere.example"), 0), RESULT_OK);
    for (size_t i = 0; i < MANY; i++) {
        fail_at(&yard, i, false, 0);
        assert_in_range(yard.delivery.routes.count, 1, FEW);
    }
    yard_close(&yard);
}

static void test_failures_are_remembered_as_long_as_there_is_mail(void **state)
{
    (void)state;
    struct yard yard;
    yard_open(&yard);
    for (size_t i = 0; i < FEW; i++)
        fail_at(&yard, i, true, 0);
    for (size_t i = FEW; i < MANY; i++)
        fail_at(&yard, i, false, 0);
    for (size_t i = 0; i < FEW; i++) {
        assert_int_equal(failures_of(&yard, i), 1);
        assert_int_equal(queue_remove(yard.delivery.queue, i + 1), RESULT_OK);
    }
    for (size_t i = FEW; i < MANY; i++)
        fail_at(&yard, i, false, 0);
    assert_in_range(yard.delivery.routes.count, 1, FEW);
    yard_close(&yard);
}

static void test_a_block_is_remembered_until_it_ends(void **state)
{
    (void)state;
    struct yard yard;
    yard_open(&yard);
    fail_at(&yard, 0, false, 60000);
    for (size_t i = 1; i < MANY; i++)
        fail_at(&yard, i, false, 0);
    assert_int_equal(failures_of(&yard, 0), 1);
    yard_close(&yard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_name_has_one_route),
        cmocka_unit_test(test_failed_hops_are_forgotten_with_their_mail),
        cmocka_unit_test(test_failures_are_remembered_as_long_as_there_is_mail),
        cmocka_unit_test(test_a_block_is_remembered_until_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
