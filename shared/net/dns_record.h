/* Resource data of DNS answers: from a stranger, so bounded and checked. Private to shared/net. Opens nothing. */
#ifndef POSTERN_NET_DNS_RECORD_H
#define POSTERN_NET_DNS_RECORD_H

#include "net/dns.h"

/* A name as people write it: letters, digits, '-', '_' in labels of 1 to 63 octets, at most 253 in all; folded to lower case, a final dot taken off.
 * RESULT_OK, RESULT_SYNTAX. */
MUST_CHECK enum result dns_name_from_text(struct slice text, char out[static DNS_NAME_TEXT]);
/* A whole slice that is one uncompressed name (RFC 1035 3.1). The root gives "". RESULT_OK, RESULT_SYNTAX: broken, or not a host's name. */
MUST_CHECK enum result dns_name_from_wire(struct slice wire, char out[static DNS_NAME_TEXT]);

/* The best DNS_MX_MAX hosts seen so far. {0} is empty. */
struct dns_mx_list {
    struct dns_host hosts[DNS_MX_MAX];
    uint32_t lots[DNS_MX_MAX]; /* decides among equal preferences */
    size_t count;
    bool has_null; /* a record "0 ." was among them (RFC 7505) */
};

/* Adds a record's data; a broken one, or a host that is there already with a better preference, changes nothing. lot: random. */
void dns_mx_list_add(struct dns_mx_list *list, struct slice rdata, uint32_t lot);
/* Joins the strings of a TXT record's data into out, which has room for rdata.len octets. RESULT_OK, RESULT_SYNTAX. */
MUST_CHECK enum result dns_text_join(struct slice rdata, char *out, size_t *len);

#endif
