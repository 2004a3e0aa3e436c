/* Devices: laptops that log in by a token. Tokens open doors: copies are wiped. */
#include "store/checkpoint.h"

#include <stdlib.h>
#include <string.h>

enum {
    GROUP_DEVICES = 100,
    ARENA_OCTETS_MAX = 4 * 1024 * 1024,
};

struct device_task {
    struct done_task base;
    struct arena arena;
    struct store_device *devices; /* found; or the one to add */
    struct store_account *account;
    size_t n;
    struct slice id;           /* to get, to note or to remove; the list goes on behind it */
    struct slice after;        /* its account, and its time */
    int64_t after_ms;
    struct slice of;           /* the list is of this account; empty: of all */
    struct slice gone;         /* made room for the new one */
    uint32_t most;
    int64_t changed_at_ms; /* of the account, as the asker knows it */
    int64_t now_ms;
    bool is_last;
    union {
        store_device_done *got;
        store_device_row *row;
        store_octets_done *added;
    };
};

/* ---- reading ---- */

static enum result take_device(const struct query *q, struct arena *arena, struct store_device *out)
{
    struct slice token = query_get_slice(q, 3);
    *out = (struct store_device){.created_at_ms = query_get_int(q, 4), .seen_at_ms = query_get_int(q, 5)};
    if (token.len != sizeof out->token)
        return RESULT_CORRUPT;
    memcpy(out->token, token.ptr, token.len);
    enum result result = arena_copy(arena, query_get_slice(q, 0), &out->id);
    if (result == RESULT_OK)
        result = arena_copy(arena, query_get_slice(q, 1), &out->account);
    return result == RESULT_OK ? arena_copy(arena, query_get_slice(q, 2), &out->label) : result;
}

