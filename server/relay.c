#include "relay.h"

#include "admin.h"
#include "contexts.h"
#include "served.h"
#include "thread.h"
#include "watch.h"
#include "ways.h"

#include "mail/message_id.h"
#include "mta/console.h"
#include "schema.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { WHY = 600, SIGNALS = 3, STORE_WAIT_MS = 5000 };

struct relay {
    const struct dirs *dirs;
    struct log log;
    uv_loop_t loop;
    struct conf *conf;
    struct contexts contexts;
    struct store *store;
    struct store_client *client;
    struct mailbox *mailbox;
    struct dns *dns;
    struct sentry *sentry;
    struct verifier *verifier;
    struct underway *underway;
    struct thread *threads[CONF_THREADS_MAX];
    size_t nthreads, nidle;
    struct conf_listener bound[CONF_LISTENERS_MAX];
    size_t nbound;
    struct arena told_memory; /* all that XWAYS and XOUTCOME have ever said: sessions point at it */
    struct conf_told told;
    struct served served;
    struct delivery *delivery;
    struct letter rescan;           /* from a session's thread that has no memory for one of its own */
    atomic_flag is_rescan_posted;
    struct control_server *control;
    struct admin admin;
    struct watch *watch;
    uv_signal_t signals[SIGNALS];
    size_t nsignals;
    uv_mutex_t id_lock;
    struct message_id_source ids; /* under id_lock */
    _Atomic uint32_t accounts_version;
    _Atomic uint32_t sessions;
    char dummy_hash[CRYPTO_PASSWORD_HASH_MAX];
    uint8_t salt_secret[CRYPTO_KEY];
    int64_t started_at_ms;
    bool is_stopping, are_threads_idle, is_delivery_stopped, is_secret_known, is_answered, has_run;
    bool has_started, is_hangup_early, is_end_early; /* signals that came during the start wait for its end */
};

/* A thread tells that its sessions have ended. */
struct idle_letter {
    struct letter letter;
    struct relay *relay;
};

/* ---- small things ----------------------------------------------------------------------------------------------- */

/* One write a line, so that lines of several threads do not mix. A log that can't be written stops nobody. */
static void write_line(void *context, enum log_level level, struct slice line)
{
    (void)context;
    (void)level;
    ssize_t written = write(STDERR_FILENO, line.ptr, line.len);
    (void)written;
}

static int relay_fail(struct relay *relay, int exit_code, const char *what, const char *why)
{
    log_event(&relay->log, LOG_ERROR, what, LOG_TEXT("reason", why));
    return exit_code;
}

static uint64_t relay_next_id(void *context)
{
    struct relay *relay = context;
    uv_mutex_lock(&relay->id_lock);
    uint64_t id = message_id_next(&relay->ids, wall_now_ms(), crypto_random_u32());
    uv_mutex_unlock(&relay->id_lock);
    return id;
}

/* ---- from the sessions to the delivery --------------------------------------------------------------------------- */

static void relay_on_letter(struct letter *letter)
{
    struct queued_letter *queued = LIST_OWNER(letter, struct queued_letter, letter);
    struct relay *relay = queued->context;
    if (relay->delivery)
        delivery_add(relay->delivery, queued->message, queued->hops, queued->nhops, queued->due_at_ms);
    queued_letter_free(&queued);
}

static void relay_on_rescan(struct letter *letter)
{
    struct relay *relay = LIST_OWNER(letter, struct relay, rescan);
    atomic_flag_clear(&relay->is_rescan_posted); /* before the look: a message stored from now on asks for another */
    if (relay->delivery)
        delivery_rescan_later(relay->delivery);
}

static void relay_on_queued(void *context, struct queued_letter *queued)
{
    struct relay *relay = context;
    if (!queued) {
        log_event(&relay->log, LOG_ERROR, "memory-out", LOG_TEXT("reason", "a message is stored, and will be found in the store in a moment"));
        if (!atomic_flag_test_and_set(&relay->is_rescan_posted))
            mailbox_post(relay->mailbox, &relay->rescan);
        return;
    }
    queued->letter.open = relay_on_letter;
    queued->context = relay;
    mailbox_post(relay->mailbox, &queued->letter);
}

/* ---- stopping --------------------------------------------------------------------------------------------------- */

static void on_closed_nothing(void *context)
{
    (void)context;
}

