/* Power cuts. The disk loses, tears or garbles what was not synced; what was acknowledged is there whole afterwards, and nothing is half.
 * POSTERN_SEEDS says how many (default 60); a failure names its seed, and POSTERN_SEED=n repeats that one. */
#include "support/fault_vfs.h"
#include "support/random.h"
#include "support/store_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    uint64_t value = otherwise;
    const char *text = getenv(name);
    if (text && !slice_to_u64(slice_from_cstr(text), UINT64_MAX, &value))
        fail_msg("%s is no number", name);
    return value;
}

static void assert_none(const char *problem, uint64_t seed)
{
    if (problem)
        fail_msg("seed %llu: %s", (unsigned long long)seed, problem);
}

static void cut_once(struct world *w, struct model *m, uint64_t seed)
{
    uint64_t random = seed;
    *m = (struct model){.seed = seed};
    world_make(w);
    w->config.vfs = "fault";
    if (seed % 2)
        world_seal(w, 1);
    w->config.log_kib = 256; /* so that checkpoints are among what is cut */
    fault_vfs_arm(FAULT_POWER, 1 + random_draw(&random) % 700, true);
    if (world_open(w) == RESULT_OK)
        model_run(w, m, 20 + (uint32_t)(random_draw(&random) % 40), 1 + (uint32_t)(random_draw(&random) % 8));
    world_close(w);
    fault_vfs_power_cut(random_draw(&random));
}

static void after_a_power_cut_nothing_is_lost_or_half(void **state)
{
    (void)state;
    static struct model m;
    struct world w;
    char shm[128];
    uint64_t only = number_from("POSTERN_SEED", 0), n = only ? 1 : number_from("POSTERN_SEEDS", 60), ncut = 0, nacknowledged = 0, nresumed = 0;
    fault_vfs_register();
    for (uint64_t i = 0; i < n; i++) {
        uint64_t seed = only ? only : i + 1;
        cut_once(&w, &m, seed);
        snprintf(shm, sizeof shm, "%s-shm", w.path);
        unlink(shm);
        ncut += m.nfailed > 0;
        nresumed += m.nresumed;
        for (uint32_t k = 0; k < m.count; k++)
            nacknowledged += m.messages[k].put == STEP_DONE;
        w.config.vfs = NULL;
        if (world_open(&w) != RESULT_OK)
            fail_msg("seed %llu: %s", (unsigned long long)seed, w.why);
        assert_none(model_check(&w, &m, false), seed);
        world_close(&w);
        assert_none(model_check_rows(&w), seed);
        world_end(&w);
    }
    assert_true(only || (ncut > n / 2 && nacknowledged > n && nresumed > n / 4)); /* the cuts did come in the middle of things */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(after_a_power_cut_nothing_is_lost_or_half)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
