/* Bodies on their way in.
 *
 *     append ... append            the buffer grows to STORE_CHUNK; a full one goes to the writer when more comes
 *     commit                       the last chunk, the message and its recipients: one request, one transaction
 *
 * A message that fits one chunk is never half on the disk. One that does not has a row in `intake` from its first chunk until the commit; who has one
 * at start is swept. A body with a name has a row in `checkpoint` instead, which half.c keeps:
 *
 *     sync                         the chunk that is begun goes to the disk as it is, and again when it has grown
 *     suspend                      the same, and the owner gives it up; resume brings it back, perhaps in another life of the program
 *
 * What of a named body is whose: `name` never changes; what is in memory (buffer, len, nsent, nsynced, half) is the loop's; what the writer needs of that goes with each
 * chunk. Whether the body is still ours is only on the disk.
 *
 * Invariants:
 * 1 An intake lives until its owner has given it up and no task points to it.
 * 2 Once a chunk has failed, everything after it fails: `fate`, which the writer alone reads and writes, for those that it ran; `result` for those that
 *   it never saw, set before the next chunk or the commit can be sent. A body with a hole would otherwise be committed when the queue has room again.
 * 3 `result` is never RESULT_BUSY: to the owner that is no failure but a pause that ends (store_intake_append), and after a failure no drain comes. */
#include "store/half.h"

#include "mail/message_id.h"

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
    store_commit_done *done_once; /* in its place for a commit_once */
    void *done_context;
    struct store_window window;
    uint64_t earlier;      /* the message that stands for this one */
    struct store_job *job; /* what is to be committed, its body the last chunk */

    struct store_client *client;
    uint64_t id;
    void (*on_drain)(void *context);
    void *context;
    char *buffer;
    size_t len, capacity;
    uint64_t size_octets;
    uint32_t nsent;     /* whole chunks given to the writer */
    struct half_name *name; /* NULL: none */
    struct half_receipt receipt; /* of a named one, until it is released */
    struct store_half half;
    size_t nsynced;     /* octets of the chunk in the buffer that are on the disk already, or on their way */
    bool has_begun;     /* something of a named body is */
    int64_t served_ms;  /* when the last piece of a named body was sent off */
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
    struct half_piece piece;
    char *octets; /* where those of the piece lie */
    bool is_forgone; /* a copy that the writer was not given */
};

struct abort_task {
    struct store_task task;
    uint64_t message;
    uint32_t generation; /* of a named one; else 0 */
};

static struct store_intake *intake_new(struct store_client *client, uint64_t id, void (*on_drain)(void *context), void *context)
{
    struct store_intake *intake = calloc(1, sizeof *intake);
    if (intake)
        *intake = (struct store_intake){.client = client, .id = id, .on_drain = on_drain, .context = context};
    return intake;
}

struct store_intake *store_intake_new(struct store_client *client, uint64_t id, void (*on_drain)(void *context), void *context)
{
    struct store_intake *intake = intake_new(client, id, on_drain, context);
    if (intake)
        client_count_intake(client, 1);
    return intake;
}

static enum result set_name(struct store_intake *intake, const struct store_naming *naming)
{
    intake->name = half_name_new(naming);
    if (!intake->name)
        return RESULT_MEMORY;
    intake->receipt.message = intake->id;
    intake->receipt.generation = half_generation(intake->name);
    receiving_add(client_store(intake->client)->receiving, &intake->receipt);
    return RESULT_OK;
}

enum result store_intake_name(struct store_intake *intake, const struct store_naming *naming)
{
    assert(!intake->name && intake->size_octets == 0);
    return set_name(intake, naming);
}

void store_intake_note(struct store_intake *intake, const struct store_half *half)
{
    intake->half = *half;
}

static void release(struct store_intake *intake)
{
    if (!intake->is_given_up || intake->ntasks > 0)
        return;
    store_job_free(&intake->job);
    if (intake->name)
        receiving_remove(client_store(intake->client)->receiving, &intake->receipt);
    half_name_free(&intake->name);
    free(intake->buffer);
    free(intake);
}

/* The owner has nothing more to do with it. */
static void give_up(struct store_intake *intake)
{
    client_count_intake(intake->client, -1);
    intake->is_given_up = true;
    release(intake);
}

/* ---- chunks ---- */

