/* What is bounded: memory while a large body passes, requests that wait, the log's file, the database; and that a store at rest rests. */
#include "store/engine.h"
#include "support/store_names.h"

#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#if defined(__SANITIZE_ADDRESS__)
#define MEMORY_IS_OURS false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MEMORY_IS_OURS false
#endif
#endif
#ifndef MEMORY_IS_OURS
#define MEMORY_IS_OURS true
#endif

enum { PIECE = 16 * 1024, LARGE = 50 * 1024 * 1024 };

static long peak_kib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static void on_drain(void *context)
{
    *(bool *)context = true;
}

/* Fifty MiB in pieces that tell where they belong; the sender pauses when told to. */
static enum result put_large(struct world *w, uint64_t id)
{
    bool can_go_on;
    char piece[PIECE];
    struct store_intake *intake = store_intake_new(w->client, id, on_drain, &can_go_on);
    for (size_t at = 0; at < LARGE; at += PIECE) {
        world_fill(at / PIECE, piece, PIECE);
        can_go_on = false;
        enum result result = store_intake_append(intake, slice_of(piece, PIECE));
        if (result == RESULT_BUSY)
            world_wait(w, &can_go_on);
        else if (result != RESULT_OK)
            return result;
    }
    struct envelope_recipient to = {.address = SLICE("a@example.org")};
    struct store_message message = {.envelope = {.recipients = &to, .nrcpt = 1}};
    struct world_done d = {0};
    store_intake_commit(&intake, &message, NULL, 0, world_on_done, &d);
    return world_wait_done(w, &d);
}

struct reading {
    bool is_done, is_right;
    enum result result;
    size_t at;
};

static void on_chunk(void *context, enum result result, struct slice octets)
{
    struct reading *r = context;
    char piece[PIECE];
    r->is_done = true;
    r->result = result;
    for (; octets.len > 0; octets = slice_skip(octets, PIECE), r->at += PIECE) {
        world_fill(r->at / PIECE, piece, PIECE);
        r->is_right &= slice_equal(slice_take(octets, PIECE), slice_of(piece, PIECE));
    }
}

static void a_large_body_passes_in_little_memory(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), RESULT_OK);
    long before = peak_kib();
    assert_int_equal(put_large(w, 1), RESULT_OK);
    struct reading r = {.is_right = true};
    for (uint32_t seq = 0; r.result == RESULT_OK; seq++) {
        r.is_done = false;
        store_body_read(w->client, 1, seq, on_chunk, &r);
        world_wait(w, &r.is_done);
    }
    assert_int_equal(r.result, RESULT_NOT_FOUND);
    assert_int_equal(r.at, LARGE);
    assert_true(r.is_right);
    assert_int_equal(world_finish(w, 1, 0, STORE_DELIVERED, "250", false), RESULT_OK);
    if (MEMORY_IS_OURS && peak_kib() - before > 8 * 1024)
        fail_msg("%ld KiB more than before", peak_kib() - before);
}

/* The same chunk-wise intake many times over: freed pages are used again, the file does not grow with each. */
static void the_room_of_finished_mail_is_used_again(void **state)
{
    struct world *w = *state;
    struct stat about;
    static char octets[1000000];
    assert_int_equal(world_open(w), RESULT_OK);
    for (uint64_t id = 1; id <= 40; id++) {
        assert_int_equal(world_put(w, id, slice_of(octets, sizeof octets), 1, 0), RESULT_OK);
        assert_int_equal(world_finish(w, id, 0, STORE_DELIVERED, "250", false), RESULT_OK);
    }
    world_close(w);
    assert_int_equal(stat(w->path, &about), 0);
    assert_in_range(about.st_size, 100000, 3000000);
}

static void the_log_does_not_grow_without_bound(void **state)
{
    struct world *w = *state;
    char path[128];
    struct stat about;
    w->config.log_kib = 512;
    assert_int_equal(world_open(w), RESULT_OK);
    snprintf(path, sizeof path, "%s-wal", w->path);
    static char octets[100000];
    for (uint64_t id = 1; id <= 300; id++) /* some 60 MiB of log, were it never emptied */
        assert_int_equal(world_put(w, id, slice_of(octets, sizeof octets), 1, 0), RESULT_OK);
    assert_int_equal(stat(path, &about), 0);
    assert_in_range(about.st_size, 512 * 1024, 9 * 512 * 1024);
}

