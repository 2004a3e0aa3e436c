/* The server's driver on bad days: connections that die, clients that do not read, too many of them, no descriptors left; and stopping. */
#include "support/house.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static char why[256];

/* ---- deaths ---- */

static void die_at(unsigned nanswers, const char *expected)
{
    struct house house;
    struct net_end client = {0};
    house_open(&house, SERVICE_PLAIN, NULL);
    house.answers_later = true;
    house_dial(&house, &client);
    net_end_write(&client, "EHLO x\r\n");
    net_end_write(&client, HOUSE_TRANSACTION);
    for (unsigned i = 0; i < nanswers; i++) {
        NET_UNTIL(&house.net, house.nlater == 1);
        house_answer_one(&house);
        if (i == 2)
            net_end_write(&client, "x\r\n.\r\n");
    }
    if (nanswers < 4)
        NET_UNTIL(&house.net, house.nlater == 1);
    stream_close(client.stream); /* octets of ours unread: RST */
    NET_UNTIL(&house.net, client.stream == NULL);
    buffer_free(&client.got);
    service_stop(house.service, 0, house_on_stopped, &house);
    NET_UNTIL(&house.net, house.stopped == 1);
    if (!house_story_is(&house, expected))
        fail_msg("%.*s instead of %s", SLICE_ARG(buffer_slice(&house.story)), expected);
    house_close(&house);
}

static void test_deaths(void **state)
{
    (void)state;
    die_at(0, "MAIL ENDED CLOSED ");
    die_at(1, "MAIL RCPT ENDED CLOSED ");
    die_at(2, "MAIL RCPT BEGIN ENDED CLOSED ");
    die_at(3, "MAIL RCPT BEGIN END CLOSED ");
}

/* An answer that comes when the connection has died, and before on_closed, is dropped. */
static void answer_between(uv_check_t *check)
{
    struct house *house = check->data;
    if (house->nlater > 0)
        house_answer_one(house);
    uv_check_stop(check);
}

static void test_answer_to_the_dead(void **state)
{
    struct house house;
    struct net_end client = {0};
    uv_check_t check;
    (void)state;
    house_open(&house, SERVICE_PLAIN, NULL);
    house.answers_later = true;
    house_dial(&house, &client);
    net_end_write(&client, "EHLO x\r\nMAIL FROM:<a@x.example>\r\n");
    NET_UNTIL(&house.net, house.nlater == 1);
    uv_check_init(&house.net.loop, &check);
    check.data = &house;
    service_stop(house.service, 0, house_on_stopped, &house);
    uv_check_start(&check, answer_between); /* after the timer that kills, before the callbacks of closed handles */
    NET_UNTIL(&house.net, house.stopped == 1);
    assert_int_equal(house.nlater, 0);
    assert_true(house_story_is(&house, "MAIL ENDED CLOSED "));
    uv_close((uv_handle_t *)&check, NULL);
    house_hang_up(&house, &client);
    house_close(&house);
}

/* ---- back-pressure ---- */

static void test_pause_in_body(void **state)
{
    enum { TOTAL = 3 * 1000 * 1000 };
    struct house house;
    struct net_end client = {0};
    char line[1000];
    (void)state;
    house_open(&house, SERVICE_TLS, NULL);
    house.pauses = true;
    house_dial_tls(&house, &client);
    house_greet(&house, &client);
    net_end_write(&client, HOUSE_TRANSACTION);
    HOUSE_EXPECT(&house, &client, "\r\n354 Send the message; end with <CRLF>.<CRLF>\r\n");
    memset(line, 'x', sizeof line);
    line[998] = '\r';
    line[999] = '\n';
    for (size_t sent = 0; sent < TOTAL; sent += sizeof line)
        assert_int_equal(stream_write(client.stream, slice_of(line, sizeof line)), RESULT_OK);
    net_end_write(&client, ".\r\n");
    NET_UNTIL(&house.net, house.body_octets > 0);
    uint64_t paused_at = house.body_octets;
    for (int i = 0; i < 30; i++)
        uv_run(&house.net.loop, UV_RUN_NOWAIT);
    assert_int_equal(house.body_octets, paused_at);
    while (house.body_octets < TOTAL) {
        paused_at = house.body_octets;
        house.is_paused = false;
        service_resume(house.newest);
        assert_int_equal(house.body_octets, paused_at); /* not from inside */
        NET_UNTIL(&house.net, house.body_octets > paused_at);
    }
    house.is_paused = false;
    service_resume(house.newest);
    HOUSE_EXPECT(&house, &client, "250 2.0.0 yes\r\n");
    assert_int_equal(house.body_octets, TOTAL);
    house_leave(&house, &client);
    NET_UNTIL(&house.net, house.closed == 1);
    house_close(&house);
}

