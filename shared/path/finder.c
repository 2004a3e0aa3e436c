/* See finder.h for the states and the numbered invariants. Inputs change what is known and what is wanted; finder_next alone acts on it. */
#include "path/finder_internal.h"
#include "path/ways.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPTIVE_FRESH_MS = 10 * 60 * 1000, CAPTIVE_LATER_MS = 60 * 1000 };

enum { DEATHS_AT_ONCE = 3 }; /* then the back-off, whatever is left: a relay may greet well and die in each message */

static void forgive(struct finder *finder)
{
    finder->failures = finder->ndeaths = 0;
}

static int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ms after then_ms; at once when that never was. */
static int64_t after(int64_t then_ms, int64_t ms)
{
    return then_ms == INT64_MIN ? INT64_MIN : then_ms + ms;
}

struct finder *finder_new(const struct finder_config *config, int64_t now_ms)
{
    struct finder *finder = calloc(1, sizeof *finder);
    if (!finder)
        return NULL;
    *finder = (struct finder){
        .config = *config,
        .is_up = true,
        .here = memory_new(),
        .now_ms = now_ms,
        .random = config->seed,
        .addresses_until_ms = INT64_MIN,
        .proxies_until_ms = INT64_MIN,
        .searched_at_ms = INT64_MIN,
        .next_search_ms = INT64_MIN,
        .probed_at_ms = INT64_MIN,
    };
    if (!finder->here)
        finder_free(&finder);
    return finder;
}

void finder_free(struct finder **finder)
{
    if (!*finder)
        return;
    race_free(&(*finder)->race);
    memory_free(&(*finder)->here);
    free(*finder);
    *finder = NULL;
}

/* ---- states ------------------------------------------------------------------------------------------------------- */

static void enter(struct finder *finder, enum finder_state state)
{
    finder->state = state;
}

/* Out of searching or using, or on in them: the next search is due at that time. */
static void come_again(struct finder *finder, int64_t at_ms)
{
    finder->next_search_ms = at_ms;
    enter(finder, finder->is_wanted ? FINDER_WAITING : FINDER_RESTING);
}

static uint32_t random_of(struct finder *finder)
{
    finder->random = finder->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(finder->random >> 32);
}

static void back_off(struct finder *finder)
{
    finder->failures++;
    come_again(finder, finder->config.is_survey ? INT64_MAX : finder->now_ms + schedule_delay_ms(finder->config.patience, finder->failures, random_of(finder)));
}

/* When the search may begin that is wanted: a captive portal is not hammered. */
static int64_t search_due_ms(const struct finder *finder)
{
    bool is_captive = finder->is_known && finder->network == NETWORK_CAPTIVE;
    if (!finder->is_up)
        return INT64_MAX;
    return is_captive ? max_of(finder->next_search_ms, after(finder->searched_at_ms, FINDER_PROBE_EVERY_MS)) : finder->next_search_ms;
}

/* What runs begins anew. */
static void begin_anew(struct finder *finder)
{
    finder_search_abort(finder);
    come_again(finder, INT64_MIN);
}

/* ---- the verdict on the network ----------------------------------------------------------------------------------- */

struct network_trial finder_trial_facts(const struct finder_trial *trial)
{
    return (struct network_trial){trial->path, trial->verdict, trial->whose[0] ? trial->whose : NULL, trial->is_brief};
}

static bool is_strangers(enum path_verdict verdict)
{
    return verdict == PATH_WRONG_CERTIFICATE || verdict == PATH_HTTP || verdict == PATH_FOREIGN_BANNER;
}

/* An address where a stranger answers is not yet a lie: the stranger may sit on the way to the true one. Where the relay has been met, and none of the places where it was is named, it is. */
static bool is_resolver_lying(const struct finder *finder)
{
    const struct path_address *kept;
    if (finder->nresolved == 0 || !finder->config.memory || memory_addresses(finder->config.memory, &kept) == 0 || !memory_is_proved(finder->config.memory, &kept[0]))
        return false;
    for (size_t i = 0; i < finder->nresolved; i++)
        if (memory_is_proved(finder->config.memory, &finder->resolved[i]))
            return false;
    for (size_t t = 0; t < finder->ntrials; t++)
        for (size_t i = 0; i < finder->nresolved; i++)
            if (is_strangers(finder->trials[t].verdict) && path_address_equal(&finder->trials[t].path.address, &finder->resolved[i]))
                return true;
    return false;
}

