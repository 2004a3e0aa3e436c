#include "support/split.h"

#include "support/guard.h"

#include <stdio.h>

struct split {
    struct slice rest;
    size_t first;       /* length of the first piece */
    size_t later;       /* length of each piece after it */
    bool is_done;
    struct slice piece; /* the guarded copy handed out last */
    char how[40];
};

bool split_next(struct split *split, struct slice *piece)
{
    guard_free(&split->piece);
    if (split->is_done)
        return false;
    split->piece = guard_dup(slice_take(split->rest, split->first));
    split->rest = slice_skip(split->rest, split->first);
    split->first = split->later;
    split->is_done = split->rest.len == 0;
    *piece = split->piece;
    return true;
}

const char *split_how(const struct split *split)
{
    return split->how;
}

static void replay_one(struct split split, void (*replay)(struct split *, void *), void *context)
{
    replay(&split, context);
    guard_free(&split.piece);
}

void split_replay(struct slice input, void (*replay)(struct split *split, void *context), void *context)
{
    replay_one((struct split){.rest = input, .first = input.len, .how = "whole"}, replay, context);
    if (input.len < 2)
        return;
    if (input.len > 2) /* two octets: the same as cut at 1 */
        replay_one((struct split){.rest = input, .first = 1, .later = 1, .how = "octet by octet"}, replay, context);
    for (size_t at = 1; at < input.len; at++) {
        struct split split = {.rest = input, .first = at, .later = input.len - at};
        snprintf(split.how, sizeof split.how, "cut at %zu", at);
        replay_one(split, replay, context);
    }
}
