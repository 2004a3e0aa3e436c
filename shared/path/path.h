/* A path is one way to the relay: address, port, mode, ALPN, via. A value. And the verdict: what became of trying it. */
#ifndef POSTERN_PATH_PATH_H
#define POSTERN_PATH_PATH_H

#include "base/result.h"
#include "base/slice.h"

enum path_mode { PATH_TLS, PATH_STARTTLS };
/* What the ClientHello says we speak (RFC 7301). On 443 firewalls filter by it: "smtp" is what honest demultiplexers look for, "http/1.1" what every network lets
 * through; inside TLS the first octets then tell that it is SMTP (schema/link.md). */
enum path_alpn { PATH_ALPN_NONE, PATH_ALPN_SMTP, PATH_ALPN_HTTP };
enum path_via { PATH_DIRECT, PATH_HTTP_CONNECT, PATH_SOCKS5 };

struct path_address {
    uint8_t family; /* 4, 6; 0: none */
    uint8_t octets[16];
    uint32_t scope; /* of a link-local IPv6 address */
};

/* Where a proxy listens. */
struct path_proxy {
    struct path_address address;
    uint16_t port;
};

struct path {
    struct path_address address; /* the relay's; family 0 only through a proxy, which then resolves the relay's name itself, and with PATH_DNS, when no address is known */
    uint16_t port;
    enum path_mode mode;
    enum path_alpn alpn;
    enum path_via via;
    struct path_proxy proxy; /* zero when direct */
};

enum path_verdict {
    PATH_UNTRIED,
    PATH_OPEN,              /* TLS with the right identity, and EHLO unless the relay is met again (smtp/client.h, early) */
    PATH_DROPPED,           /* no answer to the connection attempt, or silence where SMTP should greet */
    PATH_REFUSED,           /* RST */
    PATH_UNREACHABLE,       /* ICMP, or no route */
    PATH_DNS,               /* the name could not be resolved */
    PATH_FOREIGN_BANNER,    /* something else answers */
    PATH_HTTP,              /* HTTP answers: a captive portal */
    PATH_STARTTLS_MISSING,  /* taken out, or masked */
    PATH_WRONG_CERTIFICATE, /* a stranger's key */
    PATH_TLS_FAILED,        /* TLS does not come to an end: refused, cut off, or silence behind the ClientHello */
    PATH_DIED_EARLY,        /* worked, then died young */
    PATH_PROXY_REFUSED,
    PATH_RELAY_REFUSED,     /* the relay itself said no */
};

/* "tls", "starttls"; "", "smtp", "http/1.1"; "direct", "http-connect", "socks5"; "open", "dropped", ... as in the JSON of `status`. */
const char *path_mode_name(enum path_mode mode);
const char *path_alpn_name(enum path_alpn alpn);
const char *path_via_name(enum path_via via);
const char *path_verdict_name(enum path_verdict verdict);
/* A half-sentence for people: "does not answer", "is answered by a stranger's certificate". */
const char *path_verdict_words(enum path_verdict verdict);
bool path_address_equal(const struct path_address *a, const struct path_address *b);
bool path_equal(const struct path *a, const struct path *b);
/* "192.0.2.1:465 tls", "[2001:db8::1]:587 starttls", "192.0.2.1:443 tls http/1.1", "*:443 tls http/1.1 via socks5 10.0.0.1:1080" ("*": by name); PATH_TEXT octets are enough. */
enum { PATH_TEXT = 192 };
void path_format(const struct path *path, char *out, size_t size);
/* The inverse: exactly what path_format writes, nothing else. RESULT_OK, RESULT_SYNTAX (*out is undefined). */
MUST_CHECK enum result path_parse(struct slice text, struct path *out);
/* "192.0.2.1", "2001:db8::1" (RFC 5952); 64 octets are enough. */
void path_address_format(const struct path_address *address, char *out, size_t size);
/* The inverse, strict: "192.0.2.1" in decimal without leading zeros, any text form of IPv6 (RFC 4291 2.2), a scope in digits behind "%". False: neither; *out is not changed. */
bool path_address_parse(struct slice text, struct path_address *out);

#endif
