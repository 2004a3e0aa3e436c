/* The uplink: carries the queue to the relay over whichever way is open.
 *
 *   resting --(work due)--> searching --(a way)--> login --> ready <--> sending
 *      ^                        |                    |         |
 *      |                        v                    v         v
 *      +------(no work)----- waiting <-----(no way, refused, session died)
 *
 * resting: nothing to do, no session, no timer. waiting: there is work, and no way just now; a timer, new mail (at most one search every UPLINK_NEW_MAIL_MS), uplink_wake or a change of network ends it.
 * ready: a session stands; it is kept warm for a while when there is nothing to send. leaving: QUIT is said, and what comes meanwhile waits for the next session.
 *
 * Invariants: 1 one session at most is past PROVEN; 2 AUTH is sent on it alone, after the losers of the race were told to close; 3 a message is given back to the queue only after its
 * outcome is recorded; 4 at rest there is no timer; 5 a search that fails makes nobody's mail fail: only the message's own lifetime does. */
#ifndef POSTERN_AGENT_UPLINK_H
#define POSTERN_AGENT_UPLINK_H

#include "search.h"

#include "mta/attempt.h"
#include "queue/queue.h"

enum { UPLINK_NEW_MAIL_MS = 10 * 1000, UPLINK_WORDS = 512 };

enum uplink_state { UPLINK_RESTING, UPLINK_SEARCHING, UPLINK_LOGIN, UPLINK_READY, UPLINK_SENDING, UPLINK_LEAVING, UPLINK_WAITING, UPLINK_STOPPED };
const char *uplink_state_name(enum uplink_state state);

struct uplink_config {
    uv_loop_t *loop;
    struct store_client *store;
    struct settings *settings;        /* a reference is taken */
    struct tls_context *tls;          /* likewise */
    struct slice password;            /* copied */
    struct queue *queue;              /* the agent's; its one hop is "" */
    struct attempt_office *office;
    const struct path *known;         /* what worked before the last stop; may be NULL */
    const struct log *log;
    void (*on_way)(void *context, const struct path *path); /* a way has proved itself: to be remembered */
    void *context;
};

struct uplink;
struct uplink *uplink_new(const struct uplink_config *config); /* NULL: out of memory */
/* There may be work: new mail, or a person said so. is_urgent forgets the back-off and searches at once. */
void uplink_wake(struct uplink *uplink, bool is_urgent);
/* New settings, for the next search; the session, if there is one, ends when it is idle. */
void uplink_reload(struct uplink *uplink, struct settings *settings, struct tls_context *tls, struct slice password);
/* QUIT or close; the message under way is given up where it stands and stays queued. on_stopped when everything is closed; then free. */
void uplink_stop(struct uplink *uplink, void (*on_stopped)(void *context), void *context);
void uplink_free(struct uplink **uplink);

/* For status. */
struct uplink_status {
    enum uplink_state state;
    enum network_state network;
    bool has_way;
    struct path way;
    const struct search_trial *trials; /* of the last search; valid until the loop turns */
    size_t ntrials;
    int64_t since_ms;                  /* wall time of the last search's end; 0: none yet */
    int64_t next_search_ms;            /* wall time; 0: none planned */
    const char *trouble;               /* why no mail goes, in words: "the relay refuses the password ..."; NULL: none */
    uint64_t sending;                  /* id of the message under way; 0: none */
    uint64_t sent_octets, sending_octets;
};
void uplink_status(const struct uplink *uplink, struct uplink_status *out);

#endif