/* Sessions and deliveries have ended: what is left goes, and the loop runs dry. */
static void relay_finish(struct relay *relay)
{
    if (!relay->are_threads_idle || !relay->is_delivery_stopped)
        return;
    verifier_stop(&relay->verifier);
    for (size_t i = 0; i < relay->nthreads; i++)
        thread_finish(relay->threads[i]);
    for (size_t i = 0; i < relay->nthreads; i++)
        thread_join(&relay->threads[i]);
    served_close(&relay->served); /* the sessions read it to the last */
    mailbox_close(&relay->mailbox);
    if (relay->dns)
        dns_close(relay->dns, NULL, NULL);
    relay->dns = NULL;
    watch_close(&relay->watch);
    for (size_t i = 0; i < relay->nsignals; i++)
        uv_close((uv_handle_t *)&relay->signals[i], NULL);
    relay->nsignals = 0;
}

static void relay_on_thread_idle(struct letter *letter)
{
    struct idle_letter *idle = LIST_OWNER(letter, struct idle_letter, letter);
    struct relay *relay = idle->relay;
    free(idle);
    relay->are_threads_idle = ++relay->nidle == relay->nthreads;
    relay_finish(relay);
}

static void relay_on_idle(void *context)
{
    struct relay *relay = context;
    struct idle_letter *idle = malloc(sizeof *idle);
    if (!idle)
        abort(); /* stopping without memory: the store is as safe as after a power cut, and this ends it */
    *idle = (struct idle_letter){.letter.open = relay_on_thread_idle, .relay = relay};
    mailbox_post(relay->mailbox, &idle->letter);
}

static void relay_on_delivery_stopped(void *context)
{
    struct relay *relay = context;
    relay->is_delivery_stopped = true;
    relay_finish(relay);
}

static void relay_stop(struct relay *relay)
{
    struct delivery *delivery = relay->delivery;
    if (relay->is_stopping)
        return;
    relay->is_stopping = true;
    if (relay->has_run)
        log_event(&relay->log, LOG_INFO, "stopping", LOG_INT("sessions", relay->sessions));
    if (relay->control)
        control_server_close(relay->control, NULL, NULL);
    relay->control = NULL;
    relay->are_threads_idle = relay->nthreads == 0;
    for (size_t i = 0; i < relay->nthreads; i++)
        thread_stop(relay->threads[i], RELAY_GRACE_MS);
    relay->delivery = NULL;
    relay->admin.delivery = NULL;
    if (delivery)
        delivery_stop(delivery, RELAY_GRACE_MS, relay_on_delivery_stopped, relay);
    else
        relay_on_delivery_stopped(relay);
}

/* ---- reload ----------------------------------------------------------------------------------------------------- */

static void relay_warn_of_restart(struct relay *relay, const struct conf *new)
{
    if (conf_needs_restart(relay->conf, new))
        log_event(&relay->log, LOG_WARNING, "restart-needed",
                  LOG_TEXT("reason", "keys that relay.conf(5) marks with \"start\" have changed; they take effect at the next start"));
}

static struct sentry_limits sentry_limits_of(const struct conf *conf)
{
    return (struct sentry_limits){(uint32_t)conf->values.failures_per_address, (uint32_t)conf->values.failures_per_account};
}

static void relay_on_renewed(void *context);

static void relay_limit_halves(const struct relay *relay, const struct conf *conf)
{
    store_limit_halves(relay->store, (uint64_t)conf->values.half_bodies, (uint64_t)conf->values.half_octets);
    if (conf->values.half_octets < conf->values.message_size)
        log_event(&relay->log, LOG_WARNING, "half-octets-small",
                  LOG_TEXT("reason", "half_octets is less than message_size: what came of a larger message beyond it is lost with the connection, and sent again"));
}

/* Without a watch a renewed certificate waits for SIGHUP. */
static void relay_watch_certificate(struct relay *relay)
{
    const struct conf_values *values = &relay->conf->values;
    watch_close(&relay->watch);
    if (watch_open(&relay->watch, &relay->loop, values->certificate, values->key, relay_on_renewed, relay) != RESULT_OK)
        log_event(&relay->log, LOG_WARNING, "not-watching", LOG_TEXT("reason", "out of memory"));
}

/* Without memory, what was said before. */
static void relay_keep_told(struct relay *relay, const char **at, const char *text)
{
    if (*at && strcmp(*at, text) == 0)
        return;
    const char *kept = arena_cstr(&relay->told_memory, slice_from_cstr(text));
    if (kept)
        *at = kept;
}

