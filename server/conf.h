/* The relay's configuration: relay.conf as a value that never changes once loaded.
 *
 * A reload makes a new value and the old one lives on as long as a session or a delivery refers to it, so nothing in here is ever half new. All
 * strings are NUL-terminated slices owned by it. schema/config/relay.conf documents every key. */
#ifndef POSTERN_SERVER_CONF_H
#define POSTERN_SERVER_CONF_H

#include "config/config.h"
#include "config/dirs.h"
#include "net/address.h"
#include "net/service.h"
#include "queue/schedule.h"

enum { CONF_LISTENERS_MAX = 64, CONF_THREADS_MAX = 64 };

/* How the smarthost is reached. */
enum smarthost_scheme {
    SMARTHOST_TLS,           /* smtps://      TLS from the first octet, verified */
    SMARTHOST_STARTTLS,      /* smtp+tls://   STARTTLS or nothing, verified */
    SMARTHOST_OPPORTUNISTIC, /* smtp://       STARTTLS where offered, nobody verified */
};

/* From "smtps://user:password@host:port"; user and password are percent-decoded (RFC 3986 2.1). */
struct smarthost {
    enum smarthost_scheme scheme;
    struct slice host; /* a name or an address, without brackets; empty: no smarthost, mail goes to the MX */
    uint16_t port;
    struct slice user, password;
};

struct conf_listener {
    struct net_address address;
    enum service_mode mode;
    bool takes_proxy_header;
};

/* A way to this relay that its listeners do not tell of: another program's port that leads here. */
struct conf_way {
    struct net_address address; /* with the port; of family 0: the relay's own addresses */
    uint16_t port;
    enum service_mode mode;
};

/* Filled by config/config.h by a table. Times are milliseconds, sizes octets. */
struct conf_values {
    struct slice name;
    struct config_list listen;     /* struct conf_listener */
    struct config_list proxy_from; /* struct net_prefix */
    struct config_list advertise;  /* struct conf_way */
    struct slice certificate, key;
    int64_t threads;

    int64_t message_size, recipients, sessions, sessions_per_address, database_size, half_bodies, half_octets;
    int64_t command_timeout, data_timeout, login_timeout, handshake_timeout;

    int64_t verifier_threads, verifier_queue, failures_per_address, failures_per_account;

    struct smarthost smarthost;
    struct slice smarthost_ca;
    struct schedule schedule;
    int64_t lifetime, delay_notice, history;
    int64_t concurrency, concurrency_per_hop, idle_sessions;
    bool allow_private;
    struct config_list allow_network; /* struct net_prefix */
    int64_t mx_port;
    struct config_list resolver; /* struct net_address */

    int log_level; /* enum log_level */
};

struct conf {
    struct conf_values values;
    bool has_default_listeners; /* the file names none */
    struct arena arena;
    _Atomic uint32_t references;
};

/* RESULT_OK, or as config_load with error filled. dirs gives the default places of key and certificate. The caller holds one reference. */
MUST_CHECK enum result conf_load(struct conf **out, const struct dirs *dirs, struct config_error *error);
MUST_CHECK enum result conf_load_text(struct conf **out, const struct dirs *dirs, const char *file, struct slice text, struct config_error *error);
struct conf *conf_ref(struct conf *conf);
void conf_unref(struct conf **conf);

/* Whether a key differs that takes effect at the next start only ("start" in schema/config/relay.conf). */
bool conf_needs_restart(const struct conf *old, const struct conf *new);

/* The relay's own name: a full host name, with a dot in it. */
bool conf_is_host_name(struct slice name);

/* The parsers of the forms that are ours; for the table and for tests. Results as config_key.parse. */
MUST_CHECK enum result conf_parse_name(struct config_value *value, void *out);
MUST_CHECK enum result conf_parse_listener(struct config_value *value, void *out);
MUST_CHECK enum result conf_parse_way(struct config_value *value, void *out);
MUST_CHECK enum result conf_parse_smarthost(struct config_value *value, void *out);

/* 443 and 80, which another program of the machine has more often than not. Whoever names no listeners does without them then. */
bool conf_may_lack(const struct conf *conf, const struct net_address *listener);

/* For how long a transaction's name is known, of the relay's running time (served.h): as long as its mail may be in the queue, and two days. */
int64_t conf_name_kept_ms(const struct conf *conf);

/* What EHLO tells that is not of the configuration alone; NULL: nothing of the kind. */
struct conf_told {
    const char *ways;    /* of ways_write (ways.h) */
    const char *outcome; /* of served_tell (served.h); with it, transactions may have names */
};
/* The template of the server cores of all listeners. Points into conf and to what is told, which outlive them. */
void conf_smtp(const struct conf *conf, const struct conf_told *told, const struct log *log, struct smtp_server_config *out);

/* How many loops, and how many threads for passwords, where the configuration leaves it to the machine. */
uint32_t conf_threads(const struct conf *conf);
uint32_t conf_verifier_threads(const struct conf *conf);

/* The word under which the queue keeps what goes to `domain`: the domain, or one for all where there is a smarthost. */
struct slice conf_hop(const struct conf *conf, struct slice domain);
/* That one word. */
#define CONF_HOP_SMARTHOST SLICE("(smarthost)")

/* May mail be delivered to a host of this address? Asked before connecting and of the connected address. */
bool conf_allows_address(const struct conf *conf, const struct sockaddr *address);

#endif
