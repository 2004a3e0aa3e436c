/* Memory runs out: on the loop, where every allocation of a scenario fails in turn, and inside SQLite, on whatever thread. Every request is answered,
 * what was refused is not there, and with memory again the store goes on. */
#include "support/oom.h"
#include "support/store_model.h"
#include "support/store_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

/* ---- SQLite's memory ---- */

/* Past the linker's wrapping (support/oom.h), which is for our own. */
void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);

static struct {
    atomic_ulong count;
    unsigned long n; /* the n-th fails; 0: none */
    bool for_ever;
} memory;

static bool is_refused(void)
{
    unsigned long i = atomic_fetch_add(&memory.count, 1) + 1;
    return memory.n > 0 && (i == memory.n || (i > memory.n && memory.for_ever));
}

static void *get(int size)
{
    size_t *at = is_refused() ? NULL : __real_malloc((size_t)size + 16);
    if (!at)
        return NULL;
    *at = (size_t)size;
    return at + 2;
}

static void give_back(void *memory_at)
{
    free((size_t *)memory_at - 2);
}

static int size_of(void *memory_at)
{
    return memory_at ? (int)*((size_t *)memory_at - 2) : 0;
}

static void *resize(void *memory_at, int size)
{
    size_t *at = is_refused() ? NULL : __real_realloc((size_t *)memory_at - 2, (size_t)size + 16);
    if (!at)
        return NULL;
    *at = (size_t)size;
    return at + 2;
}

static int round_up(int size)
{
    return (size + 7) & ~7;
}

static int start(void *context)
{
    (void)context;
    return SQLITE_OK;
}

static void end(void *context)
{
    (void)context;
}

static void arm(unsigned long n, bool for_ever)
{
    atomic_store(&memory.count, 0);
    memory.n = n;
    memory.for_ever = for_ever;
}

static void must(const char *problem, unsigned long n, bool for_ever)
{
    if (problem)
        fail_msg("allocation %lu%s: %s", n, for_ever ? " and all after it" : "", problem);
}

static void fail_at(struct model *m, unsigned long n, bool for_ever)
{
    struct world w;
    world_make(&w);
    if (n % 2)
        world_seal(&w, 1);
    *m = (struct model){.seed = 3};
    arm(n, for_ever);
    enum result opened = world_open(&w);
    if (opened == RESULT_OK)
        model_run(&w, m, 20, 4);
    arm(0, false);
    if (opened == RESULT_OK) {
        uint32_t nfailed = m->nfailed;
        must(model_check(&w, m, true), n, for_ever);
        model_run(&w, m, 5, 2);
        must(m->nfailed == nfailed ? NULL : "there is memory again and the store does not know", n, for_ever);
    }
    world_close(&w);
    must(world_open(&w) == RESULT_OK ? NULL : w.why, n, for_ever);
    must(model_check(&w, m, true), n, for_ever);
    world_close(&w);
    must(model_check_rows(&w), n, for_ever);
    world_end(&w);
}

static void sqlite_without_memory(void **state)
{
    (void)state;
    static struct model m;
    const char *text = getenv("POSTERN_SEEDS");
    uint64_t wanted = 25;
    assert_true(!text || slice_to_u64(slice_from_cstr(text), UINT64_MAX, &wanted));
    arm(0, false);
    fail_at(&m, 0, false);
    unsigned long count = atomic_load(&memory.count), step = count / wanted + 1;
    assert_true(count > 500);
    for (unsigned long n = 1; n <= count; n += step) {
        fail_at(&m, n, false);
        fail_at(&m, n + step / 2, true);
    }
}

/* ---- ours ---- */

static void check_allowed(enum result result, enum result wanted, int line)
{
    if (result != wanted && !(oom_has_failed() && result == RESULT_MEMORY))
        fail_msg("line %d: got %s", line, result_name(result));
}

#define allowed(result, wanted) check_allowed(result, wanted, __LINE__)

struct got {
    bool is_last;
    enum result result;
};

static void on_rows(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    (void)rows, (void)n;
    *(struct got *)context = (struct got){is_last, result};
}

static void on_account(void *context, enum result result, const struct store_account *account)
{
    (void)account;
    *(struct got *)context = (struct got){true, result};
}

