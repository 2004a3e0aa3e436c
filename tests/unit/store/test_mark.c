/* The mark of a sealed database: the same octets as ever, for they are on disks; and nothing else is one. */
#include "store/mark.h"

#include "support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Sealing has come to recipient 3 of a message, and goes on to the end. */
static const char octets[MARK_OCTETS + 1] =
    "\1\1"
    "0123456789abcdef"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"
    "\1\1\2\3\4\5\6\7\10\0\0\1\3"
    "\4\0\0\0\0\0\0\0\0\0\0\0\0";

static struct mark mark_of_octets(void)
{
    struct mark mark = {.stage = MARK_SEALING, .at = {MARK_RECIPIENTS, 0x0102030405060708, 0x103}, .limit = {.phase = MARK_END}};
    memcpy(mark.salt, octets + 2, SEAL_SALT);
    memcpy(mark.check, octets + 2 + SEAL_SALT, CRYPTO_HASH);
    return mark;
}

static enum result parse(const char *text, size_t len, struct mark *mark)
{
    struct slice copy = guard_dup(slice_of(text, len));
    enum result result = mark_parse(copy, mark);
    guard_free(&copy);
    return result;
}

static void it_is_written_as_ever(void **state)
{
    char out[MARK_OCTETS];
    const struct mark mark = mark_of_octets();
    (void)state;
    mark_write(&mark, out);
    assert_memory_equal(out, octets, sizeof out);
}

static void it_is_read_as_it_was_written(void **state)
{
    const struct mark expected = mark_of_octets();
    struct mark mark;
    (void)state;
    assert_int_equal(parse(octets, MARK_OCTETS, &mark), RESULT_OK);
    assert_int_equal(mark.stage, expected.stage);
    assert_memory_equal(mark.salt, expected.salt, SEAL_SALT);
    assert_memory_equal(mark.check, expected.check, CRYPTO_HASH);
    assert_int_equal(mark.at.phase, expected.at.phase);
    assert_int_equal(mark.at.message, expected.at.message);
    assert_int_equal(mark.at.seq, expected.at.seq);
    assert_int_equal(mark.limit.phase, MARK_END);
    assert_int_equal(mark.limit.message, 0);
    assert_int_equal(mark.limit.seq, 0);
}

static void nothing_else_is_one(void **state)
{
    enum { AT = 2 + SEAL_SALT + CRYPTO_HASH, LIMIT = AT + MARK_CURSOR_OCTETS };
    static const struct {
        size_t at;
        char octet;
        enum result result;
    } rows[] = {
        {0, 0, RESULT_CORRUPT}, {0, 2, RESULT_VERSION}, {0, '\x80', RESULT_VERSION}, {0, '\xff', RESULT_VERSION}, {1, 0, RESULT_CORRUPT}, {1, 1, RESULT_OK}, {1, 4, RESULT_OK}, {1, 5, RESULT_CORRUPT},
        {1, '\xff', RESULT_CORRUPT}, {AT, 0, RESULT_OK}, {AT, 4, RESULT_OK}, {AT, 5, RESULT_CORRUPT}, {AT, '\xff', RESULT_CORRUPT}, {LIMIT, 3, RESULT_OK}, {LIMIT, 5, RESULT_CORRUPT}, {LIMIT, '\xff', RESULT_CORRUPT},
    };
    struct mark mark;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char changed[MARK_OCTETS];
        memcpy(changed, octets, sizeof changed);
        changed[rows[i].at] = rows[i].octet;
        if (parse(changed, sizeof changed, &mark) != rows[i].result)
            fail_msg("octet %zu as %d", rows[i].at, rows[i].octet);
    }
    for (size_t len = 0; len <= MARK_OCTETS + 1; len++)
        assert_int_equal(parse(octets, len, &mark), len == MARK_OCTETS ? RESULT_OK : RESULT_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_written_as_ever),
        cmocka_unit_test(it_is_read_as_it_was_written),
        cmocka_unit_test(nothing_else_is_one),
    };
    return cmocka_run_group_tests_name("mark", tests, NULL, NULL);
}
