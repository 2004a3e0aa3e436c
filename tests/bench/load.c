/* A load of mail: many submission sessions at once in one thread, over TLS from the first octet, with AUTH PLAIN.
 *
 *   load port=N user=U password=P from=A to=A [sessions=20] [total=1000] [each=50] [size=4096] [mode=send|idle] [pipelining=1]
 *
 * send: TOTAL messages of SIZE octets, EACH a session. idle: SESSIONS logged-in sessions that say nothing; "idle N" on stdout when they stand, and they stay until
 * stdin ends. At the end one line of JSON. It shares the machine with what it measures, so it must be cheap: OpenSSL, epoll, one write a flight, no thread.
 *
 *   connecting -> handshaking -> greeted -> introduced -> logged in -> (envelope -> body)* -> leaving
 *
 * Built by tests/bench/run, not by the Makefile: OpenSSL is no dependency of ours. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT = 4096, OUTPUT = 1024, EVENTS = 64, ERRORS_SHOWN = 5, ERRORS_MAX = 200 };

struct options {
    const char *user, *password, *from, *to, *mode;
    uint64_t port, sessions, total, each, size, pipelining;
};

enum step { STEP_CONNECTING, STEP_HANDSHAKING, STEP_GREETING, STEP_EHLO, STEP_AUTH, STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_ENVELOPE, STEP_BODY, STEP_IDLE, STEP_QUIT };

struct session {
    int fd;
    SSL *ssl;
    enum step step;
    unsigned awaited;        /* replies still to come in this step */
    uint64_t left;           /* messages still to send in this session */
    double began_s;          /* of the message */
    const char *out;         /* not yet written */
    size_t out_len;
    char text[OUTPUT];       /* what out points into, unless it is the body */
    char in[INPUT];
    size_t in_len;
    bool wants_write;
};

struct load {
    struct options options;
    SSL_CTX *tls;
    int poll;
    char login[OUTPUT], envelope[OUTPUT];
    char *body;
    size_t body_len;
    uint64_t taken, accepted, errors, opened, idle;
    double *delays_s;
    struct session *sessions;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- one session: octets ------------------------------------------------------------------------------------------ */

static void watch(struct load *load, struct session *s, bool wants_write)
{
    struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0), .data.ptr = s};
    if (wants_write == s->wants_write)
        return;
    s->wants_write = wants_write;
    epoll_ctl(load->poll, EPOLL_CTL_MOD, s->fd, &event);
}

static bool flush(struct load *load, struct session *s)
{
    while (s->out_len > 0) {
        int chunk = s->out_len > 16384 ? 16384 : (int)s->out_len;
        int n = SSL_write(s->ssl, s->out, chunk);
        if (n <= 0) {
            int why = SSL_get_error(s->ssl, n);
            watch(load, s, why == SSL_ERROR_WANT_WRITE);
            return why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ;
        }
        s->out += n;
        s->out_len -= (size_t)n;
    }
    watch(load, s, false);
    return true;
}

static bool say(struct load *load, struct session *s, enum step step, unsigned replies, const char *text, size_t len)
{
    s->step = step;
    s->awaited = replies;
    s->out = text;
    s->out_len = len;
    return flush(load, s);
}

static bool say_text(struct load *load, struct session *s, enum step step, const char *text)
{
    return say(load, s, step, 1, text, strlen(text));
}

/* ---- one session: the dialogue ------------------------------------------------------------------------------------ */

static bool next_message(struct load *load, struct session *s)
{
    const struct options *o = &load->options;
    if (strcmp(o->mode, "idle") == 0) {
        s->step = STEP_IDLE;
        load->idle++;
        return true;
    }
    if (s->left == 0 || load->taken == o->total)
        return say_text(load, s, STEP_QUIT, "QUIT\r\n");
    s->left--;
    load->taken++;
    s->began_s = now_s();
    if (o->pipelining)
        return say(load, s, STEP_ENVELOPE, 3, load->envelope, strlen(load->envelope));
    snprintf(s->text, sizeof s->text, "MAIL FROM:<%s>\r\n", o->from);
    return say_text(load, s, STEP_MAIL, s->text);
}

static bool accept_message(struct load *load, struct session *s)
{
    load->delays_s[load->accepted++] = now_s() - s->began_s;
    return next_message(load, s);
}

