#include "restoring.h"

#include "mail/message_id.h"
#include "net/stream.h"
#include "queue/schedule.h"

static void restore_row(struct restoring *restoring, const struct store_listing *row)
{
    int64_t taken_at_ms = 0, ask_at_ms = INT64_MAX, wall_ms = wall_now_ms(), now_ms = boot_now_ms();
    for (size_t i = 0; i < row->nrecipients; i++) {
        const struct store_recipient *r = &row->recipients[i];
        if (r->state != STORE_RELAYED || r->next_attempt_ms <= 0)
            continue;
        taken_at_ms = r->at_ms > taken_at_ms ? r->at_ms : taken_at_ms;
        ask_at_ms = r->next_attempt_ms < ask_at_ms ? r->next_attempt_ms : ask_at_ms;
    }
    restoring->after = row->message.id;
    restoring->nrows++;
    if (ask_at_ms == INT64_MAX)
        return;
    int64_t age_ms = wall_ms > taken_at_ms ? wall_ms - taken_at_ms : 0;
    enum result result = custody_restore(restoring->custody, row->message.id, now_ms - age_ms, schedule_on_clock(ask_at_ms, wall_ms, now_ms, CUSTODY_LONGEST_MS), now_ms);
    char id[MESSAGE_ID_TEXT];
    message_id_format(row->message.id, id);
    if (result == RESULT_MEMORY)
        log_event(restoring->log, LOG_ERROR, "not-awaited", LOG_TEXT("item", id), LOG_TEXT("why", result_name(result)));
}

static void read_page(struct restoring *restoring);

static void on_retry(uv_timer_t *timer)
{
    read_page(timer->data);
}

static void read_again_later(struct restoring *restoring, enum result result)
{
    log_event(restoring->log, LOG_ERROR, "awaited-not-read", LOG_TEXT("why", result_name(result)), LOG_TEXT("next", "tried again soon"));
    uv_timer_start(&restoring->retry, on_retry, RESTORING_RETRY_MS, 0);
}

/* Out of memory: there would be room for what was left out. */
static bool can_take_more(const struct restoring *restoring)
{
    return restoring->custody->has_left_out && restoring->custody->count < CUSTODY_MAX / 2;
}

static void end_page(struct restoring *restoring, enum result result)
{
    restoring->is_reading = false;
    if (restoring->is_again) {
        restoring_begin(restoring);
    } else if (restoring->is_unwanted) {
        restoring->on_end(restoring->context);
    } else if (result != RESULT_OK) {
        read_again_later(restoring, result);
    } else if (can_take_more(restoring)) {
        restoring->custody->has_left_out = false;
        restoring->after = 0;
        read_again_later(restoring, RESULT_MEMORY);
    } else if (restoring->nrows == RESTORING_PAGE && !restoring->custody->has_left_out) {
        read_page(restoring);
    } else {
        restoring->on_end(restoring->context);
    }
}

static void on_rows(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct restoring *restoring = context;
    for (size_t i = 0; i < n && !restoring->is_unwanted; i++)
        restore_row(restoring, &rows[i]);
    if (is_last)
        end_page(restoring, result);
}

static void read_page(struct restoring *restoring)
{
    restoring->is_reading = true;
    restoring->is_again = restoring->is_unwanted = false;
    restoring->nrows = 0;
    store_message_list(restoring->store, STORE_LIST_AWAITED, restoring->after, RESTORING_PAGE, on_rows, restoring);
}

void restoring_open(struct restoring *restoring, uv_loop_t *loop)
{
    uv_timer_init(loop, &restoring->retry); /* never fails */
    restoring->retry.data = restoring;
}

void restoring_begin(struct restoring *restoring)
{
    restoring->after = 0;
    restoring->custody->has_left_out = false;
    uv_timer_stop(&restoring->retry);
    if (restoring->is_reading)
        restoring->is_again = restoring->is_unwanted = true;
    else
        read_page(restoring);
}

void restoring_end(struct restoring *restoring)
{
    uv_timer_stop(&restoring->retry);
    restoring->is_again = false;
    restoring->is_unwanted = true;
}

bool restoring_is_owed(const struct restoring *restoring)
{
    return restoring->is_reading;
}

void restoring_stop(struct restoring *restoring, uv_close_cb on_closed)
{
    restoring_end(restoring);
    uv_close((uv_handle_t *)&restoring->retry, on_closed);
}
