/* What the store keeps for the uplink, when the disk does not take it. */
#include "recall.h"

#include "support/fault_vfs.h"
#include "support/store_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void on_line(void *context, enum log_level level, struct slice line)
{
    (void)level;
    for (; line.len > 0; line = slice_skip(line, 1))
        *(int *)context += slice_starts_with(line, SLICE("profile-not-written"));
}

/* All that was asked of the store before has been answered. */
static void settle(struct world *w)
{
    struct world_done done = {0};
    store_setting_put(w->client, SLICE("x"), SLICE("x"), world_on_done, &done);
    assert_int_equal(world_wait_done(w, &done), RESULT_OK);
}

static void open_recall(struct world *w, struct recall *recall, const struct settings *settings)
{
    assert_int_equal(world_open(w), RESULT_OK);
    assert_int_equal(recall_open(recall, &w->loop, w->client, &w->log, settings), RESULT_OK);
}

static void close_recall(struct world *w, struct recall *recall)
{
    recall_close(recall);
    world_close(w);
}

/* A token that is lost is another device at the relay. */
static void a_profile_that_is_not_written_is_tried_again(void **state)
{
    struct world w;
    struct recall recall;
    struct settings settings = {.values = {.relay_host = SLICE("relay.example"), .user = SLICE("anna")}};
    char token[SASL_TOKEN];
    int nlines = 0;
    (void)state;
    memset(token, 7, sizeof token);
    world_make(&w);
    fault_vfs_register();
    w.config.vfs = "fault";
    w.log = (struct log){.level = LOG_WARNING, .sink = on_line, .context = &nlines};
    open_recall(&w, &recall, &settings);
    settle(&w);
    assert_true(profile_keep_device(&recall.profile, SLICE("d-1"), slice_of(token, sizeof token)));
    fault_vfs_arm(FAULT_SYNC, 1, false);
    recall_save_profile(&recall, &settings);
    while (nlines == 0)
        uv_run(&w.loop, UV_RUN_ONCE);
    assert_true(fault_vfs_has_fired());
    fault_vfs_disarm();
    recall_save_memory(&recall, &settings); /* nothing of the memory is new */
    settle(&w);
    assert_false(recall.is_profile_unwritten);
    close_recall(&w, &recall);

    open_recall(&w, &recall, &settings);
    assert_true(slice_equal(profile_device(&recall.profile), SLICE("d-1")));
    assert_true(slice_equal(profile_token(&recall.profile), slice_of(token, sizeof token)));
    close_recall(&w, &recall);
    assert_int_equal(nlines, 1);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_profile_that_is_not_written_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
