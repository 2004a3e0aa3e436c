/* The race: which paths to try now, when to start the dear part, who has won. Pure: time, outcomes in; actions out.
 *
 * One race has the budget of sockets and handshakes of a whole search: paths that are found out later (a resolver's late answer) or should come later (those that died young) join it (race_add).
 *
 * On an unknown network the connection attempts start stagger_ms apart (RFC 8305 section 5 allows no less than 10), because a SYN is cheap
 * and a port that drops must cost nothing. What is staggered is the dear part: the handshake starts at once on the first path that connects, on
 * a later one only when the earlier has failed or has stalled: for as long as its own connection's round trip makes a handshake last, with room for a slow server, and for stall_ms at most. On a known network the remembered path (first in the list,
 * is_first_known) starts alone and the rest follow after known_head_start_ms or at its first failure. At most sockets_max
 * sockets and RACE_HANDSHAKES_MAX handshakes at a time. A hard failure hands over at once.
 *
 * A path: waiting -> connecting -> connected -> handshaking -> proven; any but waiting -> failed | cancelled; connecting, handshaking -> waiting (displaced).
 *
 * Tiers. A path's first attempt comes in the order of its tier, then of its adding; further attempts come behind all first ones. RACE_LAST_CHANCE paths wait for last_chance_ms after the race's start, or until nothing
 * of the other tiers is left; their handshakes come behind those of the others. So however fast they are, they win only when nothing else is open.
 *
 * A survey (is_survey) has no winner: each path goes to its verdict, PATH_OPEN included, is closed by RACE_CANCEL then, and LOST ends it.
 *
 * Displacement. With more paths than sockets, ports that drop would keep the open one waiting for their time-out. So when a path waits and no socket is free,
 * the attempt that has been connecting the longest gives up its socket (RACE_CANCEL) once it has been at it for the waiter's patience, and goes to the end of
 * the queue for another chance. The patience of a path that waits for its first attempt is patience_ms (500: more than any usual round trip); it is three times
 * longer for each attempt that it has had, so first attempts go round quickly, and on a slow line (a satellite's round trip of 600 ms) the second round gives
 * each one 1,500 ms, the third 4,500. The time-out of a path counts all its attempts together. So with sockets for 6, 30 paths of
 * which only the last answers, and a round trip of 300 ms, it is started after 2.1 s and connected after 2.4 s.
 * Handshakes likewise: networks that accept every connection and then are silent must not hold both places until the time-out. When a connected path waits and
 * both handshakes have stalled, the older gives way after three times its stall (again three times longer for each attempt the waiter has had).
 *
 * Verdicts of those that did not come to an end: who has waited twice as long for a connection as the winner did, and 25 ms, is dropped; a
 * handshake that has stalled has failed in TLS; the rest are untried. The verdict of a displaced path stands until its next attempt says better.
 *
 * Invariants: 1 never more sockets or handshakes than the limits; 2 WON at most once, and after it only CANCEL; 3 LOST only when every path has
 * failed (or, in a survey, its verdict) and none is awaited (race_hold), or at the end of the round, and nothing after it; 4 every CONNECT ends in exactly one of WON, CANCEL or a failure told by the driver; 5 same
 * inputs, same actions; 6 connection attempts are stagger_ms apart, but for those that follow a failure at once; 7 race_deadline_ms is later than the
 * time of the last race_next that gave nothing, and at it race_next gives something. */
#ifndef POSTERN_PATH_RACE_H
#define POSTERN_PATH_RACE_H

#include "path/path.h"

#include "base/result.h"

enum { RACE_PATHS_MAX = 64, RACE_SOCKETS_MAX = 10, RACE_HANDSHAKES_MAX = 2 };
enum race_tier { RACE_USUAL, RACE_LATER, RACE_LAST_CHANCE };

/* 0 stands for the default. */
struct race_config {
    int64_t stagger_ms;           /* default and least 10 (RFC 8305 5): a network that drops all ports but the last costs little */
    int64_t known_head_start_ms;  /* default 250 */
    int64_t patience_ms;          /* default 500 */
    int64_t stall_ms;             /* a handshake that takes longer lets the next one start; default 1,500. On a fast line sooner: */
    int64_t stall_least_ms;       /* after 4 round trips (tls) or 7 (starttls), as a direct path's connection showed them, and 250 ms for a busy server; but after that at least; default 400 */
    int64_t connect_timeout_ms;   /* default 10,000: then the path is PATH_DROPPED */
    int64_t handshake_timeout_ms; /* default 15,000: then PATH_TLS_FAILED */
    int64_t round_timeout_ms;     /* default 30,000: the whole race is lost so long after the last path was added */
    int64_t last_chance_ms;       /* default 2,000 */
    uint32_t sockets_max;         /* default and at most RACE_SOCKETS_MAX: the five usual ports in both address families start without waiting for each other */
    bool is_first_known;
    bool is_survey;
};

enum race_action_type {
    RACE_CONNECT,   /* open a connection for path */
    RACE_HANDSHAKE, /* path is connected: start TLS or the STARTTLS dialogue on it, up to EHLO */
    RACE_CANCEL,    /* close path: displaced, no longer wanted, or its time is up (verdict tells). No outcome of that connection may be told after it */
    RACE_WON,       /* path is the way */
    RACE_LOST,      /* no path left */
};

struct race_action {
    enum race_action_type type;
    size_t path;
    enum path_verdict verdict; /* of RACE_CANCEL: as race_verdict; PATH_UNTRIED when there is none */
};

struct race;

/* paths in order of preference, of tier RACE_USUAL; copied. Duplicates are dropped by the caller. NULL: out of memory. n is at most RACE_PATHS_MAX. */
struct race *race_new(const struct race_config *config, const struct path *paths, size_t n, int64_t now_ms);
/* One more path; its index is race_npaths before. False: there are RACE_PATHS_MAX, or the race is over. */
bool race_add(struct race *race, const struct path *path, enum race_tier tier, int64_t now_ms);
/* More paths may join until then: that all present ones have failed is no defeat before. INT64_MIN: none may. */
void race_hold(struct race *race, int64_t until_ms);
void race_free(struct race **race);

/* The next thing to do at now_ms; false: nothing until race_deadline_ms or an outcome. */
bool race_next(struct race *race, int64_t now_ms, struct race_action *action);
int64_t race_deadline_ms(const struct race *race); /* INT64_MAX: none */

/* Outcomes of the connection that the last RACE_CONNECT of the path opened. One that does not fit the path's state (a failure after the victory) is ignored. */
void race_connected(struct race *race, size_t path, int64_t now_ms);
void race_proven(struct race *race, size_t path, int64_t now_ms);
void race_failed(struct race *race, size_t path, enum path_verdict verdict, int64_t now_ms);

/* What is known of a path so far, for the verdict on the network. ms: of its last attempt, connecting and handshaking, without the wait in reserve between the two. */
const struct path *race_path(const struct race *race, size_t path);
size_t race_npaths(const struct race *race);
enum path_verdict race_verdict(const struct race *race, size_t path);
int64_t race_verdict_ms(const struct race *race, size_t path);

const char *race_action_name(enum race_action_type type);

#endif
