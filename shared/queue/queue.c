/* Where an item is: in one of its hop's heaps `small` and `large` (by due time; "ready" is a waiting item whose time has come), or in none (active, held). Where a
 * hop is: in the queue's heap `timers` by the time of its next item, in the list `ready` when that time has come, or in neither, when it has
 * nothing to send or no room. place_hop is the one function that decides.
 *
 * Giving an item back must not fail, so queue_add reserves room for it in every heap it may ever be in. */
#include "queue/queue.h"

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ACTIVE_PER_HOP = 10, ACTIVE_TOTAL = 50 };

#define NEVER INT64_MIN

enum item_state { ITEM_WAITING, ITEM_ACTIVE, ITEM_HELD };

struct hop {
    struct map_node by_name;
    struct heap small, large; /* what waits */
    struct heap_node timer;
    struct list_node ready;
    size_t nitems;
    uint32_t nactive;
    bool is_probed; /* after a block: one item at a time */
    int64_t blocked_until_ms;
    size_t name_len;
    char name[];
};

struct item {
    struct map_node by_key;     /* message and hop */
    struct map_node by_message; /* in the table only for the first of its message */
    struct item *next;          /* of the same message */
    struct heap_node due;
    struct hop *hop;
    uint64_t message;
    bool is_large;
    enum item_state state;
    enum { THEN_WAIT, THEN_HOLD, THEN_GO } then; /* of an active one, when it is given back */
};

struct queue {
    struct queue_limits limits;
    struct map items, messages, hops;
    struct heap timers;
    struct list ready;
    uint32_t nactive;
    int64_t now_ms; /* of the last queue_next */
};

/* ---- life ---- */

struct queue *queue_new(const struct queue_limits *limits)
{
    struct queue *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->limits.active_per_hop = limits && limits->active_per_hop ? limits->active_per_hop : ACTIVE_PER_HOP;
    q->limits.active_total = limits && limits->active_total ? limits->active_total : ACTIVE_TOTAL;
    q->now_ms = NEVER;
    return q;
}

static void free_hop(struct hop *hop)
{
    heap_free(&hop->small);
    heap_free(&hop->large);
    free(hop);
}

void queue_free(struct queue **queue)
{
    struct queue *q = *queue;
    struct map_node *node;
    if (!q)
        return;
    for (size_t at = 0; (node = map_each(&q->items, &at));)
        free(MAP_OWNER(node, struct item, by_key));
    for (size_t at = 0; (node = map_each(&q->hops, &at));)
        free_hop(MAP_OWNER(node, struct hop, by_name));
    map_free(&q->items);
    map_free(&q->messages);
    map_free(&q->hops);
    heap_free(&q->timers);
    free(q);
    *queue = NULL;
}

/* ---- finding ---- */

static struct slice name_of(const struct hop *hop)
{
    return slice_of(hop->name, hop->name_len);
}

static struct hop *find_hop(const struct queue *q, struct slice name)
{
    uint64_t hash = map_hash(name);
    for (struct map_node *n = map_find(&q->hops, hash, NULL); n; n = map_find(&q->hops, hash, n))
        if (slice_equal(name_of(MAP_OWNER(n, struct hop, by_name)), name))
            return MAP_OWNER(n, struct hop, by_name);
    return NULL;
}

static uint64_t key_of(uint64_t message, const struct hop *hop)
{
    return map_hash_u64(message ^ hop->by_name.hash);
}

static struct item *find_item(const struct queue *q, uint64_t message, const struct hop *hop)
{
    uint64_t hash = hop ? key_of(message, hop) : 0;
    for (struct map_node *n = hop ? map_find(&q->items, hash, NULL) : NULL; n; n = map_find(&q->items, hash, n)) {
        struct item *item = MAP_OWNER(n, struct item, by_key);
        if (item->message == message && item->hop == hop)
            return item;
    }
    return NULL;
}

/* The first of a message's items; the others hang on it. */
static struct item *find_first(const struct queue *q, uint64_t message)
{
    uint64_t hash = map_hash_u64(message);
    for (struct map_node *n = map_find(&q->messages, hash, NULL); n; n = map_find(&q->messages, hash, n))
        if (MAP_OWNER(n, struct item, by_message)->message == message)
            return MAP_OWNER(n, struct item, by_message);
    return NULL;
}

/* ---- places ---- */

