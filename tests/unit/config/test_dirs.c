/* config/dirs.h: where the files of either program live. */
#include "config/dirs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct {
    enum dirs_program program;
    const char *dir;
    struct dirs_environment environment;
    enum result result;
    const char *config_file, *database, *keys, *socket;
} rows[] = {
    {DIRS_RELAY, NULL, {0}, RESULT_OK, "/etc/postern/relay.conf", "/var/lib/postern/relay.db", "/var/lib/postern/keys", "/run/postern/relay.sock"},
    {DIRS_RELAY, "d/e", {0}, RESULT_OK, "d/e/relay.conf", "d/e/relay.db", "d/e/keys", "d/e/relay.sock"},
    {DIRS_AGENT, "/d", {.home = "/home/u"}, RESULT_OK, "/d/agent.conf", "/d/agent.db", "/d/keys", "/d/agent.sock"},
    {DIRS_AGENT, NULL, {.home = "/home/u"}, RESULT_OK, "/home/u/.config/postern/agent.conf", "/home/u/.local/share/postern/agent.db",
     "/home/u/.local/share/postern/keys", "/home/u/.local/share/postern/agent.sock"},
    {DIRS_AGENT, NULL, {"/home/u", "/c", "/s", "/run/user/1000"}, RESULT_OK, "/c/postern/agent.conf", "/s/postern/agent.db", "/s/postern/keys",
     "/run/user/1000/postern/agent.sock"},
    {DIRS_AGENT, NULL, {NULL, "/c", "/s", NULL}, RESULT_OK, "/c/postern/agent.conf", "/s/postern/agent.db", "/s/postern/keys", "/s/postern/agent.sock"},
    /* variables that are not absolute do not count */
    {DIRS_AGENT, NULL, {"/home/u", "c", "", "r"}, RESULT_OK, "/home/u/.config/postern/agent.conf", "/home/u/.local/share/postern/agent.db",
     "/home/u/.local/share/postern/keys", "/home/u/.local/share/postern/agent.sock"},
    {DIRS_AGENT, NULL, {0}, RESULT_NOT_FOUND, NULL, NULL, NULL, NULL},
    {DIRS_AGENT, NULL, {.home = "here"}, RESULT_NOT_FOUND, NULL, NULL, NULL, NULL},
    {DIRS_RELAY, "", {0}, RESULT_SYNTAX, NULL, NULL, NULL, NULL},
};

static void test_places(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        struct dirs dirs;
        assert_int_equal(dirs_find(rows[i].program, rows[i].dir, &rows[i].environment, &arena, &dirs), rows[i].result);
        if (rows[i].result == RESULT_OK) {
            assert_string_equal(dirs.config_file, rows[i].config_file);
            assert_string_equal(dirs.database, rows[i].database);
            assert_string_equal(dirs.keys, rows[i].keys);
            assert_string_equal(dirs.socket, rows[i].socket);
        } else {
            assert_null(dirs.config_file);
        }
        arena_free(&arena);
    }
}

static void test_hints(void **state)
{
    static const struct {
        const char *dir, *hint;
    } hints[] = {
        {NULL, "postern-relay run"},
        {"/var/x-1.y", "postern-relay run --dir /var/x-1.y"},
        {"a b", "postern-relay run --dir 'a b'"},
        {"it's;$(x)", "postern-relay run --dir 'it'\\''s;$(x)'"},
    };
    char long_dir[DIRS_HINT_MAX + 1];
    (void)state;
    for (size_t i = 0; i < COUNT(hints); i++) {
        struct arena arena = {0};
        struct dirs dirs;
        assert_int_equal(dirs_find(DIRS_RELAY, hints[i].dir, &(struct dirs_environment){0}, &arena, &dirs), RESULT_OK);
        assert_string_equal(DIRS_HINT(&dirs, "postern-relay run"), hints[i].hint);
        arena_free(&arena);
    }
    memset(long_dir, 'x', DIRS_HINT_MAX);
    long_dir[DIRS_HINT_MAX] = '\0';
    for (size_t len = DIRS_HINT_MAX; len > DIRS_HINT_MAX - 40; len--) {
        long_dir[len] = '\0';
        const char *hint = DIRS_HINT(&(struct dirs){.dir = long_dir}, "postern-relay run");
        assert_true(strlen(hint) == 17 || strlen(hint) == 17 + 7 + len);
    }
    assert_string_equal(DIRS_HINT(NULL, "postern-relay run"), "postern-relay run");
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct arena arena = ARENA(8);
    struct dirs dirs;
    struct dirs_environment environment = {.home = "/home/somebody"};
    assert_int_equal(dirs_find(DIRS_AGENT, NULL, &environment, &arena, &dirs), RESULT_MEMORY);
    assert_int_equal(dirs_find(DIRS_RELAY, "/long/enough", &environment, &arena, &dirs), RESULT_MEMORY);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_places), cmocka_unit_test(test_hints), cmocka_unit_test(test_out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
