/* Memory that runs out while a session begins: behind a PROXY header, as a web request, as SMTP. Each allocation on the way fails in turn. The client gets a whole answer or an end, the
 * handler hears of each session's end that it let in, and the loop runs dry. */
#include "net/service.h"
#include "support/certificates.h"
#include "support/netloop.h"
#include "support/oom.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define PROXY "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n"

enum { ALLOCATIONS_MAX = 400 };

static struct tls_context *server_tls, *client_tls;

struct scene {
    struct netloop net;
    struct service *service;
    enum service_mode mode;
    const char *words, *answer, *end; /* how a whole answer begins and ends */
    char got[8192];
    size_t len;
    unsigned opened, closed, stopped;
};

static bool on_open(void *context, struct service_session *session, void **session_context, const char **refusal)
{
    struct scene *scene = context;
    (void)session;
    *refusal = NULL;
    *session_context = scene;
    scene->opened++;
    return true;
}

static void on_event(void *context, struct service_session *session, const struct smtp_server_event *event)
{
    (void)context;
    (void)session;
    (void)event;
}

static void on_closed(void *context, struct service_session *session)
{
    (void)session;
    ((struct scene *)context)->closed++;
}

static void on_stopped(void *context)
{
    ((struct scene *)context)->stopped++;
}

/* A signature makes thousands of allocations, and never the same; what is around it is looked at here. */
static enum result answer_challenge(const struct tls_context *server, struct slice nonce, struct buffer *out)
{
    (void)server;
    return buffer_printf(out, "signed %.*s\n", SLICE_ARG(nonce));
}

static int dial(struct scene *scene)
{
    struct service_config config = {.smtp = {.hostname = SLICE("relay.example")}, .tls = server_tls, .linger_ms = 50, .answer_challenge = answer_challenge,
                                    .handler = {scene, on_open, on_event, on_closed}};
    struct service_listener listener = {.mode = scene->mode, .takes_proxy_header = true};
    struct sockaddr_storage address;
    char why[128];
    scene->service = service_new(&scene->net.loop, &config);
    uv_ip4_addr("127.0.0.1", 0, (struct sockaddr_in *)&listener.address);
    if (!scene->service || service_listen(scene->service, &listener, &address, why, sizeof why) != RESULT_OK)
        return -1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(struct sockaddr_in)), 0);
    assert_int_equal(send(fd, scene->words, strlen(scene->words), 0), strlen(scene->words));
    return fd;
}

/* False: the connection has ended, in whatever way. */
static bool receive(struct scene *scene, int fd)
{
    ssize_t n;
    while ((n = recv(fd, scene->got + scene->len, sizeof scene->got - scene->len, MSG_DONTWAIT)) > 0)
        scene->len += (size_t)n;
    return n < 0 && errno == EAGAIN;
}

static bool is_whole(const struct scene *scene)
{
    struct slice got = slice_of(scene->got, scene->len);
    return slice_starts_with(got, slice_from_cstr(scene->answer)) && slice_ends_with_nocase(got, slice_from_cstr(scene->end));
}

static void scenario(void *context)
{
    static struct scene scene;
    scene = *(struct scene *)context;
    oom_suspend();
    netloop_open(&scene.net);
    oom_resume();
    int fd = dial(&scene);
    if (fd >= 0) {
        NET_UNTIL(&scene.net, !receive(&scene, fd));
        close(fd);
    }
    if (scene.service)
        service_stop(scene.service, 0, on_stopped, &scene);
    oom_suspend();
    netloop_close(&scene.net);
    oom_resume();
    assert_int_equal(scene.stopped, scene.service != NULL);
    assert_int_equal(scene.opened, scene.closed);
    assert_true(is_whole(&scene) || oom_has_failed());
    if (scene.len > 0 && scene.mode == SERVICE_HTTP) /* a part of an answer would be taken for one */
        assert_true(is_whole(&scene) || slice_starts_with(slice_of(scene.got, scene.len), SLICE("HTTP/1.1 500 Internal Server Error\r\n")));
}

static void test_challenge(void **state)
{
    struct scene scene = {.mode = SERVICE_HTTP, .answer = "HTTP/1.1 200 OK\r\n", .end = "AAA\n",
                          .words = PROXY "GET /.well-known/postern?n=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA HTTP/1.0\r\n\r\n"};
    (void)state;
    assert_in_range(oom_loop(ALLOCATIONS_MAX, scenario, &scene), 5, ALLOCATIONS_MAX);
}

static void test_page(void **state)
{
    struct scene scene = {.mode = SERVICE_HTTP, .answer = "HTTP/1.1 404 Not Found\r\n", .end = "</html>\n", .words = PROXY "GET / HTTP/1.0\r\n\r\n"};
    (void)state;
    assert_in_range(oom_loop(ALLOCATIONS_MAX, scenario, &scene), 5, ALLOCATIONS_MAX);
}

static void test_smtp(void **state)
{
    struct scene scene = {.mode = SERVICE_STARTTLS, .answer = "220 ", .end = "\r\n", .words = PROXY "EHLO laptop.example\r\nQUIT\r\n"};
    (void)state;
    assert_in_range(oom_loop(ALLOCATIONS_MAX, scenario, &scene), 5, ALLOCATIONS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_challenge),
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_smtp),
    };
    certificates_contexts(&server_tls, &client_tls);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tls_context_unref(&client_tls);
    tls_context_unref(&server_tls);
    return failed;
}
