#include "store/sealed.h"

#include "base/octets.h"

#include <stdlib.h>
#include <string.h>

enum {
    PREFIX = 3,
    LENGTH = 4, /* octets before the first text of a pair: how long it is */
    TEXTS_MAX = 64 * 1024,
};

static const char prefix[PREFIX + 1] = ":1:";

/* ---- octets ---- */

enum result sealed_octets_put(const struct seal *seal, const struct seal_place *place, struct slice octets, char **memory, struct slice *out)
{
    *memory = NULL;
    *out = octets;
    if (!seal)
        return RESULT_OK;
    *memory = malloc(octets.len + SEAL_OVERHEAD);
    if (!*memory)
        return RESULT_MEMORY;
    enum result result = seal_put(seal, place, octets, (uint8_t *)*memory);
    *out = slice_of(*memory, octets.len + SEAL_OVERHEAD);
    return result;
}

size_t sealed_octets_len(const struct seal *seal, struct slice column)
{
    return seal ? seal_held(column.len) : column.len;
}

enum result sealed_octets_take(const struct seal *seal, const struct seal_place *place, struct slice column, char *out)
{
    if (seal)
        return seal_take(seal, place, column, (uint8_t *)out);
    if (column.len > 0)
        memcpy(out, column.ptr, column.len);
    return RESULT_OK;
}

/* ---- pairs of texts ---- */

static bool is_unsaid(const struct seal_place *place, struct slice first, struct slice second)
{
    return place->field == SEALED_WORDS && first.len == 0 && second.len == 0;
}

/* length of the first | first | second */
static enum result write_pair(struct slice first, struct slice second, struct buffer *out)
{
    char length[LENGTH];
    octets_put(length, first.len, LENGTH);
    enum result result = buffer_append(out, slice_of(length, LENGTH));
    if (result == RESULT_OK)
        result = buffer_append(out, first);
    return result == RESULT_OK ? buffer_append(out, second) : result;
}

enum result sealed_texts_put(const struct seal *seal, const struct seal_place *place, struct slice first, struct slice second, struct sealed_texts *out)
{
    *out = (struct sealed_texts){.first = first, .second = second, .memory = BUFFER(2 * TEXTS_MAX)};
    if (!seal || is_unsaid(place, first, second))
        return RESULT_OK;
    struct buffer pair = BUFFER(TEXTS_MAX);
    struct slice record;
    char *memory = NULL;
    enum result result = write_pair(first, second, &pair);
    if (result == RESULT_OK)
        result = sealed_octets_put(seal, place, buffer_slice(&pair), &memory, &record);
    if (result == RESULT_OK)
        result = buffer_append(&out->memory, slice_of(prefix, PREFIX));
    if (result == RESULT_OK)
        result = crypto_base64_encode(record, &out->memory);
    out->first = buffer_slice(&out->memory);
    out->second = (struct slice){0};
    free(memory);
    buffer_free(&pair);
    return result;
}

void sealed_texts_free(struct sealed_texts *texts)
{
    buffer_free(&texts->memory);
}

static enum result copy_pair(struct slice first, struct slice second, struct arena *arena, struct slice *out_first, struct slice *out_second)
{
    enum result result = arena_copy(arena, first, out_first);
    return result == RESULT_OK ? arena_copy(arena, second, out_second) : result;
}

static enum result read_pair(struct slice pair, struct arena *arena, struct slice *first, struct slice *second)
{
    if (pair.len < LENGTH)
        return RESULT_CORRUPT;
    size_t len = octets_get(pair.ptr, LENGTH);
    pair = slice_skip(pair, LENGTH);
    if (len > pair.len)
        return RESULT_CORRUPT;
    return copy_pair(slice_take(pair, len), slice_skip(pair, len), arena, first, second);
}

static enum result open_record(const struct seal *seal, const struct seal_place *place, struct slice text, struct buffer *pair)
{
    struct buffer record = BUFFER(TEXTS_MAX + SEAL_OVERHEAD);
    char *at;
    enum result result = crypto_base64_decode(slice_skip(text, PREFIX), &record);
    size_t len = seal_held(buffer_len(&record));
    if (result == RESULT_OK)
        result = buffer_reserve(pair, len + 1, &at);
    if (result == RESULT_OK)
        result = seal_take(seal, place, buffer_slice(&record), (uint8_t *)at);
    if (result == RESULT_OK)
        buffer_commit(pair, len);
    buffer_free(&record);
    return result == RESULT_SYNTAX || result == RESULT_LIMIT ? RESULT_CORRUPT : result;
}

enum result sealed_texts_take(const struct seal *seal, const struct seal_place *place, struct slice first, struct slice second, struct arena *arena, struct slice *out_first,
                              struct slice *out_second)
{
    bool is_sealed = slice_starts_with(first, slice_of(prefix, PREFIX));
    if (!seal && is_sealed) /* no address and no reply begins so: it is no text, and what it says is not known */
        return RESULT_CORRUPT;
    if (!seal || is_unsaid(place, first, second))
        return copy_pair(first, second, arena, out_first, out_second);
    if (second.len > 0 || !is_sealed)
        return RESULT_CORRUPT;
    struct buffer pair = BUFFER(TEXTS_MAX + 1);
    enum result result = open_record(seal, place, first, &pair);
    if (result == RESULT_OK)
        result = read_pair(buffer_slice(&pair), arena, out_first, out_second);
    buffer_free(&pair);
    return result;
}
