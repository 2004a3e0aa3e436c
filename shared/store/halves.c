/* Halves, for people: which there are, and the end of one. */
#include "store/half.h"

enum { HALVES_ARENA_MAX = 4 * 1024 * 1024 /* octets: far more than STORE_HALVES_LISTED need */ };

struct halves_task {
    struct store_task task;
    struct arena arena;
    struct store_half_entry *entries;
    size_t n;
    store_halves_done *done;
    void *context;
};

static enum result take_entry(struct query *q, struct receiving *receiving, struct arena *arena, struct store_half_entry *out)
{
    *out = (struct store_half_entry){.message = (uint64_t)query_get_int(q, 0), .octets = (uint64_t)query_get_int(q, 3), .nrcpt = (uint32_t)query_get_int(q, 5)};
    out->is_receiving = receiving_has(receiving, out->message, (uint32_t)query_get_int(q, 4));
    enum result result = arena_copy(arena, query_get_slice(q, 1), &out->account);
    return result == RESULT_OK ? arena_copy(arena, query_get_slice(q, 2), &out->device) : result;
}

static enum result halves_run(struct store_task *task, struct database *db)
{
    struct halves_task *t = (struct halves_task *)task;
    if (!db->has_checkpoints)
        return RESULT_OK;
    t->entries = arena_alloc(&t->arena, STORE_HALVES_LISTED * sizeof *t->entries);
    if (!t->entries)
        return RESULT_MEMORY;
    struct query q = query_open(db, SQL_CHECKPOINT_LISTED);
    query_int(&q, STORE_HALVES_LISTED);
    enum result result = RESULT_OK;
    while (result == RESULT_OK && t->n < STORE_HALVES_LISTED && query_row(&q))
        result = take_entry(&q, client_store(task->client)->receiving, &t->arena, &t->entries[t->n++]);
    enum result ended = query_end(&q);
    return result == RESULT_OK ? ended : result;
}

static void halves_answer(struct store_task *task, bool is_wanted)
{
    struct halves_task t = *(struct halves_task *)task;
    task_free(task);
    if (is_wanted)
        t.done(t.context, t.task.result, t.entries, t.task.result == RESULT_OK ? t.n : 0);
    arena_free(&t.arena);
}

void store_half_list(struct store_client *client, store_halves_done *done, void *context)
{
    struct halves_task *t = task_new(client, sizeof *t, halves_run, halves_answer);
    t->arena = ARENA(HALVES_ARENA_MAX);
    t->done = done;
    t->context = context;
    reader_send(&t->task);
}

/* ---- dropped by a person ---- */

static enum result drop(struct database *db, struct receiving *receiving, uint64_t message)
{
    struct checkpoint_row row;
    struct arena arena = {0};
    if (!db->has_checkpoints)
        return RESULT_NOT_FOUND;
    enum result result = checkpoint_get(db, message, &arena, &row);
    if (result == RESULT_OK && row.reply.len > 0)
        result = RESULT_NOT_FOUND;
    if (result == RESULT_OK && receiving_has(receiving, message, row.generation))
        result = RESULT_DENIED; /* its sender sends to the end, to be told what he could not make sense of */
    if (result == RESULT_OK)
        result = checkpoint_drop(db, message, true, "removed by a person");
    arena_free(&arena);
    return result;
}

struct half_drop_task {
    struct done_task base;
    uint64_t message;
};

static enum result drop_run(struct store_task *task, struct database *db)
{
    return drop(db, client_store(task->client)->receiving, ((struct half_drop_task *)task)->message);
}

void store_half_drop(struct store_client *client, uint64_t message, store_done *done, void *context)
{
    struct half_drop_task *t = done_task_new(client, sizeof *t, drop_run, done_answer, done, context);
    t->base.task.is_urgent = true;
    t->message = message;
    writer_send(&t->base.task);
}
