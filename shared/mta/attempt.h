/* What follows an attempt to deliver: each recipient's outcome is decided (queue/outcome.h), a report to the sender is written where one is due (RFC 3464), and
 * both go into the store in one commit. Only then is the message given back to its queue.
 *
 * What an attempt came to must not be forgotten, or a message would be sent twice: while the store can't record it (its disk is full, say) the record is kept here and tried
 * again every ATTEMPT_RETRY_MS, and the message stays out of the queue meanwhile.
 *
 * Invariants: 1 on_recorded comes exactly once, after the commit, or with RESULT_CANCELLED after attempt_stop or when memory is out; 2 a report and the outcomes it tells of are one commit;
 * 3 nobody is ever told of the fate of a report (RFC 5321 6.1). */
#ifndef POSTERN_MTA_ATTEMPT_H
#define POSTERN_MTA_ATTEMPT_H

#include "base/list.h"
#include "mta/intake.h"
#include "net/courier.h"
#include "queue/outcome.h"

enum { ATTEMPT_RETRY_MS = 2000, ATTEMPT_ORIGINAL_MAX = STORE_CHUNK };

#define ATTEMPT_GRACE_MS INT64_C(3600000)

/* One a program; outlives all attempts. Slices are read at each use. */
struct attempt_office {
    uv_loop_t *loop;
    struct store_client *store;
    const struct log *log;
    struct schedule schedule;
    int64_t delay_notice_ms;          /* after its arrival a waiting message's sender is told; 0: never */
    int64_t lifetime_ms;              /* of our reports */
    enum store_state accepted_state;  /* STORE_DELIVERED on the relay, STORE_RELAYED on the agent */
    struct slice reporting_name;      /* in reports: Reporting-MTA and MAILER-DAEMON@; on the agent never the laptop's name */
    bool forgives_lost_connections;   /* a connection that fails is not the message's failure: due again at once, not counted unless it is uncertain (the agent, which waits for a way anyway).
                                       * What is uncertain under no name is due by the schedule: at once it would be there twice.
                                       * By the schedule though after COURIER_FUTILE_MAX futile ones in a row, and when the peer breaks the protocol. What our own store can't read now is due in ATTEMPT_RETRY_MS */
    /* When what became of a message that the next hop has taken is asked first: wall time; 0: it is not asked (NULL: never). Its body is kept until then (keep_copies). */
    int64_t (*ask_at_ms)(void *context, const struct store_message *message);
    bool keep_copies;
    bool report_from_sender;          /* From: of a report is its addressee, so that a relay's send-as rules let it pass (the agent) */
    uint64_t (*next_id)(void *context);
    /* How far the wall clock that a message of that time was stored by has been set ahead since: its lifetime and the moment of its delay report come so much later. NULL: 0. */
    int64_t (*wall_lead_ms)(void *context, int64_t received_at_ms);
    /* When this run of the program began, on the clock that nobody sets. By which clock a message of an earlier run was given its end nobody knows: in each run it has ATTEMPT_GRACE_MS, or its lifetime if
     * that is shorter, before it expires; but no more once it is twice as old as it may become, or who is started often would never tell. 0: long ago. */
    int64_t started_at_boot_ms;
    void (*route)(void *context, const struct envelope *envelope, struct slice *hops);
    void (*on_queued)(void *context, const struct intake_queued *queued); /* a report is in the store */
    void *context;
    struct list pending; /* attempts not yet recorded; {0} at first */
    bool is_stopping;    /* after attempt_stop: what the store can't take now is not tried again */
};

struct attempt;

struct attempt_end {
    enum result result;       /* RESULT_OK (also when a person has removed it meanwhile: then nothing was written, no report either), or RESULT_CANCELLED */
    uint64_t message;
    struct slice hop;
    bool needs_more;          /* some recipient waits for another attempt */
    int64_t next_attempt_ms;  /* wall time, when needs_more */
    bool is_damaged;          /* with needs_more: its body can't be read (COURIER_DAMAGED). It is held in the store, and its owner holds it in the queue before giving it back */
    int64_t ask_at_ms;        /* wall time: what the next hop has taken is to be asked about (attempt_office.ask_at_ms); 0: it took nothing, or is not asked, or it was removed */
};

/* Records what a courier brought. results: as many as the job has recipients; host: who answered ("mx1.example [192.0.2.7]:25"). The job is borrowed and copied from.
 * next_hop_tells: the session's peer offered DSN. on_recorded comes from inside this call only when memory is out. */
void attempt_record(struct attempt_office *office, const struct store_job *job, struct slice hop, const struct courier_result *results, struct slice host,
                    bool next_hop_tells, void (*on_recorded)(void *context, const struct attempt_end *end), void *context);
/* The same when nobody could be asked at all: every recipient gets the one result and reply. */
void attempt_record_all(struct attempt_office *office, const struct store_job *job, struct slice hop, enum attempt_result result, struct slice reply, struct slice host,
                        void (*on_recorded)(void *context, const struct attempt_end *end), void *context);
/* Of a message that nobody could be asked about: it has waited so long that attempt_record_all with ATTEMPT_UNTRIED would end it, or tell its sender of the delay. */
bool attempt_is_due(const struct attempt_office *office, const struct store_message *message, const struct store_recipient *recipients, size_t n);
/* It has not waited long enough for that, and so has none that came later. */
bool attempt_is_young(const struct attempt_office *office, const struct store_message *message);
/* Shutting down: records that the store can't take now are given up (the message will be tried again: at least once towards the world). Those that it is just writing are
 * told of with its answer; none is tried again. */
void attempt_stop(struct attempt_office *office);

#endif
