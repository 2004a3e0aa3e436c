/* See race.h for the rules and the numbered invariants.
 *
 * Each rule is one function that says from when on it applies (INT64_MAX: not as things stand): race_next acts on those whose time has come,
 * race_deadline_ms is the earliest of the others. So the two cannot disagree (invariant 7). */
#include "path/race.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* FAILED is, in a survey, a verdict of any kind. */
enum state { WAITING, CONNECTING, CONNECTED, HANDSHAKING, PROVEN, FAILED, CANCELLED };

struct entry {
    struct path path;
    enum race_tier tier;
    enum state state;
    enum path_verdict verdict;
    int64_t verdict_ms;
    uint32_t attempts;     /* connections opened so far */
    uint64_t turn;         /* place in the queue of those that wait: first attempts by tier, then further ones */
    int64_t stage_at_ms;   /* when the state began */
    int64_t connect_ms;    /* how long this attempt took to connect */
    int64_t connecting_ms; /* spent in earlier attempts, of connect_timeout_ms */
    int64_t shaking_ms;    /* the same, of handshake_timeout_ms */
};

struct race {
    struct race_config config;
    int64_t ends_at_ms;
    int64_t held_until_ms;    /* more paths may join */
    int64_t last_chance_at_ms;
    int64_t next_start_at_ms; /* no attempt starts before */
    uint64_t next_turn;
    struct entry *winner;
    bool is_won_told;
    bool is_lost;
    size_t n;
    struct entry entries[RACE_PATHS_MAX];
};

static int64_t or_default(int64_t value, int64_t fallback)
{
    return value > 0 ? value : fallback;
}

static int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static struct race_config with_defaults(const struct race_config *config)
{
    struct race_config full = {
        .stagger_ms = max_of(config->stagger_ms, 10),
        .patience_ms = or_default(config->patience_ms, 500),
        .sockets_max = config->sockets_max > 0 && config->sockets_max < RACE_SOCKETS_MAX ? config->sockets_max : RACE_SOCKETS_MAX,
        .stall_ms = or_default(config->stall_ms, 1500),
        .stall_least_ms = or_default(config->stall_least_ms, 400),
        .connect_timeout_ms = or_default(config->connect_timeout_ms, 10000),
        .handshake_timeout_ms = or_default(config->handshake_timeout_ms, 15000),
        .round_timeout_ms = or_default(config->round_timeout_ms, 30000),
        .last_chance_ms = or_default(config->last_chance_ms, 2000),
        .is_first_known = config->is_first_known,
        .is_survey = config->is_survey,
    };
    full.known_head_start_ms = max_of(or_default(config->known_head_start_ms, 250), full.stagger_ms);
    return full;
}

struct race *race_new(const struct race_config *config, const struct path *paths, size_t n, int64_t now_ms)
{
    assert(n <= RACE_PATHS_MAX);
    struct race *race = calloc(1, sizeof *race);
    if (!race)
        return NULL;
    race->config = with_defaults(config);
    race->next_start_at_ms = now_ms;
    race->held_until_ms = INT64_MIN;
    race->last_chance_at_ms = now_ms + race->config.last_chance_ms;
    race->ends_at_ms = now_ms + race->config.round_timeout_ms;
    for (size_t i = 0; i < n; i++)
        race_add(race, &paths[i], RACE_USUAL, now_ms);
    return race;
}

/* Further attempts come behind all first ones. */
enum { TURN_AGAIN = 8 };

static uint64_t take_turn(struct race *race, unsigned class)
{
    return (uint64_t)class << 48 | race->next_turn++;
}

bool race_add(struct race *race, const struct path *path, enum race_tier tier, int64_t now_ms)
{
    if (race->n == RACE_PATHS_MAX || race->winner || race->is_lost)
        return false;
    race->entries[race->n++] = (struct entry){.path = *path, .tier = tier, .turn = take_turn(race, tier)};
    race->ends_at_ms = now_ms + race->config.round_timeout_ms;
    return true;
}

