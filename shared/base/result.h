/* What an operation that can fail returns. Transient and permanent failures are different values from the first line
 * to the last; what only our own mistake can cause is an assert, not a result. */
#ifndef POSTERN_BASE_RESULT_H
#define POSTERN_BASE_RESULT_H

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_at, first_at) __attribute__((format(printf, format_at, first_at)))

enum result {
    RESULT_OK = 0,
    RESULT_MORE,      /* not an error: the input ends before the thing does; come again with more */
    RESULT_MEMORY,    /* allocation failed; transient */
    RESULT_LIMIT,     /* a limit of ours was met: too long, too many, too large */
    RESULT_SYNTAX,    /* the input breaks its grammar; permanent */
    RESULT_NOT_FOUND,
    RESULT_EXISTS,
    RESULT_DENIED,    /* permission or credential */
    RESULT_BUSY,      /* a bounded queue is full, or somebody else holds the lock; transient */
    RESULT_FULL,      /* disk or quota full; transient */
    RESULT_IO,        /* the disk, the database or the socket failed; transient unless a person must mend it */
    RESULT_CORRUPT,   /* stored data breaks its own rules; needs a person */
    RESULT_VERSION,   /* made by a newer version than this */
    RESULT_CANCELLED, /* the asker went away or we are shutting down */
};

/* "ok", "more", "memory" ... for logs. */
const char *result_name(enum result result);

#endif
