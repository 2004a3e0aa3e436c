/* The queue when memory runs out: an item is added whole or not at all, and giving one back never fails. */
#include "queue/queue.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ITEMS = 60 };

static void run(void *context)
{
    static const struct slice hops[] = {SLICE("a.example"), SLICE("b.example"), SLICE("c.example")};
    struct queue *q = queue_new(&(struct queue_limits){.active_per_hop = 100, .active_total = 100});
    struct queue_job jobs[ITEMS];
    size_t nadded = 0, njobs = 0;
    (void)context;
    if (!q) {
        assert_true(oom_has_failed());
        return;
    }
    for (uint64_t i = 0; i < ITEMS; i++) {
        enum result added = queue_add(q, 1 + i / 3, hops[i % 3], 0);
        assert_true(added == RESULT_OK || (added == RESULT_MEMORY && oom_has_failed()));
        nadded += added == RESULT_OK;
        assert_int_equal(queue_count(q), nadded);
        if (i % 7 == 6 && queue_next(q, 0, &jobs[njobs])) /* lent out while others come in: its room must stay */
            njobs++;
    }
    while (queue_next(q, 0, &jobs[njobs]))
        njobs++;
    assert_int_equal(njobs, nadded);
    for (size_t i = 0; i < njobs; i++)
        queue_defer(q, jobs[i].message, jobs[i].hop, 10);
    for (uint64_t message = 1; message <= ITEMS / 3; message += 2)
        assert_true(queue_hold(q, message) == RESULT_OK || oom_has_failed());
    for (uint64_t message = 1; message <= ITEMS / 3; message++)
        assert_true(queue_release(q, message, 0) == RESULT_OK || oom_has_failed());
    for (uint64_t message = 1; message <= ITEMS / 3; message++)
        assert_true(queue_remove(q, message) == RESULT_OK || oom_has_failed());
    assert_int_equal(queue_count(q), 0);
    queue_free(&q);
}

static void memory_may_end_at_any_point(void **state)
{
    (void)state;
    assert_true(oom_loop(300, run, NULL) > ITEMS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_may_end_at_any_point),
    };
    return cmocka_run_group_tests_name("queue without memory", tests, NULL, NULL);
}
