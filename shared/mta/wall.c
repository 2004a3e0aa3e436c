#include "mta/wall.h"

#include "net/stream.h"

#include <inttypes.h>
#include <stdio.h>

static const struct slice name_of_alive = {"alive-ms", 8};

enum { LEAD_MS = 3600 * 1000 }; /* a clock that was set ahead by less makes no mail seem older */

struct mending {
    bool is_done;
    enum result result;
    int64_t alive_at_ms;
};

static void on_mended(void *context, enum result result)
{
    struct mending *mending = context;
    mending->is_done = true;
    mending->result = result;
}

static void on_alive(void *context, enum result result, struct slice value)
{
    struct mending *mending = context;
    uint64_t ms = 0;
    if (result == RESULT_OK && !slice_to_u64(value, INT64_MAX, &ms))
        result = RESULT_CORRUPT;
    *mending = (struct mending){.is_done = true, .result = result, .alive_at_ms = (int64_t)ms};
}

static void await(struct mending *mending, uv_loop_t *loop)
{
    while (!mending->is_done)
        uv_run(loop, UV_RUN_ONCE);
    mending->is_done = false;
}

/* Never before the store is mended: mail of another time would seem to have waited ever since. */
static void write_alive(struct wall *wall)
{
    char text[24];
    if (!wall->is_mended)
        return;
    wall->alive_boot_ms = boot_now_ms();
    int len = snprintf(text, sizeof text, "%" PRId64, wall_now_ms());
    store_setting_put(wall->store, name_of_alive, slice_of(text, (size_t)len), NULL, NULL); /* if it fails: the next time */
}

/* RESULT_OK with 0: nobody knows, as before the first run, and when what stands there is no number, which it will not be tomorrow either. Else mail must not be mended: that the program was there until
 * a moment ago would be forgotten, and mail that waits would begin its lifetime anew. */
static enum result ask_alive(struct mending *mending, const struct wall *wall, uv_loop_t *loop)
{
    store_setting_get(wall->store, name_of_alive, on_alive, mending);
    await(mending, loop);
    if (mending->result == RESULT_CORRUPT)
        log_event(wall->log, LOG_WARNING, "alive-time-no-number");
    return mending->result == RESULT_NOT_FOUND || mending->result == RESULT_CORRUPT ? RESULT_OK : mending->result;
}

static enum result mend_at_start(const struct wall *wall, uv_loop_t *loop)
{
    struct mending mending = {0};
    enum result result = ask_alive(&mending, wall, loop);
    if (result != RESULT_OK)
        return result;
    store_clock_mend(wall->store, wall->started_at_ms, mending.alive_at_ms, wall->has_awaited, on_mended, &mending);
    await(&mending, loop);
    return mending.result;
}

void wall_open(struct wall *wall, uv_loop_t *loop, struct store_client *store, bool has_awaited, const struct log *log)
{
    *wall = (struct wall){.started_at_ms = wall_now_ms(), .started_at_boot_ms = boot_now_ms(), .has_awaited = has_awaited, .store = store, .log = log};
    wall->base_at_ms = wall->started_at_ms;
    wall->base_boot_ms = wall->started_at_boot_ms;
    enum result result = mend_at_start(wall, loop);
    wall->is_mended = result == RESULT_OK;
    if (!wall->is_mended)
        log_event(log, LOG_ERROR, "times-not-mended", LOG_TEXT("reason", result_name(result)));
    write_alive(wall);
}

/* Too far for a lead, which the next run would not know of. */
static bool is_stepped(int64_t step_ms)
{
    return step_ms > STORE_PAUSE_MS || step_ms < -STORE_AHEAD_MS;
}

void wall_close(struct wall *wall)
{
    int64_t step_ms = (wall_now_ms() - wall->base_at_ms) - (boot_now_ms() - wall->base_boot_ms);
    if (wall->store && !is_stepped(step_ms))
        write_alive(wall);
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

static void on_turned(void *context, enum result result)
{
    struct wall *wall = context;
    wall->is_mended = result == RESULT_OK;
    write_alive(wall);
}

/* What was last heard of in the old time lies far from the new one, and what is told of it from now on does not: so the store is asked before anything is written in the new time. */
static void turn(struct wall *wall, int64_t now_ms, int64_t boot_ms, int64_t by_ms)
{
    wall->base_at_ms = now_ms;
    wall->base_boot_ms = boot_ms;
    wall->turned_by_ms = by_ms;
    log_event(wall->log, LOG_WARNING, "clock-set", LOG_INT("by_s", by_ms / 1000));
    wall->is_mended = false;
    store_clock_mend(wall->store, now_ms, now_ms - by_ms, wall->has_awaited, on_turned, wall);
}

int64_t wall_lead_ms(struct wall *wall, int64_t received_at_ms)
{
    int64_t now_ms = wall_now_ms(), boot_ms = boot_now_ms();
    int64_t step_ms = (now_ms - wall->base_at_ms) - (boot_ms - wall->base_boot_ms);
    if (is_stepped(step_ms)) {
        turn(wall, now_ms, boot_ms, step_ms);
        step_ms = 0;
    }
    if (boot_ms - wall->alive_boot_ms >= WALL_ALIVE_MS)
        write_alive(wall);
    /* Read before the store had mended it: it lies near the old time, what is mended near the new one. */
    if (wall->turned_by_ms > 0 && received_at_ms < wall->base_at_ms - wall->turned_by_ms / 2)
        return wall->turned_by_ms;
    return step_ms >= LEAD_MS && received_at_ms < wall->base_at_ms + step_ms ? step_ms : 0;
}
