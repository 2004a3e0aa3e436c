#include "support/store_fixture.h"

#include "schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sqlite3.h>

int world_setup_closed(void **state)
{
    struct world *w = malloc(sizeof *w);
    if (!w)
        return -1;
    world_make(w);
    *state = w;
    return 0;
}

int world_setup(void **state)
{
    return world_setup_closed(state) == 0 && world_open(*state) == RESULT_OK ? 0 : -1;
}

int world_setup_agent(void **state)
{
    if (world_setup_closed(state) != 0)
        return -1;
    struct world *w = *state;
    w->config.schema = schema_agent;
    return world_open(w) == RESULT_OK ? 0 : -1;
}

int world_teardown(void **state)
{
    world_end(*state);
    free(*state);
    return 0;
}

void world_reopen(struct world *w)
{
    world_close(w);
    assert_int_equal(world_open(w), RESULT_OK);
}

int64_t world_number(const struct world *w, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return value;
}

void world_meddle(const struct world *w, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000); /* the store may be moving its log */
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

uint64_t world_seeds(uint64_t usual)
{
    const char *text = getenv("POSTERN_SEEDS");
    assert_true(!text || slice_to_u64(slice_from_cstr(text), UINT64_MAX, &usual));
    return usual;
}
