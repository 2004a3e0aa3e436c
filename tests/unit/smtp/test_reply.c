/* smtp/reply.h: what is a reply and what is not, its bounds, and what is written. */
#include "smtp/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A copy that ends where its allocation ends, so that the sanitizer sees a read past it. */
static struct slice exact_copy(struct slice s)
{
    char *copy = malloc(s.len ? s.len : 1);
    assert_non_null(copy);
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    return slice_of(copy, s.len);
}

static enum result parse(struct slice in, struct buffer *text, struct smtp_reply *reply, size_t *used)
{
    struct slice copy = exact_copy(in);
    enum result result = smtp_reply_parse(copy, text, reply, used);
    free((void *)(uintptr_t)copy.ptr);
    return result;
}

struct accepted_row {
    struct slice in;
    int code;
    struct smtp_status status;
    const char *text;
};

#define ROW(in, code, c, s, d, text) {{"" in, sizeof(in) - 1}, code, {c, s, d}, text}
static const struct accepted_row ACCEPTED[] = {
    ROW("250 ok\r\n", 250, 0, 0, 0, "ok"),
    ROW("250\r\n", 250, 0, 0, 0, ""),
    ROW("250 \r\n", 250, 0, 0, 0, ""),
    ROW("250\n", 250, 0, 0, 0, ""),
    ROW("220 host ready\n", 220, 0, 0, 0, "host ready"),
    ROW("250 2.1.0 Sender ok\r\n", 250, 2, 1, 0, "Sender ok"),
    ROW("250 2.0.0\r\n", 250, 2, 0, 0, ""),
    ROW("550 5.7.515 Access denied\r\n", 550, 5, 7, 515, "Access denied"),
    ROW("550 4.1.1 class of another code\r\n", 550, 0, 0, 0, "4.1.1 class of another code"),
    ROW("550 5.1.1234 too many digits\r\n", 550, 0, 0, 0, "5.1.1234 too many digits"),
    ROW("550 5.1 no detail\r\n", 550, 0, 0, 0, "5.1 no detail"),
    ROW("550 5.1.1x glued\r\n", 550, 0, 0, 0, "5.1.1x glued"),
    ROW("354 3.0.0 there is no such class\r\n", 354, 0, 0, 0, "3.0.0 there is no such class"),
    ROW("250-first\r\n250-second\r\n250 third\r\n", 250, 0, 0, 0, "first\nsecond\nthird"),
    ROW("250-first\n250 second\n", 250, 0, 0, 0, "first\nsecond"),
    ROW("250-\r\n250\r\n", 250, 0, 0, 0, "\n"),
    ROW("550-5.7.1 one\r\n550-5.7.1 two\r\n550 three\r\n", 550, 5, 7, 1, "one\ntwo\nthree"),
    ROW("550-one\r\n550 5.7.1 two\r\n", 550, 0, 0, 0, "one\n5.7.1 two"),
    ROW("250 tab\there\r\n", 250, 0, 0, 0, "tab\there"),
    ROW("250 esc\x1b[31m bell\x07 del\x7f\r\n", 250, 0, 0, 0, "esc?[31m bell? del?"),
    ROW("250 gr\xc3\xbc\xc3\x9f" "e\r\n", 250, 0, 0, 0, "gr\xc3\xbc\xc3\x9f" "e"),
    ROW("250 latin \xfc, half \xc3\r\n", 250, 0, 0, 0, "latin ?, half ?"),
    ROW("250 c1 \xc2\x9b, overlong \xc0\xaf, surrogate \xed\xa0\x80\r\n", 250, 0, 0, 0, "c1 ?, overlong ??, surrogate ???"),
    ROW("250 bidi \xe2\x80\xae" "gnp.exe\r\n", 250, 0, 0, 0, "bidi ?gnp.exe"),
    ROW("571 5.7.1 a second digit that RFC 5321 has not\r\n", 571, 5, 7, 1, "a second digit that RFC 5321 has not"),
    ROW("599 \xf0\x9f\x93\xa7\r\n", 599, 0, 0, 0, "\xf0\x9f\x93\xa7"),
};