/* A reply has come. False: the session is over. */
static bool on_reply(struct load *load, struct session *s)
{
    if (s->awaited > 1) {
        s->awaited--;
        return true;
    }
    switch (s->step) {
    case STEP_GREETING: return say_text(load, s, STEP_EHLO, "EHLO load.example\r\n");
    case STEP_EHLO: return say_text(load, s, STEP_AUTH, load->login);
    case STEP_AUTH: return next_message(load, s);
    case STEP_MAIL:
        snprintf(s->text, sizeof s->text, "RCPT TO:<%s>\r\n", load->options.to);
        return say_text(load, s, STEP_RCPT, s->text);
    case STEP_RCPT: return say_text(load, s, STEP_DATA, "DATA\r\n");
    case STEP_DATA:
    case STEP_ENVELOPE: return say(load, s, STEP_BODY, 1, load->body, load->body_len);
    case STEP_BODY: return accept_message(load, s);
    case STEP_CONNECTING:
    case STEP_HANDSHAKING:
    case STEP_IDLE:
    case STEP_QUIT: break;
    }
    return false;
}

static void complain(struct load *load, const char *what, const char *text, size_t len)
{
    if (load->errors++ < ERRORS_SHOWN)
        fprintf(stderr, "load: %s: %.*s\n", what, (int)len, text);
}

/* The replies that are whole. */
static bool read_replies(struct load *load, struct session *s)
{
    char *line = s->in, *end;
    while ((end = memchr(line, '\n', s->in_len - (size_t)(line - s->in))) != NULL) {
        size_t len = (size_t)(end - line);
        bool is_last = len >= 4 && line[3] != '-';
        if (is_last && line[0] != '2' && line[0] != '3') {
            complain(load, "refused", line, len);
            return false;
        }
        if (is_last && !on_reply(load, s))
            return false;
        line = end + 1;
    }
    s->in_len -= (size_t)(line - s->in);
    memmove(s->in, line, s->in_len);
    return s->in_len < sizeof s->in;
}

static bool receive(struct load *load, struct session *s)
{
    for (;;) {
        int n = SSL_read(s->ssl, s->in + s->in_len, (int)(sizeof s->in - s->in_len));
        if (n <= 0) {
            int why = SSL_get_error(s->ssl, n);
            if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
                return true;
            if (s->step != STEP_QUIT)
                complain(load, "the server hung up", "", 0);
            return false;
        }
        s->in_len += (size_t)n;
        if (!read_replies(load, s))
            return false;
    }
}

static bool handshake(struct load *load, struct session *s)
{
    int n = SSL_connect(s->ssl);
    if (n == 1) {
        s->step = STEP_GREETING;
        s->awaited = 1;
        watch(load, s, false);
        return receive(load, s);
    }
    int why = SSL_get_error(s->ssl, n);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        watch(load, s, why == SSL_ERROR_WANT_WRITE);
        return true;
    }
    complain(load, "the TLS handshake failed", "", 0);
    return false;
}

/* ---- sessions come and go ----------------------------------------------------------------------------------------- */

static bool open_session(struct load *load, struct session *s)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)load->options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = s};
    int one = 1;
    *s = (struct session){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .left = load->options.each, .wants_write = true};
    if (s->fd < 0 || (connect(s->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)) {
        complain(load, "connect", strerror(errno), strlen(strerror(errno)));
        return false;
    }
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->ssl = SSL_new(load->tls);
    SSL_set_fd(s->ssl, s->fd);
    s->step = STEP_CONNECTING;
    load->opened++;
    return epoll_ctl(load->poll, EPOLL_CTL_ADD, s->fd, &event) == 0;
}