void race_hold(struct race *race, int64_t until_ms)
{
    race->held_until_ms = until_ms;
}

void race_free(struct race **race)
{
    free(*race);
    *race = NULL;
}

/* ---- the state of a path: changed here only ----------------------------------------------------------------------- */

static bool has_socket(const struct entry *entry)
{
    return entry->state == CONNECTING || entry->state == CONNECTED || entry->state == HANDSHAKING;
}

static void enter(struct entry *entry, enum state state, int64_t now_ms)
{
    int64_t spent_ms = now_ms - entry->stage_at_ms;
    if (entry->state == CONNECTING)
        entry->connecting_ms += spent_ms;
    if (entry->state == HANDSHAKING)
        entry->shaking_ms += spent_ms;
    if (entry->state == CONNECTING && state == CONNECTED)
        entry->connect_ms = spent_ms;
    entry->state = state;
    entry->stage_at_ms = now_ms;
}

/* What this attempt took by itself: while it was kept in reserve it waited for others. */
static int64_t own_ms(const struct entry *entry, int64_t now_ms)
{
    int64_t stage_ms = now_ms - entry->stage_at_ms;
    return entry->state == CONNECTING ? stage_ms : entry->state == HANDSHAKING ? entry->connect_ms + stage_ms : entry->connect_ms;
}

/* Before the state moves on. */
static void judge(struct entry *entry, enum path_verdict verdict, int64_t now_ms)
{
    entry->verdict = verdict;
    entry->verdict_ms = own_ms(entry, now_ms);
}

enum { STALL_SERVER_MS = 250 };

/* How long its handshake may take before another one is worth its price. A proxy's own distance says nothing of the relay's. */
static int64_t stall_of(const struct race *race, const struct entry *entry)
{
    int64_t round_trips = entry->path.mode == PATH_TLS ? 4 : 7;
    if (entry->path.via != PATH_DIRECT)
        return race->config.stall_ms;
    return min_of(max_of(round_trips * entry->connect_ms + STALL_SERVER_MS, race->config.stall_least_ms), race->config.stall_ms);
}

/* What can be said of a path that is stopped before its end. */
static enum path_verdict verdict_so_far(const struct race *race, const struct entry *entry, int64_t now_ms)
{
    int64_t age_ms = now_ms - entry->stage_at_ms;
    int64_t patience_ms = race->winner ? 2 * race->winner->connect_ms + 25 : race->config.patience_ms;
    if (entry->state == CONNECTING && age_ms >= patience_ms)
        return PATH_DROPPED;
    if (entry->state == HANDSHAKING && age_ms >= stall_of(race, entry))
        return PATH_TLS_FAILED;
    return entry->verdict;
}

static struct race_action cancel(struct race *race, struct entry *entry, enum state next, int64_t now_ms)
{
    enum path_verdict verdict = verdict_so_far(race, entry, now_ms);
    if (verdict != PATH_UNTRIED)
        judge(entry, verdict, now_ms);
    enter(entry, next, now_ms);
    if (next == WAITING)
        entry->turn = take_turn(race, TURN_AGAIN);
    return (struct race_action){RACE_CANCEL, (size_t)(entry - race->entries), verdict};
}

/* ---- outcomes ----------------------------------------------------------------------------------------------------- */

void race_connected(struct race *race, size_t path, int64_t now_ms)
{
    assert(path < race->n);
    if (race->entries[path].state == CONNECTING)
        enter(&race->entries[path], CONNECTED, now_ms);
}

void race_proven(struct race *race, size_t path, int64_t now_ms)
{
    assert(path < race->n);
    struct entry *entry = &race->entries[path];
    if (entry->state != HANDSHAKING || race->winner)
        return;
    judge(entry, PATH_OPEN, now_ms);
    enter(entry, PROVEN, now_ms);
    if (!race->config.is_survey)
        race->winner = entry;
}