/* What XWAYS and XOUTCOME say from now on. */
static void relay_make_told(struct relay *relay, const struct conf *conf)
{
    char ways[WAYS_MAX + 1], outcome[SERVED_TELL_MAX];
    if (ways_write(conf, relay->bound, relay->nbound, ways) != RESULT_OK)
        log_event(&relay->log, LOG_WARNING, "ways-too-many", LOG_INT("octets_max", WAYS_MAX), LOG_TEXT("told", ways),
                  LOG_TEXT("reason", "there are more ports and advertise lines than one line of EHLO can tell; clients are not told of the last ones"));
    served_tell(&relay->served, conf_name_kept_ms(conf), outcome);
    relay_keep_told(relay, &relay->told.ways, ways);
    relay_keep_told(relay, &relay->told.outcome, outcome);
}

/* Everything new is made before anything old is given up. */
static void relay_reload(struct relay *relay)
{
    struct config_error error = {0};
    struct conf *conf;
    struct contexts contexts;
    char why[WHY] = "";
    if (conf_load(&conf, relay->dirs, &error) != RESULT_OK) {
        log_event(&relay->log, LOG_ERROR, "reload-failed", LOG_TEXT("reason", error.text), LOG_TEXT("hint", "the old configuration stays in force"));
        return;
    }
    if (contexts_open(&contexts, conf, &relay->log, why, sizeof why) != RESULT_OK) {
        log_event(&relay->log, LOG_ERROR, "reload-failed", LOG_TEXT("reason", why), LOG_TEXT("hint", "the old configuration stays in force"));
        conf_unref(&conf);
        return;
    }
    struct sentry_limits limits = sentry_limits_of(conf);
    relay_warn_of_restart(relay, conf);
    relay_make_told(relay, conf);
    sentry_set_limits(relay->sentry, &limits);
    relay_limit_halves(relay, conf);
    relay->log.level = (enum log_level)conf->values.log_level;
    for (size_t i = 0; i < relay->nthreads; i++) {
        if (thread_reload(relay->threads[i], conf_ref(conf), &relay->told, contexts.server) != RESULT_OK)
            log_event(&relay->log, LOG_ERROR, "reload-failed", LOG_TEXT("reason", "out of memory"));
    }
    delivery_reload(relay->delivery, conf, contexts.any, contexts.verified);
    contexts_close(&relay->contexts);
    conf_unref(&relay->conf);
    relay->contexts = contexts;
    relay->conf = relay->admin.conf = conf;
    relay_watch_certificate(relay);
    log_event(&relay->log, LOG_INFO, "reloaded");
}

static void relay_on_renewed(void *context)
{
    struct relay *relay = context;
    if (!relay->is_stopping)
        relay_reload(relay);
}

static void relay_on_signal(uv_signal_t *handle, int number)
{
    struct relay *relay = handle->data;
    if (!relay->has_started && number == SIGHUP)
        relay->is_hangup_early = true;
    else if (!relay->has_started)
        relay->is_end_early = true;
    else if (number != SIGHUP)
        relay_stop(relay);
    else if (!relay->is_stopping)
        relay_reload(relay);
}

/* Before anything that takes its time: the one who has started us may send SIGHUP at once, and unheard it would be our end. */
static void relay_watch_signals(struct relay *relay)
{
    static const int numbers[SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < SIGNALS; i++) {
        uv_signal_init(&relay->loop, &relay->signals[i]);
        relay->signals[i].data = relay;
        uv_signal_start(&relay->signals[i], relay_on_signal, numbers[i]);
        relay->nsignals++;
    }
}

static void relay_heed_early_signals(struct relay *relay)
{
    relay->has_started = true;
    if (relay->is_end_early)
        relay_stop(relay);
    else if (relay->is_hangup_early)
        relay_reload(relay);
}

/* ---- status ----------------------------------------------------------------------------------------------------- */

static void relay_describe(void *context, json_t *status)
{
    struct relay *relay = context;
    json_t *listeners = json_array();
    uint8_t pin[TLS_PIN];
    char text[NET_ADDRESS_TEXT], pin_text[TLS_PIN_TEXT];
    for (size_t i = 0; i < relay->nbound; i++) {
        net_address_format(&relay->bound[i].address, text);
        json_array_append_new(listeners, json_pack("{s:s, s:s, s:b}", "address", text, "mode", service_mode_name(relay->bound[i].mode), "proxied",
                                                   relay->bound[i].takes_proxy_header));
    }
    tls_context_pin(relay->contexts.server, pin);
    tls_pin_format(pin, pin_text);
    json_object_set_new(status, "pid", json_integer(getpid()));
    json_object_set_new(status, "uptime_s", json_integer((wall_now_ms() - relay->started_at_ms) / 1000));
    json_object_set_new(status, "sessions", json_integer(relay->sessions));
    json_object_set_new(status, "listeners", listeners);
    json_object_set_new(status, "ways", json_string(relay->told.ways));
    json_object_set_new(status, "pins", json_pack("[s]", pin_text));
}

