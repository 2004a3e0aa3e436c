#include "conf.h"

#include "config/url.h"
#include "mail/address.h"
#include "smtp/sasl.h"

#include <stdlib.h>
#include <string.h>

#define MINUTES(n) ((n) * INT64_C(60000))
#define DAYS(n) ((n) * INT64_C(86400000))
#define NAME_KEPT_AFTER_MS DAYS(2) /* schema/link.md, CHECKPOINT */

static const struct config_word level_words[] = {{"error", LOG_ERROR}, {"warning", LOG_WARNING}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}, {0}};

/* Where a relay listens whose file does not say so, in the order in which XWAYS tells the ports. */
static const struct default_port {
    uint16_t port;
    enum service_mode mode;
} default_ports[] = {
    {465, SERVICE_TLS}, {443, SERVICE_TLS}, {587, SERVICE_STARTTLS}, {2525, SERVICE_STARTTLS}, {25, SERVICE_STARTTLS}, {80, SERVICE_HTTP},
};

#define KEY(in, key, kind, field, ...) {.section = (in), .name = (key), .type = (kind), .at = offsetof(struct conf_values, field), __VA_ARGS__}
#define COUNT(in, key, field, default_text, least, most, words)                                                                                      \
    KEY(in, key, CONFIG_INTEGER, field, .fallback = (default_text), .min = (least), .max = (most), .accepted = (words))
#define TIME(in, key, field, default_text, least, most, words)                                                                                       \
    KEY(in, key, CONFIG_DURATION, field, .fallback = (default_text), .min = (least), .max = (most), .accepted = (words))

