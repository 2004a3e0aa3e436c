/* smtp/stuff.h: dots, line ends, and what never leaves, whatever the pieces. */
#include "smtp/stuff.h"
#include "support/split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct row {
    struct slice body;
    const char *wire; /* NULL: refused */
};

static const struct row ROWS[] = {
    {SLICE(""), ".\r\n"},
    {SLICE("a\r\n"), "a\r\n.\r\n"},
    {SLICE("a"), "a\r\n.\r\n"},
    {SLICE("\r\n"), "\r\n.\r\n"},
    {SLICE("."), "..\r\n.\r\n"},
    {SLICE(".\r\n"), "..\r\n.\r\n"},
    {SLICE("..\r\n"), "...\r\n.\r\n"},
    {SLICE("a.\r\n.b\r\n"), "a.\r\n..b\r\n.\r\n"},
    {SLICE("a\r\n.\r\nRSET\r\n"), "a\r\n..\r\nRSET\r\n.\r\n"},
    {SLICE(".a\r\n.b\r\n.c"), "..a\r\n..b\r\n..c\r\n.\r\n"},
    {SLICE("\xc3\xbc\x80\r\n"), "\xc3\xbc\x80\r\n.\r\n"},
    {SLICE("a\n"), NULL},
    {SLICE("\n"), NULL},
    {SLICE("a\r\n\n"), NULL},
    {SLICE("a\rb\r\n"), NULL},
    {SLICE("a\r\r\n"), NULL},
    {SLICE("a\r"), NULL},
    {SLICE("\r"), NULL},
    {SLICE("a\0b\r\n"), NULL},
    {SLICE("\0"), NULL},
    {SLICE("a\n.\r\n"), NULL},
    {SLICE("a\r\n.\n"), NULL},
    {SLICE("a\r\n.\r"), NULL},
    {SLICE("a\n.\n"), NULL},
    {SLICE("a\r.\r"), NULL},
};

/* No piece leaves a CR or an LF alone in the output, not even the last before a refusal. */
static void assert_clean(struct slice out)
{
    for (size_t i = 0; i < out.len; i++) {
        assert_true(out.ptr[i] != '\n' || (i > 0 && out.ptr[i - 1] == '\r'));
        assert_true(out.ptr[i] != '\r' || (i + 1 < out.len && out.ptr[i + 1] == '\n'));
    }
}

static void stuff_pieces(struct split *split, void *context)
{
    const struct row *row = context;
    struct smtp_stuff stuff = {0}, check = {0};
    struct buffer out = {0};
    struct slice piece;
    enum result result = RESULT_OK, checked = RESULT_OK;
    while (split_next(split, &piece)) {
        if (result == RESULT_OK)
            result = smtp_stuff_write(&stuff, piece, &out);
        if (checked == RESULT_OK)
            checked = smtp_stuff_check(&check, piece, false);
        assert_clean(buffer_slice(&out));
        assert_int_equal(checked, result);
    }
    if (result == RESULT_OK)
        result = smtp_stuff_end(&stuff, &out);
    if (checked == RESULT_OK)
        checked = smtp_stuff_check(&check, (struct slice){0}, true);
    assert_clean(buffer_slice(&out));
    assert_int_equal(result, row->wire ? RESULT_OK : RESULT_SYNTAX);
    assert_int_equal(checked, result);
    if (row->wire && !slice_equal(buffer_slice(&out), slice_from_cstr(row->wire)))
        fail_msg("%.*s, %s", SLICE_ARG(row->body), split_how(split));
    buffer_free(&out);
}

static void stuffs_in_any_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++)
        split_replay(ROWS[i].body, stuff_pieces, (void *)(uintptr_t)&ROWS[i]);
}

static void appends_all_or_nothing(void **state)
{
    struct smtp_stuff stuff = {0};
    struct buffer out = BUFFER(9);
    (void)state;
    assert_int_equal(smtp_stuff_write(&stuff, SLICE(".\r\n.\r\n"), &out), RESULT_OK);
    assert_int_equal(buffer_len(&out), 8);
    assert_int_equal(smtp_stuff_write(&stuff, SLICE(".\r\n"), &out), RESULT_LIMIT);
    assert_int_equal(buffer_len(&out), 8);
    stuff = (struct smtp_stuff){0};
    assert_int_equal(smtp_stuff_write(&stuff, SLICE("\n"), &out), RESULT_SYNTAX);
    assert_int_equal(buffer_len(&out), 8);
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stuffs_in_any_pieces),
        cmocka_unit_test(appends_all_or_nothing),
    };
    return cmocka_run_group_tests_name("smtp/stuff", tests, NULL, NULL);
}