static void check_accepted(const struct accepted_row *row, struct slice in)
{
    struct buffer text = {0};
    struct smtp_reply reply;
    size_t used;
    assert_int_equal(parse(in, &text, &reply, &used), RESULT_OK);
    assert_int_equal(used, row->in.len);
    assert_int_equal(reply.code, row->code);
    assert_int_equal(reply.status.class, row->status.class);
    assert_int_equal(reply.status.subject, row->status.subject);
    assert_int_equal(reply.status.detail, row->status.detail);
    assert_int_equal(reply.text.len, strlen(row->text));
    assert_memory_equal(reply.text.len ? reply.text.ptr : "", row->text, reply.text.len);
    buffer_free(&text);
}

/* Whole; with a second reply behind it; and every shorter piece asks for more. */
static void accepts_replies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ACCEPTED / sizeof *ACCEPTED; i++) {
        const struct accepted_row *row = &ACCEPTED[i];
        char longer[256];
        check_accepted(row, row->in);
        memcpy(longer, row->in.ptr, row->in.len);
        memcpy(longer + row->in.len, "550 next\r\n", 10);
        check_accepted(row, slice_of(longer, row->in.len + 10));
        for (size_t len = 0; len < row->in.len; len++) {
            struct buffer text = {0};
            struct smtp_reply reply;
            size_t used = 1;
            assert_int_equal(parse(slice_take(row->in, len), &text, &reply, &used), RESULT_MORE);
            assert_int_equal(used, 0);
            buffer_free(&text);
        }
    }
}

static void refuses_what_is_no_reply(void **state)
{
    static const struct slice rows[] = {
        SLICE("\r\n"), SLICE("\n"), SLICE("ok\r\n"), SLICE("25\r\n"), SLICE("25 ok\r\n"), SLICE("2500 ok\r\n"), SLICE("250_ok\r\n"), SLICE("250\tok\r\n"),
        SLICE("150 preliminary\r\n"), SLICE("099 low\r\n"), SLICE("600 high\r\n"), SLICE("HTTP/1.1 200 OK\r\n"), SLICE("x50\n"), SLICE("2x0\n"), SLICE("25x\n"), SLICE("250x\n"),
        SLICE("250-one\r\n251 other code\r\n"), SLICE("250-one\r\n550 other code\r\n"), SLICE("250-one\r\n\r\n"), SLICE("250-one\r\n 250 two\r\n"),
        SLICE("250 a\rb\r\n"), SLICE("250 a\r\r\n"), SLICE("250\r \n"), SLICE("250 a\0b\r\n"), SLICE("250 a\0\n"), SLICE("\0\n"), SLICE("250-a\r\n2\0\n"), SLICE(" 250 ok\r\n"), SLICE("-250 ok\r\n"), SLICE("+25 ok\r\n"),
        SLICE("\xef\xbb\xbf" "250 ok\r\n"),
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer text = {0};
        struct smtp_reply reply;
        size_t used = 1;
        if (parse(rows[i], &text, &reply, &used) != RESULT_SYNTAX)
            fail_msg("row %zu: %.*s", i, SLICE_ARG(rows[i]));
        assert_int_equal(used, 0);
        assert_int_equal(parse(slice_take(rows[i], (size_t)slice_find_last(rows[i], '\n')), &text, &reply, &used), RESULT_MORE);
        buffer_free(&text);
    }
}

/* "250 xxx...CRLF" of exactly len octets. */
static struct slice line_of(char *out, size_t len, char separator)
{
    memset(out, 'x', len);
    memcpy(out, "250", 3);
    out[3] = separator;
    memcpy(out + len - 2, "\r\n", 2);
    return slice_of(out, len);
}