size_t finder_facts(const struct finder *finder, struct network_trial trials[static RACE_PATHS_MAX], struct network_facts *out)
{
    size_t n;
    const struct finder_trial *known = finder_trials(finder, &n);
    for (size_t i = 0; i < n; i++)
        trials[i] = finder_trial_facts(&known[i]);
    *out = (struct network_facts){.trials = trials, .n = n, .probe = finder->probe, .is_down = !finder->is_up, .is_resolver_lying = is_resolver_lying(finder)};
    return n;
}

static void set_network(struct finder *finder, enum network_state network)
{
    bool was_captive = finder->is_known && finder->network == NETWORK_CAPTIVE;
    finder->network = network;
    finder->is_known = true;
    if (network == NETWORK_CAPTIVE && !was_captive)
        finder->captive_since_ms = finder->now_ms;
}

void finder_conclude(struct finder *finder)
{
    struct network_trial trials[RACE_PATHS_MAX];
    struct network_facts facts;
    finder_facts(finder, trials, &facts);
    set_network(finder, network_conclude(&facts));
}

/* ---- the end of a search ------------------------------------------------------------------------------------------ */

/* What remembered paths came to is worth remembering. */
static void remember_verdicts(struct finder *finder)
{
    const struct memory_key *key;
    struct memory *memory = finder_memory(finder, &key);
    for (size_t i = 0; i < finder->ntrials && !finder->config.is_survey; i++) {
        const struct finder_trial *trial = &finder->trials[i];
        if (trial->is_remembered && !trial->is_demoted && trial->verdict != PATH_UNTRIED && trial->verdict != PATH_OPEN)
            (void)!memory_failed(memory, key, &trial->path, trial->verdict, finder_wall_ms(finder));
    }
}

/* The relay's own: not that of a way with an address of its own. */
static bool is_relay_address(const struct finder *finder, const struct path *path)
{
    for (size_t w = 0; w < finder->nways; w++)
        if (finder->ways[w].port == path->port && finder->ways[w].mode == path->mode && finder->ways[w].address.family == 0)
            return path->via == PATH_DIRECT && path->address.family != 0;
    return false;
}

void finder_use(struct finder *finder, struct finder_action *action)
{
    const struct finder_trial *used = &finder->trials[finder->used];
    const struct memory_key *key;
    struct memory *memory = finder_memory(finder, &key);
    finder->is_open[finder->used] = false;
    *action = (struct finder_action){FINDER_USE, finder->used, used->path};
    (void)!memory_proven(memory, key, &used->path, used->ms, finder_wall_ms(finder));
    if (finder->config.memory && is_relay_address(finder, &used->path))
        memory_keep_address(finder->config.memory, &used->path.address);
    remember_verdicts(finder);
    finder_search_abort(finder);
    enter(finder, FINDER_USING);
    finder_conclude(finder);
}

static void blame(struct finder *finder)
{
    const struct memory_key *key;
    struct memory *memory = finder_memory(finder, &key);
    (void)!memory_died(memory, key, &finder->trials[finder->used].path, finder_wall_ms(finder));
}

static bool has_any_direct(const struct finder *finder)
{
    for (size_t i = 0; i < finder->ntrials; i++)
        if (finder->trials[i].path.via == PATH_DIRECT)
            return true;
    return false;
}

