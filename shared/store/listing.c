/* What is in the queue: for the queue in memory at start, and for people.
 *
 * Rows come in groups. The reader makes one, the loop hands it on, and only then asks for the next: memory stays bounded however long the queue,
 * and between two groups the reader serves others. */
#include "store/engine.h"

#include <stdlib.h>

enum {
    GROUP_DUES = 500,
    GROUP_MESSAGES = 50,
    GROUP_OCTETS = 256 * 1024,           /* of memory, after which a group ends */
    ARENA_OCTETS_MAX = 64 * 1024 * 1024, /* for a message of thousands of recipients */
};

/* ---- the queue at start ---- */

struct queue_task {
    struct store_task task;
    uint64_t after;
    struct arena arena;
    struct store_due *dues;
    size_t n, capacity;
    size_t first; /* of the message that is being read */
    bool is_last;
    store_queue_row *row;
    void *context;
};

static struct store_due *due_of(struct queue_task *t, uint64_t message, struct slice hop)
{
    if (t->n > 0 && t->dues[t->n - 1].message != message)
        t->first = t->n;
    for (size_t i = t->first; i < t->n; i++)
        if (slice_equal(t->dues[i].hop, hop))
            return &t->dues[i];
    return NULL;
}

static enum result add_due(struct queue_task *t, uint64_t message, struct slice hop, struct store_due **out)
{
    if (t->n == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : GROUP_DUES + 100;
        struct store_due *dues = realloc(t->dues, capacity * sizeof *dues);
        if (!dues)
            return RESULT_MEMORY;
        t->dues = dues;
        t->capacity = capacity;
    }
    struct slice copy;
    enum result result = arena_copy(&t->arena, hop, &copy);
    if (result != RESULT_OK)
        return result;
    *out = &t->dues[t->n++];
    **out = (struct store_due){.message = message, .hop = copy, .due_at_ms = INT64_MAX, .is_held = true};
    return RESULT_OK;
}

static enum result take_due(struct queue_task *t, const struct query *q)
{
    uint64_t message = (uint64_t)query_get_int(q, 0);
    struct slice hop = query_get_slice(q, 1);
    struct store_due *due = due_of(t, message, hop);
    enum result result = due ? RESULT_OK : add_due(t, message, hop, &due);
    if (result != RESULT_OK)
        return result;
    int64_t at = query_get_int(q, 2);
    due->is_held &= query_get_int(q, 3) == STORE_HELD;
    due->size_octets = (uint64_t)query_get_int(q, 4);
    if (at < due->due_at_ms)
        due->due_at_ms = at;
    return RESULT_OK;
}

/* A group ends between two messages. */
static bool is_group_full(const struct queue_task *t, const struct query *q)
{
    return t->n >= GROUP_DUES && t->dues[t->n - 1].message != (uint64_t)query_get_int(q, 0);
}

