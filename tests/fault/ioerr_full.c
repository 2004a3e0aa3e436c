/* A disk that is really full: a small tmpfs of its own. First short of room, then without any, then with room again; without a restart. */
#include "support/small_disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { NMESSAGES = 40 };

static void a_full_disk_is_got_over(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), RESULT_OK);
    for (uint64_t id = 1; id <= NMESSAGES; id++)
        assert_int_equal(world_put(w, id, SLICE("0123456789"), 1, 0), RESULT_OK);
    assert_int_equal(small_disk_size(w, "test.db.reserve"), 4 * MIB);

    small_disk_fill(w, 12 * MIB); /* less than what new mail may not touch */
    assert_int_equal(world_put(w, 100, SLICE("x"), 1, 0), RESULT_FULL);
    assert_int_equal(world_finish(w, 1, 0, STORE_DELIVERED, "250", false), RESULT_OK);
    assert_int_equal(small_disk_size(w, "test.db.reserve"), 4 * MIB);

    small_disk_fill(w, 0); /* nothing is left at all */
    for (uint64_t id = 2; id <= NMESSAGES; id++)
        assert_int_equal(world_finish(w, id, 0, id % 2 ? STORE_QUEUED : STORE_DELIVERED, "451 4.3.1 their disk is full, too", false), RESULT_OK);
    for (int i = 0; i < 200; i++) /* far more commits than the reserve has room for: the log is used again and again */
        assert_int_equal(world_finish(w, 3, 0, STORE_QUEUED, "451 4.3.1 their disk is full, too", false), RESULT_OK);
    assert_int_equal(world_put(w, 100, SLICE("x"), 1, 0), RESULT_FULL);
    assert_int_equal(small_disk_size(w, "test.db.reserve"), 0);
    assert_string_equal(world_state(w, 2), "delivered");
    assert_string_equal(world_state(w, 3), "deferred");
    struct slice got = world_body(w, 3);
    assert_true(slice_equal(got, SLICE("0123456789")));
    free((char *)got.ptr);

    small_disk_clear(w);
    assert_int_equal(world_put(w, 100, SLICE("x"), 1, 0), RESULT_OK);
    assert_int_equal(small_disk_size(w, "test.db.reserve"), 4 * MIB);
    world_close(w);

    small_disk_fill(w, 0); /* a start on a full disk: reading works, new mail does not */
    assert_int_equal(world_open(w), RESULT_OK);
    assert_string_equal(world_state(w, 100), "queued");
    assert_int_equal(world_put(w, 101, SLICE("x"), 1, 0), RESULT_FULL);
    world_close(w);
}

int main(void)
{
    if (!small_disk_unshare())
        return 77;
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(a_full_disk_is_got_over, small_disk_setup, small_disk_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
