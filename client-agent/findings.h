/* What the last search that has ended found out about the present network: for status, and in words for the log. While the first search on a network runs, what it has found so far. */
#ifndef POSTERN_AGENT_FINDINGS_H
#define POSTERN_AGENT_FINDINGS_H

#include "search.h"

#include "base/buffer.h"

struct findings {
    struct finder_trial trials[RACE_PATHS_MAX];
    size_t n;
    int64_t at_ms;         /* wall time of that search's end; 0: none has ended on this network */
    int64_t reached_at_ms; /* of the relay's last word in a session; 0: none yet */
    bool is_login_refused; /* the last session's end */
};

/* A copy of what the core has found; is_ended: the search is over. One that runs does not take the place of one that is over. */
void findings_take(struct findings *findings, const struct finder *finder, bool is_ended, int64_t wall_ms);
/* A session's end changes the verdict on its way. */
void findings_note(struct findings *findings, const struct path *path, enum path_verdict verdict, bool is_brief, const char *words);
/* Another network. */
void findings_forget(struct findings *findings);
/* network_describe's words; an open way that is not used is told with its time. RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result findings_describe(const struct findings *findings, const struct search *search, const struct settings *settings, const struct path *used, struct buffer *out);
/* network_trouble's, behind what the resolver said when it failed; cut to size. */
void findings_trouble(const struct findings *findings, const struct search *search, const struct settings *settings, char *out, size_t size);

#endif
