/* The only file that knows libunbound: the agent, which has no use for it, does not link it as long as nothing else of ours refers to this file.
 *
 * A question has one or two lookups at libunbound. A lookup that libunbound refuses to forget stays behind as an orphan until its callback or the end. */
#include "net/dns.h"

#include "base/arena.h"
#include "base/list.h"
#include "crypto/crypto.h"
#include "net/dns_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unbound.h>

enum { TYPE_A = 1, TYPE_MX = 15, TYPE_TXT = 16, TYPE_AAAA = 28, CLASS_IN = 1, RCODE_SERVFAIL = 2, RCODE_REFUSED = 5 };
enum { FAMILY_ADDRESSES_MAX = DNS_ADDRESSES_MAX / 2, LOOKUPS_MAX = 2, WHY_MAX = 200, ANSWER_MEMORY_MAX = 128 * 1024 };

struct lookup {
    struct list_node node; /* in dns->lookups */
    struct dns_question *question; /* NULL: an orphan */
    int type;
    int id; /* libunbound's */
};

struct dns_question {
    struct list_node node; /* in dns->questions, in order of their deadlines */
    struct dns *dns;
    int64_t deadline_ms;
    dns_callback *on_answer;
    void *context;
    char name[DNS_NAME_TEXT];
    uint16_t port;
    struct lookup *lookups[LOOKUPS_MAX]; /* NULL: answered */
    bool has_no_name, has_failed;
    /* what has been gathered */
    struct arena arena;
    struct dns_answer answer;
    struct dns_mx_list mx;
    struct net_address v4[FAMILY_ADDRESSES_MAX], v6[FAMILY_ADDRESSES_MAX], addresses[DNS_ADDRESSES_MAX];
    size_t nv4, nv6;
    char why[WHY_MAX];
};

struct dns {
    uv_loop_t *loop;
    struct ub_ctx *unbound;
    uv_poll_t poll;
    uv_timer_t timer;
    struct list questions;
    struct list lookups;
    int64_t timeout_ms;
    uint32_t (*random)(void *context);
    void *random_context;
    int open_handles;
    bool is_closing;
    void (*on_closed)(void *context);
    void *closed_context;
};

const char *dns_outcome_name(enum dns_outcome outcome)
{
    switch (outcome) {
    case DNS_FOUND:
        return "found";
    case DNS_NO_NAME:
        return "no-name";
    case DNS_NO_DATA:
        return "no-data";
    case DNS_NULL_MX:
        return "null-mx";
    case DNS_FAILED:
        return "failed";
    }
    return "?";
}

/* ---- questions ---------------------------------------------------------------------------------------------------- */

static void lookup_drop(struct lookup **lookup)
{
    if (*lookup) {
        list_remove(&(*lookup)->node);
        free(*lookup);
    }
    *lookup = NULL;
}

/* Forgets what libunbound has not answered. */
static void lookup_cancel(struct dns *dns, struct lookup **lookup)
{
    if (!*lookup)
        return;
    int error = ub_cancel(dns->unbound, (*lookup)->id);
    (*lookup)->question = NULL;
    if (error == UB_NOERROR || error == UB_NOID)
        lookup_drop(lookup);
    *lookup = NULL;
}

static void arm_timer(struct dns *dns);

/* Out of the list, with nothing under way any more: no answer can come. */
static void question_detach(struct dns_question *question)
{
    struct dns *dns = question->dns;
    for (size_t i = 0; i < LOOKUPS_MAX; i++)
        lookup_cancel(dns, &question->lookups[i]);
    list_remove(&question->node);
    if (!dns->is_closing)
        arm_timer(dns);
}

static void question_free(struct dns_question *question)
{
    arena_free(&question->arena);
    free(question);
}

void dns_cancel(struct dns_question **question)
{
    if (*question) {
        question_detach(*question);
        question_free(*question);
    }
    *question = NULL;
}