static void on_added(void *context, enum result result, struct slice gone)
{
    (void)gone;
    *(struct got *)context = (struct got){true, result};
}

static void on_device(void *context, enum result result, const struct store_device *device, const struct store_account *account)
{
    (void)device, (void)account;
    *(struct got *)context = (struct got){true, result};
}

static void on_devices(void *context, enum result result, const struct store_device *devices, size_t n, bool is_last)
{
    (void)devices, (void)n;
    *(struct got *)context = (struct got){is_last, result};
}

static enum result add_device(struct world *w, const char *id)
{
    struct got got = {0};
    store_device_add(w->client, &(struct store_device){.id = slice_from_cstr(id), .account = SLICE("bob"), .label = SLICE("laptop")}, 0, 1, on_added, &got);
    world_wait(w, &got.is_last);
    return got.result;
}

/* At most one device an account: the second makes the first go, or there is no memory and it stays. */
static void use_devices(struct world *w)
{
    struct world_done d[3] = {{0}};
    struct got got = {0};
    struct store_account bob = {.name = SLICE("bob"), .password_hash = SLICE("$x"), .scram = {.salt = {1}, .salt_len = 1, .iterations = 4096}};
    store_account_put(w->client, &bob, true, world_on_done, &d[0]);
    enum result has_bob = world_wait_done(w, &d[0]);
    allowed(has_bob, RESULT_OK);
    enum result one = add_device(w, "one"), two = add_device(w, "two");
    allowed(one, has_bob == RESULT_OK ? RESULT_OK : RESULT_NOT_FOUND);
    allowed(two, has_bob == RESULT_OK ? RESULT_OK : RESULT_NOT_FOUND);
    store_device_get(w->client, SLICE("one"), on_device, &got);
    world_wait(w, &got.is_last);
    allowed(got.result, one == RESULT_OK && two != RESULT_OK ? RESULT_OK : RESULT_NOT_FOUND);
    got = (struct got){0};
    store_device_list(w->client, SLICE(""), on_devices, &got);
    world_wait(w, &got.is_last);
    allowed(got.result, RESULT_OK);
    store_device_seen(w->client, SLICE("two"), 5, world_on_done, &d[1]);
    allowed(world_wait_done(w, &d[1]), two == RESULT_OK ? RESULT_OK : RESULT_NOT_FOUND);
    store_device_remove(w->client, SLICE("two"), world_on_done, &d[2]);
    allowed(world_wait_done(w, &d[2]), two == RESULT_OK ? RESULT_OK : RESULT_NOT_FOUND);
}

static void on_due(void *context, const struct store_due *due, size_t n, bool is_last, enum result result)
{
    (void)due, (void)n;
    *(struct got *)context = (struct got){is_last, result};
}

static void on_octets(void *context, enum result result, struct slice octets)
{
    (void)octets;
    *(struct got *)context = (struct got){true, result};
}

/* What is read at a start, and by whom asks. */
static void use_lists(struct world *w, bool is_there)
{
    struct got got[4] = {{0}};
    store_queue_load(w->client, on_due, &got[0]);
    world_wait(w, &got[0].is_last);
    allowed(got[0].result, RESULT_OK);
    store_message_get(w->client, 1, on_rows, &got[1]);
    world_wait(w, &got[1].is_last);
    allowed(got[1].result, is_there ? RESULT_OK : RESULT_NOT_FOUND);
    store_setting_get(w->client, SLICE("name"), on_octets, &got[2]);
    world_wait(w, &got[2].is_last);
    if (!oom_has_failed() || got[2].result != RESULT_NOT_FOUND) /* which could not be written then */
        allowed(got[2].result, RESULT_OK);
    store_served_latest(w->client, on_octets, &got[3]);
    world_wait(w, &got[3].is_last);
    allowed(got[3].result, RESULT_OK);
}

static void on_claimed(void *context, enum result result, const struct store_checkpoint *c)
{
    (void)c;
    *(struct got *)context = (struct got){true, result};
}

struct resumed {
    struct world *w;
    struct got got;
    struct store_claim claim;
    struct store_intake *intake;
};

