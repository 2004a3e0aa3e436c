/* smtp/data.h: what a body is, where it ends, and that neither depends on how it was cut. */
#include "smtp/data.h"

#include "base/buffer.h"
#include "support/split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LINE_MAX_OCTETS = 12 }; /* with CRLF */

struct row {
    struct slice in;
    struct slice out;
    enum smtp_data_fault fault;
    size_t end; /* octets up to and with the end; 0: it does not end */
};

#define DOTTED(in, out, fault, end) {{"" in, sizeof(in) - 1}, {"" out, sizeof(out) - 1}, fault, end}

static const struct row DOTTED_ROWS[] = {
    DOTTED(".\r\n", "", SMTP_DATA_SOUND, 3),
    DOTTED(".\r\nQUIT\r\n", "", SMTP_DATA_SOUND, 3),
    DOTTED("\r\n.\r\n", "\r\n", SMTP_DATA_SOUND, 5),
    DOTTED("a\r\n.\r\n", "a\r\n", SMTP_DATA_SOUND, 6),
    DOTTED("a\r\n\r\nb\r\n.\r\n", "a\r\n\r\nb\r\n", SMTP_DATA_SOUND, 11),
    DOTTED("..\r\n.\r\n", ".\r\n", SMTP_DATA_SOUND, 7),
    DOTTED("..a\r\n...\r\n.\r\n", ".a\r\n..\r\n", SMTP_DATA_SOUND, 13),
    DOTTED(".a\r\n.\r\n", "a\r\n", SMTP_DATA_SOUND, 7),
    DOTTED("a.\r\n.b.\r\n.\r\n", "a.\r\nb.\r\n", SMTP_DATA_SOUND, 12),
    DOTTED("\x80\xff\r\n.\r\n", "\x80\xff\r\n", SMTP_DATA_SOUND, 7),
    DOTTED("1234567890\r\n.\r\n", "1234567890\r\n", SMTP_DATA_SOUND, 15),
    DOTTED(".1234567890\r\n.\r\n", "1234567890\r\n", SMTP_DATA_SOUND, 16),
    DOTTED("..123456789\r\n.\r\n", ".123456789\r\n", SMTP_DATA_SOUND, 16),
    DOTTED("12345678901\r\n.\r\n", "1234567890", SMTP_DATA_LONG_LINE, 16),
    DOTTED(".12345678901\r\n.\r\n", "1234567890", SMTP_DATA_LONG_LINE, 17),
    DOTTED("a", "a", SMTP_DATA_SOUND, 0),
    DOTTED("a\r", "a", SMTP_DATA_SOUND, 0),
    DOTTED("a\r\n", "a\r\n", SMTP_DATA_SOUND, 0),
    DOTTED("a\r\n.", "a\r\n", SMTP_DATA_SOUND, 0),
    DOTTED("a\r\n.\r", "a\r\n", SMTP_DATA_SOUND, 0),
    DOTTED("a.\r\n", "a.\r\n", SMTP_DATA_SOUND, 0),
    DOTTED("a\n.\nb\r\n.\r\n", "a", SMTP_DATA_BARE_LF, 10),
    DOTTED("a\n.\r\nb\r\n.\r\n", "a", SMTP_DATA_BARE_LF, 11),
    DOTTED("a\r\n.\nb\r\n.\r\n", "a\r\n", SMTP_DATA_BARE_LF, 11),
    DOTTED("a\r.\rb\r\n.\r\n", "a", SMTP_DATA_BARE_CR, 10),
    DOTTED("a\r\n.\rb\r\n.\r\n", "a\r\n", SMTP_DATA_BARE_CR, 11),
    DOTTED("a\r\r\n.\r\n", "a", SMTP_DATA_BARE_CR, 7),
    DOTTED("a\r\n.\r\r\nb\r\n.\r\n", "a\r\n", SMTP_DATA_BARE_CR, 13),
    DOTTED("a\r\n.\r\r\n.\r\n", "a\r\n", SMTP_DATA_BARE_CR, 10),
    DOTTED("a\0b\r\n.\r\n", "a", SMTP_DATA_NUL, 8),
    DOTTED("a\r\n\0.\r\n.\r\n", "a\r\n", SMTP_DATA_NUL, 10),
    DOTTED("a\r\n.\0\r\n.\r\n", "a\r\n", SMTP_DATA_NUL, 10),
    DOTTED("a\r\0\n.\r\n", "a", SMTP_DATA_BARE_CR, 0),
    DOTTED("\n.\r\n", "", SMTP_DATA_BARE_LF, 0),
    DOTTED("\n\r\n.\r\n", "", SMTP_DATA_BARE_LF, 6),
    DOTTED("12345678901\n\r\n.\r\n", "1234567890", SMTP_DATA_LONG_LINE, 17),
    DOTTED("1234567890\n\r\n.\r\n", "1234567890", SMTP_DATA_BARE_LF, 16),
};

