#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "mail/header.h"
#include "support/guard.h"

#define LEN(array) (sizeof(array) / sizeof *(array))

static void reads_one_field(void **state)
{
    static const struct {
        const char *text;
        enum result result;
        const char *name, *value, *rest;
    } rows[] = {
        {"A: b\r\n", RESULT_OK, "A", " b", ""},
        {"A:b\r\nC: d\r\n", RESULT_OK, "A", "b", "C: d\r\n"},
        {"A : b\r\n c\r\n\td\r\n\r\n", RESULT_OK, "A", " b\r\n c\r\n\td", "\r\n"},
        {"A:\r\n", RESULT_OK, "A", "", ""},
        {"A:", RESULT_OK, "A", "", ""},
        {"A:\r\n b", RESULT_OK, "A", "\r\n b", ""},
        {"A: b:c\r\n", RESULT_OK, "A", " b:c", ""},
        {"A: b\nC: d\r\n", RESULT_OK, "A", " b\nC: d", ""},
        {"", RESULT_NOT_FOUND, NULL, NULL, ""},
        {"\r\nA: b\r\n", RESULT_NOT_FOUND, NULL, NULL, "\r\nA: b\r\n"},
        {"A\r\n", RESULT_SYNTAX, NULL, NULL, "A\r\n"},
        {":b\r\n", RESULT_SYNTAX, NULL, NULL, ":b\r\n"},
        {" A: b\r\n", RESULT_SYNTAX, NULL, NULL, " A: b\r\n"},
        {"A b: c\r\n", RESULT_SYNTAX, NULL, NULL, "A b: c\r\n"},
        {"A\x7f: c\r\n", RESULT_SYNTAX, NULL, NULL, "A\x7f: c\r\n"},
        {"A\xc3: c\r\n", RESULT_SYNTAX, NULL, NULL, "A\xc3: c\r\n"},
        {"A", RESULT_SYNTAX, NULL, NULL, "A"},
        {"\n", RESULT_SYNTAX, NULL, NULL, "\n"},
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct slice text = guard_dup(slice_from_cstr(rows[i].text)), rest = text;
        struct header_field field;
        if (header_next(&rest, &field) != rows[i].result)
            fail_msg("%s", rows[i].text);
        assert_true(slice_equal(rest, slice_from_cstr(rows[i].rest)));
        if (rows[i].result == RESULT_OK) {
            assert_true(slice_equal(field.name, slice_from_cstr(rows[i].name)));
            assert_true(slice_equal(field.value, slice_from_cstr(rows[i].value)));
            assert_true(slice_equal(field.raw, slice_take(text, text.len - rest.len)));
        }
        guard_free(&text);
    }
}

static void finds_fields(void **state)
{
    struct header_field field;
    (void)state;
    assert_true(header_find(SLICE("A: 1\r\nsubject: 2\r\n\r\nX: 3\r\n"), SLICE("Subject"), &field));
    assert_true(slice_equal(field.value, SLICE(" 2")));
    assert_false(header_find(SLICE("A: 1\r\nsubject: 2\r\n\r\nX: 3\r\n"), SLICE("X"), &field));
}

static void measures_sections(void **state)
{
    (void)state;
    assert_int_equal(header_section_len(SLICE("A: b\r\n\r\nbody\r\n\r\n")), 6);
    assert_int_equal(header_section_len(SLICE("\r\nbody")), 0);
    assert_int_equal(header_section_len(SLICE("A: b\r\n")), 6);
    assert_int_equal(header_section_len(SLICE("A: b")), 4);
    assert_int_equal(header_section_len(SLICE("A: b\n\r\nx")), 8);
    assert_int_equal(header_section_len(SLICE("")), 0);
}

static void sees_8bit(void **state)
{
    char text[40];
    (void)state;
    for (size_t at = 0; at < sizeof text; at++) {
        memset(text, 'x', sizeof text);
        assert_false(mail_has_8bit(slice_of(text, at)));
        text[at] = (char)0x80;
        assert_false(mail_has_8bit(slice_of(text, at)));
        assert_true(mail_has_8bit(slice_of(text, at + 1)));
        assert_true(mail_has_8bit(slice_of(text, sizeof text)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_one_field),
        cmocka_unit_test(finds_fields),
        cmocka_unit_test(measures_sections),
        cmocka_unit_test(sees_8bit),
    };
    return cmocka_run_group_tests_name("mail/header", tests, NULL, NULL);
}
