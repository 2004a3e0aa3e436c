/* The queue's commands on a real store, called as a command line without a daemon calls them. */
#include "support/store_world.h"

#include "mail/message_id.h"
#include "mta/queue_commands.h"
#include "net/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

/* A time to come, whatever the day. */
#define LATER_MS INT64_C(29378764800000)
#define LATER "2900-12-23T00:00:00Z"

struct scene {
    struct world world;
    struct queue_commands commands;
    json_t *answer;      /* the line: {"result": ...} or {"error": ..., "exit": ...} */
    bool is_answered, was_known;
    unsigned nchanges;
    uint64_t changed;
    enum queue_change change;
    uint64_t live;       /* the message that is shown as sending */
    const char *reason;
    int64_t not_before_ms;
    unsigned nrows, out_at_row; /* memory runs out in that row, from 1 */
};

/* Jansson's memory runs out once, when armed. */
static bool is_memory_out;

static void *allocate(size_t size)
{
    bool is_out = is_memory_out;
    is_memory_out = false;
    return is_out ? NULL : malloc(size);
}

static void on_changed(void *context, uint64_t message, enum queue_change change)
{
    struct scene *s = context;
    assert_false(s->is_answered); /* the queue in memory follows before the person hears of it */
    s->nchanges++;
    s->changed = message;
    s->change = change;
}

static void live(void *context, uint64_t message, struct queue_live *out)
{
    struct scene *s = context;
    assert_null(out->state);
    is_memory_out = ++s->nrows == s->out_at_row;
    if (message == s->live)
        *out = (struct queue_live){.state = "sending", .has_progress = true, .done_octets = 65536, .of_octets = 99999};
    else
        *out = (struct queue_live){.reason = s->reason, .not_before_ms = s->not_before_ms};
}

static void open_scene(struct scene *s)
{
    *s = (struct scene){0};
    world_make(&s->world);
    assert_int_equal(world_open(&s->world), RESULT_OK);
    s->commands = (struct queue_commands){.store = s->world.client, .on_changed = on_changed, .live = live, .context = s};
}

static void close_scene(struct scene *s)
{
    json_decref(s->answer);
    world_end(&s->world);
}

static void on_line(void *context, const json_t *line)
{
    struct scene *s = context;
    assert_false(s->is_answered);
    s->is_answered = true;
    s->answer = json_deep_copy(line);
}

static void handle(void *context, struct control_call *call, const char *command, const json_t *arguments)
{
    struct scene *s = context;
    s->was_known = queue_command(&s->commands, call, command, arguments);
    if (!s->was_known)
        control_error(call, EX_USAGE, "unknown");
}

/* Takes arguments. Gives the result, or NULL: it was an error. */
static const json_t *ask(struct scene *s, const char *command, json_t *arguments)
{
    json_decref(s->answer);
    s->answer = NULL;
    s->is_answered = false;
    control_call_local(handle, s, command, arguments, on_line, s);
    json_decref(arguments);
    world_wait(&s->world, &s->is_answered);
    return json_object_get(s->answer, "result");
}

static json_t *of_id(uint64_t id)
{
    char text[MESSAGE_ID_TEXT];
    message_id_format(id, text);
    return json_pack("{s:s}", "id", text);
}

static void assert_error(const struct scene *s, int exit_code, const char *words)
{
    assert_int_equal(json_integer_value(json_object_get(s->answer, "exit")), exit_code);
    assert_non_null(strstr(json_string_value(json_object_get(s->answer, "error")), words));
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "(null)";
}

static void put(struct scene *s, uint64_t id, size_t nrcpt)
{
    assert_int_equal(world_put(&s->world, id, SLICE("Subject: x\r\n\r\ny\r\n"), nrcpt, 0), RESULT_OK);
}

/* ---- list and show ---- */

