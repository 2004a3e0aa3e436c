/* A database with mail is sealed, or unsealed, on a disk that has little room or none: a small tmpfs of its own. It goes on in steps as small as need be, takes no more of the disk than it gives back, and
 * what it could not overwrite yet it says, and does when there is room. */
#include "support/fault_vfs.h"
#include "support/small_disk.h"
#include "support/store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MESSAGES = 18, BODY = 1000 * 1000 };
#define CANARY "canary-in-the-coal-mine"

static char *body_of(uint64_t id)
{
    char *body = malloc(BODY);
    assert_non_null(body);
    world_fill(id, body, BODY);
    for (size_t at = 100; at + 100 < BODY; at += 50 * (size_t)1000)
        memcpy(body + at, CANARY, strlen(CANARY));
    return body;
}

static void put_all(struct world *w)
{
    assert_int_equal(world_open(w), RESULT_OK);
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        char *body = body_of(id);
        assert_int_equal(world_put(w, id, slice_of(body, BODY), 2, 1), RESULT_OK);
        free(body);
    }
    world_close(w);
    assert_true(world_has_on_disk(w, CANARY));
}

static void assert_whole(struct world *w)
{
    for (uint64_t id = 1; id <= MESSAGES; id++) {
        char *body = body_of(id);
        struct slice read = world_body(w, id);
        assert_int_equal(read.len, BODY);
        assert_memory_equal(read.ptr, body, BODY);
        free((char *)(uintptr_t)read.ptr);
        free(body);
    }
}

static void drop_reserve(const struct world *w)
{
    char path[128];
    snprintf(path, sizeof path, "%s.reserve", w->path);
    assert_int_equal(truncate(path, 0), 0);
}

static void open_is_right(struct world *w)
{
    enum result result = world_open(w);
    if (result != RESULT_OK)
        fail_msg("%s: %s", result_name(result), w->why);
    assert_whole(w);
}

/* Beside the reserve, which is not touched either. */
static void with_little_room_it_is_sealed_and_unsealed(void **state)
{
    struct world *w = *state;
    put_all(w);
    for (int64_t left = 3 * MIB; left >= 256 * 1024; left /= 3) {
        small_disk_fill(w, left);
        world_seal(w, 7);
        open_is_right(w);
        assert_true(store_is_sealed(w->store));
        assert_in_range(store_wipe_octets(w->store), MESSAGES * BODY, 2 * MESSAGES * BODY);
        assert_int_equal(small_disk_size(w, "test.db.reserve"), 4 * MIB);
        assert_int_equal(world_finish(w, 1, 0, STORE_QUEUED, "451 4.3.1 later", false), RESULT_OK);
        world_close(w);
        w->seal.is_wanted = false;
        open_is_right(w);
        assert_false(store_is_sealed(w->store));
        assert_int_equal(store_wipe_octets(w->store), 0);
        world_close(w);
        assert_int_equal(small_disk_size(w, "test.db.reserve"), 4 * MIB);
        small_disk_clear(w);
    }
}

static void count_errors(void *context, enum log_level level, struct slice line)
{
    (void)line;
    *(size_t *)context += level == LOG_ERROR;
}

/* Enough for all of the rows once more, not for all and what new mail may not touch. Nor is the disk filled to find that out: it is not ours alone. */
static void what_it_took_of_the_disk_is_there_for_mail(void **state)
{
    struct world *w = *state;
    size_t nerrors = 0;
    w->log = (struct log){.level = LOG_INFO, .sink = count_errors, .context = &nerrors};
    put_all(w);
    small_disk_fill(w, 18 * MIB);
    world_seal(w, 7);
    open_is_right(w);
    assert_true(store_wipe_octets(w->store) > MESSAGES * BODY);
    assert_true(small_disk_size(w, "test.db-wal") <= MIB);
    assert_int_equal(world_put(w, 100, SLICE("x"), 1, 0), RESULT_OK);
    world_close(w);
    w->seal.is_wanted = false;
    assert_int_equal(world_open(w), RESULT_OK);
    assert_int_equal(world_put(w, 101, SLICE("x"), 1, 0), RESULT_OK);
    assert_int_equal(nerrors, 0);
    world_close(w);
}

static void what_could_not_be_overwritten_is_at_a_start_with_room(void **state)
{
    struct world *w = *state;
    put_all(w);
    small_disk_fill(w, MIB);
    world_seal(w, 7);
    assert_int_equal(world_open(w), RESULT_OK);
    world_reopen(w);
    assert_true(store_wipe_octets(w->store) > 0);
    small_disk_clear(w);
    world_reopen(w);
    assert_int_equal(store_wipe_octets(w->store), 0);
    assert_whole(w);
    world_close(w);
    assert_false(world_has_on_disk(w, CANARY));
}

