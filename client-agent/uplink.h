/* The uplink: carries the queue to the relay over whichever way is open.
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
 * resting: no mail is due, no session, no timer. It is left at once when mail is due. searching: search.h looks for a way. login: a session has proved itself. ready: a session
 * stands, kept warm for a while. sending: a message is read from the store, or on its way. leaving: QUIT is said; what comes meanwhile waits for the next session. waiting: for the
 * back-off after a failure, or for the mail's own time; new mail shortens it (one search every UPLINK_NEW_MAIL_MS at most), uplink_wake ends it. New settings send searching
 * back to resting, and ready to leaving. uplink_stop ends any state: stopped.
 *
 * Invariants: 1 one session at most is past PROVEN; 2 AUTH is sent on it alone, after the losers of the race were told to close; 3 a message is given back to the queue only after its
 * outcome is recorded; 4 at rest there is no timer; 5 neither a search nor a session that fails makes mail fail: only the message's own lifetime does, and it is looked at after each
 * such failure; 6 the back-off grows until the relay has decided on a message: a relay that greets well and dies in each message is asked ever less often; 7 a
 * way on which a session dies before the relay has decided (in login, or under a message) is demoted (ways.h) until the relay decides on a message over it. */
#ifndef POSTERN_AGENT_UPLINK_H
#define POSTERN_AGENT_UPLINK_H

#include "search.h"
#include "ways.h"

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
    const struct ways *ways;          /* what was remembered at the last stop; copied */
    const struct log *log;
    void (*on_way)(void *context, const struct ways *ways); /* the known way has carried a message: to be remembered */
    void *context;
};

struct uplink;
struct uplink *uplink_new(const struct uplink_config *config); /* NULL: out of memory */
/* There may be work: new mail, or (is_urgent) a person said so, which forgets the back-off. What is due now is for the queue to know. */
void uplink_wake(struct uplink *uplink, bool is_urgent);
/* New settings: a search begins anew with them; a session ends after the message that is on its way. RESULT_OK; RESULT_MEMORY: the old ones stay in force. */
MUST_CHECK enum result uplink_reload(struct uplink *uplink, struct settings *settings, struct tls_context *tls, struct slice password);
/* QUIT or close; the message under way is given up where it stands and stays queued. Call attempt_stop on the office before: outcomes that are being written are waited for.
 * on_stopped when everything is closed; then free. */
void uplink_stop(struct uplink *uplink, void (*on_stopped)(void *context), void *context);
void uplink_free(struct uplink **uplink);

/* For status. */
struct uplink_status {
    enum uplink_state state;
    enum network_state network;        /* while a search runs: as it was before; while the first one runs: online, for nothing speaks against it yet */
    bool has_way;
    struct path way;
    const struct search_trial *trials; /* of the last search; of the first one as far as it has come. Valid until the loop turns */
    size_t ntrials;
    int64_t since_ms;                  /* wall time of the last search's end; 0: none yet */
    int64_t next_search_ms;            /* wall time; 0: none planned */
    const char *trouble;               /* why no mail goes, in words: "the relay refuses the password ..."; NULL: none */
    uint64_t sending;                  /* id of the message under way; 0: none */
    uint64_t sent_octets, sending_octets;
};
void uplink_status(const struct uplink *uplink, struct uplink_status *out);

#endif
