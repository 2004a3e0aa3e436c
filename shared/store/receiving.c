/* Which named bodies a session writes at this moment: memory's knowledge, which the disk has not, for a half that waits for its sender lies there just as one that grows.
 *
 * Who has lost his half to another session is here until he gives it up, under a generation that the row no longer has. Used by all loops, the writer and the reader, under a mutex. */
#include "store/half.h"

#include "base/list.h"

#include <stdlib.h>

struct receiving {
    uv_mutex_t mutex;
    struct list bodies;
};

struct receiving *receiving_new(void)
{
    struct receiving *r = calloc(1, sizeof *r);
    if (r && uv_mutex_init(&r->mutex) != 0) {
        free(r);
        return NULL;
    }
    return r;
}

void receiving_free(struct receiving **receiving)
{
    if (!*receiving)
        return;
    uv_mutex_destroy(&(*receiving)->mutex);
    free(*receiving);
    *receiving = NULL;
}

void receiving_add(struct receiving *receiving, struct half_receipt *receipt)
{
    uv_mutex_lock(&receiving->mutex);
    list_append(&receiving->bodies, &receipt->node);
    uv_mutex_unlock(&receiving->mutex);
}

void receiving_remove(struct receiving *receiving, struct half_receipt *receipt)
{
    uv_mutex_lock(&receiving->mutex);
    list_remove(&receipt->node);
    uv_mutex_unlock(&receiving->mutex);
}

bool receiving_has(struct receiving *receiving, uint64_t message, uint32_t generation)
{
    bool has = false;
    uv_mutex_lock(&receiving->mutex);
    LIST_EACH(node, &receiving->bodies) {
        const struct half_receipt *r = LIST_OWNER(node, struct half_receipt, node);
        has |= r->message == message && r->generation == generation;
    }
    uv_mutex_unlock(&receiving->mutex);
    return has;
}
