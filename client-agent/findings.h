/* What the last search that has ended found out about the present network: for status, and in words for the log. While the first search on a network runs, what it has found so far. */
#ifndef POSTERN_AGENT_FINDINGS_H
#define POSTERN_AGENT_FINDINGS_H

#include "path/finder.h"

#include "base/buffer.h"

struct findings {
    struct finder_trial trials[RACE_PATHS_MAX];
    size_t n;
    int64_t at_ms; /* wall time of that search's end; 0: none has ended on this network */
};

/* A copy of what the core has found; is_ended: the search is over. One that runs does not take the place of one that is over. */
void findings_take(struct findings *findings, const struct finder *finder, bool is_ended, int64_t wall_ms);
/* A session's end changes the verdict on its way. */
void findings_note(struct findings *findings, const struct path *path, enum path_verdict verdict, const char *words);
/* Another network. */
void findings_forget(struct findings *findings);
/* In words: network_describe's. RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result findings_describe(const struct findings *findings, const struct finder *finder, const struct path *used, struct buffer *out);

#endif
