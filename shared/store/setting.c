/* Named values. They may be secrets: copies are wiped. */
#include "store/engine.h"

#include <stdlib.h>
#include <string.h>

enum { VALUE_MAX = 1024 * 1024 }; /* octets of name and value */

struct setting_task {
    struct done_task base;
    struct arena arena;
    struct slice name, value;
    store_octets_done *got;
};

static enum result get_run(struct store_task *task, struct database *db)
{
    struct setting_task *t = (struct setting_task *)task;
    struct query q = query_open(db, SQL_SETTING_GET);
    query_text(&q, t->name);
    enum result result = query_row(&q) ? arena_copy(&t->arena, query_get_slice(&q, 0), &t->value) : RESULT_NOT_FOUND;
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

static enum result latest_run(struct store_task *task, struct database *db)
{
    struct setting_task *t = (struct setting_task *)task;
    struct query q = query_open(db, SQL_SERVED_LATEST);
    enum result result = query_row(&q) ? arena_copy(&t->arena, query_get_slice(&q, 0), &t->value) : RESULT_NOT_FOUND;
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

static void get_answer(struct store_task *task, bool is_wanted)
{
    struct setting_task t = *(struct setting_task *)task;
    task_free(task);
    if (is_wanted)
        t.got(t.base.context, t.base.task.result, t.value);
    arena_wipe_free(&t.arena);
}

static enum result put_run(struct store_task *task, struct database *db)
{
    struct setting_task *t = (struct setting_task *)task;
    struct query q = query_open(db, SQL_SETTING_PUT);
    query_text(&q, t->name);
    query_blob(&q, t->value);
    return query_run(&q);
}

static void put_answer(struct store_task *task, bool is_wanted)
{
    arena_wipe_free(&((struct setting_task *)task)->arena);
    done_answer(task, is_wanted);
}

static struct setting_task *setting_new(struct store_client *client, enum result (*run)(struct store_task *, struct database *),
                                        void (*answer)(struct store_task *, bool), struct slice name, struct slice value)
{
    struct setting_task *t = task_new(client, sizeof *t, run, answer);
    t->arena = ARENA(VALUE_MAX);
    if (t->base.task.result == RESULT_OK)
        t->base.task.result = arena_copy(&t->arena, name, &t->name);
    if (t->base.task.result == RESULT_OK)
        t->base.task.result = arena_copy(&t->arena, value, &t->value);
    return t;
}

void store_setting_get(struct store_client *client, struct slice name, store_octets_done *done, void *context)
{
    struct setting_task *t = setting_new(client, get_run, get_answer, name, (struct slice){0});
    t->got = done;
    t->base.context = context;
    reader_send(&t->base.task);
}

void store_served_latest(struct store_client *client, store_octets_done *done, void *context)
{
    struct setting_task *t = setting_new(client, latest_run, get_answer, (struct slice){0}, (struct slice){0});
    t->got = done;
    t->base.context = context;
    reader_send(&t->base.task);
}

void store_setting_put(struct store_client *client, struct slice name, struct slice value, store_done *done, void *context)
{
    struct setting_task *t = setting_new(client, put_run, put_answer, name, value);
    t->base.done = done;
    t->base.context = context;
    t->base.task.is_urgent = true;
    t->base.task.octets = t->arena.used;
    writer_send(&t->base.task);
}
