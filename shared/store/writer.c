/* The writer: one thread, one connection, group commit.
 *
 * Invariants:
 * 1 writer_release is the only place that turns a commit into answers: a task gets RESULT_OK there and nowhere else, after COMMIT (and its fsync)
 * returned. 2 A batch whose COMMIT failed is not committed again: an fsync that failed once may lie the next time. The one exception is SQLITE_FULL,
 * which is a failed write, before any fsync: then new mail gets RESULT_FULL, and the rest, for which room is kept, is run again without it. 3 A task
 * that breaks in the middle takes nobody along: the batch is rolled back, and each task runs in a transaction of its own. That costs less than a
 * savepoint for each, whose page images were a fifth of the time of a commit. 4 A body whose chunk was not taken gets no later chunk and no commit, in
 * whichever batch these are: room may be found between the two, and what is committed would have a hole. */
#include "store/half.h"

#include <stdio.h>

enum {
    LINGER_NS = 1000 * 1000, /* how long a commit waits for those who lately came together with it */
};

static bool is_answer(enum result result)
{
    return result == RESULT_OK || result == RESULT_NOT_FOUND || result == RESULT_EXISTS || result == RESULT_CANCELLED || result == RESULT_DENIED;
}

/* Invariant 4. */
static void fail_those_behind(struct store_task *task)
{
    if (task->result == RESULT_OK || !task->fate || *task->fate != RESULT_OK)
        return;
    *task->fate = task->result;
    task->has_set_fate = true;
}

/* What a transaction that is rolled back has said of bodies was not so: each is asked again. */
static void take_fates_back(struct task_queue *batch)
{
    for (struct store_task *task = batch->first; task; task = task->next) {
        if (task->has_set_fate)
            *task->fate = RESULT_OK;
        task->has_set_fate = false;
    }
}

static void writer_release(struct task_queue *batch)
{
    for (struct store_task *task; (task = task_queue_take(batch));) {
        if (task->result == RESULT_OK && task->committed)
            task->committed(task);
        fail_those_behind(task); /* whose COMMIT failed */
        client_post(task);
    }
}

/* While there is room it is asked for once a transaction: what is kept free is there for what one batch adds. When there is none each may have halves give way for it. */
static enum result find_room(struct store *store, const struct store_task *task)
{
    struct database *db = &store->writer_db;
    if (!store->is_room_known)
        store->has_room = room_lacking(store->room, db) == 0;
    store->is_room_known = true;
    enum result result = store->has_room ? RESULT_OK : half_make_room(db, store->room, &task->growing);
    if (result == RESULT_OK || result == RESULT_FULL) {
        store->has_room = result == RESULT_OK;
        room_tell(store->room, !store->has_room);
    }
    return result;
}

/* New mail that finds no room. True: it is refused, and nothing was written. */
static bool refuse(struct store_task *task, struct database *db)
{
    task->result = task->run_full ? task->run_full(task, db) : RESULT_NOT_FOUND;
    if (task->result != RESULT_NOT_FOUND)
        return false;
    task->result = RESULT_FULL;
    return true;
}

/* RESULT_OK: it has its answer; anything else: the transaction is in pieces. */
static enum result run_task(struct store *store, struct store_task *task)
{
    if (task->fate && *task->fate != RESULT_OK)
        return task->result = *task->fate, RESULT_OK;
    enum result room = task->is_mail ? find_room(store, task) : RESULT_OK;
    bool is_refused = room == RESULT_FULL && refuse(task, &store->writer_db);
    if (room != RESULT_FULL)
        task->result = room == RESULT_OK ? task->run(task, &store->writer_db) : room;
    if (!is_refused && !is_answer(task->result))
        return task->result;
    fail_those_behind(task);
    return RESULT_OK;
}

static enum result begin(struct store *store)
{
    store->is_room_known = false;
    return database_begin(&store->writer_db);
}