static void on_resumed(void *context, enum result result, struct store_intake *intake)
{
    struct resumed *r = context;
    r->intake = intake;
    r->got = (struct got){true, result};
}

static void on_half(void *context, enum result result, const struct store_checkpoint *c)
{
    struct resumed *r = context;
    r->got = (struct got){result != RESULT_OK, result};
    if (result != RESULT_OK)
        return;
    struct store_naming naming = {.claim = r->claim, .generation = c->generation, .reply = SLICE("250 ok")};
    store_intake_resume(r->w->client, c, &naming, NULL, NULL, on_resumed, r);
}

static void on_recipients(void *context, enum result result, const struct store_recipient *recipients, size_t n, uint32_t total)
{
    (void)recipients, (void)n, (void)total;
    *(struct got *)context = (struct got){true, result};
}

/* True: a half is on the disk, as far as anybody can know. */
static bool leave_half(struct world *w, struct store_claim claim)
{
    static char octets[70000];
    struct envelope_recipient to = {.address = SLICE("carl@example.net")};
    struct store_naming naming = {.claim = claim, .reply = SLICE("250 ok"), .recipients = &to, .nrcpt = 1};
    struct store_intake *intake = store_intake_new(w->client, 9, NULL, NULL);
    enum result result = intake ? store_intake_name(intake, &naming) : RESULT_MEMORY;
    if (result == RESULT_OK) {
        store_intake_note(intake, &(struct store_half){.header_came = 5, .header_stored = 5});
        result = store_intake_append(intake, slice_of(octets, sizeof octets));
    }
    allowed(result, RESULT_OK);
    store_intake_suspend(&intake);
    return result == RESULT_OK;
}

static void use_names(struct world *w)
{
    struct got got = {0};
    struct world_done d[2] = {{0}};
    struct store_claim claim = {.account = SLICE("carl"), .helo = SLICE("x"), .transid = SLICE("t")};
    oom_suspend();
    world_add_account(w, "carl");
    oom_resume();
    struct resumed r = {.w = w, .claim = claim};
    bool is_left = leave_half(w, claim);
    store_checkpoint_claim(w->client, &claim, on_half, &r);
    world_wait(w, &r.got.is_last);
    if (r.got.result != RESULT_NOT_FOUND || (is_left && !oom_has_failed()))
        allowed(r.got.result, RESULT_OK);
    enum result taken = RESULT_NOT_FOUND;
    if (r.intake) {
        struct envelope_recipient to = {.address = SLICE("carl@example.net")};
        struct store_message message = {.envelope = {.recipients = &to, .nrcpt = 1}};
        store_intake_sync(r.intake);
        store_intake_commit(&r.intake, &message, NULL, 0, world_on_done, &d[0]);
        taken = world_wait_done(w, &d[0]);
        allowed(taken, RESULT_OK);
    }
    store_checkpoint_claim(w->client, &claim, on_claimed, &got);
    world_wait(w, &got.is_last);
    if (taken == RESULT_OK || got.result != RESULT_NOT_FOUND)
        allowed(got.result, RESULT_OK);
    got = (struct got){0};
    store_checkpoint_outcome(w->client, &claim, 0, 10, on_recipients, &got);
    world_wait(w, &got.is_last);
    allowed(got.result, taken == RESULT_OK ? RESULT_OK : RESULT_NOT_FOUND);
    store_checkpoint_sweep(w->client, 5, world_on_done, &d[1]);
    allowed(world_wait_done(w, &d[1]), RESULT_OK);
}

static char octets[100000];

static bool is_whole(struct world *w, uint64_t id)
{
    struct slice body = world_body(w, id);
    bool is_same = body.len == sizeof octets && memcmp(body.ptr, octets, sizeof octets) == 0;
    if (body.len != SIZE_MAX)
        free((char *)(uintptr_t)body.ptr);
    return is_same;
}

