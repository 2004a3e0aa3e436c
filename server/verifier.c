#include "verifier.h"

#include <stdlib.h>
#include <string.h>

enum { VERIFIER_THREADS_MAX = 64 };

struct verifier {
    struct sentry *sentry;
    uv_mutex_t lock;
    uv_cond_t work;
    struct turns *waiting; /* letter.node of jobs; under lock */
    bool is_stopping; /* under lock */
    uv_thread_t threads[VERIFIER_THREADS_MAX];
    uint32_t nthreads;
};

struct verifier_job *verifier_job_new(struct slice user, struct slice stored, struct slice password, bool is_known)
{
    if (password.len > CRYPTO_PASSWORD_MAX)
        return NULL;
    struct verifier_job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->password = crypto_secret_alloc(password.len + 1);
    if (!job->password || !slice_to_cstr(stored, job->stored, sizeof job->stored) || !slice_to_cstr(user, job->user, sizeof job->user)) {
        verifier_job_free(&job);
        return NULL;
    }
    if (password.len)
        memcpy(job->password, password.ptr, password.len);
    job->password_len = password.len;
    job->is_known = is_known;
    return job;
}

void verifier_job_free(struct verifier_job **job)
{
    if (!*job)
        return;
    crypto_secret_free((void **)&(*job)->password);
    free(*job);
    *job = NULL;
}

/* The next job, or NULL when it is time to end. */
static struct verifier_job *verifier_take(struct verifier *verifier)
{
    uv_mutex_lock(&verifier->lock);
    while (!verifier->is_stopping && turns_is_empty(verifier->waiting))
        uv_cond_wait(&verifier->work, &verifier->lock);
    struct list_node *node = verifier->is_stopping ? NULL : turns_take(verifier->waiting);
    uv_mutex_unlock(&verifier->lock);
    return node ? LIST_OWNER(node, struct verifier_job, letter.node) : NULL;
}

static enum result verifier_verify(struct sentry *sentry, const struct verifier_job *job)
{
    struct slice user = slice_from_cstr(job->user), stored = slice_from_cstr(job->stored), password = slice_of(job->password, job->password_len);
    int64_t now_ms = (int64_t)(uv_hrtime() / 1000000);
    if (job->is_known && sentry_knows(sentry, user, password, stored, now_ms))
        return RESULT_OK;
    enum result result = crypto_password_verify(stored, password);
    if (result == RESULT_OK && job->is_known)
        sentry_remember(sentry, user, password, stored, now_ms);
    return result == RESULT_OK && !job->is_known ? RESULT_DENIED : result;
}

/* The answer needs no password: it goes now, not when a busy loop comes round to it. */
static void verifier_answer(struct verifier_job *job, enum result result)
{
    job->result = result;
    crypto_secret_free((void **)&job->password);
    mailbox_post(job->home, &job->letter);
}

static void verifier_work(void *context)
{
    struct verifier *verifier = context;
    for (struct verifier_job *job = verifier_take(verifier); job; job = verifier_take(verifier)) {
        verifier_answer(job, verifier_verify(verifier->sentry, job));
    }
}

enum result verifier_start(struct verifier **out, struct sentry *sentry, uint32_t threads, uint32_t queue_max)
{
    struct verifier *verifier = calloc(1, sizeof *verifier);
    if (!verifier)
        return RESULT_MEMORY;
    verifier->sentry = sentry;
    verifier->waiting = turns_new(queue_max);
    if (!verifier->waiting) {
        free(verifier);
        return RESULT_MEMORY;
    }
    if (uv_mutex_init(&verifier->lock) != 0) {
        turns_free(&verifier->waiting);
        free(verifier);
        return RESULT_IO;
    }
    if (uv_cond_init(&verifier->work) != 0) {
        uv_mutex_destroy(&verifier->lock);
        turns_free(&verifier->waiting);
        free(verifier);
        return RESULT_IO;
    }
    while (verifier->nthreads < threads && verifier->nthreads < VERIFIER_THREADS_MAX &&
           uv_thread_create(&verifier->threads[verifier->nthreads], verifier_work, verifier) == 0)
        verifier->nthreads++;
    if (verifier->nthreads == 0) {
        verifier_stop(&verifier);
        return RESULT_IO;
    }
    *out = verifier;
    return RESULT_OK;
}

enum result verifier_submit(struct verifier *verifier, struct verifier_job *job)
{
    struct list_node *displaced = NULL;
    uv_mutex_lock(&verifier->lock);
    enum result result = verifier->is_stopping ? RESULT_BUSY : turns_add(verifier->waiting, &job->place, &job->letter.node, &displaced);
    if (result == RESULT_OK && !displaced)
        uv_cond_signal(&verifier->work);
    uv_mutex_unlock(&verifier->lock);
    if (displaced)
        verifier_answer(LIST_OWNER(displaced, struct verifier_job, letter.node), RESULT_BUSY);
    return result;
}

void verifier_stop(struct verifier **at)
{
    struct verifier *verifier = *at;
    if (!verifier)
        return;
    uv_mutex_lock(&verifier->lock);
    verifier->is_stopping = true;
    uv_cond_broadcast(&verifier->work);
    uv_mutex_unlock(&verifier->lock);
    for (uint32_t i = 0; i < verifier->nthreads; i++)
        uv_thread_join(&verifier->threads[i]);
    for (struct list_node *node = turns_take(verifier->waiting); node; node = turns_take(verifier->waiting)) {
        struct verifier_job *job = LIST_OWNER(node, struct verifier_job, letter.node);
        verifier_answer(job, RESULT_CANCELLED);
    }
    uv_cond_destroy(&verifier->work);
    uv_mutex_destroy(&verifier->lock);
    turns_free(&verifier->waiting);
    free(verifier);
    *at = NULL;
}
