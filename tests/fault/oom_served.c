/* What the relay counts on from run to run, when memory runs out: it is known in the end, and the epoch that was told once is the one that is kept. */
#include "served.h"

#include "support/oom.h"
#include "support/store_world.h"

#include "crypto/crypto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void drain(struct world *w, struct served *served)
{
    served_close(served);
    for (int i = 0; i < 2; i++)
        uv_run(&w->loop, UV_RUN_NOWAIT);
}

static void open_served(void *context)
{
    struct world w;
    struct served first, second;
    (void)context;
    oom_suspend();
    world_make(&w);
    assert_int_equal(world_open(&w), RESULT_OK);
    oom_resume();
    enum result result = served_open(&first, &w.loop, w.client, &w.log);
    assert_true(result == RESULT_OK || (oom_has_failed() && result == RESULT_MEMORY));
    oom_suspend();
    drain(&w, &first);
    assert_int_equal(served_open(&second, &w.loop, w.client, &w.log), RESULT_OK);
    assert_int_equal(strlen(second.epoch), SERVED_EPOCH);
    if (result == RESULT_OK)
        assert_string_equal(second.epoch, first.epoch);
    drain(&w, &second);
    world_end(&w);
    oom_resume();
}

static void the_epoch_is_kept_or_not_told(void **state)
{
    (void)state;
    assert_int_equal(crypto_init(), RESULT_OK);
    assert_in_range(oom_loop_varying(500, open_served, NULL), 4, 500);
    assert_in_range(oom_loop_everywhere(500, open_served, NULL), 5, 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_epoch_is_kept_or_not_told)};
    return cmocka_run_group_tests_name("served without memory", tests, NULL, NULL);
}
