/* Body octets on their way to a peer: whole lines that end in CRLF, with dots stuffed for DATA (RFC 5321 4.5.2).
 *
 * A bare CR, a bare LF and a NUL never leave: a next hop that took one for a line's end could be made to see a second message
 * (CVE-2023-51764 and its kin). {0} is the start of a body. */
#ifndef POSTERN_SMTP_STUFF_H
#define POSTERN_SMTP_STUFF_H

#include "base/buffer.h"

struct smtp_stuff {
    enum { SMTP_STUFF_LINE_START, SMTP_STUFF_IN_LINE, SMTP_STUFF_AFTER_CR } at;
};

/* Appends the next octets of the body, cut anywhere, at most a third longer than they were. A CR at the end waits for its LF.
 * RESULT_OK; RESULT_SYNTAX: a bare CR or LF, or a NUL; RESULT_LIMIT; RESULT_MEMORY. On failure nothing was appended, and the body
 * can't go on. */
MUST_CHECK enum result smtp_stuff_write(struct smtp_stuff *stuff, struct slice octets, struct buffer *out);
/* The end of the body: the last line's CRLF where it is missing, and the lone dot. Same results. */
MUST_CHECK enum result smtp_stuff_end(struct smtp_stuff *stuff, struct buffer *out);

/* The same check for a body that goes as BDAT, octet by octet as it is. RESULT_OK, RESULT_SYNTAX. */
MUST_CHECK enum result smtp_stuff_check(struct smtp_stuff *stuff, struct slice octets, bool is_last);

#endif