static void a_database_has_a_maximum(void **state)
{
    struct world *w = *state;
    static char octets[100000];
    w->config.max_octets = 2 * 1024 * 1024;
    assert_int_equal(world_open(w), RESULT_OK);
    uint64_t n = 0;
    while (n < 100 && world_put(w, n + 1, slice_of(octets, sizeof octets), 1, 0) == RESULT_OK)
        n++;
    assert_in_range(n, 10, 25);
    /* Where a large one was turned away in its middle, some small ones may still find room. */
    uint64_t small = 100;
    while (small < 1000 && world_put(w, small, SLICE("x"), 1, 0) == RESULT_OK)
        small++;
    assert_int_equal(world_put(w, small, SLICE("x"), 1, 0), RESULT_FULL);
    assert_string_equal(world_state(w, small), "none");
    for (uint64_t id = 1; id <= 5; id++)
        assert_int_equal(world_finish(w, id, 0, STORE_DELIVERED, "250", false), RESULT_OK);
    assert_int_equal(world_put(w, small, SLICE("x"), 1, 0), RESULT_OK);
}

/* Until let_writer_go the writer stands before the database's lock with a chunk of *lost in its hands, and what comes behind it stays in the queue. */
static sqlite3 *hold_writer(struct world *w, struct store_intake **lost)
{
    static char octets[STORE_CHUNK + 1];
    sqlite3 *db;
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000); /* the store may still be busy with having been opened */
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    *lost = store_intake_new(w->client, 1000000, NULL, NULL);
    assert_int_equal(store_intake_append(*lost, slice_of(octets, sizeof octets)), RESULT_OK);
    while (writer_load(w->store) > 0)
        sched_yield();
    return db;
}

