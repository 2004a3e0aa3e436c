/* One search: a race whose actions become the finder's. */
#include "path/finder_internal.h"

#include <stdio.h>
#include <string.h>

/* LOST waits so long for the system to tell its proxies, when every path has failed before. A round is long enough for the last of many paths where all others connect and are silent (invariant 1): usually every
 * path has failed long before. A survey waits for each path, but not as long. */
enum { PROXIES_LAST_MS = 2000, ROUND_MS = 150 * 1000, SURVEY_ROUND_MS = 300 * 1000, SURVEY_CONNECT_MS = 5000, SURVEY_HANDSHAKE_MS = 8000 };

static int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- trials ------------------------------------------------------------------------------------------------------- */

void finder_note(struct finder *finder, size_t trial, enum path_verdict verdict, const char *words)
{
    struct finder_trial *noted = &finder->trials[trial];
    if (words || noted->verdict != verdict)
        snprintf(noted->words, sizeof noted->words, "%s", words ? words : path_verdict_words(verdict));
    noted->verdict = verdict;
    if (finder->race && race_verdict(finder->race, trial) == verdict)
        noted->ms = race_verdict_ms(finder->race, trial);
}

static void add_trial(struct finder *finder, const struct finder_candidate *candidate)
{
    struct finder_trial *trial = &finder->trials[finder->ntrials++];
    *trial = (struct finder_trial){.path = candidate->path, .is_remembered = candidate->is_remembered, .is_demoted = candidate->is_demoted};
    if (candidate->is_demoted) {
        trial->verdict = PATH_DIED_EARLY;
        snprintf(trial->words, sizeof trial->words, "died under a message lately; tried when nothing else is open");
    } else {
        snprintf(trial->words, sizeof trial->words, "%s", path_verdict_words(PATH_UNTRIED));
    }
}

static bool has_trial(const struct finder *finder, const struct path *path)
{
    for (size_t i = 0; i < finder->ntrials; i++)
        if (path_equal(&finder->trials[i].path, path))
            return true;
    return false;
}

bool finder_has_open(const struct finder *finder)
{
    for (size_t i = 0; i < finder->ntrials; i++)
        if (finder->is_open[i])
            return true;
    return false;
}

bool finder_cancel_open(struct finder *finder, struct finder_action *action)
{
    for (size_t i = 0; i < finder->ntrials; i++) {
        if (!finder->is_open[i])
            continue;
        finder->is_open[i] = false;
        *action = (struct finder_action){FINDER_CANCEL, i, finder->trials[i].path};
        return true;
    }
    return false;
}

/* ---- the race ----------------------------------------------------------------------------------------------------- */

static struct race_config config_of(const struct finder *finder, bool is_first_known)
{
    struct race_config config = finder->config.race;
    config.is_first_known = is_first_known;
    config.is_survey = finder->config.is_survey;
    config.last_chance_ms = config.last_chance_ms > 0 ? config.last_chance_ms : config.is_survey ? 1 : FINDER_LAST_CHANCE_MS;
    config.round_timeout_ms = config.round_timeout_ms > 0 ? config.round_timeout_ms : config.is_survey ? SURVEY_ROUND_MS : ROUND_MS;
    if (config.is_survey) {
        config.connect_timeout_ms = config.connect_timeout_ms > 0 ? config.connect_timeout_ms : SURVEY_CONNECT_MS;
        config.handshake_timeout_ms = config.handshake_timeout_ms > 0 ? config.handshake_timeout_ms : SURVEY_HANDSHAKE_MS;
    }
    return config;
}

static void add_candidates(struct finder *finder, const struct finder_candidates *candidates)
{
    for (size_t i = 0; i < candidates->n; i++) {
        const struct finder_candidate *candidate = &candidates->items[i];
        if (!has_trial(finder, &candidate->path) && race_add(finder->race, &candidate->path, candidate->tier, finder->now_ms))
            add_trial(finder, candidate);
    }
}

/* More paths may come from whoever has not answered. */
static void hold(struct finder *finder)
{
    if (finder->race)
        race_hold(finder->race, max_of(finder->addresses_until_ms, finder->proxies_until_ms));
}

