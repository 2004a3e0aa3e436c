/* The dialogue with a proxy before the relay is reached: HTTP CONNECT (RFC 9110 9.3.6, Basic of RFC 7617) and SOCKS5 (RFC 1928, RFC 1929). Sans-I/O and pulled, like the SMTP cores.
 *
 *   greeting -> asked -> open | refused          (SOCKS5: greeting [-> authenticating] -> asked -> open | refused)
 *
 * Not an octet of ours goes to the relay before the proxy has said yes, and what the proxy sends behind its yes is the relay's: tunnel_feed leaves it. Its whole answer is bounded by
 * TUNNEL_ANSWER_MAX. */
#ifndef POSTERN_NET_TUNNEL_H
#define POSTERN_NET_TUNNEL_H

#include "path/path.h"

#include "base/buffer.h"

enum { TUNNEL_ANSWER_MAX = 16 * 1024, TUNNEL_HOST_MAX = 255, TUNNEL_CREDENTIAL_MAX = 255 };

struct tunnel_config {
    enum path_via via;         /* HTTP_CONNECT or SOCKS5 */
    struct slice host;         /* the relay's name or address, without brackets */
    uint16_t port;
    struct slice user, password; /* empty user: none. Copied, wiped with the tunnel */
};

enum tunnel_state { TUNNEL_TALKING, TUNNEL_OPEN, TUNNEL_REFUSED };

struct tunnel;
/* RESULT_OK; RESULT_LIMIT, RESULT_SYNTAX: host or credentials can't be written in that protocol; RESULT_MEMORY. */
MUST_CHECK enum result tunnel_new(struct tunnel **out, const struct tunnel_config *config);
void tunnel_free(struct tunnel **tunnel);
size_t tunnel_feed(struct tunnel *tunnel, struct slice in); /* how many octets were the proxy's */
struct slice tunnel_output(const struct tunnel *tunnel);
void tunnel_sent(struct tunnel *tunnel, size_t n);
enum tunnel_state tunnel_state(const struct tunnel *tunnel);
/* After REFUSED, for people: "the proxy does not allow port 465 (403 Forbidden)", "the proxy wants a user name and password (407)", "the proxy can't reach the relay". What the proxy said is
 * cleaned of controls. */
const char *tunnel_words(const struct tunnel *tunnel);

#endif
