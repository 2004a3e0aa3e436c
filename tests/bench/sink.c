/* Where measured mail goes: takes everything, as cheaply as it can, and counts.
 *
 *   sink PORT FILE        FILE begins with a 64-bit count of messages, for others to mmap
 *
 * "ready" on stdout when it listens on 127.0.0.1. It offers PIPELINING, 8BITMIME, SMTPUTF8; one thread, one write for each read. Its reading of SMTP is no
 * more than a measurement needs. Built by tests/bench/run. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INPUT = 65536, OUTPUT = 4096, LINE = 1024, EVENTS = 64 };

struct peer {
    int fd;
    bool is_data, is_leaving;
    unsigned matched;       /* octets of CR LF . CR LF seen at the end of the data so far */
    char line[LINE];        /* the command so far */
    size_t line_len;
    char out[OUTPUT];
    size_t out_len;
};

static _Atomic uint64_t *count;

static void answer(struct peer *peer, const char *text)
{
    size_t len = strlen(text);
    if (peer->out_len + len > sizeof peer->out)
        return; /* who pipelines so much gets no answer, and shows it by hanging */
    memcpy(peer->out + peer->out_len, text, len);
    peer->out_len += len;
}

static bool is_verb(const struct peer *peer, const char *verb)
{
    return peer->line_len >= 4 && strncasecmp(peer->line, verb, 4) == 0;
}

static void on_command(struct peer *peer)
{
    if (is_verb(peer, "EHLO"))
        answer(peer, "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 104857600\r\n");
    else if (is_verb(peer, "DATA")) {
        answer(peer, "354 go on\r\n");
        peer->is_data = true;
        peer->matched = 2; /* an empty message ends at once */
    } else if (is_verb(peer, "QUIT")) {
        answer(peer, "221 2.0.0 bye\r\n");
        peer->is_leaving = true;
    } else {
        answer(peer, "250 2.0.0 fine\r\n");
    }
    peer->line_len = 0;
}

/* Octets of the message, up to its end or that of the input. */
static size_t take_data(struct peer *peer, const char *in, size_t len)
{
    static const char end[] = "\r\n.\r\n";
    size_t i = 0;
    while (i < len) {
        if (peer->matched == 0) {
            const char *cr = memchr(in + i, '\r', len - i);
            if (!cr)
                return len;
            i = (size_t)(cr - in);
        }
        char c = in[i++];
        peer->matched = c == end[peer->matched] ? peer->matched + 1 : c == '\r' ? 1 : 0;
        if (peer->matched == 5) {
            peer->is_data = false;
            ++*count;
            answer(peer, "250 2.0.0 kept\r\n");
            return i;
        }
    }
    return i;
}

static size_t take_line(struct peer *peer, const char *in, size_t len)
{
    const char *lf = memchr(in, '\n', len);
    size_t n = lf ? (size_t)(lf - in) + 1 : len;
    size_t room = sizeof peer->line - peer->line_len;
    memcpy(peer->line + peer->line_len, in, n < room ? n : room);
    peer->line_len += n < room ? n : room;
    if (lf)
        on_command(peer);
    return n;
}

static bool on_readable(struct peer *peer)
{
    static char in[INPUT];
    ssize_t n = recv(peer->fd, in, sizeof in, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    for (size_t at = 0; at < (size_t)n;)
        at += peer->is_data ? take_data(peer, in + at, (size_t)n - at) : take_line(peer, in + at, (size_t)n - at);
    ssize_t sent = peer->out_len ? send(peer->fd, peer->out, peer->out_len, MSG_NOSIGNAL) : 0;
    bool is_sent = sent == (ssize_t)peer->out_len;
    peer->out_len = 0;
    return is_sent && !peer->is_leaving;
}

static void welcome(int poll, int listener)
{
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct peer *peer = fd < 0 ? NULL : calloc(1, sizeof *peer);
    if (!peer)
        return;
    peer->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
    if (send(fd, "220 sink.example ESMTP\r\n", 24, MSG_NOSIGNAL) < 0)
        shutdown(fd, SHUT_RDWR);
}

static void dismiss(struct peer *peer)
{
    close(peer->fd);
    free(peer);
}

static bool open_count(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, sizeof *count) < 0)
        return false;
    count = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return count != MAP_FAILED;
}

static int listen_on(const char *port)
{
    uint32_t number = 0;
    for (; *port >= '0' && *port <= '9'; port++)
        number = number * 10 + (uint32_t)(*port - '0');
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    return fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 1024) == 0 ? fd : -1;
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    int listener = argc == 3 ? listen_on(argv[1]) : -1;
    int poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (listener < 0 || !open_count(argv[2]) || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event) < 0) {
        perror("sink PORT FILE");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct peer *peer = events[i].data.ptr;
            if (!peer)
                welcome(poll, listener);
            else if (!on_readable(peer))
                dismiss(peer);
        }
    }
}
