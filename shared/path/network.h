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
    const char *whose; /* with PATH_WRONG_CERTIFICATE: the name in that certificate; NULL: not known */
    bool is_brief;     /* with PATH_DIED_EARLY: before anything came of it */
};

/* What the relay's challenge came to (net/challenge.h). */
enum network_probe { NETWORK_PROBE_NONE, NETWORK_PROBE_SILENT, NETWORK_PROBE_CLEAR, NETWORK_PROBE_CAPTIVE };

/* What is known of a network. {0}: nothing. */
struct network_facts {
    const struct network_trial *trials;
    size_t n;
    enum network_probe probe;
    bool is_down;          /* there is no network at all */
    bool is_resolver_lying; /* it names a place where a stranger answers, and the relay has proved itself elsewhere */
    bool is_pinned;        /* the relay is known by its key, not by a certificate authority */
    bool is_login_refused; /* PATH_RELAY_REFUSED was its word on the login */
    bool has_trouble;      /* mail waits, whatever the trials say */
    const char *reached_when;  /* "at 14:05", of the open way; NULL: just now, or not known */
    const char *missing_proxy; /* the name of a configured proxy that can't be found; NULL: none */
};

/* Paths that were not tried say nothing. One open path is online. Else the challenge decides between captive and blocked; without its answer HTTP or foreign banners on a direct path are captive, and
 * all of them unreachable or without DNS is offline. No network, or no trials at all, is offline. */
enum network_state network_conclude(const struct network_facts *facts);

/* "This network drops port 587, answers ports 443 and 465 with a stranger's certificate; using port 2525." The stranger has a name where all those certificates agree on one that is not the relay's; a way
 * may be "port 443 through the proxy 10.77.2.1:3128". Direct ports of one verdict stand together in rising order, the worst verdict first; a port whose addresses or ALPNs differ is counted by the best of
 * them, and so is a proxy. used: the path in use; NULL: the open one that was found is named ("; the relay was reached over port 2525"); without one the end says that the relay refuses us, that a login is
 * to be made first, that the relay has a new key or the network intercepts, or just "; no way to the relay is open". RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result network_describe(const struct network_facts *facts, const struct path *used, struct buffer *out);

/* Two lines that a hotel receptionist can read: what works or does not, and what to ask for. "This network lets no mail through to relay.example.org.\nPlease open TCP port 465 or 443 to
 * relay.example.org." RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result network_summary(const struct network_facts *facts, struct slice relay_host, struct buffer *out);

/* Why no mail goes, and what to do about it, for the one who waits; nothing where the network is online. RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result network_trouble(const struct network_facts *facts, struct buffer *out);

#endif
