/* A race allocates when it is made, and never after. */
#include "path/race.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void scenario(void *context)
{
    (void)context;
    struct path paths[8] = {{.port = 465}};
    struct race_config config = {0};
    struct race_action action;
    struct race *race = race_new(&config, paths, 8, 0);
    if (!race) {
        assert_true(oom_has_failed());
        return;
    }
    for (int64_t now_ms = 0; now_ms < 40000; now_ms += 10)
        while (race_next(race, now_ms, &action))
            ;
    assert_int_equal(action.type, RACE_LOST);
    race_free(&race);
}

static void test_memory(void **state)
{
    (void)state;
    assert_int_equal(oom_loop(10, scenario, NULL), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
