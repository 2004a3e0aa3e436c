#include "proxies.h"

#include "resolve.h"
#include "system_proxies.h"

#include "net/stream.h"

#include <stdlib.h>
#include <string.h>

enum { PROXY_ADDRESSES_MAX = 2 }; /* of one proxy: one of each family */

/* One proxy and where it was found. Its place in the array is its place in the order. */
struct known_proxy {
    struct proxies *proxies;
    struct settings_proxy configured; /* its strings are the settings', or in `said` */
    struct resolve *resolve; /* non-NULL: the resolver is asked */
    struct path_address addresses[PROXY_ADDRESSES_MAX];
    size_t naddresses;
    bool is_missing; /* on this network; told in the log */
};

struct proxies {
    uv_loop_t *loop;
    struct settings *settings;
    const char *program;
    const struct log *log;
    struct known_proxy known[FINDER_PROXIES_MAX];
    size_t nknown, nconfigured;  /* those behind the configured ones are the system's */
    struct system_proxies *asked; /* the system owes an answer */
    struct arena said;           /* what it said */
    bool has_said;
    int64_t said_at_ms;
    uv_timer_t timer; /* the first answer, in a turn of its own */
    proxies_answer *on_answer;
    void *context;
};

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static struct path_proxy endpoint_of(const struct known_proxy *known, size_t address)
{
    return (struct path_proxy){.address = known->addresses[address], .port = known->configured.port};
}