/* Relayed with its copy kept, and lost by the relay. */
static void use_copy(struct world *w, bool is_there)
{
    const struct store_outcome outcomes[] = {{.seq = 0, .state = STORE_RELAYED, .counts = true, .next_attempt_ms = 5, .reply = SLICE("250 taken"), .host = SLICE("relay")},
                                             {.seq = 1, .state = STORE_RELAYED, .counts = true, .next_attempt_ms = 5, .reply = SLICE("250 taken"), .host = SLICE("relay")}};
    struct world_done d[2] = {{0}};
    store_attempt_finish(w->client, 1, outcomes, 2, 1000, NULL, true, world_on_done, &d[0]);
    enum result finished = world_wait_done(w, &d[0]);
    allowed(finished, is_there ? RESULT_OK : RESULT_NOT_FOUND);
    store_message_requeue(w->client, 1, 2000, world_on_done, &d[1]);
    allowed(world_wait_done(w, &d[1]), finished == RESULT_OK ? RESULT_OK : RESULT_NOT_FOUND);
    assert_true(is_whole(w, 1) || oom_has_failed());
}

/* With memory again: what was taken is there, whole, and more is taken. */
static void go_on(struct world *w, bool is_there)
{
    struct store_job *job;
    assert_true(!is_there || is_whole(w, 1));
    assert_int_equal(world_put(w, 99, SLICE("more"), 1, 0), RESULT_OK);
    assert_int_equal(world_load(w, 99, SLICE(""), &job), RESULT_OK);
    store_job_free(&job);
}

/* True: message 1 was taken. */
static bool use(struct world *w)
{
    struct store_job *job;
    struct got got = {0};
    struct world_done d = {0};
    enum result put = world_put(w, 1, slice_of(octets, sizeof octets), 2, 1);
    allowed(put, RESULT_OK);
    enum result small = world_put(w, 2, SLICE("small"), 1, 0);
    allowed(small, RESULT_OK);
    enum result loaded = world_load(w, 1, SLICE("hop0"), &job);
    allowed(loaded, put == RESULT_OK ? RESULT_OK : RESULT_NOT_FOUND);
    store_job_free(&job);
    allowed(world_finish(w, 2, 0, STORE_QUEUED, "451 later", false), small == RESULT_OK ? RESULT_OK : RESULT_NOT_FOUND);
    store_message_list(w->client, STORE_LIST_ALL, 0, 100, on_rows, &got);
    world_wait(w, &got.is_last);
    allowed(got.result, RESULT_OK);
    got = (struct got){0};
    store_account_get(w->client, SLICE("nobody"), on_account, &got);
    world_wait(w, &got.is_last);
    allowed(got.result, RESULT_NOT_FOUND);
    store_setting_put(w->client, SLICE("name"), SLICE("value"), world_on_done, &d);
    allowed(world_wait_done(w, &d), RESULT_OK);
    use_lists(w, put == RESULT_OK);
    use_devices(w);
    use_names(w);
    use_copy(w, put == RESULT_OK);
    allowed(world_remove(w, 2), small == RESULT_OK ? RESULT_OK : RESULT_NOT_FOUND);
    return put == RESULT_OK;
}

/* context: whether it is sealed. */
static void scenario(void *context)
{
    struct world w;
    oom_suspend();
    world_make(&w);
    if (*(const bool *)context)
        world_seal(&w, 1);
    oom_resume();
    enum result opened = world_open(&w);
    allowed(opened, RESULT_OK);
    bool is_there = opened == RESULT_OK && use(&w);
    oom_suspend();
    if (opened == RESULT_OK)
        go_on(&w, is_there);
    world_end(&w);
    oom_resume();
}

static void the_loop_without_memory(void **state)
{
    (void)state;
    arm(0, false);
    bool is_sealed = false;
    size_t n = oom_loop(400, scenario, &is_sealed);
    assert_true(n > 20);
}

struct crowd {
    size_t nruns, nanswered, nrefused;
};

static void on_asked(void *context, enum result result, struct slice value)
{
    struct crowd *crowd = context;
    (void)value;
    allowed(result, RESULT_NOT_FOUND);
    crowd->nanswered++;
    crowd->nrefused += result == RESULT_MEMORY;
}

