/* What a close tells of the reply before it: that it was read, or nothing. */
#include "support/house.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <cmocka.h>

/* A house whose handler answers at once, but for the end of a body: that is the test's to answer. */
struct scene {
    struct house house;
    struct service_session *waiting;
    bool is_read; /* as it was known in on_closed */
    int fd;
};

static const char READY[] = "\r\n354 Send the message; end with <CRLF>.<CRLF>\r\n", TAKEN[] = "250 2.0.0 yes\r\n";
static const struct smtp_reply YES = {.code = 250, .status = {2, 0, 0}, .text = {"yes", 3}};

static void scene_event(void *context, struct service_session *session, const struct smtp_server_event *event)
{
    struct scene *scene = context;
    switch (event->type) {
    case SMTP_SERVER_MAIL:
    case SMTP_SERVER_RCPT:
    case SMTP_SERVER_BODY_BEGIN: service_answer(session, &YES); break;
    case SMTP_SERVER_BODY_END: scene->waiting = session; break;
    default: break;
    }
}

static void scene_closed(void *context, struct service_session *session)
{
    struct scene *scene = context;
    scene->is_read = service_is_read(session);
    house_on_closed(&scene->house, session);
}

/* An empty receive buffer that holds little where it is told to. */
static int dial(const struct sockaddr_storage *address, int buffer)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (buffer > 0)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)address, sizeof(struct sockaddr_in)), 0);
    return fd;
}

static void say(const struct scene *scene, const char *text)
{
    assert_int_equal(send(scene->fd, text, strlen(text), 0), strlen(text));
}

/* Reads to the end of this text, which is the last that has come. */
static void read_to(const struct scene *scene, const char *text)
{
    char got[4096];
    size_t n = 0, len = strlen(text);
    while (n < len || memcmp(got + n - len, text, len) != 0) {
        ssize_t more = recv(scene->fd, got + n, sizeof got - n, 0);
        assert_true(more > 0);
        n += (size_t)more;
    }
}

static bool is_settled(const struct scene *scene, unsigned state)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    int fd = service_socket(scene->waiting), outstanding = 0;
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    assert_int_equal(ioctl(fd, SIOCOUTQ, &outstanding), 0);
    return info.tcpi_state == state && (state == TCP_CLOSE || outstanding == 0);
}

/* Until the service's socket is in this state and nothing is unacknowledged; the loop, which would tell, stands. */
static void settle(const struct scene *scene, unsigned state)
{
    for (int ms = 0; !is_settled(scene, state); ms++) {
        assert_true(ms < 10000);
        uv_sleep(1);
    }
}

static void run_what_is_ready(struct scene *scene)
{
    for (int i = 0; i < 10; i++)
        uv_run(&scene->house.net.loop, UV_RUN_NOWAIT);
}

/* All but the answer to the message. */
static void open_scene(struct scene *scene, const char *first, bool is_proxied, int buffer)
{
    struct service_config config = house_config(&scene->house);
    struct service_listener listener = {.mode = SERVICE_PLAIN, .takes_proxy_header = is_proxied};
    char why[256];
    *scene = (struct scene){0};
    config.handler.on_event = scene_event;
    config.handler.on_closed = scene_closed;
    house_open(&scene->house, SERVICE_PLAIN, &config);
    uv_ip4_addr("127.0.0.1", 0, (struct sockaddr_in *)&listener.address);
    assert_int_equal(service_listen(scene->house.service, &listener, &scene->house.address, why, sizeof why), RESULT_OK);
    scene->fd = dial(&scene->house.address, buffer);
    say(scene, first);
    say(scene, "HELO x\r\n");
    say(scene, HOUSE_TRANSACTION);
    say(scene, "Subject: x\r\n\r\nhello\r\n.\r\n");
    NET_UNTIL(&scene->house.net, scene->waiting);
}

static void answer(struct scene *scene)
{
    service_mark(scene->waiting);
    service_answer(scene->waiting, &YES);
}

/* The client's buffer is empty, and then the reply lies in it. */
static void answer_into_buffer(struct scene *scene)
{
    struct pollfd reply = {.fd = scene->fd, .events = POLLIN};
    read_to(scene, READY);
    answer(scene);
    run_what_is_ready(scene);
    assert_int_equal(poll(&reply, 1, 10000), 1);
    assert_false(service_is_read(scene->waiting));
}

