/* Memory that runs out in the dialogue with a proxy: the tunnel is not made, or refuses; it is never open without the proxy's yes. */
#include "net/outbound.h"
#include "support/netloop.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct scene {
    struct tunnel_config config;
    struct slice said;
};

static void scenario(void *context)
{
    const struct scene *scene = context;
    struct tunnel *tunnel;
    enum result result = tunnel_new(&tunnel, &scene->config);
    assert_true(result == RESULT_OK || (oom_has_failed() && result == RESULT_MEMORY && !tunnel));
    if (result != RESULT_OK)
        return;
    struct slice left = scene->said;
    while (left.len > 0 && tunnel_state(tunnel) == TUNNEL_TALKING) {
        tunnel_sent(tunnel, tunnel_output(tunnel).len);
        left = slice_skip(left, tunnel_feed(tunnel, slice_take(left, 3)));
    }
    if (tunnel_state(tunnel) == TUNNEL_OPEN) {
        assert_int_equal(left.len, 0);
    } else {
        assert_true(oom_has_failed());
        assert_int_equal(tunnel_state(tunnel), TUNNEL_REFUSED);
        assert_string_equal(tunnel_words(tunnel), "out of memory");
    }
    tunnel_free(&tunnel);
}

static void test_http(void **state)
{
    struct scene scene = {{PATH_HTTP_CONNECT, SLICE("2001:db8::1"), 465, SLICE("alice"), SLICE("open sesame")},
                          SLICE("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nProxy-Authenticate: Basic\r\n\r\n")};
    (void)state;
    assert_true(oom_loop(100, scenario, &scene) >= 4);
}

static void test_socks5(void **state)
{
    struct scene scene = {{PATH_SOCKS5, SLICE("relay.example"), 465, SLICE("alice"), SLICE("open sesame")},
                          SLICE("\x05\x02\x01\x00\x05\x00\x00\x03\x05proxy\x01\xbb")};
    (void)state;
    assert_true(oom_loop(100, scenario, &scene) >= 4);
}

/* A connection that is to go through a proxy is either made, and ends orderly, or leaves nothing behind. */
static void dial(void *context)
{
    const struct tunnel_config *config = context;
    struct outbound_target target = {.tunnel = config, .smtp = {.security = SMTP_SECURITY_NONE, .ehlo_name = SLICE("agent.example")}};
    struct outbound *outbound;
    struct netloop net;
    oom_suspend();
    int listener = netloop_listen(&target.address);
    netloop_open(&net);
    oom_resume();
    enum result result = outbound_open(&outbound, &net.loop, &target, (struct outbound_handler){0}, NULL);
    assert_true(result == RESULT_OK || (oom_has_failed() && result == RESULT_MEMORY && !outbound));
    if (result == RESULT_OK)
        outbound_close(outbound);
    oom_suspend();
    netloop_close(&net);
    close(listener);
    oom_resume();
}

static void test_outbound(void **state)
{
    struct tunnel_config config = {PATH_SOCKS5, SLICE("relay.example"), 465, SLICE("alice"), SLICE("open sesame")};
    (void)state;
    assert_true(oom_loop(100, dial, &config) >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http),
        cmocka_unit_test(test_socks5),
        cmocka_unit_test(test_outbound),
    };
    return cmocka_run_group_tests_name("oom/tunnel", tests, NULL, NULL);
}
