/* After any sequence of requests, restarts among them, the store holds what the table of schema/README.md says: every recipient is in exactly one
 * state, and jobs, the queue, listings and counts agree with it. POSTERN_SEEDS: how many sequences (default 3). */
#include "support/random.h"
#include "support/store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MESSAGES = 12, RCPT_MOST = 4, HOPS_MOST = 3, STEPS = 250 };

struct expected {
    bool is_there, has_body;
    size_t nrcpt, nhops;
    struct {
        enum store_state state;
        uint32_t attempts;
        int64_t next_ms;
    } rcpt[RCPT_MOST];
};

struct run {
    struct world w;
    uint64_t seed;
    struct expected messages[MESSAGES + 1]; /* by id, from 1 */
};

static uint64_t pick(struct run *run, uint64_t n)
{
    return random_draw(&run->seed) % n;
}

static bool is_unfinished(enum store_state s)
{
    return s == STORE_QUEUED || s == STORE_HELD || s == STORE_UNCERTAIN;
}

static bool is_final(enum store_state s)
{
    return s == STORE_DELIVERED || s == STORE_BOUNCED;
}

static bool is_awaited(const struct expected *e)
{
    bool is = false;
    for (size_t i = 0; i < e->nrcpt; i++)
        is |= e->rcpt[i].state == STORE_RELAYED && e->rcpt[i].next_ms > 0;
    return is;
}

static bool has_work(const struct expected *e)
{
    bool has = false;
    for (size_t i = 0; i < e->nrcpt; i++)
        has |= is_unfinished(e->rcpt[i].state);
    return has;
}

static struct slice body_of(uint64_t id, char *out)
{
    size_t len = id % 3 == 0 ? 70000 : 300;
    world_fill(id, out, len);
    return slice_of(out, len);
}

/* ---- steps: what is done, and what should come of it ---- */

static enum result put(struct run *run, uint64_t id)
{
    static char octets[70000];
    struct expected *e = &run->messages[id];
    size_t nrcpt = 1 + pick(run, RCPT_MOST), nhops = 1 + pick(run, HOPS_MOST);
    enum result result = world_put(&run->w, id, body_of(id, octets), nrcpt, nhops);
    if (e->is_there)
        return result == RESULT_EXISTS ? RESULT_OK : RESULT_CORRUPT;
    *e = (struct expected){.is_there = true, .has_body = true, .nrcpt = nrcpt, .nhops = nhops};
    for (size_t i = 0; i < nrcpt; i++)
        e->rcpt[i].next_ms = (int64_t)id * 10 + 5;
    return result;
}

/* The table. */
static bool is_legal(enum store_state from, enum store_state to)
{
    bool is_final = to == STORE_RELAYED || to == STORE_DELIVERED || to == STORE_BOUNCED;
    return is_unfinished(from) || (from == STORE_RELAYED && is_final);
}

static enum result finish(struct run *run, uint64_t id)
{
    static const enum store_state OUTCOMES[] = {STORE_QUEUED, STORE_RELAYED, STORE_DELIVERED, STORE_BOUNCED, STORE_UNCERTAIN};
    struct expected *e = &run->messages[id];
    uint32_t seq = (uint32_t)pick(run, RCPT_MOST);
    enum store_state to = OUTCOMES[pick(run, 5)];
    bool keep_body = pick(run, 2);
    enum result result = world_finish(&run->w, id, seq, to, "words", keep_body);
    if (!e->is_there || seq >= e->nrcpt || !is_legal(e->rcpt[seq].state, to))
        return result == RESULT_NOT_FOUND ? RESULT_OK : RESULT_CORRUPT;
    enum store_state from = e->rcpt[seq].state;
    e->rcpt[seq].attempts += from != STORE_RELAYED;
    e->rcpt[seq].next_ms = to == STORE_DELIVERED || to == STORE_BOUNCED ? 0 : 777;
    e->rcpt[seq].state = from == STORE_HELD && (to == STORE_QUEUED || to == STORE_UNCERTAIN) ? STORE_HELD : to;
    e->has_body &= has_work(e) || (keep_body && is_awaited(e));
    return result;
}

