/* TLS by mbedTLS 3.6 (RFC 8446, RFC 5246, RFC 9325): contexts that live with the program, and what a finished handshake tells.
 *
 * TLS 1.3 preferred, 1.2 with ECDHE and AEAD least; X25519 first; no renegotiation, no compression. Servers issue session tickets under keys of
 * their own that rotate (12 h, accepted 24 h). Contexts are reference-counted: a reload makes a new one, streams keep theirs until they end. No other
 * file but tls*.c includes mbedtls headers. All functions are called from any loop thread; a context is read-only after its making. */
#ifndef POSTERN_NET_TLS_H
#define POSTERN_NET_TLS_H

#include "base/buffer.h"
#include "base/log.h"
#include "base/result.h"
#include "smtp/sasl.h"

enum { TLS_PIN = 32, TLS_PINS_MAX = 8, TLS_BINDINGS_MAX = 2, TLS_WHOSE = 160 };

struct tls_context;

/* What a client demands of the server. */
enum tls_identity {
    TLS_IDENTITY_PINS,   /* the leaf's key is one of the pins (SPKI SHA-256); names and dates do not matter */
    TLS_IDENTITY_CA,     /* a chain to one of the CAs, valid now, and the name */
    TLS_IDENTITY_ANY,    /* opportunistic MX delivery (RFC 7435): encryption without identity */
};

struct tls_client_config {
    enum tls_identity identity;
    uint8_t pins[TLS_PINS_MAX][TLS_PIN];
    size_t npins;
    const char *ca_file; /* PEM; NULL: the system's */
    const struct log *log;
};
/* Serves connections with any ALPN offer (stream_offer_alpn): what costs memory, the CAs, is there once. RESULT_OK, RESULT_NOT_FOUND (the CA file), RESULT_SYNTAX (in it), RESULT_MEMORY; `why` gets words. */
MUST_CHECK enum result tls_context_client(struct tls_context **out, const struct tls_client_config *config, char *why, size_t why_size);

struct tls_server_config {
    const char *certificate_file; /* PEM chain, leaf first */
    const char *key_file;         /* PEM; refused when others can read it */
    const char *alpn_also;        /* accepted besides "smtp": "http/1.1" on 443; NULL: none. A client that offers ALPN and none of ours is refused (ALPACA, RFC 9325 3.8) */
    const struct log *log;
};
/* RESULT_OK, RESULT_NOT_FOUND, RESULT_DENIED (permissions), RESULT_SYNTAX (not PEM, or key and certificate do not belong together), RESULT_MEMORY. */
MUST_CHECK enum result tls_context_server(struct tls_context **out, const struct tls_server_config *config, char *why, size_t why_size);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context **context);

/* The pin of a server context's own key, and when its certificate ends (seconds since 1970). */
void tls_context_pin(const struct tls_context *context, uint8_t pin[static TLS_PIN]);
int64_t tls_context_expires_s(const struct tls_context *context);
/* "sha256//BASE64", with its NUL. */
enum { TLS_PIN_TEXT = 53 };
void tls_pin_format(const uint8_t pin[static TLS_PIN], char out[static TLS_PIN_TEXT]);
bool tls_pin_parse(struct slice text, uint8_t pin[static TLS_PIN]);

/* Makes an ECDSA P-256 key (mode 0600) and a self-signed certificate for `name` (subject, DNS SAN, CA:TRUE so that it can be given as a CA file), valid ten years. Existing files are
 * not overwritten: RESULT_EXISTS. RESULT_IO, RESULT_DENIED, RESULT_FULL; RESULT_SYNTAX: name is neither a host name nor an address; RESULT_MEMORY. */
MUST_CHECK enum result tls_make_identity(const char *key_file, const char *certificate_file, const char *name, char *why, size_t why_size);

/* ---- signatures outside of a handshake (challenge.h) ---- */
enum { TLS_SIGNATURE_MAX = 1024 };
/* The message's signature by a server's key: SHA-256, and ECDSA (DER) or RSASSA-PKCS1-v1_5 as the key is. RESULT_OK, RESULT_MEMORY, RESULT_IO. */
MUST_CHECK enum result tls_context_sign(const struct tls_context *server, struct slice message, uint8_t signature[static TLS_SIGNATURE_MAX], size_t *len);
/* Appends the server's certificates, leaf first. RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result tls_context_chain_pem(const struct tls_context *server, struct buffer *out);
/* Whether the chain (leaf first) is whom the client trusts under server_name, as in a handshake, and its leaf's key has signed the message. RESULT_OK; RESULT_DENIED, always for
 * TLS_IDENTITY_ANY; RESULT_MEMORY. */
MUST_CHECK enum result tls_check_signed(const struct tls_context *client, const char *server_name, struct slice chain_pem, struct slice message, struct slice signature);

/* What a handshake came to. */
enum tls_failure {
    TLS_FAIL_NONE,
    TLS_FAIL_NOT_TLS,       /* the first octets were no TLS record */
    TLS_FAIL_WRONG_KEY,     /* pins: a stranger's key */
    TLS_FAIL_UNTRUSTED,     /* CA: no chain to a trusted one */
    TLS_FAIL_WRONG_NAME,
    TLS_FAIL_EXPIRED,       /* or not valid yet: see the clock */
    TLS_FAIL_ALERT,         /* the peer gave up with an alert */
    TLS_FAIL_ALPN,          /* the peer speaks none of the protocols that were offered: the alert no_application_protocol, or it chose one that was not */
    TLS_FAIL_CLOSED,        /* the connection ended in mid-handshake */
    TLS_FAIL_PROTOCOL,      /* no version, suite or group in common, or broken octets */
    TLS_FAIL_MEMORY,
};
const char *tls_failure_name(enum tls_failure failure);

struct tls_info {
    const char *version;   /* "TLSv1.3" */
    const char *cipher;    /* IANA name */
    const char *alpn;      /* negotiated, or "" */
    bool is_resumed;
    bool is_verified;      /* client: the demanded identity was proved */
    /* "tls-exporter" (RFC 9266) under TLS 1.3 only: mbedTLS does not tell whether a 1.2 session has the extended master secret, without which the
     * exporter binds nothing. "tls-server-end-point" (RFC 5929) always. Valid as long as the stream. */
    struct sasl_binding bindings[TLS_BINDINGS_MAX];
    size_t nbindings;
};

#endif
