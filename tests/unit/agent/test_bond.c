/* Whose our copies are, when the settings change while that is being read, given up or written; and what the disk can't tell now: bond.h, restoring.h. */
#include "bond.h"
#include "restoring.h"

#include "schema.h"

#include "net/stream.h"
#include "support/store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { FIRST = 7 };
static const char BODY[] = "From: anna@example.org\r\nSubject: x\r\n\r\nwords\r\n";

struct scene {
    struct world world;
    struct bond bond;
    struct custody custody;
    struct restoring restoring;
    struct settings *settings;
    unsigned ntold, nclosed;
    bool has_ended, has_failed, is_seen;
    int64_t next_ms;
    char setting[200];
};

static void on_bound(void *context)
{
    ((struct scene *)context)->ntold++;
}

static void note(void *context, enum log_level level, struct slice line)
{
    struct scene *s = context;
    char text[600];
    (void)level;
    slice_to_cstr(slice_take(line, sizeof text - 1), text, sizeof text);
    s->has_failed = s->has_failed || strstr(text, "relay-not-known") || strstr(text, "awaited-not-read");
}

static void load(struct scene *s, const char *host)
{
    struct dirs dirs = {0};
    struct config_error error;
    char text[200];
    snprintf(text, sizeof text, "[relay]\nhost = %s\nuser = anna\npassword_file = /nowhere\n", host);
    if (s->settings)
        settings_unref(&s->settings);
    if (settings_load_text(&s->settings, &dirs, "agent.conf", slice_from_cstr(text), &error) != RESULT_OK)
        fail_msg("%s", error.text);
}

static void on_setting(void *context, enum result result, struct slice value)
{
    struct scene *s = context;
    assert_int_equal(result, RESULT_OK);
    assert_true(slice_to_cstr(value, s->setting, sizeof s->setting));
    s->is_seen = true;
}

static const char *setting(struct scene *s)
{
    s->is_seen = false;
    store_setting_get(s->world.client, SLICE("custody"), on_setting, s);
    world_wait(&s->world, &s->is_seen);
    return s->setting;
}

static void on_seen(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct scene *s = context;
    assert_int_equal(result, RESULT_OK);
    if (n > 0)
        s->next_ms = rows->recipients[0].next_attempt_ms;
    s->is_seen = is_last;
}

static bool is_awaited(struct scene *s, uint64_t id)
{
    s->is_seen = false;
    store_message_get(s->world.client, id, on_seen, s);
    world_wait(&s->world, &s->is_seen);
    return s->next_ms > 0;
}

static void put_relayed(struct scene *s, uint64_t id)
{
    struct world_done done = {0};
    const struct store_outcome outcome = {.state = STORE_RELAYED, .counts = true, .next_attempt_ms = wall_now_ms() + 60000, .reply = SLICE("250 taken"), .host = SLICE("a way")};
    assert_int_equal(world_put(&s->world, id, slice_from_cstr(BODY), 1, 0), RESULT_OK);
    store_attempt_finish(s->world.client, id, &outcome, 1, wall_now_ms() - 1000, NULL, true, world_on_done, &done);
    assert_int_equal(world_wait_done(&s->world, &done), RESULT_OK);
}

/* A thing of the store's that can't be read for a while, as another process does it. */
static void spoil(struct scene *s, const char *sql)
{
    world_meddle(&s->world, sql);
}

#define UNTIL(s, condition)                                                                                                                                                                            \
    while (!(condition))                                                                                                                                                                               \
    uv_run(&(s)->world.loop, UV_RUN_ONCE)

/* The setting names a.example, which has `n` messages of ours. */
static void open_scene(struct scene *s, unsigned n)
{
    struct world_done done = {0};
    *s = (struct scene){0};
    alarm(30); /* what never comes is waited for no longer */
    world_make(&s->world);
    s->world.config.schema = schema_agent;
    assert_int_equal(world_open(&s->world), RESULT_OK);
    s->world.log = (struct log){.level = LOG_INFO, .sink = note, .context = s};
    store_setting_put(s->world.client, SLICE("custody"), SLICE("1\na.example\nanna\nepoch1\n"), world_on_done, &done);
    assert_int_equal(world_wait_done(&s->world, &done), RESULT_OK);
    for (uint64_t id = FIRST; id < FIRST + n; id++)
        put_relayed(s, id);
}

static void start(struct scene *s, const char *host)
{
    load(s, host);
    s->bond = (struct bond){.loop = &s->world.loop, .store = s->world.client, .log = &s->world.log, .on_bound = on_bound, .context = s};
    assert_true(bond_open(&s->bond, s->settings));
}