static void an_entry_tells_all(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s);
    put(&s, 5, 2);
    const json_t *entry = ask(&s, "queue show", of_id(5)), *to = json_object_get(entry, "to");
    assert_string_equal(text_of(entry, "from"), "alice@example.org");
    assert_string_equal(text_of(entry, "state"), "queued");
    assert_string_equal(text_of(entry, "account"), "alice");
    assert_string_equal(text_of(entry, "since"), "1970-01-01T00:00:00Z");
    assert_string_equal(text_of(entry, "expires"), "1970-01-01T00:00:01Z");
    assert_true(json_is_null(json_object_get(entry, "reason")));
    assert_int_equal(json_integer_value(json_object_get(entry, "size")), 17);
    assert_true(json_is_false(json_object_get(entry, "report")));
    assert_int_equal(json_array_size(to), 2);
    assert_string_equal(text_of(json_array_get(to, 1), "address"), "r1@hop0.example");
    assert_true(json_is_null(json_object_get(json_array_get(to, 1), "reply")));
    close_scene(&s);
}

static void the_reason_is_of_whom_the_state_is(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s);
    put(&s, 5, 3);
    assert_int_equal(world_finish(&s.world, 5, 1, STORE_BOUNCED, "550 no", false), RESULT_OK);
    assert_int_equal(world_finish(&s.world, 5, 0, STORE_DELIVERED, "250 yes", false), RESULT_OK);
    assert_string_equal(text_of(ask(&s, "queue show", of_id(5)), "reason"), "550 no");
    assert_int_equal(world_finish(&s.world, 5, 2, STORE_QUEUED, "451 later", false), RESULT_OK);
    const json_t *entry = ask(&s, "queue show", of_id(5));
    assert_string_equal(text_of(entry, "state"), "deferred");
    assert_string_equal(text_of(entry, "reason"), "451 later");
    assert_int_equal(world_finish(&s.world, 5, 2, STORE_DELIVERED, "250 at last", false), RESULT_OK);
    entry = ask(&s, "queue show", of_id(5));
    assert_string_equal(text_of(entry, "state"), "bounced");
    assert_string_equal(text_of(entry, "reason"), "550 no");
    close_scene(&s);
}

/* What it means, not only what it is called: it may come twice, except where the next hop knows it by name. */
static void uncertain_is_told_in_words(void **state)
{
    (void)state;
    for (int is_once = 0; is_once < 2; is_once++) {
        struct store_recipient r = {.envelope = {.address = SLICE("bob@x")}, .state = STORE_UNCERTAIN, .reply = SLICE("the connection was closed"), .next_attempt_ms = LATER_MS};
        struct store_listing entry = {.recipients = &r, .nrecipients = 1, .state = "uncertain"};
        struct queue_live live = {.is_taken_once = is_once};
        json_t *json = queue_entry_json(&entry, &live);
        const json_t *to = json_array_get(json_object_get(json, "to"), 0);
        assert_non_null(strstr(text_of(to, "words"), is_once ? "takes it once" : "may arrive twice"));
        assert_string_equal(text_of(json, "reason"), text_of(to, "words"));
        assert_string_equal(text_of(to, "reply"), "the connection was closed");
        assert_string_equal(text_of(to, "next"), LATER);
        json_decref(json);
    }
}

/* What queue_entry_json makes of one recipient alone. */
static json_t *entry_of(struct store_recipient r, const struct queue_live *live)
{
    struct store_listing entry = {.recipients = &r, .nrecipients = 1, .state = store_state_name(r.state)};
    r.envelope.address = SLICE("bob@x");
    return queue_entry_json(&entry, live);
}

static const json_t *only(const json_t *entry)
{
    return json_array_get(json_object_get(entry, "to"), 0);
}

