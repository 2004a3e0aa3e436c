/* Brings a database to the newest schema: numbered SQL files, each once, each in a transaction of its own. PRAGMA user_version counts those that were
 * applied. A database that was there before is looked at for all that they make. */
#include "store/engine.h"

#include "schema.h"

#include <inttypes.h>
#include <stdio.h>

/* On a failure SQLite's words, which the rollback would take away. */
static enum result apply(struct database *db, const struct schema_file *file, int number, char *words, size_t size)
{
    char mark[64];
    snprintf(mark, sizeof mark, "PRAGMA user_version = %d", number);
    enum result result = database_begin(db);
    if (result == RESULT_OK)
        result = database_execute(db, file->sql, file->name);
    if (result == RESULT_OK)
        result = database_execute(db, mark, file->name);
    if (result == RESULT_OK)
        result = database_commit(db);
    if (result != RESULT_OK) {
        snprintf(words, size, "%s", sqlite3_errmsg(db->handle));
        database_rollback(db);
    }
    return result;
}

/* ---- what is lacking -------------------------------------------------------------------------------------------- */

#define SCHEMA_ROWS "FROM sqlite_schema s LEFT JOIN pragma_table_info(s.name) c ON s.type = 'table' WHERE s.name "

static enum result say_lacking(const struct database *db, sqlite3_stmt *wanted, char *why, size_t why_size)
{
    const char *type = (const char *)sqlite3_column_text(wanted, 0), *name = (const char *)sqlite3_column_text(wanted, 1), *column = (const char *)sqlite3_column_text(wanted, 2);
    if (!type || !name || !column)
        return RESULT_MEMORY;
    snprintf(why, why_size, "the database lacks the %s %s%s%s: something else has altered it, or it was copied in part; restore a backup", type, name, column[0] ? ", column " : "",
             column);
    log_event(db->log, LOG_ERROR, "store-failed", LOG_TEXT("what", "schema"), LOG_TEXT("words", why));
    return RESULT_CORRUPT;
}

/* wanted: type, name, and column or "". */
static enum result look_for(struct database *db, sqlite3_stmt *found, sqlite3_stmt *wanted, char *why, size_t why_size)
{
    for (int i = 1; i <= 2; i++)
        if (sqlite3_bind_value(found, i, sqlite3_column_value(wanted, i)) != SQLITE_OK)
            return RESULT_MEMORY;
    int code = sqlite3_step(found);
    enum result result = code == SQLITE_ROW ? RESULT_OK : code == SQLITE_DONE ? say_lacking(db, wanted, why, why_size) : database_failed(db, code, "schema");
    sqlite3_reset(found);
    return result;
}

static enum result compare(struct database *db, sqlite3 *as_made, char *why, size_t why_size)
{
    sqlite3_stmt *wanted = NULL, *found = NULL;
    enum result result = RESULT_OK;
    int code = sqlite3_prepare_v2(as_made, "SELECT s.type, s.name, ifnull(c.name, '') " SCHEMA_ROWS "NOT LIKE 'sqlite_%'", -1, &wanted, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v2(db->handle, "SELECT 1 " SCHEMA_ROWS "= ?1 AND ifnull(c.name, '') = ?2", -1, &found, NULL);
    if (code != SQLITE_OK)
        result = database_failed(db, code, "schema");
    while (result == RESULT_OK && (code = sqlite3_step(wanted)) == SQLITE_ROW)
        result = look_for(db, found, wanted, why, why_size);
    if (result == RESULT_OK && code != SQLITE_DONE)
        result = database_failed(db, code, "schema");
    sqlite3_finalize(wanted);
    sqlite3_finalize(found);
    return result;
}

/* Tables, columns and indexes are those that the files make, or the program does not start: it would take mail, and fail message by message. */
static enum result check(struct database *db, const struct schema_file *files, char *why, size_t why_size)
{
    sqlite3 *as_made = NULL;
    int code = sqlite3_open(":memory:", &as_made);
    for (; files->name && code == SQLITE_OK; files++)
        code = sqlite3_exec(as_made, files->sql, NULL, NULL, NULL);
    enum result result = code == SQLITE_OK ? compare(db, as_made, why, why_size) : RESULT_MEMORY;
    sqlite3_close(as_made);
    return result;
}

enum result database_migrate(struct database *db, const struct schema_file *files, char *why, size_t why_size)
{
    int64_t have = database_number(db, "PRAGMA user_version"), newest = 0;
    while (files[newest].name)
        newest++;
    if (have < 0) {
        snprintf(why, why_size, "the database cannot be read: %s", sqlite3_errmsg(db->handle));
        return database_failed(db, sqlite3_extended_errcode(db->handle), "version");
    }
    if (have > newest) {
        snprintf(why, why_size,
                 "the database was written by a newer version of this program (its schema is number %" PRId64 ", ours %" PRId64
                 "): install that version, or restore the backup made before the update",
                 have, newest);
        return RESULT_VERSION;
    }
    if (have == 0 && database_number(db, "SELECT count(*) FROM sqlite_schema") > 0) {
        snprintf(why, why_size, "the file is a database of another program: choose another path");
        return RESULT_CORRUPT;
    }
    for (int64_t i = have; i < newest; i++) {
        char words[200];
        enum result result = apply(db, &files[i], (int)i + 1, words, sizeof words);
        if (result != RESULT_OK) {
            snprintf(why, why_size, "the database could not be brought up to date (%s): %s; nothing was changed", files[i].name, words);
            return result;
        }
        log_event(db->log, LOG_INFO, "store-migrated", LOG_TEXT("file", files[i].name));
    }
    return have > 0 ? check(db, files, why, why_size) : RESULT_OK;
}
