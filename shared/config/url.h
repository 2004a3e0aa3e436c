/* SCHEME://[USER:PASSWORD@]HOST[:PORT][/] as a configuration value: servers with credentials (a smarthost, a proxy). User and password are percent-decoded (RFC 3986 2.1). */
#ifndef POSTERN_CONFIG_URL_H
#define POSTERN_CONFIG_URL_H

#include "config/config.h"

struct config_url_scheme {
    struct slice prefix; /* "smtps://", in any case */
    int value;
    uint16_t port; /* when none is given */
};

struct config_url {
    int scheme; /* the scheme's value */
    struct slice host; /* a name or an address, without brackets; never empty */
    uint16_t port;
    struct slice user, password; /* both or neither */
};

/* Strings go into value->arena. RESULT_OK; RESULT_SYNTAX: value->why says what is wrong, and `prefixes` when it is the scheme; RESULT_MEMORY. */
MUST_CHECK enum result config_url_parse(struct config_value *value, const struct config_url_scheme *schemes, size_t n, const char *prefixes, struct config_url *out);

#endif
