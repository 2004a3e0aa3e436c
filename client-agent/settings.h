/* The agent's configuration: agent.conf as a value that never changes once loaded.
 *
 * A reload makes a new value; the old one lives as long as something refers to it. All strings are NUL-terminated slices owned by the settings.
 * schema/config/agent.conf documents every key. */
#ifndef POSTERN_AGENT_SETTINGS_H
#define POSTERN_AGENT_SETTINGS_H

#include "config/config.h"
#include "config/dirs.h"
#include "net/address.h"
#include "path/finder.h"

/* "http://user:password@host:3128", "socks5://host". */
struct settings_proxy {
    enum path_via via;
    struct slice host; /* a name or an address, without brackets */
    uint16_t port;
    struct slice user, password; /* both or neither */
};

enum settings_spool_key { SPOOL_KEY_AUTO, SPOOL_KEY_FILE, SPOOL_KEY_SECRET };

/* Filled by a table. Times are milliseconds, sizes octets. */
struct settings_values {
    struct slice relay_host;     /* name or address */
    struct slice relay_name;     /* in its certificate; empty: relay_host */
    struct slice user;
    struct slice password_file;  /* private */
    struct config_list pin;      /* uint8_t[32]: SPKI SHA-256; any of them */
    struct slice ca_file;        /* empty: the system's, unless there are pins */
    struct config_list way;      /* struct finder_way, in order of preference: "465 tls", "198.51.100.7:8443 tls" */
    int64_t http_port;           /* of the relay's answer to the captive-portal challenge; 0: it has none */
    int64_t keep_warm;           /* an idle session to the relay stays open so long */

    struct config_list proxy;    /* struct settings_proxy */
    bool uses_system_proxies;

    struct config_list listen;   /* struct net_address */
    bool requires_auth;
    struct slice local_user, local_password_file;
    int64_t message_size, recipients, sessions;
    int64_t retry_window;        /* in which a mail program's own retry is recognised; 0: never */

    struct schedule schedule;    /* for messages the relay defers */
    struct schedule patience;    /* between races that found no way */
    int64_t lifetime, delay_notice, history;
    bool keep_copies;            /* of what the relay has taken, until it has told what became of it */
    int64_t database_size;

    bool encrypts_spool;
    int spool_key; /* enum settings_spool_key */
    struct slice spool_key_file; /* private */

    int log_level;
};

struct settings {
    struct settings_values values;
    struct arena arena;
    uint32_t references;
};

/* RESULT_OK, or as config_load with error filled; a relay with neither pins nor a CA is verified by the system's. The caller holds one reference. */
MUST_CHECK enum result settings_load(struct settings **out, const struct dirs *dirs, struct config_error *error);
MUST_CHECK enum result settings_load_text(struct settings **out, const struct dirs *dirs, const char *file, struct slice text, struct config_error *error);
struct settings *settings_ref(struct settings *settings);
void settings_unref(struct settings **settings);

/* A host name or an address, without a port. */
bool settings_is_host(struct slice text);

/* Parsers of our own forms; for the table and for tests. Results as config_key.parse. */
MUST_CHECK enum result settings_parse_host(struct config_value *value, void *out);
MUST_CHECK enum result settings_parse_way(struct config_value *value, void *out);
MUST_CHECK enum result settings_parse_proxy(struct config_value *value, void *out);
MUST_CHECK enum result settings_parse_pin(struct config_value *value, void *out);

#endif
