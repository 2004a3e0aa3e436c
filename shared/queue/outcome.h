/* What an attempt means for a recipient: recorded how, tried again when, reported to the sender or not. Pure. */
#ifndef POSTERN_QUEUE_OUTCOME_H
#define POSTERN_QUEUE_OUTCOME_H

#include "queue/schedule.h"

#include <stdbool.h>

enum attempt_result {
    ATTEMPT_ACCEPTED,  /* the next hop has taken responsibility (RFC 5321 6.1) */
    ATTEMPT_DEFERRED,  /* 4yz, or the connection failed before the message's last octet */
    ATTEMPT_REFUSED,   /* 5yz */
    ATTEMPT_UNCERTAIN, /* the last octet was sent, and no reply came (RFC 1047) */
    ATTEMPT_UNTRIED,   /* nobody was asked: the next hop takes fewer recipients at a time (RFC 5321 4.5.3.1.10), or the way to it was lost */
};

struct outcome_rules {
    const struct schedule *schedule;
    int64_t now_ms;              /* wall time, as all times here */
    int64_t expires_at_ms;
    int64_t delay_report_at_ms;  /* when a sender who waits is told; INT64_MAX: never */
    uint32_t random;             /* fresh, for the jitter */
    bool is_report;              /* the message is a DSN itself: nobody is told of its fate (RFC 5321 6.1) */
    bool next_hop_tells;         /* the next hop does DSN, so success is its to report (RFC 3461 5.2.2) */
};

enum outcome_kind { OUTCOME_ACCEPTED, OUTCOME_AGAIN, OUTCOME_FAILED };
enum outcome_report { REPORT_NONE, REPORT_FAILED, REPORT_EXPIRED, REPORT_DELAYED, REPORT_RELAYED };

struct outcome {
    enum outcome_kind kind;
    enum outcome_report report;
    bool is_uncertain;        /* with OUTCOME_AGAIN: shown as such until the next attempt decides */
    bool counts;              /* an attempt was made, or a delay reported: the number of attempts grows */
    int64_t next_attempt_ms;  /* OUTCOME_AGAIN; never after expires_at_ms, so that a message expires on time */
};

/* attempts: made before this one. last_attempt_ms: when the one before was, 0 if there was none. notify: enum dsn_notify, or-ed; 0: not given.
 * Next attempts never come earlier than the schedule says, and a message whose time is up fails whatever the schedule says. */
struct outcome outcome_decide(enum attempt_result result, uint32_t attempts, int64_t last_attempt_ms, unsigned notify,
                              const struct outcome_rules *rules);

#endif
