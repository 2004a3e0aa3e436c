/* An HTTP/1 request as far as a relay wants to know it (RFC 9112): the request line, and that the fields are well-formed. What they say, and a body, is nothing to
 * us: every answer closes the connection. Pure and strict: what RFC 9112 lets a server repair is refused here. */
#ifndef POSTERN_NET_HTTP_REQUEST_H
#define POSTERN_NET_HTTP_REQUEST_H

#include "base/result.h"
#include "base/slice.h"

enum {
    HTTP_REQUEST_MAX = 8 * 1024, /* octets of line and fields */
    HTTP_METHOD_MAX = 16,        /* octets */
};

/* Slices of the input. */
struct http_request {
    struct slice method;
    struct slice path;  /* "/..." without the query; of an absolute target what stands behind the host; "*" or "host:port" otherwise */
    struct slice query; /* behind the first '?'; empty: none */
    size_t len;         /* octets up to the end of the empty line */
};

/* RESULT_OK, RESULT_MORE, RESULT_SYNTAX (400), RESULT_LIMIT (431), RESULT_VERSION (505). */
MUST_CHECK enum result http_request_parse(struct slice in, struct http_request *out);

/* Is this the beginning of an HTTP request, and not of SMTP? By the method: no verb of SMTP begins like one of them. RESULT_OK: it is; RESULT_MORE: too short to
 * tell; RESULT_SYNTAX: it is not. */
MUST_CHECK enum result http_request_begins(struct slice in);

#endif
