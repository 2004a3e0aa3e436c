/* Times of another wall clock than today's. */
#include "store/engine.h"

enum { MEND_STEP = 100 }; /* messages looked at in one transaction, so that new mail never waits long */

struct mend_task {
    struct done_task base;
    int64_t now_ms, alive_at_ms;
    bool with_awaited, is_at_awaited;
    uint64_t after;
    /* of a run, which may be made again: */
    uint64_t last;
    size_t nseen;
};

static enum result move(struct database *db, enum sql statement, uint64_t message, int64_t by_ms)
{
    struct query q = query_open(db, statement);
    query_int(&q, (int64_t)message);
    query_int(&q, by_ms);
    return query_run(&q);
}

/* What the next hop has, or may have, is known there for a time that pauses count in: were it moved after each, it would be handed over anew when its name is forgotten. */
static int64_t stray_ms(int64_t lifetime_ms, bool is_elsewhere)
{
    if (is_elsewhere)
        return STORE_STRAY_MS;
    return lifetime_ms / 2 < STORE_PAUSE_MS ? lifetime_ms / 2 : STORE_PAUSE_MS;
}

static bool is_of_today(int64_t heard_ms, int64_t now_ms, int64_t stray_ms)
{
    return heard_ms >= now_ms - stray_ms && heard_ms <= now_ms + STORE_AHEAD_MS;
}

/* What came by the new clock already is of today, however far ahead the old one went. */
static enum result mend_one(struct database *db, uint64_t message, int64_t now_ms, int64_t alive_at_ms)
{
    struct query q = query_open(db, SQL_MESSAGE_HEARD);
    query_int(&q, (int64_t)message);
    bool is_there = query_row(&q);
    int64_t heard_ms = is_there ? query_get_int(&q, 0) : now_ms, stray = is_there ? stray_ms(query_get_int(&q, 1), query_get_int(&q, 2) != 0) : 0;
    enum result result = query_end(&q);
    if (result != RESULT_OK || !is_there || is_of_today(heard_ms, now_ms, stray))
        return result;
    if (heard_ms < alive_at_ms)
        heard_ms = alive_at_ms;
    if (is_of_today(heard_ms, now_ms, stray))
        return result;
    result = move(db, SQL_MESSAGE_MOVE, message, now_ms - heard_ms);
    return result == RESULT_OK ? move(db, SQL_RECIPIENT_MOVE, message, now_ms - heard_ms) : result;
}

static enum result mend_run(struct store_task *task, struct database *db)
{
    struct mend_task *t = (struct mend_task *)task;
    uint64_t ids[MEND_STEP];
    t->nseen = 0;
    t->last = t->after;
    struct query q = query_open(db, t->is_at_awaited ? SQL_AWAITED_AFTER : SQL_UNFINISHED_AFTER);
    query_int(&q, (int64_t)t->after);
    query_int(&q, MEND_STEP);
    while (query_row(&q))
        ids[t->nseen++] = t->last = (uint64_t)query_get_int(&q, 0);
    enum result result = query_end(&q);
    for (size_t i = 0; i < t->nseen && result == RESULT_OK; i++)
        result = mend_one(db, ids[i], t->now_ms, t->alive_at_ms);
    return result;
}

static void mend_committed(struct store_task *task)
{
    fresh_clear(client_store(task->client)->fresh);
}

/* True: there is more to look at. */
static bool go_on(struct mend_task *t)
{
    bool is_page_full = t->nseen == MEND_STEP;
    t->after = is_page_full ? t->last : 0;
    if (is_page_full || t->is_at_awaited || !t->with_awaited)
        return is_page_full;
    t->is_at_awaited = true;
    return true;
}

static void mend_answer(struct store_task *task, bool is_wanted)
{
    if (is_wanted && task->result == RESULT_OK && go_on((struct mend_task *)task))
        writer_send(task);
    else
        done_answer(task, is_wanted);
}

void store_clock_mend(struct store_client *client, int64_t now_ms, int64_t alive_at_ms, bool with_awaited, store_done *done, void *context)
{
    struct mend_task *t = done_task_new(client, sizeof *t, mend_run, mend_answer, done, context);
    t->base.task.committed = mend_committed;
    t->base.task.is_urgent = true;
    t->now_ms = now_ms;
    t->alive_at_ms = alive_at_ms;
    t->with_awaited = with_awaited;
    writer_send(&t->base.task);
}