/* In the first run of each kind; further ones only look for the end of the loop. */
static void ask_in_a_crowd(void *context)
{
    struct crowd *crowd = context;
    size_t n = crowd->nruns++ < 2 ? 1000 : 1;
    struct world w;
    oom_suspend();
    world_make(&w);
    assert_int_equal(world_open(&w), RESULT_OK);
    crowd->nanswered = 0;
    oom_resume();
    for (size_t i = 0; i < n; i++)
        store_setting_get(w.client, SLICE("nobody"), on_asked, crowd);
    oom_suspend();
    while (crowd->nanswered < n)
        uv_run(&w.loop, UV_RUN_ONCE);
    go_on(&w, false);
    world_end(&w);
    oom_resume();
}

/* All sessions of a loop ask at once, and there is no memory for any of their questions. */
static void each_of_a_crowd_is_answered(void **state)
{
    struct crowd crowd = {0};
    (void)state;
    arm(0, false);
    oom_loop(10, ask_in_a_crowd, &crowd);
    assert_true(crowd.nrefused >= 1000);
}

static void sync_and_go_on(void *context)
{
    struct world w;
    (void)context;
    oom_suspend();
    world_make(&w);
    assert_int_equal(world_open(&w), RESULT_OK);
    struct store_intake *intake = names_begin(&w, 9, names_naming(names_plain("t"), 0));
    names_note(intake, false);
    names_append(intake, 0, 3000);
    oom_resume();
    store_intake_sync(intake);
    oom_suspend();
    names_settle(&w);
    assert_int_equal(store_intake_append(intake, slice_of(names_octets() + 3000, 100)), RESULT_OK);
    store_intake_suspend(&intake);
    struct names_claimed found = names_claim(&w, names_plain("t"));
    assert_int_equal(found.result, RESULT_OK);
    assert_int_equal(found.came_octets, names_came(3100));
    world_end(&w);
    oom_resume();
}

/* A moment without memory, while the sender of a good body is silent, costs it nothing. */
static void a_sync_without_memory_harms_nothing(void **state)
{
    (void)state;
    arm(0, false);
    assert_int_equal(oom_loop(10, sync_and_go_on, NULL), 2);
}

/* Its writer, reader and keeper as well, with what is sealed and without. */
static void all_threads_without_memory(void **state)
{
    (void)state;
    arm(0, false);
    for (int sealed = 0; sealed < 2; sealed++) {
        bool is_sealed = sealed;
        size_t n = oom_loop_everywhere(2000, scenario, &is_sealed);
        print_message("%zu allocations\n", n);
        assert_true(n > 50);
    }
}

/* What there is already is sealed, and unsealed, at opening. */
static void turn(void *context)
{
    struct world w;
    (void)context;
    oom_suspend();
    world_make(&w);
    if (world_open(&w) != RESULT_OK || world_put(&w, 1, slice_of(octets, sizeof octets), 3, 1) != RESULT_OK)
        fail_msg("%s", w.why);
    world_close(&w);
    world_seal(&w, 1);
    for (int i = 0; i < 2; i++) {
        w.seal.is_wanted = i == 0;
        oom_resume();
        allowed(world_open(&w), RESULT_OK);
        oom_suspend();
        world_close(&w);
    }
    must(world_open(&w) == RESULT_OK ? NULL : w.why, 0, false);
    struct slice body = world_body(&w, 1);
    if (body.len != sizeof octets || memcmp(body.ptr, octets, body.len) != 0)
        fail_msg("the body is not what it was");
    free((char *)(uintptr_t)body.ptr);
    world_end(&w);
    oom_resume();
}

static void sealing_without_memory(void **state)
{
    (void)state;
    arm(0, false);
    size_t n = oom_loop(600, turn, NULL);
    assert_true(n > 20);
}

int main(void)
{
    static const sqlite3_mem_methods METHODS = {get, give_back, resize, size_of, round_up, start, end, NULL};
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &METHODS) != SQLITE_OK)
        return 1;
    if (access("/dev/shm", W_OK) == 0) /* hundreds of stores, and nothing here is about the disk */
        setenv("TMPDIR", "/dev/shm", 0);
    const struct CMUnitTest tests[] = {cmocka_unit_test(sqlite_without_memory), cmocka_unit_test(the_loop_without_memory), cmocka_unit_test(each_of_a_crowd_is_answered), cmocka_unit_test(a_sync_without_memory_harms_nothing), cmocka_unit_test(all_threads_without_memory), cmocka_unit_test(sealing_without_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
