#include "support/minidns.h"

#include "base/list.h"
#include "base/slice.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MESSAGE_MAX = 65535, UDP_MAX = 512, HEADER = 12, TC = 0x02, RCODE_NXDOMAIN = 3 };
enum { TYPE_A = 1, TYPE_CNAME = 5, TYPE_SOA = 6, TYPE_MX = 15, TYPE_TXT = 16, TYPE_AAAA = 28, TYPE_OPT = 41, TYPE_RRSIG = 46, TYPE_DNSKEY = 48 };
enum { RRSET_MAX = 64, DNSKEY_LEN = 4 + crypto_sign_PUBLICKEYBYTES, ED25519 = 15 };

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
    bool is_signed;
    unsigned char dnskey[DNSKEY_LEN]; /* resource data; the public key is its end */
    unsigned char secret_key[crypto_sign_SECRETKEYBYTES];
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
    struct slice preference, host;
    uint64_t number = 0;
    switch (type) {
    case TYPE_A:
    case TYPE_AAAA:
        check(inet_pton(type == TYPE_A ? AF_INET : AF_INET6, value, address) == 1, "a bad address in the table");
        put(m, address, type == TYPE_A ? 4 : 16);
        return;
    case TYPE_MX:
        check(slice_cut(slice_from_cstr(value), ' ', &preference, &host) && slice_to_u64(preference, 65535, &number), "a bad MX in the table");
        put16(m, (unsigned)number);
        put_name(m, host.ptr);
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

/* ---- signatures: RFC 4034 3.1.8.1, 8080 --------------------------------------------------------------------------- */

/* A record within a message: where its data begins, behind two octets of length. */
static int compare_rdata(const void *a, const void *b)
{
    const unsigned char *x = *(const unsigned char *const *)a, *y = *(const unsigned char *const *)b;
    size_t nx = (size_t)(x[0] << 8 | x[1]), ny = (size_t)(y[0] << 8 | y[1]);
    int order = memcmp(x + 2, y + 2, nx < ny ? nx : ny);
    return order ? order : (nx > ny) - (nx < ny);
}

static unsigned key_tag(const unsigned char *rdata, size_t len)
{
    unsigned long sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += i & 1 ? rdata[i] : (unsigned long)rdata[i] << 8;
    return (unsigned)((sum + (sum >> 16 & 0xffff)) & 0xffff);
}

static unsigned count_labels(const char *name)
{
    unsigned n = *name ? 1 : 0;
    for (; *name; name++)
        n += *name == '.';
    return n;
}

/* Signs the n records of name and type that stand in m from octet `from` on, and adds the signature. */
static void put_signature(const struct minidns *minidns, struct message *m, size_t from, unsigned n, const char *name, uint16_t type, bool is_forged)
{
    static struct message head, signed_data;
    const unsigned char *rdata[RRSET_MAX], *at = m->octets + from;
    struct message owner = {.len = 0};
    unsigned char signature[crypto_sign_BYTES];
    check(n <= RRSET_MAX, "too many records to sign");
    put_name(&owner, name);
    uint32_t ttl = 0;
    for (unsigned i = 0; i < n; i++) {
        memcpy(&ttl, at + owner.len + 4, 4);
        rdata[i] = at + owner.len + 8;
        at = rdata[i] + 2 + (rdata[i][0] << 8 | rdata[i][1]);
    }
    qsort(rdata, n, sizeof rdata[0], compare_rdata);
    head.len = signed_data.len = 0;
    put16(&head, type);
    put16(&head, ED25519 << 8 | count_labels(name));
    put(&head, &ttl, 4);
    put32(&head, (uint32_t)time(NULL) + 86400);
    put32(&head, (uint32_t)time(NULL) - 86400);
    put16(&head, key_tag(minidns->dnskey, sizeof minidns->dnskey));
    put_name(&head, ".");
    put(&signed_data, head.octets, head.len);
    for (unsigned i = 0; i < n; i++) {
        put(&signed_data, owner.octets, owner.len);
        put16(&signed_data, type);
        put16(&signed_data, 1);
        put(&signed_data, &ttl, 4);
        put(&signed_data, rdata[i], 2 + (size_t)(rdata[i][0] << 8 | rdata[i][1]));
    }
    crypto_sign_detached(signature, NULL, signed_data.octets, signed_data.len, minidns->secret_key);
    signature[0] ^= is_forged;
    put_name(m, name);
    put16(m, TYPE_RRSIG);
    put16(m, 1);
    put(m, &ttl, 4);
    put16(m, (unsigned)(head.len + sizeof signature));
    put(m, head.octets, head.len);
    put(m, signature, sizeof signature);
}

static unsigned put_dnskey(const struct minidns *minidns, struct message *m)
{
    size_t from = m->len;
    put_name(m, ".");
    put16(m, TYPE_DNSKEY);
    put16(m, 1);
    put32(m, 300);
    put16(m, sizeof minidns->dnskey);
    put(m, minidns->dnskey, sizeof minidns->dnskey);
    put_signature(minidns, m, from, 1, "", TYPE_DNSKEY, false);
    return 2;
}

void minidns_sign(struct minidns *minidns, const char *anchor_file)
{
    char text[128];
    unsigned char *key = minidns->dnskey;
    key[0] = 1; /* flags 257: a zone's key, entry point (RFC 4034 2.1.1) */
    key[1] = 1;
    key[2] = 3;
    key[3] = ED25519;
    crypto_sign_keypair(key + 4, minidns->secret_key);
    sodium_bin2base64(text, sizeof text, key + 4, crypto_sign_PUBLICKEYBYTES, sodium_base64_VARIANT_ORIGINAL);
    FILE *file = fopen(anchor_file, "w");
    check(file && fprintf(file, ". IN DNSKEY 257 3 %d %s\n", ED25519, text) > 0 && fclose(file) == 0, "no trust anchor written");
    minidns->is_signed = true;
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

/* The records of one type, and their signature. */
static unsigned put_set(const struct minidns *minidns, struct message *m, const char *name, uint16_t type)
{
    unsigned n = 0;
    size_t from = m->len;
    for (const struct minidns_record *r = minidns->records; r->name; r++) {
        if (strcmp(r->name, name) != 0 || strcmp(r->type, name_of_type(type)) != 0)
            continue;
        put_record(m, name, type, r->value, r->ttl ? r->ttl : 300);
        n++;
    }
    if (n == 0 || !minidns->is_signed || behaves(minidns, name, type, "UNSIGNED"))
        return n;
    put_signature(minidns, m, from, n, name, type, behaves(minidns, name, type, "FORGED"));
    return n + 1;
}

static unsigned put_answers(const struct minidns *minidns, struct message *m, const char *name, uint16_t type)
{
    if (type == TYPE_DNSKEY && !*name && minidns->is_signed)
        return put_dnskey(minidns, m);
    unsigned n = put_set(minidns, m, name, type);
    if (n > 0)
        return n;
    n = put_set(minidns, m, name, TYPE_CNAME);
    for (const struct minidns_record *r = minidns->records; n > 0 && r->name; r++)
        if (strcmp(r->name, name) == 0 && strcmp(r->type, "CNAME") == 0)
            return n + put_answers(minidns, m, r->value, type);
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
    if (query[11] > 0) { /* EDNS asked for, EDNS given, with the wish for signatures: RFC 6891 6.1.3 */
        put(m, "", 1);
        put16(m, TYPE_OPT);
        put16(m, 4096);
        put32(m, 0x8000);
        put16(m, 0);
        set16(m, 10, 1);
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
