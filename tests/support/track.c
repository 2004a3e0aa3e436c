#include "support/track.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum stage { IDLE, CONNECTING, CONNECTED, HANDSHAKING, WON };

struct car {
    enum stage stage;
    int64_t due_at_ms; /* of its next outcome; INT64_MAX: none */
    bool has_failed;
    int64_t connect_spent_ms;
};

struct track {
    struct race *race;
    const struct track_path *paths;
    size_t n;
    struct car cars[RACE_PATHS_MAX];
    int64_t start_ms, now_ms;
    int64_t stagger_ms, round_ms;
    size_t sockets_max;
    int64_t last_connect_ms, last_failure_ms;
    bool is_won, is_lost;
    size_t log_len;
    uint64_t seed;
    struct track_result *result;
};

uint64_t track_random(uint64_t *seed, uint64_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % below;
}

static void broken(struct track *track, const char *what)
{
    if (!track->result->broken)
        track->result->broken = what;
}

static void write_log(struct track *track, const char *format, ...) PRINTF_LIKE(2, 3);
static void write_log(struct track *track, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(track->result->log + track->log_len, TRACK_LOG_MAX - track->log_len, format, args);
    va_end(args);
    if (n > 0 && (size_t)n < TRACK_LOG_MAX - track->log_len)
        track->log_len += (size_t)n;
}

static size_t count(const struct track *track, enum stage from, enum stage to)
{
    size_t n = 0;
    for (size_t i = 0; i < track->n; i++)
        n += track->cars[i].stage >= from && track->cars[i].stage <= to;
    return n;
}

static int64_t due_after(const struct track *track, int64_t ms)
{
    return ms == TRACK_NEVER ? INT64_MAX : track->now_ms + ms;
}

static void on_connect(struct track *track, size_t i)
{
    struct car *car = &track->cars[i];
    if (car->stage != IDLE || car->has_failed)
        broken(track, "a path is started that runs or has failed");
    if (track->last_connect_ms >= 0 && track->now_ms < track->last_connect_ms + track->stagger_ms && track->last_failure_ms < track->last_connect_ms)
        broken(track, "6: attempts too close together");
    track->last_connect_ms = track->now_ms;
    *car = (struct car){.stage = CONNECTING, .due_at_ms = due_after(track, track->paths[i].connects_ms)};
    if (count(track, CONNECTING, HANDSHAKING) > track->sockets_max)
        broken(track, "1: too many sockets");
}

static void on_handshake(struct track *track, size_t i)
{
    struct car *car = &track->cars[i];
    if (car->stage != CONNECTED)
        broken(track, "a handshake without a connection");
    car->stage = HANDSHAKING;
    car->due_at_ms = due_after(track, track->paths[i].shakes_ms);
    if (count(track, HANDSHAKING, HANDSHAKING) > RACE_HANDSHAKES_MAX)
        broken(track, "1: too many handshakes");
}

static void on_cancel(struct track *track, size_t i, enum path_verdict verdict)
{
    struct car *car = &track->cars[i];
    if (car->stage < CONNECTING || car->stage > HANDSHAKING)
        broken(track, "4: a cancel of what does not run");
    if (verdict == PATH_OPEN || (verdict != PATH_UNTRIED && verdict != race_verdict(track->race, i)))
        broken(track, "a cancel with a verdict that the race does not hold");
    track->last_failure_ms = track->now_ms; /* a time-out hands over at once, too; the log's reader cannot tell it from a displacement */
    car->stage = IDLE;
    car->due_at_ms = INT64_MAX;
}

static void on_lost(struct track *track)
{
    for (size_t i = 0; i < track->n; i++) {
        if (track->cars[i].stage != IDLE)
            broken(track, "4: LOST with a connection open");
        if (race_verdict(track->race, i) == PATH_UNTRIED && track->now_ms - track->start_ms < track->round_ms)
            broken(track, "3: LOST before every path was tried");
    }
    track->is_lost = true;
}

static void carry_out(struct track *track, const struct race_action *action)
{
    bool has_path = action->type != RACE_LOST;
    write_log(track, "%lld %s%s%s", (long long)(track->now_ms - track->start_ms), race_action_name(action->type), has_path ? " " : "",
              has_path ? track->paths[action->path].name : "");
    write_log(track, "%s%s\n", action->type == RACE_CANCEL ? " " : "", action->type == RACE_CANCEL ? path_verdict_name(action->verdict) : "");
    if (track->is_lost || (track->is_won && action->type != RACE_CANCEL))
        broken(track, "2, 3: an action after the end");
    switch (action->type) {
    case RACE_CONNECT:
        on_connect(track, action->path);
        break;
    case RACE_HANDSHAKE:
        on_handshake(track, action->path);
        break;
    case RACE_CANCEL:
        on_cancel(track, action->path, action->verdict);
        break;
    case RACE_WON:
        if (track->cars[action->path].stage != WON)
            broken(track, "2: WON without a proof");
        track->is_won = true;
        track->result->won = (ptrdiff_t)action->path;
        break;
    case RACE_LOST:
        on_lost(track);
        break;
    }
    if (action->type == RACE_WON || action->type == RACE_LOST)
        track->result->ended_at_ms = track->now_ms - track->start_ms;
}

