#include "queue/schedule.h"

static const int64_t TEN_YEARS_MS = INT64_C(10) * 365 * 24 * 3600 * 1000;

static const struct {
    struct slice name;
    int64_t ms;
} UNITS[] = {
    {SLICE("ms"), 1}, {SLICE("s"), 1000}, {SLICE("m"), 60 * 1000}, {SLICE("h"), 3600 * 1000}, {SLICE("d"), 24 * 3600 * 1000},
};

static size_t count_digits(struct slice text)
{
    size_t n = 0;
    while (n < text.len && text.ptr[n] >= '0' && text.ptr[n] <= '9')
        n++;
    return n;
}

/* RESULT_SYNTAX: no digits. RESULT_LIMIT: more than max. */
static enum result parse_number(struct slice digits, uint64_t max, uint64_t *out)
{
    if (digits.len == 0 || count_digits(digits) != digits.len)
        return RESULT_SYNTAX;
    return slice_to_u64(digits, max, out) ? RESULT_OK : RESULT_LIMIT;
}

enum result duration_parse(struct slice text, int64_t *out_ms)
{
    uint64_t number;
    text = slice_trim(text);
    size_t ndigits = count_digits(text);
    struct slice unit = slice_skip(text, ndigits);
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++) {
        if (!slice_equal(unit, UNITS[i].name))
            continue;
        enum result parsed = parse_number(slice_take(text, ndigits), (uint64_t)(TEN_YEARS_MS / UNITS[i].ms), &number);
        if (parsed == RESULT_OK)
            *out_ms = (int64_t)number * UNITS[i].ms;
        return parsed;
    }
    return RESULT_SYNTAX;
}

/* duration ["*" count]; neither is zero, since a queue that tries again at once never rests. */
static enum result parse_step(struct slice text, struct schedule *out)
{
    struct slice duration, count;
    uint64_t times = 1;
    int64_t delay_ms;
    bool has_count = slice_cut(text, '*', &duration, &count);
    enum result parsed = duration_parse(duration, &delay_ms);
    if (parsed == RESULT_OK && has_count)
        parsed = parse_number(slice_trim(count), UINT32_MAX, &times);
    if (parsed != RESULT_OK)
        return parsed;
    if (delay_ms == 0 || times == 0)
        return RESULT_SYNTAX;
    if (out->nsteps == SCHEDULE_STEPS_MAX)
        return RESULT_LIMIT;
    out->steps[out->nsteps].delay_ms = delay_ms;
    out->steps[out->nsteps++].times = (uint32_t)times;
    return RESULT_OK;
}

enum result schedule_parse(struct slice text, struct schedule *out)
{
    struct schedule schedule = {.nsteps = 0};
    struct slice step;
    bool has_more = true;
    while (has_more) {
        has_more = slice_cut(text, ',', &step, &text);
        enum result parsed = parse_step(step, &schedule);
        if (parsed != RESULT_OK)
            return parsed;
    }
    *out = schedule;
    return RESULT_OK;
}

static int64_t step_delay_ms(const struct schedule *schedule, uint32_t attempts)
{
    uint64_t before = 0;
    for (size_t i = 0; i + 1 < schedule->nsteps; i++) {
        before += schedule->steps[i].times;
        if (attempts <= before)
            return schedule->steps[i].delay_ms;
    }
    return schedule->nsteps > 0 ? schedule->steps[schedule->nsteps - 1].delay_ms : 0;
}

int64_t schedule_delay_ms(const struct schedule *schedule, uint32_t attempts, uint32_t random)
{
    int64_t delay = step_delay_ms(schedule, attempts);
    int64_t spread = delay / 10;
    /* random / 2^32 of the 2 * spread + 1 values; ten years in ms times 2^32 does not fit 64 bits, so in two parts. */
    uint64_t range = 2 * (uint64_t)spread + 1;
    uint64_t jitter = (range >> 32) * random + (((range & UINT32_MAX) * random) >> 32);
    delay += (int64_t)jitter - spread;
    return delay > 0 ? delay : 1;
}

int64_t schedule_longest_ms(const struct schedule *schedule)
{
    int64_t longest = 0;
    for (size_t i = 0; i < schedule->nsteps; i++)
        if (schedule->steps[i].delay_ms > longest)
            longest = schedule->steps[i].delay_ms;
    return longest + longest / 8 + 1000;
}

int64_t schedule_on_clock(int64_t wall_ms, int64_t wall_now_ms, int64_t clock_now_ms, int64_t longest_ms)
{
    int64_t delay_ms = wall_ms > wall_now_ms ? wall_ms - wall_now_ms : 0;
    return clock_now_ms + (delay_ms <= longest_ms ? delay_ms : 0);
}
