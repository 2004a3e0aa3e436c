#include "base/arena.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BLOCK = 2048 }; /* octets of a common block */

struct arena_block {
    struct arena_block *next;
    size_t used;
    size_t capacity;
    max_align_t memory[];
};

static size_t max_of(const struct arena *a)
{
    return a->max ? a->max : (size_t)ARENA_DEFAULT_MAX;
}

static struct arena_block *add_block(struct arena *a, size_t size)
{
    size_t capacity = size > ARENA_BLOCK ? size : (size_t)ARENA_BLOCK;
    struct arena_block *block = malloc(sizeof *block + capacity);
    if (!block)
        return NULL;
    *block = (struct arena_block){.next = a->blocks, .capacity = capacity};
    a->blocks = block;
    return block;
}

void *arena_alloc(struct arena *a, size_t size)
{
    size_t align = _Alignof(max_align_t);
    if (size > max_of(a) - a->used)
        return NULL;
    size = (size + align - 1) / align * align;
    struct arena_block *block = a->blocks;
    if (!block || size > block->capacity - block->used)
        block = add_block(a, size);
    if (!block)
        return NULL;
    void *at = (char *)block->memory + block->used;
    block->used += size;
    a->used += size < max_of(a) - a->used ? size : max_of(a) - a->used;
    return memset(at, 0, size);
}

enum result arena_copy(struct arena *a, struct slice s, struct slice *out)
{
    char *copy = arena_alloc(a, s.len + 1);
    if (!copy)
        return RESULT_MEMORY;
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    *out = slice_of(copy, s.len);
    return RESULT_OK;
}

char *arena_cstr(struct arena *a, struct slice s)
{
    char *copy = arena_alloc(a, s.len + 1);
    if (copy && s.len > 0)
        memcpy(copy, s.ptr, s.len);
    return copy;
}

void *arena_grow(struct arena *a, void *array, size_t n, size_t *capacity, size_t item_octets)
{
    if (n < *capacity)
        return array;
    size_t wanted = *capacity > 0 ? 2 * *capacity : 1;
    void *more = arena_alloc(a, wanted * item_octets);
    if (!more)
        return NULL;
    if (n > 0)
        memcpy(more, array, n * item_octets);
    *capacity = wanted;
    return more;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = arena_alloc(a, (size_t)len + 1);
    if (!text)
        return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return text;
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = NULL;
    while (a->blocks) {
        struct arena_block *block = a->blocks;
        a->blocks = block->next;
        if (!keep && block->capacity == ARENA_BLOCK)
            keep = block;
        else
            free(block);
    }
    if (keep)
        *keep = (struct arena_block){.capacity = ARENA_BLOCK};
    a->blocks = keep;
    a->used = 0;
}

void arena_free(struct arena *a)
{
    arena_reset(a);
    free(a->blocks);
    a->blocks = NULL;
}

void arena_wipe_free(struct arena *a)
{
    for (struct arena_block *block = a->blocks; block; block = block->next)
        explicit_bzero(block->memory, block->used);
    arena_free(a);
}
