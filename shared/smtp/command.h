/* One command line of SMTP as a value: the verb (RFC 5321 4.1.1), and the argument by that verb's grammar, with the ESMTP parameters of MAIL
 * and RCPT (SIZE RFC 1870, BODY 6152 and 3030, SMTPUTF8 6531, AUTH 4954, RET ENVID NOTIFY ORCPT 3461, TRANSID 1845, our XWHOLE), BDAT (3030), AUTH, and our XDEVICE and
 * XOUTCOME.
 *
 * It knows nothing of sessions: whether a command may come now, or an extension was offered, the server core judges. As robust servers do, it takes
 * verbs and keywords in any case, blanks before and behind, tabs for spaces, a space behind "FROM:", and an address without its angle brackets.
 * Slices of the result point into the line. */
#ifndef POSTERN_SMTP_COMMAND_H
#define POSTERN_SMTP_COMMAND_H

#include "mail/address.h"
#include "mail/envelope.h"
#include "smtp/reply.h"

enum smtp_verb {
    SMTP_VERB_UNKNOWN,
    SMTP_VERB_HELO,
    SMTP_VERB_EHLO,
    SMTP_VERB_MAIL,
    SMTP_VERB_RCPT,
    SMTP_VERB_DATA,
    SMTP_VERB_BDAT,
    SMTP_VERB_RSET,
    SMTP_VERB_NOOP,
    SMTP_VERB_QUIT,
    SMTP_VERB_STARTTLS,
    SMTP_VERB_AUTH,
    SMTP_VERB_VRFY,
    SMTP_VERB_EXPN,
    SMTP_VERB_HELP,
    SMTP_VERB_XDEVICE,  /* this and the next, ours: schema/link.md */
    SMTP_VERB_XOUTCOME,
    SMTP_VERB_OBSOLETE, /* SEND, SOML, SAML, TURN, ETRN, ATRN: known, and not done here */
    SMTP_VERB_FOREIGN,  /* HTTP, or a header line: a browser was talked into speaking to us */
    SMTP_VERBS,
};

/* Which parameters were given, a set. */
enum smtp_parameter {
    SMTP_PARAMETER_SIZE = 1 << 0,
    SMTP_PARAMETER_BODY = 1 << 1,
    SMTP_PARAMETER_SMTPUTF8 = 1 << 2,
    SMTP_PARAMETER_RET = 1 << 3,
    SMTP_PARAMETER_ENVID = 1 << 4,
    SMTP_PARAMETER_AUTH = 1 << 5,
    SMTP_PARAMETER_NOTIFY = 1 << 6,
    SMTP_PARAMETER_ORCPT = 1 << 7,
    SMTP_PARAMETER_TRANSID = 1 << 8,
    SMTP_PARAMETER_WHOLE = 1 << 9, /* XWHOLE */
};

enum {
    SMTP_ENVID_MAX = 100, /* octets; RFC 3461 4.4 */
    SMTP_ORCPT_MAX = 500, /* octets; RFC 3461 4.2 */
    SMTP_HELO_MAX = 255,  /* octets; RFC 5321 4.5.3.1.2 */
    SMTP_LABEL_MAX = 64,  /* octets of a device's label, out of xtext */
    SMTP_TRANSID_MAX = 80, /* octets with the angle brackets; RFC 1845 2 */
};

struct smtp_command {
    struct slice argument;       /* HELO and EHLO: the name; VRFY: whom; XDEVICE: the label in xtext; XOUTCOME: all of it */
    struct mail_address address; /* MAIL, RCPT */
    unsigned given;              /* enum smtp_parameter, or-ed */
    uint64_t size_octets;        /* SIZE=; UINT64_MAX when it is beyond 64 bits; or the octets of a BDAT */
    enum mail_body body;
    enum dsn_ret ret;
    struct slice envid;
    struct slice transid; /* with its angle brackets; of MAIL, or of XOUTCOME */
    uint32_t first;       /* XOUTCOME */
    unsigned notify;
    struct slice orcpt;
    bool is_last;           /* BDAT ... LAST */
    struct slice mechanism; /* AUTH */
    struct slice initial;   /* AUTH: base64, or "=" for an empty response */
    bool has_initial;
};

/* Each has a reply that tells what the right form is. */
enum smtp_command_fault {
    SMTP_COMMAND_OK,
    SMTP_COMMAND_NO_ARGUMENT, /* the verb takes none, and one was given */
    SMTP_COMMAND_HELO,
    SMTP_COMMAND_MAIL,
    SMTP_COMMAND_RCPT,
    SMTP_COMMAND_SENDER,
    SMTP_COMMAND_SENDER_LONG,
    SMTP_COMMAND_RECIPIENT,
    SMTP_COMMAND_RECIPIENT_LONG,
    SMTP_COMMAND_UTF8, /* an address needs SMTPUTF8, and MAIL did not ask for it */
    SMTP_COMMAND_PARAMETER_UNKNOWN,
    SMTP_COMMAND_PARAMETER_TWICE,
    SMTP_COMMAND_SIZE,
    SMTP_COMMAND_BODY,
    SMTP_COMMAND_SMTPUTF8,
    SMTP_COMMAND_RET,
    SMTP_COMMAND_ENVID,
    SMTP_COMMAND_AUTH_PARAMETER,
    SMTP_COMMAND_NOTIFY,
    SMTP_COMMAND_ORCPT,
    SMTP_COMMAND_VRFY,
    SMTP_COMMAND_BDAT, /* fatal for the session: nobody knows how many octets follow */
    SMTP_COMMAND_AUTH,
    SMTP_COMMAND_DEVICE,
    SMTP_COMMAND_TRANSID, /* not a transid, or XWHOLE without one */
    SMTP_COMMAND_OUTCOME,
    SMTP_COMMAND_FAULTS,
};

/* The verb of a line (without its CRLF), and what follows it, without blanks at either end. */
enum smtp_verb smtp_verb_parse(struct slice line, struct slice *argument);
/* "MAIL"; "?" for UNKNOWN, OBSOLETE, FOREIGN. */
const char *smtp_verb_name(enum smtp_verb verb);

/* Reads the argument by the verb's grammar. is_smtputf8: the transaction is under SMTPUTF8, so RCPT may hold UTF-8; MAIL says so itself. */
MUST_CHECK enum smtp_command_fault smtp_command_parse(enum smtp_verb verb, struct slice argument, bool is_smtputf8, struct smtp_command *out);
/* NULL for SMTP_COMMAND_OK. */
const struct smtp_reply *smtp_command_fault_reply(enum smtp_command_fault fault);

#endif
