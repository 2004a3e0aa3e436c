/* Accounts. What they hold opens doors: copies are wiped. */
#include "store/checkpoint.h"

#include <stdlib.h>
#include <string.h>

enum {
    GROUP_ACCOUNTS = 50,
    ARENA_OCTETS_MAX = 4 * 1024 * 1024,
    SEND_AS_MAX = 10000, /* addresses of one account */
};

struct account_task {
    struct done_task base;
    struct arena arena;
    struct store_account *accounts;
    size_t n;
    struct slice name; /* to get, to remove, or after which the list goes on */
    bool is_new, is_list, is_last;
    bool has_more; /* halves of one that is removed, for another step */
    store_account_done *got;
    store_account_row *row;
};

/* ---- reading ---- */

static struct slice take_text(const struct query *q, int column, struct arena *arena, enum result *result)
{
    struct slice copy = {0};
    if (*result == RESULT_OK)
        *result = arena_copy(arena, query_get_slice(q, column), &copy);
    return copy;
}

static void take_octets(const struct query *q, int column, uint8_t *out, size_t max, size_t *len, enum result *result)
{
    struct slice octets = query_get_slice(q, column);
    if (octets.len > max || (!len && octets.len != max)) {
        *result = RESULT_CORRUPT;
        return;
    }
    if (octets.len > 0)
        memcpy(out, octets.ptr, octets.len);
    if (len)
        *len = octets.len;
}

static enum result take_account(const struct query *q, struct arena *arena, struct store_account *out)
{
    enum result result = RESULT_OK;
    *out = (struct store_account){
        .name = take_text(q, 0, arena, &result),
        .is_enabled = query_get_int(q, 1) != 0,
        .password_hash = take_text(q, 2, arena, &result),
        .scram.iterations = (uint32_t)query_get_int(q, 4),
        .created_at_ms = query_get_int(q, 7),
        .changed_at_ms = query_get_int(q, 8),
    };
    take_octets(q, 3, out->scram.salt, SCRAM_SALT_MAX, &out->scram.salt_len, &result);
    take_octets(q, 5, out->scram.stored_key, SCRAM_KEY, NULL, &result);
    take_octets(q, 6, out->scram.server_key, SCRAM_KEY, NULL, &result);
    return result;
}

static enum result count_send_as(struct database *db, struct slice name, size_t *n)
{
    struct query q = query_open(db, SQL_SEND_AS_GET);
    query_text(&q, name);
    for (*n = 0; query_row(&q);)
        ++*n;
    return query_end(&q);
}

