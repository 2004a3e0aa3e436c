/* xtext (RFC 3461 4): ENVID and ORCPT on the wire. */
#ifndef POSTERN_MAIL_XTEXT_H
#define POSTERN_MAIL_XTEXT_H

#include "base/buffer.h"

/* Every octet but printable ASCII other than "+" and "=" becomes "+XX". RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result xtext_encode(struct slice text, struct buffer *out);
/* RESULT_OK; RESULT_SYNTAX: not xtext ("+" is followed by two upper-case hex digits); RESULT_LIMIT, RESULT_MEMORY. The decoded octets may be
 * anything, CR and LF included: who writes them into a header strips them. */
MUST_CHECK enum result xtext_decode(struct slice xtext, struct buffer *out);
bool xtext_is_valid(struct slice xtext);

/* ORCPT's value: "addr-type;xtext", where addr-type is an atom; for "utf-8" the forms of RFC 6533 3 too. */
bool orcpt_is_valid(struct slice orcpt, bool allow_utf8);

#endif