static void relayed_tells_whether_the_relay_is_asked(void **state)
{
    static const struct { enum store_state state; bool is_asked; const char *reply, *words; } rows[] = {
        {STORE_RELAYED, true, "250 ok", "is asked"}, {STORE_RELAYED, true, "the relay tries again", "is asked"}, {STORE_RELAYED, false, "250 ok", "not asked"},
        {STORE_RELAYED, false, "it was removed at the relay", NULL}, {STORE_DELIVERED, true, "250 ok", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *json = entry_of((struct store_recipient){.state = rows[i].state, .reply = slice_from_cstr(rows[i].reply), .next_attempt_ms = rows[i].is_asked ? wall_now_ms() + 60000 : 0}, &(struct queue_live){0});
        assert_int_equal(json_is_string(json_object_get(only(json), "next")), rows[i].is_asked && rows[i].state == STORE_RELAYED);
        assert_int_equal(json_is_string(json_object_get(only(json), "words")), rows[i].words != NULL);
        if (rows[i].words)
            assert_non_null(strstr(text_of(only(json), "words"), rows[i].words));
        assert_true(json_is_null(json_object_get(json, "next_attempt"))); /* nothing is tried */
        json_decref(json);
    }
}

/* Nobody was asked since: neither the relay's next try nor our next question is one to come. */
static void a_time_that_has_passed_is_not_told_as_one_to_come(void **state)
{
    static const struct { const char *reply, *shown; } rows[] = {
        {"the relay tries again at 2001-01-01T00:00:00Z: 451 no", "the relay meant to try again at 2001-01-01T00:00:00Z: 451 no"},
        {"perhaps, for the relay tries again at 2001-01-01T00:00:00Z", "perhaps, for the relay meant to try again at 2001-01-01T00:00:00Z"},
        {"the relay tries again at 2901-01-01T00:00:00Z: 451 no", "the relay tries again at 2901-01-01T00:00:00Z: 451 no"},
        {"the relay tries again: 451 no", "the relay tries again: 451 no"},
        {"the relay tries again at ", "the relay tries again at "},
        {"the relay tries again at 2001", "the relay tries again at 2001"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *json = entry_of((struct store_recipient){.state = STORE_RELAYED, .reply = slice_from_cstr(rows[i].reply), .next_attempt_ms = 60000}, &(struct queue_live){0});
        assert_string_equal(text_of(only(json), "reply"), rows[i].shown);
        assert_string_equal(text_of(json, "reason"), rows[i].shown);
        assert_true(json_is_null(json_object_get(only(json), "next")));
        json_decref(json);
    }
    const struct queue_live live = {.ask_at_ms = LATER_MS}; /* the running program knows better */
    json_t *json = entry_of((struct store_recipient){.state = STORE_RELAYED, .reply = SLICE("250 ok"), .next_attempt_ms = 60000}, &live);
    assert_string_equal(text_of(only(json), "next"), LATER);
    json_decref(json);
}

/* The message's next attempt is the first of its recipients', and none is in the past. */
static void the_next_attempt_is_one_to_come(void **state)
{
    static const struct { const char *name; int64_t at_ms, not_before_ms; const char *state, *told; } rows[] = {
        {"due later", LATER_MS, 0, NULL, LATER},           {"due, and nobody runs", 60000, 0, NULL, NULL},
        {"due, and a way is sought", 60000, LATER_MS, NULL, LATER}, {"due later than a way is sought", LATER_MS, 60000, NULL, LATER},
        {"on its way", LATER_MS, 60000, "sending", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct queue_live live = {.not_before_ms = rows[i].not_before_ms, .state = rows[i].state};
        json_t *json = entry_of((struct store_recipient){.state = STORE_QUEUED, .next_attempt_ms = rows[i].at_ms}, &live);
        const char *of_one = json_string_value(json_object_get(only(json), "next")), *of_all = json_string_value(json_object_get(json, "next_attempt"));
        if (!of_one != !rows[i].told || !of_all != !rows[i].told || (of_one && (strcmp(of_one, rows[i].told) != 0 || strcmp(of_all, rows[i].told) != 0)))
            fail_msg("%s: next %s, next_attempt %s", rows[i].name, of_one ? of_one : "null", of_all ? of_all : "null");
        json_decref(json);
    }
}

static void a_held_recipient_has_no_next_attempt(void **state)
{
    (void)state;
    json_t *json = entry_of((struct store_recipient){.state = STORE_HELD, .next_attempt_ms = LATER_MS}, &(struct queue_live){.not_before_ms = LATER_MS});
    assert_true(json_is_null(json_object_get(only(json), "next")));
    assert_true(json_is_null(json_object_get(json, "next_attempt")));
    json_decref(json);
}

/* One that the relay is asked about is less finished than one that has bounced. */
static void what_is_awaited_belongs_to_the_list(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s);
    put(&s, 5, 3);
    const struct store_outcome outcomes[] = {{.seq = 0, .state = STORE_DELIVERED, .reply = SLICE("250 yes")}, {.seq = 1, .state = STORE_RELAYED, .next_attempt_ms = 5, .reply = SLICE("the relay waits")},
                                             {.seq = 2, .state = STORE_BOUNCED, .reply = SLICE("550 no")}};
    struct world_done d = {0};
    store_attempt_finish(s.world.client, 5, outcomes, 3, 555, NULL, true, world_on_done, &d);
    assert_int_equal(world_wait_done(&s.world, &d), RESULT_OK);
    assert_int_equal(json_array_size(ask(&s, "queue list", json_object())), 0);
    s.commands.shows_awaited = true;
    const json_t *list = ask(&s, "queue list", json_object());
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(text_of(json_array_get(list, 0), "state"), "relayed");
    assert_string_equal(text_of(json_array_get(list, 0), "reason"), "the relay waits");
    close_scene(&s);
}

static void octets_that_are_no_utf8_are_shown_all_the_same(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s);
    put(&s, 5, 1);
    assert_int_equal(world_finish(&s.world, 5, 0, STORE_BOUNCED, "550 caf\xe9", false), RESULT_OK);
    assert_string_equal(text_of(ask(&s, "queue show", of_id(5)), "reason"), "550 caf\xc3\xa9");
    close_scene(&s);
}

static void what_the_program_knows_stands_above_the_disk(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s);
    put(&s, 5, 1);
    put(&s, 6, 1);
    s.live = 6;
    assert_int_equal(world_finish(&s.world, 6, 0, STORE_QUEUED, "connection reset by peer", false), RESULT_OK);
    const json_t *list = ask(&s, "queue list", json_object());
    assert_true(json_is_null(json_object_get(json_array_get(list, 1), "reason"))); /* it is on its way: what was wrong the last time has passed */
    assert_string_equal(text_of(json_array_get(list, 0), "state"), "queued");
    assert_string_equal(text_of(json_array_get(list, 1), "state"), "sending");
    assert_true(json_is_null(json_object_get(json_array_get(list, 0), "progress")));
    const json_t *progress = json_object_get(json_array_get(list, 1), "progress");
    assert_int_equal(json_integer_value(json_object_get(progress, "octets")), 65536);
    assert_int_equal(json_integer_value(json_object_get(progress, "of")), 99999);
    close_scene(&s);
}