static enum result run_alone_once(struct store *store, struct store_task *task)
{
    struct database *db = &store->writer_db;
    enum result result = begin(store);
    if (result == RESULT_OK)
        result = run_task(store, task);
    if (result == RESULT_OK)
        result = database_commit(db);
    if (result == RESULT_OK)
        return task->result;
    database_rollback(db);
    return task->result = result;
}

/* For what must be written all the same: the reserve, and an emptied log, whose file can be written again from its start. */
static bool make_room(struct store *store)
{
    bool gave_way = room_give_way(store->room);
    return keeper_empty(store->keeper) || gave_way;
}

static void run_alone(struct store *store, struct store_task *task)
{
    enum result result = run_alone_once(store, task);
    if (result == RESULT_FULL && !task->is_mail && make_room(store))
        result = run_alone_once(store, task);
    task->result = result;
    fail_those_behind(task);
}

static void run_apart(struct store *store, struct task_queue *batch)
{
    take_fates_back(batch);
    for (struct store_task *task = batch->first; task; task = task->next)
        run_alone(store, task);
}

/* COMMIT said no: everybody who thought to have succeeded gets the error. */
static void commit_failed(struct store *store, struct task_queue *batch, enum result result)
{
    bool is_full = (store->writer_db.last_error & 0xff) == SQLITE_FULL;
    if (is_full)
        make_room(store);
    for (struct store_task *task = batch->first; task; task = task->next) {
        if (is_full && !task->is_mail)
            run_alone(store, task);
        else if (is_answer(task->result))
            task->result = result;
    }
}

static void writer_run(struct store *store, struct task_queue *batch)
{
    struct database *db = &store->writer_db;
    enum result result = begin(store);
    for (struct store_task *task = batch->first; task && result == RESULT_OK; task = task->next) {
        if (run_task(store, task) != RESULT_OK) {
            database_rollback(db);
            run_apart(store, batch);
            return;
        }
    }
    if (result == RESULT_OK)
        result = database_commit(db);
    if (result == RESULT_OK)
        return;
    database_rollback(db);
    commit_failed(store, batch, result);
}

static void quiet(void *context)
{
    struct store *store = context;
    fresh_clear(store->fresh);
    wiping_later(store);
    keeper_rest(store->keeper);
    database_shrink(&store->writer_db);
    worker_trim();
}

/* Waits a little for company, if there was company lately: on a fast disk commits would otherwise follow each other with two or three messages
 * in each, and their cost is per commit. A lone sender never waits: it was alone the last time, too. Outcomes, for which nobody waits, do. */
static void linger(struct store *store)
{
    struct worker *w = &store->writer;
    size_t urgent = w->queue.nurgent;
    bool is_enough = urgent > 0 && urgent >= store->crowd;
    if (is_enough || w->is_stopping)
        return;
    w->wake_at = store->crowd > 1 ? store->crowd : 1;
    uint64_t until = uv_hrtime() + LINGER_NS;
    for (uint64_t now = uv_hrtime(); now < until && w->queue.nurgent < w->wake_at && !w->is_stopping; now = uv_hrtime())
        if (uv_cond_timedwait(&w->wake, &w->mutex, until - now) == UV_ETIMEDOUT)
            break;
    w->wake_at = 0;
}

static struct task_queue gather(struct store *store)
{
    struct worker *w = &store->writer;
    uv_mutex_lock(&w->mutex);
    linger(store);
    struct task_queue batch = w->queue;
    w->queue = (struct task_queue){0};
    uv_mutex_unlock(&w->mutex);
    size_t faded = store->crowd - (store->crowd + 7) / 8;
    store->crowd = batch.nurgent > faded ? batch.nurgent : faded;
    return batch;
}

void writer_main(void *context)
{
    struct store *store = context;
    while (worker_wait(&store->writer, quiet, store)) {
        struct task_queue batch = gather(store);
        writer_run(store, &batch);
        writer_release(&batch);
        keeper_consider(store->keeper);
    }
}
