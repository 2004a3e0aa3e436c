/* What programs dictate to sendmail: any end of line, any length, any size of pieces. */
#include "draft.h"

#include "crypto/crypto.h"

#include "support/split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

struct taken {
    int code;
    char *text; /* the spool's content */
    char trouble[200];
    int reply_code;
};

static struct taken take_with(const struct draft_config *config, struct slice in, bool dot_ends)
{
    struct draft draft;
    struct taken taken = {0};
    FILE *from = in.len > 0 ? fmemopen((void *)(uintptr_t)in.ptr, in.len, "r") : fopen("/dev/null", "r");
    assert_non_null(from);
    taken.code = draft_begin(&draft, config);
    if (taken.code == EX_OK)
        taken.code = draft_read(&draft, from, dot_ends);
    if (taken.code == EX_OK)
        taken.code = draft_end(&draft);
    if (taken.code == EX_OK) {
        long size = ftell(draft.spool);
        taken.text = calloc(1, (size_t)size + 1);
        assert_non_null(taken.text);
        rewind(draft.spool);
        assert_int_equal(fread(taken.text, 1, (size_t)size, draft.spool), size);
        assert_int_equal(submission_facts(draft.submission)->size_octets, size);
    }
    taken.reply_code = draft.trouble.code;
    slice_to_cstr(draft.trouble.text, taken.trouble, sizeof taken.trouble);
    draft_drop(&draft);
    assert_null(draft.spool);
    assert_null(draft.submission);
    fclose(from);
    return taken;
}

static struct taken take(const char *in, bool dot_ends)
{
    return take_with(&(struct draft_config){.size_max_octets = 1 << 20, .allow_utf8 = true}, slice_from_cstr(in), dot_ends);
}

static void assert_taken(const char *in, bool dot_ends, const char *out)
{
    struct taken taken = take(in, dot_ends);
    assert_int_equal(taken.code, EX_OK);
    assert_string_equal(taken.text, out);
    free(taken.text);
}

static void lines_end_as_they_like(void **state)
{
    (void)state;
    assert_taken("From: a@b.example\n\nx\n", true, "From: a@b.example\r\n\r\nx\r\n");
    assert_taken("From: a@b.example\r\n\r\nx\r\n", true, "From: a@b.example\r\n\r\nx\r\n");
    assert_taken("From: a@b.example\r\rx\r", true, "From: a@b.example\r\n\r\nx\r\n");
    assert_taken("From: a@b.example\n\nx\r\r\ny\n\r\nz", true, "From: a@b.example\r\n\r\nx\r\n\r\ny\r\n\r\nz\r\n");
    assert_taken("From: a@b.example\n\nx", true, "From: a@b.example\r\n\r\nx\r\n");
    assert_taken("From: a@b.example\n\nx\r", true, "From: a@b.example\r\n\r\nx\r\n");
    assert_taken("From: a@b.example\n", true, "From: a@b.example\r\n\r\n");
}

static void a_lone_dot_ends_where_it_is_to(void **state)
{
    (void)state;
    assert_taken("From: a@b.example\n\nx\n.\ny\n", true, "From: a@b.example\r\n\r\nx\r\n");
    assert_taken("From: a@b.example\n\nx\n.\r\ny\n", true, "From: a@b.example\r\n\r\nx\r\n");
    assert_taken("From: a@b.example\n\nx\n.\ny\n", false, "From: a@b.example\r\n\r\nx\r\n.\r\ny\r\n");
    assert_taken("From: a@b.example\n\n..\n.x\n .\n.", true, "From: a@b.example\r\n\r\n..\r\n.x\r\n .\r\n.\r\n");
}

static void a_message_without_a_header_gets_one(void **state)
{
    struct draft_config config = {.from = SLICE("a@b.example"), .size_max_octets = 1000};
    (void)state;
    struct taken taken = take_with(&config, SLICE("just a line\nand another\n"), true);
    assert_int_equal(taken.code, EX_OK);
    assert_string_equal(taken.text, "From: a@b.example\r\n\r\njust a line\r\nand another\r\n");
    free(taken.text);
}

/* ---- long lines ---- */

static void assert_lines_fit(const char *text)
{
    for (struct slice rest = slice_from_cstr(text), line; rest.len > 0;) {
        slice_cut(rest, '\n', &line, &rest);
        assert_true(line.len <= 999); /* 998 and CR */
    }
}

