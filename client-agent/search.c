#include "search.h"

#include "path/race.h"

#include "crypto/crypto.h"

#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum search_state { SEARCH_RESOLVING, SEARCH_RACING, SEARCH_ENDED };

/* A connection on one path. Its memory is the search's. */
struct runner {
    struct search *search;
    size_t path;
    struct outbound *outbound;
};

struct search {
    struct search_config config;
    char *host, *server_name, *user, *password;
    size_t password_len;
    struct path known;
    bool has_known, is_freed;
    enum search_state state;
    struct path_address addresses[SEARCH_ADDRESSES_MAX];
    size_t naddresses;
    struct path_address remembered[SEARCH_ADDRESSES_MAX];
    size_t nremembered;
    struct path paths[RACE_PATHS_MAX];
    size_t npaths;
    struct race *race;
    struct runner runners[RACE_PATHS_MAX];
    struct search_trial trials[RACE_PATHS_MAX];
    size_t nopen;              /* outbounds not yet closed, handles and requests included */
    uv_getaddrinfo_t resolver;
    uv_timer_t timer;
    char resolver_words[SEARCH_WORDS];
};

static void pump(struct search *search);

/* ---- addresses and paths ---------------------------------------------------------------------------------------- */

static void add_address(struct search *search, const struct path_address *address)
{
    for (size_t i = 0; i < search->naddresses; i++)
        if (memcmp(&search->addresses[i], address, sizeof *address) == 0)
            return;
    if (search->naddresses < SEARCH_ADDRESSES_MAX)
        search->addresses[search->naddresses++] = *address;
}

bool search_address(const struct sockaddr *from, struct path_address *out)
{
    *out = (struct path_address){0};
    if (from->sa_family == AF_INET) {
        out->family = 4;
        memcpy(out->octets, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    } else if (from->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)from;
        out->family = 6;
        out->scope = v6->sin6_scope_id;
        memcpy(out->octets, &v6->sin6_addr, 16);
    }
    return out->family != 0;
}

/* The families take turns (RFC 8305 4), IPv6 first, so that a family that does not work costs one stagger at a time. */
static void add_resolved(struct search *search, const struct addrinfo *list)
{
    int wanted = AF_INET6;
    struct path_address address;
    for (int round = 0; round < 2 * SEARCH_ADDRESSES_MAX; round++, wanted = wanted == AF_INET6 ? AF_INET : AF_INET6) {
        int skip = round / 2;
        for (const struct addrinfo *at = list; at; at = at->ai_next)
            if (at->ai_family == wanted && skip-- == 0 && search_address(at->ai_addr, &address))
                add_address(search, &address);
    }
}

static void add_path(struct search *search, const struct path *path)
{
    for (size_t i = 0; i < search->npaths; i++)
        if (path_equal(&search->paths[i], path))
            return;
    if (search->npaths < RACE_PATHS_MAX)
        search->paths[search->npaths++] = *path;
}

/* The configuration may have changed since that path worked. */
static bool is_offered(const struct settings_values *values, const struct path *path)
{
    const struct settings_way *ways = values->way.items;
    for (size_t w = 0; w < values->way.count; w++)
        if (ways[w].port == path->port && ways[w].mode == path->mode)
            return true;
    return false;
}

