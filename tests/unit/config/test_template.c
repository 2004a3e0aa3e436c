/* Filling in an annotated configuration. */
#include "config/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const char text[] = "# about the relay\n[relay]\nhost = example\n#pin = none\n# pin is a key\n#way = 465 tls\n#way = 25 starttls\n[local]\n#host = other\n";

static void fills_to(const struct config_fill *fills, size_t n, enum result expected, const char *want)
{
    struct buffer out = {0};
    assert_int_equal(config_template_fill(slice_from_cstr(text), fills, n, &out), expected);
    if (want) {
        assert_int_equal(buffer_append(&out, slice_of("", 1)), RESULT_OK);
        assert_string_equal(buffer_slice(&out).ptr, want);
    }
    buffer_free(&out);
}

static void test_values_take_the_place_of_their_lines(void **state)
{
    const struct config_fill fills[] = {
        {"relay", "host", SLICE("mx.test")}, {"relay", "pin", SLICE("a")}, {"relay", "pin", SLICE("b")}, {"relay", "way", SLICE("2525 starttls")}};
    (void)state;
    fills_to(fills, 4, RESULT_OK,
             "# about the relay\n[relay]\nhost = mx.test\npin = a\npin = b\n# pin is a key\nway = 2525 starttls\n[local]\n#host = other\n");
}

static void test_nothing_to_fill_is_the_template(void **state)
{
    (void)state;
    fills_to(NULL, 0, RESULT_OK, text);
}

static void test_a_key_of_another_section_is_not_it(void **state)
{
    const struct config_fill fills[] = {{"local", "pin", SLICE("a")}};
    (void)state;
    fills_to(fills, 1, RESULT_NOT_FOUND, NULL);
}

static void test_values_are_quoted_where_they_must(void **state)
{
    const struct config_fill spaces[] = {{"local", "host", SLICE(" a\"b\\ ")}};
    const struct config_fill evil[] = {{"local", "host", SLICE("a\nlisten = 0.0.0.0:25")}};
    (void)state;
    fills_to(spaces, 1, RESULT_OK,
             "# about the relay\n[relay]\nhost = example\n#pin = none\n# pin is a key\n#way = 465 tls\n#way = 25 starttls\n[local]\nhost = \" a\\\"b\\\\ \"\n");
    fills_to(evil, 1, RESULT_SYNTAX, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_take_the_place_of_their_lines),
        cmocka_unit_test(test_nothing_to_fill_is_the_template),
        cmocka_unit_test(test_a_key_of_another_section_is_not_it),
        cmocka_unit_test(test_values_are_quoted_where_they_must),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
