#include "support/minidns.h"

#include "base/list.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_MAX = 65535, UDP_MAX = 512, HEADER = 12, TC = 0x02, RCODE_NXDOMAIN = 3 };
enum { TYPE_A = 1, TYPE_CNAME = 5, TYPE_SOA = 6, TYPE_MX = 15, TYPE_TXT = 16, TYPE_AAAA = 28 };

static const struct {
    const char *name;
    uint16_t type;
} types[] = {{"A", TYPE_A}, {"CNAME", TYPE_CNAME}, {"MX", TYPE_MX}, {"TXT", TYPE_TXT}, {"AAAA", TYPE_AAAA}};

struct minidns {
    uv_udp_t udp;
    uv_tcp_t tcp;
    const struct minidns_record *records;
    uint16_t port;
    size_t questions, tcp_questions;
    int open_handles;
    struct list peers;
    char udp_input[MESSAGE_MAX];
};

struct peer {
    struct list_node node;
    uv_tcp_t tcp;
    struct minidns *minidns;
    size_t len;
    char input[2 + MESSAGE_MAX];
};

/* ---- messages ----------------------------------------------------------------------------------------------------- */

struct message {
    unsigned char octets[MESSAGE_MAX];
    size_t len;
};

static void check(bool is_well, const char *what)
{
    if (is_well)
        return;
    fprintf(stderr, "minidns: %s\n", what);
    abort();
}

static void put(struct message *m, const void *octets, size_t len)
{
    check(m->len + len <= sizeof m->octets, "the answer is too long");
    memcpy(m->octets + m->len, octets, len);
    m->len += len;
}

static void put16(struct message *m, unsigned value)
{
    put(m, (unsigned char[]){(unsigned char)(value >> 8), (unsigned char)value}, 2);
}

static void put32(struct message *m, uint32_t value)
{
    put16(m, value >> 16);
    put16(m, value & 0xffff);
}

static void put_name(struct message *m, const char *name)
{
    while (*name && strcmp(name, ".") != 0) {
        size_t len = strcspn(name, ".");
        put(m, &(unsigned char){(unsigned char)len}, 1);
        put(m, name, len);
        name += len + (name[len] == '.');
    }
    put(m, "", 1);
}

static void put_text(struct message *m, const char *text)
{
    size_t left = strlen(text);
    do {
        size_t len = left < 255 ? left : 255;
        put(m, &(unsigned char){(unsigned char)len}, 1);
        put(m, text, len);
        text += len;
        left -= len;
    } while (left > 0);
}

static void put_rdata(struct message *m, uint16_t type, const char *value)
{
    unsigned char address[16];
    char *name = NULL;
    switch (type) {
    case TYPE_A:
    case TYPE_AAAA:
        check(inet_pton(type == TYPE_A ? AF_INET : AF_INET6, value, address) == 1, "a bad address in the table");
        put(m, address, type == TYPE_A ? 4 : 16);
        return;
    case TYPE_MX:
        put16(m, (unsigned)strtoul(value, &name, 10));
        put_name(m, name + 1);
        return;
    case TYPE_TXT:
        put_text(m, value);
        return;
    default:
        put_name(m, value);
    }
}

static void put_record(struct message *m, const char *name, uint16_t type, const char *value, uint32_t ttl)
{
    put_name(m, name);
    put16(m, type);
    put16(m, 1);
    put32(m, ttl);
    size_t at = m->len;
    put16(m, 0);
    put_rdata(m, type, value);
    size_t len = m->len - at - 2;
    m->octets[at] = (unsigned char)(len >> 8);
    m->octets[at + 1] = (unsigned char)len;
}

static void put_soa(struct message *m)
{
    static const uint32_t numbers[] = {1, 3600, 600, 86400, 60};
    put_name(m, ".");
    put16(m, TYPE_SOA);
    put16(m, 1);
    put32(m, 60);
    put16(m, 1 + 1 + sizeof numbers);
    put_name(m, ".");
    put_name(m, ".");
    for (size_t i = 0; i < 5; i++)
        put32(m, numbers[i]);
}

/* ---- answers ------------------------------------------------------------------------------------------------------ */

static const char *name_of_type(uint16_t type)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].type == type)
            return types[i].name;
    return "?";
}

