/* Socket addresses: ADDRESS:PORT as people write it, prefixes, and the policy which addresses the relay may connect to. Opens nothing. */
#ifndef POSTERN_NET_ADDRESS_H
#define POSTERN_NET_ADDRESS_H

#include "base/result.h"
#include "base/slice.h"

#include <netinet/in.h>
#include <sys/socket.h>

enum { NET_ADDRESS_TEXT = 80 }; /* octets that any formatted address fits in, with its NUL */

/* A value. {0} (any.sa_family 0) is no address. */
struct net_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
};

struct net_prefix {
    uint8_t family; /* 4, 6; 0: none */
    uint8_t bits;
    uint8_t octets[16];
};

/* "192.0.2.1:465", "[2001:db8::1]:465", "[fe80::1%eth0]:465". The port is 0 to 65535. RESULT_OK, RESULT_SYNTAX. */
MUST_CHECK enum result net_address_parse(struct slice text, struct net_address *out);
/* "192.0.2.1", "2001:db8::1", "[2001:db8::1]", without port. RESULT_OK, RESULT_SYNTAX. */
MUST_CHECK enum result net_address_parse_ip(struct slice text, uint16_t port, struct net_address *out);
/* "mail.example:465", "192.0.2.1:465", "[::1]:465", "mail.example" (then *port stays): host is a slice of text, without brackets. It is
 * a name by the letters, digits, dots, dashes and underscores it may hold, or an address. RESULT_OK, RESULT_SYNTAX. */
MUST_CHECK enum result net_host_port_parse(struct slice text, struct slice *host, uint16_t *port);
/* From the octets of a DNS record or a path: family 4 or 6. */
struct net_address net_address_from_octets(uint8_t family, const uint8_t *octets, uint32_t scope, uint16_t port);
/* The way back: the family, 4 or 6; 0 for any other, and then nothing is written. */
uint8_t net_address_to_octets(const struct sockaddr *address, uint8_t octets[static 16], uint32_t *scope);

uint16_t net_address_port(const struct net_address *address);
socklen_t net_address_len(const struct net_address *address);
/* "192.0.2.1:465", "[2001:db8::1]:465" */
void net_address_format(const struct net_address *address, char out[static NET_ADDRESS_TEXT]);
/* "192.0.2.1", "2001:db8::1": as in RFC 5321 address literals and logs */
void net_address_format_ip(const struct net_address *address, char out[static NET_ADDRESS_TEXT]);
bool net_address_equal(const struct net_address *a, const struct net_address *b);

/* "10.0.0.0/8", "::1", "fd00::/8". Bits beyond the prefix must be zero. RESULT_OK, RESULT_SYNTAX. */
MUST_CHECK enum result net_prefix_parse(struct slice text, struct net_prefix *out);
/* An IPv4 prefix also holds the IPv4-mapped form of its addresses. */
bool net_prefix_has(const struct net_prefix *prefix, const struct sockaddr *address);

/* Whether the address is of the public internet: the relay connects to nothing else for an MX, whatever DNS says, unless a configured prefix holds it. To be
 * asked of the address actually connected. Not public: loopback, private, link-local, shared (CGNAT), unique local, multicast, documentation, benchmarking,
 * reserved and unspecified (the IANA special-purpose registries, RFC 6890), and IPv4 ones of these inside mapped, NAT64 or 6to4 addresses. */
bool net_address_is_public(const struct sockaddr *address);

#endif
