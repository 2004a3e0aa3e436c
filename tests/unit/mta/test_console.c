/* The command line's side of a command: exit codes, and listings that cannot drive a terminal. */
#include "mta/console.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

/* Answers in place of a daemon: what a handler would send, line by line. */
struct script {
    const char *lines[4];
    int code;
    char command[32];
    unsigned ncalls;
};

static int play(void *context, const char *command, const json_t *arguments, void (*on_line)(void *, const json_t *), void *line_context)
{
    struct script *script = context;
    (void)arguments;
    script->ncalls++;
    snprintf(script->command, sizeof script->command, "%s", command);
    for (size_t i = 0; i < 4 && script->lines[i]; i++) {
        json_t *line = json_loads(script->lines[i], 0, NULL);
        assert_non_null(line);
        on_line(line_context, line);
        json_decref(line);
    }
    return script->code;
}

static struct console console_of(struct script *script)
{
    return (struct console){.program = "postern-test", .socket = "/nonexistent/control.sock", .local = play, .context = script};
}

static int fetch(struct script *script, json_t **result)
{
    struct console console = console_of(script);
    return console_fetch(&console, "queue show", json_object(), result);
}

/* ---- asking ---- */

static void a_result_is_handed_out(void **state)
{
    struct script script = {.lines = {"{\"progress\": 1}", "{\"result\": {\"id\": \"x\"}}"}};
    json_t *result;
    (void)state;
    assert_int_equal(fetch(&script, &result), EX_OK);
    assert_string_equal(script.command, "queue show");
    assert_string_equal(json_string_value(json_object_get(result, "id")), "x");
    json_decref(result);
}

static void an_error_has_its_exit_code(void **state)
{
    static const struct {
        const char *line;
        int code;
    } table[] = {
        {"{\"error\": \"no such message\", \"exit\": 65}", EX_DATAERR},
        {"{\"error\": \"it says none\"}", EX_SOFTWARE},
        {"{\"error\": \"zero is no failure\", \"exit\": 0}", EX_SOFTWARE},
        {"{\"error\": \"out of range\", \"exit\": 256}", EX_SOFTWARE},
        {"{\"progress\": 1}", EX_SOFTWARE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct script script = {.lines = {table[i].line}};
        json_t *result = json_null();
        assert_int_equal(fetch(&script, &result), table[i].code);
        assert_null(result);
    }
}

static void a_failure_before_the_question_is_passed_on(void **state)
{
    struct script script = {.code = EX_CONFIG};
    json_t *result;
    (void)state;
    assert_int_equal(fetch(&script, &result), EX_CONFIG);
    assert_null(result);
}

static void without_a_daemon_some_commands_cannot_be_done(void **state)
{
    struct console console = {.program = "postern-test", .socket = "/nonexistent/control.sock"};
    json_t *result;
    (void)state;
    assert_int_equal(console_fetch(&console, "status", json_object(), &result), EX_UNAVAILABLE);
}

static void nprints(FILE *out, const json_t *result)
{
    (void)out;
    assert_true(json_is_integer(result));
}

static void a_printer_gets_the_result(void **state)
{
    struct script script = {.lines = {"{\"result\": 3}"}};
    struct console console = console_of(&script);
    (void)state;
    assert_int_equal(console_run(&console, "x", json_object(), nprints), EX_OK);
    assert_int_equal(console_run(&console, "x", json_object(), NULL), EX_OK);
}

/* ---- printing ---- */

typedef void printer(FILE *out, const json_t *json);

static char *printed(printer *print, const char *text)
{
    char *out = NULL;
    size_t size = 0;
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    FILE *stream = open_memstream(&out, &size);
    assert_non_null(json);
    assert_non_null(stream);
    print(stream, json);
    fclose(stream);
    json_decref(json);
    return out;
}

static void print_text(FILE *out, const json_t *json)
{
    console_print_text(out, json_string_value(json));
}

static void assert_text(const char *json, const char *expected)
{
    char *out = printed(print_text, json);
    assert_string_equal(out, expected);
    free(out);
}

static void controls_are_shown_as_what_they_are_not(void **state)
{
    (void)state;
    assert_text("\"plain \xc3\xa4\xe2\x82\xac\"", "plain \xc3\xa4\xe2\x82\xac");
    assert_text("\"\\u001b]0;x\\u0007\"", "?]0;x?");
    assert_text("\"two\\nlines\\r\"", "two lines?");
    assert_text("\"\\u009b31m\\u007f\"", "?31m?");
}

static void sizes_are_short(void **state)
{
    static const struct {
        json_int_t octets;
        const char *text;
    } table[] = {{0, "0 B"}, {999, "999 B"}, {1000, "1.0 KB"}, {3400, "3.4 KB"}, {123456, "123 KB"}, {52428800, "52.4 MB"}, {INT64_C(7000000000000000), "7000 TB"}};
    char out[16];
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        console_format_size(table[i].octets, out, sizeof out);
        assert_string_equal(out, table[i].text);
    }
}

