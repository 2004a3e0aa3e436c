/* server/admin.h: two people who change an account at the same time; listings. What each command does is in tests/integration/test_relay_commands.py. */
#include "admin.h"

#include "support/store_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct told {
    unsigned nresults, nerrors;
    json_t *last;
};

static void on_line(void *context, const json_t *line)
{
    struct told *told = context;
    told->nresults += json_object_get(line, "result") != NULL;
    told->nerrors += json_object_get(line, "error") != NULL;
    json_decref(told->last);
    told->last = json_deep_copy(line);
}

static void ask(struct admin *admin, const char *command, const json_t *arguments, struct told *told)
{
    control_call_local(admin_handle, admin, command, arguments, on_line, told);
}

static json_t *password_of(const char *name, const char *password)
{
    json_t *arguments = NULL;
    assert_int_equal(account_password_json(slice_from_cstr(password), &arguments), RESULT_OK);
    json_object_set_new(arguments, "name", json_string(name));
    json_object_set_new(arguments, "send_as", json_pack("[s]", "@example.org"));
    return arguments;
}

static const char *text_at(const struct told *told, const char *key)
{
    return json_string_value(json_object_get(json_object_get(told->last, "result"), key));
}

static void test_changes_are_made_one_after_the_other(void **state)
{
    (void)state;
    struct world w;
    struct told told = {0};
    world_make(&w);
    assert_int_equal(world_open(&w), RESULT_OK);
    struct admin admin = {.store = w.client};
    json_t *anna = password_of("anna", "first"), *ben = password_of("ben", "other"), *again = password_of("anna", "second");
    ask(&admin, "account add", anna, &told);
    ask(&admin, "account passwd", again, &told);
    ask(&admin, "account disable", anna, &told);
    ask(&admin, "account passwd", again, &told);
    ask(&admin, "account passwd", ben, &told); /* is not there yet: an error must not stop the turn */
    ask(&admin, "account add", ben, &told);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(told.nresults, 5);
    assert_int_equal(told.nerrors, 1);
    ask(&admin, "account show", anna, &told);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_string_equal(text_at(&told, "name"), "anna");
    assert_true(json_is_false(json_object_get(json_object_get(told.last, "result"), "enabled")));
    ask(&admin, "account list", anna, &told);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(json_array_size(json_object_get(told.last, "result")), 2);
    assert_false(admin.is_account_changing);
    json_decref(told.last);
    json_decref(anna);
    json_decref(ben);
    json_decref(again);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes_are_made_one_after_the_other),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