void finder_search_begin(struct finder *finder)
{
    struct finder_candidates candidates;
    race_free(&finder->race);
    finder->ntrials = 0;
    finder->is_stale = finder->has_won = finder->is_lost = finder->is_probed = false;
    finder->has_searched = finder->must_resolve = true;
    finder->searched_at_ms = finder->now_ms;
    finder->next_search_ms = INT64_MAX;
    finder->addresses_until_ms = finder->now_ms + FINDER_RESOLVER_LAST_MS;
    finder->proxies_until_ms = finder->has_proxies ? INT64_MIN : finder->now_ms + PROXIES_LAST_MS;
    if (finder->probe != NETWORK_PROBE_CAPTIVE)
        finder->probe = NETWORK_PROBE_NONE;
    finder_compose(finder, &candidates);
    const struct race_config config = config_of(finder, candidates.n > 0 && candidates.items[0].is_remembered && !candidates.items[0].is_demoted);
    finder->race = race_new(&config, NULL, 0, finder->now_ms);
    if (finder->race)
        add_candidates(finder, &candidates);
    hold(finder);
}

void finder_search_join(struct finder *finder)
{
    struct finder_candidates candidates;
    if (!finder->race)
        return;
    finder_compose(finder, &candidates);
    add_candidates(finder, &candidates);
    hold(finder);
}

bool finder_search_has_news(const struct finder *finder)
{
    struct finder_candidates candidates;
    finder_compose(finder, &candidates);
    for (size_t i = 0; i < candidates.n; i++)
        if (!has_trial(finder, &candidates.items[i].path))
            return true;
    return false;
}

void finder_search_abort(struct finder *finder)
{
    race_free(&finder->race);
    finder->must_resolve = false;
    finder->addresses_until_ms = finder->proxies_until_ms = INT64_MIN;
}

/* ---- its actions -------------------------------------------------------------------------------------------------- */

/* False: it is for us, not for the driver. */
static bool translate(struct finder *finder, const struct race_action *from, struct finder_action *to)
{
    static const enum finder_action_type types[] = {[RACE_CONNECT] = FINDER_CONNECT, [RACE_HANDSHAKE] = FINDER_HANDSHAKE, [RACE_CANCEL] = FINDER_CANCEL};
    switch (from->type) {
    case RACE_CONNECT:
        finder->is_open[from->path] = true;
        break;
    case RACE_HANDSHAKE:
        break;
    case RACE_CANCEL:
        if (from->verdict != PATH_UNTRIED)
            finder_note(finder, from->path, from->verdict, NULL);
        finder->is_open[from->path] = false;
        break;
    case RACE_WON:
        finder->has_won = true;
        finder->used = from->path;
        return false;
    case RACE_LOST:
        finder->is_lost = true;
        return false;
    }
    *to = (struct finder_action){types[from->type], from->path, finder->trials[from->path].path};
    return true;
}

/* A survey tells the whole truth: the answer that is owed belongs to it. */
static int64_t answer_until_ms(const struct finder *finder)
{
    return finder->config.is_survey && finder->is_probing ? finder->probed_at_ms + FINDER_ANSWER_MS : INT64_MIN;
}

bool finder_search_next(struct finder *finder, struct finder_action *action)
{
    struct race_action next;
    if (finder->must_resolve) {
        finder->must_resolve = false;
        *action = (struct finder_action){.type = FINDER_RESOLVE};
        return true;
    }
    if (finder_probe_due_ms(finder) <= finder->now_ms) {
        finder_probe_take(finder, action);
        return true;
    }
    while (finder->race && !finder->is_lost && race_next(finder->race, finder->now_ms, &next))
        if (translate(finder, &next, action))
            return true;
    if (finder->has_won && finder->is_open[finder->used])
        finder_use(finder, action);
    else if (finder->has_won || ((finder->is_lost || !finder->race) && finder->now_ms >= answer_until_ms(finder)))
        finder_lose(finder, action);
    else
        return false;
    return true;
}

int64_t finder_search_deadline_ms(const struct finder *finder)
{
    int64_t probe_ms = finder_probe_due_ms(finder);
    int64_t race_ms = finder->is_lost ? answer_until_ms(finder) : finder->race && !finder->must_resolve ? race_deadline_ms(finder->race) : finder->now_ms;
    return probe_ms < race_ms ? probe_ms : race_ms;
}
