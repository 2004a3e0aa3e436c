/* queue/queue.h: who goes when, and what a person may do about it. */
#include "queue/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A SLICE("a.example")
#define B SLICE("b.example")
#define C SLICE("c.example")

static struct queue *new_queue(uint32_t per_hop, uint32_t total)
{
    struct queue *q = queue_new(&(struct queue_limits){.active_per_hop = per_hop, .active_total = total});
    assert_non_null(q);
    return q;
}

static void add(struct queue *q, uint64_t message, struct slice hop, int64_t due)
{
    assert_int_equal(queue_add(q, message, hop, due), RESULT_OK);
}

/* Everything that queue_next gives at that time, as "1@a.example 2@b.example". */
static const char *next(struct queue *q, int64_t now)
{
    static char text[2000];
    struct queue_job job;
    size_t len = 0;
    text[0] = '\0';
    while (queue_next(q, now, &job))
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%llu@%.1s", len ? " " : "", (unsigned long long)job.message, job.hop.ptr);
    return text;
}

static void gives_what_is_due(void **state)
{
    struct queue *q = new_queue(10, 50);
    (void)state;
    assert_int_equal(queue_deadline_ms(q), INT64_MAX);
    add(q, 1, A, 300);
    add(q, 2, A, 100);
    add(q, 3, B, 200);
    assert_int_equal(queue_add(q, 1, A, 5), RESULT_EXISTS); /* invariant 3 */
    assert_int_equal(queue_count(q), 3);
    assert_int_equal(queue_deadline_ms(q), 100);
    assert_string_equal(next(q, 99), "");
    assert_string_equal(next(q, 100), "2@a");
    assert_int_equal(queue_deadline_ms(q), 200);
    assert_string_equal(next(q, 1000), "3@b 1@a");
    assert_int_equal(queue_deadline_ms(q), INT64_MAX);
    assert_int_equal(queue_active(q), 3);
    queue_finish(q, 1, A);
    queue_defer(q, 2, A, 2000);
    queue_defer(q, 2, A, 1); /* not active any more: nothing */
    queue_finish(q, 2, A);
    queue_finish(q, 9, A);
    queue_defer(q, 1, C, 1);
    assert_int_equal(queue_count(q), 2);
    assert_int_equal(queue_active(q), 1);
    assert_int_equal(queue_deadline_ms(q), 2000);
    assert_string_equal(next(q, 2000), "2@a");
    queue_free(&q);
    assert_null(q);
    queue_free(&q);
}

static void hops_take_turns(void **state)
{
    struct queue *q = new_queue(50, 50);
    (void)state;
    for (uint64_t i = 1; i <= 6; i++)
        add(q, i, A, (int64_t)i);
    add(q, 10, B, 99);
    add(q, 11, C, 100);
    assert_string_equal(next(q, 100), "1@a 10@b 11@c 2@a 3@a 4@a 5@a 6@a");
    queue_free(&q);
}

static void keeps_the_limits(void **state)
{
    struct queue *q = new_queue(2, 3);
    (void)state;
    for (uint64_t i = 1; i <= 4; i++) {
        add(q, i, A, 0);
        add(q, 10 + i, B, 0);
    }
    next(q, 1);
    assert_int_equal(queue_active(q), 3);
    assert_int_equal(queue_deadline_ms(q), INT64_MAX);
    queue_free(&q);

    q = new_queue(2, 50);
    for (uint64_t i = 1; i <= 4; i++)
        add(q, i, A, (int64_t)i);
    assert_string_equal(next(q, 10), "1@a 2@a");
    assert_int_equal(queue_deadline_ms(q), INT64_MAX);
    queue_finish(q, 1, A);
    assert_true(queue_deadline_ms(q) <= 10);
    assert_string_equal(next(q, 10), "3@a");
    queue_free(&q);

    q = queue_new(NULL); /* the defaults */
    for (uint64_t i = 1; i <= 60; i++)
        add(q, i, A, 0);
    next(q, 0);
    assert_int_equal(queue_active(q), 10);
    queue_free(&q);
}