static bool is_known(const struct minidns *minidns, const char *name)
{
    size_t len = strlen(name);
    for (const struct minidns_record *r = minidns->records; r->name; r++) {
        size_t of_record = strlen(r->name);
        if (of_record >= len && strcmp(r->name + of_record - len, name) == 0 && (of_record == len || r->name[of_record - len - 1] == '.'))
            return true;
    }
    return false;
}

/* Does the table want this of the question: "SILENT", or "SILENT AAAA"? */
static bool behaves(const struct minidns *minidns, const char *name, uint16_t type, const char *how)
{
    char narrow[32];
    snprintf(narrow, sizeof narrow, "%s %s", how, name_of_type(type));
    for (const struct minidns_record *r = minidns->records; r->name; r++)
        if (strcmp(r->name, name) == 0 && (strcmp(r->type, how) == 0 || strcmp(r->type, narrow) == 0))
            return true;
    return false;
}

static unsigned put_answers(const struct minidns *minidns, struct message *m, const char *name, uint16_t type)
{
    unsigned n = 0;
    for (const struct minidns_record *r = minidns->records; r->name; r++) {
        bool is_alias = strcmp(r->type, "CNAME") == 0;
        if (strcmp(r->name, name) != 0 || (!is_alias && strcmp(r->type, name_of_type(type)) != 0))
            continue;
        put_record(m, name, is_alias ? TYPE_CNAME : type, r->value, r->ttl ? r->ttl : 300);
        n++;
        if (is_alias && type != TYPE_CNAME)
            n += put_answers(minidns, m, r->value, type);
    }
    return n;
}

/* Reads the question: its name in text, and type. Returns its octets, 0 when it is none. */
static size_t read_question(const unsigned char *message, size_t len, char name[256], uint16_t *type)
{
    size_t at = HEADER, out = 0;
    while (at < len && message[at] != 0) {
        size_t label = message[at];
        if (label > 63 || at + 1 + label > len || out + label + 2 > 256)
            return 0;
        if (out > 0)
            name[out++] = '.';
        for (size_t i = 0; i < label; i++) {
            unsigned char c = message[at + 1 + i];
            name[out++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        }
        at += 1 + label;
    }
    name[out] = '\0';
    if (at + 5 > len)
        return 0;
    *type = (uint16_t)(message[at + 1] << 8 | message[at + 2]);
    return at + 5 - HEADER;
}

static void set16(struct message *m, size_t at, unsigned value)
{
    m->octets[at] = (unsigned char)(value >> 8);
    m->octets[at + 1] = (unsigned char)value;
}

/* False: no answer. */
static bool answer(struct minidns *minidns, const char *query, size_t len, bool is_tcp, struct message *m)
{
    char name[256];
    uint16_t type = 0;
    size_t question = len >= HEADER ? read_question((const unsigned char *)query, len, name, &type) : 0;
    minidns->questions++;
    minidns->tcp_questions += is_tcp;
    if (question == 0 || behaves(minidns, name, type, "SILENT"))
        return false;
    m->len = 0;
    put(m, query, 2);
    put16(m, 0x8180); /* an answer; recursion wanted and had */
    put16(m, 1);
    put32(m, 0);
    put16(m, 0);
    put(m, query + HEADER, question);
    if (behaves(minidns, name, type, "LIE"))
        m->octets[HEADER + 1] ^= 1; /* another name's question, and an answer to it */
    unsigned rcode = behaves(minidns, name, type, "SERVFAIL") ? 2 : behaves(minidns, name, type, "REFUSED") ? 5 : 0;
    unsigned n = rcode == 0 ? put_answers(minidns, m, name, type) : 0;
    if (n == 0 && rcode == 0) {
        rcode = is_known(minidns, name) ? 0 : RCODE_NXDOMAIN;
        put_soa(m);
        set16(m, 8, 1);
    }
    set16(m, 6, n);
    m->octets[3] = (unsigned char)(0x80 | rcode);
    if (!is_tcp && (m->len > UDP_MAX || behaves(minidns, name, type, "TRUNCATE"))) {
        m->len = HEADER + question;
        m->octets[2] |= TC;
        set16(m, 6, 0);
        set16(m, 8, 0);
    }
    return true;
}

/* ---- UDP ---------------------------------------------------------------------------------------------------------- */

static void on_udp_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct minidns *minidns = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(minidns->udp_input, sizeof minidns->udp_input);
}

