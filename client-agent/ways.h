/* What the agent remembers of ways to the relay: the one that worked last, the relay's addresses, and which ways have died young. A value; time is a parameter.
 *
 * A way that dies in login or under a message is demoted: it is not the known one any more and comes last for WAYS_DEMOTION_MS, unless it carries a message meanwhile. A path that lets
 * handshakes through and kills long connections would win every race otherwise. */
#ifndef POSTERN_AGENT_WAYS_H
#define POSTERN_AGENT_WAYS_H

#include "path/path.h"

#include "base/buffer.h"

enum { WAYS_ADDRESSES_MAX = 8, WAYS_DEMOTED_MAX = 16, WAYS_DEMOTION_MS = 3600 * 1000, WAYS_TEXT_MAX = 1024 };

struct ways {
    struct path known; /* what worked last */
    bool has_known;
    struct path_address addresses[WAYS_ADDRESSES_MAX]; /* the relay's, the one that worked last first */
    size_t naddresses;
    struct path demoted[WAYS_DEMOTED_MAX]; /* in the order of their deaths */
    int64_t demoted_at_ms[WAYS_DEMOTED_MAX];
    size_t ndemoted;
};

/* A way has proved itself. The resolver's addresses are kept only when the winner's is among them: one that lies must not push out what works. */
void ways_won(struct ways *ways, const struct path *path, const struct path_address *resolved, size_t nresolved);
void ways_demote(struct ways *ways, const struct path *path, int64_t now_ms);
void ways_promote(struct ways *ways, const struct path *path);
/* Demotions that are old are forgotten. */
void ways_forget_old(struct ways *ways, int64_t now_ms);
/* Another configuration: nothing is known of its ways; the addresses stay when it is the same relay. */
void ways_forget(struct ways *ways, bool is_same_relay);

/* The known way and the addresses, as text for the store: "192.0.2.1 465 tls relay.example 192.0.2.1 2001:db8::1". RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result ways_write(const struct ways *ways, struct slice relay_host, struct buffer *out);
/* {0} for what we did not write, and for the ways to another relay. */
void ways_read(struct ways *ways, struct slice text, struct slice relay_host);

#endif