static void bounds_the_line(void **state)
{
    static char in[SMTP_REPLY_LINE_MAX + 8];
    struct buffer text = {0};
    struct smtp_reply reply;
    size_t used;
    (void)state;
    assert_int_equal(parse(line_of(in, SMTP_REPLY_LINE_MAX - 1, ' '), &text, &reply, &used), RESULT_OK);
    assert_int_equal(parse(line_of(in, SMTP_REPLY_LINE_MAX, ' '), &text, &reply, &used), RESULT_OK);
    assert_int_equal(used, SMTP_REPLY_LINE_MAX);
    assert_int_equal(reply.text.len, SMTP_REPLY_LINE_MAX - 6);
    assert_int_equal(parse(line_of(in, SMTP_REPLY_LINE_MAX + 1, ' '), &text, &reply, &used), RESULT_LIMIT);
    assert_int_equal(parse(slice_of(in, SMTP_REPLY_LINE_MAX - 1), &text, &reply, &used), RESULT_MORE);
    assert_int_equal(parse(slice_of(in, SMTP_REPLY_LINE_MAX), &text, &reply, &used), RESULT_LIMIT);
    buffer_free(&text);
}

static struct slice lines_of(char *out, size_t nlines, size_t line_len)
{
    for (size_t i = 0; i < nlines; i++)
        line_of(out + i * line_len, line_len, i + 1 == nlines ? ' ' : '-');
    return slice_of(out, nlines * line_len);
}

static void bounds_the_lines(void **state)
{
    static char in[(SMTP_REPLY_LINES_MAX + 1) * 16];
    struct buffer text = {0};
    struct smtp_reply reply;
    size_t used;
    (void)state;
    assert_int_equal(parse(lines_of(in, SMTP_REPLY_LINES_MAX - 1, 16), &text, &reply, &used), RESULT_OK);
    assert_int_equal(parse(lines_of(in, SMTP_REPLY_LINES_MAX, 16), &text, &reply, &used), RESULT_OK);
    assert_int_equal(used, SMTP_REPLY_LINES_MAX * 16);
    assert_int_equal(parse(lines_of(in, SMTP_REPLY_LINES_MAX + 1, 16), &text, &reply, &used), RESULT_LIMIT);
    buffer_free(&text);
}

/* A reply of SMTP_REPLY_MAX octets is the longest; of its text the beginning is kept. */
static void bounds_the_whole(void **state)
{
    static char in[SMTP_REPLY_MAX + 4];
    struct buffer text = {0};
    struct smtp_reply reply;
    size_t used;
    (void)state;
    for (size_t i = 0; i < 64; i++)
        line_of(in + i * 1024, 1024, i == 63 ? ' ' : '-');
    assert_int_equal(parse(slice_of(in, SMTP_REPLY_MAX), &text, &reply, &used), RESULT_OK);
    assert_int_equal(used, SMTP_REPLY_MAX);
    assert_int_equal(reply.text.len, SMTP_REPLY_TEXT_MAX);
    assert_int_equal(reply.text.ptr[1018], '\n');
    assert_int_equal(parse(slice_of(in, SMTP_REPLY_MAX - 1), &text, &reply, &used), RESULT_MORE);
    line_of(in + 63 * 1024, 1025, ' ');
    assert_int_equal(parse(slice_of(in, SMTP_REPLY_MAX + 1), &text, &reply, &used), RESULT_LIMIT);
    line_of(in + 63 * 1024, 1024, '-');
    assert_int_equal(parse(slice_of(in, SMTP_REPLY_MAX), &text, &reply, &used), RESULT_LIMIT);
    buffer_free(&text);
}

static void cuts_text_between_characters(void **state)
{
    static char in[SMTP_REPLY_TEXT_MAX * 2];
    struct buffer text = {0};
    struct smtp_reply reply;
    size_t used, len = 0;
    (void)state;
    for (size_t line = 0; line < 3; line++) {
        memcpy(in + len, line == 2 ? "250 " : "250-", 4);
        len += 4;
        for (size_t i = 0; i < 500; i++, len += 4)
            memcpy(in + len, "\xf0\x9f\x93\xa7", 4);
        memcpy(in + len, "\r\n", 2);
        len += 2;
    }
    text.max = 3999; /* two lines of 2000, a line feed, and one octet too few for the last character */
    assert_int_equal(parse(slice_of(in, len), &text, &reply, &used), RESULT_OK);
    assert_int_equal(reply.text.len, 2000 + 1 + 1996);
    assert_int_equal(used, len);
    buffer_free(&text);
}