static uint32_t limit_of(const struct queue *q, const struct hop *hop)
{
    return hop->is_probed ? 1 : q->limits.active_per_hop;
}

static int64_t key_of_first(const struct heap *heap)
{
    const struct heap_node *first = heap_first(heap);
    return first ? first->key : INT64_MAX;
}

/* When the hop's next item may go, or INT64_MAX. */
static int64_t time_of(const struct queue *q, const struct hop *hop)
{
    int64_t small_ms = key_of_first(&hop->small), large_ms = key_of_first(&hop->large), first_ms = small_ms < large_ms ? small_ms : large_ms;
    if (first_ms == INT64_MAX || hop->nactive >= limit_of(q, hop))
        return INT64_MAX;
    return first_ms > hop->blocked_until_ms ? first_ms : hop->blocked_until_ms;
}

static struct heap *heap_of(const struct item *item)
{
    return item->is_large ? &item->hop->large : &item->hop->small;
}

static void add_reserved(struct heap *heap, struct heap_node *node, int64_t key)
{
    enum result added = heap_add(heap, node, key);
    assert(added == RESULT_OK); /* queue_add reserved the room */
    (void)added;
}

static void place_hop(struct queue *q, struct hop *hop)
{
    int64_t at_ms = time_of(q, hop);
    if (list_has(&q->ready, &hop->ready) && at_ms <= q->now_ms)
        return;
    list_remove(&hop->ready);
    if (at_ms == INT64_MAX)
        heap_remove(&q->timers, &hop->timer);
    else if (hop->timer.place > 0)
        heap_move(&q->timers, &hop->timer, at_ms);
    else
        add_reserved(&q->timers, &hop->timer, at_ms);
}

static void wait_until(struct queue *q, struct item *item, int64_t due_at_ms)
{
    item->state = ITEM_WAITING;
    add_reserved(heap_of(item), &item->due, due_at_ms);
    place_hop(q, item->hop);
}

static void hold(struct queue *q, struct item *item)
{
    heap_remove(heap_of(item), &item->due);
    item->state = ITEM_HELD;
    place_hop(q, item->hop);
}

/* ---- adding, removing ---- */

static struct hop *add_hop(struct queue *q, struct slice name)
{
    struct hop *hop = calloc(1, sizeof *hop + name.len);
    if (!hop)
        return NULL;
    hop->blocked_until_ms = NEVER;
    hop->name_len = name.len;
    if (name.len > 0)
        memcpy(hop->name, name.ptr, name.len);
    if (heap_reserve(&q->timers, q->hops.count + 1) == RESULT_OK && map_add(&q->hops, &hop->by_name, map_hash(name)) == RESULT_OK)
        return hop;
    free_hop(hop);
    return NULL;
}

static void drop_hop_if_empty(struct queue *q, struct hop *hop)
{
    if (hop->nitems > 0)
        return;
    heap_remove(&q->timers, &hop->timer);
    list_remove(&hop->ready);
    map_remove(&q->hops, &hop->by_name);
    free_hop(hop);
}

static void link_to_message(struct queue *q, struct item *item)
{
    struct item *first = find_first(q, item->message);
    if (first) {
        item->next = first->next;
        first->next = item;
        return;
    }
    enum result added = map_add(&q->messages, &item->by_message, map_hash_u64(item->message));
    assert(added == RESULT_OK); /* reserved */
    (void)added;
}

static void unlink_from_message(struct queue *q, struct item *item)
{
    struct item *first = find_first(q, item->message);
    if (first == item && item->next) {
        map_replace(&q->messages, &item->by_message, &item->next->by_message);
    } else if (first == item) {
        map_remove(&q->messages, &item->by_message);
    } else {
        while (first->next != item)
            first = first->next;
        first->next = item->next;
    }
}

/* All that may fail comes first. */
static struct item *add_item(struct queue *q, uint64_t message, struct hop *hop)
{
    struct item *item = calloc(1, sizeof *item);
    if (!item)
        return NULL;
    if (heap_reserve(&hop->small, hop->nitems + 1) != RESULT_OK || heap_reserve(&hop->large, hop->nitems + 1) != RESULT_OK ||
        map_reserve(&q->messages, q->messages.count + 1) != RESULT_OK || map_add(&q->items, &item->by_key, key_of(message, hop)) != RESULT_OK) {
        free(item);
        return NULL;
    }
    item->message = message;
    item->hop = hop;
    hop->nitems++;
    link_to_message(q, item);
    return item;
}

