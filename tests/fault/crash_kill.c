/* SIGKILL before any write, truncation or sync. What was acknowledged is there, once and whole, and nothing is half; also when it happens again and
 * again to one database, in its opening too. POSTERN_SEEDS says how many kills (default 80). */
#include "support/fault_vfs.h"
#include "support/random.h"
#include "support/store_model.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void live_until_killed(struct world *w, struct model *m, uint64_t at)
{
    w->config.vfs = "fault";
    fault_vfs_arm(FAULT_KILL, at, false);
    if (world_open(w) != RESULT_OK)
        _exit(2);
    model_run(w, m, 25, 6);
    world_close(w);
    _exit(0);
}

/* True: it was killed. */
static bool one_life(struct world *w, struct model *m, uint64_t at)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        live_until_killed(w, m, at);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
        assert_int_equal(WTERMSIG(status), SIGKILL);
    else
        assert_int_equal(WEXITSTATUS(status), 0);
    return WIFSIGNALED(status);
}

static void check(struct world *w, const struct model *m, uint64_t at)
{
    const char *problem = world_open(w) == RESULT_OK ? model_check(w, m, false) : w->why;
    world_close(w);
    if (!problem)
        problem = model_check_rows(w);
    if (problem)
        fail_msg("killed at %llu: %s", (unsigned long long)at, problem);
}

static void whoever_is_killed_finds_what_he_promised(void **state)
{
    (void)state;
    struct model *m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const char *text = getenv("POSTERN_SEEDS");
    uint64_t lives = 80, random = 1, nkilled = 0, nresumed = 0;
    assert_true(m != MAP_FAILED && (!text || slice_to_u64(slice_from_cstr(text), UINT64_MAX, &lives)));
    struct world w;
    world_make(&w);
    world_seal(&w, 1);
    fault_vfs_register();
    for (uint64_t i = 0; i < lives; i++) {
        if (m->count + 25 > MODEL_MAX) {
            world_end(&w);
            world_make(&w);
            world_seal(&w, 1);
            *m = (struct model){.seed = i};
        }
        uint64_t at = i < 20 ? i + 1 : 1 + random_draw(&random) % 200;
        bool is_checked = i % 3 == 2; /* two kills may follow each other without a life between them */
        w.seal.is_wanted = i / 5 % 2; /* so that sealing and unsealing are killed, too */
        nkilled += one_life(&w, m, at);
        nresumed += m->nresumed;
        m->nresumed = 0;
        if (is_checked)
            check(&w, m, at);
    }
    check(&w, m, 0);
    /* How many, depends on how the commits group: on a busy machine a life has fewer writes to be killed at. */
    assert_true(nkilled > lives / 8 && nresumed > 0);
    world_end(&w);
    munmap(m, sizeof *m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whoever_is_killed_finds_what_he_promised)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
