#include "settings.h"

#include "config/url.h"
#include "crypto/crypto.h"
#include "net/tls.h"
#include "path/race.h"

#include <stdlib.h>
#include <string.h>

#define SECONDS(n) ((n) * INT64_C(1000))
#define MINUTES(n) ((n) * INT64_C(60000))
#define DAYS(n) ((n) * INT64_C(86400000))

static const struct config_word key_words[] = {{"auto", SPOOL_KEY_AUTO}, {"file", SPOOL_KEY_FILE}, {"secret-service", SPOOL_KEY_SECRET}, {0}};
static const struct config_word level_words[] = {{"error", LOG_ERROR}, {"warning", LOG_WARNING}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}, {0}};

#define KEY(in, key, kind, field, ...) {.section = (in), .name = (key), .type = (kind), .at = offsetof(struct settings_values, field), __VA_ARGS__}
#define COUNT(in, key, field, default_text, least, most, words)                                                                                      \
    KEY(in, key, CONFIG_INTEGER, field, .fallback = (default_text), .min = (least), .max = (most), .accepted = (words))
#define TIME(in, key, field, default_text, least, most, words)                                                                                       \
    KEY(in, key, CONFIG_DURATION, field, .fallback = (default_text), .min = (least), .max = (most), .accepted = (words))

static const struct config_key keys[] = {
    KEY("relay", "host", CONFIG_CUSTOM, relay_host, .is_required = true, .item_size = sizeof(struct slice), .parse = settings_parse_host,
        .accepted = "the relay's host name or address; ports are set with way"),
    KEY("relay", "name", CONFIG_TEXT, relay_name, .fallback = "", .max = 253, .accepted = "the name in the relay's certificate, when it is not the host"),
    KEY("relay", "user", CONFIG_TEXT, user, .is_required = true, .min = 1, .max = SASL_NAME_MAX, .accepted = "the account's name on the relay"),
    KEY("relay", "password_file", CONFIG_PATH, password_file, .accepted = "a file that holds the account's password, readable by its owner only"),
    KEY("relay", "pin", CONFIG_CUSTOM, pin, .is_list = true, .item_size = TLS_PIN, .parse = settings_parse_pin, .accepted = "sha256//BASE64"),
    KEY("relay", "ca_file", CONFIG_PATH, ca_file, .accepted = "a PEM file with the certificates to trust"),
    KEY("relay", "way", CONFIG_CUSTOM, way, .is_list = true, .fallback = "465 tls\n443 tls\n587 starttls\n2525 starttls\n25 starttls",
        .item_size = sizeof(struct finder_way), .parse = settings_parse_way, .accepted = "[ADDRESS:]PORT tls, or [ADDRESS:]PORT starttls"),
    COUNT("relay", "http_port", http_port, "80", 0, 65535, "a port, or 0 when the relay answers no plain HTTP"),
    TIME("relay", "keep_warm", keep_warm, "30s", 0, MINUTES(4), "a duration up to 4m"),

    KEY("proxy", "proxy", CONFIG_CUSTOM, proxy, .is_list = true, .is_secret = true, .item_size = sizeof(struct settings_proxy),
        .parse = settings_parse_proxy, .accepted = "http://[USER:PASSWORD@]HOST[:PORT], or socks5://[USER:PASSWORD@]HOST[:PORT]"),
    KEY("proxy", "system", CONFIG_BOOL, uses_system_proxies, .fallback = "yes", .accepted = "yes or no"),

    KEY("local", "listen", CONFIG_ADDRESS, listen, .is_list = true, .fallback = "127.0.0.1:2525\n[::1]:2525", .accepted = "ADDRESS:PORT"),
    KEY("local", "require_login", CONFIG_BOOL, requires_auth, .fallback = "no", .accepted = "yes or no"),
    KEY("local", "user", CONFIG_TEXT, local_user, .fallback = "", .max = SASL_NAME_MAX, .accepted = "the name that mail programs log in with"),
    KEY("local", "password_file", CONFIG_PATH, local_password_file, .accepted = "a file that holds the password for it, readable by its owner only"),
    KEY("local", "message_size", CONFIG_SIZE, message_size, .fallback = "50M", .min = 65536, .max = INT64_C(1) << 32, .accepted = "a size from 64K to 4G"),
    COUNT("local", "recipients", recipients, "1000", 100, 10000, "a number from 100 to 10000"),
    COUNT("local", "sessions", sessions, "50", 1, 10000, "a number from 1 to 10000"),
    TIME("local", "retry_window", retry_window, "30m", 0, DAYS(1), "a duration up to 1d, 0s for never"),

    KEY("queue", "schedule", CONFIG_SCHEDULE, schedule, .fallback = "1m, 5m*2, 15m*2, 1h", .accepted = "delays such as 1m, 5m*2, 1h"),
    KEY("queue", "patience", CONFIG_SCHEDULE, patience, .fallback = "2s, 5s, 15s, 30s, 1m*5, 5m*6, 15m", .accepted = "delays such as 5s, 1m*5, 15m"),
    TIME("queue", "lifetime", lifetime, "5d", SECONDS(1), DAYS(60), "a duration from 1s to 60d"),
    TIME("queue", "delay_notice", delay_notice, "0s", 0, DAYS(60), "a duration up to 60d, 0s for never"),
    TIME("queue", "history", history, "14d", 0, DAYS(3650), "a duration up to 3650d"),
    KEY("queue", "keep_copies", CONFIG_BOOL, keep_copies, .fallback = "yes", .accepted = "yes or no"),
    KEY("queue", "database_size", CONFIG_SIZE, database_size, .fallback = "0", .min = 0, .max = INT64_C(1) << 46, .accepted = "a size, 0 for no limit"),

    KEY("spool", "encrypt", CONFIG_BOOL, encrypts_spool, .fallback = "yes", .accepted = "yes or no"),
    KEY("spool", "key", CONFIG_WORD, spool_key, .fallback = "auto", .words = key_words, .accepted = "auto, file or secret-service"),
    KEY("spool", "key_file", CONFIG_PATH, spool_key_file, .accepted = "a file that holds the spool's key, readable by its owner only; it is made when it is not there"),

    KEY("log", "level", CONFIG_WORD, log_level, .fallback = "info", .words = level_words, .accepted = "error, warning, info or debug"),
};

