#include "support/trip.h"

#include "support/track.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum stage { CLOSED, CONNECTING, CONNECTED, HANDSHAKING, PROVEN };
enum { RESOLVER_GIVES_UP_MS = 20000, MESSAGE_MS = 400, WARM_MS = 1000, DEATHS_MAX = 64 };

struct line {
    enum stage stage;
    struct path path;
    int64_t due_at_ms;
};

struct death {
    struct memory_key key;
    bool has_key;
    struct path path;
    int64_t wall_ms;
};

struct trip {
    struct trip_config config;
    struct finder *finder;
    struct trip_place place;
    int64_t now_ms, wall_lead_ms, changed_at_ms;
    struct line lines[RACE_PATHS_MAX];
    /* What has been asked: INT64_MAX when nothing is. */
    int64_t resolved_at_ms, proxies_at_ms, probed_at_ms;
    struct trip_place asked_at;
    enum finder_probe answer;
    /* The session. */
    bool has_session;
    struct path session;
    int64_t session_at_ms;
    uint64_t session_octets;
    uint32_t session_carried;
    uint64_t kept_octets; /* of the first message that waits, by the relay */
    bool has_unheard;     /* some of them the next session will hear of */
    /* The mail. */
    uint32_t nmessages;
    uint64_t octets;
    /* What the checks need. */
    int64_t search_at_ms, last_probe_ms, last_connect_ms;
    bool is_first_connect, is_head_alone, is_first_loss;
    uint32_t nsearches;
    struct death deaths[DEATHS_MAX];
    size_t ndeaths;
    const char *broken;
    char log[TRIP_LOG_MAX];
    size_t log_len;
    uint64_t seed, nevents;
};

/* ---- log and checks ----------------------------------------------------------------------------------------------- */

static void broken(struct trip *trip, const char *what)
{
    if (!trip->broken)
        trip->broken = what;
}

static void write_log(struct trip *trip, const char *format, ...) PRINTF_LIKE(2, 3);
static void write_log(struct trip *trip, const char *format, ...)
{
    va_list args;
    trip->nevents++;
    if (trip->log_len + 400 > TRIP_LOG_MAX) {
        memmove(trip->log, trip->log + TRIP_LOG_MAX / 2, trip->log_len - TRIP_LOG_MAX / 2);
        trip->log_len -= TRIP_LOG_MAX / 2;
    }
    trip->log_len += (size_t)snprintf(trip->log + trip->log_len, 40, "%lld ", (long long)trip->now_ms);
    va_start(args, format);
    int n = vsnprintf(trip->log + trip->log_len, 350, format, args);
    va_end(args);
    trip->log_len += n < 350 ? (size_t)n : 349;
    trip->log[trip->log_len++] = '\n';
    trip->log[trip->log_len] = '\0';
}

static void log_path(struct trip *trip, const char *what, const struct path *path, const char *more)
{
    char text[PATH_TEXT];
    path_format(path, text, sizeof text);
    write_log(trip, "%s %s%s%s", what, text, more[0] ? ": " : "", more);
}

static size_t count(const struct trip *trip, enum stage from, enum stage to)
{
    size_t n = 0;
    for (size_t i = 0; i < RACE_PATHS_MAX; i++)
        n += trip->lines[i].stage >= from && trip->lines[i].stage <= to;
    return n;
}

static int64_t wall_of(const struct trip *trip)
{
    return trip->now_ms + trip->wall_lead_ms;
}

static struct trip_behaviour behaviour(const struct trip *trip, const struct path *path)
{
    return trip->place.behave(trip->place.context, path);
}

static bool is_here(const struct trip *trip, const struct death *death, const struct path *path)
{
    return death->has_key == trip->place.has_key && memcmp(&death->key, &trip->place.key, sizeof death->key) == 0 && path_equal(&death->path, path);
}

static bool has_died_here(const struct trip *trip, const struct path *path)
{
    for (size_t i = 0; i < trip->ndeaths; i++)
        if (is_here(trip, &trip->deaths[i], path) && wall_of(trip) >= trip->deaths[i].wall_ms && wall_of(trip) - trip->deaths[i].wall_ms < MEMORY_DEMOTION_MS)
            return true;
    return false;
}

