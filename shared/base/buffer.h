/* A growable run of octets with a front that can be consumed: socket input and output, lines under construction.
 *
 * The maximum is chosen where the buffer is made: struct buffer b = BUFFER(SMTP_LINE_MAX). {0} is a usable buffer with
 * BUFFER_DEFAULT_MAX. The buffer owns its memory; buffer_free gives it back. Slices of its content are valid until the
 * next call that is not buffer_slice. */
#ifndef POSTERN_BASE_BUFFER_H
#define POSTERN_BASE_BUFFER_H

#include "base/result.h"
#include "base/slice.h"

enum { BUFFER_DEFAULT_MAX = 1024 * 1024 }; /* octets */

struct buffer {
    char *memory;
    size_t start; /* first octet not consumed */
    size_t end;   /* one past the last */
    size_t capacity;
    size_t max; /* octets; 0 = BUFFER_DEFAULT_MAX */
    bool is_secret;
};

#define BUFFER(max_octets) ((struct buffer){.max = (max_octets)})
/* For octets that may hold secrets: each is wiped when it leaves, whichever way: consumed, dropped, moved by growth, given back. Costs a pass over what
 * went through, no more. */
#define BUFFER_SECRET(max_octets) ((struct buffer){.max = (max_octets), .is_secret = true})

struct slice buffer_slice(const struct buffer *b);
size_t buffer_len(const struct buffer *b);
/* How many octets may still be appended before RESULT_LIMIT. */
size_t buffer_room(const struct buffer *b);

/* All appends: RESULT_OK, RESULT_LIMIT (nothing appended), RESULT_MEMORY (nothing appended). */
MUST_CHECK enum result buffer_append(struct buffer *b, struct slice s);
MUST_CHECK enum result buffer_append_cstr(struct buffer *b, const char *text);
MUST_CHECK enum result buffer_printf(struct buffer *b, const char *format, ...) PRINTF_LIKE(2, 3);

/* Room for n octets at the end, to be written in place: *out points at it. buffer_commit then says how many were. */
MUST_CHECK enum result buffer_reserve(struct buffer *b, size_t n, char **out);
void buffer_commit(struct buffer *b, size_t n);

/* Drops n octets from the front; n is at most the length. */
void buffer_consume(struct buffer *b, size_t n);
/* Drops octets from the end until len are left. */
void buffer_truncate(struct buffer *b, size_t len);
/* Empties, and keeps the memory. */
void buffer_clear(struct buffer *b);
/* Empties, and gives the memory back; the maximum stays. For idle connections. */
void buffer_shrink(struct buffer *b);
void buffer_free(struct buffer *b);
/* buffer_free for secrets in an ordinary buffer: the octets are wiped first. Growth wipes too only if the buffer was reserved to its full
 * size before the secret came, so do that. */
void buffer_wipe_free(struct buffer *b);

#endif
