/* The header section of a message (RFC 5322 2.2), read field by field.
 *
 * Lines end in CRLF. The section ends before the first empty line, or where a line begins that is no field. */
#ifndef POSTERN_MAIL_HEADER_H
#define POSTERN_MAIL_HEADER_H

#include "base/result.h"
#include "base/slice.h"

struct header_field {
    struct slice name;  /* without white space before the colon (RFC 5322 4.5 allows it) */
    struct slice value; /* behind the colon, with its folds, without the last CRLF */
    struct slice raw;   /* all octets, the last CRLF included */
};

/* Takes the next field off the front of *rest. RESULT_OK; RESULT_NOT_FOUND: *rest is empty or begins with the empty line;
 * RESULT_SYNTAX: it begins with a line that is no field. On failure *rest is unchanged. */
MUST_CHECK enum result header_next(struct slice *rest, struct header_field *out);
/* The first field of that name; false: there is none before the section's end. */
bool header_find(struct slice header, struct slice name, struct header_field *out);
/* Octets of the header section at the front of a message, its empty line not included; the whole length where there is no empty line. */
size_t header_section_len(struct slice message);

/* Whether some octet is above 127. */
bool mail_has_8bit(struct slice text);

#endif
