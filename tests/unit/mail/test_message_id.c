/* Ids grow, never repeat, and survive being read over the telephone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "mail/message_id.h"

static void ids_grow(void **state)
{
    struct message_id_source source = {0};
    uint64_t last = 0;
    const int64_t times[] = {1000, 1000, 1000, 2000, 500, 2000, -5, 2001};
    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        for (uint32_t j = 0; j < 100; j++) {
            uint64_t id = message_id_next(&source, times[i], UINT32_MAX - j);
            assert_true(id > last);
            assert_true(id < UINT64_C(1) << 63);
            last = id;
        }
    assert_int_equal(last >> 21, 2001);
    uint64_t same = message_id_next(&source, 3000, 5);
    assert_true(message_id_next(&source, 3000, 5) > same);
}

static void time_is_in_the_upper_bits(void **state)
{
    struct message_id_source source = {0};
    (void)state;
    assert_int_equal(message_id_next(&source, 1795289097123, 0x12345), UINT64_C(1795289097123) << 21 | 0x12345);
}

static void text_round_trips(void **state)
{
    static const uint64_t ids[] = {0, 1, 31, 32, UINT64_C(0x7fffffffffffffff), UINT64_C(0x123456789abcdef)};
    char text[MESSAGE_ID_TEXT], last[MESSAGE_ID_TEXT] = "";
    uint64_t back;
    (void)state;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        message_id_format(ids[i], text);
        assert_int_equal(strlen(text), MESSAGE_ID_TEXT - 1);
        assert_true(message_id_parse(slice_from_cstr(text), &back));
        assert_int_equal(back, ids[i]);
        assert_true(i == 0 || i == 5 || strcmp(text, last) > 0); /* sorts like the number */
        memcpy(last, text, sizeof last);
    }
    message_id_format(UINT64_C(0x7fffffffffffffff), text);
    assert_string_equal(text, "7zzzzzzzzzzzz");
}

static void parses_what_people_write(void **state)
{
    uint64_t a, b;
    (void)state;
    assert_true(message_id_parse(SLICE("0d5r8k3mzq1vt"), &a));
    assert_true(message_id_parse(SLICE("OD5R8K3MZQIVT"), &b));
    assert_int_equal(a, b);
    assert_true(message_id_parse(SLICE("0d5r8k3mzqlvt"), &b));
    assert_int_equal(a, b);
    assert_false(message_id_parse(SLICE("0d5r8k3mzq1v"), &a));
    assert_false(message_id_parse(SLICE("0d5r8k3mzq1vtt"), &a));
    assert_false(message_id_parse(SLICE("0d5r8k3mzq1vu"), &a));
    assert_false(message_id_parse(SLICE("0d5r8k3mzq1v-"), &a));
    assert_false(message_id_parse(SLICE("8000000000000"), &a));
    assert_false(message_id_parse(SLICE(""), &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_grow),
        cmocka_unit_test(time_is_in_the_upper_bits),
        cmocka_unit_test(text_round_trips),
        cmocka_unit_test(parses_what_people_write),
    };
    return cmocka_run_group_tests_name("mail/message_id", tests, NULL, NULL);
}