static const struct row COUNTED_ROWS[] = {
    DOTTED("a\r\n.\r\nb\r\n", "a\r\n.\r\nb\r\n", SMTP_DATA_SOUND, 0),
    DOTTED(".", ".", SMTP_DATA_SOUND, 0),
    DOTTED("a\r", "a", SMTP_DATA_BARE_CR, 0),
    DOTTED("a\rb", "a", SMTP_DATA_BARE_CR, 0),
    DOTTED("a\nb\r\n", "a", SMTP_DATA_BARE_LF, 0),
    DOTTED("a\0b\r\n", "a", SMTP_DATA_NUL, 0),
    DOTTED("1234567890\r\n", "1234567890\r\n", SMTP_DATA_SOUND, 0),
    DOTTED("12345678901", "1234567890", SMTP_DATA_LONG_LINE, 0),
};

/* Feeds one piece; true at the end of the data, with *taken counted up to there. */
static bool read_piece(struct smtp_data *data, struct slice piece, struct buffer *out, size_t *taken)
{
    while (piece.len > 0) {
        size_t used = 0;
        struct slice text;
        enum smtp_data_step step = smtp_data_read(data, piece, &used, &text);
        assert_in_range(used, 1, piece.len);
        if (step == SMTP_DATA_PIECE)
            assert_int_equal(buffer_append(out, text), RESULT_OK);
        *taken += used;
        piece = slice_skip(piece, used);
        if (step == SMTP_DATA_END)
            return true;
    }
    return false;
}

static void replay_row(struct split *split, void *context, bool is_dotted)
{
    const struct row *row = context;
    struct smtp_data data;
    struct buffer out = {0};
    struct slice piece;
    size_t taken = 0;
    bool has_ended = false;

    if (is_dotted)
        smtp_data_start_dotted(&data, LINE_MAX_OCTETS);
    else
        smtp_data_start_counted(&data, LINE_MAX_OCTETS, false);
    while (!has_ended && split_next(split, &piece))
        has_ended = read_piece(&data, piece, &out, &taken);
    while (split_next(split, &piece))
        ;
    if (!is_dotted)
        smtp_data_finish(&data);
    if (!slice_equal(buffer_slice(&out), row->out) || data.fault != row->fault)
        fail_msg("\"%.*s\", %s: fault %s, out \"%.*s\"", SLICE_ARG(row->in), split_how(split), smtp_data_fault_name(data.fault),
                 SLICE_ARG(buffer_slice(&out)));
    assert_int_equal(has_ended ? taken : 0, row->end);
    buffer_free(&out);
}

static void replay_dotted(struct split *split, void *context)
{
    replay_row(split, context, true);
}

static void replay_counted(struct split *split, void *context)
{
    replay_row(split, context, false);
}

static void test_dotted(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof DOTTED_ROWS / sizeof *DOTTED_ROWS; i++)
        split_replay(DOTTED_ROWS[i].in, replay_dotted, (void *)(uintptr_t)&DOTTED_ROWS[i]);
}

static void test_counted(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof COUNTED_ROWS / sizeof *COUNTED_ROWS; i++)
        split_replay(COUNTED_ROWS[i].in, replay_counted, (void *)(uintptr_t)&COUNTED_ROWS[i]);
}

static void test_binary_is_passed_as_it_is(void **state)
{
    (void)state;
    struct smtp_data data;
    struct slice in = SLICE("a\n\r.\r\n\0\xff"), out;
    size_t used;
    smtp_data_start_counted(&data, LINE_MAX_OCTETS, true);
    assert_int_equal(smtp_data_read(&data, in, &used, &out), SMTP_DATA_PIECE);
    smtp_data_finish(&data);
    assert_ptr_equal(out.ptr, in.ptr);
    assert_int_equal(out.len, in.len);
    assert_int_equal(data.fault, SMTP_DATA_SOUND);
    assert_true(data.has_8bit);
}

/* Whole lines are handed out in one piece, where they lie. */
static void test_nothing_is_copied(void **state)
{
    (void)state;
    struct smtp_data data;
    struct slice in = SLICE("one\r\ntwo\r\nthree\r\n.\r\n"), out;
    size_t used;
    smtp_data_start_dotted(&data, LINE_MAX_OCTETS);
    assert_int_equal(smtp_data_read(&data, in, &used, &out), SMTP_DATA_PIECE);
    assert_ptr_equal(out.ptr, in.ptr);
    assert_int_equal(out.len, 17);
    assert_int_equal(used, 17);
}

/* The octet above 127 at every place of a piece of every length up to three words. */
static void test_8bit_is_seen_anywhere(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 24; len++) {
        for (size_t at = 0; at <= len; at++) {
            char text[24];
            struct smtp_data data;
            struct slice out;
            size_t used;
            memset(text, 0x7f, sizeof text);
            if (at < len)
                text[at] = (char)0x80;
            smtp_data_start_counted(&data, 1000, false);
            assert_int_equal(smtp_data_read(&data, slice_of(text, len), &used, &out), SMTP_DATA_PIECE);
            assert_int_equal(data.has_8bit, at < len);
        }
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(smtp_data_fault_name(SMTP_DATA_SOUND), "sound");
    assert_string_equal(smtp_data_fault_name(SMTP_DATA_LONG_LINE), "long-line");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dotted),
        cmocka_unit_test(test_counted),
        cmocka_unit_test(test_binary_is_passed_as_it_is),
        cmocka_unit_test(test_nothing_is_copied),
        cmocka_unit_test(test_8bit_is_seen_anywhere),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
