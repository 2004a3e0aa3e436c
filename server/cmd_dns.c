#include "command.h"

#include <ifaddrs.h>
#include <string.h>
#include <sysexits.h>

/* One record to publish, as a line of a zone file. */
struct record {
    const char *name, *type, *value, *words;
};

static json_t *record_json(const struct record *record)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "name", record->name, "type", record->type, "value", record->value, "words", record->words);
}

/* Addresses of this machine that the internet can reach; behind a NAT there are none, and a person must say. */
static void add_addresses(json_t *records, const char *name)
{
    struct ifaddrs *all = NULL;
    char text[NET_ADDRESS_TEXT];
    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
        struct net_address address = {0};
        if (!at->ifa_addr || (at->ifa_addr->sa_family != AF_INET && at->ifa_addr->sa_family != AF_INET6) || !net_address_is_public(at->ifa_addr))
            continue;
        memcpy(&address, at->ifa_addr, at->ifa_addr->sa_family == AF_INET ? sizeof address.v4 : sizeof address.v6);
        net_address_format_ip(&address, text);
        const struct record record = {name, address.any.sa_family == AF_INET ? "A" : "AAAA", text,
                                      "an address of this machine; its reverse record should lead back to the name"};
        json_array_append_new(records, record_json(&record));
    }
    freeifaddrs(all);
}

static json_t *spf_json(const struct conf *conf, const char *domain)
{
    char value[320];
    bool has_smarthost = conf->values.smarthost.host.len > 0;
    snprintf(value, sizeof value, "\"v=spf1 a:%s ~all\"", conf->values.name.ptr);
    const struct record record = {domain, "TXT", value,
                                  has_smarthost ? "mail leaves through the smarthost: add what its provider asks for (an include:) before ~all" :
                                                  "who may send for the domain; join it with a record that is there: a domain has one"};
    return record_json(&record);
}

/* The domains that accounts send as, each once. */
static json_t *sending_domains(const json_t *accounts)
{
    json_t *domains = json_object();
    size_t i, j;
    json_t *account, *pattern;
    json_array_foreach((json_t *)(uintptr_t)accounts, i, account) {
        json_array_foreach(json_object_get(account, "send_as"), j, pattern) {
            const char *at = strrchr(json_string_value(pattern), '@');
            if (at)
                json_object_set_new(domains, at + 1, json_true());
        }
    }
    return domains;
}

static json_t *make_records(const struct conf *conf, const json_t *accounts)
{
    json_t *records = json_array(), *domains = sending_domains(accounts), *unused;
    const char *domain, *name = conf->values.name.ptr;
    add_addresses(records, name);
    const struct record own = {name, "TXT", "\"v=spf1 a -all\"", "for reports, which the relay sends in its own name"};
    json_array_append_new(records, record_json(&own));
    json_object_foreach(domains, domain, unused)
        json_array_append_new(records, spf_json(conf, domain));
    json_decref(domains);
    return records;
}

static void print_records(FILE *out, const struct conf *conf, const json_t *records)
{
    size_t i;
    json_t *record;
    bool has_address = false;
    json_array_foreach((json_t *)(uintptr_t)records, i, record) {
        const char *type = console_text(record, "type");
        has_address = has_address || type[0] == 'A';
        fprintf(out, "; %s\n%s. %s %s\n", console_text(record, "words"), console_text(record, "name"), type, console_text(record, "value"));
    }
    if (!has_address)
        fprintf(out, "; This machine has no public address of its own: publish A and AAAA records of %s with the addresses by which the\n"
                     "; internet reaches it, and have their reverse records lead back to the name.\n", conf->values.name.ptr);
    fputs("; An MX record is needed for domains whose mail comes in here; a relay takes none in, so there is none to publish.\n", out);
}

int cmd_dns(struct command_context *context)
{
    struct conf *conf = NULL;
    json_t *accounts = NULL, *records = NULL;
    int code = command_load_conf(context, &conf);
    if (code == EX_OK)
        code = console_fetch(&context->console, "account list", json_object(), &accounts);
    if (code == EX_OK) {
        records = make_records(conf, accounts);
        if (context->line.is_json) {
            json_dumpf(records, stdout, JSON_INDENT(2));
            fputc('\n', stdout);
        } else {
            print_records(stdout, conf, records);
        }
        code = fflush(stdout) == 0 ? EX_OK : EX_IOERR;
    }
    json_decref(records);
    json_decref(accounts);
    conf_unref(&conf);
    return code;
}
