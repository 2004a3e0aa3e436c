#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "mail/xtext.h"
#include "support/guard.h"

#define LEN(array) (sizeof(array) / sizeof *(array))

static void round_trips(void **state)
{
    struct buffer text = BUFFER(1024), back = BUFFER(256);
    char all[256];
    (void)state;
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (char)i;
    assert_int_equal(xtext_encode(slice_of(all, sizeof all), &text), RESULT_OK);
    assert_true(xtext_is_valid(buffer_slice(&text)));
    assert_int_equal(xtext_decode(buffer_slice(&text), &back), RESULT_OK);
    assert_true(slice_equal(buffer_slice(&back), slice_of(all, sizeof all)));
    buffer_clear(&text);
    assert_int_equal(xtext_encode(SLICE("a+b=c d\xff"), &text), RESULT_OK);
    assert_true(slice_equal(buffer_slice(&text), SLICE("a+2Bb+3Dc+20d+FF")));
    buffer_free(&text);
    buffer_free(&back);
}

static void refuses_what_is_none(void **state)
{
    static const char *const rows[] = {"+", "+4", "+4g", "+4G", "+4a", "a b", "a=b", "a\r\n", "a\x7f", "\xc3\xbc", "abc+2"};
    struct buffer out = BUFFER(64);
    (void)state;
    assert_true(xtext_is_valid(SLICE("")));
    for (size_t i = 0; i < LEN(rows); i++) {
        struct slice text = guard_dup(slice_from_cstr(rows[i]));
        assert_false(xtext_is_valid(text));
        assert_int_equal(xtext_decode(text, &out), RESULT_SYNTAX);
        assert_int_equal(buffer_len(&out), 0);
        guard_free(&text);
    }
    buffer_free(&out);
}

static void keeps_to_the_limit(void **state)
{
    struct buffer out = BUFFER(4);
    (void)state;
    assert_int_equal(xtext_encode(SLICE("ab++"), &out), RESULT_LIMIT);
    assert_int_equal(buffer_len(&out), 0);
    assert_int_equal(xtext_decode(SLICE("abcde"), &out), RESULT_LIMIT);
    assert_int_equal(buffer_len(&out), 0);
    assert_int_equal(xtext_decode(SLICE("a+2Bcd"), &out), RESULT_OK);
    assert_true(slice_equal(buffer_slice(&out), SLICE("a+cd")));
    buffer_free(&out);
}

static void judges_orcpt(void **state)
{
    static const struct {
        const char *text;
        bool plain, utf8; /* valid without and with SMTPUTF8 */
    } rows[] = {
        {"rfc822;a@x.y", true, true}, {"rfc822;a+2Bb@x.y", true, true}, {"RFC822;a", true, true}, {"x-unix-user;joe", true, true},
        {"utf-8;a\\x{20AC}@x.y", true, true}, {"UTF-8;a@x.y", true, true}, {"utf-8;j\xc3\xb6@x.y", false, true},
        {"rfc822;j\xc3\xb6@x.y", false, false}, {"utf-8;a\\x{20ac}", false, false}, {"utf-8;a\\x{}", false, false}, {"utf-8;a\\", false, false},
        {"utf-8;a\\x{1234567}", false, false}, {"utf-8;a\xc2\x85", false, false}, {"utf-8;a\xff", false, false}, {"utf-8;a b", false, false},
        {"rfc822", false, false}, {"rfc822;", false, false}, {";a@x.y", false, false}, {"rfc 822;a", false, false}, {"rfc822;a b", false, false},
        {"rfc822;a=b", false, false}, {"", false, false}, {"utf-8;", false, false},
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct slice text = guard_dup(slice_from_cstr(rows[i].text));
        if (orcpt_is_valid(text, false) != rows[i].plain || orcpt_is_valid(text, true) != rows[i].utf8)
            fail_msg("%s", rows[i].text);
        guard_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(refuses_what_is_none),
        cmocka_unit_test(keeps_to_the_limit),
        cmocka_unit_test(judges_orcpt),
    };
    return cmocka_run_group_tests_name("mail/xtext", tests, NULL, NULL);
}