static void forget_death(struct trip *trip, const struct path *path)
{
    for (size_t i = trip->ndeaths; i-- > 0;)
        if (is_here(trip, &trip->deaths[i], path))
            trip->deaths[i] = trip->deaths[--trip->ndeaths];
}

static void note_death(struct trip *trip, const struct path *path)
{
    forget_death(trip, path);
    if (trip->ndeaths == DEATHS_MAX)
        memmove(trip->deaths, trip->deaths + 1, --trip->ndeaths * sizeof *trip->deaths);
    trip->deaths[trip->ndeaths++] = (struct death){trip->place.key, trip->place.has_key, *path, wall_of(trip)};
}

/* Invariant 4: what has carried mail here, the latest first, and alone. */
static void check_first(struct trip *trip, const struct path *path)
{
    size_t n;
    const struct memory_path *known = trip->place.has_key && trip->config.finder.memory ? memory_paths(trip->config.finder.memory, &trip->place.key, wall_of(trip), &n) : NULL;
    trip->is_head_alone = known && known[0].carried_at_ms > 0 && !memory_is_demoted(trip->config.finder.memory, &trip->place.key, &known[0].path, wall_of(trip));
    if (trip->is_head_alone && known[0].path.via == PATH_DIRECT && !path_equal(&known[0].path, path))
        broken(trip, "4: the remembered path is not the first");
}

static bool is_any_other_left(const struct trip *trip)
{
    size_t n;
    const struct finder_trial *trials = finder_trials(trip->finder, &n);
    for (size_t i = 0; i < n; i++)
        if (!trials[i].is_demoted && (trials[i].verdict == PATH_UNTRIED || trip->lines[i].stage != CLOSED))
            return true;
    return false;
}

/* ---- actions ------------------------------------------------------------------------------------------------------ */

static int64_t due_after(const struct trip *trip, int64_t ms)
{
    return ms == TRIP_NEVER ? INT64_MAX : trip->now_ms + ms;
}

static void on_resolve(struct trip *trip)
{
    if (finder_state(trip->finder) != FINDER_SEARCHING)
        broken(trip, "a question outside a search");
    trip->search_at_ms = trip->now_ms;
    trip->nsearches++;
    trip->is_first_connect = true;
    if (trip->resolved_at_ms == INT64_MAX)
        trip->resolved_at_ms = trip->now_ms + (trip->place.resolves_ms == TRIP_NEVER ? RESOLVER_GIVES_UP_MS : trip->place.resolves_ms);
    trip->asked_at = trip->place;
    trip->proxies_at_ms = due_after(trip, trip->place.proxies_ms);
}

static void on_connect(struct trip *trip, size_t i, const struct path *path)
{
    struct line *line = &trip->lines[i];
    struct trip_behaviour b = behaviour(trip, path);
    if (line->stage != CLOSED || trip->has_session)
        broken(trip, "3, 10: a connection twice, or beside a session");
    if (trip->is_first_connect)
        check_first(trip, path);
    else if (trip->is_head_alone && count(trip, CONNECTING, PROVEN) > 0 && trip->now_ms < trip->last_connect_ms + 250)
        broken(trip, "4: the remembered path does not start alone");
    if (!trip->is_first_connect)
        trip->is_head_alone = false;
    trip->is_first_connect = false;
    if (has_died_here(trip, path) && trip->now_ms < trip->search_at_ms + FINDER_LAST_CHANCE_MS && is_any_other_left(trip) && !trip->config.finder.is_survey)
        broken(trip, "5: a path that died here is preferred");
    trip->last_connect_ms = trip->now_ms;
    *line = (struct line){CONNECTING, *path, due_after(trip, b.connects_ms)};
    if (count(trip, CONNECTING, PROVEN) > RACE_SOCKETS_MAX)
        broken(trip, "2: too many connections");
}

static void on_handshake(struct trip *trip, size_t i)
{
    struct line *line = &trip->lines[i];
    if (line->stage != CONNECTED)
        broken(trip, "a handshake without a connection");
    line->stage = HANDSHAKING;
    line->due_at_ms = due_after(trip, behaviour(trip, &line->path).shakes_ms);
    if (count(trip, HANDSHAKING, HANDSHAKING) > RACE_HANDSHAKES_MAX)
        broken(trip, "2: too many handshakes");
}

