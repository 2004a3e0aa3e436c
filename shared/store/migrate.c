/* Brings a database to the newest schema: numbered SQL files, each once, each in a transaction of its own. PRAGMA user_version counts those that were
 * applied. */
#include "store/engine.h"

#include "schema.h"

#include <inttypes.h>
#include <stdio.h>

static enum result apply(struct database *db, const struct schema_file *file, int number)
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
    if (result != RESULT_OK)
        database_rollback(db);
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
        enum result result = apply(db, &files[i], (int)i + 1);
        if (result != RESULT_OK) {
            snprintf(why, why_size, "the database could not be brought up to date (%s): %s; nothing was changed", files[i].name,
                     sqlite3_errmsg(db->handle));
            return result;
        }
        log_event(db->log, LOG_INFO, "store-migrated", LOG_TEXT("file", files[i].name));
    }
    return RESULT_OK;
}
