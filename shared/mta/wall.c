#include "mta/wall.h"

#include "net/stream.h"
#include "queue/schedule.h"

struct mending {
    bool is_done;
    enum result result;
};

static void on_mended(void *context, enum result result)
{
    *(struct mending *)context = (struct mending){true, result};
}

void wall_open(struct wall *wall, uv_loop_t *loop, struct store_client *store, bool has_awaited, const struct log *log)
{
    struct mending mending = {0};
    *wall = (struct wall){.started_at_ms = wall_now_ms(), .started_at_boot_ms = boot_now_ms(), .has_awaited = has_awaited, .store = store, .log = log};
    wall->base_at_ms = wall->started_at_ms;
    wall->base_boot_ms = wall->started_at_boot_ms;
    store_clock_mend(store, wall->started_at_ms, has_awaited, on_mended, &mending);
    while (!mending.is_done)
        uv_run(loop, UV_RUN_ONCE);
    if (mending.result != RESULT_OK)
        log_event(log, LOG_ERROR, "times-not-mended", LOG_TEXT("reason", result_name(mending.result)));
}

int64_t wall_history_ms(const struct wall *wall, int64_t history_ms)
{
    if (boot_now_ms() - wall->started_at_boot_ms < (history_ms < WALL_GRACE_MS ? history_ms : WALL_GRACE_MS))
        return INT64_MIN;
    int64_t step_ms = wall_step_ms(wall);
    return wall_now_ms() - (step_ms > 0 ? step_ms : 0) - history_ms;
}

int64_t wall_step_ms(const struct wall *wall)
{
    return (wall_now_ms() - wall->started_at_ms) - (boot_now_ms() - wall->started_at_boot_ms);
}

/* What was last heard of in the old time lies far from the new one, and what is told of it from now on does not: so the store is asked before anything is written in the new time. */
static void turn(struct wall *wall, int64_t now_ms, int64_t boot_ms, int64_t by_ms)
{
    wall->base_at_ms = now_ms;
    wall->base_boot_ms = boot_ms;
    wall->turned_by_ms = by_ms;
    log_event(wall->log, LOG_WARNING, "clock-set", LOG_INT("by_s", by_ms / 1000));
    store_clock_mend(wall->store, now_ms, wall->has_awaited, NULL, NULL);
}

int64_t wall_lead_ms(struct wall *wall, int64_t received_at_ms)
{
    int64_t now_ms = wall_now_ms(), boot_ms = boot_now_ms();
    int64_t step_ms = (now_ms - wall->base_at_ms) - (boot_ms - wall->base_boot_ms);
    if (step_ms > STORE_PAUSE_MS || step_ms < -STORE_AHEAD_MS) {
        turn(wall, now_ms, boot_ms, step_ms);
        step_ms = 0;
    }
    /* Read before the store had mended it: it lies near the old time, what is mended near the new one. */
    if (wall->turned_by_ms > 0 && received_at_ms < wall->base_at_ms - wall->turned_by_ms / 2)
        return wall->turned_by_ms;
    return step_ms >= SCHEDULE_LEAD_MS && received_at_ms < wall->base_at_ms + step_ms ? step_ms : 0;
}