static void on_cancel(struct trip *trip, size_t i)
{
    if (trip->lines[i].stage == CLOSED)
        broken(trip, "10: a cancel of what is not open");
    trip->lines[i].stage = CLOSED;
}

static void check_duration(struct trip *trip)
{
    if (trip->now_ms - trip->search_at_ms > TRIP_SEARCH_MAX_MS + 2 * trip->config.late_ms)
        broken(trip, "1: a search without end");
    if (count(trip, CONNECTING, PROVEN) > 0)
        broken(trip, "3, 10: the search has ended with connections open");
}

static void on_use(struct trip *trip, size_t i)
{
    if (trip->lines[i].stage != PROVEN || trip->has_session)
        broken(trip, "3: a path is used that is not proven, or two");
    trip->lines[i].stage = CLOSED;
    check_duration(trip);
    trip->has_session = true;
    trip->session = trip->lines[i].path;
    trip->session_at_ms = trip->now_ms + MESSAGE_MS;
    trip->session_octets = trip->session_carried = 0;
    const struct path *path = finder_path(trip->finder);
    if (!path || !path_equal(path, &trip->session))
        broken(trip, "3: another path than the one that is used");
}

/* Invariant 6: the back-off has begun anew with the network. */
static void check_first_wait(struct trip *trip)
{
    int64_t wait_ms = finder_next_search_ms(trip->finder) - trip->now_ms, first_ms = schedule_delay_ms(trip->config.finder.patience, 1, UINT32_MAX) * 5 / 4;
    if (trip->is_first_loss && !trip->config.finder.is_survey && wait_ms > (first_ms > FINDER_PROBE_EVERY_MS ? first_ms : FINDER_PROBE_EVERY_MS))
        broken(trip, "6: the back-off is that of another network");
    trip->is_first_loss = false;
}

/* Invariant 1: whoever is open, and quick, was not overlooked. */
static void on_lost(struct trip *trip)
{
    size_t n;
    const struct finder_trial *trials = finder_trials(trip->finder, &n);
    check_duration(trip);
    check_first_wait(trip);
    bool was_stable = trip->changed_at_ms < trip->search_at_ms && !trip->config.finder.is_survey && trip->config.late_ms == 0;
    for (size_t i = 0; i < n && was_stable; i++) {
        struct trip_behaviour b = trials[i].verdict == PATH_DNS ? TRIP_DROPPED : behaviour(trip, &trials[i].path);
        bool is_open = b.connects_ms >= 0 && b.connects_ms <= TRIP_QUICK_MS && !b.unconnected && b.shakes_ms >= 0 && b.shakes_ms <= TRIP_QUICK_MS && !b.unshaken;
        if (is_open)
            broken(trip, "1: lost, and a path is open");
    }
}

static void on_probe(struct trip *trip)
{
    if (trip->now_ms < trip->last_probe_ms + FINDER_PROBE_EVERY_MS)
        broken(trip, "7: probes too close together");
    trip->last_probe_ms = trip->now_ms;
    trip->answer = trip->place.probe;
    trip->probed_at_ms = due_after(trip, trip->place.probe_ms);
}

static void carry_out(struct trip *trip, const struct finder_action *action)
{
    static const char *const names[] = {"resolve", "connect", "handshake", "cancel", "use", "drop", "probe", "lost"};
    bool has_path = action->type == FINDER_CONNECT || action->type == FINDER_HANDSHAKE || action->type == FINDER_CANCEL || action->type == FINDER_USE;
    size_t n;
    const struct finder_trial *trials = finder_trials(trip->finder, &n);
    bool is_known = has_path && action->trial < n;
    if (has_path)
        log_path(trip, names[action->type], &action->path, is_known && action->type == FINDER_CANCEL ? path_verdict_name(trials[action->trial].verdict) : "");
    else
        write_log(trip, "%s", names[action->type]);
    if (is_known && !path_equal(&trials[action->trial].path, &action->path))
        broken(trip, "an action for another path than its trial's");
    switch (action->type) {
    case FINDER_RESOLVE: on_resolve(trip); break;
    case FINDER_CONNECT: on_connect(trip, action->trial, &action->path); break;
    case FINDER_HANDSHAKE: on_handshake(trip, action->trial); break;
    case FINDER_CANCEL: on_cancel(trip, action->trial); break;
    case FINDER_USE: on_use(trip, action->trial); break;
    case FINDER_DROP:
        if (!trip->has_session)
            broken(trip, "6: a drop without a session");
        trip->has_session = false;
        break;
    case FINDER_PROBE: on_probe(trip); break;
    case FINDER_LOST: on_lost(trip); break;
    }
}

