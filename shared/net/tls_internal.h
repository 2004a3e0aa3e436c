/* What tls*.c share among themselves, and the byte filter that stream*.c drives: one TLS connection without a socket.
 *
 * tls_session: ciphertext from the peer goes in as a slice that is consumed from its front, ciphertext for the peer is appended to a buffer.
 * The memory behind the buffer is the only thing that can run short, so mbedTLS never sees a blocked write (and the rule "repeat it with the same
 * length" has nothing to bite on). Whoever has sent close_notify, or fed the end of the stream, does not come back. */
#ifndef POSTERN_NET_TLS_INTERNAL_H
#define POSTERN_NET_TLS_INTERNAL_H

#include "net/tls.h"

#include "base/buffer.h"
#include "path/path.h"

enum {
    TLS_RECORD_MAX = 16384,      /* octets of plaintext in one record (RFC 8446 5.1) */
    TLS_HASH_MAX = 64,           /* octets of the longest hash for tls-server-end-point */
    TLS_EXPORTER = 32,           /* octets of tls-exporter (RFC 9266 2) */
    TLS_CACHE_MAX = 16,          /* servers whose tickets one client context keeps */
    TLS_CACHE_BLOB_MAX = 16384,  /* octets of one kept session */
    TLS_TICKET_LIFETIME_S = 12 * 3600, /* of a ticket, and of the key it is made with; the key is accepted for as long again */
};

enum tls_step {
    TLS_STEP_OK,
    TLS_STEP_WANT_INPUT, /* all input is used, and more is needed */
    TLS_STEP_EOF,        /* the peer's close_notify: nothing after it counts */
    TLS_STEP_FAILED,     /* tls_session_failure */
};

struct tls_session;
/* context: a reference is taken. server_name: NULL on servers, and where none is to be told or proved. alpn: what a client offers; servers accept what their context names. RESULT_OK,
 * RESULT_MEMORY. */
MUST_CHECK enum result tls_session_new(struct tls_session **out, struct tls_context *context, const char *server_name, enum path_alpn alpn);
void tls_session_free(struct tls_session **session);

/* Until TLS_STEP_OK. On TLS_FAIL_NOT_TLS nothing of *in has been used. */
enum tls_step tls_session_handshake(struct tls_session *session, struct slice *in, struct buffer *out);
/* Reads whole records while there is room for TLS_RECORD_MAX more at to[*got]; so none is ever left half-read inside.
 * TLS_STEP_OK: the room is used up. */
enum tls_step tls_session_read(struct tls_session *session, struct slice *in, char *to, size_t room, size_t *got, struct buffer *out);
/* Encrypts one record from the front of *plain. */
enum tls_step tls_session_write(struct tls_session *session, struct slice *plain, struct buffer *out);
void tls_session_close_notify(struct tls_session *session, struct buffer *out);
/* Gives the record buffers (2 x 17 KiB) back when none is in use; the next call takes them again. */
void tls_session_rest(struct tls_session *session);

const struct tls_info *tls_session_info(const struct tls_session *session); /* valid after the handshake */
enum tls_failure tls_session_failure(const struct tls_session *session);
const char *tls_session_failure_words(const struct tls_session *session);
/* Of a client's session that failed because of the certificate: what it calls itself and its issuer, as in struct stream_error. "": not known. */
const char *tls_session_failure_whose(const struct tls_session *session);

#endif
