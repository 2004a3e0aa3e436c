#include "backlog.h"

#include "consignment.h"

#include "mail/message_id.h"
#include "net/stream.h"

/* ---- into the queue --------------------------------------------------------------------------------------------- */

/* RESULT_EXISTS: it is there already, and the queue knows better when it is due. */
static enum result add(struct backlog *backlog, uint64_t message, uint64_t size_octets, int64_t due_at_ms)
{
    int64_t due_ms = schedule_on_clock(due_at_ms, wall_now_ms(), loop_now_ms(backlog->loop), schedule_longest_ms(backlog->schedule));
    enum result result = queue_add(backlog->queue, message, (struct slice){0}, due_ms);
    queue_set_large(backlog->queue, message, consignment_is_large(size_octets));
    if (result == RESULT_OK || result == RESULT_EXISTS)
        return result;
    char id[MESSAGE_ID_TEXT];
    message_id_format(message, id);
    log_event(backlog->log, LOG_ERROR, "not-scheduled", LOG_TEXT("item", id), LOG_TEXT("why", result_name(result)), LOG_TEXT("next", "read again from the disk soon"));
    backlog_read_later(backlog);
    return result;
}

void backlog_add(struct backlog *backlog, uint64_t message, uint64_t size_octets, int64_t due_at_ms)
{
    (void)!add(backlog, message, size_octets, due_at_ms);
}

/* ---- from the disk ---------------------------------------------------------------------------------------------- */

static void on_retry(uv_timer_t *timer)
{
    backlog_read(timer->data);
}

void backlog_read_later(struct backlog *backlog)
{
    if (backlog->is_reading)
        backlog->has_left_out = true;
    else if (!backlog->is_stopped && !uv_is_active((uv_handle_t *)&backlog->retry))
        uv_timer_start(&backlog->retry, on_retry, BACKLOG_RETRY_MS, 0);
}

static void end_reading(struct backlog *backlog)
{
    enum result result = backlog->result == RESULT_OK && backlog->has_left_out ? RESULT_MEMORY : backlog->result;
    backlog->is_reading = false;
    if (backlog->is_stopped)
        return;
    if (result != RESULT_OK)
        backlog_read_later(backlog);
    backlog->on_read(backlog->context, result);
}

static void log_not_held(const struct backlog *backlog, uint64_t message)
{
    char id[MESSAGE_ID_TEXT];
    message_id_format(message, id);
    log_event(backlog->log, LOG_ERROR, "not-held", LOG_TEXT("item", id));
}

/* One that is held on the disk but stands in the queue already was released meanwhile, or is held there, too. */
static void on_due(void *context, const struct store_due *due, size_t n, bool is_last, enum result result)
{
    struct backlog *backlog = context;
    for (size_t i = 0; i < n && !backlog->is_stopped; i++) {
        enum result added = add(backlog, due[i].message, due[i].size_octets, due[i].due_at_ms);
        if (added == RESULT_OK && due[i].is_held && queue_hold(backlog->queue, due[i].message) != RESULT_OK)
            log_not_held(backlog, due[i].message);
    }
    if (result != RESULT_OK)
        backlog->result = result;
    if (is_last)
        end_reading(backlog);
}

void backlog_read(struct backlog *backlog)
{
    uv_timer_stop(&backlog->retry);
    if (backlog->is_reading || backlog->is_stopped)
        return;
    backlog->is_reading = true;
    backlog->has_left_out = false;
    backlog->result = RESULT_OK;
    store_queue_load(backlog->store, on_due, backlog);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

void backlog_open(struct backlog *backlog)
{
    uv_timer_init(backlog->loop, &backlog->retry);
    backlog->retry.data = backlog;
    backlog->is_open = true;
}

void backlog_stop(struct backlog *backlog)
{
    if (backlog->is_open && !backlog->is_stopped)
        uv_close((uv_handle_t *)&backlog->retry, NULL);
    backlog->is_stopped = true;
}

bool backlog_is_owed(const struct backlog *backlog)
{
    return backlog->is_reading;
}