static void tell(struct proxies *proxies)
{
    struct finder_proxy list[FINDER_PROXIES_MAX];
    bool is_last = !proxies->asked;
    size_t n = 0;
    for (size_t i = 0; i < proxies->nknown; i++)
        is_last = is_last && !proxies->known[i].resolve;
    for (size_t i = 0; i < proxies->nknown; i++)
        for (size_t a = 0; a < proxies->known[i].naddresses && n < FINDER_PROXIES_MAX; a++)
            list[n++] = (struct finder_proxy){proxies->known[i].configured.via, endpoint_of(&proxies->known[i], a)};
    proxies->on_answer(proxies->context, list, n, is_last);
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

/* In the log once a network: each search asks. */
static void note_missing(struct known_proxy *known, bool is_missing, int status)
{
    if (is_missing && !known->is_missing)
        log_event(known->proxies->log, LOG_WARNING, "proxy-not-found", LOG_STR("host", known->configured.host), LOG_TEXT("reason", status < 0 ? uv_strerror(status) : "no address"));
    known->is_missing = is_missing;
}

static void on_resolved(void *context, int status, const struct path_address *addresses, size_t n)
{
    struct known_proxy *known = context;
    known->resolve = NULL;
    note_missing(known, n == 0, status);
    keep(known, addresses, n);
    tell(known->proxies);
}

static void look_up(struct known_proxy *known)
{
    struct path_address literal;
    resolve_cancel(&known->resolve);
    if (resolve_literal(known->configured.host, &literal))
        keep(known, &literal, 1);
    else if (resolve_start(&known->resolve, known->proxies->loop, known->configured.host, on_resolved, known) != RESULT_OK)
        known->naddresses = 0;
}

/* ---- the system's ----------------------------------------------------------------------------------------------- */

static void drop_systems(struct proxies *proxies)
{
    system_proxies_cancel(&proxies->asked);
    while (proxies->nknown > proxies->nconfigured)
        resolve_cancel(&proxies->known[--proxies->nknown].resolve);
    arena_wipe_free(&proxies->said); /* holds credentials */
    proxies->has_said = false;
}

/* False: no memory for it. */
static bool add_system(struct proxies *proxies, const struct settings_proxy *said)
{
    struct known_proxy *known = &proxies->known[proxies->nknown];
    *known = (struct known_proxy){.proxies = proxies, .configured = {.via = said->via, .port = said->port}};
    if (arena_copy(&proxies->said, said->host, &known->configured.host) != RESULT_OK || arena_copy(&proxies->said, said->user, &known->configured.user) != RESULT_OK ||
        arena_copy(&proxies->said, said->password, &known->configured.password) != RESULT_OK)
        return false;
    proxies->nknown++;
    look_up(known);
    return true;
}

static void on_system(void *context, const struct settings_proxy *said, size_t n)
{
    struct proxies *proxies = context;
    proxies->asked = NULL;
    proxies->has_said = true;
    proxies->said_at_ms = loop_now_ms(proxies->loop);
    for (size_t i = 0; i < n && proxies->nknown < FINDER_PROXIES_MAX; i++)
        if (!add_system(proxies, &said[i]))
            break;
    log_event(proxies->log, LOG_DEBUG, "system-proxies", LOG_INT("count", n));
    tell(proxies);
}

static void ask_system(struct proxies *proxies, const char *relay_host)
{
    bool is_fresh = proxies->has_said && loop_now_ms(proxies->loop) - proxies->said_at_ms < PROXIES_FRESH_MS;
    if (!proxies->program || !proxies->settings->values.uses_system_proxies || is_fresh || proxies->asked)
        return;
    drop_systems(proxies);
    if (system_proxies_ask(&proxies->asked, proxies->loop, proxies->program, relay_host, 0, proxies->log, on_system, proxies) != RESULT_OK)
        log_event(proxies->log, LOG_WARNING, "system-proxies", LOG_TEXT("reason", "no process can be started to ask for them"));
}

/* At the address that a name had there may sit anybody here, and would be told the credentials. */
void proxies_forget(struct proxies *proxies)
{
    drop_systems(proxies);
    for (size_t i = 0; i < proxies->nknown; i++) {
        resolve_cancel(&proxies->known[i].resolve);
        proxies->known[i].naddresses = 0;
        proxies->known[i].is_missing = false;
    }
}

const char *proxies_missing(const struct proxies *proxies)
{
    for (size_t i = 0; i < proxies->nknown; i++)
        if (proxies->known[i].is_missing)
            return proxies->known[i].configured.host.ptr;
    return NULL;
}

void proxies_ask(struct proxies *proxies, const char *relay_host, proxies_answer *on_answer, void *context)
{
    proxies->on_answer = on_answer;
    proxies->context = context;
    ask_system(proxies, relay_host);
    for (size_t i = 0; i < proxies->nknown; i++)
        look_up(&proxies->known[i]);
    if (!proxies->asked || proxies->nknown > 0)
        uv_timer_start(&proxies->timer, on_timer, 0, 0);
}

/* ---- credentials ------------------------------------------------------------------------------------------------ */

static bool is_endpoint(const struct known_proxy *known, enum path_via via, const struct path_proxy *proxy)
{
    for (size_t a = 0; known->configured.via == via && known->configured.port == proxy->port && a < known->naddresses; a++)
        if (path_address_equal(&known->addresses[a], &proxy->address))
            return true;
    return false;
}

void proxies_credentials(const struct proxies *proxies, enum path_via via, const struct path_proxy *proxy, struct slice *user, struct slice *password)
{
    *user = *password = (struct slice){0};
    for (size_t i = 0; i < proxies->nknown; i++)
        if (is_endpoint(&proxies->known[i], via, proxy)) {
            *user = proxies->known[i].configured.user;
            *password = proxies->known[i].configured.password;
            return;
        }
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

struct proxies *proxies_new(uv_loop_t *loop, struct settings *settings, const char *program, const struct log *log)
{
    const struct settings_proxy *configured = settings->values.proxy.items;
    struct proxies *proxies = calloc(1, sizeof *proxies);
    if (!proxies)
        return NULL;
    if (uv_timer_init(loop, &proxies->timer) < 0) {
        free(proxies);
        return NULL;
    }
    proxies->timer.data = proxies;
    proxies->loop = loop;
    proxies->settings = settings_ref(settings);
    proxies->program = program;
    proxies->log = log;
    for (size_t i = 0; i < settings->values.proxy.count && proxies->nknown < FINDER_PROXIES_MAX; i++)
        proxies->known[proxies->nknown++] = (struct known_proxy){.proxies = proxies, .configured = configured[i]};
    proxies->nconfigured = proxies->nknown;
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
    drop_systems(p);
    for (size_t i = 0; i < p->nknown; i++)
        resolve_cancel(&p->known[i].resolve);
    uv_close((uv_handle_t *)&p->timer, on_closed);
}
