/* Schedules as people type them: what is accepted gives delays within a tenth of its steps, and attempts only move forward through them. */
#include "queue/schedule.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool is_step(const struct schedule *s, int64_t delay)
{
    for (size_t i = 0; i < s->nsteps; i++)
        if (delay >= s->steps[i].delay_ms - s->steps[i].delay_ms / 10 && delay <= s->steps[i].delay_ms + s->steps[i].delay_ms / 10)
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t attempts[] = {0, 1, 2, 3, 10, 1000, UINT32_MAX};
    struct schedule s;
    int64_t ms = -1;
    struct slice text = slice_of(data, size);
    if (duration_parse(text, &ms) == RESULT_OK) {
        check(ms >= 0 && ms <= INT64_C(3650) * 86400000);
        check(schedule_parse(text, &s) == (ms > 0 ? RESULT_OK : RESULT_SYNTAX));
    }
    if (schedule_parse(text, &s) != RESULT_OK)
        return 0;
    check(s.nsteps >= 1 && s.nsteps <= SCHEDULE_STEPS_MAX);
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        check(is_step(&s, schedule_delay_ms(&s, attempts[i], 0)));
        check(is_step(&s, schedule_delay_ms(&s, attempts[i], UINT32_MAX)));
        check(is_step(&s, schedule_delay_ms(&s, attempts[i], (uint32_t)size * 2654435761u)));
    }
    return 0;
}