static void on_line(void *context, enum log_level level, struct slice line)
{
    (void)level;
    if (memmem(line.ptr, line.len, "store-sealed", 12))
        uv_sem_post(context);
}

/* A queue that the full disk was full of makes the room when it is delivered. */
static void it_is_overwritten_as_soon_as_the_mail_has_gone(void **state)
{
    struct world *w = *state;
    uv_sem_t sealed;
    assert_int_equal(uv_sem_init(&sealed, 0), 0);
    w->log = (struct log){.level = LOG_INFO, .sink = on_line, .context = &sealed};
    put_all(w);
    small_disk_fill(w, 6 * MIB);
    world_seal(w, 7);
    assert_int_equal(world_open(w), RESULT_OK);
    assert_int_equal(uv_sem_trywait(&sealed), UV_EAGAIN);
    for (uint64_t id = 1; id <= MESSAGES; id++)
        for (uint32_t seq = 0; seq < 2; seq++)
            assert_int_equal(world_finish(w, id, seq, STORE_DELIVERED, "250 2.0.0 thanks", false), RESULT_OK);
    uv_sem_wait(&sealed);
    assert_int_equal(store_wipe_octets(w->store), 0);
    assert_false(world_has_on_disk(w, CANARY));
    assert_string_equal(world_state(w, 1), "delivered");
    assert_int_equal(world_put(w, 100, SLICE("x"), 1, 1), RESULT_OK);
    world_reopen(w);
    assert_string_equal(world_state(w, 100), "queued");
    world_close(w);
    uv_sem_destroy(&sealed);
}

static void without_any_it_says_what_it_needs_and_goes_on_with_that(void **state)
{
    struct world *w = *state;
    put_all(w);
    drop_reserve(w);
    world_seal(w, 7);
    small_disk_fill(w, 0); /* it is not even opened */
    assert_int_equal(world_open(w), RESULT_FULL);
    assert_non_null(strstr(w->why, "4 MB"));
    small_disk_clear(w);
    small_disk_fill(w, 64 * 1024);
    assert_int_equal(world_open(w), RESULT_FULL);
    assert_non_null(strstr(w->why, "nothing is lost"));
    assert_non_null(strstr(w->why, "4 MB"));
    world_close(w);
    small_disk_clear(w);
    small_disk_fill(w, 4 * MIB);
    open_is_right(w);
    assert_true(store_is_sealed(w->store));
}

/* Others fill the disk while it is overwritten. */
static void a_log_that_could_not_be_finished_gives_its_room_back(void **state)
{
    struct world *w = *state;
    put_all(w);
    small_disk_fill(w, MIB);
    world_seal(w, 7);
    assert_int_equal(world_open(w), RESULT_OK); /* and only the overwriting is due */
    world_close(w);
    small_disk_clear(w);
    fault_vfs_register();
    w->config.vfs = "fault";
    fault_vfs_arm(FAULT_FULL, 1000, false);
    open_is_right(w);
    assert_true(fault_vfs_has_fired());
    fault_vfs_disarm();
    assert_true(store_wipe_octets(w->store) > MESSAGES * BODY);
    assert_int_equal(small_disk_size(w, "test.db-wal"), 0);
}

/* As with a quota, which no number of free octets tells of. */
static void a_disk_that_is_full_unexpectedly_costs_no_reserve(void **state)
{
    struct world *w = *state;
    put_all(w);
    fault_vfs_register();
    w->config.vfs = "fault";
    for (int to = 1; to >= 0; to--) {
        world_seal(w, 7);
        w->seal.is_wanted = to;
        fault_vfs_arm(FAULT_FULL, 300, false);
        open_is_right(w);
        assert_true(fault_vfs_has_fired());
        fault_vfs_disarm();
        assert_int_equal(small_disk_size(w, "test.db.reserve"), 4 * MIB);
        world_close(w);
    }
}

int main(void)
{
    if (!small_disk_unshare())
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(with_little_room_it_is_sealed_and_unsealed, small_disk_setup, small_disk_teardown),
        cmocka_unit_test_setup_teardown(what_it_took_of_the_disk_is_there_for_mail, small_disk_setup, small_disk_teardown),
        cmocka_unit_test_setup_teardown(what_could_not_be_overwritten_is_at_a_start_with_room, small_disk_setup, small_disk_teardown),
        cmocka_unit_test_setup_teardown(it_is_overwritten_as_soon_as_the_mail_has_gone, small_disk_setup, small_disk_teardown),
        cmocka_unit_test_setup_teardown(without_any_it_says_what_it_needs_and_goes_on_with_that, small_disk_setup, small_disk_teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_is_full_unexpectedly_costs_no_reserve, small_disk_setup, small_disk_teardown),
        cmocka_unit_test_setup_teardown(a_log_that_could_not_be_finished_gives_its_room_back, small_disk_setup, small_disk_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
