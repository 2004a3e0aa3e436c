/* The server's driver: sessions on ports of every mode, answered at once or later. */
#include "support/house.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- dialogues ---- */

static void talk(struct house *house, struct net_end *end)
{
    house_greet(house, end);
    net_end_write(end, HOUSE_TRANSACTION);
    HOUSE_EXPECT(house, end, "\r\n354 Send the message; end with <CRLF>.<CRLF>\r\n");
    net_end_write(end, "Subject: x\r\n\r\nhello\r\n.\r\n");
    HOUSE_EXPECT(house, end, "250 2.0.0 yes\r\n");
    assert_true(house_story_is(house, "MAIL RCPT BEGIN END "));
    assert_int_equal(house->body_octets, 21);
    house_leave(house, end);
    NET_UNTIL(&house->net, house->closed == 1);
    assert_true(house_story_is(house, "MAIL RCPT BEGIN END CLOSED "));
}

static void test_plain(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_PLAIN, NULL);
    house_dial(&house, &client);
    HOUSE_EXPECT(&house, &client, " ESMTP Postern\r\n");
    assert_null(service_tls(house.newest));
    assert_int_equal(service_id(house.newest)[0], 's');
    assert_true(strncmp(service_peer(house.newest), "127.0.0.1:", 10) == 0);
    net_end_write(&client, "EHLO x\r\n");
    NET_UNTIL(&house.net, net_end_has(&client, "\r\n") && buffer_len(&client.got) > 100);
    assert_null(memmem(buffer_slice(&client.got).ptr, buffer_len(&client.got), "STARTTLS", 8));
    house_leave(&house, &client);
    client = (struct net_end){0};
    NET_UNTIL(&house.net, house.closed == 1);
    house.closed = house.opened = 0;
    buffer_clear(&house.story);
    house_dial(&house, &client);
    talk(&house, &client);
    house_close(&house);
}

static void test_tls(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_TLS, NULL);
    house_dial_tls(&house, &client);
    talk(&house, &client);
    house_close(&house);
}

static void test_starttls(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_STARTTLS, NULL);
    house_dial(&house, &client);
    house_greet(&house, &client);
    net_end_write(&client, "MAIL FROM:<a@x.example>\r\n");
    HOUSE_EXPECT(&house, &client, "\r\n");
    assert_true(house_story_is(&house, "")); /* TLS first */
    net_end_write(&client, "STARTTLS\r\n");
    NET_UNTIL(&house.net, net_end_has(&client, "\r\n"));
    assert_true(slice_starts_with(buffer_slice(&client.got), SLICE("220 ")));
    assert_int_equal(stream_start_tls(client.stream, house_client_tls(), NULL, false), RESULT_OK);
    NET_UNTIL(&house.net, client.told[STREAM_SECURED] == 1 && service_tls(house.newest));
    net_end_write(&client, "EHLO x\r\n");
    NET_UNTIL(&house.net, memmem(buffer_slice(&client.got).ptr, buffer_len(&client.got), "\r\n250 ", 6) != NULL);
    buffer_clear(&client.got);
    net_end_write(&client, "MAIL FROM:<a@x.example>\r\n");
    HOUSE_EXPECT(&house, &client, "250 2.0.0 yes\r\n");
    house_leave(&house, &client);
    house_close(&house);
}

/* CVE-2011-0411 and its kin. */
static void test_nothing_survives_starttls(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_STARTTLS, NULL);
    house_dial(&house, &client);
    house_greet(&house, &client);
    net_end_write(&client, "STARTTLS\r\nMAIL FROM:<evil@x.example>\r\n");
    NET_UNTIL(&house.net, client.stream == NULL);
    assert_non_null(memmem(buffer_slice(&client.got).ptr, buffer_len(&client.got), "554 5.7.0 ", 10));
    NET_UNTIL(&house.net, house.closed == 1);
    assert_true(house_story_is(&house, "CLOSED "));
    buffer_free(&client.got);
    house_close(&house);
}

