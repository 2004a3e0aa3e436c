#include "prober.h"

#include "net/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct prober {
    uv_loop_t *loop;
    const struct log *log;
    uv_timer_t timer;             /* answers, and the next question's time */
    struct list questions;
    struct challenge *challenge;  /* NULL: none is under way */
    bool has_asked, has_answer, is_stale; /* stale: the question under way is about a network that is gone */
    int64_t asked_at_ms;          /* loop time */
    enum finder_probe answer;
    struct memory_key network;    /* what was asked about */
    char server_name[256];
};

static void on_timer(uv_timer_t *timer);

static int64_t due_ms(const struct prober *prober)
{
    return prober->has_asked ? prober->asked_at_ms + FINDER_PROBE_EVERY_MS : INT64_MIN;
}

static bool is_answered(const struct prober *prober, const struct prober_question *question)
{
    return prober->has_answer && loop_now_ms(prober->loop) < due_ms(prober) && memcmp(&prober->network, &question->network, sizeof prober->network) == 0 &&
           strcmp(prober->server_name, question->ask.server_name) == 0;
}

static void give(struct prober_question *question, enum finder_probe answer)
{
    list_remove(&question->node);
    question->is_asked = false;
    question->on_answer(question->context, answer);
}

static void turn_in(struct prober *prober, int64_t wait_ms)
{
    uv_timer_start(&prober->timer, on_timer, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

static void on_challenge(void *context, enum challenge_result result, const char *words)
{
    static const enum finder_probe answers[] = {[CHALLENGE_GENUINE] = FINDER_PROBE_CLEAR, [CHALLENGE_PORTAL] = FINDER_PROBE_CAPTIVE, [CHALLENGE_SILENT] = FINDER_PROBE_SILENT};
    struct prober *prober = context;
    prober->challenge = NULL;
    log_event(prober->log, LOG_DEBUG, "challenge", LOG_TEXT("answer", words));
    prober->has_answer = !prober->is_stale;
    prober->answer = answers[result];
    turn_in(prober, 0);
}

/* Invariant 1. */
static void start(struct prober *prober, const struct prober_question *question)
{
    struct challenge_ask ask = question->ask;
    ask.log = prober->log;
    ask.on_end = on_challenge;
    ask.context = prober;
    prober->has_asked = true;
    prober->asked_at_ms = loop_now_ms(prober->loop);
    prober->has_answer = prober->is_stale = false;
    prober->network = question->network;
    snprintf(prober->server_name, sizeof prober->server_name, "%s", ask.server_name);
    if (challenge_start(&prober->challenge, prober->loop, &ask) == RESULT_OK)
        return;
    prober->challenge = NULL;
    prober->has_answer = true;
    prober->answer = FINDER_PROBE_SILENT;
    turn_in(prober, 0);
}

/* The first that the last answer serves. */
static struct prober_question *first_answered(const struct prober *prober)
{
    LIST_EACH(node, &prober->questions) {
        struct prober_question *question = LIST_OWNER(node, struct prober_question, node);
        if (is_answered(prober, question))
            return question;
    }
    return NULL;
}

static void on_timer(uv_timer_t *timer)
{
    struct prober *prober = timer->data;
    struct prober_question *question;
    if (prober->challenge)
        return;
    while ((question = first_answered(prober)))
        give(question, prober->answer);
    if (list_is_empty(&prober->questions) || prober->challenge)
        return;
    if (loop_now_ms(prober->loop) >= due_ms(prober))
        start(prober, LIST_OWNER(prober->questions.first, struct prober_question, node));
    else
        turn_in(prober, due_ms(prober) - loop_now_ms(prober->loop));
}

void prober_ask(struct prober *prober, struct prober_question *question)
{
    prober_cancel(question);
    list_append(&prober->questions, &question->node);
    question->is_asked = true;
    if (prober->challenge)
        return;
    /* At once where it may go: who asks every FINDER_PROBE_EVERY_MS is not to find that the last time was a turn of the loop later. */
    if (!is_answered(prober, question) && loop_now_ms(prober->loop) >= due_ms(prober))
        start(prober, question);
    else
        turn_in(prober, 0);
}

void prober_cancel(struct prober_question *question)
{
    if (question->is_asked)
        list_remove(&question->node);
    question->is_asked = false;
}

void prober_forget(struct prober *prober)
{
    prober->has_answer = false;
    prober->is_stale = true;
}

bool prober_last(const struct prober *prober, struct prober_last *out)
{
    int64_t ago_ms = prober->has_asked ? loop_now_ms(prober->loop) - prober->asked_at_ms : FINDER_PROBE_EVERY_MS;
    *out = (struct prober_last){ago_ms, prober->has_answer, prober->answer, prober->network};
    return ago_ms < FINDER_PROBE_EVERY_MS;
}

void prober_restore(struct prober *prober, const struct prober_last *last, const char *server_name)
{
    prober->has_asked = true;
    prober->asked_at_ms = loop_now_ms(prober->loop) - last->ago_ms;
    prober->has_answer = last->has_answer;
    prober->answer = last->answer;
    prober->network = last->network;
    snprintf(prober->server_name, sizeof prober->server_name, "%s", server_name);
}

struct prober *prober_new(uv_loop_t *loop, const struct log *log)
{
    struct prober *prober = calloc(1, sizeof *prober);
    if (!prober)
        return NULL;
    prober->loop = loop;
    prober->log = log;
    prober->timer.data = prober;
    uv_timer_init(loop, &prober->timer);
    return prober;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void prober_free(struct prober **at)
{
    struct prober *prober = *at;
    *at = NULL;
    if (!prober)
        return;
    challenge_cancel(&prober->challenge);
    uv_close((uv_handle_t *)&prober->timer, on_closed);
}
