/* A hash table of intrusive nodes: open addressing, linear probing, no tombstones.
 *
 * The table keeps pointers and hashes, and knows nothing of keys: who looks something up compares them himself, over the nodes of one hash:
 *
 *   for (struct map_node *n = map_find(&m, hash, NULL); n; n = map_find(&m, hash, n))
 *       if (slice_equal(MAP_OWNER(n, struct hop, by_name)->name, name))
 *           ...
 *
 * {0} is an empty table and a node in none. The table owns its array, never the nodes. The hashes are quick, not secret: where strangers
 * choose keys by the million, use a keyed one. */
#ifndef POSTERN_BASE_MAP_H
#define POSTERN_BASE_MAP_H

#include "base/result.h"
#include "base/slice.h"

struct map_node {
    uint64_t hash;
};

struct map {
    struct map_node **slots;
    size_t count;
    size_t capacity; /* a power of two, or 0 */
};

#define MAP_OWNER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

uint64_t map_hash(struct slice key);
uint64_t map_hash_u64(uint64_t key);

/* Room for so many nodes, so that adding them can't fail. RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result map_reserve(struct map *m, size_t count);
/* RESULT_OK, RESULT_MEMORY (not added). */
MUST_CHECK enum result map_add(struct map *m, struct map_node *node, uint64_t hash);
/* The next node of that hash behind `after` (NULL: the first), or NULL. */
struct map_node *map_find(const struct map *m, uint64_t hash, const struct map_node *after);
/* The node is in the table. */
void map_remove(struct map *m, struct map_node *node);
/* Puts another node of the same hash in the place of one that is in the table. */
void map_replace(struct map *m, struct map_node *node, struct map_node *by);
/* All nodes in no order: *at begins as 0; NULL at the end. Nothing may be added or removed meanwhile. */
struct map_node *map_each(const struct map *m, size_t *at);
void map_free(struct map *m);

#endif
