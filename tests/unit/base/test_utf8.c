/* RFC 3629: what is well-formed, at the borders of each length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "support/guard.h"

#define LEN(array) (sizeof(array) / sizeof *(array))

static void knows_borders(void **state)
{
    static const struct {
        const char *text;
        size_t len; /* 0: malformed */
        uint32_t character;
    } rows[] = {
        {"a", 1, 'a'}, {"\x7f", 1, 0x7f}, {"\xc2\x80", 2, 0x80}, {"\xdf\xbf", 2, 0x7ff}, {"\xe0\xa0\x80", 3, 0x800}, {"\xed\x9f\xbf", 3, 0xd7ff},
        {"\xee\x80\x80", 3, 0xe000}, {"\xef\xbf\xbf", 3, 0xffff}, {"\xf0\x90\x80\x80", 4, 0x10000}, {"\xf4\x8f\xbf\xbf", 4, 0x10ffff}, {"ab", 1, 'a'},
        {"", 0, 0}, {"\x80", 0, 0}, {"\xc1\xbf", 0, 0}, {"\xc0\x80", 0, 0}, {"\xc2", 0, 0}, {"\xc2\x41", 0, 0}, {"\xe0\x9f\xbf", 0, 0},
        {"\xed\xa0\x80", 0, 0}, {"\xed\xbf\xbf", 0, 0}, {"\xe2\x82", 0, 0}, {"\xf0\x8f\xbf\xbf", 0, 0}, {"\xf4\x90\x80\x80", 0, 0},
        {"\xf5\x80\x80\x80", 0, 0}, {"\xff", 0, 0}, {"\xf0\x90\x80", 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        uint32_t character = 0;
        struct slice text = guard_dup(slice_from_cstr(rows[i].text));
        assert_int_equal(utf8_next(text, &character), rows[i].len);
        assert_int_equal(character, rows[i].character);
        guard_free(&text);
    }
}

static void judges_whole_texts(void **state)
{
    (void)state;
    assert_true(utf8_is_valid(SLICE("")));
    assert_true(utf8_is_valid(SLICE("na\xc3\xafve \xe2\x82\xac \xf0\x9f\x93\xae")));
    assert_false(utf8_is_valid(SLICE("na\xefve")));
    assert_false(utf8_is_valid(SLICE("abc\xe2\x82")));
}

static void knows_controls(void **state)
{
    (void)state;
    assert_true(utf8_is_control(0) && utf8_is_control(0x1f) && utf8_is_control(0x7f) && utf8_is_control(0x9f));
    assert_true(utf8_is_control(0x200b) && utf8_is_control(0x202e) && utf8_is_control(0x2066) && utf8_is_control(0xfeff));
    assert_false(utf8_is_control(' ') || utf8_is_control(0xa0) || utf8_is_control(0x200c) || utf8_is_control(0x200d) || utf8_is_control(0xe9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_borders),
        cmocka_unit_test(judges_whole_texts),
        cmocka_unit_test(knows_controls),
    };
    return cmocka_run_group_tests_name("base/utf8", tests, NULL, NULL);
}
