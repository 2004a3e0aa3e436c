#include "net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

/* ---- text --------------------------------------------------------------------------------------------------------- */

static enum result parse_v6(struct slice text, uint16_t port, struct net_address *out)
{
    char address[INET6_ADDRSTRLEN], zone[IF_NAMESIZE];
    struct slice before, after;
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool has_zone = slice_cut(text, '%', &before, &after);
    if (!slice_to_cstr(before, address, sizeof address) || inet_pton(AF_INET6, address, &v6.sin6_addr) != 1)
        return RESULT_SYNTAX;
    uint64_t number = 0;
    if (has_zone && slice_to_u64(after, UINT32_MAX, &number))
        v6.sin6_scope_id = (uint32_t)number;
    else if (has_zone && slice_to_cstr(after, zone, sizeof zone))
        v6.sin6_scope_id = if_nametoindex(zone);
    if (has_zone && v6.sin6_scope_id == 0)
        return RESULT_SYNTAX;
    out->v6 = v6;
    return RESULT_OK;
}

enum result net_address_parse_ip(struct slice text, uint16_t port, struct net_address *out)
{
    char address[INET_ADDRSTRLEN];
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    memset(out, 0, sizeof *out);
    if (text.len > 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']')
        return parse_v6(slice_of(text.ptr + 1, text.len - 2), port, out);
    if (slice_find(text, ':') >= 0)
        return parse_v6(text, port, out);
    if (!slice_to_cstr(text, address, sizeof address) || inet_pton(AF_INET, address, &v4.sin_addr) != 1)
        return RESULT_SYNTAX;
    out->v4 = v4;
    return RESULT_OK;
}

/* Splits at the colon before the port. An address with colons must stand in brackets then. False: there is no port. */
static bool cut_port(struct slice text, struct slice *host, struct slice *port)
{
    ptrdiff_t colon = slice_find_last(text, ':');
    ptrdiff_t bracket = slice_find_last(text, ']');
    *host = text;
    *port = (struct slice){0};
    if (colon < 0 || colon < bracket || (bracket < 0 && slice_find(text, ':') != colon))
        return false;
    *host = slice_take(text, (size_t)colon);
    *port = slice_skip(text, (size_t)colon + 1);
    return true;
}

enum result net_address_parse(struct slice text, struct net_address *out)
{
    struct slice host, port;
    uint64_t number = 0;
    memset(out, 0, sizeof *out);
    if (!cut_port(text, &host, &port) || !slice_to_u64(port, UINT16_MAX, &number))
        return RESULT_SYNTAX;
    return net_address_parse_ip(host, (uint16_t)number, out);
}

