/* A reply of SMTP (RFC 5321 4.2) with its enhanced status code (RFC 3463), and the parser of those that peers send.
 *
 * Replies we give are values with text in one or more lines, separated by "\n". Replies we read are bounded:
 * SMTP_REPLY_LINE_MAX octets a line, SMTP_REPLY_LINES_MAX lines, SMTP_REPLY_MAX octets; the rest of a longer text is dropped, while a malformed
 * or endless reply is an error, because it may come from somebody who wants our memory. */
#ifndef POSTERN_SMTP_REPLY_H
#define POSTERN_SMTP_REPLY_H

#include "base/buffer.h"

enum {
    SMTP_REPLY_LINE_MAX = 2048,  /* octets with CRLF; RFC 5321 4.5.3.1.5 says 512, real servers write more */
    SMTP_REPLY_LINES_MAX = 128,
    SMTP_REPLY_MAX = 64 * 1024,  /* octets of a whole reply with codes and line ends */
    SMTP_REPLY_TEXT_MAX = 4096,  /* octets kept of a whole reply's text */
};

/* class 0: none. "5.7.1" is {5, 7, 1}. */
struct smtp_status {
    unsigned short class, subject, detail;
};

struct smtp_reply {
    int code; /* 200..599 */
    struct smtp_status status;
    struct slice text; /* lines separated by "\n", without codes; from a peer: controls (utf8_is_control) and octets that are not UTF-8 were replaced by "?" */
};

/* For replies written in the source: SMTP_REPLY(550, 5,7,1, "text"). */
#define SMTP_REPLY(reply_code, c, s, d, literal)                                                                       \
    ((struct smtp_reply){.code = (reply_code), .status = {c, s, d}, .text = SLICE(literal)})

/* The same as the initialiser of a constant. */
#define SMTP_REPLY_INIT(reply_code, c, s, d, literal)                                                                  \
    {.code = (reply_code), .status = {c, s, d}, .text = {"" literal, sizeof(literal) - 1}}

bool smtp_reply_is_positive(const struct smtp_reply *reply);  /* 2yz, 3yz */
bool smtp_reply_is_transient(const struct smtp_reply *reply); /* 4yz */
bool smtp_reply_is_permanent(const struct smtp_reply *reply); /* 5yz */

/* "5.7.1" and a space, or nothing where there is none: what stands between the code and the text. 16 octets are enough. */
void smtp_status_format(struct smtp_status status, char *out, size_t size);

/* Appends the reply as octets, each line with code and enhanced code. Controls in the text become "?", lines longer than
 * 512 octets are cut. RESULT_OK, RESULT_LIMIT, RESULT_MEMORY (nothing appended). */
MUST_CHECK enum result smtp_reply_write(const struct smtp_reply *reply, struct buffer *out);
/* For readers of ours, who take SMTP_REPLY_LINE_MAX octets a line: lines longer than that are cut. */
MUST_CHECK enum result smtp_reply_write_wide(const struct smtp_reply *reply, struct buffer *out);

/* Writes "550 5.7.1 text" on one line, lines joined by " / "; for logs and listings. */
void smtp_reply_format(const struct smtp_reply *reply, char *out, size_t size);

/* Takes one whole reply from the front of `in`. RESULT_OK: *reply, its text in `text` (cleared first) and *used octets
 * to consume; RESULT_MORE; RESULT_SYNTAX: not a reply (RFC 5321 4.2.1: three digits, "-" or " ", same code on all lines;
 * a bare LF as line end is accepted from servers, a NUL or a bare CR is not); RESULT_LIMIT: beyond the bounds above; RESULT_MEMORY.
 * An enhanced code is taken off the text where the first line has one whose class fits the code (RFC 2034).
 *
 * A line is judged when it is whole; so the result does not depend on the pieces in which the octets came. The parser starts from the beginning
 * every time: who waits for more should come again only when a line has ended, or SMTP_REPLY_LINE_MAX octets of one are there. */
MUST_CHECK enum result smtp_reply_parse(struct slice in, struct buffer *text, struct smtp_reply *reply, size_t *used);

#endif
