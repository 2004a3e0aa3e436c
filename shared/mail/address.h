/* Mail addresses: Mailbox of RFC 5321 4.1.2 with the extensions of RFC 6531, in one canonical form.
 *
 * Canonical: the local part with the least quoting ("a b"@x stays, "ab"@x becomes ab@x: RFC 5321 4.1.2 calls them
 * equal), its case kept; the domain in lower case (ASCII); no source route. So two spellings of one mailbox can't slip past
 * a list that names it. An address is a value: copy it freely. */
#ifndef POSTERN_MAIL_ADDRESS_H
#define POSTERN_MAIL_ADDRESS_H

#include "base/result.h"
#include "base/slice.h"

enum {
    ADDRESS_LOCAL_MAX = 64,   /* octets; RFC 5321 4.5.3.1.1 */
    ADDRESS_DOMAIN_MAX = 253, /* octets; 4.5.3.1.2 says 255, the DNS carries 253 in text */
    ADDRESS_MAX = 254,        /* octets; 4.5.3.1.3: 256 with the angle brackets */
    ADDRESS_LABEL_MAX = 63,   /* octets of one label; a U-label may be longer in UTF-8, and is bounded by the domain */
};

enum address_flags {
    ADDRESS_ALLOW_UTF8 = 1,       /* SMTPUTF8 was given: UTF-8 in local part and domain */
    ADDRESS_ALLOW_POSTMASTER = 2, /* <Postmaster> without a domain (RFC 5321 4.1.1.3) */
    ADDRESS_ALLOW_EMPTY = 4,      /* <>, the null reverse-path */
};

struct mail_address {
    char text[ADDRESS_MAX + 1]; /* NUL-terminated; holds no NUL, control or white space other than spaces in quotes */
    size_t len;                 /* 0: the null reverse-path */
    size_t local_len;
    bool is_literal;    /* the domain is an address literal, "[192.0.2.1]", "[IPv6:2001:db8::1]" */
    bool needs_smtputf8; /* some octet is above 127 */
};

struct slice address_text(const struct mail_address *address);
struct slice address_local(const struct mail_address *address);
struct slice address_domain(const struct mail_address *address); /* with the brackets of a literal; empty for postmaster */

/* What stands behind the last @ of an address that has been checked; empty without one. */
struct slice address_domain_of(struct slice address);

/* All of text is one Mailbox without angle brackets. RESULT_OK; RESULT_SYNTAX; RESULT_LIMIT: a part is too long. */
MUST_CHECK enum result address_parse(struct slice text, unsigned flags, struct mail_address *out);
/* A Reverse-path or Forward-path at the front of `in`, angle brackets included, as in "<a@b> SIZE=5": *used octets were taken
 * and what follows is the caller's to judge. A source route is checked and dropped (RFC 5321 4.1.1.3, appendix C). Results as above. */
MUST_CHECK enum result address_parse_path(struct slice in, unsigned flags, struct mail_address *out, size_t *used);

/* Domain of RFC 5321 (no literal, no trailing dot, no last label of digits alone) with U-labels where allow_utf8. */
bool address_domain_is_valid(struct slice domain, bool allow_utf8);
/* "[192.0.2.1]" or "[IPv6:...]". */
bool address_literal_is_valid(struct slice literal);

/* An entry of a send-as list: "user@domain", or "@domain" for all of a domain (its subdomains not included). */
bool address_pattern_is_valid(struct slice pattern);
/* Whether pattern covers address. Domain and local part compare without regard to ASCII case: a list that says Alice@x means
 * alice@x. Both are brought to canonical form first; one that is malformed matches nothing, nor does the empty address. */
bool address_matches(struct slice pattern, struct slice address);

#endif
