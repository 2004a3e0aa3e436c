#include "net/proxy_header.h"

#include "base/octets.h"

#include <string.h>

static const char signature[12] = {'\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

enum { V1_MAX = 107, V2_HEAD = 16, V2_COMMAND_LOCAL = 0, V2_COMMAND_PROXY = 1, V2_TCP4 = 0x11, V2_TCP6 = 0x21, V2_FAMILY_MAX = 3, V2_TRANSPORT_MAX = 2 };

/* ---- version 1: a line ---- */

/* Decimal, without sign and without zeros in front (proxy-protocol.txt 2.1). */
static bool parse_port(struct slice text, uint16_t *port)
{
    uint64_t value;
    if (text.len == 0 || (text.len > 1 && text.ptr[0] == '0') || !slice_to_u64(text, UINT16_MAX, &value))
        return false;
    *port = (uint16_t)value;
    return true;
}

/* An address of the family as it stands there: no brackets, no zone. */
static bool parse_address(struct slice text, int family, uint16_t port, struct net_address *out)
{
    if (slice_find(text, '[') >= 0 || slice_find(text, '%') >= 0 || net_address_parse_ip(text, port, out) != RESULT_OK)
        return false;
    return out->any.sa_family == family;
}

/* "TCP4 CLIENT PROXY CLIENT-PORT PROXY-PORT" without the family. */
static enum result parse_v1_addresses(struct slice rest, int family, struct proxy_header *out)
{
    struct slice client, proxy, client_port, proxy_port;
    struct net_address unused;
    uint16_t port, other;
    if (!slice_cut(rest, ' ', &client, &rest) || !slice_cut(rest, ' ', &proxy, &rest) || !slice_cut(rest, ' ', &client_port, &proxy_port))
        return RESULT_SYNTAX;
    if (!parse_port(client_port, &port) || !parse_port(proxy_port, &other) || !parse_address(client, family, port, &out->address) ||
        !parse_address(proxy, family, other, &unused))
        return RESULT_SYNTAX;
    out->has_address = true;
    return RESULT_OK;
}

static enum result parse_v1(struct slice in, struct proxy_header *out)
{
    struct slice line = slice_take(in, V1_MAX), family, rest;
    ptrdiff_t end = slice_find(line, '\n');
    if (end < 0)
        return line.len == V1_MAX ? RESULT_LIMIT : RESULT_MORE;
    if (end < 1 || line.ptr[end - 1] != '\r')
        return RESULT_SYNTAX;
    out->len = (size_t)end + 1;
    line = slice_skip(slice_take(line, (size_t)end - 1), 6); /* "PROXY " */
    slice_cut(line, ' ', &family, &rest);
    if (slice_equal(family, SLICE("TCP4")))
        return parse_v1_addresses(rest, AF_INET, out);
    if (slice_equal(family, SLICE("TCP6")))
        return parse_v1_addresses(rest, AF_INET6, out);
    return slice_equal(family, SLICE("UNKNOWN")) ? RESULT_OK : RESULT_SYNTAX; /* and whatever stands behind UNKNOWN */
}

/* ---- version 2: binary ---- */

/* Client's and proxy's address, client's and proxy's port; TLVs behind them are passed over. */
static enum result parse_v2_addresses(struct slice block, uint8_t family, struct proxy_header *out)
{
    size_t size = family == 4 ? 4 : 16;
    if (block.len < 2 * size + 4)
        return RESULT_SYNTAX;
    out->address = net_address_from_octets(family, (const uint8_t *)block.ptr, 0, (uint16_t)octets_get(block.ptr + 2 * size, 2));
    out->has_address = true;
    return RESULT_OK;
}

static enum result parse_v2(struct slice in, struct proxy_header *out)
{
    if (in.len < V2_HEAD)
        return RESULT_MORE;
    unsigned version = (unsigned char)in.ptr[12] >> 4, command = (unsigned char)in.ptr[12] & 0x0f, family = (unsigned char)in.ptr[13];
    size_t len = octets_get(in.ptr + 14, 2);
    if (version != 2 || command > V2_COMMAND_PROXY || family >> 4 > V2_FAMILY_MAX || (family & 0x0f) > V2_TRANSPORT_MAX)
        return RESULT_SYNTAX;
    if (V2_HEAD + len > PROXY_HEADER_MAX)
        return RESULT_LIMIT;
    if (in.len < V2_HEAD + len)
        return RESULT_MORE;
    out->len = V2_HEAD + len;
    struct slice block = slice_take(slice_skip(in, V2_HEAD), len);
    /* LOCAL: whatever the addresses are, they are not the client's. Neither has a UNIX socket, UDP or UNSPEC any that we could use. */
    if (command == V2_COMMAND_LOCAL || (family != V2_TCP4 && family != V2_TCP6))
        return RESULT_OK;
    return parse_v2_addresses(block, family == V2_TCP4 ? 4 : 6, out);
}

/* ---- both ---- */

/* A proxy whose socket takes both families tells IPv4 clients as ::ffff:192.0.2.1: whoever counts by address means 192.0.2.1. */
static void unmap(struct net_address *address)
{
    const struct in6_addr *v6 = &address->v6.sin6_addr;
    if (address->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(v6))
        *address = net_address_from_octets(4, v6->s6_addr + 12, 0, net_address_port(address));
}

enum result proxy_header_parse(struct slice in, struct proxy_header *out)
{
    const struct slice v1 = SLICE("PROXY "), v2 = slice_of(signature, sizeof signature);
    *out = (struct proxy_header){0};
    enum result result = RESULT_SYNTAX;
    if (slice_starts_with(in, v1))
        result = parse_v1(in, out);
    else if (slice_starts_with(in, v2))
        result = parse_v2(in, out);
    else if (slice_starts_with(v1, in) || slice_starts_with(v2, in))
        result = RESULT_MORE;
    if (result != RESULT_OK)
        *out = (struct proxy_header){0};
    unmap(&out->address);
    return result;
}
