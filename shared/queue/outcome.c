#include "queue/outcome.h"

#include "mail/envelope.h"

/* RFC 3461 4.1: without NOTIFY a sender hears of failure, and of delay as we see fit. */
static bool wants(unsigned notify, enum dsn_notify what)
{
    return notify == 0 ? what == DSN_NOTIFY_FAILURE || what == DSN_NOTIFY_DELAY : (notify & what) != 0;
}

static struct outcome failed(enum outcome_report report, unsigned notify, const struct outcome_rules *rules)
{
    bool is_told = !rules->is_report && wants(notify, DSN_NOTIFY_FAILURE);
    return (struct outcome){.kind = OUTCOME_FAILED, .report = is_told ? report : REPORT_NONE, .counts = true};
}

static struct outcome accepted(unsigned notify, const struct outcome_rules *rules)
{
    bool is_told = !rules->is_report && !rules->next_hop_tells && wants(notify, DSN_NOTIFY_SUCCESS);
    return (struct outcome){.kind = OUTCOME_ACCEPTED, .report = is_told ? REPORT_RELAYED : REPORT_NONE, .counts = true};
}

static bool is_delay_due(int64_t last_attempt_ms, unsigned notify, const struct outcome_rules *rules)
{
    if (rules->is_report || !wants(notify, DSN_NOTIFY_DELAY))
        return false;
    /* Told once: by the first attempt that fails after the moment. */
    return rules->now_ms >= rules->delay_report_at_ms && last_attempt_ms < rules->delay_report_at_ms;
}

static struct outcome again(enum attempt_result result, uint32_t attempts, int64_t last_attempt_ms, unsigned notify,
                            const struct outcome_rules *rules)
{
    struct outcome outcome = {.kind = OUTCOME_AGAIN, .is_uncertain = result == ATTEMPT_UNCERTAIN, .counts = true};
    if (rules->now_ms >= rules->expires_at_ms)
        return failed(REPORT_EXPIRED, notify, rules);
    outcome.next_attempt_ms = rules->now_ms + schedule_delay_ms(rules->schedule, attempts + 1, rules->random);
    if (outcome.next_attempt_ms > rules->expires_at_ms)
        outcome.next_attempt_ms = rules->expires_at_ms;
    if (is_delay_due(last_attempt_ms, notify, rules))
        outcome.report = REPORT_DELAYED;
    return outcome;
}

static struct outcome untried(int64_t last_attempt_ms, unsigned notify, const struct outcome_rules *rules)
{
    if (rules->now_ms >= rules->expires_at_ms)
        return failed(REPORT_EXPIRED, notify, rules);
    struct outcome outcome = {.kind = OUTCOME_AGAIN, .next_attempt_ms = rules->now_ms};
    /* It counts, or the time of the last attempt would not move past the moment, and the sender would be told again. */
    if (is_delay_due(last_attempt_ms, notify, rules)) {
        outcome.report = REPORT_DELAYED;
        outcome.counts = true;
    }
    return outcome;
}

struct outcome outcome_decide(enum attempt_result result, uint32_t attempts, int64_t last_attempt_ms, unsigned notify,
                              const struct outcome_rules *rules)
{
    switch (result) {
    case ATTEMPT_ACCEPTED:
        return accepted(notify, rules);
    case ATTEMPT_REFUSED:
        return failed(REPORT_FAILED, notify, rules);
    case ATTEMPT_UNTRIED:
        return untried(last_attempt_ms, notify, rules);
    case ATTEMPT_DEFERRED:
    case ATTEMPT_UNCERTAIN:
        break;
    }
    return again(result, attempts, last_attempt_ms, notify, rules);
}
