#include "proxies.h"

#include "resolve.h"

#include <stdlib.h>
#include <string.h>

enum { PROXY_ADDRESSES_MAX = 2 }; /* of one proxy: one of each family */

/* One configured proxy and where it was found. Its place in the array is its place in the order. */
struct known_proxy {
    struct proxies *proxies;
    const struct settings_proxy *configured;
    struct resolve *resolve; /* non-NULL: the resolver is asked */
    struct path_address addresses[PROXY_ADDRESSES_MAX];
    size_t naddresses;
};

struct proxies {
    uv_loop_t *loop;
    struct settings *settings;
    struct known_proxy known[FINDER_PROXIES_MAX];
    size_t nknown;
    uv_timer_t timer; /* the first answer, in a turn of its own */
    proxies_answer *on_answer;
    void *context;
};

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static struct path_proxy endpoint_of(const struct known_proxy *known, size_t address)
{
    return (struct path_proxy){.address = known->addresses[address], .port = known->configured->port};
}

static void tell(struct proxies *proxies)
{
    struct finder_proxy list[FINDER_PROXIES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < proxies->nknown; i++)
        for (size_t a = 0; a < proxies->known[i].naddresses && n < FINDER_PROXIES_MAX; a++)
            list[n++] = (struct finder_proxy){proxies->known[i].configured->via, endpoint_of(&proxies->known[i], a)};
    proxies->on_answer(proxies->context, list, n);
}

static void on_timer(uv_timer_t *timer)
{
    tell(timer->data);
}

/* One address of each family: the resolver's order within one is of no use to a laptop that wants any way at all. */
static void keep(struct known_proxy *known, const struct path_address *addresses, size_t n)
{
    known->naddresses = 0;
    for (size_t i = 0; i < n && known->naddresses < PROXY_ADDRESSES_MAX; i++)
        if (known->naddresses == 0 || known->addresses[0].family != addresses[i].family)
            known->addresses[known->naddresses++] = addresses[i];
}

static void on_resolved(void *context, int status, const struct path_address *addresses, size_t n)
{
    struct known_proxy *known = context;
    (void)status;
    known->resolve = NULL;
    keep(known, addresses, n);
    tell(known->proxies);
}

static void look_up(struct known_proxy *known)
{
    struct path_address literal;
    resolve_cancel(&known->resolve);
    if (resolve_literal(known->configured->host, &literal))
        keep(known, &literal, 1);
    else if (resolve_start(&known->resolve, known->proxies->loop, known->configured->host, on_resolved, known) != RESULT_OK)
        known->naddresses = 0;
}

void proxies_ask(struct proxies *proxies, struct slice relay_host, proxies_answer *on_answer, void *context)
{
    (void)relay_host; /* who configures a proxy for us means our relay */
    proxies->on_answer = on_answer;
    proxies->context = context;
    for (size_t i = 0; i < proxies->nknown; i++)
        look_up(&proxies->known[i]);
    uv_timer_start(&proxies->timer, on_timer, 0, 0);
}

/* ---- credentials ------------------------------------------------------------------------------------------------ */

static bool is_endpoint(const struct known_proxy *known, enum path_via via, const struct path_proxy *proxy)
{
    for (size_t a = 0; known->configured->via == via && known->configured->port == proxy->port && a < known->naddresses; a++)
        if (path_address_equal(&known->addresses[a], &proxy->address))
            return true;
    return false;
}

void proxies_credentials(const struct proxies *proxies, enum path_via via, const struct path_proxy *proxy, struct slice *user, struct slice *password)
{
    *user = *password = (struct slice){0};
    for (size_t i = 0; i < proxies->nknown; i++)
        if (is_endpoint(&proxies->known[i], via, proxy)) {
            *user = proxies->known[i].configured->user;
            *password = proxies->known[i].configured->password;
            return;
        }
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

struct proxies *proxies_new(uv_loop_t *loop, struct settings *settings, const struct log *log)
{
    const struct settings_proxy *configured = settings->values.proxy.items;
    struct proxies *proxies = calloc(1, sizeof *proxies);
    (void)log;
    if (!proxies)
        return NULL;
    if (uv_timer_init(loop, &proxies->timer) < 0) {
        free(proxies);
        return NULL;
    }
    proxies->timer.data = proxies;
    proxies->loop = loop;
    proxies->settings = settings_ref(settings);
    for (size_t i = 0; i < settings->values.proxy.count && proxies->nknown < FINDER_PROXIES_MAX; i++)
        proxies->known[proxies->nknown++] = (struct known_proxy){.proxies = proxies, .configured = &configured[i]};
    return proxies;
}

static void on_closed(uv_handle_t *handle)
{
    struct proxies *proxies = handle->data;
    settings_unref(&proxies->settings);
    free(proxies);
}

void proxies_free(struct proxies **proxies)
{
    struct proxies *p = *proxies;
    *proxies = NULL;
    if (!p)
        return;
    for (size_t i = 0; i < p->nknown; i++)
        resolve_cancel(&p->known[i].resolve);
    uv_close((uv_handle_t *)&p->timer, on_closed);
}
