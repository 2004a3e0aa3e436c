/* The server's driver: sessions on ports of every mode, against a policy that says yes, now or later. */
#include "support/certificates.h"
#include "support/netloop.h"

#include "net/service.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64], why[256];
static struct tls_context *server_tls, *client_tls;

static int make_identity(void **state)
{
    char key[96], certificate[96];
    (void)state;
    certificates_folder_make(folder);
    snprintf(key, sizeof key, "%s/key", folder);
    snprintf(certificate, sizeof certificate, "%s/pem", folder);
    assert_int_equal(tls_make_identity(key, certificate, "relay.example", why, sizeof why), RESULT_OK);
    struct tls_server_config server = {.certificate_file = certificate, .key_file = key};
    assert_int_equal(tls_context_server(&server_tls, &server, why, sizeof why), RESULT_OK);
    struct tls_client_config client = {.identity = TLS_IDENTITY_PINS, .npins = 1};
    tls_context_pin(server_tls, client.pins[0]);
    assert_int_equal(tls_context_client(&client_tls, &client, why, sizeof why), RESULT_OK);
    return 0;
}

static int drop_identity(void **state)
{
    (void)state;
    tls_context_unref(&client_tls);
    tls_context_unref(&server_tls);
    certificates_folder_remove(folder);
    return 0;
}

/* ---- the policy ---- */

enum { LATER_MAX = 16 };

struct house {
    struct netloop net;
    struct service *service;
    struct sockaddr_storage address;
    bool answers_later;     /* NET_UNTIL(nlater), then answer_one */
    bool pauses;            /* at each BODY */
    bool refuses;
    unsigned opened, closed, stopped;
    struct service_session *later[LATER_MAX];
    struct service_session *newest;
    size_t nlater;
    uint64_t body_octets;
    struct buffer story;    /* "MAIL RCPT ..." */
};

static bool on_open(void *context, struct service_session *session, void **session_context, const char **refusal)
{
    struct house *house = context;
    *session_context = house;
    *refusal = "closed for the night";
    house->newest = session;
    house->opened += !house->refuses;
    assert_null(service_core(session));
    return !house->refuses;
}

static void answer(struct house *house, struct service_session *session)
{
    static const struct smtp_reply yes = {.code = 250, .status = {2, 0, 0}, .text = {"yes", 3}};
    if (house->answers_later) {
        assert_true(house->nlater < LATER_MAX);
        house->later[house->nlater++] = session;
    } else {
        service_answer(session, &yes);
    }
}

static void answer_one(struct house *house)
{
    static const struct smtp_reply yes = {.code = 250, .status = {2, 0, 0}, .text = {"later", 5}};
    assert_true(house->nlater > 0);
    service_answer(house->later[--house->nlater], &yes);
}

static void on_event(void *session_context, struct service_session *session, const struct smtp_server_event *event)
{
    static const char *const names[] = {"AUTH ", "RESPONSE ", "CANCELLED ", "", "MAIL ", "RCPT ", "BEGIN ", "", "END ", "ENDED ", ""};
    struct house *house = session_context;
    assert_int_equal(buffer_append_cstr(&house->story, names[event->type]), RESULT_OK);
    switch (event->type) {
    case SMTP_SERVER_AUTH:
    case SMTP_SERVER_AUTH_RESPONSE:
    case SMTP_SERVER_MAIL:
    case SMTP_SERVER_RCPT:
    case SMTP_SERVER_BODY_BEGIN:
    case SMTP_SERVER_BODY_END:
        answer(house, session);
        break;
    case SMTP_SERVER_BODY:
        house->body_octets += event->data.len;
        if (house->pauses)
            service_pause(session);
        break;
    case SMTP_SERVER_STARTTLS:
    case SMTP_SERVER_CLOSE:
        fail_msg("not for the handler");
        break;
    case SMTP_SERVER_AUTH_CANCELLED:
    case SMTP_SERVER_TRANSACTION_ENDED:
        break;
    }
}

static void on_closed(void *session_context, struct service_session *session)
{
    struct house *house = session_context;
    house->closed++;
    for (size_t i = 0; i < house->nlater; i++)
        if (house->later[i] == session)
            house->later[i] = house->later[--house->nlater];
    assert_int_equal(buffer_append_cstr(&house->story, "CLOSED "), RESULT_OK);
}

