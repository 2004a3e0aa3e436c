/* Memory that dies together: one arena per session, per transaction, per callback.
 *
 * {0} is a usable arena with ARENA_DEFAULT_MAX. Nothing in it is freed alone; arena_reset keeps one block for the next
 * use, arena_free gives all back. Allocations are aligned for any type. */
#ifndef POSTERN_BASE_ARENA_H
#define POSTERN_BASE_ARENA_H

#include "base/result.h"
#include "base/slice.h"

enum { ARENA_DEFAULT_MAX = 1024 * 1024 }; /* octets */

struct arena_block;
struct arena {
    struct arena_block *blocks;
    size_t used; /* octets over all blocks */
    size_t max;  /* octets; 0 = ARENA_DEFAULT_MAX */
};

#define ARENA(max_octets) ((struct arena){.max = (max_octets)})

/* Zeroed memory, or NULL: out of memory, or the arena's maximum is met. */
void *arena_alloc(struct arena *a, size_t size);
/* RESULT_OK, RESULT_MEMORY. The copy is followed by a NUL that its length does not count. */
MUST_CHECK enum result arena_copy(struct arena *a, struct slice s, struct slice *out);
/* NUL-terminated; NULL when out of memory. The caller knows that s holds no NUL. */
char *arena_cstr(struct arena *a, struct slice s);
/* The array with room for one more than its n items: itself, or a copy of twice its capacity, in which *capacity is changed. NULL: out of
 * memory; the array is as it was. The first call has n and *capacity 0. */
void *arena_grow(struct arena *a, void *array, size_t n, size_t *capacity, size_t item_octets);
/* NULL when out of memory. */
char *arena_printf(struct arena *a, const char *format, ...) PRINTF_LIKE(2, 3);
void arena_reset(struct arena *a);
void arena_free(struct arena *a);
/* arena_free for secrets: every octet is wiped first. */
void arena_wipe_free(struct arena *a);

#endif