/* The relay has no address that anybody knows: so the verdict on its ways. */
static void blame_resolver(struct finder *finder)
{
    bool has_direct = has_any_direct(finder);
    for (size_t w = 0; w < finder->nways && finder->ntrials < RACE_PATHS_MAX; w++) {
        const struct finder_way *way = &finder->ways[w];
        if (way->address.family || has_direct)
            continue;
        struct finder_trial *trial = &finder->trials[finder->ntrials++];
        *trial = (struct finder_trial){.path = {.port = way->port, .mode = way->mode}, .verdict = PATH_DNS};
        snprintf(trial->words, sizeof trial->words, "%s", path_verdict_words(PATH_DNS));
    }
}

void finder_lose(struct finder *finder, struct finder_action *action)
{
    /* Proven, and gone before it could be used. */
    if (finder->has_won) {
        finder_note(finder, finder->used, PATH_DIED_EARLY, NULL);
        blame(finder);
    }
    finder_search_abort(finder);
    blame_resolver(finder);
    remember_verdicts(finder);
    finder_conclude(finder);
    back_off(finder);
    *action = (struct finder_action){.type = FINDER_LOST};
}

/* ---- the challenge ------------------------------------------------------------------------------------------------ */

static int64_t captive_pause_ms(const struct finder *finder)
{
    return finder->probed_at_ms - finder->captive_since_ms < CAPTIVE_FRESH_MS ? FINDER_PROBE_EVERY_MS : CAPTIVE_LATER_MS;
}

int64_t finder_probe_due_ms(const struct finder *finder)
{
    int64_t earliest_ms = after(finder->probed_at_ms, FINDER_PROBE_EVERY_MS);
    bool is_captive = finder->is_known && finder->network == NETWORK_CAPTIVE;
    if (!finder->config.can_probe || !finder->is_up || !finder->has_searched)
        return INT64_MAX;
    if (finder->state == FINDER_SEARCHING && !finder->is_probed && !finder->is_lost && !finder->has_won)
        return max_of(finder->searched_at_ms + (finder->config.is_survey ? 0 : FINDER_PROBE_AFTER_MS), earliest_ms);
    if (finder->state != FINDER_WAITING || finder->config.is_survey)
        return INT64_MAX;
    /* A session that has died says nothing of portals. */
    if (!finder->is_probed)
        return is_captive || !finder->has_won ? earliest_ms : INT64_MAX;
    return is_captive ? finder->probed_at_ms + captive_pause_ms(finder) : INT64_MAX;
}

void finder_probe_take(struct finder *finder, struct finder_action *action)
{
    finder->is_probed = finder->is_probing = true;
    finder->probed_at_ms = finder->now_ms;
    *action = (struct finder_action){.type = FINDER_PROBE};
}

void finder_probed(struct finder *finder, enum finder_probe answer, int64_t now_ms)
{
    static const enum network_probe probes[] = {
        [FINDER_PROBE_CLEAR] = NETWORK_PROBE_CLEAR, [FINDER_PROBE_CAPTIVE] = NETWORK_PROBE_CAPTIVE, [FINDER_PROBE_SILENT] = NETWORK_PROBE_SILENT};
    finder->now_ms = now_ms;
    if (!finder->is_probing)
        return;
    bool was_captive = finder->is_known && finder->network == NETWORK_CAPTIVE;
    finder->is_probing = false;
    /* Silence takes nothing back. */
    if (answer != FINDER_PROBE_SILENT || finder->probe == NETWORK_PROBE_NONE)
        finder->probe = probes[answer];
    if (answer == FINDER_PROBE_CAPTIVE && finder->state == FINDER_SEARCHING)
        set_network(finder, NETWORK_CAPTIVE);
    else if (finder->state != FINDER_SEARCHING && finder->state != FINDER_USING)
        finder_conclude(finder);
    else if (answer == FINDER_PROBE_CLEAR && was_captive && finder->state == FINDER_SEARCHING)
        set_network(finder, NETWORK_BLOCKED);
    /* The portal has been passed. */
    if (answer == FINDER_PROBE_CLEAR && was_captive && finder->state != FINDER_USING) {
        forgive(finder);
        if (finder->state != FINDER_SEARCHING)
            finder->next_search_ms = max_of(now_ms, after(finder->searched_at_ms, FINDER_PROBE_EVERY_MS));
    }
}

