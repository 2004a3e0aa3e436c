/* Name lookups of the relay: MX, A with AAAA, TXT, over libunbound, whose thread does the work and whose descriptor is watched by the loop.
 *
 * An answer comes from the loop, never from inside the call that asked, and exactly once, unless the question was cancelled: then never. Answers and what they
 * point at are valid during the callback only. A callback may ask, cancel and close. Names are compared and given in lower case, without the final dot;
 * names in Unicode are to be given as A-labels (RFC 5890).
 *
 * Permanent and temporary are told apart: NO_NAME, NO_DATA and NULL_MX are what the domain's owner says; FAILED is everything that may be otherwise tomorrow, a
 * failed DNSSEC validation included. */
#ifndef POSTERN_NET_DNS_H
#define POSTERN_NET_DNS_H

#include "base/result.h"
#include "base/slice.h"
#include "net/address.h"

#include <uv.h>

enum {
    DNS_MX_MAX = 20,        /* hosts of a domain; the least preferred beyond are dropped */
    DNS_ADDRESSES_MAX = 20, /* of a host: 10 of each family */
    DNS_TEXTS_MAX = 50,
    DNS_QUESTIONS_MAX = 1000, /* at a time */
    DNS_NAME_TEXT = 256,    /* octets of a name in text, with its NUL */
    DNS_RESOLVERS_MAX = 8,
};

enum dns_outcome {
    DNS_FOUND,
    DNS_NO_NAME, /* NXDOMAIN */
    DNS_NO_DATA, /* the name exists, no such record does */
    DNS_NULL_MX, /* RFC 7505: the domain takes no mail */
    DNS_FAILED,  /* temporary; why says what */
};
const char *dns_outcome_name(enum dns_outcome outcome);

struct dns_host {
    char name[DNS_NAME_TEXT];
    uint16_t preference;
};

struct dns_answer {
    enum dns_outcome outcome;
    bool is_secure; /* validated from the trust anchor down; of addresses: of both families */
    uint32_t ttl_s;
    const char *why; /* of DNS_FAILED, words for a person; else NULL */
    /* dns_find_mx */
    const struct dns_host *hosts; /* by preference, equal ones shuffled (RFC 5321 5.1) */
    size_t nhosts;
    bool is_implicit; /* no MX: the domain itself is the one host, if it has addresses */
    /* dns_find_addresses */
    const struct net_address *addresses; /* families in turn, IPv6 first */
    size_t naddresses;
    /* dns_find_txt */
    const struct slice *texts; /* each record's strings joined */
    size_t ntexts;
};

struct dns_config {
    struct net_address resolvers[DNS_RESOLVERS_MAX]; /* to ask; port 0 stands for 53 */
    size_t nresolvers;                               /* 0: those of /etc/resolv.conf */
    const char *trust_anchor;                        /* file with the root's DS or DNSKEY; NULL: nothing is validated, nothing is secure */
    int64_t timeout_ms;                              /* of one question; default 20,000 */
    uint32_t (*random)(void *context);               /* NULL: libsodium's */
    void *random_context;
};

struct dns;
struct dns_question;
typedef void dns_callback(void *context, const struct dns_answer *answer);

/* RESULT_OK; RESULT_MEMORY; RESULT_NOT_FOUND (a file), RESULT_IO, RESULT_SYNTAX: why, of why_size octets, says what. */
MUST_CHECK enum result dns_open(struct dns **out, uv_loop_t *loop, const struct dns_config *config, char *why, size_t why_size);
/* Cancels all questions. on_closed when the memory is gone; may be NULL. */
void dns_close(struct dns *dns, void (*on_closed)(void *context), void *context);

/* *out (which may be NULL) is good for dns_cancel until the answer comes. RESULT_OK; RESULT_SYNTAX: not a host name; RESULT_BUSY: too many questions;
 * RESULT_MEMORY; RESULT_IO. A name with a final dot is the same without.
 *
 * dns_find_mx: FOUND, also with the implicit MX: whether the domain has addresses, dns_find_addresses tells. */
MUST_CHECK enum result dns_find_mx(struct dns *dns, struct slice domain, dns_callback *on_answer, void *context, struct dns_question **out);
/* A and AAAA at once; one family that fails does not matter when the other is found. */
MUST_CHECK enum result dns_find_addresses(struct dns *dns, struct slice host, uint16_t port, dns_callback *on_answer, void *context,
                                          struct dns_question **out);
MUST_CHECK enum result dns_find_txt(struct dns *dns, struct slice name, dns_callback *on_answer, void *context, struct dns_question **out);
/* No answer will come. *question may be NULL. */
void dns_cancel(struct dns_question **question);

size_t dns_questions(const struct dns *dns); /* open ones */

#endif