static void make_paths(struct search *search)
{
    const struct settings_values *values = &search->config.settings->values;
    const struct settings_way *ways = values->way.items;
    search->has_known = search->has_known && is_offered(values, &search->known);
    if (search->has_known)
        add_path(search, &search->known);
    for (size_t w = 0; w < values->way.count; w++)
        for (size_t a = 0; a < search->naddresses; a++)
            add_path(search, &(struct path){.address = search->addresses[a], .port = ways[w].port, .mode = ways[w].mode});
    for (size_t i = 0; i < search->npaths; i++)
        search->trials[i].path = search->paths[i];
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

static void destroy_when_idle(struct search *search)
{
    if (!search->is_freed || search->nopen > 0)
        return;
    race_free(&search->race);
    tls_context_unref(&search->config.tls);
    settings_unref(&search->config.settings);
    if (search->password)
        crypto_wipe(search->password, search->password_len);
    free(search->password);
    free(search->host);
    free(search->server_name);
    free(search->user);
    free(search);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct search *search = handle->data;
    search->nopen--;
    destroy_when_idle(search);
}

static void end(struct search *search)
{
    if (search->state == SEARCH_ENDED)
        return;
    if (search->state == SEARCH_RESOLVING)
        uv_cancel((uv_req_t *)&search->resolver);
    search->state = SEARCH_ENDED;
    uv_close((uv_handle_t *)&search->timer, on_handle_closed);
}

static void note_verdict(struct search *search, size_t i, enum path_verdict verdict, const char *words)
{
    struct search_trial *trial = &search->trials[i];
    trial->verdict = verdict;
    trial->ms = race_verdict_ms(search->race, i);
    snprintf(trial->words, sizeof trial->words, "%s", words);
}

static void win(struct search *search, size_t i)
{
    struct outbound *winner = search->runners[i].outbound;
    const struct path path = search->paths[i];
    note_verdict(search, i, PATH_OPEN, path_verdict_words(PATH_OPEN));
    search->runners[i].outbound = NULL;
    search->nopen--;
    end(search);
    search->config.on_end(search->config.context, winner, &path);
}

static void lose(struct search *search)
{
    end(search);
    search->config.on_end(search->config.context, NULL, NULL);
}

/* ---- carrying the race out -------------------------------------------------------------------------------------- */

/* A path may be tried twice: the race displaces one that is silent and gives it a second chance later. What the displaced connection still says is nobody's. */
static void on_outbound(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct runner *runner = context;
    struct search *search = runner->search;
    int64_t now_ms = loop_now_ms(search->config.loop);
    bool is_current = runner->outbound == outbound;
    if (event->type == OUTBOUND_CLOSED) {
        if (is_current)
            runner->outbound = NULL;
        search->nopen--;
        destroy_when_idle(search);
        return;
    }
    if (search->state != SEARCH_RACING || !is_current)
        return;
    if (event->type == OUTBOUND_CONNECTED) {
        race_connected(search->race, runner->path, now_ms);
    } else if (event->type == OUTBOUND_FAILED) {
        race_failed(search->race, runner->path, event->failure->verdict, now_ms);
        note_verdict(search, runner->path, event->failure->verdict, event->failure->words);
    } else if (event->smtp.type == SMTP_CLIENT_PROVEN) {
        race_proven(search->race, runner->path, now_ms);
    }
    pump(search);
}

static void fill_target(struct search *search, size_t i, struct outbound_target *target)
{
    const struct path *path = &search->paths[i];
    struct net_address address = net_address_from_octets(path->address.family, path->address.octets, path->address.scope, path->port);
    memcpy(&target->address, &address, net_address_len(&address));
    target->tls = search->config.tls;
    target->server_name = search->server_name;
    target->hold_at_connect = true;
    target->smtp = (struct smtp_client_config){
        .security = path->mode == PATH_TLS ? SMTP_SECURITY_TLS : SMTP_SECURITY_STARTTLS,
        /* The laptop's name is nobody's business, not even the relay's. */
        .ehlo_name = SLICE("postern-agent"),
        .ehlo_name_cleartext = SLICE("localhost"),
        .user = slice_from_cstr(search->user),
        .password = slice_of(search->password, search->password_len),
        .log = search->config.log,
    };
    crypto_random(target->smtp.nonce, sizeof target->smtp.nonce);
}

static void start_runner(struct search *search, size_t i)
{
    struct outbound_target target = {0};
    struct runner *runner = &search->runners[i];
    *runner = (struct runner){.search = search, .path = i};
    fill_target(search, i, &target);
    enum result result = outbound_open(&runner->outbound, search->config.loop, &target, (struct outbound_handler){on_outbound, runner}, search->config.log);
    crypto_wipe(&target, sizeof target);
    if (result == RESULT_OK) {
        search->nopen++;
        return;
    }
    runner->outbound = NULL;
    race_failed(search->race, i, PATH_UNREACHABLE, loop_now_ms(search->config.loop));
    note_verdict(search, i, PATH_UNREACHABLE, "no socket could be opened");
}

static void cancel_runner(struct search *search, const struct race_action *action)
{
    if (action->verdict != PATH_UNTRIED)
        note_verdict(search, action->path, action->verdict, path_verdict_words(action->verdict));
    struct outbound *outbound = search->runners[action->path].outbound;
    search->runners[action->path].outbound = NULL;
    if (outbound)
        outbound_close(outbound);
}

static void on_timer(uv_timer_t *timer);

static void arm(struct search *search)
{
    int64_t deadline_ms = race_deadline_ms(search->race), now_ms = loop_now_ms(search->config.loop);
    if (deadline_ms == INT64_MAX)
        uv_timer_stop(&search->timer);
    else
        uv_timer_start(&search->timer, on_timer, (uint64_t)(deadline_ms > now_ms ? deadline_ms - now_ms : 0), 0);
}

/* RACE_WON comes first and is kept until the cancellations behind it are carried out: the losers are closed before AUTH. */
static void pump(struct search *search)
{
    struct race_action action;
    ptrdiff_t winner = -1;
    bool is_lost = false;
    while (search->state == SEARCH_RACING && race_next(search->race, loop_now_ms(search->config.loop), &action)) {
        switch (action.type) {
        case RACE_CONNECT: start_runner(search, action.path); break;
        case RACE_HANDSHAKE: outbound_proceed(search->runners[action.path].outbound); break;
        case RACE_CANCEL: cancel_runner(search, &action); break;
        case RACE_WON: winner = (ptrdiff_t)action.path; break;
        case RACE_LOST: is_lost = true; break;
        }
    }
    if (search->state != SEARCH_RACING)
        return;
    if (winner >= 0)
        win(search, (size_t)winner);
    else if (is_lost)
        lose(search);
    else
        arm(search);
}

static void begin_race(struct search *search)
{
    for (size_t i = 0; i < search->nremembered; i++)
        add_address(search, &search->remembered[i]);
    make_paths(search);
    const struct race_config config = {.is_first_known = search->has_known};
    search->state = SEARCH_RACING;
    search->race = search->npaths > 0 ? race_new(&config, search->paths, search->npaths, loop_now_ms(search->config.loop)) : NULL;
    if (search->race)
        pump(search);
    else
        lose(search);
}

static void on_timer(uv_timer_t *timer)
{
    struct search *search = timer->data;
    if (search->state == SEARCH_RESOLVING) {
        snprintf(search->resolver_words, sizeof search->resolver_words, "the resolver does not answer for %s", search->host);
        uv_cancel((uv_req_t *)&search->resolver);
        begin_race(search);
    } else if (search->state == SEARCH_RACING) {
        pump(search);
    }
}

/* ---- resolving -------------------------------------------------------------------------------------------------- */

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct search *search = request->data;
    search->nopen--;
    if (search->state == SEARCH_RESOLVING) {
        if (status < 0)
            snprintf(search->resolver_words, sizeof search->resolver_words, "%s could not be resolved: %s", search->host, uv_strerror(status));
        add_resolved(search, list);
        begin_race(search);
    }
    uv_freeaddrinfo(list);
    destroy_when_idle(search);
}