/* ---- inputs ------------------------------------------------------------------------------------------------------- */

void finder_set_wall(struct finder *finder, int64_t wall_ms, int64_t now_ms)
{
    finder->now_ms = now_ms;
    finder->wall_lead_ms = wall_ms - now_ms;
}

void finder_set_ways(struct finder *finder, const struct finder_way *ways, size_t n, int64_t now_ms)
{
    finder->now_ms = now_ms;
    n = n < FINDER_WAYS_MAX ? n : FINDER_WAYS_MAX;
    bool is_same = n == finder->nways;
    for (size_t i = 0; i < n && is_same; i++)
        is_same = path_way_equal(&ways[i], &finder->ways[i]);
    if (is_same)
        return;
    for (size_t i = 0; i < n; i++)
        finder->ways[i] = ways[i];
    finder->nways = n;
    if (finder->state == FINDER_SEARCHING)
        begin_anew(finder);
}

/* Invariant 6. */
static void leave_network(struct finder *finder)
{
    finder->must_drop = finder->must_drop || finder->state == FINDER_USING;
    forgive(finder);
    finder->nresolved = finder->nproxies = 0;
    finder->has_proxies = finder->has_searched = finder->is_probing = finder->is_known = false;
    finder->is_stale = true;
    finder->probe = NETWORK_PROBE_NONE;
    memory_forget(finder->here);
    begin_anew(finder);
}

void finder_set_network(struct finder *finder, const struct memory_key *key, bool is_up, bool is_fresh, int64_t now_ms)
{
    static const struct memory_key none = {{0}};
    finder->now_ms = now_ms;
    bool is_same = is_up == finder->is_up && (key != NULL) == finder->has_key && memcmp(key ? key : &none, &finder->key, sizeof none) == 0;
    if (!is_same) {
        leave_network(finder);
    } else if (is_fresh && finder->state != FINDER_USING) {
        forgive(finder);
        begin_anew(finder);
    }
    finder->is_up = is_up;
    finder->has_key = key != NULL;
    finder->key = key ? *key : none;
}

/* What has come too late for a search brings the next one nearer. */
static void take_news(struct finder *finder)
{
    bool is_over = finder->state == FINDER_WAITING || finder->state == FINDER_RESTING;
    if (finder->state == FINDER_SEARCHING)
        finder_search_join(finder);
    else if (is_over && finder->has_searched && !finder->config.is_survey && finder_search_has_news(finder))
        finder->next_search_ms = min_of(finder->next_search_ms, max_of(finder->now_ms, after(finder->searched_at_ms, FINDER_NEW_MAIL_MS)));
}

void finder_resolved(struct finder *finder, const struct path_address *addresses, size_t n, int64_t now_ms)
{
    finder->now_ms = now_ms;
    finder->addresses_until_ms = INT64_MIN;
    /* That it fails now makes no address wrong that it gave before. */
    if (n > 0) {
        finder->nresolved = n < FINDER_ADDRESSES_MAX ? n : FINDER_ADDRESSES_MAX;
        memcpy(finder->resolved, addresses, finder->nresolved * sizeof *addresses);
    }
    take_news(finder);
}

void finder_proxies(struct finder *finder, const struct finder_proxy *proxies, size_t n, bool is_last, int64_t now_ms)
{
    finder->now_ms = now_ms;
    if (is_last) {
        finder->proxies_until_ms = INT64_MIN;
        finder->has_proxies = true;
    }
    finder->nproxies = n < FINDER_PROXIES_MAX ? n : FINDER_PROXIES_MAX;
    if (n > 0)
        memcpy(finder->proxies, proxies, finder->nproxies * sizeof *proxies);
    take_news(finder);
}

void finder_want(struct finder *finder, enum finder_wish wish, int64_t now_ms)
{
    bool is_idle = finder->state == FINDER_RESTING || finder->state == FINDER_WAITING;
    finder->now_ms = now_ms;
    finder->is_wanted = wish != FINDER_WISH_NOTHING;
    if (wish == FINDER_WISH_NOW) {
        forgive(finder);
        if (is_idle)
            finder->next_search_ms = INT64_MIN;
    } else if (wish == FINDER_WISH_NEW_MAIL && is_idle) {
        finder->next_search_ms = min_of(finder->next_search_ms, max_of(now_ms, after(finder->searched_at_ms, FINDER_NEW_MAIL_MS)));
    }
}