static const struct config_key keys[] = {
    KEY("relay", "name", CONFIG_CUSTOM, name, .is_required = true, .parse = conf_parse_name,
        .accepted = "the relay's full host name, such as relay.example.org"),
    KEY("relay", "listen", CONFIG_CUSTOM, listen, .is_list = true, .item_size = sizeof(struct conf_listener), .parse = conf_parse_listener,
        .accepted = "ADDRESS:PORT and tls, starttls or http, with \"proxied\" behind it where a proxy tells the client's address"),
    KEY("relay", "proxy_from", CONFIG_PREFIX, proxy_from, .is_list = true, .fallback = "127.0.0.0/8\n::1", .accepted = "an address or ADDRESS/BITS"),
    KEY("relay", "advertise", CONFIG_CUSTOM, advertise, .is_list = true, .item_size = sizeof(struct conf_way), .parse = conf_parse_way,
        .accepted = "PORT or ADDRESS:PORT, and tls or starttls"),
    KEY("relay", "certificate", CONFIG_PATH, certificate, .accepted = "a PEM file with the certificate and its chain"),
    KEY("relay", "key", CONFIG_PATH, key, .accepted = "a PEM file with the private key, readable by its owner only"),
    COUNT("relay", "threads", threads, "0", 0, CONF_THREADS_MAX, "a number from 1 to 64, or 0 for one a processor"),

    KEY("limits", "message_size", CONFIG_SIZE, message_size, .fallback = "50M", .min = 65536, .max = INT64_C(1) << 32,
        .accepted = "a size from 64K to 4G"),
    COUNT("limits", "recipients", recipients, "1000", 100, 10000, "a number from 100 to 10000"),
    COUNT("limits", "sessions", sessions, "2000", 1, 1000000, "a number from 1 to 1000000"),
    COUNT("limits", "sessions_per_address", sessions_per_address, "100", 0, 1000000, "a number up to 1000000, 0 for no limit"),
    KEY("limits", "database_size", CONFIG_SIZE, database_size, .fallback = "0", .min = 0, .max = INT64_C(1) << 46,
        .accepted = "a size, 0 for no limit"),
    COUNT("limits", "half_bodies", half_bodies, "8", 2, 1000000, "a number from 2 to 1000000"),
    KEY("limits", "half_octets", CONFIG_SIZE, half_octets, .fallback = "200M", .min = 65536, .max = INT64_C(1) << 46, .accepted = "a size from 64K on"),
    TIME("limits", "command_timeout", command_timeout, "5m", 1000, MINUTES(60), "a duration from 1s to 1h"),
    TIME("limits", "data_timeout", data_timeout, "3m", 1000, MINUTES(60), "a duration from 1s to 1h"),
    TIME("limits", "login_timeout", login_timeout, "1m", 1000, MINUTES(60), "a duration from 1s to 1h"),
    TIME("limits", "handshake_timeout", handshake_timeout, "10s", 1000, MINUTES(5), "a duration from 1s to 5m"),

    COUNT("login", "verifier_threads", verifier_threads, "0", 0, 64, "a number from 1 to 64, or 0 for half the processors"),
    COUNT("login", "verifier_queue", verifier_queue, "32", 1, 1024, "a number from 1 to 1024"),
    COUNT("login", "failures_per_address", failures_per_address, "30", 0, 1000000, "a number up to 1000000, 0 for no limit"),
    COUNT("login", "failures_per_account", failures_per_account, "60", 0, 1000000, "a number up to 1000000, 0 for no limit"),

    KEY("delivery", "smarthost", CONFIG_CUSTOM, smarthost, .is_secret = true, .parse = conf_parse_smarthost,
        .accepted = "smtps://HOST:PORT, smtp+tls://HOST:PORT or smtp://HOST:PORT, with USER:PASSWORD@ before the host where it asks for them"),
    KEY("delivery", "smarthost_ca", CONFIG_PATH, smarthost_ca, .accepted = "a PEM file with the certificates to trust"),
    KEY("delivery", "schedule", CONFIG_SCHEDULE, schedule, .fallback = "1m, 5m*2, 15m*2, 1h*3, 4h", .accepted = "delays such as 1m, 5m*2, 1h"),
    TIME("delivery", "lifetime", lifetime, "5d", 1, DAYS(60), "a duration up to 60d"),
    TIME("delivery", "delay_notice", delay_notice, "4h", 0, DAYS(60), "a duration up to 60d, 0s for never"),
    TIME("delivery", "history", history, "14d", 0, DAYS(3650), "a duration up to 3650d"),
    COUNT("delivery", "concurrency", concurrency, "50", 1, 10000, "a number from 1 to 10000"),
    COUNT("delivery", "concurrency_per_hop", concurrency_per_hop, "10", 1, 1000, "a number from 1 to 1000"),
    TIME("delivery", "idle_sessions", idle_sessions, "5s", 0, MINUTES(5), "a duration up to 5m"),
    KEY("delivery", "allow_private", CONFIG_BOOL, allow_private, .fallback = "no", .accepted = "yes or no"),
    KEY("delivery", "allow_network", CONFIG_PREFIX, allow_network, .is_list = true, .accepted = "an address or ADDRESS/BITS"),
    COUNT("delivery", "mx_port", mx_port, "25", 1, 65535, "a port from 1 to 65535"),
    KEY("delivery", "resolver", CONFIG_ADDRESS, resolver, .is_list = true, .accepted = "ADDRESS:PORT of a resolver"),

    KEY("log", "level", CONFIG_WORD, log_level, .fallback = "info", .words = level_words, .accepted = "error, warning, info or debug"),
};

static const struct config_schema schema = {
    .keys = keys,
    .nkeys = sizeof keys / sizeof keys[0],
    .size = sizeof(struct conf_values),
};

/* ---- forms of our own ----------------------------------------------------------------------------------------- */

bool conf_is_host_name(struct slice name)
{
    return address_domain_is_valid(name, false) && slice_find(name, '.') >= 0;
}

enum result conf_parse_name(struct config_value *value, void *out)
{
    if (conf_is_host_name(value->text))
        return arena_copy(value->arena, value->text, out);
    value->why = "it stands in Received: fields and greetings, where others look it up";
    return RESULT_SYNTAX;
}

