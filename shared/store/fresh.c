/* Messages that were committed a moment ago, ready for delivery: most are delivered at once, and then nothing need be read back.
 *
 * Bounded in octets; the oldest leave first. An entry is handed out once. Whatever else is written about a message drops its entry first.
 * Used by the writer and by all loops, under a mutex. */
#include "store/engine.h"

#include "base/list.h"

#include <stdlib.h>

enum { BUCKETS = 1024 };

struct fresh_entry {
    struct list_node node;
    struct fresh_entry *next; /* in its bucket */
    struct store_job *job;
    size_t octets;
};

struct fresh {
    uv_mutex_t mutex;
    struct list entries; /* oldest first */
    struct fresh_entry *buckets[BUCKETS];
    size_t octets, max_octets;
};

struct fresh *fresh_new(size_t max_octets)
{
    struct fresh *f = calloc(1, sizeof *f);
    if (f && uv_mutex_init(&f->mutex) != 0) {
        free(f);
        return NULL;
    }
    if (f)
        f->max_octets = max_octets;
    return f;
}

static struct fresh_entry **find(struct fresh *f, uint64_t message)
{
    struct fresh_entry **at = &f->buckets[(message ^ message >> 21) % BUCKETS];
    while (*at && (*at)->job->message.id != message)
        at = &(*at)->next;
    return at;
}

static struct store_job *unlink_at(struct fresh *f, struct fresh_entry **at)
{
    struct fresh_entry *entry = *at;
    struct store_job *job = entry->job;
    *at = entry->next;
    list_remove(&entry->node);
    f->octets -= entry->octets;
    free(entry);
    return job;
}

/* The oldest while there is more than `keep` octets. */
static struct store_job *take_oldest(struct fresh *f, size_t keep)
{
    struct store_job *job = NULL;
    uv_mutex_lock(&f->mutex);
    if (f->octets > keep && f->entries.first) {
        struct fresh_entry *oldest = LIST_OWNER(f->entries.first, struct fresh_entry, node);
        job = unlink_at(f, find(f, oldest->job->message.id));
    }
    uv_mutex_unlock(&f->mutex);
    return job;
}

static void trim(struct fresh *f, size_t keep)
{
    for (struct store_job *job; (job = take_oldest(f, keep));)
        store_job_free(&job);
}

void fresh_put(struct fresh *f, struct store_job *job)
{
    size_t octets = sizeof *job + job->arena.used + job->body.len;
    struct fresh_entry *entry = octets <= f->max_octets ? malloc(sizeof *entry) : NULL;
    if (!entry) {
        store_job_free(&job);
        return;
    }
    *entry = (struct fresh_entry){.job = job, .octets = octets};
    uv_mutex_lock(&f->mutex);
    struct fresh_entry **at = &f->buckets[(job->message.id ^ job->message.id >> 21) % BUCKETS];
    entry->next = *at;
    *at = entry;
    list_append(&f->entries, &entry->node);
    f->octets += octets;
    bool is_over = f->octets > f->max_octets;
    uv_mutex_unlock(&f->mutex);
    if (is_over)
        trim(f, f->max_octets);
}

static bool is_all_for(const struct store_job *job, struct slice hop)
{
    for (size_t i = 0; i < job->nrecipients; i++)
        if (!slice_equal(job->recipients[i].hop, hop))
            return false;
    return true;
}

struct store_job *fresh_take(struct fresh *f, uint64_t message, struct slice hop)
{
    uv_mutex_lock(&f->mutex);
    struct fresh_entry **at = find(f, message);
    struct store_job *job = *at && is_all_for((*at)->job, hop) ? unlink_at(f, at) : NULL;
    uv_mutex_unlock(&f->mutex);
    return job;
}

void fresh_drop(struct fresh *f, uint64_t message)
{
    uv_mutex_lock(&f->mutex);
    struct fresh_entry **at = find(f, message);
    struct store_job *job = *at ? unlink_at(f, at) : NULL;
    uv_mutex_unlock(&f->mutex);
    store_job_free(&job);
}

void fresh_clear(struct fresh *f)
{
    trim(f, 0);
}

void fresh_free(struct fresh **fresh)
{
    if (!*fresh)
        return;
    fresh_clear(*fresh);
    uv_mutex_destroy(&(*fresh)->mutex);
    free(*fresh);
    *fresh = NULL;
}