static void on_stopped(void *context)
{
    ((struct house *)context)->stopped++;
}

static struct service_config house_config(struct house *house)
{
    return (struct service_config){.smtp = {.hostname = SLICE("relay.example")}, .tls = server_tls, .handler = {house, on_open, on_event, on_closed}};
}

static void house_listen(struct house *house, enum service_mode mode)
{
    struct service_listener listener = {.mode = mode};
    uv_ip4_addr("127.0.0.1", 0, (struct sockaddr_in *)&listener.address);
    if (service_listen(house->service, &listener, &house->address, why, sizeof why) != RESULT_OK)
        fail_msg("%s", why);
}

static void house_open(struct house *house, enum service_mode mode, const struct service_config *config)
{
    *house = (struct house){0};
    netloop_open(&house->net);
    struct service_config own = config ? *config : house_config(house);
    own.handler.context = house;
    house->service = service_new(&house->net.loop, &own);
    assert_non_null(house->service);
    house_listen(house, mode);
}

static void house_close(struct house *house)
{
    if (house->stopped == 0)
        service_stop(house->service, 0, on_stopped, house);
    NET_UNTIL(&house->net, house->stopped == 1);
    assert_int_equal(house->opened, house->closed);
    buffer_free(&house->story);
    netloop_close(&house->net);
}

static bool story_is(const struct house *house, const char *story)
{
    return slice_equal(buffer_slice(&house->story), slice_from_cstr(story));
}

/* ---- clients ---- */

static void dial(struct house *house, struct net_end *end)
{
    end->got = BUFFER(1024 * 1024);
    end->closes_at_end = true;
    assert_int_equal(stream_connect(&end->stream, &house->net.loop, (struct sockaddr *)&house->address, net_end_owner(end), NULL), RESULT_OK);
    NET_UNTIL(&house->net, end->told[STREAM_OPENED] + end->told[STREAM_FAILED] == 1);
}

static void dial_tls(struct house *house, struct net_end *end)
{
    dial(house, end);
    assert_int_equal(stream_start_tls(end->stream, client_tls, "relay.example", false), RESULT_OK);
    NET_UNTIL(&house->net, end->told[STREAM_SECURED] + end->told[STREAM_FAILED] == 1);
    assert_int_equal(end->told[STREAM_SECURED], 1);
}

static bool has_end(const struct net_end *end, const char *text)
{
    struct slice got = buffer_slice(&end->got);
    size_t len = strlen(text);
    return got.len >= len && memcmp(got.ptr + got.len - len, text, len) == 0;
}

/* Waits for these octets at the end of what came, and forgets all. */
#define EXPECT(house, end, text)                                                                                       \
    do {                                                                                                               \
        NET_UNTIL(&(house)->net, has_end(end, text));                                                                  \
        buffer_clear(&(end)->got);                                                                                     \
    } while (0)

static void greet(struct house *house, struct net_end *end)
{
    EXPECT(house, end, " ESMTP Postern\r\n");
    net_end_write(end, "EHLO laptop.example\r\n");
    NET_UNTIL(&house->net, has_end(end, "\r\n") && memmem(buffer_slice(&end->got).ptr, buffer_len(&end->got), "\r\n250 ", 6));
    buffer_clear(&end->got);
}

static void leave(struct house *house, struct net_end *end)
{
    buffer_clear(&end->got);
    net_end_write(end, "QUIT\r\n");
    NET_UNTIL(&house->net, end->stream == NULL);
    assert_true(slice_starts_with(buffer_slice(&end->got), SLICE("221 2.0.0 ")));
    assert_int_equal(end->told[STREAM_FAILED], 0);
    buffer_free(&end->got);
}

static void hang_up(struct house *house, struct net_end *end)
{
    if (end->stream)
        stream_close(end->stream);
    NET_UNTIL(&house->net, end->stream == NULL);
    buffer_free(&end->got);
}

/* ---- dialogues ---- */

static const char TRANSACTION[] = "MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n";