enum result queue_add(struct queue *q, uint64_t message, struct slice name, int64_t due_at_ms)
{
    struct hop *hop = find_hop(q, name);
    if (find_item(q, message, hop))
        return RESULT_EXISTS;
    if (!hop)
        hop = add_hop(q, name);
    struct item *item = hop ? add_item(q, message, hop) : NULL;
    if (!item) {
        if (hop)
            drop_hop_if_empty(q, hop);
        return RESULT_MEMORY;
    }
    wait_until(q, item, due_at_ms);
    return RESULT_OK;
}

static void remove_item(struct queue *q, struct item *item)
{
    struct hop *hop = item->hop;
    heap_remove(heap_of(item), &item->due);
    unlink_from_message(q, item);
    map_remove(&q->items, &item->by_key);
    free(item);
    hop->nitems--;
    place_hop(q, hop);
    drop_hop_if_empty(q, hop);
}

/* ---- lending ---- */

static void lend(struct queue *q, struct hop *hop, struct queue_job *job)
{
    bool is_small = key_of_first(&hop->small) <= q->now_ms;
    struct item *item = MAP_OWNER(heap_first(is_small ? &hop->small : &hop->large), struct item, due);
    heap_remove(heap_of(item), &item->due);
    item->state = ITEM_ACTIVE;
    item->then = THEN_WAIT;
    hop->nactive++;
    q->nactive++;
    list_remove(&hop->ready); /* to the end of the turn, if it has more */
    place_hop(q, hop);
    *job = (struct queue_job){.message = item->message, .hop = name_of(hop)};
}

static void gather_ready(struct queue *q)
{
    struct heap_node *first;
    while ((first = heap_first(&q->timers)) && first->key <= q->now_ms) {
        heap_remove(&q->timers, first);
        list_append(&q->ready, &MAP_OWNER(first, struct hop, timer)->ready);
    }
}

bool queue_next(struct queue *q, int64_t now_ms, struct queue_job *job)
{
    q->now_ms = now_ms;
    if (q->nactive >= q->limits.active_total)
        return false;
    gather_ready(q);
    while (!list_is_empty(&q->ready)) {
        struct hop *hop = LIST_OWNER(q->ready.first, struct hop, ready);
        if (time_of(q, hop) <= now_ms) {
            lend(q, hop, job);
            return true;
        }
        place_hop(q, hop); /* the clock went back */
    }
    return false;
}

static struct item *take_back(struct queue *q, uint64_t message, struct slice name)
{
    struct item *item = find_item(q, message, find_hop(q, name));
    if (!item || item->state != ITEM_ACTIVE)
        return NULL;
    item->hop->nactive--;
    q->nactive--;
    return item;
}

void queue_finish(struct queue *q, uint64_t message, struct slice name)
{
    struct item *item = take_back(q, message, name);
    if (item)
        remove_item(q, item);
}

static void place_again(struct queue *q, struct item *item, int64_t due_at_ms)
{
    switch (item->then) {
    case THEN_WAIT: wait_until(q, item, due_at_ms); break;
    case THEN_HOLD: hold(q, item); break;
    case THEN_GO: remove_item(q, item); break;
    }
}

void queue_defer(struct queue *q, uint64_t message, struct slice name, int64_t due_at_ms)
{
    struct item *item = take_back(q, message, name);
    if (item)
        place_again(q, item, due_at_ms);
}

void queue_put_back(struct queue *q, uint64_t message, struct slice name)
{
    struct item *item = take_back(q, message, name);
    if (item)
        place_again(q, item, item->due.key - 1); /* and before those that were due in the same moment, as all are after a flush */
}

/* ---- a person's wishes ---- */

enum result queue_hold(struct queue *q, uint64_t message)
{
    struct item *first = find_first(q, message);
    for (struct item *item = first; item; item = item->next) {
        if (item->state == ITEM_WAITING)
            hold(q, item);
        else if (item->state == ITEM_ACTIVE && item->then == THEN_WAIT)
            item->then = THEN_HOLD;
    }
    return first ? RESULT_OK : RESULT_NOT_FOUND;
}

