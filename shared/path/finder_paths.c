/* What a search tries, in which order: see finder.h. */
#include "path/finder_internal.h"

#include <string.h>

/* Room in the list is kept for what comes behind: further addresses may fill it by half, proxies and the second ALPN leave room for the demoted. */
enum { FURTHER_MAX = RACE_PATHS_MAX / 2, OTHERS_MAX = RACE_PATHS_MAX - MEMORY_PATHS_MAX, ADDRESSES_MAX = FINDER_ADDRESSES_MAX + MEMORY_ADDRESSES_MAX + MEMORY_HINTS_MAX };

static const struct memory_key NOWHERE = {{0}};

struct memory *finder_memory(const struct finder *finder, const struct memory_key **key)
{
    bool is_ours = finder->has_key && finder->config.memory;
    *key = is_ours ? &finder->key : &NOWHERE;
    return is_ours ? finder->config.memory : finder->here;
}

int64_t finder_wall_ms(const struct finder *finder)
{
    int64_t wall_ms = finder->now_ms + finder->wall_lead_ms;
    return wall_ms > 0 ? wall_ms : 1;
}

/* ---- the list ----------------------------------------------------------------------------------------------------- */

static bool has_path(const struct finder_candidates *list, const struct path *path)
{
    for (size_t i = 0; i < list->n; i++)
        if (path_equal(&list->items[i].path, path))
            return true;
    return false;
}

static struct finder_candidate *add(struct finder_candidates *list, const struct path *path, enum race_tier tier)
{
    if (list->n >= list->limit || has_path(list, path))
        return NULL;
    list->items[list->n] = (struct finder_candidate){.path = *path, .tier = tier};
    return &list->items[list->n++];
}

static bool is_demoted(const struct finder *finder, const struct path *path)
{
    const struct memory_key *key;
    struct memory *memory = finder_memory(finder, &key);
    return memory_is_demoted(memory, key, path, finder_wall_ms(finder));
}

static void add_trusted(const struct finder *finder, struct finder_candidates *list, const struct path *path, enum race_tier tier)
{
    if (!is_demoted(finder, path))
        add(list, path, tier);
}

/* ---- addresses ---------------------------------------------------------------------------------------------------- */

/* The relay's: `nfirst` of them, the best of each family by memory and by the resolver, come before all others. */
struct addresses {
    struct path_address items[ADDRESSES_MAX];
    size_t n, nfirst;
};

static bool has_address(const struct addresses *list, const struct path_address *address)
{
    for (size_t i = 0; i < list->n; i++)
        if (path_address_equal(&list->items[i], address))
            return true;
    return false;
}

/* The first of that family which is not in the list yet. */
static bool add_next(struct addresses *list, const struct path_address *from, size_t n, uint8_t family)
{
    for (size_t i = 0; i < n; i++) {
        if (from[i].family != family || has_address(list, &from[i]))
            continue;
        list->items[list->n++] = from[i];
        return true;
    }
    return false;
}

static bool has_family(const struct addresses *list, const struct path_address *from, size_t n, uint8_t family)
{
    for (size_t i = 0; i < n; i++)
        if (from[i].family == family)
            return has_address(list, &from[i]);
    return true;
}

/* The resolver's best, unless memory's best says the same. */
static void add_best(struct addresses *list, const struct path_address *from, size_t n, uint8_t family)
{
    if (!has_family(list, from, n, family))
        add_next(list, from, n, family);
}

/* The families take turns, IPv6 first (RFC 8305 4). */
static void order_addresses(const struct finder *finder, struct addresses *out)
{
    const struct path_address *kept = NULL;
    size_t nkept = finder->config.memory ? memory_addresses(finder->config.memory, &kept) : 0;
    *out = (struct addresses){.n = 0};
    add_best(out, kept, nkept, 6);
    add_best(out, kept, nkept, 4);
    add_best(out, finder->resolved, finder->nresolved, 6);
    add_best(out, finder->resolved, finder->nresolved, 4);
    out->nfirst = out->n;
    for (bool has_more = true; has_more;) {
        has_more = add_next(out, kept, nkept, 6);
        has_more = add_next(out, kept, nkept, 4) || has_more;
        has_more = add_next(out, finder->resolved, finder->nresolved, 6) || has_more;
        has_more = add_next(out, finder->resolved, finder->nresolved, 4) || has_more;
    }
}

/* ---- ways --------------------------------------------------------------------------------------------------------- */

static bool is_web_port(const struct finder_way *way)
{
    return way->mode == PATH_TLS && way->port == 443;
}

static struct path path_of(const struct finder_way *way, const struct path_address *address)
{
    return (struct path){
        .address = way->address.family ? way->address : *address, .port = way->port, .mode = way->mode, .alpn = is_web_port(way) ? PATH_ALPN_HTTP : PATH_ALPN_NONE};
}

/* A way at some of the relay's addresses, or at its own. */
static void add_direct(const struct finder *finder, struct finder_candidates *list, const struct finder_way *way, const struct path_address *from, size_t n, enum race_tier tier,
                       bool is_second_alpn)
{
    for (size_t i = 0; i < (way->address.family ? 1 : n); i++) {
        struct path path = path_of(way, way->address.family ? &way->address : &from[i]);
        if (is_second_alpn)
            path.alpn = PATH_ALPN_SMTP;
        add_trusted(finder, list, &path, tier);
    }
}

/* What a proxy is likeliest to allow comes first. */
static unsigned proxy_rank(const struct finder_way *way)
{
    return way->mode == PATH_STARTTLS ? 3 : way->port == 443 ? 0 : way->port == 465 ? 1 : 2;
}