static bool is_host_name(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i], folded = (char)(c | 0x20);
        if (!(folded >= 'a' && folded <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return text.len > 0 && text.len <= 253 && text.ptr[0] != '.' && text.ptr[0] != '-'; /* RFC 1035 2.3.4: 255 octets on the wire */
}

enum result net_host_port_parse(struct slice text, struct slice *host, uint16_t *port)
{
    struct slice digits;
    struct net_address address;
    uint64_t number = 0;
    bool has_port = cut_port(text, host, &digits);
    if (has_port && (!slice_to_u64(digits, UINT16_MAX, &number) || number == 0))
        return RESULT_SYNTAX;
    if (!is_host_name(*host)) {
        if (net_address_parse_ip(*host, 0, &address) != RESULT_OK)
            return RESULT_SYNTAX;
        if (host->ptr[0] == '[')
            *host = slice_of(host->ptr + 1, host->len - 2);
    }
    if (has_port)
        *port = (uint16_t)number;
    return RESULT_OK;
}

void net_address_format_ip(const struct net_address *address, char out[static NET_ADDRESS_TEXT])
{
    const void *octets = address->any.sa_family == AF_INET6 ? (const void *)&address->v6.sin6_addr : &address->v4.sin_addr;
    if (!inet_ntop(address->any.sa_family, octets, out, NET_ADDRESS_TEXT))
        snprintf(out, NET_ADDRESS_TEXT, "none");
    if (address->any.sa_family == AF_INET6 && address->v6.sin6_scope_id != 0) {
        size_t len = strlen(out);
        snprintf(out + len, NET_ADDRESS_TEXT - len, "%%%u", (unsigned)address->v6.sin6_scope_id);
    }
}

void net_address_format(const struct net_address *address, char out[static NET_ADDRESS_TEXT])
{
    char ip[NET_ADDRESS_TEXT];
    net_address_format_ip(address, ip);
    bool is_v6 = address->any.sa_family == AF_INET6;
    snprintf(out, NET_ADDRESS_TEXT, "%s%.60s%s:%u", is_v6 ? "[" : "", ip, is_v6 ? "]" : "", net_address_port(address));
}

/* ---- values ------------------------------------------------------------------------------------------------------- */

struct net_address net_address_from_octets(uint8_t family, const uint8_t *octets, uint32_t scope, uint16_t port)
{
    struct net_address address = {0};
    if (family == 4) {
        address.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
        memcpy(&address.v4.sin_addr, octets, 4);
    } else if (family == 6) {
        address.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope};
        memcpy(&address.v6.sin6_addr, octets, 16);
    }
    return address;
}

uint8_t net_address_to_octets(const struct sockaddr *address, uint8_t octets[static 16], uint32_t *scope)
{
    if (address->sa_family == AF_INET) {
        memcpy(octets, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
        *scope = 0;
        return 4;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
        memcpy(octets, &v6->sin6_addr, 16);
        *scope = v6->sin6_scope_id;
        return 6;
    }
    return 0;
}

uint16_t net_address_port(const struct net_address *address)
{
    return address->any.sa_family == AF_INET6 ? ntohs(address->v6.sin6_port) : ntohs(address->v4.sin_port);
}

socklen_t net_address_len(const struct net_address *address)
{
    return address->any.sa_family == AF_INET6 ? sizeof address->v6 : sizeof address->v4;
}

bool net_address_equal(const struct net_address *a, const struct net_address *b)
{
    if (a->any.sa_family != b->any.sa_family || net_address_port(a) != net_address_port(b))
        return false;
    if (a->any.sa_family == AF_INET6)
        return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, 16) == 0 && a->v6.sin6_scope_id == b->v6.sin6_scope_id;
    return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
}

/* ---- prefixes ----------------------------------------------------------------------------------------------------- */

static const uint8_t mapped_head[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}; /* ::ffff:0:0/96, RFC 4291 2.5.5.2 */

