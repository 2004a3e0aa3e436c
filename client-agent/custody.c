#include "custody.h"

#include <assert.h>
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

/* Between its pace and its step. */
static void follow_relay(struct custody_item *item, int64_t at_ms)
{
    if (at_ms > item->may_ms)
        item->may_ms = at_ms < item->must_ms ? at_ms : item->must_ms;
    item->must_ms = item->may_ms;
}

/* ---- what is here ----------------------------------------------------------------------------------------------- */

/* The place of the first one that is not before it. */
static size_t place_of(const struct custody *custody, uint64_t message)
{
    size_t low = 0, high = custody->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (custody->items[middle]->message < message)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct custody_item *find(const struct custody *custody, uint64_t message)
{
    size_t place = place_of(custody, message);
    return place < custody->count && custody->items[place]->message == message ? custody->items[place] : NULL;
}

/* Room in the heaps as well, so that nothing fails later. */
static enum result make_room(struct custody *custody)
{
    if (custody->count < custody->capacity)
        return RESULT_OK;
    if (custody->count >= CUSTODY_MAX)
        return RESULT_LIMIT;
    size_t capacity = custody->capacity > 0 ? 2 * custody->capacity : 16;
    struct custody_item **items = realloc(custody->items, capacity * sizeof *items);
    if (!items)
        return RESULT_MEMORY;
    custody->items = items;
    if (heap_reserve(&custody->may, capacity) != RESULT_OK || heap_reserve(&custody->must, capacity) != RESULT_OK)
        return RESULT_MEMORY;
    custody->capacity = capacity;
    return RESULT_OK;
}

/* Its times have changed, or it is not under way any more. */
static void schedule(struct custody *custody, struct custody_item *item)
{
    custody->nunder_way -= item->is_under_way;
    item->is_under_way = false;
    heap_remove(&custody->may, &item->may);
    heap_remove(&custody->must, &item->must);
    enum result may = heap_add(&custody->may, &item->may, item->may_ms), must = heap_add(&custody->must, &item->must, item->must_ms);
    assert(may == RESULT_OK && must == RESULT_OK);
}

static void take_out(struct custody *custody, struct custody_item *item)
{
    custody->nunder_way += !item->is_under_way;
    item->is_under_way = true;
    heap_remove(&custody->may, &item->may);
    heap_remove(&custody->must, &item->must);
}

static enum result insert(struct custody *custody, const struct custody_item *values)
{
    enum result result = make_room(custody);
    struct custody_item *item = result == RESULT_OK ? malloc(sizeof *item) : NULL;
    if (!item) {
        custody->has_left_out = true;
        return result == RESULT_OK ? RESULT_MEMORY : result;
    }
    *item = *values;
    size_t place = place_of(custody, item->message);
    memmove(&custody->items[place + 1], &custody->items[place], (custody->count - place) * sizeof *custody->items);
    custody->items[place] = item;
    custody->count++;
    schedule(custody, item);
    return RESULT_OK;
}

enum result custody_take(struct custody *custody, uint64_t message, int64_t now_ms)
{
    struct custody_item item = {.message = message, .taken_ms = now_ms, .may_ms = now_ms + CUSTODY_FIRST_MS, .must_ms = must_again_ms(now_ms, now_ms)};
    struct custody_item *known = find(custody, message);
    if (!known)
        return insert(custody, &item);
    known->taken_ms = item.taken_ms; /* handed over once more, or more of its recipients */
    known->may_ms = item.may_ms;
    known->must_ms = item.must_ms;
    schedule(custody, known);
    return RESULT_OK;
}

enum result custody_restore(struct custody *custody, uint64_t message, int64_t taken_ms, int64_t must_ms, int64_t now_ms)
{
    struct custody_item item = {.message = message, .taken_ms = taken_ms < now_ms ? taken_ms : now_ms, .may_ms = now_ms, .must_ms = must_ms};
    return find(custody, message) ? RESULT_OK : insert(custody, &item);
}

void custody_forget(struct custody *custody, uint64_t message)
{
    size_t place = place_of(custody, message);
    struct custody_item *item = find(custody, message);
    if (!item)
        return;
    take_out(custody, item);
    custody->nunder_way--;
    custody->count--;
    memmove(&custody->items[place], &custody->items[place + 1], (custody->count - place) * sizeof *custody->items);
    free(item);
    if (custody->count == 0)
        custody->is_searching = false;
}

void custody_clear(struct custody *custody)
{
    for (size_t i = 0; i < custody->count; i++)
        free(custody->items[i]);
    custody->count = custody->nunder_way = custody->may.count = custody->must.count = 0;
    custody->has_left_out = custody->is_searching = false;
    custody->search_not_before_ms = 0; /* that search was for another relay */
}

void custody_free(struct custody *custody)
{
    custody_clear(custody);
    free(custody->items);
    heap_free(&custody->may);
    heap_free(&custody->must);
    *custody = (struct custody){0};
}

/* ---- questions and answers -------------------------------------------------------------------------------------- */

static struct custody_item *owner_of_may(struct heap_node *node)
{
    return (struct custody_item *)(void *)((char *)node - offsetof(struct custody_item, may));
}

bool custody_next(struct custody *custody, int64_t now_ms, uint64_t *message)
{
    struct heap_node *first = heap_first(&custody->may);
    if (!first || first->key > now_ms)
        return false;
    take_out(custody, owner_of_may(first));
    *message = owner_of_may(first)->message;
    return true;
}

bool custody_next_old(const struct custody *custody, int64_t before_ms, uint64_t *message)
{
    for (size_t i = place_of(custody, *message + 1); i < custody->count; i++) {
        const struct custody_item *item = custody->items[i];
        if (item->taken_ms >= before_ms || item->is_under_way)
            continue;
        *message = item->message;
        return true;
    }
    return false;
}

/* No session is opened before that, whoever is waited for. */
static int64_t latest_ms(const struct custody *custody, const struct custody_item *item)
{
    return item->must_ms < custody->search_not_before_ms ? custody->search_not_before_ms : item->must_ms;
}

bool custody_answered(struct custody *custody, uint64_t message, int64_t now_ms, int64_t relay_ms, int64_t *in_ms)
{
    struct custody_item *item = find(custody, message);
    *in_ms = CUSTODY_LONGEST_MS;
    if (!item)
        return false;
    item->may_ms = may_again_ms(item->taken_ms, now_ms);
    item->must_ms = must_again_ms(item->taken_ms, now_ms);
    bool is_long_wait = item->must_ms - item->taken_ms >= HOUR_MS;
    if (relay_ms > now_ms)
        follow_relay(item, relay_ms + CUSTODY_GRACE_MS);
    schedule(custody, item);
    *in_ms = latest_ms(custody, item) - now_ms;
    return is_long_wait;
}

void custody_put_off(struct custody *custody, uint64_t message, int64_t now_ms)
{
    struct custody_item *item = find(custody, message);
    if (!item)
        return;
    item->may_ms = now_ms + PUT_OFF_MS;
    if (item->must_ms < now_ms + CUSTODY_SEARCH_EVERY_MS)
        item->must_ms = now_ms + CUSTODY_SEARCH_EVERY_MS;
    schedule(custody, item);
}

void custody_give_back(struct custody *custody)
{
    for (size_t i = 0; i < custody->count && custody->nunder_way > 0; i++)
        if (custody->items[i]->is_under_way)
            schedule(custody, custody->items[i]);
}

void custody_doubt_all(struct custody *custody, int64_t now_ms)
{
    for (size_t i = 0; i < custody->count; i++) {
        struct custody_item *item = custody->items[i];
        item->may_ms = item->may_ms > now_ms ? now_ms : item->may_ms;
        if (!item->is_under_way)
            heap_move(&custody->may, &item->may, item->may_ms);
    }
}

/* Invariant 3, whoever wants it. */
static void begin_search(struct custody *custody, int64_t now_ms)
{
    custody->is_searching = true;
    custody->search_not_before_ms = now_ms + CUSTODY_SEARCH_EVERY_MS;
}

bool custody_ask_now(struct custody *custody, int64_t now_ms)
{
    custody_doubt_all(custody, now_ms);
    if (custody->count > 0 && !custody->is_searching)
        begin_search(custody, now_ms);
    return custody->count > 0;
}

int64_t custody_ask_ms(const struct custody *custody, uint64_t message)
{
    const struct custody_item *item = find(custody, message);
    return item && !item->is_under_way ? latest_ms(custody, item) : 0;
}

/* ---- times ------------------------------------------------------------------------------------------------------ */

int64_t custody_may_ms(const struct custody *custody)
{
    const struct heap_node *first = heap_first(&custody->may);
    return first ? first->key : INT64_MAX;
}

int64_t custody_wake_ms(const struct custody *custody)
{
    const struct heap_node *first = heap_first(&custody->must);
    int64_t first_ms = first ? first->key : INT64_MAX;
    return first_ms < custody->search_not_before_ms ? custody->search_not_before_ms : first_ms;
}

bool custody_wants_session(struct custody *custody, int64_t now_ms)
{
    if (custody->is_searching || custody_wake_ms(custody) > now_ms)
        return custody->is_searching;
    begin_search(custody, now_ms);
    return true;
}

void custody_search_over(struct custody *custody)
{
    custody->is_searching = false;
}
