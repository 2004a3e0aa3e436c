/* The system's proxies: what a child says is heard, whatever it is. The child is this program again: see child(). */
#include "system_proxies.h"

#include "support/netloop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "postern-agent proxies HOST", as each host wants it. */
static int child(const char *host)
{
    if (strcmp(host, "two.test") == 0)
        puts("http://anna:a%40b@proxy.test:3128\nsocks5://10.0.0.1");
    else if (strcmp(host, "rubbish.test") == 0)
        fputs("\n\nftp://x\nhttp://\nhttp://a b:1\n\x01\xff\nsocks://ok.test:9", stdout);
    else if (strcmp(host, "many.test") == 0)
        for (int i = 1; i < 10; i++)
            printf("http://proxy%d.test:%d\n", i, i);
    else if (strcmp(host, "endless.test") == 0)
        while (puts("http://proxy.test:1") >= 0)
            ;
    else if (strcmp(host, "silent.test") == 0)
        pause();
    else if (strcmp(host, "crash.test") == 0)
        abort();
    return 0;
}

struct answer {
    unsigned told;
    size_t n;
    char text[512];
};

static void on_answer(void *context, const struct settings_proxy *proxies, size_t n)
{
    struct answer *answer = context;
    size_t len = 0;
    answer->told++;
    answer->n = n;
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(answer->text + len, sizeof answer->text - len, "%s %.*s %u %.*s %.*s;", path_via_name(proxies[i].via), SLICE_ARG(proxies[i].host),
                                (unsigned)proxies[i].port, SLICE_ARG(proxies[i].user), SLICE_ARG(proxies[i].password));
}

static char program[4096]; /* this test */

static void ask(const char *host, int64_t timeout_ms, struct answer *answer)
{
    struct netloop net;
    struct system_proxies *asked;
    *answer = (struct answer){0};
    netloop_open(&net);
    assert_int_equal(system_proxies_ask(&asked, &net.loop, program, host, timeout_ms, NULL, on_answer, answer), RESULT_OK);
    assert_int_equal(answer->told, 0);
    NET_UNTIL(&net, answer->told > 0);
    netloop_close(&net);
    assert_int_equal(answer->told, 1);
}

static void test_answers(void **state)
{
    static const struct {
        const char *host, *text;
    } rows[] = {
        {"two.test", "http-connect proxy.test 3128 anna a@b;socks5 10.0.0.1 1080  ;"},
        {"rubbish.test", "socks5 ok.test 9  ;"},
        {"many.test", "http-connect proxy1.test 1  ;http-connect proxy2.test 2  ;http-connect proxy3.test 3  ;http-connect proxy4.test 4  ;"},
        {"none.test", ""},
        {"crash.test", ""},
    };
    struct answer answer;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ask(rows[i].host, 0, &answer);
        assert_string_equal(answer.text, rows[i].text);
    }
}

static void test_a_child_that_does_not_end_is_ended(void **state)
{
    struct answer answer;
    (void)state;
    ask("endless.test", 0, &answer);
    assert_int_equal(answer.n, SYSTEM_PROXIES_COUNT);
    ask("silent.test", 20, &answer);
    assert_int_equal(answer.n, 0);
}

static void test_cancelled(void **state)
{
    struct netloop net;
    struct system_proxies *asked;
    struct answer answer = {0};
    (void)state;
    netloop_open(&net);
    assert_int_equal(system_proxies_ask(&asked, &net.loop, program, "silent.test", 0, NULL, on_answer, &answer), RESULT_OK);
    system_proxies_cancel(&asked);
    assert_null(asked);
    netloop_close(&net); /* which waits for the child's end */
    assert_int_equal(answer.told, 0);
}

static void test_no_such_program(void **state)
{
    struct netloop net;
    struct system_proxies *asked;
    struct answer answer = {0};
    (void)state;
    netloop_open(&net);
    assert_int_equal(system_proxies_ask(&asked, &net.loop, "/nonexistent/postern-agent", "two.test", 0, NULL, on_answer, &answer), RESULT_IO);
    assert_null(asked);
    netloop_close(&net);
    assert_int_equal(answer.told, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_a_child_that_does_not_end_is_ended),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_no_such_program),
    };
    if (argc == 3 && strcmp(argv[1], "proxies") == 0)
        return child(argv[2]);
    size_t size = sizeof program;
    if (uv_exepath(program, &size) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
