/* What XWAYS tells an agent: the ways by which this relay can be reached (schema/link.md, XWAYS). */
#ifndef POSTERN_SERVER_WAYS_H
#define POSTERN_SERVER_WAYS_H

#include "conf.h"

enum { WAYS_MAX = 480 }; /* octets: one line of a reply holds 512 (RFC 5321 4.5.3.1.5) */

/* "465/tls 443/tls 587/starttls 198.51.100.7:8443/tls": the ports of those listeners that the world can reach (not on loopback, not http, not proxied), then
 * `advertise` of the configuration; each once. bound: where the relay listens, with real ports. RESULT_OK; RESULT_LIMIT: out holds the first ones, what does not
 * fit is left out. */
MUST_CHECK enum result ways_write(const struct conf *conf, const struct conf_listener *bound, size_t nbound, char out[static WAYS_MAX + 1]);

#endif
