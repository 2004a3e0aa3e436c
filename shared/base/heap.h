/* A binary min-heap of intrusive nodes keyed by a time or any int64: what is due next.
 *
 * The heap owns the array of pointers, never the nodes. {0} is an empty heap and a node in no heap. */
#ifndef POSTERN_BASE_HEAP_H
#define POSTERN_BASE_HEAP_H

#include "base/result.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t key;
    size_t place; /* 1-based place in the heap; 0: in none */
};

struct heap {
    struct heap_node **nodes;
    size_t count;
    size_t capacity;
};

/* Room for so many nodes, so that adding them can't fail. RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result heap_reserve(struct heap *h, size_t count);
/* RESULT_OK, RESULT_MEMORY (not added). Equal keys leave in no promised order. */
MUST_CHECK enum result heap_add(struct heap *h, struct heap_node *node, int64_t key);
/* The node with the least key, or NULL. */
struct heap_node *heap_first(const struct heap *h);
/* Removing a node that is in no heap does nothing. */
void heap_remove(struct heap *h, struct heap_node *node);
/* Changes the key of a node that is in the heap. */
void heap_move(struct heap *h, struct heap_node *node, int64_t key);
void heap_free(struct heap *h);

#endif
