/* A client of the store: one loop's door to the threads, and the mailbox in which answers come back.
 *
 * Invariants:
 * 1 Everything but client_post happens on the loop's thread.
 * 2 `owed` counts tasks that were sent and not yet answered; the handle is referenced exactly while it is not 0.
 * 3 A client that was closed lives on until nothing is owed, because tasks under way point to it; then on_closed comes, once. */
#include "store/engine.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As many as there may be askers of a loop at once: the relay has 2000 sessions over all its loops, if nobody has set it higher. Pages that nobody touched cost nothing. */
enum { RESERVE_TASKS = 4096 };

struct reserve_task {
    _Alignas(max_align_t) char memory[TASK_SIZE_MAX];
    bool is_used;
};

struct store_client {
    struct store *store;
    uv_async_t async;
    uv_mutex_t mutex;
    struct task_queue mailbox; /* under mutex */
    size_t owed;
    size_t nintakes; /* that their owners have not given up */
    bool is_closed;  /* by its owner */
    bool is_ending;  /* uv_close was called */
    bool is_dispatching;
    void (*on_closed)(void *);
    void *context;
    struct reserve_task reserve[RESERVE_TASKS]; /* so that even "out of memory" can be answered */
};

struct store *client_store(const struct store_client *client)
{
    return client->store;
}

bool client_is_open(const struct store_client *client)
{
    return !client->is_closed;
}

void client_count_intake(struct store_client *client, int change)
{
    client->nintakes += (size_t)change;
}

static void after_close(uv_handle_t *handle)
{
    struct store_client *client = handle->data;
    void (*on_closed)(void *) = client->on_closed;
    void *context = client->context;
    uv_mutex_destroy(&client->mutex);
    free(client);
    if (on_closed)
        on_closed(context);
}

static void settle(struct store_client *client)
{
    if (client->owed > 0 || client->is_ending || client->is_dispatching)
        return;
    uv_unref((uv_handle_t *)&client->async);
    if (client->is_closed) {
        client->is_ending = true;
        uv_close((uv_handle_t *)&client->async, after_close);
    }
}

static void owe(struct store_client *client)
{
    if (client->owed++ == 0)
        uv_ref((uv_handle_t *)&client->async);
}

static void dispatch(uv_async_t *async)
{
    struct store_client *client = async->data;
    uv_mutex_lock(&client->mutex);
    struct task_queue mail = client->mailbox;
    client->mailbox = (struct task_queue){0};
    uv_mutex_unlock(&client->mutex);
    client->is_dispatching = true;
    for (struct store_task *task; (task = task_queue_take(&mail));) {
        client->owed--;
        task->answer(task, !client->is_closed);
    }
    client->is_dispatching = false;
    settle(client);
}

enum result store_client_open(struct store_client **out, struct store *store, uv_loop_t *loop)
{
    struct store_client *client = calloc(1, sizeof *client);
    *out = NULL;
    if (!client)
        return RESULT_MEMORY;
    client->store = store;
    if (uv_mutex_init(&client->mutex) != 0) {
        free(client);
        return RESULT_MEMORY;
    }
    if (uv_async_init(loop, &client->async, dispatch) != 0) {
        uv_mutex_destroy(&client->mutex);
        free(client);
        return RESULT_MEMORY;
    }
    client->async.data = client;
    uv_unref((uv_handle_t *)&client->async);
    *out = client;
    return RESULT_OK;
}

void store_client_close(struct store_client *client, void (*on_closed)(void *), void *context)
{
    if (!client) {
        if (on_closed)
            on_closed(context);
        return;
    }
    assert(!client->is_closed && client->nintakes == 0);
    client->is_closed = true;
    client->on_closed = on_closed;
    client->context = context;
    settle(client);
}

void task_init(struct store_task *task, struct store_client *client, enum result (*run)(struct store_task *, struct database *),
               void (*answer)(struct store_task *, bool is_wanted))
{
    *task = (struct store_task){.client = client, .run = run, .answer = answer};
}

