/* The verdict on a network: from what became of each path, one state and a sentence for people. Pure. */
#ifndef POSTERN_PATH_NETWORK_H
#define POSTERN_PATH_NETWORK_H

#include "path/path.h"

#include "base/buffer.h"

enum network_state {
    NETWORK_OFFLINE, /* nothing is reachable: no route, no resolver, or every attempt says unreachable */
    NETWORK_CAPTIVE, /* something else answers in the relay's place: log in to the network first */
    NETWORK_BLOCKED, /* there is a network, but no way to the relay */
    NETWORK_ONLINE,
};
/* "offline", "captive", "blocked", "online". */
const char *network_state_name(enum network_state state);

struct network_trial {
    struct path path;
    enum path_verdict verdict;
};

/* Paths that were not tried say nothing. One open path is online; HTTP or foreign banners on a path and none open is captive; all of them unreachable or without DNS is
 * offline; no trials at all is offline. */
enum network_state network_conclude(const struct network_trial *trials, size_t n);

/* "This network drops 25 and 587, answers 465 with a stranger's certificate; using 2525." Ports of one verdict stand together in rising order; a port whose addresses
 * differ is counted by the best of them. used: the path in use; NULL: the open one that was found is
 * named as such, and without one it says "; no way to the relay is open". RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result network_describe(const struct network_trial *trials, size_t n, const struct path *used, struct buffer *out);

#endif
