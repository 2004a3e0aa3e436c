#include "command.h"

#include "ways.h"

#include "config/private.h"

#include "net/dns.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sysexits.h>
#include <unistd.h>

/* Each look adds findings: what was looked at, how it is, and what to do. One error makes the exit code EX_CONFIG. */
struct check {
    const struct command_context *context;
    struct conf *conf;
    json_t *findings;
    json_t *status; /* of the running relay, or of the store */
    bool has_error, is_running;
};

enum { EXPIRY_WARNING_DAYS = 14, DISK_WARNING_MB = 200, DISK_ERROR_MB = 20 };

static void add(struct check *check, const char *what, const char *state, const char *format, ...) PRINTF_LIKE(4, 5);
static void add(struct check *check, const char *what, const char *state, const char *format, ...)
{
    char words[512];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    check->has_error = check->has_error || strcmp(state, "error") == 0;
    json_array_append_new(check->findings, json_pack("{s:s, s:s, s:s}", "what", what, "state", state, "words", words));
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static void check_configuration(struct check *check)
{
    struct config_error error = {0};
    if (conf_load(&check->conf, &check->context->dirs, &error) != RESULT_OK)
        add(check, "configuration", "error", "%s", error.text);
    else
        add(check, "configuration", "ok", "%s", check->context->dirs.config_file);
}

static void check_certificate(struct check *check)
{
    const struct tls_server_config config = {.certificate_file = check->conf->values.certificate.ptr, .key_file = check->conf->values.key.ptr};
    struct tls_context *tls;
    struct private_error folder;
    char why[400] = "";
    if (private_check_folder_of(config.key_file, &folder) == RESULT_DENIED)
        add(check, "certificate", "error", "%s", folder.text);
    if (tls_context_server(&tls, &config, why, sizeof why) != RESULT_OK) {
        add(check, "certificate", "error", "%s", why);
        return;
    }
    int64_t days = (tls_context_expires_s(tls) - wall_now_ms() / 1000) / 86400;
    tls_context_unref(&tls);
    if (days < 0)
        add(check, "certificate", "error", "%s has expired; renew it and send the relay SIGHUP", config.certificate_file);
    else if (days < EXPIRY_WARNING_DAYS)
        add(check, "certificate", "warning", "%s ends in %lld days; renew it and send the relay SIGHUP", config.certificate_file, (long long)days);
    else
        add(check, "certificate", "ok", "good for %lld days", (long long)days);
}

static void check_disk(struct check *check)
{
    struct statvfs disk;
    const char *folder = check->context->dirs.data_folder;
    if (statvfs(folder, &disk) != 0) {
        add(check, "disk", "error", "%s: %s", folder, strerror(errno));
        return;
    }
    unsigned long long free_mb = (unsigned long long)disk.f_bavail * disk.f_frsize / 1000000;
    const char *state = free_mb < DISK_ERROR_MB ? "error" : free_mb < DISK_WARNING_MB ? "warning" : "ok";
    add(check, "disk", state, "%llu MB free at %s", free_mb, folder);
}

static void check_store(struct check *check)
{
    json_t *accounts = NULL;
    if (console_fetch(&check->context->console, "status", json_object(), &check->status) != EX_OK ||
        console_fetch(&check->context->console, "account list", json_object(), &accounts) != EX_OK) {
        add(check, "database", "error", "%s can't be used: see the words above", check->context->dirs.database);
        return;
    }
    check->is_running = json_is_true(json_object_get(check->status, "running"));
    add(check, "database", "ok", "%lld messages in the queue",
        (long long)json_integer_value(json_object_get(json_object_get(check->status, "queue"), "queued")));
    if (json_array_size(accounts) == 0)
        add(check, "accounts", "warning", "there are none, so nobody can send; see: %s",
            DIRS_HINT(&check->context->dirs, COMMAND_PROGRAM " account add NAME --send-as ADDRESS"));
    else
        add(check, "accounts", "ok", "%zu", json_array_size(accounts));
    json_decref(accounts);
}

/* ---- ports ------------------------------------------------------------------------------------------------------ */

static void check_port(struct check *check, const struct conf_listener *listener)
{
    const struct net_address *address = &listener->address;
    char text[NET_ADDRESS_TEXT];
    int on = 1;
    net_address_format(address, text);
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && address->any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd >= 0 && bind(fd, &address->any, net_address_len(address)) == 0 && listen(fd, 1) == 0)
        add(check, "port", "ok", "%s is free", text);
    else if (errno == EACCES)
        add(check, "port", "error", "%s: no permission for a port below 1024; start the relay by systemd, or give it CAP_NET_BIND_SERVICE", text);
    else if (errno == EADDRINUSE && conf_may_lack(check->conf, address))
        add(check, "port", "warning", "%s is in use by another program; the relay will do without it. See: ss -ltnp", text);
    else if (errno == EADDRINUSE)
        add(check, "port", "error", "%s is in use by another program; see: ss -ltnp", text);
    else
        add(check, "port", errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL ? "warning" : "error", "%s: %s", text, strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* Of the way of XWAYS: "443/tls", "192.0.2.1:443/tls". */
static bool is_way_by_443(struct slice way)
{
    struct slice place, mode;
    slice_cut(way, '/', &place, &mode);
    return slice_equal(place, SLICE("443")) || slice_ends_with_nocase(place, SLICE(":443"));
}

static void check_443(struct check *check)
{
    const struct config_list *listen = &check->conf->values.listen;
    const char *told = json_string_value(json_object_get(check->status, "ways"));
    char ways[WAYS_MAX + 1];
    struct slice rest, way;
    if (!told && ways_write(check->conf, listen->items, listen->count, ways) != RESULT_OK)
        add(check, "ways", "warning", "there are more ports and advertise lines than clients can be told of");
    rest = slice_from_cstr(told ? told : ways);
    while (rest.len > 0) {
        slice_cut(rest, ' ', &way, &rest);
        if (is_way_by_443(way))
            return;
    }
    add(check, "ways", "warning", "agents are told of no way by port 443, often the only one that hotels and companies leave open: listen on it, "
        "or share it with the program that has it; see SHARING THE WEB'S PORTS in relay.conf(5)");
}

static void check_ports(struct check *check)
{
    const struct config_list *listen = &check->conf->values.listen;
    check_443(check);
    if (check->is_running) {
        add(check, "running", "ok", "listening on %zu addresses", json_array_size(json_object_get(check->status, "listeners")));
        return;
    }
    add(check, "running", "warning", "it does not run; start it with: %s", DIRS_HINT(&check->context->dirs, COMMAND_PROGRAM " run"));
    for (size_t i = 0; i < listen->count; i++)
        check_port(check, &((const struct conf_listener *)listen->items)[i]);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

struct lookup {
    enum dns_outcome outcome;
    struct net_address addresses[DNS_ADDRESSES_MAX];
    size_t n;
    struct dns *dns;
};

static void on_addresses(void *context, const struct dns_answer *answer)
{
    struct lookup *lookup = context;
    lookup->outcome = answer->outcome;
    for (size_t i = 0; i < answer->naddresses; i++)
        lookup->addresses[lookup->n++] = answer->addresses[i];
    dns_close(lookup->dns, NULL, NULL);
}

static void look_up(const struct conf *conf, struct lookup *lookup)
{
    const struct config_list *resolvers = &conf->values.resolver;
    struct dns_config config = {0};
    uv_loop_t loop;
    char why[200] = "";
    lookup->outcome = DNS_FAILED;
    for (size_t i = 0; i < resolvers->count && config.nresolvers < DNS_RESOLVERS_MAX; i++)
        config.resolvers[config.nresolvers++] = ((const struct net_address *)resolvers->items)[i];
    if (uv_loop_init(&loop) != 0)
        return;
    if (dns_open(&lookup->dns, &loop, &config, why, sizeof why) == RESULT_OK &&
        dns_find_addresses(lookup->dns, conf->values.name, 0, on_addresses, lookup, NULL) != RESULT_OK)
        dns_close(lookup->dns, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}

/* Receivers ask for the name of the address that connects, and distrust one without. */
static void check_reverse(struct check *check, const struct net_address *address)
{
    char text[NET_ADDRESS_TEXT], host[NI_MAXHOST];
    net_address_format_ip(address, text);
    if (!net_address_is_public(&address->any))
        add(check, "reverse", "warning", "%s is not a public address: the internet does not reach this relay by it", text);
    else if (getnameinfo(&address->any, net_address_len(address), host, sizeof host, NULL, 0, NI_NAMEREQD) != 0)
        add(check, "reverse", "warning", "%s has no reverse record; many servers refuse mail from such addresses: ask who gave you the address",
            text);
    else if (!slice_equal_nocase(slice_from_cstr(host), check->conf->values.name))
        add(check, "reverse", "warning", "%s leads back to %s, not to %s", text, host, check->conf->values.name.ptr);
    else
        add(check, "reverse", "ok", "%s leads back to %s", text, host);
}

static void check_name(struct check *check)
{
    struct lookup lookup = {0};
    const char *name = check->conf->values.name.ptr;
    look_up(check->conf, &lookup);
    if (lookup.outcome == DNS_FAILED)
        add(check, "name", "warning", "%s could not be looked up; is there a network?", name);
    else if (lookup.n == 0)
        add(check, "name", "warning", "%s has no address in DNS; publish what this prints: %s", name, DIRS_HINT(&check->context->dirs, COMMAND_PROGRAM " dns"));
    else
        add(check, "name", "ok", "%s has %zu addresses", name, lookup.n);
    if (check->conf->values.smarthost.host.len > 0)
        return; /* the smarthost's reverse record counts */
    for (size_t i = 0; i < lookup.n; i++)
        check_reverse(check, &lookup.addresses[i]);
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

static void print_findings(const json_t *findings)
{
    size_t i;
    json_t *finding;
    json_array_foreach((json_t *)(uintptr_t)findings, i, finding) {
        fprintf(stdout, "%-8s %-14s ", json_string_value(json_object_get(finding, "state")), json_string_value(json_object_get(finding, "what")));
        console_print_text(stdout, json_string_value(json_object_get(finding, "words")));
        fputc('\n', stdout);
    }
}

int cmd_check(struct command_context *context)
{
    struct check check = {.context = context, .findings = json_array()};
    check_configuration(&check);
    if (check.conf) {
        check_certificate(&check);
        check_disk(&check);
        check_store(&check);
        check_ports(&check);
        check_name(&check);
    }
    if (context->line.is_json) {
        json_dumpf(check.findings, stdout, JSON_INDENT(2));
        fputc('\n', stdout);
    } else {
        print_findings(check.findings);
    }
    json_decref(check.findings);
    json_decref(check.status);
    conf_unref(&check.conf);
    if (fflush(stdout) != 0)
        return EX_IOERR;
    return check.has_error ? EX_CONFIG : EX_OK;
}
