/* agent.conf: what is refused and how it is told; and that the annotated reference tells the truth about the defaults. */
#include "settings.h"

#include "schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

static const struct dirs dirs = {.config_folder = "/c", .data_folder = "/d", .keys = "/k", .config_file = "/c/agent.conf"};

static enum result load(const char *text, struct settings **out, struct config_error *error)
{
    return settings_load_text(out, &dirs, "agent.conf", slice_from_cstr(text), error);
}

#define RELAY "[relay]\nhost = relay.test\nuser = anna\n"

static void test_the_least_that_works(void **state)
{
    struct settings *settings;
    struct config_error error;
    (void)state;
    assert_int_equal(load(RELAY, &settings, &error), RESULT_OK);
    const struct settings_values *v = &settings->values;
    const struct settings_way *ways = v->way.items;
    assert_int_equal(v->way.count, 4);
    assert_int_equal(ways[0].port, 465);
    assert_int_equal(ways[0].mode, PATH_TLS);
    assert_int_equal(ways[3].port, 25);
    assert_int_equal(ways[3].mode, PATH_STARTTLS);
    assert_int_equal(v->listen.count, 2);
    assert_string_equal(v->password_file.ptr, "/k/relay.password");
    assert_false(v->requires_auth);
    settings_unref(&settings);
    assert_null(settings);
}

struct refusal {
    const char *text;
    const char *told; /* part of the error */
};

static const struct refusal refusals[] = {
    {"[relay]\nuser = anna\n", "host"},
    {RELAY "way = 465\n", "agent.conf:4"},
    {RELAY "way = 465 plain\n", "nothing goes to the relay in the clear"},
    {RELAY "way = 0 tls\n", "1 to 65535"},
    {RELAY "way = 65536 tls\n", "1 to 65535"},
    {RELAY "pin = sha256//short\n", "postern-relay key show"},
    {RELAY "colour = red\n", "agent.conf:4"},
    {RELAY "[locale]\n", "locale"},
    {RELAY "keep_warm = 5\n", "a duration up to 4m"},
    {RELAY "[local]\nrequire_login = yes\n", "needs user and password_file"},
    {RELAY "[local]\nuser = me\n", "password_file"},
    {RELAY "[local]\nlisten = localhost\n", "agent.conf:5"},
    {RELAY "[queue]\nschedule = soon\n", "agent.conf:5"},
    {RELAY "host = twice.test\n", "agent.conf:4"},
};

static void test_refusals_say_where_and_what(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct settings *settings;
        struct config_error error;
        if (load(refusals[i].text, &settings, &error) != RESULT_SYNTAX || settings)
            fail_msg("accepted: %s", refusals[i].text);
        if (!strstr(error.text, refusals[i].told))
            fail_msg("%s\nis told as: %s\nwithout: %s", refusals[i].text, error.text, refusals[i].told);
    }
}

/* The reference with every "#key = value" put in force, but for the lines that have no default. */
static void uncomment(char *out, size_t size)
{
    static const char *const without_default[] = {"#name", "#pin", "#ca_file", "#user", "#password_file"};
    struct slice rest = slice_from_cstr(schema_config_agent), line;
    size_t len = 0;
    while (rest.len > 0) {
        slice_cut(rest, '\n', &line, &rest);
        bool is_setting = line.len > 1 && line.ptr[0] == '#' && line.ptr[1] >= 'a' && line.ptr[1] <= 'z' && slice_find(line, '=') > 0;
        for (size_t i = 0; i < sizeof without_default / sizeof *without_default; i++)
            if (slice_starts_with(line, slice_from_cstr(without_default[i])))
                is_setting = false;
        if (is_setting)
            line = slice_skip(line, 1);
        len += (size_t)snprintf(out + len, size - len, "%.*s\n", SLICE_ARG(line));
    }
}

static void test_the_reference_tells_the_defaults(void **state)
{
    static char text[16384];
    struct settings *plain, *told;
    struct config_error error;
    (void)state;
    uncomment(text, sizeof text);
    assert_int_equal(load(text, &told, &error), RESULT_OK);
    assert_int_equal(load(schema_config_agent, &plain, &error), RESULT_OK);
    const struct settings_values *a = &plain->values, *b = &told->values;
    assert_int_equal(a->keep_warm, b->keep_warm);
    assert_int_equal(a->way.count, b->way.count);
    assert_memory_equal(a->way.items, b->way.items, a->way.count * sizeof(struct settings_way));
    assert_int_equal(a->listen.count, b->listen.count);
    assert_memory_equal(a->listen.items, b->listen.items, a->listen.count * sizeof(struct net_address));
    assert_int_equal(a->message_size, b->message_size);
    assert_int_equal(a->recipients, b->recipients);
    assert_int_equal(a->sessions, b->sessions);
    assert_memory_equal(&a->schedule, &b->schedule, sizeof a->schedule);
    assert_memory_equal(&a->patience, &b->patience, sizeof a->patience);
    assert_int_equal(a->lifetime, b->lifetime);
    assert_int_equal(a->delay_notice, b->delay_notice);
    assert_int_equal(a->history, b->history);
    assert_int_equal(a->database_size, b->database_size);
    assert_int_equal(a->requires_auth, b->requires_auth);
    assert_int_equal(a->log_level, b->log_level);
    settings_unref(&plain);
    settings_unref(&told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_least_that_works),
        cmocka_unit_test(test_refusals_say_where_and_what),
        cmocka_unit_test(test_the_reference_tells_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