size_t dns_questions(const struct dns *dns)
{
    return dns->questions.count;
}

/* The end of a question: its answer goes out when everything about it is settled, so that the callback may do what it likes. */
static void question_answer(struct dns_question *question)
{
    question_detach(question);
    question->on_answer(question->context, &question->answer);
    question_free(question);
}

static void question_fail(struct dns_question *question, const char *what, const char *detail)
{
    snprintf(question->why, sizeof question->why, "%s%s%s", what, detail ? ": " : "", detail ? detail : "");
    question->has_failed = true;
}

/* ---- time --------------------------------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer)
{
    struct dns *dns = timer->data;
    struct list_node *first = dns->questions.first;
    struct dns_question *question = first ? LIST_OWNER(first, struct dns_question, node) : NULL;
    if (!question || question->deadline_ms > (int64_t)uv_now(dns->loop)) {
        arm_timer(dns);
        return;
    }
    question_fail(question, "no name server has answered in time", NULL);
    question->answer = (struct dns_answer){.outcome = DNS_FAILED, .why = question->why};
    question_answer(question);
}

/* All questions have the same time-out, so the first of the list is the first to run out. */
static void arm_timer(struct dns *dns)
{
    struct list_node *first = dns->questions.first;
    if (!first) {
        uv_timer_stop(&dns->timer);
        return;
    }
    int64_t left_ms = LIST_OWNER(first, struct dns_question, node)->deadline_ms - (int64_t)uv_now(dns->loop);
    uv_timer_start(&dns->timer, on_timer, left_ms > 0 ? (uint64_t)left_ms : 0, 0);
}

/* ---- from libunbound's result to ours ----------------------------------------------------------------------------- */

static void gather_addresses(struct dns_question *question, const struct ub_result *result, int type)
{
    struct net_address *list = type == TYPE_A ? question->v4 : question->v6;
    size_t *count = type == TYPE_A ? &question->nv4 : &question->nv6;
    int octets = type == TYPE_A ? 4 : 16;
    for (size_t i = 0; result->data[i] && *count < FAMILY_ADDRESSES_MAX; i++)
        if (result->len[i] == octets)
            list[(*count)++] = net_address_from_octets(type == TYPE_A ? 4 : 6, (const uint8_t *)result->data[i], 0, question->port);
}

static void gather_mx(struct dns_question *question, const struct ub_result *result)
{
    struct dns *dns = question->dns;
    for (size_t i = 0; result->data[i]; i++)
        dns_mx_list_add(&question->mx, slice_of(result->data[i], (size_t)result->len[i]), dns->random(dns->random_context));
}

static void gather_texts(struct dns_question *question, const struct ub_result *result)
{
    struct slice *texts = arena_alloc(&question->arena, DNS_TEXTS_MAX * sizeof *texts);
    size_t n = 0, len = 0;
    for (size_t i = 0; texts && result->data[i] && n < DNS_TEXTS_MAX; i++) {
        char *text = arena_alloc(&question->arena, (size_t)result->len[i] + 1);
        if (!text)
            texts = NULL;
        else if (dns_text_join(slice_of(result->data[i], (size_t)result->len[i]), text, &len) == RESULT_OK)
            texts[n++] = slice_of(text, len);
    }
    if (!texts)
        question_fail(question, "out of memory", NULL);
    question->answer.texts = texts;
    question->answer.ntexts = texts ? n : 0;
}

static void gather(struct dns_question *question, const struct ub_result *result, int type)
{
    struct dns_answer *answer = &question->answer;
    answer->is_secure = answer->is_secure && result->secure;
    if (result->ttl >= 0 && (uint32_t)result->ttl < answer->ttl_s)
        answer->ttl_s = (uint32_t)result->ttl;
    if (result->bogus)
        question_fail(question, "the answer fails DNSSEC validation", result->why_bogus);
    else if (result->nxdomain)
        question->has_no_name = true;
    else if (result->rcode != 0)
        question_fail(question, "the name servers fail", result->rcode == RCODE_SERVFAIL ? "SERVFAIL" : result->rcode == RCODE_REFUSED ? "REFUSED" : NULL);
    else if (result->havedata && type == TYPE_MX)
        gather_mx(question, result);
    else if (result->havedata && type == TYPE_TXT)
        gather_texts(question, result);
    else if (result->havedata)
        gather_addresses(question, result, type);
}

