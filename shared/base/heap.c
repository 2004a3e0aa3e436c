#include "base/heap.h"

#include <assert.h>
#include <stdlib.h>

static void put(struct heap *h, size_t place, struct heap_node *node)
{
    h->nodes[place - 1] = node;
    node->place = place;
}

static void sift_up(struct heap *h, struct heap_node *node)
{
    size_t place = node->place;
    while (place > 1 && h->nodes[place / 2 - 1]->key > node->key) {
        put(h, place, h->nodes[place / 2 - 1]);
        place /= 2;
    }
    put(h, place, node);
}

static void sift_down(struct heap *h, struct heap_node *node)
{
    size_t place = node->place;
    while (place * 2 <= h->count) {
        size_t child = place * 2;
        if (child < h->count && h->nodes[child]->key < h->nodes[child - 1]->key)
            child++;
        if (h->nodes[child - 1]->key >= node->key)
            break;
        put(h, place, h->nodes[child - 1]);
        place = child;
    }
    put(h, place, node);
}

/* Grows by doubling from one, so that thousands of heaps with a node or two stay small. */
enum result heap_reserve(struct heap *h, size_t count)
{
    if (count <= h->capacity)
        return RESULT_OK;
    size_t capacity = h->capacity * 2 > count ? h->capacity * 2 : count;
    struct heap_node **nodes = realloc(h->nodes, capacity * sizeof *nodes);
    if (!nodes)
        return RESULT_MEMORY;
    h->nodes = nodes;
    h->capacity = capacity;
    return RESULT_OK;
}

enum result heap_add(struct heap *h, struct heap_node *node, int64_t key)
{
    assert(node->place == 0);
    enum result reserved = heap_reserve(h, h->count + 1);
    if (reserved != RESULT_OK)
        return reserved;
    node->key = key;
    put(h, ++h->count, node);
    sift_up(h, node);
    return RESULT_OK;
}

struct heap_node *heap_first(const struct heap *h)
{
    return h->count ? h->nodes[0] : NULL;
}

void heap_remove(struct heap *h, struct heap_node *node)
{
    if (node->place == 0)
        return;
    size_t place = node->place;
    struct heap_node *last = h->nodes[--h->count];
    node->place = 0;
    if (last == node)
        return;
    put(h, place, last);
    sift_up(h, last);
    sift_down(h, last);
}

void heap_move(struct heap *h, struct heap_node *node, int64_t key)
{
    assert(node->place > 0);
    node->key = key;
    sift_up(h, node);
    sift_down(h, node);
}

void heap_free(struct heap *h)
{
    free(h->nodes);
    *h = (struct heap){0};
}