void race_failed(struct race *race, size_t path, enum path_verdict verdict, int64_t now_ms)
{
    assert(path < race->n);
    struct entry *entry = &race->entries[path];
    if (!has_socket(entry))
        return;
    judge(entry, verdict, now_ms);
    enter(entry, FAILED, now_ms);
    race->next_start_at_ms = min_of(race->next_start_at_ms, now_ms);
}

/* ---- finding ------------------------------------------------------------------------------------------------------ */

static size_t count(const struct race *race, enum state state)
{
    size_t n = 0;
    for (size_t i = 0; i < race->n; i++)
        n += race->entries[i].state == state;
    return n;
}

static size_t count_sockets(const struct race *race)
{
    return count(race, CONNECTING) + count(race, CONNECTED) + count(race, HANDSHAKING) + (race->config.is_survey ? count(race, PROVEN) : 0);
}

static const struct entry *first_waiting(const struct race *race, bool is_last_chance)
{
    const struct entry *first = NULL;
    for (size_t i = 0; i < race->n; i++) {
        const struct entry *entry = &race->entries[i];
        if (entry->state == WAITING && (entry->tier == RACE_LAST_CHANCE) == is_last_chance && (!first || entry->turn < first->turn))
            first = entry;
    }
    return first;
}

/* Of two connected ones the one to shake hands with first: those that were displaced last, and last chances behind all others; else by preference. */
static bool is_better(const struct entry *a, const struct entry *b)
{
    bool a_is_last = a->tier == RACE_LAST_CHANCE, b_is_last = b->tier == RACE_LAST_CHANCE;
    return a_is_last != b_is_last ? b_is_last : a->attempts < b->attempts;
}

static const struct entry *best_connected(const struct race *race)
{
    const struct entry *best = NULL;
    for (size_t i = 0; i < race->n; i++)
        if (race->entries[i].state == CONNECTED && (!best || is_better(&race->entries[i], best)))
            best = &race->entries[i];
    return best;
}

static const struct entry *oldest(const struct race *race, enum state state)
{
    const struct entry *found = NULL;
    for (size_t i = 0; i < race->n; i++)
        if (race->entries[i].state == state && (!found || race->entries[i].stage_at_ms < found->stage_at_ms))
            found = &race->entries[i];
    return found;
}

/* When the newest handshake has stalled. */
static int64_t stalled_at_ms(const struct race *race)
{
    int64_t newest_at_ms = INT64_MIN, stalled = INT64_MIN;
    for (size_t i = 0; i < race->n; i++) {
        const struct entry *entry = &race->entries[i];
        if (entry->state != HANDSHAKING || entry->stage_at_ms < newest_at_ms)
            continue;
        newest_at_ms = entry->stage_at_ms;
        stalled = max_of(stalled, newest_at_ms + stall_of(race, entry));
    }
    return stalled;
}

/* base_ms, three times longer for each attempt before. */
static int64_t patience(int64_t base_ms, uint32_t attempts)
{
    for (uint32_t i = 0; i < attempts && base_ms < INT32_MAX; i++)
        base_ms *= 3;
    return base_ms;
}

/* ---- the rules ---------------------------------------------------------------------------------------------------- */

/* A rule's time, and whom it concerns. */
struct due {
    int64_t at_ms;
    const struct entry *entry;
};

static const struct due NEVER = {INT64_MAX, NULL};

/* From when on last chances may start. */
static int64_t last_chance_from_ms(const struct race *race)
{
    for (size_t i = 0; i < race->n; i++)
        if (race->entries[i].tier != RACE_LAST_CHANCE && race->entries[i].state != FAILED)
            return race->last_chance_at_ms;
    return min_of(race->last_chance_at_ms, race->held_until_ms);
}

