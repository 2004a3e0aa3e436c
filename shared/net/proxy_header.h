/* The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): what a load balancer or a web server in front of us puts before the client's first octet. Pure parser.
 *
 * Both name TCP over IPv4 or IPv6; UNKNOWN, LOCAL, UDP and UNIX sockets give no address; TLVs are passed over.
 *
 * It is taken only on listeners that are so configured, and only from addresses that may (service.h): anybody else could name any address. */
#ifndef POSTERN_NET_PROXY_HEADER_H
#define POSTERN_NET_PROXY_HEADER_H

#include "net/address.h"

#include "base/result.h"

enum { PROXY_HEADER_MAX = 536 }; /* octets of version 1 at most 107; of version 2 we take 16 and up to 520 of addresses and TLVs */

struct proxy_header {
    size_t len;        /* octets of the header itself; the client's begin there */
    bool has_address;  /* false: LOCAL, or UNKNOWN: the connection is the proxy's own (a health check) */
    struct net_address address; /* the client's; an IPv4-mapped one as IPv4 */
};

/* RESULT_OK, RESULT_MORE (not whole yet), RESULT_SYNTAX (no header, or a broken one), RESULT_LIMIT (over PROXY_HEADER_MAX). */
MUST_CHECK enum result proxy_header_parse(struct slice in, struct proxy_header *out);

#endif
