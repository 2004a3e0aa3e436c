#include "thread.h"

#include "net/challenge.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct thread {
    struct thread_config config;
    uv_loop_t loop;
    uv_thread_t thread;
    bool is_running;
    struct mailbox *mailbox;
    struct store_client *store;
    struct gate *gate;
    struct service *service;
    struct letter stop, finish;
    int64_t grace_ms;
};

struct reload {
    struct letter letter;
    struct thread *thread;
    struct conf *conf;
    struct conf_told told;
    struct tls_context *tls;
};

static void thread_on_store_closed(void *context)
{
    (void)context;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

static struct service *thread_new_service(struct thread *thread)
{
    const struct conf *conf = thread->config.gate.conf;
    const struct conf_values *values = &conf->values;
    struct service_config config = {
        .tls = thread->config.tls,
        .sessions_max = (uint32_t)values->sessions, /* the gate counts those of all loops */
        .sessions_per_address_max = (uint32_t)values->sessions_per_address,
        .handshake_timeout_ms = values->handshake_timeout,
        .reuse_port = true,
        .answer_challenge = challenge_answer,
        .proxies = values->proxy_from.items,
        .nproxies = values->proxy_from.count,
        .handler = gate_handler(thread->gate),
        .log = thread->config.gate.login.log,
    };
    conf_smtp(conf, &(struct conf_told){0}, config.log, &config.smtp);
    return service_new(&thread->loop, &config);
}

enum result thread_new(struct thread **out, const struct thread_config *config)
{
    struct thread *thread = calloc(1, sizeof *thread);
    if (!thread)
        return RESULT_MEMORY;
    *out = thread;
    thread->config = *config;
    thread->config.tls = tls_context_ref(config->tls);
    enum result result = uv_loop_init(&thread->loop) == 0 ? RESULT_OK : RESULT_IO;
    if (result != RESULT_OK) {
        conf_unref(&thread->config.gate.conf);
        tls_context_unref(&thread->config.tls);
        free(thread);
        *out = NULL;
        return result;
    }
    result = mailbox_open(&thread->mailbox, &thread->loop);
    if (result == RESULT_OK)
        result = store_client_open(&thread->store, config->store, &thread->loop);
    thread->config.gate.loop = &thread->loop;
    thread->config.gate.login.mailbox = thread->mailbox;
    thread->config.gate.login.store = thread->store;
    if (result == RESULT_OK && !(thread->gate = gate_new(&thread->config.gate)))
        result = RESULT_MEMORY;
    if (result == RESULT_OK && !(thread->service = thread_new_service(thread)))
        result = RESULT_MEMORY;
    if (result != RESULT_OK)
        thread_join(out);
    return result;
}

enum result thread_listen(struct thread *thread, const struct conf_listener *listener, struct net_address *bound, char *why, size_t why_size)
{
    struct service_listener at = {.mode = listener->mode, .takes_proxy_header = listener->takes_proxy_header};
    struct sockaddr_storage real;
    memcpy(&at.address, &listener->address, sizeof listener->address);
    enum result result = service_listen(thread->service, &at, &real, why, why_size);
    if (result == RESULT_OK)
        memcpy(bound, &real, sizeof *bound);
    return result;
}

void thread_tell(struct thread *thread, const struct conf_told *told)
{
    struct smtp_server_config smtp;
    conf_smtp(thread->config.gate.conf, told, thread->config.gate.login.log, &smtp);
    service_set_smtp(thread->service, &smtp);
}

/* The loop runs as long as the mailbox is open or the store owes an answer: a commit under way when the listeners have closed still ends properly. */
static void thread_body(void *context)
{
    struct thread *thread = context;
    uv_run(&thread->loop, UV_RUN_DEFAULT);
}

enum result thread_run(struct thread *thread)
{
    if (uv_thread_create(&thread->thread, thread_body, thread) != 0)
        return RESULT_IO;
    thread->is_running = true;
    return RESULT_OK;
}

static void thread_on_service_stopped(void *context)
{
    struct thread *thread = context;
    thread->service = NULL;
    if (thread->is_running)
        thread->config.on_idle(thread->config.context);
}

static void thread_on_stop(struct letter *letter)
{
    struct thread *thread = LIST_OWNER(letter, struct thread, stop);
    service_stop(thread->service, thread->grace_ms, thread_on_service_stopped, thread);
}

void thread_stop(struct thread *thread, int64_t grace_ms)
{
    thread->grace_ms = grace_ms;
    thread->stop.open = thread_on_stop;
    mailbox_post(thread->mailbox, &thread->stop);
}

static void thread_on_finish(struct letter *letter)
{
    struct thread *thread = LIST_OWNER(letter, struct thread, finish);
    mailbox_close(&thread->mailbox);
}

void thread_finish(struct thread *thread)
{
    thread->finish.open = thread_on_finish;
    mailbox_post(thread->mailbox, &thread->finish);
}

void thread_join(struct thread **at)
{
    struct thread *thread = *at;
    if (!thread)
        return;
    *at = NULL;
    if (thread->is_running)
        uv_thread_join(&thread->thread);
    thread->is_running = false;
    /* What is still there when it never ran. */
    if (thread->service)
        service_stop(thread->service, 0, thread_on_service_stopped, thread);
    mailbox_close(&thread->mailbox);
    uv_run(&thread->loop, UV_RUN_DEFAULT);
    if (thread->store)
        store_client_close(thread->store, thread_on_store_closed, NULL);
    uv_run(&thread->loop, UV_RUN_DEFAULT);
    if (thread->gate)
        gate_free(&thread->gate);
    else
        conf_unref(&thread->config.gate.conf);
    tls_context_unref(&thread->config.tls);
    int closed = uv_loop_close(&thread->loop);
    assert(closed == 0);
    (void)closed;
    free(thread);
}

/* ---- reload ---------------------------------------------------------------------------------------------------- */

static void thread_on_reload(struct letter *letter)
{
    struct reload *reload = LIST_OWNER(letter, struct reload, letter);
    struct thread *thread = reload->thread;
    struct smtp_server_config smtp;
    if (thread->service) {
        conf_smtp(reload->conf, &reload->told, thread->config.gate.login.log, &smtp);
        service_set_smtp(thread->service, &smtp);
        service_set_tls(thread->service, reload->tls);
        gate_set_conf(thread->gate, reload->conf);
    } else {
        conf_unref(&reload->conf);
    }
    tls_context_unref(&reload->tls);
    free(reload);
}

enum result thread_reload(struct thread *thread, struct conf *conf, const struct conf_told *told, struct tls_context *tls)
{
    struct reload *reload = malloc(sizeof *reload);
    if (!reload) {
        conf_unref(&conf);
        return RESULT_MEMORY;
    }
    *reload = (struct reload){.letter.open = thread_on_reload, .thread = thread, .conf = conf, .told = *told, .tls = tls_context_ref(tls)};
    mailbox_post(thread->mailbox, &reload->letter);
    return RESULT_OK;
}