static void why_nothing_goes_is_said_where_no_next_hop_has_spoken(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s);
    s.reason = "no way is open";
    s.not_before_ms = 4000;
    put(&s, 5, 1);
    put(&s, 6, 1);
    put(&s, 7, 1);
    assert_int_equal(world_finish(&s.world, 6, 0, STORE_QUEUED, "451 later", false), RESULT_OK);
    assert_int_equal(world_finish(&s.world, 7, 0, STORE_BOUNCED, "550 no", false), RESULT_OK);
    const json_t *entry = ask(&s, "queue show", of_id(5));
    assert_string_equal(text_of(entry, "reason"), "no way is open");
    assert_string_equal(text_of(entry, "next_attempt"), "1970-01-01T00:00:04Z");
    assert_string_equal(text_of(ask(&s, "queue show", of_id(6)), "reason"), "451 later");
    entry = ask(&s, "queue show", of_id(7));
    assert_string_equal(text_of(entry, "reason"), "550 no");
    assert_true(json_is_null(json_object_get(entry, "next_attempt")));
    close_scene(&s);
}

static void a_list_comes_in_pages(void **state)
{
    enum { N = QUEUE_LIST_PAGE + 30 };
    struct scene s;
    char last[MESSAGE_ID_TEXT];
    (void)state;
    open_scene(&s);
    for (uint64_t id = 1; id <= N; id++)
        put(&s, id, 1);
    for (uint64_t id = 1; id <= 10; id++)
        assert_int_equal(world_finish(&s.world, id, 0, STORE_DELIVERED, "250 ok", false), RESULT_OK);
    const json_t *page = ask(&s, "queue list", json_pack("{s:b}", "all", true));
    assert_int_equal(json_array_size(page), QUEUE_LIST_PAGE);
    snprintf(last, sizeof last, "%s", text_of(json_array_get(page, QUEUE_LIST_PAGE - 1), "id"));
    assert_int_equal(json_array_size(ask(&s, "queue list", json_pack("{s:b, s:s}", "all", true, "after", last))), N - QUEUE_LIST_PAGE);
    assert_int_equal(json_array_size(ask(&s, "queue list", json_pack("{s:s}", "after", last))), N - QUEUE_LIST_PAGE);
    assert_int_equal(json_array_size(ask(&s, "queue list", json_pack("{s:i}", "limit", 7))), 7);
    assert_int_equal(json_array_size(ask(&s, "queue list", json_pack("{s:i}", "limit", 1000000))), QUEUE_LIST_PAGE);
    assert_int_equal(json_array_size(ask(&s, "queue list", json_pack("{s:i}", "limit", -3))), QUEUE_LIST_PAGE);
    assert_null(ask(&s, "queue list", json_pack("{s:s}", "after", "no id")));
    assert_error(&s, EX_USAGE, "no message id");
    close_scene(&s);
}