static void progress_is_told_in_the_unit_of_the_whole(void **state)
{
    static const struct {
        json_int_t octets, of;
        const char *text;
    } table[] = {{0, 999, "0 of 999 B"}, {12, 3400, "0.0 of 3.4 KB"}, {12300000, 20000000, "12.3 of 20.0 MB"}, {65536, 123456789, "0 of 123 MB"}, {0, 0, "0 of 0 B"}, {INT64_MAX, INT64_MAX, "9223372 of 9223372 TB"}};
    char out[CONSOLE_PROGRESS];
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        json_t *progress = json_pack("{s:I, s:I}", "octets", table[i].octets, "of", table[i].of);
        console_format_progress(progress, out, sizeof out);
        assert_string_equal(out, table[i].text);
        json_decref(progress);
    }
}

static const char ENTRY[] = "{\"id\": \"0d5r8k3mzq1vt\", \"from\": \"\", \"to\": [{\"address\": \"b\\u001b@x\", \"state\": \"bounced\", \"reply\": \"550 5.1.1 no\\u0007\", \"host\": \"mx\", "
                            "\"at\": \"2026-01-01T00:00:00Z\", \"attempts\": 1}, {\"address\": \"c@x\", \"state\": \"delivered\", \"reply\": null, \"host\": null, \"at\": null}], "
                            "\"size\": 1234, \"state\": \"bounced\", \"since\": \"2026-01-01T00:00:00Z\", \"expires\": null, \"next_attempt\": null, \"reason\": \"550 5.1.1 no\\u0007\"}";

static void an_entry_for_people(void **state)
{
    (void)state;
    char *out = printed(console_print_entry, ENTRY);
    assert_non_null(strstr(out, "from          <>\n"));
    assert_non_null(strstr(out, "to            b?@x  bounced at 2026-01-01T00:00:00Z by mx\n              550 5.1.1 no?\n"));
    assert_non_null(strstr(out, "to            c@x  delivered\n"));
    assert_null(strstr(out, "next attempt"));
    assert_null(strstr(out, "sent"));
    free(out);
}

static const char RELAYED[] = "{\"id\": \"0d5r8k3mzq1vt\", \"to\": [{\"address\": \"b@x\", \"state\": \"relayed\", \"reply\": \"the relay tries again\", \"host\": \"mx\", \"next\": \"2026-01-01T00:00:00Z\", "
                              "\"words\": \"it is asked\"}, {\"address\": \"c@x\", \"state\": \"uncertain\", \"host\": \"relay\", \"attempts\": 1, \"next\": \"2026-01-02T00:00:00Z\"}], \"size\": 1, \"state\": \"uncertain\"}";

static void one_with_the_relay_for_people(void **state)
{
    (void)state;
    char *out = printed(console_print_entry, RELAYED);
    assert_non_null(strstr(out, "to            b@x  relayed\n              the relay tries again\n              said by mx\n              it is asked\n              asked again at 2026-01-01T00:00:00Z\n"));
    assert_non_null(strstr(out, "to            c@x  uncertain, perhaps taken by relay\n              tried again at 2026-01-02T00:00:00Z\n"));
    free(out);
}

/* What was never tried is not tried again. */
static void the_first_attempt_is_told_as_such(void **state)
{
    char entry[512];
    (void)state;
    for (int attempts = 0; attempts < 2; attempts++) {
        snprintf(entry, sizeof entry, "{\"id\": \"i\", \"to\": [{\"address\": \"b@x\", \"state\": \"queued\", \"attempts\": %d, \"next\": \"2026-01-02T00:00:00Z\"}], \"size\": 1, "
                 "\"next_attempt\": \"2026-01-02T00:00:00Z\"}", attempts);
        char *out = printed(console_print_entry, entry);
        assert_non_null(strstr(out, attempts ? "\nnext attempt  2026-01-02T00:00:00Z\n" : "\nfirst attempt 2026-01-02T00:00:00Z\n"));
        assert_non_null(strstr(out, attempts ? "              tried again at 2026-01-02T00:00:00Z\n" : "              to be tried at 2026-01-02T00:00:00Z\n"));
        free(out);
    }
}