static void let_writer_go(sqlite3 *db)
{
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

struct flood {
    size_t nok, nbusy, n;
    bool is_done;
};

static void on_flood(void *context, enum result result)
{
    struct flood *f = context;
    f->nok += result == RESULT_OK;
    f->nbusy += result == RESULT_BUSY;
    f->is_done = ++f->n == STORE_WRITES_MAX + 1000 + 1;
}

/* Invariant 6. Somebody's sqlite3 holds the database, so the writer waits, and so does everything behind it. */
static void beyond_the_bound_new_mail_is_told_to_come_later(void **state)
{
    struct world *w = *state;
    struct flood f = {0};
    struct envelope_recipient to = {.address = SLICE("a@example.org")};
    struct store_message message = {.envelope = {.recipients = &to, .nrcpt = 1}};
    struct store_outcome outcome = {.state = STORE_DELIVERED};
    assert_int_equal(world_open(w), RESULT_OK);
    assert_int_equal(world_put(w, 1, SLICE("x"), 1, 0), RESULT_OK);
    struct store_intake *lost;
    sqlite3 *db = hold_writer(w, &lost);
    for (uint64_t id = 2; id < STORE_WRITES_MAX + 1002; id++) {
        struct store_intake *intake = store_intake_new(w->client, id, NULL, NULL);
        assert_int_equal(store_intake_append(intake, SLICE("x")), RESULT_OK);
        store_intake_commit(&intake, &message, NULL, 0, on_flood, &f);
    }
    store_attempt_finish(w->client, 1, &outcome, 1, 9, NULL, false, on_flood, &f);
    assert_int_equal(f.n, 0); /* never from inside the call */
    let_writer_go(db);
    store_intake_abort(&lost);
    world_wait(w, &f.is_done);
    assert_int_equal(f.nbusy, 1000);
    assert_int_equal(f.nok + f.nbusy, f.n);
    assert_string_equal(world_state(w, 1), "delivered");
    struct store_counts c;
    assert_int_equal(world_count(w, &c), RESULT_OK);
    assert_int_equal(c.queued, f.nok - 1);
}

enum { CROWD = 2 * STORE_WRITES_MAX + 64 }; /* of such requests twice as many may wait */

static void on_crowd(void *context, enum result result)
{
    struct flood *f = context;
    f->nbusy += result == RESULT_BUSY;
    f->is_done = ++f->n == CROWD;
}

/* A chunk that finds the queue full is no pause, which would never end, but a failure; and nothing goes round the hole that it leaves. */
static void a_chunk_turned_away_ends_its_body(void **state)
{
    struct world *w = *state;
    static char octets[STORE_CHUNK + 1];
    struct flood f = {0};
    struct world_done d = {0};
    bool can_go_on = false;
    struct envelope_recipient to = {.address = SLICE("a@example.org")};
    struct store_message message = {.envelope = {.recipients = &to, .nrcpt = 1}};
    assert_int_equal(world_open(w), RESULT_OK);
    struct store_intake *early = store_intake_new(w->client, 1, on_drain, &can_go_on), *late = store_intake_new(w->client, 2, on_drain, &can_go_on);
    struct store_intake *lost;
    sqlite3 *db = hold_writer(w, &lost);
    for (size_t i = 0; i < CROWD; i++)
        store_setting_put(w->client, SLICE("n"), SLICE("v"), on_crowd, &f);
    assert_int_equal(store_intake_append(early, slice_of(octets, sizeof octets)), RESULT_MEMORY);
    assert_int_equal(store_intake_append(late, slice_of(octets, sizeof octets)), RESULT_MEMORY);
    let_writer_go(db);
    store_intake_abort(&lost);
    store_intake_commit(&early, &message, NULL, 0, world_on_done, &d); /* before the chunk's answer came */
    assert_int_equal(world_wait_done(w, &d), RESULT_MEMORY);
    world_wait(w, &f.is_done);
    assert_int_equal(f.nbusy, 64);
    assert_int_equal(store_intake_append(late, SLICE("x")), RESULT_MEMORY); /* after it */
    store_intake_abort(&late);
    assert_string_equal(world_state(w, 1), "none");
    assert_string_equal(world_state(w, 2), "none");
}

/* The same where a person's sqlite3 holds the database for longer than the writer waits (intake.c, invariant 3). */
static void a_chunk_that_finds_the_database_locked_ends_its_body(void **state)
{
    struct world *w = *state;
    static char octets[STORE_CHUNK + 1];
    bool can_go_on = false;
    struct world_done d[2] = {{0}};
    struct store_intake *lost;
    assert_int_equal(world_open(w), RESULT_OK);
    sqlite3_busy_timeout(w->store->writer_db.handle, 1); /* the writer is at rest */
    struct store_intake *intake = store_intake_new(w->client, 1, on_drain, &can_go_on);
    sqlite3 *db = hold_writer(w, &lost);
    assert_int_equal(store_intake_append(intake, slice_of(octets, sizeof octets)), RESULT_OK);
    store_setting_put(w->client, SLICE("n"), SLICE("v"), world_on_done, &d[0]); /* behind the chunk */
    assert_int_equal(world_wait_done(w, &d[0]), RESULT_BUSY);
    let_writer_go(db);
    store_intake_abort(&lost);
    enum result refused = store_intake_append(intake, SLICE("x"));
    struct envelope_recipient to = {.address = SLICE("a@example.org")};
    struct store_message message = {.envelope = {.recipients = &to, .nrcpt = 1}};
    store_intake_commit(&intake, &message, NULL, 0, world_on_done, &d[1]);
    assert_int_equal(world_wait_done(w, &d[1]), RESULT_MEMORY);
    assert_int_equal(refused, RESULT_MEMORY);
    assert_string_equal(world_state(w, 1), "none");
}

/* Invariant 4: what is turned away is answered before what waits, and what waits in its order. */
static void only_what_is_turned_away_overtakes(void **state)
{
    struct world *w = *state;
    struct flood f = {0};
    struct store_intake *lost;
    struct world_done first = {0};
    assert_int_equal(world_open(w), RESULT_OK);
    sqlite3 *db = hold_writer(w, &lost);
    store_setting_put(w->client, SLICE("n"), SLICE("v"), world_on_done, &first);
    for (size_t i = 0; i < CROWD; i++)
        store_setting_put(w->client, SLICE("n"), SLICE("v"), on_crowd, &f);
    while (f.n == 0)
        uv_run(&w->loop, UV_RUN_ONCE);
    assert_int_equal(f.n, 65);
    assert_int_equal(f.nbusy, 65);
    assert_false(first.is_done);
    let_writer_go(db);
    store_intake_abort(&lost);
    assert_int_equal(world_wait_done(w, &first), RESULT_OK);
    world_wait(w, &f.is_done);
    assert_int_equal(f.nbusy, 65);
}

/* A sender is silent while the queue is full: what he has sent is still in memory, and goes on from there. */
static void a_sync_turned_away_harms_nothing(void **state)
{
    struct world *w = *state;
    struct flood f = {0};
    struct store_intake *lost;
    assert_int_equal(world_open(w), RESULT_OK);
    struct store_intake *intake = names_begin(w, 1, names_naming(names_plain("t1"), 0));
    names_note(intake, true);
    names_append(intake, 0, 3000);
    sqlite3 *db = hold_writer(w, &lost);
    for (size_t i = 0; i < CROWD; i++)
        store_setting_put(w->client, SLICE("n"), SLICE("v"), on_crowd, &f);
    store_intake_sync(intake);
    let_writer_go(db);
    store_intake_abort(&lost);
    world_wait(w, &f.is_done);
    names_settle(w);
    assert_int_equal(store_intake_append(intake, slice_of(names_octets() + 3000, 100)), RESULT_OK);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
    names_assert_body(w, 1, 3100);
}

/* ---- one that is refused takes nobody along ---- */

static size_t nruns; /* writer's thread; read when it has answered */

static enum result count_run(struct store_task *task, struct database *db)
{
    (void)task, (void)db;
    nruns++;
    return RESULT_OK;
}

static void put_counter(struct world *w, struct world_done *d)
{
    struct done_task *t = task_new(w->client, sizeof *t, count_run, done_answer);
    t->done = world_on_done;
    t->context = d;
    writer_send(&t->task);
}

static void on_claimed(void *context, enum result result, const struct store_checkpoint *found)
{
    (void)found;
    world_on_done(context, result);
}

/* A client that names a transaction with other parameters can't break the batch that it comes in: that would have all of it run again, one by one. */
static void a_refused_claim_breaks_no_batch(void **state)
{
    struct world *w = *state;
    struct store_intake *lost;
    struct world_done before = {0}, refused = {0}, after = {0};
    struct store_claim claim = names_plain("t1");
    assert_int_equal(world_open(w), RESULT_OK);
    names_leave_half(w, 5, names_naming(claim, 0), 5000, true);
    sqlite3 *db = hold_writer(w, &lost);
    nruns = 0;
    put_counter(w, &before);
    claim.digest[0]++;
    store_checkpoint_claim(w->client, &claim, on_claimed, &refused);
    put_counter(w, &after);
    let_writer_go(db);
    store_intake_abort(&lost);
    assert_int_equal(world_wait_done(w, &after), RESULT_OK);
    assert_int_equal(refused.result, RESULT_DENIED);
    assert_int_equal(before.result, RESULT_OK);
    assert_int_equal(nruns, 2);
}

/* What SQLite denies is a failure of the disk's, and none of these answers: what was changed before it is rolled back. */
static void a_write_that_is_denied_is_a_failure(void **state)
{
    struct world *w = *state;
    struct world_done d = {0};
    assert_int_equal(world_open(w), RESULT_OK);
    assert_int_equal(database_execute(&w->store->writer_db, "PRAGMA query_only = ON", "test"), RESULT_OK); /* the writer is at rest */
    store_setting_put(w->client, SLICE("n"), SLICE("v"), world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_IO);
}

static bool is_this_thread(const char *name)
{
    uint64_t n;
    return slice_to_u64(slice_from_cstr(name), UINT64_MAX, &n) && n == (uint64_t)getpid();
}

/* Context switches of all threads but this one. */
static unsigned long long count_switches(void)
{
    unsigned long long sum = 0;
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char path[300], line[128];
        if (e->d_name[0] == '.' || is_this_thread(e->d_name))
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof line, f)) {
            uint64_t n;
            struct slice head, tail;
            if (slice_cut(slice_from_cstr(line), ':', &head, &tail) && slice_equal(head, SLICE("voluntary_ctxt_switches")) &&
                slice_to_u64(slice_take(slice_skip(tail, 1), tail.len - 2), UINT64_MAX, &n))
                sum += n;
        }
        if (f)
            fclose(f);
    }
    if (dir)
        closedir(dir);
    return sum;
}