static void finish_mx(struct dns_question *question)
{
    struct dns_answer *answer = &question->answer;
    if (question->mx.count == 0 && question->mx.has_null) {
        answer->outcome = DNS_NULL_MX;
        return;
    }
    if (question->mx.count == 0) { /* RFC 5321 5.1: "treated as if it had an MX of preference 0 pointing to that host" */
        answer->is_implicit = true;
        question->mx.count = 1;
        memcpy(question->mx.hosts[0].name, question->name, sizeof question->name);
    }
    answer->outcome = DNS_FOUND;
    answer->hosts = question->mx.hosts;
    answer->nhosts = question->mx.count;
}

static void finish_addresses(struct dns_question *question)
{
    struct dns_answer *answer = &question->answer;
    for (size_t i = 0; i < FAMILY_ADDRESSES_MAX; i++) {
        if (i < question->nv6)
            question->addresses[answer->naddresses++] = question->v6[i];
        if (i < question->nv4)
            question->addresses[answer->naddresses++] = question->v4[i];
    }
    answer->addresses = question->addresses;
    answer->outcome = answer->naddresses > 0 ? DNS_FOUND : DNS_NO_DATA;
}

/* All lookups are answered. type: of the last one. */
static void question_finish(struct dns_question *question, int type)
{
    struct dns_answer *answer = &question->answer;
    bool is_address = type == TYPE_A || type == TYPE_AAAA;
    if (is_address)
        finish_addresses(question);
    if (is_address && answer->outcome == DNS_FOUND) {
        question_answer(question);
        return;
    }
    if (question->has_failed)
        *answer = (struct dns_answer){.outcome = DNS_FAILED, .why = question->why};
    else if (question->has_no_name)
        answer->outcome = DNS_NO_NAME;
    else if (type == TYPE_MX)
        finish_mx(question);
    else if (type == TYPE_TXT)
        answer->outcome = answer->ntexts > 0 ? DNS_FOUND : DNS_NO_DATA;
    question_answer(question);
}

static void on_unbound(void *context, int error, struct ub_result *result)
{
    struct lookup *lookup = context;
    struct dns_question *question = lookup->question;
    int type = lookup->type;
    size_t left = 0;
    for (size_t i = 0; question && i < LOOKUPS_MAX; i++) {
        if (question->lookups[i] == lookup)
            question->lookups[i] = NULL;
        left += question->lookups[i] != NULL;
    }
    lookup_drop(&lookup);
    if (question && (error != UB_NOERROR || !result))
        question_fail(question, "the resolver failed", ub_strerror(error));
    else if (question)
        gather(question, result, type);
    ub_resolve_free(result);
    if (question && left == 0)
        question_finish(question, type);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct dns *dns = poll->data;
    (void)events;
    if (status == 0)
        ub_process(dns->unbound);
}

/* ---- asking ------------------------------------------------------------------------------------------------------- */

static enum result result_of(int error)
{
    return error == UB_NOERROR ? RESULT_OK : error == UB_NOMEM ? RESULT_MEMORY : RESULT_IO;
}

static enum result lookup_start(struct dns_question *question, size_t at, int type)
{
    struct dns *dns = question->dns;
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup)
        return RESULT_MEMORY;
    *lookup = (struct lookup){.question = question, .type = type};
    list_append(&dns->lookups, &lookup->node);
    int error = ub_resolve_async(dns->unbound, question->name, type, CLASS_IN, lookup, on_unbound, &lookup->id);
    if (error == UB_NOERROR)
        question->lookups[at] = lookup;
    else
        lookup_drop(&lookup);
    return result_of(error);
}

