/* Mail of another wall clock, at a start: what the store says of the last run decides, and what it can't say is not guessed. */
#include "mta/wall.h"

#include "net/stream.h"
#include "support/store_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DAY_MS INT64_C(86400000)
#define ALIVE "SELECT CAST(CAST(value AS TEXT) AS INTEGER) FROM setting WHERE name = 'alive-ms'"
#define RECEIVED "SELECT received_at FROM message"

static void put_alive(struct world *w, struct slice value)
{
    struct world_done d = {0};
    store_setting_put(w->client, SLICE("alive-ms"), value, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
}

static void put_alive_at(struct world *w, int64_t at_ms)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%" PRId64, at_ms);
    put_alive(w, slice_of(text, (size_t)len));
}

/* Received so long ago that it was mended, had nobody been there since. */
static int64_t put_old(struct world *w)
{
    int64_t at_ms = wall_now_ms() - 3 * DAY_MS;
    struct world_done d = {0};
    struct envelope_recipient to = {.address = SLICE("a@example.org")};
    struct store_message message = {.envelope = {.recipients = &to, .nrcpt = 1}, .received_at_ms = at_ms, .expires_at_ms = at_ms + 5 * DAY_MS};
    struct store_intake *intake = store_intake_new(w->client, 1, NULL, NULL);
    assert_int_equal(store_intake_append(intake, SLICE("x")), RESULT_OK);
    store_intake_commit(&intake, &message, NULL, at_ms, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    return at_ms;
}

static void on_line(void *context, enum log_level level, struct slice line)
{
    (void)level;
    struct slice *last = context;
    static char kept[256];
    size_t len = line.len < sizeof kept ? line.len : sizeof kept;
    memcpy(kept, line.ptr, len);
    *last = slice_of(kept, len);
}

/* *last: the last line of the log; valid until the next call. */
static struct wall start_telling(struct world *w, struct slice *last)
{
    struct wall wall;
    struct world_done d = {0};
    struct log log = {.level = LOG_INFO, .sink = on_line, .context = last};
    *last = (struct slice){0};
    wall_open(&wall, &w->loop, w->client, false, &log);
    wall.log = NULL;
    store_setting_put(w->client, SLICE("x"), SLICE("x"), world_on_done, &d); /* behind what wall_open writes */
    (void)world_wait_done(w, &d);
    return wall;
}

/* Nothing is told. */
static struct wall start(struct world *w)
{
    struct slice last;
    struct wall wall = start_telling(w, &last);
    assert_int_equal(last.len, 0);
    return wall;
}

static bool tells(struct slice line, const char *event)
{
    return line.len > 0 && memmem(line.ptr, line.len, event, strlen(event));
}

static void time_in_which_the_program_ran_is_used_up(void **state)
{
    struct world *w = *state;
    int64_t at_ms = put_old(w), begun_ms = wall_now_ms();
    put_alive_at(w, begun_ms - 1000);
    assert_true(start(w).is_mended);
    assert_int_equal(world_number(w, RECEIVED), at_ms);
    assert_true(world_number(w, ALIVE) >= begun_ms);
}

static void before_the_first_run_nobody_was_there(void **state)
{
    struct world *w = *state;
    int64_t at_ms = put_old(w), begun_ms = wall_now_ms();
    assert_true(start(w).is_mended);
    assert_true(world_number(w, RECEIVED) > at_ms + DAY_MS);
    assert_true(world_number(w, ALIVE) >= begun_ms);
}

/* That the disk says nothing now is not that nobody was there: the mail keeps its times, and the next start finds what this one could not read. */
static void what_can_not_be_read_mends_nothing(void **state)
{
    struct world *w = *state;
    int64_t at_ms = put_old(w), alive_ms = wall_now_ms() - 1000;
    struct slice last;
    put_alive_at(w, alive_ms);
    world_meddle(w, "ALTER TABLE setting RENAME TO elsewhere");
    assert_false(start_telling(w, &last).is_mended);
    assert_true(tells(last, "times-not-mended"));
    world_meddle(w, "ALTER TABLE elsewhere RENAME TO setting");
    assert_int_equal(world_number(w, RECEIVED), at_ms);
    assert_int_equal(world_number(w, ALIVE), alive_ms);
    assert_true(start(w).is_mended);
    assert_int_equal(world_number(w, RECEIVED), at_ms);
}

/* It would be none at the next start either. */
static void what_is_no_number_is_replaced(void **state)
{
    struct world *w = *state;
    int64_t at_ms = put_old(w), begun_ms = wall_now_ms();
    struct slice last;
    put_alive(w, SLICE("yesterday"));
    assert_true(start_telling(w, &last).is_mended);
    assert_true(tells(last, "alive-time-no-number"));
    assert_true(world_number(w, RECEIVED) > at_ms + DAY_MS);
    assert_true(world_number(w, ALIVE) >= begun_ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(time_in_which_the_program_ran_is_used_up, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(before_the_first_run_nobody_was_there, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_can_not_be_read_mends_nothing, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_is_no_number_is_replaced, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
