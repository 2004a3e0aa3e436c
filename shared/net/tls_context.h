/* The inside of a TLS context, for tls*.c alone. */
#ifndef POSTERN_NET_TLS_CONTEXT_H
#define POSTERN_NET_TLS_CONTEXT_H

#include "net/tls_internal.h"

#include "path/path.h"

#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <pthread.h>
#include <stdatomic.h>

enum { TLS_CONFIGS = PATH_ALPN_HTTP + 1 };

/* What a client keeps of a proved session, to be taken up again: at most one per server, used once (RFC 8446 C.4: a ticket seen
 * twice links two places a laptop has been). Whatever ALPN it was made under: each handshake negotiates that afresh (RFC 7301 3.1, RFC 8446 4.2.11),
 * and what a session proved, the identity, does not hang on it. */
struct tls_kept_session {
    char *server_name;      /* NULL: free place */
    unsigned char *blob;    /* mbedtls_ssl_session_save; a secret */
    size_t blob_len;
    uint8_t end_point[TLS_HASH_MAX]; /* tls-server-end-point of the certificate, which a resumed session does not show */
    size_t end_point_len;
    uint64_t kept_at;       /* a count, for finding the oldest */
};

struct tls_cache {
    pthread_mutex_t lock;
    struct tls_kept_session kept[TLS_CACHE_MAX];
    uint64_t count;
};

/* Read-only after its making, but for the cache and the ticket keys, which have locks of their own. */
struct tls_context {
    atomic_uint references;
    bool is_server;
    const struct log *log;
    mbedtls_ssl_config configs[TLS_CONFIGS]; /* by enum path_alpn on clients, which share all but the offer; a server has the first */
    const char *alpn[4];                     /* the names that they point at, each list with its NULL */
    char alpn_text[32];
    mbedtls_x509_crt certificates; /* server: the chain; client: the CAs */

    /* server */
    mbedtls_pk_context key;
    mbedtls_ssl_ticket_context tickets;
    uint8_t pin[TLS_PIN];
    uint8_t end_point[TLS_HASH_MAX];
    size_t end_point_len;
    int64_t expires_s;

    /* client */
    enum tls_identity identity;
    uint8_t pins[TLS_PINS_MAX][TLS_PIN];
    size_t npins;
    struct tls_cache cache;
};

int tls_random(void *unused, unsigned char *out, size_t len);
void tls_certificate_pin(const mbedtls_x509_crt *certificate, uint8_t pin[static TLS_PIN]);
/* RFC 5929 4.1: the certificate's hash by its signature's hash, SHA-256 for MD5 and SHA-1. Returns its length. */
size_t tls_certificate_end_point(const mbedtls_x509_crt *certificate, uint8_t out[static TLS_HASH_MAX]);
/* "portal.hotel.example, issued by Hotel CA": what it calls itself and its issuer, cleaned of controls, shorter than TLS_WHOSE. NULL: out of memory. Caller frees. */
char *tls_certificate_whose(const mbedtls_x509_crt *certificate);
bool tls_context_has_pin(const struct tls_context *context, const uint8_t pin[static TLS_PIN]);

void tls_cache_init(struct tls_cache *cache);
void tls_cache_free(struct tls_cache *cache);
/* Takes it out of the cache: the caller owns blob. False: none. */
bool tls_cache_take(struct tls_cache *cache, const char *server_name, struct tls_kept_session *out);
/* Takes the blob over; drops it, wiped, when it can't be kept. */
void tls_cache_put(struct tls_cache *cache, const char *server_name, unsigned char *blob, size_t blob_len, const uint8_t *end_point,
                   size_t end_point_len);

#endif
