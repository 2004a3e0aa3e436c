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

/* A race over n of the search's paths, from base on. */
struct round {
    struct race *race;   /* NULL: not begun, or lost for want of memory */
    size_t base, n;
    bool is_last_chance; /* of demoted paths: begins later */
    bool is_lost;
};

/* The usual paths and the demoted ones; the same again for what the resolver says late. */
enum { ROUNDS_MAX = 4, ADDRESSES_MAX = 12 };

struct search {
    struct search_config config;
    char *host, *server_name, *user, *password;
    size_t password_len;
    struct path known;
    bool has_known, is_freed;
    enum search_state state;
    struct path_address addresses[ADDRESSES_MAX]; /* the resolver's and the remembered */
    size_t naddresses;
    struct path_address resolved[SEARCH_ADDRESSES_MAX];
    size_t nresolved;
    struct path demoted[SEARCH_DEMOTED_MAX];
    size_t ndemoted;
    struct path_address remembered[SEARCH_ADDRESSES_MAX];
    size_t nremembered;
    struct path paths[RACE_PATHS_MAX];
    size_t npaths;
    struct round rounds[ROUNDS_MAX];
    size_t nrounds;
    int64_t last_chance_at_ms, resolver_until_ms;
    bool is_asking;            /* the resolver owes an answer */
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
        if (path_address_equal(&search->addresses[i], address))
            return;
    if (search->naddresses < ADDRESSES_MAX)
        search->addresses[search->naddresses++] = *address;
}

bool search_address(const struct sockaddr *from, struct path_address *out)
{
    *out = (struct path_address){0};
    out->family = net_address_to_octets(from, out->octets, &out->scope);
    return out->family != 0;
}

static void add_resolved_one(struct search *search, const struct addrinfo *info)
{
    struct path_address address;
    if (search->nresolved == SEARCH_ADDRESSES_MAX || !search_address(info->ai_addr, &address))
        return;
    search->resolved[search->nresolved++] = address;
    add_address(search, &address);
}

