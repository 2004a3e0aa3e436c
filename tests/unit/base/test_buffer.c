/* base/buffer.h: what a secret buffer leaves behind in its memory: nothing. */
#include "base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX = 4096 };

static struct buffer filled(size_t len)
{
    struct buffer b = BUFFER_SECRET(MAX);
    char *at;
    assert_int_equal(buffer_reserve(&b, len, &at), RESULT_OK);
    memset(b.memory, 0, b.capacity);
    memset(at, 'x', len);
    buffer_commit(&b, len);
    return b;
}

static size_t count_x(const char *memory, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += memory[i] == 'x';
    return n;
}

static void what_leaves_is_wiped(void **state)
{
    (void)state;
    struct buffer b = filled(200);
    buffer_consume(&b, 50);
    assert_int_equal(count_x(b.memory, b.capacity), 150);
    buffer_truncate(&b, 120);
    assert_int_equal(count_x(b.memory, b.capacity), 120);
    buffer_consume(&b, 120);
    assert_int_equal(count_x(b.memory, b.capacity), 0);
    buffer_free(&b);
    b = filled(200);
    buffer_clear(&b);
    assert_int_equal(count_x(b.memory, b.capacity), 0);
    buffer_free(&b);
}

/* What stood behind the content when it moved to the front is gone too. */
static void moving_leaves_nothing(void **state)
{
    (void)state;
    struct buffer b = filled(256);
    char *at, *memory = b.memory;
    assert_int_equal(b.capacity, 256);
    buffer_consume(&b, 200);
    assert_int_equal(buffer_reserve(&b, 100, &at), RESULT_OK);
    assert_ptr_equal(b.memory, memory);
    assert_int_equal(count_x(b.memory, b.capacity), 56);
    buffer_free(&b);
}

static void growth_and_the_end_leave_nothing(void **state)
{
    (void)state;
    struct buffer b = filled(256);
    char *at;
    assert_int_equal(buffer_reserve(&b, 1000, &at), RESULT_OK);
    assert_int_equal(count_x(b.memory, 256), 256);
    assert_int_equal(buffer_len(&b), 256);
    buffer_shrink(&b);
    assert_true(b.is_secret);
    assert_int_equal(b.max, MAX);
    assert_null(b.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_leaves_is_wiped),
        cmocka_unit_test(moving_leaves_nothing),
        cmocka_unit_test(growth_and_the_end_leave_nothing),
    };
    return cmocka_run_group_tests_name("base/buffer", tests, NULL, NULL);
}
