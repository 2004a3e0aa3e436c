/* The parsers of the challenge: pure, each of octets that anybody may have sent. */
#ifndef POSTERN_NET_CHALLENGE_INTERNAL_H
#define POSTERN_NET_CHALLENGE_INTERNAL_H

#include "net/challenge.h"

enum { CHALLENGE_HEADERS_MAX = 16 * 1024, CHALLENGE_REQUEST_MAX = 1024, CHALLENGE_WORDS = 200 };

/* A fresh nonce in text, with its NUL. */
void challenge_make_nonce(char out[static CHALLENGE_NONCE_TEXT + 1]);
/* 43 characters of base64url, of which the last has no stray bits. */
bool challenge_is_nonce(struct slice text);

/* The parts of an answer's body. */
struct challenge_body {
    struct slice nonce;
    struct slice signature; /* base64 */
    struct slice chain;     /* PEM */
};
/* Whether it is, or may become when more comes, the beginning of an answer. */
bool challenge_body_begins(struct slice body);
bool challenge_body_parse(struct slice body, struct challenge_body *out);

/* What the octets that have come so far are. */
enum challenge_reading {
    CHALLENGE_READ_MORE,   /* nothing that the relay would not say; when no more comes, nobody can tell */
    CHALLENGE_READ_BODY,   /* a whole answer that may be the relay's */
    CHALLENGE_READ_BUSY,   /* 503: the relay's when it is asked too much, or anybody's: it says nothing */
    CHALLENGE_READ_PORTAL, /* the relay would never say this: words tell */
};
enum challenge_end { CHALLENGE_GOES_ON, CHALLENGE_ENDED /* in good order */, CHALLENGE_BROKE_OFF /* or took too long */ };
/* in: all that has come (HTTP/1.0 or 1.1, RFC 9112). Decides before CHALLENGE_HEADERS_MAX + CHALLENGE_ANSWER_MAX octets. */
enum challenge_reading challenge_read(struct slice in, enum challenge_end end, struct slice *body, char words[static CHALLENGE_WORDS]);

#endif
