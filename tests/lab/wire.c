/* A long cable: carries every frame between two interfaces, in both directions, each after a delay.
 *
 *     wire ONE OTHER      orders come on stdin, one a line; each is answered "done", a wrong one "what?"
 *
 *     delay MICROSECONDS  of each direction (a round trip takes twice as much)
 *     rate OCTETS         a second, the bottleneck of each direction; 0: none
 *     loss N              of a million frames are lost; which ones, is the same in every run
 *     cut, mend           nothing passes any more, without a sign of it; and again
 *     capture FILE        what ONE's side sends and gets, as tcpdump would see it there (pcap, nanoseconds)
 *
 * Address resolution (ARP, IPv6 neighbours) passes at once, since a real line's ends have their neighbours close by. Frames keep their
 * offload data (PACKET_VNET_HDR), so that unfinished checksums and large segments arrive as they left. The delay is counted from the
 * kernel's stamp of the frame's coming, so that a busy machine adds as little as can be. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

enum { VNET_HEADER = 10, ETHER_HEADER = 14, FRAME_MAX = VNET_HEADER + ETHER_HEADER + 65536, BURST = 64, LINE = 512, NS_PER_S = 1000000000 };

struct frame {
    struct frame *next;
    int64_t arrives_at_ns;
    size_t len;
    uint8_t octets[];
};

struct direction {
    int from, to;
    bool is_outward; /* from the captured side */
    int64_t free_at_ns;
    struct frame *first, **last; /* flying, in the order of their arrival */
};

struct wire {
    struct direction directions[2];
    int64_t delay_ns;
    double octets_per_ns;
    uint32_t loss_of_million;
    uint64_t dice;
    bool is_cut;
    FILE *capture;
    char line[LINE];
    size_t line_len;
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * (int64_t)NS_PER_S + now.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- the ends ---------------------------------------------------------------------------------------------------- */

static void set_option(int end, int level, int option, int value)
{
    if (setsockopt(end, level, option, &value, sizeof value) != 0)
        die("setsockopt");
}

static int open_end(const char *interface)
{
    struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(interface)};
    int end = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (end < 0 || where.sll_ifindex == 0)
        die(interface);
    set_option(end, SOL_PACKET, PACKET_VNET_HDR, 1);
    set_option(end, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    set_option(end, SOL_SOCKET, SO_TIMESTAMPNS, 1);
    set_option(end, SOL_SOCKET, SO_RCVBUF, 8 << 20);
    if (bind(end, (struct sockaddr *)&where, sizeof where) != 0)
        die(interface);
    return end;
}

/* Of one frame, and the kernel's stamp of it. 0: there is none now; an interface that went down is as good as silent. */
static size_t read_frame(int end, uint8_t *octets, int64_t *stamp_ns)
{
    char control[128];
    struct iovec part = {octets, FRAME_MAX};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t len = recvmsg(end, &message, 0);
    *stamp_ns = now_ns();
    for (struct cmsghdr *at = len > 0 ? CMSG_FIRSTHDR(&message) : NULL; at; at = CMSG_NXTHDR(&message, at))
        if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(at), sizeof stamp);
            *stamp_ns = stamp.tv_sec * (int64_t)NS_PER_S + stamp.tv_nsec;
        }
    return len > VNET_HEADER + ETHER_HEADER ? (size_t)len : 0;
}

static bool is_resolution(const uint8_t *octets, size_t len)
{
    const uint8_t *packet = octets + VNET_HEADER + ETHER_HEADER;
    unsigned kind = (unsigned)packet[-2] << 8 | packet[-1];
    bool has_icmp6 = kind == ETH_P_IPV6 && len > VNET_HEADER + ETHER_HEADER + 40 && packet[6] == IPPROTO_ICMPV6;
    return kind == ETH_P_ARP || (has_icmp6 && packet[40] >= 133 && packet[40] <= 137);
}

/* ---- the capture ------------------------------------------------------------------------------------------------- */

static void capture_begin(struct wire *wire, const char *path)
{
    const uint32_t head[6] = {0xa1b23c4d, 2 | 4 << 16, 0, 0, FRAME_MAX, 1};
    if (wire->capture)
        fclose(wire->capture);
    wire->capture = fopen(path, "we");
    if (!wire->capture)
        die(path);
    fwrite(head, sizeof head, 1, wire->capture);
    fflush(wire->capture);
}

