/* Opening: what is refused, with which words; migrations; and that every statement uses its index. */
#include "support/store_fixture.h"

#include "schema.h"
#include "store/sql.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

static void write_file(const struct world *w, const char *text)
{
    FILE *f = fopen(w->path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* The words name the matter, and what to do. */
static void assert_refused(struct world *w, enum result wanted, const char *word, const char *advice)
{
    assert_int_equal(world_open(w), wanted);
    assert_null(w->store);
    if (!strstr(w->why, word) || !strstr(w->why, advice))
        fail_msg("<%s> lacks <%s> or <%s>", w->why, word, advice);
}

static void files_are_for_us_alone(void **state)
{
    static const char *const ENDS[] = {"", "-wal", "-shm", ".lock", ".reserve"};
    struct world *w = *state;
    mode_t mask = umask(0);
    assert_int_equal(world_open(w), RESULT_OK);
    assert_string_equal(w->why, "");
    umask(mask);
    for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++) {
        char path[128];
        struct stat about;
        snprintf(path, sizeof path, "%s%s", w->path, ENDS[i]);
        assert_int_equal(stat(path, &about), 0);
        assert_int_equal(about.st_mode & 0777, 0600);
    }
}

static void what_is_no_database_of_ours_is_refused(void **state)
{
    struct world *w = *state;
    write_file(w, "This is a text, and a long one, so that SQLite takes it for something that once was a database perhaps.\n");
    assert_refused(w, RESULT_CORRUPT, "not a database", w->path);
    assert_non_null(strstr(w->why, "restore a backup"));
    assert_non_null(strstr(w->why, ".recover"));
    assert_int_equal(unlink(w->path), 0);
    world_meddle(w, "CREATE TABLE theirs (x)");
    assert_refused(w, RESULT_CORRUPT, "another program", "choose another path");
    assert_null(strstr(w->why, "backup"));
    assert_int_equal(world_number(w, "SELECT count(*) FROM sqlite_schema"), 1);
}

static void places_that_cannot_be_used_are_named(void **state)
{
    struct world *w = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/missing/test.db", w->dir);
    w->config.path = path;
    assert_refused(w, RESULT_NOT_FOUND, path, "create the folder");
    w->config.path = w->path;
    snprintf(path, sizeof path, "%s/elsewhere", w->dir);
    assert_int_equal(symlink(path, w->path), 0); /* somebody's trap: not followed */
    assert_refused(w, RESULT_DENIED, w->path, "right to write");
    assert_int_equal(unlink(w->path), 0);
    assert_int_equal(mkdir(w->path, 0700), 0);
    assert_refused(w, RESULT_IO, w->path, "directory");
    assert_int_equal(rmdir(w->path), 0);
    if (getuid() != 0) {
        write_file(w, "");
        assert_int_equal(chmod(w->path, 0), 0);
        assert_refused(w, RESULT_DENIED, w->path, "right to write");
    }
}

static void a_newer_database_is_left_alone(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), RESULT_OK);
    world_close(w);
    world_meddle(w, "PRAGMA user_version = 99");
    assert_refused(w, RESULT_VERSION, "newer version", "install that version");
    assert_int_equal(world_number(w, "PRAGMA user_version"), 99);
}

static void migrations_are_applied_once_and_whole(void **state)
{
    struct world *w = *state;
    struct schema_file files[32] = {{NULL, NULL}};
    size_t n = 0;
    for (; schema_agent[n].name; n++)
        files[n] = schema_agent[n];
    assert_true(n + 3 < sizeof files / sizeof *files);
    files[n] = (struct schema_file){"9998_more.sql", "CREATE TABLE more (x); INSERT INTO more VALUES (1); INSERT INTO more VALUES (2);"};
    files[n + 1] = (struct schema_file){"9999_bad.sql", "CREATE TABLE bad (x); INSERT INTO nowhere VALUES (1);"};
    w->config.schema = schema_agent;
    assert_int_equal(world_open(w), RESULT_OK);
    assert_int_equal(world_put(w, 1, SLICE("x"), 1, 0), RESULT_OK);
    world_close(w);
    w->config.schema = files;
    assert_refused(w, RESULT_IO, "9999_bad.sql", "nothing was changed");
    assert_non_null(strstr(w->why, "no such table"));
    assert_int_equal(world_number(w, "PRAGMA user_version"), n + 1); /* the first of the two is in, of the second nothing */
    assert_int_equal(world_number(w, "SELECT count(*) FROM sqlite_schema WHERE name = 'bad'"), 0);
    files[n + 1] = (struct schema_file){"9999_good.sql", "ALTER TABLE more ADD COLUMN y;"};
    assert_int_equal(world_open(w), RESULT_OK);
    assert_string_equal(world_state(w, 1), "queued");
    world_close(w);
    assert_int_equal(world_open(w), RESULT_OK);
    world_close(w);
    assert_int_equal(world_number(w, "SELECT count(*) FROM more"), 2);
    assert_int_equal(world_number(w, "PRAGMA user_version"), n + 2);
}