static void talk(struct house *house, struct net_end *end)
{
    greet(house, end);
    net_end_write(end, TRANSACTION);
    EXPECT(house, end, "\r\n354 Send the message; end with <CRLF>.<CRLF>\r\n");
    net_end_write(end, "Subject: x\r\n\r\nhello\r\n.\r\n");
    EXPECT(house, end, "250 2.0.0 yes\r\n");
    assert_true(story_is(house, "MAIL RCPT BEGIN END "));
    assert_int_equal(house->body_octets, 21);
    leave(house, end);
    NET_UNTIL(&house->net, house->closed == 1);
    assert_true(story_is(house, "MAIL RCPT BEGIN END CLOSED "));
}

static void test_plain(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_PLAIN, NULL);
    dial(&house, &client);
    EXPECT(&house, &client, " ESMTP Postern\r\n");
    assert_null(service_tls(house.newest));
    assert_int_equal(service_id(house.newest)[0], 's');
    assert_true(strncmp(service_peer(house.newest), "127.0.0.1:", 10) == 0);
    assert_int_equal(service_session_mode(house.newest), SERVICE_PLAIN);
    net_end_write(&client, "EHLO x\r\n");
    NET_UNTIL(&house.net, has_end(&client, "\r\n") && buffer_len(&client.got) > 100);
    assert_null(memmem(buffer_slice(&client.got).ptr, buffer_len(&client.got), "STARTTLS", 8));
    leave(&house, &client);
    client = (struct net_end){0};
    NET_UNTIL(&house.net, house.closed == 1);
    house.closed = house.opened = 0;
    buffer_clear(&house.story);
    dial(&house, &client);
    talk(&house, &client);
    house_close(&house);
}

static void test_tls(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_TLS, NULL);
    dial_tls(&house, &client);
    talk(&house, &client);
    house_close(&house);
}

static void test_starttls(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_STARTTLS, NULL);
    dial(&house, &client);
    greet(&house, &client);
    net_end_write(&client, "MAIL FROM:<a@x.example>\r\n");
    EXPECT(&house, &client, "\r\n");
    assert_true(story_is(&house, "")); /* TLS first */
    net_end_write(&client, "STARTTLS\r\n");
    NET_UNTIL(&house.net, has_end(&client, "\r\n"));
    assert_true(slice_starts_with(buffer_slice(&client.got), SLICE("220 ")));
    assert_int_equal(stream_start_tls(client.stream, client_tls, NULL, false), RESULT_OK);
    NET_UNTIL(&house.net, client.told[STREAM_SECURED] == 1 && service_tls(house.newest));
    net_end_write(&client, "EHLO x\r\n");
    NET_UNTIL(&house.net, memmem(buffer_slice(&client.got).ptr, buffer_len(&client.got), "\r\n250 ", 6) != NULL);
    buffer_clear(&client.got);
    net_end_write(&client, "MAIL FROM:<a@x.example>\r\n");
    EXPECT(&house, &client, "250 2.0.0 yes\r\n");
    leave(&house, &client);
    house_close(&house);
}

/* CVE-2011-0411 and its kin. */
static void test_nothing_survives_starttls(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_STARTTLS, NULL);
    dial(&house, &client);
    greet(&house, &client);
    net_end_write(&client, "STARTTLS\r\nMAIL FROM:<evil@x.example>\r\n");
    NET_UNTIL(&house.net, client.stream == NULL);
    assert_non_null(memmem(buffer_slice(&client.got).ptr, buffer_len(&client.got), "554 5.7.0 ", 10));
    NET_UNTIL(&house.net, house.closed == 1);
    assert_true(story_is(&house, "CLOSED "));
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
    hang_up(&house, &client);
    NET_UNTIL(&house.net, house.closed == 1);
    house_close(&house);
}

static void test_not_tls(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_TLS, NULL);
    dial(&house, &client);
    net_end_write(&client, "GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n");
    NET_UNTIL(&house.net, client.stream == NULL && house.closed == 1);
    assert_int_equal(buffer_len(&client.got), 0);
    assert_true(story_is(&house, "CLOSED "));
    buffer_free(&client.got);
    house_close(&house);
}

