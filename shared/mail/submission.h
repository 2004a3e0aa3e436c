/* A message on its way in: the header section is read, judged and completed (RFC 6409 8, RFC 5322 3.6), the body
 * passes untouched and unseen but for a few facts. Streaming: only the header section is ever held.
 *
 *     s = submission_new(&config);
 *     for each piece:  submission_feed(s, piece, &out)   -> store out.header, then out.body (either may be empty)
 *     at the end:      submission_finish(s, &out)        -> store out.header; facts are whole now
 *
 * out.header is given once, when the section has ended; it is the rewritten section with its empty line. out.body is a part of the piece
 * just fed. Facts about the header are there from that call on, so who checks From: against a list does it then, or at
 * the end, but before the message counts as accepted.
 *
 * What is done to the header:
 *                                       relay                        agent
 *   Received: of ours                   prepended if given           prepended if given
 *   Return-Path:, Bcc:, Resent-Bcc:     removed                      removed
 *   Date:, Message-ID:                  added when missing           added when missing
 *   From: missing                       refused                      added if given, else left
 *   From: several, malformed            refused                      left; is_from_clear is false
 *   two of a field that stands once     refused                      left
 *   a line that is no field             refused                      the header ends there; an empty line is put in
 *   mbox "From " line at the top        refused                      removed
 *   bare CR, bare LF, NUL; line > 998;
 *   too long; loop                      refused                      refused
 * Fields are never reordered or rewritten otherwise, so that signatures made by the sender stay good.
 *
 * Invariants: 1 any chunking of the same octets gives the same output, facts and refusal; 2 output is prefix + fields kept +
 * fields added + empty line + body, octet for octet; 3 after a refusal no more output comes; 4 with mode relay and no refusal,
 * every address that a mail program may show as the author is in from[]; 5 cut at a line's end behind the header, and resumed, a message gives the same output and size. */
#ifndef POSTERN_MAIL_SUBMISSION_H
#define POSTERN_MAIL_SUBMISSION_H

#include "base/result.h"
#include "base/slice.h"

enum {
    SUBMISSION_HEADER_MAX = 256 * 1024, /* octets of the section as it comes */
    SUBMISSION_FIELDS_MAX = 1000,
    SUBMISSION_LINE_MAX = 998,          /* octets without CRLF; RFC 5322 2.1.1 */
    SUBMISSION_HOPS_MAX = 50,           /* Received: fields; RFC 5321 6.3 advises 100 or more for relays; we are the first
                                           hop, where even a much forwarded message has few */
    SUBMISSION_OWN_HOPS_MAX = 3,        /* of them by us: resending a message that once passed here is no loop */
    SUBMISSION_FROM_MAX = 50,           /* addresses in From: */
    SUBMISSION_RECIPIENTS_MAX = 1000,   /* addresses collected */
};

enum submission_mode { SUBMISSION_RELAY, SUBMISSION_AGENT };

/* All slices are copied. */
struct submission_config {
    enum submission_mode mode;
    struct slice received;     /* a whole field with CRLF (received_format); empty: none */
    struct slice date;         /* value for a missing Date:; empty: not added */
    struct slice message_id;   /* value for a missing Message-ID:, with its angle brackets; empty: not added. Must not name the laptop */
    struct slice from;         /* value for a missing From:, agent only; empty: not added */
    struct slice own_name;     /* our host name in Received: fields, for the loop check; empty: no check */
    bool collects_recipients;  /* from To:, Cc:, Bcc: (sendmail -t) */
    bool allow_utf8;           /* addresses in fields may be UTF-8 (SMTPUTF8 was given, or the sendmail interface) */
};

enum submission_refusal {
    SUBMISSION_ACCEPTED,
    SUBMISSION_BAD_OCTET,        /* bare CR, bare LF or NUL in the header */
    SUBMISSION_LINE_TOO_LONG,
    SUBMISSION_HEADER_TOO_LONG,
    SUBMISSION_TOO_MANY_FIELDS,
    SUBMISSION_NOT_A_FIELD,
    SUBMISSION_FROM_MISSING,
    SUBMISSION_FROM_SEVERAL,
    SUBMISSION_FROM_MALFORMED,
    SUBMISSION_SENDER_MALFORMED, /* also: missing where From: has several authors (RFC 5322 3.6.2) */
    SUBMISSION_FIELD_TWICE,      /* RFC 5322 3.6: the one named in the words */
    SUBMISSION_RECIPIENTS,       /* a list to be collected is malformed or too long */
    SUBMISSION_LOOP,
};
const char *submission_refusal_name(enum submission_refusal refusal);

struct submission_facts {
    const struct slice *from;  /* canonical addresses of From:, each once */
    size_t nfrom;
    struct slice sender;       /* canonical address of Sender:; empty: none */
    const struct slice *recipients; /* canonical, each once; only when collected */
    size_t nrcpt;
    struct slice message_id;   /* value of Message-ID: as it stands in the output, trimmed; empty: none */
    bool has_own_message_id;   /* it came with one */
    bool is_from_clear;        /* exactly one From:, well-formed */
    uint32_t hops;
    bool has_8bit_header;      /* UTF-8 in the header: the next hop needs SMTPUTF8 if the envelope said so */
    bool is_header_utf8;       /* and it is well-formed */
    bool has_8bit_body;        /* streaming: true as soon as one was seen */
    bool has_long_line;        /* a body line of more than 998 octets */
    uint64_t header_octets;    /* of the output, with the empty line */
    uint64_t size_octets;      /* of the output so far */
};

struct submission_out {
    struct slice header, body; /* valid until the next call; body as long as the piece fed */
};

struct submission;
struct submission *submission_new(const struct submission_config *config); /* NULL: out of memory */
/* One that goes on in a body whose header an earlier submission took, at the beginning of a line (BINARYMIME: anywhere): fed with what comes from there on, it gives what the earlier
 * one would have given. Of the header only what is given here is known, has_long_line is of what comes now, and size_octets counts on from stored_octets. NULL: out of memory. */
struct submission_past {
    uint64_t header_octets, stored_octets; /* of the output */
    bool has_8bit_header, is_header_utf8, has_8bit_body;
};
struct submission *submission_resume(const struct submission_past *past);
/* Octets of the header section as it came, with its empty line, and with the line end that a header alone may have lacked; 0 while it is not whole, and of one resumed. */
uint64_t submission_header_came(const struct submission *submission);
void submission_free(struct submission **submission);

/* RESULT_OK; RESULT_DENIED: refused, see submission_refusal; RESULT_MEMORY: the message can't be taken now. *out is empty unless OK. */
MUST_CHECK enum result submission_feed(struct submission *submission, struct slice piece, struct submission_out *out);
MUST_CHECK enum result submission_finish(struct submission *submission, struct submission_out *out);

enum submission_refusal submission_refusal(const struct submission *submission);
/* Words for the reply to the message: code 554 or 550, an enhanced status "5.6.0", and a sentence that helps. Valid as long as the submission. */
struct submission_words {
    int code;
    unsigned short class, subject, detail; /* RFC 3463 */
    const char *text;
};
struct submission_words submission_refusal_words(const struct submission *submission);
/* Whether the header's facts are there. */
bool submission_has_header(const struct submission *submission);
const struct submission_facts *submission_facts(const struct submission *submission);

#endif