static void reload(struct scene *s, const char *host)
{
    load(s, host);
    assert_int_equal(bond_reload(&s->bond, s->settings), RESULT_OK);
}

static void on_bond_closed(uv_handle_t *timer)
{
    ((struct scene *)((struct bond *)timer->data)->context)->nclosed++;
}

static void close_scene(struct scene *s)
{
    bond_stop(&s->bond, on_bond_closed);
    UNTIL(s, s->nclosed == 1 && !bond_is_owed(&s->bond));
    bond_free(&s->bond);
    settings_unref(&s->settings);
    world_end(&s->world);
    alarm(0);
}

/* ---- the settings change ---------------------------------------------------------------------------------------- */

/* A mistyped host, corrected before anything was given up: bound at once, with its epoch. */
static void a_host_that_comes_back_keeps_its_copies(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 3);
    start(&s, "a.example");
    UNTIL(&s, s.ntold == 1);
    assert_true(s.bond.is_bound);
    reload(&s, "b.example");
    assert_false(s.bond.is_bound);
    reload(&s, "a.example");
    assert_true(s.bond.is_bound);
    bond_make(&s.bond); /* does nothing */
    assert_false(bond_is_owed(&s.bond));
    assert_false(bond_note_epoch(&s.bond, SLICE("epoch1")));
    for (uint64_t id = FIRST; id < FIRST + 3; id++)
        assert_true(is_awaited(&s, id));
    assert_string_equal(setting(&s), "1\na.example\nanna\nepoch1\n");
    close_scene(&s);
}

/* The same while its copies are being looked for; and once more away, under the same page. */
static void a_host_that_comes_back_under_the_reading_keeps_its_copies(void **state)
{
    (void)state;
    for (int again = 0; again < 2; again++) {
        struct scene s;
        open_scene(&s, 3);
        start(&s, "a.example");
        UNTIL(&s, s.ntold == 1);
        reload(&s, "b.example");
        bond_make(&s.bond);
        assert_true(bond_is_owed(&s.bond));
        reload(&s, "a.example");
        assert_true(s.bond.is_bound);
        UNTIL(&s, s.ntold == 2);
        for (uint64_t id = FIRST; id < FIRST + 3; id++)
            assert_true(is_awaited(&s, id));
        reload(&s, "b.example");
        bond_make(&s.bond);
        if (again) {
            reload(&s, "a.example");
            UNTIL(&s, s.ntold == 3);
            reload(&s, "b.example");
            bond_make(&s.bond);
        }
        UNTIL(&s, s.bond.is_bound);
        for (uint64_t id = FIRST; id < FIRST + 3; id++)
            assert_false(is_awaited(&s, id));
        assert_string_equal(setting(&s), "1\nb.example\nanna\n\n");
        close_scene(&s);
    }
}

/* Away and back, with half of the page still to come: what comes then is not taken, so the page's end is not that of giving up, whoever is wanted by then. */
static void a_page_that_came_while_bound_counts_for_nothing(void **state)
{
    enum { TWO_GROUPS = BOND_PAGE - 10 };
    struct scene s;
    (void)state;
    open_scene(&s, TWO_GROUPS);
    start(&s, "a.example");
    UNTIL(&s, s.ntold == 1);
    reload(&s, "b.example");
    bond_make(&s.bond);
    UNTIL(&s, s.bond.nrows > 0);
    assert_true(s.bond.nrows < TWO_GROUPS);
    reload(&s, "a.example");
    UNTIL(&s, s.ntold == 2);
    assert_true(s.bond.is_bound && s.bond.has_failed);
    assert_true(s.bond.nrows < TWO_GROUPS && is_awaited(&s, FIRST + TWO_GROUPS - 1));
    reload(&s, "b.example");
    bond_make(&s.bond);
    UNTIL(&s, s.bond.is_bound);
    assert_false(is_awaited(&s, FIRST + TWO_GROUPS - 1));
    close_scene(&s);
}

/* Whom the setting names at last is bound, and no other, whenever the settings changed. */
static void only_whom_the_setting_names_is_bound(void **state)
{
    static const char *const hosts[] = {"c.example", "a.example"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct scene s;
        char expected[100];
        open_scene(&s, 3);
        start(&s, "b.example");
        UNTIL(&s, s.ntold == 1);
        assert_false(s.bond.is_bound);
        bond_make(&s.bond);
        UNTIL(&s, s.bond.is_saving);
        reload(&s, hosts[i]);
        assert_false(s.bond.is_bound);
        UNTIL(&s, s.ntold == 2);
        assert_false(s.bond.is_bound); /* b.example is written down */
        bond_make(&s.bond);
        UNTIL(&s, s.bond.is_bound);
        snprintf(expected, sizeof expected, "1\n%s\nanna\n\n", hosts[i]);
        assert_string_equal(setting(&s), expected);
        close_scene(&s);
    }
}

