#include "base/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER_MIN_CAPACITY = 256 };

static size_t max_of(const struct buffer *b)
{
    return b->max ? b->max : (size_t)BUFFER_DEFAULT_MAX;
}

struct slice buffer_slice(const struct buffer *b)
{
    return slice_of(b->memory ? b->memory + b->start : NULL, b->end - b->start);
}

size_t buffer_len(const struct buffer *b)
{
    return b->end - b->start;
}

size_t buffer_room(const struct buffer *b)
{
    return max_of(b) - buffer_len(b);
}

/* In a secret buffer nothing but the content is ever left in the memory. */
static void forget(const struct buffer *b, size_t from, size_t to)
{
    if (b->is_secret && from < to)
        explicit_bzero(b->memory + from, to - from);
}

static void move_to_front(struct buffer *b)
{
    size_t len = buffer_len(b), end = b->end;
    if (b->start > 0 && len > 0)
        memmove(b->memory, b->memory + b->start, len);
    b->start = 0;
    b->end = len;
    forget(b, len, end);
}

/* realloc that leaves no copy behind. */
static char *move_secret(struct buffer *b, size_t capacity)
{
    char *memory = malloc(capacity);
    if (memory && b->memory) {
        memcpy(memory, b->memory, b->end);
        forget(b, 0, b->end);
        free(b->memory);
    }
    return memory;
}

static enum result grow(struct buffer *b, size_t needed)
{
    size_t capacity = b->capacity ? b->capacity : BUFFER_MIN_CAPACITY;
    while (capacity < needed)
        capacity *= 2;
    if (capacity > max_of(b))
        capacity = max_of(b);
    char *memory = b->is_secret ? move_secret(b, capacity) : realloc(b->memory, capacity);
    if (!memory)
        return RESULT_MEMORY;
    b->memory = memory;
    b->capacity = capacity;
    return RESULT_OK;
}

enum result buffer_reserve(struct buffer *b, size_t n, char **out)
{
    if (n > buffer_room(b))
        return RESULT_LIMIT;
    if (b->memory == NULL || n > b->capacity - b->end) {
        move_to_front(b);
        if (b->memory == NULL || n > b->capacity - b->end) {
            enum result grown = grow(b, b->end + n);
            if (grown != RESULT_OK)
                return grown;
        }
    }
    *out = b->memory + b->end;
    return RESULT_OK;
}

void buffer_commit(struct buffer *b, size_t n)
{
    assert(n <= b->capacity - b->end);
    b->end += n;
}

enum result buffer_append(struct buffer *b, struct slice s)
{
    char *at;
    if (s.len == 0)
        return RESULT_OK;
    enum result reserved = buffer_reserve(b, s.len, &at);
    if (reserved != RESULT_OK)
        return reserved;
    memcpy(at, s.ptr, s.len);
    buffer_commit(b, s.len);
    return RESULT_OK;
}

enum result buffer_append_cstr(struct buffer *b, const char *text)
{
    return buffer_append(b, slice_from_cstr(text));
}

enum result buffer_printf(struct buffer *b, const char *format, ...)
{
    va_list args;
    char *at;

    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(len >= 0);
    if ((size_t)len > buffer_room(b))
        return RESULT_LIMIT;
    /* vsnprintf wants room for a NUL that is never committed; at the very maximum it goes through a copy. */
    if ((size_t)len == buffer_room(b)) {
        char *copy = malloc((size_t)len + 1);
        if (!copy)
            return RESULT_MEMORY;
        va_start(args, format);
        vsnprintf(copy, (size_t)len + 1, format, args);
        va_end(args);
        enum result appended = buffer_append(b, slice_of(copy, (size_t)len));
        free(copy);
        return appended;
    }
    enum result reserved = buffer_reserve(b, (size_t)len + 1, &at);
    if (reserved != RESULT_OK)
        return reserved;
    va_start(args, format);
    vsnprintf(at, (size_t)len + 1, format, args);
    va_end(args);
    buffer_commit(b, (size_t)len);
    return RESULT_OK;
}

void buffer_consume(struct buffer *b, size_t n)
{
    assert(n <= buffer_len(b));
    forget(b, b->start, b->start + n);
    b->start += n;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void buffer_truncate(struct buffer *b, size_t len)
{
    assert(len <= buffer_len(b));
    forget(b, b->start + len, b->end);
    b->end = b->start + len;
}

void buffer_clear(struct buffer *b)
{
    forget(b, b->start, b->end);
    b->start = b->end = 0;
}

void buffer_shrink(struct buffer *b)
{
    forget(b, b->start, b->end);
    free(b->memory);
    *b = (struct buffer){.max = b->max, .is_secret = b->is_secret};
}

void buffer_free(struct buffer *b)
{
    buffer_shrink(b);
}

void buffer_wipe_free(struct buffer *b)
{
    if (b->memory)
        explicit_bzero(b->memory, b->capacity);
    buffer_shrink(b);
}