static struct store_task *reserve_take(struct store_client *client)
{
    for (size_t i = 0; i < RESERVE_TASKS; i++) {
        struct reserve_task *r = &client->reserve[i];
        if (r->is_used)
            continue;
        memset(r->memory, 0, sizeof r->memory);
        r->is_used = true;
        return (struct store_task *)(void *)r->memory;
    }
    return NULL;
}

void *task_new(struct store_client *client, size_t size, enum result (*run)(struct store_task *, struct database *),
               void (*answer)(struct store_task *, bool is_wanted))
{
    assert(size <= TASK_SIZE_MAX && !client->is_closed);
    struct store_task *task = calloc(1, size);
    bool is_emergency = !task;
    if (is_emergency)
        task = reserve_take(client);
    if (!task) { /* no promise can be kept any more, and nothing acknowledged is lost by ending here */
        log_event(client->store->log, LOG_ERROR, "out-of-memory", LOG_TEXT("where", "store client"));
        abort();
    }
    task_init(task, client, run, answer);
    task->is_emergency = is_emergency;
    task->result = is_emergency ? RESULT_MEMORY : RESULT_OK;
    return task;
}

void task_free(struct store_task *task)
{
    if (!task->is_emergency) {
        free(task);
        return;
    }
    struct reserve_task *r = (struct reserve_task *)(void *)((char *)task - offsetof(struct reserve_task, memory));
    r->is_used = false;
}

void client_post(struct store_task *task)
{
    struct store_client *client = task->client;
    uv_mutex_lock(&client->mutex);
    task_queue_add(&client->mailbox, task);
    /* Under the mutex: once the task is seen in the mailbox, the client may close and go. */
    uv_async_send(&client->async);
    uv_mutex_unlock(&client->mutex);
}

void client_answer(struct store_task *task)
{
    owe(task->client);
    client_post(task);
}

static bool enqueue(struct worker *worker, struct store_task *task)
{
    bool is_taken = true;
    uv_mutex_lock(&worker->mutex);
    /* New messages are turned away first, then the chunks of those under way; outcomes and the like are bounded by those who ask. */
    size_t share = task->is_mail && task->is_urgent ? 1 : 2;
    if (worker->queue.count >= share * STORE_WRITES_MAX || (task->is_mail && worker->queue.octets >= share * STORE_WRITES_OCTETS_MAX))
        is_taken = false;
    else
        task_queue_add(&worker->queue, task);
    if (is_taken && (worker->wake_at == 0 || worker->queue.nurgent >= worker->wake_at))
        uv_cond_signal(&worker->wake);
    uv_mutex_unlock(&worker->mutex);
    return is_taken;
}

static enum result hand_over(struct worker *worker, struct store_task *task)
{
    enum result result = task->result; /* once it is in a queue it is the worker's */
    owe(task->client);
    if (result == RESULT_OK && !enqueue(worker, task))
        result = task->result = RESULT_BUSY;
    if (result != RESULT_OK)
        client_post(task);
    return result;
}

enum result writer_send(struct store_task *task)
{
    return hand_over(&task->client->store->writer, task);
}

void reader_send(struct store_task *task)
{
    (void)hand_over(&task->client->store->reader, task);
}

size_t writer_load(struct store *store)
{
    uv_mutex_lock(&store->writer.mutex);
    size_t octets = store->writer.queue.octets;
    uv_mutex_unlock(&store->writer.mutex);
    return octets;
}

void *done_task_new(struct store_client *client, size_t size, enum result (*run)(struct store_task *, struct database *),
                    void (*answer)(struct store_task *, bool is_wanted), store_done *done, void *context)
{
    struct done_task *d = task_new(client, size, run, answer);
    d->done = done;
    d->context = context;
    return d;
}

void done_answer(struct store_task *task, bool is_wanted)
{
    struct done_task *d = (struct done_task *)task;
    enum result result = task->result;
    store_done *done = d->done;
    void *context = d->context;
    task_free(task);
    if (is_wanted && done)
        done(context, result);
}
