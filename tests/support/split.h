/* Replays one input in every way a network might cut it: whole, octet by octet, and in two at every place. What a
 * core makes of its input must not depend on that.
 *
 *   static void replay(struct split *split, void *context)
 *   {
 *       struct slice piece;
 *       ... a new core ...
 *       while (split_next(split, &piece))
 *           ... feed(piece), collect events and output ...
 *       ... compare with what is expected; split_how(split) belongs in the message ...
 *   }
 *   split_replay(SLICE("EHLO a.example\r\n"), replay, &context);
 *
 * Each piece ends at an inaccessible page (support/guard.h) and is gone when the next one comes: a core that keeps a
 * pointer into its input faults. Pieces are never empty, except the one piece of an empty input. */
#ifndef POSTERN_TESTS_SUPPORT_SPLIT_H
#define POSTERN_TESTS_SUPPORT_SPLIT_H

#include "base/slice.h"

struct split;

/* The next piece, or false at the end of the input. The piece is valid until the next call, or the end of the replay. */
bool split_next(struct split *split, struct slice *piece);

/* "whole", "octet by octet" or "cut at 17". Valid during the replay. */
const char *split_how(const struct split *split);

/* Calls replay len + 1 times for an input of len octets, or once for one of fewer than two. A replay that fails calls
 * cmocka's assertions, or aborts. */
void split_replay(struct slice input, void (*replay)(struct split *split, void *context), void *context);

#endif
