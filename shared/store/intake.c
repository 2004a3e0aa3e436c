/* Bodies on their way in.
 *
 *     append ... append            the buffer grows to STORE_CHUNK; a full one goes to the writer when more comes
 *     commit                       the last chunk, the message and its recipients: one request, one transaction
 *
 * A message that fits one chunk is never half on the disk. One that does not has a row in `intake` from its first chunk until the commit; who has one
 * at start is swept.
 *
 * Invariants:
 * 1 An intake lives until its owner has given it up and no task points to it.
 * 2 Once a chunk has failed, everything after it fails: `fate`, which the writer alone reads and writes, for those that it ran; `result` for those that
 *   it never saw, set before the next chunk or the commit can be sent. A body with a hole would otherwise be committed when the queue has room again.
 * 3 `result` is never RESULT_BUSY: to the owner that is no failure but a pause that ends (store_intake_append), and after a failure no drain comes. */
#include "store/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    BUFFER_STEP = 4096,
    WAITING_MAX = 4 * STORE_INTAKE_WINDOW, /* octets: for an owner that does not pause when told to */
};

struct store_intake {
    struct store_task commit;
    store_done *done;
    void *done_context;
    struct store_job *job; /* what is to be committed, its body the last chunk */

    struct store_client *client;
    uint64_t id;
    void (*on_drain)(void *context);
    void *context;
    char *buffer;
    size_t len, capacity;
    uint64_t size_octets;
    uint32_t nsent;     /* chunks given to the writer */
    size_t waiting;     /* octets of them that are not answered */
    size_t ntasks;      /* under way */
    enum result result; /* loop: the first failure */
    enum result fate;   /* writer: the same */
    bool is_paused;
    bool is_given_up; /* by its owner */
};

struct chunk_task {
    struct store_task task;
    struct store_intake *intake;
    uint64_t message;
    uint32_t seq;
    char *octets;
    size_t len;
};

struct abort_task {
    struct store_task task;
    uint64_t message;
};

struct store_intake *store_intake_new(struct store_client *client, uint64_t id, void (*on_drain)(void *context), void *context)
{
    struct store_intake *intake = calloc(1, sizeof *intake);
    if (intake) {
        intake->client = client;
        intake->id = id;
        intake->on_drain = on_drain;
        intake->context = context;
        client_count_intake(client, 1);
    }
    return intake;
}

static void release(struct store_intake *intake)
{
    if (!intake->is_given_up || intake->ntasks > 0)
        return;
    store_job_free(&intake->job);
    free(intake->buffer);
    free(intake);
}

/* ---- chunks ---- */

static enum result mark_half(struct database *db, uint64_t message)
{
    struct query q = query_open(db, SQL_MESSAGE_GET);
    query_int(&q, (int64_t)message);
    bool is_taken = query_row(&q);
    enum result result = query_end(&q);
    if (result != RESULT_OK || is_taken)
        return is_taken ? RESULT_EXISTS : result;
    q = query_open(db, SQL_INTAKE_ADD);
    query_int(&q, (int64_t)message);
    return query_run(&q);
}

static enum result chunk_run(struct store_task *task, struct database *db)
{
    struct chunk_task *chunk = (struct chunk_task *)task;
    enum result result = chunk->seq == 0 ? mark_half(db, chunk->message) : RESULT_OK;
    return result == RESULT_OK ? message_add_chunk(db, chunk->message, chunk->seq, slice_of(chunk->octets, chunk->len)) : result;
}

static void chunk_answer(struct store_task *task, bool is_wanted)
{
    struct chunk_task *chunk = (struct chunk_task *)task;
    struct store_intake *intake = chunk->intake;
    intake->waiting -= chunk->len;
    if (task->result != RESULT_OK && intake->result == RESULT_OK)
        intake->result = task->result == RESULT_BUSY ? RESULT_MEMORY : task->result; /* the database was locked by a person's hand */
    free(chunk->octets);
    task_free(task);
    intake->ntasks--;
    if (intake->is_given_up) {
        release(intake);
    } else if (intake->is_paused && (intake->result != RESULT_OK || intake->waiting <= STORE_INTAKE_WINDOW / 2)) {
        intake->is_paused = false;
        if (is_wanted && intake->on_drain)
            intake->on_drain(intake->context);
    }
}

static void send_chunk(struct store_intake *intake)
{
    struct chunk_task *chunk = task_new(intake->client, sizeof *chunk, chunk_run, chunk_answer);
    chunk->intake = intake;
    chunk->message = intake->id;
    chunk->seq = intake->nsent++;
    chunk->octets = intake->buffer;
    chunk->len = intake->len;
    chunk->task.octets = intake->len;
    chunk->task.is_mail = true;
    chunk->task.fate = &intake->fate;
    intake->buffer = NULL;
    intake->len = intake->capacity = 0;
    intake->waiting += chunk->len;
    intake->ntasks++;
    if (writer_send(&chunk->task) != RESULT_OK) /* the queue is full, or memory is out */
        intake->result = RESULT_MEMORY;
}

static bool make_room(struct store_intake *intake, size_t wanted)
{
    size_t capacity = intake->capacity ? 2 * intake->capacity : (size_t)BUFFER_STEP;
    while (capacity < intake->len + wanted)
        capacity *= 2;
    if (capacity > STORE_CHUNK)
        capacity = STORE_CHUNK;
    char *buffer = realloc(intake->buffer, capacity);
    if (!buffer)
        return false;
    intake->buffer = buffer;
    intake->capacity = capacity;
    return true;
}