static void pause_in_body(struct house *house, struct net_end *client)
{
    house->pauses = true;
    house_greet(house, client);
    net_end_write(client, HOUSE_TRANSACTION);
    HOUSE_EXPECT(house, client, "\r\n354 Send the message; end with <CRLF>.<CRLF>\r\n");
    net_end_write(client, "x\r\n");
    NET_UNTIL(&house->net, house->is_paused);
    house->pauses = false;
}

static void on_over(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* A slow disk of ours is not the client's slowness, neither during the pause nor after it. */
static void test_a_pause_may_be_long(void **state)
{
    struct house house;
    struct net_end client = {0};
    struct service_config config = house_config(&house);
    uv_timer_t timer;
    bool is_over = false;
    (void)state;
    config.smtp.data_timeout_ms = 100;
    config.paused_look_ms = 20;
    house_open(&house, SERVICE_PLAIN, &config);
    house_dial(&house, &client);
    pause_in_body(&house, &client);
    uv_timer_init(&house.net.loop, &timer);
    timer.data = &is_over;
    uv_timer_start(&timer, on_over, 250, 0);
    NET_UNTIL(&house.net, is_over);
    uv_close((uv_handle_t *)&timer, NULL);
    assert_int_equal(buffer_len(&client.got), 0);
    house.is_paused = false;
    service_resume(house.newest);
    for (int i = 0; i < 10; i++)
        uv_run(&house.net.loop, UV_RUN_NOWAIT);
    assert_int_equal(buffer_len(&client.got), 0);
    net_end_write(&client, "y\r\n.\r\n");
    HOUSE_EXPECT(&house, &client, "250 2.0.0 yes\r\n");
    assert_int_equal(house.body_octets, 6);
    house_leave(&house, &client);
    NET_UNTIL(&house.net, house.closed == 1);
    house_close(&house);
}

/* And after it the client's time runs again. */
static void test_time_runs_after_a_pause(void **state)
{
    struct house house;
    struct net_end client = {0};
    struct service_config config = house_config(&house);
    (void)state;
    config.smtp.data_timeout_ms = 50;
    house_open(&house, SERVICE_PLAIN, &config);
    house_dial(&house, &client);
    pause_in_body(&house, &client);
    house.is_paused = false;
    service_resume(house.newest);
    NET_UNTIL(&house.net, client.stream == NULL);
    assert_non_null(memmem(buffer_slice(&client.got).ptr, buffer_len(&client.got), "421 4.4.2 ", 10));
    buffer_free(&client.got);
    house_close(&house);
}

static void test_reset_while_paused(void **state)
{
    struct house house;
    struct net_end client = {0};
    struct service_config config = house_config(&house);
    const struct linger at_once = {.l_onoff = 1}; /* close sends RST */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)state;
    config.paused_look_ms = 20;
    house_open(&house, SERVICE_PLAIN, &config);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&house.address, sizeof(struct sockaddr_in)), 0);
    client.got = BUFFER(100000);
    assert_int_equal(stream_accept(&client.stream, &house.net.loop, fd, net_end_owner(&client), NULL), RESULT_OK);
    pause_in_body(&house, &client);
    house_hang_up(&house, &client);
    NET_UNTIL(&house.net, house.closed == 1);
    assert_true(house_story_is(&house, "MAIL RCPT BEGIN ENDED CLOSED "));
    house_close(&house);
}

/* A client that asks and asks and reads nothing does not fill our memory. */
static void test_deaf_client(void **state)
{
    struct house house;
    struct service_config config = house_config(&house);
    (void)state;
    config.smtp.idle_commands_max = UINT32_MAX;
    house_open(&house, SERVICE_PLAIN, &config);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    assert_true(connect(fd, (struct sockaddr *)&house.address, sizeof(struct sockaddr_in)) == 0 || errno == EINPROGRESS);
    NET_UNTIL(&house.net, house.opened == 1);
    char noops[6000];
    for (size_t i = 0; i < sizeof noops; i += 6)
        memcpy(noops + i, "NOOP\r\n", 6);
    size_t asked = 0;
    int stuck = 0;
    while (stuck < 200 && asked < 100 * 1000 * 1000) {
        ssize_t n = send(fd, noops, sizeof noops, MSG_NOSIGNAL);
        asked += n > 0 ? (size_t)n : 0;
        stuck = n > 0 ? 0 : stuck + 1;
        if (n > 0 && (size_t)n < sizeof noops) /* keep the lines whole */
            stuck = 1000;
        uv_run(&house.net.loop, UV_RUN_NOWAIT);
    }
    assert_true(stuck >= 200);
    assert_int_equal(house.closed, 0); /* it waits, rather than being thrown out */
    close(fd);
    NET_UNTIL(&house.net, house.closed == 1);
    house_close(&house);
}

