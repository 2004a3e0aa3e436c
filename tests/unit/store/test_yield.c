/* Where there is no room, halves give way: to whole mail all of them, to one another by their age. */
#include "store/engine.h"
#include "support/store_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum {
    SIZE = 150000, /* octets of a half */
    MOST = 20,     /* more than fit */
    NOW = 1000000, /* of the relay's running time */
};

static struct store_naming naming_of(uint64_t id, int64_t served_ms)
{
    static char transid[100][8];
    snprintf(transid[id], sizeof transid[id], "t%d", (int)id);
    struct store_claim claim = names_plain(transid[id]);
    claim.served_ms = served_ms;
    return names_naming(claim, 0);
}

static bool is_half(struct world *w, uint64_t id)
{
    char sql[80];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM checkpoint WHERE message = %d", (int)id);
    return world_number(w, sql) == 1;
}

/* Halves 1 to n, each begun after the one before it, until there is no room for more; n. The last of them may be short. */
static uint64_t fill(struct world *w, int64_t served_ms)
{
    uint64_t n = 0;
    while (n < MOST && !names_is_full(w)) {
        n++;
        names_leave_half(w, n, naming_of(n, served_ms + (int64_t)n), SIZE, true);
    }
    assert_in_range(n, 6, MOST - 1);
    return n;
}

static void whole_mail_finds_room(void **state)
{
    struct world *w = *state;
    names_open_small(w);
    uint64_t n = fill(w, NOW);
    assert_int_equal(world_put(w, 50, SLICE("x"), 1, 0), RESULT_OK);
    assert_false(is_half(w, n)); /* begun last */
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), n - 1);
    assert_string_equal(world_state(w, 50), "queued");
    /* One of many chunks drives many out, and is refused only where the queue itself has no room for it. */
    static char octets[1300000];
    assert_int_equal(world_put(w, 51, slice_of(octets, sizeof octets), 1, 0), RESULT_OK);
    assert_true(world_number(w, "SELECT count(*) FROM checkpoint") < (int64_t)n - 3);
    assert_int_equal(world_put(w, 52, slice_of(octets, sizeof octets), 1, 0), RESULT_FULL);
    assert_int_equal(world_put(w, 53, SLICE("x"), 1, 0), RESULT_OK);
}

static void those_that_nobody_goes_on_with_go_first(void **state)
{
    struct world *w = *state;
    names_open_small(w);
    uint64_t n = fill(w, NOW);
    world_meddle(w, "UPDATE checkpoint SET touched_at = CASE message WHEN 2 THEN 2000 WHEN 4 THEN 1000 ELSE touched_at END");
    assert_int_equal(world_put(w, 50, SLICE("x"), 1, 0), RESULT_OK);
    assert_false(is_half(w, 4));
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), n - 1);
    while (!names_is_full(w)) {
        names_leave_half(w, n + 1, naming_of(n + 1, NOW + 500), SIZE, true);
        n++;
    }
    /* One that has not begun yet is younger than all: it may drop that one alone. */
    names_leave_half(w, 60, naming_of(60, NOW + 900), 100, true);
    assert_true(is_half(w, 60));
    assert_false(is_half(w, 2));
    assert_true(is_half(w, 1) && is_half(w, 3) && is_half(w, n));
}

/* Grows by some chunks; false: was refused. */
static bool grow(struct world *w, uint64_t id)
{
    struct store_intake *intake = names_go_on(w, naming_of(id, 0).claim.transid.ptr);
    enum result result = RESULT_OK;
    for (int i = 0; i < 3 && (result == RESULT_OK || result == RESULT_BUSY); i++) {
        result = store_intake_append(intake, slice_of(names_octets(), NAMES_BODY));
        names_settle(w);
    }
    bool is_taken = result == RESULT_OK || result == RESULT_BUSY;
    if (!is_taken)
        assert_int_equal(result, RESULT_FULL);
    store_intake_suspend(&intake);
    names_settle(w);
    return is_taken;
}

/* Of several on their way that don't fit beside each other the first comes to its end; the last is refused, and kept while nobody needs its room. */
static void the_one_begun_first_goes_on(void **state)
{
    struct world *w = *state;
    names_open_small(w);
    uint64_t n = fill(w, NOW);
    assert_false(grow(w, n));
    assert_true(is_half(w, n));
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), n);
    assert_true(grow(w, 1));
    assert_true(is_half(w, 1));
    assert_false(is_half(w, n));
    while (grow(w, 1)) /* until it is alone */
        assert_true(is_half(w, 1));
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), 1);
    assert_true(is_half(w, 1));
    assert_int_equal(world_put(w, 50, SLICE("x"), 1, 0), RESULT_OK);
    assert_false(is_half(w, 1));
}

static void none_goes_in_vain(void **state)
{
    struct world *w = *state;
    names_open_small(w);
    names_leave_half(w, 1, naming_of(1, NOW), 20000, true);
    static char octets[100000];
    for (uint64_t id = 50; !names_is_full(w); id++)
        assert_int_equal(world_put(w, id, slice_of(octets, sizeof octets), 1, 0), RESULT_OK);
    w->config.max_octets = NAMES_SMALL / 2;
    world_close(w);
    assert_int_equal(world_open(w), RESULT_OK);
    assert_int_equal(world_put(w, 90, SLICE("x"), 1, 0), RESULT_FULL);
    assert_true(is_half(w, 1));
}

static void on_line(void *context, enum log_level level, struct slice line)
{
    (void)level;
    for (; line.len > 0; line = slice_skip(line, 1))
        *(int *)context += slice_starts_with(line, SLICE("there was no room for other mail")); /* writer's thread, which is at rest when it is read */
}

static void it_is_told_once(void **state)
{
    struct world *w = *state;
    int nlines = 0;
    w->log = (struct log){.level = LOG_INFO, .sink = on_line, .context = &nlines};
    names_open_small(w);
    uint64_t n = fill(w, NOW);
    assert_int_equal(nlines, 0);
    assert_int_equal(world_put(w, 50, SLICE("x"), 1, 0), RESULT_OK);
    assert_int_equal(world_put(w, 51, SLICE("x"), 1, 0), RESULT_OK);
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), n - 1);
    assert_int_equal(nlines, 1);
    world_close(w); /* before `nlines` goes */
    w->log = (struct log){0};
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_mail_finds_room, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(those_that_nobody_goes_on_with_go_first, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(the_one_begun_first_goes_on, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(none_goes_in_vain, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(it_is_told_once, world_setup_closed, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