static void close_session(struct session *s)
{
    if (s->ssl) {
        SSL_shutdown(s->ssl);
        SSL_free(s->ssl);
        s->ssl = NULL;
    }
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

static void on_event(struct load *load, struct session *s)
{
    bool goes_on = true;
    if (s->step == STEP_CONNECTING)
        s->step = STEP_HANDSHAKING;
    if (s->step == STEP_HANDSHAKING)
        goes_on = handshake(load, s);
    else
        goes_on = (s->out_len == 0 || flush(load, s)) && receive(load, s);
    if (goes_on)
        return;
    close_session(s);
    if (load->taken < load->options.total && load->errors < ERRORS_MAX)
        open_session(load, s);
}

static bool is_over(const struct load *load)
{
    if (strcmp(load->options.mode, "idle") == 0 && load->idle == load->options.sessions)
        return true;
    for (uint64_t i = 0; i < load->options.sessions; i++)
        if (load->sessions[i].fd >= 0)
            return false;
    return true;
}

static void run(struct load *load)
{
    struct epoll_event events[EVENTS];
    uint64_t n = load->options.sessions;
    for (uint64_t i = 0; i < n; i++)
        open_session(load, &load->sessions[i]);
    while (!is_over(load)) {
        int count = epoll_wait(load->poll, events, EVENTS, 60000);
        if (count == 0)
            complain(load, "nothing happened for a minute", "", 0);
        if (count <= 0)
            return;
        for (int i = 0; i < count; i++)
            on_event(load, events[i].data.ptr);
    }
}

/* ---- start and end ------------------------------------------------------------------------------------------------ */

static bool parse_number(const char *text, uint64_t *out)
{
    *out = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        *out = *out * 10 + (uint64_t)(*text - '0');
    return *text == '\0';
}

static bool parse_option(struct options *o, const char *argument)
{
    struct { const char *name; const char **text; uint64_t *number; } all[] = {
        {"user", &o->user, NULL}, {"password", &o->password, NULL}, {"from", &o->from, NULL}, {"to", &o->to, NULL}, {"mode", &o->mode, NULL},
        {"port", NULL, &o->port}, {"sessions", NULL, &o->sessions}, {"total", NULL, &o->total}, {"each", NULL, &o->each}, {"size", NULL, &o->size},
        {"pipelining", NULL, &o->pipelining},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        size_t len = strlen(all[i].name);
        if (strncmp(argument, all[i].name, len) != 0 || argument[len] != '=')
            continue;
        if (all[i].number)
            return parse_number(argument + len + 1, all[i].number);
        *all[i].text = argument + len + 1;
        return true;
    }
    return false;
}

static void make_texts(struct load *load)
{
    const struct options *o = &load->options;
    unsigned char secret[512];
    int len = snprintf((char *)secret, sizeof secret, "%c%s%c%s", 0, o->user, 0, o->password);
    char encoded[700];
    EVP_EncodeBlock((unsigned char *)encoded, secret, len);
    snprintf(load->login, sizeof load->login, "AUTH PLAIN %s\r\n", encoded);
    snprintf(load->envelope, sizeof load->envelope, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", o->from, o->to);

    size_t room = o->size + 1024;
    load->body = malloc(room);
    size_t at = (size_t)snprintf(load->body, room, "From: <%s>\r\nTo: <%s>\r\nSubject: load\r\nMessage-ID: <load@load.example>\r\n"
                                 "Date: Sat, 21 Nov 2026 00:00:00 +0000\r\n\r\n", o->from, o->to);
    while (at + 2 < o->size) {
        size_t line = o->size - at - 2 < 76 ? o->size - at - 2 : 76;
        memset(load->body + at, 'x', line);
        memcpy(load->body + at + line, "\r\n", 2);
        at += line + 2;
    }
    memcpy(load->body + at, ".\r\n", 3);
    load->body_len = at + 3;
}

static int by_size(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

static void report(struct load *load, double wall_s)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    uint64_t n = load->accepted;
    qsort(load->delays_s, n, sizeof *load->delays_s, by_size);
    printf("{\"accepted\": %llu, \"errors\": %llu, \"sessions\": %llu, \"wall_s\": %.4f, \"cpu_s\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n", (unsigned long long)n,
           (unsigned long long)load->errors, (unsigned long long)load->opened, wall_s, cpu_s, n ? load->delays_s[n / 2] * 1e3 : 0,
           n ? load->delays_s[n * 99 / 100] * 1e3 : 0);
}

static void stay_until_stdin_ends(const struct load *load)
{
    char octet;
    printf("idle %llu\n", (unsigned long long)load->idle);
    fflush(stdout);
    while (read(STDIN_FILENO, &octet, 1) > 0)
        ;
}

int main(int argc, char **argv)
{
    struct load load = {.options = {.mode = "send", .sessions = 20, .total = 1000, .each = 50, .size = 4096, .pipelining = 1}};
    struct options *o = &load.options;
    for (int i = 1; i < argc; i++)
        if (!parse_option(o, argv[i])) {
            fprintf(stderr, "load: what is %s?\n", argv[i]);
            return 64;
        }
    if (!o->port || !o->user || !o->password || !o->from || !o->to) {
        fputs("usage: load port=N user=U password=P from=A to=A [sessions=20] [total=1000] [each=50] [size=4096] [mode=send|idle] [pipelining=1]\n", stderr);
        return 64;
    }
    load.tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(load.tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    load.poll = epoll_create1(EPOLL_CLOEXEC);
    load.sessions = calloc(o->sessions, sizeof *load.sessions);
    load.delays_s = calloc(o->total + 1, sizeof *load.delays_s);
    make_texts(&load);
    double began_s = now_s();
    run(&load);
    double wall_s = now_s() - began_s;
    if (strcmp(o->mode, "idle") == 0)
        stay_until_stdin_ends(&load);
    report(&load, wall_s);
    return load.errors == 0 ? 0 : 1;
}
