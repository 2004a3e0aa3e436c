/* What becomes of a message: outcomes of its attempts, what a person does to it, and the end. */
#include "store/half.h"

#include <stdlib.h>
#include <string.h>

enum { OUTCOMES_OCTETS_MAX = 128 * 1024 * 1024 }; /* as the attempt has that they are of (mta/attempt.c) */

static const char *const STATE_NAMES[] = {
    [STORE_QUEUED] = "queued",       [STORE_HELD] = "held",       [STORE_RELAYED] = "relayed",
    [STORE_DELIVERED] = "delivered", [STORE_BOUNCED] = "bounced", [STORE_UNCERTAIN] = "uncertain",
};

const char *store_state_name(enum store_state state)
{
    return STATE_NAMES[state];
}

/* ---- what an attempt came to ---- */

struct finish_task {
    struct done_task base;
    uint64_t message;
    int64_t now_ms;
    struct arena arena;
    struct store_outcome *outcomes;
    size_t n;
    bool keep_body;
    struct store_job *own;
};

static enum result write_outcomes(const struct finish_task *t, struct database *db)
{
    int64_t changes = 0;
    for (size_t i = 0; i < t->n; i++) {
        enum result result = message_set_outcome(db, t->message, &t->outcomes[i], t->now_ms);
        if (result != RESULT_OK)
            return result;
        changes += database_changes(db);
    }
    return changes > 0 ? RESULT_OK : RESULT_NOT_FOUND;
}

static enum result finish_run(struct store_task *task, struct database *db)
{
    struct finish_task *t = (struct finish_task *)task;
    bool needs_body = true;
    enum result result = write_outcomes(t, db);
    if (result == RESULT_OK && t->own)
        result = message_write(db, t->own, 0);
    if (result == RESULT_EXISTS)
        return RESULT_CORRUPT; /* the outcomes are written already: roll back */
    if (result == RESULT_OK)
        result = message_needs_body(db, t->message, t->keep_body, &needs_body);
    return result == RESULT_OK && !needs_body ? message_drop_body(db, t->message) : result;
}

static void finish_committed(struct store_task *task)
{
    struct finish_task *t = (struct finish_task *)task;
    struct fresh *fresh = client_store(task->client)->fresh;
    fresh_drop(fresh, t->message);
    if (!t->own || t->own->message.nchunks != 1)
        return;
    fresh_put(fresh, t->own);
    t->own = NULL;
}

static void finish_answer(struct store_task *task, bool is_wanted)
{
    struct finish_task *t = (struct finish_task *)task;
    store_job_free(&t->own);
    arena_free(&t->arena);
    done_answer(task, is_wanted);
}

static enum result copy_outcomes(struct finish_task *t, const struct store_outcome *outcomes, size_t n)
{
    t->outcomes = arena_alloc(&t->arena, n * sizeof *outcomes);
    enum result result = t->outcomes ? RESULT_OK : RESULT_MEMORY;
    for (size_t i = 0; i < n && result == RESULT_OK; i++) {
        t->outcomes[i] = outcomes[i];
        result = arena_copy(&t->arena, outcomes[i].reply, &t->outcomes[i].reply);
        if (result == RESULT_OK)
            result = arena_copy(&t->arena, outcomes[i].host, &t->outcomes[i].host);
    }
    t->n = n;
    return result;
}

static enum result copy_own(struct finish_task *t, const struct store_own_message *own)
{
    t->own = job_new();
    if (!t->own)
        return RESULT_MEMORY;
    t->own->memory = malloc(own->body.len + 1);
    if (!t->own->memory)
        return RESULT_MEMORY;
    if (own->body.len > 0)
        memcpy(t->own->memory, own->body.ptr, own->body.len);
    t->own->body = slice_of(t->own->memory, own->body.len);
    enum result result = job_fill(t->own, &own->message, own->hops, t->now_ms);
    t->own->message.size_octets = own->body.len;
    t->own->message.nchunks = (uint32_t)((own->body.len + STORE_CHUNK - 1) / STORE_CHUNK);
    return result;
}

void store_attempt_finish(struct store_client *client, uint64_t message, const struct store_outcome *outcomes, size_t n, int64_t now_ms,
                          const struct store_own_message *own, bool keep_body, store_done *done, void *context)
{
    struct finish_task *t = done_task_new(client, sizeof *t, finish_run, finish_answer, done, context);
    t->base.task.committed = finish_committed;
    t->message = message;
    t->now_ms = now_ms;
    t->keep_body = keep_body;
    t->arena = ARENA(OUTCOMES_OCTETS_MAX);
    if (t->base.task.result == RESULT_OK)
        t->base.task.result = copy_outcomes(t, outcomes, n);
    if (t->base.task.result == RESULT_OK && own)
        t->base.task.result = copy_own(t, own);
    t->base.task.octets = t->arena.used + (own ? own->body.len : 0);
    writer_send(&t->base.task);
}

/* ---- what a person does ---- */

