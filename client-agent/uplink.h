/* The uplink: carries the queue to the relay over whichever way is open. Which one that is, and when it is worth looking for, is for the path core to say (search.h, path/finder.h); the uplink tells
 * it whether mail is due and what became of each session.
 *
 *     resting --(mail is due)--> searching --(a way)--> login --(logged in)--> ready <---> sending
 *      |   ^                       |                      |                    | |           |
 *      |   |                    (no way)         (refused, died)    (stays idle) |(relay     |(died)
 *      |   |                       |                      |                    | | closed)   |
 *      |   +--(its time, or wake)--+------- waiting <-----+--------------------|-|-----------+
 *      |   |                                   ^                               v |
 *      |   +-----------------------------------|---------------------------- leaving
 *      +--(mail, whose time has not come)------+
 *
 * resting: no mail is due, no session, no timer but the inquiry's, and that only while the fate of something is awaited. searching and waiting are
 * the path core's; waiting is also for the mail's own time. login: a session has proved itself. ready: a session stands, kept warm for a while.
 * sending: a message is read from the store, or on its way. leaving: QUIT is said; what comes meanwhile waits for the next session. New settings
 * begin a search anew, and send ready to leaving. A network that is left, a laptop that slept, an own address that is gone end login, ready, sending
 * and leaving at once. uplink_stop ends any state: stopped.
 *
 * Invariants: 1 one session at most is past PROVEN, but for those that were given up and are closing; 2 AUTH is sent on it alone, after the losers of the race were told to close; 3 of the message
 * under way what consignment.h says; 4 at rest there is no timer; 5 neither a search nor a session that fails makes mail fail: only the message's own lifetime
 * does, and it is looked at after each such failure; 6 each session that the path core gave is told to it exactly once as ended, unless the core itself dropped it; 7 what the relay's profile says is
 * forgotten when the relay does not keep to it, before it is tried again: no two sessions in a row fail by the same early words. */
#ifndef POSTERN_AGENT_UPLINK_H
#define POSTERN_AGENT_UPLINK_H

#include "findings.h"
#include "naming.h"
#include "recall.h"
#include "search.h"
#include "session.h"

#include "mta/attempt.h"
#include "path/network.h"
#include "queue/queue.h"

enum { UPLINK_WORDS = 1024, UPLINK_NETWORK_MS = 1000 };

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
    struct prober *prober;            /* as in search.h */
    struct recall *recall;            /* read and written; outlives the uplink */
    bool awaits_network;              /* uplink_set_network will be called soon: nothing is begun before, for at most UPLINK_NETWORK_MS */
    const struct naming *naming;      /* as in consignment.h, likewise first_id */
    uint64_t first_id;
    const char *program;              /* as in search.h */
    const struct log *log;
    void (*look_around)(void *context); /* a timer has fired: has the machine slept meanwhile? NULL: nobody would know */
    void (*on_unscheduled)(void *context); /* as in inquiry.h */
    void *context;
};

struct uplink;
struct uplink *uplink_new(const struct uplink_config *config); /* NULL: out of memory */
/* There may be work: new mail, or (is_urgent) a person said so, which forgets the back-off. What is due now is for the queue to know. */
void uplink_wake(struct uplink *uplink, bool is_urgent);
/* A person wants everything done now: mail that is due, and questions about what the relay has. */
void uplink_flush(struct uplink *uplink);
/* Wall time at which the relay is asked about that message; 0: it is not known. */
int64_t uplink_question_at_ms(const struct uplink *uplink, uint64_t message);
/* A person has removed, or held, a message, and the queue knows: one that is under way is left where it is, unless its last octet has gone. What is removed is not asked about any more. */
void uplink_forget(struct uplink *uplink, uint64_t message);
void uplink_hold(struct uplink *uplink, uint64_t message);
/* Where the laptop is now (net/monitor.h). */
void uplink_set_network(struct uplink *uplink, const struct monitor_event *event);
/* New settings: a search begins anew with them; a session ends after the message that is on its way. RESULT_OK; RESULT_MEMORY: the old ones stay in force. */
MUST_CHECK enum result uplink_reload(struct uplink *uplink, struct settings *settings, struct tls_context *tls, struct slice password);
/* QUIT or close; the message under way is given up where it stands and stays queued. Call attempt_stop on the office before: outcomes that are being written are waited for.
 * on_stopped when everything is closed; then free. */
void uplink_stop(struct uplink *uplink, void (*on_stopped)(void *context), void *context);
void uplink_free(struct uplink **uplink);

/* For status. */
struct uplink_status {
    enum uplink_state state;
    enum network_state network;        /* online while nothing speaks against it yet */
    bool has_way;
    struct path way;
    const struct finder_trial *trials; /* of the last search on this network; of the first one as far as it has come. Valid until the loop turns */
    size_t ntrials;
    int64_t since_ms;                  /* wall time of the last search's end; 0: none yet on this network */
    int64_t next_search_ms;            /* wall time; 0: none planned */
    const char *trouble;               /* why no mail goes and what to do, in words: "the relay refuses the name or password ..."; NULL: none */
    uint64_t sending;                  /* id of the message under way; 0: none */
    uint64_t sent_octets, sending_octets;
    bool has_names;                    /* the relay, as it was met last, takes no message twice (CHECKPOINT) */
    bool is_untold;                    /* the relay, as it was met last, tells no outcomes */
    size_t nawaited;                   /* messages that the relay has and is asked about */
};
void uplink_status(const struct uplink *uplink, struct uplink_status *out);
/* As consignment_progress. */
bool uplink_progress(const struct uplink *uplink, uint64_t message, uint64_t *octets, uint64_t *of);
/* Wall time at which a message that the relay has just taken is first asked about; 0: never (attempt_office.ask_at_ms). */
int64_t uplink_ask_at_ms(const struct uplink *uplink);
/* The network in words. RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result uplink_describe(const struct uplink *uplink, struct buffer *out);

#endif