/* The ClientHello is there when we look: TLS at once, on a STARTTLS port. */
static void test_tls_on_starttls_port(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_STARTTLS, NULL);
    client.got = BUFFER(100000);
    client.closes_at_end = true;
    /* Connected, with the ClientHello sent, before the loop looks at the listening socket: a session makes it, and a bare socket says it. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&house.address, sizeof(struct sockaddr_in)), 0);
    assert_int_equal(send(fd, "\x16", 1, 0), 1);
    assert_int_equal(stream_accept(&client.stream, &house.net.loop, fd, net_end_owner(&client), NULL), RESULT_OK);
    NET_UNTIL(&house.net, house.opened == 1);
    for (int i = 0; i < 10; i++)
        uv_run(&house.net.loop, UV_RUN_NOWAIT);
    assert_int_equal(buffer_len(&client.got), 0); /* no greeting */
    assert_null(service_core(house.newest));
    house_hang_up(&house, &client);
    NET_UNTIL(&house.net, house.closed == 1);
    house_close(&house);
}

static void test_not_tls(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_TLS, NULL);
    house_dial(&house, &client);
    net_end_write(&client, "GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n");
    NET_UNTIL(&house.net, client.stream == NULL && house.closed == 1);
    assert_int_equal(buffer_len(&client.got), 0);
    assert_true(house_story_is(&house, "CLOSED "));
    buffer_free(&client.got);
    house_close(&house);
}

static void test_handshake_timeout(void **state)
{
    struct house house;
    struct net_end client = {0}, quick = {0};
    struct service_config config = house_config(&house);
    (void)state;
    config.handshake_timeout_ms = 400; /* time enough for the quick one on a busy machine */
    house_open(&house, SERVICE_TLS, &config);
    house_dial_tls(&house, &quick);
    NET_UNTIL(&house.net, house.newest && service_tls(house.newest));
    house_dial(&house, &client);
    NET_UNTIL(&house.net, client.stream == NULL && house.closed == 1);
    house_greet(&house, &quick);
    house_leave(&house, &quick);
    NET_UNTIL(&house.net, house.closed == 2);
    buffer_free(&client.got);
    house_close(&house);
}

static void test_command_timeout(void **state)
{
    struct house house;
    struct net_end client = {0};
    struct service_config config = house_config(&house);
    (void)state;
    config.smtp.command_timeout_ms = 30;
    house_open(&house, SERVICE_PLAIN, &config);
    house_dial(&house, &client);
    NET_UNTIL(&house.net, client.stream == NULL);
    assert_non_null(memmem(buffer_slice(&client.got).ptr, buffer_len(&client.got), "421 4.4.2 ", 10));
    buffer_free(&client.got);
    house_close(&house);
}

/* ---- answers that come later ---- */

static void test_later(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_TLS, NULL);
    house.answers_later = true;
    house_dial_tls(&house, &client);
    house_greet(&house, &client);
    unsigned told = client.told[STREAM_DATA];
    net_end_write(&client, HOUSE_TRANSACTION);
    for (int i = 0; i < 3; i++) {
        NET_UNTIL(&house.net, house.nlater == 1);
        size_t before = buffer_len(&house.story);
        house_answer_one(&house);
        assert_int_equal(house.nlater, 0); /* no event from inside the answer */
        assert_int_equal(buffer_len(&house.story), before);
    }
    HOUSE_EXPECT(&house, &client, "\r\n354 Send the message; end with <CRLF>.<CRLF>\r\n");
    assert_in_range(client.told[STREAM_DATA] - told, 1, 3);
    net_end_write(&client, "x\r\n.\r\nNOOP\r\nQUIT\r\n");
    NET_UNTIL(&house.net, house.nlater == 1);
    assert_int_equal(buffer_len(&client.got), 0); /* nothing before the store has said yes */
    house_answer_one(&house);
    NET_UNTIL(&house.net, client.stream == NULL);
    assert_true(slice_starts_with(buffer_slice(&client.got), SLICE("250 2.0.0 later\r\n250 2.0.0 ")));
    assert_non_null(memmem(buffer_slice(&client.got).ptr, buffer_len(&client.got), "\r\n221 2.0.0 ", 12));
    buffer_free(&client.got);
    house_close(&house);
}