/* ---- limits ---- */

static void test_sessions_max(void **state)
{
    struct house house;
    struct net_end one = {0}, two = {0}, three = {0};
    struct service_config config = house_config(&house);
    (void)state;
    config.sessions_max = 2;
    house_open(&house, SERVICE_PLAIN, &config);
    house_dial(&house, &one);
    house_dial(&house, &two);
    NET_UNTIL(&house.net, house.opened == 2);
    house_dial(&house, &three);
    NET_UNTIL(&house.net, three.stream == NULL);
    assert_true(slice_starts_with(buffer_slice(&three.got), SLICE("421 4.3.2 ")));
    buffer_free(&three.got);
    assert_int_equal(service_sessions(house.service), 2);
    house_hang_up(&house, &one);
    NET_UNTIL(&house.net, service_sessions(house.service) == 1);
    three = (struct net_end){0};
    house_dial(&house, &three);
    HOUSE_EXPECT(&house, &three, " ESMTP Postern\r\n");
    house_hang_up(&house, &two);
    house_hang_up(&house, &three);
    NET_UNTIL(&house.net, house.closed == 3);
    house_close(&house);
}

static void test_sessions_per_address(void **state)
{
    struct house house;
    struct net_end one = {0}, two = {0};
    struct service_config config = house_config(&house);
    (void)state;
    config.sessions_per_address_max = 1;
    house_open(&house, SERVICE_PLAIN, &config);
    house_dial(&house, &one);
    house_dial(&house, &two);
    NET_UNTIL(&house.net, two.stream == NULL || one.stream == NULL);
    struct net_end *refused = two.stream ? &one : &two;
    assert_true(slice_starts_with(buffer_slice(&refused->got), SLICE("421 4.7.0 ")));
    /* Another address is another matter. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)};
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&house.address, sizeof(struct sockaddr_in)), 0);
    NET_UNTIL(&house.net, house.opened == 2);
    close(fd);
    house_hang_up(&house, &one);
    house_hang_up(&house, &two);
    NET_UNTIL(&house.net, house.closed == 2);
    house_close(&house);
}

static void refuse_by_handler(enum service_mode mode, const char *expected)
{
    struct house house;
    struct net_end one = {0};
    house_open(&house, mode, NULL);
    house.refuses = true;
    house_dial(&house, &one);
    NET_UNTIL(&house.net, one.stream == NULL);
    assert_true(slice_equal(buffer_slice(&one.got), slice_from_cstr(expected)));
    NET_UNTIL(&house.net, service_sessions(house.service) == 0);
    buffer_free(&one.got);
    house_close(&house);
    assert_int_equal(house.closed, 0);
}

static void test_refused_by_handler(void **state)
{
    (void)state;
    refuse_by_handler(SERVICE_PLAIN, "421 4.3.2 closed for the night\r\n");
    refuse_by_handler(SERVICE_TLS, "");
}

static void count_errors(void *context, enum log_level level, struct slice line)
{
    if (level == LOG_ERROR && slice_starts_with(line, SLICE("level=error event=descriptors-exhausted ")))
        ++*(unsigned *)context;
}

static void test_no_descriptors_left(void **state)
{
    enum { DIALS = 5 };
    struct house house;
    unsigned errors = 0;
    struct log log = {LOG_INFO, count_errors, &errors};
    struct service_config config = house_config(&house);
    struct rlimit before, tight;
    int dials[DIALS], probe;
    (void)state;
    config.log = &log;
    house_open(&house, SERVICE_PLAIN, &config);
    for (int i = 0; i < DIALS; i++)
        dials[i] = socket(AF_INET, SOCK_STREAM, 0);
    getrlimit(RLIMIT_NOFILE, &before);
    probe = dup(0);
    close(probe);
    tight = before;
    tight.rlim_cur = (rlim_t)probe; /* nothing left */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    for (int i = 0; i < DIALS; i++)
        assert_int_equal(connect(dials[i], (struct sockaddr *)&house.address, sizeof(struct sockaddr_in)), 0);
    /* Each is closed, rather than left waiting for ever. */
    for (int i = 0; i < 20; i++)
        uv_run(&house.net.loop, UV_RUN_NOWAIT);
    char octet;
    for (int i = 0; i < DIALS; i++)
        assert_int_equal(recv(dials[i], &octet, 1, MSG_DONTWAIT), 0);
    assert_int_equal(errors, 1);
    assert_int_equal(house.opened, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < DIALS; i++)
        close(dials[i]);
    struct net_end one = {0};
    house_dial(&house, &one);
    HOUSE_EXPECT(&house, &one, " ESMTP Postern\r\n");
    house_hang_up(&house, &one);
    NET_UNTIL(&house.net, house.closed == 1);
    house_close(&house);
}