void finder_connected(struct finder *finder, size_t trial, int64_t now_ms)
{
    finder->now_ms = now_ms;
    if (finder->race && trial < finder->ntrials && finder->is_open[trial])
        race_connected(finder->race, trial, now_ms);
}

void finder_proven(struct finder *finder, size_t trial, int64_t now_ms)
{
    finder->now_ms = now_ms;
    if (!finder->race || trial >= finder->ntrials || !finder->is_open[trial])
        return;
    race_proven(finder->race, trial, now_ms);
    if (race_verdict(finder->race, trial) == PATH_OPEN)
        finder_note(finder, trial, PATH_OPEN, path_verdict_words(PATH_OPEN));
}

void finder_explain(struct finder *finder, size_t trial, enum path_verdict verdict, const char *words)
{
    if (trial >= finder->ntrials || (finder->trials[trial].verdict != PATH_DROPPED && finder->trials[trial].verdict != PATH_TLS_FAILED))
        return;
    finder->trials[trial].verdict = verdict;
    snprintf(finder->trials[trial].words, sizeof finder->trials[trial].words, "%s", words);
}

void finder_whose(struct finder *finder, size_t trial, struct slice whose)
{
    if (trial >= finder->ntrials || finder->trials[trial].verdict != PATH_WRONG_CERTIFICATE)
        return;
    size_t len = whose.len < FINDER_WHOSE - 1 ? whose.len : FINDER_WHOSE - 1;
    for (size_t i = 0; i < len; i++)
        finder->trials[trial].whose[i] = whose.ptr[i] >= ' ' && whose.ptr[i] <= '~' ? whose.ptr[i] : '?';
    finder->trials[trial].whose[len] = '\0';
}

void finder_failed(struct finder *finder, size_t trial, enum path_verdict verdict, const char *words, int64_t now_ms)
{
    finder->now_ms = now_ms;
    if (trial >= finder->ntrials || !finder->is_open[trial])
        return;
    finder->is_open[trial] = false;
    if (!finder->race)
        return;
    /* One that was kept in reserve until the other side had enough of that says less than the attempt before. */
    enum path_verdict before = finder->trials[trial].verdict;
    if (verdict == PATH_DIED_EARLY && (before == PATH_DROPPED || before == PATH_TLS_FAILED)) {
        race_failed(finder->race, trial, before, now_ms);
        return;
    }
    race_failed(finder->race, trial, verdict, now_ms);
    finder->trials[trial].is_brief = verdict == PATH_DIED_EARLY;
    if (race_verdict(finder->race, trial) == verdict)
        finder_note(finder, trial, verdict, words);
}

static void credit(struct finder *finder, uint64_t octets)
{
    const struct memory_key *key;
    struct memory *memory = finder_memory(finder, &key);
    (void)!memory_carried(memory, key, &finder->trials[finder->used].path, octets, finder_wall_ms(finder));
}

void finder_carried(struct finder *finder, uint64_t octets, int64_t now_ms)
{
    finder->now_ms = now_ms;
    if (finder->state != FINDER_USING)
        return;
    forgive(finder);
    credit(finder, octets);
}

/* A path that this search did not come to: there is hope, and no need to wait for it. */
static bool has_untried(const struct finder *finder)
{
    for (size_t i = 0; i < finder->ntrials; i++)
        if (finder->trials[i].verdict == PATH_UNTRIED && !finder->trials[i].is_demoted)
            return true;
    return false;
}

