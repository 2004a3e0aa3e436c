/* The support of other tests is tested like anything else: a guard that does not bite proves nothing. */
#include "support/guard.h"
#include "support/split.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum touch { TOUCH_LAST, TOUCH_PAST_END, TOUCH_WRITE, TOUCH_AFTER_FREE };

/* Does touching s this way kill the process? Tried in a child, which has no handler of cmocka's or a sanitizer's. */
static bool touch_is_deadly(struct slice s, enum touch how)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        volatile char *at = (volatile char *)(uintptr_t)(s.ptr + s.len - (how == TOUCH_PAST_END ? 0 : 1));
        if (how == TOUCH_WRITE)
            *at = 'x';
        else if (how == TOUCH_AFTER_FREE)
            guard_free(&s);
        (void)*at;
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status);
}

static void test_guard_bites(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 4095, 4096, 4097, 10000};
    static char octets[10000];
    memset(octets, 'q', sizeof octets);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct slice copy = guard_dup(slice_of(octets, lengths[i]));
        assert_true(slice_equal(copy, slice_of(octets, lengths[i])));
        assert_false(touch_is_deadly(copy, TOUCH_LAST));
        assert_true(touch_is_deadly(copy, TOUCH_PAST_END));
        assert_true(touch_is_deadly(copy, TOUCH_WRITE));
        assert_true(touch_is_deadly(copy, TOUCH_AFTER_FREE));
        guard_free(&copy);
        assert_null(copy.ptr);
    }
}

static void test_guard_of_nothing(void **state)
{
    (void)state;
    struct slice copy = guard_dup((struct slice){0});
    assert_int_equal(copy.len, 0);
    assert_non_null(copy.ptr);
    assert_true(touch_is_deadly(copy, TOUCH_PAST_END));
    guard_free(&copy);
    guard_free(&copy);
}

struct seen {
    unsigned pieces;
    const char *expected;
    char how[600];
    size_t how_len;
};

static void replay(struct split *split, void *context)
{
    struct seen *seen = context;
    char joined[100] = "";
    size_t len = 0;
    struct slice piece;
    while (split_next(split, &piece)) {
        memcpy(joined + len, piece.ptr, piece.len);
        len += piece.len;
        seen->pieces++;
    }
    assert_string_equal(joined, seen->expected);
    seen->how_len += (size_t)snprintf(seen->how + seen->how_len, sizeof seen->how - seen->how_len, "%s;",
                                      split_how(split));
}

static void test_split_every_way(void **state)
{
    (void)state;
    static const struct {
        const char *input, *how;
        unsigned pieces;
    } rows[] = {
        {"", "whole;", 1},
        {"a", "whole;", 1},
        {"ab", "whole;cut at 1;", 3},
        {"abc", "whole;octet by octet;cut at 1;cut at 2;", 1 + 3 + 2 * 2},
        {"abcdefgh",
         "whole;octet by octet;cut at 1;cut at 2;cut at 3;cut at 4;cut at 5;cut at 6;cut at 7;", 1 + 8 + 2 * 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct seen seen = {.expected = rows[i].input};
        split_replay(slice_from_cstr(rows[i].input), replay, &seen);
        assert_string_equal(seen.how, rows[i].how);
        assert_int_equal(seen.pieces, rows[i].pieces);
    }
}

static void replay_leaving_early(struct split *split, void *context)
{
    struct slice piece;
    assert_true(split_next(split, &piece));
    *(struct slice *)context = piece;
}

static void test_split_pieces_go_away(void **state)
{
    (void)state;
    struct slice kept = {0};
    split_replay(SLICE("a"), replay_leaving_early, &kept);
    assert_true(touch_is_deadly(kept, TOUCH_LAST));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guard_bites),
        cmocka_unit_test(test_guard_of_nothing),
        cmocka_unit_test(test_split_every_way),
        cmocka_unit_test(test_split_pieces_go_away),
    };
    return cmocka_run_group_tests_name("support", tests, NULL, NULL);
}