/* The modes in which a client can send mail here. */
static bool parse_mail_mode(struct slice text, enum service_mode *mode)
{
    bool is_tls = slice_equal(text, SLICE("tls"));
    *mode = is_tls ? SERVICE_TLS : SERVICE_STARTTLS;
    return is_tls || slice_equal(text, SLICE("starttls"));
}

enum result conf_parse_listener(struct config_value *value, void *out)
{
    struct conf_listener *listener = out;
    struct slice address, mode, rest;
    if (!slice_cut(value->text, ' ', &address, &mode)) {
        value->why = "the mode is missing";
        return RESULT_SYNTAX;
    }
    slice_cut(slice_trim(mode), ' ', &mode, &rest);
    rest = slice_trim(rest);
    listener->takes_proxy_header = slice_equal(rest, SLICE("proxied"));
    if (rest.len > 0 && !listener->takes_proxy_header) {
        value->why = "behind the mode stands nothing, or \"proxied\"";
        return RESULT_SYNTAX;
    }
    if (slice_equal(mode, SLICE("http"))) {
        listener->mode = SERVICE_HTTP;
    } else if (!parse_mail_mode(mode, &listener->mode)) {
        value->why = "the mode is tls, starttls or http: a relay takes no password in the clear";
        return RESULT_SYNTAX;
    }
    return net_address_parse(address, &listener->address);
}

static bool is_unspecified(const struct net_address *address)
{
    return address->any.sa_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr) : address->v4.sin_addr.s_addr == INADDR_ANY;
}

enum result conf_parse_way(struct config_value *value, void *out)
{
    struct conf_way *way = out;
    struct slice place, mode;
    uint64_t port = 0;
    if (!slice_cut(value->text, ' ', &place, &mode) || !parse_mail_mode(slice_trim(mode), &way->mode)) {
        value->why = "the mode is tls or starttls";
        return RESULT_SYNTAX;
    }
    if (slice_find(place, ':') < 0) {
        way->address = (struct net_address){0};
        if (!slice_to_u64(place, UINT16_MAX, &port))
            return RESULT_SYNTAX;
    } else {
        if (net_address_parse(place, &way->address) != RESULT_OK)
            return RESULT_SYNTAX;
        port = net_address_port(&way->address);
        if (is_unspecified(&way->address)) {
            value->why = "nobody can connect to that address; for all of this relay's, write the port alone";
            return RESULT_SYNTAX;
        }
    }
    way->port = (uint16_t)port;
    if (port == 0)
        value->why = "nobody can connect to port 0";
    return port == 0 ? RESULT_SYNTAX : RESULT_OK;
}

static const struct config_url_scheme schemes[] = {
    {{"smtps://", 8}, SMARTHOST_TLS, 465},
    {{"smtp+tls://", 11}, SMARTHOST_STARTTLS, 587},
    {{"smtp://", 7}, SMARTHOST_OPPORTUNISTIC, 25},
};

enum result conf_parse_smarthost(struct config_value *value, void *out)
{
    struct smarthost *smarthost = out;
    struct config_url url;
    if (value->text.len == 0)
        return RESULT_OK; /* as if it were not there */
    enum result result = config_url_parse(value, schemes, sizeof schemes / sizeof schemes[0], "it begins with smtps://, smtp+tls:// or smtp://", &url);
    if (result != RESULT_OK)
        return result;
    *smarthost = (struct smarthost){(enum smarthost_scheme)url.scheme, url.host, url.port, url.user, url.password};
    return RESULT_OK;
}

/* ---- loading -------------------------------------------------------------------------------------------------- */

static enum result conf_default_path(struct conf *conf, const char *folder, const char *name, struct slice *path)
{
    if (path->len > 0)
        return RESULT_OK;
    const char *text = arena_printf(&conf->arena, "%s/%s", folder, name);
    *path = slice_from_cstr(text);
    return text ? RESULT_OK : RESULT_MEMORY;
}