static void blocks_hops(void **state)
{
    struct queue *q = new_queue(10, 50);
    (void)state;
    for (uint64_t i = 1; i <= 3; i++)
        add(q, i, A, (int64_t)i);
    add(q, 4, B, 0);
    queue_block_hop(q, A, 500);
    queue_block_hop(q, C, 500); /* nobody's */
    assert_string_equal(next(q, 499), "4@b");
    assert_int_equal(queue_deadline_ms(q), 500);
    assert_string_equal(next(q, 500), "1@a"); /* the probe */
    assert_string_equal(next(q, 501), "");
    queue_defer(q, 1, A, 1000);
    queue_block_hop(q, A, 900);
    assert_string_equal(next(q, 899), "");
    assert_string_equal(next(q, 900), "2@a");
    queue_unblock_hop(q, A);
    assert_string_equal(next(q, 900), "3@a");
    assert_string_equal(next(q, 1000), "1@a");
    queue_free(&q);
}

static void holds_and_releases(void **state)
{
    struct queue *q = new_queue(10, 50);
    (void)state;
    add(q, 1, A, 0);
    add(q, 1, B, 0);
    add(q, 2, A, 0);
    assert_int_equal(queue_hold(q, 1), RESULT_OK);
    assert_int_equal(queue_hold(q, 9), RESULT_NOT_FOUND);
    assert_string_equal(next(q, 10), "2@a");
    assert_int_equal(queue_count(q), 3);
    assert_int_equal(queue_release(q, 1, 20), RESULT_OK);
    assert_int_equal(queue_release(q, 9, 20), RESULT_NOT_FOUND);
    assert_string_equal(next(q, 19), "");
    assert_int_equal(strlen(next(q, 20)), strlen("1@a 1@b"));
    assert_false(queue_is_withdrawn(q, 1, A));
    assert_int_equal(queue_hold(q, 1), RESULT_OK); /* active: when they come back */
    assert_true(queue_is_withdrawn(q, 1, A) && queue_is_withdrawn(q, 1, B));
    assert_false(queue_is_withdrawn(q, 9, A));
    queue_defer(q, 1, A, 0);
    assert_string_equal(next(q, 30), "");
    assert_int_equal(queue_release(q, 1, 30), RESULT_OK);
    assert_string_equal(next(q, 30), "1@a");
    assert_false(queue_is_withdrawn(q, 1, B));
    queue_defer(q, 1, B, 40); /* the wish was taken back */
    assert_string_equal(next(q, 40), "1@b");
    assert_int_equal(queue_hold(q, 1), RESULT_OK);
    queue_finish(q, 1, A); /* done is done */
    assert_int_equal(queue_count(q), 2);
    queue_free(&q);
}

static void removes(void **state)
{
    struct queue *q = new_queue(10, 50);
    (void)state;
    add(q, 1, A, 0);
    assert_string_equal(next(q, 0), "1@a");
    add(q, 1, B, 0);
    add(q, 1, C, 0);
    add(q, 2, A, 50);
    assert_int_equal(queue_remove(q, 1), RESULT_OK);
    assert_int_equal(queue_count(q), 2); /* the active one is still lent out */
    assert_int_equal(queue_hold(q, 1), RESULT_OK);
    assert_int_equal(queue_release(q, 1, 0), RESULT_OK);
    queue_defer(q, 1, A, 0);
    assert_int_equal(queue_count(q), 1);
    assert_int_equal(queue_remove(q, 1), RESULT_NOT_FOUND);
    assert_string_equal(next(q, 50), "2@a");
    queue_free(&q);
}

static void flushes(void **state)
{
    struct queue *q = new_queue(10, 50);
    (void)state;
    add(q, 1, A, 1000);
    add(q, 2, A, 2000);
    add(q, 3, B, 3000);
    add(q, 4, B, 3000);
    assert_int_equal(queue_hold(q, 4), RESULT_OK);
    queue_block_hop(q, A, 9000);
    queue_flush(q, 2, 10);
    assert_string_equal(next(q, 10), "2@a");
    queue_block_hop(q, A, 9000);
    queue_flush(q, 0, 20);
    assert_int_equal(queue_deadline_ms(q), 20);
    assert_int_equal(strlen(next(q, 20)), strlen("1@a 3@b"));
    queue_flush(q, 77, 20);
    assert_string_equal(next(q, 100000), "");
    queue_free(&q);
}

