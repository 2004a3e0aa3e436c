#include "ways.h"

#include "search.h"

#include <string.h>

/* ---- addresses -------------------------------------------------------------------------------------------------- */

static void add_address(struct ways *ways, const struct path_address *address)
{
    for (size_t i = 0; i < ways->naddresses; i++)
        if (path_address_equal(&ways->addresses[i], address))
            return;
    if (ways->naddresses < WAYS_ADDRESSES_MAX)
        ways->addresses[ways->naddresses++] = *address;
}

static bool has_address(const struct path_address *list, size_t n, const struct path_address *address)
{
    for (size_t i = 0; i < n; i++)
        if (path_address_equal(&list[i], address))
            return true;
    return false;
}

void ways_won(struct ways *ways, const struct path *path, const struct path_address *resolved, size_t nresolved)
{
    const struct ways old = *ways;
    bool is_honest = has_address(resolved, nresolved, &path->address);
    ways->naddresses = 0;
    add_address(ways, &path->address);
    for (size_t i = 0; is_honest && i < nresolved; i++)
        add_address(ways, &resolved[i]);
    for (size_t i = 0; i < old.naddresses; i++)
        add_address(ways, &old.addresses[i]);
    ways->known = *path;
    ways->has_known = true;
}

/* ---- demotion --------------------------------------------------------------------------------------------------- */

static void forget_demotion(struct ways *ways, size_t i)
{
    size_t behind = --ways->ndemoted - i;
    memmove(&ways->demoted[i], &ways->demoted[i + 1], behind * sizeof *ways->demoted);
    memmove(&ways->demoted_at_ms[i], &ways->demoted_at_ms[i + 1], behind * sizeof *ways->demoted_at_ms);
}

void ways_promote(struct ways *ways, const struct path *path)
{
    for (size_t i = 0; i < ways->ndemoted; i++)
        if (path_equal(&ways->demoted[i], path)) {
            forget_demotion(ways, i);
            return;
        }
}

void ways_demote(struct ways *ways, const struct path *path, int64_t now_ms)
{
    ways_promote(ways, path);
    if (ways->ndemoted == WAYS_DEMOTED_MAX)
        forget_demotion(ways, 0);
    ways->demoted[ways->ndemoted] = *path;
    ways->demoted_at_ms[ways->ndemoted++] = now_ms;
    ways->has_known = ways->has_known && !path_equal(&ways->known, path);
}

void ways_forget_old(struct ways *ways, int64_t now_ms)
{
    while (ways->ndemoted > 0 && now_ms - ways->demoted_at_ms[0] > WAYS_DEMOTION_MS)
        forget_demotion(ways, 0);
}

void ways_forget(struct ways *ways, bool is_same_relay)
{
    ways->has_known = false;
    ways->ndemoted = 0;
    if (!is_same_relay)
        ways->naddresses = 0;
}

/* ---- as text ---------------------------------------------------------------------------------------------------- */

enum result ways_write(const struct ways *ways, struct slice relay_host, struct buffer *out)
{
    char address[64];
    path_address_format(&ways->known.address, address, sizeof address);
    enum result result = buffer_printf(out, "%s %u %s %.*s", address, ways->known.port, path_mode_name(ways->known.mode), SLICE_ARG(relay_host));
    for (size_t i = 0; i < ways->naddresses && result == RESULT_OK; i++) {
        path_address_format(&ways->addresses[i], address, sizeof address);
        result = buffer_printf(out, " %s", address);
    }
    return result;
}

static bool parse_address(struct slice text, struct path_address *out)
{
    struct net_address parsed;
    return net_address_parse_ip(text, 0, &parsed) == RESULT_OK && search_address(&parsed.any, out);
}

void ways_read(struct ways *ways, struct slice text, struct slice relay_host)
{
    struct slice address, port, mode, host, rest;
    uint64_t number;
    *ways = (struct ways){0};
    slice_cut(text, ' ', &address, &rest);
    slice_cut(rest, ' ', &port, &rest);
    slice_cut(rest, ' ', &mode, &rest);
    slice_cut(rest, ' ', &host, &rest);
    if (!slice_equal(host, relay_host) || !slice_to_u64(port, 65535, &number) || !parse_address(address, &ways->known.address))
        return;
    ways->known.port = (uint16_t)number;
    ways->known.mode = slice_equal(mode, SLICE("tls")) ? PATH_TLS : PATH_STARTTLS;
    ways->has_known = true;
    add_address(ways, &ways->known.address);
    while (rest.len > 0) {
        struct path_address one;
        slice_cut(rest, ' ', &address, &rest);
        if (parse_address(address, &one))
            add_address(ways, &one);
    }
}