static void a_change_is_told_in_a_word(void **state)
{
    (void)state;
    char *out = printed(console_print_done, "{\"id\": \"i\"}");
    assert_string_equal(out, "i: done\n");
    free(out);
    out = printed(console_print_done, "{\"id\": \"i\", \"already\": true}");
    assert_string_equal(out, "i: is held already\n");
    free(out);
}

static const char UNDER_WAY[] = "{\"id\": \"0d5r8k3mzq1vt\", \"to\": [], \"size\": 20000000, \"state\": \"sending\", \"progress\": {\"octets\": 12300000, \"of\": 20000000}}";

static void one_under_way_for_people(void **state)
{
    char list[512];
    (void)state;
    char *out = printed(console_print_entry, UNDER_WAY);
    assert_non_null(strstr(out, "\nsent          12.3 of 20.0 MB\n"));
    free(out);
    snprintf(list, sizeof list, "[%s]", UNDER_WAY);
    out = printed(console_print_queue, list);
    assert_non_null(strstr(out, "\n               12.3 of 20.0 MB sent\n"));
    free(out);
}

static void a_queue_for_people(void **state)
{
    char list[2048], *out;
    (void)state;
    snprintf(list, sizeof list, "[%s]", ENTRY);
    out = printed(console_print_queue, list);
    assert_non_null(strstr(out, "0d5r8k3mzq1vt  bounced     1.2 KB  2026-01-01T00:00:00Z  <> -> b?@x and 1 more\n               550 5.1.1 no?\n"));
    free(out);
    out = printed(console_print_queue, "[]");
    assert_string_equal(out, "The queue is empty.\n");
    free(out);
}

static void a_long_reason_is_cut(void **state)
{
    char list[2048], reason[400], *out;
    (void)state;
    memset(reason, 'w', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    snprintf(list, sizeof list, "[{\"id\": \"i\", \"to\": [], \"size\": 1, \"reason\": \"%s\"}]", reason);
    out = printed(console_print_queue, list);
    assert_non_null(strstr(out, "www...\n"));
    assert_true(strlen(out) < 250);
    free(out);
}

static void a_result_has_one_exit_code(void **state)
{
    static const struct {
        enum result result;
        int code;
    } rows[] = {
        {RESULT_OK, EX_OK},           {RESULT_NOT_FOUND, EX_NOINPUT}, {RESULT_DENIED, EX_NOPERM},    {RESULT_SYNTAX, EX_CONFIG},
        {RESULT_VERSION, EX_DATAERR}, {RESULT_CORRUPT, EX_DATAERR},   {RESULT_BUSY, EX_TEMPFAIL},    {RESULT_EXISTS, EX_UNAVAILABLE},
        {RESULT_IO, EX_IOERR},        {RESULT_FULL, EX_IOERR},        {RESULT_MEMORY, EX_OSERR},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(console_exit_code(rows[i].result), rows[i].code);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_is_handed_out),
        cmocka_unit_test(an_error_has_its_exit_code),
        cmocka_unit_test(a_result_has_one_exit_code),
        cmocka_unit_test(a_failure_before_the_question_is_passed_on),
        cmocka_unit_test(without_a_daemon_some_commands_cannot_be_done),
        cmocka_unit_test(a_printer_gets_the_result),
        cmocka_unit_test(controls_are_shown_as_what_they_are_not),
        cmocka_unit_test(sizes_are_short),
        cmocka_unit_test(an_entry_for_people),
        cmocka_unit_test(one_with_the_relay_for_people),
        cmocka_unit_test(the_first_attempt_is_told_as_such),
        cmocka_unit_test(a_change_is_told_in_a_word),
        cmocka_unit_test(one_under_way_for_people),
        cmocka_unit_test(progress_is_told_in_the_unit_of_the_whole),
        cmocka_unit_test(a_queue_for_people),
        cmocka_unit_test(a_long_reason_is_cut),
    };
    return cmocka_run_group_tests_name("console", tests, NULL, NULL);
}
