/* A message that has just been committed, for the delivery on another loop. */
#ifndef POSTERN_SERVER_QUEUED_LETTER_H
#define POSTERN_SERVER_QUEUED_LETTER_H

#include "mailbox.h"

#include "base/slice.h"

struct queued_letter {
    struct letter letter;
    void *context; /* for the opener, who frees the letter with queued_letter_free */
    uint64_t message;
    int64_t due_at_ms;  /* wall time */
    size_t nhops;       /* each once */
    struct slice *hops; /* in the same allocation */
};
/* hops: of each of the n recipients. NULL: out of memory. */
struct queued_letter *queued_letter_new(uint64_t message, const struct slice *hops, size_t n, int64_t due_at_ms);
void queued_letter_free(struct queued_letter **letter);

#endif