enum result store_intake_append(struct store_intake *intake, struct slice octets)
{
    if (intake->result == RESULT_OK && intake->waiting + octets.len > WAITING_MAX)
        intake->result = RESULT_MEMORY;
    while (octets.len > 0 && intake->result == RESULT_OK) {
        if (intake->len == STORE_CHUNK)
            send_chunk(intake);
        struct slice part = slice_take(octets, STORE_CHUNK - intake->len);
        if (intake->capacity - intake->len < part.len && !make_room(intake, part.len)) {
            intake->result = RESULT_MEMORY;
            break;
        }
        memcpy(intake->buffer + intake->len, part.ptr, part.len);
        intake->len += part.len;
        intake->size_octets += part.len;
        octets = slice_skip(octets, part.len);
    }
    if (intake->result != RESULT_OK)
        return intake->result;
    size_t window = writer_load(client_store(intake->client)) < STORE_WRITES_OCTETS_MAX / 2 ? (size_t)STORE_INTAKE_WINDOW : 1;
    intake->is_paused = intake->waiting >= window;
    return intake->is_paused ? RESULT_BUSY : RESULT_OK;
}

/* ---- the end of a body: dropped ---- */

static enum result drop_half(struct database *db, uint64_t message)
{
    struct query q = query_open(db, SQL_INTAKE_REMOVE);
    query_int(&q, (int64_t)message);
    enum result result = query_run(&q);
    if (result == RESULT_OK && database_changes(db) == 0)
        return RESULT_NOT_FOUND; /* no chunk of it came to the disk: what is there under this number is not ours */
    return result == RESULT_OK ? message_drop_body(db, message) : result;
}

static enum result abort_run(struct store_task *task, struct database *db)
{
    return drop_half(db, ((struct abort_task *)task)->message);
}

static void abort_answer(struct store_task *task, bool is_wanted)
{
    (void)is_wanted;
    if (task->result != RESULT_OK && task->result != RESULT_NOT_FOUND) /* its chunks are swept at the next start */
        log_event(client_store(task->client)->log, LOG_WARNING, "store-half-left", LOG_TEXT("result", result_name(task->result)));
    task_free(task);
}

static void send_abort(struct store_intake *intake)
{
    if (intake->nsent == 0 || !client_is_open(intake->client))
        return;
    struct abort_task *t = task_new(intake->client, sizeof *t, abort_run, abort_answer);
    t->message = intake->id;
    writer_send(&t->task);
}

void store_intake_abort(struct store_intake **intake)
{
    struct store_intake *given = *intake;
    if (!given)
        return;
    *intake = NULL;
    send_abort(given);
    client_count_intake(given->client, -1);
    given->is_given_up = true;
    release(given);
}

static enum result first_half(struct database *db, uint64_t *message, bool *is_there)
{
    struct query q = query_open(db, SQL_INTAKE_FIRST);
    *is_there = query_row(&q);
    *message = *is_there ? (uint64_t)query_get_int(&q, 0) : 0;
    return query_end(&q);
}

enum result intake_sweep(struct database *db)
{
    for (;;) {
        uint64_t message;
        bool is_there;
        enum result result = first_half(db, &message, &is_there);
        if (result != RESULT_OK || !is_there)
            return result;
        result = database_begin(db);
        if (result == RESULT_OK)
            result = drop_half(db, message);
        if (result == RESULT_OK)
            result = database_commit(db);
        if (result != RESULT_OK) {
            database_rollback(db);
            return result;
        }
        log_event(db->log, LOG_INFO, "half-body-swept", LOG_INT("message", message));
    }
}

/* ---- the end of a body: a message ---- */

static enum result commit_run(struct store_task *task, struct database *db)
{
    struct store_intake *intake = (struct store_intake *)task;
    return message_write(db, intake->job, intake->nsent);
}

static void commit_committed(struct store_task *task)
{
    struct store_intake *intake = (struct store_intake *)task;
    if (intake->nsent > 0)
        return;
    fresh_put(client_store(intake->client)->fresh, intake->job);
    intake->job = NULL;
}

static void commit_answer(struct store_task *task, bool is_wanted)
{
    struct store_intake *intake = (struct store_intake *)task;
    enum result result = task->result;
    store_done *done = intake->done;
    void *context = intake->done_context;
    if (result != RESULT_OK)
        send_abort(intake);
    intake->ntasks--;
    release(intake);
    if (is_wanted && done)
        done(context, result);
}

/* The last chunk goes over to the job without a copy. */
static enum result prepare(struct store_intake *intake, const struct store_message *message, const struct slice *hops, int64_t due_at_ms)
{
    if (intake->result != RESULT_OK)
        return intake->result;
    intake->job = job_new();
    if (!intake->job)
        return RESULT_MEMORY;
    struct store_job *job = intake->job;
    job->memory = intake->buffer;
    job->body = slice_of(intake->buffer, intake->len);
    intake->buffer = NULL;
    enum result result = job_fill(job, message, hops, due_at_ms);
    job->message.id = intake->id;
    job->message.size_octets = intake->size_octets;
    job->message.nchunks = intake->nsent + (intake->len > 0);
    return result;
}

void store_intake_commit(struct store_intake **intake, const struct store_message *message, const struct slice *hops, int64_t due_at_ms,
                         store_done *done, void *context)
{
    struct store_intake *given = *intake;
    *intake = NULL;
    assert(!given->is_given_up);
    task_init(&given->commit, given->client, commit_run, commit_answer);
    given->commit.committed = commit_committed;
    given->commit.fate = &given->fate;
    given->commit.is_mail = given->commit.is_urgent = true;
    given->commit.octets = given->len;
    given->commit.result = prepare(given, message, hops, due_at_ms);
    given->done = done;
    given->done_context = context;
    client_count_intake(given->client, -1);
    given->is_given_up = true;
    given->ntasks++;
    writer_send(&given->commit);
}
