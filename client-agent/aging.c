#include "aging.h"

static void look_further(struct aging *aging);

static void end(struct aging *aging)
{
    aging->is_running = false;
    aging->on_end(aging->context);
}

static void ignore_not_found(enum result result)
{
    (void)result; /* removed by a person meanwhile */
}

static void on_recorded(void *context, const struct attempt_end *attempt)
{
    struct aging *aging = context;
    if (attempt->result == RESULT_OK && !attempt->needs_more) {
        begun_forget(aging->begun, attempt->message);
        ignore_not_found(queue_remove(aging->queue, attempt->message));
    }
    if (attempt->result == RESULT_OK && !aging->is_stopping)
        look_further(aging);
    else
        end(aging);
}

static void on_job(void *context, enum result result, struct store_job *job)
{
    struct aging *aging = context;
    struct slice words = aging->words[0] ? slice_from_cstr(aging->words) : SLICE("no way to the relay was open");
    if (result == RESULT_OK && !aging->is_stopping)
        attempt_record_all(aging->office, job, (struct slice){0}, ATTEMPT_UNTRIED, words, (struct slice){0}, on_recorded, aging);
    else if ((result == RESULT_NOT_FOUND || result == RESULT_CORRUPT) && !aging->is_stopping)
        look_further(aging);
    else
        end(aging);
    store_job_free(&job);
}

static void look_at(struct aging *aging, const struct store_listing *row)
{
    aging->after = row->message.id;
    aging->nrows++;
    if (attempt_is_young(aging->office, &row->message))
        aging->is_over = true;
    else if (attempt_is_due(aging->office, &row->message, row->recipients, row->nrecipients))
        aging->due = row->message.id;
}

static void on_rows(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct aging *aging = context;
    if (result != RESULT_OK || aging->is_stopping)
        aging->is_over = true;
    for (size_t i = 0; i < n && !aging->is_over && aging->due == 0; i++)
        look_at(aging, &rows[i]);
    if (!is_last)
        return;
    if (aging->due != 0 && !aging->is_stopping)
        store_job_load(aging->store, aging->due, (struct slice){0}, on_job, aging);
    else if (aging->is_over || aging->nrows < AGING_PAGE)
        end(aging);
    else
        look_further(aging);
}

static void look_further(struct aging *aging)
{
    aging->due = 0;
    aging->nrows = 0;
    store_message_list(aging->store, STORE_LIST_UNFINISHED, aging->after, AGING_PAGE, on_rows, aging);
}

void aging_check(struct aging *aging)
{
    if (aging->is_running || aging->is_stopping)
        return;
    aging->is_running = true;
    aging->is_over = false;
    aging->after = 0;
    look_further(aging);
}

void aging_stop(struct aging *aging)
{
    aging->is_stopping = true;
}
