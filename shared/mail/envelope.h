/* What travels outside a message: who sends it, to whom, and what was asked for (RFC 5321 2.3.1, RFC 3461).
 *
 * An envelope is a value of slices; whoever made it says who owns the text. Addresses stand without angle brackets
 * and in the canonical form of mail/address.h; the empty sender is the null reverse-path. */
#ifndef POSTERN_MAIL_ENVELOPE_H
#define POSTERN_MAIL_ENVELOPE_H

#include "base/arena.h"
#include "base/slice.h"

/* Memory of the largest envelope: as many recipients as anybody may allow (10,000), each with all that a command line takes. */
enum { ENVELOPE_ARENA_MAX = 32 * 1024 * 1024 };

/* BODY= of RFC 6152 and RFC 3030: what the octets may be. */
enum mail_body { MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_BODY_BINARYMIME };
/* RET= of RFC 3461 4.3. */
enum dsn_ret { DSN_RET_UNSET, DSN_RET_FULL, DSN_RET_HDRS };
/* NOTIFY= of RFC 3461 4.1, a set; 0 when it was not given (which means FAILURE, and DELAY as we like). */
enum dsn_notify { DSN_NOTIFY_NEVER = 1, DSN_NOTIFY_SUCCESS = 2, DSN_NOTIFY_FAILURE = 4, DSN_NOTIFY_DELAY = 8 };

struct envelope_recipient {
    struct slice address;
    unsigned notify;    /* enum dsn_notify, or-ed */
    struct slice orcpt; /* "rfc822;..." still in xtext, as received; empty when not given */
};

struct envelope {
    struct slice sender;
    enum mail_body body;
    bool is_smtputf8; /* SMTPUTF8 was given (RFC 6531 3.4) */
    enum dsn_ret ret;
    struct slice envid; /* still in xtext, as received; empty when not given */
    struct envelope_recipient *recipients;
    size_t nrcpt;
};

/* Every enum has its keyword: "7BIT", "FULL"; UNSET gives "". */
const char *mail_body_name(enum mail_body body);
const char *dsn_ret_name(enum dsn_ret ret);
/* "NEVER", or "SUCCESS,FAILURE" ...; writes to out[size], 32 octets are enough. Empty for 0. */
void dsn_notify_format(unsigned notify, char *out, size_t size);

/* Takes out each recipient whose address has come before, octet for octet; what was asked for the first one counts. RESULT_OK; RESULT_MEMORY: all are still there. */
MUST_CHECK enum result envelope_drop_repeated(struct envelope *envelope);
/* A deep copy into an arena: RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result envelope_copy(struct arena *a, const struct envelope *from, struct envelope *out);
/* Likewise, of n recipients; NULL of none. */
MUST_CHECK enum result envelope_copy_recipients(struct arena *a, const struct envelope_recipient *from, size_t n, struct envelope_recipient **out);

#endif
