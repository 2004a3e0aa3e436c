/* A slice is a view of bytes somebody else owns: pointer and length, passed by value.
 *
 * Text from outside is always a slice. It may hold any octet, NUL included, and is never assumed to end in NUL.
 * {0} is the empty slice. A slice is valid only as long as what it points into; who keeps one longer copies it
 * (arena_copy, buffer_append). */
#ifndef POSTERN_BASE_SLICE_H
#define POSTERN_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
    const char *ptr;
    size_t len;
};

/* A slice of a string literal, usable in initialisers. */
#define SLICE(literal) ((struct slice){"" literal, sizeof(literal) - 1})
/* For printf: "%.*s", SLICE_ARG(s). Only where s is known to hold no NUL. */
#define SLICE_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : ""

struct slice slice_of(const void *ptr, size_t len);
/* The slice of a NUL-terminated string without its NUL; NULL gives the empty slice. */
struct slice slice_from_cstr(const char *text);

bool slice_equal(struct slice a, struct slice b);
/* ASCII case only, as protocol keywords and domains compare (RFC 5321 2.4). */
bool slice_equal_nocase(struct slice a, struct slice b);
bool slice_starts_with(struct slice s, struct slice prefix);
bool slice_starts_with_nocase(struct slice s, struct slice prefix);
bool slice_ends_with_nocase(struct slice s, struct slice suffix);

/* The part from octet `from` on; empty when from is past the end. */
struct slice slice_skip(struct slice s, size_t from);
/* At most the first n octets. */
struct slice slice_take(struct slice s, size_t n);
/* Without leading and trailing spaces and tabs. */
struct slice slice_trim(struct slice s);

/* Index of the first `byte`, or -1. */
ptrdiff_t slice_find(struct slice s, char byte);
ptrdiff_t slice_find_last(struct slice s, char byte);

/* Splits at the first `byte`: head before it, tail after it. Without one: head is all, tail empty, false.
 * head or tail may point at s itself. */
bool slice_cut(struct slice s, char byte, struct slice *head, struct slice *tail);

/* All of s as a decimal number without sign. False: empty, a stranger among the digits, or more than max. */
bool slice_to_u64(struct slice s, uint64_t max, uint64_t *out);

/* Writes s and a NUL to out[size]. False, with out empty, when it does not fit or s holds a NUL: the one door to
 * functions that want C strings. */
bool slice_to_cstr(struct slice s, char *out, size_t size);

#endif