enum result queue_release(struct queue *q, uint64_t message, int64_t now_ms)
{
    struct item *first = find_first(q, message);
    for (struct item *item = first; item; item = item->next) {
        if (item->state == ITEM_HELD)
            wait_until(q, item, now_ms);
        else if (item->state == ITEM_ACTIVE && item->then == THEN_HOLD)
            item->then = THEN_WAIT;
    }
    return first ? RESULT_OK : RESULT_NOT_FOUND;
}

enum result queue_remove(struct queue *q, uint64_t message)
{
    struct item *first = find_first(q, message);
    enum result result = first ? RESULT_OK : RESULT_NOT_FOUND;
    for (struct item *item = first, *next; item; item = next) {
        next = item->next;
        if (item->state == ITEM_ACTIVE)
            item->then = THEN_GO;
        else
            remove_item(q, item);
    }
    return result;
}

bool queue_is_withdrawn(const struct queue *q, uint64_t message, struct slice name)
{
    const struct item *item = find_item(q, message, find_hop(q, name));
    return item && item->state == ITEM_ACTIVE && item->then != THEN_WAIT;
}

static void unblock(struct queue *q, struct hop *hop)
{
    hop->blocked_until_ms = NEVER;
    hop->is_probed = false;
    place_hop(q, hop);
}

/* Cutting all times down to one leaves the order of the heap as it is. */
static void flush_heap(struct heap *heap, int64_t now_ms)
{
    for (size_t i = 0; i < heap->count; i++)
        if (heap->nodes[i]->key > now_ms)
            heap->nodes[i]->key = now_ms;
}

static void flush_hop(struct queue *q, struct hop *hop, int64_t now_ms)
{
    flush_heap(&hop->small, now_ms);
    flush_heap(&hop->large, now_ms);
    unblock(q, hop);
}

static void flush_message(struct queue *q, uint64_t message, int64_t now_ms)
{
    for (struct item *item = find_first(q, message); item; item = item->next) {
        if (item->state == ITEM_WAITING && item->due.key > now_ms)
            heap_move(heap_of(item), &item->due, now_ms);
        unblock(q, item->hop);
    }
}

void queue_flush(struct queue *q, uint64_t message, int64_t now_ms)
{
    struct map_node *node;
    if (message != 0)
        flush_message(q, message, now_ms);
    else
        for (size_t at = 0; (node = map_each(&q->hops, &at));)
            flush_hop(q, MAP_OWNER(node, struct hop, by_name), now_ms);
}

void queue_block_hop(struct queue *q, struct slice name, int64_t until_ms)
{
    struct hop *hop = find_hop(q, name);
    if (!hop)
        return;
    hop->blocked_until_ms = until_ms;
    hop->is_probed = true;
    place_hop(q, hop);
}

void queue_unblock_hop(struct queue *q, struct slice name)
{
    struct hop *hop = find_hop(q, name);
    if (hop)
        unblock(q, hop);
}

/* ---- large and small ---- */

void queue_set_large(struct queue *q, uint64_t message, bool is_large)
{
    for (struct item *item = find_first(q, message); item; item = item->next) {
        int64_t due_at_ms = item->due.key;
        heap_remove(heap_of(item), &item->due);
        item->is_large = is_large;
        if (item->state == ITEM_WAITING)
            add_reserved(heap_of(item), &item->due, due_at_ms);
    }
}

/* ---- facts ---- */

int64_t queue_deadline_ms(const struct queue *q)
{
    const struct heap_node *first = heap_first(&q->timers);
    int64_t at_ms = first ? first->key : INT64_MAX;
    if (q->nactive >= q->limits.active_total)
        return INT64_MAX;
    if (!list_is_empty(&q->ready)) {
        int64_t ready_ms = time_of(q, LIST_OWNER(q->ready.first, struct hop, ready));
        at_ms = ready_ms < at_ms ? ready_ms : at_ms;
    }
    return at_ms;
}

size_t queue_count(const struct queue *q)
{
    return q->items.count;
}

size_t queue_hop_count(const struct queue *q, struct slice name)
{
    const struct hop *hop = find_hop(q, name);
    return hop ? hop->nitems : 0;
}

size_t queue_active(const struct queue *q)
{
    return q->nactive;
}

bool queue_has_small(const struct queue *q, struct slice name, int64_t now_ms)
{
    const struct hop *hop = find_hop(q, name);
    return hop && hop->blocked_until_ms <= now_ms && key_of_first(&hop->small) <= now_ms;
}
