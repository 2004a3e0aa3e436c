/* server/served.h: what is counted on from run to run. */
#include "support/store_names.h"

#include "served.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void put_time(struct world *world, const char *text)
{
    struct world_done done = {0};
    store_setting_put(world->client, SLICE("served-ms"), slice_from_cstr(text), world_on_done, &done);
    assert_int_equal(world_wait_done(world, &done), RESULT_OK);
}

static void open_again(struct world *world, struct served *served)
{
    assert_int_equal(world_open(world), RESULT_OK);
    assert_int_equal(served_open(served, &world->loop, world->client, &world->log), RESULT_OK);
}

static void close_all(struct world *world, struct served *served)
{
    served_close(served);
    uv_run(&world->loop, UV_RUN_DEFAULT); /* the timer's handle */
    world_close(world);
}

static void time_is_counted_on(void **state)
{
    struct world world;
    struct served served;
    (void)state;
    world_make(&world);
    open_again(&world, &served);
    int64_t first_ms = served_now_ms(&served);
    assert_true(first_ms >= 0 && first_ms < 3600 * 1000);
    put_time(&world, "86400000");
    served.store = NULL; /* killed: nothing is written down */
    uv_close((uv_handle_t *)&served.timer, NULL);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    world_close(&world);

    open_again(&world, &served);
    int64_t second_ms = served_now_ms(&served);
    assert_true(second_ms >= 86400000 && second_ms < 86400000 + 3600 * 1000);
    served.started_ns -= UINT64_C(3600) * 1000000000; /* an hour later */
    close_all(&world, &served);

    open_again(&world, &served);
    assert_true(served_now_ms(&served) >= second_ms + 3600 * 1000);
    close_all(&world, &served);
    world_end(&world);
}

/* Killed before the hour was over: what was begun before a device was enrolled stays so. */
static void it_is_never_behind_what_is_there(void **state)
{
    struct world world;
    struct served served;
    (void)state;
    world_make(&world);
    open_again(&world, &served);
    names_add_account(&world, "bob");
    names_enrol_device(&world, "one", 9, 1000000);
    served.store = NULL; /* killed */
    uv_close((uv_handle_t *)&served.timer, NULL);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    world_close(&world);
    open_again(&world, &served);
    assert_true(served_now_ms(&served) >= 1000000 && served_now_ms(&served) < 1000000 + 3600 * 1000);
    struct store_claim later = names_plain("t1");
    later.served_ms = 2000000;
    names_leave_half(&world, 5, names_naming(later, 0), 5000, true);
    close_all(&world, &served); /* writes an earlier time */
    open_again(&world, &served);
    assert_true(served_now_ms(&served) >= 2000000);
    close_all(&world, &served);
    world_end(&world);
}

static void an_epoch_is_a_databases(void **state)
{
    struct world world, other;
    struct served served;
    char first[SERVED_EPOCH + 1], told[SERVED_TELL_MAX], expected[SERVED_TELL_MAX];
    (void)state;
    world_make(&world);
    open_again(&world, &served);
    memcpy(first, served.epoch, sizeof first);
    assert_int_equal(strspn(first, "0123456789abcdefghijklmnopqrstuvwxyz"), SERVED_EPOCH);
    served_tell(&served, INT64_C(7) * 86400000, told);
    snprintf(expected, sizeof expected, "%s 604800", first);
    assert_string_equal(told, expected);
    close_all(&world, &served);
    open_again(&world, &served);
    assert_string_equal(served.epoch, first);
    close_all(&world, &served);
    world_end(&world);

    world_make(&other);
    open_again(&other, &served);
    assert_string_not_equal(served.epoch, first);
    close_all(&other, &served);
    world_end(&other);
}

static void a_time_that_is_none_is_not_guessed_at(void **state)
{
    struct world world;
    struct served served = {0};
    (void)state;
    world_make(&world);
    assert_int_equal(world_open(&world), RESULT_OK);
    put_time(&world, "yesterday");
    assert_int_equal(served_open(&served, &world.loop, world.client, &world.log), RESULT_CORRUPT);
    served_close(&served); /* never opened: nothing to do */
    world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_is_counted_on),
        cmocka_unit_test(it_is_never_behind_what_is_there),
        cmocka_unit_test(an_epoch_is_a_databases),
        cmocka_unit_test(a_time_that_is_none_is_not_guessed_at),
    };
    return cmocka_run_group_tests_name("served", tests, NULL, NULL);
}
