#include "served.h"

#include "crypto/crypto.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WRITE_EVERY_MS = 3600 * 1000, NANOSECONDS_PER_MS = 1000000 };

static const struct slice name_of_time = {"served-ms", 9}, name_of_epoch = {"epoch", 5};

/* ---- now -------------------------------------------------------------------------------------------------------- */

int64_t served_now_ms(const struct served *served)
{
    return served->before_ms + (int64_t)((uv_hrtime() - served->started_ns) / NANOSECONDS_PER_MS);
}

void served_tell(const struct served *served, int64_t kept_ms, char out[static SERVED_TELL_MAX])
{
    snprintf(out, SERVED_TELL_MAX, "%s %" PRId64, served->epoch, kept_ms / 1000);
}

/* ---- writing down ------------------------------------------------------------------------------------------------ */

static struct slice format_now(const struct served *served, char *out, size_t size)
{
    return slice_of(out, (size_t)snprintf(out, size, "%" PRId64, served_now_ms(served)));
}

static void on_written(void *context, enum result result)
{
    const struct served *served = context;
    if (result != RESULT_OK) /* the next hour writes it too */
        log_event(served->log, LOG_WARNING, "time-not-written", LOG_TEXT("reason", result_name(result)));
}

static void on_hour(uv_timer_t *timer)
{
    struct served *served = timer->data;
    char text[24];
    store_setting_put(served->store, name_of_time, format_now(served, text, sizeof text), on_written, served);
}

void served_close(struct served *served)
{
    char text[24];
    if (!served->store)
        return;
    store_setting_put(served->store, name_of_time, format_now(served, text, sizeof text), NULL, NULL);
    served->store = NULL;
    uv_close((uv_handle_t *)&served->timer, NULL);
}

/* ---- at start ----------------------------------------------------------------------------------------------------- */

struct question {
    struct served *served;
    bool is_answered;
    enum result result;
};

static enum result await(struct question *question, uv_loop_t *loop)
{
    while (!question->is_answered)
        uv_run(loop, UV_RUN_ONCE);
    question->is_answered = false;
    return question->result;
}

static void on_time(void *context, enum result result, struct slice value)
{
    struct question *question = context;
    uint64_t ms = 0;
    *question = (struct question){question->served, true, result};
    if (result == RESULT_OK && !slice_to_u64(value, INT64_MAX, &ms))
        question->result = RESULT_CORRUPT;
    if ((int64_t)ms > question->served->before_ms)
        question->served->before_ms = (int64_t)ms;
}

static void on_epoch(void *context, enum result result, struct slice value)
{
    struct question *question = context;
    *question = (struct question){question->served, true, result};
    if (result == RESULT_OK && !slice_to_cstr(value, question->served->epoch, sizeof question->served->epoch))
        question->result = RESULT_CORRUPT;
}

static void on_epoch_put(void *context, enum result result)
{
    struct question *question = context;
    *question = (struct question){question->served, true, result};
}

static void make_epoch(char out[static SERVED_EPOCH + 1])
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    for (size_t i = 0; i < SERVED_EPOCH; i++)
        out[i] = letters[crypto_random_below(sizeof letters - 1)];
    out[SERVED_EPOCH] = '\0';
}

static enum result find_epoch(struct served *served, uv_loop_t *loop, struct store_client *store)
{
    struct question question = {.served = served};
    store_setting_get(store, name_of_epoch, on_epoch, &question);
    enum result result = await(&question, loop);
    if (result != RESULT_NOT_FOUND)
        return result;
    make_epoch(served->epoch);
    store_setting_put(store, name_of_epoch, slice_from_cstr(served->epoch), on_epoch_put, &question);
    return await(&question, loop);
}

enum result served_open(struct served *served, uv_loop_t *loop, struct store_client *store, const struct log *log)
{
    struct question question = {.served = served};
    *served = (struct served){.started_ns = uv_hrtime(), .log = log};
    store_setting_get(store, name_of_time, on_time, &question);
    enum result result = await(&question, loop);
    if (result == RESULT_OK || result == RESULT_NOT_FOUND) {
        store_served_latest(store, on_time, &question);
        result = await(&question, loop);
    }
    if (result == RESULT_OK)
        result = find_epoch(served, loop, store);
    if (result != RESULT_OK)
        return result;
    served->store = store;
    uv_timer_init(loop, &served->timer);
    served->timer.data = served;
    uv_timer_start(&served->timer, on_hour, WRITE_EVERY_MS, WRITE_EVERY_MS);
    return RESULT_OK;
}