/* The one whose turn it is to connect, and from when on. */
static struct due turn_due(const struct race *race)
{
    const struct entry *usual = first_waiting(race, false), *last = first_waiting(race, true);
    int64_t last_at_ms = max_of(race->next_start_at_ms, last_chance_from_ms(race));
    if (!last || (usual && (race->next_start_at_ms < last_at_ms || usual->turn < last->turn)))
        return usual ? (struct due){race->next_start_at_ms, usual} : NEVER;
    return (struct due){last_at_ms, last};
}

/* The first path to use up its time. */
static struct due timeout_due(const struct race *race)
{
    struct due due = NEVER;
    for (size_t i = 0; i < race->n; i++) {
        const struct entry *entry = &race->entries[i];
        int64_t at_ms = entry->state == CONNECTING    ? entry->stage_at_ms + race->config.connect_timeout_ms - entry->connecting_ms
                        : entry->state == HANDSHAKING ? entry->stage_at_ms + race->config.handshake_timeout_ms - entry->shaking_ms
                                                      : INT64_MAX;
        if (at_ms < due.at_ms)
            due = (struct due){at_ms, entry};
    }
    return due;
}

static struct due handshake_due(const struct race *race)
{
    const struct entry *next = best_connected(race);
    size_t running = count(race, HANDSHAKING);
    if (!next || running == RACE_HANDSHAKES_MAX)
        return NEVER;
    return (struct due){running == 0 ? next->stage_at_ms : stalled_at_ms(race), next};
}

static struct due displaced_handshake_due(const struct race *race)
{
    const struct entry *next = best_connected(race);
    if (!next || count(race, HANDSHAKING) < RACE_HANDSHAKES_MAX)
        return NEVER;
    const struct entry *victim = oldest(race, HANDSHAKING);
    int64_t patience_ms = patience(3 * stall_of(race, victim), next->attempts - 1);
    return (struct due){max_of(victim->stage_at_ms + patience_ms, stalled_at_ms(race)), victim};
}

static struct due connect_due(const struct race *race)
{
    return count_sockets(race) == race->config.sockets_max ? NEVER : turn_due(race);
}

static struct due displaced_connect_due(const struct race *race)
{
    const struct due next = turn_due(race);
    const struct entry *victim = oldest(race, CONNECTING);
    if (!next.entry || !victim || count_sockets(race) < race->config.sockets_max)
        return NEVER;
    return (struct due){max_of(victim->stage_at_ms + patience(race->config.patience_ms, next.entry->attempts), next.at_ms), victim};
}

/* The end without a winner: every path has failed and none is awaited, or the round is over. */
static int64_t end_ms(const struct race *race)
{
    return count(race, FAILED) == race->n ? min_of(race->ends_at_ms, race->held_until_ms) : race->ends_at_ms;
}

/* Of the const race that the rules see. */
static struct entry *entry_of(struct race *race, const struct entry *entry)
{
    return &race->entries[entry - race->entries];
}

static struct race_action start_connect(struct race *race, struct entry *entry, int64_t now_ms)
{
    bool is_head = race->config.is_first_known && entry == race->entries && entry->attempts == 0;
    race->next_start_at_ms = now_ms + (is_head ? race->config.known_head_start_ms : race->config.stagger_ms);
    entry->attempts++;
    enter(entry, CONNECTING, now_ms);
    return (struct race_action){.type = RACE_CONNECT, .path = (size_t)(entry - race->entries)};
}

static struct race_action start_handshake(struct race *race, struct entry *entry, int64_t now_ms)
{
    enter(entry, HANDSHAKING, now_ms);
    return (struct race_action){.type = RACE_HANDSHAKE, .path = (size_t)(entry - race->entries)};
}

static struct race_action time_out(struct race *race, struct entry *entry, int64_t now_ms)
{
    judge(entry, entry->state == CONNECTING ? PATH_DROPPED : PATH_TLS_FAILED, now_ms);
    enter(entry, FAILED, now_ms);
    race->next_start_at_ms = min_of(race->next_start_at_ms, now_ms);
    return (struct race_action){RACE_CANCEL, (size_t)(entry - race->entries), entry->verdict};
}