struct change_task {
    struct done_task base;
    uint64_t message;
    int64_t at_ms;
    uint64_t last; /* sweeping only: how far the last step came */
    bool has_more;
};

static enum result change_states(struct database *db, enum sql which, const struct change_task *t)
{
    struct query q = query_open(db, which);
    query_int(&q, (int64_t)t->message);
    if (which != SQL_RECIPIENT_HOLD)
        query_int(&q, t->at_ms);
    enum result result = query_run(&q);
    return result == RESULT_OK && database_changes(db) == 0 ? RESULT_NOT_FOUND : result;
}

static enum result hold_run(struct store_task *task, struct database *db)
{
    return change_states(db, SQL_RECIPIENT_HOLD, (struct change_task *)task);
}

static enum result release_run(struct store_task *task, struct database *db)
{
    return change_states(db, SQL_RECIPIENT_RELEASE, (struct change_task *)task);
}

static enum result requeue_run(struct store_task *task, struct database *db)
{
    return change_states(db, SQL_RECIPIENT_REQUEUE, (struct change_task *)task);
}

static enum result remove_run(struct store_task *task, struct database *db)
{
    uint64_t message = ((struct change_task *)task)->message;
    enum result result = checkpoint_keep_recipients(db, message);
    return result == RESULT_OK ? message_erase(db, message) : result;
}

static enum result forget_digest_run(struct store_task *task, struct database *db)
{
    struct query q = query_open(db, SQL_MESSAGE_FORGET_DIGEST);
    query_int(&q, (int64_t)((struct change_task *)task)->message);
    enum result result = query_run(&q);
    return result == RESULT_OK && database_changes(db) == 0 ? RESULT_NOT_FOUND : result;
}

static void change_committed(struct store_task *task)
{
    fresh_drop(client_store(task->client)->fresh, ((struct change_task *)task)->message);
}

static void send_change(struct store_client *client, enum result (*run)(struct store_task *, struct database *), uint64_t id, int64_t at_ms,
                        store_done *done, void *context)
{
    struct change_task *t = done_task_new(client, sizeof *t, run, done_answer, done, context);
    t->base.task.committed = change_committed;
    t->base.task.is_urgent = true;
    t->message = id;
    t->at_ms = at_ms;
    writer_send(&t->base.task);
}

void store_message_hold(struct store_client *client, uint64_t id, store_done *done, void *context)
{
    send_change(client, hold_run, id, 0, done, context);
}

void store_message_release(struct store_client *client, uint64_t id, int64_t now_ms, store_done *done, void *context)
{
    send_change(client, release_run, id, now_ms, done, context);
}

void store_message_remove(struct store_client *client, uint64_t id, store_done *done, void *context)
{
    send_change(client, remove_run, id, 0, done, context);
}

void store_message_requeue(struct store_client *client, uint64_t id, int64_t due_at_ms, store_done *done, void *context)
{
    send_change(client, requeue_run, id, due_at_ms, done, context);
}

void store_message_forget_digest(struct store_client *client, uint64_t id, store_done *done, void *context)
{
    send_change(client, forget_digest_run, id, 0, done, context);
}

/* ---- sweeping ---- */

enum { SWEEP_STEP = 100 }; /* messages looked at in one transaction, so that new mail never waits long */

/* Ids grow with time, so the first message that is too young ends it. */
static enum result sweep_run(struct store_task *task, struct database *db)
{
    struct change_task *t = (struct change_task *)task;
    uint64_t finished[SWEEP_STEP];
    size_t n = 0, nseen = 0;
    bool is_young = false;
    struct query q = query_open(db, SQL_MESSAGE_FROM);
    query_int(&q, (int64_t)t->message);
    query_int(&q, SWEEP_STEP);
    query_int(&q, t->at_ms);
    while (!is_young && query_row(&q)) {
        t->last = (uint64_t)query_get_int(&q, 0);
        is_young = query_get_int(&q, 1) >= t->at_ms;
        if (!is_young && query_get_int(&q, 2) == 0)
            finished[n++] = t->last;
        nseen++;
    }
    enum result result = query_end(&q);
    for (size_t i = 0; i < n && result == RESULT_OK; i++) {
        bool has_name = false;
        result = checkpoint_is_there(db, finished[i], &has_name);
        if (result == RESULT_OK && !has_name)
            result = message_erase(db, finished[i]);
    }
    t->has_more = result == RESULT_OK && !is_young && nseen == SWEEP_STEP;
    return result;
}

static void sweep_answer(struct store_task *task, bool is_wanted)
{
    struct change_task *t = (struct change_task *)task;
    if (!is_wanted || task->result != RESULT_OK || !t->has_more) {
        done_answer(task, is_wanted);
        return;
    }
    t->message = t->last;
    writer_send(task);
}

void store_sweep(struct store_client *client, int64_t before_ms, store_done *done, void *context)
{
    struct change_task *t = done_task_new(client, sizeof *t, sweep_run, sweep_answer, done, context);
    t->at_ms = before_ms;
    writer_send(&t->base.task);
}