static void test_handshake_timeout(void **state)
{
    struct house house;
    struct net_end client = {0}, late = {0};
    struct service_config config = house_config(&house);
    (void)state;
    config.handshake_timeout_ms = 30;
    house_open(&house, SERVICE_TLS, &config);
    dial(&house, &client);
    dial_tls(&house, &late); /* in time */
    NET_UNTIL(&house.net, client.stream == NULL && house.closed == 1);
    greet(&house, &late);
    leave(&house, &late);
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
    dial(&house, &client);
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
    dial_tls(&house, &client);
    greet(&house, &client);
    unsigned told = client.told[STREAM_DATA];
    net_end_write(&client, TRANSACTION);
    for (int i = 0; i < 3; i++) {
        NET_UNTIL(&house.net, house.nlater == 1);
        size_t before = buffer_len(&house.story);
        answer_one(&house);
        assert_int_equal(house.nlater, 0); /* no event from inside the answer */
        assert_int_equal(buffer_len(&house.story), before);
    }
    EXPECT(&house, &client, "\r\n354 Send the message; end with <CRLF>.<CRLF>\r\n");
    assert_in_range(client.told[STREAM_DATA] - told, 1, 3);
    net_end_write(&client, "x\r\n.\r\nNOOP\r\nQUIT\r\n");
    NET_UNTIL(&house.net, house.nlater == 1);
    assert_int_equal(buffer_len(&client.got), 0); /* nothing before the store has said yes */
    answer_one(&house);
    NET_UNTIL(&house.net, client.stream == NULL);
    assert_true(slice_starts_with(buffer_slice(&client.got), SLICE("250 2.0.0 later\r\n250 2.0.0 ")));
    assert_non_null(memmem(buffer_slice(&client.got).ptr, buffer_len(&client.got), "\r\n221 2.0.0 ", 12));
    buffer_free(&client.got);
    house_close(&house);
}

/* All replies to one flight leave in one segment. */
static void test_replies_leave_together(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_TLS, NULL);
    dial_tls(&house, &client);
    greet(&house, &client);
    unsigned told = client.told[STREAM_DATA];
    net_end_write(&client, "NOOP\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nRSET\r\nNOOP\r\n");
    NET_UNTIL(&house.net, has_end(&client, "\r\n") && buffer_len(&client.got) > 60);
    assert_int_equal(client.told[STREAM_DATA] - told, 1);
    leave(&house, &client);
    NET_UNTIL(&house.net, house.closed == 1);
    house_close(&house);
}

static void test_half_close(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_PLAIN, NULL);
    dial(&house, &client);
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
    hang_up(&house, &client);
    NET_UNTIL(&house.net, house.closed == 2);
    house_close(&house);
}

/* ---- deaths ---- */

