/* Memory that runs out about the challenge and the monitor: no relay is taken for a portal, and nothing that was not started calls back. */
#include "net/challenge.h"
#include "net/monitor_internal.h"
#include "support/certificates.h"
#include "support/netloop.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct slice NONCE = SLICE("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
static struct tls_context *server, *client;

static void check(void *context)
{
    const struct buffer *out = context;
    enum result result = challenge_check(client, "relay.example", NONCE, buffer_slice(out));
    assert_true(result == RESULT_OK || (oom_has_failed() && result == RESULT_MEMORY));
}

/* (The relay's side can't be looped over: how much memory a signature takes, its random number decides.) */
static void test_check(void **state)
{
    struct buffer out = BUFFER(CHALLENGE_ANSWER_MAX);
    (void)state;
    assert_int_equal(challenge_answer(server, NONCE, &out), RESULT_OK);
    assert_true(oom_loop(5000, check, &out) >= 1); /* where mbedTLS is the system's, its own are out of reach */
    buffer_free(&out);
}

static void never(void *context, enum challenge_result result, const char *words)
{
    (void)context, (void)result, (void)words;
    fail_msg("told of a question that was cancelled or never began");
}

static void ask(void *context)
{
    struct netloop *net = context;
    struct challenge_ask question = {.tls = client, .server_name = "relay.example", .on_end = never};
    struct challenge *challenge;
    int listener = netloop_listen(&question.address);
    enum result result = challenge_start(&challenge, &net->loop, &question);
    assert_true(result == RESULT_OK || (oom_has_failed() && (result == RESULT_MEMORY || result == RESULT_IO) && !challenge));
    if (result == RESULT_OK)
        challenge_cancel(&challenge);
    for (int i = 0; i < 10; i++)
        uv_run(&net->loop, UV_RUN_NOWAIT);
    close(listener);
}

static void on_change(void *context, const struct monitor_event *event)
{
    (void)context, (void)event;
}

static void on_closed(void *context)
{
    *(bool *)context = true;
}

static void watch(void *context)
{
    struct netloop *net = context;
    struct monitor *monitor;
    bool is_closed = false;
    const struct monitor_config config = {.on_change = on_change};
    enum result result = monitor_start_polling(&monitor, &net->loop, &config);
    assert_true(result == RESULT_OK || (oom_has_failed() && result == RESULT_MEMORY && !monitor));
    if (result != RESULT_OK)
        return;
    for (int i = 0; i < 3; i++)
        uv_run(&net->loop, UV_RUN_NOWAIT);
    monitor_stop(&monitor, on_closed, &is_closed);
    while (!is_closed)
        uv_run(&net->loop, UV_RUN_NOWAIT);
}

static void test_start(void **state)
{
    struct netloop net;
    (void)state;
    netloop_open(&net);
    assert_true(oom_loop(100, ask, &net) >= 2);
    assert_true(oom_loop(100, watch, &net) >= 2);
    netloop_close(&net);
}

static int make_contexts(void **state)
{
    (void)state;
    certificates_contexts(&server, &client);
    return 0;
}

static int drop_contexts(void **state)
{
    (void)state;
    tls_context_unref(&server);
    tls_context_unref(&client);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_start),
    };
    return cmocka_run_group_tests(tests, make_contexts, drop_contexts);
}
