#include "queued_letter.h"

#include <stdlib.h>
#include <string.h>

static int compare_slices(const void *left, const void *right)
{
    const struct slice *a = left, *b = right;
    size_t least = a->len < b->len ? a->len : b->len;
    int order = least ? memcmp(a->ptr, b->ptr, least) : 0;
    return order ? order : (a->len > b->len) - (a->len < b->len);
}

/* Sorts hops and drops repetitions; the number left. */
static size_t unique_hops(struct slice *hops, size_t n)
{
    size_t kept = 0;
    qsort(hops, n, sizeof *hops, compare_slices);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || !slice_equal(hops[kept - 1], hops[i]))
            hops[kept++] = hops[i];
    }
    return kept;
}

struct queued_letter *queued_letter_new(uint64_t message, const struct slice *hops, size_t n, int64_t due_at_ms)
{
    size_t octets = 0;
    for (size_t i = 0; i < n; i++)
        octets += hops[i].len;
    struct queued_letter *queued = malloc(sizeof *queued + n * sizeof *hops + octets);
    if (!queued)
        return NULL;
    *queued = (struct queued_letter){.message = message, .due_at_ms = due_at_ms, .hops = (struct slice *)(queued + 1)};
    char *text = (char *)(queued->hops + n);
    for (size_t i = 0; i < n; i++) {
        if (hops[i].len)
            memcpy(text, hops[i].ptr, hops[i].len);
        queued->hops[i] = slice_of(text, hops[i].len);
        text += hops[i].len;
    }
    queued->nhops = n > 1 ? unique_hops(queued->hops, n) : n;
    return queued;
}

void queued_letter_free(struct queued_letter **letter)
{
    free(*letter);
    *letter = NULL;
}
