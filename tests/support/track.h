/* A race track: the path race (path/race.h) driven by a clock and network of its own.
 *
 * Each path of a track behaves as its row says, every time it is tried. The track carries out the race's actions, tells it the outcomes when
 * they are due, keeps a log that reads like a story, and checks the numbered invariants of race.h all the while. */
#ifndef POSTERN_TESTS_SUPPORT_TRACK_H
#define POSTERN_TESTS_SUPPORT_TRACK_H

#include "path/race.h"

enum { TRACK_NEVER = -1, TRACK_LOG_MAX = 32768 };

struct track_path {
    const char *name;              /* in the log */
    int64_t connects_ms;           /* from the attempt to its connection or failure; TRACK_NEVER: silence */
    enum path_verdict unconnected; /* PATH_UNTRIED: it connects; else what it fails with */
    int64_t shakes_ms;             /* from the handshake's start to its end; TRACK_NEVER: silence */
    enum path_verdict unshaken;    /* PATH_UNTRIED: proven; else what it fails with */
};

#define TRACK_DROPPED(name) {(name), TRACK_NEVER, PATH_UNTRIED, TRACK_NEVER, PATH_UNTRIED}
#define TRACK_FAILS(name, ms, verdict) {(name), (ms), (verdict), TRACK_NEVER, PATH_UNTRIED}
#define TRACK_OPEN(name, connect_ms, shake_ms) {(name), (connect_ms), PATH_UNTRIED, (shake_ms), PATH_UNTRIED}
#define TRACK_SILENT(name, connect_ms) {(name), (connect_ms), PATH_UNTRIED, TRACK_NEVER, PATH_UNTRIED}
#define TRACK_STRANGER(name, connect_ms, shake_ms, verdict) {(name), (connect_ms), PATH_UNTRIED, (shake_ms), (verdict)}

struct track_result {
    ptrdiff_t won;         /* index, or -1 */
    int64_t ended_at_ms;   /* of WON or LOST; the race starts at 0 */
    enum path_verdict verdicts[RACE_PATHS_MAX];
    int64_t verdict_ms[RACE_PATHS_MAX];
    size_t nactions;
    const char *broken;    /* an invariant that was broken, or NULL */
    char log[TRACK_LOG_MAX]; /* "0 connect 465\n20 connect 587\n..."; a cancel tells its verdict: "50 cancel 465 dropped\n" */
};

/* late_ms: the clock may be up to so much behind each deadline, by `seed`; 0: on time. start_ms: what the clock shows at first (told times are relative). */
void track_run(const struct race_config *config, const struct track_path *paths, size_t n, int64_t start_ms, int64_t late_ms, uint64_t seed,
               struct track_result *result);

/* A small generator for tests: the same seed, the same numbers. */
uint64_t track_random(uint64_t *seed, uint64_t below);

#endif
