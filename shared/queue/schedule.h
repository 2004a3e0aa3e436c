/* When to try again: a schedule such as "1m, 5m*2, 1h*3" (after the first failure a minute, then twice five, then an hour for ever), jittered,
 * up to a lifetime. Pure. */
#ifndef POSTERN_QUEUE_SCHEDULE_H
#define POSTERN_QUEUE_SCHEDULE_H

#include "base/result.h"
#include "base/slice.h"

enum { SCHEDULE_STEPS_MAX = 32 };

struct schedule {
    struct { int64_t delay_ms; uint32_t times; } steps[SCHEDULE_STEPS_MAX];
    size_t nsteps; /* the last repeats for ever */
};

/* The grammar: step *("," step), step = duration ["*" count], duration as duration_parse. RESULT_OK, RESULT_SYNTAX, RESULT_LIMIT. */
MUST_CHECK enum result schedule_parse(struct slice text, struct schedule *out);
/* "90s", "5m", "4h", "5d", "500ms"; a bare number is refused. RESULT_OK, RESULT_SYNTAX, RESULT_LIMIT (over 10 years). */
MUST_CHECK enum result duration_parse(struct slice text, int64_t *out_ms);
/* The delay after attempt number `attempts` (1: the first has just failed) has failed: the step's, plus or minus up to a
 * tenth by random. Never less than a millisecond. */
int64_t schedule_delay_ms(const struct schedule *schedule, uint32_t attempts, uint32_t random);
/* The longest of its delays, jitter included. */
int64_t schedule_longest_ms(const struct schedule *schedule);

/* A time of the wall on the clock that the queue runs on, so that setting the wall clock neither hurries nor stops the mail. What lies longer than longest_ms ahead was written by another
 * wall clock than today's and says nothing: it is due now, as is what is past. */
int64_t schedule_on_clock(int64_t wall_ms, int64_t wall_now_ms, int64_t clock_now_ms, int64_t longest_ms);

#endif
