/* Delivery status notifications: a multipart/report of RFC 3464 with words for a person first.
 *
 * Text that came from a peer (replies, host names) is written with its controls replaced and its lines bounded, so
 * that nobody outside can add a header, a field or a MIME part. Lines are at most 998 octets, but for those of a
 * message returned whole. The notification goes out with the null reverse-path; whether one may be sent at all (NOTIFY, null
 * sender) is decided by the caller. */
#ifndef POSTERN_MAIL_DSN_H
#define POSTERN_MAIL_DSN_H

#include "base/buffer.h"
#include "mail/envelope.h"

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED, DSN_EXPANDED };
const char *dsn_action_name(enum dsn_action action); /* "failed" ... */

struct dsn_recipient {
    struct slice address;          /* Final-Recipient */
    struct slice orcpt;            /* in xtext as received; empty: none */
    enum dsn_action action;
    struct slice status;           /* "5.1.1"; one that does not fit the action becomes x.0.0 */
    struct slice remote_mta;       /* host name; empty: no other host was involved */
    struct slice reply;            /* what it said, "550 5.1.1 no such user", lines separated by "\n"; empty: nothing */
    bool is_local;                 /* reply is ours, no server said it */
    struct slice words;            /* what happened, for the person; empty: reply, or words made from the action */
    int64_t last_attempt_at_ms;    /* 0: not written */
    int64_t will_retry_until_ms;   /* 0: not written; only for delayed */
};

struct dsn {
    struct slice reporting_mta; /* our name */
    struct slice from;          /* "MAILER-DAEMON@relay.example" */
    struct slice to;            /* the envelope sender of the message */
    struct slice message_id;    /* "<...>" of the notification; its text between the brackets, made of fresh randomness,
                                   is the MIME boundary too */
    int64_t now_ms;
    int64_t arrived_at_ms;      /* 0: not written */
    struct slice envid;         /* in xtext as received; empty: none */
    const struct dsn_recipient *recipients;
    size_t nrcpt;               /* at least one */
    enum dsn_ret ret;           /* FULL: original is the whole message; else its header section alone is used */
    struct slice original;      /* as stored; may be empty: it is gone */
    bool is_smtputf8;           /* the message came with SMTPUTF8: the types of RFC 6533, and UTF-8 in the fields */
};

/* Appends the whole message. RESULT_OK; RESULT_LIMIT, RESULT_MEMORY: nothing was appended. It needs 8BITMIME if mail_has_8bit says so of it,
 * and SMTPUTF8 if it says so and is_smtputf8 is set. */
MUST_CHECK enum result dsn_write(const struct dsn *dsn, struct buffer *out);

#endif
