/* Which addresses a header field holds; what is read differently by different programs is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "mail/mailbox_list.h"
#include "support/guard.h"

#define LEN(array) (sizeof(array) / sizeof *(array))

static const struct {
    const char *text;
    const char *addresses; /* separated by blanks; NULL: refused */
} rows[] = {
    {" a@x.y", "a@x.y"},
    {"Alice <a@X.Y>", "a@x.y"},
    {"\"Alice, Bob\" <a@x.y>", "a@x.y"},
    {"\"quote \\\" <evil@z>\" <a@x.y>", "a@x.y"},
    {"Alice Q. Public <a@x.y>", "a@x.y"},
    {"=?utf-8?Q?J=C3=B6rg?= <a@x.y>", "a@x.y"},
    {"J\xc3\xb6rg <a@x.y>", "a@x.y"},
    {"J\xf6rg <a@x.y>", "a@x.y"},
    {"<a@x.y>", "a@x.y"},
    {"<a@x.y> (Alice)", "a@x.y"},
    {"a@x.y (Alice <evil@z>)", "a@x.y"},
    {"(c (nested \\) evil@z) c) a (c) @ (c) x (c) . (c) y (c)", "a@x.y"},
    {"a . b @ x . y", "a.b@x.y"},
    {"\"a b\"@x.y", "\"a b\"@x.y"},
    {"\"a\"@x.y", "a@x.y"},
    {"\"a@b\"@x.y", "\"a@b\"@x.y"},
    {"a@[192.0.2.1]", "a@[192.0.2.1]"},
    {"Alice\r\n <a@x.y>", "a@x.y"},
    {"Alice <\r\n\ta@x.y>", "a@x.y"},
    {"a@x.y, b@x.y", "a@x.y b@x.y"},
    {"a@x.y,\r\n B <b@x.y> ,c@x.y", "a@x.y b@x.y c@x.y"},
    {",a@x.y,,b@x.y,", "a@x.y b@x.y"},
    {"Friends: a@x.y, B <b@x.y>;", "a@x.y b@x.y"},
    {"Friends: a@x.y;, c@x.y", "a@x.y c@x.y"},
    {"undisclosed-recipients:;", ""},
    {"Nobody: (really) ;", ""},
    {"", ""},
    {" \r\n ", ""},
    {"(only a comment)", ""},
    {"<@hop,@hop2:a@x.y>", "a@x.y"},
    {"A <,@hop:a@x.y>", "a@x.y"},

    {"Alice", NULL},
    {"a@x.y b@x.y", NULL},
    {"a@x.y <b@x.y>", NULL},
    {"<a@x.y> <b@x.y>", NULL},
    {"<a@x.y> b", NULL},
    {"Alice, Bob <a@x.y>", NULL},
    {"a@b@x.y", NULL},
    {"a b@x.y", NULL},
    {"a@x y", NULL},
    {"a@", NULL},
    {"@x.y", NULL},
    {"<>", NULL},
    {"< >", NULL},
    {"<a@x.y", NULL},
    {"a@x.y>", NULL},
    {"<<a@x.y>>", NULL},
    {"\"Alice <a@x.y>", NULL},
    {"(Alice <a@x.y>", NULL},
    {"Alice) <a@x.y>", NULL},
    {"a@[192.0.2.1", NULL},
    {"Friends: a@x.y", NULL},
    {"Friends: More: a@x.y;;", NULL},
    {"Friends: More: a@x.y;", NULL},
    {"a@x.y;", NULL},
    {":a@x.y;", NULL},
    {"=?utf-8?Q?evil=40z?=@x.y", NULL},
    {"a@=?utf-8?Q?z?=.y", NULL},
    {"a\\@x.y", NULL},
    {"Al\x01ice <a@x.y>", NULL},
    {"\"Al\x7fice\" <a@x.y>", NULL},
    {"(\x1b) a@x.y", NULL},
    {"j\xc3\xb6rg@x.y", NULL},
    {"a..b@x.y", NULL},
    {".a@x.y", NULL},
    {"<@hop a@x.y>", NULL},
    {"a@127.0.0.1", NULL},
};

static enum result collect(struct slice text, bool allow_utf8, char *out, size_t size)
{
    struct mailbox_list list = {.rest = text, .allow_utf8 = allow_utf8};
    struct mail_address address;
    enum result result;
    size_t len = 0;
    while ((result = mailbox_list_next(&list, &address)) == RESULT_OK) {
        assert_true(len + address.len + 2 < size);
        if (len > 0)
            out[len++] = ' ';
        memcpy(out + len, address.text, address.len);
        len += address.len;
    }
    out[len] = '\0';
    return result;
}

static void reads_lists(void **state)
{
    char out[256];
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct slice text = guard_dup(slice_from_cstr(rows[i].text));
        enum result result = collect(text, false, out, sizeof out);
        if (result != (rows[i].addresses ? RESULT_NOT_FOUND : RESULT_SYNTAX))
            fail_msg("%s: %s", rows[i].text, result_name(result));
        if (rows[i].addresses)
            assert_string_equal(out, rows[i].addresses);
        guard_free(&text);
    }
}

static void allows_utf8_when_told(void **state)
{
    char out[256];
    (void)state;
    assert_int_equal(collect(SLICE("J <j\xc3\xb6rg@b\xc3\xbc.y>"), true, out, sizeof out), RESULT_NOT_FOUND);
    assert_string_equal(out, "j\xc3\xb6rg@b\xc3\xbc.y");
}

static void has_bounds(void **state)
{
    char text[3000], out[256];
    (void)state;
    memset(text, 'x', sizeof text);
    memcpy(text + sizeof text - 4, "@x.y", 4);
    assert_int_equal(collect(slice_of(text, sizeof text), false, out, sizeof out), RESULT_LIMIT);
    memset(text, '(', 21);
    memset(text + 21, ')', 21);
    memcpy(text + 42, "a@x.y", 5);
    assert_int_equal(collect(slice_of(text, 47), false, out, sizeof out), RESULT_SYNTAX);
    assert_int_equal(collect(slice_of(text + 1, 40), false, out, sizeof out), RESULT_NOT_FOUND);
    assert_int_equal(collect(SLICE("a@x.y\0"), false, out, sizeof out), RESULT_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_lists),
        cmocka_unit_test(allows_utf8_when_told),
        cmocka_unit_test(has_bounds),
    };
    return cmocka_run_group_tests_name("mail/mailbox_list", tests, NULL, NULL);
}