/* ---- changes ---- */

static void hold_release_remove(void **state)
{
    static const struct {
        const char *command;
        enum queue_change change;
        const char *state;
    } steps[] = {
        {"queue hold", QUEUE_CHANGE_HELD, "held"},         {"queue release", QUEUE_CHANGE_RELEASED, "queued"}, {"queue retry", QUEUE_CHANGE_RELEASED, "queued"},
        {"queue remove", QUEUE_CHANGE_REMOVED, "none"},
    };
    struct scene s;
    (void)state;
    open_scene(&s);
    put(&s, 5, 1);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        assert_non_null(ask(&s, steps[i].command, of_id(5)));
        assert_int_equal(s.nchanges, i + 1);
        assert_int_equal(s.changed, 5);
        assert_int_equal(s.change, steps[i].change);
        assert_string_equal(world_state(&s.world, 5), steps[i].state);
    }
    close_scene(&s);
}

static void what_is_not_there_cannot_be_changed(void **state)
{
    static const char *const commands[] = {"queue show", "queue hold", "queue release", "queue retry", "queue remove"};
    struct scene s;
    (void)state;
    open_scene(&s);
    put(&s, 5, 1);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        assert_null(ask(&s, commands[i], of_id(6)));
        assert_error(&s, EX_DATAERR, "no message 0000000000006; see: queue list");
        assert_null(ask(&s, commands[i], json_object()));
        assert_error(&s, EX_USAGE, "no message id");
        assert_null(ask(&s, commands[i], json_pack("{s:i}", "id", 5)));
        assert_error(&s, EX_USAGE, "no message id");
    }
    assert_int_equal(s.nchanges, 0);
    assert_string_equal(world_state(&s.world, 5), "queued");
    close_scene(&s);
}