/* It would start, take mail, and fail at each message. */
static void a_database_that_lacks_a_part_is_refused(void **state)
{
    static const struct {
        const char *sql, *word;
    } ROWS[] = {
        {"DROP TABLE checkpoint_recipient", "table checkpoint_recipient"},
        {"ALTER TABLE checkpoint DROP COLUMN received_at", "table checkpoint, column received_at"},
        {"DROP INDEX checkpoint_name", "index checkpoint_name"},
        {"DROP TABLE setting", "table setting"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        assert_int_equal(unlink(w->path) == 0 || i == 0, true);
        assert_int_equal(world_open(w), RESULT_OK);
        world_close(w);
        world_meddle(w, "CREATE TABLE theirs (x)"); /* what is there besides does no harm */
        assert_int_equal(world_open(w), RESULT_OK);
        world_close(w);
        world_meddle(w, ROWS[i].sql);
        assert_refused(w, RESULT_CORRUPT, ROWS[i].word, "restore a backup");
    }
}

static void a_database_has_one_program(void **state)
{
    struct world *w = *state, other;
    int status;
    assert_int_equal(world_open(w), RESULT_OK);
    pid_t child = fork();
    if (child == 0) {
        char number_of_parent[24];
        snprintf(number_of_parent, sizeof number_of_parent, "number %ld", (long)getppid());
        world_make(&other);
        other.config.path = w->path;
        _exit(world_open(&other) == RESULT_BUSY && strstr(other.why, number_of_parent) ? rmdir(other.dir) : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    world_close(w);
    assert_int_equal(world_open(w), RESULT_OK);
}

/* Which only one of the programs runs: the other has no such table, or no index for it. */
static bool is_of_agent_alone(int i)
{
    return i == SQL_MESSAGE_WITH_DIGEST || i == SQL_AWAITED_AFTER || i == SQL_PENDING_AFTER;
}

static bool is_of_relay_alone(int i)
{
    return strstr(store_sql[i], "checkpoint") || strstr(store_sql[i], "account =") || strstr(store_sql[i], " account ") || strstr(store_sql[i], "send_as") || strstr(store_sql[i], " device ");
}

static void check_plans(const struct world *w, bool (*is_left_out)(int))
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    for (int i = 0; i < SQL_COUNT; i++) {
        char sql[2048];
        sqlite3_stmt *s;
        if (is_left_out(i))
            continue;
        snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", store_sql[i]);
        if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
            fail_msg("%s: %s", sqlite3_errmsg(db), sql);
        while (sqlite3_step(s) == SQLITE_ROW) {
            const char *step = (const char *)sqlite3_column_text(s, 3);
            bool is_small = strstr(step, "pragma") || strstr(step, "USING INDEX recipient_unfinished") ||
                            strstr(step, "USING COVERING INDEX recipient_unfinished") || strstr(step, "SCAN (subquery") ||
                            strstr(step, "INDEX recipient_awaited") || strstr(step, "INDEX checkpoint_half") ||
                            strcmp(step, "SCAN intake") == 0 || strstr(step, "CONSTANT ROW");
            bool is_small_sort = i == SQL_CHECKPOINT_YIELDS && strstr(step, "ORDER BY"); /* halves alone */
            if ((strncmp(step, "SCAN", 4) == 0 && !is_small && i != SQL_COUNT_ALL && i != SQL_SEALING_ANY_SEALED) || (strstr(step, "TEMP B-TREE") && !is_small_sort))
                fail_msg("%s: %s", step, store_sql[i]);
        }
        sqlite3_finalize(s);
    }
    sqlite3_close(db);
}

/* A full table scan is right only where everything is wanted. */
static void statements_use_their_index(void **state)
{
    struct world *w = *state, agent;
    assert_int_equal(world_open(w), RESULT_OK);
    world_close(w);
    check_plans(w, is_of_agent_alone);
    world_make(&agent);
    agent.config.schema = schema_agent;
    assert_int_equal(world_open(&agent), RESULT_OK);
    world_close(&agent);
    check_plans(&agent, is_of_relay_alone);
    world_end(&agent);
}

/* Tables with their columns, and indexes, as one text. */
static void describe(const struct schema_file *files, const char *but_for, char *out, size_t size)
{
    static const char ALL[] = "SELECT group_concat(line, char(10)) FROM (SELECT s.name || ' ' || coalesce(c.name || ' ' || c.type || ' ' || c.\"notnull\" || "
                              "' ' || c.pk, s.sql) AS line FROM sqlite_schema s LEFT JOIN pragma_table_info(s.name) c ON s.type = 'table' "
                              "WHERE instr(?1, ' ' || s.tbl_name || ' ') = 0 AND instr(?1, ' ' || s.name || ' ') = 0 AND s.name NOT LIKE 'sqlite_%' ORDER BY s.name, c.cid)";
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    for (; files->name; files++)
        assert_int_equal(sqlite3_exec(db, files->sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, ALL, -1, &s, NULL), SQLITE_OK);
    sqlite3_bind_text(s, 1, but_for, -1, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    snprintf(out, size, "%s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    sqlite3_close(db);
}

/* One store serves both programs: what differs is that only the relay has accounts, their devices and their names for transactions, and only the agent looks for
 * what it has relayed and for what it has taken before. */
static void the_agent_has_the_relays_tables_but_for_accounts(void **state)
{
    char relay[8192], agent[8192];
    (void)state;
    describe(schema_relay, " account send_as device checkpoint checkpoint_recipient ", relay, sizeof relay);
    describe(schema_agent, " recipient_awaited message_digest ", agent, sizeof agent);
    assert_non_null(strstr(agent, "message id INTEGER"));
    assert_non_null(strstr(agent, "CREATE INDEX recipient_unfinished"));
    assert_string_equal(agent, relay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_are_for_us_alone, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(what_is_no_database_of_ours_is_refused, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(places_that_cannot_be_used_are_named, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(a_newer_database_is_left_alone, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(migrations_are_applied_once_and_whole, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(a_database_that_lacks_a_part_is_refused, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(a_database_has_one_program, world_setup_closed, world_teardown),
        cmocka_unit_test(the_agent_has_the_relays_tables_but_for_accounts),
        cmocka_unit_test_setup_teardown(statements_use_their_index, world_setup_closed, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