/* A whole transaction in one flight, as clients with CHUNKING send it: the body waits in the stream's buffer until BODY_BEGIN is answered, and is
 * still there when the handler gets it. */
static void test_a_body_that_waited(void **state)
{
    enum { BODY_OCTETS = 20000 };
    static const char head[] = "MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nBDAT 20000 LAST\r\n";
    static char flight[sizeof head - 1 + BODY_OCTETS + 1];
    struct house house;
    struct net_end client = {0};
    (void)state;
    memcpy(flight, head, sizeof head - 1);
    for (size_t i = 0; i < BODY_OCTETS; i += 10)
        memcpy(flight + sizeof head - 1 + i, "12345678\r\n", 10);
    house_open(&house, SERVICE_PLAIN, NULL);
    house.answers_later = true;
    house_dial(&house, &client);
    house_greet(&house, &client);
    net_end_write(&client, flight);
    for (int i = 0; i < 4; i++) {
        NET_UNTIL(&house.net, house.nlater == 1);
        house_answer_one(&house);
    }
    HOUSE_EXPECT(&house, &client, "250 2.0.0 later\r\n250 2.0.0 later\r\n250 2.0.0 later\r\n");
    assert_int_equal(house.body_octets, BODY_OCTETS);
    assert_int_equal(house.body_sum, BODY_OCTETS / 10 * (8 * '0' + 36 + '\r' + '\n'));
    house_leave(&house, &client);
    house_close(&house);
}

/* The session is killed while the handler has paused at a BODY and the BODY_END behind it is not taken yet. */
static void test_gone_while_paused(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_PLAIN, NULL);
    house.pauses = true;
    house_dial(&house, &client);
    house_greet(&house, &client);
    net_end_write(&client, "MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nBDAT 3 LAST\r\nx\r\n");
    NET_UNTIL(&house.net, house.body_octets == 3);
    service_stop(house.service, 0, house_on_stopped, &house);
    NET_UNTIL(&house.net, house.stopped == 1);
    assert_true(house_story_is(&house, "MAIL RCPT BEGIN ENDED CLOSED "));
    house_hang_up(&house, &client);
    house_close(&house);
}

/* All replies to one flight leave in one segment. */
static void test_replies_leave_together(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_TLS, NULL);
    house_dial_tls(&house, &client);
    house_greet(&house, &client);
    unsigned told = client.told[STREAM_DATA];
    net_end_write(&client, "NOOP\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nRSET\r\nNOOP\r\n");
    NET_UNTIL(&house.net, net_end_has(&client, "\r\n") && buffer_len(&client.got) > 60);
    assert_int_equal(client.told[STREAM_DATA] - told, 1);
    house_leave(&house, &client);
    NET_UNTIL(&house.net, house.closed == 1);
    house_close(&house);
}

/* ---- secrets ---- */

enum { SECRET_LEN = 28 };

/* The AUTH line's response, never whole in the memory of this test but for a moment. */
static void write_secret(char *out)
{
    for (int i = 0; i < SECRET_LEN; i++)
        out[i] = (char)('A' + (i * 7 + 3) % 26);
}

static bool is_secret(const volatile char *at)
{
    for (int i = 0; i < SECRET_LEN; i++)
        if (at[i] != (char)('A' + (i * 7 + 3) % 26))
            return false;
    return true;
}

static const char *pointer_of(struct slice hex)
{
    uintptr_t value = 0;
    for (size_t i = 0; i < hex.len; i++)
        value = value << 4 | (uintptr_t)(hex.ptr[i] <= '9' ? hex.ptr[i] - '0' : hex.ptr[i] - 'a' + 10);
    return (const char *)value;
}

static unsigned count_between(const char *from, const char *to)
{
    unsigned n = 0;
    for (; from + SECRET_LEN <= to; from++)
        n += *from == 'D' && is_secret(from);
    return n;
}

