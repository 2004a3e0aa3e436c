/* What an attempt means for a recipient: one row for each rule. */
#include "mail/envelope.h"
#include "queue/outcome.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { HOUR = 3600 * 1000, DAY = 24 * HOUR };

struct row {
    const char *name;
    enum attempt_result result;
    uint32_t attempts;
    int64_t now_ms, last_attempt_ms;
    unsigned notify;
    bool is_report, next_hop_tells;
    enum outcome_kind kind;
    enum outcome_report report;
    bool is_uncertain, counts;
};

static const struct row rows[] = {
    {"accepted, nobody asked", ATTEMPT_ACCEPTED, 0, HOUR, 0, 0, false, false, OUTCOME_ACCEPTED, REPORT_NONE, false, true},
    {"accepted, success asked, the next hop is silent about it", ATTEMPT_ACCEPTED, 0, HOUR, 0, DSN_NOTIFY_SUCCESS, false, false, OUTCOME_ACCEPTED,
     REPORT_RELAYED, false, true},
    {"accepted, success asked, the next hop tells", ATTEMPT_ACCEPTED, 0, HOUR, 0, DSN_NOTIFY_SUCCESS, false, true, OUTCOME_ACCEPTED, REPORT_NONE,
     false, true},
    {"refused", ATTEMPT_REFUSED, 0, HOUR, 0, 0, false, false, OUTCOME_FAILED, REPORT_FAILED, false, true},
    {"refused, NOTIFY=NEVER", ATTEMPT_REFUSED, 0, HOUR, 0, DSN_NOTIFY_NEVER, false, false, OUTCOME_FAILED, REPORT_NONE, false, true},
    {"refused, NOTIFY=SUCCESS", ATTEMPT_REFUSED, 0, HOUR, 0, DSN_NOTIFY_SUCCESS, false, false, OUTCOME_FAILED, REPORT_NONE, false, true},
    {"a report refused: nobody hears of it", ATTEMPT_REFUSED, 0, HOUR, 0, DSN_NOTIFY_FAILURE, true, false, OUTCOME_FAILED, REPORT_NONE, false, true},
    {"deferred", ATTEMPT_DEFERRED, 0, HOUR, 0, 0, false, false, OUTCOME_AGAIN, REPORT_NONE, false, true},
    {"deferred at the moment of the delay report", ATTEMPT_DEFERRED, 3, 4 * HOUR, 3 * HOUR, 0, false, false, OUTCOME_AGAIN, REPORT_DELAYED, false, true},
    {"deferred after it: told already", ATTEMPT_DEFERRED, 4, 5 * HOUR, 4 * HOUR, 0, false, false, OUTCOME_AGAIN, REPORT_NONE, false, true},
    {"deferred, delay not wanted", ATTEMPT_DEFERRED, 3, 4 * HOUR, 3 * HOUR, DSN_NOTIFY_FAILURE, false, false, OUTCOME_AGAIN, REPORT_NONE, false, true},
    {"deferred one millisecond before its end", ATTEMPT_DEFERRED, 9, 5 * (int64_t)DAY - 1, 5 * HOUR, 0, false, false, OUTCOME_AGAIN, REPORT_NONE, false, true},
    {"deferred at its end", ATTEMPT_DEFERRED, 9, 5 * (int64_t)DAY, 5 * HOUR, 0, false, false, OUTCOME_FAILED, REPORT_EXPIRED, false, true},
    {"uncertain", ATTEMPT_UNCERTAIN, 0, HOUR, 0, 0, false, false, OUTCOME_AGAIN, REPORT_NONE, true, true},
    {"uncertain at its end", ATTEMPT_UNCERTAIN, 9, 5 * (int64_t)DAY, 5 * HOUR, 0, false, false, OUTCOME_FAILED, REPORT_EXPIRED, false, true},
    {"untried at its end", ATTEMPT_UNTRIED, 0, 5 * (int64_t)DAY, 0, 0, false, false, OUTCOME_FAILED, REPORT_EXPIRED, false, true},
    {"untried at the moment of the delay report: told, and remembered", ATTEMPT_UNTRIED, 0, 4 * HOUR, 0, 0, false, false, OUTCOME_AGAIN, REPORT_DELAYED, false, true},
    {"untried after it: told already", ATTEMPT_UNTRIED, 1, 5 * HOUR, 4 * HOUR, 0, false, false, OUTCOME_AGAIN, REPORT_NONE, false, false},
    {"untried, delay not wanted", ATTEMPT_UNTRIED, 0, 4 * HOUR, 0, DSN_NOTIFY_FAILURE, false, false, OUTCOME_AGAIN, REPORT_NONE, false, false},
    {"untried report: nobody hears of its delay", ATTEMPT_UNTRIED, 0, 4 * HOUR, 0, 0, true, false, OUTCOME_AGAIN, REPORT_NONE, false, false},
    {"untried does not count", ATTEMPT_UNTRIED, 0, HOUR, 0, 0, false, false, OUTCOME_AGAIN, REPORT_NONE, false, false},
};

static void test_rows(void **state)
{
    struct schedule schedule;
    (void)state;
    assert_int_equal(schedule_parse(SLICE("1m, 5m*2, 1h"), &schedule), RESULT_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct outcome_rules rules = {&schedule, row->now_ms, 5 * (int64_t)DAY, 4 * HOUR, 7, row->is_report, row->next_hop_tells};
        struct outcome got = outcome_decide(row->result, row->attempts, row->last_attempt_ms, row->notify, &rules);
        if (got.kind != row->kind || got.report != row->report || got.is_uncertain != row->is_uncertain || got.counts != row->counts)
            fail_msg("%s: kind %d report %d uncertain %d counts %d", row->name, got.kind, got.report, got.is_uncertain, got.counts);
        if (got.kind == OUTCOME_AGAIN && (got.next_attempt_ms < row->now_ms || got.next_attempt_ms > rules.expires_at_ms))
            fail_msg("%s: next attempt at %lld", row->name, (long long)got.next_attempt_ms);
    }
}

static void test_untried_runs_at_once_and_deferred_waits(void **state)
{
    struct schedule schedule;
    (void)state;
    assert_int_equal(schedule_parse(SLICE("10m"), &schedule), RESULT_OK);
    struct outcome_rules rules = {&schedule, HOUR, 5 * (int64_t)DAY, INT64_MAX, 7, false, false};
    assert_int_equal(outcome_decide(ATTEMPT_UNTRIED, 0, 0, 0, &rules).next_attempt_ms, HOUR);
    int64_t next = outcome_decide(ATTEMPT_DEFERRED, 0, 0, 0, &rules).next_attempt_ms;
    assert_true(next >= HOUR + 9 * 60 * 1000 && next <= HOUR + 11 * 60 * 1000);
    rules.expires_at_ms = HOUR + 1000;
    assert_int_equal(outcome_decide(ATTEMPT_DEFERRED, 0, 0, 0, &rules).next_attempt_ms, HOUR + 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_untried_runs_at_once_and_deferred_waits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
