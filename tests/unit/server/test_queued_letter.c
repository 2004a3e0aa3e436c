/* server/queued_letter.h: each hop once, however many recipients go there, in memory of its own. */
#include "queued_letter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void assert_hops(const struct slice *hops, size_t n, const char *expected)
{
    char text[200] = "";
    size_t len = 0;
    struct queued_letter *letter = queued_letter_new(7, hops, n, 5000);
    assert_non_null(letter);
    assert_true(letter->message == 7 && letter->due_at_ms == 5000);
    for (size_t i = 0; i < letter->nhops; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%.*s;", SLICE_ARG(letter->hops[i]));
    assert_string_equal(text, expected);
    queued_letter_free(&letter);
    assert_null(letter);
}

static void each_hop_is_named_once(void **state)
{
    const struct slice many[] = {SLICE("b"), SLICE("a"), SLICE("b"), SLICE("ab"), SLICE("a"), SLICE("b"), {0}, SLICE("ab"), {0}};
    (void)state;
    assert_hops(many, 9, ";a;ab;b;");
    assert_hops(many, 2, "a;b;");
    assert_hops(many, 1, "b;");
    assert_hops(many + 6, 1, ";");
    assert_hops(NULL, 0, "");
}

static void the_hops_are_its_own(void **state)
{
    char text[] = "one";
    const struct slice hop = slice_from_cstr(text);
    (void)state;
    struct queued_letter *letter = queued_letter_new(7, &hop, 1, 0);
    assert_non_null(letter);
    memset(text, 'x', 3);
    assert_true(slice_equal(letter->hops[0], SLICE("one")));
    queued_letter_free(&letter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_hop_is_named_once),
        cmocka_unit_test(the_hops_are_its_own),
    };
    return cmocka_run_group_tests_name("queued letter", tests, NULL, NULL);
}