static const struct config_schema schema = {
    .keys = keys,
    .nkeys = sizeof keys / sizeof keys[0],
    .size = sizeof(struct settings_values),
};

/* ---- forms of our own ------------------------------------------------------------------------------------------- */

/* "relay.example.org:465" would be looked up as a name, for ever and in vain. Brackets around an IPv6 address are taken off. */
static bool find_host(struct slice text, struct slice *host)
{
    uint16_t port = 0;
    return net_host_port_parse(text, host, &port) == RESULT_OK && port == 0;
}

bool settings_is_host(struct slice text)
{
    struct slice host;
    return find_host(text, &host);
}

enum result settings_parse_host(struct config_value *value, void *out)
{
    struct slice host;
    if (find_host(value->text, &host))
        return arena_copy(value->arena, host, out);
    value->why = "it is neither";
    return RESULT_SYNTAX;
}

/* [ADDRESS:]PORT */
static enum result parse_endpoint(struct config_value *value, struct slice text, struct finder_way *way)
{
    struct net_address address;
    uint64_t number;
    if (slice_find(text, ':') < 0) {
        value->why = "the port is a number from 1 to 65535";
        way->port = slice_to_u64(text, 65535, &number) ? (uint16_t)number : 0;
        return way->port > 0 ? RESULT_OK : RESULT_SYNTAX;
    }
    value->why = "before the port stands an IPv4 address, or an IPv6 one in brackets";
    if (net_address_parse(text, &address) != RESULT_OK)
        return RESULT_SYNTAX;
    way->address.family = net_address_to_octets(&address.any, way->address.octets, &way->address.scope);
    way->port = net_address_port(&address);
    return way->port > 0 ? RESULT_OK : RESULT_SYNTAX;
}

enum result settings_parse_way(struct config_value *value, void *out)
{
    struct finder_way *way = out;
    struct slice endpoint, mode;
    *way = (struct finder_way){0};
    if (!slice_cut(value->text, ' ', &endpoint, &mode)) {
        value->why = "the mode is missing";
        return RESULT_SYNTAX;
    }
    if (parse_endpoint(value, endpoint, way) != RESULT_OK)
        return RESULT_SYNTAX;
    mode = slice_trim(mode);
    way->mode = slice_equal(mode, SLICE("tls")) ? PATH_TLS : PATH_STARTTLS;
    if (way->mode == PATH_TLS || slice_equal(mode, SLICE("starttls")))
        return RESULT_OK;
    value->why = "the mode is tls or starttls: nothing goes to the relay in the clear";
    return RESULT_SYNTAX;
}

static const struct config_url_scheme proxy_schemes[] = {
    {{"http://", 7}, PATH_HTTP_CONNECT, 8080},
    {{"socks5h://", 10}, PATH_SOCKS5, 1080}, /* curl's word for "the proxy resolves names", which ours always does */
    {{"socks5://", 9}, PATH_SOCKS5, 1080},
    {{"socks://", 8}, PATH_SOCKS5, 1080}, /* GNOME's word */
};

