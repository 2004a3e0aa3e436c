/* The power or the disk fails while a database with mail is sealed or unsealed: at every start the mail is there whole, and when it is sealed at
 * last nothing of it is left in the clear. POSTERN_SEEDS says how many databases (default 8); each meets several faults in a row. */
#include "support/fault_vfs.h"
#include "support/random.h"
#include "support/store_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MESSAGES = 40, LARGE = 600 * 1024, STARTS = 6 };

static size_t size_of(uint64_t id)
{
    return id % 8 == 0 ? (size_t)LARGE : 300 + 50 * (size_t)id;
}

static char *body_of(uint64_t id)
{
    char *body = malloc(size_of(id));
    assert_non_null(body);
    world_fill(id, body, size_of(id));
    memcpy(body + 100, "canary-in-the-coal-mine", 23);
    return body;
}

static void fill(struct world *w)
{
    assert_int_equal(world_open(w), RESULT_OK);
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        char *body = body_of(id);
        assert_int_equal(world_put(w, id, slice_of(body, size_of(id)), 1 + id % 5, 1), RESULT_OK);
        free(body);
    }
    assert_int_equal(world_finish(w, 1, 0, STORE_QUEUED, "452 mailbox-is-full", false), RESULT_OK);
    world_close(w);
}

static void assert_whole(struct world *w, uint64_t seed)
{
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        struct store_job *job = NULL;
        char *body = body_of(id);
        struct slice read = world_body(w, id);
        if (read.len != size_of(id) || memcmp(read.ptr, body, read.len) != 0 || world_load(w, id, SLICE("hop0"), &job) != RESULT_OK)
            fail_msg("seed %llu: message %llu is not whole", (unsigned long long)seed, (unsigned long long)id);
        bool is_right = job->nrecipients == 1 + id % 5 && slice_equal(job->recipients[0].envelope.address, SLICE("r0@hop0.example")) &&
                        slice_equal(job->message.envelope.sender, SLICE("alice@example.org"));
        if (!is_right)
            fail_msg("seed %llu: the envelope of message %llu has changed", (unsigned long long)seed, (unsigned long long)id);
        store_job_free(&job);
        free(body);
        free((char *)(uintptr_t)read.ptr);
    }
}

/* True: the fault came in its way. */
static bool start_with_fault(struct world *w, uint64_t seed, uint64_t *random)
{
    static const enum fault_kind kinds[] = {FAULT_POWER, FAULT_POWER, FAULT_IO, FAULT_FULL, FAULT_SHORT, FAULT_SYNC};
    enum fault_kind kind = kinds[random_draw(random) % 6];
    w->seal.is_wanted = random_draw(random) % 3 > 0;
    w->config.vfs = "fault";
    fault_vfs_arm(kind, 1 + random_draw(random) % 500, kind == FAULT_POWER || random_draw(random) % 2);
    enum result result = world_open(w);
    bool has_fired = fault_vfs_has_fired();
    if (kind != FAULT_POWER)
        fault_vfs_disarm();
    if (result == RESULT_OK && !has_fired)
        assert_whole(w, seed);
    if (result != RESULT_OK && (!has_fired || w->why[0] == '\0'))
        fail_msg("seed %llu: %s: %s", (unsigned long long)seed, result_name(result), w->why);
    world_close(w);
    if (kind == FAULT_POWER) {
        char shm[128];
        fault_vfs_power_cut(random_draw(random));
        snprintf(shm, sizeof shm, "%s-shm", w->path);
        unlink(shm);
    }
    fault_vfs_disarm();
    return has_fired;
}

static void start_well(struct world *w, uint64_t seed, bool is_wanted)
{
    w->config.vfs = NULL;
    w->seal.is_wanted = is_wanted;
    if (world_open(w) != RESULT_OK)
        fail_msg("seed %llu: %s", (unsigned long long)seed, w->why);
    assert_whole(w, seed);
    world_close(w);
    const char *problem = model_check_rows(w);
    if (problem)
        fail_msg("seed %llu: %s", (unsigned long long)seed, problem);
}

static void assert_nothing_on_disk(const struct world *w, uint64_t seed)
{
    static const char *const canaries[] = {"canary-in-the-coal-mine", "alice@example.org", "@hop0.example", "mailbox-is-full"};
    for (size_t i = 0; i < sizeof canaries / sizeof *canaries; i++)
        if (world_has_on_disk(w, canaries[i]))
            fail_msg("seed %llu: %s lies on the disk", (unsigned long long)seed, canaries[i]);
}

static void no_fault_loses_mail_or_leaves_it_in_the_clear(void **state)
{
    (void)state;
    const char *text = getenv("POSTERN_SEEDS");
    uint64_t n = 8, nfired = 0;
    assert_true(!text || slice_to_u64(slice_from_cstr(text), UINT64_MAX, &n));
    fault_vfs_register();
    for (uint64_t seed = 1; seed <= n; seed++) {
        struct world w;
        uint64_t random = seed;
        world_make(&w);
        fill(&w);
        world_seal(&w, 7);
        for (int i = 0; i < STARTS; i++) {
            nfired += start_with_fault(&w, seed, &random);
            if (random_draw(&random) % 4 == 0)
                start_well(&w, seed, random_draw(&random) % 2);
        }
        start_well(&w, seed, true);
        assert_nothing_on_disk(&w, seed);
        world_end(&w);
    }
    assert_true(nfired > n); /* the faults did come in the middle of things */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_fault_loses_mail_or_leaves_it_in_the_clear)};
    return cmocka_run_group_tests_name("sealing", tests, NULL, NULL);
}
