#include "underway.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <uv.h>

enum { BUCKETS = 256 };

/* In a bucket, places stand in the order of their coming. */
struct underway {
    uv_mutex_t mutex;
    struct list buckets[BUCKETS];
};

struct underway *underway_new(void)
{
    struct underway *underway = calloc(1, sizeof *underway);
    if (underway && uv_mutex_init(&underway->mutex) == 0)
        return underway;
    free(underway);
    return NULL;
}

void underway_free(struct underway **at)
{
    struct underway *underway = *at;
    *at = NULL;
    if (!underway)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        assert(list_is_empty(&underway->buckets[i]));
    uv_mutex_destroy(&underway->mutex);
    free(underway);
}

/* FNV-1a. Who makes names that fall together makes his own claims slow. */
static struct list *bucket_of(struct underway *underway, struct slice transid)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < transid.len; i++)
        hash = (hash ^ (uint8_t)transid.ptr[i]) * 16777619u;
    return &underway->buckets[(hash ^ hash >> 16) % BUCKETS];
}

static bool is_same(const struct underway_place *a, const struct underway_place *b)
{
    return slice_equal(a->transid, b->transid) && slice_equal(a->account, b->account);
}

/* Octets, or their end, or an error: whichever is still to come to the session. */
static bool has_unread(int socket)
{
    struct pollfd look = {.fd = socket, .events = POLLIN};
    return poll(&look, 1, 0) > 0 && !(look.revents & POLLNVAL);
}

/* ---- whose turn it is ---- */

/* The time alone would not do: where much is to be done, who looks may be served before who is to read. */
static bool is_quiet(const struct underway_place *place, int64_t now_ms)
{
    return place->state == UNDERWAY_FREE && now_ms - place->since_ms >= UNDERWAY_QUIET_MS && !has_unread(place->socket);
}

static bool waits_for(const struct underway_place *place, const struct underway_place *before, int64_t now_ms)
{
    if (!is_same(place, before))
        return false;
    return before->state == UNDERWAY_WAITING || (place->wants_rest && !is_quiet(before, now_ms));
}

static bool has_turn(const struct underway_place *place, int64_t now_ms)
{
    if (now_ms - place->since_ms >= UNDERWAY_WAIT_MS)
        return true;
    for (const struct list_node *node = place->node.prev; node; node = node->prev) {
        if (waits_for(place, LIST_OWNER(node, struct underway_place, node), now_ms))
            return false;
    }
    return true;
}

/* What they still read is dropped by the store. */
static void overtake(const struct underway_place *place)
{
    for (struct list_node *node = place->node.prev, *prev; node; node = prev) {
        struct underway_place *before = LIST_OWNER(node, struct underway_place, node);
        prev = node->prev;
        if (before->state == UNDERWAY_WAITING || !is_same(place, before))
            continue;
        list_remove(node);
        before->state = UNDERWAY_OVERTAKEN;
    }
}

bool underway_may_claim(struct underway *underway, struct underway_place *place, int64_t now_ms)
{
    uv_mutex_lock(&underway->mutex);
    assert(place->state == UNDERWAY_WAITING);
    bool may_claim = has_turn(place, now_ms);
    if (may_claim) {
        overtake(place);
        place->state = UNDERWAY_HELD;
    }
    uv_mutex_unlock(&underway->mutex);
    return may_claim;
}

/* ---- coming and going ---- */

void underway_enter(struct underway *underway, struct underway_place *place, struct slice account, struct slice transid, int socket, bool wants_rest, int64_t now_ms)
{
    assert(place->state == UNDERWAY_AWAY);
    *place = (struct underway_place){
        .state = UNDERWAY_WAITING,
        .account = account,
        .transid = transid,
        .socket = socket,
        .wants_rest = wants_rest,
        .since_ms = now_ms,
    };
    uv_mutex_lock(&underway->mutex);
    list_append(bucket_of(underway, transid), &place->node);
    uv_mutex_unlock(&underway->mutex);
}

static bool is_reading(const struct underway_place *place)
{
    return place->state == UNDERWAY_HELD || place->state == UNDERWAY_FREE;
}

void underway_moved(struct underway *underway, struct underway_place *place, int64_t now_ms)
{
    uv_mutex_lock(&underway->mutex);
    if (is_reading(place)) {
        place->state = UNDERWAY_FREE;
        place->since_ms = now_ms;
    }
    uv_mutex_unlock(&underway->mutex);
}

void underway_hold(struct underway *underway, struct underway_place *place)
{
    uv_mutex_lock(&underway->mutex);
    if (is_reading(place))
        place->state = UNDERWAY_HELD;
    uv_mutex_unlock(&underway->mutex);
}

void underway_leave(struct underway *underway, struct underway_place *place)
{
    uv_mutex_lock(&underway->mutex);
    list_remove(&place->node);
    place->state = UNDERWAY_AWAY;
    uv_mutex_unlock(&underway->mutex);
}