static void capture(struct wire *wire, const uint8_t *octets, size_t len, int64_t at_ns)
{
    uint32_t captured = (uint32_t)len - VNET_HEADER;
    const uint32_t head[4] = {(uint32_t)(at_ns / NS_PER_S), (uint32_t)(at_ns % NS_PER_S), captured, captured};
    if (!wire->capture)
        return;
    fwrite(head, sizeof head, 1, wire->capture);
    fwrite(octets + VNET_HEADER, captured, 1, wire->capture);
    fflush(wire->capture);
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

static void hand_over(struct wire *wire, const struct direction *direction, const uint8_t *octets, size_t len)
{
    /* Down, or full: a packet is lost, as on any line. */
    if (send(direction->to, octets, len, 0) == (ssize_t)len && !direction->is_outward)
        capture(wire, octets, len, now_ns());
}

/* splitmix64: the same losses in every run. */
static bool is_lost(struct wire *wire)
{
    uint64_t z = wire->dice += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return wire->is_cut || (z ^ z >> 31) % 1000000 < wire->loss_of_million;
}

static void enter(struct wire *wire, struct direction *direction, const uint8_t *octets, size_t len, int64_t stamp_ns)
{
    if (direction->is_outward)
        capture(wire, octets, len, stamp_ns);
    if (is_lost(wire))
        return;
    if (is_resolution(octets, len)) {
        hand_over(wire, direction, octets, len);
        return;
    }
    struct frame *frame = malloc(sizeof *frame + len);
    if (!frame)
        die("malloc");
    if (direction->free_at_ns < stamp_ns)
        direction->free_at_ns = stamp_ns;
    if (wire->octets_per_ns > 0)
        direction->free_at_ns += (int64_t)((double)len / wire->octets_per_ns);
    *frame = (struct frame){.arrives_at_ns = direction->free_at_ns + wire->delay_ns, .len = len};
    memcpy(frame->octets, octets, len);
    *direction->last = frame;
    direction->last = &frame->next;
}

static void take(struct wire *wire, struct direction *direction)
{
    static uint8_t octets[FRAME_MAX];
    int64_t stamp_ns;
    size_t len;
    for (int i = 0; i < BURST && (len = read_frame(direction->from, octets, &stamp_ns)) > 0; i++)
        enter(wire, direction, octets, len, stamp_ns);
}

/* Hands over what has arrived. When the next one does; INT64_MAX: nothing is under way. */
static int64_t deliver(struct wire *wire, struct direction *direction)
{
    int64_t now = now_ns();
    struct frame *frame;
    while ((frame = direction->first) && frame->arrives_at_ns <= now) {
        direction->first = frame->next;
        if (!direction->first)
            direction->last = &direction->first;
        if (!wire->is_cut)
            hand_over(wire, direction, frame->octets, frame->len);
        free(frame);
    }
    return frame ? frame->arrives_at_ns : INT64_MAX;
}

/* ---- orders ------------------------------------------------------------------------------------------------------ */

/* The number behind `word` and a blank; -1: it is another line. */
static int64_t number_after(const char *line, const char *word)
{
    size_t len = strlen(word);
    int64_t number = 0;
    if (strncmp(line, word, len) != 0 || line[len] != ' ' || line[len + 1] == '\0')
        return -1;
    for (const char *at = line + len + 1; *at; at++) {
        if (*at < '0' || *at > '9' || number > INT32_MAX)
            return -1;
        number = number * 10 + (*at - '0');
    }
    return number;
}

static bool obey(struct wire *wire, const char *line)
{
    int64_t number;
    if ((number = number_after(line, "delay")) >= 0)
        wire->delay_ns = number * 1000;
    else if ((number = number_after(line, "rate")) >= 0)
        wire->octets_per_ns = (double)number / NS_PER_S;
    else if ((number = number_after(line, "loss")) >= 0)
        wire->loss_of_million = (uint32_t)number;
    else if (strncmp(line, "capture ", 8) == 0)
        capture_begin(wire, line + 8);
    else if (strcmp(line, "cut") == 0 || strcmp(line, "mend") == 0)
        wire->is_cut = line[0] == 'c';
    else
        return false;
    return true;
}

static void answer(struct wire *wire, const char *line)
{
    const char *word = obey(wire, line) ? "done\n" : "what?\n";
    if (write(STDOUT_FILENO, word, strlen(word)) < 0)
        exit(0);
}

static void hear(struct wire *wire)
{
    ssize_t n = read(STDIN_FILENO, wire->line + wire->line_len, sizeof wire->line - wire->line_len);
    if (n <= 0)
        exit(0); /* whoever gave orders is gone */
    wire->line_len += (size_t)n;
    for (char *end; (end = memchr(wire->line, '\n', wire->line_len));) {
        *end = '\0';
        answer(wire, wire->line);
        wire->line_len -= (size_t)(end + 1 - wire->line);
        memmove(wire->line, end + 1, wire->line_len);
    }
    if (wire->line_len == sizeof wire->line)
        exit(1);
}

static void carry(struct wire *wire)
{
    struct pollfd ends[] = {{.fd = wire->directions[0].from, .events = POLLIN}, {.fd = wire->directions[1].from, .events = POLLIN},
                            {.fd = STDIN_FILENO, .events = POLLIN}};
    for (;;) {
        int64_t one_ns = deliver(wire, &wire->directions[0]), other_ns = deliver(wire, &wire->directions[1]);
        int64_t next_ns = one_ns < other_ns ? one_ns : other_ns, wait_ns = next_ns - now_ns();
        wait_ns = wait_ns < 0 ? 0 : wait_ns;
        const struct timespec wait = {wait_ns / NS_PER_S, wait_ns % NS_PER_S};
        if (ppoll(ends, 3, next_ns == INT64_MAX ? NULL : &wait, NULL) < 0 && errno != EINTR)
            die("ppoll");
        for (int i = 0; i < 2; i++)
            if (ends[i].revents)
                take(wire, &wire->directions[i]);
        if (ends[2].revents)
            hear(wire);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("wire ONE OTHER\n", stderr);
        return 64;
    }
    int one = open_end(argv[1]), other = open_end(argv[2]);
    struct wire wire = {.directions = {{.from = one, .to = other, .is_outward = true}, {.from = other, .to = one}}};
    wire.directions[0].last = &wire.directions[0].first;
    wire.directions[1].last = &wire.directions[1].first;
    puts("ready");
    fflush(stdout);
    carry(&wire);
}
