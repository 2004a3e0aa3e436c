/* Random weeks of a queue against a model that is nothing but a list. After every step: (1) an item is in exactly one state, and the counts agree;
 * (2) active items keep to the limits; (3) an item added twice is one; (4) when nothing more is given, nothing ready waits that has room. And what is
 * given is ready, unblocked and the oldest of its hop, (5) large only when nothing else there is due; the deadline tells the truth; hops take turns. */
#include "support/random.h"

#include "queue/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEEDS = 150, STEPS = 1500, MESSAGES = 30, HOPS = 5, PER_HOP = 3, TOTAL = 7 };

static const struct slice HOP[HOPS] = {SLICE("a.example"), SLICE("b.example"), SLICE("c.example"), SLICE(""), SLICE("an.unusually.long.name.of.a.hop.example")};

enum state { ABSENT, WAITING, ACTIVE, HELD };

struct model_item {
    enum state state;
    int64_t due;
    bool then_hold, then_go;
};

struct model {
    struct model_item items[MESSAGES + 1][HOPS]; /* by message, from 1 */
    bool is_large[MESSAGES + 1][HOPS];
    int64_t blocked_until[HOPS];
    bool is_probed[HOPS];
    int waits_since[HOPS]; /* how many jobs of others have been given since the hop became ready without one */
    uint64_t seed;
    int64_t now;
};

static unsigned count(const struct model *m, size_t hop, enum state state)
{
    unsigned n = 0;
    for (size_t i = 1; i <= MESSAGES; i++)
        for (size_t h = 0; h < HOPS; h++)
            n += (hop == HOPS || h == hop) && m->items[i][h].state == state;
    return n;
}

static size_t hop_of(struct slice name)
{
    size_t h = 0;
    while (!slice_equal(HOP[h], name))
        h++;
    return h;
}

static bool hop_has_room(const struct model *m, size_t h)
{
    return count(m, h, ACTIVE) < (m->is_probed[h] ? 1 : PER_HOP) && count(m, HOPS, ACTIVE) < TOTAL;
}

/* When queue_next would give something of the hop: INT64_MAX, or the time. */
static int64_t ready_at(const struct model *m, size_t h)
{
    int64_t at = INT64_MAX;
    for (size_t i = 1; i <= MESSAGES; i++)
        if (m->items[i][h].state == WAITING && m->items[i][h].due < at)
            at = m->items[i][h].due;
    if (at == INT64_MAX || !hop_has_room(m, h))
        return INT64_MAX;
    return at > m->blocked_until[h] ? at : m->blocked_until[h];
}

static void forget_hop_if_empty(struct model *m, size_t h)
{
    if (count(m, h, WAITING) + count(m, h, ACTIVE) + count(m, h, HELD) == 0) {
        m->blocked_until[h] = INT64_MIN;
        m->is_probed[h] = false;
    }
}

/* ---- steps, on both ---- */

static void step_add(struct model *m, struct queue *q)
{
    uint64_t message = 1 + random_draw(&m->seed) % MESSAGES;
    size_t h = random_draw(&m->seed) % HOPS;
    int64_t due = m->now + (int64_t)(random_draw(&m->seed) % 1000) - 200;
    struct model_item *item = &m->items[message][h];
    assert_int_equal(queue_add(q, message, HOP[h], due), item->state == ABSENT ? RESULT_OK : RESULT_EXISTS);
    if (item->state != ABSENT)
        return;
    *item = (struct model_item){.state = WAITING, .due = due};
    m->is_large[message][h] = false;
}

/* A random item of that state; message 0: there is none. */
static uint64_t pick(struct model *m, enum state state, size_t *hop)
{
    unsigned nth = count(m, HOPS, state) ? (unsigned)(random_draw(&m->seed) % count(m, HOPS, state)) : 0;
    for (uint64_t i = 1; i <= MESSAGES; i++)
        for (*hop = 0; *hop < HOPS; ++*hop)
            if (m->items[i][*hop].state == state && nth-- == 0)
                return i;
    return 0;
}

