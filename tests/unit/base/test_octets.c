/* base/octets.h */
#include "base/octets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void the_highest_octet_comes_first(void **state)
{
    uint8_t out[9] = {[8] = 0xaa};
    (void)state;
    assert_ptr_equal(octets_put(out, UINT64_C(0x0102030405060708), 8), out + 8);
    assert_memory_equal(out, "\x01\x02\x03\x04\x05\x06\x07\x08\xaa", 9);
    assert_ptr_equal(octets_put(out, UINT64_C(0xf1f2f3f4f5), 4), out + 4); /* what does not fit is the highest */
    assert_memory_equal(out, "\xf2\xf3\xf4\xf5\x05\x06\x07\x08\xaa", 9);
    assert_ptr_equal(octets_put(out, 1, 0), out);
    assert_int_equal(out[0], 0xf2);
}

static void what_was_put_is_got(void **state)
{
    static const uint64_t numbers[] = {0, 1, 0x7f, 0x80, 0xff, 0xff00, 0x80000000, UINT32_MAX, UINT64_C(1) << 63, UINT64_MAX};
    uint8_t octets[8];
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        for (size_t n = 0; n <= 8; n++) {
            octets_put(octets, numbers[i], n);
            assert_true(octets_get(octets, n) == (n < 8 ? numbers[i] & ((UINT64_C(1) << 8 * n) - 1) : numbers[i]));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_highest_octet_comes_first),
        cmocka_unit_test(what_was_put_is_got),
    };
    return cmocka_run_group_tests_name("base/octets", tests, NULL, NULL);
}
