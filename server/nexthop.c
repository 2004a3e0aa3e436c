#include "nexthop.h"

#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A host of the list, and what DNS says of it. */
struct host {
    struct nexthop_query *query;
    struct dns_question *question;
    char name[DNS_NAME_TEXT];
    struct net_address addresses[DNS_ADDRESSES_MAX];
    size_t naddresses;
    bool has_failed;  /* for now */
    bool is_refused;  /* an address was left out by policy */
};

struct nexthop_query {
    struct dns *dns;
    const struct conf *conf;
    void (*done)(void *context, const struct nexthop *nexthop);
    void *context;
    char name[DNS_NAME_TEXT];
    uint16_t port;
    bool is_trusted;  /* a person has configured the host: any address will do */
    bool is_implicit; /* no MX: the domain's own addresses */
    struct dns_question *mx;
    struct host hosts[NEXTHOP_HOSTS_MAX];
    size_t nhosts, nwaiting;
    struct nexthop result;
    uv_timer_t timer; /* for answers that are known at once */
};

/* ---- ends ------------------------------------------------------------------------------------------------------ */

static void query_on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void nexthop_cancel(struct nexthop_query **at)
{
    struct nexthop_query *query = *at;
    if (!query)
        return;
    *at = NULL;
    dns_cancel(&query->mx);
    for (size_t i = 0; i < query->nhosts; i++)
        dns_cancel(&query->hosts[i].question);
    uv_close((uv_handle_t *)&query->timer, query_on_closed);
}

static void query_finish(struct nexthop_query *query)
{
    query->done(query->context, &query->result);
    nexthop_cancel(&query);
}

static void query_on_timer(uv_timer_t *timer)
{
    query_finish(timer->data);
}

/* Not from inside nexthop_find. */
static void query_finish_later(struct nexthop_query *query)
{
    uv_timer_start(&query->timer, query_on_timer, 0, 0);
}

/* The reply is code, before, the name, after. */
static void query_say(struct nexthop_query *query, enum nexthop_verdict verdict, const char *code, const char *before, const char *after)
{
    query->result.verdict = verdict;
    query->result.ntargets = 0;
    snprintf(query->result.reply, sizeof query->result.reply, "%s %s%s%s", code, before, query->name, after);
}

/* ---- addresses ------------------------------------------------------------------------------------------------- */

static bool query_allows(const struct nexthop_query *query, const struct net_address *address)
{
    return query->is_trusted || conf_allows_address(query->conf, &address->any);
}

static void query_explain_nothing(struct nexthop_query *query)
{
    bool has_failed = false, is_refused = false;
    for (size_t i = 0; i < query->nhosts; i++) {
        has_failed = has_failed || query->hosts[i].has_failed;
        is_refused = is_refused || query->hosts[i].is_refused;
    }
    if (has_failed)
        query_say(query, NEXTHOP_LATER, "451 4.4.3", "the addresses of the mail hosts of ", " could not be looked up");
    else if (is_refused)
        query_say(query, NEXTHOP_NEVER, "550 5.4.4", "the mail hosts of ",
                  " have only addresses that mail is not delivered to (private, loopback, reserved)");
    else if (query->is_implicit)
        query_say(query, NEXTHOP_NEVER, "550 5.1.2", "the domain ", " has neither a mail host nor an address");
    else
        query_say(query, query->is_trusted ? NEXTHOP_LATER : NEXTHOP_NEVER, query->is_trusted ? "451 4.4.4" : "550 5.4.4", "the mail hosts of ",
                  " have no address");
}

static void query_assemble(struct nexthop_query *query)
{
    struct nexthop *result = &query->result;
    for (size_t i = 0; i < query->nhosts; i++) {
        const struct host *host = &query->hosts[i];
        for (size_t j = 0; j < host->naddresses && result->ntargets < NEXTHOP_TARGETS_MAX; j++)
            result->targets[result->ntargets++] = (struct nexthop_target){host->addresses[j], host->name};
    }
    result->verdict = NEXTHOP_FOUND;
    if (result->ntargets == 0)
        query_explain_nothing(query);
}

