/* base/arena.h: arrays that grow. The rest is in every other test. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void an_array_grows_by_doubling_and_keeps_its_items(void **state)
{
    struct arena arena = {0};
    uint64_t *numbers = NULL;
    size_t capacity = 0, ncopies = 0;
    (void)state;
    for (size_t n = 0; n < 100; n++) {
        uint64_t *more = arena_grow(&arena, numbers, n, &capacity, sizeof *numbers);
        assert_non_null(more);
        ncopies += more != numbers;
        numbers = more;
        numbers[n] = n * n;
        for (size_t i = 0; i <= n; i++)
            assert_int_equal(numbers[i], i * i);
    }
    assert_int_equal(capacity, 128);
    assert_int_equal(ncopies, 8);
    arena_free(&arena);
}

static void an_array_that_can_not_grow_is_as_it_was(void **state)
{
    struct arena arena = ARENA(64);
    size_t capacity = 0;
    (void)state;
    uint64_t *numbers = arena_grow(&arena, NULL, 0, &capacity, 4 * sizeof *numbers);
    assert_non_null(numbers);
    numbers[3] = 7;
    assert_null(arena_grow(&arena, numbers, 1, &capacity, 4 * sizeof *numbers));
    assert_int_equal(capacity, 1);
    assert_int_equal(numbers[3], 7);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_array_grows_by_doubling_and_keeps_its_items),
        cmocka_unit_test(an_array_that_can_not_grow_is_as_it_was),
    };
    return cmocka_run_group_tests_name("base/arena", tests, NULL, NULL);
}