/* type_too: 0: none. */
static enum result ask(struct dns *dns, struct slice name, uint16_t port, int type, int type_too, dns_callback *on_answer, void *context,
                       struct dns_question **out)
{
    if (out)
        *out = NULL;
    if (dns->is_closing || dns->questions.count >= DNS_QUESTIONS_MAX)
        return RESULT_BUSY;
    struct dns_question *question = calloc(1, sizeof *question);
    if (!question)
        return RESULT_MEMORY;
    *question = (struct dns_question){.dns = dns, .port = port, .on_answer = on_answer, .context = context, .arena = ARENA(ANSWER_MEMORY_MAX)};
    question->answer = (struct dns_answer){.is_secure = true, .ttl_s = UINT32_MAX};
    question->deadline_ms = (int64_t)uv_now(dns->loop) + dns->timeout_ms;
    enum result result = dns_name_from_text(name, question->name);
    list_append(&dns->questions, &question->node);
    if (result == RESULT_OK)
        result = lookup_start(question, 0, type);
    if (result == RESULT_OK && type_too)
        result = lookup_start(question, 1, type_too);
    if (result != RESULT_OK) {
        dns_cancel(&question);
        return result;
    }
    arm_timer(dns);
    if (out)
        *out = question;
    return RESULT_OK;
}

enum result dns_find_mx(struct dns *dns, struct slice domain, dns_callback *on_answer, void *context, struct dns_question **out)
{
    return ask(dns, domain, 0, TYPE_MX, 0, on_answer, context, out);
}

enum result dns_find_addresses(struct dns *dns, struct slice host, uint16_t port, dns_callback *on_answer, void *context, struct dns_question **out)
{
    return ask(dns, host, port, TYPE_AAAA, TYPE_A, on_answer, context, out);
}

enum result dns_find_txt(struct dns *dns, struct slice name, dns_callback *on_answer, void *context, struct dns_question **out)
{
    return ask(dns, name, 0, TYPE_TXT, 0, on_answer, context, out);
}

/* ---- opening and closing ------------------------------------------------------------------------------------------ */

static uint32_t random_of_libsodium(void *context)
{
    (void)context;
    return crypto_random_u32();
}

static enum result set_resolver(struct ub_ctx *unbound, const struct net_address *address)
{
    char ip[NET_ADDRESS_TEXT], text[NET_ADDRESS_TEXT + 8];
    uint16_t port = net_address_port(address);
    net_address_format_ip(address, ip);
    snprintf(text, sizeof text, "%s@%u", ip, port ? port : 53u);
    return result_of(ub_ctx_set_fwd(unbound, text));
}

/* Sets libunbound up. Errors in words to why. */
static enum result configure(struct ub_ctx *unbound, const struct dns_config *config, char *why, size_t why_size)
{
    /* Our log is not libunbound's to write to; and a resolver on this very host is the best there is, and what tests use. */
    int error = ub_ctx_debugout(unbound, NULL);
    if (error == UB_NOERROR)
        error = ub_ctx_set_option(unbound, "do-not-query-localhost:", "no");
    if (error == UB_NOERROR)
        error = ub_ctx_async(unbound, 1);
    enum result result = result_of(error);
    for (size_t i = 0; i < config->nresolvers && result == RESULT_OK; i++)
        result = set_resolver(unbound, &config->resolvers[i]);
    if (result != RESULT_OK) {
        snprintf(why, why_size, "the resolver cannot be set up: %s", ub_strerror(error));
        return result;
    }
    if (config->nresolvers == 0 && (error = ub_ctx_resolvconf(unbound, NULL)) != UB_NOERROR) {
        snprintf(why, why_size, "/etc/resolv.conf cannot be used (%s); set resolver = ADDRESS:PORT", ub_strerror(error));
        return error == UB_NOMEM ? RESULT_MEMORY : RESULT_IO;
    }
    FILE *file = config->trust_anchor ? fopen(config->trust_anchor, "re") : NULL;
    if (config->trust_anchor && (!file || ub_ctx_add_ta_file(unbound, config->trust_anchor) != UB_NOERROR)) {
        snprintf(why, why_size, "%s: the trust anchor cannot be read", config->trust_anchor);
        result = RESULT_NOT_FOUND;
    }
    if (file)
        fclose(file);
    return result;
}

