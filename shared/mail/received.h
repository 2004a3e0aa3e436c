/* The Received: field that we prepend (RFC 5321 4.4), folded under 78 columns.
 *
 * It never tells where an authenticated sender is: is_private leaves out the from clause (no EHLO name, no address).
 * RFC 5321 7.6 knows the harm; 4.4 asks for the clause of relays, and a submission service is where mail begins. */
#ifndef POSTERN_MAIL_RECEIVED_H
#define POSTERN_MAIL_RECEIVED_H

#include "base/buffer.h"

struct received {
    bool is_private;
    struct slice helo;          /* the peer's EHLO name; not written when is_private */
    struct slice peer;          /* its address: "192.0.2.1", "2001:db8::1"; not written when is_private */
    struct slice by;            /* our name; for the agent "postern-agent", never the laptop's */
    const char *protocol;       /* "ESMTPSA" ... (RFC 3848, RFC 6531 4.3) */
    struct slice tls_version;   /* "TLSv1.3"; empty: no TLS, no clause */
    struct slice tls_cipher;    /* "TLS1-3-AES-256-GCM-SHA384" */
    struct slice id;            /* message_id_format */
    struct slice for_address;   /* empty: no clause; give it only when there is exactly one recipient, lest a Bcc show */
    int64_t at_ms;
};

/* Appends the whole field with its CRLF. Octets of the peer's that could break out of the field are replaced by "?".
 * RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result received_format(const struct received *received, struct buffer *out);
/* Whether a Received: field's value names `host` in its by clause. */
bool received_is_by(struct slice value, struct slice host);

#endif