/* Each port on all addresses of both families. */
static enum result conf_default_listeners(struct conf *conf)
{
    static const uint8_t any[16];
    const size_t nports = sizeof default_ports / sizeof default_ports[0];
    struct conf_listener *listeners = arena_alloc(&conf->arena, 2 * nports * sizeof *listeners);
    if (!listeners)
        return RESULT_MEMORY;
    for (size_t i = 0; i < nports; i++) {
        listeners[2 * i] = (struct conf_listener){net_address_from_octets(4, any, 0, default_ports[i].port), default_ports[i].mode, false};
        listeners[2 * i + 1] = (struct conf_listener){net_address_from_octets(6, any, 0, default_ports[i].port), default_ports[i].mode, false};
    }
    conf->has_default_listeners = true;
    conf->values.listen = (struct config_list){listeners, 2 * nports};
    return RESULT_OK;
}

static enum result conf_finish(struct conf *conf, const struct dirs *dirs)
{
    enum result result = conf->values.listen.count > 0 ? RESULT_OK : conf_default_listeners(conf);
    if (result != RESULT_OK)
        return result;
    result = conf_default_path(conf, dirs->keys, "relay.crt", &conf->values.certificate);
    return result == RESULT_OK ? conf_default_path(conf, dirs->keys, "relay.key", &conf->values.key) : result;
}

static enum result conf_new(struct conf **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return RESULT_MEMORY;
    (*out)->arena = ARENA(CONFIG_ARENA_MAX);
    (*out)->references = 1;
    return RESULT_OK;
}

enum result conf_load(struct conf **out, const struct dirs *dirs, struct config_error *error)
{
    struct config_schema whole = schema;
    whole.missing = DIRS_HINT(dirs, "make one with: postern-relay init --name HOST");
    enum result result = conf_new(out);
    if (result == RESULT_OK)
        result = config_load(&whole, dirs->config_file, &(*out)->arena, &(*out)->values, error);
    if (result == RESULT_OK)
        result = conf_finish(*out, dirs);
    if (result != RESULT_OK)
        conf_unref(out);
    return result;
}

enum result conf_load_text(struct conf **out, const struct dirs *dirs, const char *file, struct slice text, struct config_error *error)
{
    enum result result = conf_new(out);
    if (result == RESULT_OK)
        result = config_load_text(&schema, file, text, &(*out)->arena, &(*out)->values, error);
    if (result == RESULT_OK)
        result = conf_finish(*out, dirs);
    if (result != RESULT_OK)
        conf_unref(out);
    return result;
}

struct conf *conf_ref(struct conf *conf)
{
    conf->references++;
    return conf;
}

void conf_unref(struct conf **at)
{
    struct conf *conf = *at;
    *at = NULL;
    if (!conf || --conf->references > 0)
        return;
    config_unload(&schema, &conf->arena, &conf->values);
    free(conf);
}

/* ---- what a reload leaves as it was --------------------------------------------------------------------------- */

static bool has_same_resolvers(const struct conf *a, const struct conf *b)
{
    const struct config_list *left = &a->values.resolver, *right = &b->values.resolver;
    const struct net_address *l = left->items, *r = right->items;
    bool is_same = left->count == right->count;
    for (size_t i = 0; is_same && i < left->count; i++)
        is_same = net_address_equal(&l[i], &r[i]);
    return is_same;
}

static bool has_same_listeners(const struct conf *a, const struct conf *b)
{
    const struct config_list *left = &a->values.listen, *right = &b->values.listen;
    const struct conf_listener *l = left->items, *r = right->items;
    bool is_same = left->count == right->count;
    for (size_t i = 0; is_same && i < left->count; i++)
        is_same = l[i].mode == r[i].mode && l[i].takes_proxy_header == r[i].takes_proxy_header && net_address_equal(&l[i].address, &r[i].address);
    return is_same;
}

