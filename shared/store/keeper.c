/* The keeper of the write-ahead log: moves its pages into the database (a checkpoint) without making the writer wait.
 *
 * Under steady load a checkpoint never ends by itself: while it copies, the writer appends. So the keeper's thread copies what there is, which
 * takes long, beside the writer; when it has finished, the writer copies the little that came meanwhile, between two commits, and the log begins
 * anew. Only when the log has grown to LOG_MAX all the same does the writer wait for the keeper.
 *
 * The log's file keeps its size (up to journal_size_limit), because writing into space that a file has already is the cheaper fsync. */
#include "store/engine.h"

#include <stdlib.h>

enum {
    LOG_KIB = 16 * 1024, /* of log that start the keeper; figures in README.md */
    LOG_MAX_TIMES = 8,   /* so many times that: the writer waits */
};

enum keeper_state { KEEPER_IDLE, KEEPER_ASKED, KEEPER_DONE };

struct keeper {
    struct store *store;
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_cond_t wake, done;
    enum keeper_state state; /* under mutex */
    bool is_stopping;        /* under mutex */
    int page_size;
    int64_t log_start;  /* octets */
    int64_t log_octets; /* writer's thread */
};

/* True: all of the log is in the database, and the next commit writes it from its start. */
static bool checkpoint(struct database *db)
{
    int pages = 0, copied = 0;
    int code = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &copied);
    if (code != SQLITE_OK && (code & 0xff) != SQLITE_BUSY) /* a reader in the way is no failure: the next one finishes */
        (void)database_failed(db, code, "checkpoint");
    return code == SQLITE_OK && pages == copied;
}

static void keeper_main(void *context)
{
    struct keeper *k = context;
    uv_mutex_lock(&k->mutex);
    while (!k->is_stopping) {
        if (k->state != KEEPER_ASKED) {
            uv_cond_wait(&k->wake, &k->mutex);
            continue;
        }
        uv_mutex_unlock(&k->mutex);
        (void)checkpoint(&k->store->keeper_db);
        uv_mutex_lock(&k->mutex);
        k->state = KEEPER_DONE;
        uv_cond_signal(&k->done);
    }
    uv_mutex_unlock(&k->mutex);
}

/* Called by SQLite after each commit on the writer's connection. */
static int on_commit(void *context, sqlite3 *handle, const char *name, int pages)
{
    struct keeper *k = context;
    (void)handle, (void)name;
    k->log_octets = (int64_t)pages * k->page_size;
    return SQLITE_OK;
}

static enum result start(struct keeper *k)
{
    if (uv_mutex_init(&k->mutex) != 0)
        return RESULT_MEMORY;
    if (uv_cond_init(&k->wake) != 0)
        goto no_wake;
    if (uv_cond_init(&k->done) != 0)
        goto no_done;
    uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE, .stack_size = 256 * 1024};
    if (uv_thread_create_ex(&k->thread, &options, keeper_main, k) == 0)
        return RESULT_OK;
    uv_cond_destroy(&k->done);
no_done:
    uv_cond_destroy(&k->wake);
no_wake:
    uv_mutex_destroy(&k->mutex);
    return RESULT_MEMORY;
}

enum result keeper_open(struct keeper **out, struct store *store, uint32_t log_kib)
{
    struct keeper *k = calloc(1, sizeof *k);
    *out = NULL;
    if (!k)
        return RESULT_MEMORY;
    k->store = store;
    k->log_start = (int64_t)(log_kib ? log_kib : LOG_KIB) * 1024;
    k->page_size = (int)database_number(&store->writer_db, "PRAGMA page_size");
    if (start(k) != RESULT_OK) {
        free(k);
        return RESULT_MEMORY;
    }
    sqlite3_wal_hook(store->writer_db.handle, on_commit, k);
    *out = k;
    return RESULT_OK;
}

void keeper_close(struct keeper **keeper)
{
    struct keeper *k = *keeper;
    if (!k)
        return;
    *keeper = NULL;
    sqlite3_wal_hook(k->store->writer_db.handle, NULL, NULL);
    uv_mutex_lock(&k->mutex);
    k->is_stopping = true;
    uv_cond_signal(&k->wake);
    uv_mutex_unlock(&k->mutex);
    uv_thread_join(&k->thread);
    uv_cond_destroy(&k->done);
    uv_cond_destroy(&k->wake);
    uv_mutex_destroy(&k->mutex);
    free(k);
}

/* Under the mutex. */
static void ask(struct keeper *k)
{
    if (k->state == KEEPER_ASKED)
        return;
    k->state = KEEPER_ASKED;
    uv_cond_signal(&k->wake);
}

void keeper_consider(struct keeper *k)
{
    bool is_small = k->log_octets < k->log_start;
    uv_mutex_lock(&k->mutex);
    while (k->state == KEEPER_ASKED && k->log_octets >= k->log_start * LOG_MAX_TIMES)
        uv_cond_wait(&k->done, &k->mutex);
    bool is_done = k->state == KEEPER_DONE;
    if (is_done)
        k->state = KEEPER_IDLE;
    else if (!is_small)
        ask(k);
    uv_mutex_unlock(&k->mutex);
    if (is_done && !is_small)
        (void)checkpoint(&k->store->writer_db);
}

void keeper_rest(struct keeper *k)
{
    uv_mutex_lock(&k->mutex);
    ask(k);
    uv_mutex_unlock(&k->mutex);
}

bool keeper_empty(struct keeper *k)
{
    uv_mutex_lock(&k->mutex);
    while (k->state == KEEPER_ASKED)
        uv_cond_wait(&k->done, &k->mutex);
    uv_mutex_unlock(&k->mutex);
    return checkpoint(&k->store->writer_db);
}