static enum result queue_run(struct store_task *task, struct database *db)
{
    struct queue_task *t = (struct queue_task *)task;
    arena_reset(&t->arena);
    t->n = t->first = 0;
    t->is_last = true;
    struct query q = query_open(db, SQL_QUEUE_AFTER);
    query_int(&q, (int64_t)t->after);
    enum result result = RESULT_OK;
    while (result == RESULT_OK && query_row(&q)) {
        t->is_last = !is_group_full(t, &q);
        if (!t->is_last)
            break;
        result = take_due(t, &q);
    }
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

static void queue_end(struct queue_task *t)
{
    arena_free(&t->arena);
    free(t->dues);
    task_free(&t->task);
}

static void queue_answer(struct store_task *task, bool is_wanted)
{
    struct queue_task *t = (struct queue_task *)task;
    bool is_over = task->result != RESULT_OK || t->is_last;
    if (is_wanted)
        t->row(t->context, t->dues, task->result == RESULT_OK ? t->n : 0, is_over, task->result);
    if (is_over || !client_is_open(task->client)) {
        queue_end(t);
        return;
    }
    t->after = t->dues[t->n - 1].message;
    reader_send(task);
}

void store_queue_load(struct store_client *client, store_queue_row *row, void *context)
{
    struct queue_task *t = task_new(client, sizeof *t, queue_run, queue_answer);
    t->row = row;
    t->context = context;
    t->arena = ARENA(ARENA_OCTETS_MAX);
    t->is_last = true;
    reader_send(&t->task);
}

/* ---- listings ---- */

struct list_task {
    struct store_task task;
    enum sql ids; /* the statement that gives the ids */
    bool is_one;
    uint64_t after; /* or the one */
    uint32_t left;  /* of the asker's limit */
    struct arena arena;
    struct store_listing *rows;
    size_t n;
    bool is_last;
    store_listing_row *row;
    void *context;
};

/* What needs a person's eye comes first, then what is not over; see schema/README.md. */
static const char *derive_state(const struct store_recipient *r, size_t n)
{
    size_t count[STORE_UNCERTAIN + 1] = {0}, ntried = 0, nawaited = 0;
    for (size_t i = 0; i < n; i++) {
        count[r[i].state]++;
        ntried += r[i].state == STORE_QUEUED && r[i].attempts > 0;
        nawaited += r[i].state == STORE_RELAYED && r[i].next_attempt_ms > 0;
    }
    if (count[STORE_HELD])
        return "held";
    if (count[STORE_UNCERTAIN])
        return "uncertain";
    if (count[STORE_QUEUED])
        return ntried ? "deferred" : "queued";
    if (nawaited)
        return "relayed";
    return count[STORE_BOUNCED] ? "bounced" : count[STORE_RELAYED] ? "relayed" : "delivered";
}

/* What can't be opened is still there, and a person who is to do something about it must see it. */
static bool is_shown_all_the_same(enum result result, bool is_there)
{
    return (result == RESULT_CORRUPT || result == RESULT_VERSION) && is_there;
}

/* Recipients whose message has another number now, or is gone: they are shown, with what is left, so that they can be removed, and the other messages are listed. */
static struct store_message orphaned(uint64_t id)
{
    return (struct store_message){.id = id, .envelope.sender = SLICE(STORE_UNREADABLE)};
}

static enum result read_listing(struct database *db, struct arena *arena, uint64_t id, struct store_listing *out)
{
    struct store_recipient *recipients;
    enum result result = message_read(db, arena, id, &out->message), unreadable = RESULT_OK;
    if (is_shown_all_the_same(result, out->message.id != 0))
        unreadable = result, result = RESULT_OK;
    bool is_orphan = result == RESULT_NOT_FOUND;
    if (is_orphan) {
        out->message = orphaned(id);
        unreadable = RESULT_CORRUPT, result = RESULT_OK;
    }
    if (result == RESULT_OK)
        result = message_read_recipients(db, arena, id, NULL, &recipients, &out->nrecipients);
    if (result == RESULT_OK && is_orphan && out->nrecipients == 0)
        return RESULT_NOT_FOUND;
    if (is_shown_all_the_same(result, out->nrecipients > 0))
        unreadable = result, result = RESULT_OK;
    if (result != RESULT_OK)
        return result;
    out->is_unreadable = unreadable != RESULT_OK;
    out->recipients = recipients;
    out->state = derive_state(recipients, out->nrecipients);
    struct envelope *e = &out->message.envelope;
    e->nrcpt = out->nrecipients;
    e->recipients = arena_alloc(arena, e->nrcpt * sizeof *e->recipients);
    for (size_t i = 0; i < e->nrcpt && e->recipients; i++)
        e->recipients[i] = recipients[i].envelope;
    return e->recipients ? RESULT_OK : RESULT_MEMORY;
}

static enum result read_group(struct list_task *t, struct database *db)
{
    uint32_t wanted = t->left < GROUP_MESSAGES ? t->left : GROUP_MESSAGES;
    struct query q = query_open(db, t->ids);
    query_int(&q, (int64_t)t->after);
    query_int(&q, wanted);
    enum result result = RESULT_OK;
    bool is_cut = false;
    while (result == RESULT_OK && !is_cut && query_row(&q)) {
        t->after = (uint64_t)query_get_int(&q, 0);
        result = read_listing(db, &t->arena, t->after, &t->rows[t->n++]);
        is_cut = t->arena.used >= GROUP_OCTETS;
    }
    t->left -= (uint32_t)t->n;
    t->is_last = t->left == 0 || (t->n < wanted && !is_cut);
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

static enum result list_run(struct store_task *task, struct database *db)
{
    struct list_task *t = (struct list_task *)task;
    arena_reset(&t->arena);
    t->n = 0;
    t->rows = arena_alloc(&t->arena, GROUP_MESSAGES * sizeof *t->rows);
    if (!t->rows)
        return RESULT_MEMORY;
    if (!t->is_one)
        return read_group(t, db);
    t->n = 1;
    return read_listing(db, &t->arena, t->after, &t->rows[0]);
}

static void list_answer(struct store_task *task, bool is_wanted)
{
    struct list_task *t = (struct list_task *)task;
    bool is_over = task->result != RESULT_OK || t->is_last;
    if (is_wanted)
        t->row(t->context, task->result, t->rows, task->result == RESULT_OK ? t->n : 0, is_over);
    if (!is_over && client_is_open(task->client)) {
        reader_send(task);
        return;
    }
    arena_free(&t->arena);
    task_free(task);
}

static struct list_task *list_new(struct store_client *client, store_listing_row *row, void *context)
{
    struct list_task *t = task_new(client, sizeof *t, list_run, list_answer);
    t->row = row;
    t->context = context;
    t->arena = ARENA(ARENA_OCTETS_MAX);
    t->is_last = true;
    return t;
}

static enum sql ids_of(enum store_list which)
{
    switch (which) {
    case STORE_LIST_ALL: return SQL_MESSAGE_AFTER;
    case STORE_LIST_AWAITED: return SQL_AWAITED_AFTER;
    case STORE_LIST_PENDING: return SQL_PENDING_AFTER;
    case STORE_LIST_UNFINISHED: break;
    }
    return SQL_UNFINISHED_AFTER;
}

void store_message_list(struct store_client *client, enum store_list which, uint64_t after, uint32_t limit, store_listing_row *row, void *context)
{
    struct list_task *t = list_new(client, row, context);
    t->ids = ids_of(which);
    t->after = after;
    t->left = limit;
    reader_send(&t->task);
}

void store_message_get(struct store_client *client, uint64_t id, store_listing_row *row, void *context)
{
    struct list_task *t = list_new(client, row, context);
    t->is_one = true;
    t->after = id;
    reader_send(&t->task);
}

/* ---- counts ---- */

struct count_task {
    struct store_task task;
    struct store_counts counts;
    store_count_done *done;
    void *context;
};

static enum result count_halves(struct database *db, struct store_counts *c)
{
    if (!db->has_checkpoints)
        return RESULT_OK;
    struct query q = query_open(db, SQL_COUNT_HALVES);
    if (query_row(&q)) {
        c->halves = (uint64_t)query_get_int(&q, 0);
        c->half_octets = (uint64_t)query_get_int(&q, 1);
    }
    return query_end(&q);
}

static enum result count_run(struct store_task *task, struct database *db)
{
    struct store_counts *c = &((struct count_task *)task)->counts;
    struct query q = query_open(db, SQL_COUNT_UNFINISHED);
    uint64_t unfinished = 0;
    if (query_row(&q)) {
        unfinished = (uint64_t)query_get_int(&q, 0);
        c->held = (uint64_t)query_get_int(&q, 1);
        c->uncertain = (uint64_t)query_get_int(&q, 2);
        c->octets = (uint64_t)query_get_int(&q, 3);
        c->queued = unfinished - c->held - c->uncertain;
    }
    enum result result = query_end(&q);
    if (result != RESULT_OK)
        return result;
    q = query_open(db, SQL_COUNT_ALL);
    if (query_row(&q)) /* two reads: a message may have come or gone between them */
        c->finished = (uint64_t)query_get_int(&q, 0) > unfinished ? (uint64_t)query_get_int(&q, 0) - unfinished : 0;
    result = query_end(&q);
    return result == RESULT_OK ? count_halves(db, c) : result;
}

static void count_answer(struct store_task *task, bool is_wanted)
{
    struct count_task t = *(struct count_task *)task;
    task_free(task);
    if (is_wanted)
        t.done(t.context, t.task.result, &t.counts);
}

void store_count(struct store_client *client, store_count_done *done, void *context)
{
    struct count_task *t = task_new(client, sizeof *t, count_run, count_answer);
    t->done = done;
    t->context = context;
    reader_send(&t->task);
}
