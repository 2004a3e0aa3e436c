/* What the uplink's two files share: uplink.c acts, uplink_status.c tells. */
#ifndef POSTERN_AGENT_UPLINK_INTERNAL_H
#define POSTERN_AGENT_UPLINK_INTERNAL_H

#include "aging.h"
#include "consignment.h"
#include "inquiry.h"
#include "uplink.h"

struct uplink {
    struct uplink_config config;
    enum uplink_state state;
    struct search *search;
    struct session session;
    unsigned nclosing;            /* sessions given up */
    struct consignment consignment; /* the message under way */
    struct inquiry *inquiry;      /* what became of those before */
    bool is_relay_reached;        /* the last session's way was well, it is the relay that does not want us */
    bool is_wanted;               /* the search knows that mail is due */
    int64_t planned_ms, next_search_ms; /* the next search in loop time, and the same in wall time */
    int64_t idle_since_ms;        /* loop time */
    uv_timer_t timer;             /* waiting: the mail's own time; ready: keeping warm; before the network is known: patience */
    struct findings findings;
    struct memory_key network;    /* which the findings are of */
    char trouble[UPLINK_WORDS];
    bool is_trouble_networks;     /* it is about the present network: another one, and what is found out here later, change it */
    struct aging aging;
    bool is_stopping, is_timer_closed;
    void (*on_stopped)(void *context);
    void *stopped_context;
};

#endif