static void step_give_back(struct model *m, struct queue *q)
{
    size_t h;
    uint64_t message = pick(m, ACTIVE, &h);
    if (message == 0)
        return;
    struct model_item *item = &m->items[message][h];
    unsigned way = (unsigned)(random_draw(&m->seed) % 3);
    int64_t due = way == 0 ? item->due - 1 : m->now + (int64_t)(random_draw(&m->seed) % 2000);
    if (way == 1) {
        queue_finish(q, message, HOP[h]);
        item->state = ABSENT;
    } else {
        if (way == 0)
            queue_put_back(q, message, HOP[h]);
        else
            queue_defer(q, message, HOP[h], due);
        *item = (struct model_item){.state = item->then_go ? ABSENT : item->then_hold ? HELD : WAITING, .due = due};
    }
    forget_hop_if_empty(m, h);
}

static void step_wish(struct model *m, struct queue *q)
{
    uint64_t message = 1 + random_draw(&m->seed) % MESSAGES, wish = random_draw(&m->seed) % 3;
    bool is_there = false;
    for (size_t h = 0; h < HOPS; h++) {
        struct model_item *item = &m->items[message][h];
        is_there = is_there || item->state != ABSENT;
        if (wish == 0 && item->state == WAITING)
            item->state = HELD;
        else if (wish == 0 && item->state == ACTIVE)
            item->then_hold = true;
        else if (wish == 1 && item->state == HELD)
            *item = (struct model_item){.state = WAITING, .due = m->now};
        else if (wish == 1 && item->state == ACTIVE)
            item->then_hold = false;
        else if (wish == 2 && item->state == ACTIVE)
            item->then_go = true;
        else if (wish == 2)
            item->state = ABSENT;
        forget_hop_if_empty(m, h);
    }
    enum result result = wish == 0 ? queue_hold(q, message) : wish == 1 ? queue_release(q, message, m->now) : queue_remove(q, message);
    assert_int_equal(result, is_there ? RESULT_OK : RESULT_NOT_FOUND);
}

static void step_flush(struct model *m, struct queue *q)
{
    uint64_t message = random_draw(&m->seed) % 4 == 0 ? 0 : 1 + random_draw(&m->seed) % MESSAGES;
    for (size_t h = 0; h < HOPS; h++) {
        for (uint64_t i = 1; i <= MESSAGES; i++)
            if ((message == 0 || i == message) && m->items[i][h].state == WAITING && m->items[i][h].due > m->now)
                m->items[i][h].due = m->now;
        if (message == 0 || m->items[message][h].state != ABSENT) {
            m->blocked_until[h] = INT64_MIN;
            m->is_probed[h] = false;
        }
    }
    queue_flush(q, message, m->now);
}

static void step_block(struct model *m, struct queue *q)
{
    size_t h = random_draw(&m->seed) % HOPS;
    bool blocks = random_draw(&m->seed) % 2;
    int64_t until = m->now + (int64_t)(random_draw(&m->seed) % 1500);
    if (blocks)
        queue_block_hop(q, HOP[h], until);
    else
        queue_unblock_hop(q, HOP[h]);
    m->blocked_until[h] = blocks ? until : INT64_MIN;
    m->is_probed[h] = blocks;
    forget_hop_if_empty(m, h);
}

/* An item that comes later is not large, whatever its message's others are. */
static void step_size(struct model *m, struct queue *q)
{
    uint64_t message = 1 + random_draw(&m->seed) % MESSAGES;
    bool is_large = random_draw(&m->seed) % 2;
    for (size_t h = 0; h < HOPS; h++)
        m->is_large[message][h] = is_large;
    queue_set_large(q, message, is_large);
}

static bool has_small(const struct model *m, size_t h)
{
    for (size_t i = 1; i <= MESSAGES; i++)
        if (m->items[i][h].state == WAITING && m->items[i][h].due <= m->now && !m->is_large[i][h])
            return m->blocked_until[h] <= m->now;
    return false;
}

/* ---- giving ---- */