/* Closes what is open, one at a time. */
static bool cancel_rest(struct race *race, int64_t now_ms, struct race_action *action)
{
    for (size_t i = 0; i < race->n; i++) {
        if (!has_socket(&race->entries[i]))
            continue;
        *action = cancel(race, &race->entries[i], CANCELLED, now_ms);
        return true;
    }
    return false;
}

static bool next_after_victory(struct race *race, int64_t now_ms, struct race_action *action)
{
    if (race->is_won_told)
        return cancel_rest(race, now_ms, action);
    race->is_won_told = true;
    *action = (struct race_action){.type = RACE_WON, .path = (size_t)(race->winner - race->entries)};
    return true;
}

static bool next_at_end(struct race *race, int64_t now_ms, struct race_action *action)
{
    if (cancel_rest(race, now_ms, action))
        return true;
    race->is_lost = true;
    *action = (struct race_action){.type = RACE_LOST};
    return true;
}

/* Of a survey: what is proven has its verdict, and is closed. */
static bool cancel_proven(struct race *race, int64_t now_ms, struct race_action *action)
{
    for (size_t i = 0; i < race->n; i++) {
        if (race->entries[i].state != PROVEN)
            continue;
        enter(&race->entries[i], FAILED, now_ms);
        *action = (struct race_action){RACE_CANCEL, i, PATH_OPEN};
        return true;
    }
    return false;
}

bool race_next(struct race *race, int64_t now_ms, struct race_action *action)
{
    struct due due;
    if (race->winner)
        return next_after_victory(race, now_ms, action);
    if (race->is_lost)
        return false;
    if (race->config.is_survey && cancel_proven(race, now_ms, action))
        return true;
    if (now_ms >= end_ms(race))
        return next_at_end(race, now_ms, action);
    if ((due = timeout_due(race)).at_ms <= now_ms)
        *action = time_out(race, entry_of(race, due.entry), now_ms);
    else if ((due = handshake_due(race)).at_ms <= now_ms)
        *action = start_handshake(race, entry_of(race, due.entry), now_ms);
    else if ((due = displaced_handshake_due(race)).at_ms <= now_ms)
        *action = cancel(race, entry_of(race, due.entry), WAITING, now_ms);
    else if ((due = connect_due(race)).at_ms <= now_ms)
        *action = start_connect(race, entry_of(race, due.entry), now_ms);
    else if ((due = displaced_connect_due(race)).at_ms <= now_ms)
        *action = cancel(race, entry_of(race, due.entry), WAITING, now_ms);
    else
        return false;
    return true;
}

int64_t race_deadline_ms(const struct race *race)
{
    if (race->winner || race->is_lost)
        return INT64_MAX;
    int64_t at_ms = min_of(end_ms(race), timeout_due(race).at_ms);
    at_ms = min_of(at_ms, min_of(handshake_due(race).at_ms, displaced_handshake_due(race).at_ms));
    return min_of(at_ms, min_of(connect_due(race).at_ms, displaced_connect_due(race).at_ms));
}

/* ---- what is known ------------------------------------------------------------------------------------------------ */

const struct path *race_path(const struct race *race, size_t path)
{
    assert(path < race->n);
    return &race->entries[path].path;
}

size_t race_npaths(const struct race *race)
{
    return race->n;
}

enum path_verdict race_verdict(const struct race *race, size_t path)
{
    assert(path < race->n);
    return race->entries[path].verdict;
}

int64_t race_verdict_ms(const struct race *race, size_t path)
{
    assert(path < race->n);
    return race->entries[path].verdict_ms;
}

const char *race_action_name(enum race_action_type type)
{
    switch (type) {
    case RACE_CONNECT:
        return "connect";
    case RACE_HANDSHAKE:
        return "handshake";
    case RACE_CANCEL:
        return "cancel";
    case RACE_WON:
        return "won";
    case RACE_LOST:
        return "lost";
    }
    return "?";
}