static void close_scene(struct scene *scene)
{
    if (scene->fd >= 0)
        close(scene->fd);
    NET_UNTIL(&scene->house.net, scene->house.closed == 1);
    house_close(&scene->house);
}

static void test_who_reads_and_closes_has_read(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene, "", false, 0);
    answer_into_buffer(&scene);
    read_to(&scene, TAKEN);
    close_scene(&scene);
    assert_true(scene.is_read);
}

static void test_who_closes_with_octets_unread_has_not(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene, "", false, 0);
    answer_into_buffer(&scene);
    close_scene(&scene);
    assert_false(scene.is_read);
}

/* It had lost patience. Its FIN waits to be read while the answer is given, or was read before. */
static void close_before_the_answer(bool is_fin_read)
{
    struct scene scene;
    open_scene(&scene, "", false, 0);
    read_to(&scene, READY);
    close(scene.fd);
    scene.fd = -1;
    settle(&scene, TCP_CLOSE_WAIT);
    if (is_fin_read)
        run_what_is_ready(&scene);
    assert_int_equal(scene.house.closed, 0);
    answer(&scene);
    close_scene(&scene);
    assert_false(scene.is_read);
}

static void test_who_closes_before_the_answer_has_not(void **state)
{
    (void)state;
    close_before_the_answer(false);
    close_before_the_answer(true);
}

/* The end of its half tells nothing of what it will read. (The service is kept from looking until the reply is acknowledged.) */
static void test_of_who_had_ended_its_half_nothing_is_known(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene, "", false, 0);
    service_pause(scene.waiting);
    shutdown(scene.fd, SHUT_WR);
    settle(&scene, TCP_CLOSE_WAIT);
    answer_into_buffer(&scene);
    settle(&scene, TCP_CLOSE_WAIT);
    service_resume(scene.waiting);
    NET_UNTIL(&scene.house.net, scene.house.closed == 1);
    assert_false(scene.is_read);
    close_scene(&scene);
}

/* FIN, and RST behind it before anybody looks. */
static void test_a_reset_behind_the_end_counts(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene, "", false, 0);
    answer_into_buffer(&scene);
    shutdown(scene.fd, SHUT_WR);
    close(scene.fd);
    scene.fd = -1;
    settle(&scene, TCP_CLOSE);
    close_scene(&scene);
    assert_false(scene.is_read);
}

/* The client's window is shut, so the end comes before the answer has got there. */
static void test_an_end_that_crosses_the_answer_counts_not(void **state)
{
    static char noops[90 * 6 + 1];
    struct scene scene;
    (void)state;
    for (size_t i = 0; i + 6 <= sizeof noops - 1; i += 6)
        memcpy(noops + i, "NOOP\r\n", 7);
    open_scene(&scene, noops, false, 1);
    answer(&scene);
    run_what_is_ready(&scene);
    shutdown(scene.fd, SHUT_WR);
    NET_UNTIL(&scene.house.net, scene.house.closed == 1);
    assert_false(scene.is_read);
    close_scene(&scene);
}

/* What a proxy has read its client need not have. */
static void test_of_a_proxys_client_nothing_is_known(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene, "PROXY TCP4 127.0.0.1 127.0.0.1 1025 25\r\n", true, 0);
    answer_into_buffer(&scene);
    read_to(&scene, TAKEN);
    close_scene(&scene);
    assert_false(scene.is_read);
}

static void test_without_a_mark_nothing_is_known(void **state)
{
    struct scene scene;
    (void)state;
    open_scene(&scene, "", false, 0);
    read_to(&scene, READY);
    service_answer(scene.waiting, &YES);
    run_what_is_ready(&scene);
    read_to(&scene, TAKEN);
    close_scene(&scene);
    assert_false(scene.is_read);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_reads_and_closes_has_read),
        cmocka_unit_test(test_who_closes_with_octets_unread_has_not),
        cmocka_unit_test(test_who_closes_before_the_answer_has_not),
        cmocka_unit_test(test_of_who_had_ended_its_half_nothing_is_known),
        cmocka_unit_test(test_a_reset_behind_the_end_counts),
        cmocka_unit_test(test_an_end_that_crosses_the_answer_counts_not),
        cmocka_unit_test(test_of_a_proxys_client_nothing_is_known),
        cmocka_unit_test(test_without_a_mark_nothing_is_known),
    };
    return cmocka_run_group_tests_name("net/service-read", tests, house_make_identity, house_drop_identity);
}
