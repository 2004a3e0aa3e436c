/* What the uplink's files share: uplink.c decides, uplink_session.c is in the session with the relay, uplink_status.c tells. */
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

/* ---- uplink.c ---- */

/* The one place that changes the state. */
void uplink_enter(struct uplink *uplink, enum uplink_state state);
/* The one place that decides what to do next. */
void uplink_go_on(struct uplink *uplink);
/* A message that is under way, and a smaller one that may be due. */
void uplink_make_way(struct uplink *uplink);
/* No mail goes at present: some may have waited for too long. */
void uplink_look_for_aged(struct uplink *uplink);
/* The stop is complete when nothing is open any more. */
void uplink_tell_stopped(struct uplink *uplink);
void uplink_set_trouble(struct uplink *uplink, const char *words);
int64_t uplink_now_ms(const struct uplink *uplink);

/* ---- uplink_session.c ---- */

/* The session that has begun. */
void uplink_log_in(struct uplink *uplink);
/* Without waiting for anything: the message under way goes back to the queue, as it is, or `uncertain`. */
void uplink_give_up(struct uplink *uplink, const char *why);
/* The network has changed: a session whose own address is gone, or that the laptop has slept through, is given up. */
void uplink_judge_session(struct uplink *uplink, const struct monitor_event *event);

#endif
