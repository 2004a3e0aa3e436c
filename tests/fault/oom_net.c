/* Memory that runs out under the drivers: a message goes from an outbound session to a service, in the clear and inside TLS, and each allocation on the way
 * fails once; the TLS handshake apart, whose ten thousand allocations vary from run to run. Whatever fails, each side hears the end exactly once, the loop is empty afterwards, and a message that was answered 250 had come whole. */
#include "net/outbound.h"
#include "net/service.h"
#include "net/tls_internal.h"
#include "support/certificates.h"
#include "support/netloop.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct scene {
    bool is_tls;
    struct netloop net;
    struct service *service;
    struct service_session *session;
    struct outbound *outbound;
    unsigned opened, closed, stopped, failed, ended;
    size_t octets;
    bool is_accepted;
    struct envelope envelope;
    struct envelope_recipient recipient;
    struct smtp_transaction transaction;
};

static struct tls_context *server_tls, *client_tls;
static const char BODY[] = "Subject: x\r\n\r\nhello\r\n";
enum { BODY_LEN = sizeof BODY - 1, ALLOCATIONS_MAX = 2000 };

static bool on_open(void *context, struct service_session *session, void **session_context, const char **refusal)
{
    struct scene *scene = context;
    (void)refusal;
    scene->session = session;
    scene->opened++;
    *session_context = scene;
    return true;
}

static void on_server_event(void *context, struct service_session *session, const struct smtp_server_event *event)
{
    static const struct smtp_reply yes = {.code = 250, .status = {2, 0, 0}, .text = {"ok", 2}};
    struct scene *scene = context;
    if (event->type == SMTP_SERVER_BODY)
        scene->octets += event->data.len;
    else if (event->type != SMTP_SERVER_TRANSACTION_ENDED)
        service_answer(session, &yes);
}

static void on_closed(void *context, struct service_session *session)
{
    struct scene *scene = context;
    assert_ptr_equal(scene->session, session);
    scene->session = NULL;
    scene->closed++;
}

static void on_stopped(void *context)
{
    ((struct scene *)context)->stopped++;
}

static void on_smtp(struct scene *scene, const struct smtp_client_event *event)
{
    struct smtp_client *core = outbound_core(scene->outbound);
    int64_t now_ms = loop_now_ms(&scene->net.loop);
    if (event->type == SMTP_CLIENT_PROVEN)
        smtp_client_login(core, now_ms);
    if (event->type == SMTP_CLIENT_READY && scene->transaction.size_octets == 0) {
        scene->envelope = (struct envelope){.sender = SLICE("a@x.example"), .recipients = &scene->recipient, .nrcpt = 1};
        scene->recipient = (struct envelope_recipient){.address = SLICE("b@y.example")};
        scene->transaction = (struct smtp_transaction){.envelope = &scene->envelope, .size_octets = BODY_LEN};
        smtp_client_send(core, &scene->transaction, now_ms);
    }
    if (event->type == SMTP_CLIENT_BODY_WANTED)
        smtp_client_body(core, slice_of(BODY, BODY_LEN), true, now_ms);
    if (event->type == SMTP_CLIENT_SENT) {
        scene->is_accepted = event->sent == SMTP_SENT_ACCEPTED;
        outbound_quit(scene->outbound);
    }
}

static void on_event(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct scene *scene = context;
    assert_ptr_equal(scene->outbound, outbound);
    assert_int_equal(scene->ended, 0);
    if (event->type == OUTBOUND_CONNECTED && scene->is_tls)
        oom_suspend();
    if (event->type == OUTBOUND_SMTP && event->smtp.type == SMTP_CLIENT_PROVEN && scene->is_tls)
        oom_resume();
    if (event->type == OUTBOUND_SMTP)
        on_smtp(scene, &event->smtp);
    scene->failed += event->type == OUTBOUND_FAILED;
    scene->ended += event->type == OUTBOUND_CLOSED;
}