static enum result hold(struct run *run, uint64_t id)
{
    struct world_done d = {0};
    struct expected *e = &run->messages[id];
    bool applies = false;
    store_message_hold(run->w.client, id, world_on_done, &d);
    for (size_t i = 0; e->is_there && i < e->nrcpt; i++)
        if (e->rcpt[i].state == STORE_QUEUED || e->rcpt[i].state == STORE_UNCERTAIN) {
            e->rcpt[i].state = STORE_HELD;
            applies = true;
        }
    return world_wait_done(&run->w, &d) == (applies ? RESULT_OK : RESULT_NOT_FOUND) ? RESULT_OK : RESULT_CORRUPT;
}

static enum result let_go(struct run *run, uint64_t id)
{
    struct world_done d = {0};
    struct expected *e = &run->messages[id];
    bool applies = e->is_there && has_work(e);
    store_message_release(run->w.client, id, 42, world_on_done, &d);
    for (size_t i = 0; applies && i < e->nrcpt; i++)
        if (is_unfinished(e->rcpt[i].state)) {
            e->rcpt[i].state = e->rcpt[i].state == STORE_HELD ? STORE_QUEUED : e->rcpt[i].state;
            e->rcpt[i].next_ms = 42;
        }
    return world_wait_done(&run->w, &d) == (applies ? RESULT_OK : RESULT_NOT_FOUND) ? RESULT_OK : RESULT_CORRUPT;
}

static enum result take_away(struct run *run, uint64_t id)
{
    enum result wanted = run->messages[id].is_there ? RESULT_OK : RESULT_NOT_FOUND;
    run->messages[id].is_there = false;
    return world_remove(&run->w, id) == wanted ? RESULT_OK : RESULT_CORRUPT;
}

static enum result sweep(struct run *run, uint64_t id)
{
    struct world_done d = {0};
    store_sweep(run->w.client, (int64_t)id * 10, world_on_done, &d);
    for (uint64_t i = 1; i < id; i++)
        run->messages[i].is_there &= has_work(&run->messages[i]) || is_awaited(&run->messages[i]);
    return world_wait_done(&run->w, &d);
}

static enum result reopen(struct run *run, uint64_t id)
{
    (void)id;
    world_close(&run->w);
    return world_open(&run->w);
}

/* ---- what should be seen ---- */

struct seen {
    const struct run *run;
    bool is_last;
    size_t n;
    const char *problem;
};

static void on_row(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct seen *seen = context;
    seen->is_last = is_last;
    for (size_t k = 0; k < n && result == RESULT_OK; k++, seen->n++) {
        const struct expected *e = &seen->run->messages[rows[k].message.id];
        if (!e->is_there || rows[k].nrecipients != e->nrcpt)
            seen->problem = "a message that should not be there";
        for (size_t i = 0; i < e->nrcpt && !seen->problem; i++) {
            const struct store_recipient *r = &rows[k].recipients[i];
            if (r->state != e->rcpt[i].state || r->attempts != e->rcpt[i].attempts ||
                (!is_final(r->state) && r->next_attempt_ms != e->rcpt[i].next_ms))
                seen->problem = "a recipient is in another state";
        }
    }
}

static const char *check_listings(struct run *run)
{
    struct seen all = {.run = run}, unfinished = {.run = run};
    size_t nall = 0, nunfinished = 0;
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        nall += run->messages[id].is_there;
        nunfinished += run->messages[id].is_there && has_work(&run->messages[id]);
    }
    store_message_list(run->w.client, STORE_LIST_ALL, 0, 1000, on_row, &all);
    world_wait(&run->w, &all.is_last);
    store_message_list(run->w.client, STORE_LIST_UNFINISHED, 0, 1000, on_row, &unfinished);
    world_wait(&run->w, &unfinished.is_last);
    if (all.n != nall || unfinished.n != nunfinished)
        return "a listing has too many or too few";
    return all.problem;
}

