/* What TLS costs: handshakes, octets, memory of an idle session, and a 4 KiB message through stream, TLS, service and server core.
 *
 * The first two run two TLS sessions against each other in memory and count the server's CPU time alone; the others run a service in a
 * process of its own. Figures are of one core; only ratios carry over to another machine. */
#include "net/service.h"
#include "net/tls_context.h"
#include "support/certificates.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HANDSHAKES = 200, RECORDS = 4000, IDLE_SESSIONS = 500, MESSAGES = 20000, MESSAGE = 4096 };

static char folder[64], why[256];

static void need(bool is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "bench_tls: %s %s\n", what, why);
        exit(1);
    }
}

static double cpu_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static struct tls_context *make_server(void)
{
    struct tls_context *context;
    char key[96], certificate[96];
    snprintf(key, sizeof key, "%s/key", folder);
    snprintf(certificate, sizeof certificate, "%s/pem", folder);
    if (access(key, F_OK) != 0)
        need(tls_make_identity(key, certificate, "relay.example", why, sizeof why) == RESULT_OK, "identity");
    struct tls_server_config config = {.certificate_file = certificate, .key_file = key};
    need(tls_context_server(&context, &config, why, sizeof why) == RESULT_OK, "server");
    return context;
}

static struct tls_context *make_client(const struct tls_context *server)
{
    struct tls_context *context;
    struct tls_client_config config = {.identity = TLS_IDENTITY_PINS, .npins = 1};
    tls_context_pin(server, config.pins[0]);
    need(tls_context_client(&context, &config, why, sizeof why) == RESULT_OK, "client");
    return context;
}

/* ---- two sessions in memory ---- */

struct pair {
    struct tls_session *client, *server;
    struct buffer to_server, to_client;
    double server_us, client_us;
};

static enum tls_step half(struct tls_session *session, struct buffer *from, struct buffer *to, double *us)
{
    struct slice in = buffer_slice(from);
    double begun = cpu_us(CLOCK_THREAD_CPUTIME_ID);
    enum tls_step step = tls_session_handshake(session, &in, to);
    *us += cpu_us(CLOCK_THREAD_CPUTIME_ID) - begun;
    buffer_consume(from, buffer_len(from) - in.len);
    need(step != TLS_STEP_FAILED, tls_session_failure_words(session));
    return step;
}

static void pair_open(struct pair *pair, struct tls_context *client, struct tls_context *server)
{
    enum tls_step ours = TLS_STEP_WANT_INPUT, theirs = TLS_STEP_WANT_INPUT;
    *pair = (struct pair){0};
    double begun = cpu_us(CLOCK_THREAD_CPUTIME_ID);
    need(tls_session_new(&pair->server, server, NULL, PATH_ALPN_NONE) == RESULT_OK, "session");
    pair->server_us += cpu_us(CLOCK_THREAD_CPUTIME_ID) - begun;
    need(tls_session_new(&pair->client, client, "relay.example", PATH_ALPN_NONE) == RESULT_OK, "session");
    while (ours != TLS_STEP_OK || theirs != TLS_STEP_OK) {
        if (ours != TLS_STEP_OK)
            ours = half(pair->client, &pair->to_client, &pair->to_server, &pair->client_us);
        if (theirs != TLS_STEP_OK)
            theirs = half(pair->server, &pair->to_server, &pair->to_client, &pair->server_us);
    }
}

static size_t pass(struct tls_session *from, struct tls_session *to, struct buffer *wire, struct slice plain, char *room, double *write_us, double *read_us)
{
    size_t got = 0;
    double begun = cpu_us(CLOCK_THREAD_CPUTIME_ID);
    while (plain.len > 0)
        need(tls_session_write(from, &plain, wire) == TLS_STEP_OK, "write");
    double between = cpu_us(CLOCK_THREAD_CPUTIME_ID);
    struct slice in = buffer_slice(wire);
    need(tls_session_read(to, &in, room, 4 * TLS_RECORD_MAX, &got, wire) == TLS_STEP_WANT_INPUT, "read");
    tls_session_rest(to);
    tls_session_rest(from);
    *write_us += between - begun;
    *read_us += cpu_us(CLOCK_THREAD_CPUTIME_ID) - between;
    buffer_clear(wire);
    return got;
}

static void pair_close(struct pair *pair)
{
    tls_session_free(&pair->client);
    tls_session_free(&pair->server);
    buffer_free(&pair->to_server);
    buffer_free(&pair->to_client);
}

static void take_ticket(struct pair *pair)
{
    char *room = malloc(4 * TLS_RECORD_MAX);
    size_t got = 0;
    struct slice in = buffer_slice(&pair->to_client);
    (void)tls_session_read(pair->client, &in, room, 4 * TLS_RECORD_MAX, &got, &pair->to_server);
    free(room);
}