/* The threads' own clock: within a window of 0.6 s, longer than what they wait for after work, none of them woke. */
static void at_rest_no_thread_wakes(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), RESULT_OK);
    for (uint64_t id = 1; id <= 50; id++)
        assert_int_equal(world_put(w, id, SLICE("x"), 1, 0), RESULT_OK);
    assert_string_equal(world_state(w, 50), "queued");
    bool has_rested = false;
    for (int i = 0; i < 5 && !has_rested; i++) {
        unsigned long long before = count_switches();
        usleep(600 * 1000); /* the absence of events cannot be waited for */
        has_rested = before > 0 && count_switches() == before;
    }
    assert_true(has_rested);
    char path[128];
    struct stat about;
    snprintf(path, sizeof path, "%s", w->path);
    assert_int_equal(stat(path, &about), 0);
    assert_true(about.st_size > 100000); /* and before it rested, it moved the log into the database */
    assert_false(uv_loop_alive(&w->loop));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_large_body_passes_in_little_memory, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(the_room_of_finished_mail_is_used_again, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(the_log_does_not_grow_without_bound, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(a_database_has_a_maximum, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(beyond_the_bound_new_mail_is_told_to_come_later, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(a_chunk_turned_away_ends_its_body, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(a_chunk_that_finds_the_database_locked_ends_its_body, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(only_what_is_turned_away_overtakes, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(a_sync_turned_away_harms_nothing, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(a_refused_claim_breaks_no_batch, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(a_write_that_is_denied_is_a_failure, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(at_rest_no_thread_wakes, world_setup_closed, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
