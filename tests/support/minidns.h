/* A small DNS server on 127.0.0.1, UDP and TCP on one port, inside the test's loop: a table of records, and some bad manners.
 *
 * A name is known when it, or a name below it, is in the table; others are NXDOMAIN. Known without a record of the type: no data. Negative answers carry a
 * SOA with a TTL of 60 s. Besides A, AAAA, MX ("10 mx.example"), TXT and CNAME, `type` may be a behaviour of the whole name:
 * SERVFAIL, REFUSED; SILENT (no answer); LIE (an answer to another question, as of a forger); TRUNCATE (UDP says: come by TCP); UNSIGNED, FORGED (see minidns_sign). A behaviour may be for one type
 * of question: "SILENT AAAA". */
#ifndef POSTERN_TESTS_SUPPORT_MINIDNS_H
#define POSTERN_TESTS_SUPPORT_MINIDNS_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct minidns_record {
    const char *name; /* lower case, no final dot; NULL ends the table */
    const char *type;
    const char *value; /* TXT: one string; of more than 255 octets several */
    uint32_t ttl;      /* 0: 300 */
};

struct minidns;

/* Aborts when it cannot: there is nothing to test then. The table is borrowed. */
struct minidns *minidns_open(uv_loop_t *loop, const struct minidns_record *records);
uint16_t minidns_port(const struct minidns *minidns);
/* Questions seen so far, by either transport; by TCP alone. */
size_t minidns_questions(const struct minidns *minidns);
size_t minidns_tcp_questions(const struct minidns *minidns);
/* From now on the table is one zone, the root, signed with a key made here (Ed25519, RFC 8080): records and the key carry signatures; negative answers carry no
 * proof. A name with the behaviour UNSIGNED or FORGED (a broken signature) is as an attacker would have it. Writes the trust anchor to a file. */
void minidns_sign(struct minidns *minidns, const char *anchor_file);
void minidns_close(struct minidns *minidns);

#endif