static void check_given(struct model *m, const struct queue_job *job)
{
    size_t h = hop_of(job->hop);
    struct model_item *item = &m->items[job->message][h];
    assert_int_equal(item->state, WAITING);
    assert_true(item->due <= m->now);
    bool is_large = m->is_large[job->message][h];
    assert_false(is_large && has_small(m, h)); /* invariant 5 */
    for (size_t i = 1; i <= MESSAGES; i++)
        assert_true(m->items[i][h].state != WAITING || m->items[i][h].due >= item->due || m->is_large[i][h] != is_large);
    assert_true(hop_has_room(m, h) && m->blocked_until[h] <= m->now);
    *item = (struct model_item){.state = ACTIVE, .due = item->due};
    assert_true(count(m, h, ACTIVE) <= PER_HOP);   /* invariant 2 */
    assert_true(count(m, HOPS, ACTIVE) <= TOTAL);
}

/* A hop that is ready meets every other at most twice before its turn. */
static void check_turns(struct model *m, size_t given)
{
    for (size_t h = 0; h < HOPS; h++) {
        bool is_ready = ready_at(m, h) <= m->now;
        m->waits_since[h] = !is_ready || h == given ? 0 : m->waits_since[h] + 1;
        assert_true(m->waits_since[h] <= 2 * HOPS);
    }
}

static void step_next(struct model *m, struct queue *q)
{
    struct queue_job job;
    size_t h;
    int64_t earliest = INT64_MAX;
    for (h = 0; h < HOPS; h++)
        if (ready_at(m, h) < earliest)
            earliest = ready_at(m, h);
    int64_t deadline = queue_deadline_ms(q);
    assert_true(deadline == earliest || (deadline <= m->now && earliest <= m->now));
    bool has = queue_next(q, m->now, &job);
    assert_int_equal(has, earliest <= m->now); /* invariant 4 */
    if (has) {
        check_given(m, &job);
        check_turns(m, hop_of(job.hop));
    }
}

static void step(struct model *m, struct queue *q)
{
    uint64_t what = random_draw(&m->seed) % 100;
    m->now += random_draw(&m->seed) % 3 ? 0 : (int64_t)(random_draw(&m->seed) % 100);
    if (what < 25)
        step_add(m, q);
    else if (what < 65)
        step_next(m, q);
    else if (what < 88)
        step_give_back(m, q);
    else if (what < 94)
        step_wish(m, q);
    else if (what < 96)
        step_block(m, q);
    else if (what < 98)
        step_size(m, q);
    else
        step_flush(m, q);
    assert_int_equal(queue_count(q), count(m, HOPS, WAITING) + count(m, HOPS, ACTIVE) + count(m, HOPS, HELD)); /* invariants 1, 3 */
    assert_int_equal(queue_active(q), count(m, HOPS, ACTIVE));
    for (size_t h = 0; h < HOPS; h++)
        assert_int_equal(queue_has_small(q, HOP[h], m->now), has_small(m, h));
}

static void behaves_as_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct queue *q = queue_new(&(struct queue_limits){.active_per_hop = PER_HOP, .active_total = TOTAL});
        struct model m = {.seed = seed << 32, .now = 100000};
        for (size_t h = 0; h < HOPS; h++)
            m.blocked_until[h] = INT64_MIN;
        for (int i = 0; i < STEPS; i++)
            step(&m, q);
        queue_free(&q);
    }
}

/* A queue of a hundred thousand items, each lent out and given back twice, is a matter of a moment. */
static void bears_many_items(void **state)
{
    enum { MANY = 100000 };
    struct queue *q = queue_new(&(struct queue_limits){.active_per_hop = 5, .active_total = 100});
    struct queue_job job;
    char name[40];
    size_t ngiven = 0;
    (void)state;
    for (uint64_t i = 0; i < MANY; i++) {
        size_t len = (size_t)snprintf(name, sizeof name, "hop%u.example", (unsigned)(i % (MANY / 2)));
        assert_int_equal(queue_add(q, 1 + i / 4, slice_of(name, len), (int64_t)(i % 977)), RESULT_OK);
    }
    assert_int_equal(queue_count(q), MANY);
    for (int64_t now = 1000; now <= 3000; now += 2000) {
        while (queue_next(q, now, &job)) {
            ngiven++;
            queue_defer(q, job.message, job.hop, now + 1000);
        }
    }
    assert_int_equal(ngiven, 2 * MANY);
    queue_free(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaves_as_the_model),
        cmocka_unit_test(bears_many_items),
    };
    return cmocka_run_group_tests_name("properties of the queue", tests, NULL, NULL);
}