/* ---- starting --------------------------------------------------------------------------------------------------- */

static void relay_on_secret(void *context, enum result result, struct slice value)
{
    struct relay *relay = context;
    relay->is_answered = true;
    if (result == RESULT_OK && value.len == sizeof relay->salt_secret) {
        memcpy(relay->salt_secret, value.ptr, value.len);
        relay->is_secret_known = true;
    }
}

static void relay_on_secret_put(void *context, enum result result)
{
    struct relay *relay = context;
    relay->is_answered = true;
    relay->is_secret_known = result == RESULT_OK;
}

static void relay_await_answer(struct relay *relay)
{
    while (!relay->is_answered)
        uv_run(&relay->loop, UV_RUN_ONCE);
    relay->is_answered = false;
}

/* The secret behind the salts of unknown names lives in the store, so that a salt is the same after a restart. */
static int relay_open_secrets(struct relay *relay)
{
    static const char nobody[] = "no password is this one";
    store_setting_get(relay->client, SLICE("login-salt-secret"), relay_on_secret, relay);
    relay_await_answer(relay);
    if (!relay->is_secret_known) {
        crypto_random(relay->salt_secret, sizeof relay->salt_secret);
        store_setting_put(relay->client, SLICE("login-salt-secret"), slice_of(relay->salt_secret, sizeof relay->salt_secret), relay_on_secret_put,
                          relay);
        relay_await_answer(relay);
    }
    if (!relay->is_secret_known)
        return relay_fail(relay, EX_IOERR, "start-failed", "the database can't be written: see whether its disk is full");
    if (crypto_password_hash(slice_from_cstr(nobody), (struct crypto_password_cost){0}, relay->dummy_hash) != RESULT_OK)
        return relay_fail(relay, EX_OSERR, "start-failed", "out of memory: a password hash needs 64 MiB");
    return EX_OK;
}

static int relay_open_store(struct relay *relay)
{
    char why[WHY] = "";
    const struct store_config config = {
        .path = relay->dirs->database,
        .schema = schema_relay,
        .log = &relay->log,
        .max_octets = (uint64_t)relay->conf->values.database_size,
        .wait_ms = STORE_WAIT_MS,
    };
    enum result result = store_open(&relay->store, &config, why, sizeof why);
    if (result != RESULT_OK)
        return relay_fail(relay, console_exit_code(result), "start-failed", why);
    relay_limit_halves(relay, relay->conf);
    if (store_client_open(&relay->client, relay->store, &relay->loop) != RESULT_OK)
        return relay_fail(relay, EX_OSERR, "start-failed", "out of memory");
    result = served_open(&relay->served, &relay->loop, relay->client, &relay->log);
    return result == RESULT_OK ? relay_open_secrets(relay) : relay_fail(relay, console_exit_code(result), "start-failed", "the database can't be read or written");
}

static int relay_open_conf(struct relay *relay)
{
    struct config_error error = {0};
    char why[WHY] = "";
    enum result result = conf_load(&relay->conf, relay->dirs, &error);
    if (result != RESULT_OK)
        return relay_fail(relay, result == RESULT_MEMORY ? EX_OSERR : EX_CONFIG, "start-failed", error.text);
    relay->log.level = (enum log_level)relay->conf->values.log_level;
    result = contexts_open(&relay->contexts, relay->conf, &relay->log, why, sizeof why);
    return result == RESULT_OK ? EX_OK : relay_fail(relay, console_exit_code(result), "start-failed", why);
}