static bool has_same_proxies(const struct conf *a, const struct conf *b)
{
    const struct config_list *left = &a->values.proxy_from, *right = &b->values.proxy_from;
    return left->count == right->count && (left->count == 0 || memcmp(left->items, right->items, left->count * sizeof(struct net_prefix)) == 0);
}

bool conf_needs_restart(const struct conf *old, const struct conf *new)
{
    const struct conf_values *a = &old->values, *b = &new->values;
    return !has_same_listeners(old, new) || !has_same_proxies(old, new) || !has_same_resolvers(old, new) || a->threads != b->threads ||
           a->sessions != b->sessions || a->sessions_per_address != b->sessions_per_address || a->handshake_timeout != b->handshake_timeout ||
           a->verifier_threads != b->verifier_threads || a->verifier_queue != b->verifier_queue || a->database_size != b->database_size ||
           a->concurrency != b->concurrency || a->concurrency_per_hop != b->concurrency_per_hop || a->log_level != b->log_level;
}

/* ---- what follows from them ----------------------------------------------------------------------------------- */

bool conf_may_lack(const struct conf *conf, const struct net_address *listener)
{
    uint16_t port = net_address_port(listener);
    return conf->has_default_listeners && (port == 443 || port == 80);
}

int64_t conf_name_kept_ms(const struct conf *conf)
{
    return conf->values.lifetime + NAME_KEPT_AFTER_MS;
}

void conf_smtp(const struct conf *conf, const struct conf_told *told, const struct log *log, struct smtp_server_config *out)
{
    const struct conf_values *values = &conf->values;
    *out = (struct smtp_server_config){
        .hostname = values->name,
        .size_max_octets = (uint64_t)values->message_size,
        .nrcpt_max = (uint32_t)values->recipients,
        .command_timeout_ms = values->command_timeout,
        .data_timeout_ms = values->data_timeout,
        .pre_auth_timeout_ms = values->login_timeout,
        .auth_mechanisms = SASL_PLAIN | SASL_LOGIN | SASL_SCRAM_SHA_256 | SASL_SCRAM_SHA_256_PLUS | SASL_HT_SHA_256_EXPR,
        .requires_tls = true,
        .requires_auth = true,
        .offers_device = true,
        .offers_smtputf8 = true,
        .offers_binarymime = true,
        .offers_pipeconnect = true,
        .offers_checkpoint = told->outcome != NULL,
        .outcome = told->outcome,
        .ways = told->ways && told->ways[0] ? told->ways : NULL,
        .log = log,
    };
}

uint32_t conf_threads(const struct conf *conf)
{
    unsigned processors = uv_available_parallelism();
    uint32_t wanted = conf->values.threads ? (uint32_t)conf->values.threads : processors;
    return wanted > CONF_THREADS_MAX ? CONF_THREADS_MAX : wanted;
}

/* Half of the processors hash passwords at the most: a flood of guesses leaves the other half to the mail. */
uint32_t conf_verifier_threads(const struct conf *conf)
{
    uint32_t half = (uv_available_parallelism() + 1) / 2;
    return conf->values.verifier_threads ? (uint32_t)conf->values.verifier_threads : half;
}

struct slice conf_hop(const struct conf *conf, struct slice domain)
{
    return conf->values.smarthost.host.len > 0 ? CONF_HOP_SMARTHOST : domain;
}

bool conf_allows_address(const struct conf *conf, const struct sockaddr *address)
{
    const struct config_list *networks = &conf->values.allow_network;
    if (conf->values.allow_private || net_address_is_public(address))
        return true;
    for (size_t i = 0; i < networks->count; i++) {
        if (net_prefix_has(&((const struct net_prefix *)networks->items)[i], address))
            return true;
    }
    return false;
}