/* How often it stands in the memory that this process may write. */
static unsigned count_secret(void)
{
    char line[512];
    unsigned n = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        struct slice start, end, rest;
        slice_cut(slice_from_cstr(line), '-', &start, &rest);
        slice_cut(rest, ' ', &end, &rest);
        if (slice_starts_with(rest, SLICE("rw")))
            n += count_between(pointer_of(start), pointer_of(end));
    }
    fclose(maps);
    return n;
}

static void say_secret(struct net_end *client)
{
    char line[64] = "AUTH PLAIN ";
    write_secret(line + 11);
    memcpy(line + 11 + SECRET_LEN, "\r\n", 3);
    net_end_write(client, line);
    explicit_bzero(line, sizeof line);
}

static void tell_secret(enum service_mode mode)
{
    struct house house;
    struct net_end client = {0};
    struct service_config config = house_config(&house);
    const struct smtp_reply no = {.code = 535, .status = {5, 7, 8}, .text = {"no", 2}};
    config.smtp.auth_mechanisms = SASL_PLAIN;
    config.smtp.allows_auth_without_tls = true;
    house_open(&house, mode, &config);
    if (mode == SERVICE_TLS)
        house_dial_tls(&house, &client);
    else
        house_dial(&house, &client);
    house_greet(&house, &client);
    house.answers_later = true;
    say_secret(&client);
    NET_UNTIL(&house.net, house.nlater == 1);
    assert_true(house_story_is(&house, "AUTH "));
    assert_int_equal(count_secret(), 0); /* not even before others have used the memory */
    house.nlater = 0;
    service_answer(house.newest, &no);
    HOUSE_EXPECT(&house, &client, "535 5.7.8 no\r\n");
    assert_int_equal(count_secret(), 0); /* the session lives */
    house_leave(&house, &client);
    NET_UNTIL(&house.net, house.closed == 1);
    house_close(&house);
    assert_int_equal(count_secret(), 0);
}

/* What AUTH says goes through buffers that others use next, or that lie in free memory. */
static void test_a_password_leaves_no_trace(void **state)
{
    char secret[SECRET_LEN];
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* its memory is not all there to be read */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    skip();
#endif
#endif
    write_secret(secret);
    assert_int_equal(count_secret(), 1); /* the scan finds what is there */
    explicit_bzero(secret, sizeof secret);
    tell_secret(SERVICE_PLAIN);
    tell_secret(SERVICE_TLS);
}

static void test_half_close(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_PLAIN, NULL);
    house_dial(&house, &client);
    /* Like `printf ... | nc -N`: all at once, then FIN; the replies still come. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&house.address, sizeof(struct sockaddr_in)), 0);
    static const char all[] = "EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nx\r\n.\r\n";
    assert_int_equal(send(fd, all, sizeof all - 1, 0), sizeof all - 1);
    shutdown(fd, SHUT_WR);
    NET_UNTIL(&house.net, house.closed == 1);
    char got[4096];
    ssize_t n = recv(fd, got, sizeof got, MSG_WAITALL);
    assert_true(n > 14 && memmem(got, (size_t)n, "250 2.0.0 yes\r\n", 14));
    close(fd);
    house_hang_up(&house, &client);
    NET_UNTIL(&house.net, house.closed == 2);
    house_close(&house);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_starttls),
        cmocka_unit_test(test_nothing_survives_starttls),
        cmocka_unit_test(test_tls_on_starttls_port),
        cmocka_unit_test(test_not_tls),
        cmocka_unit_test(test_handshake_timeout),
        cmocka_unit_test(test_command_timeout),
        cmocka_unit_test(test_later),
        cmocka_unit_test(test_a_body_that_waited),
        cmocka_unit_test(test_gone_while_paused),
        cmocka_unit_test(test_replies_leave_together),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_a_password_leaves_no_trace),
    };
    return cmocka_run_group_tests_name("net/service", tests, house_make_identity, house_drop_identity);
}