static void pump(struct trip *trip)
{
    struct finder_action action;
    for (uint32_t n = 0; finder_next(trip->finder, trip->now_ms, &action); n++) {
        carry_out(trip, &action);
        if (n > 10000)
            broken(trip, "it never comes to rest");
        if (trip->broken)
            return;
    }
    int64_t deadline_ms = finder_deadline_ms(trip->finder);
    if (deadline_ms <= trip->now_ms)
        broken(trip, "8: the deadline has passed, and nothing is done");
    if (finder_state(trip->finder) == FINDER_RESTING && deadline_ms != INT64_MAX)
        broken(trip, "8: a deadline at rest");
    if (trip->has_session != (finder_state(trip->finder) == FINDER_USING))
        broken(trip, "3: a session that the finder does not know, or the other way round");
}

/* ---- outcomes ----------------------------------------------------------------------------------------------------- */

static void fail(struct trip *trip, size_t i, enum path_verdict verdict)
{
    trip->lines[i].stage = CLOSED;
    log_path(trip, "failed", &trip->lines[i].path, path_verdict_name(verdict));
    finder_failed(trip->finder, i, verdict, NULL, trip->now_ms);
}

static void tell_line(struct trip *trip, size_t i)
{
    struct line *line = &trip->lines[i];
    struct trip_behaviour b = behaviour(trip, &line->path);
    line->due_at_ms = INT64_MAX;
    if (line->stage == CONNECTING && b.unconnected) {
        fail(trip, i, b.unconnected);
    } else if (line->stage == CONNECTING) {
        line->stage = CONNECTED;
        finder_connected(trip->finder, i, trip->now_ms);
    } else if (line->stage == HANDSHAKING && b.unshaken) {
        fail(trip, i, b.unshaken);
    } else if (line->stage == HANDSHAKING) {
        line->stage = PROVEN;
        finder_proven(trip->finder, i, trip->now_ms);
    }
}

static bool has_hope_elsewhere(const struct trip *trip)
{
    size_t n;
    const struct finder_trial *trials = finder_trials(trip->finder, &n);
    for (size_t i = 0; i < n; i++)
        if (trials[i].verdict == PATH_UNTRIED && !trials[i].is_demoted)
            return true;
    return false;
}

static void end_session(struct trip *trip, enum finder_end how, enum path_verdict verdict, const char *words)
{
    write_log(trip, "%s", words);
    trip->has_session = trip->is_first_loss = false;
    bool is_blamed = how == FINDER_END_DIED || (how == FINDER_END_CUT && has_hope_elsewhere(trip));
    finder_ended(trip->finder, how, verdict, NULL, trip->now_ms);
    if (is_blamed)
        note_death(trip, &trip->session);
    else if (how == FINDER_END_CUT)
        forget_death(trip, &trip->session);
}

static void tell_session(struct trip *trip)
{
    struct trip_behaviour b = behaviour(trip, &trip->session);
    uint64_t before = trip->session_octets;
    trip->session_octets += trip->octets - trip->kept_octets;
    trip->session_at_ms = trip->now_ms + MESSAGE_MS;
    if (b.refuses) {
        end_session(trip, FINDER_END_REFUSED, PATH_RELAY_REFUSED, "refused by the relay");
    } else if (trip->nmessages == 0) {
        end_session(trip, FINDER_END_PEACE, PATH_OPEN, "ended in peace");
    } else if (b.keeps && b.dies_after > 0 && trip->session_octets > b.dies_after) {
        bool gets_on = trip->has_unheard;
        trip->kept_octets += b.dies_after - before;
        trip->has_unheard = b.is_mute;
        if (b.is_mute) {
            end_session(trip, trip->session_carried > 0 ? FINDER_END_CARRIED : gets_on ? FINDER_END_CUT : FINDER_END_DIED, PATH_DIED_EARLY, "died unheard");
            return;
        }
        forget_death(trip, &trip->session);
        finder_carried(trip->finder, 0, trip->now_ms);
        end_session(trip, FINDER_END_CARRIED, PATH_DIED_EARLY, "died after octets");
    } else if (b.dies_after > 0 && trip->session_octets > b.dies_after) {
        end_session(trip, trip->session_carried > 0 ? FINDER_END_CARRIED : FINDER_END_DIED, PATH_DIED_EARLY, trip->session_carried > 0 ? "died after a message" : "died");
    } else {
        trip->nmessages--;
        trip->session_carried++;
        trip->kept_octets = 0;
        trip->has_unheard = false;
        forget_death(trip, &trip->session);
        write_log(trip, "carried");
        finder_carried(trip->finder, trip->octets, trip->now_ms);
        if (trip->nmessages == 0) {
            finder_want(trip->finder, FINDER_WISH_NOTHING, trip->now_ms);
            trip->session_at_ms = trip->now_ms + WARM_MS;
        }
    }
}