static void on_due(void *context, const struct store_due *due, size_t n, bool is_last, enum result result)
{
    struct seen *seen = context;
    seen->is_last = is_last;
    for (size_t k = 0; k < n && result == RESULT_OK; k++, seen->n++) {
        const struct expected *e = &seen->run->messages[due[k].message];
        size_t hop = (size_t)(due[k].hop.ptr[3] - '0');
        int64_t at = INT64_MAX;
        bool is_held = true;
        for (size_t i = hop; i < e->nrcpt; i += e->nhops)
            if (is_unfinished(e->rcpt[i].state)) {
                at = e->rcpt[i].next_ms < at ? e->rcpt[i].next_ms : at;
                is_held &= e->rcpt[i].state == STORE_HELD;
            }
        if (at != due[k].due_at_ms || is_held != due[k].is_held)
            seen->problem = "the queue is wrong about a hop";
    }
}

static size_t work_at(const struct expected *e, size_t hop, bool with_held)
{
    size_t n = 0;
    for (size_t i = hop; e->is_there && i < e->nrcpt; i += e->nhops)
        n += is_unfinished(e->rcpt[i].state) && (with_held || e->rcpt[i].state != STORE_HELD);
    return n;
}

static const char *check_queue(struct run *run)
{
    struct seen seen = {.run = run};
    size_t wanted = 0;
    for (uint64_t id = 1; id <= MESSAGES; id++)
        for (size_t hop = 0; hop < run->messages[id].nhops; hop++)
            wanted += work_at(&run->messages[id], hop, true) > 0;
    store_queue_load(run->w.client, on_due, &seen);
    world_wait(&run->w, &seen.is_last);
    return seen.n == wanted ? seen.problem : "the queue has too many or too few";
}

static const char *check_job(struct run *run, uint64_t id)
{
    const struct expected *e = &run->messages[id];
    struct store_job *job;
    for (size_t hop = 0; hop < HOPS_MOST; hop++) {
        char name[8];
        snprintf(name, sizeof name, "hop%zu", hop);
        size_t wanted = hop < e->nhops ? work_at(e, hop, false) : 0;
        enum result result = world_load(&run->w, id, slice_from_cstr(name), &job);
        size_t got = job ? job->nrecipients : 0;
        store_job_free(&job);
        if (got != wanted || result != (wanted ? RESULT_OK : RESULT_NOT_FOUND))
            return "a job with other recipients";
    }
    return NULL;
}

static const char *check_body(struct run *run, uint64_t id)
{
    static char octets[70000];
    const struct expected *e = &run->messages[id];
    struct slice wanted = e->is_there && e->has_body ? body_of(id, octets) : (struct slice){0}, got = world_body(&run->w, id);
    bool is_right = slice_equal(got, wanted);
    free((char *)got.ptr);
    return is_right ? NULL : "a body that is not what it should be";
}

static void one_sequence(uint64_t seed)
{
    static enum result (*const STEP[])(struct run *, uint64_t) = {put,    put,  put,    finish,    finish, finish, finish,
                                                                  finish, hold, let_go, take_away, sweep,  reopen};
    static struct run run;
    run = (struct run){.seed = seed};
    world_make(&run.w);
    assert_int_equal(world_open(&run.w), RESULT_OK);
    for (int step = 0; step < STEPS; step++) {
        uint64_t id = 1 + pick(&run, MESSAGES), which = pick(&run, sizeof STEP / sizeof *STEP);
        const char *problem = STEP[which](&run, id) == RESULT_OK ? check_listings(&run) : "another answer";
        if (!problem)
            problem = check_queue(&run);
        if (!problem)
            problem = check_job(&run, id);
        if (!problem)
            problem = check_body(&run, id);
        if (problem)
            fail_msg("seed %llu step %d (kind %d, message %d): %s", (unsigned long long)seed, step, (int)which, (int)id, problem);
    }
    world_end(&run.w);
}

static void the_store_is_what_its_table_says(void **state)
{
    (void)state;
    for (uint64_t seed = 1, n = world_seeds(3); seed <= n; seed++)
        one_sequence(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_store_is_what_its_table_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
