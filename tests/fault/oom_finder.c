/* The finder when memory runs out: a search that can't be held is lost, and comes again; nothing is remembered by halves; nothing leaks. */
#include "support/oom.h"

#include "path/finder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct finder_way WAYS[] = {{.port = 465, .mode = PATH_TLS}, {.port = 443, .mode = PATH_TLS}};
static const struct path_address RELAY = {.family = 4, .octets = {192, 0, 2, 1}};

/* 465 is refused, 443 is the way, and carries. True: it was found. */
static bool travel(struct finder *finder, int64_t until_ms)
{
    struct finder_action action;
    for (int64_t now_ms = 0; now_ms < until_ms; now_ms += 10)
        while (finder_next(finder, now_ms, &action)) {
            if (action.type == FINDER_CONNECT && action.path.port == 465)
                finder_failed(finder, action.trial, PATH_REFUSED, NULL, now_ms);
            else if (action.type == FINDER_CONNECT)
                finder_connected(finder, action.trial, now_ms);
            else if (action.type == FINDER_HANDSHAKE)
                finder_proven(finder, action.trial, now_ms);
            else if (action.type == FINDER_LOST)
                assert_true(oom_has_failed());
            if (action.type != FINDER_USE)
                continue;
            finder_carried(finder, 1000, now_ms);
            finder_ended(finder, FINDER_END_DIED, PATH_DIED_EARLY, NULL, now_ms);
            return true;
        }
    return false;
}

static void scenario(void *context)
{
    (void)context;
    const struct memory_key key = {{1}};
    struct schedule patience;
    assert_int_equal(schedule_parse(SLICE("100ms"), &patience), RESULT_OK);
    struct memory *memory = memory_new();
    const struct finder_config config = {.patience = &patience, .memory = memory};
    struct finder *finder = memory ? finder_new(&config, 0) : NULL;
    if (finder) {
        finder_set_wall(finder, INT64_C(1700000000000), 0);
        finder_set_ways(finder, WAYS, 2, 0);
        finder_set_network(finder, &key, true, false, 0);
        finder_resolved(finder, &RELAY, 1, 0);
        finder_proxies(finder, NULL, 0, true, 0);
        finder_want(finder, FINDER_WISH_DUE, 0);
        assert_true(travel(finder, 2000) || oom_has_failed());
        finder_free(&finder);
    } else {
        assert_true(oom_has_failed());
    }
    if (memory)
        memory_free(&memory);
}

static void test_travel(void **state)
{
    (void)state;
    /* Two memories, the finder, its race, the network; and the race and the network again, since they come again. */
    assert_true(oom_loop(20, scenario, NULL) >= 5);
}

static void read_and_write(void *context)
{
    (void)context;
    static const struct slice text = SLICE("postern-memory 1 relay\naddress 192.0.2.1\nnetwork 01000000000000000000000000000000 1699999999000\npath 1 0 1 1 open 192.0.2.1:465 tls\n"
                                           "network 02000000000000000000000000000000 1699999999000\npath 1 0 1 1 open 192.0.2.1:465 tls\n");
    struct buffer out = {0};
    struct memory *memory = memory_new();
    if (!memory) {
        assert_true(oom_has_failed());
        return;
    }
    enum result result = memory_read(memory, text, SLICE("relay"), INT64_C(1700000000000));
    size_t n;
    const struct memory_path *paths = memory_paths(memory, &(struct memory_key){{1}}, INT64_C(1700000000000), &n);
    assert_true(result == RESULT_OK ? paths != NULL : (result == RESULT_MEMORY && oom_has_failed() && !paths));
    if (result == RESULT_OK) {
        enum result written = memory_write(memory, SLICE("relay"), &out);
        assert_true(written == RESULT_OK ? slice_equal(buffer_slice(&out), text) : (written == RESULT_MEMORY && oom_has_failed()));
    }
    buffer_free(&out);
    memory_free(&memory);
}

static void test_text(void **state)
{
    (void)state;
    assert_true(oom_loop(20, read_and_write, NULL) >= 4);
}

static void describe(void *context)
{
    (void)context;
    const struct network_trial trials[] = {{.path = {.port = 465}, .verdict = PATH_WRONG_CERTIFICATE, .whose = "fw.example"}, {.path = {.port = 25}, .verdict = PATH_DROPPED}};
    const struct network_facts facts = {.trials = trials, .n = 2};
    struct buffer out = {0};
    enum result described = network_describe(&facts, NULL, &out), summed = network_summary(&facts, SLICE("relay"), &out);
    assert_true((described == RESULT_OK && summed == RESULT_OK) || oom_has_failed());
    buffer_free(&out);
}

static void test_words(void **state)
{
    (void)state;
    assert_true(oom_loop(20, describe, NULL) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_travel), cmocka_unit_test(test_text), cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