/* Every length about the limit, of characters of one to four octets: nothing is lost, and no character is cut. */
static void a_long_line_is_broken_between_characters(void **state)
{
    static const char *const characters[] = {"x", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    (void)state;
    for (size_t c = 0; c < 4; c++)
        for (size_t octets = 970; octets < 2040; octets++) {
            char in[4096] = "From: a@b.example\n\n", again[4096] = "";
            size_t head = strlen(in), at = head, width = strlen(characters[c]), n = 0;
            for (size_t pad = octets % width; pad > 0; pad--)
                in[at++] = '.';
            while (at - head < octets)
                for (size_t i = 0; i < width; i++)
                    in[at++] = characters[c][i];
            struct taken taken = take(in, false);
            assert_int_equal(taken.code, EX_OK);
            assert_lines_fit(taken.text);
            const char *body = strstr(taken.text, "\r\n\r\n") + 4;
            for (const char *p = body; *p; p++) {
                if (strncmp(p, "\r\n ", 3) == 0) {
                    assert_int_not_equal((unsigned char)p[3] & 0xc0, 0x80);
                    p += 2;
                } else if (*p != '\r' && *p != '\n') {
                    again[n++] = *p;
                }
            }
            assert_string_equal(again, in + head);
            free(taken.text);
        }
}

static void a_line_without_an_end_costs_no_memory(void **state)
{
    static char in[900 * 1000] = "From: a@b.example\n\n";
    (void)state;
    memset(in + 19, 'x', sizeof in - 20);
    struct taken taken = take(in, false);
    assert_int_equal(taken.code, EX_OK);
    assert_lines_fit(taken.text);
    free(taken.text);
}

static void a_header_line_is_not_broken_but_refused(void **state)
{
    static char in[3000] = "From: a@b.example\nX-Long: ";
    (void)state;
    memset(in + 26, 'x', 2000);
    memcpy(in + 2026, "\n\nbody\n", 8);
    struct taken taken = take(in, false);
    assert_int_equal(taken.code, EX_DATAERR);
    assert_int_equal(taken.reply_code / 100, 5);
    assert_true(strlen(taken.trouble) > 10);
}

/* ---- refusals ---- */

static void what_is_too_large_is_refused(void **state)
{
    static const char in[] = "From: a@b.example\n\n0123456789\n";
    struct draft_config config = {.size_max_octets = 33};
    (void)state;
    struct taken taken = take_with(&config, SLICE("From: a@b.example\n\n0123456789\n"), false);
    assert_int_equal(taken.code, EX_OK);
    assert_int_equal(strlen(taken.text), 33);
    free(taken.text);
    config.size_max_octets = 32;
    taken = take_with(&config, slice_from_cstr(in), false);
    assert_int_equal(taken.code, EX_DATAERR);
    assert_int_equal(taken.reply_code, 552);
    assert_non_null(strstr(taken.trouble, "message_size"));
}

static void a_loop_is_refused(void **state)
{
    char in[8192] = "";
    size_t len = 0;
    (void)state;
    for (int i = 0; i < 60; i++)
        len += (size_t)snprintf(in + len, sizeof in - len, "Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\n");
    snprintf(in + len, sizeof in - len, "From: a@b.example\n\nx\n");
    struct taken taken = take(in, false);
    assert_int_equal(taken.code, EX_DATAERR);
    assert_int_equal(taken.reply_code / 100, 5);
}

static void a_nul_in_the_header_is_refused(void **state)
{
    struct draft_config config = {.size_max_octets = 1000};
    (void)state;
    struct taken taken = take_with(&config, SLICE("From: a@b.example\nX: a\0b\n\nx\n"), false);
    assert_int_equal(taken.code, EX_DATAERR);
}

/* ---- in pieces, as SMTP on standard input brings them ---- */

static void feed_all(struct split *split, void *context)
{
    struct draft draft;
    struct slice piece;
    const char *expected = context;
    char text[200] = "";
    assert_int_equal(draft_begin(&draft, &(struct draft_config){.size_max_octets = 1000}), EX_OK);
    while (split_next(split, &piece))
        assert_int_equal(draft_feed(&draft, piece), EX_OK);
    assert_int_equal(draft_end(&draft), EX_OK);
    rewind(draft.spool);
    assert_true(fread(text, 1, sizeof text - 1, draft.spool) > 0);
    assert_string_equal(text, expected);
    draft_drop(&draft);
}

static void any_pieces_give_the_same(void **state)
{
    (void)state;
    split_replay(SLICE("From: a@b.example\r\nBcc: x@y.example\r\n\r\nx\r\n..\r\n"), feed_all, (void *)(uintptr_t)"From: a@b.example\r\n\r\nx\r\n..\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_end_as_they_like),
        cmocka_unit_test(a_lone_dot_ends_where_it_is_to),
        cmocka_unit_test(a_message_without_a_header_gets_one),
        cmocka_unit_test(a_long_line_is_broken_between_characters),
        cmocka_unit_test(a_line_without_an_end_costs_no_memory),
        cmocka_unit_test(a_header_line_is_not_broken_but_refused),
        cmocka_unit_test(what_is_too_large_is_refused),
        cmocka_unit_test(a_loop_is_refused),
        cmocka_unit_test(a_nul_in_the_header_is_refused),
        cmocka_unit_test(any_pieces_give_the_same),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests_name("draft", tests, NULL, NULL);
}