static void bench_handshakes(const char *name, mbedtls_ssl_protocol_version version, bool resumes)
{
    struct tls_context *server = make_server(), *client = make_client(server);
    struct pair pair;
    double server_us = 0, client_us = 0;
    mbedtls_ssl_conf_max_tls_version(&server->config, version);
    for (int i = 0; i < HANDSHAKES + 2; i++) {
        if (!resumes) {
            tls_context_unref(&client);
            client = make_client(server);
        }
        pair_open(&pair, client, server);
        take_ticket(&pair);
        need(tls_session_info(pair.server)->is_resumed == (resumes && i > 0), "resumption");
        if (i >= 2) {
            server_us += pair.server_us;
            client_us += pair.client_us;
        }
        pair_close(&pair);
    }
    printf("handshake %-22s server %7.0f us (%5.0f/s)   client %7.0f us\n", name, server_us / HANDSHAKES, HANDSHAKES * 1e6 / server_us, client_us / HANDSHAKES);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

static void bench_octets(const char *name, int suite, size_t size)
{
    struct tls_context *server = make_server(), *client = make_client(server);
    const int suites[] = {suite, 0};
    struct pair pair;
    double write_us = 0, read_us = 0;
    char *plain = calloc(1, size), *room = malloc(4 * TLS_RECORD_MAX);
    mbedtls_ssl_conf_ciphersuites(&server->config, suites);
    pair_open(&pair, client, server);
    take_ticket(&pair);
    buffer_clear(&pair.to_client);
    buffer_clear(&pair.to_server);
    for (int i = 0; i < RECORDS; i++)
        need(pass(pair.client, pair.server, &pair.to_server, slice_of(plain, size), room, &write_us, &read_us) == size, "octets");
    printf("records   %-22s %5zu octets: encrypt %6.1f us (%4.0f MB/s)   decrypt %6.1f us (%4.0f MB/s)\n", name, size, write_us / RECORDS,
           (double)size * RECORDS / write_us, read_us / RECORDS, (double)size * RECORDS / read_us);
    pair_close(&pair);
    free(plain);
    free(room);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

static size_t heap(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Of one server session alone: the clients are made first and thrown away before the count. */
static void bench_session_heap(void)
{
    struct tls_context *server = make_server(), *client = make_client(server);
    static struct pair pairs[IDLE_SESSIONS];
    char *room = malloc(4 * TLS_RECORD_MAX);
    double us = 0;
    size_t before = heap();
    for (int i = 0; i < IDLE_SESSIONS; i++) {
        pair_open(&pairs[i], client, server);
        take_ticket(&pairs[i]);
        buffer_clear(&pairs[i].to_server);
        buffer_clear(&pairs[i].to_client);
        pass(pairs[i].client, pairs[i].server, &pairs[i].to_server, SLICE("EHLO x\r\n"), room, &us, &us);
        pass(pairs[i].server, pairs[i].client, &pairs[i].to_client, SLICE("250 x\r\n"), room, &us, &us);
        tls_session_free(&pairs[i].client);
        buffer_free(&pairs[i].to_server);
        buffer_free(&pairs[i].to_client);
    }
    printf("heap      TLS session at rest: %zu octets\n", (heap() - before) / IDLE_SESSIONS);
    for (int i = 0; i < IDLE_SESSIONS; i++)
        pair_close(&pairs[i]);
    free(room);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

/* ---- a service in a process of its own ---- */

struct server {
    uv_loop_t loop;
    struct service *service;
    uv_pipe_t orders; /* an octet: report */
    int reports;
    unsigned long messages;
};

struct report {
    double cpu_us;
    size_t heap, sessions;
    unsigned long messages;
};

static bool on_open(void *context, struct service_session *session, void **session_context, const char **refusal)
{
    (void)session;
    (void)refusal;
    *session_context = context;
    return true;
}

static void on_event(void *context, struct service_session *session, const struct smtp_server_event *event)
{
    static const struct smtp_reply yes = {.code = 250, .status = {2, 0, 0}, .text = {"ok", 2}};
    struct server *server = context;
    if (event->type == SMTP_SERVER_MAIL || event->type == SMTP_SERVER_RCPT || event->type == SMTP_SERVER_BODY_BEGIN || event->type == SMTP_SERVER_BODY_END)
        service_answer(session, &yes);
    server->messages += event->type == SMTP_SERVER_BODY_END;
}

static void on_closed(void *context, struct service_session *session)
{
    (void)context;
    (void)session;
}

static void on_allocate(uv_handle_t *handle, size_t size, uv_buf_t *out)
{
    static char octets[16];
    (void)handle;
    (void)size;
    *out = uv_buf_init(octets, sizeof octets);
}

static void on_order(uv_stream_t *pipe, ssize_t n, const uv_buf_t *in)
{
    struct server *server = pipe->data;
    (void)in;
    if (n < 0)
        exit(0);
    struct report report = {cpu_us(CLOCK_PROCESS_CPUTIME_ID), heap(), service_sessions(server->service), server->messages};
    need(write(server->reports, &report, sizeof report) == sizeof report, "report");
}

static void serve(struct tls_context *tls, enum service_mode mode, int orders, int reports)
{
    struct server server = {.reports = reports};
    struct service_listener listener = {.mode = mode};
    struct sockaddr_storage address;
    uv_loop_init(&server.loop);
    uv_pipe_init(&server.loop, &server.orders, 0);
    uv_pipe_open(&server.orders, orders);
    server.orders.data = &server;
    uv_read_start((uv_stream_t *)&server.orders, on_allocate, on_order);
    struct service_config config = {.smtp = {.hostname = SLICE("relay.example")}, .tls = tls, .sessions_max = IDLE_SESSIONS + 10,
                                    .handler = {&server, on_open, on_event, on_closed}};
    server.service = service_new(&server.loop, &config);
    uv_ip4_addr("127.0.0.1", 0, (struct sockaddr_in *)&listener.address);
    need(server.service && service_listen(server.service, &listener, &address, why, sizeof why) == RESULT_OK, "listen");
    need(write(reports, &address, sizeof address) == sizeof address, "address");
    uv_run(&server.loop, UV_RUN_DEFAULT);
}

struct child {
    pid_t pid;
    int orders, reports;
    struct sockaddr_storage address;
};

static void child_start(struct child *child, struct tls_context *tls, enum service_mode mode)
{
    int orders[2], reports[2];
    need(pipe(orders) == 0 && pipe(reports) == 0, "pipe");
    fflush(stdout);
    child->pid = fork();
    if (child->pid == 0) {
        close(orders[1]);
        close(reports[0]);
        serve(tls, mode, orders[0], reports[1]);
        _exit(1);
    }
    close(orders[0]);
    close(reports[1]);
    child->orders = orders[1];
    child->reports = reports[0];
    need(read(child->reports, &child->address, sizeof child->address) == sizeof child->address, "address");
}

static struct report child_report(const struct child *child)
{
    struct report report;
    need(write(child->orders, "r", 1) == 1 && read(child->reports, &report, sizeof report) == sizeof report, "report");
    return report;
}

static void child_stop(struct child *child)
{
    close(child->orders);
    waitpid(child->pid, NULL, 0);
    close(child->reports);
}

/* ---- clients ---- */

struct client {
    struct stream *stream;
    struct tls_context *tls;
    unsigned long replies; /* lines that begin with "250 " or "354 " or "220 " */
};

static void count_replies(struct client *client, struct slice in)
{
    for (ptrdiff_t at; (at = slice_find(in, '\n')) >= 0; in = slice_skip(in, (size_t)at + 1))
        client->replies += at > 3 && in.ptr[3] == ' ';
}

static void on_stream(void *context, struct stream *stream, enum stream_event event)
{
    struct client *client = context;
    if (event == STREAM_OPENED && client->tls)
        need(stream_start_tls(stream, client->tls, "relay.example", false) == RESULT_OK, "TLS");
    if (event == STREAM_DATA) {
        struct slice in = stream_input(stream);
        count_replies(client, in);
        stream_consume(stream, in.len);
    }
    need(event != STREAM_FAILED, stream_error(stream)->words);
    if (event == STREAM_CLOSED)
        client->stream = NULL;
}

static void client_open(uv_loop_t *loop, struct client *client, const struct child *child, struct tls_context *tls)
{
    *client = (struct client){.tls = tls};
    need(stream_connect(&client->stream, loop, (const struct sockaddr *)&child->address, (struct stream_owner){on_stream, client}, NULL) == RESULT_OK, "connect");
    while (client->replies < 1)
        uv_run(loop, UV_RUN_ONCE);
    need(stream_write(client->stream, SLICE("EHLO x\r\n")) == RESULT_OK, "write");
    while (client->replies < 2)
        uv_run(loop, UV_RUN_ONCE);
}

static void client_close(uv_loop_t *loop, struct client *client)
{
    stream_close(client->stream);
    while (client->stream)
        uv_run(loop, UV_RUN_ONCE);
}

static void bench_idle(enum service_mode mode)
{
    static struct client clients[IDLE_SESSIONS];
    struct tls_context *server = make_server(), *tls = make_client(server);
    struct child child;
    uv_loop_t loop;
    uv_loop_init(&loop);
    child_start(&child, server, mode);
    struct client first;
    client_open(&loop, &first, &child, mode == SERVICE_TLS ? tls : NULL); /* what is made once is not counted */
    struct report before = child_report(&child);
    for (int i = 0; i < IDLE_SESSIONS; i++)
        client_open(&loop, &clients[i], &child, mode == SERVICE_TLS ? tls : NULL);
    struct report after = child_report(&child);
    need(after.sessions == IDLE_SESSIONS + 1, "sessions");
    printf("heap      idle session after EHLO, %-8s %6zu octets\n", service_mode_name(mode), (after.heap - before.heap) / IDLE_SESSIONS);
    for (int i = 0; i < IDLE_SESSIONS; i++)
        client_close(&loop, &clients[i]);
    client_close(&loop, &first);
    child_stop(&child);
    uv_loop_close(&loop);
    tls_context_unref(&tls);
    tls_context_unref(&server);
}

static void message_make(struct buffer *out)
{
    char line[64];
    memset(line, 'x', sizeof line);
    line[62] = '\r';
    line[63] = '\n';
    need(buffer_append_cstr(out, "Subject: bench\r\n\r\n") == RESULT_OK, "memory");
    while (buffer_len(out) < MESSAGE)
        need(buffer_append(out, slice_of(line, sizeof line)) == RESULT_OK, "memory");
    need(buffer_append_cstr(out, ".\r\n") == RESULT_OK, "memory");
}

static void bench_messages(enum service_mode mode)
{
    struct tls_context *server = make_server(), *tls = make_client(server);
    struct child child;
    struct client client;
    struct buffer message = {0};
    uv_loop_t loop;
    uv_loop_init(&loop);
    message_make(&message);
    child_start(&child, server, mode);
    client_open(&loop, &client, &child, mode == SERVICE_TLS ? tls : NULL);
    struct report before = child_report(&child);
    double begun = cpu_us(CLOCK_MONOTONIC);
    for (int i = 0; i < MESSAGES; i++) {
        unsigned long replies = client.replies;
        need(stream_write(client.stream, SLICE("MAIL FROM:<a@x.example> SIZE=4114\r\nRCPT TO:<b@y.example>\r\nDATA\r\n")) == RESULT_OK, "write");
        while (client.replies < replies + 3)
            uv_run(&loop, UV_RUN_ONCE);
        need(stream_write(client.stream, buffer_slice(&message)) == RESULT_OK, "write");
        while (client.replies < replies + 4)
            uv_run(&loop, UV_RUN_ONCE);
    }
    double wall_us = cpu_us(CLOCK_MONOTONIC) - begun;
    struct report after = child_report(&child);
    need(after.messages == MESSAGES, "messages");
    printf("message   4 KiB over one session, %-8s server CPU %5.1f us   wall %5.1f us\n", service_mode_name(mode),
           (after.cpu_us - before.cpu_us) / MESSAGES, wall_us / MESSAGES);
    client_close(&loop, &client);
    child_stop(&child);
    uv_loop_close(&loop);
    buffer_free(&message);
    tls_context_unref(&tls);
    tls_context_unref(&server);
}

int main(void)
{
    certificates_folder_make(folder);
    bench_handshakes("TLS 1.3", MBEDTLS_SSL_VERSION_TLS1_3, false);
    bench_handshakes("TLS 1.3 resumed", MBEDTLS_SSL_VERSION_TLS1_3, true);
    bench_handshakes("TLS 1.2", MBEDTLS_SSL_VERSION_TLS1_2, false);
    bench_handshakes("TLS 1.2 resumed", MBEDTLS_SSL_VERSION_TLS1_2, true);
    bench_octets("AES-128-GCM", MBEDTLS_TLS1_3_AES_128_GCM_SHA256, 4096);
    bench_octets("AES-256-GCM", MBEDTLS_TLS1_3_AES_256_GCM_SHA384, 4096);
    bench_octets("ChaCha20-Poly1305", MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256, 4096);
    bench_octets("AES-128-GCM", MBEDTLS_TLS1_3_AES_128_GCM_SHA256, 16384);
    bench_octets("AES-128-GCM", MBEDTLS_TLS1_3_AES_128_GCM_SHA256, 100);
    bench_session_heap();
    bench_idle(SERVICE_PLAIN);
    bench_idle(SERVICE_TLS);
    bench_messages(SERVICE_PLAIN);
    bench_messages(SERVICE_TLS);
    certificates_folder_remove(folder);
    return 0;
}