static struct path through(const struct finder_proxy *proxy, const struct finder_way *way)
{
    static const struct path_address by_name = {0};
    struct path path = path_of(way, &by_name);
    path.via = proxy->via;
    path.proxy = proxy->proxy;
    return path;
}

static void add_all_through(const struct finder *finder, struct finder_candidates *list, const struct finder_proxy *proxy)
{
    for (unsigned rank = 0; rank <= 3; rank++)
        for (size_t w = 0; w < finder->nways; w++) {
            struct path path = through(proxy, &finder->ways[w]);
            if (proxy_rank(&finder->ways[w]) != rank)
                continue;
            add_trusted(finder, list, &path, RACE_LATER);
            path.alpn = PATH_ALPN_SMTP;
            if (is_web_port(&finder->ways[w]))
                add_trusted(finder, list, &path, RACE_LATER);
        }
}

/* The likeliest path through each proxy. */
static void add_best_through(const struct finder *finder, struct finder_candidates *list)
{
    const struct finder_way *best = NULL;
    for (size_t w = 0; w < finder->nways; w++)
        if (!best || proxy_rank(&finder->ways[w]) < proxy_rank(best))
            best = &finder->ways[w];
    for (size_t p = 0; best && p < finder->nproxies; p++) {
        const struct path path = through(&finder->proxies[p], best);
        add_trusted(finder, list, &path, RACE_USUAL);
    }
}

/* How many ways come before the proxies: up to the last of 465 and 443, else all. */
static size_t count_before_proxies(const struct finder *finder)
{
    for (size_t w = finder->nways; w > 0; w--)
        if (proxy_rank(&finder->ways[w - 1]) <= 1)
            return w;
    return finder->nways;
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

static bool is_way_of(const struct finder_way *way, const struct path *path)
{
    bool has_alpn = path->alpn != PATH_ALPN_NONE;
    if (way->port != path->port || way->mode != path->mode || has_alpn != is_web_port(way))
        return false;
    if (way->address.family)
        return path_address_equal(&way->address, &path->address);
    return (path->address.family == 0) == (path->via != PATH_DIRECT);
}

static bool is_proxy_known(const struct finder *finder, const struct path *path)
{
    for (size_t i = 0; i < finder->nproxies; i++) {
        const struct finder_proxy *proxy = &finder->proxies[i];
        if (proxy->via == path->via && proxy->proxy.port == path->proxy.port && path_address_equal(&proxy->proxy.address, &path->proxy.address))
            return true;
    }
    return false;
}

/* The configuration may have changed since that path worked. Until the proxies are told, the remembered one is good. */
static bool is_offered(const struct finder *finder, const struct path *path)
{
    if (path->via != PATH_DIRECT && finder->has_proxies && !is_proxy_known(finder, path))
        return false;
    for (size_t w = 0; w < finder->nways; w++)
        if (is_way_of(&finder->ways[w], path))
            return true;
    return false;
}

static void add_remembered(const struct finder *finder, struct finder_candidates *list, bool wants_demoted)
{
    const struct memory_key *key;
    size_t n;
    struct memory *memory = finder_memory(finder, &key);
    const struct memory_path *paths = memory_paths(memory, key, finder_wall_ms(finder), &n);
    for (size_t i = 0; i < n; i++) {
        bool has_worked = paths[i].carried_at_ms > 0 || paths[i].handshake_ms > 0;
        if (is_demoted(finder, &paths[i].path) != wants_demoted || !is_offered(finder, &paths[i].path) || !(has_worked || wants_demoted))
            continue;
        struct finder_candidate *added = add(list, &paths[i].path, wants_demoted ? RACE_LAST_CHANCE : RACE_USUAL);
        if (!added)
            continue;
        added->is_remembered = true;
        added->is_demoted = wants_demoted;
    }
}

void finder_compose(const struct finder *finder, struct finder_candidates *out)
{
    struct addresses addresses;
    size_t before_proxies = count_before_proxies(finder);
    order_addresses(finder, &addresses);
    out->n = 0;
    out->limit = OTHERS_MAX;
    add_remembered(finder, out, false);
    for (size_t w = 0; w < before_proxies; w++)
        add_direct(finder, out, &finder->ways[w], addresses.items, addresses.nfirst, RACE_USUAL, false);
    add_best_through(finder, out);
    /* One family after the other here: a start ten milliseconds later is little beside the round trips that these ways take, and an address that works has them all started sooner. */
    for (size_t a = 0; a < addresses.nfirst; a++)
        for (size_t w = before_proxies; w < finder->nways; w++)
            add_direct(finder, out, &finder->ways[w], &addresses.items[a], 1, RACE_USUAL, false);
    out->limit = FURTHER_MAX;
    for (size_t w = 0; w < finder->nways; w++)
        add_direct(finder, out, &finder->ways[w], addresses.items + addresses.nfirst, addresses.n - addresses.nfirst, RACE_LATER, false);
    out->limit = OTHERS_MAX;
    for (size_t w = 0; w < finder->nways; w++)
        if (is_web_port(&finder->ways[w]))
            add_direct(finder, out, &finder->ways[w], addresses.items, addresses.nfirst, RACE_LATER, true);
    for (size_t p = 0; p < finder->nproxies; p++)
        add_all_through(finder, out, &finder->proxies[p]);
    out->limit = RACE_PATHS_MAX;
    add_remembered(finder, out, true);
}
