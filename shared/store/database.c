#include "store/database.h"

#include "mail/message_id.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    BUSY_WAIT_MS = 5000,          /* for a person's sqlite3 on the same file: the lock file keeps other programs of ours away */
    LIMIT_ROW = 64 * 1024 * 1024, /* octets: far above any row of ours */
};

static bool is_disk_error(sqlite3_file *file)
{
    int error = 0;
    return file && file->pMethods && file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error) == SQLITE_OK && (error == EIO || error == ENXIO || error == ERANGE);
}

/* SQLite takes a page that the disk could not read (these three: SQLITE_IOERR_CORRUPTFS in os_unix.c) for a damaged database, and says no more than that. Which of the two it was the file still knows; and
 * a disk that comes back must not have cost a message its turn. The file forgets it only when it is closed: damage that is found behind a disk error is told as such by the next run. */
static bool is_unread(const struct database *db)
{
    sqlite3_file *data = NULL, *log = NULL;
    if (!db->handle)
        return false;
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_FILE_POINTER, &data);
    sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    return is_disk_error(data) || is_disk_error(log);
}

static enum result result_of(const struct database *db, int code)
{
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return RESULT_OK;
    case SQLITE_NOMEM: return RESULT_MEMORY;
    case SQLITE_FULL: return RESULT_FULL;
    case SQLITE_TOOBIG: return RESULT_LIMIT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return RESULT_BUSY;
    case SQLITE_CORRUPT: return is_unread(db) ? RESULT_IO : RESULT_CORRUPT;
    case SQLITE_NOTADB: return RESULT_CORRUPT;
    case SQLITE_CONSTRAINT: return RESULT_EXISTS;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY: return RESULT_DENIED;
    default: break;
    }
    if (code == SQLITE_IOERR_NOMEM)
        return RESULT_MEMORY;
    int cause = db->handle ? sqlite3_system_errno(db->handle) : 0;
    return cause == EDQUOT || cause == ENOSPC ? RESULT_FULL : RESULT_IO;
}

enum result database_failed(struct database *db, int code, const char *what)
{
    enum result result = result_of(db, code);
    bool is_news = code != db->last_logged;
    db->last_error = db->last_logged = code;
    if (!is_news)
        return result;
    log_event(db->log, LOG_ERROR, "store-failed", LOG_TEXT("what", what), LOG_TEXT("result", result_name(result)), LOG_INT("sqlite", code),
              LOG_TEXT("words", db->handle ? sqlite3_errmsg(db->handle) : sqlite3_errstr(code)));
    return result;
}

enum result database_execute(struct database *db, const char *sql, const char *what)
{
    int code = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? RESULT_OK : database_failed(db, sqlite3_extended_errcode(db->handle), what);
}

void database_wait_for_others(struct database *db, bool waits)
{
    sqlite3_busy_timeout(db->handle, waits ? BUSY_WAIT_MS : 0);
}

enum result database_empty_log(struct database *db)
{
    int code = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY)
        return code == SQLITE_OK ? RESULT_OK : RESULT_BUSY;
    return database_failed(db, code, "empty the log");
}