/* ---- listening and stopping ---- */

static void test_listen_errors(void **state)
{
    struct house house, other;
    struct service_listener listener = {.mode = SERVICE_PLAIN};
    (void)state;
    house_open(&house, SERVICE_PLAIN, NULL);
    listener.address = house.address;
    assert_int_equal(service_listen(house.service, &listener, NULL, why, sizeof why), RESULT_EXISTS);
    assert_int_equal(service_probe(&listener.address, why, sizeof why), RESULT_EXISTS);
    assert_non_null(strstr(why, "127.0.0.1:"));
    uv_ip4_addr("192.0.2.1", 0, (struct sockaddr_in *)&listener.address);
    assert_int_equal(service_listen(house.service, &listener, NULL, why, sizeof why), RESULT_NOT_FOUND);
    house_close(&house);

    struct service_config config = house_config(&house);
    config.reuse_port = true;
    house_open(&house, SERVICE_PLAIN, &config);
    house_open(&other, SERVICE_PLAIN, &config);
    listener.address = house.address;
    assert_int_equal(service_probe(&listener.address, why, sizeof why), RESULT_EXISTS); /* which service_listen, sharing, does not notice */
    assert_int_equal(service_listen(other.service, &listener, &other.address, why, sizeof why), RESULT_OK);
    assert_memory_equal(&other.address, &house.address, sizeof(struct sockaddr_in));
    house_close(&other);
    house_close(&house);
}

static void test_stop(void **state)
{
    struct house house;
    struct net_end idle = {0}, busy = {0}, shaking = {0};
    (void)state;
    house_open(&house, SERVICE_PLAIN, NULL);
    house_dial(&house, &idle);
    house_greet(&house, &idle);
    house_dial(&house, &busy);
    house_greet(&house, &busy);
    net_end_write(&busy, HOUSE_TRANSACTION);
    HOUSE_EXPECT(&house, &busy, "\r\n354 Send the message; end with <CRLF>.<CRLF>\r\n");
    house_listen(&house, SERVICE_TLS);
    house_dial(&house, &shaking);
    NET_UNTIL(&house.net, house.opened == 3);
    service_stop(house.service, 5000, house_on_stopped, &house);
    NET_UNTIL(&house.net, idle.stream == NULL && shaking.stream == NULL);
    assert_true(slice_starts_with(buffer_slice(&idle.got), SLICE("421 4.3.2 ")));
    assert_int_equal(house.stopped, 0);
    net_end_write(&busy, "x\r\n.\r\n");
    NET_UNTIL(&house.net, busy.stream == NULL);
    assert_true(slice_starts_with(buffer_slice(&busy.got), SLICE("250 2.0.0 yes\r\n421 4.3.2 ")));
    NET_UNTIL(&house.net, house.stopped == 1);
    buffer_free(&idle.got);
    buffer_free(&busy.got);
    buffer_free(&shaking.got);
    house_close(&house);
}

/* The grace is over: the transaction is dropped. */
static void test_stop_after_grace(void **state)
{
    struct house house;
    struct net_end busy = {0};
    (void)state;
    house_open(&house, SERVICE_PLAIN, NULL);
    house_dial(&house, &busy);
    house_greet(&house, &busy);
    net_end_write(&busy, HOUSE_TRANSACTION);
    HOUSE_EXPECT(&house, &busy, "\r\n354 Send the message; end with <CRLF>.<CRLF>\r\n");
    service_stop(house.service, 20, house_on_stopped, &house);
    NET_UNTIL(&house.net, house.stopped == 1);
    assert_true(house_story_is(&house, "MAIL RCPT BEGIN ENDED CLOSED "));
    house_hang_up(&house, &busy);
    house_close(&house);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deaths),
        cmocka_unit_test(test_answer_to_the_dead),
        cmocka_unit_test(test_pause_in_body),
        cmocka_unit_test(test_a_pause_may_be_long),
        cmocka_unit_test(test_time_runs_after_a_pause),
        cmocka_unit_test(test_reset_while_paused),
        cmocka_unit_test(test_deaf_client),
        cmocka_unit_test(test_sessions_max),
        cmocka_unit_test(test_sessions_per_address),
        cmocka_unit_test(test_refused_by_handler),
        cmocka_unit_test(test_no_descriptors_left),
        cmocka_unit_test(test_listen_errors),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_stop_after_grace),
    };
    return cmocka_run_group_tests_name("net/service_limits", tests, house_make_identity, house_drop_identity);
}