static enum result mark_half(struct database *db, uint64_t message)
{
    bool is_taken = false;
    enum result result = message_is_there(db, message, &is_taken);
    if (result != RESULT_OK || is_taken)
        return is_taken ? RESULT_EXISTS : result;
    struct query q = query_open(db, SQL_INTAKE_ADD);
    query_int(&q, (int64_t)message);
    return query_run(&q);
}

static enum result chunk_run(struct store_task *task, struct database *db)
{
    struct chunk_task *chunk = (struct chunk_task *)task;
    const struct half_piece *piece = &chunk->piece;
    if (chunk->intake->name)
        return half_put(db, chunk->intake->name, piece);
    enum result result = piece->seq == 0 ? mark_half(db, piece->message) : RESULT_OK;
    return result == RESULT_OK ? message_add_chunk(db, piece->message, piece->seq, piece->octets) : result;
}

static void chunk_answer(struct store_task *task, bool is_wanted)
{
    struct chunk_task *chunk = (struct chunk_task *)task;
    struct store_intake *intake = chunk->intake;
    intake->waiting -= chunk->piece.octets.len;
    if (task->result != RESULT_OK && intake->result == RESULT_OK && !chunk->is_forgone)
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

/* What is in the buffer, or in a copy of it. */
static struct half_piece piece_of(const struct store_intake *intake, const char *octets)
{
    return (struct half_piece){
        .message = intake->id,
        .seq = intake->nsent,
        .octets = slice_of(octets, intake->len),
        .half = intake->half,
        .served_ms = intake->served_ms,
        .is_first = !intake->has_begun,
        .replaces = intake->nsynced > 0,
    };
}

static void note_time(struct store_intake *intake)
{
    if (intake->name)
        intake->served_ms = half_served_ms(intake->name);
}

/* Takes `octets`. A copy that is turned away is nobody's loss: what it is a copy of is still in the buffer. */
static enum result send_octets(struct store_intake *intake, char *octets)
{
    bool is_copy = octets != intake->buffer;
    struct chunk_task *chunk = task_new(intake->client, sizeof *chunk, chunk_run, chunk_answer);
    note_time(intake);
    chunk->intake = intake;
    chunk->octets = octets;
    chunk->piece = piece_of(intake, octets);
    chunk->task.octets = intake->len;
    chunk->task.is_mail = true;
    chunk->task.growing = (struct half_growing){intake->name ? intake->id : 0, !intake->name};
    chunk->task.fate = &intake->fate;
    intake->waiting += intake->len;
    intake->ntasks++;
    enum result result = writer_send(&chunk->task);
    intake->has_begun |= result == RESULT_OK;
    if (is_copy && result != RESULT_OK) /* its answer lies in the mailbox of this very loop */
        chunk->is_forgone = true;
    return result;
}

static void send_chunk(struct store_intake *intake)
{
    enum result result = send_octets(intake, intake->buffer);
    intake->buffer = NULL;
    intake->len = intake->capacity = intake->nsynced = 0;
    intake->nsent++;
    if (result != RESULT_OK) /* the queue is full, or memory is out */
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

/* ---- a pause: what has come stays on the disk ---- */

/* What can't be resumed is not worth a commit. */
static bool is_worth_syncing(const struct store_intake *intake)
{
    return intake->name && intake->half.header_came > 0 && intake->result == RESULT_OK && intake->len > intake->nsynced;
}

/* When the writer can't be given it now, no harm: the chunk is sent when it is whole. What the writer itself can't do (the disk is full, say) ends the body, as with any chunk. */
void store_intake_sync(struct store_intake *intake)
{
    char *copy = is_worth_syncing(intake) ? malloc(intake->len) : NULL;
    if (!copy)
        return;
    memcpy(copy, intake->buffer, intake->len);
    if (send_octets(intake, copy) == RESULT_OK)
        intake->nsynced = intake->len;
}

/* Behind the last chunk: it tells of what is there. */
struct suspend_task {
    struct store_task task;
    struct store_intake *intake;
    uint64_t came;
    enum half_fit fit;
};

static enum result suspend_run(struct store_task *task, struct database *db)
{
    struct suspend_task *t = (struct suspend_task *)task;
    return half_suspend(db, t->intake->id, half_generation(t->intake->name), &t->came, &t->fit);
}

static void suspend_committed(struct store_task *task)
{
    const struct suspend_task *t = (struct suspend_task *)task;
    const struct store_naming *naming = &t->intake->name->naming;
    char id[MESSAGE_ID_TEXT];
    if (task->result != RESULT_OK)
        return;
    message_id_format(t->intake->id, id);
    if (t->fit == HALF_CUT)
        log_event(client_store(task->client)->log, LOG_INFO, "half-body-cut", LOG_TEXT("item", id), LOG_TEXT("reason", "it alone is larger than those of a device may be together"));
    log_event(client_store(task->client)->log, LOG_INFO, "transaction-suspended", LOG_STR("session", naming->session), LOG_TEXT("item", id), LOG_STR("user", naming->claim.account),
              LOG_INT("octets", (int64_t)t->came));
}

static void suspend_answer(struct store_task *task, bool is_wanted)
{
    struct store_intake *intake = ((struct suspend_task *)task)->intake;
    (void)is_wanted;
    task_free(task);
    intake->ntasks--;
    release(intake);
}

static void send_suspend(struct store_intake *intake)
{
    if (!intake->has_begun || !client_is_open(intake->client))
        return;
    struct suspend_task *t = task_new(intake->client, sizeof *t, suspend_run, suspend_answer);
    t->task.committed = suspend_committed;
    t->intake = intake;
    intake->ntasks++;
    writer_send(&t->task);
}

void store_intake_suspend(struct store_intake **intake)
{
    struct store_intake *given = *intake;
    if (!given || !given->name || given->half.header_came == 0) {
        store_intake_abort(intake);
        return;
    }
    *intake = NULL;
    if (is_worth_syncing(given))
        send_chunk(given);
    send_suspend(given);
    give_up(given);
}

struct resume_task {
    struct store_task task;
    struct store_intake *intake;
    uint64_t end; /* in stored octets */
    char *octets;
    size_t len;
    store_intake_done *done;
    void *context;
};

static enum result resume_run(struct store_task *task, struct database *db)
{
    struct resume_task *t = (struct resume_task *)task;
    free(t->octets); /* of its first run */
    return half_reopen(db, t->intake->name, t->intake->id, t->end, &t->octets, &t->len);
}

static void resume_answer(struct store_task *task, bool is_wanted)
{
    struct resume_task t = *(struct resume_task *)task;
    struct store_intake *intake = t.intake;
    task_free(task);
    if (!is_wanted || t.task.result != RESULT_OK) {
        free(t.octets);
        if (intake) {
            intake->is_given_up = true;
            release(intake);
        }
        if (is_wanted)
            t.done(t.context, t.task.result, NULL);
        return;
    }
    intake->buffer = t.octets;
    intake->len = intake->nsynced = intake->capacity = t.len;
    intake->size_octets = t.end;
    intake->nsent = (uint32_t)(t.end / STORE_CHUNK);
    intake->has_begun = true;
    client_count_intake(intake->client, 1);
    t.done(t.context, RESULT_OK, intake);
}

void store_intake_resume(struct store_client *client, const struct store_checkpoint *checkpoint, const struct store_naming *naming, void (*on_drain)(void *context),
                         void *drain_context, store_intake_done *done, void *context)
{
    struct resume_task *t = task_new(client, sizeof *t, resume_run, resume_answer);
    t->done = done;
    t->context = context;
    t->end = checkpoint->came_octets - checkpoint->half.header_came + checkpoint->half.header_stored;
    t->intake = intake_new(client, checkpoint->message, on_drain, drain_context);
    if (t->intake)
        t->intake->half = checkpoint->half;
    if (!t->intake || set_name(t->intake, naming) != RESULT_OK)
        t->task.result = RESULT_MEMORY;
    t->task.is_urgent = true;
    writer_send(&t->task);
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
    const struct abort_task *t = (struct abort_task *)task;
    return t->generation ? half_abort(db, t->message, t->generation) : drop_half(db, t->message);
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
    if (!intake->has_begun || !client_is_open(intake->client))
        return;
    struct abort_task *t = task_new(intake->client, sizeof *t, abort_run, abort_answer);
    t->message = intake->id;
    t->generation = intake->name ? half_generation(intake->name) : 0;
    writer_send(&t->task);
}

void store_intake_abort(struct store_intake **intake)
{
    struct store_intake *given = *intake;
    if (!given)
        return;
    *intake = NULL;
    send_abort(given);
    give_up(given);
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
        char id[MESSAGE_ID_TEXT];
        message_id_format(message, id);
        log_event(db->log, LOG_INFO, "half-body-swept", LOG_TEXT("item", id));
    }
}

/* ---- the end of a body: a message ---- */

/* RESULT_NOT_FOUND: nobody stands for it. */
static enum result find_earlier(struct store_intake *intake, struct database *db)
{
    enum result result = message_find(db, intake->job->message.digest, &intake->window, &intake->earlier);
    if (result != RESULT_OK || intake->nsent == 0)
        return result;
    result = drop_half(db, intake->id);
    return result == RESULT_NOT_FOUND ? RESULT_CORRUPT : result; /* its chunks were committed: their row was here */
}

static enum result commit_run(struct store_task *task, struct database *db)
{
    struct store_intake *intake = (struct store_intake *)task;
    enum result result = intake->done_once ? find_earlier(intake, db) : RESULT_NOT_FOUND;
    if (result != RESULT_NOT_FOUND)
        return result;
    if (!intake->name)
        return message_write(db, intake->job, intake->nsent);
    struct half_piece last = piece_of(intake, intake->job->body.ptr);
    return half_commit(db, intake->name, &last, intake->job);
}

/* The one that stands for it is here, and needs no more room. */
static enum result commit_run_full(struct store_task *task, struct database *db)
{
    struct store_intake *intake = (struct store_intake *)task;
    return intake->done_once ? find_earlier(intake, db) : RESULT_NOT_FOUND;
}

static void commit_committed(struct store_task *task)
{
    struct store_intake *intake = (struct store_intake *)task;
    if (intake->nsent > 0 || intake->earlier)
        return;
    fresh_put(client_store(intake->client)->fresh, intake->job);
    intake->job = NULL;
}

bool store_keeps_half(enum result result)
{
    return result == RESULT_FULL || result == RESULT_IO || result == RESULT_BUSY || result == RESULT_MEMORY;
}

static void commit_answer(struct store_task *task, bool is_wanted)
{
    struct store_intake *intake = (struct store_intake *)task;
    enum result result = task->result;
    store_done *done = intake->done;
    store_commit_done *done_once = intake->done_once;
    void *context = intake->done_context;
    uint64_t earlier = intake->earlier;
    if (result != RESULT_OK && intake->name && store_keeps_half(result))
        send_suspend(intake);
    else if (result != RESULT_OK)
        send_abort(intake);
    intake->ntasks--;
    release(intake);
    if (is_wanted && done_once)
        done_once(context, result, result == RESULT_OK ? earlier : 0);
    else if (is_wanted && done)
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

static void send_commit(struct store_intake **intake, const struct store_message *message, const struct slice *hops, int64_t due_at_ms)
{
    struct store_intake *given = *intake;
    *intake = NULL;
    assert(!given->is_given_up);
    task_init(&given->commit, given->client, commit_run, commit_answer);
    given->commit.run_full = commit_run_full;
    given->commit.committed = commit_committed;
    given->commit.fate = &given->fate;
    given->commit.is_mail = given->commit.is_urgent = true;
    given->commit.growing = (struct half_growing){given->name ? given->id : 0, true};
    given->commit.octets = given->len;
    given->commit.result = prepare(given, message, hops, due_at_ms);
    note_time(given);
    client_count_intake(given->client, -1);
    given->is_given_up = true;
    given->ntasks++;
    writer_send(&given->commit);
}

void store_intake_commit(struct store_intake **intake, const struct store_message *message, const struct slice *hops, int64_t due_at_ms,
                         store_done *done, void *context)
{
    (*intake)->done = done;
    (*intake)->done_context = context;
    send_commit(intake, message, hops, due_at_ms);
}

void store_intake_commit_once(struct store_intake **intake, const struct store_message *message, const struct slice *hops, int64_t due_at_ms, const struct store_window *window,
                              store_commit_done *done, void *context)
{
    (*intake)->done_once = done;
    (*intake)->done_context = context;
    (*intake)->window = *window;
    send_commit(intake, message, hops, due_at_ms);
}