static void die_at(unsigned nanswers, const char *expected)
{
    struct house house;
    struct net_end client = {0};
    house_open(&house, SERVICE_PLAIN, NULL);
    house.answers_later = true;
    dial(&house, &client);
    net_end_write(&client, "EHLO x\r\n");
    net_end_write(&client, TRANSACTION);
    for (unsigned i = 0; i < nanswers; i++) {
        NET_UNTIL(&house.net, house.nlater == 1);
        answer_one(&house);
        if (i == 2)
            net_end_write(&client, "x\r\n.\r\n");
    }
    if (nanswers < 4)
        NET_UNTIL(&house.net, house.nlater == 1);
    stream_close(client.stream); /* octets of ours unread: RST */
    NET_UNTIL(&house.net, client.stream == NULL);
    buffer_free(&client.got);
    service_stop(house.service, 0, on_stopped, &house);
    NET_UNTIL(&house.net, house.stopped == 1);
    if (!story_is(&house, expected))
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
static void test_answer_to_the_dead(void **state)
{
    struct house house;
    struct net_end client = {0};
    (void)state;
    house_open(&house, SERVICE_PLAIN, NULL);
    house.answers_later = true;
    dial(&house, &client);
    net_end_write(&client, "EHLO x\r\nMAIL FROM:<a@x.example>\r\n");
    NET_UNTIL(&house.net, house.nlater == 1);
    service_stop(house.service, 0, on_stopped, &house);
    answer_one(&house);
    NET_UNTIL(&house.net, house.stopped == 1);
    hang_up(&house, &client);
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
    dial_tls(&house, &client);
    greet(&house, &client);
    net_end_write(&client, TRANSACTION);
    EXPECT(&house, &client, "\r\n354 Send the message; end with <CRLF>.<CRLF>\r\n");
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
        service_resume(house.newest);
        assert_int_equal(house.body_octets, paused_at); /* not from inside */
        NET_UNTIL(&house.net, house.body_octets > paused_at);
    }
    service_resume(house.newest);
    EXPECT(&house, &client, "250 2.0.0 yes\r\n");
    assert_int_equal(house.body_octets, TOTAL);
    leave(&house, &client);
    NET_UNTIL(&house.net, house.closed == 1);
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
    dial(&house, &one);
    dial(&house, &two);
    NET_UNTIL(&house.net, house.opened == 2);
    dial(&house, &three);
    NET_UNTIL(&house.net, three.stream == NULL);
    assert_true(slice_starts_with(buffer_slice(&three.got), SLICE("421 4.3.2 ")));
    buffer_free(&three.got);
    assert_int_equal(service_sessions(house.service), 2);
    hang_up(&house, &one);
    NET_UNTIL(&house.net, service_sessions(house.service) == 1);
    three = (struct net_end){0};
    dial(&house, &three);
    EXPECT(&house, &three, " ESMTP Postern\r\n");
    hang_up(&house, &two);
    hang_up(&house, &three);
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
    dial(&house, &one);
    dial(&house, &two);
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
    hang_up(&house, &one);
    hang_up(&house, &two);
    NET_UNTIL(&house.net, house.closed == 2);
    house_close(&house);
}

static void refuse_by_handler(enum service_mode mode, const char *expected)
{
    struct house house;
    struct net_end one = {0};
    house_open(&house, mode, NULL);
    house.refuses = true;
    dial(&house, &one);
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
    dial(&house, &one);
    EXPECT(&house, &one, " ESMTP Postern\r\n");
    hang_up(&house, &one);
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
    assert_non_null(strstr(why, "127.0.0.1:"));
    uv_ip4_addr("192.0.2.1", 0, (struct sockaddr_in *)&listener.address);
    assert_int_equal(service_listen(house.service, &listener, NULL, why, sizeof why), RESULT_NOT_FOUND);
    house_close(&house);

    struct service_config config = house_config(&house);
    config.reuse_port = true;
    house_open(&house, SERVICE_PLAIN, &config);
    house_open(&other, SERVICE_PLAIN, &config);
    listener.address = house.address;
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
    dial(&house, &idle);
    greet(&house, &idle);
    dial(&house, &busy);
    greet(&house, &busy);
    net_end_write(&busy, TRANSACTION);
    EXPECT(&house, &busy, "\r\n354 Send the message; end with <CRLF>.<CRLF>\r\n");
    house_listen(&house, SERVICE_TLS);
    dial(&house, &shaking);
    NET_UNTIL(&house.net, house.opened == 3);
    service_stop(house.service, 5000, on_stopped, &house);
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
    dial(&house, &busy);
    greet(&house, &busy);
    net_end_write(&busy, TRANSACTION);
    EXPECT(&house, &busy, "\r\n354 Send the message; end with <CRLF>.<CRLF>\r\n");
    service_stop(house.service, 20, on_stopped, &house);
    NET_UNTIL(&house.net, house.stopped == 1);
    assert_true(story_is(&house, "MAIL RCPT BEGIN ENDED CLOSED "));
    hang_up(&house, &busy);
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
        cmocka_unit_test(test_replies_leave_together),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_deaths),
        cmocka_unit_test(test_answer_to_the_dead),
        cmocka_unit_test(test_pause_in_body),
        cmocka_unit_test(test_deaf_client),
        cmocka_unit_test(test_sessions_max),
        cmocka_unit_test(test_sessions_per_address),
        cmocka_unit_test(test_refused_by_handler),
        cmocka_unit_test(test_no_descriptors_left),
        cmocka_unit_test(test_listen_errors),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_stop_after_grace),
    };
    return cmocka_run_group_tests_name("net/service", tests, make_identity, drop_identity);
}