static void tell_resolved(struct trip *trip)
{
    bool has_answer = trip->asked_at.resolves_ms != TRIP_NEVER && trip->asked_at.is_up;
    trip->resolved_at_ms = INT64_MAX;
    finder_resolved(trip->finder, trip->asked_at.addresses, has_answer ? trip->asked_at.naddresses : 0, trip->now_ms);
}

static void tell(struct trip *trip)
{
    for (size_t i = 0; i < RACE_PATHS_MAX; i++)
        if (trip->lines[i].stage != CLOSED && trip->lines[i].due_at_ms <= trip->now_ms)
            tell_line(trip, i);
    if (trip->resolved_at_ms <= trip->now_ms)
        tell_resolved(trip);
    if (trip->proxies_at_ms <= trip->now_ms) {
        trip->proxies_at_ms = INT64_MAX;
        finder_proxies(trip->finder, trip->place.proxies, trip->place.nproxies, true, trip->now_ms);
    }
    if (trip->probed_at_ms <= trip->now_ms) {
        trip->probed_at_ms = INT64_MAX;
        write_log(trip, "answer %s", trip->answer == FINDER_PROBE_CLEAR ? "clear" : trip->answer == FINDER_PROBE_CAPTIVE ? "captive" : "silent");
        finder_probed(trip->finder, trip->answer, trip->now_ms);
    }
    if (trip->has_session && trip->session_at_ms <= trip->now_ms)
        tell_session(trip);
}

/* ---- time --------------------------------------------------------------------------------------------------------- */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_outcome_ms(const struct trip *trip)
{
    int64_t at_ms = earlier(earlier(trip->resolved_at_ms, trip->proxies_at_ms), trip->probed_at_ms);
    for (size_t i = 0; i < RACE_PATHS_MAX; i++)
        if (trip->lines[i].stage != CLOSED)
            at_ms = earlier(at_ms, trip->lines[i].due_at_ms);
    return trip->has_session ? earlier(at_ms, trip->session_at_ms) : at_ms;
}

/* False: nothing before that time. */
static bool step(struct trip *trip, int64_t until_ms)
{
    int64_t deadline_ms = finder_deadline_ms(trip->finder), outcome_ms = next_outcome_ms(trip);
    if (deadline_ms != INT64_MAX && trip->config.late_ms > 0)
        deadline_ms += (int64_t)track_random(&trip->seed, (uint64_t)trip->config.late_ms + 1);
    int64_t at_ms = earlier(deadline_ms, outcome_ms);
    if (at_ms > until_ms)
        return false;
    trip->now_ms = at_ms > trip->now_ms ? at_ms : trip->now_ms;
    bool is_deadline = outcome_ms > trip->now_ms;
    enum finder_state before = finder_state(trip->finder);
    uint64_t nevents = trip->nevents;
    tell(trip);
    pump(trip);
    if (is_deadline && finder_state(trip->finder) == before && trip->nevents == nevents)
        broken(trip, "8: woken for nothing");
    return !trip->broken;
}

void trip_run(struct trip *trip, int64_t for_ms)
{
    int64_t until_ms = trip->now_ms + for_ms;
    while (!trip->broken && step(trip, until_ms))
        ;
    trip->now_ms = trip->now_ms > until_ms ? trip->now_ms : until_ms;
}