void finder_ended(struct finder *finder, enum finder_end how, enum path_verdict verdict, const char *words, int64_t now_ms)
{
    finder->now_ms = now_ms;
    if (finder->state != FINDER_USING)
        return;
    if (verdict != PATH_OPEN && verdict != PATH_UNTRIED)
        finder_note(finder, finder->used, verdict, words);
    switch (how) {
    case FINDER_END_PEACE:
    case FINDER_END_CARRIED:
        forgive(finder);
        come_again(finder, INT64_MIN);
        return;
    case FINDER_END_CUT:
        if (has_untried(finder))
            blame(finder);
        else
            credit(finder, 0);
        forgive(finder);
        come_again(finder, INT64_MIN);
        return;
    case FINDER_END_DIED:
        blame(finder);
        if (has_untried(finder) && finder->ndeaths++ < DEATHS_AT_ONCE) {
            come_again(finder, INT64_MIN);
            return;
        }
        back_off(finder);
        break;
    case FINDER_END_REFUSED:
        back_off(finder);
        break;
    }
    finder_conclude(finder);
}

/* ---- what to do --------------------------------------------------------------------------------------------------- */

/* The state moves on: true. */
static bool move(struct finder *finder)
{
    switch (finder->state) {
    case FINDER_RESTING:
        if (finder->is_wanted)
            enter(finder, FINDER_WAITING);
        return finder->is_wanted;
    case FINDER_WAITING:
        if (!finder->is_wanted) {
            enter(finder, FINDER_RESTING);
            return true;
        }
        if (search_due_ms(finder) > finder->now_ms)
            return false;
        finder_search_begin(finder);
        enter(finder, FINDER_SEARCHING);
        return true;
    case FINDER_SEARCHING:
        if (finder->is_wanted)
            return false;
        begin_anew(finder);
        return true;
    case FINDER_USING:
        return false;
    }
    return false;
}

bool finder_next(struct finder *finder, int64_t now_ms, struct finder_action *action)
{
    finder->now_ms = now_ms;
    if (finder->must_drop) {
        finder->must_drop = false;
        *action = (struct finder_action){FINDER_DROP, finder->used, finder->trials[finder->used].path};
        return true;
    }
    do {
        if (!finder->race && finder_cancel_open(finder, action))
            return true;
    } while (move(finder));
    if (finder->state == FINDER_SEARCHING)
        return finder_search_next(finder, action);
    if (finder->state != FINDER_WAITING || finder_probe_due_ms(finder) > now_ms)
        return false;
    finder_probe_take(finder, action);
    return true;
}

int64_t finder_deadline_ms(const struct finder *finder)
{
    bool is_pending = finder->must_drop || (!finder->race && finder_has_open(finder));
    bool is_moving = finder->state != FINDER_USING && finder->is_wanted != (finder->state != FINDER_RESTING);
    if (is_pending || is_moving)
        return finder->now_ms;
    switch (finder->state) {
    case FINDER_RESTING:
    case FINDER_USING:
        break;
    case FINDER_WAITING:
        return max_of(min_of(search_due_ms(finder), finder_probe_due_ms(finder)), finder->now_ms);
    case FINDER_SEARCHING:
        return max_of(finder_search_deadline_ms(finder), finder->now_ms);
    }
    return INT64_MAX;
}

/* ---- for status --------------------------------------------------------------------------------------------------- */

enum finder_state finder_state(const struct finder *finder)
{
    return finder->state;
}

enum network_state finder_network(const struct finder *finder, bool *is_known)
{
    *is_known = finder->is_known || !finder->is_up;
    return finder->is_up ? finder->is_known ? finder->network : NETWORK_ONLINE : NETWORK_OFFLINE;
}

const struct finder_trial *finder_trials(const struct finder *finder, size_t *n)
{
    *n = finder->is_stale ? 0 : finder->ntrials;
    return finder->trials;
}

const struct path *finder_path(const struct finder *finder)
{
    return finder->state == FINDER_USING ? &finder->trials[finder->used].path : NULL;
}

int64_t finder_next_search_ms(const struct finder *finder)
{
    int64_t due_ms = search_due_ms(finder);
    return finder->state == FINDER_WAITING ? due_ms == INT64_MIN ? finder->now_ms : due_ms : INT64_MAX;
}
