#include "findings.h"

#include "net/stream.h"
#include "path/network.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

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

void findings_note(struct findings *findings, const struct path *path, enum path_verdict verdict, bool is_brief, const char *words)
{
    for (size_t i = 0; i < findings->n; i++)
        if (path_equal(&findings->trials[i].path, path)) {
            findings->trials[i].verdict = verdict;
            findings->trials[i].is_brief = is_brief;
            snprintf(findings->trials[i].words, sizeof findings->trials[i].words, "%s", words);
        }
}

void findings_forget(struct findings *findings)
{
    findings->n = 0;
    findings->at_ms = findings->reached_at_ms = 0;
    findings->is_login_refused = false;
}

/* "at 14:05", or with the day; NULL: never. */
static const char *format_when(int64_t at_ms, char *out, size_t size)
{
    time_t at = (time_t)(at_ms / 1000), now = (time_t)(wall_now_ms() / 1000);
    struct tm then, today;
    if (at_ms == 0 || !localtime_r(&at, &then) || !localtime_r(&now, &today))
        return NULL;
    bool is_today = then.tm_year == today.tm_year && then.tm_yday == today.tm_yday;
    return strftime(out, size, is_today ? "at %H:%M" : "on %Y-%m-%d at %H:%M", &then) > 0 ? out : NULL;
}

static void facts_of(const struct findings *findings, const struct search *search, const struct settings *settings, struct network_trial trials[static RACE_PATHS_MAX],
                     struct network_facts *out)
{
    finder_facts(search_finder(search), trials, out);
    for (size_t i = 0; i < findings->n; i++)
        trials[i] = finder_trial_facts(&findings->trials[i]);
    out->n = findings->n;
    out->is_pinned = settings->values.pin.count > 0;
    out->is_login_refused = findings->is_login_refused;
    out->missing_proxy = search_missing_proxy(search);
}

enum result findings_describe(const struct findings *findings, const struct search *search, const struct settings *settings, const struct path *used, struct buffer *out)
{
    struct network_trial trials[RACE_PATHS_MAX];
    struct network_facts facts;
    char when[40];
    facts_of(findings, search, settings, trials, &facts);
    facts.reached_when = format_when(findings->reached_at_ms > findings->at_ms ? findings->reached_at_ms : findings->at_ms, when, sizeof when);
    return network_describe(&facts, used, out);
}

void findings_trouble(const struct findings *findings, const struct search *search, const struct settings *settings, char *out, size_t size)
{
    struct network_trial trials[RACE_PATHS_MAX];
    struct network_facts facts;
    struct buffer words = BUFFER(size);
    const char *resolver = search_resolver_words(search);
    facts_of(findings, search, settings, trials, &facts);
    if (network_trouble(&facts, &words) != RESULT_OK)
        buffer_clear(&words);
    snprintf(out, size, "%s%s%.*s", resolver ? resolver : "", resolver ? "; " : "", SLICE_ARG(buffer_slice(&words)));
    buffer_free(&words);
}