void trip_run_until_sent(struct trip *trip, int64_t for_ms)
{
    int64_t until_ms = trip->now_ms + for_ms;
    while (!trip->broken && trip->nmessages > 0 && step(trip, until_ms))
        ;
    if (trip->nmessages > 0)
        trip->now_ms = trip->now_ms > until_ms ? trip->now_ms : until_ms;
}

/* ---- the caller's hand -------------------------------------------------------------------------------------------- */

static bool is_same_place(const struct trip_place *a, const struct trip_place *b)
{
    return a->is_up == b->is_up && a->has_key == b->has_key && (!a->has_key || memcmp(&a->key, &b->key, sizeof a->key) == 0);
}

void trip_go(struct trip *trip, const struct trip_place *place, bool is_fresh)
{
    bool is_same = is_same_place(&trip->place, place);
    trip->place = *place;
    if (!place->has_key)
        trip->place.key = (struct memory_key){{0}};
    trip->changed_at_ms = trip->now_ms;
    write_log(trip, "arrived%s%s", is_same ? ", again" : "", place->is_up ? "" : " nowhere");
    trip->is_first_loss = trip->is_first_loss || !is_same;
    if (!is_same)
        for (size_t i = trip->ndeaths; i-- > 0;)
            if (!trip->deaths[i].has_key)
                trip->deaths[i] = trip->deaths[--trip->ndeaths];
    finder_set_network(trip->finder, place->has_key ? &trip->place.key : NULL, place->is_up, is_fresh, trip->now_ms);
    bool must_search = !is_same && trip->nmessages > 0 && place->is_up;
    uint32_t nsearches = trip->nsearches;
    pump(trip);
    if (!is_same && (trip->has_session || (must_search && trip->nsearches == nsearches)))
        broken(trip, "6: a change of network does not begin a search at once");
}

void trip_change(struct trip *trip, const struct trip_place *place)
{
    trip->place = *place;
    trip->changed_at_ms = trip->now_ms;
}

void trip_set_wall(struct trip *trip, int64_t wall_ms)
{
    trip->wall_lead_ms = wall_ms - trip->now_ms;
    trip->ndeaths = 0; /* who knows how long ago they are now */
    finder_set_wall(trip->finder, wall_ms, trip->now_ms);
    pump(trip);
}

void trip_mail(struct trip *trip, uint32_t nmessages, uint64_t octets, enum finder_wish wish)
{
    trip->nmessages += nmessages;
    trip->octets = octets;
    if (trip->has_session && trip->session_at_ms > trip->now_ms + MESSAGE_MS)
        trip->session_at_ms = trip->now_ms + MESSAGE_MS;
    finder_want(trip->finder, trip->nmessages > 0 || trip->config.finder.is_survey ? wish : FINDER_WISH_NOTHING, trip->now_ms);
    pump(trip);
}

static struct trip_behaviour behave_dropped(const void *context, const struct path *path)
{
    (void)context, (void)path;
    return TRIP_DROPPED;
}

struct trip *trip_new(const struct trip_config *config)
{
    struct trip *trip = calloc(1, sizeof *trip);
    if (!trip)
        abort();
    trip->config = *config;
    trip->seed = config->seed;
    trip->resolved_at_ms = trip->proxies_at_ms = trip->probed_at_ms = INT64_MAX;
    trip->last_probe_ms = INT64_MIN / 2;
    trip->place = (struct trip_place){.is_up = true, .behave = behave_dropped};
    trip->finder = finder_new(&config->finder, 0);
    if (!trip->finder)
        abort();
    finder_set_ways(trip->finder, config->ways, config->nways, 0);
    trip_set_wall(trip, config->wall_ms);
    return trip;
}

void trip_free(struct trip **trip)
{
    finder_free(&(*trip)->finder);
    free(*trip);
    *trip = NULL;
}

struct finder *trip_finder(struct trip *trip)
{
    return trip->finder;
}

int64_t trip_now_ms(const struct trip *trip)
{
    return trip->now_ms;
}

uint32_t trip_waiting(const struct trip *trip)
{
    return trip->nmessages;
}

uint32_t trip_searches(const struct trip *trip)
{
    return trip->nsearches;
}

const char *trip_broken(const struct trip *trip)
{
    return trip->broken;
}

const char *trip_log(const struct trip *trip)
{
    return trip->log;
}

void trip_clear_log(struct trip *trip)
{
    trip->log_len = 0;
    trip->log[0] = '\0';
}