static int relay_open_threads(struct relay *relay)
{
    struct sentry_limits limits = sentry_limits_of(relay->conf);
    relay->underway = underway_new();
    if (!relay->underway)
        return relay_fail(relay, EX_OSERR, "start-failed", "out of memory");
    if (sentry_new(&relay->sentry, &limits) != RESULT_OK ||
        verifier_start(&relay->verifier, relay->sentry, conf_verifier_threads(relay->conf), (uint32_t)relay->conf->values.verifier_queue) !=
            RESULT_OK)
        return relay_fail(relay, EX_OSERR, "start-failed", "no memory or no threads for the password check");
    for (uint32_t i = 0; i < conf_threads(relay->conf); i++) {
        struct thread_config config = {
            .store = relay->store,
            .tls = relay->contexts.server,
            .on_idle = relay_on_idle,
            .context = relay,
        };
        config.gate = (struct gate_services){
            .login = {.sentry = relay->sentry,
                      .verifier = relay->verifier,
                      .log = &relay->log,
                      .accounts_version = &relay->accounts_version,
                      .dummy_hash = relay->dummy_hash,
                      .salt_secret = relay->salt_secret},
            .served = &relay->served,
            .underway = relay->underway,
            .conf = conf_ref(relay->conf),
            .next_id = relay_next_id,
            .on_queued = relay_on_queued,
            .sessions = &relay->sessions,
            .context = relay,
        };
        if (thread_new(&relay->threads[i], &config) != RESULT_OK)
            return relay_fail(relay, EX_OSERR, "start-failed", "no memory or no descriptors for a loop");
        relay->nthreads++;
    }
    return EX_OK;
}

static bool is_any_v6(const struct net_address *address)
{
    return address->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr);
}

/* All threads listen on the same addresses; for port 0 the first one's choice. */
static enum result relay_listen_in_all(struct relay *relay, struct conf_listener *at, char *why, size_t why_size)
{
    struct sockaddr_storage address = {0};
    memcpy(&address, &at->address, sizeof at->address);
    enum result result = service_probe(&address, why, why_size);
    for (size_t i = 0; i < relay->nthreads && result == RESULT_OK; i++)
        result = thread_listen(relay->threads[i], at, &at->address, why, why_size);
    return result;
}

static int relay_listen_at(struct relay *relay, const struct conf_listener *listener)
{
    char why[WHY] = "", text[NET_ADDRESS_TEXT];
    struct conf_listener at = *listener;
    enum result result = relay_listen_in_all(relay, &at, why, sizeof why);
    if (result == RESULT_NOT_FOUND && is_any_v6(&at.address)) {
        log_event(&relay->log, LOG_WARNING, "not-listening", LOG_TEXT("reason", why));
        return EX_OK; /* a machine without IPv6 */
    }
    if (result == RESULT_EXISTS && conf_may_lack(relay->conf, &at.address)) {
        log_event(&relay->log, LOG_WARNING, "not-listening", LOG_TEXT("reason", why),
                  LOG_TEXT("hint", "a web server can share it: see SHARING THE WEB'S PORTS in relay.conf(5); or write listen lines without it"));
        return EX_OK;
    }
    if (result != RESULT_OK)
        return relay_fail(relay, console_exit_code(result), "start-failed", why);
    relay->bound[relay->nbound++] = at;
    net_address_format(&at.address, text);
    log_event(&relay->log, LOG_INFO, "listening", LOG_TEXT("address", text), LOG_TEXT("mode", service_mode_name(at.mode)),
              LOG_INT("proxied", at.takes_proxy_header));
    return EX_OK;
}

static int relay_listen(struct relay *relay)
{
    const struct config_list *listen = &relay->conf->values.listen;
    if (listen->count > CONF_LISTENERS_MAX)
        return relay_fail(relay, EX_CONFIG, "start-failed", "too many listeners: 64 at most");
    for (size_t i = 0; i < listen->count; i++) {
        int code = relay_listen_at(relay, &((const struct conf_listener *)listen->items)[i]);
        if (code != EX_OK)
            return code;
    }
    if (relay->nbound == 0)
        return relay_fail(relay, EX_CONFIG, "start-failed", "no listener: see listen in the configuration");
    relay_make_told(relay, relay->conf);
    if (!relay->told.ways || !relay->told.outcome)
        return relay_fail(relay, EX_OSERR, "start-failed", "out of memory");
    for (size_t i = 0; i < relay->nthreads; i++)
        thread_tell(relay->threads[i], &relay->told);
    return EX_OK;
}

static int relay_open_dns(struct relay *relay)
{
    const struct config_list *resolvers = &relay->conf->values.resolver;
    struct dns_config config = {0};
    char why[WHY] = "";
    for (size_t i = 0; i < resolvers->count && config.nresolvers < DNS_RESOLVERS_MAX; i++)
        config.resolvers[config.nresolvers++] = ((const struct net_address *)resolvers->items)[i];
    enum result result = dns_open(&relay->dns, &relay->loop, &config, why, sizeof why);
    return result == RESULT_OK ? EX_OK : relay_fail(relay, console_exit_code(result), "start-failed", why);
}