/* It is as he wants it: no error; and nothing has changed. */
static void what_is_held_already_is_told_as_such(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s);
    put(&s, 5, 2);
    assert_int_equal(world_finish(&s.world, 5, 0, STORE_DELIVERED, "250 ok", false), RESULT_OK);
    assert_null(json_object_get(ask(&s, "queue hold", of_id(5)), "already"));
    assert_true(json_is_true(json_object_get(ask(&s, "queue hold", of_id(5)), "already")));
    assert_int_equal(s.nchanges, 1);
    assert_string_equal(world_state(&s.world, 5), "held");
    assert_null(json_object_get(ask(&s, "queue release", of_id(5)), "already"));
    assert_int_equal(s.nchanges, 2);
    close_scene(&s);
}

static void a_finished_message_is_not_held(void **state)
{
    static const char *const commands[] = {"queue hold", "queue release", "queue retry"};
    struct scene s;
    (void)state;
    open_scene(&s);
    put(&s, 5, 1);
    assert_int_equal(world_finish(&s.world, 5, 0, STORE_DELIVERED, "250 ok", false), RESULT_OK);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        assert_null(ask(&s, commands[i], of_id(5)));
        assert_error(&s, EX_DATAERR, "nothing of message 0000000000005 waits any more; see: queue show 0000000000005");
    }
    assert_int_equal(s.nchanges, 0);
    close_scene(&s);
}

/* Groups of rows that come behind the failure find the work still there; asan sees to it. */
static void memory_that_runs_out_in_any_group_is_one_error(void **state)
{
    static const unsigned rows[] = {1, 50, 51, 120};
    struct scene s;
    (void)state;
    open_scene(&s);
    for (uint64_t id = 1; id <= 120; id++)
        put(&s, id, 1);
    json_set_alloc_funcs(allocate, free);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        s.nrows = 0;
        s.out_at_row = rows[i];
        assert_null(ask(&s, "queue list", json_object()));
        assert_int_equal(json_integer_value(json_object_get(s.answer, "exit")), EX_TEMPFAIL);
        assert_int_equal(s.nrows, rows[i]);
    }
    s.out_at_row = 0;
    assert_int_equal(json_array_size(ask(&s, "queue list", json_object())), 120);
    json_set_alloc_funcs(malloc, free);
    close_scene(&s);
}

static void other_commands_are_left_alone(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s);
    assert_null(ask(&s, "status", json_object()));
    assert_false(s.was_known);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_tells_all),
        cmocka_unit_test(the_reason_is_of_whom_the_state_is),
        cmocka_unit_test(uncertain_is_told_in_words),
        cmocka_unit_test(relayed_tells_whether_the_relay_is_asked),
        cmocka_unit_test(a_time_that_has_passed_is_not_told_as_one_to_come),
        cmocka_unit_test(the_next_attempt_is_one_to_come),
        cmocka_unit_test(a_held_recipient_has_no_next_attempt),
        cmocka_unit_test(what_is_awaited_belongs_to_the_list),
        cmocka_unit_test(octets_that_are_no_utf8_are_shown_all_the_same),
        cmocka_unit_test(what_the_program_knows_stands_above_the_disk),
        cmocka_unit_test(why_nothing_goes_is_said_where_no_next_hop_has_spoken),
        cmocka_unit_test(a_list_comes_in_pages),
        cmocka_unit_test(hold_release_remove),
        cmocka_unit_test(what_is_not_there_cannot_be_changed),
        cmocka_unit_test(what_is_held_already_is_told_as_such),
        cmocka_unit_test(a_finished_message_is_not_held),
        cmocka_unit_test(memory_that_runs_out_in_any_group_is_one_error),
        cmocka_unit_test(other_commands_are_left_alone),
    };
    return cmocka_run_group_tests_name("queue commands", tests, NULL, NULL);
}