static const uint8_t *octets_of(const struct sockaddr *address, uint8_t *family)
{
    *family = address->sa_family == AF_INET6 ? 6 : address->sa_family == AF_INET ? 4 : 0;
    if (*family == 6)
        return (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return *family == 4 ? (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr : NULL;
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || (uint8_t)((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

enum result net_prefix_parse(struct slice text, struct net_prefix *out)
{
    struct slice ip, bits;
    struct net_address address;
    memset(out, 0, sizeof *out);
    bool has_bits = slice_cut(text, '/', &ip, &bits);
    if (net_address_parse_ip(ip, 0, &address) != RESULT_OK)
        return RESULT_SYNTAX;
    uint8_t family = 0;
    const uint8_t *octets = octets_of(&address.any, &family);
    uint64_t number = family == 4 ? 32 : 128;
    if (has_bits && !slice_to_u64(bits, number, &number))
        return RESULT_SYNTAX;
    size_t len = family == 4 ? 4 : 16;
    memcpy(out->octets, octets, len);
    for (unsigned bit = (unsigned)number; bit < 8 * len; bit++)
        if (octets[bit / 8] & (0x80 >> bit % 8))
            return RESULT_SYNTAX;
    out->family = family;
    out->bits = (uint8_t)number;
    return RESULT_OK;
}

bool net_prefix_has(const struct net_prefix *prefix, const struct sockaddr *address)
{
    uint8_t family = 0;
    const uint8_t *octets = octets_of(address, &family);
    if (family == 6 && prefix->family == 4 && memcmp(octets, mapped_head, sizeof mapped_head) == 0)
        return bits_equal(prefix->octets, octets + 12, prefix->bits);
    return family != 0 && family == prefix->family && bits_equal(prefix->octets, octets, prefix->bits);
}

/* ---- policy ------------------------------------------------------------------------------------------------------- */

struct block {
    uint8_t bits;
    uint8_t octets[16];
};

/* IANA IPv4 Special-Purpose Address Registry, and multicast and class E. */
static const struct block not_public_v4[] = {
    {8, {0}},                /* this network, unspecified: RFC 791 */
    {8, {10}},               /* private: RFC 1918 */
    {10, {100, 64}},         /* shared, behind carriers' NAT: RFC 6598 */
    {8, {127}},              /* loopback: RFC 1122 */
    {16, {169, 254}},        /* link-local: RFC 3927 */
    {12, {172, 16}},         /* private */
    {24, {192, 0, 0}},       /* IETF protocols: RFC 6890 */
    {24, {192, 0, 2}},       /* documentation: RFC 5737 */
    {24, {192, 88, 99}},     /* 6to4 relays, withdrawn: RFC 7526 */
    {16, {192, 168}},        /* private */
    {15, {198, 18}},         /* benchmarking: RFC 2544 */
    {24, {198, 51, 100}},    /* documentation */
    {24, {203, 0, 113}},     /* documentation */
    {4, {224}},              /* multicast: RFC 5771 */
    {4, {240}},              /* reserved, and broadcast: RFC 1112 */
};

static const struct block global_unicast = {3, {0x20}}; /* 2000::/3, all that IANA gives out: RFC 4291 2.4 */

static const struct block not_public_v6[] = {
    {23, {0x20, 0x01}},             /* IETF protocols, Teredo among them: RFC 2928, 4380 */
    {32, {0x20, 0x01, 0x0d, 0xb8}}, /* documentation: RFC 3849 */
    {20, {0x3f, 0xff}},             /* documentation: RFC 9637 */
};

/* IPv6 addresses that stand for the IPv4 address at an offset: that one decides. */
static const struct {
    struct block block;
    size_t v4_at;
} carriers[] = {
    {{96, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}}, 12}, /* mapped */
    {{96, {0, 0x64, 0xff, 0x9b}}, 12},                      /* NAT64, well-known: RFC 6052 */
    {{16, {0x20, 0x02}}, 2},                                /* 6to4: RFC 3056 */
};

static bool is_public_v4(const uint8_t *octets)
{
    for (size_t i = 0; i < sizeof not_public_v4 / sizeof not_public_v4[0]; i++)
        if (bits_equal(octets, not_public_v4[i].octets, not_public_v4[i].bits))
            return false;
    return true;
}

static bool is_public_v6(const uint8_t *octets)
{
    for (size_t i = 0; i < sizeof carriers / sizeof carriers[0]; i++)
        if (bits_equal(octets, carriers[i].block.octets, carriers[i].block.bits))
            return is_public_v4(octets + carriers[i].v4_at);
    for (size_t i = 0; i < sizeof not_public_v6 / sizeof not_public_v6[0]; i++)
        if (bits_equal(octets, not_public_v6[i].octets, not_public_v6[i].bits))
            return false;
    return bits_equal(octets, global_unicast.octets, global_unicast.bits);
}

bool net_address_is_public(const struct sockaddr *address)
{
    uint8_t family = 0;
    const uint8_t *octets = octets_of(address, &family);
    return family == 4 ? is_public_v4(octets) : family == 6 && is_public_v6(octets);
}
