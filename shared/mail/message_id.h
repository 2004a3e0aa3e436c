/* The number by which both programs, the log and the person know a message: 63 bits, growing with time.
 *
 * The upper 42 bits are milliseconds since 1970, the lower 21 start at random within each millisecond and count up; so ids sort by
 * arrival, two in one process never collide, and nobody can guess one from another. Written as 13 characters of
 * Crockford's base32 in lower case ("0d5r8k3mzq1vt"), which a person can read over the telephone. */
#ifndef POSTERN_MAIL_MESSAGE_ID_H
#define POSTERN_MAIL_MESSAGE_ID_H

#include "base/slice.h"

enum { MESSAGE_ID_TEXT = 14 }; /* octets with the NUL */

struct message_id_source {
    uint64_t last;
};

/* now_ms is wall time; random is fresh. A clock that goes back still gives growing ids. */
uint64_t message_id_next(struct message_id_source *source, int64_t now_ms, uint32_t random);
void message_id_format(uint64_t id, char out[static MESSAGE_ID_TEXT]);
/* Accepts upper case and Crockford's look-alikes (o for 0, i and l for 1). False: not an id. */
bool message_id_parse(struct slice text, uint64_t *out);

#endif
