/* One connection to the database: its pragmas, its prepared statements, and SQLite's words turned into ours.
 *
 * A connection belongs to one thread at a time and is opened without SQLite's own mutex. Every statement of the store stands in sql.c, is
 * prepared when first needed and kept. A query borrows a prepared statement between query_open and query_end:
 *
 *     struct query q = query_open(db, SQL_SETTING_GET);
 *     query_text(&q, name);
 *     if (query_row(&q))
 *         ... query_get_slice(&q, 0) ...       valid until the next step
 *     return query_end(&q);
 *
 * A failure on the way is kept in the query and comes out of query_end, so the lines between need no checks. */
#ifndef POSTERN_STORE_DATABASE_H
#define POSTERN_STORE_DATABASE_H

#include "base/log.h"
#include "base/result.h"
#include "base/slice.h"
#include "store/sql.h"

#include <sqlite3.h>

/* Halves that end in the transaction under way, and why: each is told of in the log when it is committed (half-body-dropped), beyond so many only how many there are. */
enum { ENDED_HALVES_MAX = 256 };
struct ended_halves {
    struct ended_half {
        uint64_t message;
        const char *why;
    } all[ENDED_HALVES_MAX];
    size_t n;
};

struct database {
    sqlite3 *handle;
    sqlite3_stmt *statements[SQL_COUNT];
    const struct log *log;
    bool has_checkpoints; /* the relay's tables are here */
    _Atomic uint64_t most_halves, most_half_octets; /* store_limit_halves */
    const struct seal *seal; /* what is read and written is sealed with it (sealed.h); NULL: it is not sealed */
    struct ended_halves ended;
    int last_logged; /* a failure that repeats is logged once until a commit succeeds */
    int last_error;  /* SQLite's extended code of the last failure, for those who must tell a full disk from a failed fsync */
};

enum database_role { DATABASE_WRITER, DATABASE_READER };

struct database_config {
    const char *path;
    const char *vfs; /* NULL: SQLite's default */
    const struct log *log;
    uint32_t cache_kib;
    enum database_role role;
};

/* RESULT_OK, or the failure with words in why. Nothing is left open then. */
MUST_CHECK enum result database_open(struct database *db, const struct database_config *config, char *why, size_t why_size);
void database_close(struct database *db);
/* Runs SQL text without results, several statements at a time. what: how the log names a failure. */
MUST_CHECK enum result database_execute(struct database *db, const char *sql, const char *what);
/* Whether a lock of somebody's own sqlite3 on the file is waited for, for some seconds (as from the opening on); else RESULT_BUSY at once. */
void database_wait_for_others(struct database *db, bool waits);
/* Moves all of the write-ahead log into the database and gives its room on the disk back; outside a transaction. RESULT_BUSY: a reader is in the way. */
MUST_CHECK enum result database_empty_log(struct database *db);
/* The one number that a pragma gives, or -1. */
int64_t database_number(struct database *db, const char *sql);
/* Remembers and logs a failure of SQLite's, and names it in our words. */
enum result database_failed(struct database *db, int code, const char *what);
/* Gives the page cache back. */
void database_shrink(struct database *db);

MUST_CHECK enum result database_begin(struct database *db);
MUST_CHECK enum result database_commit(struct database *db);
/* Does nothing when SQLite has rolled back by itself. */
void database_rollback(struct database *db);
/* Inside a transaction: to be told of when it is committed. why lives for ever. */
void database_end_half(struct database *db, uint64_t message, const char *why);

struct query {
    struct database *db;
    sqlite3_stmt *statement;
    enum sql which;
    int next; /* number of the parameter that is bound next */
    int code; /* the first failure, or SQLITE_OK */
};

struct query query_open(struct database *db, enum sql which);
void query_int(struct query *q, int64_t value);
void query_null(struct query *q);
/* The slice must live until query_end. */
void query_text(struct query *q, struct slice value);
void query_blob(struct query *q, struct slice value);
/* True: there is a row. */
bool query_row(struct query *q);
int64_t query_get_int(const struct query *q, int column);
/* Text or blob; valid until the next query_row or query_end. */
struct slice query_get_slice(const struct query *q, int column);
/* Gives the statement back. RESULT_OK or what went wrong since query_open; never RESULT_DENIED, which is what a request, not the disk, is told. */
MUST_CHECK enum result query_end(struct query *q);
/* For statements without rows: one step and the end. */
MUST_CHECK enum result query_run(struct query *q);
/* The same, of one about a message, which is its only parameter. */
MUST_CHECK enum result query_run_for(struct database *db, enum sql which, uint64_t message);
/* Rows that the statement just run has changed. */
int64_t database_changes(const struct database *db);

#endif
