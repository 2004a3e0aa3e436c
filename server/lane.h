/* A lane is one session to a next hop: its hosts are found, each address is tried in order until one lets us in, messages are carried, and it ends.
 *
 *   finding -> connecting -> ready <-> busy -> leaving -> gone
 *                 |  ^                           ^
 *                 +--+ next address, or the same in the clear where TLS was only opportunistic and broke (RFC 7435 3)
 *
 * Events come from the loop, or from inside lane_carry's courier; on_gone comes exactly once, last. */
#ifndef POSTERN_SERVER_LANE_H
#define POSTERN_SERVER_LANE_H

#include "nexthop.h"

#include "net/courier.h"

struct lane;

/* Why no address let us in. */
struct lane_failure {
    enum nexthop_verdict verdict; /* LATER or NEVER */
    const char *reply;            /* "451 4.4.1 mx.example [192.0.2.7]:25: connection refused" */
};

struct lane_handler {
    void (*on_ready)(void *context, struct lane *lane);
    /* The session never stood. on_gone follows. */
    void (*on_failed)(void *context, struct lane *lane, const struct lane_failure *failure);
    /* A message has been carried, or not: the courier tells. It is borrowed and freed afterwards. */
    void (*on_carried)(void *context, struct lane *lane, struct courier *courier, struct slice host, bool peer_has_dsn);
    void (*on_gone)(void *context, struct lane *lane);
    void *context;
};

/* What all lanes share; outlives them. */
struct lane_services {
    uv_loop_t *loop;
    struct store_client *store;
    struct dns *dns;
    const struct log *log;
};

struct lane_config {
    struct slice name;               /* of the next hop, as nexthop_find takes it; copied */
    struct conf *conf;       /* a reference is taken */
    struct tls_context *tls_any;     /* of identity ANY; references are taken */
    struct tls_context *tls_verified; /* of identity CA, for a smarthost */
    struct lane_handler handler;
};

/* RESULT_OK, RESULT_MEMORY. No callback from inside. */
MUST_CHECK enum result lane_open(struct lane **out, const struct lane_services *services, const struct lane_config *config);
/* In ready only, also from on_ready. Takes the job. RESULT_MEMORY: the job is freed, the lane stays ready. */
MUST_CHECK enum result lane_carry(struct lane *lane, struct store_job *job);
bool lane_is_ready(const struct lane *lane);
/* QUIT, or as politely as the state allows; a message under way is finished first. */
void lane_leave(struct lane *lane);
/* At once; a message under way is lost to the courier: on_carried does not come for it. */
void lane_drop(struct lane *lane);

#endif