int64_t database_number(struct database *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    int64_t value = -1;
    if (sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

/* page_size counts only while the file is empty; the figures behind the sizes are in README.md. */
static enum result configure(struct database *db, const struct database_config *config)
{
    char sql[640];
    snprintf(sql, sizeof sql,
             "PRAGMA page_size = 16384; PRAGMA auto_vacuum = NONE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON;"
             "PRAGMA checkpoint_fullfsync = ON; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 33554432; PRAGMA mmap_size = 0;"
             "PRAGMA temp_store = MEMORY; PRAGMA secure_delete = OFF; PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF;"
             "PRAGMA cell_size_check = ON; PRAGMA cache_size = -%u; PRAGMA query_only = %s",
             config->cache_kib, config->role == DATABASE_READER ? "ON" : "OFF");
    return database_execute(db, sql, "configure");
}

static int prepare(struct database *db, enum sql which)
{
    if (db->statements[which])
        return SQLITE_OK;
    return sqlite3_prepare_v3(db->handle, store_sql[which], -1, SQLITE_PREPARE_PERSISTENT, &db->statements[which], NULL);
}

/* Those that must not fail for want of memory later. */
static enum result prepare_ends(struct database *db)
{
    int code = prepare(db, SQL_BEGIN);
    if (code == SQLITE_OK)
        code = prepare(db, SQL_COMMIT);
    if (code == SQLITE_OK)
        code = prepare(db, SQL_ROLLBACK);
    return code == SQLITE_OK ? RESULT_OK : database_failed(db, code, "prepare");
}

enum result database_open(struct database *db, const struct database_config *config, char *why, size_t why_size)
{
    *db = (struct database){.log = config->log};
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
    enum result result = RESULT_OK;
    int code = sqlite3_open_v2(config->path, &db->handle, flags, config->vfs);
    if (code != SQLITE_OK) {
        result = database_failed(db, code, "open");
    } else {
        database_wait_for_others(db, true);
        sqlite3_limit(db->handle, SQLITE_LIMIT_LENGTH, LIMIT_ROW);
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        result = configure(db, config);
        if (result == RESULT_OK)
            result = prepare_ends(db);
    }
    if (result != RESULT_OK) {
        snprintf(why, why_size, "the database %s cannot be opened: %s%s", config->path, db->handle ? sqlite3_errmsg(db->handle) : sqlite3_errstr(code),
                 result == RESULT_FULL ? "; make room on the disk (4 MB at least)" : "");
        database_close(db);
    }
    return result;
}

void database_close(struct database *db)
{
    for (int i = 0; i < SQL_COUNT; i++) {
        sqlite3_finalize(db->statements[i]);
        db->statements[i] = NULL;
    }
    if (db->handle)
        sqlite3_close(db->handle);
    db->handle = NULL;
}

void database_shrink(struct database *db)
{
    sqlite3_db_release_memory(db->handle);
}

static enum result run_plain(struct database *db, enum sql which)
{
    struct query q = query_open(db, which);
    return query_run(&q);
}

enum result database_begin(struct database *db)
{
    db->last_error = SQLITE_OK;
    database_rollback(db); /* one that could not be ended for want of memory */
    return run_plain(db, SQL_BEGIN);
}

void database_end_half(struct database *db, uint64_t message, const char *why)
{
    struct ended_halves *ended = &db->ended;
    if (ended->n < ENDED_HALVES_MAX)
        ended->all[ended->n] = (struct ended_half){message, why};
    ended->n++;
}

static void tell_ended(struct database *db)
{
    struct ended_halves *ended = &db->ended;
    for (size_t i = 0; i < ended->n && i < ENDED_HALVES_MAX; i++) {
        char id[MESSAGE_ID_TEXT];
        message_id_format(ended->all[i].message, id);
        log_event(db->log, LOG_INFO, "half-body-dropped", LOG_TEXT("item", id), LOG_TEXT("reason", ended->all[i].why));
    }
    if (ended->n > ENDED_HALVES_MAX)
        log_event(db->log, LOG_INFO, "half-bodies-dropped", LOG_INT("more", ended->n - ENDED_HALVES_MAX));
    ended->n = 0;
}

enum result database_commit(struct database *db)
{
    enum result result = run_plain(db, SQL_COMMIT);
    if (result != RESULT_OK)
        return result;
    db->last_logged = SQLITE_OK;
    tell_ended(db);
    return RESULT_OK;
}

void database_rollback(struct database *db)
{
    db->ended.n = 0;
    if (!sqlite3_get_autocommit(db->handle))
        (void)!run_plain(db, SQL_ROLLBACK);
}

struct query query_open(struct database *db, enum sql which)
{
    struct query q = {.db = db, .which = which, .next = 1, .code = prepare(db, which)};
    q.statement = db->statements[which];
    return q;
}

static void keep_failure(struct query *q, int code)
{
    if (q->code == SQLITE_OK)
        q->code = code;
}

void query_int(struct query *q, int64_t value)
{
    if (q->code == SQLITE_OK)
        keep_failure(q, sqlite3_bind_int64(q->statement, q->next++, value));
}

void query_null(struct query *q)
{
    if (q->code == SQLITE_OK)
        keep_failure(q, sqlite3_bind_null(q->statement, q->next++));
}

/* The empty slice may point nowhere, which SQLite would take for NULL. */
void query_text(struct query *q, struct slice value)
{
    if (q->code == SQLITE_OK)
        keep_failure(q, sqlite3_bind_text64(q->statement, q->next++, value.len ? value.ptr : "", value.len, SQLITE_STATIC, SQLITE_UTF8));
}

void query_blob(struct query *q, struct slice value)
{
    if (q->code == SQLITE_OK)
        keep_failure(q, sqlite3_bind_blob64(q->statement, q->next++, value.len ? value.ptr : "", value.len, SQLITE_STATIC));
}

bool query_row(struct query *q)
{
    if (q->code != SQLITE_OK)
        return false;
    int code = sqlite3_step(q->statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        q->code = code;
    return code == SQLITE_ROW;
}

int64_t query_get_int(const struct query *q, int column)
{
    return sqlite3_column_int64(q->statement, column);
}

/* A NULL pointer for a value that is not empty means that SQLite found no memory; query_end tells. */
struct slice query_get_slice(const struct query *q, int column)
{
    const void *octets = sqlite3_column_blob(q->statement, column);
    return slice_of(octets, octets ? (size_t)sqlite3_column_bytes(q->statement, column) : 0);
}

enum result query_end(struct query *q)
{
    if (q->code == SQLITE_OK && q->statement && sqlite3_errcode(q->db->handle) == SQLITE_NOMEM)
        q->code = SQLITE_NOMEM;
    enum result result = q->code == SQLITE_OK ? RESULT_OK : database_failed(q->db, q->code, store_sql[q->which]);
    if (q->statement)
        sqlite3_reset(q->statement);
    return result == RESULT_DENIED ? RESULT_IO : result;
}

enum result query_run(struct query *q)
{
    (void)query_row(q);
    return query_end(q);
}

enum result query_run_for(struct database *db, enum sql which, uint64_t message)
{
    struct query q = query_open(db, which);
    query_int(&q, (int64_t)message);
    return query_run(&q);
}

int64_t database_changes(const struct database *db)
{
    return sqlite3_changes64(db->handle);
}