/* The families take turns (RFC 8305 4), IPv6 first, so that a family that does not work costs one stagger at a time. */
static void add_resolved(struct search *search, const struct addrinfo *list)
{
    int wanted = AF_INET6;
    for (int round = 0; round < 2 * SEARCH_ADDRESSES_MAX; round++, wanted = wanted == AF_INET6 ? AF_INET : AF_INET6) {
        int skip = round / 2;
        for (const struct addrinfo *at = list; at; at = at->ai_next)
            if (at->ai_family == wanted && skip-- == 0)
                add_resolved_one(search, at);
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
    const struct finder_way *ways = values->way.items;
    for (size_t w = 0; w < values->way.count; w++)
        if (ways[w].port == path->port && ways[w].mode == path->mode)
            return true;
    return false;
}

static bool is_demoted(const struct search *search, const struct path *path)
{
    for (size_t i = 0; i < search->ndemoted; i++)
        if (path_equal(&search->demoted[i], path))
            return true;
    return false;
}

static bool is_known_address(const struct search *search, const struct path_address *address)
{
    for (size_t i = 0; i < search->naddresses; i++)
        if (path_address_equal(&search->addresses[i], address))
            return true;
    return false;
}

static void add_usual_paths(struct search *search)
{
    const struct settings_values *values = &search->config.settings->values;
    const struct finder_way *ways = values->way.items;
    search->has_known = search->has_known && is_offered(values, &search->known) && !is_demoted(search, &search->known);
    if (search->has_known)
        add_path(search, &search->known);
    for (size_t w = 0; w < values->way.count; w++)
        for (size_t a = 0; a < search->naddresses; a++) {
            const struct path path = {.address = search->addresses[a], .port = ways[w].port, .mode = ways[w].mode};
            if (!is_demoted(search, &path))
                add_path(search, &path);
        }
}

static void add_demoted_paths(struct search *search)
{
    for (size_t i = 0; i < search->ndemoted; i++)
        if (is_offered(&search->config.settings->values, &search->demoted[i]) && is_known_address(search, &search->demoted[i].address))
            add_path(search, &search->demoted[i]);
}

static void add_round(struct search *search, size_t base, bool is_last_chance)
{
    size_t n = search->npaths - base;
    for (size_t i = base; i < search->npaths; i++)
        search->trials[i] = (struct search_trial){.path = search->paths[i]};
    if (n == 0 || search->nrounds == ROUNDS_MAX)
        return;
    for (size_t i = base; is_last_chance && i < search->npaths; i++) {
        search->trials[i].verdict = PATH_DIED_EARLY;
        snprintf(search->trials[i].words, sizeof search->trials[i].words, "died under a message lately; tried when nothing else is open");
    }
    search->rounds[search->nrounds++] = (struct round){.base = base, .n = n, .is_last_chance = is_last_chance};
}

/* Of all addresses that are known by now and have none. */
static void add_rounds(struct search *search)
{
    size_t base = search->npaths;
    add_usual_paths(search);
    add_round(search, base, false);
    base = search->npaths;
    add_demoted_paths(search);
    add_round(search, base, true);
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

static void destroy_when_idle(struct search *search)
{
    if (!search->is_freed || search->nopen > 0)
        return;
    for (size_t i = 0; i < search->nrounds; i++)
        race_free(&search->rounds[i].race);
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
    if (search->is_asking)
        uv_cancel((uv_req_t *)&search->resolver);
    search->state = SEARCH_ENDED;
    uv_close((uv_handle_t *)&search->timer, on_handle_closed);
}

static struct round *round_of(struct search *search, size_t path)
{
    struct round *round = search->rounds;
    while (path >= round->base + round->n)
        round++;
    return round;
}

static void note_verdict(struct search *search, size_t i, enum path_verdict verdict, const char *words)
{
    struct search_trial *trial = &search->trials[i];
    const struct round *round = round_of(search, i);
    trial->verdict = verdict;
    trial->ms = race_verdict_ms(round->race, i - round->base);
    snprintf(trial->words, sizeof trial->words, "%s", words);
}

static void close_all(struct search *search)
{
    for (size_t i = 0; i < search->npaths; i++) {
        struct outbound *outbound = search->runners[i].outbound;
        search->runners[i].outbound = NULL;
        if (outbound)
            outbound_close(outbound);
    }
}

static void win(struct search *search, size_t i)
{
    struct outbound *winner = search->runners[i].outbound;
    const struct path path = search->paths[i];
    note_verdict(search, i, PATH_OPEN, path_verdict_words(PATH_OPEN));
    search->runners[i].outbound = NULL;
    search->nopen--;
    close_all(search);
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
    const struct round *round = round_of(search, runner->path);
    if (event->type == OUTBOUND_CONNECTED) {
        race_connected(round->race, runner->path - round->base, now_ms);
    } else if (event->type == OUTBOUND_FAILED) {
        race_failed(round->race, runner->path - round->base, event->failure->verdict, now_ms);
        note_verdict(search, runner->path, event->failure->verdict, event->failure->words);
    } else if (event->smtp.type == SMTP_CLIENT_PROVEN) {
        race_proven(round->race, runner->path - round->base, now_ms);
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
    race_failed(round_of(search, i)->race, i - round_of(search, i)->base, PATH_UNREACHABLE, loop_now_ms(search->config.loop));
    note_verdict(search, i, PATH_UNREACHABLE, "no socket could be opened");
}

static void cancel_runner(struct search *search, size_t i, enum path_verdict verdict)
{
    if (verdict != PATH_UNTRIED)
        note_verdict(search, i, verdict, path_verdict_words(verdict));
    struct outbound *outbound = search->runners[i].outbound;
    search->runners[i].outbound = NULL;
    if (outbound)
        outbound_close(outbound);
}

/* RACE_WON comes first and is kept until the cancellations behind it are carried out: the losers are closed before AUTH. Returns the path that has won, or -1. */
static ptrdiff_t run_round(struct search *search, struct round *round)
{
    struct race_action action;
    ptrdiff_t winner = -1;
    while (race_next(round->race, loop_now_ms(search->config.loop), &action)) {
        size_t i = round->base + action.path;
        switch (action.type) {
        case RACE_CONNECT: start_runner(search, i); break;
        case RACE_HANDSHAKE: outbound_proceed(search->runners[i].outbound); break;
        case RACE_CANCEL: cancel_runner(search, i, action.verdict); break;
        case RACE_WON: winner = (ptrdiff_t)i; break;
        case RACE_LOST: round->is_lost = true; break;
        }
    }
    return winner;
}

static bool is_any_running(const struct search *search)
{
    for (size_t i = 0; i < search->nrounds; i++)
        if (search->rounds[i].race && !search->rounds[i].is_lost)
            return true;
    return false;
}

/* False: its time has not come, or it has begun before. */
static bool begin_round(struct search *search, struct round *round)
{
    int64_t now_ms = loop_now_ms(search->config.loop);
    if (round->race || round->is_lost || (round->is_last_chance && now_ms < search->last_chance_at_ms && is_any_running(search)))
        return false;
    const struct race_config config = {.is_first_known = search->has_known && round->base == 0 && !round->is_last_chance};
    round->race = race_new(&config, search->paths + round->base, round->n, now_ms);
    round->is_lost = !round->race;
    return true;
}

static void on_timer(uv_timer_t *timer);

static void arm(struct search *search)
{
    int64_t deadline_ms = is_any_running(search) ? INT64_MAX : search->resolver_until_ms, now_ms = loop_now_ms(search->config.loop);
    for (size_t i = 0; i < search->nrounds; i++) {
        const struct round *round = &search->rounds[i];
        int64_t round_ms = round->is_lost ? INT64_MAX : round->race ? race_deadline_ms(round->race) : search->last_chance_at_ms;
        deadline_ms = round_ms < deadline_ms ? round_ms : deadline_ms;
    }
    if (deadline_ms == INT64_MAX)
        uv_timer_stop(&search->timer);
    else
        uv_timer_start(&search->timer, on_timer, (uint64_t)(deadline_ms > now_ms ? deadline_ms - now_ms : 0), 0);
}

/* All rounds have failed, and nothing is hoped for from the resolver. */
static bool is_lost(const struct search *search)
{
    for (size_t i = 0; i < search->nrounds; i++)
        if (!search->rounds[i].is_lost)
            return false;
    return !search->is_asking || loop_now_ms(search->config.loop) >= search->resolver_until_ms;
}

static void pump(struct search *search)
{
    ptrdiff_t winner = -1;
    if (search->state != SEARCH_RACING)
        return;
    /* A usual round comes before the last chances that its end lets begin. */
    for (size_t i = 0; i < search->nrounds && winner < 0;) {
        struct round *round = &search->rounds[i];
        bool is_new = begin_round(search, round), was_lost = round->is_lost;
        if (round->race && !was_lost)
            winner = run_round(search, round);
        i = (is_new || was_lost != round->is_lost) && winner < 0 ? 0 : i + 1;
    }
    if (winner >= 0)
        win(search, (size_t)winner);
    else if (is_lost(search))
        lose(search);
    else
        arm(search);
}

static void begin_race(struct search *search)
{
    for (size_t i = 0; i < search->nremembered; i++)
        add_address(search, &search->remembered[i]);
    search->state = SEARCH_RACING;
    search->last_chance_at_ms = loop_now_ms(search->config.loop) + SEARCH_LAST_CHANCE_MS;
    add_rounds(search);
    pump(search);
}

static void blame_resolver(struct search *search)
{
    snprintf(search->resolver_words, sizeof search->resolver_words, "the resolver does not answer for %s", search->host);
}

static void on_timer(uv_timer_t *timer)
{
    struct search *search = timer->data;
    if (search->is_asking && !search->resolver_words[0])
        blame_resolver(search);
    if (search->state == SEARCH_RESOLVING)
        begin_race(search);
    else
        pump(search);
}

/* ---- resolving -------------------------------------------------------------------------------------------------- */

static void take_answer(struct search *search, int status, const struct addrinfo *list)
{
    search->resolver_words[0] = '\0';
    if (status < 0)
        snprintf(search->resolver_words, sizeof search->resolver_words, "%s could not be resolved: %s", search->host, uv_strerror(status));
    add_resolved(search, list);
    if (search->state == SEARCH_RESOLVING) {
        begin_race(search);
    } else {
        add_rounds(search);
        pump(search);
    }
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct search *search = request->data;
    search->nopen--;
    search->is_asking = false;
    if (search->state != SEARCH_ENDED)
        take_answer(search, status, list);
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
    search->is_asking = true;
    search->resolver_until_ms = loop_now_ms(search->config.loop) + search->config.resolver_last_ms;
    uv_timer_start(&search->timer, on_timer, (uint64_t)(search->nremembered > 0 ? search->config.resolver_ms : search->config.resolver_last_ms), 0);
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
    search->config.resolver_ms = config->resolver_ms > 0 ? config->resolver_ms : SEARCH_RESOLVER_MS;
    search->config.resolver_last_ms = config->resolver_last_ms > 0 ? config->resolver_last_ms : SEARCH_RESOLVER_LAST_MS;
    search->config.settings = settings_ref(config->settings);
    search->config.tls = tls_context_ref(config->tls);
    search->has_known = config->known != NULL;
    if (config->known)
        search->known = *config->known;
    for (; search->nremembered < config->nremembered && search->nremembered < SEARCH_ADDRESSES_MAX; search->nremembered++)
        search->remembered[search->nremembered] = config->remembered[search->nremembered];
    for (; search->ndemoted < config->ndemoted && search->ndemoted < SEARCH_DEMOTED_MAX; search->ndemoted++)
        search->demoted[search->ndemoted] = config->demoted[search->ndemoted];
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
    close_all(search);
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

size_t search_resolved(const struct search *search, const struct path_address **out)
{
    *out = search->resolved;
    return search->nresolved;
}

const char *search_resolver_words(const struct search *search)
{
    return search->resolver_words[0] ? search->resolver_words : NULL;
}