static void host_add(struct host *host, const struct net_address *address)
{
    if (!query_allows(host->query, address))
        host->is_refused = true;
    else if (host->naddresses < DNS_ADDRESSES_MAX)
        host->addresses[host->naddresses++] = *address;
}

static void host_on_addresses(void *context, const struct dns_answer *answer)
{
    struct host *host = context;
    struct nexthop_query *query = host->query;
    host->question = NULL;
    host->has_failed = answer->outcome == DNS_FAILED;
    for (size_t i = 0; i < answer->naddresses; i++)
        host_add(host, &answer->addresses[i]);
    if (--query->nwaiting > 0)
        return;
    query_assemble(query);
    query_finish(query);
}

/* Asks for the addresses of all hosts at once. True: an answer will come. */
static bool query_ask_hosts(struct nexthop_query *query)
{
    for (size_t i = 0; i < query->nhosts; i++) {
        struct host *host = &query->hosts[i];
        enum result result = dns_find_addresses(query->dns, slice_from_cstr(host->name), query->port, host_on_addresses, host, &host->question);
        if (result == RESULT_OK)
            query->nwaiting++;
        else
            host->has_failed = result != RESULT_SYNTAX; /* an MX that is no name is one without address */
    }
    if (query->nwaiting == 0)
        query_assemble(query);
    return query->nwaiting > 0;
}

static struct host *query_add_host(struct nexthop_query *query, struct slice name)
{
    struct host *host = &query->hosts[query->nhosts];
    if (query->nhosts == NEXTHOP_HOSTS_MAX || !slice_to_cstr(name, host->name, sizeof host->name))
        return NULL;
    host->query = query;
    query->nhosts++;
    return host;
}

/* ---- MX -------------------------------------------------------------------------------------------------------- */

/* RFC 5321 5.1: when we are on the list, we and all that are not preferred over us are no way to go, or the mail would come back. */
static void query_take_hosts(struct nexthop_query *query, const struct dns_answer *answer)
{
    uint32_t limit = UINT32_MAX;
    for (size_t i = 0; i < answer->nhosts; i++) {
        if (slice_equal_nocase(slice_from_cstr(answer->hosts[i].name), query->conf->values.name) && answer->hosts[i].preference < limit)
            limit = answer->hosts[i].preference;
    }
    for (size_t i = 0; i < answer->nhosts && query->nhosts < NEXTHOP_HOSTS_MAX; i++) {
        if (answer->hosts[i].preference < limit)
            (void)query_add_host(query, slice_from_cstr(answer->hosts[i].name));
    }
    query->is_implicit = answer->is_implicit;
    if (query->nhosts == 0)
        query_say(query, NEXTHOP_NEVER, "550 5.4.6", "mail for ", " would come back here: this relay is its best mail host, and has no mailboxes");
}

static void query_on_mx(void *context, const struct dns_answer *answer)
{
    struct nexthop_query *query = context;
    query->mx = NULL;
    switch (answer->outcome) {
    case DNS_FOUND:
        query_take_hosts(query, answer);
        break;
    case DNS_NO_NAME:
        query_say(query, NEXTHOP_NEVER, "550 5.1.2", "the domain ", " does not exist");
        break;
    case DNS_NO_DATA:
        query_say(query, NEXTHOP_NEVER, "550 5.1.2", "the domain ", " has neither a mail host nor an address");
        break;
    case DNS_NULL_MX:
        query_say(query, NEXTHOP_NEVER, "556 5.1.10", "the domain ", " takes no mail (null MX)");
        break;
    case DNS_FAILED:
        query_say(query, NEXTHOP_LATER, "451 4.4.3", "the mail hosts of ", " could not be looked up");
        break;
    }
    if (query->nhosts == 0 || !query_ask_hosts(query))
        query_finish(query);
}

/* ---- beginning -------------------------------------------------------------------------------------------------- */