static int relay_open_delivery(struct relay *relay)
{
    const struct delivery_config config = {
        .loop = &relay->loop,
        .store = relay->client,
        .dns = relay->dns,
        .log = &relay->log,
        .conf = relay->conf,
        .served = &relay->served,
        .tls_any = relay->contexts.any,
        .tls_verified = relay->contexts.verified,
        .next_id = relay_next_id,
        .context = relay,
    };
    enum result result = delivery_start(&relay->delivery, &config);
    return result == RESULT_OK ? EX_OK : relay_fail(relay, console_exit_code(result), "start-failed", result_name(result));
}

static int relay_open_control(struct relay *relay)
{
    char why[WHY] = "";
    relay->admin = (struct admin){
        .store = relay->client,
        .conf = relay->conf,
        .delivery = relay->delivery,
        .accounts_version = &relay->accounts_version,
        .describe = relay_describe,
        .context = relay,
    };
    enum result result = control_server_open(&relay->control, &relay->loop, relay->dirs->socket, admin_handle, &relay->admin, &relay->log, why,
                                             sizeof why);
    return result == RESULT_OK ? EX_OK : relay_fail(relay, console_exit_code(result), "start-failed", why);
}

static int relay_go(struct relay *relay)
{
    for (size_t i = 0; i < relay->nthreads; i++) {
        if (thread_run(relay->threads[i]) == RESULT_OK)
            continue;
        relay->has_run = i > 0;
        while (relay->nthreads > i) /* those that never ran have nothing to stop */
            thread_join(&relay->threads[--relay->nthreads]);
        return relay_fail(relay, EX_OSERR, "start-failed", "no thread for a loop");
    }
    relay->has_run = true;
    log_event(&relay->log, LOG_INFO, "started", LOG_STR("name", relay->conf->values.name), LOG_INT("threads", relay->nthreads),
              LOG_INT("pid", getpid()));
    return EX_OK;
}

static int relay_start(struct relay *relay)
{
    static int (*const steps[])(struct relay *) = {
        relay_open_conf, relay_open_store, relay_open_threads, relay_listen, relay_open_dns, relay_open_delivery, relay_open_control, relay_go,
    };
    int code = EX_OK;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && code == EX_OK; i++)
        code = steps[i](relay);
    return code;
}

/* The start failed half-way: what stands is taken down as at the end of a long life. */
static void relay_abandon(struct relay *relay)
{
    while (!relay->has_run && relay->nthreads > 0)
        thread_join(&relay->threads[--relay->nthreads]);
    relay_stop(relay);
}

static void relay_close(struct relay *relay)
{
    for (size_t i = 0; i < relay->nthreads; i++)
        thread_join(&relay->threads[i]);
    verifier_stop(&relay->verifier);
    sentry_free(&relay->sentry);
    underway_free(&relay->underway);
    if (relay->client)
        store_client_close(relay->client, on_closed_nothing, NULL);
    uv_run(&relay->loop, UV_RUN_DEFAULT);
    if (relay->store)
        store_close(&relay->store);
    contexts_close(&relay->contexts);
    conf_unref(&relay->conf);
    arena_free(&relay->told_memory);
    crypto_wipe(relay->salt_secret, sizeof relay->salt_secret);
}

int relay_run(const struct dirs *dirs)
{
    struct relay *relay = calloc(1, sizeof *relay);
    if (!relay || uv_loop_init(&relay->loop) != 0 || uv_mutex_init(&relay->id_lock) != 0) {
        free(relay);
        return EX_OSERR;
    }
    relay->dirs = dirs;
    relay->log = (struct log){.level = LOG_INFO, .sink = write_line};
    relay->started_at_ms = wall_now_ms();
    relay->rescan.open = relay_on_rescan;
    atomic_flag_clear(&relay->is_rescan_posted);
    relay_watch_signals(relay);
    int code = mailbox_open(&relay->mailbox, &relay->loop) == RESULT_OK ? relay_start(relay) : EX_OSERR;
    if (code == EX_OK) {
        relay_watch_certificate(relay);
        relay_heed_early_signals(relay);
    } else {
        relay_abandon(relay);
    }
    uv_run(&relay->loop, UV_RUN_DEFAULT);
    relay_close(relay);
    if (code == EX_OK)
        log_event(&relay->log, LOG_INFO, "stopped");
    uv_mutex_destroy(&relay->id_lock);
    int closed = uv_loop_close(&relay->loop);
    assert(closed == 0);
    (void)closed;
    free(relay);
    return code;
}