static void on_first_turn(uv_timer_t *timer)
{
    struct search *search = timer->data;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct net_address literal;
    struct path_address address;
    if (net_address_parse_ip(slice_from_cstr(search->host), 0, &literal) == RESULT_OK) {
        if (search_address(&literal.any, &address))
            add_address(search, &address);
        begin_race(search);
        return;
    }
    search->resolver.data = search;
    if (uv_getaddrinfo(search->config.loop, &search->resolver, on_resolved, search->host, NULL, &hints) < 0) {
        begin_race(search);
        return;
    }
    search->nopen++;
    uv_timer_start(&search->timer, on_timer, SEARCH_RESOLVER_MS, 0);
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

struct search *search_start(const struct search_config *config)
{
    const struct settings_values *values = &config->settings->values;
    struct search *search = calloc(1, sizeof *search);
    if (!search)
        return NULL;
    search->config = *config;
    search->config.settings = settings_ref(config->settings);
    search->config.tls = tls_context_ref(config->tls);
    search->has_known = config->known != NULL;
    if (config->known)
        search->known = *config->known;
    for (; search->nremembered < config->nremembered && search->nremembered < SEARCH_ADDRESSES_MAX; search->nremembered++)
        search->remembered[search->nremembered] = config->remembered[search->nremembered];
    search->host = copy(values->relay_host);
    search->server_name = copy(values->relay_name.len > 0 ? values->relay_name : values->relay_host);
    search->user = copy(values->user);
    search->password = copy(config->password);
    search->password_len = config->password.len;
    bool is_ready = search->host && search->server_name && search->user && search->password && uv_timer_init(config->loop, &search->timer) == 0;
    if (!is_ready) {
        search->is_freed = true;
        destroy_when_idle(search);
        return NULL;
    }
    search->timer.data = search;
    search->nopen++;
    uv_timer_start(&search->timer, on_first_turn, 0, 0);
    return search;
}

void search_cancel(struct search *search)
{
    end(search);
    for (size_t i = 0; i < search->npaths; i++)
        if (search->runners[i].outbound)
            outbound_close(search->runners[i].outbound);
}

void search_free(struct search **search)
{
    struct search *s = *search;
    *search = NULL;
    if (!s)
        return;
    search_cancel(s);
    s->is_freed = true;
    destroy_when_idle(s);
}

size_t search_ntrials(const struct search *search)
{
    return search->npaths;
}

const struct search_trial *search_trials(const struct search *search)
{
    return search->trials;
}

const char *search_resolver_words(const struct search *search)
{
    return search->resolver_words[0] ? search->resolver_words : NULL;
}
