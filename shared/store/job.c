/* Jobs: a message made ready for an attempt at one hop, out of memory or off the disk, and the chunks of its body. */
#include "store/engine.h"

#include <stdlib.h>

enum { JOB_ARENA_MAX = 64 * 1024 * 1024 }; /* octets: thousands of recipients */

struct store_job *job_new(void)
{
    struct store_job *job = calloc(1, sizeof *job);
    if (job)
        job->arena = ARENA(JOB_ARENA_MAX);
    return job;
}

void store_job_free(struct store_job **job)
{
    if (!*job)
        return;
    free((*job)->memory);
    arena_free(&(*job)->arena);
    free(*job);
    *job = NULL;
}

/* ---- copies ---- */

static enum result copy_recipient(struct arena *arena, const struct envelope_recipient *from, struct envelope_recipient *to)
{
    *to = *from;
    enum result result = arena_copy(arena, from->address, &to->address);
    return result == RESULT_OK ? arena_copy(arena, from->orcpt, &to->orcpt) : result;
}

static enum result copy_texts(struct arena *arena, struct store_message *m)
{
    enum result result = arena_copy(arena, m->account, &m->account);
    if (result == RESULT_OK)
        result = arena_copy(arena, m->envelope.sender, &m->envelope.sender);
    if (result == RESULT_OK)
        result = arena_copy(arena, m->envelope.envid, &m->envelope.envid);
    return result;
}

enum result job_fill(struct store_job *job, const struct store_message *message, const struct slice *hops, int64_t due_at_ms)
{
    size_t n = message->envelope.nrcpt;
    job->message = *message;
    job->recipients = arena_alloc(&job->arena, n * sizeof *job->recipients);
    job->message.envelope.recipients = arena_alloc(&job->arena, n * sizeof *job->message.envelope.recipients);
    if (!job->recipients || !job->message.envelope.recipients)
        return RESULT_MEMORY;
    enum result result = copy_texts(&job->arena, &job->message);
    for (size_t i = 0; i < n && result == RESULT_OK; i++) {
        struct store_recipient *r = &job->recipients[i];
        *r = (struct store_recipient){.seq = (uint32_t)i, .state = STORE_QUEUED, .next_attempt_ms = due_at_ms};
        result = copy_recipient(&job->arena, &message->envelope.recipients[i], &r->envelope);
        if (result == RESULT_OK && hops)
            result = arena_copy(&job->arena, hops[i], &r->hop);
        job->message.envelope.recipients[i] = r->envelope;
    }
    job->nrecipients = n;
    return result;
}

/* ---- a job for an attempt ---- */

struct job_task {
    struct store_task task;
    uint64_t message;
    struct slice hop; /* in the job's arena */
    struct store_job *job;
    store_job_done *done;
    void *context;
};

static enum result read_small_body(struct database *db, struct store_job *job)
{
    size_t len;
    enum result result = message_read_chunk(db, job->message.id, 0, &job->memory, &len);
    job->body = slice_of(job->memory, result == RESULT_OK ? len : 0);
    return result;
}

/* Those of one transaction, the first: an attempt has one name. */
static void take_lowest(struct store_job *job)
{
    size_t n = 0, all = job->nrecipients;
    uint32_t lowest = UINT32_MAX;
    for (size_t i = 0; i < all; i++)
        lowest = job->recipients[i].transaction < lowest ? job->recipients[i].transaction : lowest;
    for (size_t i = 0; i < all; i++)
        if (job->recipients[i].transaction == lowest)
            job->recipients[n++] = job->recipients[i];
    job->nrecipients = n;
    job->nlater = all - n;
}

static enum result share_recipients(struct store_job *job)
{
    struct envelope_recipient *to = arena_alloc(&job->arena, job->nrecipients * sizeof *to);
    if (!to)
        return RESULT_MEMORY;
    for (size_t i = 0; i < job->nrecipients; i++)
        to[i] = job->recipients[i].envelope;
    job->message.envelope.recipients = to;
    job->message.envelope.nrcpt = job->nrecipients;
    return RESULT_OK;
}

static enum result job_run(struct store_task *task, struct database *db)
{
    struct job_task *t = (struct job_task *)task;
    struct store_job *job = t->job;
    enum result result = message_read(db, &job->arena, t->message, &job->message);
    if (result == RESULT_OK)
        result = message_read_recipients(db, &job->arena, t->message, &t->hop, &job->recipients, &job->nrecipients);
    if (result == RESULT_OK && job->nrecipients == 0)
        return RESULT_NOT_FOUND;
    take_lowest(job);
    if (result == RESULT_OK)
        result = share_recipients(job);
    if (result == RESULT_OK && job->message.nchunks == 1)
        result = read_small_body(db, job);
    return result;
}

static void job_answer(struct store_task *task, bool is_wanted)
{
    struct job_task t = *(struct job_task *)task;
    task_free(task);
    if (!is_wanted || t.task.result != RESULT_OK)
        store_job_free(&t.job);
    if (is_wanted)
        t.done(t.context, t.task.result, t.job);
}

void store_job_load(struct store_client *client, uint64_t message, struct slice hop, store_job_done *done, void *context)
{
    struct job_task *t = task_new(client, sizeof *t, job_run, job_answer);
    t->message = message;
    t->done = done;
    t->context = context;
    t->job = t->task.result == RESULT_OK ? fresh_take(client_store(client)->fresh, message, hop) : NULL;
    if (t->job) {
        client_answer(&t->task);
        return;
    }
    t->job = job_new();
    if (!t->job || arena_copy(&t->job->arena, hop, &t->hop) != RESULT_OK)
        t->task.result = RESULT_MEMORY;
    reader_send(&t->task);
}

/* ---- a chunk of a body ---- */

struct body_task {
    struct store_task task;
    uint64_t message;
    uint32_t seq;
    char *octets;
    size_t len;
    store_octets_done *done;
    void *context;
};

static enum result body_run(struct store_task *task, struct database *db)
{
    struct body_task *t = (struct body_task *)task;
    return message_read_chunk(db, t->message, t->seq, &t->octets, &t->len);
}

static void body_answer(struct store_task *task, bool is_wanted)
{
    struct body_task t = *(struct body_task *)task;
    task_free(task);
    if (is_wanted)
        t.done(t.context, t.task.result, t.task.result == RESULT_OK ? slice_of(t.octets, t.len) : (struct slice){0});
    free(t.octets);
}

void store_body_read(struct store_client *client, uint64_t message, uint32_t seq, store_octets_done *done, void *context)
{
    struct body_task *t = task_new(client, sizeof *t, body_run, body_answer);
    t->message = message;
    t->seq = seq;
    t->done = done;
    t->context = context;
    reader_send(&t->task);
}
