/* The TLS contexts that follow from the configuration: ours for clients, and those towards next hops. */
#ifndef POSTERN_SERVER_CONTEXTS_H
#define POSTERN_SERVER_CONTEXTS_H

#include "conf.h"

struct contexts {
    struct tls_context *server;
    struct tls_context *any;      /* to MX hosts: encryption without identity (RFC 7435) */
    struct tls_context *verified; /* to a smarthost that is verified; NULL: there is none */
};

/* RESULT_OK, RESULT_DENIED (others can write to the key's folder), or as tls_context_server and tls_context_client; with words in why and nothing in
 * out. */
MUST_CHECK enum result contexts_open(struct contexts *out, const struct conf *conf, const struct log *log, char *why, size_t why_size);
void contexts_close(struct contexts *contexts);

#endif
