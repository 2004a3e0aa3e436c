/* The allocation-failure loop itself: it must reach every allocation, in both ways, and stop. */
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ALLOCATIONS = 4 };

/* For each run, a letter for each allocation: '.' succeeded, 'x' refused. */
struct trace {
    char text[200];
};

static void trace_add(struct trace *trace, char letter)
{
    size_t len = strlen(trace->text);
    assert_true(len + 1 < sizeof trace->text);
    trace->text[len] = letter;
    trace->text[len + 1] = '\0';
}

/* The volatile parameter keeps the compiler from dropping an allocation whose memory nobody uses. */
static void note(struct trace *trace, void *volatile allocated)
{
    trace_add(trace, allocated != NULL ? '.' : 'x');
}

static void scenario(void *context)
{
    struct trace *trace = context;
    char *a = malloc(10);
    note(trace, a);
    char *b = calloc(2, 10);
    note(trace, b);
    oom_suspend();
    char *free_of_charge = malloc(10);
    oom_resume();
    assert_non_null(free_of_charge);
    char *c = strdup("text");
    note(trace, c);
    char *d = realloc(NULL, 20);
    note(trace, d);
    assert_int_equal(oom_has_failed(), a == NULL || b == NULL || c == NULL || d == NULL);
    trace_add(trace, ' ');
    free(a);
    free(b);
    free(c);
    free(d);
    free(free_of_charge);
}

static void test_each_allocation_fails_in_turn(void **state)
{
    (void)state;
    struct trace trace = {0};
    assert_int_equal(oom_loop(100, scenario, &trace), ALLOCATIONS);
    assert_string_equal(trace.text, "x... xxxx .x.. .xxx ..x. ..xx ...x ...x .... .... ");
    assert_false(oom_has_failed());
}

static void test_without_the_loop_nothing_fails(void **state)
{
    (void)state;
    struct trace trace = {0};
    scenario(&trace);
    assert_string_equal(trace.text, ".... ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation_fails_in_turn),
        cmocka_unit_test(test_without_the_loop_nothing_fails),
    };
    return cmocka_run_group_tests_name("oom", tests, NULL, NULL);
}
