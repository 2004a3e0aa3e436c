/* What the finder's files share. Nobody else includes this. */
#ifndef POSTERN_PATH_FINDER_INTERNAL_H
#define POSTERN_PATH_FINDER_INTERNAL_H

#include "path/finder.h"

struct finder {
    struct finder_config config;
    enum finder_state state;
    bool is_wanted;
    int64_t now_ms;           /* the last time that was told */
    int64_t wall_lead_ms;     /* what the wall shows more than that */
    uint64_t random;

    /* The network. */
    bool is_up, has_key;
    struct memory_key key;
    struct memory *here;      /* of a network that can't be told from others, while the laptop is on it; under a key of zeros */

    /* What paths are made of. */
    struct finder_way ways[FINDER_WAYS_MAX];
    struct path_address resolved[FINDER_ADDRESSES_MAX];
    struct finder_proxy proxies[FINDER_PROXIES_MAX];
    size_t nways, nresolved, nproxies;
    bool has_proxies;         /* they have been told on this network */

    /* The search that runs, or the last one. */
    struct race *race;        /* NULL: none runs; what is still open then is cancelled */
    struct finder_trial trials[RACE_PATHS_MAX];
    bool is_open[RACE_PATHS_MAX]; /* the driver has a connection on it */
    size_t ntrials, used;
    bool is_stale;            /* the trials are of another network */
    bool has_searched;        /* on this network */
    bool has_won, is_lost;    /* the race has said so; what else it says comes first */
    bool must_resolve, must_drop;
    int64_t addresses_until_ms, proxies_until_ms; /* awaited so long; INT64_MIN: not */
    int64_t searched_at_ms, next_search_ms; /* INT64_MIN: never, at once */
    uint32_t failures;        /* searches and sessions in a row that brought no decision on a message */
    uint32_t ndeaths;         /* sessions likewise after which another path was tried at once */

    /* The challenge. */
    enum network_probe probe;
    bool is_probed;           /* since the search began */
    bool is_probing;          /* an answer is owed */
    int64_t probed_at_ms;     /* asked; INT64_MIN: never */
    int64_t captive_since_ms;
    enum network_state network;
    bool is_known;
};

/* ---- finder_paths.c: what a search tries -------------------------------------------------------------------------- */

struct finder_candidate {
    struct path path;
    enum race_tier tier;
    bool is_remembered, is_demoted;
};
struct finder_candidates {
    struct finder_candidate items[RACE_PATHS_MAX];
    size_t n, limit;
};
/* In the order of preference, without duplicates. */
void finder_compose(const struct finder *finder, struct finder_candidates *out);
/* Where this network's paths are remembered, and under which key. */
struct memory *finder_memory(const struct finder *finder, const struct memory_key **key);
int64_t finder_wall_ms(const struct finder *finder);

/* ---- finder_search.c: one search, from its paths to its end ------------------------------------------------------- */

void finder_search_begin(struct finder *finder);
/* Paths that have become known since. */
void finder_search_join(struct finder *finder);
/* Whether any has that the last search did not try. */
bool finder_search_has_news(const struct finder *finder);
bool finder_search_next(struct finder *finder, struct finder_action *action);
int64_t finder_search_deadline_ms(const struct finder *finder);
/* No race any more: what is open is cancelled by the finder_next calls that follow. */
void finder_search_abort(struct finder *finder);
bool finder_cancel_open(struct finder *finder, struct finder_action *action);
bool finder_has_open(const struct finder *finder);
void finder_note(struct finder *finder, size_t trial, enum path_verdict verdict, const char *words);

/* ---- finder.c ----------------------------------------------------------------------------------------------------- */

int64_t finder_probe_due_ms(const struct finder *finder);
void finder_probe_take(struct finder *finder, struct finder_action *action);
/* From the trials and the probe. */
void finder_conclude(struct finder *finder);
/* The search has ended without a way. */
void finder_lose(struct finder *finder, struct finder_action *action);
void finder_use(struct finder *finder, struct finder_action *action);

#endif