static void query_take_address(struct nexthop_query *query, const struct net_address *address)
{
    char text[NET_ADDRESS_TEXT];
    net_address_format_ip(address, text);
    struct host *host = query_add_host(query, slice_from_cstr(text));
    if (host)
        host_add(host, address);
    query_assemble(query);
    query_finish_later(query);
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 4.1.3). */
static bool parse_literal(struct slice name, uint16_t port, struct net_address *out)
{
    if (name.len < 3 || name.ptr[0] != '[' || name.ptr[name.len - 1] != ']')
        return false;
    struct slice inner = slice_take(slice_skip(name, 1), name.len - 2);
    if (slice_starts_with_nocase(inner, SLICE("IPv6:")))
        inner = slice_skip(inner, 5);
    return net_address_parse_ip(inner, port, out) == RESULT_OK;
}

static void query_begin_smarthost(struct nexthop_query *query)
{
    const struct smarthost *smarthost = &query->conf->values.smarthost;
    struct net_address address;
    query->is_trusted = true;
    query->port = smarthost->port;
    (void)slice_to_cstr(smarthost->host, query->name, sizeof query->name);
    if (net_address_parse_ip(smarthost->host, query->port, &address) == RESULT_OK)
        query_take_address(query, &address);
    else if (!query_add_host(query, smarthost->host) || !query_ask_hosts(query))
        query_finish_later(query);
}

/* The name as the DNS has it: U-labels, which SMTPUTF8 lets into an address, are asked for as A-labels (RFC 6531 3.2, RFC 5891 5). */
static enum result to_a_labels(const char *name, char *out, size_t size)
{
    char *labels = NULL;
    int code = idn2_lookup_u8((const uint8_t *)name, (uint8_t **)&labels, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (code != IDN2_OK)
        return code == IDN2_MALLOC ? RESULT_MEMORY : RESULT_SYNTAX;
    bool has_room = slice_to_cstr(slice_from_cstr(labels), out, size);
    idn2_free(labels);
    return has_room ? RESULT_OK : RESULT_SYNTAX;
}

static enum result query_ask_mx(struct nexthop_query *query)
{
    char labels[DNS_NAME_TEXT];
    bool is_ascii = true;
    for (const char *c = query->name; *c; c++)
        is_ascii = is_ascii && (unsigned char)*c < 0x80;
    enum result result = is_ascii ? RESULT_OK : to_a_labels(query->name, labels, sizeof labels);
    if (result != RESULT_OK)
        return result;
    return dns_find_mx(query->dns, slice_from_cstr(is_ascii ? query->name : labels), query_on_mx, query, &query->mx);
}

static void query_begin_domain(struct nexthop_query *query, struct slice name)
{
    struct net_address address;
    query->port = (uint16_t)query->conf->values.mx_port;
    if (parse_literal(name, query->port, &address)) {
        query_take_address(query, &address);
        return;
    }
    enum result result = query_ask_mx(query);
    if (result == RESULT_OK)
        return;
    if (result == RESULT_SYNTAX)
        query_say(query, NEXTHOP_NEVER, "550 5.1.2", "", " is not a domain name that can be looked up");
    else
        query_say(query, NEXTHOP_LATER, "451 4.4.3", "the mail hosts of ", " could not be looked up: too many questions at a time");
    query_finish_later(query);
}

enum result nexthop_find(struct nexthop_query **out, uv_loop_t *loop, struct dns *dns, const struct conf *conf, struct slice name,
                         void (*done)(void *context, const struct nexthop *nexthop), void *context)
{
    struct nexthop_query *query = calloc(1, sizeof *query);
    if (!query || !slice_to_cstr(name, query->name, sizeof query->name)) {
        free(query);
        return RESULT_MEMORY;
    }
    query->dns = dns;
    query->conf = conf;
    query->done = done;
    query->context = context;
    uv_timer_init(loop, &query->timer);
    query->timer.data = query;
    *out = query;
    if (slice_equal(name, CONF_HOP_SMARTHOST))
        query_begin_smarthost(query);
    else
        query_begin_domain(query, name);
    return RESULT_OK;
}
