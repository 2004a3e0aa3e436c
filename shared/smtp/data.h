/* The reader of message bodies: DATA's octets up to CRLF.CRLF with stuffed dots removed (RFC 5321 4.5.2), or BDAT's octets checked for the same faults.
 *
 * It copies nothing: each step hands out a piece of its input, as long as can be. It ends only at CRLF.CRLF. A bare CR, a bare LF or a NUL (RFC 5321
 * 2.3.8, 4.5.2 and 3.6: never in a message), or a line that is too long, is a fault: from there on nothing is handed out, and the true end is
 * hunted for. Accepting a bare LF would let a sender smuggle a second message past the next relay. What was handed out before the fault does not
 * depend on how the input was cut. */
#ifndef POSTERN_SMTP_DATA_H
#define POSTERN_SMTP_DATA_H

#include "base/result.h"
#include "base/slice.h"

enum smtp_data_fault {
    SMTP_DATA_SOUND,
    SMTP_DATA_BARE_CR,
    SMTP_DATA_BARE_LF,
    SMTP_DATA_NUL,
    SMTP_DATA_LONG_LINE,
};
const char *smtp_data_fault_name(enum smtp_data_fault fault);

enum smtp_data_step {
    SMTP_DATA_MORE,  /* `used` octets were taken and nothing is to hand out */
    SMTP_DATA_PIECE, /* `piece` are octets of the message; it points into the input or at a constant */
    SMTP_DATA_END,   /* the dot's line was taken; what follows in the input are commands */
};

/* Where in a line the next octet stands. */
enum smtp_data_place {
    SMTP_DATA_LINE_START,
    SMTP_DATA_IN_LINE,
    SMTP_DATA_AFTER_CR,     /* the CR is held back until its LF is seen */
    SMTP_DATA_AFTER_DOT,    /* a dot at the start of a line: stuffed, or the end */
    SMTP_DATA_AFTER_DOT_CR, /* all but the LF of the end */
};

/* A value; {0} is of no use, smtp_data_start makes it. */
struct smtp_data {
    enum smtp_data_place place;
    enum smtp_data_fault fault;
    bool is_dotted;    /* DATA */
    bool is_binary;    /* BINARYMIME: anything goes */
    bool has_8bit;     /* some octet handed out was above 127 */
    uint32_t text_max; /* octets of a line without CRLF */
    uint32_t text_len; /* octets of the present line so far */
};

/* line_max: octets of a line with its CRLF, not counting a stuffed dot (RFC 5321 4.5.3.1.6); at least 3. */
void smtp_data_start_dotted(struct smtp_data *data, uint32_t line_max);
void smtp_data_start_counted(struct smtp_data *data, uint32_t line_max, bool is_binary);

/* Takes from the front of `in`, which is not empty: *used octets, at least one. Counted input never ends by itself: give no more
 * than belongs to the chunk. */
enum smtp_data_step smtp_data_read(struct smtp_data *data, struct slice in, size_t *used, struct slice *piece);
/* After the last octet of counted input: a CR that still waits for its LF is bare. */
void smtp_data_finish(struct smtp_data *data);

#endif