static void pump(struct track *track)
{
    struct race_action action;
    while (race_next(track->race, track->now_ms, &action)) {
        carry_out(track, &action);
        if (++track->result->nactions > 10000 || track->result->broken) {
            broken(track, "it never comes to rest");
            return;
        }
    }
    if (race_deadline_ms(track->race) <= track->now_ms)
        broken(track, "7: the deadline has passed, and nothing is done");
}

/* The outcome of a path that is due, told to the race. */
static void tell(struct track *track, size_t i)
{
    struct car *car = &track->cars[i];
    const struct track_path *path = &track->paths[i];
    bool is_connecting = car->stage == CONNECTING;
    enum path_verdict verdict = is_connecting ? path->unconnected : path->unshaken;
    car->due_at_ms = INT64_MAX;
    if (verdict != PATH_UNTRIED) {
        race_failed(track->race, i, verdict, track->now_ms);
        car->has_failed = true;
        car->stage = IDLE;
        track->last_failure_ms = track->now_ms;
    } else if (is_connecting) {
        race_connected(track->race, i, track->now_ms);
        car->stage = CONNECTED;
    } else {
        race_proven(track->race, i, track->now_ms);
        car->stage = track->is_won || count(track, WON, WON) > 0 ? HANDSHAKING : WON;
    }
}

static int64_t next_event_ms(struct track *track, int64_t late_ms, bool *is_deadline)
{
    int64_t outcome_ms = INT64_MAX, deadline_ms = race_deadline_ms(track->race);
    for (size_t i = 0; i < track->n; i++)
        if (track->cars[i].due_at_ms < outcome_ms)
            outcome_ms = track->cars[i].due_at_ms;
    if (deadline_ms != INT64_MAX && late_ms > 0)
        deadline_ms += (int64_t)track_random(&track->seed, (uint64_t)late_ms + 1);
    *is_deadline = deadline_ms < outcome_ms;
    return *is_deadline ? deadline_ms : outcome_ms;
}

static void drive(struct track *track, int64_t late_ms)
{
    pump(track);
    while (!track->result->broken && !track->is_lost && !(track->is_won && count(track, CONNECTING, HANDSHAKING) == 0)) {
        bool is_deadline;
        size_t before = track->result->nactions;
        int64_t at_ms = next_event_ms(track, late_ms, &is_deadline);
        if (at_ms == INT64_MAX) {
            broken(track, "7: waiting for nothing");
            return;
        }
        track->now_ms = at_ms > track->now_ms ? at_ms : track->now_ms;
        for (size_t i = 0; i < track->n; i++)
            if (track->cars[i].due_at_ms <= track->now_ms)
                tell(track, i);
        pump(track);
        if (is_deadline && track->result->nactions == before)
            broken(track, "7: woken for nothing");
    }
}

void track_run(const struct race_config *config, const struct track_path *paths, size_t n, int64_t start_ms, int64_t late_ms, uint64_t seed,
               struct track_result *result)
{
    struct path values[RACE_PATHS_MAX];
    memset(result, 0, sizeof *result);
    memset(values, 0, sizeof values);
    result->won = -1;
    struct track *track = calloc(1, sizeof *track);
    struct race *race = race_new(config, values, n, start_ms);
    if (!track || !race)
        abort();
    *track = (struct track){.race = race, .paths = paths, .n = n, .start_ms = start_ms, .now_ms = start_ms, .seed = seed, .result = result};
    track->stagger_ms = config->stagger_ms ? config->stagger_ms : 10;
    track->stagger_ms = track->stagger_ms < 10 ? 10 : track->stagger_ms;
    track->round_ms = config->round_timeout_ms ? config->round_timeout_ms : 30000;
    track->sockets_max = config->sockets_max ? config->sockets_max : RACE_SOCKETS_MAX;
    track->last_connect_ms = track->last_failure_ms = INT64_MIN;
    for (size_t i = 0; i < n; i++)
        track->cars[i].due_at_ms = INT64_MAX;
    drive(track, late_ms);
    for (size_t i = 0; i < n; i++) {
        result->verdicts[i] = race_verdict(race, i);
        result->verdict_ms[i] = race_verdict_ms(race, i);
    }
    race_free(&race);
    free(track);
}