static enum result read_send_as(struct database *db, struct arena *arena, struct store_account *account)
{
    size_t n;
    enum result result = count_send_as(db, account->name, &n);
    struct slice *addresses = arena_alloc(arena, (n + 1) * sizeof *addresses);
    if (result != RESULT_OK || !addresses)
        return result != RESULT_OK ? result : RESULT_MEMORY;
    struct query q = query_open(db, SQL_SEND_AS_GET);
    query_text(&q, account->name);
    while (account->nsend_as < n && result == RESULT_OK && query_row(&q))
        addresses[account->nsend_as++] = take_text(&q, 0, arena, &result);
    account->send_as = addresses;
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

enum result account_read(struct database *db, struct slice name, struct arena *arena, struct store_account *out)
{
    struct query q = query_open(db, SQL_ACCOUNT_GET);
    query_text(&q, name);
    enum result result = query_row(&q) ? take_account(&q, arena, out) : RESULT_NOT_FOUND;
    enum result ended = query_end(&q);
    result = ended == RESULT_OK ? result : ended;
    return result == RESULT_OK ? read_send_as(db, arena, out) : result;
}

static enum result read_accounts(struct account_task *t, struct database *db)
{
    struct query q = query_open(db, t->is_list ? SQL_ACCOUNT_AFTER : SQL_ACCOUNT_GET);
    query_text(&q, t->name);
    if (t->is_list)
        query_int(&q, GROUP_ACCOUNTS);
    enum result result = RESULT_OK;
    while (result == RESULT_OK && query_row(&q)) {
        struct store_account *account = &t->accounts[t->n++];
        result = take_account(&q, &t->arena, account);
        if (result == RESULT_OK)
            result = read_send_as(db, &t->arena, account);
    }
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

static enum result read_run(struct store_task *task, struct database *db)
{
    struct account_task *t = (struct account_task *)task;
    t->n = 0;
    t->accounts = arena_alloc(&t->arena, (t->is_list ? GROUP_ACCOUNTS : 1) * sizeof *t->accounts);
    enum result result = t->accounts ? read_accounts(t, db) : RESULT_MEMORY;
    t->is_last = result != RESULT_OK || t->n < GROUP_ACCOUNTS;
    return result == RESULT_OK && !t->is_list && t->n == 0 ? RESULT_NOT_FOUND : result;
}

static void get_answer(struct store_task *task, bool is_wanted)
{
    struct account_task t = *(struct account_task *)task;
    task_free(task);
    enum result result = t.base.task.result;
    if (is_wanted)
        t.got(t.base.context, result, result == RESULT_OK ? t.accounts : NULL);
    arena_wipe_free(&t.arena);
}

/* Hands a group on; the name after which the next begins outlives the group's memory. */
static void list_answer(struct store_task *task, bool is_wanted)
{
    struct account_task *t = (struct account_task *)task;
    struct arena old = t->arena;
    if (is_wanted)
        t->row(t->base.context, task->result, t->accounts, task->result == RESULT_OK ? t->n : 0, t->is_last);
    bool goes_on = !t->is_last && client_is_open(task->client);
    t->arena = ARENA(ARENA_OCTETS_MAX);
    if (goes_on)
        task->result = arena_copy(&t->arena, t->accounts[t->n - 1].name, &t->name);
    arena_wipe_free(&old);
    t->accounts = NULL;
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

/* has_password: whether its SCRAM key is the one to be written. A new password has a new salt, so the key tells it, while the Argon2id hash may be made anew
 * of the same password at another cost. */
static enum result look_up(struct database *db, const struct store_account *a, bool *exists, bool *has_password)
{
    struct query q = query_open(db, SQL_ACCOUNT_GET);
    query_text(&q, a->name);
    *exists = query_row(&q);
    *has_password = *exists && slice_equal(query_get_slice(&q, 5), slice_of(a->scram.stored_key, SCRAM_KEY));
    return query_end(&q);
}

static enum result write_row(struct database *db, const struct store_account *a)
{
    struct query q = query_open(db, SQL_ACCOUNT_PUT);
    query_text(&q, a->name);
    query_int(&q, a->is_enabled);
    query_text(&q, a->password_hash);
    query_blob(&q, slice_of(a->scram.salt, a->scram.salt_len));
    query_int(&q, a->scram.iterations);
    query_blob(&q, slice_of(a->scram.stored_key, SCRAM_KEY));
    query_blob(&q, slice_of(a->scram.server_key, SCRAM_KEY));
    query_int(&q, a->created_at_ms);
    query_int(&q, a->changed_at_ms);
    return query_run(&q);
}

static enum result remove_by(struct database *db, enum sql which, struct slice name)
{
    struct query q = query_open(db, which);
    query_text(&q, name);
    return query_run(&q);
}

static enum result write_send_as(struct database *db, const struct store_account *a)
{
    enum result result = remove_by(db, SQL_SEND_AS_REMOVE, a->name);
    for (size_t i = 0; i < a->nsend_as && result == RESULT_OK; i++) {
        struct query q = query_open(db, SQL_SEND_AS_ADD);
        query_text(&q, a->name);
        query_text(&q, a->send_as[i]);
        result = query_run(&q);
    }
    return result;
}

static enum result put_run(struct store_task *task, struct database *db)
{
    struct account_task *t = (struct account_task *)task;
    bool exists, has_password;
    enum result result = look_up(db, t->accounts, &exists, &has_password);
    if (result == RESULT_OK && t->is_new == exists)
        return exists ? RESULT_EXISTS : RESULT_NOT_FOUND;
    if (result == RESULT_OK)
        result = write_row(db, t->accounts);
    /* Who changes a password because somebody learnt it shuts out what that somebody enrolled. */
    if (result == RESULT_OK && !has_password)
        result = device_remove_all(db, t->accounts->name);
    return result == RESULT_OK ? write_send_as(db, t->accounts) : result;
}

enum result account_is_there(struct database *db, struct slice name, bool *out)
{
    struct query q = query_open(db, SQL_ACCOUNT_GET);
    query_text(&q, name);
    *out = query_row(&q);
    return query_end(&q);
}

/* Its halves first, step by step, for they may be gigabytes; the account itself with the last of them: whoever gets that name next has none of its mail. Names that are over stay for their time, as after a device
 * (device_remove_all): where the same person gets the account again, his laptop has copies of what was taken, and would hand them over a second time to who has forgotten it. They tell nothing to who can't guess them. */
static enum result remove_run(struct store_task *task, struct database *db)
{
    struct account_task *t = (struct account_task *)task;
    bool is_there = false;
    enum result result = account_is_there(db, t->name, &is_there);
    if (result == RESULT_OK && !is_there)
        return RESULT_NOT_FOUND;
    if (result == RESULT_OK)
        result = checkpoint_drop_halves(db, t->name, &t->has_more);
    if (result != RESULT_OK || t->has_more)
        return result;
    result = remove_by(db, SQL_ACCOUNT_REMOVE, t->name);
    if (result == RESULT_OK)
        result = device_remove_all(db, t->name);
    return result == RESULT_OK ? remove_by(db, SQL_SEND_AS_REMOVE, t->name) : result;
}

static void write_answer(struct store_task *task, bool is_wanted)
{
    arena_wipe_free(&((struct account_task *)task)->arena);
    done_answer(task, is_wanted);
}

static void remove_answer(struct store_task *task, bool is_wanted)
{
    if (is_wanted && task->result == RESULT_OK && ((struct account_task *)task)->has_more)
        writer_send(task);
    else
        write_answer(task, is_wanted);
}

/* ---- the calls ---- */

static struct account_task *account_new(struct store_client *client, enum result (*run)(struct store_task *, struct database *),
                                        void (*answer)(struct store_task *, bool), struct slice name, void *context)
{
    struct account_task *t = task_new(client, sizeof *t, run, answer);
    t->arena = ARENA(ARENA_OCTETS_MAX);
    t->base.context = context;
    t->is_last = true;
    if (t->base.task.result == RESULT_OK)
        t->base.task.result = arena_copy(&t->arena, name, &t->name);
    return t;
}

void store_account_get(struct store_client *client, struct slice name, store_account_done *done, void *context)
{
    struct account_task *t = account_new(client, read_run, get_answer, name, context);
    t->got = done;
    reader_send(&t->base.task);
}

void store_account_list(struct store_client *client, store_account_row *row, void *context)
{
    struct account_task *t = account_new(client, read_run, list_answer, (struct slice){0}, context);
    t->row = row;
    t->is_list = true;
    reader_send(&t->base.task);
}

static enum result copy_account(struct arena *arena, const struct store_account *from, struct store_account **out)
{
    struct store_account *copy = *out = arena_alloc(arena, sizeof *copy);
    struct slice *addresses = arena_alloc(arena, (from->nsend_as + 1) * sizeof *addresses);
    if (!copy || !addresses)
        return RESULT_MEMORY;
    *copy = *from;
    copy->send_as = addresses;
    enum result result = from->nsend_as > SEND_AS_MAX ? RESULT_LIMIT : arena_copy(arena, from->name, &copy->name);
    if (result == RESULT_OK)
        result = arena_copy(arena, from->password_hash, &copy->password_hash);
    for (size_t i = 0; i < from->nsend_as && result == RESULT_OK; i++)
        result = arena_copy(arena, from->send_as[i], &addresses[i]);
    return result;
}

void store_account_put(struct store_client *client, const struct store_account *account, bool is_new, store_done *done, void *context)
{
    struct account_task *t = account_new(client, put_run, write_answer, (struct slice){0}, context);
    t->base.done = done;
    t->base.task.is_urgent = true;
    t->is_new = is_new;
    if (t->base.task.result == RESULT_OK)
        t->base.task.result = copy_account(&t->arena, account, &t->accounts);
    writer_send(&t->base.task);
}

void store_account_remove(struct store_client *client, struct slice name, store_done *done, void *context)
{
    struct account_task *t = account_new(client, remove_run, remove_answer, name, context);
    t->base.done = done;
    t->base.task.is_urgent = true;
    writer_send(&t->base.task);
}
