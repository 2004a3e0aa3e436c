/* From the name of a next hop to the addresses to try, in order (RFC 5321 5.1).
 *
 * The name is a recipient's domain, an address literal, or CONF_HOP_SMARTHOST. MX hosts by preference, equal ones shuffled; without MX the domain
 * itself; a null MX (RFC 7505) refuses for good. U-labels are looked up as A-labels. Of a list that names ourselves, we and everybody less preferred are left out. For each host its
 * IPv6 and IPv4 addresses take turns. Addresses that the configuration does not allow are left out, and connected ones are what was asked for: a
 * connection goes to an address, never to a name. */
#ifndef POSTERN_SERVER_NEXTHOP_H
#define POSTERN_SERVER_NEXTHOP_H

#include "conf.h"

#include "net/dns.h"

enum {
    NEXTHOP_HOSTS_MAX = 16,   /* MX hosts that are looked at */
    NEXTHOP_TARGETS_MAX = 32, /* addresses over all hosts */
};

struct nexthop_target {
    struct net_address address;
    const char *host; /* its name, or its address in text when it has none */
};

enum nexthop_verdict {
    NEXTHOP_FOUND,
    NEXTHOP_LATER, /* the resolver does not answer, or says that it can't tell */
    NEXTHOP_NEVER, /* mail to there can't be delivered */
};

struct nexthop {
    enum nexthop_verdict verdict;
    struct nexthop_target targets[NEXTHOP_TARGETS_MAX];
    size_t ntargets;
    char reply[512]; /* when not FOUND: "556 5.1.10 ...", "451 4.4.3 ..." */
};

struct nexthop_query;

/* done comes once, later, never from inside the call, unless cancelled; what it points at is valid during the callback. Takes no reference of conf:
 * they outlive the query. RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result nexthop_find(struct nexthop_query **out, uv_loop_t *loop, struct dns *dns, const struct conf *conf, struct slice name,
                                    void (*done)(void *context, const struct nexthop *nexthop), void *context);
/* No callback comes any more. NULL is fine. */
void nexthop_cancel(struct nexthop_query **query);

#endif
