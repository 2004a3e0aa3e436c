/* The control socket, with a real asker in a thread. */
#include "net/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct asker {
    const char *path, *command;
    enum result result;
    char lines[4096];
    uv_thread_t thread;
    uv_async_t *done;
};

static void on_line(void *context, const json_t *line)
{
    struct asker *asker = context;
    char *text = json_dumps(line, JSON_COMPACT | JSON_SORT_KEYS);
    size_t len = strlen(asker->lines);
    snprintf(asker->lines + len, sizeof asker->lines - len, "%s\n", text);
    free(text);
}

static void ask(void *context)
{
    struct asker *asker = context;
    json_t *arguments = json_pack("{s:i}", "n", 7);
    asker->result = control_ask(asker->path, asker->command, arguments, on_line, asker);
    json_decref(arguments);
    uv_async_send(asker->done);
}

static void handler(void *context, struct control_call *call, const char *command, const json_t *arguments)
{
    (void)context;
    if (strcmp(command, "echo") == 0) {
        control_progress(call, json_integer(1));
        control_progress(call, json_integer(2));
        control_result(call, json_deep_copy(arguments));
    } else if (strcmp(command, "forget") == 0) {
        control_result(call, NULL);
    } else {
        control_error(call, EX_USAGE, "no command \"%s\"", command);
    }
}

static void stop(uv_async_t *done)
{
    control_server_close(done->data, NULL, NULL);
    uv_close((uv_handle_t *)done, NULL);
}

static void run_one(const char *command, struct asker *asker)
{
    uv_loop_t loop;
    uv_async_t done;
    char folder[] = "/tmp/postern-control-XXXXXX", path[64], why[200];
    struct control_server *server;

    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/control.sock", folder);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(control_server_open(&server, &loop, path, handler, NULL, NULL, why, sizeof why), RESULT_OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    uv_async_init(&loop, &done, stop);
    done.data = server;
    *asker = (struct asker){.path = path, .command = command, .done = &done};
    assert_int_equal(uv_thread_create(&asker->thread, ask, asker), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_thread_join(&asker->thread);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(access(path, F_OK), -1);
    rmdir(folder);
}

static void test_progress_then_result(void **state)
{
    struct asker asker;
    (void)state;
    run_one("echo", &asker);
    assert_int_equal(asker.result, RESULT_OK);
    assert_string_equal(asker.lines, "{\"progress\":1}\n{\"progress\":2}\n{\"result\":{\"n\":7}}\n");
}

static void test_error_has_words_and_exit_code(void **state)
{
    struct asker asker;
    (void)state;
    run_one("dance", &asker);
    assert_int_equal(asker.result, RESULT_OK);
    assert_string_equal(asker.lines, "{\"error\":\"no command \\\"dance\\\"\",\"exit\":64}\n");
}

static void test_memory_shortage_is_an_error_not_silence(void **state)
{
    struct asker asker;
    (void)state;
    run_one("forget", &asker);
    assert_int_equal(asker.result, RESULT_OK);
    assert_non_null(strstr(asker.lines, "out of memory"));
}

static void test_nobody_listens(void **state)
{
    struct asker asker = {0};
    (void)state;
    assert_int_equal(control_ask("/tmp/postern-control-none/control.sock", "echo", NULL, on_line, &asker), RESULT_NOT_FOUND);
}

static void test_local_call_is_the_same_handler(void **state)
{
    struct asker asker = {0};
    json_t *arguments = json_pack("{s:i}", "n", 8);
    (void)state;
    control_call_local(handler, NULL, "echo", arguments, on_line, &asker);
    json_decref(arguments);
    assert_string_equal(asker.lines, "{\"progress\":1}\n{\"progress\":2}\n{\"result\":{\"n\":8}}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_progress_then_result),        cmocka_unit_test(test_error_has_words_and_exit_code),
        cmocka_unit_test(test_memory_shortage_is_an_error_not_silence), cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_local_call_is_the_same_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
