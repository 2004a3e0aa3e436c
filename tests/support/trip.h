/* A trip: the finder (path/finder.h) carried through a world of networks by a driver and a clock of their own.
 *
 * The world says how each path behaves, at the moment when it is asked. The trip carries out the finder's actions, tells it the outcomes when they are due, sends the mail that waits over the path in use, keeps a log that
 * reads like a story, and checks the numbered invariants of finder.h all the while. */
#ifndef POSTERN_TESTS_SUPPORT_TRIP_H
#define POSTERN_TESTS_SUPPORT_TRIP_H

#include "path/finder.h"

enum { TRIP_NEVER = -1, TRIP_LOG_MAX = 1 << 16, TRIP_QUICK_MS = 1000, TRIP_SEARCH_MAX_MS = 185 * 1000 };

struct trip_behaviour {
    int64_t connects_ms;           /* TRIP_NEVER: silence */
    enum path_verdict unconnected; /* PATH_UNTRIED: it connects */
    int64_t shakes_ms;             /* TRIP_NEVER: silence */
    enum path_verdict unshaken;    /* PATH_UNTRIED: proven */
    uint64_t dies_after;           /* octets of a session; 0: never */
    bool keeps;                    /* the relay keeps what it got of a message, and the next session goes on there */
    bool is_mute;                  /* with keeps: the session dies before the relay has said so, and the next one hears of it */
    bool refuses;                  /* the relay does, at login */
};

struct trip_place {
    bool is_up, has_key;
    struct memory_key key;
    int64_t resolves_ms; /* TRIP_NEVER: fails after 20 s */
    struct path_address addresses[FINDER_ADDRESSES_MAX];
    size_t naddresses;   /* 0: the resolver fails */
    int64_t proxies_ms;  /* TRIP_NEVER: never told */
    struct finder_proxy proxies[FINDER_PROXIES_MAX];
    size_t nproxies;
    int64_t probe_ms;    /* TRIP_NEVER: never answered */
    enum finder_probe probe;
    struct trip_behaviour (*behave)(const void *context, const struct path *path);
    const void *context;
};

struct trip_config {
    struct finder_config finder; /* memory and patience are the caller's */
    const struct finder_way *ways;
    size_t nways;
    int64_t wall_ms;             /* at the start; the clock starts at 0 */
    int64_t late_ms;             /* timers come up to so much late */
    uint64_t seed;
};

struct trip;
struct trip *trip_new(const struct trip_config *config);
void trip_free(struct trip **trip);
/* Arrival; or, with the same key, a change of what is there. The place is copied. */
void trip_go(struct trip *trip, const struct trip_place *place, bool is_fresh);
/* The world changes, and nobody tells. */
void trip_change(struct trip *trip, const struct trip_place *place);
void trip_set_wall(struct trip *trip, int64_t wall_ms);
void trip_mail(struct trip *trip, uint32_t nmessages, uint64_t octets, enum finder_wish wish);
void trip_run(struct trip *trip, int64_t for_ms);
/* Until the mail is gone, or that time is over. */
void trip_run_until_sent(struct trip *trip, int64_t for_ms);

struct finder *trip_finder(struct trip *trip);
int64_t trip_now_ms(const struct trip *trip);
uint32_t trip_waiting(const struct trip *trip);  /* messages */
uint32_t trip_searches(const struct trip *trip); /* so far */
const char *trip_broken(const struct trip *trip);
const char *trip_log(const struct trip *trip);
void trip_clear_log(struct trip *trip);
/* What happened to a path that is used by tests over and over. */
#define TRIP_OPEN(connect_ms, shake_ms) ((struct trip_behaviour){.connects_ms = (connect_ms), .shakes_ms = (shake_ms)})
#define TRIP_DROPPED ((struct trip_behaviour){.connects_ms = TRIP_NEVER})
#define TRIP_FAILS(ms, verdict) ((struct trip_behaviour){.connects_ms = (ms), .unconnected = (verdict)})
#define TRIP_SILENT(connect_ms) ((struct trip_behaviour){.connects_ms = (connect_ms), .shakes_ms = TRIP_NEVER})
#define TRIP_STRANGER(connect_ms, shake_ms, verdict) ((struct trip_behaviour){.connects_ms = (connect_ms), .shakes_ms = (shake_ms), .unshaken = (verdict)})

#endif
