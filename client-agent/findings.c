#include "findings.h"

#include "path/network.h"

#include <stdio.h>
#include <string.h>

void findings_take(struct findings *findings, const struct finder *finder, bool is_ended, int64_t wall_ms)
{
    size_t n;
    const struct finder_trial *trials = finder_trials(finder, &n);
    if (findings->at_ms != 0 && !is_ended)
        return;
    findings->n = n < RACE_PATHS_MAX ? n : RACE_PATHS_MAX;
    if (n > 0)
        memcpy(findings->trials, trials, findings->n * sizeof *trials);
    if (is_ended)
        findings->at_ms = wall_ms;
}

void findings_note(struct findings *findings, const struct path *path, enum path_verdict verdict, const char *words)
{
    for (size_t i = 0; i < findings->n; i++)
        if (path_equal(&findings->trials[i].path, path)) {
            findings->trials[i].verdict = verdict;
            snprintf(findings->trials[i].words, sizeof findings->trials[i].words, "%s", words);
        }
}

void findings_forget(struct findings *findings)
{
    findings->n = 0;
    findings->at_ms = 0;
}

enum result findings_describe(const struct findings *findings, const struct finder *finder, const struct path *used, struct buffer *out)
{
    struct network_trial trials[RACE_PATHS_MAX];
    struct network_facts facts;
    finder_facts(finder, trials, &facts);
    for (size_t i = 0; i < findings->n; i++)
        trials[i] = (struct network_trial){findings->trials[i].path, findings->trials[i].verdict, findings->trials[i].whose[0] ? findings->trials[i].whose : NULL};
    facts.n = findings->n;
    return network_describe(&facts, used, out);
}