static void ignore_answer(void *context, int error, struct ub_result *result)
{
    (void)context;
    (void)error;
    ub_resolve_free(result);
}

/* libunbound reads its files and starts its thread at the first question: a name that it answers itself brings errors to light now. */
static enum result probe(struct ub_ctx *unbound, char *why, size_t why_size)
{
    int error = ub_resolve_async(unbound, "localhost", TYPE_A, CLASS_IN, NULL, ignore_answer, NULL);
    if (error == UB_NOERROR)
        return RESULT_OK;
    snprintf(why, why_size, "the resolver cannot start (%s); is the trust anchor a file of DS or DNSKEY records?", ub_strerror(error));
    return error == UB_NOMEM ? RESULT_MEMORY : RESULT_SYNTAX;
}

static enum result watch(struct dns *dns, uv_loop_t *loop, char *why, size_t why_size)
{
    if (uv_poll_init(loop, &dns->poll, ub_fd(dns->unbound)) != 0) {
        snprintf(why, why_size, "the resolver's descriptor cannot be watched");
        return RESULT_IO;
    }
    uv_timer_init(loop, &dns->timer);
    dns->poll.data = dns->timer.data = dns;
    dns->open_handles = 2;
    uv_poll_start(&dns->poll, UV_READABLE, on_readable);
    return RESULT_OK;
}

enum result dns_open(struct dns **out, uv_loop_t *loop, const struct dns_config *config, char *why, size_t why_size)
{
    *out = NULL;
    snprintf(why, why_size, "out of memory");
    struct dns *dns = calloc(1, sizeof *dns);
    if (!dns)
        return RESULT_MEMORY;
    dns->loop = loop;
    dns->timeout_ms = config->timeout_ms > 0 ? config->timeout_ms : 20000;
    dns->random = config->random ? config->random : random_of_libsodium;
    dns->random_context = config->random_context;
    dns->unbound = ub_ctx_create();
    enum result result = dns->unbound ? configure(dns->unbound, config, why, why_size) : RESULT_MEMORY;
    if (result == RESULT_OK)
        result = probe(dns->unbound, why, why_size);
    if (result == RESULT_OK)
        result = watch(dns, loop, why, why_size);
    if (result != RESULT_OK) {
        ub_ctx_delete(dns->unbound);
        free(dns);
        return result;
    }
    why[0] = '\0';
    *out = dns;
    return RESULT_OK;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct dns *dns = handle->data;
    if (--dns->open_handles > 0)
        return;
    ub_ctx_delete(dns->unbound);
    while (dns->lookups.first) {
        struct lookup *orphan = LIST_OWNER(dns->lookups.first, struct lookup, node);
        lookup_drop(&orphan);
    }
    if (dns->on_closed)
        dns->on_closed(dns->closed_context);
    free(dns);
}

void dns_close(struct dns *dns, void (*on_closed)(void *context), void *context)
{
    dns->is_closing = true;
    dns->on_closed = on_closed;
    dns->closed_context = context;
    while (dns->questions.first) {
        struct dns_question *question = LIST_OWNER(dns->questions.first, struct dns_question, node);
        dns_cancel(&question);
    }
    uv_close((uv_handle_t *)&dns->poll, on_handle_closed);
    uv_close((uv_handle_t *)&dns->timer, on_handle_closed);
}
