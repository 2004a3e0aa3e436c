/* "Is it you?" over plain HTTP: how the agent tells a captive portal from a network that merely blocks, without phoning a third party (schema/link.md, The challenge).
 *
 *   agent:  GET /.well-known/postern?n=NONCE HTTP/1.1            to the relay's port 80; NONCE: 43 characters of base64url, 32 random octets
 *   relay:  200, text/plain: "postern-challenge 1", the nonce, a signature of both by the key of its certificate in base64, and the certificate chain in PEM
 *
 * The agent checks the chain as it would in TLS (pins, or CA and name) and the signature over CHALLENGE_CONTEXT || NUL || nonce, as the nonce stands there in text, with the leaf's key. A portal can't make it up, and a recorded answer has another nonce.
 * Anything else that answers in HTTP is a portal. Silence says nothing, and neither does an answer of this form by a stranger: that is a relay, but not ours. */
#ifndef POSTERN_NET_CHALLENGE_H
#define POSTERN_NET_CHALLENGE_H

#include "net/tls.h"

#include "base/buffer.h"

#include <uv.h>

#define CHALLENGE_PATH "/.well-known/postern"
#define CHALLENGE_CONTEXT "postern captive portal challenge 1"
enum { CHALLENGE_NONCE = 32, CHALLENGE_NONCE_TEXT = 43, CHALLENGE_ANSWER_MAX = 32 * 1024, CHALLENGE_TIMEOUT_MS = 5000 };

/* Appends the body of the relay's answer for the nonce as it stands in the request (decoded of %XX, if it must be). RESULT_OK, RESULT_SYNTAX (no nonce), RESULT_LIMIT (the chain is longer than
 * CHALLENGE_ANSWER_MAX or the buffer has room for), RESULT_MEMORY, RESULT_IO (signing); then nothing is appended. A signature costs about as much as half a handshake: whoever calls it for strangers counts. */
MUST_CHECK enum result challenge_answer(const struct tls_context *server, struct slice nonce, struct buffer *out);
/* Whether `body` is the right answer by whom `client` trusts under server_name. RESULT_OK; RESULT_DENIED: it is not; RESULT_MEMORY. */
MUST_CHECK enum result challenge_check(const struct tls_context *client, const char *server_name, struct slice nonce, struct slice body);

enum challenge_result { CHALLENGE_GENUINE, CHALLENGE_PORTAL, CHALLENGE_SILENT };

/* One question over a connection of its own. */
struct challenge_ask {
    struct sockaddr_storage address; /* with the port */
    struct tls_context *tls;         /* a reference is taken */
    const char *server_name;         /* copied; the Host field too */
    int64_t timeout_ms;              /* 0: CHALLENGE_TIMEOUT_MS */
    const struct log *log;
    void (*on_end)(void *context, enum challenge_result result, const char *words); /* exactly once, never from inside challenge_start; then the question is gone */
    void *context;
};
struct challenge;
MUST_CHECK enum result challenge_start(struct challenge **out, uv_loop_t *loop, const struct challenge_ask *ask); /* RESULT_OK, RESULT_MEMORY, RESULT_IO */
/* No on_end comes any more. Clears the pointer; the memory goes when the connection has. */
void challenge_cancel(struct challenge **challenge);

#endif