static void on_udp(uv_udp_t *udp, ssize_t len, const uv_buf_t *buffer, const struct sockaddr *from, unsigned flags)
{
    static struct message message;
    (void)flags;
    if (len <= 0 || !from || !answer(udp->data, buffer->base, (size_t)len, false, &message))
        return;
    uv_buf_t output = uv_buf_init((char *)message.octets, (unsigned)message.len);
    uv_udp_try_send(udp, &output, 1, from); /* a lost answer is asked for again */
}

/* ---- TCP: RFC 1035 4.2.2, two octets of length before each message ------------------------------------------------- */

static void on_peer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void peer_close(struct peer *peer)
{
    list_remove(&peer->node);
    uv_close((uv_handle_t *)&peer->tcp, on_peer_closed);
}

static void on_peer_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct peer *peer = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(peer->input + peer->len, (unsigned)(sizeof peer->input - peer->len));
}

static void on_peer_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buffer)
{
    static struct message message;
    struct peer *peer = stream->data;
    (void)buffer;
    if (len < 0) {
        peer_close(peer);
        return;
    }
    peer->len += (size_t)len;
    size_t want = peer->len < 2 ? MESSAGE_MAX : (size_t)((unsigned char)peer->input[0] << 8 | (unsigned char)peer->input[1]);
    if (peer->len < 2 + want)
        return;
    if (answer(peer->minidns, peer->input + 2, want, true, &message)) {
        unsigned char head[2] = {(unsigned char)(message.len >> 8), (unsigned char)message.len};
        uv_buf_t output[2] = {uv_buf_init((char *)head, 2), uv_buf_init((char *)message.octets, (unsigned)message.len)};
        uv_try_write(stream, output, 2);
    }
    peer->len -= 2 + want;
    memmove(peer->input, peer->input + 2 + want, peer->len);
}

static void on_peer(uv_stream_t *listener, int status)
{
    struct minidns *minidns = listener->data;
    struct peer *peer = calloc(1, sizeof *peer);
    check(status == 0 && peer, "cannot accept");
    peer->minidns = minidns;
    peer->tcp.data = peer;
    check(uv_tcp_init(listener->loop, &peer->tcp) == 0 && uv_accept(listener, (uv_stream_t *)&peer->tcp) == 0, "cannot accept");
    list_append(&minidns->peers, &peer->node);
    uv_read_start((uv_stream_t *)&peer->tcp, on_peer_buffer, on_peer_read);
}

/* ---- opening and closing ------------------------------------------------------------------------------------------ */

/* A port that is free for both. */
static bool bind_both(struct minidns *minidns, uv_loop_t *loop)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int len = sizeof address;
    if (uv_tcp_init(loop, &minidns->tcp) != 0 || uv_tcp_bind(&minidns->tcp, (struct sockaddr *)&address, 0) != 0 ||
        uv_tcp_getsockname(&minidns->tcp, (struct sockaddr *)&address, &len) != 0)
        return false;
    minidns->port = ntohs(address.sin_port);
    return uv_udp_init(loop, &minidns->udp) == 0 && uv_udp_bind(&minidns->udp, (struct sockaddr *)&address, 0) == 0;
}

struct minidns *minidns_open(uv_loop_t *loop, const struct minidns_record *records)
{
    struct minidns *minidns = calloc(1, sizeof *minidns);
    check(minidns && bind_both(minidns, loop), "no port");
    minidns->records = records;
    minidns->open_handles = 2;
    minidns->udp.data = minidns->tcp.data = minidns;
    check(uv_udp_recv_start(&minidns->udp, on_udp_buffer, on_udp) == 0, "cannot receive");
    check(uv_listen((uv_stream_t *)&minidns->tcp, 16, on_peer) == 0, "cannot listen");
    return minidns;
}

uint16_t minidns_port(const struct minidns *minidns)
{
    return minidns->port;
}

size_t minidns_questions(const struct minidns *minidns)
{
    return minidns->questions;
}

size_t minidns_tcp_questions(const struct minidns *minidns)
{
    return minidns->tcp_questions;
}

static void on_closed(uv_handle_t *handle)
{
    struct minidns *minidns = handle->data;
    if (--minidns->open_handles == 0)
        free(minidns);
}

void minidns_close(struct minidns *minidns)
{
    while (minidns->peers.first)
        peer_close(LIST_OWNER(minidns->peers.first, struct peer, node));
    uv_close((uv_handle_t *)&minidns->udp, on_closed);
    uv_close((uv_handle_t *)&minidns->tcp, on_closed);
}