static enum result read_one(struct database *db, struct slice id, struct arena *arena, struct store_device *out)
{
    struct query q = query_open(db, SQL_DEVICE_GET);
    query_text(&q, id);
    enum result result = query_row(&q) ? take_device(&q, arena, out) : RESULT_NOT_FOUND;
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

static enum result get_run(struct store_task *task, struct database *db)
{
    struct device_task *t = (struct device_task *)task;
    t->devices = arena_alloc(&t->arena, sizeof *t->devices);
    t->account = arena_alloc(&t->arena, sizeof *t->account);
    enum result result = t->devices && t->account ? read_one(db, t->id, &t->arena, t->devices) : RESULT_MEMORY;
    return result == RESULT_OK ? account_read(db, t->devices->account, &t->arena, t->account) : result;
}

static void get_answer(struct store_task *task, bool is_wanted)
{
    struct device_task t = *(struct device_task *)task;
    task_free(task);
    enum result result = t.base.task.result;
    bool is_found = result == RESULT_OK;
    if (is_wanted)
        t.got(t.base.context, result, is_found ? t.devices : NULL, is_found ? t.account : NULL);
    arena_wipe_free(&t.arena);
}

static enum result list_run(struct store_task *task, struct database *db)
{
    struct device_task *t = (struct device_task *)task;
    enum result result = RESULT_OK;
    t->n = 0;
    t->devices = arena_alloc(&t->arena, GROUP_DEVICES * sizeof *t->devices);
    t->is_last = true;
    if (!t->devices)
        return RESULT_MEMORY;
    struct query q = query_open(db, t->of.len > 0 ? SQL_DEVICE_OF : SQL_DEVICE_AFTER);
    query_text(&q, t->of.len > 0 ? t->of : t->after);
    query_int(&q, t->after_ms);
    query_text(&q, t->id);
    query_int(&q, GROUP_DEVICES);
    while (result == RESULT_OK && query_row(&q))
        result = take_device(&q, &t->arena, &t->devices[t->n++]);
    enum result ended = query_end(&q);
    result = ended == RESULT_OK ? result : ended;
    t->is_last = result != RESULT_OK || t->n < GROUP_DEVICES;
    return result;
}

/* Where the next group begins outlives this one's memory. */
static enum result keep_place(struct device_task *t, struct slice of)
{
    struct store_device *last = &t->devices[t->n - 1];
    t->after_ms = last->created_at_ms;
    enum result result = arena_copy(&t->arena, last->id, &t->id);
    if (result == RESULT_OK)
        result = arena_copy(&t->arena, last->account, &t->after);
    return result == RESULT_OK ? arena_copy(&t->arena, of, &t->of) : result;
}

static void list_answer(struct store_task *task, bool is_wanted)
{
    struct device_task *t = (struct device_task *)task;
    struct arena old = t->arena;
    if (is_wanted)
        t->row(t->base.context, task->result, t->devices, task->result == RESULT_OK ? t->n : 0, t->is_last);
    bool goes_on = !t->is_last && client_is_open(task->client);
    t->arena = ARENA(ARENA_OCTETS_MAX);
    if (goes_on)
        task->result = keep_place(t, t->of);
    arena_wipe_free(&old);
    t->devices = NULL;
    t->n = 0;
    if (!goes_on) {
        arena_free(&t->arena);
        task_free(task);
        return;
    }
    t->is_last = task->result != RESULT_OK;
    reader_send(task);
}

/* ---- writing ---- */

static enum result is_taken(struct database *db, struct slice id, bool *out)
{
    struct query q = query_open(db, SQL_DEVICE_GET);
    query_text(&q, id);
    *out = query_row(&q);
    return query_end(&q);
}

/* In the transaction that adds the device: no new password can come between. */
static enum result judge_account(struct database *db, const struct device_task *t)
{
    struct query q = query_open(db, SQL_ACCOUNT_GET);
    query_text(&q, t->devices->account);
    enum result result = RESULT_NOT_FOUND;
    if (query_row(&q))
        result = query_get_int(&q, 8) == t->changed_at_ms ? RESULT_OK : RESULT_DENIED;
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

static enum result remove_by(struct database *db, enum sql which, struct slice key)
{
    struct query q = query_open(db, which);
    query_text(&q, key);
    return query_run(&q);
}

enum result device_remove_all(struct database *db, struct slice account)
{
    enum result result = checkpoint_disown_all(db, account);
    return result == RESULT_OK ? remove_by(db, SQL_DEVICE_REMOVE_ALL, account) : result;
}

/* How many an account has, and which of them was unseen for longest. */
static enum result count_devices(struct database *db, struct slice account, struct arena *arena, size_t *n, struct slice *stalest)
{
    struct query q = query_open(db, SQL_DEVICE_OF);
    int64_t least_ms = INT64_MAX;
    enum result result = RESULT_OK;
    query_text(&q, account);
    query_int(&q, INT64_MIN);
    query_text(&q, (struct slice){0});
    query_int(&q, INT32_MAX);
    for (*n = 0; result == RESULT_OK && query_row(&q); ++*n) {
        int64_t seen_ms = query_get_int(&q, 5);
        if (seen_ms >= least_ms)
            continue;
        least_ms = seen_ms;
        result = arena_copy(arena, query_get_slice(&q, 0), stalest);
    }
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

static enum result make_room(struct device_task *t, struct database *db)
{
    size_t n = 0;
    struct slice stalest = {0};
    t->gone = (struct slice){0};
    enum result result = count_devices(db, t->devices->account, &t->arena, &n, &stalest);
    if (result != RESULT_OK || n < t->most || n == 0)
        return result;
    t->gone = stalest;
    result = checkpoint_disown(db, t->devices->account, stalest);
    return result == RESULT_OK ? remove_by(db, SQL_DEVICE_REMOVE, stalest) : result;
}

static enum result write_row(struct database *db, const struct store_device *d)
{
    struct query q = query_open(db, SQL_DEVICE_ADD);
    query_text(&q, d->id);
    query_text(&q, d->account);
    query_text(&q, d->label);
    query_blob(&q, slice_of(d->token, sizeof d->token));
    query_int(&q, d->created_at_ms);
    query_int(&q, d->seen_at_ms);
    query_int(&q, d->enrolled_served_ms);
    return query_run(&q);
}

static enum result add_run(struct store_task *task, struct database *db)
{
    struct device_task *t = (struct device_task *)task;
    bool exists = false;
    enum result result = judge_account(db, t);
    if (result == RESULT_OK)
        result = is_taken(db, t->devices->id, &exists);
    if (result == RESULT_OK)
        result = exists ? RESULT_EXISTS : make_room(t, db);
    return result == RESULT_OK ? write_row(db, t->devices) : result;
}

static void add_answer(struct store_task *task, bool is_wanted)
{
    struct device_task t = *(struct device_task *)task;
    task_free(task);
    if (is_wanted)
        t.added(t.base.context, t.base.task.result, t.base.task.result == RESULT_OK ? t.gone : (struct slice){0});
    arena_wipe_free(&t.arena);
}

static enum result seen_run(struct store_task *task, struct database *db)
{
    struct device_task *t = (struct device_task *)task;
    struct query q = query_open(db, SQL_DEVICE_SEEN);
    query_text(&q, t->id);
    query_int(&q, t->now_ms);
    enum result result = query_run(&q);
    return result == RESULT_OK && database_changes(db) == 0 ? RESULT_NOT_FOUND : result;
}

static enum result remove_run(struct store_task *task, struct database *db)
{
    struct device_task *t = (struct device_task *)task;
    struct store_device device;
    enum result result = read_one(db, t->id, &t->arena, &device);
    if (result == RESULT_OK)
        result = checkpoint_disown(db, device.account, t->id);
    return result == RESULT_OK ? remove_by(db, SQL_DEVICE_REMOVE, t->id) : result;
}

static void write_answer(struct store_task *task, bool is_wanted)
{
    arena_wipe_free(&((struct device_task *)task)->arena);
    done_answer(task, is_wanted);
}

/* ---- the calls ---- */

static struct device_task *device_new(struct store_client *client, enum result (*run)(struct store_task *, struct database *),
                                      void (*answer)(struct store_task *, bool), struct slice id, void *context)
{
    struct device_task *t = task_new(client, sizeof *t, run, answer);
    t->arena = ARENA(ARENA_OCTETS_MAX);
    t->base.context = context;
    t->is_last = true;
    if (t->base.task.result == RESULT_OK)
        t->base.task.result = arena_copy(&t->arena, id, &t->id);
    return t;
}

void store_device_get(struct store_client *client, struct slice id, store_device_done *done, void *context)
{
    struct device_task *t = device_new(client, get_run, get_answer, id, context);
    t->got = done;
    reader_send(&t->base.task);
}

void store_device_list(struct store_client *client, struct slice account, store_device_row *row, void *context)
{
    struct device_task *t = device_new(client, list_run, list_answer, (struct slice){0}, context);
    t->row = row;
    t->after_ms = INT64_MIN;
    if (t->base.task.result == RESULT_OK)
        t->base.task.result = arena_copy(&t->arena, account, &t->of);
    reader_send(&t->base.task);
}

static enum result copy_device(struct arena *arena, const struct store_device *from, struct store_device **out)
{
    struct store_device *copy = *out = arena_alloc(arena, sizeof *copy);
    if (!copy)
        return RESULT_MEMORY;
    *copy = *from;
    enum result result = arena_copy(arena, from->id, &copy->id);
    if (result == RESULT_OK)
        result = arena_copy(arena, from->account, &copy->account);
    return result == RESULT_OK ? arena_copy(arena, from->label, &copy->label) : result;
}

void store_device_add(struct store_client *client, const struct store_device *device, int64_t account_changed_at_ms, uint32_t most, store_octets_done *done, void *context)
{
    struct device_task *t = device_new(client, add_run, add_answer, (struct slice){0}, context);
    t->added = done;
    t->base.task.is_urgent = true;
    t->most = most;
    t->changed_at_ms = account_changed_at_ms;
    if (t->base.task.result == RESULT_OK)
        t->base.task.result = copy_device(&t->arena, device, &t->devices);
    writer_send(&t->base.task);
}

void store_device_seen(struct store_client *client, struct slice id, int64_t now_ms, store_done *done, void *context)
{
    struct device_task *t = device_new(client, seen_run, write_answer, id, context);
    t->base.done = done;
    t->now_ms = now_ms;
    writer_send(&t->base.task);
}

void store_device_remove(struct store_client *client, struct slice id, store_done *done, void *context)
{
    struct device_task *t = device_new(client, remove_run, write_answer, id, context);
    t->base.done = done;
    t->base.task.is_urgent = true;
    writer_send(&t->base.task);
}
