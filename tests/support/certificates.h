/* Certificates for tests, made on the spot: right ones, and wrong ones of every kind. */
#ifndef POSTERN_TESTS_SUPPORT_CERTIFICATES_H
#define POSTERN_TESTS_SUPPORT_CERTIFICATES_H

#include "net/tls.h"

#include <stdint.h>

/* A folder of its own below $TMPDIR or /tmp; certificates_folder_remove takes it away with the files in it. */
void certificates_folder_make(char folder[static 64]);
void certificates_folder_remove(const char *folder);

struct certificate_wish {
    const char *name;      /* of the SAN and the CN */
    const char *issuer;    /* path without extension of the issuer's files; NULL: self-signed */
    int64_t from_s, to_s;  /* 0, 0: from yesterday for a year; seconds since 1970 */
    int is_ca;
};

/* Writes PATH.key and PATH.pem. Ends the program when it can't. */
void certificate_make(const char *path, const struct certificate_wish *wish);

/* A server's context for "relay.example", with smtp and http/1.1 as ALPN, and a client's that knows its pin and offers none. The files are gone already. */
void certificates_contexts(struct tls_context **server, struct tls_context **client);

#endif
