/* The race: which paths to try now, when to start the dear part, who has won. Pure: time, outcomes in; actions out.
 *
 * On an unknown network the connection attempts start RACE_STAGGER_MS apart (RFC 8305 section 5 allows no less than 10), because a SYN is cheap
 * and a port that drops must cost nothing. What is staggered is the dear part: the handshake starts at once on the first path that connects, on
 * a later one only when the earlier has failed or has stalled for stall_ms. On a known network the remembered path (first in the list,
 * is_first_known) starts alone and the rest follow after known_head_start_ms or at its first failure. At most RACE_SOCKETS_MAX
 * sockets and RACE_HANDSHAKES_MAX handshakes at a time. A hard failure hands over at once.
 *
 * A path: waiting -> connecting -> connected -> handshaking -> proven; any -> failed | cancelled.
 *
 * Invariants: 1 never more sockets or handshakes than the limits; 2 WON at most once, and after it only CANCEL; 3 LOST only when every path has
 * failed; 4 every path that was started ends in exactly one of WON, CANCEL or a failure told by the driver; 5 same inputs, same actions. */
#ifndef POSTERN_PATH_RACE_H
#define POSTERN_PATH_RACE_H

#include "path/path.h"

#include "base/result.h"

enum { RACE_PATHS_MAX = 64, RACE_SOCKETS_MAX = 6, RACE_HANDSHAKES_MAX = 2 };

struct race_config {
    int64_t stagger_ms;          /* default 20 */
    int64_t known_head_start_ms; /* default 250 */
    int64_t stall_ms;            /* a handshake that takes longer lets the next one start; default 1,500 */
    int64_t connect_timeout_ms;  /* default 10,000: then the path is PATH_DROPPED */
    int64_t handshake_timeout_ms; /* default 15,000 */
    int64_t round_timeout_ms;    /* default 30,000: the whole race is lost then */
    bool is_first_known;
};

enum race_action_type {
    RACE_CONNECT,   /* open a connection for path */
    RACE_HANDSHAKE, /* path is connected: start TLS or the STARTTLS dialogue on it, up to EHLO */
    RACE_CANCEL,    /* close path: it is no longer wanted, or its time is up (verdict tells) */
    RACE_WON,       /* path is the way */
    RACE_LOST,      /* no path left */
};

struct race_action {
    enum race_action_type type;
    size_t path;
    enum path_verdict verdict; /* of RACE_CANCEL: PATH_DROPPED or PATH_TLS_FAILED when its time was up, PATH_UNTRIED when a better one won */
};

struct race;

/* paths in order of preference; copied. Duplicates are dropped by the caller. NULL: out of memory. n is at most RACE_PATHS_MAX. */
struct race *race_new(const struct race_config *config, const struct path *paths, size_t n, int64_t now_ms);
void race_free(struct race **race);

/* The next thing to do at now_ms; false: nothing until race_deadline_ms or an outcome. */
bool race_next(struct race *race, int64_t now_ms, struct race_action *action);
int64_t race_deadline_ms(const struct race *race); /* INT64_MAX: none */

void race_connected(struct race *race, size_t path, int64_t now_ms);
void race_proven(struct race *race, size_t path, int64_t now_ms);
void race_failed(struct race *race, size_t path, enum path_verdict verdict, int64_t now_ms);

/* What is known of a path so far, for the verdict on the network. ms: from its start to its verdict. */
const struct path *race_path(const struct race *race, size_t path);
size_t race_npaths(const struct race *race);
enum path_verdict race_verdict(const struct race *race, size_t path);
int64_t race_verdict_ms(const struct race *race, size_t path);

#endif