/* ---- the disk --------------------------------------------------------------------------------------------------- */

static void what_cannot_be_read_now_is_not_another_relays(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 3);
    spoil(&s, "ALTER TABLE setting RENAME TO elsewhere");
    start(&s, "a.example");
    UNTIL(&s, s.has_failed);
    bond_make(&s.bond); /* does nothing */
    assert_int_equal(s.ntold, 0);
    spoil(&s, "ALTER TABLE elsewhere RENAME TO setting");
    UNTIL(&s, s.ntold == 1);
    assert_true(s.bond.is_bound);
    for (uint64_t id = FIRST; id < FIRST + 3; id++)
        assert_true(is_awaited(&s, id));
    close_scene(&s);
}

static void on_end(void *context)
{
    ((struct scene *)context)->has_ended = true;
}

static void on_restoring_closed(uv_handle_t *timer)
{
    ((struct scene *)((struct restoring *)timer->data)->context)->nclosed++;
}

static void open_restoring(struct scene *s, unsigned n)
{
    open_scene(s, n);
    s->restoring = (struct restoring){.store = s->world.client, .log = &s->world.log, .custody = &s->custody, .on_end = on_end, .context = s};
    restoring_open(&s->restoring, &s->world.loop);
}

static void close_restoring(struct scene *s)
{
    restoring_stop(&s->restoring, on_restoring_closed);
    UNTIL(s, s->nclosed == 1 && !restoring_is_owed(&s->restoring));
    custody_free(&s->custody);
    world_end(&s->world);
    alarm(0);
}

/* Behind a page that can't be read nothing is forgotten. */
static void a_page_that_cannot_be_read_now_is_read_later(void **state)
{
    struct scene s;
    (void)state;
    open_restoring(&s, RESTORING_PAGE + 1);
    restoring_begin(&s.restoring);
    UNTIL(&s, s.custody.count == RESTORING_PAGE);
    spoil(&s, "ALTER TABLE recipient RENAME TO elsewhere");
    UNTIL(&s, s.has_failed || s.has_ended);
    if (!s.has_ended) { /* the second page was not read before */
        assert_int_equal(s.custody.count, RESTORING_PAGE);
        assert_false(restoring_is_owed(&s.restoring));
    }
    spoil(&s, "ALTER TABLE elsewhere RENAME TO recipient");
    UNTIL(&s, s.has_ended);
    assert_int_equal(s.custody.count, RESTORING_PAGE + 1);
    close_restoring(&s);
}

static void the_first_page_may_fail_too(void **state)
{
    struct scene s;
    (void)state;
    open_restoring(&s, 3);
    spoil(&s, "ALTER TABLE recipient RENAME TO elsewhere");
    restoring_begin(&s.restoring);
    UNTIL(&s, s.has_failed);
    assert_int_equal(s.custody.count, 0);
    assert_false(s.has_ended);
    spoil(&s, "ALTER TABLE elsewhere RENAME TO recipient");
    UNTIL(&s, s.has_ended);
    assert_int_equal(s.custody.count, 3);
    close_restoring(&s);
}

/* Another relay, and back, while a page is read. */
static void what_is_not_wanted_any_more_stays_out(void **state)
{
    struct scene s;
    (void)state;
    open_restoring(&s, 3);
    restoring_begin(&s.restoring);
    restoring_end(&s.restoring);
    UNTIL(&s, s.has_ended);
    assert_int_equal(s.custody.count, 0);
    restoring_begin(&s.restoring);
    restoring_end(&s.restoring);
    restoring_begin(&s.restoring);
    s.has_ended = false;
    UNTIL(&s, s.has_ended);
    assert_int_equal(s.custody.count, 3);
    close_restoring(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_that_comes_back_keeps_its_copies),
        cmocka_unit_test(a_host_that_comes_back_under_the_reading_keeps_its_copies),
        cmocka_unit_test(a_page_that_came_while_bound_counts_for_nothing),
        cmocka_unit_test(only_whom_the_setting_names_is_bound),
        cmocka_unit_test(what_cannot_be_read_now_is_not_another_relays),
        cmocka_unit_test(a_page_that_cannot_be_read_now_is_read_later),
        cmocka_unit_test(the_first_page_may_fail_too),
        cmocka_unit_test(what_is_not_wanted_any_more_stays_out),
    };
    return cmocka_run_group_tests_name("bond", tests, NULL, NULL);
}
