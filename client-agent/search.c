#include "search.h"

#include "resolve.h"

#include "base/list.h"
#include "crypto/crypto.h"
#include "path/ways.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A connection whose outcome counts; let go of, it closes by itself. */
struct runner {
    struct list_node node;
    struct search *search; /* NULL: let go of */
    struct outbound *outbound;
    size_t trial;
};

struct search {
    struct search_config config;
    struct schedule patience;
    char *host, *server_name;
    struct buffer password;
    struct finder *finder;
    struct list runners;
    struct proxies *proxies;
    struct resolve *question;
    struct path_address addresses[RESOLVE_ADDRESSES_MAX]; /* the resolver's last word */
    size_t naddresses;
    struct path_address resolved; /* where the challenge is asked: the resolver's last word, IPv4 rather than IPv6, because portals mind that */
    struct prober *prober, *own_prober; /* the second: it is ours */
    struct prober_question probe;
    uv_timer_t timer;
    bool is_pumping, has_event;
    struct monitor_event event;   /* the network's last, for a core that begins anew */
    char resolver_words[SEARCH_WORDS];
};

static void pump(struct search *search);

static int64_t now_of(const struct search *search)
{
    return loop_now_ms(search->config.loop);
}

/* ---- the timer: the core's deadline, and a turn of our own for what was told from outside ------------------------- */

static void on_timer(uv_timer_t *timer)
{
    pump(timer->data);
}