static bool open_service(struct scene *scene, struct sockaddr_storage *address)
{
    struct service_config config = {.smtp = {.hostname = SLICE("relay.example")}, .tls = server_tls, .linger_ms = 50,
                                    .handler = {scene, on_open, on_server_event, on_closed}};
    struct service_listener listener = {.mode = scene->is_tls ? SERVICE_TLS : SERVICE_PLAIN};
    char why[128];
    scene->service = service_new(&scene->net.loop, &config);
    uv_ip4_addr("127.0.0.1", 0, (struct sockaddr_in *)&listener.address);
    return scene->service && service_listen(scene->service, &listener, address, why, sizeof why) == RESULT_OK;
}

static void run_scene(struct scene *scene)
{
    struct outbound_target target = {.tls = client_tls, .server_name = "relay.example", .linger_ms = 50, .handshake_timeout_ms = 2000,
                                     .smtp = {.security = scene->is_tls ? SMTP_SECURITY_TLS : SMTP_SECURITY_NONE, .greeting_timeout_ms = 2000, .command_timeout_ms = 2000}};
    if (!open_service(scene, &target.address))
        return;
    if (outbound_open(&scene->outbound, &scene->net.loop, &target, (struct outbound_handler){on_event, scene}, NULL) != RESULT_OK)
        return;
    NET_UNTIL(&scene->net, scene->ended == 1);
}

static void scenario(void *context)
{
    struct scene scene = {.is_tls = *(bool *)context};
    oom_suspend();
    netloop_open(&scene.net);
    oom_resume();
    run_scene(&scene);
    if (scene.service)
        service_stop(scene.service, 0, on_stopped, &scene);
    oom_suspend();
    netloop_close(&scene.net);
    oom_resume();
    assert_int_equal(scene.stopped, scene.service != NULL);
    assert_int_equal(scene.opened, scene.closed);
    assert_true(scene.failed <= 1);
    assert_true(scene.is_accepted || oom_has_failed());
    assert_true(!scene.is_accepted || scene.octets == BODY_LEN);
}

static void test_in_the_clear(void **state)
{
    bool is_tls = false;
    (void)state;
    assert_in_range(oom_loop(ALLOCATIONS_MAX, scenario, &is_tls), 10, ALLOCATIONS_MAX);
}

static void test_inside_tls(void **state)
{
    bool is_tls = true;
    (void)state;
    assert_in_range(oom_loop(ALLOCATIONS_MAX, scenario, &is_tls), 10, ALLOCATIONS_MAX);
}

/* What mbedTLS leaves behind when it is set up half. */
static void make_session(void *context)
{
    struct tls_session *session;
    enum result result = tls_session_new(&session, *(struct tls_context **)context, "without.a.ticket.example", PATH_ALPN_NONE);
    assert_true(result == RESULT_OK || (result == RESULT_MEMORY && oom_has_failed()));
    assert_int_equal(result == RESULT_OK, session != NULL);
    tls_session_free(&session);
}

static void test_tls_session(void **state)
{
    (void)state;
    /* Of a shared mbedTLS the wrapped allocator sees our own allocations only, and one of those there is. */
    assert_in_range(oom_loop(ALLOCATIONS_MAX, make_session, &server_tls), 1, 500);
    assert_in_range(oom_loop(ALLOCATIONS_MAX, make_session, &client_tls), 1, 500);
}

static int make_contexts(void **state)
{
    (void)state;
    certificates_contexts(&server_tls, &client_tls);
    return 0;
}

static int drop_contexts(void **state)
{
    (void)state;
    tls_context_unref(&client_tls);
    tls_context_unref(&server_tls);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_the_clear),
        cmocka_unit_test(test_inside_tls),
        cmocka_unit_test(test_tls_session),
    };
    return cmocka_run_group_tests_name("fault/oom_net", tests, make_contexts, drop_contexts);
}
