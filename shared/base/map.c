#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY_MIN = 16 };

/* The last step of splitmix64: every bit of the key moves every bit of the hash. */
uint64_t map_hash_u64(uint64_t key)
{
    key += 0x9e3779b97f4a7c15u;
    key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9u;
    key = (key ^ (key >> 27)) * 0x94d049bb133111ebu;
    return key ^ (key >> 31);
}

uint64_t map_hash(struct slice key)
{
    uint64_t hash = key.len;
    while (key.len > 0) {
        uint64_t word = 0;
        memcpy(&word, key.ptr, key.len < sizeof word ? key.len : sizeof word);
        hash = map_hash_u64(hash ^ word);
        key = slice_skip(key, sizeof word);
    }
    return map_hash_u64(hash);
}

static size_t home_of(const struct map *m, uint64_t hash)
{
    return (size_t)hash & (m->capacity - 1);
}

static size_t next_slot(const struct map *m, size_t at)
{
    return (at + 1) & (m->capacity - 1);
}

static void put(struct map *m, struct map_node *node)
{
    size_t at = home_of(m, node->hash);
    while (m->slots[at])
        at = next_slot(m, at);
    m->slots[at] = node;
}

/* At most three quarters full, so that probing stays short and always meets an empty slot. */
enum result map_reserve(struct map *m, size_t count)
{
    size_t capacity = m->capacity ? m->capacity : CAPACITY_MIN;
    while (count > capacity / 4 * 3)
        capacity *= 2;
    if (capacity == m->capacity)
        return RESULT_OK;
    struct map grown = {.slots = calloc(capacity, sizeof *grown.slots), .count = m->count, .capacity = capacity};
    if (!grown.slots)
        return RESULT_MEMORY;
    for (size_t i = 0; i < m->capacity; i++)
        if (m->slots[i])
            put(&grown, m->slots[i]);
    free(m->slots);
    *m = grown;
    return RESULT_OK;
}

enum result map_add(struct map *m, struct map_node *node, uint64_t hash)
{
    enum result reserved = map_reserve(m, m->count + 1);
    if (reserved != RESULT_OK)
        return reserved;
    node->hash = hash;
    put(m, node);
    m->count++;
    return RESULT_OK;
}

static size_t slot_of(const struct map *m, const struct map_node *node)
{
    size_t at = home_of(m, node->hash);
    while (m->slots[at] != node) {
        assert(m->slots[at]);
        at = next_slot(m, at);
    }
    return at;
}

struct map_node *map_find(const struct map *m, uint64_t hash, const struct map_node *after)
{
    if (m->count == 0)
        return NULL;
    size_t at = after ? next_slot(m, slot_of(m, after)) : home_of(m, hash);
    while (m->slots[at] && m->slots[at]->hash != hash)
        at = next_slot(m, at);
    return m->slots[at];
}

/* Nodes behind the hole that may lie nearer to their home move up, so that no probing ends too early. */
void map_remove(struct map *m, struct map_node *node)
{
    size_t hole = slot_of(m, node);
    for (size_t at = next_slot(m, hole); m->slots[at]; at = next_slot(m, at)) {
        size_t from_home = (at - home_of(m, m->slots[at]->hash)) & (m->capacity - 1);
        size_t from_hole = (at - hole) & (m->capacity - 1);
        if (from_home >= from_hole) {
            m->slots[hole] = m->slots[at];
            hole = at;
        }
    }
    m->slots[hole] = NULL;
    if (--m->count == 0)
        map_free(m);
}

void map_replace(struct map *m, struct map_node *node, struct map_node *by)
{
    by->hash = node->hash;
    m->slots[slot_of(m, node)] = by;
}

struct map_node *map_each(const struct map *m, size_t *at)
{
    while (*at < m->capacity) {
        struct map_node *node = m->slots[(*at)++];
        if (node)
            return node;
    }
    return NULL;
}

void map_free(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}