static void check_written(struct smtp_reply reply, const char *octets, const char *line)
{
    struct buffer out = {0};
    char format[256];
    assert_int_equal(smtp_reply_write(&reply, &out), RESULT_OK);
    assert_true(slice_equal(buffer_slice(&out), slice_from_cstr(octets)));
    smtp_reply_format(&reply, format, sizeof format);
    assert_string_equal(format, line);
    buffer_free(&out);
}

static void writes_replies(void **state)
{
    (void)state;
    check_written(SMTP_REPLY(250, 2, 1, 0, "ok"), "250 2.1.0 ok\r\n", "250 2.1.0 ok");
    check_written(SMTP_REPLY(354, 0, 0, 0, "go on"), "354 go on\r\n", "354 go on");
    check_written(SMTP_REPLY(250, 0, 0, 0, ""), "250 \r\n", "250");
    check_written(SMTP_REPLY(550, 5, 7, 1, "a\nb"), "550-5.7.1 a\r\n550 5.7.1 b\r\n", "550 5.7.1 a / b");
    check_written(SMTP_REPLY(550, 5, 7, 1, "a\r\0b"), "550 5.7.1 a??b\r\n", "550 5.7.1 a??b");
}

static void writes_within_bounds(void **state)
{
    static char text[2000];
    struct buffer out = BUFFER(600), small = BUFFER(20);
    struct smtp_reply reply = {.code = 250, .status = {2, 0, 0}, .text = {text, 504}};
    char line[16];
    (void)state;
    memset(text, 'y', sizeof text);
    for (size_t len = 499; len <= 502; len++) {
        reply.text.len = len;
        buffer_clear(&out);
        assert_int_equal(smtp_reply_write(&reply, &out), RESULT_OK);
        assert_int_equal(buffer_len(&out), len < 500 ? len + 12 : 512);
    }
    memcpy(text + 499, "\xc3\xbc", 2); /* would straddle the end */
    buffer_clear(&out);
    assert_int_equal(smtp_reply_write(&reply, &out), RESULT_OK);
    assert_int_equal(buffer_len(&out), 511);
    assert_int_equal(smtp_reply_write(&SMTP_REPLY(250, 0, 0, 0, "one\ntwo two two"), &small), RESULT_LIMIT);
    assert_int_equal(buffer_len(&small), 0);
    smtp_reply_format(&SMTP_REPLY(250, 2, 0, 0, "one\ntwo"), line, sizeof line);
    assert_string_equal(line, "250 2.0.0 one /");
    smtp_reply_format(&SMTP_REPLY(250, 2, 0, 0, "one\ntwo"), line, 3);
    assert_string_equal(line, "25");
    buffer_free(&out);
    buffer_free(&small);
}

static void tells_the_kinds_apart(void **state)
{
    (void)state;
    assert_true(smtp_reply_is_positive(&SMTP_REPLY(354, 0, 0, 0, "")));
    assert_false(smtp_reply_is_positive(&SMTP_REPLY(400, 0, 0, 0, "")));
    assert_true(smtp_reply_is_transient(&SMTP_REPLY(499, 0, 0, 0, "")));
    assert_false(smtp_reply_is_transient(&SMTP_REPLY(500, 0, 0, 0, "")));
    assert_true(smtp_reply_is_permanent(&SMTP_REPLY(500, 0, 0, 0, "")));
    assert_false(smtp_reply_is_permanent(&SMTP_REPLY(450, 0, 0, 0, "")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_replies),
        cmocka_unit_test(refuses_what_is_no_reply),
        cmocka_unit_test(bounds_the_line),
        cmocka_unit_test(bounds_the_lines),
        cmocka_unit_test(bounds_the_whole),
        cmocka_unit_test(cuts_text_between_characters),
        cmocka_unit_test(writes_replies),
        cmocka_unit_test(writes_within_bounds),
        cmocka_unit_test(tells_the_kinds_apart),
    };
    return cmocka_run_group_tests_name("smtp/reply", tests, NULL, NULL);
}
