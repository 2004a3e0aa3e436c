#include "custody.h"

#include <stdlib.h>
#include <string.h>

enum { MINUTE_MS = 60 * 1000, HOUR_MS = 60 * MINUTE_MS, GAP_LEAST_MS = 30 * 1000, GAP_MOST_MS = 10 * MINUTE_MS, PUT_OFF_MS = MINUTE_MS };

/* ---- the schedule ----------------------------------------------------------------------------------------------- */

static int64_t may_again_ms(int64_t taken_ms, int64_t now_ms)
{
    int64_t age_ms = now_ms - taken_ms, gap_ms = age_ms / 4;
    if (age_ms < CUSTODY_SECOND_MS)
        return taken_ms + CUSTODY_SECOND_MS;
    if (age_ms < CUSTODY_THIRD_MS)
        return taken_ms + CUSTODY_THIRD_MS;
    return now_ms + (gap_ms < GAP_LEAST_MS ? GAP_LEAST_MS : gap_ms > GAP_MOST_MS ? GAP_MOST_MS : gap_ms);
}

/* A question a little before its time serves for it: no session is opened for what was just asked. */
static int64_t must_again_ms(int64_t taken_ms, int64_t now_ms)
{
    static const int64_t steps_ms[] = {10 * MINUTE_MS, HOUR_MS, 4 * HOUR_MS};
    int64_t age_ms = now_ms - taken_ms;
    for (size_t i = 0; i < sizeof steps_ms / sizeof steps_ms[0]; i++)
        if (age_ms + age_ms / 2 <= steps_ms[i])
            return taken_ms + steps_ms[i];
    return now_ms + CUSTODY_LONGEST_MS;
}

/* ---- what is here ----------------------------------------------------------------------------------------------- */

/* The place of the first one that is not before it. */
static size_t place_of(const struct custody *custody, uint64_t message)
{
    size_t low = 0, high = custody->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (custody->items[middle].message < message)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct custody_item *find(const struct custody *custody, uint64_t message)
{
    size_t place = place_of(custody, message);
    return place < custody->count && custody->items[place].message == message ? &custody->items[place] : NULL;
}

static enum result make_room(struct custody *custody)
{
    if (custody->count < custody->capacity)
        return RESULT_OK;
    if (custody->count >= CUSTODY_MAX)
        return RESULT_LIMIT;
    size_t capacity = custody->capacity > 0 ? 2 * custody->capacity : 16;
    struct custody_item *items = realloc(custody->items, capacity * sizeof *items);
    if (!items)
        return RESULT_MEMORY;
    custody->items = items;
    custody->capacity = capacity;
    return RESULT_OK;
}

static enum result insert(struct custody *custody, const struct custody_item *item)
{
    enum result result = make_room(custody);
    if (result != RESULT_OK) {
        custody->has_left_out = true;
        return result;
    }
    size_t place = place_of(custody, item->message);
    memmove(&custody->items[place + 1], &custody->items[place], (custody->count - place) * sizeof *custody->items);
    custody->items[place] = *item;
    custody->count++;
    return RESULT_OK;
}

enum result custody_take(struct custody *custody, uint64_t message, int64_t now_ms)
{
    struct custody_item item = {.message = message, .taken_ms = now_ms, .may_ms = now_ms + CUSTODY_FIRST_MS, .must_ms = must_again_ms(now_ms, now_ms)};
    struct custody_item *known = find(custody, message);
    if (!known)
        return insert(custody, &item);
    *known = item; /* handed over once more, or more of its recipients */
    return RESULT_OK;
}

enum result custody_restore(struct custody *custody, uint64_t message, int64_t taken_ms, int64_t must_ms, int64_t now_ms)
{
    struct custody_item item = {.message = message, .taken_ms = taken_ms < now_ms ? taken_ms : now_ms, .may_ms = now_ms, .must_ms = must_ms};
    return find(custody, message) ? RESULT_OK : insert(custody, &item);
}

void custody_forget(struct custody *custody, uint64_t message)
{
    struct custody_item *item = find(custody, message);
    if (!item)
        return;
    size_t place = (size_t)(item - custody->items);
    custody->count--;
    memmove(item, item + 1, (custody->count - place) * sizeof *item);
}

void custody_clear(struct custody *custody)
{
    custody->count = 0;
    custody->has_left_out = custody->is_searching = false;
}

void custody_free(struct custody *custody)
{
    free(custody->items);
    *custody = (struct custody){0};
}

/* ---- questions and answers -------------------------------------------------------------------------------------- */

bool custody_next(struct custody *custody, int64_t now_ms, uint64_t *message)
{
    struct custody_item *best = NULL;
    for (size_t i = 0; i < custody->count; i++) {
        struct custody_item *item = &custody->items[i];
        if (!item->is_under_way && item->may_ms <= now_ms && (!best || item->may_ms < best->may_ms))
            best = item;
    }
    if (!best)
        return false;
    best->is_under_way = true;
    *message = best->message;
    return true;
}

bool custody_answered(struct custody *custody, uint64_t message, int64_t now_ms, int64_t *in_ms)
{
    struct custody_item *item = find(custody, message);
    *in_ms = CUSTODY_LONGEST_MS;
    if (!item)
        return false;
    item->is_under_way = false;
    item->may_ms = may_again_ms(item->taken_ms, now_ms);
    item->must_ms = must_again_ms(item->taken_ms, now_ms);
    *in_ms = item->must_ms - now_ms;
    return item->must_ms - item->taken_ms >= HOUR_MS;
}

void custody_put_off(struct custody *custody, uint64_t message, int64_t now_ms)
{
    struct custody_item *item = find(custody, message);
    if (!item)
        return;
    item->is_under_way = false;
    item->may_ms = now_ms + PUT_OFF_MS;
    if (item->must_ms < now_ms + CUSTODY_SEARCH_EVERY_MS)
        item->must_ms = now_ms + CUSTODY_SEARCH_EVERY_MS;
}

void custody_give_back(struct custody *custody)
{
    for (size_t i = 0; i < custody->count; i++)
        custody->items[i].is_under_way = false;
}

void custody_doubt_all(struct custody *custody, int64_t now_ms)
{
    for (size_t i = 0; i < custody->count; i++)
        if (custody->items[i].may_ms > now_ms)
            custody->items[i].may_ms = now_ms;
}

/* ---- times ------------------------------------------------------------------------------------------------------ */

int64_t custody_may_ms(const struct custody *custody)
{
    int64_t first_ms = INT64_MAX;
    for (size_t i = 0; i < custody->count; i++)
        if (!custody->items[i].is_under_way && custody->items[i].may_ms < first_ms)
            first_ms = custody->items[i].may_ms;
    return first_ms;
}

int64_t custody_wake_ms(const struct custody *custody)
{
    int64_t first_ms = INT64_MAX;
    for (size_t i = 0; i < custody->count; i++)
        if (!custody->items[i].is_under_way && custody->items[i].must_ms < first_ms)
            first_ms = custody->items[i].must_ms;
    return first_ms < custody->search_not_before_ms ? custody->search_not_before_ms : first_ms;
}

bool custody_wants_session(struct custody *custody, int64_t now_ms)
{
    if (custody->is_searching || custody_wake_ms(custody) > now_ms)
        return custody->is_searching;
    custody->is_searching = true;
    custody->search_not_before_ms = now_ms + CUSTODY_SEARCH_EVERY_MS;
    return true;
}

void custody_search_over(struct custody *custody)
{
    custody->is_searching = false;
}