static void arm(struct search *search)
{
    int64_t wait_ms = finder_deadline_ms(search->finder);
    if (wait_ms == INT64_MAX) {
        uv_timer_stop(&search->timer);
        return;
    }
    wait_ms -= now_of(search);
    uv_timer_start(&search->timer, on_timer, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

static void pump_soon(struct search *search)
{
    uv_timer_start(&search->timer, on_timer, 0, 0);
}

/* ---- names and proxies ------------------------------------------------------------------------------------------ */

static void note_resolver_failure(struct search *search, const char *why)
{
    if (why)
        snprintf(search->resolver_words, sizeof search->resolver_words, "%s could not be resolved: %s", search->host, why);
    else
        search->resolver_words[0] = '\0';
}

static void forget_resolved(struct search *search)
{
    search->resolved = (struct path_address){0};
    search->naddresses = 0;
    search->resolver_words[0] = '\0';
}

static void take_addresses(struct search *search, const struct path_address *addresses, size_t n)
{
    if (n > 0) {
        search->naddresses = n;
        memcpy(search->addresses, addresses, n * sizeof *addresses);
    }
    for (size_t i = 0; i < n; i++)
        if (i == 0 || (addresses[i].family == 4 && search->resolved.family == 6))
            search->resolved = addresses[i];
    finder_resolved(search->finder, addresses, n, now_of(search));
    pump_soon(search);
}

static void on_resolved(void *context, int status, const struct path_address *addresses, size_t n)
{
    struct search *search = context;
    search->question = NULL;
    note_resolver_failure(search, status < 0 ? uv_strerror(status) : n == 0 ? "no address" : NULL);
    take_addresses(search, addresses, n);
    pump(search);
}

static void resolve_host(struct search *search)
{
    struct slice host = slice_from_cstr(search->host);
    struct path_address literal;
    if (search->question)
        return;
    if (resolve_literal(host, &literal)) {
        take_addresses(search, &literal, 1);
    } else if (resolve_start(&search->question, search->config.loop, host, on_resolved, search) != RESULT_OK) {
        note_resolver_failure(search, "out of memory");
        take_addresses(search, NULL, 0);
    } else {
        snprintf(search->resolver_words, sizeof search->resolver_words, "the resolver does not answer for %s", search->host);
    }
}

static void on_proxies(void *context, const struct finder_proxy *list, size_t n, bool is_last)
{
    struct search *search = context;
    finder_proxies(search->finder, list, n, is_last, now_of(search));
    pump(search);
}

static void resolve(struct search *search)
{
    resolve_host(search);
    proxies_ask(search->proxies, search->host, on_proxies, search);
}

/* ---- connections ------------------------------------------------------------------------------------------------ */

static struct runner *runner_of(struct search *search, size_t trial)
{
    LIST_EACH(node, &search->runners) {
        struct runner *runner = LIST_OWNER(node, struct runner, node);
        if (runner->trial == trial)
            return runner;
    }
    return NULL;
}

static void let_go(struct runner *runner)
{
    list_remove(&runner->node);
    runner->search = NULL;
}

/* "fw.example, issued by Hotel CA": the first name is enough for the verdict. An interceptor who gives himself the relay's own name is a stranger all the same. */
static void tell_whose(struct search *search, size_t trial, const struct outbound_failure *failure)
{
    struct slice name = slice_from_cstr(failure->whose), issuer;
    slice_cut(name, ',', &name, &issuer);
    if (failure->verdict == PATH_WRONG_CERTIFICATE && !slice_equal_nocase(name, slice_from_cstr(search->server_name)))
        finder_whose(search->finder, trial, name);
}

static void on_outbound(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct runner *runner = context;
    struct search *search = runner->search;
    (void)outbound;
    if (event->type == OUTBOUND_CLOSED) {
        if (search)
            let_go(runner);
        free(runner);
        return;
    }
    if (!search)
        return;
    if (event->type == OUTBOUND_CONNECTED) {
        finder_connected(search->finder, runner->trial, now_of(search));
    } else if (event->type == OUTBOUND_FAILED) {
        finder_failed(search->finder, runner->trial, event->failure->verdict, event->failure->words, now_of(search));
        tell_whose(search, runner->trial, event->failure);
        let_go(runner);
    } else if (event->smtp.type == SMTP_CLIENT_PROVEN) {
        finder_proven(search->finder, runner->trial, now_of(search));
    }
    pump(search);
}

/* Only a relay whose key is known may be spoken to before it has spoken: elsewhere what it said last is no promise. */
static void fill_credentials(const struct search *search, struct smtp_client_config *smtp, struct smtp_peer *early)
{
    const struct settings_values *values = &search->config.settings->values;
    const struct profile *profile = search->config.profile;
    smtp->user = values->user;
    smtp->password = buffer_slice(&search->password);
    if (!profile || profile_device(profile).len == 0)
        return;
    smtp->device = profile_device(profile);
    smtp->token = profile_token(profile);
    /* A survey is to hear what the relay says. */
    if (!search->config.is_survey && values->pin.count > 0 && profile_peer(profile, early) && (early->capabilities & SMTP_CAP_PIPECONNECT))
        smtp->early = early;
}

static void set_address(struct outbound_target *target, const struct path_address *from, uint16_t port)
{
    struct net_address address = net_address_from_octets(from->family, from->octets, from->scope, port);
    memcpy(&target->address, &address, net_address_len(&address));
}

/* The proxy is told the relay's address where we have one, and its name where the proxy is to find out. */
static void fill_tunnel(const struct search *search, const struct path *path, struct tunnel_config *tunnel, char *host, size_t size)
{
    *tunnel = (struct tunnel_config){.via = path->via, .port = path->port};
    if (path->address.family != 0)
        path_address_format(&path->address, host, size);
    else
        snprintf(host, size, "%s", search->host);
    tunnel->host = slice_from_cstr(host);
    proxies_credentials(search->proxies, path->via, &path->proxy, &tunnel->user, &tunnel->password);
}

static enum result open_path(struct search *search, const struct path *path, struct runner *runner)
{
    struct tunnel_config tunnel;
    struct smtp_peer early;
    char host[TUNNEL_HOST_MAX + 1];
    struct outbound_target target = {.tls = search->config.tls, .server_name = search->server_name, .alpn = path->alpn, .silence_ms = SEARCH_SILENCE_MS, .hold_at_connect = true};
    target.smtp = (struct smtp_client_config){
        .security = path->mode == PATH_TLS ? SMTP_SECURITY_TLS : SMTP_SECURITY_STARTTLS,
        /* The laptop's name is nobody's business, not even the relay's. */
        .ehlo_name = SLICE("postern-agent"),
        .ehlo_name_cleartext = SLICE("localhost"),
        .speaks_first = path->alpn == PATH_ALPN_HTTP,
        .log = search->config.log,
    };
    fill_credentials(search, &target.smtp, &early);
    crypto_random(target.smtp.nonce, sizeof target.smtp.nonce);
    if (path->via == PATH_DIRECT) {
        set_address(&target, &path->address, path->port);
    } else {
        set_address(&target, &path->proxy.address, path->proxy.port);
        fill_tunnel(search, path, &tunnel, host, sizeof host);
        target.tunnel = &tunnel;
    }
    enum result result = outbound_open(&runner->outbound, search->config.loop, &target, (struct outbound_handler){on_outbound, runner}, search->config.log);
    crypto_wipe(&target, sizeof target);
    return result;
}

static void start_runner(struct search *search, const struct finder_action *action)
{
    struct runner *runner = calloc(1, sizeof *runner);
    if (runner) {
        *runner = (struct runner){.search = search, .trial = action->trial};
        if (open_path(search, &action->path, runner) == RESULT_OK) {
            list_append(&search->runners, &runner->node);
            return;
        }
    }
    free(runner);
    finder_failed(search->finder, action->trial, PATH_UNREACHABLE, "no socket could be opened", now_of(search));
}

static void proceed(struct search *search, size_t trial)
{
    const struct runner *runner = runner_of(search, trial);
    if (runner)
        outbound_proceed(runner->outbound);
}

static void cancel(struct search *search, size_t trial)
{
    struct runner *runner = runner_of(search, trial);
    if (!runner)
        return;
    const struct outbound_failure *stall = outbound_stall(runner->outbound);
    if (stall)
        finder_explain(search->finder, trial, stall->verdict, stall->words);
    let_go(runner);
    outbound_close(runner->outbound);
}

static bool has_address(const struct path_address *list, size_t n, const struct path_address *address)
{
    for (size_t i = 0; i < n; i++)
        if (path_address_equal(&list[i], address))
            return true;
    return false;
}

/* The next network may have no IPv6, and no resolver: one that named the winner is a hint for the other family. */
static void keep_hints(struct search *search, const struct path_address *winner)
{
    if (!search->config.memory || !has_address(search->addresses, search->naddresses, winner))
        return;
    memory_keep_address(search->config.memory, winner);
    for (size_t i = 0; i < search->naddresses; i++)
        memory_hint_address(search->config.memory, &search->addresses[i]);
}

static void hand_over(struct search *search, const struct finder_action *action)
{
    struct runner *runner = runner_of(search, action->trial);
    if (!runner)
        return;
    struct outbound *winner = runner->outbound;
    let_go(runner);
    free(runner);
    keep_hints(search, &action->path.address);
    search->config.on_use(search->config.context, winner, &action->path);
}

/* ---- the challenge ---------------------------------------------------------------------------------------------- */

static void tell_probe(struct search *search, enum finder_probe answer)
{
    finder_probed(search->finder, answer, now_of(search));
    pump_soon(search);
}

static void on_probed(void *context, enum finder_probe answer)
{
    tell_probe(context, answer);
}

static bool challenge_address(const struct search *search, struct sockaddr_storage *out)
{
    const struct path_address *remembered = NULL;
    size_t n = search->config.memory ? memory_addresses(search->config.memory, &remembered) : 0;
    const struct path_address *at = search->resolved.family != 0 ? &search->resolved : n > 0 ? remembered : NULL;
    if (!at)
        return false;
    struct net_address address = net_address_from_octets(at->family, at->octets, at->scope, (uint16_t)search->config.settings->values.http_port);
    *out = (struct sockaddr_storage){0};
    memcpy(out, &address, net_address_len(&address));
    return true;
}

/* Somebody else's submission service may have any website on its port 80, which is no captive portal. Whose key is pinned is likely to be ours. */
static bool may_probe(const struct search *search)
{
    const struct settings_values *values = &search->config.settings->values;
    const struct profile *profile = search->config.profile;
    return profile && profile->has_peer ? profile_is_ours(profile) : values->pin.count > 0;
}

static void probe(struct search *search)
{
    struct prober_question *question = &search->probe;
    prober_cancel(question);
    *question = (struct prober_question){.ask = {.tls = search->config.tls, .server_name = search->server_name}, .on_answer = on_probed, .context = search};
    if (search->event.has_key)
        memcpy(question->network.octets, search->event.key, MEMORY_KEY);
    if (may_probe(search) && challenge_address(search, &question->ask.address))
        prober_ask(search->prober, question);
    else
        tell_probe(search, FINDER_PROBE_SILENT);
}

/* ---- the pump --------------------------------------------------------------------------------------------------- */

static void carry_out(struct search *search, const struct finder_action *action)
{
    switch (action->type) {
    case FINDER_RESOLVE: resolve(search); return;
    case FINDER_CONNECT: start_runner(search, action); return;
    case FINDER_HANDSHAKE: proceed(search, action->trial); return;
    case FINDER_CANCEL: cancel(search, action->trial); return;
    case FINDER_USE: hand_over(search, action); return;
    case FINDER_DROP: search->config.on_drop(search->config.context); return;
    case FINDER_PROBE: probe(search); return;
    case FINDER_LOST: search->config.on_lost(search->config.context); return;
    }
}

static void pump(struct search *search)
{
    struct finder_action action;
    if (search->is_pumping)
        return;
    search->is_pumping = true;
    while (finder_next(search->finder, now_of(search), &action))
        carry_out(search, &action);
    search->is_pumping = false;
    arm(search);
    if (search->config.on_progress)
        search->config.on_progress(search->config.context);
}

/* ---- inputs ----------------------------------------------------------------------------------------------------- */

void search_want(struct search *search, enum finder_wish wish)
{
    finder_set_wall(search->finder, wall_now_ms(), now_of(search));
    finder_want(search->finder, wish, now_of(search));
    pump_soon(search);
}

/* A relay on this very machine (a tunnel's end, a test's) is there without any network. */
static bool is_relay_here(const struct search *search)
{
    struct path_address literal;
    if (!resolve_literal(slice_from_cstr(search->host), &literal))
        return strcmp(search->host, "localhost") == 0;
    static const uint8_t v6_loopback[16] = {[15] = 1};
    return literal.family == 4 ? literal.octets[0] == 127 : memcmp(literal.octets, v6_loopback, 16) == 0;
}

static void tell_network(struct search *search, bool is_fresh)
{
    struct memory_key key;
    _Static_assert((int)MEMORY_KEY == (int)MONITOR_NETWORK_KEY, "one key");
    memcpy(key.octets, search->event.key, MEMORY_KEY);
    finder_set_wall(search->finder, wall_now_ms(), now_of(search));
    finder_set_network(search->finder, search->event.has_key ? &key : NULL, search->event.is_up || is_relay_here(search), is_fresh, now_of(search));
}

void search_set_network(struct search *search, const struct monitor_event *event)
{
    bool is_fresh = event->has_changed || event->has_slept;
    search->event = *event;
    search->has_event = true;
    if (is_fresh) {
        /* What the resolver said was about the old network, and may have been its lie. */
        resolve_cancel(&search->question);
        forget_resolved(search);
        proxies_forget(search->proxies);
    }
    tell_network(search, is_fresh);
    pump(search);
}

void search_carried(struct search *search, uint64_t octets)
{
    finder_set_wall(search->finder, wall_now_ms(), now_of(search));
    finder_carried(search->finder, octets, now_of(search));
    pump_soon(search);
}

void search_ended(struct search *search, enum finder_end how, enum path_verdict verdict, const char *words)
{
    finder_set_wall(search->finder, wall_now_ms(), now_of(search));
    finder_ended(search->finder, how, verdict, words, now_of(search));
    pump_soon(search);
}

/* ---- ways ------------------------------------------------------------------------------------------------------- */

static size_t add_ways(struct finder_way *ways, size_t n, const struct finder_way *more, size_t nmore)
{
    for (size_t i = 0; i < nmore && n < FINDER_WAYS_MAX; i++)
        if (!path_ways_have(ways, n, &more[i]))
            ways[n++] = more[i];
    return n;
}

/* Who configures fewer ways than the usual ones means those and no others. */
static bool takes_further_ways(const struct settings_values *values)
{
    static const struct finder_way usual[] = {
        {.port = 465, .mode = PATH_TLS}, {.port = 443, .mode = PATH_TLS}, {.port = 587, .mode = PATH_STARTTLS}, {.port = 2525, .mode = PATH_STARTTLS}, {.port = 25, .mode = PATH_STARTTLS},
    };
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (!path_ways_have(values->way.items, values->way.count, &usual[i]))
            return false;
    return true;
}

static void set_ways(struct search *search)
{
    const struct settings_values *values = &search->config.settings->values;
    struct finder_way ways[FINDER_WAYS_MAX], named[FINDER_WAYS_MAX];
    size_t n = add_ways(ways, 0, values->way.items, values->way.count);
    if (search->config.profile && takes_further_ways(values))
        n = add_ways(ways, n, named, profile_ways(search->config.profile, named, FINDER_WAYS_MAX));
    finder_set_ways(search->finder, ways, n, now_of(search));
}

void search_profile_changed(struct search *search)
{
    set_ways(search);
    pump_soon(search);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static char *copy(struct slice text)
{
    char *out = malloc(text.len + 1);
    if (!out)
        return NULL;
    if (text.len > 0)
        memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return out;
}

/* Everything that is made of the settings; on failure nothing is kept of it. */
struct parts {
    char *host, *server_name;
    struct buffer password;
    struct proxies *proxies;
};

static void drop_parts(struct parts *parts)
{
    free(parts->host);
    free(parts->server_name);
    buffer_wipe_free(&parts->password);
    proxies_free(&parts->proxies);
}

static enum result make_parts(struct parts *parts, const struct search_config *config, struct settings *settings, struct slice password)
{
    const struct settings_values *values = &settings->values;
    *parts = (struct parts){.password = BUFFER_SECRET(SASL_PASSWORD_MAX)};
    parts->host = copy(values->relay_host);
    parts->server_name = copy(values->relay_name.len > 0 ? values->relay_name : values->relay_host);
    parts->proxies = proxies_new(config->loop, settings, config->program, config->log);
    if (parts->host && parts->server_name && parts->proxies && buffer_append(&parts->password, password) == RESULT_OK)
        return RESULT_OK;
    drop_parts(parts);
    return RESULT_MEMORY;
}

static struct finder *make_finder(const struct search *search, const struct settings *settings)
{
    const struct finder_config config = {
        .patience = &search->patience,
        .memory = search->config.memory,
        .seed = crypto_random_u32(),
        .can_probe = settings->values.http_port > 0,
        .is_survey = search->config.is_survey,
    };
    return finder_new(&config, now_of(search));
}

static void stop_all(struct search *search)
{
    LIST_EACH_SAFE(node, after, &search->runners) {
        struct runner *runner = LIST_OWNER(node, struct runner, node);
        let_go(runner);
        outbound_close(runner->outbound);
    }
    prober_cancel(&search->probe);
    resolve_cancel(&search->question);
}

static void drop_settings(struct search *search)
{
    struct parts parts = {search->host, search->server_name, search->password, search->proxies};
    finder_free(&search->finder);
    drop_parts(&parts);
    settings_unref(&search->config.settings);
    tls_context_unref(&search->config.tls);
}

/* The old ones are let go of only when the new ones stand. */
enum result search_reload(struct search *search, struct settings *settings, struct tls_context *tls, struct slice password)
{
    struct parts parts;
    enum result result = make_parts(&parts, &search->config, settings, password);
    struct finder *finder = result == RESULT_OK ? make_finder(search, settings) : NULL;
    if (!finder) {
        if (result == RESULT_OK)
            drop_parts(&parts);
        return RESULT_MEMORY;
    }
    stop_all(search);
    drop_settings(search);
    search->config.settings = settings_ref(settings);
    search->config.tls = tls_context_ref(tls);
    search->host = parts.host;
    search->server_name = parts.server_name;
    search->password = parts.password;
    search->proxies = parts.proxies;
    search->finder = finder;
    search->patience = settings->values.patience;
    forget_resolved(search);
    set_ways(search);
    if (search->has_event)
        tell_network(search, true);
    pump_soon(search);
    return RESULT_OK;
}

struct search *search_new(const struct search_config *config)
{
    struct search *search = calloc(1, sizeof *search);
    if (!search)
        return NULL;
    search->config = *config;
    search->config.settings = NULL;
    search->config.tls = NULL;
    search->timer.data = search;
    if (uv_timer_init(config->loop, &search->timer) < 0) {
        free(search);
        return NULL;
    }
    if (!config->prober)
        search->own_prober = prober_new(config->loop, config->log);
    search->prober = config->prober ? config->prober : search->own_prober;
    if (!search->prober || search_reload(search, config->settings, config->tls, config->password) != RESULT_OK)
        search_free(&search);
    return search;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void search_free(struct search **search)
{
    struct search *s = *search;
    *search = NULL;
    if (!s)
        return;
    stop_all(s);
    drop_settings(s);
    prober_free(&s->own_prober);
    uv_close((uv_handle_t *)&s->timer, on_closed);
}

const struct finder *search_finder(const struct search *search)
{
    return search->finder;
}

const char *search_resolver_words(const struct search *search)
{
    return search->resolver_words[0] ? search->resolver_words : NULL;
}

const char *search_missing_proxy(const struct search *search)
{
    return proxies_missing(search->proxies);
}