static void survives_a_clock_that_goes_back(void **state)
{
    struct queue *q = new_queue(1, 1);
    (void)state;
    add(q, 1, A, 1000);
    add(q, 2, B, 1000);
    assert_string_equal(next(q, 1000), "1@a");
    queue_finish(q, 1, A);
    assert_string_equal(next(q, 500), "");
    assert_int_equal(queue_deadline_ms(q), 1000);
    assert_string_equal(next(q, 1000), "2@b");
    queue_free(&q);
}

/* However many have become due since, and whatever they are due at after a flush. */
static void what_was_interrupted_goes_on_first(void **state)
{
    struct queue *q = new_queue(1, 1);
    (void)state;
    for (uint64_t i = 1; i <= 4; i++)
        add(q, i, A, 100 * (int64_t)i);
    assert_string_equal(next(q, 500), "1@a");
    queue_put_back(q, 1, A);
    assert_string_equal(next(q, 600), "1@a");
    queue_put_back(q, 1, A);
    queue_flush(q, 0, 50);
    assert_string_equal(next(q, 600), "1@a");
    queue_put_back(q, 1, A);
    assert_string_equal(next(q, 600), "1@a");
    assert_int_equal(queue_hold(q, 1), RESULT_OK);
    queue_put_back(q, 1, A);
    assert_string_equal(next(q, 600), "2@a");
    queue_put_back(q, 2, A);
    queue_put_back(q, 2, A); /* not active any more: nothing */
    assert_string_equal(next(q, 600), "2@a");
    assert_int_equal(queue_remove(q, 2), RESULT_OK);
    queue_put_back(q, 2, A);
    assert_string_equal(next(q, 600), "3@a");
    assert_int_equal(queue_count(q), 3);
    queue_free(&q);
}

static void small_ones_go_before_large_ones(void **state)
{
    struct queue *q = new_queue(1, 1);
    struct queue_job job;
    (void)state;
    add(q, 1, A, 100);
    add(q, 2, A, 200);
    add(q, 3, A, 300);
    queue_set_large(q, 1, true);
    queue_set_large(q, 9, true); /* unknown: nothing */
    assert_int_equal(queue_deadline_ms(q), 100);
    assert_false(queue_has_small(q, A, 199));
    assert_true(queue_next(q, 199, &job));
    assert_int_equal(job.message, 1);     /* nothing else is due */
    assert_true(queue_has_small(q, A, 200));
    assert_false(queue_has_small(q, B, 200));
    queue_defer(q, 1, A, 100);            /* paused: still large, and the oldest */
    assert_string_equal(next(q, 300), "2@a");
    queue_finish(q, 2, A);
    assert_string_equal(next(q, 300), "3@a");
    queue_finish(q, 3, A);
    assert_false(queue_has_small(q, A, 300));
    queue_set_large(q, 1, false);
    assert_true(queue_has_small(q, A, 300));
    queue_block_hop(q, A, 400);
    assert_false(queue_has_small(q, A, 300));
    assert_string_equal(next(q, 400), "1@a");
    queue_free(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_what_is_due),
        cmocka_unit_test(hops_take_turns),
        cmocka_unit_test(keeps_the_limits),
        cmocka_unit_test(blocks_hops),
        cmocka_unit_test(holds_and_releases),
        cmocka_unit_test(removes),
        cmocka_unit_test(flushes),
        cmocka_unit_test(what_was_interrupted_goes_on_first),
        cmocka_unit_test(small_ones_go_before_large_ones),
        cmocka_unit_test(survives_a_clock_that_goes_back),
    };
    return cmocka_run_group_tests_name("queue/queue", tests, NULL, NULL);
}