enum result settings_parse_proxy(struct config_value *value, void *out)
{
    struct settings_proxy *proxy = out;
    struct config_url url;
    enum result result = config_url_parse(value, proxy_schemes, sizeof proxy_schemes / sizeof proxy_schemes[0], "it begins with http:// or socks5://", &url);
    if (result == RESULT_OK)
        *proxy = (struct settings_proxy){(enum path_via)url.scheme, url.host, url.port, url.user, url.password};
    return result;
}

enum result settings_parse_pin(struct config_value *value, void *out)
{
    if (tls_pin_parse(value->text, out))
        return RESULT_OK;
    value->why = "a pin is what `postern-relay key show` prints";
    return RESULT_SYNTAX;
}

/* ---- loading ---------------------------------------------------------------------------------------------------- */

static enum result refuse(struct config_error *error, const char *text)
{
    slice_to_cstr(slice_from_cstr(text), error->text, sizeof error->text);
    error->len = strlen(error->text);
    error->count = 1;
    return RESULT_SYNTAX;
}

/* What no single key can tell. */
static enum result check_whole(const struct settings_values *values, struct config_error *error)
{
    if (values->pin.count > TLS_PINS_MAX)
        return refuse(error, "[relay] pin: at most 8 of them");
    if (values->way.count > RACE_PATHS_MAX / 2)
        return refuse(error, "[relay] way: at most 32 of them");
    if (values->requires_auth && (values->local_user.len == 0 || values->local_password_file.len == 0))
        return refuse(error, "[local] require_login = yes needs user and password_file beside it");
    if (values->local_user.len > 0 && values->local_password_file.len == 0)
        return refuse(error, "[local] user needs password_file beside it");
    return RESULT_OK;
}

static enum result finish(struct settings *settings, const struct dirs *dirs, struct config_error *error)
{
    struct settings_values *values = &settings->values;
    if (values->password_file.len == 0) {
        const char *path = arena_printf(&settings->arena, "%s/relay.password", dirs->keys);
        if (!path)
            return RESULT_MEMORY;
        values->password_file = slice_from_cstr(path);
    }
    if (values->spool_key_file.len == 0) {
        const char *path = arena_printf(&settings->arena, "%s/spool.key", dirs->keys);
        if (!path)
            return RESULT_MEMORY;
        values->spool_key_file = slice_from_cstr(path);
    }
    return check_whole(values, error);
}

/* "make one with: postern-agent setup ...", in room that the caller gives. */
static struct config_schema schema_with_hint(const struct dirs *dirs, char hint[static DIRS_HINT_MAX])
{
    struct config_schema whole = schema;
    whole.missing = dirs_hint(dirs, "make one with: postern-agent setup --server HOST --user NAME", hint);
    return whole;
}

static struct settings *settings_new(void)
{
    struct settings *settings = calloc(1, sizeof *settings);
    if (settings) {
        settings->arena = ARENA(CONFIG_ARENA_MAX);
        settings->references = 1;
    }
    return settings;
}

static enum result hand_out(struct settings *settings, enum result result, const struct dirs *dirs, struct config_error *error, struct settings **out)
{
    if (result == RESULT_OK)
        result = finish(settings, dirs, error);
    if (result == RESULT_OK)
        *out = settings;
    else
        settings_unref(&settings);
    return result;
}

enum result settings_load(struct settings **out, const struct dirs *dirs, struct config_error *error)
{
    char hint[DIRS_HINT_MAX];
    const struct config_schema whole = schema_with_hint(dirs, hint);
    struct settings *settings = settings_new();
    *out = NULL;
    if (!settings)
        return RESULT_MEMORY;
    return hand_out(settings, config_load(&whole, dirs->config_file, &settings->arena, &settings->values, error), dirs, error, out);
}

enum result settings_load_text(struct settings **out, const struct dirs *dirs, const char *file, struct slice text, struct config_error *error)
{
    struct settings *settings = settings_new();
    *out = NULL;
    if (!settings)
        return RESULT_MEMORY;
    return hand_out(settings, config_load_text(&schema, file, text, &settings->arena, &settings->values, error), dirs, error, out);
}

struct settings *settings_ref(struct settings *settings)
{
    settings->references++;
    return settings;
}

void settings_unref(struct settings **settings)
{
    struct settings *s = *settings;
    *settings = NULL;
    if (!s || --s->references > 0)
        return;
    config_unload(&schema, &s->arena, &s->values);
    free(s);
}
